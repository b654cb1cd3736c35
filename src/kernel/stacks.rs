//! Stacks that the kernel has sent, and what they are called. Owned by [`super::traced::Traced`].
//!
//! The kernel sends addresses: of code objects, and of the instructions in them. By the time that they are looked up,
//! a code object may be gone and another be in its place. So the kernel also says, by a number, what it was that it saw
//! there, and a name is given only if that is there still. All stacks that records have used are checked
//! before the records become events.

use rustc_hash::FxHashMap;

use super::abi::code_key;
use crate::cpython::code::CodeCache;
use crate::cpython::frames::RawFrame;
use crate::cpython::layout::Layout;
use crate::event::Nanos;
use crate::interpreter::stacks::{Scratch, StackReader};
use crate::process::memory::Memory;
use crate::stack::{Interner, StackId};

/// Stands for a frame whose code object was freed before it could be read.
const GONE: &str = "[code object freed]";

#[derive(Debug)]
struct KernelStack {
    frames: Box<[RawFrame]>,
    /// What their code objects were ([`code_key`]).
    keys: Box<[u64]>,
    truncated: bool,
    /// When it was last used.
    used: Nanos,
    /// The generation of the code cache when `resolved` was made.
    generation: Option<u32>,
    resolved: StackId,
    /// When all of its code objects were last seen to be what they should be, and the names they had then.
    whole: Option<(Nanos, StackId)>,
}

/// How many stacks of a process are known at a time: as many as it has in minutes. The kernel sends one that was forgotten
/// again when it is seen again.
const MAX_STACKS: usize = 1 << 16;

/// The stacks of one process.
#[derive(Debug, Default)]
pub(super) struct KernelStacks {
    stacks: FxHashMap<u64, KernelStack>,
    codes: CodeCache,
    /// Stacks used since the last [`Self::resolve`].
    used: Vec<u64>,
}

impl KernelStacks {
    /// Adds a stack, to be named with the next [`Self::resolve`]: its thread may be off the CPU for long, and its code
    /// objects be gone when it is back.
    pub(super) fn add(&mut self, id: u64, frames: Vec<(RawFrame, u64)>, truncated: bool) {
        let (frames, keys): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        let (frames, keys) = (frames.into(), keys.into());
        let stack = KernelStack {
            frames,
            keys,
            truncated,
            used: Nanos(0),
            generation: None,
            resolved: StackId::EMPTY,
            whole: None,
        };
        self.stacks.insert(id, stack);
        self.used.push(id);
    }

    /// Has a stack checked and named with the next [`Self::resolve`].
    pub(super) fn touch(&mut self, id: u64, now: Nanos) {
        if id != 0
            && let Some(stack) = self.stacks.get_mut(&id)
            && stack.used != now
        {
            stack.used = now;
            self.used.push(id);
        }
    }

    /// Names all stacks that were added or touched. Those that could not be named in full are to be sent again by
    /// the kernel: they are put into `forget`.
    pub(super) fn resolve(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        now: Nanos,
        names: &mut Interner,
        forget: &mut Vec<u64>,
    ) {
        let KernelStacks { stacks, codes, used } = self;
        codes.check(memory, layout, now, used.iter().map(|id| &*stacks[id].frames), names);
        for id in used.drain(..) {
            let Some(stack) = stacks.get_mut(&id) else { continue };
            if stack.generation == Some(codes.generation()) {
                stack.whole = Some((now, stack.resolved));
                continue;
            }
            let mut whole = true;
            let mut resolved = StackId::EMPTY;
            if stack.truncated {
                let frame = names.left_out_frame();
                resolved = names.push(resolved, frame);
            }
            for (raw, &key) in stack.frames.iter().zip(&stack.keys).rev() {
                let is_there = codes.words(raw.code).is_some_and(|words| code_key(raw.code, &words) == key);
                let frame = is_there.then(|| codes.frame(memory, layout, raw, names)).flatten();
                let frame = frame.unwrap_or_else(|| {
                    whole = false;
                    names.marker_frame(GONE)
                });
                resolved = names.push(resolved, frame);
            }
            stack.resolved = resolved;
            stack.generation = whole.then(|| codes.generation());
            match whole {
                true => stack.whole = Some((now, resolved)),
                false => forget.push(id),
            }
        }
        if self.stacks.len() > MAX_STACKS {
            self.forget_old(now, forget);
        }
    }

    /// Forgets the half of all stacks that was not seen for longest.
    fn forget_old(&mut self, now: Nanos, forget: &mut Vec<u64>) {
        let mut times: Vec<Nanos> = self.stacks.values().map(|stack| stack.used).collect();
        let middle = times.len() / 2;
        let median = *times.select_nth_unstable(middle).1;
        self.stacks.retain(|&id, stack| {
            let is_kept = stack.used > median || stack.used == now;
            if !is_kept {
                forget.push(id);
            }
            is_kept
        });
    }

    /// The stack of a thread with these thread states, which sleeps: read from here, not by the kernel.
    pub(super) fn of_sleeper(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        now: Nanos,
        tstates: &[u64],
        names: &mut Interner,
    ) -> Option<StackId> {
        let mut scratch = Scratch::default();
        let mut stack = StackId::EMPTY;
        for &tstate in tstates {
            let mut reader = StackReader::new(tstate);
            reader.follow(memory, layout, true, &mut scratch).ok()?;
            if reader.is_cut() {
                let frame = names.left_out_frame();
                stack = names.push(stack, frame);
            }
            let frames = reader.frames();
            self.codes.check(memory, layout, now, std::iter::once(frames), names);
            for raw in frames.iter().rev() {
                let frame = self.codes.frame(memory, layout, raw, names)?;
                stack = names.push(stack, frame);
            }
        }
        Some(stack)
    }

    /// The stack that a thread has had since `since`, as last named. `None` if it never arrived.
    ///
    /// Frames keep their code objects alive. So if all were there at any time since then, they were those of the thread,
    /// even if they are gone now: it may have slept until the end of the program, which frees them all.
    pub(super) fn get(&self, id: u64, since: Nanos) -> Option<StackId> {
        if id == 0 {
            return Some(StackId::EMPTY);
        }
        let stack = self.stacks.get(&id)?;
        Some(stack.whole.filter(|whole| whole.0 >= since).map_or(stack.resolved, |whole| whole.1))
    }
}
