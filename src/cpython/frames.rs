//! One thread's frame chain out of bytes that were copied from the target: finding the thread state's fields,
//! walking from the innermost frame to the outermost. Pure; the reading and validating is in [`crate::interpreter::stacks`].

use crate::cpython::layout::{FrameHead, Layout, Position};

/// The limit of frames of one stack: of a deeper one, its innermost frames are read, at least [`MIN_KEPT`] of them. To read
/// this many takes less than a millisecond, for which the thread may have to be stopped.
pub const MAX_FRAMES: usize = 1 << 13;
const MIN_KEPT: usize = MAX_FRAMES / 2;
/// The limit of frames in a chain, with those that are passed over. A longer one is garbage.
const MAX_STEPS: usize = 2 * MAX_FRAMES;

/// A frame of Python code as it was in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Where the frame is.
    pub addr: u64,
    /// Its code object, tag bits removed.
    pub code: u64,
    /// `f_lasti` (sign-extended) or the instruction's address.
    pub instr: u64,
    /// Which copy of the bytecode `instr` points into (free-threaded 3.14 and later), else 0.
    pub tlbc_index: i32,
}

/// The fields of a `PyThreadState` that a sample needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadStateView {
    /// `next`
    pub next: u64,
    /// `interp`
    pub interp: u64,
    /// The innermost frame, or (3.11, 3.12) the `_PyCFrame` that points to it.
    pub head: u64,
    /// Something on the C stack of the thread that runs it (3.10 to 3.12), else 0.
    pub c_stack: u64,
    /// `thread_id`
    pub thread_id: u64,
    /// `native_thread_id`; 0 where there is none.
    pub native_id: u64,
    /// The current chunk of the data stack; 0 where there is none.
    pub chunk: u64,
    /// The end of the live part of that chunk.
    pub chunk_top: u64,
    /// The thread state's own word on holding the GIL (3.13 and later).
    pub holds_gil: Option<bool>,
    /// `state == _Py_THREAD_ATTACHED` (3.13 and later).
    pub attached: Option<bool>,
    /// The frame that ends the chain (3.15 and later).
    pub base_frame: Option<u64>,
}

impl ThreadStateView {
    /// Decodes `bytes`, the first `layout.thread.len` bytes of a thread state.
    pub fn decode(layout: &Layout, bytes: &[u8]) -> ThreadStateView {
        let t = &layout.thread;
        let head = match t.head {
            FrameHead::Direct(offset) => offset,
            FrameHead::CFrame { cframe, .. } => cframe,
        };
        let optional = |offset: Option<u64>| offset.map_or(0, |offset| u64_at(bytes, offset));
        ThreadStateView {
            next: u64_at(bytes, t.next),
            interp: u64_at(bytes, t.interp),
            head: u64_at(bytes, head),
            c_stack: optional(t.c_stack),
            thread_id: u64_at(bytes, t.thread_id),
            native_id: optional(t.native_thread_id),
            chunk: optional(t.datastack_chunk),
            chunk_top: optional(t.datastack_top),
            holds_gil: t.holds_gil.map(|(offset, mask)| u32_at(bytes, offset) & mask != 0),
            attached: t.state.map(|offset| u32_at(bytes, offset) == 1),
            base_frame: t.base_frame.map(|offset| u64_at(bytes, offset)),
        }
    }
}

/// How far a walk got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// To the outermost frame.
    Complete,
    /// To the limit of frames: those further out are left out.
    Cut,
    /// To something at this address that has not been read.
    Missing {
        addr: u64,
        /// How many bytes.
        len: usize,
    },
    /// To something that no stack contains.
    Invalid,
}

/// A walk along a frame chain. It can be resumed after what was missing has been read.
#[derive(Debug)]
pub struct Walk<'a> {
    layout: &'a Layout,
    head: Option<u64>,
    next: u64,
    base_frame: Option<u64>,
    steps: usize,
    /// Where it was after a power of two of steps: a walk that comes there again is in a circle.
    mark: u64,
    /// The last entry frame, if nothing came after it.
    entry: Option<u64>,
    /// An entry frame that is known to be the end.
    end: Option<u64>,
}

impl<'a> Walk<'a> {
    /// A walk that starts at the head of `thread`'s chain.
    pub fn new(layout: &'a Layout, thread: &ThreadStateView) -> Walk<'a> {
        let (head, next) = match layout.thread.head {
            FrameHead::Direct(_) => (None, thread.head),
            FrameHead::CFrame { current, .. } => (Some(thread.head.wrapping_add(current)), 0),
        };
        Walk { layout, head, next, base_frame: thread.base_frame, steps: 0, mark: 0, entry: None, end: None }
    }

    /// Takes the entry frame at `end` for the end of the chain, without looking at it.
    pub fn until(self, end: Option<u64>) -> Walk<'a> {
        Walk { end, ..self }
    }

    /// The entry frame that a complete walk ended with, if it did.
    pub fn last_entry(&self) -> Option<u64> {
        self.entry
    }

    /// Walks as far as `find` (address, length -> bytes) knows the memory, adding frames to `frames`, innermost
    /// first. The entry frames that mark a call from C are passed over.
    pub fn run<'m>(&mut self, find: impl Fn(u64, usize) -> Option<&'m [u8]>, frames: &mut Vec<RawFrame>) -> WalkStep {
        let f = &self.layout.frame;
        if let Some(head) = self.head {
            let Some(bytes) = find(head, 8) else { return WalkStep::Missing { addr: head, len: 8 } };
            self.head = None;
            self.next = u64_at(bytes, 0);
        }
        while self.next != 0 {
            if self.base_frame == Some(self.next) || self.end == Some(self.next) {
                return WalkStep::Complete;
            }
            if !self.next.is_multiple_of(8) || self.steps >= MAX_STEPS || self.next == self.mark {
                return WalkStep::Invalid;
            }
            if frames.len() >= MAX_FRAMES {
                cut(frames);
                return WalkStep::Cut;
            }
            let Some(bytes) = find(self.next, f.len) else {
                return WalkStep::Missing { addr: self.next, len: f.len };
            };
            self.entry = Some(self.next);
            let owner = f.owner.map_or(0, |offset| bytes[offset as usize]);
            if owner < FIRST_ENTRY_OWNER {
                self.entry = None;
                let code = u64_at(bytes, f.code) & !TAG_BITS;
                if code == 0 {
                    return WalkStep::Invalid;
                }
                frames.push(RawFrame {
                    addr: self.next,
                    code,
                    instr: match f.position {
                        Position::Pointer => u64_at(bytes, f.instr),
                        Position::LastiBytes | Position::LastiUnits => {
                            i64::from(u32_at(bytes, f.instr) as i32) as u64
                        }
                    },
                    tlbc_index: f.tlbc_index.map_or(0, |offset| u32_at(bytes, offset) as i32),
                });
            }
            if self.steps.is_power_of_two() {
                self.mark = self.next;
            }
            self.next = u64_at(bytes, f.previous);
            self.steps += 1;
        }
        // From 3.15 on every chain ends in the base frame: any other end is a torn read.
        match self.base_frame {
            Some(_) if self.steps > 0 => WalkStep::Invalid,
            _ => WalkStep::Complete,
        }
    }
}

/// Leaves out the outer frames of a stack that is too deep. Where it is cut depends on the addresses of the frames: so it is
/// cut at the same frame again when it has become some frames deeper, and most of its stacks have the same outer frames.
fn cut(frames: &mut Vec<RawFrame>) {
    let scattered = |frame: &RawFrame| (frame.addr >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let outermost = (MIN_KEPT..frames.len()).min_by_key(|&index| scattered(&frames[index]));
    frames.truncate(outermost.map_or(MIN_KEPT, |index| index + 1));
}

/// Whether two readings show the same stack: the same frames at the same instructions, except that the innermost
/// frame may have moved on (only it can without a call or return).
pub fn same_stack(a: &[RawFrame], b: &[RawFrame]) -> bool {
    let same_place =
        |a: &RawFrame, b: &RawFrame| a.addr == b.addr && a.code == b.code && a.tlbc_index == b.tlbc_index;
    match (a.split_first(), b.split_first()) {
        (None, None) => true,
        (Some((a, callers_a)), Some((b, callers_b))) => same_place(a, b) && callers_a == callers_b,
        _ => false,
    }
}

/// `frame.owner` of frames without Python code: `FRAME_OWNED_BY_CSTACK` (3.12, 3.13), `_BY_INTERPRETER` (3.14 on).
const FIRST_ENTRY_OWNER: u8 = 3;
/// Tags in the low bits of `_PyStackRef` (3.14 and later); always 0 in an object's address.
pub(crate) const TAG_BITS: u64 = 7;

pub(crate) fn u64_at(bytes: &[u8], offset: u64) -> u64 {
    let offset = offset as usize;
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], offset: u64) -> u32 {
    let offset = offset as usize;
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::version::Version;
    use crate::process::memory::{Memory, MemoryImage};

    const FIRST: u64 = 0x10_0000;

    /// The innermost of `count` frames of Python 3.10, each of which is called by the one after it; the last by `outermost`.
    fn chain(count: usize, outermost: u64) -> (MemoryImage, Layout, u64) {
        let layout =
            Layout::of(&MemoryImage::default(), 0, Version { major: 3, minor: 10, patch: 13 }, false).unwrap();
        let size = (layout.frame.len as u64).next_multiple_of(16);
        let mut bytes = vec![0; count * size as usize];
        for index in 0..count as u64 {
            let caller = if index + 1 == count as u64 { outermost } else { FIRST + (index + 1) * size };
            for (field, value) in [(layout.frame.previous, caller), (layout.frame.code, 0x8000)] {
                bytes[(index * size + field) as usize..][..8].copy_from_slice(&u64::to_le_bytes(value));
            }
        }
        let mut memory = MemoryImage::default();
        memory.insert(FIRST, bytes);
        (memory, layout, size)
    }

    /// The frames from the one at `head` on.
    fn walk(memory: &MemoryImage, layout: &Layout, head: u64) -> (WalkStep, Vec<RawFrame>) {
        let mut copy = vec![0; layout.frame.len];
        let mut walk = Walk::new(layout, &ThreadStateView { head, ..ThreadStateView::default() });
        let (mut frames, mut known) = (Vec::new(), FIRST..FIRST);
        loop {
            let step = walk.run(|addr, _| (known.contains(&addr)).then_some(&copy[..]), &mut frames);
            let WalkStep::Missing { addr, .. } = step else { return (step, frames) };
            memory.read(addr, &mut copy).unwrap();
            known = addr..addr + 1;
        }
    }

    #[test]
    fn of_a_stack_that_is_too_deep_the_innermost_frames_are_kept_up_to_the_same_one() {
        let (memory, layout, size) = chain(3 * MAX_FRAMES, 0);
        let [first, second] = [0, 3].map(|skipped| walk(&memory, &layout, FIRST + skipped * size));
        for (step, frames) in [&first, &second] {
            assert_eq!(*step, WalkStep::Cut);
            assert!((MIN_KEPT..=MAX_FRAMES).contains(&frames.len()), "{}", frames.len());
        }
        assert_eq!(first.1[3..], second.1);
        // Up to the limit it is complete.
        let (memory, layout, _) = chain(MAX_FRAMES, 0);
        let (step, frames) = walk(&memory, &layout, FIRST);
        assert_eq!((step, frames.len()), (WalkStep::Complete, MAX_FRAMES));
    }

    #[test]
    fn a_circle_is_no_stack() {
        for length in [1, 2, 3, 1000] {
            let (memory, layout, _) = chain(length, FIRST);
            assert_eq!(walk(&memory, &layout, FIRST).0, WalkStep::Invalid, "{length}");
        }
    }
}
