//! Waits for locks in memory mode: an estimate from looks at all threads at every tick. Used by [`super::analysis`]. All
//! lengths are periods of the sampling rate.

use super::resource::LockResource;
use crate::contention::TimeRange;
use crate::contention::by_thread::ByThread;
use crate::contention::engine::Engine;
use crate::contention::folding::FoldedRows;
use crate::contention::selection::PastWait;
use crate::event::{LockId, Nanos, ThreadId};
use crate::stack::StackId;

/// Ticks in a row at which a thread waited for the same lock with the same stack: taken for one wait.
#[derive(Clone, Copy, Debug)]
struct SampledWait {
    lock: LockId,
    stack: StackId,
    part: TimeRange,
    length: u64,
}

/// What samples say of one lock.
#[derive(Clone, Copy, Debug, Default)]
struct SampledLock {
    /// When somebody was last seen to wait; none if all that is known of the lock was measured.
    waited_at: Option<Nanos>,
    /// For how long somebody waited.
    contended: u64,
    /// Who was last seen to hold it, when and where.
    held: Option<(Nanos, ThreadId, StackId)>,
}

/// What samples say of all locks.
#[derive(Debug, Default)]
pub struct SampledLockWaits {
    /// By [`LockId`].
    locks: Vec<SampledLock>,
    waits: ByThread<Option<SampledWait>>,
}

impl SampledLockWaits {
    /// A lock was found. It gets the next id.
    pub fn add_lock(&mut self) {
        self.locks.push(SampledLock::default());
    }

    /// A thread held a lock at a tick.
    pub fn held(&mut self, at: Nanos, lock: LockId, thread: ThreadId, stack: StackId) {
        self.locks[lock.0 as usize].held = Some((at, thread, stack));
    }

    /// Who was seen to hold a lock at that moment, and where.
    pub fn holder(&self, lock: LockId, at: Nanos) -> Option<(ThreadId, StackId)> {
        let (seen, thread, stack) = self.locks[lock.0 as usize].held?;
        (seen == at).then_some((thread, stack))
    }

    /// For how long somebody waited for a lock; none if that was not sampled but measured.
    pub fn contended(&self, lock: LockId) -> Option<u64> {
        let lock = &self.locks[lock.0 as usize];
        lock.waited_at.map(|_| lock.contended)
    }

    /// A thread waits for a lock, or not, at a tick.
    pub fn sample(
        &mut self,
        engine: &mut Engine<LockResource>,
        at: Nanos,
        periods: u64,
        thread: ThreadId,
        lock: Option<LockId>,
        stack: StackId,
    ) {
        let last = self.waits.of(thread);
        let goes_on = last.filter(|wait| Some(wait.lock) == lock && wait.stack == stack);
        if let Some(wait) = last.take_if(|_| goes_on.is_none()) {
            end(engine, thread, &wait);
        }
        let Some(id) = lock else { return };
        let (start, before) = goes_on.map_or((at, 0), |wait| (wait.part.start, wait.length));
        *last = Some(SampledWait { lock: id, stack, part: TimeRange { start, end: at }, length: before + periods });
        if !engine.retention().counts(thread, stack, lock, at) {
            return;
        }
        let holder = self.holder(id, at).filter(|(holder, _)| *holder != thread);
        let contended = engine.get_mut(id.0 as usize);
        if goes_on.is_none() {
            contended.resource.parks += 1;
            contended.ledger.wait_begins(thread);
        }
        contended.ledger.waited(thread, stack, periods);
        match holder {
            Some((holder, place)) => {
                contended.ledger.holder_sampled(at);
                contended.ledger.caused_by_sampled(thread, holder, place, periods);
            }
            None => contended.ledger.is_unknown(periods),
        }
        let lock = &mut self.locks[id.0 as usize];
        if lock.waited_at.replace(at) != Some(at) {
            lock.contended += periods;
        }
    }

    /// Threads that have ended become part of other rows. Their waits are over.
    pub fn fold(&mut self, engine: &mut Engine<LockResource>, rows: &FoldedRows) {
        for (thread, wait) in self.waits.iter_mut().filter(|(thread, _)| rows.is_folded(*thread)) {
            if let Some(wait) = wait.take() {
                end(engine, thread, &wait);
            }
        }
        self.waits.forget(rows);
        let held = self.locks.iter_mut().filter_map(|lock| lock.held.as_mut());
        held.for_each(|(_, thread, _)| rows.put(thread));
    }

    pub fn finish(&mut self, engine: &mut Engine<LockResource>) {
        for (thread, wait) in self.waits.iter_mut() {
            if let Some(wait) = wait.take() {
                end(engine, thread, &wait);
            }
        }
    }
}

fn end(engine: &mut Engine<LockResource>, thread: ThreadId, wait: &SampledWait) {
    let &SampledWait { lock, stack, part, length } = wait;
    engine.keep_past(PastWait { thread, part, length, sampled: true });
    if engine.retention().counts(thread, stack, Some(lock), part.start) {
        engine.get_mut(lock.0 as usize).ledger.wait_ends(thread, length);
    }
}
