//! What a session asks of a collector, whichever it is: memory mode, which looks at every thread once per tick, or kernel
//! mode, which takes out what the kernel has recorded meanwhile.

use std::error::Error;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;

use super::registry::Sink;
use super::waits::BlockedThreads;
use crate::cpython::attach::AttachedProcess;
use crate::event::{Nanos, OffCpu, Pid, ProcessId};

/// Observes processes, and reports what it sees as events.
pub trait Collector: Debug {
    fn ticks(&self) -> TickPlan;

    /// Whether an interpreter is to be observed although it has not started yet.
    fn observes_early(&self) -> bool {
        false
    }

    /// Becomes readable when a tick should be made before its time.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Watches a program that was just launched, before there is an interpreter in it.
    fn watch(&mut self, _pid: Pid) {}

    /// Observes a process whose interpreter was found, up to when [`Self::tick`] reports it gone.
    ///
    /// # Errors
    /// The process will not be observed.
    fn observe(
        &mut self,
        id: ProcessId,
        target: &AttachedProcess,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<(), Box<dyn Error>>;

    /// Reports what there is to report now, for this number of periods of [`Self::ticks`]. Returns the processes that cannot be
    /// read any more, which are not observed from then on: they have ended, or run another program.
    fn tick(&mut self, now: Nanos, periods: u32, sink: &mut Sink<'_>) -> Vec<Pid>;

    /// Processes in which threads sleep that have done so for long by now, for what another thread may hold. Each sleep is
    /// reported once.
    fn long_waits(&mut self, _now: Nanos, _sink: &mut Sink<'_>) -> Vec<Pid> {
        Vec::new()
    }

    /// Receives what was found out about the threads of a process that were blocked at a moment: more than the collector
    /// itself can know.
    fn note_blocked(&mut self, _pid: Pid, _at: Nanos, _blocked: &BlockedThreads, _sink: &mut Sink<'_>) {}

    /// What threads that are off the CPU have been doing up to now, if events report that only when it is over.
    fn under_way(&mut self, _now: Nanos, _sink: &mut Sink<'_>) -> Vec<OffCpu> {
        Vec::new()
    }

    /// Ends all observation: reports what threads were doing up to now.
    fn finish(&mut self, now: Nanos, sink: &mut Sink<'_>) -> CollectorSummary;
}

/// When a collector's ticks are due.
#[derive(Clone, Copy, Debug)]
pub struct TickPlan {
    pub rate: f64,
    /// Late ticks would bias the result.
    pub punctual: bool,
}

/// What observing has cost, and what it could not see.
#[derive(Debug, Default)]
pub struct CollectorSummary {
    /// How often a thread was stopped.
    pub stops: u64,
    /// How long they were stopped together, in nanoseconds.
    pub stopped_ns: u64,
    /// Sentences for the report.
    pub degraded: Vec<String>,
}
