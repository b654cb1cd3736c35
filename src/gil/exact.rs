//! A GIL in kernel mode: exact waits, and who caused them, from times off the CPU. Used by [`super::analysis`].
//!
//! What comes is put in order first. It says which waits there were ([`super::waits`]), and facts about who held the
//! GIL ([`super::holders`]). A fact is known only when the thread that tells it is back on the CPU: so facts wait a
//! little until all of the same time are there. Only then is decided who caused the waiting of that time.

use std::collections::VecDeque;

use super::facts::{Fact, Holder, What};
use super::holders::Holders;
use super::waits::{Slice, Wait, WaitsByThread, woken_by_taker};
use crate::contention::cover::Cover;
use crate::contention::evidence::{Evidence, Held};
use crate::contention::in_order::{DISORDER_NS, InOrder, Timed};
use crate::contention::ledger::Ledger;
use crate::contention::selection::{Keep, PastWait};
use crate::contention::{Handoff, Part, Timeline, count};
use crate::event::{GilGlimpse, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;

/// For how long facts are waited for. A thread that waits tells what it saw after the switch interval at the latest
/// (and when it then gets a CPU); a thread that sleeps for something else may tell too late.
fn settling_ns(switch_interval_ns: u64) -> u64 {
    switch_interval_ns.saturating_mul(2).clamp(4_000_000, 40_000_000)
}

/// A part of a wait, up to the end of one of its slices, for which it is to be decided who held the GIL.
#[derive(Clone, Copy, Debug)]
struct Segment {
    waiter: ThreadId,
    start: Nanos,
    end: Nanos,
}

/// What is known from times off the CPU.
#[derive(Debug)]
pub struct Exact {
    /// The books.
    pub ledger: Ledger,
    /// For how long at least one thread waited.
    pub contended: Cover,
    /// What happened when, if that is kept; its holds and waiters only in the end.
    pub timeline: Option<Timeline>,
    newest: Nanos,
    events: InOrder<OffCpu>,
    waits: WaitsByThread,
    facts: InOrder<Fact>,
    holders: Holders,
    evidence: Evidence,
    /// In the order of their ends.
    segments: VecDeque<Segment>,
    /// Segments that end in the holders' last span, at most one per waiter and gap between its waits: they are
    /// decided when that is over and all evidence of it is there.
    parked: Vec<Segment>,
    parked_for: Nanos,
    /// Beginnings (+1) and ends (-1) of waits, if a timeline is kept.
    changes: Vec<(Nanos, i32)>,
    keep: Keep,
    /// All waits that are over, if these are kept.
    pub past: Vec<PastWait>,
}

impl Timed for OffCpu {
    fn place(&self) -> (Nanos, u8) {
        (self.end, 0)
    }
}

impl Exact {
    /// Nothing is known yet.
    pub fn new(keep: Keep) -> Exact {
        Exact {
            ledger: Ledger::default(),
            contended: Cover::default(),
            timeline: keep.timeline.then(Timeline::default),
            newest: Nanos(0),
            events: InOrder::default(),
            waits: WaitsByThread::default(),
            facts: InOrder::default(),
            holders: Holders::new(keep.timeline),
            evidence: Evidence::default(),
            segments: VecDeque::new(),
            parked: Vec::new(),
            parked_for: Nanos(0),
            changes: Vec::new(),
            past: Vec::new(),
            keep,
        }
    }

    /// A thread was off the CPU.
    pub fn off_cpu(&mut self, off: &OffCpu, switch_interval_ns: u64) {
        self.newest = self.newest.max(off.end);
        self.events.push(*off);
        let complete = Nanos(self.newest.0.saturating_sub(DISORDER_NS));
        while let Some(off) = self.events.pop_until(complete) {
            self.take_in(&off);
        }
        self.decide(Nanos(complete.0.saturating_sub(settling_ns(switch_interval_ns))));
    }

    /// A thread on the CPU was sampled.
    pub fn sample(&mut self, at: Nanos, thread: ThreadId, state: ThreadState, stack: StackId) {
        let holds = state.holds_gil();
        if holds || !matches!(state, ThreadState::Unknown | ThreadState::GilWait) {
            self.fact(at, What::Sampled { thread, stack, holds });
        }
    }

    /// Nothing more comes: what is going on ends at `end`.
    pub fn finish(&mut self, end: Nanos) {
        while let Some(off) = self.events.pop_until(Nanos(u64::MAX)) {
            self.take_in(&off);
        }
        self.decide(Nanos(u64::MAX));
        let over: Vec<(ThreadId, Wait)> = self.waits.all_over().collect();
        over.into_iter().for_each(|(thread, wait)| self.over(thread, &wait));
        std::mem::take(&mut self.parked).iter().for_each(|segment| self.blame(segment));
        if let Some(timeline) = &mut self.timeline {
            timeline.holds = self.holders.take_holds(end.max(self.holders.current_start()));
            timeline.waiters = count(std::mem::take(&mut self.changes));
            timeline.handoffs.sort_unstable_by_key(|handoff| (handoff.released, handoff.acquired));
        }
    }

    fn fact(&mut self, at: Nanos, what: What) {
        self.facts.push(Fact { at, what });
    }

    /// An event in its turn.
    fn take_in(&mut self, off: &OffCpu) {
        let Some(glimpse) = &off.gil else { return };
        let &OffCpu { thread, start, end, stack, state, .. } = off;
        match state {
            ThreadState::GilWait => self.slice(off, glimpse),
            ThreadState::GilHeldOffCpu(_) | ThreadState::GilHeldRunnable => {
                self.no_longer_waits(thread, start);
                match state {
                    ThreadState::GilHeldOffCpu(call) => {
                        self.ledger.held_off_cpu(call, thread, stack, end.since(start));
                    }
                    _ => self.ledger.shares.of(thread).runnable += end.since(start),
                }
                let switches = Some(glimpse.switches);
                let holder = Holder::Held(thread);
                self.fact(start, What::Seen { holder, switches });
                self.fact(end, What::HeldOffCpu { thread, since: start, stack, state });
            }
            _ => {
                match state {
                    ThreadState::Runnable | ThreadState::Stopped => self.waits.suspended(off),
                    _ => self.no_longer_waits(thread, start),
                }
                match (state, What::seen(thread, glimpse)) {
                    (ThreadState::Blocked(_), Some(What::Seen { holder: Holder::Free, .. })) => {
                        self.fact(start, What::LeftFree { thread, stack, switches: glimpse.switches });
                    }
                    (_, Some(seen)) => self.fact(start, seen),
                    (_, None) => (),
                }
                self.fact(end, What::Back { thread });
            }
        }
    }

    fn slice(&mut self, off: &OffCpu, glimpse: &GilGlimpse) {
        let &OffCpu { thread, start, end, stack, .. } = off;
        let from = match self.waits.slice(off, glimpse) {
            Slice::First { before } => {
                if let Some(wait) = before {
                    self.over(thread, &wait);
                }
                if self.keep.counts(thread, stack, None, start) {
                    self.ledger.wait_begins(thread);
                }
                start
            }
            Slice::More { since } => {
                self.fact(start, What::NotYet { thread, since });
                since
            }
        };
        let stack_of_wait = self.waits.stack(thread).unwrap_or(stack);
        if self.keep.counts(thread, stack_of_wait, None, start) {
            self.ledger.waited(thread, stack_of_wait, end.since(from));
            self.contended.add(from, end);
            self.segments.push_back(Segment { waiter: thread, start: from, end });
        }
        if let Some(seen) = What::seen(thread, glimpse) {
            self.fact(start, seen);
        }
        let waker = off.wake.and_then(|wake| Some((wake, wake.by?)));
        match waker {
            Some((wake, by)) if woken_by_taker(off, glimpse) => {
                self.fact(wake.at, What::Took { by });
                self.fact(end, What::Back { thread });
            }
            Some((wake, by)) => {
                self.fact(wake.at, What::Released { by, stack: wake.stack, switches: wake.switches });
                self.fact(end, What::Woken { thread, stack: stack_of_wait });
            }
            None if off.open => (),
            None => {
                let over = glimpse.held_by();
                self.fact(end, What::TimedOut { thread, stack: stack_of_wait, over, since: start });
            }
        }
    }

    fn no_longer_waits(&mut self, thread: ThreadId, at: Nanos) {
        if let Some(wait) = self.waits.over(thread, at) {
            self.over(thread, &wait);
        }
    }

    fn over(&mut self, thread: ThreadId, wait: &Wait) {
        let length = wait.end.since(wait.start);
        if self.keep.waits {
            let part = Part { start: wait.start, end: wait.end };
            self.past.push(PastWait { thread, part, length, sampled: false });
        }
        if !self.keep.counts(thread, wait.stack, None, wait.start) {
            return;
        }
        self.ledger.wait_ends(thread, length);
        if let Some(release) = wait.release {
            self.ledger.by_releaser.add(release.by, release.stack, length);
        }
        let Some(timeline) = &mut self.timeline else { return };
        self.changes.extend([(wait.start, 1), (wait.end, -1)]);
        if let Some(release) = wait.release {
            let (from, released) = (release.by, release.at);
            timeline.handoffs.push(Handoff { from, released, to: thread, acquired: wait.end });
        }
    }

    /// All facts up to `until` are there.
    fn decide(&mut self, until: Nanos) {
        while let Some(fact) = self.facts.pop_until(until) {
            match fact.what {
                What::Sampled { thread, stack, holds: true } => self.evidence.sample(fact.at, thread, stack),
                What::HeldOffCpu { thread, since, stack, state } => {
                    self.evidence.off_cpu(Part { start: since, end: fact.at }, thread, stack, state);
                }
                _ => (),
            }
            self.holders.learn(&fact);
            if let What::Sampled { thread, holds: true, .. } = fact.what {
                self.no_longer_waits(thread, fact.at);
            }
        }
        while let Some(&segment) = self.segments.front().filter(|segment| segment.end <= until) {
            self.segments.pop_front();
            if segment.end <= self.holders.current_start() {
                self.blame(&segment);
            } else {
                self.park(segment);
            }
        }
        self.unpark();
        (self.ledger.forced, self.ledger.voluntary) = (self.holders.forced, self.holders.voluntary);
    }

    fn park(&mut self, segment: Segment) {
        let more = |parked: &&mut Segment| parked.waiter == segment.waiter && parked.end == segment.start;
        match self.parked.iter_mut().find(more) {
            Some(parked) => parked.end = segment.end,
            None => self.parked.push(segment),
        }
    }

    fn unpark(&mut self) {
        let now = self.holders.current_start();
        if self.parked_for == now {
            return;
        }
        self.parked_for = now;
        let mut index = 0;
        while let Some(&segment) = self.parked.get(index) {
            if segment.end <= now {
                self.parked.swap_remove(index);
                self.blame(&segment);
            } else {
                index += 1;
            }
        }
    }

    /// Splits a segment over who held the GIL in it.
    fn blame(&mut self, segment: &Segment) {
        let &Segment { waiter, start, end } = segment;
        let mut known = 0;
        for (span, span_end, part) in self.holders.between(start, end) {
            known += part.ns();
            match span.holder {
                Holder::Free => self.ledger.was_free(part.ns()),
                // It cannot have held what it waited for.
                Holder::Held(thread) if thread == waiter => self.ledger.is_unknown(part.ns()),
                Holder::Held(by) => {
                    let otherwise = span.released.or(span.acquired).unwrap_or(StackId::EMPTY);
                    let held = Held { by, start: span.start, end: span_end, otherwise };
                    self.evidence.split(&held, part, |place, time| self.ledger.caused_by(by, place.stack, time));
                }
                Holder::Unknown => self.ledger.is_unknown(part.ns()),
            }
        }
        self.ledger.is_unknown(end.since(start) - known);
    }

    /// How much is remembered for undecided time: events, facts, segments. What else grows is bounded by number.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.events.waiting() + self.facts.waiting() + self.segments.len() + self.parked.len()
    }
}
