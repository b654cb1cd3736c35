//! An earlier snapshot with the rows of threads that a later one has: in between, threads may have ended and become part of
//! other rows.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::Snapshot;
use crate::contention::folding::{FoldedRows, add};
use crate::contention::{Blame, Contention, WaitStats};
use crate::event::ThreadId;
use crate::gil::delays::PlaceDelays;
use crate::gil::summary::{GilSummary, ThreadShare};
use crate::lockstats::summary::{LockShare, LockSummary};
use crate::profile::{FoldedThreads, Profile, ThreadInfo};

impl Snapshot {
    /// This one, with the rows of a later one; none if it has them already.
    pub(super) fn with_rows_of(&self, later: &Snapshot) -> Option<Snapshot> {
        let (then, now) = (&self.profile.rows, &later.profile.rows);
        if then.changes() == now.changes() || self.profile.threads.is_empty() {
            return None;
        }
        let threads = &self.profile.threads;
        let rows = threads.iter().map(|info| {
            let own = || now.row(info.id).filter(|_| info.folded.count == 0);
            own().or_else(|| now.kind(info)).unwrap_or(ThreadId(0))
        });
        let rows = FoldedRows::moved(rows.collect());
        let mut tree = self.profile.tree.clone();
        tree.fold(&rows);
        let mut refcounts = self.profile.refcounts.clone();
        refcounts.fold(&rows);
        let profile = Profile {
            threads: self::threads(threads, &later.profile.threads, &rows),
            tree,
            refcounts,
            collections: self.profile.collections.clone(),
            session: self.profile.session.clone(),
            ..Profile::default()
        };
        Some(Snapshot {
            at: self.at,
            profile,
            gils: self.gils.iter().map(|summary| gil(summary, &rows)).collect(),
            locks: self.locks.iter().map(|summary| lock(summary, &rows)).collect(),
            now: Vec::new(),
        })
    }
}

/// What was known of the threads that are in the rows of later, as far as they were there.
fn threads(then: &[ThreadInfo], later: &[ThreadInfo], rows: &FoldedRows) -> Vec<ThreadInfo> {
    let unseen = |info: &ThreadInfo| ThreadInfo {
        end: info.start,
        samples: 0,
        lost: 0,
        cpu_ns: 0,
        account: None,
        exited: false,
        folded: FoldedThreads::default(),
        ..info.clone()
    };
    let mut all: Vec<ThreadInfo> = later.iter().map(unseen).collect();
    for (row, info) in then.iter().enumerate() {
        let to = rows.of(ThreadId(row as u32)).0 as usize;
        match (later.get(to), all.get_mut(to)) {
            (Some(now), Some(of)) if now.folded.count > 0 => of.add(info),
            (Some(_), Some(of)) => *of = info.clone(),
            _ => {}
        }
    }
    all
}

/// Adds up what has the same key now.
fn sums<K: Copy + Eq + Hash + Ord, V>(
    all: impl Iterator<Item = (K, V)>,
    mut add: impl FnMut(&mut V, V),
) -> Vec<(K, V)> {
    let mut sums: FxHashMap<K, V> = FxHashMap::default();
    for (key, value) in all {
        match sums.get_mut(&key) {
            Some(sum) => add(sum, value),
            None => {
                sums.insert(key, value);
            }
        }
    }
    let mut sums: Vec<(K, V)> = sums.into_iter().collect();
    sums.sort_unstable_by_key(|(key, _)| *key);
    sums
}

fn blames(all: &[Blame], rows: &FoldedRows) -> Vec<Blame> {
    let keys = all.iter().map(|blame| ((rows.of(blame.thread), blame.stack), blame.ns));
    sums(keys, add).into_iter().map(|((thread, stack), ns)| Blame { thread, stack, ns }).collect()
}

/// The same for time that is attributed with something else: what it was, which does not change, or who waited.
fn kinds<T: Copy + Eq + Hash + Ord>(all: &[(T, Blame)], rows: &FoldedRows, put: impl Fn(T) -> T) -> Vec<(T, Blame)> {
    let keys = all.iter().map(|(kind, blame)| ((put(*kind), rows.of(blame.thread), blame.stack), blame.ns));
    sums(keys, add).into_iter().map(|((kind, thread, stack), ns)| (kind, Blame { thread, stack, ns })).collect()
}

fn contention(all: &Contention, rows: &FoldedRows) -> Contention {
    Contention {
        by_waiter: blames(&all.by_waiter, rows),
        by_releaser: blames(&all.by_releaser, rows),
        by_holder: blames(&all.by_holder, rows),
        by_pair: kinds(&all.by_pair, rows, |waiter| rows.of(waiter)),
        ..all.clone()
    }
}

fn add_waits(sum: &mut WaitStats, more: &WaitStats) {
    sum.count += more.count;
    sum.total_ns += more.total_ns;
    sum.max_ns = sum.max_ns.max(more.max_ns);
}

fn gil(summary: &GilSummary, rows: &FoldedRows) -> GilSummary {
    let shares = summary.threads.iter().map(|share| (rows.of(share.thread), share.clone()));
    let shares = sums(shares, |sum: &mut ThreadShare, more| {
        add_waits(&mut sum.waits, &more.waits);
        sum.lengths = sum.lengths.and(&more.lengths);
        sum.held.python_ns += more.held.python_ns;
        sum.held.native_ns += more.held.native_ns;
        sum.held.off_cpu_ns += more.held.off_cpu_ns;
        sum.held.runnable_ns += more.held.runnable_ns;
        sum.caused_ns += more.caused_ns;
    });
    let places = summary.not_released.iter().map(|&(thread, stack, delays)| ((rows.of(thread), stack), delays));
    let places = sums(places, |sum: &mut PlaceDelays, more| sum.add(&more));
    GilSummary {
        contention: contention(&summary.contention, rows),
        held_off_cpu: kinds(&summary.held_off_cpu, rows, |call| call),
        not_released: places.into_iter().map(|((thread, stack), delays)| (thread, stack, delays)).collect(),
        threads: shares.into_iter().map(|(thread, share)| ThreadShare { thread, ..share }).collect(),
        ..summary.clone()
    }
}

fn lock(summary: &LockSummary, rows: &FoldedRows) -> LockSummary {
    let shares = summary.threads.iter().map(|share| (rows.of(share.thread), *share));
    let shares = sums(shares, |sum: &mut LockShare, more| {
        add_waits(&mut sum.waits, &more.waits);
        sum.caused_ns += more.caused_ns;
    });
    LockSummary {
        contention: contention(&summary.contention, rows),
        holder_off_cpu: kinds(&summary.holder_off_cpu, rows, |state| state),
        threads: shares.into_iter().map(|(thread, share)| LockShare { thread, ..share }).collect(),
        ..summary.clone()
    }
}
