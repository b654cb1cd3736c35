//! One OS thread under observation: its last known state, and how its stack is read.

use std::sync::Arc;

use super::registry::ListedInterpreter;
use super::stacks::{Reading, Scratch, StackReader};
use super::stop_policy::StopPolicy;
use super::unnamed_threads::{MAIN_THREAD, by_function};
use crate::cpython::code::CodeCache;
use crate::cpython::frames::ThreadStateView;
use crate::cpython::gc::GcFlags;
use crate::cpython::gil::Gil;
use crate::cpython::layout::Layout;
use crate::event::{Loss, Nanos, Pid, Syscall, ThreadId, ThreadState, Tid};
use crate::interpreter::collections::Collections;
use crate::process::memory::Memory;
use crate::process::os_thread::{Futex, Gone, OsThread, RunState, SchedStat};
use crate::stack::{Interner, StackId};

/// How long the kernel takes at most to account CPU time to a running thread, in nanoseconds: the ticks of its clock are at
/// most 10 ms apart.
const ACCOUNTED_WITHIN: u64 = 12_000_000;

/// A thread state of a thread. Most threads have one; one that visits several interpreters has one for each.
#[derive(Debug)]
pub struct ThreadStateSlot {
    pub reader: StackReader,
    /// Index of its interpreter in the registry.
    pub interpreter: usize,
    /// That interpreter's id: threads enter interpreters from the main one.
    pub interpreter_id: i64,
    ident: u64,
    native_id: u64,
    /// `pthread_self()` of the thread that runs it; another than `ident` only in sub-interpreters up to 3.12.
    pub runner: u64,
    /// Where its `_PyCFrame` was when `runner` was found.
    c_stack: u64,
    /// Found by the scan under way.
    pub listed: bool,
    /// It held the GIL at the last reading.
    pub holds_gil: bool,
    /// It was attached to its interpreter at the last reading (3.13 and later).
    pub attached: bool,
    /// Whether its interpreter was collecting garbage when the stack was read.
    pub gc: GcFlags,
    pub progress: ReadProgress,
    /// Its stack has changed since it was resolved.
    changed: bool,
    /// The generation of the code cache when `resolved` was made.
    generation: u32,
    /// The stack it continues, when `resolved` was made.
    base: StackId,
    /// The stack's frames as last resolved, outermost first.
    resolved: Vec<Resolved>,
}

/// How far this tick's reading of a stack has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadProgress {
    Wanted,
    /// Read and believed, in this tick or an earlier one since which it cannot have changed.
    Done,
    Failed(Loss),
}

/// How a thread's stack is read in this tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    Skip,
    /// Without stopping the thread.
    Live,
    /// With the thread stopped.
    Stopped,
    /// Without stopping the thread, because it could not be stopped.
    LiveRetry,
    /// Once more, only to see that the stack is still there.
    Confirm,
}

/// A frame and the stack that ends with it.
#[derive(Clone, Copy, Debug)]
struct Resolved {
    code: u64,
    instr: u64,
    version: u32,
    stack: StackId,
}

impl ThreadStateSlot {
    pub fn new(
        reader: StackReader,
        interpreter: usize,
        interpreter_id: i64,
        view: &ThreadStateView,
        runner: u64,
    ) -> ThreadStateSlot {
        ThreadStateSlot {
            reader,
            interpreter,
            interpreter_id,
            ident: view.thread_id,
            native_id: view.native_id,
            runner,
            c_stack: view.c_stack,
            listed: true,
            holds_gil: false,
            attached: false,
            gc: GcFlags::default(),
            progress: ReadProgress::Wanted,
            changed: true,
            generation: 0,
            base: StackId::EMPTY,
            resolved: Vec::new(),
        }
    }

    /// `PyThreadState.thread_id` when it was found.
    pub fn ident(&self) -> u64 {
        self.ident
    }

    /// Whether `view` still shows the thread state of the same thread.
    pub fn is(&self, view: &ThreadStateView) -> bool {
        self.ident == view.thread_id && self.native_id == view.native_id
    }

    /// The thread has left the interpreter: there is no stack any more.
    pub fn leave(&mut self) {
        self.reader.forget();
        self.progress = ReadProgress::Done;
        (self.holds_gil, self.attached) = (false, false);
    }

    /// Whether another thread may run it now than when its runner was found.
    pub fn may_have_moved(&self, view: &ThreadStateView) -> bool {
        self.interpreter_id != 0 && self.c_stack != view.c_stack
    }

    /// Reads the stack while the thread is stopped.
    pub fn read_stopped(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        runtime: u64,
        interpreter: &ListedInterpreter,
        scratch: &mut Scratch,
    ) {
        self.progress = match self.reader.follow(memory, layout, true, scratch) {
            Ok((Reading::Believed, view)) if self.is(&view) => {
                let gc = GcFlags::read(memory, &layout.gc, runtime, interpreter.addr);
                self.note(&view, &Gil::read(memory, &layout.gil, interpreter.gil.addr), gc);
                ReadProgress::Done
            }
            Ok((_, view)) if !self.is(&view) => {
                self.leave();
                ReadProgress::Done
            }
            _ => ReadProgress::Failed(Loss::Unreadable),
        };
    }

    /// Applies what a reading says about the GIL and collections. From 3.13 on the thread state itself says whether it holds
    /// the GIL; before, the GIL does.
    pub fn note(&mut self, view: &ThreadStateView, gil: &Gil, gc: GcFlags) {
        self.holds_gil = match view.holds_gil {
            Some(holds) => holds && gil.enabled,
            None => gil.holder == self.reader.tstate(),
        };
        self.attached = view.attached.unwrap_or(self.holds_gil);
        self.gc = gc;
    }

    /// Notes whether its stack has changed. Returns whether there is one to be named.
    pub fn is_read(&mut self) -> bool {
        self.changed |= self.reader.take_changed();
        self.progress == ReadProgress::Done
    }

    /// The interned stack: `base` continued by the frames last read. `None` if one of them is no frame.
    fn resolve(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        base: StackId,
        codes: &mut CodeCache,
        names: &mut Interner,
    ) -> Option<StackId> {
        let generation = codes.generation();
        let base = match self.reader.is_cut() {
            true => {
                let left_out = names.left_out_frame();
                names.push(base, left_out)
            }
            false => base,
        };
        if !self.changed && base == self.base && generation == self.generation {
            return Some(self.resolved.last().map_or(base, |last| last.stack));
        }
        // Stays so until all frames have been found.
        self.changed = true;
        self.generation = generation;
        if base != self.base {
            self.base = base;
            self.resolved.clear();
        }
        let frames = self.reader.frames();
        self.resolved.truncate(frames.len());
        let same = frames.iter().rev().zip(&self.resolved).take_while(|(raw, known)| {
            raw.code == known.code && raw.instr == known.instr && codes.version(raw.code) == Some(known.version)
        });
        let same = same.count();
        self.resolved.truncate(same);
        let mut stack = self.resolved.last().map_or(base, |last| last.stack);
        for raw in frames.iter().rev().skip(same) {
            let frame = codes.frame(memory, layout, raw, names)?;
            stack = names.push(stack, frame);
            let version = codes.version(raw.code)?;
            self.resolved.push(Resolved { code: raw.code, instr: raw.instr, version, stack });
        }
        self.changed = false;
        Some(stack)
    }
}

/// A thread that has, or has had, a thread state.
#[derive(Debug)]
pub struct ObservedThread {
    pub id: ThreadId,
    pub os: OsThread,
    /// Its thread states, by interpreter. None while it is outside Python for good.
    pub slots: Vec<ThreadStateSlot>,
    /// What the kernel last said about it.
    pub run: RunState,
    /// It may have run since the last tick, so that it has to be read in this one.
    pub fresh: bool,
    pub read_mode: ReadMode,
    /// It should be stopped, and is read live only because gilscope occupies its CPU.
    pub displaced: bool,
    /// Its last known state, other than being stopped.
    state: ThreadState,
    /// If it is blocked in `futex` for a lock: the state that says so, and the address at which it waits.
    pub waits: Option<(ThreadState, u64)>,
    /// The thread that was found to hold what it waits for, as long as it has not run since.
    pub held_by: Option<Tid>,
    /// The whole process is stopped (by a signal or a debugger).
    pub stopped: bool,
    /// The stack as last read.
    pub stack: StackId,
    /// The same, with a frame for the garbage collection that it makes.
    pub shown_stack: StackId,
    /// The stack has changed in this tick.
    moved: bool,
    /// Why there is no stack, if there is none.
    pub loss: Option<Loss>,
    pub stop_policy: StopPolicy,
    pub name: Option<Arc<str>>,
    sched: Option<SchedStat>,
    /// Since when `sched` has not changed.
    unchanged_since: Nanos,
    /// For how long, when it was last polled, in nanoseconds.
    unchanged_ns: u64,
    /// CPU time it had used when first seen, in nanoseconds.
    cpu_before: u64,
}

impl ObservedThread {
    pub fn new(id: ThreadId, os: OsThread, slot: ThreadStateSlot) -> ObservedThread {
        let cpu_before = os.sched().ok().flatten().map_or(0, |sched| sched.cpu_ns);
        ObservedThread {
            id,
            os,
            slots: vec![slot],
            run: RunState::Unknown,
            fresh: true,
            read_mode: ReadMode::Live,
            displaced: false,
            state: ThreadState::Unknown,
            waits: None,
            held_by: None,
            stopped: false,
            stack: StackId::EMPTY,
            shown_stack: StackId::EMPTY,
            moved: true,
            loss: None,
            stop_policy: StopPolicy::default(),
            name: None,
            sched: None,
            unchanged_since: Nanos(0),
            unchanged_ns: 0,
            cpu_before,
        }
    }

    /// Adds another thread state of this thread.
    pub fn add(&mut self, slot: ThreadStateSlot) {
        self.slots.push(slot);
        self.sched = None;
    }

    /// Whether its interpreter collects garbage while this thread holds the GIL or, where there is no GIL, whether this thread
    /// does. None if it neither holds a GIL nor is attached without one.
    pub fn collects(&self, collections: &Collections) -> Option<bool> {
        let held = self.slots.iter().find(|slot| slot.holds_gil && self.state().holds_gil());
        if let Some(slot) = held {
            return Some(slot.gc.collecting);
        }
        let gc = self.slots.first()?.gc;
        let collects = gc.collecting && (gc.world_stopped || collections.is_collector(self.id));
        (self.state() == ThreadState::Running).then_some(collects)
    }

    /// `threading.get_ident()`.
    pub fn ident(&self) -> Option<u64> {
        self.slots.first().map(|slot| slot.runner)
    }

    /// The address of the GIL that it holds, or else of the GIL of the interpreter it entered last. None if that uses none.
    pub fn gil(&self, interpreters: &[ListedInterpreter]) -> Option<u64> {
        let slot = self.slots.iter().find(|slot| slot.holds_gil).or(self.slots.last())?;
        let gil = &interpreters.get(slot.interpreter)?.gil;
        gil.enabled.then_some(gil.addr)
    }

    /// CPU time used since it was first seen, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.sched.map_or(0, |sched| sched.cpu_ns.saturating_sub(self.cpu_before))
    }

    /// Finds out whether the thread has run since the last tick. Some threads need not be read again:
    ///
    /// - one that waited for the GIL and cannot have acquired it: it still waits (if that is more than a conclusion from how
    ///   long it has slept);
    /// - one that was blocked and has not been switched to since: it is still blocked in the same call;
    /// - one that could run, but has not been accounted any CPU time for longer than the kernel takes to account for it, where
    ///   the clock of its CPU ticks (`ticked`): it waits for a CPU.
    ///
    /// A thread that has run, but cannot have held the GIL, still has the same stack.
    ///
    /// # Errors
    /// [`Gone`] if the thread has ended.
    pub fn poll(&mut self, now: Nanos, interpreters: &[ListedInterpreter], ticked: bool) -> Result<(), Gone> {
        let without_gil = |slot: &ThreadStateSlot| {
            let interpreter = &interpreters[slot.interpreter];
            slot.progress == ReadProgress::Done
                && interpreter.gil.kept_from(&interpreter.gil_before, slot.reader.tstate())
        };
        let waits = self.state == ThreadState::GilWait && self.loss.is_none() && !self.slots.is_empty();
        let waits = waits && !self.sleeps_at_hidden_futex();
        if waits && self.slots.iter().all(without_gil) {
            self.fresh = false;
            return Ok(());
        }
        let sched = self.os.sched()?;
        let unchanged = sched.is_some() && sched == self.sched;
        self.sched = sched.or(self.sched);
        if !unchanged {
            self.unchanged_since = now;
        }
        self.unchanged_ns = now.since(self.unchanged_since);
        let is_conclusive = match self.run {
            RunState::Blocked { .. } => !(self.state == ThreadState::GilWait && self.sleeps_at_hidden_futex()),
            RunState::Running => ticked && now.since(self.unchanged_since) > ACCOUNTED_WITHIN,
            RunState::Stopped | RunState::Unknown => false,
        };
        let known = self.loss.is_none() && self.slots.iter().all(|slot| slot.progress == ReadProgress::Done);
        self.fresh = !(unchanged && is_conclusive && known);
        // A thread that blocks is accounted for at that moment: unchanged means that it still runs.
        if self.fresh && !(unchanged && self.run == RunState::Running) {
            self.run = self.os.run_state()?;
        }
        if self.fresh {
            for slot in &mut self.slots {
                match without_gil(slot) {
                    true => (slot.holds_gil, slot.attached) = (false, false),
                    false => slot.progress = ReadProgress::Wanted,
                }
            }
        }
        Ok(())
    }

    pub fn state(&self) -> ThreadState {
        if self.stopped { ThreadState::Stopped } else { self.state_unless_stopped() }
    }

    /// What it was doing when the whole process was stopped, if that is.
    pub fn state_unless_stopped(&self) -> ThreadState {
        match (self.state, self.waits) {
            (ThreadState::Blocked(Syscall::FUTEX), Some((waits, _))) => waits,
            (state, _) => state,
        }
    }

    /// Has a thread read again, stopped, that was thought to have no CPU but has run meanwhile. Which of its stacks could be
    /// read live then depends on how long each one lasts, which would bias the sample.
    pub fn check_displaced(&mut self) {
        let unstopped = self.read_mode == ReadMode::LiveRetry || (self.displaced && self.read_mode == ReadMode::Live);
        if unstopped && self.os.sched().is_ok_and(|sched| sched != self.sched) {
            self.read_mode = ReadMode::Stopped;
            self.slots.iter_mut().filter(|slot| slot.progress == ReadProgress::Done).for_each(|slot| {
                slot.progress = ReadProgress::Wanted;
            });
        }
    }

    /// Asks the kernel once more about a thread that seems to be blocked while it holds the GIL: it may have woken up and
    /// acquired the GIL in between.
    pub fn confirm(&mut self) {
        if matches!(self.run, RunState::Blocked { .. })
            && self.slots.iter().any(|slot| slot.holds_gil)
            && let Ok(run) = self.os.run_state()
        {
            self.run = run;
        }
    }

    /// Determines the thread's state from what the kernel and the interpreter say.
    pub fn classify(&mut self, gils: impl Fn(usize) -> Gil, layout: &Layout) {
        let holds = self.slots.iter().any(|slot| slot.holds_gil);
        let attached = self.slots.iter().any(|slot| slot.attached && !gils(slot.interpreter).enabled);
        let still_waits = self.state == ThreadState::GilWait && !self.moved;
        // It may wait for another lock now, or for none.
        self.waits = None;
        self.state = match self.run {
            // It woke up to check whether the GIL is free, which it was not.
            RunState::Running if still_waits && !holds && !attached => ThreadState::GilWait,
            RunState::Running if holds => ThreadState::GilHeld,
            RunState::Running if attached => ThreadState::Running,
            RunState::Running => ThreadState::Native,
            RunState::Blocked { call, arg } => {
                let hidden = self.sleeps_at_hidden_futex();
                let waits = |slot: &ThreadStateSlot| match hidden {
                    true => gils(slot.interpreter).may_be_awaited(slot.reader.tstate(), self.unchanged_ns),
                    false => gils(slot.interpreter).is_wait(&layout.gil, arg),
                };
                if call == Syscall::FUTEX && self.slots.iter().any(waits) {
                    ThreadState::GilWait
                } else if holds {
                    ThreadState::GilHeldOffCpu(call)
                } else {
                    ThreadState::Blocked(call)
                }
            }
            RunState::Stopped => ThreadState::Stopped,
            RunState::Unknown if holds => ThreadState::GilHeld,
            RunState::Unknown if attached => ThreadState::Running,
            RunState::Unknown => ThreadState::Unknown,
        };
    }

    /// It holds a GIL: as the interpreter says, if the kernel only says that it is stopped.
    pub fn holds_gil(&self) -> bool {
        match self.state_unless_stopped() {
            ThreadState::Stopped => self.slots.iter().any(|slot| slot.holds_gil),
            state => state.holds_gil(),
        }
    }

    /// It sleeps in `futex`, and the address is hidden.
    pub fn sleeps_at_hidden_futex(&self) -> bool {
        self.run == RunState::Blocked { call: Syscall::FUTEX, arg: 0 }
    }

    /// Takes back that it waits for the GIL, if that was only a conclusion: its stack says that it waits for work.
    pub fn waits_for_work(&mut self) {
        if self.sleeps_at_hidden_futex() && self.state == ThreadState::GilWait {
            self.state = ThreadState::Blocked(Syscall::FUTEX);
        }
    }

    /// What to call it if it ends without a name.
    pub fn last_name(&self, pid: Pid, stacks: &Interner) -> Option<Arc<str>> {
        match (&self.name, self.os.tid() == pid) {
            (Some(_), _) => None,
            (None, true) => Some(MAIN_THREAD.into()),
            (None, false) => by_function(stacks, self.stack),
        }
    }

    /// If it sleeps in `futex`, but not for the GIL: since when at least, without having run in between.
    pub fn asleep_since(&self) -> Option<Nanos> {
        let sleeps = matches!(self.run, RunState::Blocked { call: Syscall::FUTEX, .. });
        (sleeps && self.state != ThreadState::GilWait && !self.stopped).then_some(self.unchanged_since)
    }

    /// The futex at which it sleeps, if that is still the one at which it was found asleep: it may wait for the GIL by now.
    pub fn futex(&self) -> Option<Futex> {
        let slept_at = |address: u64| matches!(self.run, RunState::Blocked { arg, .. } if arg == address);
        self.os.futex().filter(|futex| slept_at(futex.address))
    }

    /// Interns the stack that was read: that of all its interpreters, each called from the one before.
    pub fn resolve(&mut self, memory: &impl Memory, layout: &Layout, codes: &mut CodeCache, names: &mut Interner) {
        self.moved = self.slots.iter().any(|slot| slot.changed);
        self.loss = self.slots.iter().find_map(|slot| match slot.progress {
            ReadProgress::Failed(loss) => Some(loss),
            _ => None,
        });
        if self.loss.is_some() {
            return;
        }
        let mut stack = StackId::EMPTY;
        for slot in &mut self.slots {
            match slot.resolve(memory, layout, stack, codes, names) {
                Some(longer) => stack = longer,
                None => {
                    self.loss = Some(Loss::Unreadable);
                    return;
                }
            }
        }
        self.stack = stack;
    }
}
