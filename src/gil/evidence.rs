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
