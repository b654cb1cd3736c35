//! A lock as what threads wait for: when a sleep goes on with a wait, and who can have had the lock meanwhile.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::releases::{LockRelease, Releases};
use crate::contention::cover::Cover;
use crate::contention::engine::{
    BetweenSleeps, Owner, Resource, ResourceWait, UnparkedSegment, WaitSegment, WakingRelease,
};
use crate::contention::folding::{self, FoldedRows};
use crate::contention::{Handoff, Hold, TimeRange};
use crate::event::{Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;

/// How many parts of waits for one lock are parked until it is released.
const MAX_PARKED: usize = 1 << 10;

/// A lock, as far as it decides what its waits are and who caused them.
#[derive(Debug, Default)]
pub struct LockResource {
    releases: Releases,
    /// How often a thread went to sleep for it.
    pub parks: u64,
    /// Samples of threads that spun for it, by where they were.
    pub spun_at: FxHashMap<StackId, u64>,
    /// Waiting that holders caused while they were off the CPU: why, who, where.
    pub holder_off_cpu: FxHashMap<(ThreadState, ThreadId, StackId), u64>,
}

impl LockResource {
    /// A thread released it, or was seen to hold it.
    pub fn released(&mut self, release: LockRelease) {
        self.releases.add(release);
    }

    /// How often it was released while others waited, threads woken together counted once.
    pub fn times_released(&self) -> u64 {
        self.releases.times
    }

    /// How often that was another thread than the time before.
    pub fn owner_changes(&self) -> u64 {
        self.releases.changes
    }
}

impl Resource for LockResource {
    /// When the thread asked for the lock, if that is known.
    type Mark = Option<Nanos>;

    const EVERY_RELEASE_HANDS_OVER: bool = true;

    fn mark(off: &OffCpu) -> Option<Nanos> {
        off.asked
    }

    fn release(off: &OffCpu) -> Option<WakingRelease> {
        let wake = off.wake?;
        Some(WakingRelease { at: wake.at, by: wake.by?, stack: wake.stack })
    }

    /// It does if the thread has not asked for the lock again. Where that is not known, it does if the thread can only have
    /// found that another was faster: there was no time for more, and it has neither woken another thread, as only the
    /// owner of a lock does, nor waited for another lock, nor had the GIL.
    fn continues(wait: &ResourceWait<Option<Nanos>>, off: &OffCpu, between: &BetweenSleeps) -> bool {
        if let (Some(asked), Some(before)) = (off.asked, wait.mark) {
            return asked == before;
        }
        let had_gil = off.gil.is_some_and(|gil| gil.was_last_held_by(off.thread));
        let only_looked = between.is_a_look() && between.woke_another < wait.end;
        wait.stack == off.stack && only_looked && !had_gil && !between.slept_elsewhere
    }

    fn owners(&self, waiter: ThreadId, range: TimeRange, owners: &mut Vec<(Owner, TimeRange)>) {
        self.releases.owners(waiter, range, owners);
    }

    /// Nobody has released it since.
    fn owners_at_end(&self, _: ThreadId, range: TimeRange, owners: &mut Vec<(Owner, TimeRange)>) {
        owners.push((Owner::Unknown, range));
    }

    fn park(parked: &mut VecDeque<WaitSegment>, segment: WaitSegment) -> Option<WaitSegment> {
        let oldest = if parked.len() == MAX_PARKED { parked.pop_front() } else { None };
        parked.push_back(segment);
        oldest
    }

    /// Whoever releases it has held it during all that is parked, if it was watched closely enough in between: as long as a
    /// thread sleeps for it, nobody releases it unnoticed.
    fn unpark(&mut self, parked: &mut VecDeque<WaitSegment>, contended: &Cover, ready: &mut Vec<UnparkedSegment>) {
        let Some(release) = parked.back().and_then(|last| self.releases.next(last.range.end)) else { return };
        let (mut from, mut watched) = (release, 0);
        while let Some(segment) = parked.pop_back() {
            let end = segment.range.end;
            watched += contended.within(TimeRange { start: end, end: from });
            from = end;
            ready.push(UnparkedSegment { segment, has_owners: 2 * watched >= release.since(end) });
        }
    }

    fn caused_off_cpu(&mut self, holder: ThreadId, state: ThreadState, stack: StackId, ns: u64) {
        *self.holder_off_cpu.entry((state, holder, stack)).or_default() += ns;
    }

    fn fold(&mut self, rows: &FoldedRows) {
        self.releases.fold(rows);
        rows.keys(&mut self.holder_off_cpu, |key| rows.put(&mut key.1), folding::add);
    }

    /// As far as somebody waited: whoever released it had it since the release before, or since it was back from its own
    /// wait.
    fn holds(&mut self, _: Nanos, handoffs: &[Handoff]) -> Vec<Hold> {
        let mut holds: Vec<Hold> = Vec::new();
        for pair in handoffs.windows(2) {
            let [before, after] = pair else { continue };
            let start = if before.to == after.from { before.acquired } else { before.released };
            let (start, end) = (start.min(after.released), after.released);
            // Threads woken together were woken by one that held it once.
            if start < end {
                holds.push(Hold { start, end, thread: after.from });
            }
        }
        holds
    }
}
