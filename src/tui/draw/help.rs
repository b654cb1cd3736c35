//! The help: the keys, and what each column and letter means.

use ratatui::text::{Line, Span};

use crate::event::ACTIVITIES;
use crate::report::text::units::wrap;
use crate::tui::state::choices::Tab;
use crate::tui::tabs::columns;
use crate::tui::theme::Theme;

const KEYS: [(&str, &str); 19] = [
    ("1-8 Tab", "tabs"),
    ("j k arrows", "move; PgUp PgDn g G: by pages, to the ends"),
    ("Enter", "detail of what is selected: both stacks, lengths, over time; Esc goes back"),
    ("w", "part of the recording that the numbers are of: the last 1, 5, 10 seconds, or all since start or reset"),
    ("r", "reset: count from now on"),
    ("space", "the screen stands still; recording goes on"),
    ("+ -", "refresh more or less often"),
    ("< > s S", "sort by another column; S turns the order around. Or click on a heading"),
    ("/", "only rows with a text in them; n N: the next and the last one; Esc: all rows again"),
    ("b", "to whom waiting is put down: who held it meanwhile, who let go in the end, who waited"),
    ("t", "threads whose names differ in their numbers only, as one row"),
    ("v V", "functions and flame graph: of which states (cpu, wall, gil-hold, gil-wait, lock-wait, offcpu)"),
    ("[ ]", "functions and flame graph: of which thread"),
    ("L", "lines of a function together or apart"),
    ("d", "save what is shown: flame graph (SVG) or report (JSON, for gilscope report)"),
    ("y", "copy what is selected (OSC 52)"),
    ("Ctrl-Z", "to the shell; fg comes back"),
    ("q Ctrl-C", "quit"),
    ("mouse", "click on tabs, headings, rows and frames; a second click opens; the wheel scrolls"),
];

/// The lines of it.
pub(crate) fn lines(tab: Tab, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let columns = columns(tab);
    if !columns.is_empty() {
        heading(&mut lines, format!("Columns of {}", tab.name()), theme);
        columns.iter().for_each(|column| entry(&mut lines, column.title, column.help, theme, width));
        lines.push(Line::default());
    }
    if tab == Tab::Flame {
        heading(&mut lines, "The flame graph".to_owned(), theme);
        let text = "What was called is below what called it; a frame is as wide as its part of the time. The order from \
                    left to right is by size, not by time. Frames in brackets say what a thread did that ran no Python.";
        paragraph(&mut lines, text, width);
        lines.push(Line::default());
    }
    heading(&mut lines, "Letters and colours".to_owned(), theme);
    for row in &ACTIVITIES {
        let activity = Some(row.activity);
        let letter = Span::styled(format!(" {} ", theme.letter(activity)), theme.strip(activity));
        lines.push(Line::from(vec![letter, Span::raw(format!(" {}", row.words))]));
    }
    lines.push(Line::default());
    heading(&mut lines, "Words".to_owned(), theme);
    for (word, help) in [
        ("held", "part of the time that the GIL was held; over time in the first lines"),
        ("waiting", "how many threads waited for the GIL or a lock, on average"),
        ("CPU", "how many CPUs the threads used"),
        ("lost", "records and stacks that could not be had since the last refresh"),
        ("p99", "99 % of the waits were not longer; of waits that ended in the part that is shown"),
        ("caused", "waiting of others while it held the GIL or the lock"),
    ] {
        entry(&mut lines, word, help, theme, width);
    }
    lines.push(Line::default());
    heading(&mut lines, "Keys".to_owned(), theme);
    KEYS.iter().for_each(|(key, help)| entry(&mut lines, key, help, theme, width));
    lines
}

fn heading(lines: &mut Vec<Line<'static>>, text: String, theme: Theme) {
    lines.push(Line::styled(text, theme.bold()));
}

fn paragraph(lines: &mut Vec<Line<'static>>, text: &str, width: u16) {
    lines.extend(wrap(text, "", usize::from(width)).lines().map(|line| Line::raw(line.to_owned())));
}

fn entry(lines: &mut Vec<Line<'static>>, word: &str, help: &str, theme: Theme, width: u16) {
    let wrapped = wrap(help, "", usize::from(width.saturating_sub(14)).max(10));
    for (index, line) in wrapped.lines().enumerate() {
        let word = if index == 0 { format!("{word:<13} ") } else { " ".repeat(14) };
        lines.push(Line::from(vec![Span::styled(word, theme.bold()), Span::raw(line.to_owned())]));
    }
}
