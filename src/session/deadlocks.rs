//! What blocked threads wait for, found out while they wait: at intervals for an observer, for sleeps that have become long,
//! and at the end. Threads that wait for each other are reported, and remembered by the profile whatever becomes of them.

use std::sync::Arc;

use super::Session;
use crate::event::{Event, LEFT_AT_FORK, LEFT_BY_ENDED, Nanos, Pid, ProcessId, ThreadId, Tid};
use crate::interpreter::registry::Sink;
use crate::interpreter::waits::BlockedThreads;
use crate::process::clock::now;
use crate::profile::SeenDeadlock;
use crate::sampler::Stopping;
use crate::sampler::inspection::Inspection;
use crate::stack::label::{frame_label, one_line};
use crate::stack::own::own_frame;

/// How often to search for an observer, in nanoseconds; less often if a search takes long: at intervals of this many times that.
const SEARCH_EVERY: u64 = 2_000_000_000;
const SPACING: u64 = 100;
/// Long waits are looked at again after this at the latest: the program may be about to end.
const MAX_SPACING: u64 = 700_000_000;

/// No more circles are reported of a process: one that is broken by a time limit comes again and again.
const MAX_DEADLOCKS: usize = 8;

impl Session<'_> {
    /// Searches all processes for threads that wait for each other, and for the holders of locks without an owner.
    pub(super) fn find_blocked(&mut self) {
        let at = now();
        let all: Vec<Pid> = self.observed.iter().map(|process| process.pid).collect();
        let again = self.inspect_blocked(&all, at);
        let took = now().since(at);
        self.blocked_at = if again { at } else { Nanos(at.0 + SEARCH_EVERY.max(SPACING * took)) };
    }

    /// Finds out what threads wait for that have slept for long, if there are new ones.
    pub(super) fn look_at_long_waits(&mut self, at: Nanos) {
        if at < self.long_waits_at {
            return;
        }
        let Session { profile, events, ids, collector, .. } = self;
        let pids = collector.long_waits(at, &mut Sink { stacks: &mut profile.stacks, events, ids });
        self.apply_events();
        if !pids.is_empty() {
            let again = self.inspect_blocked(&pids, at);
            let took = now().since(at);
            // A thread that is not known yet is at the next tick.
            self.long_waits_at = Nanos(at.0 + (SPACING * took).min(MAX_SPACING));
            self.blocked_at = if again { at } else { self.blocked_at };
        }
    }

    /// Finds out what threads of these processes wait for. Returns whether that should be repeated soon.
    fn inspect_blocked(&mut self, pids: &[Pid], at: Nanos) -> bool {
        let mut again = false;
        let wanted: Vec<(ProcessId, Pid)> = {
            let of = self.observed.iter().filter(|process| pids.contains(&process.pid));
            of.map(|process| (process.id, process.pid)).collect()
        };
        for (id, pid) in wanted {
            let Some(process) = self.observed.iter().find(|process| process.pid == pid) else { continue };
            let (inspection, blocked) = match Inspection::of(process, Stopping::Never) {
                Ok(mut inspection) => {
                    inspection.stacks.set_own(&self.options.own);
                    let blocked = inspection.blocked();
                    (inspection, blocked)
                }
                Err(error) => {
                    log::debug!("process {pid}: {error}");
                    continue;
                }
            };
            let Session { profile, events, ids, collector, .. } = &mut *self;
            let mut sink = Sink { stacks: &mut profile.stacks, events, ids };
            collector.note_blocked(pid, at, &blocked, &mut sink);
            let orphans = blocked.orphans.iter().map(|&tid| vec![tid]).collect::<Vec<_>>();
            for circle in blocked.deadlocks.iter().chain(&orphans) {
                // The collector has not reported one of the threads yet.
                let Some(threads) = self.deadlocked(id, circle, &blocked, &inspection) else {
                    again = true;
                    continue;
                };
                if self.is_new_deadlock(id, &threads) {
                    self.events.push(Event::Deadlock { at, threads });
                }
            }
        }
        self.apply_events();
        again
    }

    /// Whether a circle is to be reported: one that goes on is reported once.
    fn is_new_deadlock(&self, process: ProcessId, threads: &[(ThreadId, Arc<str>)]) -> bool {
        let rows: Vec<Option<ThreadId>> = threads.iter().map(|stuck| self.profile.row(stuck.0)).collect();
        let is_same = |known: &SeenDeadlock| known.threads.iter().map(|stuck| Some(stuck.0)).eq(rows.iter().copied());
        let is_of_process = |known: &&SeenDeadlock| {
            known.threads.first().is_some_and(|stuck| self.profile.threads[stuck.0.0 as usize].process == process)
        };
        let known = &self.profile.deadlocks;
        known.iter().filter(is_of_process).count() < MAX_DEADLOCKS && !known.iter().any(is_same)
    }

    /// The threads of a circle, each with what it waits for and where; none if one of them is not known.
    fn deadlocked(
        &self,
        process: ProcessId,
        circle: &[Tid],
        blocked: &BlockedThreads,
        inspection: &Inspection,
    ) -> Option<Vec<(ThreadId, Arc<str>)>> {
        let threads = &self.profile.threads;
        let stuck = |tid: &Tid| {
            // Tids are reused: the last thread that had it is the one.
            let thread = threads.iter().rfind(|info| info.tid == *tid && info.process == process)?.id;
            let wait = blocked.waits.get(tid)?;
            let awaited = one_line(&wait.label());
            let place = inspection.thread(*tid).and_then(|thread| own_frame(&inspection.stacks, thread.stack));
            let place = place.map(|frame| frame_label(&inspection.stacks, frame, false));
            let words = place.map_or(awaited.clone(), |place| format!("{awaited} in {place}"));
            let holder = match blocked.orphans.contains(tid) {
                true if blocked.forked => LEFT_AT_FORK,
                true => LEFT_BY_ENDED,
                false => "",
            };
            Some((thread, format!("{words}{holder}").into()))
        };
        circle.iter().map(stuck).collect()
    }
}
