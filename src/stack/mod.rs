//! Frames and stacks as small numbers. Called by the collectors for every sample, read by every view.
//!
//! Strings, frames and stacks are stored once. A stack is a path in a tree: its id names the node of its
//! innermost frame, so that stacks that share their outer frames share their memory too, and extending a known
//! stack by a known frame is one hash lookup and no allocation.

pub mod collections;
pub mod idle_wait;
pub mod label;
pub(crate) mod own;
mod own_patterns;
pub mod pool_worker;

use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use self::own_patterns::{OwnPattern, OwnPatterns};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sym(u32);

/// An interned [`Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(u32);

impl Sym {
    /// Its place in [`Interner::strings`].
    pub fn index(self) -> u32 {
        self.0
    }
}

impl FrameId {
    /// Its place in [`Interner::all_frames`].
    pub fn index(self) -> u32 {
        self.0
    }
}

impl StackId {
    /// The stack without frames.
    pub const EMPTY: StackId = StackId(0);

    /// A marker alone: what a thread did is not known, as it was never sampled then.
    pub const NOT_SAMPLED: StackId = StackId(1);

    /// Its place in the order of all stacks, of which the empty one is the first.
    pub fn index(self) -> u32 {
        self.0
    }
}

/// What a frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A function of the program, written in Python.
    Python,
    /// A function of a shared library or an executable. `function` is its symbol, `file` the library's path; it has no
    /// lines.
    Native,
    /// None: it says something about the stack. `function` is its text, in brackets; it has no file.
    Marker,
}

/// A place in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What it stands for, and with that what the other fields are.
    pub kind: FrameKind,
    /// `co_qualname` (3.11 and later), else `co_name`.
    pub function: Sym,
    /// `co_name`.
    pub name: Sym,
    /// `co_filename`.
    pub file: Sym,
    /// The line being executed; 0 when there is none.
    pub line: u32,
    /// `co_firstlineno`.
    pub first_line: u32,
}

/// The table that owns strings, frames and stacks.
#[derive(Debug)]
pub struct Interner {
    strings: Vec<Arc<str>>,
    by_string: FxHashMap<Arc<str>, Sym>,
    frames: Vec<Frame>,
    by_frame: FxHashMap<Frame, FrameId>,
    /// (caller, innermost frame); entry 0 is the empty stack.
    stacks: Vec<(StackId, FrameId)>,
    by_stack: FxHashMap<(StackId, FrameId), StackId>,
    /// What counts as the program's own beside what is not installed.
    own: OwnPatterns,
}

impl Default for Interner {
    fn default() -> Self {
        let mut table = Interner {
            strings: Vec::new(),
            by_string: FxHashMap::default(),
            frames: Vec::new(),
            by_frame: FxHashMap::default(),
            stacks: vec![(StackId::EMPTY, FrameId(u32::MAX))],
            by_stack: FxHashMap::default(),
            own: OwnPatterns::default(),
        };
        let marker = table.marker_frame("(not sampled)");
        table.push(StackId::EMPTY, marker);
        table
    }
}

impl Interner {
    /// The symbol of `text`.
    pub fn string(&mut self, text: &str) -> Sym {
        if let Some(&sym) = self.by_string.get(text) {
            return sym;
        }
        let sym = Sym(self.strings.len() as u32);
        let text: Arc<str> = text.into();
        self.strings.push(text.clone());
        self.by_string.insert(text, sym);
        sym
    }

    /// The id of `frame`.
    pub fn frame(&mut self, frame: Frame) -> FrameId {
        *self.by_frame.entry(frame).or_insert_with(|| {
            self.frames.push(frame);
            FrameId(self.frames.len() as u32 - 1)
        })
    }

    /// A frame that is not of the program, but says something about the stack: `text` is in brackets.
    pub fn marker_frame(&mut self, text: &str) -> FrameId {
        let (function, file) = (self.string(text), self.string(""));
        self.frame(Frame { kind: FrameKind::Marker, function, name: function, file, line: 0, first_line: 0 })
    }

    /// Stands for the outer frames of a stack that has more than the limit.
    pub fn left_out_frame(&mut self) -> FrameId {
        self.marker_frame("[deeper frames left out]")
    }

    /// The stack that is `caller` with `frame` called from it.
    pub fn push(&mut self, caller: StackId, frame: FrameId) -> StackId {
        *self.by_stack.entry((caller, frame)).or_insert_with(|| {
            self.stacks.push((caller, frame));
            StackId(self.stacks.len() as u32 - 1)
        })
    }

    /// A copy to read from: it has all there is, and finds nothing by its content.
    pub fn frozen(&self) -> Interner {
        Interner {
            strings: self.strings.clone(),
            frames: self.frames.clone(),
            stacks: self.stacks.clone(),
            by_string: FxHashMap::default(),
            by_frame: FxHashMap::default(),
            by_stack: FxHashMap::default(),
            own: self.own.clone(),
        }
    }

    /// Counts other files as the program's own, too: [`own`] says what for.
    pub fn set_own(&mut self, own: &OwnPatterns) {
        self.own = own.clone();
    }

    /// The text of a symbol.
    pub fn text(&self, sym: Sym) -> &str {
        &self.strings[sym.0 as usize]
    }

    /// The frame behind an id.
    pub fn get_frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }

    /// The caller's stack and the innermost frame; `None` for the empty stack, and for one that is not of this interner.
    pub fn pop(&self, stack: StackId) -> Option<(StackId, FrameId)> {
        self.stacks.get(stack.0 as usize).copied().filter(|_| stack != StackId::EMPTY)
    }

    /// The frames of a stack, innermost first.
    pub fn frames(&self, stack: StackId) -> impl Iterator<Item = FrameId> + '_ {
        let mut at = stack;
        std::iter::from_fn(move || {
            let (caller, frame) = self.pop(at)?;
            at = caller;
            Some(frame)
        })
    }

    /// All strings, in the order of their symbols.
    pub fn strings(&self) -> &[Arc<str>] {
        &self.strings
    }

    /// All frames, in the order of their ids.
    pub fn all_frames(&self) -> &[Frame] {
        &self.frames
    }

    /// All stacks but the empty one, in the order of their ids, as the caller's stack and the innermost frame.
    pub fn stacks(&self) -> &[(StackId, FrameId)] {
        &self.stacks[1..]
    }

    /// Which stacks have one of the `wanted` frames: by [`StackId::index`].
    pub fn stacks_with(&self, wanted: impl Fn(FrameId) -> bool) -> Vec<bool> {
        let mut found = vec![false];
        for &(caller, frame) in self.stacks() {
            found.push(found[caller.index() as usize] || wanted(frame));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_one_and_come_back_innermost_first() {
        let mut table = Interner::default();
        let file = table.string("app.py");
        let frames: Vec<FrameId> = (1..=3)
            .map(|line| {
                let name = table.string(&format!("f{line}"));
                table.frame(Frame { kind: FrameKind::Python, function: name, name, file, line, first_line: line })
            })
            .collect();
        let build =
            |table: &mut Interner| frames.iter().fold(StackId::EMPTY, |stack, &frame| table.push(stack, frame));
        let (first, second) = (build(&mut table), build(&mut table));
        assert_eq!(first, second);
        let back: Vec<FrameId> = table.frames(first).collect();
        assert_eq!(back, frames.iter().rev().copied().collect::<Vec<_>>());
        assert_eq!(table.stacks().len(), 3 + 1, "one is always there");
    }
}
