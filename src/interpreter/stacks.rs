//! Reading the stack of a thread that may be running, and knowing whether what was read is true.
//!
//! A [`StackReader`] remembers where the frames of its thread were (its extents), so that the next read can fetch all of them
//! at once, together with those of all other threads. A copy is believed in two cases:
//!
//! - it equals the stack last believed: even if the copy is torn, it shows a stack that was there;
//! - two copies made one right after the other, thread state included, are equal ([`StackReader::judge_double`]): what is the
//!   same before and after a moment was so at that moment.
//!
//! Everything else is a moving stack, which the sampler reads again with the thread stopped
//! ([`StackReader::follow`]).

use crate::cpython::debug_offsets::MAX_STRUCT;
use crate::cpython::frames::{RawFrame, ThreadStateView, Walk, WalkStep, same_stack, u64_at};
use crate::cpython::layout::Layout;
use crate::cpython::offsets::CHUNK;
use crate::process::memory::{Memory, MemorySpan, ReadError};

/// Limits on the memory that is read for one stack, in bytes, in whole chunks of the data stack and altogether. What is not read
/// in chunks is read frame by frame.
const MAX_CHUNK_BYTES: usize = 4 << 20;
const MAX_BYTES: usize = 16 << 20;
/// Pieces that are closer than this on one page are read as one.
const MERGE_GAP: u64 = 512;
const PAGE: u64 = 4096;
/// Limits on the number of chunks of a data stack, and on the size of one.
const MAX_CHUNKS: usize = 1 << 9;
const MAX_CHUNK: u64 = 64 << 20;
/// What a `_PyStackChunk` has in front of its data.
const CHUNK_HEADER: u64 = CHUNK.data;
/// After how many readings the extents are found anew, to drop those that are no longer used.
const TIDY_AFTER: u32 = 512;
/// The same, when the extents are [`LARGE`].
const TIDY_LARGE_AFTER: u32 = 16;
const LARGE: usize = 64 << 10;
/// With more than this many places, the whole page around each frame is read: up to 3.10 frames lie everywhere, but close to one
/// another.
const MANY_EXTENTS: usize = 64;
/// How many reads may be made to find the frames of a thread that is stopped for it.
const MAX_STILL_READS: u32 = 1024;
/// Frames that are followed are first sought where they were, if that is more than this many places.
const FEW_EXTENTS: usize = 8;

/// What a reading showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A stack that was there; it is in [`StackReader::frames`] now.
    Believed,
    /// There are frames outside the extents; [`StackReader::follow`] finds them.
    Missing,
    /// The stack changed while it was read.
    Moved,
}

/// A piece of the target's memory, and where its bytes are in a copy: offset and index of the span.
#[derive(Clone, Copy, Debug)]
struct Extent {
    addr: u64,
    len: usize,
    offset: usize,
    span: usize,
}

/// Reads the stack of one thread state again and again.
#[derive(Debug)]
pub struct StackReader {
    /// Address of the `PyThreadState`.
    tstate: u64,
    /// Where its frames are, sorted by address.
    extents: Vec<Extent>,
    /// The same in the order of a copy: the thread's first entry frame, if it is a piece of its own, is the last.
    plan: Vec<MemorySpan>,
    /// Sum of their lengths.
    plan_bytes: usize,
    /// That entry frame. It stays where it is as long as the thread's first Python frame does, so a single copy, which only
    /// detects changes, omits it.
    end: Option<u64>,
    /// The stack last believed, innermost first; none yet if `fresh`.
    frames: Vec<RawFrame>,
    /// It is deeper than that: the outer frames are left out.
    cut: bool,
    /// The single copy that last showed it, byte by byte; empty if none did.
    copy: Vec<u8>,
    fresh: bool,
    /// It has changed since [`Self::take_changed`] was last called.
    changed: bool,
    /// Readings since the extents were found.
    age: u32,
}

/// Buffers shared by all readers of a process, so that reading allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    first: Vec<RawFrame>,
    second: Vec<RawFrame>,
    bytes: Vec<u8>,
    loaded: Vec<Extent>,
    chunks: Vec<MemorySpan>,
}

/// The bytes at `addr`, if one of the extents covers them, and the index of its span.
fn find<'b>(extents: &[Extent], bytes: &'b [u8], addr: u64, len: usize) -> Option<(usize, &'b [u8])> {
    let index = extents.partition_point(|extent| extent.addr <= addr).checked_sub(1)?;
    let extent = extents[index];
    let start = usize::try_from(addr - extent.addr).ok()?;
    let end = start.checked_add(len)?;
    // A single copy omits the last extent.
    let found = bytes.get(extent.offset + start..extent.offset + end).filter(|_| end <= extent.len)?;
    Some((extent.span, found))
}

impl StackReader {
    /// Reads the stack of the thread state at `tstate`.
    pub fn new(tstate: u64) -> StackReader {
        StackReader {
            tstate,
            extents: Vec::new(),
            plan: Vec::new(),
            plan_bytes: 0,
            end: None,
            frames: Vec::new(),
            cut: false,
            copy: Vec::new(),
            fresh: true,
            changed: true,
            age: 0,
        }
    }

    /// The address of the thread state.
    pub fn tstate(&self) -> u64 {
        self.tstate
    }

    /// The stack last believed, innermost frame first.
    pub fn frames(&self) -> &[RawFrame] {
        &self.frames
    }

    /// Whether it has more frames, which are left out: there is a limit.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the stack has changed, if only by an instruction, since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Adds the spans of one copy to a vectored read: the thread state, then where its frames are.
    pub fn plan_single(&self, layout: &Layout, spans: &mut Vec<MemorySpan>) {
        spans.push(MemorySpan { addr: self.tstate, len: layout.thread.len });
        spans.extend_from_slice(&self.plan[..self.plan.len() - usize::from(self.end.is_some())]);
    }

    /// Adds the spans of two copies, one right after the other, and of the thread state once more.
    pub fn plan_double(&self, layout: &Layout, spans: &mut Vec<MemorySpan>) {
        for _ in 0..2 {
            spans.push(MemorySpan { addr: self.tstate, len: layout.thread.len });
            spans.extend_from_slice(&self.plan);
        }
        spans.push(MemorySpan { addr: self.tstate, len: layout.thread.len });
    }

    /// Bytes and spans of one copy.
    pub fn single_size(&self, layout: &Layout) -> (usize, usize) {
        let end = self.plan.last().filter(|_| self.end.is_some());
        let without_end = (self.plan_bytes - end.map_or(0, |span| span.len), self.plan.len() - end.map_or(0, |_| 1));
        (layout.thread.len + without_end.0, 1 + without_end.1)
    }

    /// Bytes and spans of two copies and the thread state after them.
    pub fn double_size(&self, layout: &Layout) -> (usize, usize) {
        let (bytes, spans) = self.whole_size(layout);
        (2 * bytes + layout.thread.len, 2 * spans + 1)
    }

    /// Bytes and spans of one of two copies.
    fn whole_size(&self, layout: &Layout) -> (usize, usize) {
        (layout.thread.len + self.plan_bytes, 1 + self.plan.len())
    }

    /// The thread state in a copy; `None` if it could not be read.
    pub fn view(&self, layout: &Layout, bytes: &[u8], arrived: &[bool]) -> Option<ThreadStateView> {
        arrived.first()?.then(|| ThreadStateView::decode(layout, &bytes[..layout.thread.len]))
    }

    /// Judges a single copy: it is believed if it shows the stack last believed.
    pub fn judge_single(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        arrived: &[bool],
        scratch: &mut Scratch,
    ) -> Reading {
        if bytes == self.copy && !self.fresh && arrived.iter().all(|&arrived| arrived) {
            self.age();
            return Reading::Believed;
        }
        let Some(view) = self.view(layout, bytes, arrived) else { return Reading::Moved };
        match self.walk(layout, &view, self.end, bytes, arrived, &mut scratch.first) {
            step @ (WalkStep::Complete | WalkStep::Cut)
                if !self.fresh && self.cut == (step == WalkStep::Cut) && same_stack(&scratch.first, &self.frames) =>
            {
                self.believe(&mut scratch.first, step);
                self.copy.clear();
                if bytes.len() <= LARGE {
                    self.copy.extend_from_slice(bytes);
                }
                Reading::Believed
            }
            WalkStep::Missing { .. } => Reading::Missing,
            WalkStep::Complete | WalkStep::Cut | WalkStep::Invalid => Reading::Moved,
        }
    }

    /// Judges two copies that were planned by [`Self::plan_double`].
    pub fn judge_double(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        arrived: &[bool],
        scratch: &mut Scratch,
    ) -> Reading {
        let (size, spans) = self.whole_size(layout);
        let views = [0, 1, 2].map(|n| self.view(layout, &bytes[n * size..], &arrived[n * spans..]));
        let [Some(first), Some(second), Some(third)] = views else { return Reading::Moved };
        let place = |view: &ThreadStateView| (view.head, view.chunk, view.chunk_top, view.interp, view.thread_id);
        if place(&first) != place(&second) || place(&second) != place(&third) {
            return Reading::Moved;
        }
        let step = self.walk(layout, &second, None, &bytes[size..], &arrived[spans..], &mut scratch.second);
        match step {
            WalkStep::Missing { .. } => return Reading::Missing,
            WalkStep::Invalid => return Reading::Moved,
            WalkStep::Complete | WalkStep::Cut => {}
        }
        let before = self.walk(layout, &first, None, bytes, arrived, &mut scratch.first);
        if before != step || !same_stack(&scratch.first, &scratch.second) {
            return Reading::Moved;
        }
        self.believe(&mut scratch.second, step)
    }

    /// Follows the chain of frames read by read, and keeps their places for the next readings.
    ///
    /// With `still`, the thread is known not to run, and what was read is believed at once. Otherwise the chain may have moved
    /// between the reads, and the result is [`Reading::Missing`].
    ///
    /// # Errors
    /// The thread state cannot be read.
    pub fn follow(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        still: bool,
        scratch: &mut Scratch,
    ) -> Result<(Reading, ThreadStateView), ReadError> {
        let mut state = [0; MAX_STRUCT];
        let state = &mut state[..layout.thread.len];
        memory.read(self.tstate, state)?;
        let view = ThreadStateView::decode(layout, state);
        let Scratch { first, bytes, loaded, chunks, .. } = scratch;
        first.clear();
        bytes.clear();
        loaded.clear();
        chunks.clear();
        let age = self.age + 1;
        let seeded = still && self.plan.len() > FEW_EXTENTS && age <= self.tidy_after();
        if seeded {
            self.load_known(memory, loaded, bytes)?;
        }
        let mut next_chunk = view.chunk;
        let mut walk = Walk::new(layout, &view);
        let mut reads = 0;
        let step = loop {
            let step = walk.run(|addr, len| find(loaded, bytes, addr, len).map(|(_, bytes)| bytes), first);
            let WalkStep::Missing { addr, len } = step else { break step };
            reads += 1;
            if still && reads > MAX_STILL_READS {
                break WalkStep::Invalid;
            }
            let chunk = find_chunk(memory, addr, &view, chunks, &mut next_chunk);
            let chunk = chunk.filter(|chunk| bytes.len() + chunk.len <= MAX_CHUNK_BYTES);
            let pages = (loaded.len() > MANY_EXTENTS && bytes.len() < MAX_BYTES / 2).then(|| pages_around(addr, len));
            let piece = MemorySpan { addr, len };
            let larger = chunk.or(pages);
            if !load(memory, larger.unwrap_or(piece), loaded, bytes)
                && (larger.is_none() || !load(memory, piece, loaded, bytes))
            {
                break WalkStep::Invalid;
            }
        };
        self.adopt(loaded, layout, walk.last_entry().filter(|_| step == WalkStep::Complete));
        if seeded {
            self.age = age;
        }
        Ok(match step {
            WalkStep::Complete | WalkStep::Cut if still => (self.believe(first, step), view),
            WalkStep::Complete | WalkStep::Cut => (Reading::Missing, view),
            WalkStep::Missing { .. } | WalkStep::Invalid => (Reading::Moved, view),
        })
    }

    /// Reads all places where frames were, in as few calls as possible.
    fn load_known(
        &self,
        memory: &impl Memory,
        loaded: &mut Vec<Extent>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let mut arrived = Vec::new();
        bytes.resize(self.plan_bytes, 0);
        memory.read_spans(&self.plan, bytes, &mut arrived)?;
        loaded.extend(self.extents.iter().filter(|extent| arrived[extent.span]));
        Ok(())
    }

    /// Walks the chain in one copy.
    fn walk(
        &self,
        layout: &Layout,
        view: &ThreadStateView,
        end: Option<u64>,
        copy: &[u8],
        arrived: &[bool],
        frames: &mut Vec<RawFrame>,
    ) -> WalkStep {
        frames.clear();
        let find = |addr, len| {
            let (span, bytes) = find(&self.extents, &copy[layout.thread.len..], addr, len)?;
            arrived[span + 1].then_some(bytes)
        };
        Walk::new(layout, view).until(end).run(find, frames)
    }

    /// Believes the stack that a walk has shown which ended with `step`.
    fn believe(&mut self, frames: &mut Vec<RawFrame>, step: WalkStep) -> Reading {
        let cut = step == WalkStep::Cut;
        self.changed |= self.frames != *frames || self.cut != cut;
        self.cut = cut;
        std::mem::swap(&mut self.frames, frames);
        self.fresh = false;
        self.copy.clear();
        self.age();
        Reading::Believed
    }

    /// Counts a reading; after a number of them the places of frames are found anew.
    fn age(&mut self) {
        self.age += 1;
        if self.age > self.tidy_after() {
            self.forget_extents();
        }
    }

    fn tidy_after(&self) -> u32 {
        if self.plan_bytes > LARGE { TIDY_LARGE_AFTER } else { TIDY_AFTER }
    }

    /// Forgets the stack: there is none any more.
    pub fn forget(&mut self) {
        self.frames.clear();
        self.cut = false;
        self.fresh = true;
        self.changed = true;
        self.forget_extents();
    }

    fn forget_extents(&mut self) {
        self.extents.clear();
        self.plan.clear();
        self.plan_bytes = 0;
        self.end = None;
        self.copy.clear();
        self.age = 0;
    }

    /// Makes extents of the pieces that a walk needed. Pieces that are close together become one, except the entry frame at
    /// the `end`.
    fn adopt(&mut self, loaded: &[Extent], layout: &Layout, end: Option<u64>) {
        self.forget_extents();
        let is_end = |piece: &Extent| Some(piece.addr) == end && piece.len == layout.frame.len;
        for piece in loaded {
            let piece_end = piece.addr + piece.len as u64;
            if let Some(last) = self.extents.last_mut().filter(|last| !is_end(piece) && !is_end(last)) {
                let last_end = last.addr + last.len as u64;
                let same_page = piece.addr / PAGE == last_end.saturating_sub(1) / PAGE;
                if piece.addr <= last_end || (same_page && piece.addr - last_end < MERGE_GAP) {
                    last.len = last.len.max((piece_end - last.addr) as usize);
                    continue;
                }
            }
            self.extents.push(*piece);
        }
        for last in [false, true] {
            for extent in self.extents.iter_mut().filter(|extent| is_end(extent) == last) {
                (extent.offset, extent.span) = (self.plan_bytes, self.plan.len());
                self.plan.push(MemorySpan { addr: extent.addr, len: extent.len });
                self.plan_bytes += extent.len;
                self.end = end.filter(|_| last);
            }
        }
    }
}

/// The whole pages that contain a piece of memory.
fn pages_around(addr: u64, len: usize) -> MemorySpan {
    let start = addr / PAGE * PAGE;
    let end = (addr.saturating_add(len as u64 - 1) / PAGE + 1).saturating_mul(PAGE);
    MemorySpan { addr: start, len: (end - start) as usize }
}

/// Reads a piece and adds it to `loaded`, which stays sorted. False if it is not readable or too much.
fn load(memory: &impl Memory, span: MemorySpan, loaded: &mut Vec<Extent>, bytes: &mut Vec<u8>) -> bool {
    let offset = bytes.len();
    if offset + span.len > MAX_BYTES || span.addr.checked_add(span.len as u64).is_none() {
        return false;
    }
    bytes.resize(offset + span.len, 0);
    if memory.read(span.addr, &mut bytes[offset..]).is_err() {
        bytes.truncate(offset);
        return false;
    }
    let index = loaded.partition_point(|extent| extent.addr <= span.addr);
    loaded.insert(index, Extent { addr: span.addr, len: span.len, offset, span: 0 });
    true
}

/// The used part of the data stack chunk that contains `addr` (3.11 and later). Chunks are followed from the newest to the
/// oldest, each once: `next` is the first one not followed yet.
fn find_chunk(
    memory: &impl Memory,
    addr: u64,
    view: &ThreadStateView,
    chunks: &mut Vec<MemorySpan>,
    next: &mut u64,
) -> Option<MemorySpan> {
    let inside = |chunk: &MemorySpan| (chunk.addr..chunk.addr + chunk.len as u64).contains(&addr);
    if let Some(chunk) = chunks.iter().copied().find(inside) {
        return Some(chunk);
    }
    while *next != 0 && chunks.len() < MAX_CHUNKS {
        let at = std::mem::take(next);
        let mut header = [0; CHUNK_HEADER as usize];
        memory.read(at, &mut header).ok()?;
        let [previous, size, top] = [CHUNK.previous, CHUNK.size, CHUNK.top].map(|offset| u64_at(&header, offset));
        // The newest chunk's own `top` is out of date while it is in use; the thread state has it.
        let used = match at == view.chunk {
            true => view.chunk_top.wrapping_sub(at),
            false => top.saturating_mul(8).saturating_add(CHUNK_HEADER),
        };
        if size > MAX_CHUNK || used > size || at.checked_add(size).is_none() {
            return None;
        }
        *next = previous;
        // A little more than is used now, so that a few more calls still find their frames in it.
        let chunk = MemorySpan { addr: at, len: (used + MERGE_GAP).min(size) as usize };
        chunks.push(chunk);
        if inside(&chunk) {
            return Some(chunk);
        }
    }
    None
}
