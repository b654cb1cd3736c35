//! The tab of functions: where the time of the chosen view goes, and what threads do there.

use crate::export::View;
use crate::report::text::units::duration;
use crate::tui::app::App;
use crate::tui::calls::{Choice, functions};
use crate::tui::class::Class;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone};

/// The column of [`COLUMNS`] that it is sorted by.
pub const OWN: &str = "OWN%";

/// All columns.
pub const COLUMNS: [Column; 10] = [
    Column::text("FUNCTION", 20, 4, 0, "function, file and line (L: lines of a function together or apart)"),
    Column::number("OWN%", 6, 0, "part of the view's time that threads were in it, not in what it called"),
    Column::number("TOTAL%", 6, 0, "part of the view's time that threads were in it or in what it called"),
    Column::number("OWN", 8, 2, "the same as time, of all threads together"),
    Column::number("TOTAL", 8, 3, "the same as time, of all threads together"),
    Column::number("CPU", 8, 1, "in itself: running (in any view)"),
    Column::number("GIL-WAIT", 8, 1, "in itself: waiting for the GIL"),
    Column::number("LOCK-WAIT", 9, 2, "in itself: waiting for a lock, or stopped with all others"),
    Column::number("HELD-IDLE", 9, 4, "in itself: holding the GIL without running"),
    Column::number("BLOCKED", 8, 3, "in itself: blocked in a system call, or without a CPU"),
];

/// The table.
pub fn table(app: &App, shown: &Shown) -> Table {
    let choice = app.choice();
    let (functions, all) = functions(&shown.part.profile, &choice);
    let time = |ns: u64| match ns {
        0 => Cell::number(0.0, "-"),
        ns => Cell::number(ns as f64, duration(ns as f64 / 1e9)),
    };
    let rows = functions.into_iter().map(|function| {
        let share = |ns: u64| Cell::share(ns as f64, all as f64);
        let cells = vec![
            Cell::text(function.label.clone()),
            share(function.own),
            share(function.total),
            time(function.own),
            time(function.total),
            time(function.cpu).toned(Tone::Of(Class::Held)),
            time(function.gil_wait).toned(Tone::Of(Class::GilWait)),
            time(function.lock_wait).toned(Tone::Of(Class::LockWait)),
            time(function.held_idle).toned(Tone::Of(Class::HeldIdle)),
            time(function.blocked),
        ];
        Row { key: RowKey::Function(function.label), cells }
    });
    Table {
        columns: COLUMNS.to_vec(),
        rows: rows.collect(),
        notes: vec![title(shown, &choice, all)],
        empty: "No thread was seen in a Python function yet.".to_owned(),
    }
}

/// `Waiting for the GIL: 3.21 s of thread time, all threads`.
pub fn title(shown: &Shown, choice: &Choice, all: u64) -> String {
    let view = match choice.view {
        View::Cpu => "cpu: threads that run",
        View::Wall => "wall: all threads all the time",
        View::GilHold => "gil-hold: threads that hold the GIL",
        View::GilWait => "gil-wait: threads that wait for the GIL",
        View::LockWait => "lock-wait: threads that wait for locks",
        View::OffCpu => "offcpu: threads that do not run",
        View::Refcount => "refcount: threads held up by reference counts",
    };
    let who = choice
        .thread
        .map_or_else(|| "all threads".to_owned(), |thread| super::thread_label(shown, thread.0 as usize));
    let lines = if choice.functions { "functions" } else { "lines" };
    format!("view {view}; {} of thread time; {who}; by {lines}", duration(all as f64 / 1e9))
}
