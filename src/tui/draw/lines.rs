//! Text on the screen, for the rest of `draw`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use crate::report::text::units::wrap;
use crate::text::shown;
use crate::tui::state::hit_areas::HitAreas;
use crate::tui::theme::Theme;

/// Puts a text into one line, from a column on. Returns the column after it.
pub(crate) fn put(buffer: &mut Buffer, area: Rect, from: u16, text: &str, style: Style, theme: Theme) -> u16 {
    if area.height == 0 || from >= area.width {
        return from;
    }
    let room = usize::from(area.width - from);
    let (end, _) = buffer.set_stringn(area.x + from, area.y, theme.text(&shown(text)), room, style);
    end - area.x
}

/// A text of several lines. Returns how many it took.
pub(crate) fn paragraph(buffer: &mut Buffer, area: Rect, text: &str, style: Style, theme: Theme) -> u16 {
    let wrapped = wrap(text, "  ", usize::from(area.width));
    let mut taken = 0;
    for (y, line) in (0..area.height).zip(wrapped.lines()) {
        put(buffer, row(area, y), 0, line, style, theme);
        taken = y + 1;
    }
    taken
}

/// One line of an area.
pub(crate) fn row(area: Rect, y: u16) -> Rect {
    Rect { y: area.y + y, height: u16::from(y < area.height), ..area }
}

/// Lines that may not all fit.
pub(crate) fn scrolled(
    buffer: &mut Buffer,
    area: Rect,
    lines: &[Line<'_>],
    from: usize,
    theme: Theme,
    hits: &mut HitAreas,
) {
    hits.last_line = lines.len().saturating_sub(usize::from(area.height));
    let from = from.min(hits.last_line);
    for (y, line) in (0..area.height).zip(lines.iter().skip(from)) {
        let mut x = 0;
        for span in &line.spans {
            x = put(buffer, row(area, y), x, &span.content, line.style.patch(span.style), theme);
        }
    }
    if hits.last_line > 0 && area.width > 8 {
        let place = format!(" {} % ", (from * 100).checked_div(hits.last_line).unwrap_or(0));
        let x = area.width.saturating_sub(place.len() as u16);
        put(buffer, row(area, area.height - 1), x, &place, theme.selected(), theme);
    }
}

/// Fills an area with a style.
pub(crate) fn fill(buffer: &mut Buffer, area: Rect, style: Style) {
    buffer.set_style(area, style);
}
