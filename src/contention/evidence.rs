//! Where threads were while they held what others waited for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::TimeRange;
use super::folding::FoldedRows;
use super::in_order::place_of;
use super::unsampled::{HoldPlace, HoldSample};
use crate::event::{Nanos, ThreadId, ThreadState};
use crate::stack::StackId;

/// How many samples, and how many times off the CPU, are remembered.
const MAX_REMEMBERED: usize = 1 << 14;

/// How many samples and times off the CPU are looked at for each part of a wait, on average; few need more than some. What
/// was not needed is left for others, up to a limit.
const LOOKS_EACH: u64 = 1 << 10;
const MAX_LOOKS: u64 = 1 << 26;

/// Stacks of holders, in the order of time.
#[derive(Debug, Default)]
pub struct Evidence {
    /// How much may still be looked at: no recording can have each of its waits look at all that is remembered.
    looks: AtomicU64,
    samples: VecDeque<SampleEvidence>,
    /// In the order of `end`.
    off_cpu: VecDeque<OffCpuEvidence>,
}

#[derive(Clone, Copy, Debug)]
struct SampleEvidence {
    at: Nanos,
    thread: ThreadId,
    stack: StackId,
}

#[derive(Clone, Copy, Debug)]
struct OffCpuEvidence {
    start: Nanos,
    end: Nanos,
    thread: ThreadId,
    stack: StackId,
    state: ThreadState,
}

/// A hold, some of which is to be attributed to the holder's stacks.
#[derive(Clone, Copy, Debug)]
pub struct AttributedHold {
    pub by: ThreadId,
    pub start: Nanos,
    pub end: Nanos,
    /// Where the holder acquired it, if that is known.
    pub acquired: Option<StackId>,
    /// Where the holder released it, if that is known.
    pub released: Option<StackId>,
    /// When a waiting thread asked the holder to release it, if one did (a GIL).
    pub asked: Option<Nanos>,
}

impl AttributedHold {
    /// Where it was released says more than where it was acquired: that is known of nearly all.
    pub fn place(&self) -> HoldPlace {
        let acquired = self.acquired.map_or(HoldPlace::Unknown, HoldPlace::AcquiredAt);
        self.released.map_or(acquired, HoldPlace::ReleasedAt)
    }
}

/// Where a holder was for some time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldPart {
    OffCpu(ThreadState, StackId, u64),
    /// On a CPU, where the nearest sample in this hold shows it.
    Sampled(StackId, u64),
    /// On a CPU, in a hold without a sample.
    Unsampled(u64),
    /// No time: a sample was taken then.
    Sample(HoldSample),
}

impl Evidence {
    /// A holder was sampled on the CPU. Samples come more or less in the order of time.
    pub fn sample(&mut self, at: Nanos, thread: ThreadId, stack: StackId) {
        insert(&mut self.samples, SampleEvidence { at, thread, stack }, |sample| sample.at);
    }

    /// A holder was off the CPU. These come more or less in the order of their ends.
    pub fn off_cpu(&mut self, span: TimeRange, thread: ThreadId, stack: StackId, state: ThreadState) {
        let TimeRange { start, end } = span;
        insert(&mut self.off_cpu, OffCpuEvidence { start, end, thread, stack, state }, |off| off.end);
    }

    pub(super) fn fold(&mut self, rows: &FoldedRows) {
        self.samples.iter_mut().for_each(|sample| rows.put(&mut sample.thread));
        self.off_cpu.iter_mut().for_each(|off| rows.put(&mut off.thread));
    }

    /// Attributes a part of a hold to the holder's stacks: while it was off the CPU, to the stack it had then, else to that
    /// of the sample taken of it in this hold that is nearest in time.
    pub fn attribute(&self, hold: &AttributedHold, part: TimeRange, mut put: impl FnMut(HeldPart)) {
        let mut search = EvidenceSearch {
            evidence: self,
            hold,
            looks: (self.looks.load(Ordering::Relaxed) + LOOKS_EACH).min(MAX_LOOKS),
            on_cpu_ns: None,
        };
        search.attribute(part, &mut put);
        self.looks.store(search.looks, Ordering::Relaxed);
    }
}

/// Looks for the stacks of one hold.
struct EvidenceSearch<'e> {
    evidence: &'e Evidence,
    hold: &'e AttributedHold,
    looks: u64,
    /// For how long the hold was on a CPU, once that is known.
    on_cpu_ns: Option<u64>,
}

impl EvidenceSearch<'_> {
    /// Whether one more thing may be looked at.
    fn may_look(&mut self) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.looks > 0
    }

    fn attribute(&mut self, part: TimeRange, put: &mut impl FnMut(HeldPart)) {
        let (evidence, hold) = (self.evidence, self.hold);
        let mut from = part.start;
        let first = evidence.off_cpu.partition_point(|off| off.end <= part.start);
        for off in evidence.off_cpu.range(first..) {
            if off.start >= hold.end || (off.thread == hold.by && off.start >= part.end) || !self.may_look() {
                break;
            }
            if off.thread == hold.by && off.end > from {
                let start = off.start.max(from);
                self.attribute_on_cpu(TimeRange { start: from, end: start }, put);
                from = off.end.min(part.end);
                put(HeldPart::OffCpu(off.state, off.stack, from.since(start)));
            }
        }
        self.attribute_on_cpu(TimeRange { start: from, end: part.end }, put);
    }

    fn attribute_on_cpu(&mut self, part: TimeRange, put: &mut impl FnMut(HeldPart)) {
        if part.start >= part.end {
            return;
        }
        let (samples, hold) = (&self.evidence.samples, self.hold);
        let right_of = samples.partition_point(|sample| sample.at <= part.start);
        let left = samples
            .range(..right_of)
            .rev()
            .take_while(|sample| sample.at >= hold.start && self.may_look())
            .find(|sample| sample.thread == hold.by);
        let mut from = part.start;
        let mut nearest = left;
        for sample in samples.range(right_of..) {
            if sample.at >= hold.end || !self.may_look() {
                break;
            }
            if sample.thread != hold.by {
                continue;
            }
            if let Some(left) = nearest {
                let middle = Nanos(left.at.0 + sample.at.since(left.at) / 2).clamp(from, part.end);
                put(HeldPart::Sampled(left.stack, middle.since(from)));
                from = middle;
            }
            nearest = Some(sample);
            if sample.at <= part.end {
                put(HeldPart::Sample(self.sample_of(sample)));
            }
            if sample.at >= part.end {
                break;
            }
        }
        let rest = part.end.since(from);
        put(nearest.map_or(HeldPart::Unsampled(rest), |sample| HeldPart::Sampled(sample.stack, rest)));
    }

    fn sample_of(&mut self, sample: &SampleEvidence) -> HoldSample {
        let &AttributedHold { by, acquired, released, .. } = self.hold;
        let on_cpu_ns = match self.on_cpu_ns {
            Some(known) => known,
            None => *self.on_cpu_ns.insert(self.evidence.on_cpu_ns(self.hold, &mut self.looks)),
        };
        HoldSample { at: sample.at, holder: by, stack: sample.stack, acquired, released, on_cpu_ns }
    }
}

impl Evidence {
    /// For how long a hold was on a CPU, as far as it may be looked for when it was not.
    fn on_cpu_ns(&self, hold: &AttributedHold, looks: &mut u64) -> u64 {
        let &AttributedHold { by, start, end, .. } = hold;
        let first = self.off_cpu.partition_point(|off| off.end <= start);
        let within = self.off_cpu.range(first..).take_while(|off| {
            *looks = looks.saturating_sub(1);
            *looks > 0 && (off.thread != by || off.start < end)
        });
        let of_holder = within.filter(|off| off.thread == by);
        let off_cpu: u64 = of_holder.map(|off| off.end.min(end).since(off.start.max(start))).sum();
        end.since(start).saturating_sub(off_cpu)
    }
}

/// Inserts where it belongs, which is nearly always the end.
fn insert<T>(things: &mut VecDeque<T>, thing: T, at: impl Fn(&T) -> Nanos) {
    let place = place_of(things, at(&thing), at);
    things.insert(place, thing);
    if things.len() > MAX_REMEMBERED {
        things.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::fixture::stack;

    const A: ThreadId = ThreadId(1);
    const B: ThreadId = ThreadId(2);
    /// It is not known where A was.
    const UNSAMPLED: u32 = 8;

    enum Told {
        Sampled(u64, ThreadId, u32),
        Off(u64, u64, ThreadId, u32),
    }
    use Told::{Off, Sampled};

    /// What `[from, to)` of a hold of A over `[100, 200)` is attributed to: numbers of stacks and times.
    fn split(facts: &[Told], from: u64, to: u64) -> Vec<(u32, u64)> {
        let mut evidence = Evidence::default();
        for fact in facts {
            match *fact {
                Sampled(at, thread, number) => evidence.sample(Nanos(at), thread, stack(number)),
                Off(start, end, thread, number) => {
                    let span = TimeRange { start: Nanos(start), end: Nanos(end) };
                    evidence.off_cpu(span, thread, stack(number), ThreadState::Runnable);
                }
            }
        }
        let mut parts = Vec::new();
        let number = |id| (0..9).find(|&number| stack(number) == id).unwrap();
        let part = TimeRange { start: Nanos(from), end: Nanos(to) };
        let hold = AttributedHold {
            by: A,
            start: Nanos(100),
            end: Nanos(200),
            acquired: None,
            released: Some(stack(7)),
            asked: None,
        };
        evidence.attribute(&hold, part, |part| match part {
            HeldPart::OffCpu(_, stack, time) | HeldPart::Sampled(stack, time) => parts.push((number(stack), time)),
            HeldPart::Unsampled(time) => parts.push((UNSAMPLED, time)),
            HeldPart::Sample(_) => (),
        });
        parts.retain(|part| part.1 > 0);
        assert_eq!(parts.iter().map(|part| part.1).sum::<u64>(), to - from);
        parts
    }

    #[test]
    fn without_evidence_it_is_not_known_where_it_was() {
        assert_eq!(split(&[], 110, 190), [(8, 80)]);
        let others = [Sampled(50, A, 1), Sampled(120, B, 1), Off(130, 150, B, 1), Sampled(200, A, 1)];
        assert_eq!(split(&others, 110, 190), [(8, 80)], "another thread's, or of another hold");
    }

    #[test]
    fn samples_share_the_time_by_nearness() {
        let samples = [Sampled(120, A, 1), Sampled(130, B, 5), Sampled(140, A, 2), Sampled(180, A, 3)];
        assert_eq!(split(&samples, 100, 200), [(1, 30), (2, 30), (3, 40)]);
        assert_eq!(split(&samples, 125, 128), [(1, 3)]);
        assert_eq!(split(&samples, 135, 150), [(2, 15)]);
        assert_eq!(split(&samples, 150, 170), [(2, 10), (3, 10)]);
        assert_eq!(split(&samples, 190, 200), [(3, 10)]);
    }

    #[test]
    fn off_the_cpu_its_stack_is_known_exactly() {
        let facts = [Off(110, 120, A, 1), Sampled(125, A, 4), Off(150, 160, A, 2)];
        assert_eq!(split(&facts, 100, 200), [(4, 10), (1, 10), (4, 30), (2, 10), (4, 40)]);
        assert_eq!(split(&facts, 115, 155), [(1, 5), (4, 30), (2, 5)]);
        assert_eq!(split(&facts, 152, 158), [(2, 6)]);
        assert_eq!(split(&facts[..1], 105, 130), [(8, 5), (1, 10), (8, 10)]);
    }

    #[test]
    fn a_sample_says_for_how_long_its_hold_was_on_the_cpu() {
        let mut evidence = Evidence::default();
        let times_off = [(50, 110, A), (120, 180, B), (150, 160, A), (195, 250, A)];
        for (start, end, thread) in times_off {
            let span = TimeRange { start: Nanos(start), end: Nanos(end) };
            evidence.off_cpu(span, thread, stack(1), ThreadState::Runnable);
        }
        evidence.sample(Nanos(130), A, stack(2));
        let (acquired, released) = (Some(stack(3)), Some(stack(4)));
        let hold = AttributedHold { by: A, start: Nanos(100), end: Nanos(200), acquired, released, asked: None };
        let samples = |start, end| {
            let mut samples = Vec::new();
            evidence.attribute(&hold, TimeRange { start: Nanos(start), end: Nanos(end) }, |part| {
                samples.extend(match part {
                    HeldPart::Sample(sample) => Some(sample),
                    _ => None,
                });
            });
            samples
        };
        let (at, holder, stack) = (Nanos(130), A, stack(2));
        assert_eq!(samples(100, 140), [HoldSample { at, holder, stack, acquired, released, on_cpu_ns: 75 }]);
        assert_eq!((samples(110, 130).len(), samples(130, 200).len(), samples(140, 200).len()), (1, 0, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut evidence = Evidence::default();
        for at in (0..2 * MAX_REMEMBERED as u64).map(Nanos) {
            evidence.sample(at, A, StackId::EMPTY);
            evidence.off_cpu(TimeRange { start: at, end: at }, A, StackId::EMPTY, ThreadState::Runnable);
        }
        assert_eq!((evidence.samples.len(), evidence.off_cpu.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
