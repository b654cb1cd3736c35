//! Kernel mode as the session drives it.

use std::error::Error;
use std::os::fd::BorrowedFd;

use super::Kernel;
use crate::cpython::attach::AttachedProcess;
use crate::event::{Nanos, OffCpu, Pid, ProcessId};
use crate::interpreter::PythonProcess;
use crate::interpreter::collector::{Collector, CollectorSummary, TickPlan};
use crate::interpreter::registry::Sink;
use crate::interpreter::waits::BlockedThreads;

/// How often records are taken out of the kernel, per second.
const DRAINS_PER_SECOND: f64 = 40.0;

impl Collector for Kernel {
    /// Nothing is looked at: a tick is when records are taken out.
    fn ticks(&self) -> TickPlan {
        TickPlan { rate: DRAINS_PER_SECOND, punctual: false }
    }

    fn observes_early(&self) -> bool {
        true
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd())
    }

    fn watch(&mut self, pid: Pid) {
        // It is observed once its interpreter is known, which may go well.
        if let Err(error) = Kernel::watch(self, pid) {
            log::debug!("{error}");
        }
    }

    fn observe(
        &mut self,
        id: ProcessId,
        target: &AttachedProcess,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<(), Box<dyn Error>> {
        Ok(Kernel::observe(self, &PythonProcess::new(id, target), target.text(), now, sink)?)
    }

    fn tick(&mut self, now: Nanos, _periods: u32, sink: &mut Sink<'_>) -> Vec<Pid> {
        let gone = self.drain(now, sink);
        for &pid in &gone {
            Kernel::finish(self, pid, now, sink);
        }
        gone
    }

    fn long_waits(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<Pid> {
        Kernel::long_waits(self, now, sink)
    }

    fn note_blocked(&mut self, pid: Pid, at: Nanos, blocked: &BlockedThreads, sink: &mut Sink<'_>) {
        Kernel::note_blocked(self, pid, at, blocked, sink);
    }

    fn under_way(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<OffCpu> {
        Kernel::under_way(self, now, sink)
    }

    fn finish(&mut self, now: Nanos, sink: &mut Sink<'_>) -> CollectorSummary {
        self.drain(now, sink);
        for pid in self.pids() {
            Kernel::finish(self, pid, now, sink);
        }
        CollectorSummary { degraded: self.degraded(), ..CollectorSummary::default() }
    }
}
