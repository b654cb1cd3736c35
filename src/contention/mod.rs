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
