//! What happened at the locks of all observed processes. Fed by [`crate::profile::Profile`].

use std::cmp::Reverse;
use std::sync::Arc;

use super::releases::LockRelease;
use super::resource::LockResource;
use super::sampled::SampledLockWaits;
use super::summary::{LockShare, LockSummary};
use super::trend::Trend;
use crate::contention::engine::{Contended, Engine};
use crate::contention::folding::FoldedRows;
use crate::contention::selection::{PastWait, Retention};
use crate::contention::{Blame, TimeRange, Timeline};
use crate::event::{LockId, LockInfo, LockKind, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;
use rustc_hash::FxHashMap;

/// A release is known only when the thread that it woke is back on a CPU: it is waited for that long, in nanoseconds.
const SETTLING_NS: u64 = 20_000_000;

/// All locks of the observed processes, and what happened at them.
#[derive(Debug, Default)]
pub struct Locks {
    infos: Vec<Arc<LockInfo>>,
    /// By [`LockId`].
    engine: Engine<LockResource>,
    /// What is known from samples (memory mode).
    sampled: SampledLockWaits,
    pauses: Trend,
    /// Samples of threads that spun for a lock that is not known, by where they were.
    spun_somewhere: FxHashMap<StackId, u64>,
}

impl Locks {
    /// What to keep from now on.
    pub fn retain(&mut self, retention: Retention) {
        self.engine.retain(retention);
    }

    /// All waits that are over, if these were to be kept.
    pub fn past_waits(&self) -> &[PastWait] {
        self.engine.past_waits()
    }

    /// What is known of all of them, by [`LockId`].
    pub fn infos(&self) -> &[Arc<LockInfo>] {
        &self.infos
    }

    /// What happened when at locks that were waited for at least so long, the most costly first. Complete after
    /// [`Locks::finish`].
    pub fn timelines(&self, least_ns: u64) -> Vec<(LockId, &Timeline)> {
        let waited = |lock: &Contended<LockResource>| lock.ledger.total();
        let mut found: Vec<_> = self.all().filter(|(_, lock)| waited(lock) >= least_ns).collect();
        found.retain(|(id, _)| self.info(*id).kind != LockKind::Queue);
        found.sort_by_key(|(_, lock)| Reverse(waited(lock)));
        found.into_iter().filter_map(|(id, lock)| Some((id, lock.timeline.as_ref()?))).collect()
    }

    /// A lock has been found, or more is known of it.
    pub fn found(&mut self, lock: LockId, info: &Arc<LockInfo>) {
        match self.infos.get_mut(lock.0 as usize) {
            Some(known) => *known = info.clone(),
            None => {
                debug_assert_eq!(lock.0 as usize, self.infos.len());
                self.infos.push(info.clone());
                self.engine.add(LockResource::default(), Some(lock));
                self.sampled.add_lock();
            }
        }
    }

    /// A thread was found spinning for a lock.
    pub fn spin(&mut self, at: Nanos, thread: ThreadId, stack: StackId, lock: Option<LockId>) {
        if !self.engine.retention().counts(thread, stack, lock, at) {
            return;
        }
        let spun_at = match lock {
            Some(id) => &mut self.lock(id).resource.spun_at,
            None => &mut self.spun_somewhere,
        };
        *spun_at.entry(stack).or_default() += 1;
    }

    /// For which locks threads spun, in samples. A lock becomes known when a thread first sleeps for it. Before, a thread spun
    /// for the one for which threads spin in the same place.
    fn spins(&self) -> FxHashMap<LockId, u64> {
        let mut spins: FxHashMap<LockId, u64> = FxHashMap::default();
        let mut by_stack: FxHashMap<StackId, (u64, Reverse<LockId>)> = FxHashMap::default();
        for (id, lock) in self.all() {
            for (&stack, &times) in &lock.resource.spun_at {
                *spins.entry(id).or_default() += times;
                let most = by_stack.entry(stack).or_insert((0, Reverse(id)));
                *most = (*most).max((times, Reverse(id)));
            }
        }
        for (stack, times) in &self.spun_somewhere {
            if let Some((_, Reverse(id))) = by_stack.get(stack) {
                *spins.entry(*id).or_default() += times;
            }
        }
        spins
    }

    /// How stops of all threads have changed in the course of time.
    pub fn pauses(&self) -> &Trend {
        &self.pauses
    }

    /// What all locks are, without what happened at them but for stops of all threads.
    pub fn infos_only(&self) -> Locks {
        Locks { infos: self.infos.clone(), pauses: self.pauses.clone(), ..Locks::default() }
    }

    /// What is known of a lock.
    pub fn info(&self, lock: LockId) -> &Arc<LockInfo> {
        &self.infos[lock.0 as usize]
    }

    fn lock(&mut self, lock: LockId) -> &mut Contended<LockResource> {
        self.engine.get_mut(lock.0 as usize)
    }

    fn all(&self) -> impl Iterator<Item = (LockId, &Contended<LockResource>)> {
        (0..).map(LockId).zip(self.engine.all())
    }

    /// A thread was sampled: on the CPU, or (memory mode) wherever it was.
    pub fn sample(&mut self, at: Nanos, periods: u32, thread: ThreadId, state: ThreadState, stack: StackId) {
        if self.infos.is_empty() {
            return;
        }
        if state.on_cpu() {
            self.engine.evidence.sample(at, thread, stack);
        }
        self.sampled.sample(&mut self.engine, at, u64::from(periods), thread, state.lock(), stack);
    }

    /// A thread held a lock while others waited.
    pub fn held(&mut self, at: Nanos, lock: LockId, thread: ThreadId, stack: StackId) {
        self.sampled.held(at, lock, thread, stack);
        // It shows where the thread was in that hold, as a sample does.
        self.engine.evidence.sample(Nanos(at.0.saturating_sub(1)), thread, stack);
        self.lock(lock).resource.released(LockRelease { at, by: thread, stack, to: None, of_all: None });
    }

    /// The thread that was seen to hold a lock at that moment.
    pub fn holder(&self, lock: LockId, at: Nanos) -> Option<ThreadId> {
        self.sampled.holder(lock, at).map(|(thread, _)| thread)
    }

    /// A thread was off the CPU, for whatever reason: it may have held a lock. These come in the order of their ends.
    pub fn off_cpu(&mut self, off: &OffCpu) {
        let &OffCpu { thread, start, end, stack, state, .. } = off;
        for (start, end, state) in off.parts() {
            self.engine.evidence.off_cpu(TimeRange { start, end }, thread, stack, state);
        }
        match (state, state.lock()) {
            (ThreadState::Runnable | ThreadState::GilHeldRunnable, _) => {
                self.engine.thread(thread).suspended_ns += end.since(start);
            }
            (_, Some(id)) => self.slept(id, off),
            _ => (),
        }
    }

    fn slept(&mut self, id: LockId, off: &OffCpu) {
        let is_pause = matches!(off.state, ThreadState::Paused(_));
        let lock = &mut self.lock(id).resource;
        let before = lock.times_released();
        let waker = off.wake.and_then(|wake| Some((wake, wake.by?)));
        if let Some((wake, by)) = waker {
            let (to, of_all) = (Some((off.thread, off.end)), is_pause.then_some(off.start));
            lock.released(LockRelease { at: wake.at, by, stack: wake.stack, to, of_all });
        }
        let releases = lock.times_released() - before;
        let sleep = self.engine.sleep(id.0 as usize, off);
        if sleep.counts {
            self.lock(id).resource.parks += 1;
        }
        if sleep.counts && is_pause {
            self.pauses.stopped(off.end, releases);
            self.pauses.held_up(off.end, off.end.since(sleep.from));
        }
        if !is_pause {
            self.engine.thread(off.thread).slept_for = Some(id.0 as usize);
            if let Some((wake, by)) = waker {
                let by = self.engine.thread(by);
                by.woke_another = by.woke_another.max(wake.at);
            }
        }
    }

    /// All times off the CPU that ended up to `complete` have come.
    pub fn decide(&mut self, complete: Nanos) {
        self.engine.decide(Nanos(complete.0.saturating_sub(SETTLING_NS)));
    }

    /// Threads that have ended become part of other rows.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.sampled.fold(&mut self.engine, rows);
        self.engine.fold(rows);
    }

    /// Nothing more comes: what is going on ends at `end`.
    pub fn finish(&mut self, end: Nanos) {
        self.sampled.finish(&mut self.engine);
        self.engine.finish(end);
    }

    /// What is known so far of the locks that were waited for, the most costly first. `period_ns` is what a sample stands
    /// for.
    pub fn summaries(&self, period_ns: f64) -> Vec<LockSummary> {
        let all = self.all().filter(|(_, lock)| lock.resource.parks > 0);
        let spins = self.spins();
        let spun = |id| spins.get(&id).copied().unwrap_or(0);
        let mut summaries: Vec<_> = all.map(|(id, lock)| self.summary(id, lock, spun(id), period_ns)).collect();
        summaries.sort_by_key(|lock| Reverse(lock.contention.waits.total_ns));
        summaries
    }

    fn summary(&self, id: LockId, lock: &Contended<LockResource>, spun: u64, period_ns: f64) -> LockSummary {
        let Contended { ledger, resource, .. } = lock;
        let sampled = self.sampled.contended(id);
        let (contended, unit) = match sampled {
            Some(periods) => (periods, period_ns.round() as u64),
            None => (lock.contended.total(), 1),
        };
        let off_cpu = resource.holder_off_cpu.iter();
        let mut holder_off_cpu: Vec<_> =
            off_cpu.map(|(&(state, thread, stack), &ns)| (state, Blame { thread, stack, ns })).collect();
        holder_off_cpu.sort_unstable_by_key(|(state, blame)| (Reverse(blame.ns), *state, blame.thread, blame.stack));
        let shares = ledger.shares.iter();
        LockSummary {
            id,
            info: self.info(id).clone(),
            estimated: sampled.is_some(),
            contention: ledger.contention(contended, unit, period_ns),
            parks: resource.parks,
            spun,
            owner_changes: resource.owner_changes(),
            releases: resource.times_released(),
            holder_off_cpu,
            threads: shares
                .map(|(thread, share)| LockShare { thread, waits: share.waits(unit), caused_ns: share.caused * unit })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
