//! Draws the findings: whole sentences, whatever room they take.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::Canvas;
use super::lines::{fill, paragraph, put, row};
use crate::report::text::units::wrap;
use crate::tui::state::hit_areas::HitAreas;
use crate::tui::state::table::ScreenTable;

/// Draws the findings from the first one with which the selected one is visible.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, table: &ScreenTable, hits: &mut HitAreas) {
    let theme = canvas.theme;
    let mut area = area;
    for note in &table.notes {
        let taken = paragraph(buffer, Rect { height: area.height / 3, ..area }, note, theme.dim(), theme);
        area = Rect { y: area.y + taken, height: area.height - taken, ..area };
    }
    let Some(selected) = canvas.choices.selected(table) else {
        paragraph(buffer, area, &table.empty, theme.bold(), theme);
        return;
    };
    let height = |index: usize| {
        let text = &table.rows[index].cells[1].text;
        wrap(text, "", usize::from(area.width.saturating_sub(8))).lines().count() as u16 + 1
    };
    // As many before the selected one as there is room for.
    let mut first = selected;
    let mut used = height(selected);
    while first > 0 && used + height(first - 1) <= area.height {
        first -= 1;
        used += height(first);
    }
    let mut y = 0;
    for (index, finding) in table.rows.iter().enumerate().skip(first) {
        if y >= area.height {
            break;
        }
        let place = Rect { y: area.y + y, height: (area.height - y).min(height(index)), ..area };
        let [word, text] = &finding.cells[..] else { continue };
        put(buffer, place, 0, &word.text, theme.tone(word.tone), theme);
        let wrapped = wrap(&text.text, "", usize::from(area.width.saturating_sub(8)));
        for (line, text) in (0..place.height).zip(wrapped.lines()) {
            put(buffer, row(place, line), 8, text, ratatui::style::Style::new(), theme);
        }
        if index == selected {
            fill(buffer, Rect { width: 7.min(area.width), height: 1, ..place }, theme.selected());
        }
        hits.rows.push((place, index));
        y += height(index);
    }
}
