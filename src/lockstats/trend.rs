//! How stops of all threads change in the course of a recording. Used by [`super::analysis`].

use std::collections::BTreeMap;

use crate::contention::TimeRange;
use crate::event::Nanos;

/// How long intervals are at first, in nanoseconds. They get twice as long whenever there would be too many.
const MIN_INTERVAL_NS: u64 = 10_000_000;
const MAX_INTERVALS: u64 = 16;

/// What happened in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrendInterval {
    /// How often threads were stopped.
    pub count: u64,
    /// For how long that held them up, all together, in nanoseconds.
    pub total_ns: u64,
    /// And any one of them at most.
    pub max_ns: u64,
}

/// Stops by when they ended, in intervals of one length. It takes no more memory the longer it goes on.
#[derive(Clone, Debug)]
pub struct Trend {
    length: u64,
    /// By their number since the clock began.
    intervals: BTreeMap<u64, TrendInterval>,
}

impl Default for Trend {
    fn default() -> Self {
        Trend { length: MIN_INTERVAL_NS, intervals: BTreeMap::new() }
    }
}

impl Trend {
    /// Some stops have ended.
    pub fn stopped(&mut self, at: Nanos, count: u64) {
        self.add(at, TrendInterval { count, ..TrendInterval::default() });
    }

    /// A thread has been held up.
    pub fn held_up(&mut self, at: Nanos, ns: u64) {
        self.add(at, TrendInterval { count: 0, total_ns: ns, max_ns: ns });
    }

    fn add(&mut self, at: Nanos, what: TrendInterval) {
        put(&mut self.intervals, at.0 / self.length, what);
        while let Some(((first, _), (last, _))) =
            self.intervals.first_key_value().zip(self.intervals.last_key_value())
            && last - first >= MAX_INTERVALS
        {
            self.length *= 2;
            for (number, interval) in std::mem::take(&mut self.intervals) {
                put(&mut self.intervals, number / 2, interval);
            }
        }
    }

    /// All intervals from the first stop to the last, in order.
    pub fn intervals(&self) -> Vec<(TimeRange, TrendInterval)> {
        let first = self.intervals.first_key_value().map_or(1, |(&first, _)| first);
        let last = self.intervals.last_key_value().map_or(0, |(&last, _)| last);
        let part = |number| TimeRange { start: Nanos(number * self.length), end: Nanos((number + 1) * self.length) };
        let what = |number| self.intervals.get(&number).copied().unwrap_or_default();
        (first..=last).map(|number| (part(number), what(number))).collect()
    }
}

fn put(intervals: &mut BTreeMap<u64, TrendInterval>, number: u64, what: TrendInterval) {
    let sum = intervals.entry(number).or_default();
    sum.count += what.count;
    sum.total_ns += what.total_ns;
    sum.max_ns = sum.max_ns.max(what.max_ns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_grow_and_nothing_is_lost() {
        let mut trend = Trend::default();
        assert!(trend.intervals().is_empty());
        for stop in 0..1000 {
            let at = Nanos(7_000_000_000 + stop * 15_000_000);
            trend.stopped(at, 1);
            trend.held_up(at, 1000 + stop);
            trend.held_up(at, 10);
        }
        let intervals = trend.intervals();
        assert!((8..=16).contains(&intervals.len()), "{}", intervals.len());
        assert!(intervals.windows(2).all(|pair| pair[0].0.end == pair[1].0.start));
        let sum = |of: fn(&TrendInterval) -> u64| intervals.iter().map(|(_, interval)| of(interval)).sum::<u64>();
        assert_eq!((sum(|of| of.count), sum(|of| of.total_ns)), (1000, 1000 * 1010 + 999 * 500));
        assert_eq!(intervals.last().unwrap().1.max_ns, 1999);
        assert!(intervals.is_sorted_by_key(|(_, interval)| interval.max_ns));
        assert!(intervals[0].0.start <= Nanos(7_000_000_000) && intervals[0].0.end > Nanos(7_000_000_000));
    }
}
