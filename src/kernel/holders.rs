//! Who holds a lock that threads of a process wait for, as far as its releases do not show it: asked of the lock itself, or
//! found out while the wait lasted. Part of [`super::traced`].

use super::abi::{KernelRecord, OffCpuRecord, OffFlags};
use super::traced::{ThreadLookup, ThreadSeed, Traced};
use crate::event::{Event, LockId, Nanos, OffCpu, Syscall, ThreadId, ThreadState, Tid};
use crate::interpreter::long_waits::{LONG_IMPORT, LONG_WAIT};
use crate::interpreter::registry::Sink;
use crate::interpreter::waits::{BlockedThreads, may_wait_for_thread};
use crate::process::memory::Memory;
use crate::stack::StackId;
use crate::stack::idle_wait::import_site;

/// The threads of a process that is killed all end within this time, in nanoseconds.
const KILLED_TOGETHER: u64 = 200_000_000;

/// The thread that was found to hold what another waits for, while it waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotedHolder {
    /// When the wait began.
    start: Nanos,
    at: Nanos,
    tid: Tid,
    thread: ThreadId,
    stack: StackId,
}

impl<M: Memory> Traced<M> {
    /// A release while others wait is recorded. If nobody has ended a wait, the lock may say who holds it `now`: the same
    /// thread as when the wait ended, if that is not longer ago than the wait took.
    pub(super) fn find_holder(
        &self,
        off: &OffCpuRecord,
        event: &OffCpu,
        now: Nanos,
        peek: ThreadLookup<'_>,
        sink: &mut Sink<'_>,
    ) {
        let ThreadState::LockWait(lock) = event.state else { return };
        let long_ago = now.since(event.end) > event.end.since(event.start);
        let ended = long_ago || event.wake.is_some_and(|wake| wake.by.is_some());
        let Some(waited) = self.locks.waited_at(self.futex_of(off).1).filter(|_| !ended) else { return };
        // Whoever releases a lock wakes a waiter: as long as the same wait goes on, the same thread holds it.
        let (at, held) = &self.held;
        let held = if off.start <= *at { held.as_slice() } else { &[] };
        let tid = self.view().holder(&waited, || held).map(|holder| holder.tid);
        let holder = tid.and_then(|tid| Some((*self.threads.get(&tid)?, self.stack_of_sleeper(tid, now, peek))));
        let holder = holder.or_else(|| self.noted_holder(off, now, peek));
        if let Some((thread, stack)) = holder.filter(|(holder, _)| *holder != event.thread) {
            sink.events.push(Event::LockHeld { at: event.end, lock, thread, stack });
        }
    }

    /// Where a thread is off the CPU: it may have been so all the time, which shows only when it is back.
    fn stack_of_sleeper(&self, tid: Tid, now: Nanos, peek: ThreadLookup<'_>) -> StackId {
        let off = peek(tid).and_then(|thread| thread.under_way(now).0);
        off.and_then(|off| self.stack_of(&off)).unwrap_or(StackId::EMPTY)
    }

    /// The thread that was found to hold what this wait is for, if it has slept from then on: so it cannot have released it.
    fn noted_holder(&self, off: &OffCpuRecord, now: Nanos, peek: ThreadLookup<'_>) -> Option<(ThreadId, StackId)> {
        let noted = self.noted.get(&off.tid).filter(|noted| noted.start == off.start)?;
        let under_way = || peek(noted.tid).and_then(|thread| thread.under_way(now).0).map(|off| (off.start, now));
        let (start, end) = self.slept.get(&noted.tid).copied().or_else(under_way)?;
        let slept_on = start <= noted.at && end.0 + KILLED_TOGETHER >= off.end.0;
        slept_on.then_some((noted.thread, noted.stack))
    }

    /// Remembers how long threads slept that may hold what others wait for.
    pub(super) fn note_sleeps(&mut self, records: &[KernelRecord]) {
        self.slept.clear();
        if self.noted.is_empty() {
            return;
        }
        for record in records {
            if let KernelRecord::Off(off) = record
                && self.noted.values().any(|noted| noted.tid == off.tid && off.start <= noted.at)
            {
                self.slept.insert(off.tid, (off.start, off.end));
            }
        }
    }

    /// Whether threads sleep that have done so for long by now, for what another may hold. Each sleep counts once.
    pub(super) fn has_new_long_waits(&mut self, now: Nanos, peek: ThreadLookup<'_>, sink: &mut Sink<'_>) -> bool {
        if !self.long_waits.is_due(now) {
            return false;
        }
        let states: Vec<_> = self.threads.keys().filter_map(|&tid| Some((tid, peek(tid)?))).collect();
        let asleep: Vec<(Tid, Nanos, u64)> = states
            .iter()
            .filter_map(|(tid, state)| {
                let off = state.under_way(now).0?;
                let stack = self.stack_of(&off)?;
                let sleeps = off.kind.is_blocked() && off.syscall == Syscall::FUTEX.0;
                let may_wait = stack == StackId::EMPTY || may_wait_for_thread(sink.stacks, stack);
                let limit = import_site(sink.stacks, stack).map_or(LONG_WAIT, |_| LONG_IMPORT);
                (sleeps && may_wait).then_some((*tid, off.start, limit))
            })
            .collect();
        let new = self.long_waits.new_ones(now, asleep.into_iter());
        let mut found = false;
        for (tid, state) in states.iter().filter(|(tid, _)| new.contains(tid)) {
            let Some(off) = state.under_way(now).0 else { continue };
            self.seed_sleeper(&off, now, sink);
            if self.stack_of(&off).is_some_and(|stack| may_wait_for_thread(sink.stacks, stack)) {
                // So that the lock is known while there is a process to ask.
                let _ = self.under_way(*tid, state, now, peek, sink);
                found = true;
            }
        }
        found
    }

    /// Reads the stack of a thread that has slept for long and that the kernel did not know to run Python when it left the CPU.
    fn seed_sleeper(&mut self, off: &OffCpuRecord, now: Nanos, sink: &mut Sink<'_>) {
        let thread = self.registry.threads.iter().find(|thread| thread.os.tid() == off.tid);
        let Some(thread) = thread.filter(|_| self.stack_of(off) == Some(StackId::EMPTY)) else { return };
        let tstates: Vec<u64> = thread.slots.iter().map(|slot| slot.reader.tstate()).collect();
        let stack = self.stacks.of_sleeper(&self.memory, &self.layout, now, &tstates, sink.stacks);
        let call = Syscall(off.syscall);
        let state = match off.flags.has(OffFlags::HELD) {
            true => ThreadState::GilHeldOffCpu(call),
            false => ThreadState::Blocked(call),
        };
        let futex = thread.os.futex();
        if let Some(stack) = stack.filter(|&stack| stack != StackId::EMPTY) {
            let caller = self.caller_of(futex, now);
            let (how, lock) = self.futex_of(off);
            self.under_way.remove(&off.tid);
            self.seed(off.tid, ThreadSeed { state, stack, left_early: Some((off.start, how, lock)), caller });
        }
    }

    /// Takes over what was found out about blocked threads. Those that still wait for the same do so for who holds it.
    pub(super) fn note_blocked(
        &mut self,
        at: Nanos,
        blocked: &BlockedThreads,
        peek: ThreadLookup<'_>,
        sink: &mut Sink<'_>,
    ) {
        self.held = (at, blocked.with_locks.clone());
        for (tid, wait) in &blocked.waits {
            let Some((start, lock)) = self.wait_under_way(*tid, wait.waited_at, at, peek) else { continue };
            self.locks.note(wait, sink);
            let Some(holder) = wait.held_by.filter(|holder| holder != tid) else { continue };
            let Some(&thread) = self.threads.get(&holder) else { continue };
            let stack = self.stack_of_sleeper(holder, at, peek);
            sink.events.push(Event::LockHeld { at, lock, thread, stack });
            self.noted.insert(*tid, NotedHolder { start, at, tid: holder, thread, stack });
        }
    }

    /// The lock that a thread was found to wait for at an address, and since when, if that wait goes on.
    fn wait_under_way(&self, tid: Tid, at: u64, now: Nanos, peek: ThreadLookup<'_>) -> Option<(Nanos, LockId)> {
        let known = self.under_way.get(&tid)?;
        let ThreadState::LockWait(lock) = known.state else { return None };
        let off = peek(tid)?.under_way(now).0?;
        (off.start == known.start && self.futex_of(&off).1 == at).then_some((off.start, lock))
    }
}
