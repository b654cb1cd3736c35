//! One thread's frame chain out of bytes that were copied from the target: finding the thread state's fields,
//! walking from the innermost frame to the outermost. Pure; the reading and validating is in [`crate::interpreter::stacks`].

use crate::cpython::layout::{FrameHead, Layout, Position};

/// Deepest stack that is read. A longer chain is taken for a cycle in garbage.
pub const MAX_FRAMES: usize = 1 << 17;

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
        Walk { layout, head, next, base_frame: thread.base_frame, steps: 0, entry: None, end: None }
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
            if !self.next.is_multiple_of(8) || self.steps >= MAX_FRAMES {
                return WalkStep::Invalid;
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
