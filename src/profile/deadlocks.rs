//! Threads that were seen to wait for each other, and whether they still do. Used by [`super::Profile`].

use std::sync::Arc;

use super::ThreadInfo;
use crate::contention::folding::FoldedRows;
use crate::event::{Nanos, ThreadId};

/// Threads of a program that ends run for this long at most, in nanoseconds: that is not what breaks a circle.
const ENDING: u64 = 100_000_000;

/// Threads each of which waits for the next, and the last for the first; or one that waits for what nobody will release.
#[derive(Clone, Debug)]
pub struct SeenDeadlock {
    pub at: Nanos,
    /// Each with what it waits for, in words.
    pub threads: Vec<(ThreadId, Arc<str>)>,
    /// When one of them ran again.
    ran_at: Option<Nanos>,
}

impl SeenDeadlock {
    pub(super) fn new(at: Nanos, threads: Vec<(ThreadId, Arc<str>)>) -> SeenDeadlock {
        SeenDeadlock { at, threads, ran_at: None }
    }

    /// A thread was on a CPU at that moment.
    pub(super) fn ran(&mut self, thread: ThreadId, at: Nanos) {
        if at > self.at && self.ran_at.is_none() && self.threads.iter().any(|stuck| stuck.0 == thread) {
            self.ran_at = Some(at);
        }
    }

    /// Threads that have ended become part of other rows.
    pub(super) fn fold(&mut self, rows: &FoldedRows) {
        self.threads.iter_mut().for_each(|(thread, _)| rows.put(thread));
    }

    /// For how long it went on at least, if something has broken it: a time limit, or a signal. `infos` are all threads.
    pub fn broken_after(&self, infos: &[ThreadInfo]) -> Option<u64> {
        let ran_at = self.ran_at?;
        let lived_on = |stuck: &(ThreadId, Arc<str>)| infos[stuck.0.0 as usize].end.since(ran_at) > ENDING;
        self.threads.iter().any(lived_on).then(|| ran_at.since(self.at))
    }
}
