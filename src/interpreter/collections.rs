//! Garbage collections as frames: while a thread collects garbage, its stack gets a frame that says so. The report adds up
//! the time of all stacks with such a frame.
//!
//! Where there is a GIL, no other thread can run Python during a collection. A collection can call Python code itself:
//! finalizers and `gc.callbacks`. Their frames are those on top of the stack from which the collection started.

use rustc_hash::FxHashMap;

use super::registry::{Registry, Sink};
use crate::cpython::layout::{GC_STATS_LEN, Layout};
use crate::event::{CollectionTotals, Event, GilId, Nanos, ProcessId, ThreadId};
use crate::process::memory::Memory;
use crate::stack::{Interner, StackId};

/// A collection under way.
#[derive(Clone, Copy, Debug)]
struct Collection {
    thread: ThreadId,
    /// The stack from which it was started.
    from: StackId,
    /// It called Python code when it was last seen.
    calls: bool,
}

/// The collections under way in one process, by GIL.
#[derive(Debug, Default)]
pub struct Collections {
    under_way: FxHashMap<Option<GilId>, Collection>,
}

impl Collections {
    /// The stack of a thread that holds the GIL, with a frame for the collection that it makes, if any; `collecting` is what
    /// the interpreter says. Threads that hold the GIL after a finalizer has released it do not collect.
    ///
    /// Without a GIL, this is for any thread that is attached, and `collecting` says whether this one collects.
    pub fn stack(
        &mut self,
        gil: Option<GilId>,
        thread: ThreadId,
        stack: StackId,
        collecting: bool,
        stacks: &mut Interner,
    ) -> StackId {
        let last = self.under_way.get(&gil).copied();
        let others = last.is_some_and(|last| last.thread != thread);
        if !collecting && (gil.is_some() || !others) {
            self.under_way.remove(&gil);
        }
        if !collecting || gil.is_some() && others && last.is_some_and(|last| last.calls) {
            return stack;
        }
        let from = last.filter(|last| last.thread == thread && is_called_from(stacks, stack, last.from));
        let from = from.map_or(stack, |last| last.from);
        self.under_way.insert(gil, Collection { thread, from, calls: from != stack });
        let called: Vec<_> = stacks.frames(stack).take(depth(stacks, stack) - depth(stacks, from)).collect();
        let frame = stacks.marker_frame(crate::stack::collections::FRAME);
        let collection = stacks.push(from, frame);
        called.into_iter().rev().fold(collection, |stack, frame| stacks.push(stack, frame))
    }

    /// Whether this thread, which has no GIL, was collecting when last seen.
    pub fn is_collector(&self, thread: ThreadId) -> bool {
        self.under_way.get(&None).is_some_and(|collection| collection.thread == thread)
    }
}

/// How often what the interpreters count is read, in nanoseconds.
const COUNT_EVERY: u64 = 100_000_000;
/// No interpreter has made more collections, nor freed more objects.
const MAX_COUNT: u64 = 1 << 48;

/// What the interpreters of a process count of their collections.
#[derive(Debug, Default)]
pub struct CollectionCounts {
    next: Nanos,
    began: bool,
    /// By the address of the interpreter.
    known: FxHashMap<u64, CollectionTotals>,
}

impl CollectionCounts {
    /// Reports collections since the last time, if it is due.
    pub fn update(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        process: ProcessId,
        registry: &Registry,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) {
        let Some(place) = layout.gc.stats.filter(|_| now >= self.next) else { return };
        self.next = Nanos(now.0 + COUNT_EVERY);
        let mut new = CollectionTotals::default();
        for interpreter in &registry.interpreters {
            let base = if layout.gc.in_runtime { registry.runtime } else { interpreter.addr };
            let mut bytes = [0; GC_STATS_LEN as usize];
            let is_read = memory.read(base.wrapping_add(place), &mut bytes).is_ok();
            let Some(totals) = is_read.then(|| totals(&bytes)).flatten() else { continue };
            let before = match self.known.insert(base, totals) {
                Some(before) => before,
                // What it did before it was observed does not count.
                None if !self.began => totals,
                None => CollectionTotals::default(),
            };
            // Another interpreter may be where one was.
            let is_same = before.number <= totals.number && before.freed <= totals.freed;
            new.add(totals.since(if is_same { before } else { CollectionTotals::default() }));
        }
        self.began = true;
        if new.number > 0 {
            sink.events.push(Event::Collected { at: now, process, totals: new });
        }
    }
}

/// What three generations have counted, as it is in memory; none if that makes no sense.
fn totals(bytes: &[u8; GC_STATS_LEN as usize]) -> Option<CollectionTotals> {
    let mut words = bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
    let mut totals = CollectionTotals::default();
    for generation in 0..3 {
        let (number, freed, _) = (words.next()?, words.next()?, words.next()?);
        if number > MAX_COUNT || freed > MAX_COUNT {
            return None;
        }
        totals.add(CollectionTotals { number, full: if generation == 2 { number } else { 0 }, freed });
    }
    Some(totals)
}

fn depth(stacks: &Interner, stack: StackId) -> usize {
    stacks.frames(stack).count()
}

/// Whether `stack` is `caller` or continues it.
fn is_called_from(stacks: &Interner, mut stack: StackId, caller: StackId) -> bool {
    while stack != caller {
        match stacks.pop(stack) {
            Some((outer, _)) => stack = outer,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ThreadId = ThreadId(0);
    const B: ThreadId = ThreadId(1);

    /// A stack of these functions, outermost first.
    fn stack(stacks: &mut Interner, functions: &str) -> StackId {
        functions.split_whitespace().fold(StackId::EMPTY, |stack, function| {
            let frame = stacks.marker_frame(function);
            stacks.push(stack, frame)
        })
    }

    /// The stacks made of observations: who holds the GIL, where, and whether the interpreter is collecting.
    fn seen(observed: &[(ThreadId, &str, bool)]) -> Vec<String> {
        seen_at(Some(GilId(0)), observed)
    }

    fn seen_at(gil: Option<GilId>, observed: &[(ThreadId, &str, bool)]) -> Vec<String> {
        let (mut stacks, mut collections) = (Interner::default(), Collections::default());
        let mut marked = crate::stack::collections::CollectionStacks::default();
        let mut all = Vec::new();
        for &(thread, functions, collecting) in observed {
            let stack = stack(&mut stacks, functions);
            let stack = collections.stack(gil, thread, stack, collecting, &mut stacks);
            let frames: Vec<_> =
                stacks.frames(stack).map(|frame| stacks.text(stacks.get_frame(frame).name)).collect();
            all.push(
                frames
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .replace(crate::stack::collections::FRAME, "GC"),
            );
            assert_eq!(marked.has(&stacks, stack), all.last().unwrap().contains("GC"));
        }
        all
    }

    #[test]
    fn the_frame_stands_between_who_collects_and_what_that_calls() {
        let looks = [
            (A, "main build", false),
            (A, "main build", true),
            (A, "main build close", true),
            (A, "main build close wait", true),
            (A, "main build", true),
            (A, "main", true),
            (A, "main other", false),
        ];
        let expected = [
            "main build",
            "main build GC",
            "main build GC close",
            "main build GC close wait",
            "main build GC",
            "main GC",
            "main other",
        ];
        assert_eq!(seen(&looks), expected);
    }

    #[test]
    fn who_runs_while_a_finalizer_waits_does_not_collect() {
        let looks = [(A, "main", true), (A, "main close", true), (B, "work", true), (A, "main close", true)];
        assert_eq!(seen(&looks), ["main GC", "main GC close", "work", "main GC close"]);
        // But one that collects right after another does.
        assert_eq!(seen(&[(A, "main", true), (B, "work", true), (B, "work", false)]), ["main GC", "work GC", "work"]);
    }

    #[test]
    fn without_a_gil_others_run_meanwhile() {
        let looks = [
            (A, "main", true),
            (B, "work", false),
            (A, "main close", true),
            (A, "main close", false),
            (A, "main close", true),
            (B, "work", true),
        ];
        let expected = ["main GC", "work", "main GC close", "main close", "main close GC", "work GC"];
        assert_eq!(seen_at(None, &looks), expected);
    }

    #[test]
    fn counts_are_those_of_all_generations() {
        let words: [u64; 9] = [20, 31, 0, 8, 50, 0, 4, 50, 1];
        let mut bytes = [0; GC_STATS_LEN as usize];
        bytes.chunks_exact_mut(8).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
        assert_eq!(totals(&bytes), Some(CollectionTotals { number: 32, full: 4, freed: 131 }));
        assert_eq!(totals(&[0xff; GC_STATS_LEN as usize]), None);
    }
}
