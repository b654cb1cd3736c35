//! What happened at one GIL: who waited, for how long, who held it meanwhile. Pure; fed by
//! [`crate::profile::Profile`].

use std::sync::Arc;

use super::delays::GilDelays;
use super::exact::ExactGil;
use super::sampled::SampledGil;
use super::summary::{GilSummary, HoldClasses, ThreadShare};
use crate::contention::Timeline;
use crate::contention::by_thread::ByThread;
use crate::contention::folding::FoldedRows;
use crate::contention::ledger::Ledger;
use crate::contention::selection::{PastWait, Retention};
use crate::event::{GilInfo, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;

/// Everything learned of one GIL.
#[derive(Debug)]
pub struct GilAnalysis {
    /// What is known of it now.
    pub info: Arc<GilInfo>,
    found: Nanos,
    latest: Nanos,
    switched_on: Option<(Nanos, Option<Arc<str>>)>,
    retention: Retention,
    on_cpu: ByThread<OnCpu>,
    source: Source,
}

/// Periods of the sampling rate for which a thread held the GIL on the CPU.
#[derive(Clone, Copy, Debug, Default)]
struct OnCpu {
    python: u64,
    native: u64,
}

/// What the rest comes from: samples of all threads, until the first exact time off the CPU shows that samples are
/// of threads on the CPU only.
#[derive(Debug)]
enum Source {
    Sampled(Box<SampledGil>),
    Exact(Box<ExactGil>),
}

impl GilAnalysis {
    pub fn new(at: Nanos, info: Arc<GilInfo>, retention: Retention) -> GilAnalysis {
        GilAnalysis {
            info,
            found: at,
            latest: at,
            switched_on: None,
            on_cpu: ByThread::default(),
            source: Source::Sampled(Box::new(SampledGil::new(retention.clone()))),
            retention,
        }
    }

    /// What is known of it has changed.
    pub fn changed(&mut self, at: Nanos, info: &Arc<GilInfo>, switched_on_by: Option<&Arc<str>>) {
        if info.enabled && !self.info.enabled {
            self.switched_on = Some((at, switched_on_by.cloned()));
        } else if !info.enabled {
            // It is on while an extension module is imported, and off again if that can do without it.
            self.switched_on = None;
        }
        self.latest = self.latest.max(at);
        self.info = info.clone();
    }

    /// A time off the CPU has come that ended then. It will be handed over in its turn ([`GilAnalysis::off_cpu`]).
    pub fn announce_off_cpu(&mut self, end: Nanos) {
        self.latest = self.latest.max(end);
        if let Source::Sampled(_) = self.source {
            self.source = Source::Exact(Box::new(ExactGil::new(self.retention.clone())));
        }
        if let Source::Exact(exact) = &mut self.source {
            exact.announce(end);
        }
    }

    /// A thread of one of its interpreters was off the CPU. These come in the order of their ends.
    pub fn off_cpu(&mut self, off: &OffCpu) {
        if let Source::Exact(exact) = &mut self.source {
            exact.off_cpu(off);
        }
    }

    /// Decides who caused waiting, as far as that is known by now.
    pub fn decide(&mut self) {
        if let Source::Exact(exact) = &mut self.source {
            exact.decide(self.info.switch_interval_ns);
        }
    }

    /// A thread of one of its interpreters at one tick.
    pub fn sample(&mut self, at: Nanos, periods: u32, thread: ThreadId, state: ThreadState, stack: StackId) {
        self.latest = self.latest.max(at);
        match state {
            ThreadState::GilHeld => self.on_cpu.of(thread).python += u64::from(periods),
            ThreadState::GilHeldNative => self.on_cpu.of(thread).native += u64::from(periods),
            _ => (),
        }
        match &mut self.source {
            Source::Sampled(sampled) => sampled.sample(at, u64::from(periods), thread, state, stack),
            Source::Exact(exact) => exact.sample(at, thread, state, stack),
        }
    }

    /// Threads that have ended become part of other rows.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.on_cpu.fold(rows, |sum, more| {
            sum.python += more.python;
            sum.native += more.native;
        });
        match &mut self.source {
            Source::Sampled(sampled) => sampled.fold(rows),
            Source::Exact(exact) => exact.fold(rows),
        }
    }

    pub fn finish(&mut self, end: Nanos) {
        self.latest = self.latest.max(end);
        match &mut self.source {
            Source::Sampled(sampled) => sampled.finish(end),
            Source::Exact(exact) => exact.finish(end),
        }
    }

    /// What is known so far. `period_ns` is what a sample stands for, to the nanosecond.
    pub fn summary(&self, period_ns: f64) -> GilSummary {
        let period = period_ns.round() as u64;
        let (ledger, contended, unit, estimated) = match &self.source {
            Source::Sampled(sampled) => (&sampled.ledger, sampled.contended, period, true),
            Source::Exact(exact) => (exact.ledger(), exact.contended_ns(), 1, false),
        };
        let delays = match &self.source {
            Source::Sampled(_) => None,
            Source::Exact(exact) => Some(exact.delays()),
        };
        let threads = self.threads(ledger, unit, period);
        let mut held = HoldClasses::default();
        for share in &threads {
            held.python_ns += share.held.python_ns;
            held.native_ns += share.held.native_ns;
            held.off_cpu_ns += share.held.off_cpu_ns;
            held.runnable_ns += share.held.runnable_ns;
        }
        GilSummary {
            info: self.info.clone(),
            switched_on: self.switched_on.clone(),
            estimated,
            observed_ns: self.latest.since(self.found),
            held,
            contention: ledger.contention(contended, unit, period_ns),
            forced_drops: ledger.forced,
            voluntary_drops: ledger.voluntary,
            held_off_cpu: ledger.calls(unit),
            delays: delays.map(|delays| delays.total),
            not_released: delays.map(GilDelays::places).unwrap_or_default(),
            threads,
        }
    }

    /// What happened when, if that was to be kept. Complete after [`GilAnalysis::finish`].
    pub fn timeline(&self) -> Option<&Timeline> {
        match &self.source {
            Source::Sampled(sampled) => sampled.timeline.as_ref(),
            Source::Exact(exact) => exact.timeline(),
        }
    }

    /// All waits that are over, if these were to be kept.
    pub fn past_waits(&self) -> &[PastWait] {
        match &self.source {
            Source::Sampled(sampled) => &sampled.past,
            Source::Exact(exact) => exact.past_waits(),
        }
    }

    fn threads(&self, ledger: &Ledger, unit: u64, period: u64) -> Vec<ThreadShare> {
        let mut shares: ByThread<Option<ThreadShare>> = ByThread::default();
        let none = |thread| ThreadShare {
            thread,
            waits: Default::default(),
            lengths: Default::default(),
            held: HoldClasses::default(),
            caused_ns: 0,
        };
        for (thread, share) in ledger.shares.iter() {
            let it = shares.of(thread).get_or_insert_with(|| none(thread));
            it.waits = share.waits(unit);
            it.lengths = share.lengths(unit);
            it.held.off_cpu_ns = share.off_cpu * unit;
            it.held.runnable_ns = share.runnable * unit;
            it.caused_ns = share.caused * unit;
        }
        for (thread, on_cpu) in self.on_cpu.iter() {
            let it = shares.of(thread).get_or_insert_with(|| none(thread));
            it.held.python_ns = on_cpu.python * period;
            it.held.native_ns = on_cpu.native * period;
        }
        let mut threads: Vec<ThreadShare> = shares.iter().filter_map(|(_, share)| share.clone()).collect();
        threads.sort_unstable_by_key(|share| share.thread);
        threads
    }
}
