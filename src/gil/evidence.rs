//! Where a holder was while it held the GIL. Used by [`super::exact`].

use std::collections::VecDeque;

use super::facts::{Fact, What};
use super::holders::{Part, Span};
use crate::event::{Nanos, ThreadId};
use crate::intern::StackId;

/// So many samples, and as many times off the CPU, are remembered.
const REMEMBERED: usize = 1 << 14;

/// Stacks of holders, in the order of time.
#[derive(Debug, Default)]
pub struct Evidence {
    samples: VecDeque<Sample>,
    /// In the order of `end`.
    off_cpu: VecDeque<OffCpu>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Nanos,
    thread: ThreadId,
    stack: StackId,
}

#[derive(Clone, Copy, Debug)]
struct OffCpu {
    start: Nanos,
    end: Nanos,
    thread: ThreadId,
    stack: StackId,
}

impl Evidence {
    /// Remembers a fact if it tells where a holder was. They come in the order of time.
    pub fn learn(&mut self, fact: &Fact) {
        let at = fact.at;
        match fact.what {
            What::Sampled { thread, stack, holds: true } => {
                insert(&mut self.samples, Sample { at, thread, stack }, |sample| sample.at);
            }
            What::HeldOffCpu { thread, since, stack } => {
                insert(&mut self.off_cpu, OffCpu { start: since, end: at, thread, stack }, |off| off.end);
            }
            _ => (),
        }
    }

    /// Puts down a part of the time for which `thread` held the GIL (`span`, which ended at `span_end`) to its
    /// stacks:
    ///
    /// - while it was off the CPU, the stack it had then;
    /// - else that of the sample taken of it in this span that is nearest in time;
    /// - without such samples, where it let go of the GIL in the end; or where it had waited for it; or no stack.
    pub fn split(
        &self,
        thread: ThreadId,
        span: &Span,
        span_end: Nanos,
        part: Part,
        mut put: impl FnMut(StackId, u64),
    ) {
        let mut from = part.start;
        let first = self.off_cpu.partition_point(|off| off.end <= part.start);
        for off in self.off_cpu.range(first..) {
            if off.start >= span_end || (off.thread == thread && off.start >= part.end) {
                break;
            }
            if off.thread == thread && off.end > from {
                let start = off.start.max(from);
                self.split_on_cpu(thread, span, span_end, Part { start: from, end: start }, &mut put);
                from = off.end.min(part.end);
                put(off.stack, from.since(start));
            }
        }
        self.split_on_cpu(thread, span, span_end, Part { start: from, end: part.end }, &mut put);
    }

    fn split_on_cpu(
        &self,
        thread: ThreadId,
        span: &Span,
        span_end: Nanos,
        part: Part,
        put: &mut impl FnMut(StackId, u64),
    ) {
        if part.start >= part.end {
            return;
        }
        let right_of = self.samples.partition_point(|sample| sample.at <= part.start);
        let left = self
            .samples
            .range(..right_of)
            .rev()
            .take_while(|sample| sample.at >= span.start)
            .find(|sample| sample.thread == thread);
        let mut from = part.start;
        let mut nearest = left;
        let inside = self.samples.range(right_of..).take_while(|sample| sample.at < span_end);
        for sample in inside.filter(|sample| sample.thread == thread) {
            if let Some(left) = nearest {
                let middle = Nanos(left.at.0 + sample.at.since(left.at) / 2).clamp(from, part.end);
                put(left.stack, middle.since(from));
                from = middle;
            }
            nearest = Some(sample);
            if sample.at >= part.end {
                break;
            }
        }
        let otherwise = || span.released.or(span.acquired).unwrap_or(StackId::EMPTY);
        put(nearest.map_or_else(otherwise, |sample| sample.stack), part.end.since(from));
    }
}

/// Inserts where it belongs, which is nearly always the end.
fn insert<T>(things: &mut VecDeque<T>, thing: T, at: impl Fn(&T) -> Nanos) {
    let later = things.iter().rev().take_while(|other| at(other) > at(&thing)).count();
    things.insert(things.len() - later, thing);
    if things.len() > REMEMBERED {
        things.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gil::facts::Holder;
    use crate::gil::fixture::stack;

    const A: ThreadId = ThreadId(1);
    const B: ThreadId = ThreadId(2);

    /// What `[from, to)` of a hold of A over `[100, 200)` is put down to: numbers of stacks and times.
    fn split(facts: &[(u64, What)], span: Span, from: u64, to: u64) -> Vec<(u32, u64)> {
        let mut evidence = Evidence::default();
        facts.iter().for_each(|&(at, what)| evidence.learn(&Fact { at: Nanos(at), what }));
        let mut parts = Vec::new();
        let number = |id| (0..9).find(|&number| stack(number) == id).unwrap();
        let part = Part { start: Nanos(from), end: Nanos(to) };
        evidence.split(A, &span, Nanos(200), part, |stack, time| parts.push((number(stack), time)));
        parts.retain(|part| part.1 > 0);
        assert_eq!(parts.iter().map(|part| part.1).sum::<u64>(), to - from);
        parts
    }

    fn hold_with(acquired: Option<StackId>, released: Option<StackId>) -> Span {
        let mut span = Span::new(Nanos(100), Holder::Held(A));
        (span.acquired, span.released) = (acquired, released);
        span
    }

    fn hold() -> Span {
        hold_with(Some(stack(7)), Some(stack(8)))
    }

    fn sample(thread: ThreadId, number: u32) -> What {
        What::Sampled { thread, stack: stack(number), holds: true }
    }

    fn off(thread: ThreadId, since: u64, number: u32) -> What {
        What::HeldOffCpu { thread, since: Nanos(since), stack: stack(number) }
    }

    #[test]
    fn without_evidence_it_is_where_it_was_released_or_acquired() {
        assert_eq!(split(&[], hold(), 110, 190), [(8, 80)]);
        assert_eq!(split(&[], hold_with(Some(stack(7)), None), 110, 190), [(7, 80)]);
        assert_eq!(split(&[], hold_with(None, None), 110, 190), [(0, 80)]);
        let others = [(50, sample(A, 1)), (120, sample(B, 1)), (150, off(B, 130, 1)), (200, sample(A, 1))];
        assert_eq!(split(&others, hold(), 110, 190), [(8, 80)], "another thread's, or of another hold");
    }

    #[test]
    fn samples_share_the_time_by_nearness() {
        let samples = [(120, sample(A, 1)), (130, sample(B, 5)), (140, sample(A, 2)), (180, sample(A, 3))];
        assert_eq!(split(&samples, hold(), 100, 200), [(1, 30), (2, 30), (3, 40)]);
        assert_eq!(split(&samples, hold(), 125, 128), [(1, 3)]);
        assert_eq!(split(&samples, hold(), 135, 150), [(2, 15)]);
        assert_eq!(split(&samples, hold(), 150, 170), [(2, 10), (3, 10)]);
        assert_eq!(split(&samples, hold(), 190, 200), [(3, 10)]);
    }

    #[test]
    fn off_the_cpu_its_stack_is_known_exactly() {
        let facts = [(120, off(A, 110, 1)), (125, sample(A, 4)), (160, off(A, 150, 2))];
        assert_eq!(split(&facts, hold(), 100, 200), [(4, 10), (1, 10), (4, 30), (2, 10), (4, 40)]);
        assert_eq!(split(&facts, hold(), 115, 155), [(1, 5), (4, 30), (2, 5)]);
        assert_eq!(split(&facts, hold(), 152, 158), [(2, 6)]);
        assert_eq!(split(&facts[..1], hold(), 105, 130), [(8, 5), (1, 10), (8, 10)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut evidence = Evidence::default();
        for at in 0..2 * REMEMBERED as u64 {
            evidence.learn(&Fact { at: Nanos(at), what: sample(A, 0) });
            evidence.learn(&Fact { at: Nanos(at), what: off(A, at, 0) });
        }
        assert_eq!((evidence.samples.len(), evidence.off_cpu.len()), (REMEMBERED, REMEMBERED));
    }
}
