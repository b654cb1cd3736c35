//! Puts what comes roughly in the order of time into that order: times off the CPU, once for all analyses
//! ([`OffCpuOrder`]), and the facts about a GIL that follow from them.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::folding::FoldedRows;
use crate::event::{Nanos, OffCpu};

/// What the kernel reports is never more out of order than this, in nanoseconds.
const MAX_DISORDER_NS: u64 = 2_000_000;

/// How many times off the CPU are held back: more than all CPUs of a machine can have within the time of disorder.
const MAX_WAITING: usize = 1 << 14;

/// Where something of that moment belongs among things in the order of time: after all others of it. That is nearly always
/// the end.
pub fn place_of<T>(things: &VecDeque<T>, moment: Nanos, at: impl Fn(&T) -> Nanos) -> usize {
    match things.back() {
        Some(last) if at(last) > moment => things.partition_point(|thing| at(thing) <= moment),
        _ => things.len(),
    }
}

/// Something that happened at a moment.
pub trait Timed {
    /// When; and what goes first of things at the same moment.
    fn place(&self) -> (Nanos, u8);
}

/// Holds things back until nothing earlier can come any more.
#[derive(Debug)]
pub struct InOrder<T: Timed> {
    heap: BinaryHeap<Earliest<T>>,
}

impl<T: Timed> Default for InOrder<T> {
    fn default() -> Self {
        InOrder { heap: BinaryHeap::new() }
    }
}

impl<T: Timed> InOrder<T> {
    pub fn push(&mut self, thing: T) {
        self.heap.push(Earliest(thing));
    }

    /// The earliest, if it is not after `until`.
    pub fn pop_until(&mut self, until: Nanos) -> Option<T> {
        if self.heap.peek()?.0.place().0 > until {
            return None;
        }
        self.heap.pop().map(|earliest| earliest.0)
    }

    /// Changes all that is held back, but not when it happened.
    pub fn change(&mut self, mut change: impl FnMut(&mut T)) {
        let mut things = std::mem::take(&mut self.heap).into_vec();
        things.iter_mut().for_each(|thing| change(&mut thing.0));
        self.heap = things.into();
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.heap.len()
    }
}

/// A time off the CPU that is held back.
#[derive(Clone, Copy, Debug)]
pub struct OrderedOffCpu {
    pub off: OffCpu,
    /// Some lock was known when it came. Before, nobody waited for one, so it is of no use to them.
    pub has_locks: bool,
}

/// Times off the CPU, put in the order of their ends. Each is handed out when none that ended before it can come any more.
#[derive(Debug, Default)]
pub struct OffCpuOrder {
    /// In the order of their ends. Nearly all come in this order already.
    waiting: VecDeque<OrderedOffCpu>,
    complete: Nanos,
}

/// Up to when all times off the CPU have come if one has come that ended at `newest`.
pub fn complete_with(newest: Nanos) -> Nanos {
    Nanos(newest.0.saturating_sub(MAX_DISORDER_NS))
}

impl OffCpuOrder {
    /// Takes one that has come.
    pub fn push(&mut self, off: OffCpu, has_locks: bool) {
        self.complete = self.complete.max(complete_with(off.end));
        let place = place_of(&self.waiting, off.end, |other| other.off.end);
        self.waiting.insert(place, OrderedOffCpu { off, has_locks });
        if self.waiting.len() > MAX_WAITING {
            self.complete = self.complete.max(self.waiting[0].off.end);
        }
    }

    /// The next one, if all before it have come.
    pub fn pop(&mut self) -> Option<OrderedOffCpu> {
        self.waiting.front().filter(|first| first.off.end <= self.complete)?;
        self.waiting.pop_front()
    }

    pub fn fold(&mut self, rows: &FoldedRows) {
        self.waiting.iter_mut().for_each(|ordered| rows.put_off_cpu(&mut ordered.off));
    }

    /// No more times off the CPU come.
    pub fn finish(&mut self) {
        self.complete = Nanos(u64::MAX);
    }

    /// All that ended up to then have come.
    pub fn complete(&self) -> Nanos {
        self.complete
    }
}

/// Turns the heap's order around: the earliest is the greatest.
#[derive(Debug)]
struct Earliest<T>(T);

impl<T: Timed> PartialEq for Earliest<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.place() == other.0.place()
    }
}

impl<T: Timed> Eq for Earliest<T> {}

impl<T: Timed> PartialOrd for Earliest<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Timed> Ord for Earliest<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.place().cmp(&self.0.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Timed for (u64, u8) {
        fn place(&self) -> (Nanos, u8) {
            (Nanos(self.0), self.1)
        }
    }

    #[test]
    fn the_earliest_comes_out_first_and_none_too_early() {
        let mut order = InOrder::default();
        for thing in [(5, 0), (2, 1), (9, 0), (2, 0)] {
            order.push(thing);
        }
        let out: Vec<_> = std::iter::from_fn(|| order.pop_until(Nanos(5))).collect();
        assert_eq!(out, [(2, 0), (2, 1), (5, 0)]);
        assert_eq!(order.waiting(), 1);
    }

    #[test]
    fn what_comes_late_is_waited_for() {
        use crate::event::{ThreadId, ThreadState};
        use crate::stack::StackId;
        let mut order = OffCpuOrder::default();
        let mut ends_after = |end| {
            let (start, end) = (Nanos(0), Nanos(end));
            order.push(OffCpu::new(ThreadId(0), start, end, ThreadState::Runnable, StackId::EMPTY), true);
            std::iter::from_fn(|| order.pop()).map(|ordered| ordered.off.end.0).collect::<Vec<_>>()
        };
        assert!(ends_after(20_000_000).is_empty());
        assert!(ends_after(19_000_000).is_empty());
        assert_eq!(ends_after(21_500_000), [19_000_000]);
        order.finish();
        assert_eq!(std::iter::from_fn(|| order.pop()).count(), 2);
    }
}
