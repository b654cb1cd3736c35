//! A GIL in kernel mode: exact waits, and who caused them, from times off the CPU. Used by [`super::analysis`].
//!
//! A time off the CPU says which waits there were ([`super::waits`]), and facts about who held the GIL
//! ([`super::holders`]). A fact is known only when the thread that tells it is back on the CPU: so facts wait a
//! little until all of the same time are there. Only then it is decided who caused the waiting of that time.

use std::collections::VecDeque;

use super::delays::GilDelays;
use super::facts::{GilFact, GilFactKind, Holder};
use super::resource::GilResource;
use super::waits::woken_by_taker;
use crate::contention::engine::{Contended, Engine};
use crate::contention::folding::FoldedRows;
use crate::contention::in_order::{InOrder, complete_with};
use crate::contention::ledger::Ledger;
use crate::contention::selection::{PastWait, Retention};
use crate::contention::{TimeRange, Timeline};
use crate::event::{GilGlimpse, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;

/// For how long facts are waited for. A thread that waits tells what it saw after the switch interval at the latest
/// (and when it then gets a CPU); a thread that sleeps for something else may be too late.
fn settling_ns(switch_interval_ns: u64) -> u64 {
    switch_interval_ns.saturating_mul(2).clamp(4_000_000, 40_000_000)
}

/// The only resource of an engine is the GIL.
const GIL: usize = 0;

/// What is known from times off the CPU.
#[derive(Debug)]
pub struct ExactGil {
    engine: Engine<GilResource>,
    facts: InOrder<GilFact>,
    /// In order, but not interpreted yet. For a GIL, time advances only with the times off the CPU of its own threads: while
    /// those of another process have the CPUs, these cannot report what they know.
    ordered: VecDeque<OffCpu>,
    /// All times off the CPU that ended up to then have come.
    complete: Nanos,
}

impl ExactGil {
    pub fn new(retention: Retention) -> ExactGil {
        let gil = GilResource::new(retention.timeline);
        let mut engine = Engine::new(retention);
        engine.add(gil, None);
        ExactGil { engine, facts: InOrder::default(), ordered: VecDeque::new(), complete: Nanos(0) }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.engine.get(GIL).ledger
    }

    /// Why waits took as long as they did.
    pub fn delays(&self) -> &GilDelays {
        &self.engine.get(GIL).resource.delays
    }

    /// For how long at least one thread waited, in nanoseconds.
    pub fn contended_ns(&self) -> u64 {
        self.engine.get(GIL).contended.total()
    }

    /// What happened when, if that is kept; its holds and waiters only in the end.
    pub fn timeline(&self) -> Option<&Timeline> {
        self.engine.get(GIL).timeline.as_ref()
    }

    /// All waits that are over, if these are kept.
    pub fn past_waits(&self) -> &[PastWait] {
        self.engine.past_waits()
    }

    /// A thread on the CPU was sampled.
    pub fn sample(&mut self, at: Nanos, thread: ThreadId, state: ThreadState, stack: StackId) {
        let holds = state.holds_gil();
        if holds || !matches!(state, ThreadState::Unknown | ThreadState::GilWait) {
            self.fact(at, GilFactKind::Sampled { thread, stack, holds });
        }
    }

    fn fact(&mut self, at: Nanos, what: GilFactKind) {
        self.facts.push(GilFact { at, what });
    }

    fn gil(&mut self) -> &mut Contended<GilResource> {
        self.engine.get_mut(GIL)
    }

    /// A time off the CPU has come that ended then. It will be handed over in its turn.
    pub fn announce(&mut self, end: Nanos) {
        self.complete = self.complete.max(complete_with(end));
    }

    /// A thread was off the CPU. These come in the order of their ends.
    pub fn off_cpu(&mut self, off: &OffCpu) {
        self.ordered.push_back(*off);
    }

    fn interpret(&mut self, off: &OffCpu) {
        let Some(glimpse) = &off.gil else { return };
        match off.state {
            ThreadState::GilWait => self.slept(off, glimpse),
            ThreadState::GilHeldOffCpu(_) | ThreadState::GilHeldRunnable => self.held_off_cpu(off, glimpse),
            _ => self.did_something_else(off, glimpse),
        }
    }

    fn held_off_cpu(&mut self, off: &OffCpu, glimpse: &GilGlimpse) {
        let &OffCpu { thread, start, end, stack, state, .. } = off;
        self.engine.wait_is_over(GIL, thread, start);
        let ledger = &mut self.gil().ledger;
        let mut ready = end;
        for (from, to, state) in off.parts() {
            match state {
                ThreadState::GilHeldOffCpu(call) => {
                    ledger.held_off_cpu(call, thread, stack, to.since(from));
                    ready = to;
                }
                _ => ledger.shares.of(thread).runnable += to.since(from),
            }
        }
        self.fact(start, GilFactKind::Seen { holder: Holder::Held(thread), switches: Some(glimpse.switches) });
        self.fact(end, GilFactKind::HeldOffCpu { thread, since: start, ready, stack, state });
    }

    fn did_something_else(&mut self, off: &OffCpu, glimpse: &GilGlimpse) {
        let &OffCpu { thread, start, end, stack, state, .. } = off;
        match state {
            // That can be in the middle of a wait, between two looks at the GIL.
            ThreadState::Runnable => {
                self.engine.thread(thread).suspended_ns += end.since(start);
            }
            // Also what stops a thread in the middle of a wait: the time until it goes on waiting is nobody's fault.
            _ => self.engine.wait_is_over(GIL, thread, start),
        }
        match (state, GilFactKind::seen(thread, glimpse)) {
            (ThreadState::Blocked(_), Some(GilFactKind::Seen { holder: Holder::Free, .. })) => {
                self.fact(start, GilFactKind::LeftFree { thread, stack, switches: glimpse.switches });
            }
            (_, Some(seen)) => self.fact(start, seen),
            (_, None) => (),
        }
        self.fact(end, GilFactKind::Back { thread });
    }

    fn slept(&mut self, off: &OffCpu, glimpse: &GilGlimpse) {
        let &OffCpu { thread, start, end, .. } = off;
        let waker = off.wake.and_then(|wake| Some((wake, wake.by?)));
        if let Some((wake, by)) = waker {
            let by = self.engine.thread(by);
            by.woke_another = by.woke_another.max(wake.at);
        }
        let sleep = self.engine.sleep(GIL, off);
        let stack = sleep.stack;
        if !sleep.is_first {
            self.fact(start, GilFactKind::NotYet { thread, since: sleep.from });
        }
        if let Some(seen) = GilFactKind::seen(thread, glimpse) {
            self.fact(start, seen);
        }
        match waker {
            Some((wake, by)) if woken_by_taker(off) => {
                self.fact(wake.at, GilFactKind::Took { by });
                self.fact(end, GilFactKind::Back { thread });
            }
            Some((wake, by)) => {
                self.fact(wake.at, GilFactKind::Released { by, stack: wake.stack, switches: wake.switches });
                self.fact(end, GilFactKind::Woken { thread, stack });
            }
            None if off.open => (),
            None => {
                let over = glimpse.held_by();
                self.fact(end, GilFactKind::TimedOut { thread, stack, over, since: start });
            }
        }
    }

    /// Decides what can be decided by now.
    pub fn decide(&mut self, switch_interval_ns: u64) {
        self.interpret_until(self.complete);
        self.decide_until(Nanos(self.complete.0.saturating_sub(settling_ns(switch_interval_ns))));
    }

    fn interpret_until(&mut self, complete: Nanos) {
        while let Some(&off) = self.ordered.front().filter(|off| off.end <= complete) {
            self.ordered.pop_front();
            self.interpret(&off);
        }
    }

    /// All facts up to `until` are there.
    fn decide_until(&mut self, until: Nanos) {
        while let Some(fact) = self.facts.pop_until(until) {
            self.learn(&fact);
        }
        self.engine.decide(until);
        self.engine.decide_parked(GIL);
        let gil = self.gil();
        (gil.ledger.forced, gil.ledger.voluntary) = (gil.resource.holders.forced, gil.resource.holders.voluntary);
    }

    fn learn(&mut self, fact: &GilFact) {
        match fact.what {
            GilFactKind::Sampled { thread, stack, holds: true } => {
                self.engine.evidence.sample(fact.at, thread, stack)
            }
            GilFactKind::HeldOffCpu { thread, since, ready, stack, state } => {
                let evidence = &mut self.engine.evidence;
                evidence.off_cpu(TimeRange { start: since, end: ready }, thread, stack, state);
                let without_cpu = TimeRange { start: ready, end: fact.at };
                if without_cpu.ns() > 0 {
                    evidence.off_cpu(without_cpu, thread, stack, ThreadState::GilHeldRunnable);
                }
            }
            _ => (),
        }
        self.gil().resource.holders.learn(fact);
        if let GilFactKind::Sampled { thread, holds: true, .. } = fact.what {
            self.engine.wait_is_over(GIL, thread, fact.at);
        }
    }

    /// Threads that have ended become part of other rows.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.facts.change(|fact| fact.what.fold(rows));
        self.ordered.iter_mut().for_each(|off| rows.put_off_cpu(off));
        self.engine.fold(rows);
    }

    /// Nothing more comes: what is going on ends at `end`.
    pub fn finish(&mut self, end: Nanos) {
        self.interpret_until(Nanos(u64::MAX));
        self.decide_until(Nanos(u64::MAX));
        self.engine.finish(end);
    }

    /// How much is remembered for undecided time: times off the CPU, facts and segments. What else grows is bounded by number.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.ordered.len() + self.facts.waiting() + self.engine.waiting()
    }
}
