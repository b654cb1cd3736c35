//! The books of one GIL or lock: who waited, who is to blame. Kept in nanoseconds where waits were measured, in periods
//! of the sampling rate where they were sampled.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;

use super::by_thread::ByThread;
use super::{Bar, Blame, WaitStats};
use crate::event::{Syscall, ThreadId};
use crate::intern::StackId;

/// Waits of one thread or of all, counted as they go on.
#[derive(Clone, Debug)]
pub struct Waits {
    count: u64,
    total: u64,
    max: u64,
    /// Lengths of those that are over, to 1 %.
    lengths: Histogram<u32>,
}

impl Default for Waits {
    fn default() -> Self {
        let lengths = Histogram::new(2).expect("two digits are allowed");
        Waits { count: 0, total: 0, max: 0, lengths }
    }
}

impl Waits {
    /// One is over that lasted so long in all.
    fn end(&mut self, length: u64) {
        self.max = self.max.max(length);
        // Grows when needed, so it cannot fail.
        let _ = self.lengths.record(length);
    }

    fn stats(&self, unit: u64) -> WaitStats {
        let quantile = |q| self.lengths.value_at_quantile(q).min(self.max) * unit;
        WaitStats {
            count: self.count,
            total_ns: self.total * unit,
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            max_ns: self.max * unit,
        }
    }

    /// A histogram, from the shortest wait to the longest.
    fn bars(&self, unit: u64) -> Vec<Bar> {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for value in self.lengths.iter_recorded() {
            let length = self.lengths.lowest_equivalent(value.value_iterated_to()).saturating_mul(unit);
            let end = bar_ends().find(|&end| end >= length).unwrap_or(u64::MAX);
            *counts.entry(end).or_default() += u64::from(value.count_at_value());
        }
        let (Some(&first), Some(&last)) = (counts.keys().next(), counts.keys().next_back()) else {
            return Vec::new();
        };
        let within = bar_ends().filter(|end| (first..=last).contains(end));
        within.map(|upto_ns| Bar { upto_ns, count: counts.get(&upto_ns).copied().unwrap_or(0) }).collect()
    }
}

/// Where the bars of a histogram end: at 1, 2 or 5 times a power of ten.
fn bar_ends() -> impl Iterator<Item = u64> {
    (0..19).flat_map(|power| [1, 2, 5].map(|times: u64| times.saturating_mul(10_u64.pow(power))))
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

    /// All, the greatest first.
    pub fn sorted(&self, unit: u64) -> Vec<Blame> {
        let blame = |(&(thread, stack), &time): (_, &u64)| Blame { thread, stack, ns: time * unit };
        let mut blames: Vec<Blame> = self.0.iter().map(blame).collect();
        blames.sort_unstable_by_key(|blame| (Reverse(blame.ns), blame.thread, blame.stack));
        blames
    }
}

/// One thread's part.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// Only for those that ever waited: it is several kilobytes.
    waits: Option<Box<Waits>>,
    /// It held the GIL, blocked in a system call.
    pub off_cpu: u64,
    /// It held the GIL, without a CPU.
    pub runnable: u64,
    /// Others waited while it held the GIL.
    pub caused: u64,
}

impl Share {
    /// Its waits.
    pub fn waits(&self, unit: u64) -> WaitStats {
        self.waits.as_ref().map_or_else(WaitStats::default, |waits| waits.stats(unit))
    }
}

/// All that is counted.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By thread.
    pub shares: ByThread<Share>,
    /// Waiting by who waited where.
    pub by_waiter: Blames,
    /// Waiting by who ended it where.
    pub by_releaser: Blames,
    /// Waiting by who held the GIL where.
    pub by_holder: Blames,
    /// Held by a thread blocked in which system call, where.
    held_off_cpu: FxHashMap<(Syscall, ThreadId, StackId), u64>,
    waits: Waits,
    /// Waiting while a known thread held it.
    pub caused: u64,
    /// Waiting while it was free.
    pub gap: u64,
    /// Waiting while it is not known who held it.
    pub unknown: u64,
    /// Waiting for which that is not decided yet.
    pub undecided: u64,
    /// Drops a waiter had asked for.
    pub forced: u64,
    /// Other drops while somebody waited.
    pub voluntary: u64,
}

impl Ledger {
    /// A wait began.
    pub fn wait_begins(&mut self, thread: ThreadId) {
        self.waits.count += 1;
        self.shares.of(thread).waits.get_or_insert_default().count += 1;
    }

    /// A wait went on for so long. To be decided: who held the GIL meanwhile.
    pub fn waited(&mut self, thread: ThreadId, stack: StackId, time: u64) {
        self.waits.total += time;
        self.undecided += time;
        self.shares.of(thread).waits.get_or_insert_default().total += time;
        self.by_waiter.add(thread, stack, time);
    }

    /// A wait is over.
    pub fn wait_ends(&mut self, thread: ThreadId, length: u64) {
        self.waits.end(length);
        self.shares.of(thread).waits.get_or_insert_default().end(length);
    }

    /// It is decided who caused some of the waiting.
    pub fn caused_by(&mut self, holder: ThreadId, stack: StackId, time: u64) {
        self.undecided -= time;
        self.caused += time;
        self.shares.of(holder).caused += time;
        self.by_holder.add(holder, stack, time);
    }

    /// It is decided that the GIL was free.
    pub fn was_free(&mut self, time: u64) {
        self.undecided -= time;
        self.gap += time;
    }

    /// It is decided that this is not to be known.
    pub fn is_unknown(&mut self, time: u64) {
        self.undecided -= time;
        self.unknown += time;
    }

    /// A thread held the GIL, blocked in a call.
    pub fn held_off_cpu(&mut self, call: Syscall, thread: ThreadId, stack: StackId, time: u64) {
        self.shares.of(thread).off_cpu += time;
        *self.held_off_cpu.entry((call, thread, stack)).or_default() += time;
    }

    /// All waiting, as long as it is.
    pub fn total(&self) -> u64 {
        self.waits.total
    }

    /// All waits.
    pub fn waits(&self, unit: u64) -> WaitStats {
        self.waits.stats(unit)
    }

    /// How many waits were how long.
    pub fn bars(&self, unit: u64) -> Vec<Bar> {
        self.waits.bars(unit)
    }

    /// What [`Ledger::held_off_cpu`] said, the greatest first.
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
        for stats in [ledger.waits(1), ledger.shares.get(thread).unwrap().waits(1)] {
            assert_eq!((stats.count, stats.total_ns, stats.max_ns), (1000, 500_500_000, 1_000_000));
            assert!(stats.p50_ns.abs_diff(500_000) <= 5000, "{stats:?}");
            assert!(stats.p99_ns.abs_diff(990_000) <= 10_000 && stats.p99_ns <= stats.max_ns, "{stats:?}");
        }
        assert_eq!(ledger.waits(3).total_ns, 3 * 500_500_000);
    }

    #[test]
    fn a_histogram_counts_every_wait_once_without_gaps() {
        let mut ledger = Ledger::default();
        for length in [900, 1000, 1500, 70_000, 80_000, 100_000] {
            ledger.wait_ends(ThreadId(1), length);
        }
        let bars = |unit| ledger.bars(unit).iter().map(|bar| (bar.upto_ns, bar.count)).collect::<Vec<_>>();
        let expected = [(1000, 2), (2000, 1), (5000, 0), (10_000, 0), (20_000, 0), (50_000, 0), (100_000, 3)];
        assert_eq!(bars(1), expected);
        assert_eq!(bars(10), expected.map(|(upto, count)| (upto * 10, count)));
        assert_eq!(Ledger::default().bars(1), []);
    }

    #[test]
    fn every_nanosecond_is_undecided_until_it_is_decided() {
        let mut ledger = Ledger::default();
        ledger.waited(ThreadId(0), StackId::EMPTY, 100);
        ledger.caused_by(ThreadId(1), StackId::EMPTY, 50);
        ledger.was_free(20);
        ledger.is_unknown(5);
        assert_eq!((ledger.caused, ledger.gap, ledger.unknown, ledger.undecided), (50, 20, 5, 25));
        assert_eq!(ledger.shares.get(ThreadId(1)).unwrap().caused, 50);
        assert_eq!(ledger.shares.get(ThreadId(1)).unwrap().waits(1), WaitStats::default());
    }
}
