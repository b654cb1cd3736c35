//! What waiting for a GIL and waiting for a lock have in common: waits are put in order, counted, and attributed to
//! those who caused them ([`engine`]). Pure; used by [`crate::gil`] and [`crate::lockstats`].

pub mod by_thread;
pub mod cover;
pub mod engine;
pub mod evidence;
#[cfg(test)]
pub mod fixture;
pub mod folding;
pub mod in_order;
pub mod ledger;
pub mod lengths;
pub mod selection;
pub mod unsampled;

use self::lengths::WaitLengths;
use crate::event::{Nanos, ThreadId};
use crate::stack::StackId;

/// How many waits there were and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitStats {
    pub count: u64,
    pub total_ns: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

impl WaitStats {
    /// Counts one that is not over and has lasted this long so far. The quantiles are of those that are over.
    pub fn add(&mut self, ns: u64) {
        self.count += 1;
        self.total_ns += ns;
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn mean_ns(&self) -> u64 {
        self.total_ns.checked_div(self.count).unwrap_or(0)
    }
}

/// Time attributed to a thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    pub thread: ThreadId,
    pub stack: StackId,
    pub ns: u64,
}

/// The waits for one GIL or lock, and to whom they are attributed.
#[derive(Clone, Debug, Default)]
pub struct Contention {
    pub waits: WaitStats,
    /// Only of those that are over.
    pub lengths: WaitLengths,
    /// For how long at least one thread waited.
    pub contended_ns: u64,
    /// The part of `waits.total_ns` during which a known thread held it. With the next two it adds up to
    /// `waits.total_ns`, to the nanosecond.
    pub caused_ns: u64,
    /// The part during which it was free: released, but the next thread did not have it yet.
    pub gap_ns: u64,
    /// The part during which the holder is not known.
    pub unknown_ns: u64,
    /// Wait by who waited where. Sorted like the next two by descending time; sum: `waits.total_ns`.
    pub by_waiter: Vec<Blame>,
    /// Wait by who ended it, releasing it where. Sum: at most `waits.total_ns`; the rest ended otherwise.
    pub by_releaser: Vec<Blame>,
    /// The part of `caused_ns` in which the holder was on a CPU, or was only sampled: where it was then is an estimate.
    pub on_cpu_ns: u64,
    /// How many samples that estimate rests on.
    pub samples: u64,
    /// Wait by who held it meanwhile, where. Sum: `caused_ns`.
    pub by_holder: Vec<Blame>,
    /// As `by_holder`, each with the thread that waited. Sum: `caused_ns`, unless there are too many pairs of threads; where
    /// there are too many stacks, the rest of a pair has [`StackId::EMPTY`].
    pub by_pair: Vec<(ThreadId, Blame)>,
}

impl Contention {
    /// How far the share of a stack in all of the waiting may be off, as a part of it, at 95 % confidence: at most, which is
    /// for one that has half of what was sampled. None if nothing is estimated.
    pub fn margin(&self) -> Option<f64> {
        let estimated = self.on_cpu_ns as f64 / self.waits.total_ns.max(1) as f64;
        (estimated > 0.0).then(|| estimated * (1.96 * 0.5 / (self.samples.max(1) as f64).sqrt()).min(1.0))
    }
}

/// A stretch of time, without the moment at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub start: Nanos,
    pub end: Nanos,
}

impl TimeRange {
    pub fn ns(&self) -> u64 {
        self.end.since(self.start)
    }
}

/// What happened when at one GIL or lock, for traces; kept only if asked for.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Who held it, in the order of time, without overlaps. Gaps: it was free, or nobody waited and the holder is not
    /// known.
    pub holds: Vec<Hold>,
    /// How many threads waited from each moment on.
    pub waiters: Vec<(Nanos, u32)>,
    /// Only to threads that waited.
    pub handoffs: Vec<Handoff>,
}

/// A stretch of time for which a thread held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub start: Nanos,
    pub end: Nanos,
    pub thread: ThreadId,
}

/// It went from one thread to another that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    pub from: ThreadId,
    pub released: Nanos,
    pub to: ThreadId,
    pub acquired: Nanos,
}

/// How many waited from each moment on, from the beginnings (+1) and ends (-1) of waits.
pub fn count(mut changes: Vec<(Nanos, i32)>) -> Vec<(Nanos, u32)> {
    changes.sort_unstable();
    let mut counts: Vec<(Nanos, u32)> = Vec::new();
    let mut now = 0;
    for (at, change) in changes {
        now += change;
        let waiters = u32::try_from(now).unwrap_or(0);
        match counts.last_mut() {
            Some(last) if last.0 == at => last.1 = waiters,
            _ => counts.push((at, waiters)),
        }
    }
    counts
}
