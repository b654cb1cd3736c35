//! Draws the findings: whole sentences, whatever room they take.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::lines::{paragraph, put};
use super::{Canvas, Hits, fill};
use crate::report::text::units::wrap;
use crate::tui::tabs::table;

/// Draws the findings, from one on so that the selected one is seen.
pub fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, hits: &mut Hits) {
    let theme = canvas.theme;
    let table = table(canvas.app, canvas.shown, canvas.history);
    let mut area = area;
    for note in &table.notes {
        let taken = paragraph(buffer, Rect { height: area.height / 3, ..area }, note, theme.dim(), theme);
        area = Rect { y: area.y + taken, height: area.height - taken, ..area };
    }
    let Some(selected) = canvas.app.selected(&table) else {
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
    for (index, row) in table.rows.iter().enumerate().skip(first) {
        if y >= area.height {
            break;
        }
        let place = Rect { y: area.y + y, height: (area.height - y).min(height(index)), ..area };
        let [word, text] = &row.cells[..] else { continue };
        put(buffer, place, 0, &word.text, theme.tone(word.tone), theme);
        let wrapped = wrap(&text.text, "", usize::from(area.width.saturating_sub(8)));
        for (line, text) in (0..place.height).zip(wrapped.lines()) {
            put(buffer, super::lines::row(place, line), 8, text, ratatui::style::Style::new(), theme);
        }
        if index == selected {
            fill(buffer, Rect { width: 7.min(area.width), height: 1, ..place }, theme.selected());
        }
        hits.rows.push((place, index));
        y += height(index);
    }
}
