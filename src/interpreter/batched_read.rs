//! Reads the stacks of many threads at once without stopping any: plans one vectored read for all of them, makes it, and has
//! each stack judged by its reader. Called by the sampler, once or twice per tick.

use std::ops::Range;
use std::time::Instant;

use super::registry::{ListedInterpreter, Registry};
use super::stacks::{Reading, Scratch, StackReader};
use super::threads::{ObservedThread, ReadMode, ReadProgress, ThreadStateSlot};
use crate::cpython::gc::GcFlags;
use crate::cpython::gil::Gil;
use crate::cpython::layout::Layout;
use crate::event::Loss;
use crate::process::memory::{Memory, MemorySpan, ReadError};
use crate::process::os_thread::RunState;

/// How many bytes are read at once; of the stacks of more threads after these only if there is time.
const MAX_BATCH: usize = 4 << 20;
/// How often a moving stack is read again, where threads cannot be stopped.
const MAX_RETRIES: u32 = 4;

/// Makes the vectored reads, and keeps their buffers.
#[derive(Debug, Default)]
pub struct BatchedReader {
    spans: Vec<MemorySpan>,
    buffer: Vec<u8>,
    arrived: Vec<bool>,
    /// The thread with which to begin: the first one for which there was no time before.
    turn: usize,
    unread: u64,
}

/// How often a stack is copied: once, to see whether it is unchanged, or twice in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    Single,
    Double,
}

impl Copies {
    /// Bytes and spans of them.
    fn size(self, reader: &StackReader, layout: &Layout) -> (usize, usize) {
        match self {
            Copies::Single => reader.single_size(layout),
            Copies::Double => reader.double_size(layout),
        }
    }
}

/// The part of a read that has not been judged yet.
struct Rest<'a> {
    bytes: &'a [u8],
    arrived: &'a [bool],
}

impl<'a> Rest<'a> {
    fn take(&mut self, (bytes, spans): (usize, usize)) -> (&'a [u8], &'a [bool]) {
        let taken = (&self.bytes[..bytes], &self.arrived[..spans]);
        (self.bytes, self.arrived) = (&self.bytes[bytes..], &self.arrived[spans..]);
        taken
    }
}

fn wanted(slot: &ThreadStateSlot) -> bool {
    slot.progress == ReadProgress::Wanted
}

/// Up to 3.12 only the GIL says who holds it, so it is read together with each stack, as the flags of collections always
/// are.
fn gil_len(layout: &Layout) -> usize {
    if layout.thread.holds_gil.is_none() { layout.gil.len } else { 0 }
}

impl BatchedReader {
    /// How many stacks were not read for want of time.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Reads the stacks of all threads to be read in this mode: first one copy of each, then two of those that have changed.
    /// If threads may be stopped, those whose stack moves are left for that. After `until` no more than a few megabytes are
    /// read; the other stacks are lost.
    ///
    /// # Errors
    /// The process cannot be read any more.
    #[allow(clippy::too_many_arguments)]
    pub fn read(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &mut Registry,
        mode: ReadMode,
        may_stop: bool,
        until: Instant,
        scratch: &mut Scratch,
    ) -> Result<(), ReadError> {
        let attempts = if mode == ReadMode::Confirm { 0 } else { MAX_RETRIES };
        'attempts: for attempt in 0..=attempts {
            let copies = if attempt == 0 { Copies::Single } else { Copies::Double };
            let len = registry.threads.len();
            let turn = self.turn.min(len);
            let mut any = false;
            for (from, to) in [(turn, len), (0, turn)] {
                let mut next = from;
                while next < to {
                    let batch = next..self.plan(layout, registry, mode, copies, next..to);
                    next = batch.end;
                    if self.spans.is_empty() {
                        continue;
                    }
                    if any && Instant::now() >= until {
                        self.turn = batch.start;
                        self.unread += give_up(registry, mode);
                        break 'attempts;
                    }
                    any = true;
                    self.run(memory)?;
                    let Registry { threads, interpreters, .. } = registry;
                    let rest = Rest { bytes: &self.buffer, arrived: &self.arrived };
                    let mut judge = StackJudge { memory, layout, interpreters, copies, rest, scratch, stale: false };
                    for thread in threads[batch].iter_mut().filter(|thread| thread.read_mode == mode) {
                        judge.judge(thread, may_stop);
                    }
                    let stale = judge.stale;
                    if stale {
                        registry.mark_stale();
                    }
                }
            }
            if !any {
                return Ok(());
            }
        }
        give_up(registry, mode);
        Ok(())
    }

    /// Plans one read of the stacks of threads in this range, up to the limit of bytes. Returns where the next one begins.
    fn plan(
        &mut self,
        layout: &Layout,
        registry: &Registry,
        mode: ReadMode,
        copies: Copies,
        range: Range<usize>,
    ) -> usize {
        self.spans.clear();
        let gil_len = gil_len(layout);
        let mut bytes = 0;
        for index in range.clone() {
            let thread = &registry.threads[index];
            if thread.read_mode != mode {
                continue;
            }
            for slot in thread.slots.iter().filter(|slot| wanted(slot)) {
                if gil_len > 0 {
                    let addr = registry.interpreters[slot.interpreter].gil.addr;
                    self.spans.push(MemorySpan { addr, len: gil_len });
                }
                let interpreter = registry.interpreters[slot.interpreter].addr;
                self.spans.extend(layout.gc.spans(registry.runtime, interpreter));
                match copies {
                    Copies::Single => slot.reader.plan_single(layout, &mut self.spans),
                    Copies::Double => slot.reader.plan_double(layout, &mut self.spans),
                }
                bytes += copies.size(&slot.reader, layout).0;
            }
            if bytes >= MAX_BATCH {
                return index + 1;
            }
        }
        range.end
    }

    fn run(&mut self, memory: &impl Memory) -> Result<(), ReadError> {
        let total = self.spans.iter().map(|span| span.len).sum();
        if self.buffer.len() < total {
            self.buffer.resize(total, 0);
        }
        memory.read_spans(&self.spans, &mut self.buffer[..total], &mut self.arrived)
    }
}

/// What has not been read by now is lost. Returns how many stacks.
fn give_up(registry: &mut Registry, mode: ReadMode) -> u64 {
    let mut lost = 0;
    for thread in registry.threads.iter_mut().filter(|thread| thread.read_mode == mode) {
        for slot in thread.slots.iter_mut().filter(|slot| wanted(slot)) {
            slot.progress = ReadProgress::Failed(Loss::Torn);
            lost += 1;
        }
    }
    lost
}

/// Judges what one read has brought.
struct StackJudge<'a, M> {
    memory: &'a M,
    layout: &'a Layout,
    interpreters: &'a [ListedInterpreter],
    copies: Copies,
    rest: Rest<'a>,
    scratch: &'a mut Scratch,
    /// A thread state was freed or went to another thread: the registry is out of date.
    stale: bool,
}

impl<M: Memory> StackJudge<'_, M> {
    /// Judges the stacks of one thread; those that are not believed stay wanted.
    fn judge(&mut self, thread: &mut ObservedThread, may_stop: bool) {
        let running = thread.run == RunState::Running;
        for slot in thread.slots.iter_mut().filter(|slot| wanted(slot)) {
            let Some(reading) = self.reading(slot) else {
                // Freed: the thread has left the interpreter.
                slot.leave();
                self.stale = true;
                continue;
            };
            match reading {
                Reading::Believed => {
                    slot.progress = ReadProgress::Done;
                    if running {
                        thread.stop_policy.count(false);
                    }
                }
                // Its frames have just been followed: if they are elsewhere again, it moves.
                Reading::Moved | Reading::Missing if self.copies == Copies::Double => {
                    if running {
                        thread.stop_policy.count(true);
                    }
                    // A thread whose stack moves is running now, whatever the kernel said before.
                    thread.run = RunState::Running;
                    if may_stop {
                        thread.read_mode = ReadMode::Stopped;
                    } else if reading == Reading::Missing {
                        self.follow(slot);
                    }
                }
                Reading::Missing => self.follow(slot),
                Reading::Moved => {}
            }
        }
    }

    /// Finds where the frames of a slot are now, for the next attempt.
    fn follow(&mut self, slot: &mut ThreadStateSlot) {
        if slot.reader.follow(self.memory, self.layout, false, self.scratch).is_err() {
            slot.progress = ReadProgress::Failed(Loss::Unreadable);
        }
    }

    /// What the next part of the read shows of a slot; `None` if its thread state is no more.
    fn reading(&mut self, slot: &mut ThreadStateSlot) -> Option<Reading> {
        let StackJudge { layout, copies, .. } = *self;
        let mut gil = self.interpreters[slot.interpreter].gil;
        let gil_len = gil_len(layout);
        if gil_len > 0 {
            gil = Gil::decode(&layout.gil, gil.addr, self.rest.take((gil_len, 1)).0);
        }
        let gc = GcFlags::decode(self.rest.take(layout.gc.size()).0);
        let (bytes, arrived) = self.rest.take(copies.size(&slot.reader, layout));
        let view = slot.reader.view(layout, bytes, arrived).filter(|view| slot.is(view))?;
        slot.note(&view, &gil, gc);
        self.stale |= slot.may_have_moved(&view);
        Some(match copies {
            Copies::Single => slot.reader.judge_single(layout, bytes, arrived, self.scratch),
            Copies::Double => slot.reader.judge_double(layout, bytes, arrived, self.scratch),
        })
    }
}
