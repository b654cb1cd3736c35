//! Puts what comes roughly in the order of time into that order. Used for what the kernel reports, and for
//! what follows from it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::event::Nanos;

/// What the kernel reports is not more out of order than this, in nanoseconds.
pub const DISORDER_NS: u64 = 2_000_000;

/// Something that has a place in time.
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
    /// Takes one in.
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

    /// How many are held back.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.heap.len()
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
}
