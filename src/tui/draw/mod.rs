//! The screen: lines that are always there, and the tab below them. Pure: what is drawn follows from what was chosen, what
//! is shown, and the size. What it returns says where everything is, for clicks and pages.

mod findings;
mod flame;
mod header;
mod help;
mod lines;
mod rows;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;

use super::app::{App, Prompt};
use super::history::History;
use super::shown::Shown;
use super::tabs::{Tab, table};
use super::theme::Theme;

pub use self::header::{bars, verdict};

/// Smaller screens show the verdict only.
const LEAST: (u16, u16) = (40, 10);

/// Where things are on the screen.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    /// The tabs.
    pub tabs: Vec<(Rect, Tab)>,
    /// The headings of the columns.
    pub headings: Vec<(Rect, &'static str)>,
    /// Rows, by their place in the table.
    pub rows: Vec<(Rect, usize)>,
    /// Frames of the flame graph, with their paths.
    pub frames: Vec<(Rect, Vec<String>)>,
    /// How many rows fit on the screen.
    pub page: usize,
    /// By how many lines a text can be scrolled.
    pub last_line: usize,
}

/// Everything there is to draw with.
#[derive(Clone, Copy, Debug)]
pub struct Canvas<'a> {
    /// What was chosen.
    pub app: &'a App,
    /// What is shown.
    pub shown: &'a Shown,
    /// What was before.
    pub history: &'a History,
    /// How it looks.
    pub theme: Theme,
}

/// Draws the screen.
pub fn draw(frame: &mut Frame<'_>, canvas: &Canvas<'_>) -> Hits {
    let (area, buffer) = (frame.area(), frame.buffer_mut());
    let mut hits = Hits { page: 1, ..Hits::default() };
    if area.width < LEAST.0 || area.height < LEAST.1 {
        lines::paragraph(buffer, area, &header::verdict(canvas.shown), canvas.theme.bold(), canvas.theme);
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
    let app = canvas.app;
    if app.help {
        let text = help::lines(app.tab, canvas.theme, body.width);
        lines::scrolled(buffer, body, &text, app.scroll, canvas.theme, &mut hits);
    } else if app.detail.is_some() {
        let text = super::detail::lines(app, canvas.shown, canvas.history, body.width);
        let styled: Vec<Line<'static>> = text.iter().map(|line| line.styled(canvas.theme)).collect();
        lines::scrolled(buffer, body, &styled, app.scroll, canvas.theme, &mut hits);
    } else {
        match app.tab {
            Tab::Flame => flame::draw(buffer, body, canvas, &mut hits),
            Tab::Findings => findings::draw(buffer, body, canvas, &mut hits),
            _ => rows::draw(buffer, body, canvas, &table(app, canvas.shown, canvas.history), &mut hits),
        }
    }
    self::footer(buffer, footer, canvas);
    hits
}

/// The last line: a question, a message, or the keys that matter here.
fn footer(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>) {
    let (app, theme) = (canvas.app, canvas.theme);
    let (text, style) = match &app.prompt {
        Some(Prompt::Filter(_)) => (format!("/{}_  (Enter keeps it, Esc does not)", app.list().filter), theme.bold()),
        Some(Prompt::Reset) => ("Count from now on, and forget what was before? y / n".to_owned(), theme.banner()),
        Some(Prompt::Save) => {
            ("Save what is shown: s flame graph (SVG), j report (JSON), Esc nothing".to_owned(), theme.banner())
        }
        None if !app.message.is_empty() => (app.message.clone(), theme.bold()),
        None => (keys(app).to_owned(), theme.dim()),
    };
    lines::put(buffer, area, 0, &text, style, theme);
}

fn keys(app: &App) -> &'static str {
    match app.tab {
        _ if app.help => "Esc back   j k scroll",
        _ if app.detail.is_some() => "Esc back   j k scroll   y copy   ? help   q quit",
        Tab::Flame => "? help  q quit  arrows move  Enter zoom  Esc out  v view  [ ] thread  L lines  / find  d save",
        Tab::Functions => "? help  q quit  Enter detail  v view  [ ] thread  L lines  < > sort  / filter  d save",
        Tab::Threads => {
            "? help  q quit  Enter detail  t merge  w range  < > sort  / filter  space pause  r reset  d save"
        }
        Tab::Gil | Tab::Locks => {
            "? help  q quit  Enter detail  b blame  w range  < > sort  / filter  space pause  r reset  d save"
        }
        _ => "? help  q quit  Enter detail  w range  / filter  space pause  r reset  d save",
    }
}

/// Fills a line with a style.
fn fill(buffer: &mut Buffer, area: Rect, style: Style) {
    buffer.set_style(area, style);
}

#[cfg(test)]
mod tests;
