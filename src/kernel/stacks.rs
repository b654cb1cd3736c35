//! Stacks that the kernel has sent, and what they are called. Owned by [`super::traced::Traced`].
//!
//! The kernel sends addresses: of code objects, and of the instructions in them. By the time that they are looked up,
//! a code object may be gone and another be in its place. So whatever was used since the last look is checked at every
//! look, and believed if it is what it was at the last one, or, of one that is new, what the kernel saw when it met it.

use rustc_hash::FxHashMap;

use super::abi::code_key;
use crate::event::{Nanos, Pid};
use crate::intern::{Frame, FrameId, Interner, StackId};
use crate::sampler::code::{CodeCache, CodeWords};
use crate::sampler::frames::RawFrame;
use crate::target::layout::Layout;
use crate::target::memory::Memory;

/// Stands for a frame whose code object was freed before it could be read.
const GONE: &str = "[code object freed]";
/// Stands for the outer frames of a stack that was too deep for the kernel.
const TRUNCATED: &str = "[deeper frames left out]";

#[derive(Debug)]
struct Stack {
    frames: Box<[RawFrame]>,
    truncated: bool,
    /// When it was last used.
    used: Nanos,
    /// The generation of the code cache when `resolved` was made.
    generation: Option<u32>,
    resolved: StackId,
}

/// The stacks of one process.
#[derive(Debug, Default)]
pub struct Stacks {
    stacks: FxHashMap<u64, Stack>,
    codes: CodeCache,
    /// What the kernel saw of code objects.
    seen: FxHashMap<u64, CodeWords>,
    /// Stacks used since the last look.
    used: Vec<u64>,
}

/// What the kernel has to forget, so that it tells again.
#[derive(Debug, Default)]
pub struct Forget {
    /// Keys of `known_stacks`.
    pub stacks: Vec<u64>,
    /// Keys of `known_codes`.
    pub codes: Vec<u64>,
}

impl Stacks {
    /// Takes in a stack.
    pub fn add(&mut self, id: u64, frames: Box<[RawFrame]>, truncated: bool) {
        let resolved = StackId::EMPTY;
        self.stacks.entry(id).or_insert(Stack { frames, truncated, used: Nanos(0), generation: None, resolved });
    }

    /// Takes in what a code object was.
    pub fn saw(&mut self, addr: u64, words: CodeWords) {
        self.seen.insert(addr, words);
    }

    /// A stack is asked for with the next [`Self::look`].
    pub fn touch(&mut self, id: u64, now: Nanos) {
        if id != 0
            && let Some(stack) = self.stacks.get_mut(&id)
            && stack.used != now
        {
            stack.used = now;
            self.used.push(id);
        }
    }

    /// Looks up the names of all stacks that were touched.
    pub fn look(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        pid: Pid,
        now: Nanos,
        names: &mut Interner,
        forget: &mut Forget,
    ) {
        let Stacks { stacks, codes, seen, used, .. } = self;
        codes.check(memory, layout, now, used.iter().map(|id| &*stacks[id].frames), names);
        for id in used.drain(..) {
            let Some(stack) = stacks.get_mut(&id) else { continue };
            let is_news = codes.is_news(&stack.frames);
            if !is_news && stack.generation == Some(codes.generation()) {
                continue;
            }
            let mut whole = true;
            let mut resolved = StackId::EMPTY;
            if stack.truncated {
                let frame = pseudo(names, TRUNCATED);
                resolved = names.push(resolved, frame);
            }
            for raw in stack.frames.iter().rev() {
                let believed = !codes.news().contains(&raw.code)
                    || (codes.words(raw.code).is_some() && codes.words(raw.code) == seen.get(&raw.code).copied());
                let frame = if believed { codes.frame(memory, layout, raw, names) } else { None };
                let frame = frame.unwrap_or_else(|| {
                    whole = false;
                    forget.codes.push(code_key(raw.code, pid as u32));
                    pseudo(names, GONE)
                });
                resolved = names.push(resolved, frame);
            }
            stack.resolved = resolved;
            stack.generation = whole.then(|| codes.generation());
            if !whole {
                forget.stacks.push(id);
            }
        }
        // What was met in this look is known from now on.
        seen.retain(|addr, _| !codes.news().contains(addr));
    }

    /// The stack as last looked up. `None` if it never arrived.
    pub fn get(&self, id: u64) -> Option<StackId> {
        if id == 0 { Some(StackId::EMPTY) } else { self.stacks.get(&id).map(|stack| stack.resolved) }
    }
}

/// A frame that is none.
fn pseudo(names: &mut Interner, text: &str) -> FrameId {
    let (function, file) = (names.string(text), names.string(""));
    names.frame(Frame { function, name: function, file, line: 0, first_line: 0 })
}
