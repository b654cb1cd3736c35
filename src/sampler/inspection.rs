//! One sample of all threads of a process, and what those that are blocked wait for. Used by `dump`, and by a recording when
//! it searches for deadlocks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Sampler, Stopping};
use crate::event::{Event, Ids, Tid};
use crate::interpreter::PythonProcess;
use crate::interpreter::registry::{Registry, Sink};
use crate::interpreter::threads::ObservedThread;
use crate::interpreter::view::InterpreterView;
use crate::interpreter::waits::{BlockedThreads, ThreadWait, deadlocks, orphans, waits};
use crate::interpreter::with_locks::WithLock;
use crate::process::clock::now;
use crate::process::memory::{LiveMemory, ReadError};
use crate::process::{has_forked, threads};
use crate::stack::Interner;

/// How long a dump waits at most to see whether threads go on sleeping.
const MAX_REST: Duration = Duration::from_millis(500);

/// For how long no waiter for the GIL sleeps without waking up, if threads sleep in `futex` at addresses that are hidden.
fn hidden_wait(registry: &Registry) -> Option<Duration> {
    let hidden = registry.threads.iter().any(ObservedThread::sleeps_at_hidden_futex);
    let longest = registry.interpreters.iter().map(|interpreter| interpreter.gil.longest_sleep_ns()).max();
    hidden.then(|| Duration::from_nanos(longest.unwrap_or(0) + 1_000_000).min(MAX_REST))
}

/// How many ticks are made until there is a stack of each thread.
const MAX_TICKS: u32 = 20;

/// The threads of a process at one moment.
#[derive(Debug)]
pub struct Inspection {
    sampler: Sampler,
    pub stacks: Interner,
}

impl Inspection {
    /// Samples all threads of a process.
    ///
    /// # Errors
    /// Its memory cannot be read.
    pub fn of(process: &PythonProcess, stopping: Stopping) -> Result<Inspection, ReadError> {
        let mut sampler = Sampler::new(process, stopping);
        let (mut stacks, mut events, mut ids) = (Interner::default(), Vec::new(), Ids::default());
        for tick in 0..MAX_TICKS {
            events.clear();
            let mut sink = Sink { stacks: &mut stacks, events: &mut events, ids: &mut ids };
            sampler.tick(now(), 1, &mut sink)?;
            // The first tick finds the threads; only the next one reads them together with the GIL.
            if tick > 0 && !events.iter().any(|event| matches!(event, Event::Lost { .. })) {
                break;
            }
        }
        // How long they go on sleeping tells whether they wait for the GIL.
        if let Some(interval) = hidden_wait(sampler.view().registry) {
            std::thread::sleep(interval);
            let mut sink = Sink { stacks: &mut stacks, events: &mut events, ids: &mut ids };
            sampler.tick(now(), 1, &mut sink)?;
        }
        Ok(Inspection { sampler, stacks })
    }

    /// The threads, by their tids.
    pub fn thread(&self, tid: Tid) -> Option<&ObservedThread> {
        self.registry().threads.iter().find(|thread| thread.os.tid() == tid)
    }

    pub fn view(&self) -> InterpreterView<'_, LiveMemory> {
        self.sampler.view()
    }

    pub fn registry(&self) -> &Registry {
        self.sampler.view().registry
    }

    /// Resolves what blocked threads wait for. A deadlock is reported only if it is there when searched for again: no thread is
    /// stopped for this.
    pub fn blocked(&mut self) -> BlockedThreads {
        let (waits, with_locks) = self.waits();
        let mut deadlocks = deadlocks(&waits);
        if !deadlocks.is_empty() {
            let again = self::deadlocks(&self.waits().0);
            deadlocks.retain(|circle| again.contains(circle));
        }
        let (pid, forked) = (self.registry().pid, has_forked(self.registry().pid));
        let mut orphans = orphans(&waits, forked, &threads(pid));
        if !orphans.is_empty() {
            let again = self::orphans(&self.waits().0, forked, &threads(pid));
            orphans.retain(|tid| again.contains(tid));
        }
        BlockedThreads { waits, deadlocks, orphans, forked, with_locks }
    }

    fn waits(&mut self) -> (BTreeMap<Tid, ThreadWait>, Vec<WithLock>) {
        let with_locks = self.sampler.with_locks(now());
        (waits(self.sampler.view(), &with_locks, &self.stacks), with_locks)
    }
}
