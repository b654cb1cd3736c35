//! Holds in which no sample was taken: where their time on the CPU went, as the samples of other holds show. Used by
//! [`super::ledger`].
//!
//! A thread on a CPU is sampled once in a sampling period P. A hold with a time h < P on the CPU has a sample with
//! probability h/P, so most short ones have none, and where it was acquired or released is not where its time went. Samples
//! of other holds of the same resource say that without bias if those of a hold of length h have the weight P - h (after
//! Horvitz and Thompson): a stack that takes t of the holds of that length is sampled in t/P of them, and takes t (1 - h/P)
//! of the time of those without a sample. Whoever waited at the moment of a sample counts: two waiters lose twice the time.

use rustc_hash::FxHashMap;

use super::folding::{self, FoldedRows};
use super::ledger::{Blames, Pairs};
use crate::event::{Nanos, ThreadId};
use crate::stack::StackId;

/// How many holders with a place, and samples with what is known of their holds, are kept of one GIL or lock. What is above
/// that is kept without the place.
const MAX_KEPT: usize = 1 << 16;
/// Over how many stacks the time of one holder at one place is divided.
const MAX_PARTS: u64 = 64;
/// Over how many stacks that of all holders is divided, except that each has one.
const MAX_PARTS_OF_ALL: u64 = 1 << 16;

/// What is known of where a hold without a sample was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldPlace {
    ReleasedAt(StackId),
    AcquiredAt(StackId),
    Unknown,
}

/// A sample of a holder on a CPU, taken while a thread waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldSample {
    pub at: Nanos,
    pub holder: ThreadId,
    pub stack: StackId,
    /// Where the hold began and ended, if that is known.
    pub acquired: Option<StackId>,
    pub released: Option<StackId>,
    /// For how long the hold was on a CPU, in nanoseconds.
    pub on_cpu_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SampledHold {
    holder: ThreadId,
    acquired: Option<StackId>,
    released: Option<StackId>,
    stack: StackId,
    /// Holds on the CPU for about as long are added up: [`length_class`].
    length: u8,
}

/// Samples of like holds with the same stack.
#[derive(Clone, Copy, Debug, Default)]
struct LikeSamples {
    /// One for each sample and thread that waited then.
    waiters: u64,
    /// For how long the holds were on the CPU, summed up over the same.
    on_cpu_ns: u64,
}

/// Holds without a sample, and the samples of the others.
#[derive(Clone, Debug, Default)]
pub(super) struct UnsampledHolds {
    by_holder: FxHashMap<(ThreadId, HoldPlace), u64>,
    by_pair: Pairs<HoldPlace>,
    total: u64,
    samples: FxHashMap<SampledHold, LikeSamples>,
}

impl UnsampledHolds {
    /// A holder caused some waiting while it was on a CPU in a hold without a sample.
    pub(super) fn add(&mut self, waiter: ThreadId, holder: ThreadId, place: HoldPlace, ns: u64) {
        let is_kept = self.by_holder.len() < MAX_KEPT || self.by_holder.contains_key(&(holder, place));
        let kept = if is_kept { place } else { HoldPlace::Unknown };
        *self.by_holder.entry((holder, kept)).or_default() += ns;
        self.by_pair.add(waiter, holder, place, HoldPlace::Unknown, ns);
        self.total += ns;
    }

    /// A thread waited when that sample of the holder was taken.
    pub(super) fn sampled(&mut self, sample: &HoldSample) {
        let &HoldSample { holder, stack, acquired, released, on_cpu_ns, .. } = sample;
        let hold = SampledHold { holder, acquired, released, stack, length: length_class(on_cpu_ns) };
        let kept = |hold: &SampledHold, limit| self.samples.len() < limit || self.samples.contains_key(hold);
        let anywhere = SampledHold { acquired: None, released: None, ..hold };
        let hold = match hold {
            hold if kept(&hold, MAX_KEPT) => hold,
            _ if kept(&anywhere, 2 * MAX_KEPT) => anywhere,
            _ => return,
        };
        let like = self.samples.entry(hold).or_default();
        like.waiters += 1;
        like.on_cpu_ns = like.on_cpu_ns.saturating_add(on_cpu_ns);
    }

    pub(super) fn fold(&mut self, rows: &FoldedRows) {
        rows.keys(&mut self.by_holder, |key| rows.put(&mut key.0), folding::add);
        self.by_pair.fold(rows);
        let add = |like: &mut LikeSamples, more: LikeSamples| {
            like.waiters += more.waiters;
            like.on_cpu_ns = like.on_cpu_ns.saturating_add(more.on_cpu_ns);
        };
        rows.keys(&mut self.samples, |hold| rows.put(&mut hold.holder), add);
    }

    /// Attributes the time without samples: adds it to `blames` and `pairs`, to the nanosecond.
    pub(super) fn attribute(&self, period_ns: f64, blames: &mut Blames, pairs: &mut Pairs<StackId>) {
        if self.total == 0 {
            return;
        }
        let mut stacks = SampledStacks::new(&self.samples, period_ns);
        stacks.add_holders(self.by_holder.keys());
        let least_ns = (self.total / MAX_PARTS_OF_ALL).max(1);
        for (&(holder, place), &ns) in &self.by_holder {
            let seed = seed(holder, place);
            stacks.divide(holder, place, ns, least_ns, seed, |stack, ns| blames.add(holder, stack, ns));
        }
        for (&(waiter, holder, place), &ns) in self.by_pair.iter() {
            let seed = seed(holder, place).wrapping_add(u64::from(waiter.0) << 40);
            let put = |stack, ns| pairs.add(waiter, holder, stack, StackId::EMPTY, ns);
            stacks.divide(holder, place, ns, least_ns, seed, put);
        }
    }
}

/// So that what is divided over few stacks is not always divided over the same ones.
fn seed(holder: ThreadId, place: HoldPlace) -> u64 {
    let place = match place {
        HoldPlace::ReleasedAt(stack) => 2 * u64::from(stack.index()) + 1,
        HoldPlace::AcquiredAt(stack) => 2 * u64::from(stack.index()),
        HoldPlace::Unknown => 0,
    };
    u64::from(holder.0).wrapping_mul(0x2545_f491_4f6c_dd1d) ^ place
}

/// A number for the length of a hold: two for each doubling.
fn length_class(ns: u64) -> u8 {
    let bits = ns.max(1).ilog2();
    let upper_half = bits > 0 && ns >> (bits - 1) & 1 == 1;
    (2 * bits) as u8 + u8::from(upper_half)
}

/// What stacks were sampled in holds, by what is known of these.
#[derive(Debug, Default)]
struct SampledStacks {
    by_released: FxHashMap<StackId, StackWeights>,
    by_acquired: FxHashMap<StackId, StackWeights>,
    by_holder: FxHashMap<ThreadId, StackWeights>,
    /// Of all short-lived threads together, if they are many.
    crowd: Option<StackWeights>,
}

/// Threads that were sampled in no more kinds of holds than this are short-lived ...
const MAX_KINDS_OF_CROWD: usize = 2;
/// ... and a crowd from this many on. Those of it that were never sampled are like the others.
const MIN_CROWD: usize = 16;

impl SampledStacks {
    fn new(samples: &FxHashMap<SampledHold, LikeSamples>, period_ns: f64) -> SampledStacks {
        let mut stacks = SampledStacks::default();
        for (hold, like) in samples {
            let waiters = like.waiters as f64;
            let weights = [(waiters * period_ns - like.on_cpu_ns as f64).max(0.0), waiters];
            let released = hold.released.map(|at| stacks.by_released.entry(at).or_default());
            let acquired = hold.acquired.map(|at| stacks.by_acquired.entry(at).or_default());
            let holder = stacks.by_holder.entry(hold.holder).or_default();
            [released, acquired, Some(holder)].into_iter().flatten().for_each(|of| of.0.push((hold.stack, weights)));
        }
        let of_places = stacks.by_released.values_mut().chain(stacks.by_acquired.values_mut());
        of_places.chain(stacks.by_holder.values_mut()).for_each(StackWeights::sort);
        let short_lived = || stacks.by_holder.values().filter(|weights| weights.0.len() <= MAX_KINDS_OF_CROWD);
        if short_lived().count() >= MIN_CROWD {
            let mut crowd = StackWeights(short_lived().flat_map(|weights| weights.0.iter().copied()).collect());
            crowd.sort();
            stacks.crowd = Some(crowd);
        }
        stacks
    }

    /// Holders that were never sampled are like those that were sampled in holds with the same places: threads of a pool.
    fn add_holders<'a>(&mut self, holders: impl Iterator<Item = &'a (ThreadId, HoldPlace)>) {
        let mut like: FxHashMap<ThreadId, StackWeights> = FxHashMap::default();
        for &(holder, place) in holders.filter(|(holder, _)| !self.by_holder.contains_key(holder)) {
            let sampled = self.at_place(place).map_or(&[][..], |weights| &weights.0);
            like.entry(holder).or_default().0.extend_from_slice(sampled);
        }
        like.retain(|_, weights| !weights.0.is_empty());
        like.values_mut().for_each(StackWeights::sort);
        self.by_holder.extend(like);
    }

    fn at_place(&self, place: HoldPlace) -> Option<&StackWeights> {
        match place {
            HoldPlace::ReleasedAt(stack) => self.by_released.get(&stack),
            HoldPlace::AcquiredAt(stack) => self.by_acquired.get(&stack),
            HoldPlace::Unknown => None,
        }
    }

    /// Divides time of a holder among the stacks sampled in holds with the same place, else in those of the same holder, else in
    /// those of a crowd of threads.
    fn divide(
        &self,
        holder: ThreadId,
        place: HoldPlace,
        ns: u64,
        least_ns: u64,
        seed: u64,
        mut put: impl FnMut(StackId, u64),
    ) {
        let known = self.at_place(place).or_else(|| self.by_holder.get(&holder));
        match known.or(self.crowd.as_ref()) {
            Some(weights) => weights.divide(ns, (ns / least_ns).clamp(1, MAX_PARTS), seed, put),
            None => put(StackId::NOT_SAMPLED, ns),
        }
    }
}

/// How much of the time without samples each stack has: the weight, and a lesser one that counts where all holds were so
/// long that they should have a sample.
#[derive(Debug, Default)]
struct StackWeights(Vec<(StackId, [f64; 2])>);

impl StackWeights {
    /// One entry for each stack, in their order.
    fn sort(&mut self) {
        self.0.sort_by_key(|(stack, _)| *stack);
        self.0.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 = [kept.1[0] + next.1[0], kept.1[1] + next.1[1]];
            }
            is_same
        });
    }

    /// Divides time in full. If there are more stacks than `parts`, it goes to that many, at even distances of the weights.
    fn divide(&self, ns: u64, parts: u64, seed: u64, mut put: impl FnMut(StackId, u64)) {
        let sums = self.0.iter().fold([0.0, 0.0], |sums, (_, weights)| [sums[0] + weights[0], sums[1] + weights[1]]);
        let which = usize::from(sums[0] <= 0.0);
        let sum = sums[which];
        let is_exact = self.0.len() as u64 <= parts;
        let offset = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1_u64 << 53) as f64;
        let (mut before, mut given) = (0.0, 0);
        for (stack, weights) in &self.0 {
            before += weights[which];
            let part = (before / sum).min(1.0);
            let until = match is_exact {
                true => (ns as f64 * part).round() as u64,
                false => ns * ((part * parts as f64 + offset) as u64).min(parts) / parts,
            };
            let until = until.min(ns);
            put(*stack, until.saturating_sub(given));
            given = given.max(until);
        }
        if let Some((last, _)) = self.0.last() {
            put(*last, ns - given);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::contention::fixture::{stack, stacks};

    const WAITER: ThreadId = ThreadId(0);
    const HOLDER: ThreadId = ThreadId(1);
    const OTHER: ThreadId = ThreadId(2);
    const PERIOD_NS: f64 = 1000.0;

    /// A sample of a hold: by whom, released where, sampled where, how long on the CPU.
    fn sample(holder: ThreadId, released: u32, at: u32, on_cpu_ns: u64) -> HoldSample {
        let (acquired, released) = (Some(stack(9)), Some(stack(released)));
        HoldSample { at: Nanos(0), holder, stack: stack(at), acquired, released, on_cpu_ns }
    }

    fn attributed(holds: &UnsampledHolds) -> BTreeMap<(ThreadId, StackId), u64> {
        let (mut blames, mut pairs) = (Blames::default(), Pairs::default());
        holds.attribute(PERIOD_NS, &mut blames, &mut pairs);
        let sorted = blames.sorted(1);
        let in_pairs: u64 = pairs.iter().map(|(_, ns)| ns).sum();
        assert_eq!((sorted.iter().map(|blame| blame.ns).sum::<u64>(), in_pairs), (holds.total, holds.total));
        sorted.iter().map(|blame| ((blame.thread, blame.stack), blame.ns)).collect()
    }

    /// What 1001 ns of a hold without a sample are attributed to.
    fn of_one(samples: &[HoldSample], holder: ThreadId, place: HoldPlace) -> Vec<(StackId, u64)> {
        let mut holds = UnsampledHolds::default();
        samples.iter().for_each(|sample| holds.sampled(sample));
        holds.add(WAITER, holder, place, 1001);
        attributed(&holds).into_iter().map(|((_, stack), ns)| (stack, ns)).collect()
    }

    #[test]
    fn short_holds_count_more_the_less_they_are_sampled() {
        // Of nine times as many holds of 100 ns as of 900 ns, as many are sampled.
        let samples = [sample(HOLDER, 1, 2, 100), sample(HOLDER, 1, 3, 900)];
        let place = HoldPlace::ReleasedAt(stack(1));
        assert_eq!(of_one(&samples, HOLDER, place), [(stack(2), 901), (stack(3), 100)]);
        let long = [sample(HOLDER, 1, 2, 100), sample(HOLDER, 1, 3, 5000)];
        assert_eq!(of_one(&long, HOLDER, place), [(stack(2), 1001)], "a long one always has a sample");
        assert_eq!(of_one(&long[1..], HOLDER, place), [(stack(3), 1001)], "nothing else is known");
    }

    #[test]
    fn the_same_place_counts_more_than_the_same_thread() {
        let samples = [sample(HOLDER, 1, 2, 10), sample(HOLDER, 4, 3, 10), sample(OTHER, 5, 6, 10)];
        let of = |holder, place| of_one(&samples, holder, place);
        assert_eq!(of(HOLDER, HoldPlace::ReleasedAt(stack(4))), [(stack(3), 1001)]);
        assert_eq!(of(HOLDER, HoldPlace::ReleasedAt(stack(5))), [(stack(6), 1001)], "of a like thread");
        assert_eq!(of(HOLDER, HoldPlace::AcquiredAt(stack(9))).len(), 3);
        assert_eq!(of(HOLDER, HoldPlace::ReleasedAt(stack(7))), [(stack(2), 501), (stack(3), 500)]);
        assert_eq!(of(HOLDER, HoldPlace::Unknown), [(stack(2), 501), (stack(3), 500)]);
        assert_eq!(of(WAITER, HoldPlace::Unknown), [(StackId::NOT_SAMPLED, 1001)]);
    }

    #[test]
    fn a_thread_of_a_pool_is_like_the_others() {
        let mut holds = UnsampledHolds::default();
        holds.sampled(&sample(OTHER, 1, 2, 10));
        holds.add(WAITER, HOLDER, HoldPlace::ReleasedAt(stack(1)), 70);
        holds.add(WAITER, HOLDER, HoldPlace::Unknown, 30);
        assert_eq!(attributed(&holds), BTreeMap::from([((HOLDER, stack(2)), 100)]));
    }

    #[test]
    fn of_a_crowd_those_without_a_sample_are_like_the_others() {
        let crowd = |threads: u32| -> Vec<HoldSample> {
            (10..10 + threads).map(|id| sample(ThreadId(id), 1, 2, 10)).collect()
        };
        let of = |threads| of_one(&crowd(threads), HOLDER, HoldPlace::Unknown);
        assert_eq!(of(MIN_CROWD as u32), [(stack(2), 1001)]);
        assert_eq!(of(MIN_CROWD as u32 - 1), [(StackId::NOT_SAMPLED, 1001)], "they are too few");
    }

    #[test]
    fn all_time_is_attributed_however_many_stacks_there_are() {
        let mut holds = UnsampledHolds::default();
        let all = stacks(1000);
        for &stack in &all {
            holds.sampled(&HoldSample { stack, ..sample(HOLDER, 1, 1, 10) });
        }
        for (&stack, thread) in all.iter().zip((0..7).cycle()) {
            holds.add(ThreadId(thread), HOLDER, HoldPlace::ReleasedAt(stack), 1_000_003);
        }
        let found = attributed(&holds);
        assert!(found.len() > 900, "{}", found.len());
        let most = found.values().max().copied().unwrap_or(0);
        assert!(most < 3_000_000, "evenly: {most}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut holds = UnsampledHolds::default();
        for &stack in &stacks(3 * MAX_KEPT as u32) {
            holds.sampled(&HoldSample { stack, released: Some(stack), ..sample(HOLDER, 1, 1, 10) });
            holds.add(WAITER, HOLDER, HoldPlace::ReleasedAt(stack), 1);
        }
        assert_eq!((holds.samples.len(), holds.by_holder.len()), (2 * MAX_KEPT, MAX_KEPT + 1));
        assert_eq!(attributed(&holds).values().sum::<u64>(), 3 * MAX_KEPT as u64);
    }

    #[test]
    fn lengths_are_told_apart() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(length_class), [0, 0, 2, 3, 4, 4, 5, 5, 6]);
        assert_eq!(length_class(u64::MAX), 127);
    }
}
