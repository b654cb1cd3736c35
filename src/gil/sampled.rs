//! A GIL in memory mode: an estimate of waits, and who caused them, from looks at all threads at every tick. Used by
//! [`super::analysis`]. All times are periods of the sampling rate.

use crate::contention::by_thread::ByThread;
use crate::contention::folding::FoldedRows;
use crate::contention::ledger::Ledger;
use crate::contention::selection::{PastWait, Retention};
use crate::contention::{Hold, TimeRange, Timeline};
use crate::event::{Nanos, ThreadId, ThreadState};
use crate::stack::StackId;

/// Ticks in a row at which a thread waited with the same stack: taken for one wait.
#[derive(Clone, Copy, Debug)]
struct SampledGilWait {
    stack: StackId,
    /// When the first of them was, and the last.
    part: TimeRange,
    /// The number of the last of them.
    last: u64,
    length: u64,
}

/// What is known from samples.
#[derive(Debug, Default)]
pub struct SampledGil {
    pub ledger: Ledger,
    /// Periods in which a thread waited.
    pub contended: u64,
    /// What happened when, if that is kept.
    pub timeline: Option<Timeline>,
    /// None for a thread that did not wait when last seen.
    runs: ByThread<Option<SampledGilWait>>,
    /// The tick whose samples are coming; its number counts from 1.
    at: Nanos,
    number: u64,
    holder: Option<(ThreadId, StackId)>,
    holders: u32,
    /// Who waits at this tick, and for how long.
    waiters: Vec<(ThreadId, u64)>,
    retention: Retention,
    /// All waits that are over, if these are kept.
    pub past: Vec<PastWait>,
}

impl SampledGil {
    pub fn new(retention: Retention) -> SampledGil {
        SampledGil { timeline: retention.timeline.then(Timeline::default), retention, ..SampledGil::default() }
    }

    /// A thread at one tick. All threads of a tick come with the same `at`.
    pub fn sample(&mut self, at: Nanos, periods: u64, thread: ThreadId, state: ThreadState, stack: StackId) {
        if self.number == 0 || at != self.at {
            self.tick_is_complete(at);
            (self.at, self.number) = (at, self.number + 1);
        }
        match state {
            ThreadState::GilHeldOffCpu(call) => self.ledger.held_off_cpu(call, thread, stack, periods),
            ThreadState::GilHeldRunnable => self.ledger.shares.of(thread).runnable += periods,
            _ => (),
        }
        if state.holds_gil() {
            self.holders += 1;
            self.holder = Some((thread, stack));
        }
        if state == ThreadState::GilWait {
            self.waits(thread, periods, stack);
        } else if let Some(run) = self.runs.of(thread).take() {
            self.over(thread, &run);
        }
    }

    fn over(&mut self, thread: ThreadId, run: &SampledGilWait) {
        let &SampledGilWait { part, length, .. } = run;
        if self.retention.waits {
            self.past.push(PastWait { thread, part, length, sampled: true });
        }
        if self.retention.counts(thread, run.stack, None, part.start) {
            self.ledger.wait_ends(thread, length);
        }
    }

    fn waits(&mut self, thread: ThreadId, periods: u64, stack: StackId) {
        let counts = self.retention.counts(thread, stack, None, self.at);
        if counts {
            self.waiters.push((thread, periods));
            self.ledger.waited(thread, stack, periods);
        }
        let run = self.runs.of(thread);
        if let Some(run) = run.as_mut().filter(|run| run.stack == stack && run.last + 1 == self.number) {
            run.length += periods;
            run.last = self.number;
            run.part.end = self.at;
            return;
        }
        let part = TimeRange { start: self.at, end: self.at };
        if let Some(before) = run.replace(SampledGilWait { stack, part, last: self.number, length: periods }) {
            self.over(thread, &before);
        }
        if counts {
            self.ledger.wait_begins(thread);
        }
    }

    /// Threads that have ended become part of other rows. Their waits are over.
    pub fn fold(&mut self, rows: &FoldedRows) {
        let runs = self.runs.iter_mut().filter(|(thread, _)| rows.is_folded(*thread));
        let over: Vec<_> = runs.filter_map(|(thread, run)| Some((thread, run.take()?))).collect();
        over.iter().for_each(|(thread, run)| self.over(*thread, run));
        self.runs.forget(rows);
        self.waiters.iter_mut().for_each(|(thread, _)| rows.put(thread));
        if let Some((thread, _)) = &mut self.holder {
            rows.put(thread);
        }
        self.ledger.fold(rows);
    }

    /// No more samples come.
    pub fn finish(&mut self, end: Nanos) {
        self.tick_is_complete(end.max(self.at));
        if let Some(timeline) =
            self.timeline.as_mut().filter(|timeline| timeline.waiters.last().is_some_and(|last| last.1 > 0))
        {
            timeline.waiters.push((end.max(self.at), 0));
        }
        let runs: Vec<_> = self.runs.iter_mut().filter_map(|(thread, run)| Some((thread, run.take()?))).collect();
        runs.iter().for_each(|(thread, run)| self.over(*thread, run));
    }

    /// All samples of the last tick have come; the next tick is at `next`. Attributes the waiting to the one thread that
    /// held the GIL. If two seem to (they were not read at the same instant), it is not known which.
    fn tick_is_complete(&mut self, next: Nanos) {
        let holder = self.holder.take().filter(|_| self.holders == 1);
        for &(waiter, waited) in &self.waiters {
            match holder {
                Some((thread, stack)) => {
                    self.ledger.holder_sampled(self.at);
                    self.ledger.caused_by_sampled(waiter, thread, stack, waited);
                }
                None => self.ledger.is_unknown(waited),
            }
        }
        self.contended += self.waiters.iter().map(|(_, waited)| *waited).max().unwrap_or(0);
        if let Some(timeline) = &mut self.timeline {
            if let Some((thread, _)) = holder.filter(|_| self.at < next) {
                match timeline.holds.last_mut() {
                    Some(last) if last.thread == thread && last.end == self.at => last.end = next,
                    _ => timeline.holds.push(Hold { start: self.at, end: next, thread }),
                }
            }
            let waiters = self.waiters.len() as u32;
            if timeline.waiters.last().map_or(0, |last| last.1) != waiters {
                timeline.waiters.push((self.at, waiters));
            }
        }
        self.holders = 0;
        self.waiters.clear();
    }
}
