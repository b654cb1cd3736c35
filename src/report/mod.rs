//! What a recording amounts to: each thread's time, each GIL's waits and who caused them, and what is wrong. Made at
//! the end of `gilscope record`, for the terminal and as JSON; `gilscope report` reads the JSON back.
//!
//! Pure. [`model`] says what a report consists of, `ledger` and `gils` fill it, `findings` judges it, [`verdict()`] sums
//! it up, and [`text`] prints it. The last three know nothing but the report: a saved one prints like a new one.

mod agent_brief;
mod blocked;
mod causes;
pub(crate) mod check;
mod collections;
pub(crate) mod columns;
mod connections;
mod counted;
mod delays;
pub(crate) mod difference;
mod findings;
#[cfg(test)]
pub(crate) mod fixture;
mod gils;
mod groups;
mod ledger;
mod locks;
pub mod model;
mod pool_model;
mod pools;
mod refcounts;
mod saved;
#[cfg(test)]
mod schema;
mod states;
pub mod text;
mod verdict;

use std::sync::Arc;

use crate::event::ThreadId;
use crate::gil::summary::GilSummary;
use crate::lockstats::summary::LockSummary;
use crate::profile::{ChildCounts, MachineUse, Profile, SeenDeadlock};
use crate::stack::idle_wait::Work;
use crate::stack::label::one_line;

use self::groups::ThreadGroups;
use self::model::{
    BrokenCircle, ChildProcesses, Idle, Lock, Machine, OtherProcess, SCHEMA, Session, Stuck, Target,
    UnobservedProcess, VERSION,
};

pub(crate) use self::agent_brief::agent_brief;
pub(crate) use self::groups::pattern as thread_group;
pub use self::ledger::ledgers;
pub use self::model::{Attribution, Report};
pub use self::refcounts::unavailable;
pub(crate) use self::saved::parse;
pub use self::saved::read;
pub use self::verdict::verdict;

/// To how many stacks waiting is attributed in one list: a program has more of them than anybody reads.
pub const MAX_ATTRIBUTED: usize = 1000;

impl Report {
    /// Locks, without what may be something else.
    fn real_locks(&self) -> impl Iterator<Item = &Lock> {
        self.locks.iter().filter(|lock| !lock.is_signal())
    }

    /// Who waited until a connection of a pool was free, and where, the longest first.
    fn waiting_for_connections(&self) -> impl Iterator<Item = &Idle> {
        self.waiting_for_limited.iter().filter(|idle| idle.kind == Work::Connection.name())
    }

    /// For how long, in seconds, all of them together.
    fn waiting_for_connections_s(&self) -> f64 {
        self.waiting_for_connections().map(|idle| idle.by.seconds).sum()
    }

    /// Child processes that run Python and were not observed: how many, and the CPU time they used, in seconds. `None` if there
    /// are none.
    pub fn unobserved_python(&self) -> Option<(usize, f64)> {
        let python = || self.unobserved_children.iter().filter(|child| child.python);
        let counts = self.children.unwrap_or_default();
        let count = python().count().max(usize::try_from(counts.not_observed_python).unwrap_or(usize::MAX));
        let seen: f64 = python().map(|child| child.cpu_s).sum();
        // That of other programs cannot be told from it, nor that of processes that were observed.
        let only_python = !counts.followed && counts.not_observed == counts.not_observed_python;
        let cpu_s = if only_python { seen.max(counts.ended_cpu_s) } else { seen };
        (count > 0).then_some((count, cpu_s))
    }

    /// The report of a finished recording.
    pub fn of(profile: &Profile, blame: Attribution) -> Report {
        let period = profile.session.period_ns();
        let gils: Vec<GilSummary> = profile.gils.iter().map(|gil| gil.summary(period)).collect();
        Report::new(profile, &gils, &profile.locks.summaries(period), blame)
    }

    /// The report of a recording whose GILs and locks have been summed up.
    pub fn new(profile: &Profile, gils: &[GilSummary], locks: &[LockSummary], blame: Attribution) -> Report {
        let threads = ledger::ledgers(profile, gils);
        let groups = ThreadGroups::new(profile);
        let mut report = Report {
            schema: format!("{SCHEMA}/{VERSION}"),
            target: target(profile, gils),
            session: session(profile),
            gils: gils.iter().map(|gil| gils::gil(profile, (gil, gils), &threads, &groups)).collect(),
            locks: locks::locks(profile, locks, &threads, &groups),
            threads,
            pauses: locks::pauses(profile, locks),
            collections: collections::collections(profile, gils),
            deadlocks: deadlocks(profile),
            broken_circles: broken_circles(profile),
            refcounts: refcounts::refcounts(profile),
            blocked: blocked::blocked(profile, &groups),
            waiting_for_work: locks::waiting_for_work(profile, false),
            waiting_for_limited: locks::waiting_for_work(profile, true),
            pools: pools::pools(profile),
            connections: connections::connections(profile),
            unobserved_children: unobserved_children(profile),
            children: profile.session.children.map(children),
            findings: Vec::new(),
            blame,
        };
        if let Some(selection) = profile.selection() {
            let shown: Vec<_> = (0..).map(ThreadId).zip(std::mem::take(&mut report.threads)).collect();
            report.threads =
                shown.into_iter().filter(|(id, _)| selection.has_thread(*id)).map(|(_, thread)| thread).collect();
        }
        report.findings = findings::findings(&report);
        if profile.selection().is_some_and(|selection| !selection.has_all_waits()) {
            // A convoy shows in all turns of a thread, not in some.
            report.findings.retain(|finding| finding.id != findings::CONVOY);
        }
        report
    }
}

fn target(profile: &Profile, gils: &[GilSummary]) -> Target {
    let Some(info) = profile.processes.first() else { return Target::default() };
    let enabled = gils.iter().any(|gil| gil.info.process.0 == 0 && gil.info.enabled);
    Target {
        pid: info.pid,
        command: info.command.clone(),
        python: info.python.clone(),
        free_threaded: info.free_threaded,
        gil_enabled: enabled || !info.free_threaded,
    }
}

fn session(profile: &Profile) -> Session {
    let session = &profile.session;
    Session {
        mode: session.mode,
        duration_s: seconds(session.end.since(session.start)),
        rate_hz: session.rate_hz,
        samples: profile.samples(),
        torn_samples: profile.lost(),
        lost_events: session.records_lost,
        profiler_cpu_s: seconds(session.profiler_cpu_ns),
        degraded: session.degraded.clone(),
        machine: session.machine.as_ref().map(machine),
        filter: session.filter.clone(),
    }
}

fn children(counts: ChildCounts) -> ChildProcesses {
    ChildProcesses {
        started: counts.started,
        not_observed: counts.unobserved,
        not_observed_python: counts.unobserved_python,
        followed: counts.followed,
        exact: counts.exact,
        ended_cpu_s: seconds(counts.ended_cpu_ns),
    }
}

/// Merged recordings may have observed what one of them did not.
fn unobserved_children(profile: &Profile) -> Vec<UnobservedProcess> {
    let children = profile.session.unobserved.iter();
    let children = children.filter(|child| profile.processes.iter().all(|info| info.pid != child.pid));
    let children = children.map(|child| UnobservedProcess {
        pid: child.pid,
        command: child.command.clone(),
        python: child.is_python,
        cpu_s: seconds(child.cpu_ns),
    });
    children.collect()
}

fn machine(machine: &MachineUse) -> Machine {
    let cpus = |cpu_ns| ratio(cpu_ns, machine.span_ns);
    let others = machine.others.iter();
    Machine {
        cpus: machine.cpus,
        limit_cpus: machine.limit_percent.map(|percent| f64::from(percent) / 100.0),
        throttled_s: seconds(machine.throttled_ns),
        others_cpus: cpus(machine.others_ns),
        others: others
            .map(|process| OtherProcess {
                pid: process.pid,
                name: one_line(&process.name),
                cpus: cpus(process.cpu_ns),
            })
            .collect(),
    }
}

fn deadlocks(profile: &Profile) -> Vec<Vec<Stuck>> {
    let lasting = profile.deadlocks.iter().filter(|deadlock| deadlock.broken_after(&profile.threads).is_none());
    lasting.map(|deadlock| stuck(profile, deadlock)).collect()
}

fn stuck(profile: &Profile, deadlock: &SeenDeadlock) -> Vec<Stuck> {
    let stuck = |&(thread, ref waits_for): &(ThreadId, Arc<str>)| Stuck {
        tid: profile.threads[thread.0 as usize].tid,
        thread: thread_name(profile, thread),
        waits_for: waits_for.to_string(),
    };
    deadlock.threads.iter().map(stuck).collect()
}

/// Circles that did not last. Those that come again and again, with other threads of the same names, are one.
fn broken_circles(profile: &Profile) -> Vec<BrokenCircle> {
    let mut circles: Vec<BrokenCircle> = Vec::new();
    for deadlock in &profile.deadlocks {
        let Some(lasted) = deadlock.broken_after(&profile.threads).map(seconds) else { continue };
        let threads = stuck(profile, deadlock);
        let name = |stuck: &Stuck| stuck.thread.trim_end_matches(|char: char| char.is_ascii_digit()).to_owned();
        let kind = |stuck: &Stuck| (name(stuck), stuck.waits_for.clone());
        let is_same = |known: &&mut BrokenCircle| known.threads.iter().map(kind).eq(threads.iter().map(kind));
        match circles.iter_mut().find(is_same) {
            Some(known) => {
                known.times += 1;
                known.longest_s = known.longest_s.max(lasted);
            }
            None => circles.push(BrokenCircle { threads, times: 1, longest_s: lasted }),
        }
    }
    circles
}

/// What to call a thread where its tid stands beside it.
fn thread_name(profile: &Profile, thread: ThreadId) -> String {
    let info = &profile.threads[thread.0 as usize];
    info.shown_name().map_or_else(|| format!("thread {}", info.tid), |name| one_line(&name))
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Without the digits that arithmetic added: they would not come back from JSON as they went in.
fn nanos(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e9
}

/// A part of a whole, at most 1, to six decimals: more would only pretend to be known.
fn fraction(part: u64, whole: u64) -> f64 {
    ratio(part, whole).min(1.0)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e6).round() / 1e6 }
}

#[cfg(test)]
mod tests;
