//! How many garbage collections there were, and how long the longest one took. Used by [`super::Profile`].

use crate::contention::by_thread::ByThread;
use crate::contention::folding::FoldedRows;
use crate::event::{CollectionTotals, Nanos, ThreadId};
use crate::stack::collections::CollectionStacks;
use crate::stack::{Interner, StackId};

/// What is known of the collections of all processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct CollectionTimes {
    /// As the interpreters count them; none if they do not.
    pub totals: Option<CollectionTotals>,
    /// What the longest took at least, in nanoseconds.
    longest_ns: u64,
    /// The longest time for which a thread was seen collecting since the interpreters were last asked. That may have been
    /// several collections in a row.
    run_ns: u64,
    stacks: CollectionStacks,
    /// Since when each thread has been collecting.
    since: ByThread<Option<Nanos>>,
}

impl CollectionTimes {
    /// The interpreters have counted these since they were last asked.
    pub fn collected(&mut self, totals: CollectionTotals) {
        self.totals.get_or_insert_default().add(totals);
        // One of several is at least as long as all of them are on average.
        let run_ns = std::mem::take(&mut self.run_ns);
        self.longest_ns = self.longest_ns.max(run_ns / totals.number.max(1));
        self.since.iter_mut().for_each(|(_, since)| *since = None);
    }

    /// A thread had this stack from one moment to another, or at one.
    pub fn was_at(&mut self, stacks: &Interner, thread: ThreadId, stack: StackId, from: Nanos, to: Nanos) {
        let collects = self.stacks.has(stacks, stack);
        if !collects && self.since.get(thread).copied().flatten().is_none() {
            return;
        }
        let since = self.since.of(thread);
        match collects {
            false => *since = None,
            true => self.run_ns = self.run_ns.max(to.since(*since.get_or_insert(from))),
        }
    }

    /// Threads that have ended collect nothing more.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.since.forget(rows);
    }

    /// What the longest took at least, in nanoseconds.
    pub fn longest_ns(&self) -> u64 {
        if self.totals.is_some() { self.longest_ns } else { self.run_ns }
    }

    /// What came after an earlier moment.
    pub fn after(&self, before: &CollectionTimes) -> CollectionTimes {
        let totals = self.totals.map(|totals| totals.since(before.totals.unwrap_or_default()));
        let grown = |now: u64, before: u64| if now > before { now } else { 0 };
        CollectionTimes {
            totals,
            longest_ns: grown(self.longest_ns, before.longest_ns),
            run_ns: grown(self.run_ns, before.run_ns),
            ..CollectionTimes::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::collections::FRAME;

    #[test]
    fn one_collection_lasts_until_its_thread_is_seen_elsewhere() {
        let (mut stacks, mut times) = (Interner::default(), CollectionTimes::default());
        let frames = ["build", FRAME].map(|name| stacks.marker_frame(name));
        let build = stacks.push(StackId::EMPTY, frames[0]);
        let collects = stacks.push(build, frames[1]);
        let at_the_end = stacks.push(StackId::EMPTY, frames[1]);
        let mut seen = |stack, from, to| {
            times.was_at(&stacks, ThreadId(0), stack, Nanos(from), Nanos(to));
            times.longest_ns()
        };
        assert_eq!([seen(build, 0, 9), seen(collects, 10, 10), seen(collects, 12, 30)], [0, 0, 20]);
        assert_eq!([seen(build, 31, 31), seen(collects, 40, 55), seen(build, 60, 60)], [20, 20, 20]);
        assert_eq!(seen(at_the_end, 70, 900), 20, "that of the end of the interpreter is nobody's");
        times.collected(CollectionTotals { number: 2, ..CollectionTotals::default() });
        assert_eq!(times.longest_ns(), 10, "it was two in a row");
    }
}
