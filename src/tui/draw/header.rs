//! The first lines: the verdict, how things went over the last minutes, and the tabs.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::lines::{paragraph, put, row};
use super::{Canvas, Hits};
use crate::profile::{Mode, process_label, short_command};
use crate::report::text::headlines;
use crate::report::text::units::{cut, percent, wrap};
use crate::stack::label::one_line;
use crate::tui::class::Class;
use crate::tui::history::Moment;
use crate::tui::shown::Shown;
use crate::tui::tabs::Tab;

/// A sentence or two with the numbers that matter most.
pub fn verdict(shown: &Shown) -> String {
    // Nothing else matters then.
    let stuck = (!shown.report.deadlocks.is_empty())
        .then(|| crate::report::verdict(&shown.report).trim_end_matches('.').to_owned());
    let lines: Vec<String> = stuck.into_iter().chain(headlines(&shown.report)).collect();
    match lines.is_empty() {
        true => "Nothing has been seen of its threads yet".to_owned(),
        false => lines.join(". "),
    }
}

/// How many lines it takes.
pub fn height(canvas: &Canvas<'_>, area: Rect) -> u16 {
    let wrapped = wrap(&verdict(canvas.shown), "  ", usize::from(area.width)).lines().count() as u16;
    let verdict = wrapped.clamp(1, if area.height < 16 { 1 } else { 3 });
    // On small screens what can be had elsewhere goes first.
    let subject = u16::from(area.height >= 14);
    verdict + subject + 1 + u16::from(banner(canvas).is_some())
}

/// What has to be known before anything else is believed.
fn banner(canvas: &Canvas<'_>) -> Option<String> {
    match (&canvas.app.ended, canvas.app.paused) {
        (Some(why), _) => Some(why.clone()),
        (None, true) => Some("PAUSED: the screen stands still, recording goes on. Space goes on.".to_owned()),
        (None, false) => None,
    }
}

/// Draws them.
pub fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>) {
    let theme = canvas.theme;
    let mut y = 0;
    if let Some(text) = banner(canvas) {
        let line = row(area, y);
        super::fill(buffer, line, theme.banner());
        put(buffer, line, 0, &text, theme.banner(), theme);
        y += 1;
    }
    let subject = u16::from(area.height > y + 2);
    let room = area.height.saturating_sub(y + 1 + subject).max(1);
    let place = Rect { y: area.y + y, height: room, ..area };
    let wanted = verdict(canvas.shown);
    if room == 1 {
        put(buffer, place, 0, &cut(&wanted, usize::from(area.width)), theme.bold(), theme);
    } else {
        paragraph(buffer, place, &wanted, theme.bold(), theme);
    }
    y += room;
    if subject == 1 && y + 1 < area.height {
        put(buffer, row(area, y), 0, &self::subject(canvas.shown, area.width), theme.dim(), theme);
        y += 1;
    }
    sparklines(buffer, row(area, y), canvas);
}

/// What is observed, how, and how well.
fn subject(shown: &Shown, width: u16) -> String {
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

/// The bars of a sparkline, of at most `width` values.
pub fn bars(values: &[f64], most: f64, bars: &[char]) -> String {
    let top = (bars.len() - 1) as f64;
    let bar = |value: &f64| {
        let part = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
        // Anything is more than nothing.
        let height = if *value > 0.0 { (part * top).round().max(1.0) } else { 0.0 };
        bars[height as usize]
    };
    values.iter().map(bar).collect()
}

type Line = (&'static str, fn(&Moment) -> f64, fn(f64) -> String, f64, Class);

fn sparklines(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>) {
    let theme = canvas.theme;
    let Some(newest) = canvas.history.newest() else { return };
    let has_gil = canvas.shown.report.target.gil_enabled;
    let number = |value: f64| format!("{value:.1}");
    let held: Line = match has_gil {
        true => ("held", |moment| moment.held, |value| percent((value * 100.0).round() / 100.0), 1.0, Class::Held),
        false => ("running", |moment| moment.held, number, 0.0, Class::Running),
    };
    let lines: [Line; 4] = [
        held,
        ("waiting", |moment| moment.waiting, number, 0.0, Class::GilWait),
        ("CPU", |moment| moment.cpus, number, 0.0, Class::NoCpu),
        ("lost", |moment| moment.lost as f64, |value| format!("{value:.0}"), 0.0, Class::HeldIdle),
    ];
    let words: usize = lines.iter().map(|(name, ..)| name.len() + 8).sum();
    // What is left is for the bars; the least important ones have none on small screens.
    let room = usize::from(area.width).saturating_sub(words) / 4;
    let mut x = 0;
    for (name, of, text, most, class) in lines {
        let width = room.min(40);
        let mut values = canvas.history.last(width, of);
        if name == "lost" && values.iter().all(|value| *value == 0.0) {
            values.clear();
        }
        let most = if most > 0.0 { most } else { values.iter().copied().fold(1.0, f64::max) };
        x = put(buffer, area, x, name, theme.dim(), theme);
        x = put(buffer, area, x + 1, &bars(&values, most, theme.bars()), theme.class(class), theme);
        let gap = u16::from(!values.is_empty());
        x = put(buffer, area, x + gap, &text(of(newest)), theme.bold(), theme) + 2;
    }
}

/// The tabs, with what part of the recording they are of.
pub fn tabs(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, hits: &mut Hits) {
    let theme = canvas.theme;
    super::fill(buffer, area, theme.dim());
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
        let chosen = tab == canvas.app.tab;
        let style = if chosen { theme.selected().patch(theme.bold()) } else { ratatui::style::Style::new() };
        let end = put(buffer, area, x, name, style, theme);
        hits.tabs.push((Rect { x: area.x + x, width: end.saturating_sub(x), ..area }, tab));
        x = end + 1;
    }
    let app = canvas.app;
    let blame = match app.blame {
        crate::report::Attribution::Holder => "holder",
        crate::report::Attribution::Releaser => "releaser",
        crate::report::Attribution::Waiter => "waiter",
    };
    let filter = if app.list().filter.is_empty() { String::new() } else { format!("  /{}", app.list().filter) };
    let about = match app.tab {
        Tab::Gil | Tab::Locks => format!("{}  blame: {blame}{filter} ", canvas.shown.range),
        _ => format!("{}{filter} ", canvas.shown.range),
    };
    let length = about.chars().count() as u16;
    if x + length < area.width {
        put(buffer, area, area.width - length, &about, theme.bold(), theme);
    }
}
