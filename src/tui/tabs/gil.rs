//! The tab of the GIL: who waits for it, how long, and who makes the others wait.

use super::detail_parts::{attributed_stacks, waits};
use super::labels::{place_of, short_thread_label, thread_label};
use crate::contention::Blame as StackBlame;
use crate::event::{GilId, ThreadId};
use crate::gil::summary::{GilSummary, ThreadShare};
use crate::report::Attribution;
use crate::report::columns::gil as columns;
use crate::report::model::{Gil, GilThread};
use crate::report::text::units::{duration, percent, plural};
use crate::tui::state::detail::RowDetail;
use crate::tui::state::history::{History, Moment};
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{RowKey, ScreenColumn, ScreenTable, TableCell, TableRow};

pub(super) const COLUMNS: [ScreenColumn; 11] = [
    ScreenColumn::text(&columns::THREAD, 16, 2, 0),
    ScreenColumn::number(&columns::WAITS, 7, 2),
    ScreenColumn::number(&columns::TOTAL, 8, 0),
    ScreenColumn::number(&columns::TIME_SHARE, 6, 1),
    ScreenColumn::number(&columns::MEAN, 8, 4),
    ScreenColumn::number(&columns::P50, 8, 5),
    ScreenColumn::number(&columns::P99, 8, 1),
    ScreenColumn::number(&columns::MAX, 8, 3),
    ScreenColumn::number(&columns::HELD, 8, 2),
    ScreenColumn::number(&columns::CAUSED, 8, 1),
    ScreenColumn::text(&columns::WHERE, 14, 4, 2),
];

pub(super) fn table(blame: Attribution, shown: &ShownPart) -> ScreenTable {
    let gils: Vec<_> = shown.gils().collect();
    let several = gils.len() > 1;
    let mut table = ScreenTable { columns: COLUMNS.to_vec(), ..ScreenTable::default() };
    if let Some(last) = table.columns.last_mut() {
        last.title = match blame {
            Attribution::Holder => "HOLDS IT IN",
            Attribution::Releaser => "RELEASES IT IN",
            Attribution::Waiter => "WAITS IN",
        };
    }
    for (id, summary, gil) in gils {
        let name =
            if several { format!("GIL of interpreter {} in {}: ", gil.interpreter, gil.pid) } else { String::new() };
        table.notes.push(format!("{name}{}", what_happened(gil)));
        for index in 0..summary.threads.len() {
            table.rows.extend(row(blame, shown, id, summary, gil, index));
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
        false => format!(
            "; released {}: {} forced, {} voluntary",
            plural(gil.forced_drops + gil.voluntary_drops, "time"),
            gil.forced_drops,
            gil.voluntary_drops
        ),
    };
    format!(
        "held {} ({how}); waited for {} of the time, by {:.1} threads on average{drops}; switch interval {}",
        percent(gil.held_fraction),
        percent(gil.contended_fraction),
        gil.mean_waiters,
        duration(gil.switch_interval_s)
    )
}

fn row(
    blame: Attribution,
    shown: &ShownPart,
    id: GilId,
    summary: &GilSummary,
    gil: &Gil,
    index: usize,
) -> Option<TableRow> {
    let (share, thread) = (&summary.threads[index], &gil.threads[index]);
    let (wait, held) = (&thread.wait, thread.held.total_s());
    if wait.count == 0 && wait.total_s <= 0.0 && held <= 0.0 && thread.caused_s <= 0.0 {
        return None;
    }
    let blames = match blame {
        Attribution::Holder => &summary.contention.by_holder,
        Attribution::Releaser => &summary.contention.by_releaser,
        Attribution::Waiter => &summary.contention.by_waiter,
    };
    let cells = vec![
        TableCell::text(short_thread_label(shown, share.thread.0 as usize)),
        TableCell::value(&columns::WAITS, wait.count as f64),
        TableCell::value(&columns::TOTAL, wait.total_s),
        TableCell::share(&columns::TIME_SHARE, wait.total_s, thread.wall_s),
        TableCell::value(&columns::MEAN, wait.mean_s),
        TableCell::value(&columns::P50, wait.p50_s),
        TableCell::value(&columns::P99, wait.p99_s),
        TableCell::value(&columns::MAX, wait.max_s),
        TableCell::value(&columns::HELD, held),
        TableCell::value(&columns::CAUSED, thread.caused_s),
        TableCell::text(place_of(shown, blames, share.thread)),
    ];
    Some(TableRow { key: RowKey::Waiter(id, share.thread.0 as usize), cells })
}

/// What is known of a thread at a GIL, in the summary and in the report.
fn waiter(shown: &ShownPart, gil: GilId, thread: usize) -> Option<(&ThreadShare, &GilThread)> {
    let summary = shown.part.gils.get(gil.0 as usize)?;
    let at = summary.threads.iter().position(|share| share.thread == ThreadId(thread as u32))?;
    Some((&summary.threads[at], &shown.report.gils[gil.0 as usize].threads[at]))
}

pub(super) fn detail(shown: &ShownPart, history: &History, gil: GilId, thread: usize) -> RowDetail {
    let mut detail = RowDetail::default();
    let summary = shown.part.gils.get(gil.0 as usize);
    let (Some(summary), Some((share, part))) = (summary, waiter(shown, gil, thread)) else {
        detail.sentence("It was not seen in this time range.");
        return detail;
    };
    detail.heading(format!("{} at the GIL", thread_label(shown, thread)));
    waits(&mut detail, shown, |part| waiter(part, gil, thread).map(|(_, thread)| thread.wait));
    detail.sentence(format!(
        "held the GIL for {} of {}; others waited {} for it meanwhile",
        duration(part.held.total_s()),
        duration(part.wall_s),
        duration(part.caused_s)
    ));
    let contention = &summary.contention;
    let heading = "Waiter: where it waited";
    attributed_stacks(&mut detail, shown, heading, &contention.by_waiter, share.waits.total_ns, Some(thread));
    let is_other = |blame: &&StackBlame| blame.thread != ThreadId(thread as u32);
    let others: Vec<StackBlame> = contention.by_holder.iter().filter(is_other).copied().collect();
    let heading = "Holders: who else held the GIL while threads waited (of all waiting)";
    attributed_stacks(&mut detail, shown, heading, &others, contention.waits.total_ns, None);
    let heading = "Where it held the GIL while others waited";
    attributed_stacks(&mut detail, shown, heading, &contention.by_holder, contention.waits.total_ns, Some(thread));
    detail.histogram(&share.lengths);
    let waited = |moment: &Moment| moment.waited.get(thread).copied().unwrap_or(0.0) * 100.0;
    detail.over_time("Part of its time that it waited", history, waited, " %");
    self_check(&mut detail, &shown.report.gils[gil.0 as usize]);
    detail
}

fn self_check(detail: &mut RowDetail, gil: &Gil) {
    detail.heading("Self-check");
    detail.sentence(format!(
        "of all waiting for this GIL: caused {} + gap {} + unknown {} = {}",
        duration(gil.caused_s),
        duration(gil.gap_s),
        duration(gil.unknown_s),
        duration(gil.wait.total_s)
    ));
}
