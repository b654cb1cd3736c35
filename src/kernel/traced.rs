//! One process in kernel mode: its threads, GILs and stacks as user space knows them, and what the kernel's records
//! of it mean. Owned by [`super::Kernel`].

use rustc_hash::FxHashMap;

use super::abi::wire::KernelThread;
use super::abi::{CpuSample, KernelRecord, OffCpuRecord, OffFlags, OffKind, SampleFlags, TIME_TO_BE_FAIR};
use super::holders::NotedHolder;
use super::stacks::KernelStacks;
use crate::cpython::layout::Layout;
use crate::cpython::locks::FutexSite;
use crate::cpython::pauses::Reasons;
use crate::event::{
    Event, GilGlimpse, LockInfo, Loss, Nanos, OffCpu, Pid, ProcessId, Syscall, ThreadId, ThreadState, Tid, Wake,
};
use crate::interpreter::PythonProcess;
use crate::interpreter::collections::{CollectionCounts, Collections};
use crate::interpreter::gils::Gils;
use crate::interpreter::locks::KnownLocks;
use crate::interpreter::long_waits::LongWaits;
use crate::interpreter::memory_accesses::{AccessSite, Accesses};
use crate::interpreter::native_callers::{NativeCaller, NativeCallers, NativeSite};
use crate::interpreter::registry::{Registry, Sink};
use crate::interpreter::thread_names::Naming;
use crate::interpreter::unnamed_threads::UnnamedThreads;
use crate::interpreter::view::InterpreterView;
use crate::interpreter::waits::LockWaitSite;
use crate::interpreter::with_locks::WithLock;
use crate::process::memory::{Memory, ReadError};
use crate::process::os_thread::{Futex, comm};
use crate::process::symbols::NativeSymbols;
use crate::stack::{Frame, FrameKind, StackId};

/// Threads that one thread resumes within this time were stopped together, in nanoseconds.
const SAME_PAUSE: u64 = 1_000_000;
/// The longest wait for a lock that is believed, in nanoseconds: a week.
const MAX_WAIT: u64 = 7 * 24 * 3600 * 1_000_000_000;
/// How names of functions begin that run Python code, and are not called by it. CPython 3.8 to 3.15.
const EVALUATION: [&str; 3] = ["_PyEval_EvalFrame", "_PyEval_Vector", "_TAIL_CALL_"];
/// FutexSite often lists of threads are walked although nothing seems to have changed, in nanoseconds.
const SCAN_EVERY: u64 = 250_000_000;

/// What a thread was doing when observation began.
#[derive(Clone, Debug)]
pub(super) struct ThreadSeed {
    pub(super) state: ThreadState,
    pub(super) stack: StackId,
    /// If the kernel has seen it leave the CPU, but did not know its thread state then: when that was, and at which futex.
    pub(super) left_early: Option<(Nanos, FutexSite, u64)>,
    /// Whose code it is that sleeps in `futex`.
    pub(super) caller: Option<NativeCaller>,
}

impl ThreadSeed {
    /// Whether it says more of a time off the CPU than the kernel knows.
    fn is_of(&self, off: &OffCpuRecord) -> bool {
        off.flags.has(OffFlags::OPEN) || self.left_early.is_some_and(|(at, ..)| at == off.start)
    }
}

/// What the kernel has of a thread at this moment.
pub(super) type ThreadLookup<'a> = &'a dyn Fn(Tid) -> Option<KernelThread>;

/// A process under observation.
#[derive(Debug)]
pub(super) struct Traced<M> {
    process: ProcessId,
    pid: Pid,
    pub(super) memory: M,
    pub(super) layout: Layout,
    pub(super) registry: Registry,
    naming: Naming,
    pub(super) stacks: KernelStacks,
    pub(super) threads: FxHashMap<Tid, ThreadId>,
    by_tstate: FxHashMap<u64, ThreadId>,
    unnamed: UnnamedThreads,
    gils: Gils,
    pub(super) locks: KnownLocks,
    collections: Collections,
    collection_counts: CollectionCounts,
    reasons: Reasons,
    code: NativeCallers,
    /// Whose code sleeps at a site.
    callers: FxHashMap<u64, Option<NativeCaller>>,
    /// Who last resumed all threads, when, and why they had been stopped.
    resumed: Option<(Tid, Nanos, Option<&'static str>)>,
    accesses: Accesses,
    symbols: NativeSymbols,
    pub(super) seeds: FxHashMap<Tid, ThreadSeed>,
    /// Locks that do not say who holds them: which thread held which at a moment.
    pub(super) held: (Nanos, Vec<WithLock>),
    pub(super) long_waits: LongWaits,
    /// Who was found to hold what a thread waits for, by the thread that waits.
    pub(super) noted: FxHashMap<Tid, NotedHolder>,
    /// When threads were off the CPU, of the records that are being turned into events, if there is something noted.
    pub(super) slept: FxHashMap<Tid, (Nanos, Nanos)>,
    /// What threads off the CPU were last found to do.
    pub(super) under_way: FxHashMap<Tid, OffCpu>,
    /// When all lists were last walked although nothing seemed to have changed.
    scanned: Nanos,
    /// Records since they were last turned into events.
    records: Vec<KernelRecord>,
}

/// What the programs in the kernel need to know of a process.
#[derive(Debug, Default)]
pub(super) struct InterpreterUpdate {
    /// The addresses of its GILs, if they have changed.
    pub(super) gils: Option<Vec<u64>>,
    /// Threads and their thread states; empty for those that have none any more.
    pub(super) thread_states: Vec<(Tid, Vec<[u64; 4]>)>,
}

impl<M: Memory> Traced<M> {
    /// A process whose interpreter has been found, with its memory.
    pub(super) fn new(process: &PythonProcess, memory: M) -> Traced<M> {
        Traced {
            process: process.id,
            pid: process.pid,
            memory,
            layout: process.layout,
            registry: Registry::new(process.pid, process.id, process.runtime, process.foreign_tids),
            naming: Naming::default(),
            stacks: KernelStacks::default(),
            threads: FxHashMap::default(),
            by_tstate: FxHashMap::default(),
            unnamed: UnnamedThreads::of_process(comm(process.pid, process.pid)),
            gils: Gils::default(),
            locks: KnownLocks::new(process.id),
            collections: Collections::default(),
            collection_counts: CollectionCounts::default(),
            reasons: Reasons::default(),
            code: NativeCallers::new(process.pid, process.runtime),
            callers: FxHashMap::default(),
            resumed: None,
            accesses: Accesses::new(process.pid, process.id),
            symbols: NativeSymbols::new(process.pid),
            seeds: FxHashMap::default(),
            held: (Nanos(0), Vec::new()),
            long_waits: LongWaits::default(),
            noted: FxHashMap::default(),
            slept: FxHashMap::default(),
            under_way: FxHashMap::default(),
            scanned: Nanos(0),
            records: Vec::new(),
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whose code it is that sleeps in this call.
    pub(super) fn caller_of(&mut self, futex: Option<Futex>, now: Nanos) -> Option<NativeCaller> {
        self.code.caller_of(&self.memory, &futex?, now)
    }

    /// Says what a thread was doing when observation began: the kernel does not know.
    pub(super) fn seed(&mut self, tid: Tid, seed: ThreadSeed) {
        self.seeds.insert(tid, seed);
    }

    /// Keeps a record until [`Self::resolve_records`].
    pub(super) fn record(&mut self, record: KernelRecord, now: Nanos) {
        match record {
            KernelRecord::Stack { id, truncated, frames } => self.stacks.add(id, frames, truncated),
            // At once: the process may be gone when the sleep is over.
            KernelRecord::Site { id, ip, operation, value, words } => {
                let site = NativeSite { ip, operation, value, words: &words };
                let caller = self.code.caller(&self.memory, &site, now);
                self.callers.insert(id, caller);
            }
            record => self.records.push(record),
        }
    }

    /// Finds out what has changed in the interpreter.
    ///
    /// # Errors
    /// The process cannot be read any more.
    pub(super) fn refresh(
        &mut self,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<Option<InterpreterUpdate>, ReadError> {
        // A thread state may go from the thread that made it to the one it is for, and no list shows that.
        if now.since(self.scanned) > SCAN_EVERY {
            self.scanned = now;
            self.registry.mark_stale();
        }
        let scanned = self.registry.refresh(&self.memory, &self.layout, now, sink)?;
        self.naming.update(&self.memory, &self.layout, &mut self.registry, now, sink);
        self.name_threads(now, sink);
        let Traced { gils, collection_counts, memory, layout, process, registry, .. } = self;
        collection_counts.update(memory, layout, *process, registry, now, sink);
        let new = gils.update(memory, layout, *process, registry, now, sink);
        let mut update = InterpreterUpdate { gils: new.then(|| gils.addrs()), thread_states: Vec::new() };
        if !scanned {
            return Ok(update.gils.is_some().then_some(update));
        }
        self.by_tstate.clear();
        for thread in &self.registry.threads {
            let tid = thread.os.tid();
            if self.threads.insert(tid, thread.id) != Some(thread.id) {
                self.unnamed.started(tid, now);
            }
            self.registry.announced.insert(tid, thread.id);
            let states = thread.slots.iter().map(|slot| {
                self.by_tstate.insert(slot.reader.tstate(), thread.id);
                let interpreter = &self.registry.interpreters[slot.interpreter];
                [slot.reader.tstate(), interpreter.addr, slot.ident(), interpreter.gil.addr]
            });
            update.thread_states.push((tid, states.collect()));
        }
        Ok(Some(update))
    }

    /// Turns the records that have come since the last time into events. Stacks that the kernel has to send again come
    /// into `forget`.
    pub(super) fn resolve_records(
        &mut self,
        now: Nanos,
        peek: ThreadLookup<'_>,
        sink: &mut Sink<'_>,
        forget: &mut Vec<u64>,
    ) {
        let mut records = std::mem::take(&mut self.records);
        for record in &records {
            match record {
                KernelRecord::Off(off) => {
                    self.stacks.touch(off.stack, now);
                    self.stacks.touch(off.waker_stack, now);
                }
                KernelRecord::Sample(sample) => self.stacks.touch(sample.stack, now),
                _ => {}
            }
        }
        self.stacks.resolve(&self.memory, &self.layout, now, sink.stacks, forget);
        self.note_sleeps(&records);
        for record in records.drain(..) {
            match record {
                KernelRecord::Off(off) => self.off(&off, now, peek, sink),
                KernelRecord::Sample(sample) => self.sample(&sample, sink),
                KernelRecord::Exit { tid, account, name } => self.exit(tid, account, &name, sink),
                KernelRecord::Resume { tid, at, words } => {
                    self.resumed = Some((tid, at, self.reasons.of(self.pid, &words)));
                }
                KernelRecord::Stack { .. } | KernelRecord::Site { .. } => {}
            }
        }
        self.records = records;
        let Traced { locks, accesses, memory, layout, registry, .. } = self;
        let view = InterpreterView { memory, layout, registry };
        locks.name(view, now, sink);
        accesses.name(view, now, sink);
    }

    fn thread(&mut self, tid: Tid, at: Nanos, sink: &mut Sink<'_>) -> ThreadId {
        if let Some(&thread) = self.threads.get(&tid) {
            return thread;
        }
        let thread = sink.start_thread(at, self.process, tid);
        self.unnamed.started(tid, at);
        self.threads.insert(tid, thread);
        self.registry.announced.insert(tid, thread);
        thread
    }

    fn off(&mut self, off: &OffCpuRecord, now: Nanos, peek: ThreadLookup<'_>, sink: &mut Sink<'_>) {
        let event = self.off_cpu(off, sink);
        self.unnamed.seen_at(off.tid, event.stack);
        self.find_holder(off, &event, now, peek, sink);
        self.seeds.remove(&off.tid);
        self.under_way.remove(&off.tid);
        self.noted.remove(&off.tid);
        sink.events.push(Event::OffCpu(event));
    }

    /// What threads that are off the CPU have been doing up to now. The accounts of all threads come as events.
    pub(super) fn all_under_way(
        &mut self,
        now: Nanos,
        peek: ThreadLookup<'_>,
        sink: &mut Sink<'_>,
        forget: &mut Vec<u64>,
    ) -> Vec<OffCpu> {
        let states = self.states(now, peek);
        // Stacks that come and go are named with their records; what has not moved since has its name.
        self.resolve_records(now, peek, sink, forget);
        states.iter().filter_map(|(tid, state)| self.under_way(*tid, state, now, peek, sink)).collect()
    }

    /// What the kernel has of all threads. The stacks that they have now are named with the next records.
    fn states(&mut self, now: Nanos, peek: ThreadLookup<'_>) -> Vec<(Tid, KernelThread)> {
        let states: Vec<_> = self.threads.keys().filter_map(|&tid| Some((tid, peek(tid)?))).collect();
        for (_, state) in &states {
            if let (Some(off), _) = state.under_way(now) {
                self.stacks.touch(off.stack, now);
            }
        }
        states
    }

    pub(super) fn under_way(
        &mut self,
        tid: Tid,
        state: &KernelThread,
        now: Nanos,
        peek: ThreadLookup<'_>,
        sink: &mut Sink<'_>,
    ) -> Option<OffCpu> {
        let (off, account) = state.under_way(now);
        let thread = self.thread(tid, now, sink);
        sink.events.push(Event::Account { thread, account });
        let off = off?;
        // What it waits for was found out the last time, if it has not moved.
        let known = self.under_way.get(&tid).filter(|known| known.start == off.start);
        let known = match known {
            Some(known) => *known,
            None => {
                let event = self.off_cpu(&off, sink);
                // A lost stack may have a name the next time.
                if !event.lost {
                    self.under_way.insert(tid, event);
                }
                event
            }
        };
        let event = OffCpu { end: now, open: true, wake: None, ..known };
        self.find_holder(&off, &event, now, peek, sink);
        Some(event)
    }

    /// What is known from the look at the thread when observation began, if this is the sleep that it was in then.
    fn seed_of(&self, off: &OffCpuRecord) -> Option<&ThreadSeed> {
        self.seeds.get(&off.tid).filter(|seed| seed.is_of(off))
    }

    /// The stack of a thread off the CPU. `None` if it never arrived.
    pub(super) fn stack_of(&self, off: &OffCpuRecord) -> Option<StackId> {
        match self.seed_of(off) {
            Some(seed) => Some(seed.stack),
            None => self.stacks.get(off.stack, off.start),
        }
    }

    /// At which futex a thread sleeps, and how.
    pub(super) fn futex_of(&self, off: &OffCpuRecord) -> (FutexSite, u64) {
        let early = self.seed_of(off).and_then(|seed| seed.left_early);
        let how = match off.kind {
            OffKind::ParkedMutex => FutexSite::ParkedMutex,
            OffKind::Parked => FutexSite::Parked,
            OffKind::NativeMutex => FutexSite::NativeMutex,
            OffKind::Join => FutexSite::Join,
            _ => FutexSite::Other,
        };
        early.map_or((how, off.lock), |(_, how, lock)| (how, lock))
    }

    pub(super) fn view(&self) -> InterpreterView<'_, M> {
        InterpreterView { memory: &self.memory, layout: &self.layout, registry: &self.registry }
    }

    pub(super) fn off_cpu(&mut self, off: &OffCpuRecord, sink: &mut Sink<'_>) -> OffCpu {
        let thread = self.thread(off.tid, off.start, sink);
        let has = |flag| off.flags.has(flag);
        let held = has(OffFlags::HELD);
        let mut state = match off.kind {
            OffKind::Runnable if held => ThreadState::GilHeldRunnable,
            OffKind::Runnable => ThreadState::Runnable,
            OffKind::GilWait => ThreadState::GilWait,
            kind if kind.is_blocked() && held => ThreadState::GilHeldOffCpu(Syscall(off.syscall)),
            kind if kind.is_blocked() => ThreadState::Blocked(Syscall(off.syscall)),
            OffKind::Stopped => ThreadState::Stopped,
            _ => ThreadState::Unknown,
        };
        let mut stack = self.stack_of(off);
        if let Some(seed) = self.seed_of(off) {
            state = seed.state;
        }
        if let ThreadState::Blocked(_) = state {
            state = self.lock_wait(off, stack, sink).unwrap_or(state);
        }
        let wake = has(OffFlags::WOKEN).then(|| Wake {
            at: off.woken_at,
            by: has(OffFlags::WAKER).then(|| self.threads.get(&off.waker).copied()).flatten(),
            stack: self.stacks.get(off.waker_stack, off.woken_at).unwrap_or(StackId::EMPTY),
            switches: has(OffFlags::WAKER_GIL).then_some(off.waker_switches),
        });
        let gil = self.gils.get(off.gil).filter(|_| has(OffFlags::HAS_GIL));
        // A parked thread is one that is held up by the collection.
        if (held || has(OffFlags::COLLECTING) || gil.is_none()) && off.kind != OffKind::Parked {
            let collecting = has(OffFlags::COLLECTING);
            stack = stack.map(|stack| self.collections.stack(gil, thread, stack, collecting, sink.stacks));
        }
        let gil = gil.map(|gil| GilGlimpse {
            gil,
            // Who was the last to hold it has run Python since it last slept, if not in the middle of a wait for a mutex.
            holder: (has(OffFlags::LOCKED) || off.kind == OffKind::Blocked)
                .then(|| self.by_tstate.get(&off.holder).copied())
                .flatten(),
            locked: has(OffFlags::LOCKED),
            switches: off.switches,
        });
        // The interpreter's clock is the same. Anything else is none of its numbers.
        let asked = off.fair_at.0.checked_sub(TIME_TO_BE_FAIR).map(Nanos);
        let asked = asked.filter(|&asked| asked <= off.start && off.start.since(asked) < MAX_WAIT);
        OffCpu {
            thread,
            start: off.start,
            end: off.end,
            state,
            stack: stack.unwrap_or(StackId::EMPTY),
            lost: stack.is_none(),
            wake,
            gil,
            asked,
            open: has(OffFlags::OPEN),
        }
    }

    /// The lock that a thread waited for; none if it waited for something else, or if that does not show without its
    /// stack.
    fn lock_wait(&mut self, off: &OffCpuRecord, stack: Option<StackId>, sink: &mut Sink<'_>) -> Option<ThreadState> {
        let (how, address) = self.futex_of(off);
        if off.syscall != Syscall::FUTEX.0 || address == 0 {
            return None;
        }
        let resumed = self.resumed.filter(|&(by, at, _)| by == off.waker && off.woken_at.since(at) < SAME_PAUSE);
        let pause = match off.flags.has(OffFlags::COLLECTING) && off.kind == OffKind::Parked {
            false => resumed.and_then(|(_, _, reason)| reason),
            true => Some(LockInfo::COLLECTION),
        };
        let seeded = self.seed_of(off).and_then(|seed| seed.caller.clone());
        let caller = seeded.or_else(|| self.callers.get(&off.site).cloned().flatten());
        let site = LockWaitSite { how, address, now: off.end, pause, caller: caller.as_ref(), module: None };
        let Traced { locks, memory, layout, registry, .. } = self;
        locks.wait(InterpreterView { memory, layout, registry }, &site, stack?, sink)
    }

    fn sample(&mut self, sample: &CpuSample, sink: &mut Sink<'_>) {
        let thread = self.thread(sample.tid, sample.at, sink);
        let has = |flag| sample.flags.has(flag);
        let state = match (has(SampleFlags::HELD), has(SampleFlags::HAS_GIL), has(SampleFlags::NATIVE)) {
            (true, _, false) => ThreadState::GilHeld,
            (true, _, true) => ThreadState::GilHeldNative,
            (false, true, _) => ThreadState::Native,
            (false, false, _) if has(SampleFlags::ATTACHED) => ThreadState::Running,
            (false, false, _) => ThreadState::Native,
        };
        let gil = self.gils.get(sample.gil).filter(|_| has(SampleFlags::HAS_GIL));
        let (at, periods) = (sample.at, 1);
        let mut stack = self.stacks.get(sample.stack, sample.at);
        if has(SampleFlags::HELD) || gil.is_none() {
            let collecting = has(SampleFlags::COLLECTS);
            stack = stack.map(|stack| self.collections.stack(gil, thread, stack, collecting, sink.stacks));
        }
        self.unnamed.seen_at(sample.tid, stack.unwrap_or(StackId::EMPTY));
        sink.events.push(match stack {
            Some(stack) => Event::Sample { at, periods, thread, state, stack, gil },
            None => Event::Lost { at, periods, thread, state, gil, loss: Loss::Unreadable },
        });
        if has(SampleFlags::HELD)
            && let Some(stack) = stack
        {
            self.held_in(sample, thread, stack, sink);
        }
        // Before the interpreter was known, they were sent of any.
        let Some(registers) = sample.registers.as_ref().filter(|_| self.layout.free_threaded) else { return };
        let stack = stack.unwrap_or(StackId::EMPTY);
        if sample.syscall == Syscall::SCHED_YIELD.0 {
            // The function that calls it keeps the lock's address in a register that calls leave as it is.
            let lock = registers.callee_saved().find_map(|address| self.locks.at(address));
            sink.events.push(Event::Spin { at, thread, stack, lock });
        }
        let registers = Some(registers).filter(|_| has(SampleFlags::IN_USER));
        let Traced { accesses, memory, layout, registry, .. } = self;
        let at = AccessSite { at, thread, stack };
        accesses.sample(InterpreterView { memory, layout, registry }, at, registers, sink);
    }

    /// Says in which function a thread that holds the GIL was, unless it ran Python code.
    fn held_in(&mut self, sample: &CpuSample, thread: ThreadId, stack: StackId, sink: &mut Sink<'_>) {
        let Some(function) = self.symbols.at(sample.ip, sample.at) else { return };
        if EVALUATION.iter().any(|name| function.name.starts_with(name)) {
            return;
        }
        let (name, file) = (sink.stacks.string(&function.name), sink.stacks.string(&function.library));
        let frame = Frame { kind: FrameKind::Native, function: name, name, file, line: 0, first_line: 0 };
        let function = sink.stacks.frame(frame);
        sink.events.push(Event::HeldInNative { at: sample.at, thread, stack, function });
    }

    fn exit(&mut self, tid: Tid, account: crate::event::Account, comm: &str, sink: &mut Sink<'_>) {
        let thread = self.thread(tid, account.at, sink);
        self.name_ended(tid, thread, Some(comm), sink);
        sink.events.push(Event::Account { thread, account });
        sink.events.push(Event::ThreadExited { at: account.at, thread, cpu_ns: account.on_cpu_ns });
        self.threads.remove(&tid);
        self.seeds.remove(&tid);
        self.under_way.remove(&tid);
        self.noted.remove(&tid);
        self.registry.announced.remove(&tid);
        self.registry.threads.retain(|known| known.os.tid() != tid);
        self.by_tstate.retain(|_, known| *known != thread);
    }

    /// Asks the kernel for names of threads that Python does not know.
    fn name_threads(&mut self, now: Nanos, sink: &mut Sink<'_>) {
        for thread in self.registry.threads.iter().filter(|thread| thread.name.is_some()) {
            self.unnamed.named(thread.os.tid());
        }
        for (tid, name) in self.unnamed.read(self.pid, now, |tid| comm(self.pid, tid)) {
            if let Some(&thread) = self.threads.get(&tid) {
                sink.events.push(Event::ThreadNamed { thread, name });
            }
        }
    }

    /// Names a thread that ends, or is no longer observed, and never had a name.
    fn name_ended(&mut self, tid: Tid, thread: ThreadId, comm: Option<&str>, sink: &mut Sink<'_>) {
        if self.registry.threads.iter().any(|known| known.id == thread && known.name.is_some()) {
            self.unnamed.named(tid);
        }
        if let Some(name) = self.unnamed.ended(self.pid, tid, comm, sink.stacks) {
            sink.events.push(Event::ThreadNamed { thread, name });
        }
    }

    /// The end of the recording: says what all threads have been doing up to now, and are still doing. Returns them.
    pub(super) fn finish(
        &mut self,
        now: Nanos,
        peek: ThreadLookup<'_>,
        sink: &mut Sink<'_>,
        forget: &mut Vec<u64>,
    ) -> Vec<Tid> {
        let states = self.states(now, peek);
        self.resolve_records(now, peek, sink, forget);
        self.accesses.finish(sink);
        let mut open = Vec::new();
        for &(tid, ref state) in &states {
            let (off, account) = state.under_way(now);
            if let Some(off) = off {
                let event = OffCpu { open: true, ..self.off_cpu(&off, sink) };
                sink.events.push(Event::OffCpu(event));
                open.push((off, event));
            }
            let thread = self.thread(tid, now, sink);
            let name = comm(self.pid, tid);
            self.name_ended(tid, thread, name.as_deref(), sink);
            sink.events.push(Event::Account { thread, account });
            sink.events.push(Event::ThreadExited { at: now, thread, cpu_ns: account.on_cpu_ns });
        }
        let Traced { locks, memory, layout, registry, .. } = self;
        locks.name_at_the_end(InterpreterView { memory, layout, registry }, sink);
        // Some tell only now what they are.
        for (off, event) in &open {
            self.find_holder(off, event, now, peek, sink);
        }
        states.into_iter().map(|(tid, _)| tid).collect()
    }
}
