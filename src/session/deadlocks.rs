//! The search for deadlocks among the threads of the observed processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use crate::event::{Event, Nanos, ProcessId, ThreadId, Tid};
use crate::interpreter::waits::ThreadWait;
use crate::process::clock::now;
use crate::sampler::Stopping;
use crate::sampler::inspection::{BlockedThreads, Inspection};
use crate::stack::label::one_line;

/// How often to search, in nanoseconds; less often if a search takes long: at intervals of this many times that.
const SEARCH_EVERY: u64 = 2_000_000_000;
const SPACING: u64 = 100;

impl Session<'_> {
    /// Searches for threads that wait for each other, and for the holders of locks without an owner.
    pub(super) fn find_blocked(&mut self) {
        let at = now();
        let mut again = false;
        for process in &self.observed {
            let inspected = Inspection::of(process, Stopping::Never).map(|mut inspection| inspection.blocked());
            let blocked = inspected.unwrap_or_else(|error| {
                log::debug!("process {}: {error}", process.pid);
                BlockedThreads::default()
            });
            self.collector.note_with_locks(process.pid, at, blocked.with_locks);
            for circle in &blocked.deadlocks {
                // The collector has not reported one of the threads yet.
                let Some(threads) = self.deadlocked(process.id, circle, &blocked.waits) else {
                    again = true;
                    continue;
                };
                // A deadlock never ends, and is reported once.
                let is_same = |known: &Vec<(ThreadId, Arc<str>)>| {
                    known.iter().map(|stuck| stuck.0).eq(threads.iter().map(|stuck| stuck.0))
                };
                if !self.profile.deadlocks.iter().any(is_same) {
                    self.events.push(Event::Deadlock { at, threads });
                }
            }
        }
        self.apply_events();
        let took = now().since(at);
        self.blocked_at = if again { at } else { Nanos(at.0 + SEARCH_EVERY.max(SPACING * took)) };
    }

    /// The threads of a circle, each with what it waits for; none if one of them is not known.
    fn deadlocked(
        &self,
        process: ProcessId,
        circle: &[Tid],
        waits: &BTreeMap<Tid, ThreadWait>,
    ) -> Option<Vec<(ThreadId, Arc<str>)>> {
        let threads = &self.profile.threads;
        let stuck = |tid: &Tid| {
            // Tids are reused: the last thread that had it is the one.
            let index = threads.iter().rposition(|info| info.tid == *tid && info.process == process)?;
            Some((ThreadId(index as u32), one_line(&waits.get(tid)?.label()).into()))
        };
        circle.iter().map(stuck).collect()
    }
}
