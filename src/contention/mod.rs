//! What waiting for a GIL and waiting for a lock have in common: waits are counted, put in order, and put down to
//! those who caused them. Pure; used by [`crate::gil`] and [`crate::lockstats`].

pub(crate) mod by_thread;
pub(crate) mod cover;
pub(crate) mod engine;
pub(crate) mod evidence;
#[cfg(test)]
pub mod fixture;
pub(crate) mod in_order;
pub(crate) mod ledger;
pub mod lengths;
pub mod selection;

use self::lengths::Lengths;
use crate::event::{Nanos, ThreadId};
use crate::stack::StackId;

/// How many waits there were and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitStats {
    /// How many.
    pub count: u64,
    /// All together.
    pub total_ns: u64,
    /// The median.
    pub p50_ns: u64,
    /// 99 % were not longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl WaitStats {
    /// Counts one that goes on, and has for so long. The quantiles are of those that are over.
    pub fn add(&mut self, ns: u64) {
        self.count += 1;
        self.total_ns += ns;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The average.
    pub fn mean_ns(&self) -> u64 {
        self.total_ns.checked_div(self.count).unwrap_or(0)
    }
}

/// Time put down to a thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Whose.
    pub thread: ThreadId,
    /// Where.
    pub stack: StackId,
    /// How long.
    pub ns: u64,
}

/// The waits for one GIL or lock, and to whom they are put down.
#[derive(Clone, Debug, Default)]
pub struct Contention {
    /// Its waits.
    pub waits: WaitStats,
    /// How long those were that are over.
    pub lengths: Lengths,
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
    /// Wait by who held it meanwhile, where. Sum: `caused_ns`.
    pub by_holder: Vec<Blame>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// From.
    pub start: Nanos,
    /// Until.
    pub end: Nanos,
}

impl TimeRange {
    /// How long.
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
    /// Hand-overs to threads that waited.
    pub handoffs: Vec<Handoff>,
}

/// A stretch of time for which a thread held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// From when.
    pub start: Nanos,
    /// Until when.
    pub end: Nanos,
    /// Who.
    pub thread: ThreadId,
}

/// It went from one thread to another that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// Who released it.
    pub from: ThreadId,
    /// When.
    pub released: Nanos,
    /// Who got it.
    pub to: ThreadId,
    /// When.
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
