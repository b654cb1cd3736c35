//! What happened at locks, and who had nothing to do. Called by [`super::text`].

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::event::Tid;
use crate::stack::label::one_line;

use super::table::{TextColumn, TextTable};
use super::units::{cut, duration, percent, plural, short_label, wrap};
use super::{ReportText, WIDTH};
use crate::report::columns::{locks as columns, pauses as pause_columns};
use crate::report::groups::pattern;
use crate::report::model::{Attribution, Blamed, Idle, Lock, PausedInterval, Pauses, Report};

/// How many locks are in the table, and how many are described in full.
const MAX_LOCKS: usize = 15;
const MAX_DETAILS: usize = 3;
/// Locks are described in full if threads waited for them for this part of the recording, together.
const WORTH_DETAILS: f64 = 0.001;
/// How many stacks are shown of a lock.
const MAX_STACKS: usize = 3;
/// How many rows the course of time has at most.
const MAX_INTERVALS: usize = 8;
const TREND_WIDTH: usize = 56;
/// How many places are shown where threads wait for work.
const MAX_IDLE: usize = 8;

/// All sections about locks.
pub(super) fn sections(report: &Report, blame: Attribution, text: &mut ReportText) {
    if !report.locks.is_empty() {
        table(report, text);
        let least = WORTH_DETAILS * report.session.duration_s;
        for lock in report.locks.iter().take(MAX_DETAILS).filter(|lock| lock.wait.total_s >= least) {
            details(lock, blame, text);
        }
    }
    pauses(report, text);
    collections(report, text);
    waiting("Waiting for something limited, until others return it", &report.waiting_for_limited, text);
    idle(report, text);
}

fn table(report: &Report, text: &mut ReportText) {
    let estimated = if report.locks.iter().any(|lock| lock.estimated) { ", estimated from samples" } else { "" };
    text.heading(&format!("Contended locks{estimated}"));
    // Threads spin only where there is no GIL, and that is known only in kernel mode.
    let spins = report.locks.iter().any(|lock| lock.spin_s > 0.0);
    let last = if spins { (columns::SPIN, 9) } else { (columns::HOLDERS, 8) };
    let times = [columns::TOTAL, columns::MEAN, columns::P99, columns::MAX];
    let mut columns = vec![TextColumn::label(columns::LOCK), TextColumn::number(columns::WAITS, 8)];
    columns.extend(times.map(|column| TextColumn::number(column, 9)));
    columns.push(TextColumn::number(last.0, last.1));
    let mut table = TextTable::new(columns, WIDTH);
    for lock in report.locks.iter().take(MAX_LOCKS) {
        let wait = &lock.wait;
        let holders = lock.threads.iter().filter(|thread| thread.caused_s > 0.0).count();
        let last = if spins { lock.spin_s } else { holders as f64 };
        let values = [wait.count as f64, wait.total_s, wait.mean_s, wait.p99_s, wait.max_s, last];
        table.row(&one_line(&lock.name_first()), &values);
    }
    text.line(table.to_string());
    if report.locks.len() > MAX_LOCKS {
        let rest: f64 = report.locks[MAX_LOCKS..].iter().map(|lock| lock.wait.total_s).sum();
        text.line(format!("... and {} more, {} in all", report.locks.len() - MAX_LOCKS, duration(rest)));
    }
    if spins {
        text.line("(spin: CPU time that threads spun before they slept, estimated from samples)");
    }
}

fn details(lock: &Lock, blame: Attribution, text: &mut ReportText) {
    text.heading(&cut(&one_line(&lock.label), WIDTH));
    let waited = lock.wait.total_s;
    let of = |part: f64| percent(if waited > 0.0 { part / waited } else { 0.0 });
    text.line(wrap(
        &format!(
            "{}, {}; waiting: {} attributed to holders, {} hand-off, {} unknown",
            plural(lock.contended, "wait"),
            plural(lock.parked, "sleep"),
            of(lock.caused_s),
            of(lock.gap_s),
            of(lock.unknown_s)
        ),
        "  ",
        WIDTH,
    ));
    match blame {
        Attribution::Holder => blamed("  held by", &lock.holders, waited, text),
        Attribution::Releaser => blamed("  released by", &lock.releasers, waited, text),
        Attribution::Waiter => {}
    }
    blamed("  waited for by", &lock.waiters, waited, text);
}

fn blamed(heading: &str, all: &[Blamed], whole: f64, text: &mut ReportText) {
    if all.is_empty() {
        return;
    }
    text.line(heading);
    text.attributed(all, whole, MAX_STACKS, 2);
}

fn pauses(report: &Report, text: &mut ReportText) {
    let pauses = &report.pauses;
    if pauses.count == 0 {
        return;
    }
    text.heading("Stops of all threads by the interpreter");
    let wait = &pauses.wait;
    let times = format!("at least {}: {}", plural(pauses.count, "time"), reasons(pauses));
    text.line(format!("  {}", wrap(&times, "    ", WIDTH - 2)));
    text.line(format!(
        "  threads were held up for {} in all, p99 {}, at most {}",
        duration(wait.total_s),
        duration(wait.p99_s),
        duration(wait.max_s)
    ));
    blamed("  stopped by", &pauses.requesters, wait.total_s, text);
    let stop = &pauses.time_to_stop;
    if stop.count > 0 {
        text.line(format!(
            "  until all had stopped: {} in all, p99 {}, at most {}",
            duration(stop.total_s),
            duration(stop.p99_s),
            duration(stop.max_s)
        ));
        blamed("  last to stop", &pauses.last_to_stop, stop.total_s, text);
    }
    trend(pauses, text);
}

/// `38 for a garbage collection, 2 for fork`, the most frequent first.
pub fn reasons(pauses: &Pauses) -> String {
    let mut reasons: Vec<_> = pauses.reasons.iter().collect();
    reasons.sort_by_key(|&(reason, count)| (Reverse(*count), reason));
    let words = |(reason, count): (&String, &u64)| match reason.as_str() {
        "gc" => format!("{count} for garbage collection"),
        "other" => format!("{count} for unknown reasons"),
        "type being changed" => format!("{count} for changes of a type"),
        reason => format!("{count} for {reason}"),
    };
    reasons.into_iter().map(words).collect::<Vec<_>>().join(", ")
}

/// How stops changed: neighbours among the intervals are put together until there are few.
fn trend(pauses: &Pauses, text: &mut ReportText) {
    let together = pauses.trend.len().div_ceil(MAX_INTERVALS);
    if pauses.trend.len() < 2 {
        return;
    }
    let mut columns = vec![TextColumn::label(pause_columns::FROM)];
    let numbers = [pause_columns::STOPS, pause_columns::HELD_UP, pause_columns::LONGEST];
    columns.extend(numbers.map(|column| TextColumn::number(column, 12)));
    let mut table = TextTable::indented("  ", columns, TREND_WIDTH);
    for intervals in pauses.trend.chunks(together) {
        let sum = |of: fn(&PausedInterval) -> f64| intervals.iter().map(of).sum::<f64>();
        let count: u64 = intervals.iter().map(|interval| interval.count).sum();
        let longest = intervals.iter().map(|interval| interval.max_s).fold(0.0, f64::max);
        let from = pause_columns::FROM.format.text(intervals[0].from_s);
        table.row(&from, &[count as f64, sum(|of| of.total_s), longest]);
    }
    text.line("  over time");
    text.line(table.to_string());
}

fn collections(report: &Report, text: &mut ReportText) {
    let collections = &report.collections;
    if collections.total_s < WORTH_DETAILS * report.session.duration_s {
        return;
    }
    text.heading("Garbage collection, estimated from samples");
    let under_gil = match collections.held_s > 0.0 {
        true => format!(
            ", {} of the time for which the GIL was held; others waited {} for the GIL meanwhile",
            percent(collections.held_fraction),
            duration(collections.waited_s)
        ),
        false => String::new(),
    };
    let number = match (collections.number, collections.full, collections.freed) {
        (Some(number), Some(full), Some(freed)) => format!(
            " in {} ({full} of all objects), which freed {}; the longest took at least {}",
            plural(number, "collection"),
            plural(freed, "object"),
            duration(collections.longest_s)
        ),
        _ => String::new(),
    };
    let total = format!("{}{number}{under_gil}", duration(collections.total_s));
    text.line(format!("  {}", wrap(&total, "    ", WIDTH - 2)));
    blamed("  started by", &collections.by, collections.total_s, text);
}

/// This costs nothing, but people want to know where threads are all day.
fn idle(report: &Report, text: &mut ReportText) {
    if !report.locks.is_empty() || !report.gils.is_empty() {
        waiting("Idle (normal): waiting for work", &report.waiting_for_work, text);
    }
}

fn waiting(heading: &str, all: &[Idle], text: &mut ReportText) {
    if all.is_empty() {
        return;
    }
    text.heading(heading);
    // Threads that wait at the same line are together.
    let mut places: BTreeMap<(&str, &str), Vec<&Idle>> = BTreeMap::new();
    for idle in all {
        places.entry((&idle.kind, idle.by.own_line().unwrap_or_default())).or_default().push(idle);
    }
    let sum = |by: &[&Idle]| by.iter().map(|idle| idle.by.seconds).sum::<f64>();
    let mut places: Vec<_> = places.into_iter().map(|(place, by)| (sum(&by), place, by)).collect();
    places.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (seconds, (kind, line), by) in places.iter().take(MAX_IDLE) {
        let mut tids: Vec<Tid> = by.iter().map(|idle| idle.by.tid).collect();
        tids.sort_unstable();
        tids.dedup();
        let first = &by[0].by;
        let label = match tids.len() {
            1 => short_label(&first.thread, first.tid, 28),
            many => format!("{} ({many} threads)", cut(&pattern(&first.thread), 15)),
        };
        text.line(format!("{:>9}  {kind:<10} {label:<28} {}", duration(*seconds), cut(&one_line(line), 28)));
    }
    if places.len() > MAX_IDLE {
        text.line(format!("... and {} more places", places.len() - MAX_IDLE));
    }
}
