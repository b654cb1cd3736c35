//! Kernel mode: BPF programs that see every context switch of the target's threads, and samples of them on the CPU,
//! each with its Python stack ([`bpf/gilscope.bpf.c`]). The session calls [`Kernel::drain`] at regular
//! intervals; what the kernel has recorded comes out as [`crate::event::Event`]s.
//!
//! Nothing of it outlives gilscope: programs, maps and events belong to file descriptors of this process, and the
//! kernel takes them down however it ends.

mod abi;
mod clock;
mod collector;
mod holders;
mod load;
mod maps;
mod stacks;
#[cfg(test)]
mod tests;
mod traced;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use rustc_hash::FxHashMap;
use rustix::event::{Timespec, epoll};

use self::abi::wire::{KernelThread, TargetConfig};
use self::abi::{KernelCounter, KernelRecord, OffFlags, OffKind, SeededWait};
use self::clock::CpuClock;
use self::maps::KernelMaps;
use self::traced::{InterpreterUpdate, ThreadSeed, Traced};
use crate::cpython::locks::FutexSite;
use crate::event::{Event, Ids, Nanos, OffCpu, Pid, Syscall, ThreadState};
use crate::interpreter::PythonProcess;
use crate::interpreter::registry::Sink;
use crate::interpreter::waits::BlockedThreads;
use crate::process::memory::LiveMemory;
use crate::process::threads;
use crate::sampler::{Sampler, Stopping};

pub use self::load::KernelError;
pub(crate) use self::load::{KernelOptions, OLDEST_KERNEL, is_permitted};

/// The collector. It holds everything that is in the kernel.
pub(crate) struct Kernel {
    /// Holds the programs and what they are attached to.
    _bpf: Ebpf,
    ring: RingBuf<MapData>,
    /// Readable when the kernel asks for the ring to be emptied: the ring itself would always be readable, since there is
    /// always something in it.
    calls: OwnedFd,
    maps: KernelMaps,
    clock: CpuClock,
    lost: u64,
    observed: FxHashMap<Pid, ObservedProcess>,
    /// Stacks that the kernel is to send again.
    forget: Vec<u64>,
}

/// A process that the programs observe.
#[derive(Debug)]
struct ObservedProcess {
    /// Its place in the map of what the programs remember of processes.
    state_index: u32,
    /// None before its interpreter is known.
    interpreter: Option<ObservedInterpreter>,
}

#[derive(Debug)]
struct ObservedInterpreter {
    traced: Traced<LiveMemory>,
    runtime: u64,
    /// Where its code is.
    text: Vec<(u64, u64)>,
}

impl ObservedInterpreter {
    fn config(&self, gils: &[u64], state_index: u32) -> TargetConfig {
        TargetConfig::new(self.traced.layout(), self.runtime, &self.text, gils, state_index)
    }

    /// Passes on to the programs what has changed.
    fn apply(&self, pid: Pid, state_index: u32, update: &InterpreterUpdate, maps: &mut KernelMaps) {
        if let Some(gils) = &update.gils {
            maps.update_target(pid, &self.config(gils, state_index));
        }
        for (tid, states) in &update.thread_states {
            // The programs find those they do not know by themselves: a full map only costs them that search.
            maps.set_thread_states(*tid, states);
        }
    }
}

impl Kernel {
    /// Begins to observe a process, before its interpreter is known: a program that was just launched.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel refuses.
    pub(crate) fn watch(&mut self, pid: Pid) -> Result<(), KernelError> {
        if self.observed.contains_key(&pid) {
            return Ok(());
        }
        let state_index = self.free_state_index();
        self.maps.add_target(pid, &TargetConfig::unknown(state_index))?;
        self.observed.insert(pid, ObservedProcess { state_index, interpreter: None });
        Ok(())
    }

    fn free_state_index(&self) -> u32 {
        maps::free_state_index(self.observed.values().map(|process| process.state_index))
    }

    /// Observes a process whose interpreter is known, its code at `text`.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel refuses.
    pub(crate) fn observe(
        &mut self,
        process: &PythonProcess,
        text: Vec<(u64, u64)>,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<(), KernelError> {
        let pid = process.pid;
        let known = self.observed.get(&pid).map(|observed| observed.state_index);
        let state_index = known.unwrap_or_else(|| self.free_state_index());
        let mut traced = Traced::new(process, LiveMemory(pid));
        let mut update = traced.refresh(now, sink).ok().flatten().unwrap_or_default();
        let mut interpreter = ObservedInterpreter { traced, runtime: process.runtime, text };
        // All at once: before it knows the GILs, the kernel would take waits for them for waits for other locks.
        let config = interpreter.config(&update.gils.take().unwrap_or_default(), state_index);
        match known {
            Some(_) => self.maps.replace_target(pid, &config)?,
            None => self.maps.add_target(pid, &config)?,
        }
        interpreter.apply(pid, state_index, &update, &mut self.maps);
        self.seed(process, &mut interpreter.traced, known.is_none(), now, sink);
        self.observed.insert(pid, ObservedProcess { state_index, interpreter: Some(interpreter) });
        Ok(())
    }

    /// Gives the kernel the threads that are off the CPU already, and remembers where they are.
    /// Of a program that was watched already (not `new`), those that left it before its interpreter was known.
    fn seed(
        &mut self,
        process: &PythonProcess,
        traced: &mut Traced<LiveMemory>,
        new: bool,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) {
        let mut sampler = Sampler::new(process, Stopping::Never);
        let (mut events, mut ids) = (Vec::new(), Ids::default());
        let mut own = Sink { stacks: &mut *sink.stacks, events: &mut events, ids: &mut ids };
        // What cannot be read now will be seen when it moves.
        let _ = sampler.tick(now, 1, &mut own);
        for thread in sampler.threads() {
            let tid = thread.os.tid();
            let state = thread.state();
            if !new {
                let off = self.maps.thread(tid).and_then(|known| known.under_way(now).0).filter(|off| off.stack == 0);
                if let Some(off) = off.filter(|_| state.syscall().is_some()) {
                    let futex = thread.os.futex();
                    let at = futex.map(|futex| FutexSite::of(&LiveMemory(process.pid), &process.layout, &futex));
                    let (how, lock) = at.unwrap_or((FutexSite::Other, 0));
                    let left_early = Some((off.start, how, lock));
                    let caller = traced.caller_of(futex, now);
                    traced.seed(tid, ThreadSeed { state, stack: thread.stack, left_early, caller });
                }
                continue;
            }
            let wait = match state {
                ThreadState::GilWait => SeededWait::new(OffKind::GilWait, Syscall::FUTEX),
                ThreadState::GilHeldOffCpu(call) => {
                    SeededWait { flags: OffFlags::HELD, ..SeededWait::new(OffKind::Blocked, call) }
                }
                ThreadState::Blocked(call) => {
                    let futex = (call == Syscall::FUTEX).then(|| thread.os.futex()).flatten();
                    let at = futex.map(|futex| FutexSite::of(&LiveMemory(process.pid), &process.layout, &futex));
                    let (how, lock) = at.unwrap_or((FutexSite::Other, 0));
                    SeededWait { lock, ..SeededWait::new(how.into(), call) }
                }
                ThreadState::Stopped => SeededWait::new(OffKind::Stopped, Syscall(-1)),
                _ => continue,
            };
            let seeded = KernelThread::seeded(now, tid, process.pid, Some(wait));
            // If the kernel knows it already, it has moved since.
            if self.maps.add_thread(tid, &seeded) {
                let caller = traced.caller_of(thread.os.futex(), now);
                traced.seed(tid, ThreadSeed { state, stack: thread.stack, left_early: None, caller });
            }
        }
        for tid in threads(process.pid).into_iter().filter(|_| new) {
            self.maps.add_thread(tid, &KernelThread::seeded(now, tid, process.pid, None));
        }
    }

    /// A descriptor that becomes readable when records should be taken out soon.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.calls.as_fd()
    }

    /// Takes out what the kernel has recorded since the last time. Returns processes that cannot be read any more.
    pub(crate) fn drain(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<Pid> {
        let mut call = [MaybeUninit::uninit(); 1];
        // That the call has been read is all there is to do.
        let _ = epoll::wait(&self.calls, &mut call, Some(&Timespec::default()));
        while let Some(item) = self.ring.next() {
            if let Some((pid, record)) = KernelRecord::decode(&item)
                && let Some(interpreter) =
                    self.observed.get_mut(&pid).and_then(|observed| observed.interpreter.as_mut())
            {
                interpreter.traced.record(record, now);
            }
        }
        self.clock.jitter(now);
        let lost = self.maps.counter(KernelCounter::LostRecords).unwrap_or(self.lost);
        if lost > self.lost {
            sink.events.push(Event::RecordsLost { at: now, count: lost - self.lost });
            self.lost = lost;
        }
        let mut gone = Vec::new();
        let Kernel { observed, maps, forget, .. } = self;
        for (&pid, observed) in observed {
            let Some(interpreter) = &mut observed.interpreter else { continue };
            match interpreter.traced.refresh(now, sink) {
                Ok(Some(update)) => interpreter.apply(pid, observed.state_index, &update, maps),
                Ok(None) => {}
                Err(_) => gone.push(pid),
            }
            interpreter.traced.resolve_records(now, &|tid| maps.thread(tid), sink, forget);
        }
        for key in self.forget.drain(..) {
            self.maps.forget_stack(key);
        }
        gone
    }

    /// The processes in which threads sleep that have done so for long by now, each sleep once.
    pub(crate) fn long_waits(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<Pid> {
        let Kernel { observed, maps, .. } = self;
        let mut waiting = Vec::new();
        for (&pid, observed) in observed {
            let Some(interpreter) = &mut observed.interpreter else { continue };
            if interpreter.traced.has_new_long_waits(now, &|tid| maps.thread(tid), sink) {
                waiting.push(pid);
            }
        }
        waiting
    }

    /// Takes over what was found out about the threads of a process that were blocked at a moment.
    pub(crate) fn note_blocked(&mut self, pid: Pid, at: Nanos, blocked: &BlockedThreads, sink: &mut Sink<'_>) {
        let Kernel { observed, maps, .. } = self;
        if let Some(interpreter) = observed.get_mut(&pid).and_then(|observed| observed.interpreter.as_mut()) {
            interpreter.traced.note_blocked(at, blocked, &|tid| maps.thread(tid), sink);
        }
    }

    /// What threads that are off the CPU have been doing up to now. The accounts of all threads come as events.
    pub(crate) fn under_way(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<OffCpu> {
        let Kernel { observed, maps, forget, .. } = self;
        let interpreters = observed.values_mut().filter_map(|observed| observed.interpreter.as_mut());
        let under_way = interpreters
            .flat_map(|interpreter| interpreter.traced.all_under_way(now, &|tid| maps.thread(tid), sink, forget));
        under_way.collect()
    }

    /// Stops observing a process, and says what its threads were doing up to now.
    pub(crate) fn finish(&mut self, pid: Pid, now: Nanos, sink: &mut Sink<'_>) {
        self.maps.remove_target(pid);
        let interpreter = self.observed.remove(&pid).and_then(|observed| observed.interpreter);
        let Some(ObservedInterpreter { mut traced, .. }) = interpreter else { return };
        let Kernel { maps, forget, .. } = self;
        let tids = traced.finish(now, &|tid| maps.thread(tid), sink, forget);
        for tid in tids {
            maps.remove_thread(tid);
        }
    }

    /// What the recording lacks because of the kernel, each a sentence.
    pub(crate) fn degraded(&self) -> Vec<String> {
        self.maps.degraded()
    }

    /// The processes that are observed.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.observed.keys().copied().collect()
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("observed", &self.observed).finish_non_exhaustive()
    }
}
