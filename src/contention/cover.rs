//! For how long at least one thread waited: the length of the union of all waits. One for each GIL and each lock.

use std::collections::VecDeque;

use super::TimeRange;
use super::in_order::place_of;
use crate::event::Nanos;

/// How many separate stretches are remembered; a wait that began before all of them counts from the oldest on.
const MAX_REMEMBERED: usize = 1 << 14;

/// A union of intervals that come roughly in the order of their ends.
#[derive(Debug, Default)]
pub struct Cover {
    /// Disjoint, in the order of time.
    stretches: VecDeque<(Nanos, Nanos)>,
    /// Everything before is counted for good.
    forgotten: Nanos,
    total: u64,
}

impl Cover {
    /// Adds `[start, end)`.
    pub fn add(&mut self, start: Nanos, end: Nanos) {
        let (mut start, mut end) = (start.max(self.forgotten), end);
        if start >= end {
            return;
        }
        let at = place_of(&self.stretches, end, |&(from, _)| from);
        let mut first = at;
        while first > 0 && self.stretches[first - 1].1 >= start {
            first -= 1;
            let (from, to) = self.stretches[first];
            self.total -= to.since(from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.total += end.since(start);
        if first < at {
            self.stretches[first] = (start, end);
            self.stretches.drain(first + 1..at);
        } else {
            self.stretches.insert(at, (start, end));
        }
        if self.stretches.len() > MAX_REMEMBERED {
            self.forgotten = self.stretches.pop_front().map_or(self.forgotten, |(_, end)| end);
        }
    }

    /// How much of a range is in the union, in nanoseconds.
    pub fn within(&self, range: TimeRange) -> u64 {
        let first = self.stretches.partition_point(|&(_, end)| end <= range.start);
        let inside = self.stretches.range(first..).take_while(|(start, _)| *start < range.end);
        inside.map(|&(start, end)| end.min(range.end).since(start.max(range.start))).sum()
    }

    /// In nanoseconds.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_length_of_the_union(
            intervals in prop::collection::vec((0u64..200, 0u64..20), 0..60),
            (from, length) in (0u64..200, 0u64..50),
        ) {
            let mut cover = Cover::default();
            let mut covered = [false; 256];
            for (start, length) in intervals {
                cover.add(Nanos(start), Nanos(start + length));
                covered[start as usize..(start + length) as usize].fill(true);
            }
            let count = |covered: &[bool]| covered.iter().filter(|&&covered| covered).count() as u64;
            prop_assert_eq!(cover.total(), count(&covered));
            let part = TimeRange { start: Nanos(from), end: Nanos(from + length) };
            prop_assert_eq!(cover.within(part), count(&covered[from as usize..(from + length) as usize]));
        }
    }

    #[test]
    fn what_is_forgotten_is_not_counted_twice() {
        let mut cover = Cover::default();
        let separate = MAX_REMEMBERED as u64 + 10;
        (0..separate).for_each(|i| cover.add(Nanos(i * 10), Nanos(i * 10 + 5)));
        assert_eq!(cover.total(), separate * 5);
        assert_eq!(cover.stretches.len(), MAX_REMEMBERED);
        cover.add(Nanos(0), Nanos(separate * 10));
        assert_eq!(cover.total(), separate * 10 - 50 + 5, "all but the ten gaps before the forgotten ones' end");
    }
}
