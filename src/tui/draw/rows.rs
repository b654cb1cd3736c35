//! Draws a table with its headings.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::canvas::Canvas;
use super::lines::{fill, paragraph, put, row};
use crate::report::text::units::{cut, wrap};
use crate::tui::state::hit_areas::HitAreas;
use crate::tui::state::table::{ScreenTable, TableCell};
use crate::tui::theme::Theme;

pub(crate) fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, table: &ScreenTable, hits: &mut HitAreas) {
    let (choices, theme) = (canvas.choices, canvas.theme);
    let mut area = area;
    for note in &table.notes {
        // Notes must leave room for the rows.
        let most = (area.height / 4).max(1);
        let short = wrap(note, "  ", usize::from(area.width)).lines().count() as u16;
        let taken = paragraph(buffer, Rect { height: short.min(most), ..area }, note, theme.dim(), theme);
        area = Rect { y: area.y + taken, height: area.height - taken, ..area };
    }
    if table.rows.is_empty() {
        let inside = Rect { y: area.y + 1.min(area.height), height: area.height.saturating_sub(1), ..area };
        paragraph(buffer, inside, &table.empty, Style::new(), theme);
        return;
    }
    let layout = table.layout(area.width);
    let order = choices.order();
    for &(index, x, width) in &layout {
        let column = &table.columns[index];
        let place = Rect { x: area.x + x, width, ..row(area, 0) };
        let sorted = column.title == order.column;
        let title =
            if sorted { format!("{}{}", column.title, theme.arrow(order.ascending)) } else { column.title.into() };
        // The arrow may use the space before the column.
        let length = title.chars().count() as u16;
        let wide = if x > 0 && length > width { Rect { x: place.x - 1, width: width + 1, ..place } } else { place };
        let from = if column.right { wide.width.saturating_sub(length) } else { 0 };
        let style = if sorted { theme.bold() } else { theme.dim() };
        put(buffer, wide, from, &title, style, theme);
        hits.headings.push((place, column.title));
    }
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let visible = usize::from(body.height);
    hits.page = visible.max(1);
    let selected = choices.selected(table).unwrap_or(0);
    // The selected row is in the middle, once there is something to scroll.
    let first = selected.saturating_sub(visible / 2).min(table.rows.len().saturating_sub(visible));
    for (y, (index, content)) in (0..body.height).zip(table.rows.iter().enumerate().skip(first)) {
        let line = row(body, y);
        let chosen = index == selected;
        if chosen {
            fill(buffer, line, theme.selected());
        }
        for &(column, x, width) in &layout {
            let place = Rect { x: body.x + x, width, ..line };
            cell(buffer, place, &content.cells[column], table.columns[column].right, chosen, theme);
        }
        hits.rows.push((line, index));
    }
    if table.rows.len() > visible && visible > 1 {
        let text = format!(" {}/{} ", selected + 1, table.rows.len());
        let width = text.len() as u16;
        if width < area.width {
            put(buffer, row(body, body.height - 1), area.width - width, &text, theme.selected(), theme);
        }
    }
}

fn cell(buffer: &mut Buffer, place: Rect, cell: &TableCell, right: bool, chosen: bool, theme: Theme) {
    if !cell.strip.is_empty() {
        let width = usize::from(place.width);
        let last = &cell.strip[cell.strip.len().saturating_sub(width)..];
        let from = width - last.len();
        for (x, &activity) in (from as u16..).zip(last) {
            let letter = theme.letter(activity);
            buffer[(place.x + x, place.y)].set_char(letter).set_style(theme.strip(activity));
        }
        return;
    }
    let text = cut(&cell.text, usize::from(place.width));
    let length = text.chars().count() as u16;
    let from = if right { place.width.saturating_sub(length) } else { 0 };
    let style = if chosen { theme.selected() } else { theme.tone(cell.tone) };
    put(buffer, place, from, &text, style, theme);
}
