//! Memory mode as the session drives it: a [`Sampler`] for each process.

use std::error::Error;

use super::{Sampler, Stopping};
use crate::cpython::attach::AttachedProcess;
use crate::event::{Nanos, Pid, ProcessId};
use crate::interpreter::PythonProcess;
use crate::interpreter::collector::{Collector, CollectorSummary, TickPlan};
use crate::interpreter::registry::Sink;
use crate::interpreter::waits::BlockedThreads;
use crate::process::refusal::{number, remedy_for_limit};
use crate::process::stop::StopStats;

#[derive(Debug)]
pub struct MemoryMode {
    /// Samples a second.
    rate: f64,
    stopping: Stopping,
    samplers: Vec<Sampler>,
    /// The cost of the samplers whose processes are gone.
    cost: StopStats,
    /// How many stacks those have not read.
    unread: u64,
}

impl MemoryMode {
    pub fn new(rate: f64, stopping: Stopping) -> MemoryMode {
        MemoryMode { rate, stopping, samplers: Vec::new(), cost: StopStats::default(), unread: 0 }
    }
}

impl Collector for MemoryMode {
    fn ticks(&self) -> TickPlan {
        TickPlan { rate: self.rate, punctual: true }
    }

    fn observe(
        &mut self,
        id: ProcessId,
        target: &AttachedProcess,
        _now: Nanos,
        _sink: &mut Sink<'_>,
    ) -> Result<(), Box<dyn Error>> {
        let mut sampler = Sampler::new(&PythonProcess::new(id, target), self.stopping);
        sampler.limit_ticks(self.rate);
        sampler.watch_locks();
        sampler.watch_accesses(self.rate);
        self.samplers.push(sampler);
        Ok(())
    }

    fn tick(&mut self, now: Nanos, periods: u32, sink: &mut Sink<'_>) -> Vec<Pid> {
        let mut gone = Vec::new();
        self.samplers.retain_mut(|sampler| {
            let Err(error) = sampler.tick(now, periods, sink) else { return true };
            log::info!("process {}: {error}", sampler.pid());
            sampler.finish(now, sink);
            self.cost.add(sampler.stats());
            self.unread += sampler.unread();
            gone.push(sampler.pid());
            false
        });
        gone
    }

    fn long_waits(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<Pid> {
        let waiting = self
            .samplers
            .iter_mut()
            .filter_map(|sampler| sampler.has_new_long_waits(now, sink.stacks).then(|| sampler.pid()));
        waiting.collect()
    }

    fn note_blocked(&mut self, pid: Pid, _at: Nanos, blocked: &BlockedThreads, sink: &mut Sink<'_>) {
        if let Some(sampler) = self.samplers.iter_mut().find(|sampler| sampler.pid() == pid) {
            sampler.note_blocked(blocked, sink);
        }
    }

    fn finish(&mut self, now: Nanos, sink: &mut Sink<'_>) -> CollectorSummary {
        let mut degraded = Vec::new();
        for mut sampler in self.samplers.drain(..) {
            if let Some(refused) = sampler.registers_refused() {
                let remedy = number(refused).and_then(remedy_for_limit).map_or_else(
                    || {
                        "Set /proc/sys/kernel/perf_event_paranoid to 2 or less, or run gilscope as root or with CAP_PERFMON"
                            .to_owned()
                    },
                    |remedy| format!("This is a limit: {remedy}"),
                );
                degraded.push(format!(
                    "the cost of reference counts is unknown: perf events of the target's threads are not available \
                     ({refused}). {remedy}"
                ));
            }
            sampler.finish(now, sink);
            self.cost.add(sampler.stats());
            self.unread += sampler.unread();
        }
        let StopStats { stops, stopped_ns, not_permitted, failed_calls, spared } = self.cost;
        if not_permitted > 0 {
            degraded.push(format!(
                "{not_permitted} reads of moving stacks could not stop their thread (ptrace is not permitted, or a \
                 debugger has it): they were repeated instead, and are lost where they still moved"
            ));
        }
        if failed_calls > 0 {
            degraded.push(format!(
                "{failed_calls} system calls of the program failed with EINTR because their thread was stopped for a \
                 read: --nonblocking stops none"
            ));
        }
        if spared > 0 {
            degraded.push(format!(
                "{spared} times a thread was not stopped for a read because its stack takes long to read (it is deep): the \
                 sample is lost where the stack moved"
            ));
        }
        if self.unread > 0 {
            degraded.push(format!(
                "{} stacks were not read because a tick would have taken too long: their samples are lost. A lower rate (-r) \
                 leaves more time for each",
                self.unread
            ));
        }
        CollectorSummary { stops, stopped_ns, degraded }
    }
}
