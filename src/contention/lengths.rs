//! How long waits were: enough to say any percentile of them, and those of the waits that came since an earlier look. In
//! the summaries of GILs and locks.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Waits by their length, to 1 %.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitLengths(Vec<(u64, u64)>);

impl WaitLengths {
    /// What a histogram has counted whose lengths are multiples of `unit` nanoseconds.
    pub(super) fn of(histogram: &Histogram<u32>, unit: u64) -> WaitLengths {
        let recorded = histogram.iter_recorded();
        WaitLengths(
            recorded.map(|step| (step.value_iterated_to() * unit, step.count_since_last_iteration())).collect(),
        )
    }

    /// WaitLengths in nanoseconds, ascending, each with the number of waits that had it.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    pub fn count(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// Those that came after `earlier` was taken.
    pub fn since(&self, earlier: &WaitLengths) -> WaitLengths {
        let mut before = earlier.iter().peekable();
        let added = self.iter().filter_map(|(length, count)| {
            while before.next_if(|(other, _)| *other < length).is_some() {}
            let known = before.next_if(|(other, _)| *other == length).map_or(0, |(_, count)| count);
            (count > known).then(|| (length, count - known))
        });
        WaitLengths(added.collect())
    }

    /// The lengths of both together.
    pub fn and(&self, others: &WaitLengths) -> WaitLengths {
        let mut counts: BTreeMap<u64, u64> = self.iter().collect();
        others.iter().for_each(|(length, count)| *counts.entry(length).or_default() += count);
        WaitLengths(counts.into_iter().collect())
    }

    /// The length that this part of the waits do not exceed, in nanoseconds; 0 if there are none.
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = self.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(0, |(length, _)| length)
    }

    /// How many waits were not longer than a length in nanoseconds, but longer than the one before: a histogram with ends
    /// at 1, 2 or 5 times a power of ten, from the shortest wait to the longest.
    pub fn bars(&self) -> Vec<(u64, u64)> {
        let ends = || (0..19).flat_map(|power| [1, 2, 5].map(|times: u64| times.saturating_mul(10_u64.pow(power))));
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for (length, count) in self.iter() {
            // WaitLengths are rounded up, by 1 % at most.
            let length = length - length / 100;
            *counts.entry(ends().find(|&end| end >= length).unwrap_or(u64::MAX)).or_default() += count;
        }
        let (Some(&first), Some(&last)) = (counts.keys().next(), counts.keys().next_back()) else {
            return Vec::new();
        };
        let within = ends().filter(|end| (first..=last).contains(end));
        within.map(|end| (end, counts.get(&end).copied().unwrap_or(0))).collect()
    }

    /// The longest, in nanoseconds; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.0.last().map_or(0, |(length, _)| *length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(values: &[u64]) -> WaitLengths {
        let mut histogram = Histogram::new(2).unwrap();
        values.iter().for_each(|&value| histogram.record(value).unwrap());
        WaitLengths::of(&histogram, 1)
    }

    #[test]
    fn percentiles_are_those_of_the_waits() {
        let values: Vec<u64> = (1..=1000).map(|value| value * 1000).collect();
        let all = lengths(&values);
        assert_eq!(all.count(), 1000);
        for (part, exact) in [(0.5, 500_000), (0.99, 990_000), (1.0, 1_000_000)] {
            assert!(all.quantile(part).abs_diff(exact) <= exact / 100, "{part}: {}", all.quantile(part));
        }
        assert_eq!(WaitLengths::default().quantile(0.5), 0);
    }

    #[test]
    fn bars_end_at_round_numbers() {
        let bars = lengths(&[900, 1000, 1500, 70_000, 80_000, 100_000]).bars();
        assert_eq!(bars, [(1000, 2), (2000, 1), (5000, 0), (10_000, 0), (20_000, 0), (50_000, 0), (100_000, 3)]);
        assert_eq!(WaitLengths::default().bars(), []);
    }

    proptest::proptest! {
        #[test]
        fn what_came_since_is_what_came_since(
            first in proptest::collection::vec(0..1_000_000_u64, 0..50),
            second in proptest::collection::vec(0..1_000_000_u64, 0..50),
        ) {
            let both = [first.clone(), second.clone()].concat();
            assert_eq!(lengths(&both).since(&lengths(&first)), lengths(&second));
        }
    }
}
