//! The difference of two snapshots: what came between them.

use std::cmp::Reverse;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::Snapshot;
use crate::contention::lengths::WaitLengths;
use crate::contention::{Blame, Contention, WaitStats};
use crate::event::{Account, Nanos, ThreadId};
use crate::gil::delays::{HolderDelays, PlaceDelays};
use crate::gil::summary::{GilSummary, HoldClasses, ThreadShare};
use crate::lockstats::summary::{LockShare, LockSummary};
use crate::profile::{ChildCounts, FoldedThreads, Profile, SessionInfo, ThreadInfo};
use crate::stack::StackId;

/// How many stacks are kept in each list, how many pairs of waiter and holder, and how many locks: more than anybody reads
/// while they change. Pairs are added up, so there are more of them.
const MAX_STACKS: usize = 50;
const MAX_PAIRS: usize = 1000;
const MAX_LOCKS: usize = 300;

impl Snapshot {
    /// What came after an earlier snapshot of the same recording; after [`Snapshot::default`] all of it. Lists of stacks
    /// have their most costly entries only.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let with_rows = earlier.with_rows_of(self);
        let earlier = with_rows.as_ref().unwrap_or(earlier);
        let before = |index: usize| earlier.profile.threads.get(index);
        let threads = self.profile.threads.iter().enumerate();
        let before_gil = |index: usize| earlier.gils.get(index);
        let gils = self.gils.iter().enumerate();
        let by_id: FxHashMap<_, _> = earlier.locks.iter().map(|lock| (lock.id, lock)).collect();
        let locks = self.locks.iter().map(|lock| self::lock(lock, by_id.get(&lock.id).copied()));
        let mut locks: Vec<_> =
            locks.filter(|lock| lock.parks > 0 || lock.releases > 0 || lock.contention.waits.total_ns > 0).collect();
        locks.sort_by_key(|lock| Reverse(lock.contention.waits.total_ns));
        locks.truncate(MAX_LOCKS);
        Snapshot {
            at: self.at,
            profile: Profile {
                stacks: self.profile.stacks.frozen(),
                processes: self.profile.processes.clone(),
                threads: threads.map(|(index, info)| thread(info, before(index))).collect(),
                tree: self.profile.tree.since(&earlier.profile.tree),
                locks: self.profile.locks.infos_only(),
                refcounts: self.profile.refcounts.since(&earlier.profile.refcounts),
                collections: self.profile.collections.after(&earlier.profile.collections),
                held_in_native: self.profile.held_in_native.clone(),
                queue_waits: self.profile.queue_waits.clone(),
                pools: self.profile.pools.clone(),
                deadlocks: self.profile.deadlocks.clone(),
                session: session(&self.profile.session, &earlier.profile.session, earlier.at),
                ..Profile::default()
            },
            gils: gils.map(|(index, now)| gil(now, before_gil(index))).collect(),
            locks,
            now: self.now.clone(),
        }
    }
}

fn session(now: &SessionInfo, before: &SessionInfo, earlier: Nanos) -> SessionInfo {
    let mut unobserved = now.unobserved.clone();
    for child in &mut unobserved {
        let known = before.unobserved.iter().find(|known| known.pid == child.pid);
        child.cpu_ns = child.cpu_ns.saturating_sub(known.map_or(0, |known| known.cpu_ns));
    }
    let children = now.children.map(|children| {
        let before = before.children.unwrap_or_default();
        ChildCounts {
            started: children.started.saturating_sub(before.started),
            ended_cpu_ns: children.ended_cpu_ns.saturating_sub(before.ended_cpu_ns),
            ..children
        }
    });
    SessionInfo {
        unobserved,
        children,
        start: now.start.max(earlier),
        ticks: now.ticks.saturating_sub(before.ticks),
        looks: now.looks.saturating_sub(before.looks),
        late_ticks: now.late_ticks.saturating_sub(before.late_ticks),
        profiler_cpu_ns: now.profiler_cpu_ns.saturating_sub(before.profiler_cpu_ns),
        waits: now.waits.saturating_sub(before.waits),
        records_lost: now.records_lost.saturating_sub(before.records_lost),
        ..now.clone()
    }
}

fn thread(now: &ThreadInfo, before: Option<&ThreadInfo>) -> ThreadInfo {
    let Some(before) = before else { return now.clone() };
    let folded = match now.folded.count {
        0 => FoldedThreads::default(),
        count => FoldedThreads {
            count: count.saturating_sub(before.folded.count).max(1),
            lived_ns: now.lived_ns().saturating_sub(before.lived_ns()),
        },
    };
    ThreadInfo {
        folded,
        start: before.end.min(now.end),
        samples: now.samples.saturating_sub(before.samples),
        lost: now.lost.saturating_sub(before.lost),
        // What it used is known only in the end: it is not known of how much of its life.
        cpu_ns: if before.exited { 0 } else { now.cpu_ns },
        account: now.account.map(|account| before.account.map_or(account, |before| self::account(account, before))),
        ..now.clone()
    }
}

fn account(now: Account, before: Account) -> Account {
    let (mut numbers, before) = (now.numbers(), before.numbers());
    numbers.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(before));
    Account::of(now.at, numbers)
}

/// Waits that came since: how many and how long in all, and the lengths of those that ended since.
fn waits(now: (&WaitStats, &WaitLengths), before: (&WaitStats, &WaitLengths)) -> (WaitStats, WaitLengths) {
    let ((now, lengths), (before, known)) = (now, before);
    let lengths = lengths.since(known);
    let grown = if now.max_ns > before.max_ns { now.max_ns } else { 0 };
    let longest = lengths.max().min(now.max_ns).max(grown);
    let stats = WaitStats {
        count: now.count.saturating_sub(before.count),
        total_ns: now.total_ns.saturating_sub(before.total_ns),
        p50_ns: lengths.quantile(0.5).min(longest),
        p99_ns: lengths.quantile(0.99).min(longest),
        max_ns: longest,
    };
    (stats, lengths)
}

/// What was attributed to whom since; the most first. All of a `group` together only grows. A part of it may become less,
/// where it is an estimate and more is known now: the others have that less, so that the sum is right.
fn amounts<K: Copy + Eq + Hash + Ord, G: Eq + Hash>(
    now: &[(K, u64)],
    before: &[(K, u64)],
    group: impl Fn(K) -> G,
    limit: usize,
) -> Vec<(K, u64)> {
    let mut groups: FxHashMap<G, Grown> = FxHashMap::default();
    before.iter().for_each(|&(key, ns)| groups.entry(group(key)).or_default().before += ns);
    let before: FxHashMap<K, u64> = before.iter().copied().collect();
    let more = |&(key, ns): &(K, u64)| (key, ns.saturating_sub(before.get(&key).copied().unwrap_or(0)));
    for each in now {
        let grown = groups.entry(group(each.0)).or_default();
        grown.now += each.1;
        grown.sum += more(each).1;
    }
    let since = now.iter().map(more).filter(|(_, ns)| *ns > 0);
    let scaled = since.map(|(key, ns)| (key, groups.get_mut(&group(key)).map_or(ns, |grown| grown.part(ns))));
    let mut since: Vec<(K, u64)> = scaled.filter(|(_, ns)| *ns > 0).collect();
    since.sort_unstable_by_key(|&(key, ns)| (Reverse(ns), key));
    since.truncate(limit);
    since
}

/// How much some amounts have grown together.
#[derive(Debug, Default)]
struct Grown {
    before: u64,
    now: u64,
    /// What those have grown by together that did.
    sum: u64,
    /// How much of that sum has been made a part of.
    done: u64,
}

impl Grown {
    /// An amount that grew, as a part of what all together have grown by.
    fn part(&mut self, ns: u64) -> u64 {
        let all = u128::from(self.now.saturating_sub(self.before));
        let upto = |done: u64| (u128::from(done) * all / u128::from(self.sum.max(1))) as u64;
        let from = upto(self.done);
        let part = upto(self.done + ns) - from;
        self.done += ns;
        part
    }
}

fn blames(now: &[Blame], before: &[Blame]) -> Vec<Blame> {
    let split = |all: &[Blame]| all.iter().map(|blame| ((blame.thread, blame.stack), blame.ns)).collect::<Vec<_>>();
    let since = amounts(&split(now), &split(before), |(thread, _)| thread, MAX_STACKS);
    since.into_iter().map(|((thread, stack), ns)| Blame { thread, stack, ns }).collect()
}

/// The same for time that is attributed to what somebody did, too, or to whom it happened.
fn kinds<T: Copy + Eq + Hash + Ord>(now: &[(T, Blame)], before: &[(T, Blame)], limit: usize) -> Vec<(T, Blame)> {
    let split = |all: &[(T, Blame)]| {
        all.iter().map(|(kind, blame)| ((*kind, blame.thread, blame.stack), blame.ns)).collect::<Vec<_>>()
    };
    let since = amounts(&split(now), &split(before), |(kind, thread, _)| (kind, thread), limit);
    since.into_iter().map(|((kind, thread, stack), ns)| (kind, Blame { thread, stack, ns })).collect()
}

fn held(now: &HoldClasses, before: &HoldClasses) -> HoldClasses {
    HoldClasses {
        python_ns: now.python_ns.saturating_sub(before.python_ns),
        native_ns: now.native_ns.saturating_sub(before.native_ns),
        off_cpu_ns: now.off_cpu_ns.saturating_sub(before.off_cpu_ns),
        runnable_ns: now.runnable_ns.saturating_sub(before.runnable_ns),
    }
}

fn contention(now: &Contention, before: &Contention) -> Contention {
    let (waits, lengths) = waits((&now.waits, &now.lengths), (&before.waits, &before.lengths));
    Contention {
        waits,
        lengths,
        contended_ns: now.contended_ns.saturating_sub(before.contended_ns),
        caused_ns: now.caused_ns.saturating_sub(before.caused_ns),
        gap_ns: now.gap_ns.saturating_sub(before.gap_ns),
        unknown_ns: now.unknown_ns.saturating_sub(before.unknown_ns),
        on_cpu_ns: now.on_cpu_ns.saturating_sub(before.on_cpu_ns),
        samples: now.samples.saturating_sub(before.samples),
        by_waiter: blames(&now.by_waiter, &before.by_waiter),
        by_releaser: blames(&now.by_releaser, &before.by_releaser),
        by_holder: blames(&now.by_holder, &before.by_holder),
        by_pair: kinds(&now.by_pair, &before.by_pair, MAX_PAIRS),
    }
}

fn gil(now: &GilSummary, before: Option<&GilSummary>) -> GilSummary {
    let nothing = GilSummary::nothing_yet(now.info.clone());
    let before = before.unwrap_or(&nothing);
    let by_thread: FxHashMap<_, _> = before.threads.iter().map(|share| (share.thread, share)).collect();
    GilSummary {
        info: now.info.clone(),
        switched_on: now.switched_on.clone(),
        estimated: now.estimated,
        observed_ns: now.observed_ns.saturating_sub(before.observed_ns),
        held: held(&now.held, &before.held),
        contention: contention(&now.contention, &before.contention),
        forced_drops: now.forced_drops.saturating_sub(before.forced_drops),
        voluntary_drops: now.voluntary_drops.saturating_sub(before.voluntary_drops),
        held_off_cpu: kinds(&now.held_off_cpu, &before.held_off_cpu, MAX_STACKS),
        delays: now.delays.map(|delays| holder_delays(delays, before.delays.unwrap_or_default())),
        not_released: not_released(&now.not_released, &before.not_released),
        threads: now.threads.iter().map(|share| self::share(share, by_thread.get(&share.thread).copied())).collect(),
    }
}

fn holder_delays(now: HolderDelays, before: HolderDelays) -> HolderDelays {
    HolderDelays {
        until_asked_ns: now.until_asked_ns.saturating_sub(before.until_asked_ns),
        until_released_ns: now.until_released_ns.saturating_sub(before.until_released_ns),
        no_cpu_ns: now.no_cpu_ns.saturating_sub(before.no_cpu_ns),
        blocked_ns: now.blocked_ns.saturating_sub(before.blocked_ns),
    }
}

type PlaceOfDelays = (ThreadId, StackId, PlaceDelays);

fn not_released(now: &[PlaceOfDelays], before: &[PlaceOfDelays]) -> Vec<PlaceOfDelays> {
    let before: FxHashMap<_, _> = before.iter().map(|&(thread, stack, delays)| ((thread, stack), delays)).collect();
    let since = now.iter().map(|&(thread, stack, now)| {
        let before = before.get(&(thread, stack)).copied().unwrap_or_default();
        let delay_ns = now.delay_ns.saturating_sub(before.delay_ns);
        let delays = PlaceDelays {
            times: now.times.saturating_sub(before.times),
            delay_ns,
            // Of those since only the sum is known, unless the longest of all is one of them.
            max_ns: if now.max_ns > before.max_ns { now.max_ns } else { now.max_ns.min(delay_ns) },
            waited_ns: now.waited_ns.saturating_sub(before.waited_ns),
        };
        (thread, stack, delays)
    });
    let mut since: Vec<_> = since.filter(|(_, _, delays)| delays.times > 0).collect();
    since.sort_by_key(|(_, _, delays)| Reverse(delays.waited_ns));
    since.truncate(MAX_STACKS);
    since
}

fn share(now: &ThreadShare, before: Option<&ThreadShare>) -> ThreadShare {
    let Some(before) = before else { return now.clone() };
    let (waits, lengths) = waits((&now.waits, &now.lengths), (&before.waits, &before.lengths));
    ThreadShare {
        thread: now.thread,
        waits,
        lengths,
        held: held(&now.held, &before.held),
        caused_ns: now.caused_ns.saturating_sub(before.caused_ns),
    }
}

fn lock(now: &LockSummary, before: Option<&LockSummary>) -> LockSummary {
    let nothing = LockSummary::nothing_yet(now.id, now.info.clone());
    let before = before.unwrap_or(&nothing);
    let by_thread: FxHashMap<_, _> = before.threads.iter().map(|share| (share.thread, share)).collect();
    LockSummary {
        id: now.id,
        info: now.info.clone(),
        estimated: now.estimated,
        contention: contention(&now.contention, &before.contention),
        parks: now.parks.saturating_sub(before.parks),
        spun: now.spun.saturating_sub(before.spun),
        owner_changes: now.owner_changes.saturating_sub(before.owner_changes),
        releases: now.releases.saturating_sub(before.releases),
        holder_off_cpu: kinds(&now.holder_off_cpu, &before.holder_off_cpu, MAX_STACKS),
        threads: now
            .threads
            .iter()
            .map(|share| lock_share(share, by_thread.get(&share.thread).copied()))
            .filter(|share| share.waits.count > 0 || share.waits.total_ns > 0 || share.caused_ns > 0)
            .collect(),
    }
}

/// Of one thread's waits for one lock only their number and sum are known for a part of the time.
fn lock_share(now: &LockShare, before: Option<&LockShare>) -> LockShare {
    let Some(before) = before else { return *now };
    LockShare {
        thread: now.thread,
        waits: WaitStats {
            count: now.waits.count.saturating_sub(before.waits.count),
            total_ns: now.waits.total_ns.saturating_sub(before.waits.total_ns),
            ..now.waits
        },
        caused_ns: now.caused_ns.saturating_sub(before.caused_ns),
    }
}

#[cfg(test)]
mod tests;
