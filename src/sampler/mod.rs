//! Memory mode: the state and stack of every thread of a process, read from outside, without stopping it, once
//! per tick. The session calls [`Sampler::tick`]; what it finds comes out as [`Event`]s.
//!
//! A tick costs a constant number of vectored reads, however many threads there are and however deep they are:
//!
//! 1. `/proc`: which threads have run since the last tick. The others are where they were.
//! 2. one read of all list heads and GILs ([`registry`]);
//! 3. one of the stacks of the threads that ran: most are where they were ([`quiet`]);
//! 4. one of those that were not, twice each ([`stack`]);
//! 5. one of the code objects of all stacks that were read ([`code`]).
//!
//! A stack that moves faster than it can be read is read with its thread stopped ([`thread::StopPolicy`]).

pub mod collector;
pub mod inspection;
mod registers;

use std::cell::LazyCell;

use self::registers::{RegisterClock, RegisterSample};
use crate::cpython::code::CodeCache;
use crate::cpython::gc::GcFlags;
use crate::cpython::gil::Gil;
use crate::cpython::layout::Layout;
use crate::event::{Event, LockId, Loss, Nanos, Pid, ProcessId, Syscall, ThreadState};
use crate::interpreter::PythonProcess;
use crate::interpreter::batched_read::BatchedReader;
use crate::interpreter::collections::Collections;
use crate::interpreter::gils::Gils;
use crate::interpreter::locks::KnownLocks;
use crate::interpreter::memory_accesses::{AccessSite, Accesses};
use crate::interpreter::registry::{Registry, Sink};
use crate::interpreter::stacks::{Reading, Scratch};
use crate::interpreter::thread_names::Naming;
use crate::interpreter::threads::{ObservedThread, ReadMode, ReadProgress};
use crate::interpreter::view::InterpreterView;
use crate::interpreter::waits::LockWaitSite;
use crate::interpreter::with_locks::{WithLock, WithLocks};
use crate::process::memory::{Live, ReadError};
use crate::process::os_thread::RunState;
use crate::process::stop::{StopError, Stopped, Stopper};

/// How often a thread is stopped for one sample, at most.
const STOPS_A_READ: u32 = 3;

/// When threads may be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// One at a time, when its stack moves too fast to be read.
    WhenNeeded,
    /// All of them for every tick.
    Always,
    /// Never.
    Never,
}

/// What sampling cost the target and could not see, so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopStats {
    /// Threads stopped for a read, times.
    pub stops: u64,
    /// How long they were stopped together, in nanoseconds.
    pub stopped_ns: u64,
    /// Times a thread could not be stopped because ptrace is not permitted or taken.
    pub not_permitted: u64,
}

impl StopStats {
    /// Adds those of another sampler.
    pub fn add(&mut self, other: &StopStats) {
        self.stops += other.stops;
        self.stopped_ns += other.stopped_ns;
        self.not_permitted += other.not_permitted;
    }
}

/// Samples one process.
#[derive(Debug)]
pub struct Sampler {
    memory: Live,
    layout: Layout,
    registry: Registry,
    codes: CodeCache,
    naming: Naming,
    process: ProcessId,
    gils: Gils,
    collections: Collections,
    /// None as long as nobody wants to know which locks threads wait for.
    locks: Option<KnownLocks>,
    entered: WithLocks,
    /// None as long as nobody wants to know what memory threads are held up by.
    accesses: Option<(RegisterClock, Accesses)>,
    register_samples: Vec<RegisterSample>,
    stopping: Stopping,
    /// The kernel's clock ticks on every CPU that runs something.
    ticked: bool,
    stopper: Stopper,
    /// What it cost.
    pub stats: StopStats,
    reads: BatchedReader,
    scratch: Scratch,
}

impl Sampler {
    /// A sampler for a process whose interpreter has been found.
    pub fn new(process: &PythonProcess, stopping: Stopping) -> Sampler {
        Sampler {
            memory: Live(process.pid),
            layout: process.layout,
            registry: Registry::new(process.pid, process.id, process.runtime, process.foreign_tids),
            codes: CodeCache::default(),
            naming: Naming::default(),
            process: process.id,
            gils: Gils::default(),
            collections: Collections::default(),
            locks: None,
            entered: WithLocks::default(),
            accesses: None,
            register_samples: Vec::new(),
            stopping,
            ticked: every_cpu_ticks(),
            stopper: Stopper::default(),
            stats: StopStats::default(),
            reads: BatchedReader::default(),
            scratch: Scratch::default(),
        }
    }

    /// From now on says which locks threads wait for.
    pub fn watch_locks(&mut self, process: &PythonProcess) {
        self.locks = Some(KnownLocks::new(process.id));
    }

    /// From now on says what memory threads are held up by, if it is a free-threaded build: by samples of their registers
    /// at this rate a second.
    pub fn watch_accesses(&mut self, process: &PythonProcess, rate: f64) {
        let accesses = || Accesses::new(process.pid, process.id);
        self.accesses = process.layout.free_threaded.then(|| (RegisterClock::new(rate), accesses()));
    }

    /// Why samples of registers are not permitted, if they were wanted.
    pub fn registers_refused(&self) -> Option<&std::io::Error> {
        self.accesses.as_ref()?.0.refused()
    }

    /// The locks without an owner that threads as last seen hold by `with`.
    pub fn held(&mut self, now: Nanos) -> Vec<WithLock> {
        self.entered.held(&self.memory, &self.layout, &self.registry.threads, now)
    }

    /// The threads as last seen.
    pub fn threads(&self) -> &[ObservedThread] {
        &self.registry.threads
    }

    fn pid(&self) -> Pid {
        self.memory.0
    }

    /// The interpreters and threads as last seen.
    pub fn view(&self) -> InterpreterView<'_, Live> {
        InterpreterView { memory: &self.memory, layout: &self.layout, registry: &self.registry }
    }

    /// Lets threads go on that stopped only after their tick. To be called at `SIGCHLD`.
    pub fn release(&mut self) {
        self.stopper.release();
    }

    /// Looks at every thread once, for so many periods of the sampling rate. An error means that the process cannot
    /// be read any more.
    pub fn tick(&mut self, now: Nanos, periods: u32, sink: &mut Sink<'_>) -> Result<(), ReadError> {
        self.stopper.release();
        self.registry.refresh(&self.memory, &self.layout, now, sink)?;
        let Sampler { memory, layout, registry, gils, process, .. } = self;
        gils.update(memory, layout, *process, registry, now, sink);
        self.poll(now, sink);
        let stopped = match self.stopping {
            Stopping::Always => self.stop_all(),
            _ => Vec::new(),
        };
        self.read(ReadMode::Live, self.stopping == Stopping::WhenNeeded)?;
        self.stats.stopped_ns += stopped.iter().map(Stopped::elapsed_ns).sum::<u64>();
        drop(stopped);
        self.registry.threads.iter_mut().for_each(ObservedThread::check_displaced);
        // What could not be stopped was not running, and can be read as it is, unless it has just started to.
        for round in 1..=STOPS_A_READ {
            if !self.read_stopped(now, sink) {
                break;
            }
            self.read(ReadMode::LiveRetry, round < STOPS_A_READ)?;
            if round < STOPS_A_READ {
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

    /// Announces the end of all threads: the process has ended, or recording stops.
    pub fn finish(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        self.stopper.release();
        if let Some((_, accesses)) = &mut self.accesses {
            accesses.finish(sink);
        }
        let Sampler { memory, layout, registry, locks, .. } = self;
        if let Some(locks) = locks {
            locks.name_at_the_end(InterpreterView { memory, layout, registry }, sink);
        }
        for thread in self.registry.threads.drain(..) {
            sink.events.push(Event::ThreadExited { at: now, thread: thread.id, cpu_ns: thread.cpu_ns() });
        }
    }

    /// Asks the kernel about every thread, and decides how each is read. Those that are gone are announced.
    fn poll(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        let before = self.registry.threads.len();
        let may_stop = self.stopping == Stopping::WhenNeeded;
        let Registry { threads, interpreters, .. } = &mut self.registry;
        threads.retain_mut(|thread| {
            if thread.poll(now, interpreters, self.ticked).is_err() {
                sink.events.push(Event::ThreadExited { at: now, thread: thread.id, cpu_ns: thread.cpu_ns() });
                return false;
            }
            let wanted = thread.slots.iter().any(|slot| slot.progress == ReadProgress::Wanted);
            let moving = may_stop && wanted && thread.run == RunState::Running && thread.stop_policy.stop_next();
            thread.read_mode = match (thread.fresh, moving) {
                (false, _) => ReadMode::Skip,
                // If it was last on the CPU that we are on now, it is not running, and need not be stopped.
                (true, true) if thread.os.last_cpu() != Some(rustix::thread::sched_getcpu()) => ReadMode::Stopped,
                (true, _) => ReadMode::Live,
            };
            thread.displaced = moving && thread.read_mode == ReadMode::Live;
            true
        });
        // A stop is of all threads at once, and does not show in the calls that they were stopped in.
        let running = threads.iter().any(|thread| thread.run == RunState::Running);
        let stopped = !running && threads.first().is_some_and(|thread| thread.os.is_stopped());
        threads.iter_mut().for_each(|thread| thread.stopped = stopped);
        if threads.len() != before {
            self.registry.mark_stale();
        }
    }

    /// Stops every thread that runs, one after the other.
    fn stop_all(&mut self) -> Vec<Stopped> {
        let mut stopped = Vec::new();
        for thread in self.registry.threads.iter().filter(|thread| thread.run == RunState::Running) {
            match self.stopper.stop(thread.os.tid()) {
                Ok(stop) => stopped.push(stop),
                Err(StopError::NotPermitted) => self.stats.not_permitted += 1,
                Err(StopError::Gone | StopError::NotRunning) => {}
            }
        }
        self.stats.stops += stopped.len() as u64;
        stopped
    }

    /// BatchedReader the stacks of all threads whose turn it is, without stopping any. With `may_stop`, those that move are
    /// left to be stopped.
    fn read(&mut self, turn: ReadMode, may_stop: bool) -> Result<(), ReadError> {
        let Sampler { memory, layout, registry, reads, scratch, .. } = self;
        reads.read(memory, layout, registry, turn, may_stop, scratch)
    }

    /// BatchedReader and names the stacks that move too fast, each with its thread stopped. Returns whether there are threads
    /// that could not be stopped, and are to be read again as they are.
    fn read_stopped(&mut self, now: Nanos, sink: &mut Sink<'_>) -> bool {
        let Sampler { memory, layout, registry, codes, scratch, stopper, stats, .. } = self;
        let mut again = false;
        let wanted = |thread: &&mut ObservedThread| {
            thread.read_mode == ReadMode::Stopped
                && thread.slots.iter().any(|slot| slot.progress == ReadProgress::Wanted)
        };
        for thread in registry.threads.iter_mut().filter(wanted) {
            // Between some pairs of instructions a chain is not whole: then the next moment is looked at.
            for attempt in 1..=STOPS_A_READ {
                match stopper.stop(thread.os.tid()) {
                    Ok(stop) => {
                        for slot in &mut thread.slots {
                            slot.progress = match slot.reader.follow(memory, layout, true, scratch) {
                                Ok((Reading::Believed, view)) if slot.is(&view) => {
                                    let interpreter = &registry.interpreters[slot.interpreter];
                                    let gc = GcFlags::read(memory, &layout.gc, registry.runtime, interpreter.addr);
                                    slot.note(&view, &Gil::read(memory, &layout.gil, interpreter.gil.addr), gc);
                                    ReadProgress::Done
                                }
                                Ok((_, view)) if !slot.is(&view) => {
                                    slot.leave();
                                    ReadProgress::Done
                                }
                                _ => ReadProgress::Failed(Loss::Unreadable),
                            };
                        }
                        let slots = thread.slots.iter_mut();
                        let stacks = slots.filter_map(|slot| slot.is_read().then(|| slot.reader.frames()));
                        codes.check(memory, layout, now, stacks, sink.stacks);
                        thread.resolve(memory, layout, codes, sink.stacks);
                        stats.stops += 1;
                        stats.stopped_ns += stop.elapsed_ns();
                        if thread.loss.is_none() {
                            break;
                        }
                    }
                    Err(StopError::Gone) => {
                        let gone = ReadProgress::Failed(Loss::Unreadable);
                        thread.slots.iter_mut().for_each(|slot| slot.progress = gone);
                        thread.loss = Some(Loss::Unreadable);
                        break;
                    }
                    Err(error) => {
                        // What an earlier attempt could not read stays lost.
                        if attempt == 1 {
                            stats.not_permitted += u64::from(error == StopError::NotPermitted);
                            thread.read_mode = ReadMode::LiveRetry;
                            again = true;
                        }
                        break;
                    }
                }
            }
        }
        again
    }

    /// Names what was read, and says what every thread is doing.
    fn report(&mut self, now: Nanos, periods: u32, sink: &mut Sink<'_>) -> Result<(), ReadError> {
        let Sampler { memory, layout, registry, codes, reads, scratch, .. } = self;
        let read = registry.threads.iter_mut().filter(|thread| thread.fresh && thread.read_mode != ReadMode::Stopped);
        let slots = read.flat_map(|thread| &mut thread.slots);
        let stacks = slots.filter_map(|slot| slot.is_read().then(|| slot.reader.frames()));
        codes.check(memory, layout, now, stacks, sink.stacks);
        // Code objects were looked at after the stacks. Where they are new, is the stack still there?
        let mut confirm = false;
        for thread in
            registry.threads.iter_mut().filter(|thread| thread.fresh && thread.read_mode != ReadMode::Stopped)
        {
            for slot in thread.slots.iter_mut().filter(|slot| slot.progress == ReadProgress::Done) {
                if !codes.is_news(slot.reader.frames()) {
                    continue;
                }
                slot.progress = ReadProgress::Wanted;
                thread.read_mode = ReadMode::Confirm;
                confirm = true;
            }
        }
        if confirm {
            reads.read(memory, layout, registry, ReadMode::Confirm, false, scratch)?;
        }
        let interpreters = &registry.interpreters;
        for thread in &mut registry.threads {
            if thread.fresh {
                thread.confirm();
                if thread.read_mode != ReadMode::Stopped {
                    thread.resolve(memory, layout, codes, sink.stacks);
                }
                thread.classify(|index| interpreters[index].gil, layout);
            }
        }
        let Sampler { registry, gils, collections, .. } = self;
        let gil = |thread: &ObservedThread| gils.get(thread.gil(&registry.interpreters)?);
        for thread in &mut registry.threads {
            thread.shown_stack = match thread.collects(collections) {
                Some(now) => collections.stack(gil(thread), thread.id, thread.stack, now, sink.stacks),
                None => thread.stack,
            };
        }
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
}

impl Sampler {
    /// Finds out what memory threads have been held up by since the last tick. Where each was at the time is not known, but
    /// where it is now.
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

    /// Finds out for which locks threads wait, and who holds those that tell it.
    fn find_locks(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        let Sampler { memory, layout, registry, locks: Some(known), entered, .. } = self else { return };
        for index in 0..registry.threads.len() {
            let thread = &registry.threads[index];
            if !thread.fresh {
                continue;
            }
            let asleep = thread.state() == ThreadState::Blocked(Syscall::FUTEX) && thread.loss.is_none();
            let futex = asleep.then(|| thread.futex()).flatten();
            let waits = futex.zip(thread.slots.first()).and_then(|(futex, slot)| {
                let site = LockWaitSite::of(memory, layout, &futex, now, slot.gc.collecting);
                let state = known.wait(InterpreterView { memory, layout, registry }, &site, thread.stack, sink)?;
                Some((state, site.address))
            });
            registry.threads[index].waits = waits;
        }
        let mut told: Vec<LockId> = Vec::new();
        let view = InterpreterView { memory, layout, registry };
        let held = LazyCell::new(|| entered.held(memory, layout, &registry.threads, now));
        for (state, address) in registry.threads.iter().filter_map(|thread| thread.waits) {
            let Some(lock) = state.lock().filter(|lock| !told.contains(lock)) else { continue };
            told.push(lock);
            let Some(waited) = known.waited_at(address) else { continue };
            let Some(holder) = view.holder(&waited, || held.as_slice()) else { continue };
            if let Some(thread) = registry.threads.iter().find(|thread| thread.os.tid() == holder.tid) {
                sink.events.push(Event::LockHeld { at: now, lock, thread: thread.id, stack: thread.shown_stack });
            }
        }
        known.name(view, now, sink);
    }
}

/// Whether no CPU was told at boot to go without the kernel's clock ticks (`nohz_full=`).
fn every_cpu_ticks() -> bool {
    // The file is absent from kernels that cannot do that.
    std::fs::read_to_string("/sys/devices/system/cpu/nohz_full").map_or(true, |cpus| {
        let cpus = cpus.trim();
        cpus.is_empty() || cpus == "(null)"
    })
}
