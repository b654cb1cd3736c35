//! Memory mode: the state and stack of every thread of a process, read from outside, without stopping it, once per tick.
//! [`collector::MemoryMode`] drives a [`Sampler`] for each process; what a [`Sampler::tick`] finds comes out as [`Event`]s.
//!
//! The number of vectored reads per tick does not depend on how many threads there are, or how deep their stacks are:
//!
//! 1. `/proc`: which threads have run since the last tick. The others have the stacks they had.
//! 2. one read of all list heads and GILs ([`crate::interpreter::registry`]);
//! 3. one of the stacks of the threads that ran: most have not changed ([`crate::interpreter::batched_read`]);
//! 4. one of those that have, twice each ([`crate::interpreter::stacks`]);
//! 5. one of the code objects of all stacks that were read ([`crate::cpython::code`]).
//!
//! A stack that moves faster than it can be read is read with its thread stopped ([`crate::interpreter::stop_policy`]).

pub mod collector;
pub mod inspection;
mod registers;
mod stopped;

use std::cell::LazyCell;
use std::time::{Duration, Instant};

use self::registers::{RegisterClock, RegisterSample};
use self::stopped::{MAX_STOPS_PER_READ, StoppedReader, may_be_stopped};
use crate::cpython::code::CodeCache;
use crate::cpython::layout::Layout;
use crate::cpython::locks::FutexSite;
use crate::event::{Event, LockId, Nanos, Pid, ProcessId, Syscall, ThreadState, Tid};
use crate::interpreter::PythonProcess;
use crate::interpreter::batched_read::BatchedReader;
use crate::interpreter::collections::{CollectionCounts, Collections};
use crate::interpreter::gils::Gils;
use crate::interpreter::import_waits::imported_module;
use crate::interpreter::locks::KnownLocks;
use crate::interpreter::long_waits::{LONG_WAIT, LongWaits};
use crate::interpreter::memory_accesses::{AccessSite, Accesses};
use crate::interpreter::native_callers::KnownCallers;
use crate::interpreter::registry::{Registry, Sink};
use crate::interpreter::stacks::Scratch;
use crate::interpreter::thread_names::Naming;
use crate::interpreter::threads::{ObservedThread, ReadMode, ReadProgress};
use crate::interpreter::view::InterpreterView;
use crate::interpreter::waits::{BlockedThreads, LockWaitSite, may_wait_for_thread};
use crate::interpreter::with_locks::{WithLock, WithLocks};
use crate::process::memory::{LiveMemory, ReadError};
use crate::process::os_thread::RunState;
use crate::process::stop::{StopStats, Stopper};
use crate::stack::idle_wait::{import_site, work};
use crate::stack::{Interner, StackId};

/// Limits of the time that a tick may take before it reads less: half a period, but within these.
const MIN_TICK: Duration = Duration::from_millis(1);
const MAX_TICK: Duration = Duration::from_millis(5);

/// When threads may be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// One at a time, when its stack moves too fast to be read.
    WhenNeeded,
    /// All of them for every tick.
    Always,
    Never,
}

/// Samples one process.
#[derive(Debug)]
pub struct Sampler {
    memory: LiveMemory,
    layout: Layout,
    registry: Registry,
    codes: CodeCache,
    naming: Naming,
    process: ProcessId,
    gils: Gils,
    collections: Collections,
    collection_counts: CollectionCounts,
    /// None if locks are not watched.
    locks: Option<KnownLocks>,
    with_locks: WithLocks,
    long_waits: LongWaits,
    callers: KnownCallers,
    /// None if memory accesses are not watched.
    accesses: Option<(RegisterClock, Accesses)>,
    register_samples: Vec<RegisterSample>,
    stopping: Stopping,
    /// The kernel's clock ticks on every CPU that runs a thread.
    ticked: bool,
    stopper: Stopper,
    budget: Duration,
    reads: BatchedReader,
    scratch: Scratch,
}

impl Sampler {
    pub fn new(process: &PythonProcess, stopping: Stopping) -> Sampler {
        Sampler {
            memory: LiveMemory(process.pid),
            layout: process.layout,
            registry: Registry::new(process.pid, process.id, process.runtime, process.foreign_tids),
            codes: CodeCache::default(),
            naming: Naming::default(),
            process: process.id,
            gils: Gils::default(),
            collections: Collections::default(),
            collection_counts: CollectionCounts::default(),
            locks: None,
            with_locks: WithLocks::default(),
            long_waits: LongWaits::default(),
            callers: KnownCallers::new(process.pid, process.runtime),
            accesses: None,
            register_samples: Vec::new(),
            stopping,
            ticked: every_cpu_ticks(),
            stopper: Stopper::default(),
            budget: MAX_TICK,
            reads: BatchedReader::default(),
            scratch: Scratch::default(),
        }
    }

    /// Reports which locks threads wait for, from now on.
    pub fn watch_locks(&mut self) {
        self.locks = Some(KnownLocks::new(self.process));
    }

    /// Reports which memory threads are slowed down by, from now on, if it is a free-threaded build: by samples of their
    /// registers at this rate per second.
    pub fn watch_accesses(&mut self, rate: f64) {
        let accesses = || Accesses::new(self.memory.0, self.process);
        self.accesses = self.layout.free_threaded.then(|| (RegisterClock::new(rate), accesses()));
    }

    /// Why samples of registers are not permitted, if they are wanted.
    pub fn registers_refused(&self) -> Option<&std::io::Error> {
        self.accesses.as_ref()?.0.refused()
    }

    /// The locks without an owner that threads hold by `with`.
    pub fn with_locks(&mut self, now: Nanos) -> Vec<WithLock> {
        self.with_locks.held(&self.memory, &self.layout, &self.registry.threads, now)
    }

    /// The threads as last seen.
    pub fn threads(&self) -> &[ObservedThread] {
        &self.registry.threads
    }

    /// Whether threads sleep that have done so for long by now, for what another may hold. Each sleep counts once.
    pub fn has_new_long_waits(&mut self, now: Nanos, stacks: &Interner) -> bool {
        if !self.long_waits.is_due(now) {
            return false;
        }
        let asleep = self.registry.threads.iter().filter_map(|thread| {
            let waits = may_wait_for_thread(stacks, thread.stack) && thread.loss.is_none();
            Some((thread.os.tid(), thread.asleep_since().filter(|_| waits)?, LONG_WAIT))
        });
        !self.long_waits.new_ones(now, asleep).is_empty()
    }

    /// Takes over what was found out about blocked threads: some still wait for the same.
    pub fn note_blocked(&mut self, blocked: &BlockedThreads, sink: &mut Sink<'_>) {
        let Some(locks) = &mut self.locks else { return };
        for thread in &mut self.registry.threads {
            let Some(wait) = blocked.waits.get(&thread.os.tid()) else { continue };
            if thread.waits.is_some_and(|(_, address)| address == wait.waited_at) {
                locks.note(wait, sink);
                thread.held_by = wait.held_by;
            }
        }
    }

    fn pid(&self) -> Pid {
        self.memory.0
    }

    /// The interpreters and threads as last seen.
    pub fn view(&self) -> InterpreterView<'_, LiveMemory> {
        InterpreterView { memory: &self.memory, layout: &self.layout, registry: &self.registry }
    }

    /// Limits what a tick may take, at this number of them per second: the time for which threads are stopped one after the other,
    /// and that for reading stacks of more than a few megabytes.
    pub fn limit_ticks(&mut self, rate: f64) {
        self.budget = Duration::from_secs_f64(0.5 / rate).clamp(MIN_TICK, MAX_TICK);
    }

    /// The cost to the target so far.
    pub fn stats(&mut self) -> &StopStats {
        self.stopper.stats()
    }

    /// How many stacks were not read because the tick had taken long already.
    pub fn unread(&self) -> u64 {
        self.reads.unread()
    }

    /// Samples every thread once, for this number of periods of the sampling rate.
    ///
    /// # Errors
    /// The process cannot be read any more.
    pub fn tick(&mut self, now: Nanos, periods: u32, sink: &mut Sink<'_>) -> Result<(), ReadError> {
        let until = Instant::now() + self.budget;
        self.stopper.tidy();
        self.registry.refresh(&self.memory, &self.layout, now, sink)?;
        let Sampler { memory, layout, registry, gils, collection_counts, process, .. } = self;
        collection_counts.update(memory, layout, *process, registry, now, sink);
        gils.update(memory, layout, *process, registry, now, sink);
        self.poll(now, sink);
        match self.stopping {
            Stopping::Always => self.read_all_stopped(until)?,
            Stopping::WhenNeeded => self.read(ReadMode::Live, true, until)?,
            Stopping::Never => self.read(ReadMode::Live, false, until)?,
        }
        self.registry.threads.iter_mut().for_each(ObservedThread::check_displaced);
        // A thread that could not be stopped was not running, and can be read live unless it has just started to run.
        for round in 1..=MAX_STOPS_PER_READ {
            if !self.read_stopped(now, until, sink) {
                break;
            }
            self.read(ReadMode::LiveRetry, round < MAX_STOPS_PER_READ, until)?;
            if round < MAX_STOPS_PER_READ {
                self.registry.threads.iter_mut().for_each(ObservedThread::check_displaced);
            }
            for thread in self.registry.threads.iter().filter(|thread| thread.read_mode == ReadMode::Stopped) {
                self.stopper.moves(thread.os.tid());
            }
        }
        self.report(now, periods, sink)?;
        self.find_accesses(now, sink);
        self.naming.update(&self.memory, &self.layout, &mut self.registry, now, sink);
        Ok(())
    }

    /// Reports the end of all threads: the process has ended, or recording stops.
    pub fn finish(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        if let Some((_, accesses)) = &mut self.accesses {
            accesses.finish(sink);
        }
        let Sampler { memory, layout, registry, locks, .. } = self;
        if let Some(locks) = locks {
            locks.name_at_the_end(InterpreterView { memory, layout, registry }, sink);
        }
        let pid = self.pid();
        for thread in self.registry.threads.drain(..) {
            if let Some(name) = thread.last_name(pid, sink.stacks) {
                sink.events.push(Event::ThreadNamed { thread: thread.id, name });
            }
            sink.events.push(Event::ThreadExited { at: now, thread: thread.id, cpu_ns: thread.cpu_ns() });
        }
    }

    /// Asks the kernel about every thread, and decides how each is read. Those that are gone are reported.
    fn poll(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        let before = self.registry.threads.len();
        let may_stop = self.stopping == Stopping::WhenNeeded;
        let Registry { pid, threads, interpreters, .. } = &mut self.registry;
        threads.retain_mut(|thread| {
            if thread.poll(now, interpreters, self.ticked).is_err() {
                if let Some(name) = thread.last_name(*pid, sink.stacks) {
                    sink.events.push(Event::ThreadNamed { thread: thread.id, name });
                }
                sink.events.push(Event::ThreadExited { at: now, thread: thread.id, cpu_ns: thread.cpu_ns() });
                return false;
            }
            let wanted = thread.slots.iter().any(|slot| slot.progress == ReadProgress::Wanted);
            let moving = may_stop && wanted && thread.run == RunState::Running && thread.stop_policy.stop_next();
            thread.read_mode = match (thread.fresh, moving) {
                (false, _) => ReadMode::Skip,
                // If it was last on the CPU that gilscope is on now, it is not running, and need not be stopped.
                (true, true) if thread.os.last_cpu() != Some(rustix::thread::sched_getcpu()) => ReadMode::Stopped,
                (true, _) => ReadMode::Live,
            };
            thread.displaced = moving && thread.read_mode == ReadMode::Live;
            true
        });
        // Signals stop all threads at once, and `/proc` shows the calls in which they were stopped.
        let running = threads.iter().any(|thread| thread.run == RunState::Running);
        let stopped = !running && threads.first().is_some_and(|thread| thread.os.is_stopped());
        threads.iter_mut().for_each(|thread| thread.stopped = stopped);
        if threads.len() != before {
            self.registry.mark_stale();
        }
    }

    /// Reads all stacks while all threads that run are stopped.
    fn read_all_stopped(&mut self, until: Instant) -> Result<(), ReadError> {
        let running = |thread: &ObservedThread| may_be_stopped(thread).then(|| thread.os.tid());
        let tids: Vec<Tid> = self.registry.threads.iter().filter_map(running).collect();
        if tids.is_empty() {
            return self.read(ReadMode::Live, false, until);
        }
        let Sampler { memory, layout, registry, reads, scratch, stopper, .. } = self;
        let read = stopper.trace(|tracer| {
            let stopped = tracer.stop_all(tids.into_iter());
            let read = reads.read(memory, layout, registry, ReadMode::Live, false, until, scratch);
            stopped.into_iter().for_each(|stopped| tracer.resume(stopped));
            read
        });
        read.unwrap_or_else(|_| self.read(ReadMode::Live, false, until))
    }

    /// Reads the stacks of all threads to be read in this mode, without stopping any. With `may_stop`, those that move are
    /// left to be stopped.
    fn read(&mut self, mode: ReadMode, may_stop: bool, until: Instant) -> Result<(), ReadError> {
        let Sampler { memory, layout, registry, reads, scratch, .. } = self;
        reads.read(memory, layout, registry, mode, may_stop, until, scratch)
    }

    /// Reads and names the stacks that move too fast, each with its thread stopped. Returns whether there are threads that
    /// could not be stopped, which are to be read live.
    fn read_stopped(&mut self, now: Nanos, until: Instant, sink: &mut Sink<'_>) -> bool {
        if !self.registry.threads.iter().any(stopped::is_wanted) {
            return false;
        }
        let Sampler { memory, layout, registry, codes, scratch, stopper, .. } = self;
        let mut reader = StoppedReader { memory, layout, registry, codes, scratch, stacks: sink.stacks, now, until };
        match stopper.trace(|tracer| reader.read(tracer)) {
            Ok(any_live) => any_live,
            Err(error) => {
                log::debug!("cannot start a thread that stops others: {error}");
                self.registry.threads.iter_mut().filter(|thread| stopped::is_wanted(thread)).for_each(|thread| {
                    thread.read_mode = ReadMode::LiveRetry;
                });
                true
            }
        }
    }

    /// Names the stacks that were read live, and reports what every thread is doing.
    fn report(&mut self, now: Nanos, periods: u32, sink: &mut Sink<'_>) -> Result<(), ReadError> {
        self.check_codes(now, sink)?;
        self.resolve(sink);
        self.find_locks(now, sink);
        let Sampler { registry, gils, .. } = self;
        let interpreters = &registry.interpreters;
        for thread in &registry.threads {
            let (id, state) = (thread.id, thread.state());
            let gil = thread.gil(interpreters).and_then(|addr| gils.get(addr));
            sink.events.push(match thread.loss {
                Some(loss) => Event::Lost { at: now, periods, thread: id, state, gil, loss },
                None => Event::Sample { at: now, periods, thread: id, state, stack: thread.shown_stack, gil },
            });
        }
        Ok(())
    }

    /// Reads the code objects of the stacks that were read live. Where they are new, checks that the stack is still there:
    /// it was read before them.
    fn check_codes(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Result<(), ReadError> {
        let Sampler { memory, layout, registry, codes, reads, scratch, .. } = self;
        let is_live = |thread: &&mut ObservedThread| thread.fresh && thread.read_mode != ReadMode::Stopped;
        let slots = registry.threads.iter_mut().filter(is_live).flat_map(|thread| &mut thread.slots);
        let stacks = slots.filter_map(|slot| slot.is_read().then(|| slot.reader.frames()));
        codes.check(memory, layout, now, stacks, sink.stacks);
        let mut any_new = false;
        for thread in registry.threads.iter_mut().filter(is_live) {
            for slot in thread.slots.iter_mut().filter(|slot| slot.progress == ReadProgress::Done) {
                if codes.is_news(slot.reader.frames()) {
                    slot.progress = ReadProgress::Wanted;
                    thread.read_mode = ReadMode::Confirm;
                    any_new = true;
                }
            }
        }
        if any_new {
            // Of the same tick, and of few bytes.
            let until = Instant::now() + MAX_TICK;
            reads.read(memory, layout, registry, ReadMode::Confirm, false, until, scratch)?;
        }
        Ok(())
    }

    /// Names the stacks that were read live, and determines the states of all threads that were read.
    fn resolve(&mut self, sink: &mut Sink<'_>) {
        let Sampler { memory, layout, registry, codes, gils, collections, .. } = self;
        let Registry { threads, interpreters, .. } = registry;
        for thread in threads.iter_mut().filter(|thread| thread.fresh) {
            thread.confirm();
            if thread.read_mode != ReadMode::Stopped {
                thread.resolve(memory, layout, codes, sink.stacks);
            }
            thread.classify(|index| interpreters[index].gil, layout);
            if thread.sleeps_at_hidden_futex() && work(sink.stacks, thread.stack).is_some() {
                thread.waits_for_work();
            }
        }
        let gil = |thread: &ObservedThread| gils.get(thread.gil(interpreters)?);
        for thread in threads {
            thread.shown_stack = match thread.collects(collections) {
                Some(collecting) => collections.stack(gil(thread), thread.id, thread.stack, collecting, sink.stacks),
                None => thread.stack,
            };
        }
    }

    /// Finds out which memory threads have been slowed down by since the last tick. Their stacks at the time of each sample are
    /// not known; the ones that they have now stand for them.
    fn find_accesses(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        let Sampler { memory, layout, registry, register_samples, accesses: Some((clock, accesses)), .. } = self
        else {
            return;
        };
        clock.cover(registry.threads.iter().map(|thread| thread.os.tid()));
        clock.drain(register_samples);
        let view = InterpreterView { memory, layout, registry };
        for sample in register_samples.drain(..) {
            let Some(thread) = registry.threads.iter().find(|thread| thread.os.tid() == sample.tid) else { continue };
            let at = AccessSite { at: sample.at, thread: thread.id, stack: thread.shown_stack };
            accesses.sample(view, at, sample.registers.as_ref(), sink);
        }
        accesses.name(view, now, sink);
    }

    /// Finds out which locks threads wait for, and who holds them.
    fn find_locks(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        let Sampler { memory, layout, registry, locks: Some(known), with_locks, callers, .. } = self else {
            return;
        };
        for index in 0..registry.threads.len() {
            let thread = &registry.threads[index];
            if !thread.fresh {
                continue;
            }
            let asleep = thread.state() == ThreadState::Blocked(Syscall::FUTEX) && thread.loss.is_none();
            let futex = asleep.then(|| thread.futex()).flatten();
            let waits = futex.zip(thread.slots.first()).and_then(|(futex, slot)| {
                let mut site = LockWaitSite::of(memory, layout, &futex, now, slot.gc.collecting);
                let at = (futex.address, futex.stack, thread.stack);
                let caller = (matches!(site.how, FutexSite::Other | FutexSite::NativeMutex)
                    && thread.stack != StackId::EMPTY)
                    .then(|| callers.get(memory, at, &futex, now))
                    .flatten();
                site.caller = caller.as_ref();
                let view = InterpreterView { memory, layout, registry };
                let import = import_site(sink.stacks, thread.stack);
                let module = import.and_then(|_| imported_module(view, thread)?.name);
                site.module = module.as_deref();
                let state = known.wait(view, &site, thread.stack, sink)?;
                Some((state, site.address))
            });
            registry.threads[index].waits = waits;
            registry.threads[index].held_by = None;
        }
        let mut reported: Vec<LockId> = Vec::new();
        let view = InterpreterView { memory, layout, registry };
        let held = LazyCell::new(|| with_locks.held(memory, layout, &registry.threads, now));
        for (waiter, (state, address)) in registry.threads.iter().filter_map(|thread| Some((thread, thread.waits?))) {
            let Some(lock) = state.lock().filter(|lock| !reported.contains(lock)) else { continue };
            let Some(waited) = known.waited_at(address) else { continue };
            let holder = view.holder(&waited, || held.as_slice()).map(|holder| holder.tid).or(waiter.held_by);
            let Some(holder) = holder else { continue };
            if let Some(thread) = registry.threads.iter().find(|thread| thread.os.tid() == holder) {
                reported.push(lock);
                sink.events.push(Event::LockHeld { at: now, lock, thread: thread.id, stack: thread.shown_stack });
            }
        }
        known.name(view, now, sink);
    }
}

/// Why samples of a thread's registers are refused, found out by trying; none if they are not.
pub(crate) fn registers_refused(tid: Tid) -> Option<std::io::Error> {
    let mut clock = RegisterClock::new(1.0);
    clock.cover(std::iter::once(tid));
    clock.into_refused()
}

/// Whether no CPU was configured at boot to run without the kernel's clock ticks (`nohz_full=`).
fn every_cpu_ticks() -> bool {
    // The file is absent from kernels that cannot do that.
    std::fs::read_to_string("/sys/devices/system/cpu/nohz_full").map_or(true, |cpus| {
        let cpus = cpus.trim();
        cpus.is_empty() || cpus == "(null)"
    })
}
