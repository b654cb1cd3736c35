//! The tab of locks: which are waited for, by whom, and who holds them meanwhile.

use crate::contention;
use crate::event::ThreadState;
use crate::lockstats::summary::LockSummary;
use crate::profile::Mode;
use crate::report::Attribution;
use crate::report::model::Lock;
use crate::report::text::units::{duration, percent, plural};
use crate::stack::label::one_line;
use crate::tui::app::App;
use crate::tui::class::Class;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone};

/// The column of [`COLUMNS`] that it is sorted by.
pub const TOTAL: &str = "TOTAL";

/// All columns.
pub const COLUMNS: [Column; 15] = [
    Column::text("LOCK", 14, 3, 0, "the variable that leads to it, and what it is; else its address"),
    Column::number("NOW", 3, 3, "threads that wait for it now"),
    Column::number("WAITS", 7, 2, "how often it was waited for"),
    Column::number("SLEEPS", 7, 7, "how often a thread slept for it: more than once in a wait if another was faster"),
    Column::number("TOTAL", 8, 0, "how long threads waited for it in all"),
    Column::number("THR", 5, 1, "how many threads waited for it on average"),
    Column::number("MEAN", 8, 5, "how long a wait took on average"),
    Column::number("P50", 8, 6, "half of the waits were not longer"),
    Column::number("P99", 8, 1, "99 % of the waits were not longer"),
    Column::number("MAX", 8, 4, "the longest wait"),
    Column::number("HOLDERS", 7, 6, "how many threads held it while others waited"),
    Column::text("HELD BY", 12, 4, 2, "who held it most while others waited, and where (b: who let go of it)"),
    Column::text("WAITED FOR BY", 13, 4, 3, "who waited most, and where"),
    Column::number("CHANGES", 7, 8, "how often it went to another thread than the time before"),
    Column::number(
        "SPIN",
        8,
        5,
        "CPU time that threads spun for it before they slept, from samples (free-threaded builds)",
    ),
];

/// Where in [`COLUMNS`] the last one is.
const SPIN: usize = COLUMNS.len() - 1;

/// The table.
pub fn table(app: &App, shown: &Shown) -> Table {
    let mut columns = COLUMNS.to_vec();
    if app.blame == Attribution::Releaser {
        columns[11].title = "LET GO BY";
    }
    // Threads spin only where there is no GIL.
    if !shown.report.target.free_threaded {
        columns.truncate(SPIN);
    }
    let row = |(summary, lock)| {
        let mut row = row(app, shown, summary, lock);
        row.cells.truncate(columns.len());
        row
    };
    let rows = shown.locks().map(row).collect();
    let waited: f64 = shown.report.locks.iter().map(|lock| lock.wait.total_s).sum();
    let seconds = shown.part.seconds().max(1e-9);
    let mut notes = Vec::new();
    if !shown.report.locks.is_empty() {
        let count = shown.report.locks.len();
        let locks = plural(count as u64, "lock");
        let mut note = format!("{locks} waited for, by {:.1} threads on average", waited / seconds);
        if let Some(idle) = shown
            .report
            .threads
            .iter()
            .map(|thread| thread.states.lock_wait_s / thread.wall_s.max(1e-9))
            .max_by(f64::total_cmp)
        {
            note += &format!("; at worst a thread waits for {} of its time", percent(idle.min(1.0)));
        }
        notes.push(note);
    }
    let mut empty = "No thread has had to sleep for a lock. (Waiting for work, in Queue.get or Event.wait, is no \
                     waiting for a lock.)"
        .to_owned();
    if shown.report.session.mode == Mode::Memory {
        empty += " In memory mode short waits are seen only by chance.";
    }
    Table { columns, rows, notes, empty }
}

fn row(app: &App, shown: &Shown, summary: &LockSummary, lock: &Lock) -> Row {
    let wait = &lock.wait;
    let time = |seconds: f64| Cell::number(seconds, if seconds > 0.0 { duration(seconds) } else { "-".to_owned() });
    let count = |number: u64| Cell::number(number as f64, number.to_string());
    let waits_now = shown.part.now.iter().flatten().filter(|now| now.state == ThreadState::LockWait(summary.id));
    let holders = lock.threads.iter().filter(|thread| thread.caused_s > 0.0).count();
    let waiters = wait.total_s / shown.part.seconds().max(1e-9);
    let who = |blames: &[contention::Blame]| {
        let Some(top) = blames.first() else { return String::new() };
        format!("{} {}", shown.name(top.thread.0 as usize), shown.place(top.stack))
    };
    let holder = match app.blame {
        Attribution::Releaser => who(&summary.contention.by_releaser),
        Attribution::Holder | Attribution::Waiter => who(&summary.contention.by_holder),
    };
    let cells = vec![
        Cell::text(one_line(&lock.name_first())),
        count(waits_now.count() as u64).toned(Tone::Of(Class::LockWait)),
        count(lock.contended),
        count(lock.parked),
        time(wait.total_s).toned(Tone::Of(Class::LockWait)),
        Cell::number(waiters, format!("{waiters:.2}")).toned(Tone::Of(Class::LockWait)),
        time(wait.mean_s),
        time(wait.p50_s),
        time(wait.p99_s),
        time(wait.max_s),
        count(holders as u64),
        Cell::text(if holder.is_empty() { "(not known)".to_owned() } else { holder }),
        Cell::text(who(&summary.contention.by_waiter)),
        count(lock.owner_changes),
        time(lock.spin_s),
    ];
    Row { key: RowKey::Lock(summary.id), cells }
}
