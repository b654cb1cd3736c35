//! The interpreters of a process, their thread states, and the OS threads that run those. Each refresh costs one small read;
//! the lists are scanned only when that read shows a change.

use rustc_hash::{FxHashMap, FxHashSet};

use super::stacks::StackReader;
use super::threads::{ObservedThread, ThreadStateSlot};
use crate::arch::PTHREAD_TID_OFFSETS;
use crate::cpython::debug_offsets::MAX_STRUCT;
use crate::cpython::frames::ThreadStateView;
use crate::cpython::gil::Gil;
use crate::cpython::layout::{GilPlace, Layout};
use crate::event::{Event, Ids, Nanos, Pid, ProcessId, ThreadId, Tid};
use crate::process::memory::{Memory, MemorySpan, ReadError};
use crate::process::os_thread::OsThread;
use crate::process::tid_map;
use crate::stack::Interner;

/// Limits on the length of lists: a longer one is garbage.
const MAX_INTERPRETERS: usize = 1 << 12;
const MAX_THREADS: usize = 1 << 17;
/// When to scan again for the OS thread of a thread state that no thread runs yet, in nanoseconds.
const RESCAN_AFTER: u64 = 5_000_000;

/// From tids in the target's pid namespace to those in gilscope's.
type TidMap = FxHashMap<Tid, Tid>;

/// Where events go, and the ids they need.
#[derive(Debug)]
pub struct Sink<'a> {
    /// Interned strings, frames and stacks.
    pub stacks: &'a mut Interner,
    /// Events in the order in which they happened.
    pub events: &'a mut Vec<Event>,
    /// The ids given out so far.
    pub ids: &'a mut Ids,
}

impl Sink<'_> {
    /// Reports a new thread.
    pub fn start_thread(&mut self, at: Nanos, process: ProcessId, tid: Tid) -> ThreadId {
        let thread = self.ids.thread();
        self.events.push(Event::ThreadStarted { at, thread, process, tid });
        thread
    }
}

/// A `PyInterpreterState`.
#[derive(Clone, Copy, Debug)]
pub struct ListedInterpreter {
    /// The address of its `PyInterpreterState`.
    pub addr: u64,
    /// 0 is the main interpreter.
    pub id: i64,
    next: u64,
    threads: u64,
    /// Its GIL, as last read. Interpreters that share one have the same address here.
    pub gil: Gil,
    /// The GIL as it was one refresh earlier.
    pub gil_before: Gil,
}

/// A thread state that a scan has found.
#[derive(Debug)]
struct ListedThreadState {
    /// Index of its interpreter.
    interpreter: usize,
    tstate: u64,
    view: ThreadStateView,
    /// `pthread_self()` of the thread that runs it.
    runner: u64,
}

/// The interpreters and threads of one process.
#[derive(Debug)]
pub struct Registry {
    pub(crate) pid: Pid,
    process: ProcessId,
    /// The address of `_PyRuntime`.
    pub runtime: u64,
    /// The process is in another pid namespace than gilscope.
    pub(super) foreign_tids: bool,
    /// `interpreters.head` when last scanned.
    head: u64,
    /// All interpreters, newest first.
    pub interpreters: Vec<ListedInterpreter>,
    /// All threads that have, or have had, a thread state.
    pub threads: Vec<ObservedThread>,
    /// Threads that the collector has reported before they had a thread state.
    pub announced: FxHashMap<Tid, ThreadId>,
    /// How many threads have been found so far.
    pub(super) found: u64,
    /// When to scan although no list head has changed.
    rescan_at: Option<Nanos>,
    spans: Vec<MemorySpan>,
    buffer: Vec<u8>,
    arrived: Vec<bool>,
}

/// Two spans are read of each interpreter: its links and its GIL.
const SPANS: usize = 2;

/// Offset and length of the part of an interpreter's state that holds its links.
fn links(layout: &Layout) -> (u64, usize) {
    let offsets = [layout.interp_next, layout.interp_id, layout.interp_threads];
    let first = offsets.into_iter().min().unwrap_or(0);
    let last = offsets.into_iter().max().unwrap_or(0);
    (first, (last + 8 - first) as usize)
}

fn u64_at(bytes: &[u8], offset: u64) -> u64 {
    crate::cpython::frames::u64_at(bytes, offset)
}

impl Registry {
    /// Knows no thread yet: the first refresh scans.
    pub fn new(pid: Pid, process: ProcessId, runtime: u64, foreign_tids: bool) -> Registry {
        Registry {
            pid,
            process,
            runtime,
            foreign_tids,
            head: 0,
            interpreters: Vec::new(),
            threads: Vec::new(),
            announced: FxHashMap::default(),
            found: 0,
            rescan_at: Some(Nanos(0)),
            spans: Vec::new(),
            buffer: Vec::new(),
            arrived: Vec::new(),
        }
    }

    /// Has the lists scanned at the next refresh.
    pub fn mark_stale(&mut self) {
        self.rescan_at = Some(Nanos(0));
    }

    /// Reads the heads of all lists and all GILs in one call, and scans the lists if a head has changed (new threads and
    /// interpreters are inserted at the head). Returns whether it scanned.
    ///
    /// # Errors
    /// The process cannot be read any more.
    pub fn refresh(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<bool, ReadError> {
        let (first, len) = links(layout);
        self.spans.clear();
        self.spans.push(MemorySpan { addr: self.runtime.wrapping_add(layout.interpreters_head), len: 8 });
        for interpreter in &self.interpreters {
            self.spans.push(MemorySpan { addr: interpreter.addr.wrapping_add(first), len });
            self.spans.push(MemorySpan { addr: interpreter.gil.addr, len: layout.gil.len });
        }
        self.buffer.resize(self.spans.iter().map(|span| span.len).sum(), 0);
        memory.read_spans(&self.spans, &mut self.buffer, &mut self.arrived)?;
        if !self.arrived[0] {
            return Err(ReadError::Unmapped(self.spans[0].addr));
        }
        let mut changed = u64_at(&self.buffer, 0) != self.head;
        let mut at = 8;
        for (index, interpreter) in self.interpreters.iter_mut().enumerate() {
            let bytes = &self.buffer[at..at + len];
            let arrived = &self.arrived[1 + SPANS * index..][..SPANS];
            changed |= !arrived[0]
                || u64_at(bytes, layout.interp_next - first) != interpreter.next
                || u64_at(bytes, layout.interp_threads - first) != interpreter.threads;
            at += len;
            interpreter.gil_before = interpreter.gil;
            if arrived[1] {
                let bytes = &self.buffer[at..at + layout.gil.len];
                interpreter.gil = Gil::decode(&layout.gil, interpreter.gil.addr, bytes);
            }
            at += layout.gil.len;
        }
        let due = changed || self.rescan_at.is_some_and(|at| at <= now);
        if due {
            self.scan(memory, layout, now, sink)?;
        }
        Ok(due)
    }

    /// Walks all lists. Known threads stay, new ones are reported, and thread states that are gone are removed from their
    /// threads.
    fn scan(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReadError> {
        self.rescan_at = None;
        self.head = memory.u64(self.runtime.wrapping_add(layout.interpreters_head))?;
        self.interpreters.clear();
        let mut known = FxHashMap::default();
        for (index, thread) in self.threads.iter_mut().enumerate() {
            for slot in &mut thread.slots {
                slot.listed = false;
                known.insert(slot.reader.tstate(), index);
            }
        }
        let mut found = Vec::new();
        let mut seen = FxHashSet::default();
        let mut next = self.head;
        // Links in a circle are garbage.
        while next != 0 && self.interpreters.len() < MAX_INTERPRETERS && seen.insert(next) {
            // An interpreter that is freed under the walk ends it; the head has changed then, too.
            let Ok(interpreter) = read_interpreter(memory, layout, self.runtime, next) else { break };
            next = interpreter.next;
            let index = self.interpreters.len();
            self.interpreters.push(interpreter);
            let mut tstate = interpreter.threads;
            while tstate != 0 && found.len() < MAX_THREADS && seen.insert(tstate) {
                let mut bytes = [0; MAX_STRUCT];
                let bytes = &mut bytes[..layout.thread.len];
                if memory.read(tstate, bytes).is_err() {
                    break;
                }
                let view = ThreadStateView::decode(layout, bytes);
                if view.interp != interpreter.addr {
                    // Freed under the walk.
                    self.rescan_at = Some(now);
                    break;
                }
                found.push(ListedThreadState { interpreter: index, tstate, view, runner: view.thread_id });
                tstate = view.next;
            }
        }
        self.find_runners(layout, &mut found);
        let mut tids = None;
        for state in &found {
            let at = known.get(&state.tstate).copied();
            if !self.keep(at, state) && !self.place(memory, now, state, &mut tids, sink) {
                self.rescan_at = Some(Nanos(now.0 + RESCAN_AFTER));
            }
        }
        for thread in &mut self.threads {
            thread.slots.retain(|slot| slot.listed);
            thread.slots.sort_by_key(|slot| slot.interpreter_id);
        }
        Ok(())
    }

    /// Finds the threads that run the thread states of sub-interpreters. Up to 3.12 these carry the ids of the thread that
    /// created the interpreter, whichever thread enters it (`_xxsubinterpreters.run_string`). But the `_PyCFrame` of running
    /// code is on the C stack of the thread that runs it, and at the upper end of that stack is the thread's descriptor, to
    /// which `pthread_self()` points.
    fn find_runners(&self, layout: &Layout, found: &mut [ListedThreadState]) {
        let Some(len) = layout.thread.root_cframe_within else { return };
        let is_main = |state: &ListedThreadState| self.interpreters[state.interpreter].id == 0;
        // A thread that was started inside a sub-interpreter has no other state than the one there, which carries its own id.
        let descriptors: Vec<u64> = found.iter().map(|state| state.view.thread_id).filter(|&id| id != 0).collect();
        // The first thread's stack is above all others; its state is the oldest, and so the last in the list.
        let first = found.iter().rfind(|state| is_main(state)).map(|state| state.view.thread_id);
        for state in found.iter_mut() {
            let cframe = state.view.c_stack;
            let at_rest = (state.tstate..state.tstate + len).contains(&cframe);
            if self.interpreters[state.interpreter].id != 0 && cframe != 0 && !at_rest {
                let above = descriptors.iter().copied().filter(|&descriptor| descriptor > cframe).min();
                state.runner = above.or(first).unwrap_or(state.runner);
            }
        }
    }

    /// Whether a thread state is the known one at its address, of the thread with this index.
    fn keep(&mut self, at: Option<usize>, state: &ListedThreadState) -> bool {
        let slots = at.map(|index| &mut self.threads[index].slots);
        let same = |slot: &&mut ThreadStateSlot| {
            slot.reader.tstate() == state.tstate && slot.is(&state.view) && slot.runner == state.runner
        };
        let Some(slot) = slots.and_then(|slots| slots.iter_mut().find(same)) else { return false };
        slot.listed = true;
        slot.interpreter = state.interpreter;
        true
    }

    /// Adds a new thread state to its OS thread. False if no OS thread runs it yet.
    fn place(
        &mut self,
        memory: &impl Memory,
        now: Nanos,
        state: &ListedThreadState,
        tids: &mut Option<TidMap>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let id = self.interpreters[state.interpreter].id;
        let Some(os) = self.os_thread(memory, state, tids) else { return false };
        let slot =
            ThreadStateSlot::new(StackReader::new(state.tstate), state.interpreter, id, &state.view, state.runner);
        if let Some(thread) = self.threads.iter_mut().find(|thread| thread.os.tid() == os.tid()) {
            thread.add(slot);
            return true;
        }
        let thread = match self.announced.get(&os.tid()) {
            Some(&thread) => thread,
            None => sink.start_thread(now, self.process, os.tid()),
        };
        self.found += 1;
        self.threads.push(ObservedThread::new(thread, os, slot));
        true
    }

    /// The OS thread that runs a thread state: by `native_thread_id` or, up to 3.10 and where a fork has left that stale, by
    /// the C library's thread descriptor.
    fn os_thread(
        &self,
        memory: &impl Memory,
        state: &ListedThreadState,
        tids: &mut Option<TidMap>,
    ) -> Option<OsThread> {
        let descriptor = PTHREAD_TID_OFFSETS.into_iter().filter_map(|offset| {
            (state.runner != 0).then(|| memory.i32(state.runner.wrapping_add(offset)).ok()).flatten()
        });
        let own = state.runner == state.view.thread_id;
        let native_id = if own { state.view.native_id as Tid } else { 0 };
        std::iter::once(native_id).chain(descriptor).filter(|&tid| tid > 0).find_map(|tid| {
            let tid = if self.foreign_tids {
                *tids.get_or_insert_with(|| tid_map(self.pid).unwrap_or_default()).get(&tid)?
            } else {
                tid
            };
            OsThread::open(self.pid, tid).ok()
        })
    }
}

fn read_interpreter(
    memory: &impl Memory,
    layout: &Layout,
    runtime: u64,
    addr: u64,
) -> Result<ListedInterpreter, ReadError> {
    let (first, len) = links(layout);
    let mut bytes = [0; 256];
    let bytes = &mut bytes[..len];
    memory.read(addr.wrapping_add(first), bytes)?;
    let gil = match layout.gil_place {
        GilPlace::Runtime(offset) => runtime.wrapping_add(offset),
        GilPlace::Interpreter(offset) => memory.u64(addr.wrapping_add(offset))?,
    };
    Ok(ListedInterpreter {
        addr,
        id: u64_at(bytes, layout.interp_id - first) as i64,
        next: u64_at(bytes, layout.interp_next - first),
        threads: u64_at(bytes, layout.interp_threads - first),
        gil: Gil::read(memory, &layout.gil, gil),
        gil_before: Gil::default(),
    })
}
