//! Reduces a row of the timeline to what can be distinguished on a screen. Called by [`super::lanes`].
//!
//! ContendedKind is long stays as it is. ContendedKind is short is put together with its short neighbours, with how much of what is in
//! it. So the picture of a whole recording stays the same, and only who zooms in far sees that something was merged.

use rustc_hash::FxHashMap;

use crate::event::Nanos;
use crate::export::coarse::{SliceLengths, groups};

/// A stretch of time, in nanoseconds since the recording began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub start: u64,
    pub end: u64,
    /// ContendedKind it shows: two stretches that differ in it look different.
    pub what: u32,
    pub stack: u32,
    /// If it is several, put together: how many, and for how long what.
    pub merged: Option<MergedStretches>,
}

impl Stretch {
    /// How long it is. ContendedKind a damaged recording says need not be in order.
    fn ns(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Several stretches as one. ContendedKind the one says is what most of them say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MergedStretches {
    pub count: u64,
    /// By `what`; the sum is less than the stretch if there were gaps in it.
    pub ns: Vec<(u32, u64)>,
}

/// ContendedKind was done to a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reduction {
    /// Stretches that were put together; those shorter than this, in nanoseconds.
    pub merged: u64,
    pub shorter_than: u64,
}

/// A row of at most `most` stretches, and perhaps one. They are in the order of time and do not overlap.
pub(super) fn reduce(row: Vec<Stretch>, most: usize) -> (Vec<Stretch>, Reduction) {
    let (mut lengths, mut last) = (SliceLengths::default(), row.first().map_or(0, |first| first.start));
    for stretch in &row {
        lengths.add(stretch.start.saturating_sub(last), stretch.ns());
        last = stretch.end;
    }
    let shorter_than = lengths.grain(most as u64);
    if shorter_than == 0 {
        return (row, Reduction::default());
    }
    let spans = row.iter().map(|stretch| (Nanos(stretch.start), Nanos(stretch.end)));
    let reduced: Vec<Stretch> = groups(spans, shorter_than).into_iter().map(|group| one(&row[group])).collect();
    let merged = reduced.iter().filter_map(|stretch| Some(stretch.merged.as_ref()?.count)).sum();
    (reduced, Reduction { merged, shorter_than })
}

fn one(short: &[Stretch]) -> Stretch {
    let [first, .., last] = short else { return short[0].clone() };
    let mut by_what: FxHashMap<u32, u64> = FxHashMap::default();
    for stretch in short {
        *by_what.entry(stretch.what).or_default() += stretch.ns();
    }
    let mut ns: Vec<(u32, u64)> = by_what.into_iter().collect();
    ns.sort_unstable_by_key(|&(what, ns)| (std::cmp::Reverse(ns), what));
    let most = ns[0].0;
    let longest = short.iter().filter(|stretch| stretch.what == most).max_by_key(|stretch| stretch.ns());
    let stack = longest.map_or(0, |stretch| stretch.stack);
    let merged = Some(MergedStretches { count: short.len() as u64, ns });
    Stretch { start: first.start, end: last.end, what: most, stack, merged }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretch(start: u64, end: u64, what: u32) -> Stretch {
        Stretch { start, end, what, stack: what * 10, merged: None }
    }

    fn time_by_what(row: &[Stretch]) -> FxHashMap<u32, u64> {
        let mut sums = FxHashMap::default();
        for stretch in row {
            match &stretch.merged {
                None => *sums.entry(stretch.what).or_default() += stretch.end - stretch.start,
                Some(merged) => merged.ns.iter().for_each(|&(what, ns)| *sums.entry(what).or_default() += ns),
            }
        }
        sums
    }

    #[test]
    fn what_is_few_stays_and_what_is_long_stays() {
        let row = vec![stretch(0, 10, 1), stretch(10, 1000, 2), stretch(1000, 1001, 1), stretch(1001, 1003, 3)];
        assert_eq!(reduce(row.clone(), 4), (row.clone(), Reduction::default()));
        let (reduced, reduction) = reduce(row, 3);
        assert_eq!(reduced[..2], [stretch(0, 10, 1), stretch(10, 1000, 2)]);
        let merged = Some(MergedStretches { count: 2, ns: vec![(3, 2), (1, 1)] });
        assert_eq!(reduced[2], Stretch { start: 1000, end: 1003, what: 3, stack: 30, merged });
        assert_eq!(reduction.merged, 2);
    }

    proptest! {
        #[test]
        fn no_time_is_lost_and_the_row_is_short(
            parts in prop::collection::vec((0u64..50, 1u64..2000, 0u32..4), 1..400),
            most in 1usize..50,
        ) {
            let mut at = 0;
            let row: Vec<Stretch> = parts.iter().map(|&(gap, length, what)| {
                let start = at + gap;
                at = start + length;
                stretch(start, at, what)
            }).collect();
            let (reduced, reduction) = reduce(row.clone(), most);
            prop_assert!(reduced.len() <= most + 1, "{} for {most}", reduced.len());
            prop_assert_eq!(time_by_what(&row), time_by_what(&reduced));
            prop_assert!(reduced.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let kept = reduced.iter().filter(|stretch| stretch.merged.is_none()).count() as u64;
            prop_assert_eq!(kept + reduction.merged, row.len() as u64);
        }
    }
}
