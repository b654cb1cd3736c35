//! The ledger of one GIL or lock: who waited, and who caused it. Kept in nanoseconds where waits were measured, in periods
//! of the sampling rate where they were sampled.

use std::cmp::Reverse;
use std::hash::Hash;

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;

use super::by_thread::ByThread;
use super::folding::{self, FoldedRows};
use super::lengths::WaitLengths;
use super::unsampled::{HoldPlace, HoldSample, UnsampledHolds};
use super::{Blame, Contention, WaitStats};
use crate::event::{Nanos, Syscall, ThreadId};
use crate::stack::StackId;

/// Waits of one thread or of all, counted as they go on.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    count: u64,
    total: u64,
    max: u64,
    /// WaitLengths of those that are over, to 1 %; none as long as none is: it is a kilobyte.
    lengths: Option<Histogram<u32>>,
}

impl Waits {
    /// One is over that had this length in all.
    fn end(&mut self, length: u64) {
        self.max = self.max.max(length);
        // Grows when needed, so it cannot fail.
        let _ = self.lengths().record(length);
    }

    fn lengths(&mut self) -> &mut Histogram<u32> {
        self.lengths.get_or_insert_with(|| Histogram::new(2).expect("two digits are allowed"))
    }

    fn known_lengths(&self, unit: u64) -> WaitLengths {
        self.lengths.as_ref().map_or_else(WaitLengths::default, |lengths| WaitLengths::of(lengths, unit))
    }

    fn add(&mut self, more: &Waits) {
        self.count += more.count;
        self.total = self.total.saturating_add(more.total);
        self.max = self.max.max(more.max);
        if let Some(lengths) = &more.lengths {
            // Grows when needed, so it cannot fail.
            let _ = self.lengths().add(lengths);
        }
    }

    fn stats(&self, unit: u64) -> WaitStats {
        let quantile = |q| {
            let value = self.lengths.as_ref().map_or(0, |lengths| lengths.value_at_quantile(q));
            value.min(self.max) * unit
        };
        WaitStats {
            count: self.count,
            total_ns: self.total * unit,
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            max_ns: self.max * unit,
        }
    }
}

/// Time by thread and stack.
#[derive(Clone, Debug, Default)]
pub struct Blames(FxHashMap<(ThreadId, StackId), u64>);

impl Blames {
    /// Adds some. Allocates only for a new pair.
    pub fn add(&mut self, thread: ThreadId, stack: StackId, time: u64) {
        if time > 0 {
            *self.0.entry((thread, stack)).or_default() += time;
        }
    }

    fn fold(&mut self, rows: &FoldedRows) {
        rows.keys(&mut self.0, |key| rows.put(&mut key.0), folding::add);
    }

    /// All, the greatest first.
    pub fn sorted(&self, unit: u64) -> Vec<Blame> {
        let blame = |(&(thread, stack), &time): (_, &u64)| Blame { thread, stack, ns: time * unit };
        let mut blames: Vec<Blame> = self.0.iter().map(blame).collect();
        blames.sort_unstable_by_key(|blame| (Reverse(blame.ns), blame.thread, blame.stack));
        blames
    }
}

/// How many pairs of waiter and holder, each with a place of the holder, are kept of one GIL or lock.
const MAX_PAIRS: usize = 1 << 16;

/// Wait time by waiter, holder, and where that one was.
#[derive(Clone, Debug)]
pub(super) struct Pairs<P>(FxHashMap<(ThreadId, ThreadId, P), u64>);

impl<P> Default for Pairs<P> {
    fn default() -> Self {
        Pairs(FxHashMap::default())
    }
}

impl<P: Copy + Eq + Hash> Pairs<P> {
    /// Adds some. When the table is full, new pairs are at `anywhere`; and if that is not enough, they are left out.
    pub(super) fn add(&mut self, waiter: ThreadId, holder: ThreadId, place: P, anywhere: P, time: u64) {
        if time == 0 {
            return;
        }
        for (place, limit) in [(place, MAX_PAIRS), (anywhere, 2 * MAX_PAIRS)] {
            let key = (waiter, holder, place);
            if self.0.len() < limit {
                *self.0.entry(key).or_default() += time;
                return;
            } else if let Some(known) = self.0.get_mut(&key) {
                *known += time;
                return;
            }
        }
    }

    pub(super) fn fold(&mut self, rows: &FoldedRows) {
        let put = |key: &mut (ThreadId, ThreadId, P)| {
            rows.put(&mut key.0);
            rows.put(&mut key.1);
        };
        rows.keys(&mut self.0, put, folding::add);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&(ThreadId, ThreadId, P), &u64)> {
        self.0.iter()
    }
}

impl Pairs<StackId> {
    /// All, the greatest first.
    fn sorted(&self, unit: u64) -> Vec<(ThreadId, Blame)> {
        let pair = |(&(waiter, thread, stack), &time): (_, &u64)| (waiter, Blame { thread, stack, ns: time * unit });
        let mut pairs: Vec<_> = self.0.iter().map(pair).collect();
        pairs.sort_unstable_by_key(|&(waiter, blame)| (Reverse(blame.ns), waiter, blame.thread, blame.stack));
        pairs
    }
}

/// One thread's part in what is counted.
#[derive(Clone, Debug, Default)]
pub struct ThreadLedger {
    /// Only for those that ever waited: it is several kilobytes.
    waits: Option<Box<Waits>>,
    /// For how long it held the GIL while it was blocked in a system call.
    pub off_cpu: u64,
    /// For how long it held the GIL without a CPU.
    pub runnable: u64,
    /// For how long others waited while it held the resource.
    pub caused: u64,
}

impl ThreadLedger {
    pub fn waits(&self, unit: u64) -> WaitStats {
        self.waits.as_ref().map_or_else(WaitStats::default, |waits| waits.stats(unit))
    }

    pub fn lengths(&self, unit: u64) -> WaitLengths {
        self.waits.as_ref().map_or_else(WaitLengths::default, |waits| waits.known_lengths(unit))
    }

    fn add(&mut self, more: ThreadLedger) {
        match (&mut self.waits, more.waits) {
            (Some(waits), Some(more)) => waits.add(&more),
            (waits @ None, more) => *waits = more,
            (Some(_), None) => (),
        }
        self.off_cpu = self.off_cpu.saturating_add(more.off_cpu);
        self.runnable = self.runnable.saturating_add(more.runnable);
        self.caused = self.caused.saturating_add(more.caused);
    }
}

/// All that is counted at one GIL or lock.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub shares: ByThread<ThreadLedger>,
    /// Wait time by who waited where.
    pub by_waiter: Blames,
    /// Wait time by who ended the wait where.
    pub by_releaser: Blames,
    /// Wait time by who held the resource meanwhile, and where; without what is in `unsampled`.
    by_holder: Blames,
    by_pair: Pairs<StackId>,
    unsampled: UnsampledHolds,
    /// The part of `caused` in which the holder was on a CPU, or was only sampled.
    on_cpu: u64,
    /// How many samples say where holders were then.
    samples: u64,
    last_sample: Nanos,
    /// Time for which the GIL was held by a thread blocked in a system call: in which, who, where.
    held_off_cpu: FxHashMap<(Syscall, ThreadId, StackId), u64>,
    waits: Waits,
    /// Wait time while a known thread held the resource.
    pub caused: u64,
    /// Wait time while it was free.
    pub gap: u64,
    /// Wait time while it is not known who held it.
    pub unknown: u64,
    /// Wait time for which that is not decided yet.
    pub undecided: u64,
    /// Releases of the GIL that a waiting thread had asked for.
    pub forced: u64,
    /// Other releases of the GIL while somebody waited.
    pub voluntary: u64,
}

impl Ledger {
    pub fn wait_begins(&mut self, thread: ThreadId) {
        self.waits.count += 1;
        self.shares.of(thread).waits.get_or_insert_default().count += 1;
    }

    /// A wait became longer. Who held the resource meanwhile is undecided.
    pub fn waited(&mut self, thread: ThreadId, stack: StackId, time: u64) {
        self.waits.total += time;
        self.undecided += time;
        self.shares.of(thread).waits.get_or_insert_default().total += time;
        self.by_waiter.add(thread, stack, time);
    }

    /// A wait is over that had this length in all.
    pub fn wait_ends(&mut self, thread: ThreadId, length: u64) {
        self.waits.end(length);
        self.shares.of(thread).waits.get_or_insert_default().end(length);
    }

    /// Decides who caused some of the waiting, and where that one was: off the CPU, where that is known exactly.
    pub fn caused_by(&mut self, waiter: ThreadId, holder: ThreadId, stack: StackId, time: u64) {
        self.is_caused(holder, time);
        self.by_holder.add(holder, stack, time);
        self.by_pair.add(waiter, holder, stack, StackId::EMPTY, time);
    }

    /// As [`Ledger::caused_by`], as a sample says.
    pub fn caused_by_sampled(&mut self, waiter: ThreadId, holder: ThreadId, stack: StackId, time: u64) {
        self.on_cpu += time;
        self.caused_by(waiter, holder, stack, time);
    }

    /// As [`Ledger::caused_by`], in a hold without a sample, of which only that place is known.
    pub fn caused_by_unsampled(&mut self, waiter: ThreadId, holder: ThreadId, place: HoldPlace, time: u64) {
        self.is_caused(holder, time);
        self.on_cpu += time;
        self.unsampled.add(waiter, holder, place, time);
    }

    fn is_caused(&mut self, holder: ThreadId, time: u64) {
        self.undecided -= time;
        self.caused += time;
        self.shares.of(holder).caused += time;
    }

    /// A thread waited while a holder was sampled at that moment.
    pub fn holder_sampled(&mut self, at: Nanos) {
        self.samples += u64::from(at > self.last_sample);
        self.last_sample = self.last_sample.max(at);
    }

    /// As [`Ledger::holder_sampled`], with what is known of that hold.
    pub fn hold_sampled(&mut self, sample: &HoldSample) {
        self.holder_sampled(sample.at);
        self.unsampled.sampled(sample);
    }

    /// Decides that the resource was free.
    pub fn was_free(&mut self, time: u64) {
        self.undecided -= time;
        self.gap += time;
    }

    /// Decides that it cannot be known who held it.
    pub fn is_unknown(&mut self, time: u64) {
        self.undecided -= time;
        self.unknown += time;
    }

    /// A thread held the GIL, blocked in a call.
    pub fn held_off_cpu(&mut self, call: Syscall, thread: ThreadId, stack: StackId, time: u64) {
        self.shares.of(thread).off_cpu += time;
        *self.held_off_cpu.entry((call, thread, stack)).or_default() += time;
    }

    pub fn total(&self) -> u64 {
        self.waits.total
    }

    /// Threads become part of other rows: the sums stay what they are.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.shares.fold(rows, ThreadLedger::add);
        self.by_waiter.fold(rows);
        self.by_releaser.fold(rows);
        self.by_holder.fold(rows);
        self.by_pair.fold(rows);
        self.unsampled.fold(rows);
        rows.keys(&mut self.held_off_cpu, |key| rows.put(&mut key.1), folding::add);
    }

    /// All waits, and to whom they are attributed. `contended` is for how long at least one thread waited, `unit` what
    /// times are counted in, and `period_ns` how far samples of a thread on a CPU are apart; in nanoseconds.
    pub fn contention(&self, contended: u64, unit: u64, period_ns: f64) -> Contention {
        let (mut by_holder, mut by_pair) = (self.by_holder.clone(), self.by_pair.clone());
        self.unsampled.attribute(period_ns, &mut by_holder, &mut by_pair);
        Contention {
            waits: self.waits.stats(unit),
            lengths: self.waits.known_lengths(unit),
            contended_ns: contended * unit,
            caused_ns: self.caused * unit,
            gap_ns: self.gap * unit,
            unknown_ns: (self.unknown + self.undecided) * unit,
            by_waiter: self.by_waiter.sorted(unit),
            by_releaser: self.by_releaser.sorted(unit),
            on_cpu_ns: self.on_cpu * unit,
            samples: self.samples,
            by_holder: by_holder.sorted(unit),
            by_pair: by_pair.sorted(unit),
        }
    }

    /// What [`Ledger::held_off_cpu`] counted, the greatest first.
    pub fn calls(&self, unit: u64) -> Vec<(Syscall, Blame)> {
        let mut calls: Vec<_> = self
            .held_off_cpu
            .iter()
            .map(|(&(call, thread, stack), &time)| (call, Blame { thread, stack, ns: time * unit }))
            .collect();
        calls.sort_unstable_by_key(|&(call, blame)| (Reverse(blame.ns), call, blame.thread, blame.stack));
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_finished_waits_and_never_above_the_longest() {
        let mut ledger = Ledger::default();
        let thread = ThreadId(1);
        for length in 1..=1000 {
            ledger.wait_begins(thread);
            ledger.waited(thread, StackId::EMPTY, length * 1000);
            ledger.wait_ends(thread, length * 1000);
        }
        for stats in [ledger.contention(0, 1, 1e7).waits, ledger.shares.get(thread).unwrap().waits(1)] {
            assert_eq!((stats.count, stats.total_ns, stats.max_ns), (1000, 500_500_000, 1_000_000));
            assert!(stats.p50_ns.abs_diff(500_000) <= 5000, "{stats:?}");
            assert!(stats.p99_ns.abs_diff(990_000) <= 10_000 && stats.p99_ns <= stats.max_ns, "{stats:?}");
        }
        assert_eq!(ledger.contention(0, 3, 1e7).waits.total_ns, 3 * 500_500_000);
    }

    #[test]
    fn pairs_are_bounded_and_lose_their_stacks_first() {
        use crate::contention::fixture::stacks;
        let mut pairs = Pairs::default();
        let all = stacks(MAX_PAIRS as u32 + 10);
        let mut add = |waiter, stack, time| pairs.add(ThreadId(waiter), ThreadId(2), stack, StackId::EMPTY, time);
        all.iter().for_each(|&stack| add(1, stack, 3));
        add(1, all[0], 1);
        let sorted = pairs.sorted(2);
        assert_eq!(sorted.iter().map(|(_, blame)| blame.ns).sum::<u64>(), 2 * (3 * (MAX_PAIRS as u64 + 10) + 1));
        let blame = |stack, ns| (ThreadId(1), Blame { thread: ThreadId(2), stack, ns });
        assert_eq!(sorted[..2], [blame(StackId::EMPTY, 60), blame(all[0], 8)]);
        (2..2 * MAX_PAIRS as u32)
            .for_each(|waiter| pairs.add(ThreadId(waiter), ThreadId(9), all[0], StackId::EMPTY, 1));
        assert_eq!(pairs.0.len(), 2 * MAX_PAIRS);
    }

    #[test]
    fn every_nanosecond_is_undecided_until_it_is_decided() {
        let mut ledger = Ledger::default();
        ledger.waited(ThreadId(0), StackId::EMPTY, 100);
        ledger.caused_by(ThreadId(0), ThreadId(1), StackId::EMPTY, 50);
        ledger.was_free(20);
        ledger.is_unknown(5);
        assert_eq!((ledger.caused, ledger.gap, ledger.unknown, ledger.undecided), (50, 20, 5, 25));
        assert_eq!(ledger.shares.get(ThreadId(1)).unwrap().caused, 50);
        assert_eq!(ledger.shares.get(ThreadId(1)).unwrap().waits(1), WaitStats::default());
    }
}
