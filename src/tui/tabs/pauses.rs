//! The tab of pauses: stops of all threads by the interpreter, and garbage collections.

use crate::report::Report;
use crate::report::model::Blamed;
use crate::report::text::reasons;
use crate::report::text::units::{duration, percent, short_label};
use crate::tui::class::Class;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone};

/// The column of [`COLUMNS`] that it is sorted by.
pub const TIME: &str = "TIME";

/// All columns.
pub const COLUMNS: [Column; 5] = [
    Column::text("THREAD", 12, 2, 0, "name and thread id"),
    Column::text("WHAT", 12, 0, 1, "it stopped the others, was the last to stop, or collected garbage"),
    Column::number(
        "TIME",
        8,
        0,
        "how long the others were held up, the one who stopped them had to wait, or it collected",
    ),
    Column::number("SHARE", 6, 2, "of all the time of that kind"),
    Column::text("WHERE", 14, 4, 0, "the innermost Python function then"),
];

/// One of the lists that the table consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// Who stopped the others.
    Stopped,
    /// Who was the last to stop.
    LastToStop,
    /// Who collected garbage.
    Collected,
}

impl List {
    const ALL: [List; 3] = [List::Stopped, List::LastToStop, List::Collected];

    /// Who is in it.
    pub fn of(self, report: &Report) -> &[Blamed] {
        match self {
            List::Stopped => &report.pauses.requesters,
            List::LastToStop => &report.pauses.last_to_stop,
            List::Collected => &report.collections.by,
        }
    }

    /// What those did.
    pub fn what(self) -> &'static str {
        match self {
            List::Stopped => "stopped them",
            List::LastToStop => "last to stop",
            List::Collected => "collected",
        }
    }
}

/// The table.
pub fn table(shown: &Shown) -> Table {
    let pauses = &shown.report.pauses;
    let mut notes = Vec::new();
    if pauses.count > 0 {
        let (wait, stop) = (&pauses.wait, &pauses.time_to_stop);
        let seconds = shown.part.seconds().max(1e-9);
        notes.push(format!(
            "{} stops of all threads ({:.1} a second), {}; threads were held up for {} in all, p99 {}, at most {}",
            pauses.count,
            pauses.count as f64 / seconds,
            reasons(pauses),
            duration(wait.total_s),
            duration(wait.p99_s),
            duration(wait.max_s)
        ));
        if stop.count > 0 {
            notes.push(format!(
                "until all had stopped: {} in all, p99 {}, at most {}",
                duration(stop.total_s),
                duration(stop.p99_s),
                duration(stop.max_s)
            ));
        }
    }
    let collections = &shown.report.collections;
    if collections.held_s > 0.0 {
        notes.push(format!(
            "the GIL was held to collect garbage for {}, {} of the time for which it was held; others waited {} for that",
            duration(collections.held_s),
            percent(collections.held_fraction),
            duration(collections.waited_s)
        ));
    }
    let sum = |all: &[Blamed]| all.iter().map(|blamed| blamed.seconds).sum::<f64>();
    let mut rows = Vec::new();
    for list in List::ALL {
        let all = sum(list.of(&shown.report));
        for (index, blamed) in list.of(&shown.report).iter().enumerate() {
            let place = blamed.stack.first().map_or("(no Python frame)", String::as_str);
            let cells = vec![
                Cell::text(short_label(&blamed.thread, blamed.tid, 40)),
                Cell::text(list.what()),
                Cell::number(blamed.seconds, duration(blamed.seconds)).toned(Tone::Of(Class::Paused)),
                Cell::number(blamed.seconds / all.max(1e-12), percent(blamed.seconds / all.max(1e-12))),
                Cell::text(place),
            ];
            rows.push(Row { key: RowKey::Pause(list, index), cells });
        }
    }
    let empty = match shown.report.target.free_threaded {
        true => {
            "The interpreter has not held up any thread by stopping all of them (for a collection, a change of a \
                 type, a fork)."
        }
        false => {
            "No thread was seen to collect garbage. (Stops of all threads are something of free-threaded Pythons: with a \
                  GIL, holding it is enough to be alone.)"
        }
    };
    Table { columns: COLUMNS.to_vec(), rows, notes, empty: empty.to_owned() }
}
