//! What [`super::Locks`] concludes about one lock. All times are nanoseconds.

use std::sync::Arc;

use crate::contention::{Blame, Contention, WaitStats};
use crate::event::{LockId, LockInfo, ThreadId, ThreadState};

/// Everything there is to say about one lock.
#[derive(Clone, Debug)]
pub struct LockSummary {
    pub id: LockId,
    /// What it is; as last known.
    pub info: Arc<LockInfo>,
    /// True if all of this comes from samples (memory mode): an estimate.
    pub estimated: bool,
    /// The number of waits is how often the lock was contended.
    pub contention: Contention,
    /// How often a thread went to sleep for it: more than once in a wait if another was faster.
    pub parks: u64,
    /// Samples of threads that spun for it before they slept (free-threaded builds, kernel mode).
    pub spun: u64,
    /// How often it was released while others waited by another thread than the time before.
    pub owner_changes: u64,
    /// How often it was released while others waited; threads woken together count once.
    pub releases: u64,
    /// The part of `contention.by_holder` in which the holder was off the CPU, and why.
    pub holder_off_cpu: Vec<(ThreadState, Blame)>,
    /// Every thread that waited for it or was seen to hold it.
    pub threads: Vec<LockShare>,
}

impl LockSummary {
    /// A lock at which nothing has happened.
    pub fn nothing_yet(id: LockId, info: Arc<LockInfo>) -> LockSummary {
        LockSummary {
            id,
            info,
            estimated: false,
            contention: Contention::default(),
            parks: 0,
            spun: 0,
            owner_changes: 0,
            releases: 0,
            holder_off_cpu: Vec::new(),
            threads: Vec::new(),
        }
    }
}

/// One thread's part in what happened at a lock.
#[derive(Clone, Copy, Debug)]
pub struct LockShare {
    pub thread: ThreadId,
    pub waits: WaitStats,
    /// How much waiting of others it caused as the holder.
    pub caused_ns: u64,
}
