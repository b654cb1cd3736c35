//! What happened at one GIL. Called by [`super::text`].

use super::table::{TextColumn, TextTable};
use super::units::{duration, percent, plural, table_labels, wrap};
use super::{ReportText, WIDTH};
use crate::event::Tid;
use crate::report::columns::gil as columns;
use crate::report::model::{Attribution, Blamed, Gil, Report, Wait};

/// How many threads and how many stacks are shown.
const MAX_WAITERS: usize = 10;
const MAX_STACKS: usize = 5;

/// `GIL`, and which if there are several.
pub(super) fn name(report: &Report, gil: &Gil) -> String {
    let alone = |same: fn(&Gil, &Gil) -> bool| report.gils.iter().all(|other| same(gil, other));
    let interpreter = match report.gils.iter().filter(|other| other.pid == gil.pid).count() {
        1 => String::new(),
        _ => format!(" of interpreter {}", gil.interpreter),
    };
    let process =
        if alone(|gil, other| gil.pid == other.pid) { String::new() } else { format!(" of process {}", gil.pid) };
    format!("GIL{interpreter}{process}")
}

/// Everything there is to say about it.
pub(super) fn section(report: &Report, gil: &Gil, blame: Attribution, text: &mut ReportText) {
    if gil.wait.count == 0 && report.gils.len() > 1 {
        // The headline says so already.
        return;
    }
    let estimated = if gil.estimated { ", estimated from samples" } else { "" };
    text.heading(&format!("{}: who waits{estimated}", name(report, gil)));
    waits(gil, text);
    let held = &gil.held;
    let of = |seconds: f64| percent(if gil.observed_s > 0.0 { seconds / gil.observed_s } else { 0.0 });
    let (all, blocked) = (percent(gil.held_fraction), of(held.off_cpu_s));
    let how = match gil.estimated {
        // What samples do not show is not zero.
        true => format!("{} running or ready, {blocked} blocked", of(held.total_s() - held.off_cpu_s)),
        false => format!(
            "{} running Python, {} in native code, {blocked} blocked, {} without a CPU",
            of(held.python_s),
            of(held.native_s),
            of(held.runnable_s),
        ),
    };
    text.line(wrap(&format!("held {all} of the time: {how}"), "  ", WIDTH));
    if gil.wait.count == 0 {
        return;
    }
    let (waited, interval) = (percent(gil.contended_fraction), duration(gil.switch_interval_s));
    let drops = match gil.estimated {
        true => format!("switch interval {interval}"),
        false => format!(
            "released {}: {} forced (switch interval {interval}), {} voluntary",
            plural(gil.forced_drops + gil.voluntary_drops, "time"),
            gil.forced_drops,
            gil.voluntary_drops,
        ),
    };
    text.line(wrap(&format!("waited for {waited} of the time; {drops}"), "  ", WIDTH));
    if let Some(parts) = gil.parts {
        let [asked, released, running] =
            [parts.until_asked_s, parts.until_released_s, parts.until_running_s].map(duration);
        text.line(wrap(
            &format!("of the waiting: {asked} until asked, {released} until released, {running} until running"),
            "  ",
            WIDTH,
        ));
    }
    check(gil, text);
    match blame {
        Attribution::Holder => blamed("Holders: who held it while others waited", &gil.holders, gil, text),
        Attribution::Releaser => {
            blamed("Releasers: who ended the waits, and where", &gil.releasers, gil, text);
            let ended: f64 = gil.releasers.iter().map(|blamed| blamed.seconds).sum();
            let otherwise = (gil.wait.total_s - ended).max(0.0);
            if otherwise > 0.0 {
                let part = percent(otherwise / gil.wait.total_s);
                text.line(format!("{:>9} {part:>6}  ended without an observed release", duration(otherwise)));
            }
        }
        Attribution::Waiter => {}
    }
    blamed("Waiters: who waited, and where", &gil.waiters, gil, text);
}

fn waits(gil: &Gil, text: &mut ReportText) {
    let numbers = [columns::WAITS, columns::TOTAL, columns::MEAN, columns::P50, columns::P99, columns::MAX];
    let mut columns = vec![TextColumn::label(columns::THREAD)];
    columns.extend(numbers.map(|column| TextColumn::number(column, 9)));
    let mut table = TextTable::new(columns, WIDTH);
    let values = |wait: &Wait| [wait.count as f64, wait.total_s, wait.mean_s, wait.p50_s, wait.p99_s, wait.max_s];
    let mut threads: Vec<_> = gil.threads.iter().filter(|thread| thread.wait.count > 0).collect();
    threads.sort_by(|a, b| b.wait.total_s.total_cmp(&a.wait.total_s));
    let names: Vec<(&str, Option<Tid>)> =
        threads.iter().take(MAX_WAITERS).map(|thread| (&*thread.thread, Some(thread.tid))).collect();
    for (thread, label) in threads.iter().zip(table_labels(&names, table.label_width())) {
        table.row(&label, &values(&thread.wait));
    }
    if threads.len() > MAX_WAITERS {
        table.row(&format!("... and {} more", threads.len() - MAX_WAITERS), &[]);
    }
    table.row("all", &values(&gil.wait));
    text.line(table.to_string());
}

/// Shows that the parts add up to the waiting, to the nanosecond: what cannot be checked cannot be trusted.
fn check(gil: &Gil, text: &mut ReportText) {
    let nanos = |seconds: f64| (seconds * 1e9).round() as u64;
    let parts = [gil.caused_s, gil.gap_s, gil.unknown_s];
    let sum: u64 = parts.into_iter().map(nanos).sum();
    let [caused, gap, unknown] = parts;
    if sum == nanos(gil.wait.total_s) {
        let [caused, gap, unknown] = parts.map(duration);
        text.line(format!("accounting complete: {caused} held by others, {gap} hand-off, {unknown} unknown"));
    } else {
        text.line("accounting INCOMPLETE, in seconds: held by others + hand-off + unknown != waited");
        text.line(format!("  {caused:.9} + {gap:.9} + {unknown:.9} != {:.9}", gil.wait.total_s));
    }
}

fn blamed(heading: &str, all: &[Blamed], gil: &Gil, text: &mut ReportText) {
    if all.is_empty() {
        return;
    }
    text.heading(heading);
    text.attributed(all, gil.wait.total_s, MAX_STACKS, 0);
}
