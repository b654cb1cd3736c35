//! The timeline of a page: a row for each thread, and one for each GIL and each lock that was waited for much. Called by
//! [`super::data`].

use anyhow::Result;
use serde::Serialize;

use crate::event::{Nanos, ThreadId};
use crate::export::contended::ContendedTrack;
use crate::export::slices::{bounds, lengths, shown, timeline};
use crate::profile::Profile;
use crate::report::text::units::duration;

use super::data::{PageContended, PageStates};
use super::reduce::{Reduction, Stretch, reduce};
use super::stacks::PageStacks;

/// How many stretches are shown of all threads, how many of all GILs and locks, and how many changes of the number of
/// waiters. A
/// page with that many opens in a second and is some megabytes long.
const MAX_SLICES: usize = 200_000;
const MAX_HOLDS: usize = 100_000;
const MAX_COUNTS: usize = 100_000;

/// All rows. Times are microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Lanes {
    /// How long the recording is, from the first thing seen to the last.
    length: u64,
    /// Indexed by thread; `what` is a state.
    threads: Vec<Lane>,
    contended: Vec<ContendedLane>,
}

/// One row, as columns. Each stretch begins so long after the end of the one before.
#[derive(Debug, Default, Serialize)]
struct Lane {
    gaps: Vec<u64>,
    lengths: Vec<u64>,
    what: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stacks: Vec<u32>,
    /// Of those that are several put together: which it is, how many, and then `what` and for how long by turns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    merged: Vec<Vec<u64>>,
}

/// Who held a GIL or a lock (`what` is a thread), and how many waited from when on.
#[derive(Debug, Serialize)]
struct ContendedLane {
    #[serde(flatten)]
    which: PageContended,
    holds: Lane,
    /// Time since the change before, and how many.
    waiters: Vec<(u64, u32)>,
}

/// The rows of a recording, and what was done to make them short, in words.
pub(super) fn lanes(
    profile: &Profile,
    contended: &[ContendedTrack<'_>],
    states: &mut PageStates,
    stacks: &mut PageStacks<'_>,
) -> Result<(Lanes, Vec<String>)> {
    lanes_of(profile, contended, states, stacks, [MAX_SLICES, MAX_HOLDS, MAX_COUNTS])
}

pub(super) fn lanes_of(
    profile: &Profile,
    contended: &[ContendedTrack<'_>],
    states: &mut PageStates,
    stacks: &mut PageStacks<'_>,
    [most_slices, most_holds, most_counts]: [usize; 3],
) -> Result<(Lanes, Vec<String>)> {
    let spans = timeline(profile)?;
    let (origin, end) = bounds(profile, spans);
    let mut rows: Vec<Vec<Stretch>> = Vec::with_capacity(spans.len());
    for (index, spans) in (0..).zip(spans) {
        let spans = shown(profile, ThreadId(index), spans);
        let stretch = |span: crate::profile::Span| Stretch {
            start: span.start.since(origin),
            end: span.end.since(origin),
            what: states.index(profile, span.state),
            stack: stacks.of_state(span.state, span.stack, span.lost),
            merged: None,
        };
        rows.push(lengths(&spans).map(stretch).collect());
    }
    let (threads, sliced) = reduced(rows, most_slices, true);
    let (holds, held) = reduced(contended.iter().map(|one| held(one, origin)).collect(), most_holds, false);
    let share = most_counts / contended.len().max(1);
    let contended: Vec<ContendedLane> = contended
        .iter()
        .zip(holds)
        .map(|(one, holds)| {
            let waiters = waiters(&one.timeline.waiters, origin, end, share);
            ContendedLane { which: PageContended::of(profile, one), holds, waiters }
        })
        .collect();
    let note = |reduction: Reduction, what: &str| {
        (reduction.merged > 0).then(|| {
            format!(
                "the timeline has {} {what} shorter than {} put together with their neighbours, to keep the page \
                 small; all other numbers are of all of them. A shorter recording, or a trace (.json), has each",
                reduction.merged,
                duration(reduction.shorter_than as f64 / 1e9)
            )
        })
    };
    let notes = [note(sliced, "stretches of threads"), note(held, "holds of GILs and locks")];
    let lanes = Lanes { length: micros(end.since(origin)), threads, contended };
    Ok((lanes, notes.into_iter().flatten().collect()))
}

/// Rows that are at most so long together: those that are short stay as they are.
fn reduced(rows: Vec<Vec<Stretch>>, most: usize, with_stacks: bool) -> (Vec<Lane>, Reduction) {
    let mut by_length: Vec<usize> = rows.iter().map(Vec::len).collect();
    by_length.sort_unstable();
    let (mut left, mut rows_left) = (most, by_length.len());
    let mut share = most;
    for length in by_length {
        share = left / rows_left;
        if length > share {
            break;
        }
        left -= length;
        rows_left -= 1;
    }
    let mut all = Reduction::default();
    let lanes = rows.into_iter().map(|row| {
        let (row, reduction) = reduce(row, share.max(1));
        all.merged += reduction.merged;
        all.shorter_than = all.shorter_than.max(reduction.shorter_than);
        Lane::of(&row, with_stacks)
    });
    (lanes.collect(), all)
}

impl Lane {
    fn of(row: &[Stretch], with_stacks: bool) -> Lane {
        let mut lane = Lane::default();
        let mut last = 0;
        for stretch in row {
            // Both ends are rounded, so that what meets still does.
            // ContendedKind a damaged recording says need not be in order.
            let start = micros(stretch.start).max(last);
            let end = micros(stretch.end).max(start);
            if start == end {
                continue;
            }
            lane.gaps.push(start - last);
            lane.lengths.push(end - start);
            last = end;
            if let Some(merged) = &stretch.merged {
                let parts = merged.ns.iter().flat_map(|&(what, ns)| [u64::from(what), micros(ns)]);
                lane.merged.push([lane.what.len() as u64, merged.count].into_iter().chain(parts).collect());
            }
            lane.what.push(stretch.what);
            if with_stacks {
                lane.stacks.push(stretch.stack);
            }
        }
        lane
    }
}

fn held(one: &ContendedTrack<'_>, origin: Nanos) -> Vec<Stretch> {
    let since = |at: Nanos| at.since(origin);
    let holds = one.holds().map(|hold| Stretch {
        start: since(hold.start),
        end: since(hold.end),
        what: hold.thread.0,
        stack: 0,
        merged: None,
    });
    holds.collect()
}

/// How many waited; if that changed too often, how many at most in each of a fixed number of periods.
fn waiters(points: &[(Nanos, u32)], origin: Nanos, end: Nanos, most: usize) -> Vec<(u64, u32)> {
    let period = match points.len() {
        few if few <= most => 1,
        _ => micros(end.since(origin)) / most.max(1) as u64 + 1,
    };
    let mut kept: Vec<(u64, u32)> = Vec::new();
    let mut before = 0;
    for &(at, count) in points {
        let latest = kept.last().map_or(0, |point| point.0);
        let at = (micros(at.since(origin)) / period * period).max(latest);
        match kept.last_mut() {
            // Of several at one moment the last counts, of several in a period the greatest.
            Some(last) if last.0 == at => last.1 = if period == 1 { count } else { last.1.max(count) },
            // The one before went on into this period.
            _ => kept.push((at, if period == 1 { count } else { count.max(before) })),
        }
        before = count;
    }
    kept.dedup_by_key(|point| point.1);
    let mut last = 0;
    for point in &mut kept {
        (point.0, last) = (point.0 - last, point.0);
    }
    kept
}

fn micros(ns: u64) -> u64 {
    ns.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_rows_leave_room_for_long_ones() {
        let row = |count: u64| {
            let one =
                |at| Stretch { start: at * 2000, end: at * 2000 + 1000, what: at as u32 % 3, stack: 1, merged: None };
            (0..count).map(one).collect::<Vec<_>>()
        };
        let (lanes, reduction) = reduced(vec![row(1000), row(3), row(0)], 103, true);
        assert_eq!((lanes[1].what.len(), lanes[2].what.len()), (3, 0));
        assert!((50..=100).contains(&lanes[0].what.len()), "{}", lanes[0].what.len());
        assert!(lanes[1].merged.is_empty() && reduction.merged > 900);
        let last: u64 = lanes[0].gaps.iter().chain(&lanes[0].lengths).sum();
        assert_eq!(last, 1999);
        let (lanes, reduction) = reduced(vec![row(10), row(3)], 13, false);
        assert_eq!((lanes[0].gaps[..2].to_vec(), lanes[0].lengths[0], lanes[0].stacks.len()), (vec![0, 1], 1, 0));
        assert_eq!(reduction, Reduction::default());
    }

    #[test]
    fn counts_of_waiters_keep_their_peaks() {
        let at = |us: u64| Nanos(us * 1000);
        let points = [(at(10), 1), (at(20), 2), (at(20), 3), (at(30), 0)];
        assert_eq!(waiters(&points, at(0), at(100), 10), [(10, 1), (10, 3), (10, 0)]);
        let many: Vec<(Nanos, u32)> =
            (0..1000).map(|us| (at(us), if us == 555 { 9 } else { us as u32 % 2 })).collect();
        let few = waiters(&many, at(0), at(1000), 10);
        assert!(few.len() <= 10 && few.iter().any(|point| point.1 == 9), "{few:?}");
    }
}
