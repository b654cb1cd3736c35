//! The tab of the GIL: who waits for it, how long, and who makes the others wait.

use super::{place_of, thread_label};
use crate::event::GilId;
use crate::gil::summary::GilSummary;
use crate::report::Attribution;
use crate::report::model::Gil;
use crate::report::text::units::{duration, percent, plural};
use crate::tui::app::App;
use crate::tui::class::Class;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone};

/// The column of [`COLUMNS`] that it is sorted by.
pub const TOTAL: &str = "TOTAL";

/// All columns.
pub const COLUMNS: [Column; 11] = [
    Column::text("THREAD", 16, 2, 0, "name and thread id"),
    Column::number("WAITS", 7, 2, "how often it waited for the GIL"),
    Column::number("TOTAL", 8, 0, "how long it waited in all"),
    Column::number("TIME%", 6, 1, "the part of its time that it waited"),
    Column::number("MEAN", 8, 4, "how long a wait took on average"),
    Column::number("P50", 8, 5, "half of the waits were not longer"),
    Column::number("P99", 8, 1, "99 % of the waits were not longer"),
    Column::number("MAX", 8, 3, "the longest wait"),
    Column::number("HELD", 8, 2, "how long it held the GIL"),
    Column::number("CAUSED", 8, 1, "how much waiting of others it caused by holding the GIL"),
    Column::text("WHERE", 14, 4, 2, "where: b chooses whether it holds, lets go of, or waits for the GIL there"),
];

/// The table.
pub fn table(app: &App, shown: &Shown) -> Table {
    let gils: Vec<_> = shown.gils().collect();
    let several = gils.len() > 1;
    let mut table = Table { columns: COLUMNS.to_vec(), ..Table::default() };
    if let Some(last) = table.columns.last_mut() {
        last.title = match app.blame {
            Attribution::Holder => "HOLDS IT IN",
            Attribution::Releaser => "LETS GO IN",
            Attribution::Waiter => "WAITS IN",
        };
    }
    for (id, summary, gil) in gils {
        let name =
            if several { format!("GIL of interpreter {} in {}: ", gil.interpreter, gil.pid) } else { String::new() };
        table.notes.push(format!("{name}{}", what_happened(gil)));
        for (index, _) in summary.threads.iter().enumerate() {
            table.rows.extend(row(app, shown, id, summary, gil, index));
        }
    }
    table.empty = match shown.report.target.free_threaded {
        true => "This Python runs without a GIL: nobody waits for it. See Locks and Pauses.".to_owned(),
        false => "No thread has needed the GIL yet.".to_owned(),
    };
    table
}

/// A line about a GIL.
fn what_happened(gil: &Gil) -> String {
    let of = |seconds: f64| percent(if gil.observed_s > 0.0 { seconds / gil.observed_s } else { 0.0 });
    let held = &gil.held;
    let how = match gil.estimated {
        true => format!("{} running or ready, {} blocked", of(held.total_s() - held.off_cpu_s), of(held.off_cpu_s)),
        false => format!(
            "{} Python, {} native, {} blocked, {} without a CPU",
            of(held.python_s),
            of(held.native_s),
            of(held.off_cpu_s),
            of(held.runnable_s)
        ),
    };
    let drops = match gil.estimated {
        true => String::new(),
        false => {
            format!("; let go {} on request, {} by choice", plural(gil.forced_drops, "time"), gil.voluntary_drops)
        }
    };
    format!(
        "held {} ({how}); waited for {} of the time, by {:.1} threads on average{drops}; switch interval {}",
        percent(gil.held_fraction),
        percent(gil.contended_fraction),
        gil.mean_waiters,
        duration(gil.switch_interval_s)
    )
}

fn row(app: &App, shown: &Shown, id: GilId, summary: &GilSummary, gil: &Gil, index: usize) -> Option<Row> {
    let (share, thread) = (&summary.threads[index], &gil.threads[index]);
    let (wait, held) = (&thread.wait, thread.held.total_s());
    if wait.count == 0 && wait.total_s <= 0.0 && held <= 0.0 && thread.caused_s <= 0.0 {
        return None;
    }
    let time = |seconds: f64| Cell::number(seconds, if seconds > 0.0 { duration(seconds) } else { "-".to_owned() });
    let blames = match app.blame {
        Attribution::Holder => &summary.contention.by_holder,
        Attribution::Releaser => &summary.contention.by_releaser,
        Attribution::Waiter => &summary.contention.by_waiter,
    };
    let cells = vec![
        Cell::text(thread_label(shown, share.thread.0 as usize)),
        Cell::number(wait.count as f64, wait.count.to_string()),
        time(wait.total_s).toned(Tone::Of(Class::GilWait)),
        Cell::share(wait.total_s, thread.wall_s).toned(Tone::Of(Class::GilWait)),
        time(wait.mean_s),
        time(wait.p50_s),
        time(wait.p99_s),
        time(wait.max_s),
        time(held).toned(Tone::Of(Class::Held)),
        time(thread.caused_s).toned(Tone::Of(Class::GilWait)),
        Cell::text(place_of(shown, blames, Some(share.thread))),
    ];
    Some(Row { key: RowKey::Waiter(id, share.thread.0 as usize), cells })
}
