//! What one thread did from its first moment to its last, from exact times off the CPU and samples in between. Called
//! by the formats that show time, for recordings in kernel mode.
//!
//! There is a sample for some of the stretches that a thread is on the CPU, several for a long one, none for most
//! short ones. A trace has to show all of them: what no sample saw is inferred from what came before it and after.

use crate::event::{Nanos, ThreadState};
use crate::profile::Span;

/// The spans of a thread, without gaps and overlaps, from `start` (or the first span) to `end` (or the last).
///
/// `spans` can be a little out of order. Those off the CPU stay as they are; a sample extends to the next one, and to
/// both ends of its stretch on the CPU. A thread of which nothing is known has no spans. `has_gil`: its process has one in
/// use.
pub(super) fn gapless(spans: &[Span], start: Nanos, end: Nanos, has_gil: bool) -> Vec<Span> {
    let (mut off_cpu, mut samples): (Vec<Span>, Vec<Span>) = spans.iter().partition(|span| span.exact);
    off_cpu.retain(|span| span.start < span.end);
    off_cpu.sort_by_key(|span| span.start);
    samples.sort_by_key(|span| span.start);
    let Some(first) = spans.iter().map(|span| span.start).min() else { return Vec::new() };
    let last = spans.iter().map(|span| span.end).max().unwrap_or(first);
    let mut filler = Filler { samples: &samples, has_gil, out: Vec::with_capacity(spans.len() * 2) };
    let mut at = start.min(first);
    for off in &off_cpu {
        if off.end <= at {
            continue;
        }
        filler.on_cpu(at, off.start, Some(off));
        filler.out.push(Span { start: off.start.max(at), ..*off });
        at = off.end;
    }
    filler.on_cpu(at, end.max(last), None);
    filler.out
}

struct Filler<'s> {
    /// Those that can concern what comes next.
    samples: &'s [Span],
    has_gil: bool,
    out: Vec<Span>,
}

impl Filler<'_> {
    /// Adds the stretch on the CPU up to when `next` begins, or to the end of everything.
    fn on_cpu(&mut self, from: Nanos, to: Nanos, next: Option<&Span>) {
        if from >= to {
            return;
        }
        let past = self.samples.iter().take_while(|sample| sample.end < from).count();
        self.samples = &self.samples[past..];
        let within = self.samples.partition_point(|sample| sample.start < to || next.is_none());
        let mut seen = self.samples[..within].iter().filter(|sample| sample.end >= from).peekable();
        if seen.peek().is_none() {
            let unseen = unseen(from, to, self.out.last(), next, self.has_gil);
            self.out.extend(unseen);
        }
        let mut start = from;
        while let Some(sample) = seen.next() {
            let end = seen.peek().map_or(to, |next| next.start).max(start);
            if start < end {
                self.out.push(Span { start, end, ..*sample });
            }
            start = end;
        }
    }
}

/// A stretch on the CPU without a sample, between two off the CPU: who had the GIL before or after had it meanwhile,
/// and so has who waited for it before, and a thread that has come to another place in its program.
fn unseen(start: Nanos, end: Nanos, before: Option<&Span>, after: Option<&Span>, has_gil: bool) -> Option<Span> {
    let got_it = before.is_some_and(|span| span.state == ThreadState::GilWait || span.state.holds_gil());
    let has_it = after.is_some_and(|span| span.state.holds_gil());
    let went_on = before.zip(after).is_some_and(|(before, after)| before.stack != after.stack);
    let state = match has_gil {
        _ if got_it || has_it => ThreadState::GilHeld,
        true if went_on => ThreadState::GilHeld,
        true => ThreadState::Native,
        false => ThreadState::Running,
    };
    // It left the CPU where it was then; where it came back says less of what it did.
    let near = [after, before];
    let near = near.iter().flatten().find(|span| !span.lost).or(near.iter().flatten().next())?;
    Some(Span { start, end, state, stack: near.stack, lost: near.lost, exact: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Syscall;
    use crate::stack::{Frame, FrameKind, Interner, StackId};
    use ThreadState::{Blocked, GilHeld, GilHeldOffCpu, GilWait, Native, Runnable, Running};

    const READ: Syscall = Syscall(0);

    fn stacks() -> [StackId; 4] {
        let mut table = Interner::default();
        let sym = table.string("f");
        [1, 2, 3, 4].map(|line| {
            let frame = table.frame(Frame {
                kind: FrameKind::Python,
                function: sym,
                name: sym,
                file: sym,
                line,
                first_line: 1,
            });
            table.push(StackId::EMPTY, frame)
        })
    }

    fn span(start: u64, end: u64, state: ThreadState, stack: StackId, exact: bool) -> Span {
        Span { start: Nanos(start), end: Nanos(end), state, stack, lost: false, exact }
    }

    fn shown(spans: &[Span], start: u64, end: u64) -> Vec<(u64, u64, ThreadState, StackId)> {
        let shown = gapless(spans, Nanos(start), Nanos(end), false);
        for pair in shown.windows(2) {
            assert_eq!(pair[0].end, pair[1].start, "a gap or an overlap: {shown:?}");
        }
        assert!(shown.iter().all(|span| span.start < span.end), "{shown:?}");
        shown.iter().map(|span| (span.start.0, span.end.0, span.state, span.stack)).collect()
    }

    #[test]
    fn samples_fill_the_stretch_they_are_in() {
        let [a, b, c, d] = stacks();
        let spans = [
            span(10, 20, Blocked(READ), a, true),
            span(25, 25, GilHeld, b, false),
            span(30, 30, Native, c, false),
            span(40, 50, GilWait, d, true),
            span(60, 70, GilHeld, c, false),
        ];
        assert_eq!(
            shown(&spans, 10, 90),
            [
                (10, 20, Blocked(READ), a),
                (20, 30, GilHeld, b),
                (30, 40, Native, c),
                (40, 50, GilWait, d),
                (50, 90, GilHeld, c),
            ]
        );
    }

    #[test]
    fn what_nobody_saw_is_told_by_its_neighbours() {
        let [a, b, c, d] = stacks();
        let spans = [
            span(10, 20, Blocked(READ), a, true),
            span(30, 40, GilWait, b, true),
            span(50, 60, Blocked(READ), c, true),
            span(70, 80, GilHeldOffCpu(READ), d, true),
            span(90, 95, Runnable, a, true),
        ];
        assert_eq!(
            shown(&spans, 5, 99),
            [
                (5, 10, Running, a),
                (10, 20, Blocked(READ), a),
                (20, 30, Running, b),
                (30, 40, GilWait, b),
                (40, 50, GilHeld, c),
                (50, 60, Blocked(READ), c),
                (60, 70, GilHeld, d),
                (70, 80, GilHeldOffCpu(READ), d),
                (80, 90, GilHeld, a),
                (90, 95, Runnable, a),
                (95, 99, Running, a),
            ]
        );
        let mut lost = spans;
        lost[1].lost = true;
        assert_eq!(shown(&lost, 10, 95)[1], (20, 30, Running, a), "a stack that was read is better than none");
    }

    #[test]
    fn a_thread_that_gets_on_has_had_the_gil_if_there_is_one() {
        let [a, b, ..] = stacks();
        let blocked = |start, stack| span(start, start + 10, Blocked(READ), stack, true);
        let between = |second, has_gil| {
            let spans = [blocked(0, a), blocked(20, second)];
            gapless(&spans, Nanos(0), Nanos(30), has_gil)[1].state
        };
        assert_eq!(between(b, true), GilHeld);
        assert_eq!(between(a, true), Native);
        assert_eq!(between(b, false), Running);
    }

    #[test]
    fn disorder_is_put_right_and_overlaps_are_cut() {
        let [a, b, c, d] = stacks();
        // The sample was merged with one that came before the span off the CPU was known.
        let spans = [
            span(5, 62, GilHeld, a, false),
            span(40, 50, Blocked(READ), b, true),
            span(10, 20, GilWait, c, true),
            span(15, 30, Blocked(READ), d, true),
            span(45, 45, Blocked(READ), b, true),
        ];
        assert_eq!(
            shown(&spans, 0, 60),
            [
                (0, 10, GilHeld, a),
                (10, 20, GilWait, c),
                (20, 30, Blocked(READ), d),
                (30, 40, GilHeld, a),
                (40, 50, Blocked(READ), b),
                (50, 62, GilHeld, a),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_there_are_no_gaps_and_no_overlaps(
            spans in proptest::collection::vec((0..60_u64, 0..20_u64, 0..4_usize, proptest::bool::ANY), 1..20),
            bounds in (0..60_u64, 0..80_u64),
        ) {
            let stacks = stacks();
            let states = [GilHeld, GilWait, Blocked(READ), Running];
            let spans: Vec<Span> = spans
                .iter()
                .map(|&(start, length, which, exact)| span(start, start + length, states[which], stacks[which], exact))
                .collect();
            let all = shown(&spans, bounds.0, bounds.1);
            let known = spans.iter().filter(|span| !span.exact || span.start < span.end);
            let from = spans.iter().map(|span| span.start.0).chain([bounds.0]).min().unwrap();
            let to = spans.iter().map(|span| span.end.0).chain([bounds.1]).max().unwrap();
            if from < to && known.count() > 0 {
                assert_eq!((all[0].0, all[all.len() - 1].1), (from, to));
            }
            // What was measured is not changed by what was sampled.
            let mut measured: Vec<u64> = vec![0; 100];
            for span in spans.iter().filter(|span| span.exact) {
                (span.start.0..span.end.0).for_each(|at| measured[at as usize] += 1);
            }
            for &(start, end, state, _) in &all {
                for at in start..end {
                    if measured[at as usize] == 1 {
                        let span = spans.iter().find(|s| s.exact && (s.start.0..s.end.0).contains(&at)).unwrap();
                        assert_eq!(span.state, state, "at {at} of {all:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_kind_of_evidence_is_enough_and_none_is_nothing() {
        let [a, b, ..] = stacks();
        assert_eq!(shown(&[span(10, 20, GilWait, a, true)], 10, 20), [(10, 20, GilWait, a)]);
        let samples = [span(10, 10, Running, a, false), span(10, 10, Native, b, false)];
        assert_eq!(shown(&samples, 8, 15), [(8, 10, Running, a), (10, 15, Native, b)]);
        assert_eq!(shown(&samples[..1], 10, 10), []);
        // A sample at the very end shows what came before it.
        let last = [span(0, 10, Blocked(READ), a, true), span(20, 20, Native, b, false)];
        assert_eq!(shown(&last, 0, 20)[1..], [(10, 20, Native, b)]);
        assert_eq!(shown(&[], 1, 9), []);
    }
}
