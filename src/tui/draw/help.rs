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
    ("Enter", "details of the selected row: both stacks, lengths of waits, history; Esc goes back"),
    ("w", "time range of the numbers: the last 1, 5 or 10 seconds, or all since the start or the last reset"),
    ("r", "reset: count from now on"),
    ("space", "pause the screen; recording continues"),
    ("+ -", "refresh more or less often"),
    ("< > s S", "sort by another column; S reverses the order. Or click on a heading"),
    ("/", "show only rows that contain a text; n N: next and previous row; Esc: show all rows again"),
    ("b", "to whom waiting is attributed: who held the GIL or lock, who released it in the end, who waited"),
    ("t", "show threads whose names differ only in numbers as one row"),
    ("v V", "functions and flame graph: select the states (cpu, wall, gil-hold, gil-wait, lock-wait, offcpu)"),
    ("[ ]", "functions and flame graph: select the thread"),
    ("L", "count the lines of a function together or separately"),
    ("d", "save what is shown: flame graph (SVG) or report (JSON, for gilscope report)"),
    ("y", "copy the selection (OSC 52)"),
    ("Ctrl-Z", "suspend to the shell; fg resumes"),
    ("q Ctrl-C", "quit"),
    ("mouse", "click on tabs, headings, rows and frames; a second click opens; the wheel scrolls"),
];

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
        let text = "Callees are below their callers; the width of a frame is its fraction of the time. Frames are ordered by \
                    size, not by time. Frames in brackets say what a thread did when it ran no Python.";
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
    heading(&mut lines, "Terms".to_owned(), theme);
    for (word, help) in [
        ("held", "fraction of the time that the GIL was held; its history is in the first lines"),
        ("waiting", "how many threads waited for the GIL or a lock, on average"),
        ("CPU", "how many CPUs the threads used"),
        ("lost", "records and stacks lost since the last refresh"),
        ("p99", "99 % of the waits that ended in the time range were not longer"),
        ("caused", "how long others waited while it held the GIL or the lock"),
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
