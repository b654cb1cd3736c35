//! The screen: lines that are always there, and the tab below them. Pure: what is drawn follows from the scene, what was
//! chosen, and the size. What it returns says where everything is, for clicks and pages.

mod canvas;
mod findings;
mod flame;
mod footer;
mod header;
mod help;
mod lines;
mod rows;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::scene::SceneContent;
use super::state::choices::Tab;
use super::state::detail::DetailLine;
use super::state::hit_areas::HitAreas;
use super::theme::Theme;

pub(crate) use self::canvas::Canvas;

/// Smaller screens show the verdict only.
const MIN_SIZE: (u16, u16) = (40, 10);

pub(crate) fn draw(frame: &mut Frame<'_>, canvas: &Canvas<'_>) -> HitAreas {
    let (area, buffer) = (frame.area(), frame.buffer_mut());
    let mut hits = HitAreas { page: 1, ..HitAreas::default() };
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        let verdict = canvas.scene.shown.verdict();
        lines::paragraph(buffer, area, &verdict, canvas.theme.bold(), canvas.theme);
        return hits;
    }
    let header = header::height(canvas, area);
    let [top, tabs, body, footer] = Layout::vertical([
        Constraint::Length(header),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(buffer, top, canvas);
    header::tabs(buffer, tabs, canvas, &mut hits);
    hits.page = usize::from(body.height.saturating_sub(2)).max(1);
    self::body(buffer, body, canvas, &mut hits);
    footer::draw(buffer, footer, canvas);
    hits
}

fn body(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, hits: &mut HitAreas) {
    let (choices, theme) = (canvas.choices, canvas.theme);
    if choices.help {
        let text = help::lines(choices.tab, theme, area.width);
        return lines::scrolled(buffer, area, &text, choices.scroll, theme, hits);
    }
    match &canvas.scene.content {
        SceneContent::Detail(detail) => {
            let text: Vec<_> = detail.lines(area.width).iter().map(|line| styled(line, theme)).collect();
            lines::scrolled(buffer, area, &text, choices.scroll, theme, hits);
        }
        SceneContent::Flame { tree, title } => flame::draw(buffer, area, canvas, (tree, title), hits),
        SceneContent::Table(table) if choices.tab == Tab::Findings => {
            findings::draw(buffer, area, canvas, table, hits);
        }
        SceneContent::Table(table) => rows::draw(buffer, area, canvas, table, hits),
    }
}

fn styled(line: &DetailLine, theme: Theme) -> Line<'static> {
    let spans = line.spans().iter().map(|span| {
        let style = if span.bold { theme.bold() } else { theme.tone(span.tone) };
        Span::styled(theme.text(&span.text).into_owned(), style)
    });
    Line::from(spans.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
