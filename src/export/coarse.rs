//! Keeps traces small enough to be opened: where there are too many slices, neighbours that are short become one.
//! Called by [`super::tracks`] and by the timeline of [`super::html`].
//!
//! A viewer needs a few hundred bytes for each slice, and a busy program switches threads 100,000 times a second.
//! What is merged still has its place and its length, and says what it stands for.

use std::fmt;
use std::ops::Range;

use crate::event::Nanos;
use crate::report::text::units::duration;

/// What was merged in an output, to be reported with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedSlices {
    /// Slices shorter than this, in nanoseconds, were merged with their neighbours. 0: none were.
    pub shorter_than_ns: u64,
    pub slices: u64,
    /// How many there are in their place.
    pub into: u64,
    /// How many hand-offs have no arrow, because it would have led from or to such a slice.
    pub arrows: u64,
}

impl fmt::Display for MergedSlices {
    /// What is to be said of it; nothing if nothing was merged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MergedSlices { shorter_than_ns, slices, into, arrows } = *self;
        if slices == 0 {
            return Ok(());
        }
        let shorter = duration(shorter_than_ns as f64 / 1e9);
        write!(f, "to keep the file small, {slices} slices shorter than {shorter} were merged into {into}")?;
        if arrows > 0 { write!(f, ", and {arrows} arrows between them left out") } else { Ok(()) }
    }
}

/// Numbers and total lengths of slices, by the power of two that their length begins with.
pub(super) struct SliceLengths {
    counts: [u64; 64],
    sums: [u64; 64],
    gaps: u64,
}

impl Default for SliceLengths {
    fn default() -> Self {
        SliceLengths { counts: [0; 64], sums: [0; 64], gaps: 0 }
    }
}

impl SliceLengths {
    /// Adds a slice, and the time since the one before it.
    pub fn add(&mut self, gap_ns: u64, ns: u64) {
        let class = ns.max(1).ilog2() as usize;
        self.counts[class] += 1;
        self.sums[class] = self.sums[class].saturating_add(ns);
        self.gaps = self.gaps.saturating_add(gap_ns);
    }

    /// Slices shorter than what this returns, in nanoseconds, are to be merged so that no more than about `most` are
    /// left. 0 if they need not be.
    pub fn grain(&self, most: u64) -> u64 {
        if self.counts.iter().sum::<u64>() <= most {
            return 0;
        }
        let fits = |class: &usize| {
            // Those that are long stay, and short ones before each of them; the rest become as long as the grain, or
            // have a gap of that length after them.
            let long: u64 = self.counts[*class..].iter().sum();
            let short: u128 = self.sums[..*class].iter().chain([&self.gaps]).map(|&ns| u128::from(ns)).sum();
            u128::from(2 * long) + (short >> class) <= u128::from(most)
        };
        1 << (0..63).find(fits).unwrap_or(63)
    }
}

/// What is shown as one: each item alone, or several short ones in a row, until they are as long as `grain` together.
/// `items` are beginnings and ends in the order of time.
pub(super) fn groups(items: impl Iterator<Item = (Nanos, Nanos)>, grain: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    // Beginning and end of the last group, if more can be added to it.
    let mut open: Option<(Nanos, Nanos)> = None;
    for (index, (start, end)) in items.enumerate() {
        let is_short = end.since(start) < grain;
        match (open, groups.last_mut()) {
            (Some((first, last)), Some(group)) if is_short && start.since(last) < grain => {
                group.end = index + 1;
                open = (end.since(first) < grain).then_some((first, end));
            }
            _ => {
                groups.push(index..index + 1);
                open = is_short.then_some((start, end));
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(items: &[(u64, u64)], grain: u64) -> Vec<Range<usize>> {
        groups(items.iter().map(|&(start, end)| (Nanos(start), Nanos(end))), grain)
    }

    #[test]
    fn short_neighbours_are_one() {
        let items = [(0, 1), (1, 2), (2, 30), (30, 31), (31, 39), (39, 43), (43, 44), (60, 61), (61, 62)];
        assert_eq!(grouped(&items, 10), [0..2, 2..3, 3..6, 6..7, 7..9]);
        assert_eq!(grouped(&items, 0).len(), items.len());
        assert!(grouped(&[], 10).is_empty());
    }

    #[test]
    fn what_was_merged_is_said_in_numbers() {
        assert_eq!(MergedSlices::default().to_string(), "");
        let merged = MergedSlices { shorter_than_ns: 32_768, slices: 1000, into: 10, arrows: 3 };
        assert_eq!(
            merged.to_string(),
            "to keep the file small, 1000 slices shorter than 32.8 us were merged into 10, and 3 arrows between them \
             left out"
        );
    }

    proptest::proptest! {
        #[test]
        fn there_are_no_more_than_asked_for(
            items in proptest::collection::vec((0..5_u64, 1..3_000_u64), 1..300),
            most in 1..100_u64,
        ) {
            let (mut at, mut lengths, mut slices) = (0, SliceLengths::default(), Vec::new());
            for (gap, length) in items {
                slices.push((at + gap, at + gap + length));
                lengths.add(gap, length);
                at += gap + length;
            }
            let grain = lengths.grain(most);
            let groups = grouped(&slices, grain);
            // Nothing is lost, nothing is twice.
            proptest::prop_assert_eq!(groups.first().unwrap().start, 0);
            proptest::prop_assert_eq!(groups.last().unwrap().end, slices.len());
            proptest::prop_assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start));
            for group in groups.iter().filter(|group| group.len() > 1) {
                proptest::prop_assert!(slices[group.clone()].iter().all(|slice| slice.1 - slice.0 < grain));
            }
            // And one that is left over at the end.
            proptest::prop_assert!(groups.len() as u64 <= most + 1, "{} of {}", groups.len(), slices.len());
        }
    }
}
