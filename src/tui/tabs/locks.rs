//! The tab of locks: which are waited for, by whom, and who holds them meanwhile.

use super::detail_parts::{attributed_stacks, waits};
use crate::contention;
use crate::event::{LockId, ThreadState};
use crate::lockstats::summary::LockSummary;
use crate::profile::Mode;
use crate::report::Attribution;
use crate::report::columns::locks as columns;
use crate::report::model::Lock;
use crate::report::text::units::{duration, label, percent, plural};
use crate::stack::label::one_line;
use crate::tui::state::detail::RowDetail;
use crate::tui::state::history::{History, Moment};
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{RowKey, ScreenColumn, ScreenTable, TableCell, TableRow};

/// Reasons why the holder did not run that the detail of a lock lists.
const MAX_REASONS: usize = 3;

pub(super) const COLUMNS: [ScreenColumn; 15] = [
    ScreenColumn::text(&columns::LOCK, 14, 3, 0),
    ScreenColumn::number(&columns::NOW, 3, 3),
    ScreenColumn::number(&columns::WAITS, 7, 2),
    ScreenColumn::number(&columns::SLEEPS, 7, 7),
    ScreenColumn::number(&columns::TOTAL, 8, 0),
    ScreenColumn::number(&columns::MEAN_WAITERS, 5, 1),
    ScreenColumn::number(&columns::MEAN, 8, 5),
    ScreenColumn::number(&columns::P50, 8, 6),
    ScreenColumn::number(&columns::P99, 8, 1),
    ScreenColumn::number(&columns::MAX, 8, 4),
    ScreenColumn::number(&columns::HOLDERS, 7, 6),
    ScreenColumn::text(&columns::HELD_BY, 12, 4, 2),
    ScreenColumn::text(&columns::WAITED_FOR_BY, 13, 4, 3),
    ScreenColumn::number(&columns::OWNER_CHANGES, 7, 8),
    ScreenColumn::number(&columns::SPIN, 8, 5),
];
/// Indexes of [`COLUMNS`].
const HELD_BY: usize = 11;
const SPIN: usize = COLUMNS.len() - 1;

pub(super) fn table(blame: Attribution, shown: &ShownPart) -> ScreenTable {
    let mut columns = COLUMNS.to_vec();
    if blame == Attribution::Releaser {
        columns[HELD_BY].title = "RELEASED BY";
    }
    // Threads spin only where there is no GIL.
    if !shown.report.target.free_threaded {
        columns.truncate(SPIN);
    }
    let row = |(summary, lock)| {
        let mut row = row(blame, shown, summary, lock);
        row.cells.truncate(columns.len());
        row
    };
    let rows = shown.locks().map(row).collect();
    let mut empty = "No thread has had to sleep for a lock. (Waiting for work in Queue.get or Event.wait is not \
                     counted.)"
        .to_owned();
    if shown.report.session.mode == Mode::Memory {
        empty += " In memory mode most short waits are missed.";
    }
    ScreenTable { columns, rows, notes: note(shown).into_iter().collect(), empty }
}

fn note(shown: &ShownPart) -> Option<String> {
    let locks = &shown.report.locks;
    if locks.is_empty() {
        return None;
    }
    let waited: f64 = locks.iter().map(|lock| lock.wait.total_s).sum();
    let mean = waited / shown.part.seconds().max(1e-9);
    let mut note = format!("{} waited for, by {mean:.1} threads on average", plural(locks.len() as u64, "lock"));
    let threads = shown.report.threads.iter();
    let worst = threads.map(|thread| thread.states.lock_wait_s / thread.wall_s.max(1e-9)).max_by(f64::total_cmp);
    if let Some(worst) = worst {
        note += &format!("; at worst a thread waits for {} of its time", percent(worst.min(1.0)));
    }
    Some(note)
}

fn row(blame: Attribution, shown: &ShownPart, summary: &LockSummary, lock: &Lock) -> TableRow {
    let wait = &lock.wait;
    let waits_now = shown.part.now.iter().flatten().filter(|now| now.state == ThreadState::LockWait(summary.id));
    let holders = lock.threads.iter().filter(|thread| thread.caused_s > 0.0).count();
    let who = |blames: &[contention::Blame]| {
        let Some(top) = blames.first() else { return String::new() };
        format!("{} {}", shown.name(top.thread.0 as usize), shown.place(top.stack))
    };
    let holder = match blame {
        Attribution::Releaser => who(&summary.contention.by_releaser),
        Attribution::Holder | Attribution::Waiter => who(&summary.contention.by_holder),
    };
    let cells = vec![
        TableCell::text(one_line(&lock.name_first())),
        TableCell::value(&columns::NOW, waits_now.count() as f64),
        TableCell::value(&columns::WAITS, lock.contended as f64),
        TableCell::value(&columns::SLEEPS, lock.parked as f64),
        TableCell::value(&columns::TOTAL, wait.total_s),
        TableCell::value(&columns::MEAN_WAITERS, wait.total_s / shown.part.seconds().max(1e-9)),
        TableCell::value(&columns::MEAN, wait.mean_s),
        TableCell::value(&columns::P50, wait.p50_s),
        TableCell::value(&columns::P99, wait.p99_s),
        TableCell::value(&columns::MAX, wait.max_s),
        TableCell::value(&columns::HOLDERS, holders as f64),
        TableCell::text(if holder.is_empty() { "(not known)".to_owned() } else { holder }),
        TableCell::text(who(&summary.contention.by_waiter)),
        TableCell::value(&columns::OWNER_CHANGES, lock.owner_changes as f64),
        TableCell::value(&columns::SPIN, lock.spin_s),
    ];
    TableRow { key: RowKey::Lock(summary.id), cells }
}

pub(super) fn detail(shown: &ShownPart, history: &History, id: LockId) -> RowDetail {
    let mut detail = RowDetail::default();
    let Some((summary, lock)) = shown.lock(id) else {
        let label = shown.part.profile.locks.info(id).label();
        detail.heading(one_line(&label));
        detail.sentence("No thread waited for it in this time range.");
        return detail;
    };
    detail.heading(format!("{} at {:#x}", one_line(&lock.label), lock.address));
    waits(&mut detail, shown, |part| part.lock(id).map(|(_, lock)| lock.wait));
    let of = |part: f64| percent(if lock.wait.total_s > 0.0 { part / lock.wait.total_s } else { 0.0 });
    detail.sentence(format!(
        "{}; waited for {} of the time; it changed hands {}. Of the waiting {} is attributed to holders, \
         {} to hand-offs, {} is unknown",
        plural(lock.parked, "sleep"),
        percent(lock.contended_fraction),
        plural(lock.owner_changes, "time"),
        of(lock.caused_s),
        of(lock.gap_s),
        of(lock.unknown_s)
    ));
    for off in lock.holder_off_cpu.iter().take(MAX_REASONS) {
        let doing = off.syscall.as_deref().unwrap_or(&off.state);
        let place = off.by.stack.first().map_or_else(String::new, |at| format!(" in {at}"));
        let who = label(&off.by.thread, off.by.tid);
        detail.sentence(format!("{} of it while {who} did not run ({doing}){place}", duration(off.by.seconds)));
    }
    let contention = &summary.contention;
    for (heading, blames) in [
        ("Holders: who held it meanwhile, and where", &contention.by_holder),
        ("Waiters: who waited, and where", &contention.by_waiter),
        ("Releasers: who released it in the end, and where", &contention.by_releaser),
    ] {
        attributed_stacks(&mut detail, shown, heading, blames, contention.waits.total_ns, None);
    }
    detail.histogram(&contention.lengths);
    let waiters = |moment: &Moment| moment.locks.get(&id).copied().unwrap_or(0.0);
    detail.over_time("Threads that waited for it", history, waiters, "");
    detail
}
