//! Why waits for a GIL took as long as they did, and where its holders kept it although a waiting thread had asked for it.
//! Used by [`super::resource`].
//!
//! A waiting thread asks the holder to release the GIL when it has waited for the switch interval (`take_gil` in
//! `Python/ceval_gil.c`). A holder that runs Python looks for such requests between two instructions, so it releases the
//! GIL some microseconds later. If it was on a CPU for longer, it ran something that does not look: a call of a C function,
//! an instruction that copies a lot, a destructor, a garbage collection.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::contention::TimeRange;
use crate::contention::evidence::{AttributedHold, Evidence, HeldPart};
use crate::contention::folding::FoldedRows;
use crate::event::{Nanos, ThreadId, ThreadState};
use crate::stack::StackId;

/// A holder that was on a CPU for longer than this after it was asked, in nanoseconds, did not run Python alone.
const MIN_DELAY_NS: u64 = 1_000_000;
/// For how many of the last holds it is remembered what was found of them: several threads may have waited for one.
const MAX_RECENT: usize = 64;
/// For how many places delays are counted.
const MAX_PLACES: usize = 1 << 14;

/// For how long waiting threads waited for what, in nanoseconds. What is missing to all of the waiting is that for which
/// nobody held the GIL, and that of which the holder is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HolderDelays {
    /// Somebody held it, and had not been asked to release it.
    pub until_asked_ns: u64,
    /// Somebody held it, and had been asked.
    pub until_released_ns: u64,
    /// The part of that in which the holder had no CPU.
    pub no_cpu_ns: u64,
    /// The part of it in which the holder was blocked.
    pub blocked_ns: u64,
}

/// What a place has to do with holders that did not release the GIL when they were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceDelays {
    /// How often a holder kept it there.
    pub times: u64,
    /// For how long the holder was on a CPU after it was asked, in nanoseconds, all together ...
    pub delay_ns: u64,
    /// ... and at most.
    pub max_ns: u64,
    /// For how long others waited meanwhile, in nanoseconds.
    pub waited_ns: u64,
}

impl PlaceDelays {
    pub fn add(&mut self, more: &PlaceDelays) {
        self.times += more.times;
        self.delay_ns = self.delay_ns.saturating_add(more.delay_ns);
        self.max_ns = self.max_ns.max(more.max_ns);
        self.waited_ns = self.waited_ns.saturating_add(more.waited_ns);
    }
}

/// A hold, by its thread and its start.
type HoldKey = (ThreadId, Nanos);

/// The delays of all holders of one GIL.
#[derive(Debug, Default)]
pub struct GilDelays {
    pub total: HolderDelays,
    places: FxHashMap<(ThreadId, StackId), PlaceDelays>,
    /// Where the holder was that did not release the GIL in the last holds; none if it did.
    recent: VecDeque<(HoldKey, Option<StackId>)>,
}

impl GilDelays {
    /// A thread waited for a part of a hold, of which all evidence is there.
    pub fn waited(&mut self, hold: &AttributedHold, part: TimeRange, evidence: &Evidence) {
        let asked = hold.asked.map_or(part.end, |asked| asked.min(part.end).max(part.start));
        let after = TimeRange { start: asked, end: part.end };
        self.total.until_asked_ns += asked.since(part.start);
        self.total.until_released_ns += after.ns();
        if after.ns() == 0 {
            return;
        }
        let mut on_cpu = 0;
        evidence.attribute(hold, after, |part| match part {
            HeldPart::Sampled(_, ns) | HeldPart::Unsampled(ns) => on_cpu += ns,
            HeldPart::OffCpu(ThreadState::GilHeldRunnable, _, ns) => self.total.no_cpu_ns += ns,
            HeldPart::OffCpu(_, _, ns) => self.total.blocked_ns += ns,
            HeldPart::Sample(_) => (),
        });
        if let Some(stack) = self.place(hold, part.end, evidence)
            && let Some(place) = self.places.get_mut(&(hold.by, stack))
        {
            place.waited_ns += on_cpu;
        }
    }

    /// Where the holder was for most of the time on a CPU for which it kept the GIL although it had been asked; none if that
    /// was not long. A hold that still goes on at the end of the recording ends `at_the_latest`.
    fn place(&mut self, hold: &AttributedHold, at_the_latest: Nanos, evidence: &Evidence) -> Option<StackId> {
        let key = (hold.by, hold.start);
        if let Some((_, place)) = self.recent.iter().rev().find(|(known, _)| *known == key) {
            return *place;
        }
        let end = if hold.end == Nanos(u64::MAX) { at_the_latest } else { hold.end };
        let after = TimeRange { start: hold.asked?.max(hold.start), end };
        let mut stacks: Vec<(u64, StackId)> = Vec::new();
        // It releases it where the operation ends that it was in when it was asked.
        let otherwise = hold.released.or(hold.acquired).unwrap_or(StackId::EMPTY);
        evidence.attribute(hold, after, |part| {
            let (stack, ns) = match part {
                HeldPart::Sampled(stack, ns) => (stack, ns),
                HeldPart::Unsampled(ns) => (otherwise, ns),
                HeldPart::OffCpu(..) | HeldPart::Sample(_) => return,
            };
            match stacks.iter_mut().find(|(_, known)| *known == stack) {
                Some((sum, _)) => *sum += ns,
                None => stacks.push((ns, stack)),
            }
        });
        let delay: u64 = stacks.iter().map(|(ns, _)| ns).sum();
        let place = stacks.into_iter().max().filter(|_| delay > MIN_DELAY_NS).map(|(_, stack)| stack);
        if let Some(stack) = place {
            self.delayed((hold.by, stack), delay);
        }
        self.recent.push_back((key, place));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
        place
    }

    fn delayed(&mut self, place: (ThreadId, StackId), ns: u64) {
        if self.places.len() >= MAX_PLACES && !self.places.contains_key(&place) {
            return;
        }
        let place = self.places.entry(place).or_default();
        place.times += 1;
        place.delay_ns += ns;
        place.max_ns = place.max_ns.max(ns);
    }

    pub fn fold(&mut self, rows: &FoldedRows) {
        let add = |sum: &mut PlaceDelays, more: PlaceDelays| sum.add(&more);
        rows.keys(&mut self.places, |key| rows.put(&mut key.0), add);
        self.recent.iter_mut().for_each(|((thread, _), _)| rows.put(thread));
    }

    /// All places at which a holder did not release the GIL when it was asked, the most costly first.
    pub fn places(&self) -> Vec<(ThreadId, StackId, PlaceDelays)> {
        let mut places: Vec<_> =
            self.places.iter().map(|(&(thread, stack), &delays)| (thread, stack, delays)).collect();
        places.sort_unstable_by_key(|&(thread, stack, delays)| {
            (std::cmp::Reverse((delays.waited_ns, delays.delay_ns)), thread, stack)
        });
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::fixture::stack;

    const HOLDER: ThreadId = ThreadId(1);
    const MS: u64 = 1_000_000;

    fn ms(from: u64, to: u64) -> TimeRange {
        TimeRange { start: Nanos(from * MS), end: Nanos(to * MS) }
    }

    /// A hold from 0 to 30 ms, in which the holder was asked after 10.
    const HOLD: AttributedHold = AttributedHold {
        by: HOLDER,
        start: Nanos(0),
        end: Nanos(30 * MS),
        acquired: None,
        released: None,
        asked: Some(Nanos(10 * MS)),
    };

    #[test]
    fn a_call_that_does_not_look_is_where_the_time_after_the_request_goes() {
        let (mut delays, mut evidence) = (GilDelays::default(), Evidence::default());
        evidence.sample(Nanos(2 * MS), HOLDER, stack(1));
        evidence.sample(Nanos(20 * MS), HOLDER, stack(2));
        // The first part that is decided need not be the first of the hold.
        delays.waited(&HOLD, ms(25, 30), &evidence);
        delays.waited(&HOLD, ms(5, 15), &evidence);
        delays.waited(&HOLD, ms(15, 30), &evidence);
        let parts = HolderDelays { until_asked_ns: 5 * MS, until_released_ns: 25 * MS, ..HolderDelays::default() };
        assert_eq!(delays.total, parts);
        let at = PlaceDelays { times: 1, delay_ns: 20 * MS, max_ns: 20 * MS, waited_ns: 25 * MS };
        assert_eq!(delays.places(), [(HOLDER, stack(2), at)]);
        let next = AttributedHold { start: Nanos(40 * MS), end: Nanos(52 * MS), asked: Some(Nanos(50 * MS)), ..HOLD };
        evidence.sample(Nanos(51 * MS), HOLDER, stack(2));
        delays.waited(&next, ms(45, 52), &evidence);
        assert_eq!(delays.places()[0].2.times, 2);
        assert_eq!(delays.places()[0].2.max_ns, 20 * MS);
    }

    #[test]
    fn without_a_cpu_or_blocked_it_is_not_the_code() {
        let (mut delays, mut evidence) = (GilDelays::default(), Evidence::default());
        evidence.off_cpu(ms(10, 18), HOLDER, stack(1), ThreadState::GilHeldRunnable);
        let sleeps = ThreadState::GilHeldOffCpu(crate::event::Syscall(35));
        evidence.off_cpu(ms(18, 29), HOLDER, stack(1), sleeps);
        delays.waited(&HOLD, ms(5, 30), &evidence);
        let parts = HolderDelays {
            until_asked_ns: 5 * MS,
            until_released_ns: 20 * MS,
            no_cpu_ns: 8 * MS,
            blocked_ns: 11 * MS,
        };
        assert_eq!(delays.total, parts);
        assert_eq!(delays.places(), []);
    }

    #[test]
    fn who_was_not_asked_is_not_late() {
        let mut delays = GilDelays::default();
        let hold = AttributedHold { asked: None, ..HOLD };
        delays.waited(&hold, ms(0, 30), &Evidence::default());
        assert_eq!(delays.total, HolderDelays { until_asked_ns: 30 * MS, ..HolderDelays::default() });
        assert_eq!(delays.places(), []);
    }
}
