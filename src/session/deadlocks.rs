//! Looking, now and then, for threads of the observed processes that wait for each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use crate::event::{Event, Nanos, ProcessId, ThreadId, Tid};
use crate::interpreter::waits::ThreadWait;
use crate::process::clock::now;
use crate::sampler::Stopping;
use crate::sampler::inspection::{BlockedThreads, Inspection};
use crate::stack::label::one_line;

/// How often what keeps threads from going on is looked for, in nanoseconds, and for which part of the time at most.
const BLOCKED_EVERY: u64 = 2_000_000_000;
const BLOCKED_PART: u64 = 100;

impl Session<'_> {
    /// Looks for threads that wait for each other, which they will for ever, and for who holds locks that do not tell.
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
                // A thread that has not been reported yet will be.
                let Some(threads) = self.deadlocked(process.id, circle, &blocked.waits) else {
                    again = true;
                    continue;
                };
                // One that is there stays for ever.
                let is_it = |known: &Vec<(ThreadId, Arc<str>)>| {
                    known.iter().map(|stuck| stuck.0).eq(threads.iter().map(|stuck| stuck.0))
                };
                if !self.profile.deadlocks.iter().any(is_it) {
                    self.events.push(Event::Deadlock { at, threads });
                }
            }
        }
        self.take_in();
        let took = now().since(at);
        self.blocked_at = if again { at } else { Nanos(at.0 + BLOCKED_EVERY.max(BLOCKED_PART * took)) };
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
            // The last incarnation of a tid is the one that is there.
            let index = threads.iter().rposition(|info| info.tid == *tid && info.process == process)?;
            Some((ThreadId(index as u32), one_line(&waits.get(tid)?.label()).into()))
        };
        circle.iter().map(stuck).collect()
    }
}
