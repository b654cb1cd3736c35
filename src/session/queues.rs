//! How much waits in the queues of pools: read a few times a second, while the program runs.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Session;
use crate::cpython::work_queue::WorkQueue;
use crate::event::{Event, Nanos, ProcessId, ThreadId};
use crate::interpreter::work_queues::work_queues;
use crate::process::clock::now;
use crate::process::memory::LiveMemory;
use crate::sampler::Stopping;
use crate::sampler::inspection::Inspection;

/// How often lengths are read, in nanoseconds.
const INTERVAL: u64 = 100_000_000;
/// How often to search for queues of threads whose queue is not known; less often if a search takes long: at intervals of this
/// many times that.
const SEARCH_EVERY: u64 = 500_000_000;
const SPACING: u64 = 100;
/// And at the latest after this.
const MAX_SPACING: u64 = 1_000_000_000;
/// How often the queue of a thread is searched for.
const MAX_SEARCHES: u8 = 3;

/// The queues of the observed processes' pools.
#[derive(Debug, Default)]
pub(super) struct QueueWatch {
    next: Nanos,
    search_at: Nanos,
    searches: FxHashMap<ThreadId, u8>,
    known: FxHashMap<ThreadId, WorkQueue>,
}

impl QueueWatch {
    /// When to look next.
    pub(super) fn next(&self) -> Nanos {
        self.next
    }
}

impl Session<'_> {
    /// Reads how long the queues are, after a search for those that are not known.
    pub(super) fn look_at_queues(&mut self, at: Nanos) {
        self.queues.next = Nanos(at.0 + INTERVAL);
        let pools = self.profile.pools.threads();
        let alive = pools.iter().map(|(row, _)| &self.profile.threads[row.0 as usize]).filter(|info| !info.exited);
        let threads: Vec<ThreadId> = alive.map(|info| info.id).collect();
        let mut found = FxHashSet::default();
        if at >= self.queues.search_at {
            found = self.find_queues(&threads, at);
        }
        let mut seen = FxHashSet::default();
        for thread in threads {
            let Some(&queue) = self.queues.known.get(&thread) else { continue };
            let Some(process) = self.profile.thread(thread).map(|info| info.process) else { continue };
            // One thread of each pool is enough, once all are known.
            if !seen.insert((process, queue.address)) && !found.contains(&thread) {
                continue;
            }
            let Some(process) = self.observed.iter().find(|observed| observed.id == process) else { continue };
            if let Some(length) = queue.length(&LiveMemory(process.pid), &process.layout) {
                self.events.push(Event::QueueLength { at, thread, queue: queue.address, length });
            }
        }
        self.apply_events();
    }

    /// Searches for the queues of threads of pools. Returns those for which one was found.
    fn find_queues(&mut self, threads: &[ThreadId], at: Nanos) -> FxHashSet<ThreadId> {
        let watch = &mut self.queues;
        let alive: FxHashSet<ThreadId> = threads.iter().copied().collect();
        watch.known.retain(|thread, _| alive.contains(thread));
        watch.searches.retain(|thread, _| alive.contains(thread));
        let is_wanted = |thread: &&ThreadId| {
            !watch.known.contains_key(thread) && watch.searches.get(thread).is_none_or(|&made| made < MAX_SEARCHES)
        };
        let wanted: Vec<ThreadId> = threads.iter().filter(is_wanted).copied().collect();
        let process_of = |thread: &ThreadId| self.profile.thread(*thread).map(|info| info.process);
        let processes: FxHashSet<ProcessId> = wanted.iter().filter_map(process_of).collect();
        let mut found = FxHashSet::default();
        for process in self.observed.iter().filter(|process| processes.contains(&process.id)) {
            let queues = match Inspection::of(process, Stopping::Never) {
                Ok(inspection) => work_queues(inspection.view()),
                Err(error) => {
                    log::debug!("process {}: {error}", process.pid);
                    continue;
                }
            };
            for &thread in wanted.iter().filter(|thread| process_of(thread) == Some(process.id)) {
                let Some(tid) = self.profile.thread(thread).map(|info| info.tid) else { continue };
                *watch.searches.entry(thread).or_default() += 1;
                if let Some((_, queue)) = queues.iter().find(|(of, _)| *of == tid) {
                    watch.known.insert(thread, *queue);
                    found.insert(thread);
                }
            }
        }
        let took = now().since(at);
        watch.search_at = Nanos(at.0 + SEARCH_EVERY.max((SPACING * took).min(MAX_SPACING)));
        found
    }
}
