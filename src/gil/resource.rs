//! A GIL as what threads wait for: ties the rules for its waits ([`super::waits`]) and what is known of its holders
//! ([`super::holders`]) to the engine that does the counting.

use std::collections::VecDeque;

use super::delays::GilDelays;
use super::facts::Holder;
use super::holders::{HolderSpan, Holders};
use super::waits::{self, SwitchesAfterSleep};
use crate::contention::cover::Cover;
use crate::contention::engine::{
    BetweenSleeps, Owner, Resource, ResourceWait, UnparkedSegment, WaitSegment, WakingRelease,
};
use crate::contention::evidence::{AttributedHold, Evidence};
use crate::contention::folding::FoldedRows;
use crate::contention::{Handoff, Hold, TimeRange};
use crate::event::{Nanos, OffCpu, ThreadId};

/// How many parts of waits are parked until it is known who held the GIL: no program has that many threads that wait.
const MAX_PARKED: usize = 1 << 12;

/// A GIL, as far as it decides what its waits are and who caused them.
#[derive(Debug)]
pub struct GilResource {
    pub holders: Holders,
    pub delays: GilDelays,
    /// Segments that end after this moment are parked: the holders' last span began then.
    parked_for: Nanos,
}

impl GilResource {
    /// Nothing is known of it yet; `keep_holds` says whether a timeline is wanted.
    pub fn new(keep_holds: bool) -> GilResource {
        GilResource { holders: Holders::new(keep_holds), delays: GilDelays::default(), parked_for: Nanos(0) }
    }
}

impl Resource for GilResource {
    type Mark = SwitchesAfterSleep;

    // Whoever is woken may find that another thread was faster, and sleep again.
    const EVERY_RELEASE_HANDS_OVER: bool = false;

    fn mark(off: &OffCpu) -> SwitchesAfterSleep {
        SwitchesAfterSleep::of(off)
    }

    fn release(off: &OffCpu) -> Option<WakingRelease> {
        let wake = off.wake.filter(|_| !waits::woken_by_taker(off))?;
        Some(WakingRelease { at: wake.at, by: wake.by?, stack: wake.stack })
    }

    fn continues(wait: &ResourceWait<SwitchesAfterSleep>, off: &OffCpu, between: &BetweenSleeps) -> bool {
        waits::continues(wait, off, between)
    }

    /// Segments that end in the holders' last span are decided when that is over and all evidence of it is there.
    fn owners(&self, waiter: ThreadId, range: TimeRange, owners: &mut Vec<(Owner, TimeRange)>) {
        if range.end > self.holders.current_start() {
            owners.push((Owner::Undecided, range));
        } else {
            self.owners_at_end(waiter, range, owners);
        }
    }

    fn owners_at_end(&self, waiter: ThreadId, range: TimeRange, owners: &mut Vec<(Owner, TimeRange)>) {
        let mut first_known = range.end;
        for (span, span_end, part) in self.holders.between(range.start, range.end) {
            first_known = first_known.min(part.start);
            let owner = match span.holder {
                Holder::Free => Owner::Nobody,
                // It cannot have held what it waited for.
                Holder::Held(thread) if thread == waiter => Owner::Unknown,
                Holder::Held(by) => {
                    let HolderSpan { start, acquired, released, asked, .. } = *span;
                    Owner::Held(AttributedHold { by, start, end: span_end, acquired, released, asked })
                }
                Holder::Unknown => Owner::Unknown,
            };
            owners.push((owner, part));
        }
        // Spans before that are forgotten.
        owners.push((Owner::Unknown, TimeRange { start: range.start, end: first_known }));
    }

    fn waited_for(&mut self, hold: &AttributedHold, part: TimeRange, evidence: &Evidence) {
        self.delays.waited(hold, part, evidence);
    }

    /// There is at most one for each waiter and gap between its waits.
    fn park(parked: &mut VecDeque<WaitSegment>, segment: WaitSegment) -> Option<WaitSegment> {
        let is_before =
            |before: &&mut WaitSegment| before.waiter == segment.waiter && before.range.end == segment.range.start;
        match parked.iter_mut().find(is_before) {
            Some(before) => before.range.end = segment.range.end,
            None => {
                let oldest = if parked.len() == MAX_PARKED { parked.pop_front() } else { None };
                parked.push_back(segment);
                return oldest;
            }
        }
        None
    }

    fn unpark(&mut self, parked: &mut VecDeque<WaitSegment>, _: &Cover, ready: &mut Vec<UnparkedSegment>) {
        let now = self.holders.current_start();
        if std::mem::replace(&mut self.parked_for, now) == now {
            return;
        }
        parked.retain(|&segment| {
            let is_over = segment.range.end <= now;
            if is_over {
                ready.push(UnparkedSegment { segment, has_owners: true });
            }
            !is_over
        });
    }

    fn fold(&mut self, rows: &FoldedRows) {
        self.holders.fold(rows);
        self.delays.fold(rows);
    }

    fn holds(&mut self, end: Nanos, _: &[Handoff]) -> Vec<Hold> {
        self.holders.take_holds(end.max(self.holders.current_start()))
    }
}
