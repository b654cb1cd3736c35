//! One OS thread under observation: what was last known of it, and how its stack is best read.

use std::sync::Arc;

use super::registry::ListedInterpreter;
use super::stacks::StackReader;
use crate::cpython::code::CodeCache;
use crate::cpython::frames::ThreadStateView;
use crate::cpython::gc::GcFlags;
use crate::cpython::gil::Gil;
use crate::cpython::layout::Layout;
use crate::event::{Loss, Nanos, Syscall, ThreadId, ThreadState};
use crate::interpreter::collections::Collections;
use crate::process::memory::Memory;
use crate::process::os_thread::{Futex, Gone, OsThread, RunState, SchedStat};
use crate::stack::{Interner, StackId};

/// The kernel accounts CPU time to a running thread at every tick of its clock, which are at most 10 ms apart. In
/// nanoseconds, with something to spare.
const ACCOUNTED_WITHIN: u64 = 12_000_000;

/// A thread state of a thread. Most threads have one; one that visits several interpreters has one for each.
#[derive(Debug)]
pub struct ThreadStateSlot {
    /// Reads its stack.
    pub reader: StackReader,
    /// Index of its interpreter in the registry.
    pub interpreter: usize,
    /// That interpreter's id: threads enter interpreters from the main one.
    pub interpreter_id: i64,
    ident: u64,
    native_id: u64,
    /// `pthread_self()` of the thread that runs it; another than `ident` only in sub-interpreters up to 3.12.
    pub runner: u64,
    /// Where its `_PyCFrame` was when that was found out.
    c_stack: u64,
    /// Seen in the scan under way.
    pub listed: bool,
    /// Held the GIL, at the last reading.
    pub holds_gil: bool,
    /// Attached to its interpreter, at the last reading (3.13 and later).
    pub attached: bool,
    /// What its interpreter said of garbage collections when the stack was read.
    pub gc: GcFlags,
    /// How far this tick's reading has got.
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

/// Where this tick's reading of a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadProgress {
    /// To be read.
    Wanted,
    /// Read and believed, in this tick or an earlier one since which it cannot have changed.
    Done,
    /// Given up.
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
    /// A slot for a thread state just found.
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

    /// `thread_id` when it was found.
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

    /// Whether another thread may run it now than when its runner was found out.
    pub fn may_have_moved(&self, view: &ThreadStateView) -> bool {
        self.interpreter_id != 0 && self.c_stack != view.c_stack
    }

    /// Takes over what a reading says of the GIL and of collections. From 3.13 on the thread state itself tells whether it
    /// has the GIL; before, the GIL does.
    pub fn note(&mut self, view: &ThreadStateView, gil: &Gil, gc: GcFlags) {
        self.holds_gil = match view.holds_gil {
            Some(holds) => holds && gil.enabled,
            None => gil.holder == self.reader.tstate(),
        };
        self.attached = view.attached.unwrap_or(self.holds_gil);
        self.gc = gc;
    }

    /// Notes whether its stack has changed, and tells whether there is one to be named.
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

/// A thread.
#[derive(Debug)]
pub struct ObservedThread {
    /// Its handle.
    pub id: ThreadId,
    /// Its `/proc` files.
    pub os: OsThread,
    /// Its thread states, by interpreter. None while it is outside Python for good.
    pub slots: Vec<ThreadStateSlot>,
    /// What the kernel last said.
    pub run: RunState,
    /// To be looked at in this tick: it may have run since the last.
    pub fresh: bool,
    /// How it is read in this tick.
    pub read_mode: ReadMode,
    /// It moves, and is read without being stopped only because gilscope has its CPU.
    pub displaced: bool,
    /// What it was last seen doing, but for being stopped.
    state: ThreadState,
    /// The lock that it waits for, if it is blocked in `futex` for one: as a state, and the address it waits at.
    pub waits: Option<(ThreadState, u64)>,
    /// The whole process is stopped (by a signal or a debugger).
    pub stopped: bool,
    /// The stack it was last seen with.
    pub stack: StackId,
    /// The same, with a frame for the garbage collection that it makes.
    pub shown: StackId,
    /// The stack has changed in this tick.
    moved: bool,
    /// Why there is no stack, if there is none.
    pub loss: Option<Loss>,
    /// How its moving stack is read.
    pub stop_policy: StopPolicy,
    /// Its name, once known.
    pub name: Option<Arc<str>>,
    sched: Option<SchedStat>,
    /// Since when they have been what they are.
    unchanged_since: Nanos,
    /// CPU time it had used when first seen, in nanoseconds.
    cpu_before: u64,
}

impl ObservedThread {
    /// A thread just found.
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
            stopped: false,
            stack: StackId::EMPTY,
            shown: StackId::EMPTY,
            moved: true,
            loss: None,
            stop_policy: StopPolicy::default(),
            name: None,
            sched: None,
            unchanged_since: Nanos(0),
            cpu_before,
        }
    }

    /// Another thread state of this thread.
    pub fn add(&mut self, slot: ThreadStateSlot) {
        self.slots.push(slot);
        self.sched = None;
    }

    /// Whether its interpreter is collecting garbage while it holds the GIL or, where there is none, it is this one that does.
    /// None if it neither holds a GIL nor is attached without.
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

    /// The address of the GIL that it holds, or else of that of the interpreter it entered last. None if no interpreter
    /// of its uses one.
    pub fn gil(&self, interpreters: &[ListedInterpreter]) -> Option<u64> {
        let slot = self.slots.iter().find(|slot| slot.holds_gil).or(self.slots.last())?;
        let gil = &interpreters.get(slot.interpreter)?.gil;
        gil.enabled.then_some(gil.addr)
    }

    /// CPU time used since it was first seen, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.sched.map_or(0, |sched| sched.cpu_ns.saturating_sub(self.cpu_before))
    }

    /// Finds out what happened since the last tick. Some threads need not be looked at again:
    ///
    /// - one that waited for the GIL and cannot have got it: it waits still;
    /// - one that was blocked and has not been switched to since: it is still blocked in the same call;
    /// - one that could run, but has not been accounted any CPU time for longer than the kernel takes to account
    ///   for it (`ticked`): it waits for a CPU.
    ///
    /// A thread that has run, but cannot have had the GIL, has the stack it had.
    pub fn poll(&mut self, now: Nanos, interpreters: &[ListedInterpreter], ticked: bool) -> Result<(), Gone> {
        let kept_from_gil = |slot: &ThreadStateSlot| {
            let interpreter = &interpreters[slot.interpreter];
            slot.progress == ReadProgress::Done
                && interpreter.gil.kept_from(&interpreter.gil_before, slot.reader.tstate())
        };
        let waits = self.state == ThreadState::GilWait && self.loss.is_none() && !self.slots.is_empty();
        if waits && self.slots.iter().all(kept_from_gil) {
            self.fresh = false;
            return Ok(());
        }
        let sched = self.os.sched()?;
        let unchanged = sched.is_some() && sched == self.sched;
        self.sched = sched.or(self.sched);
        if !unchanged {
            self.unchanged_since = now;
        }
        let settled = match self.run {
            RunState::Blocked { .. } => true,
            RunState::Running => ticked && now.since(self.unchanged_since) > ACCOUNTED_WITHIN,
            RunState::Stopped | RunState::Unknown => false,
        };
        let known = self.loss.is_none() && self.slots.iter().all(|slot| slot.progress == ReadProgress::Done);
        self.fresh = !(unchanged && settled && known);
        // A thread that blocks is accounted for at that moment: unchanged means that it still runs.
        if self.fresh && !(unchanged && self.run == RunState::Running) {
            self.run = self.os.run_state()?;
        }
        if self.fresh {
            for slot in &mut self.slots {
                match kept_from_gil(slot) {
                    true => (slot.holds_gil, slot.attached) = (false, false),
                    false => slot.progress = ReadProgress::Wanted,
                }
            }
        }
        Ok(())
    }

    /// What it was last seen doing.
    pub fn state(&self) -> ThreadState {
        match (self.stopped, self.state, self.waits) {
            (true, ..) => ThreadState::Stopped,
            (_, ThreadState::Blocked(Syscall::FUTEX), Some((waits, _))) => waits,
            (_, state, _) => state,
        }
    }

    /// Has a thread read again, stopped, that was thought to have no CPU and has got one meanwhile. Which of its stacks could
    /// be read then says more of how long each lasts than of where it was.
    pub fn check_displaced(&mut self) {
        let unstopped = self.read_mode == ReadMode::LiveRetry || (self.displaced && self.read_mode == ReadMode::Live);
        if unstopped && self.os.sched().is_ok_and(|sched| sched != self.sched) {
            self.read_mode = ReadMode::Stopped;
            self.slots.iter_mut().filter(|slot| slot.progress == ReadProgress::Done).for_each(|slot| {
                slot.progress = ReadProgress::Wanted;
            });
        }
    }

    /// Asks the kernel once more about a thread that seems to be blocked with the GIL held: it may have woken up
    /// and taken it between the two looks.
    pub fn confirm(&mut self) {
        if matches!(self.run, RunState::Blocked { .. })
            && self.slots.iter().any(|slot| slot.holds_gil)
            && let Ok(run) = self.os.run_state()
        {
            self.run = run;
        }
    }

    /// Concludes what the thread is doing from what the kernel and the interpreter say.
    pub fn classify(&mut self, gils: impl Fn(usize) -> Gil, layout: &Layout) {
        let holds = self.slots.iter().any(|slot| slot.holds_gil);
        let attached = self.slots.iter().any(|slot| slot.attached && !gils(slot.interpreter).enabled);
        let still_waits = self.state == ThreadState::GilWait && !self.moved;
        // It may wait for another lock now, or for none.
        self.waits = None;
        self.state = match self.run {
            // Woken up to look whether the GIL is free: without it, it gets no further than that.
            RunState::Running if still_waits && !holds && !attached => ThreadState::GilWait,
            RunState::Running if holds => ThreadState::GilHeld,
            RunState::Running if attached => ThreadState::Running,
            RunState::Running => ThreadState::Native,
            RunState::Blocked { call, arg } => {
                let waits = |slot: &ThreadStateSlot| gils(slot.interpreter).is_wait(&layout.gil, arg);
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

    /// The futex at which it sleeps, if that is still the one at which it was found asleep: it may be at the GIL's by now.
    pub fn futex(&self) -> Option<Futex> {
        let slept_at = |address: u64| matches!(self.run, RunState::Blocked { arg, .. } if arg == address);
        self.os.futex().filter(|futex| slept_at(futex.address))
    }

    /// Turns what was read into the interned stack: that of all its interpreters, one called from the other.
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

/// Decides, before a running thread is looked at, whether to stop it for the look.
///
/// To stop it only when its stack has just been seen to move would be a bias: quiet moments would be kept, busy
/// ones replaced by later ones. So a thread that moves in more than a fraction of its readings is stopped for all
/// of them, for a while. Then it is tried again; if it moves still, it is stopped for twice as long. What is left of the
/// bias is that of the trials.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopPolicy {
    attempts: u32,
    failures: u32,
    stop_for: u32,
    /// For how long it was stopped last, in readings; 0 if it has been seen to be quiet since.
    stopped_for: u32,
}

impl StopPolicy {
    /// In so many readings ...
    const WINDOW: u32 = 100;
    /// ... so many may fail, but none after it was stopped.
    const TOLERATED: u32 = 1;
    /// After that, so many readings are made with the thread stopped; twice as many each time, up to the most.
    const STOP_FOR: u32 = 400;
    const MOST_STOP_FOR: u32 = 6400;

    /// Whether the next reading is to be made with the thread stopped.
    pub fn stop_next(&mut self) -> bool {
        let stop = self.stop_for > 0;
        self.stop_for = self.stop_for.saturating_sub(1);
        stop
    }

    /// Counts a reading of the running thread that was not stopped.
    pub fn count(&mut self, moved: bool) {
        if self.stop_for > 0 {
            return;
        }
        self.attempts += 1;
        self.failures += u32::from(moved);
        let tolerated = if self.stopped_for > 0 { 0 } else { Self::TOLERATED };
        if self.failures > tolerated {
            let stop_for = (2 * self.stopped_for).clamp(Self::STOP_FOR, Self::MOST_STOP_FOR);
            *self = StopPolicy { stop_for, stopped_for: stop_for, ..StopPolicy::default() };
        } else if self.attempts >= Self::WINDOW {
            *self = StopPolicy::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many readings are made with the thread stopped, if every `nth` of the others fails.
    fn stopped(readings: u32, nth: u32) -> u32 {
        let mut policy = StopPolicy::default();
        let (mut stopped, mut tried) = (0, 0);
        for _ in 0..readings {
            if policy.stop_next() {
                stopped += 1;
            } else {
                tried += 1;
                policy.count(tried % nth == 0);
            }
        }
        stopped
    }

    #[test]
    fn a_thread_that_moves_is_hardly_ever_tried_and_a_quiet_one_never_stopped() {
        assert_eq!(stopped(10_000, 1000), 0);
        assert!(stopped(10_000, 2) > 9_950, "{}", stopped(10_000, 2));
        assert!(stopped(10_000, 10) > 9_900, "{}", stopped(10_000, 10));
    }

    #[test]
    fn a_thread_that_has_become_quiet_is_left_alone() {
        let mut policy = StopPolicy::default();
        while !policy.stop_next() {
            policy.count(true);
        }
        while policy.stop_next() {}
        (0..StopPolicy::WINDOW).for_each(|_| policy.count(false));
        policy.count(true);
        assert!(!policy.stop_next(), "one failure is tolerated again");
    }
}
