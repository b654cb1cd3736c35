//! What [`super::Locks`] concludes about one lock. All times are nanoseconds.

use std::sync::Arc;

use crate::contention::{Bar, Blame, WaitStats};
use crate::event::{LockInfo, ThreadId, ThreadState};

/// Everything there is to say about one lock.
#[derive(Clone, Debug)]
pub struct LockSummary {
    /// What it is; as last known.
    pub info: Arc<LockInfo>,
    /// True if all of this comes from samples (memory mode): an estimate.
    pub estimated: bool,
    /// Waits for it. Its count is how often the lock was fought for.
    pub waits: WaitStats,
    /// How many of them were how long; those that are over.
    pub bars: Vec<Bar>,
    /// How often a thread went to sleep for it: more than once in a wait if another was faster.
    pub parks: u64,
    /// Samples of threads that spun for it before they slept (free-threaded builds, kernel mode).
    pub spun: u64,
    /// For how long at least one thread waited.
    pub contended_ns: u64,
    /// How often it was let go of while others waited, by another thread than the time before.
    pub owner_changes: u64,
    /// How often it was let go of while others waited; threads woken together count once.
    pub releases: u64,
    /// The part of `waits.total_ns` during which a known thread held it. With the next two it adds up to
    /// `waits.total_ns`, to the nanosecond.
    pub caused_ns: u64,
    /// The part during which it was free: released, but the next thread did not have it yet.
    pub gap_ns: u64,
    /// The part during which the holder is not known.
    pub unknown_ns: u64,
    /// Wait by who waited where. Sorted like the next two by descending time; sum: `waits.total_ns`.
    pub by_waiter: Vec<Blame>,
    /// Wait by who ended it, releasing the lock where. Sum: at most `waits.total_ns`; the rest ended otherwise.
    pub by_releaser: Vec<Blame>,
    /// Wait by who held the lock meanwhile, where. Sum: `caused_ns`.
    pub by_holder: Vec<Blame>,
    /// The part of `by_holder` in which the holder was off the CPU, and why.
    pub holder_off_cpu: Vec<(ThreadState, Blame)>,
    /// Every thread that waited for it or was seen to hold it.
    pub threads: Vec<LockShare>,
}

/// One thread's part in what happened at a lock.
#[derive(Clone, Copy, Debug)]
pub struct LockShare {
    /// Who.
    pub thread: ThreadId,
    /// Its waits.
    pub waits: WaitStats,
    /// How much waiting of others it caused as the holder.
    pub caused_ns: u64,
}
