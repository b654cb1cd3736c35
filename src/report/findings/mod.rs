//! What is wrong, as sentences with their evidence. Called by [`super::Report::new`].
//!
//! Each rule is a function of the report, with its thresholds as constants above it. A threshold is there so that a
//! program with nothing worth changing gets no finding at all.

mod blocked;
mod children;
mod cpus;
mod gil;
mod interpreter;
mod locks;
mod not_released;
mod pools;
mod sentences;
mod stopped;
mod stuck;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{Finding, Gil, Lock, Report, Severity};
use super::nanos;

pub(super) use self::cpus::NO_CPU;
pub(super) use self::gil::CONVOY;
pub(super) use self::stopped::STOPPED;

/// All findings, the costliest first.
pub(super) fn findings(report: &Report) -> Vec<Finding> {
    let mut found: Vec<Finding> = stuck::stuck(report);
    found.extend(interpreter::collections(report));
    for gil in &report.gils {
        found.extend(interpreter::switched_on(report, gil));
        found.extend(at_gil(report, gil, &found));
    }
    let is_stuck = |lock: &&Lock| stuck::is_part_of_deadlock(report, lock);
    found
        .extend(report.real_locks().filter(|lock| !is_stuck(lock)).filter_map(|lock| locks::contended(report, lock)));
    found.extend(blocked::event_loop(report));
    found.extend(pools::full(report));
    found.extend(pools::no_connection(report));
    found.extend(interpreter::pauses(report));
    found.extend(interpreter::refcounts(report));
    found.extend(children::not_observed(report));
    found.extend(cpus::no_cpu(report));
    found.extend(stopped::stopped(report));
    found.extend(records_lost(report));
    // Nothing is worse than threads that never go on, whatever else costs time.
    // What is the machine's fault comes after what is the program's.
    let order = |finding: &Finding| (finding.id != stuck::DEADLOCK, finding.severity, finding.id == cpus::NO_CPU);
    found.sort_by(|a, b| order(a).cmp(&order(b)).then(b.cost_s.total_cmp(&a.cost_s)));
    found
}

/// What is wrong at one GIL. What it costs that it is held in a certain way is not told a second time as the cost of the
/// fight over it.
fn at_gil(report: &Report, gil: &Gil, before: &[Finding]) -> Vec<Finding> {
    let mut found = gil::held_while_blocked(report, gil);
    found.extend(not_released::not_released(report, gil));
    let collections = before.iter().filter(|finding| finding.id == interpreter::COLLECTIONS);
    let explained_s = found.iter().chain(collections).map(|finding| finding.cost_s).sum();
    found.extend(gil::contended(gil, explained_s));
    found
}

fn finding<const N: usize>(
    id: &str,
    severity: Severity,
    cost_s: f64,
    message: String,
    evidence: [(&str, Value); N],
) -> Finding {
    let evidence = BTreeMap::from(evidence.map(|(name, value)| (name.to_owned(), value)));
    Finding { id: id.to_owned(), severity, cost_s: nanos(cost_s), headline: String::new(), message, evidence }
}

/// This many threads held up on average, or this part of one thread's time, are severe ...
const SEVERE: f64 = 0.25;
/// ... and this many are worth a change.
const MODERATE: f64 = 0.05;

fn severity(part: f64) -> Severity {
    match part {
        _ if part >= SEVERE => Severity::High,
        _ if part >= MODERATE => Severity::Medium,
        _ => Severity::Low,
    }
}

fn part(seconds: f64, whole: f64) -> f64 {
    if whole > 0.0 { (seconds / whole * 1e6).round() / 1e6 } else { 0.0 }
}

/// Lost records are one too many from the first on: what is missing is not known.
fn records_lost(report: &Report) -> Option<Finding> {
    let lost = report.session.lost_events;
    (lost > 0).then(|| {
        let message = format!(
            "{lost} records were lost on their way from the kernel: waits are missing. The threads' totals are exact \
             all the same. A --min-wait keeps fewer records."
        );
        finding("records-lost", Severity::Medium, 0.0, message, [("lost_events", json!(lost))])
    })
}

#[cfg(test)]
mod tests;
