//! What waiting for a GIL and waiting for a lock have in common: waits are counted, put in order, and put down to
//! those who caused them. Pure; used by [`crate::gil`] and [`crate::lockstats`].

pub mod by_thread;
pub mod cover;
pub mod evidence;
#[cfg(test)]
pub mod fixture;
pub mod in_order;
pub mod ledger;

use crate::event::{Nanos, ThreadId};
use crate::intern::StackId;

/// A thread that was on the CPU for less, in nanoseconds, cannot have done more than look at what it waits for and sleep
/// again.
pub const A_LOOK_NS: u64 = 20_000;

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
    /// The average.
    pub fn mean_ns(&self) -> u64 {
        self.total_ns.checked_div(self.count).unwrap_or(0)
    }
}

/// How many waits there were up to a length: one bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Not longer than that, but longer than the bar before.
    pub upto_ns: u64,
    /// How many.
    pub count: u64,
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

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From.
    pub start: Nanos,
    /// Until.
    pub end: Nanos,
}

impl Part {
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
