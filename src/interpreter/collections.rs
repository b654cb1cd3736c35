//! Garbage collections as frames: while a thread collects garbage, its stack gets a frame that says so. The report adds up
//! the time of all stacks with such a frame.
//!
//! Where there is a GIL, no other thread can run Python during a collection. A collection can call Python code itself:
//! finalizers and `gc.callbacks`. Their frames are those on top of the stack from which the collection started.

use rustc_hash::FxHashMap;

use crate::event::{GilId, ThreadId};
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
            let marked = crate::stack::collections::stacks_of_collections(&stacks);
            assert_eq!(marked[stack.index() as usize], all.last().unwrap().contains("GC"));
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
}
