//! The first lines: the verdict, the most important numbers over time, and the tabs.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::Canvas;
use super::lines::{fill, paragraph, put, row};
use crate::event::Activity;
use crate::profile::{Mode, process_label, short_command};
use crate::report::text::units::{cut, percent, wrap};
use crate::stack::label::one_line;
use crate::tui::state::choices::Tab;
use crate::tui::state::history::Moment;
use crate::tui::state::hit_areas::HitAreas;
use crate::tui::state::shown::ShownPart;
use crate::tui::state::sparkline::sparkline;

/// How many lines it takes.
pub(crate) fn height(canvas: &Canvas<'_>, area: Rect) -> u16 {
    let wrapped = wrap(&canvas.scene.shown.verdict(), "  ", usize::from(area.width)).lines().count() as u16;
    let verdict = wrapped.clamp(1, if area.height < 16 { 1 } else { 4 });
    // Small screens have no room for what other commands show, too.
    let subject = u16::from(area.height >= 14);
    verdict + subject + 1 + u16::from(banner(canvas).is_some())
}

/// Why the screen does not change, if so.
fn banner(canvas: &Canvas<'_>) -> Option<String> {
    match (&canvas.choices.ended, canvas.choices.paused) {
        (Some(why), _) => Some(why.clone()),
        (None, true) => Some("PAUSED: the screen does not change, recording continues. Space resumes.".to_owned()),
        (None, false) => None,
    }
}

pub(crate) fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>) {
    let theme = canvas.theme;
    let mut y = 0;
    if let Some(text) = banner(canvas) {
        let line = row(area, y);
        fill(buffer, line, theme.banner());
        put(buffer, line, 0, &text, theme.banner(), theme);
        y += 1;
    }
    let subject = u16::from(area.height > y + 2);
    let room = area.height.saturating_sub(y + 1 + subject).max(1);
    let place = Rect { y: area.y + y, height: room, ..area };
    let wanted = canvas.scene.shown.verdict();
    if room == 1 {
        put(buffer, place, 0, &cut(&wanted, usize::from(area.width)), theme.bold(), theme);
    } else {
        paragraph(buffer, place, &wanted, theme.bold(), theme);
    }
    y += room;
    if subject == 1 && y + 1 < area.height {
        put(buffer, row(area, y), 0, &self::subject(&canvas.scene.shown, area.width), theme.dim(), theme);
        y += 1;
    }
    sparklines(buffer, row(area, y), canvas);
}

/// The observed program, the mode, and what gilscope costs.
fn subject(shown: &ShownPart, width: u16) -> String {
    let (target, session) = (&shown.report.target, &shown.report.session);
    let mode = match session.mode {
        Mode::Kernel => "kernel mode",
        Mode::Memory => "memory mode: estimates from samples",
    };
    let flavour = if target.free_threaded { "t" } else { "" };
    let processes = shown.part.profile.processes.len();
    let more = if processes > 1 { format!(" and {} more", processes - 1) } else { String::new() };
    let used = session.profiler_cpu_s / session.duration_s.max(1e-9);
    let mut text = format!("{mode}; Python {}{flavour}; gilscope uses {} of a CPU", target.python, percent(used));
    for note in &session.degraded {
        text += &format!("; {}", one_line(note));
    }
    let command = process_label(&short_command(&target.command), target.pid);
    let command = cut(&one_line(&command), usize::from(width / 2)).into_owned();
    cut(&format!("{command}{more}; {text}"), usize::from(width)).into_owned()
}

/// A name, the values, how they are written, what the highest bar stands for (0: the highest value), and the colour.
type SparklineRow = (&'static str, fn(&Moment) -> f64, fn(f64) -> String, f64, Activity);

fn sparklines(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>) {
    let theme = canvas.theme;
    let Some(newest) = canvas.scene.history.newest() else { return };
    let has_gil = canvas.scene.shown.report.target.gil_enabled;
    let number = |value: f64| format!("{value:.1}");
    let held: SparklineRow = match has_gil {
        true => {
            ("held", |moment| moment.held, |value| percent((value * 100.0).round() / 100.0), 1.0, Activity::GilHeld)
        }
        false => ("running", |moment| moment.held, number, 0.0, Activity::Running),
    };
    let lines: [SparklineRow; 4] = [
        held,
        ("waiting", |moment| moment.waiting, number, 0.0, Activity::GilWait),
        ("CPU", |moment| moment.cpus, number, 0.0, Activity::NoCpu),
        ("lost", |moment| moment.lost as f64, |value| format!("{value:.0}"), 0.0, Activity::GilHeldBlocked),
    ];
    let words: usize = lines.iter().map(|(name, ..)| name.len() + 8).sum();
    // The bars get the remaining room.
    let room = usize::from(area.width).saturating_sub(words) / 4;
    let mut x = 0;
    for (name, of, text, max, activity) in lines {
        let width = room.min(40);
        let mut values = canvas.scene.history.last(width, of);
        if name == "lost" && values.iter().all(|value| *value == 0.0) {
            values.clear();
        }
        let max = if max > 0.0 { max } else { values.iter().copied().fold(1.0, f64::max) };
        x = put(buffer, area, x, name, theme.dim(), theme);
        x = put(buffer, area, x + 1, &sparkline(&values, max, theme.bars()), theme.activity(Some(activity)), theme);
        let gap = u16::from(!values.is_empty());
        x = put(buffer, area, x + gap, &text(of(newest)), theme.bold(), theme) + 2;
    }
}

/// The tabs, with the time range that they show.
pub(crate) fn tabs(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, hits: &mut HitAreas) {
    let theme = canvas.theme;
    fill(buffer, area, theme.dim());
    // Names are cut until they all fit.
    let names = |length: usize| -> Vec<String> {
        let name = |(index, tab): (usize, &Tab)| {
            format!("{}{}", index + 1, tab.name().chars().take(length).collect::<String>())
        };
        Tab::ALL.iter().enumerate().map(name).collect()
    };
    let width = |names: &[String]| names.iter().map(|name| name.len() + 1).sum::<usize>();
    let length = (1..=9).rev().find(|&length| width(&names(length)) < usize::from(area.width)).unwrap_or(0);
    let mut x = 0;
    for (name, tab) in names(length).iter().zip(Tab::ALL) {
        let chosen = tab == canvas.choices.tab;
        let style = if chosen { theme.selected().patch(theme.bold()) } else { ratatui::style::Style::new() };
        let end = put(buffer, area, x, name, style, theme);
        hits.tabs.push((Rect { x: area.x + x, width: end.saturating_sub(x), ..area }, tab));
        x = end + 1;
    }
    let choices = canvas.choices;
    let blame = match choices.blame {
        crate::report::Attribution::Holder => "holder",
        crate::report::Attribution::Releaser => "releaser",
        crate::report::Attribution::Waiter => "waiter",
    };
    let filter =
        if choices.rows().filter.is_empty() { String::new() } else { format!("  /{}", choices.rows().filter) };
    let about = match choices.tab {
        Tab::Gil | Tab::Locks => format!("{}  blame: {blame}{filter} ", canvas.scene.shown.range),
        _ => format!("{}{filter} ", canvas.scene.shown.range),
    };
    let length = about.chars().count() as u16;
    if x + length < area.width {
        put(buffer, area, area.width - length, &about, theme.bold(), theme);
    }
}
