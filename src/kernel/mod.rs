//! Kernel mode: BPF programs that see every context switch of the target's threads, and samples of them on the CPU,
//! each with its Python stack ([`bpf/gilscope.bpf.c`]). The session calls [`Kernel::drain`] now and then; what the
//! kernel has recorded comes out as [`crate::event::Event`]s.
//!
//! Nothing of it outlives gilscope: programs, maps and events belong to file descriptors of this process, and the
//! kernel takes them down however it ends.

mod abi;
mod clock;
mod collector;
mod load;
mod stacks;
mod traced;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Array, HashMap, MapData, RingBuf};
use aya::{Ebpf, Pod};
use rustc_hash::FxHashMap;
use rustix::event::{Timespec, epoll};

use self::abi::{OffKind, flag};
use self::clock::Clock;
use self::traced::{Seed, Traced, Update};
use crate::cpython::locks::How;
use crate::event::{Event, Ids, Nanos, OffCpu, Pid, Syscall, ThreadState, Tid};
use crate::interpreter::PythonProcess;
use crate::interpreter::registry::Sink;
use crate::interpreter::with_locks::WithLock;
use crate::process::memory::Live;
use crate::process::threads;
use crate::sampler::{Sampler, Stopping};

pub use self::load::{KernelError, Options, is_permitted};

/// The collector. It holds everything that is in the kernel.
pub struct Kernel {
    /// Holds the programs and what they are attached to.
    _bpf: Ebpf,
    ring: RingBuf<MapData>,
    /// Tells when the kernel calls: the ring itself would always be readable, since there is always something in it.
    calls: OwnedFd,
    targets: HashMap<MapData, u32, abi::Target>,
    threads: HashMap<MapData, u32, abi::Thread>,
    tstates: HashMap<MapData, u32, abi::TStates>,
    known_stacks: HashMap<MapData, u64, u8>,
    counters: Array<MapData, u64>,
    clock: Clock,
    lost: u64,
    /// Processes that are observed; their interpreters are known or not yet.
    observed: FxHashMap<Pid, Option<Observed>>,
    /// Stacks that the kernel is to send again.
    forget: Vec<u64>,
}

#[derive(Debug)]
struct Observed {
    traced: Traced,
    runtime: u64,
    text: Vec<(u64, u64)>,
}

impl Observed {
    /// Tells the kernel what has changed.
    fn apply(
        &self,
        pid: Pid,
        update: &Update,
        targets: &mut HashMap<MapData, u32, abi::Target>,
        tstates: &mut HashMap<MapData, u32, abi::TStates>,
    ) {
        if let Some(gils) = &update.gils {
            let target = abi::target(self.traced.layout(), self.runtime, &self.text, gils);
            let _ = targets.insert(pid as u32, target, 0);
        }
        for (tid, states) in &update.tstates {
            // The kernel finds those it does not know by itself; a full map only costs it that search.
            let _ = match states.is_empty() {
                true => tstates.remove(&(*tid as u32)),
                false => tstates.insert(*tid as u32, abi::tstates(states), 0),
            };
        }
    }
}

impl Kernel {
    /// Begins to observe a process, before its interpreter is known: a program that was just launched.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel refuses.
    pub fn watch(&mut self, pid: Pid) -> Result<(), KernelError> {
        if self.observed.contains_key(&pid) {
            return Ok(());
        }
        put(&mut self.targets, pid as u32, abi::BLANK, "targets")?;
        self.observed.insert(pid, None);
        Ok(())
    }

    /// Observes a process whose interpreter is known, its code at `text`.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel refuses.
    pub fn observe(
        &mut self,
        process: &PythonProcess,
        text: Vec<(u64, u64)>,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<(), KernelError> {
        let pid = process.pid;
        let watched = self.observed.contains_key(&pid);
        let mut traced = Traced::new(process);
        let mut update = traced.refresh(now, sink).ok().flatten().unwrap_or_default();
        // All at once: before it knows the GILs, the kernel would take waits for them for waits for other locks.
        let gils = update.gils.take().unwrap_or_default();
        let target = abi::target(traced.layout(), process.runtime, &text, &gils);
        put(&mut self.targets, pid as u32, target, "targets")?;
        let mut observed = Observed { traced, runtime: process.runtime, text };
        observed.apply(pid, &update, &mut self.targets, &mut self.tstates);
        if !watched {
            self.seed(process, &mut observed.traced, now, sink);
        }
        self.observed.insert(pid, Some(observed));
        Ok(())
    }

    /// Tells the kernel which threads are off the CPU already, and remembers where.
    fn seed(&mut self, process: &PythonProcess, traced: &mut Traced, now: Nanos, sink: &mut Sink<'_>) {
        let mut sampler = Sampler::new(process, Stopping::Never);
        let (mut events, mut ids) = (Vec::new(), Ids::default());
        let mut own = Sink { stacks: &mut *sink.stacks, events: &mut events, ids: &mut ids };
        // What cannot be read now will be seen when it moves.
        let _ = sampler.tick(now, 1, &mut own);
        for thread in sampler.threads() {
            let tid = thread.os.tid();
            let state = thread.state();
            let (kind, syscall, flags, lock) = match state {
                ThreadState::GilWait => (OffKind::GilWait, Syscall::FUTEX.0, 0, 0),
                ThreadState::GilHeldOffCpu(call) => (OffKind::Blocked, call.0, flag::HELD, 0),
                ThreadState::Blocked(call) => {
                    let futex = (call == Syscall::FUTEX).then(|| thread.os.futex()).flatten();
                    let at = futex.map(|futex| How::of(&Live(process.pid), &process.layout, &futex));
                    let (how, lock) = at.unwrap_or((How::Other, 0));
                    (how.into(), call.0, 0, lock)
                }
                ThreadState::Stopped => (OffKind::Stopped, -1, 0, 0),
                _ => continue,
            };
            let words = abi::seed(now, tid, process.pid as u32, Some((kind, syscall, flags, lock)));
            // If the kernel knows it already, it has moved since.
            if self.threads.insert(tid as u32, words, BPF_NOEXIST).is_ok() {
                traced.seed(tid, Seed { state, stack: thread.stack });
            }
        }
        for tid in threads(process.pid) {
            let words = abi::seed(now, tid, process.pid as u32, None);
            let _ = self.threads.insert(tid as u32, words, BPF_NOEXIST);
        }
    }

    /// Something that becomes readable when records should be taken out soon.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.calls.as_fd()
    }

    /// Takes out what the kernel has recorded since the last time. Returns processes that cannot be read any more.
    pub fn drain(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<Pid> {
        let mut call = [MaybeUninit::uninit(); 1];
        // Taking note of a call is all there is to do.
        let _ = epoll::wait(&self.calls, &mut call, Some(&Timespec::default()));
        while let Some(item) = self.ring.next() {
            if let Some((pid, record)) = abi::decode(&item)
                && let Some(Some(observed)) = self.observed.get_mut(&(pid as Pid))
            {
                observed.traced.record(record);
            }
        }
        self.clock.jitter(now);
        let lost = self.counters.get(&0, 0).unwrap_or(self.lost);
        if lost > self.lost {
            sink.events.push(Event::RecordsLost { at: now, count: lost - self.lost });
            self.lost = lost;
        }
        let mut gone = Vec::new();
        let Kernel { observed, targets, tstates, threads, forget, .. } = self;
        for (&pid, observed) in observed {
            let Some(observed) = observed else { continue };
            match observed.traced.refresh(now, sink) {
                Ok(Some(update)) => observed.apply(pid, &update, targets, tstates),
                Ok(None) => {}
                Err(_) => gone.push(pid),
            }
            observed.traced.look(now, &peek(threads), sink, forget);
        }
        for key in self.forget.drain(..) {
            let _ = self.known_stacks.remove(&key);
        }
        gone
    }

    /// Locks without an owner that threads of a process held at a moment.
    pub fn held(&mut self, pid: Pid, at: Nanos, held: Vec<WithLock>) {
        if let Some(Some(observed)) = self.observed.get_mut(&pid) {
            observed.traced.held = (at, held);
        }
    }

    /// What threads that are off the CPU have been doing up to now. The accounts of all threads come as events.
    pub fn under_way(&mut self, now: Nanos, sink: &mut Sink<'_>) -> Vec<OffCpu> {
        let Kernel { observed, threads, forget, .. } = self;
        let peek = peek(threads);
        let all = observed.values_mut().flatten();
        all.flat_map(|observed| observed.traced.all_under_way(now, &peek, sink, forget)).collect()
    }

    /// Stops observing a process, and says what its threads were doing up to now.
    pub fn finish(&mut self, pid: Pid, now: Nanos, sink: &mut Sink<'_>) {
        let _ = self.targets.remove(&(pid as u32));
        let Some(Some(Observed { mut traced, .. })) = self.observed.remove(&pid) else { return };
        let tids = traced.finish(now, &peek(&self.threads), sink, &mut self.forget);
        for tid in tids {
            let _ = self.threads.remove(&(tid as u32));
        }
    }

    /// Processes that are observed.
    pub fn pids(&self) -> Vec<Pid> {
        self.observed.keys().copied().collect()
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("observed", &self.observed).finish_non_exhaustive()
    }
}

/// What the kernel has of a thread.
fn peek(threads: &HashMap<MapData, u32, abi::Thread>) -> impl Fn(Tid) -> Option<abi::Thread> {
    |tid| threads.get(&(tid as u32), 0).ok()
}

const BPF_NOEXIST: u64 = 1;

fn put<V: Pod>(
    map: &mut HashMap<MapData, u32, V>,
    key: u32,
    value: V,
    name: &'static str,
) -> Result<(), KernelError> {
    map.insert(key, value, 0).map_err(|error| KernelError::Map { name, error })
}
