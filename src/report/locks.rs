//! What is known of locks, in the words of the report. Called by [`super::Report::new`].

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::contention::{Blame, TimeRange};
use crate::event::{LockInfo, LockKind, Syscall, ThreadState};
use crate::lockstats::summary::LockSummary;
use crate::lockstats::trend::TrendInterval;
use crate::profile::Profile;
use crate::stack::idle_wait::Work;

use super::causes::victims_and_causes;
use super::gils::{all_blamed, bars, blamed, wait};
use super::groups::ThreadGroups;
use super::model::{Idle, Lock, LockThread, OffCpuHolder, PausedInterval, Pauses, Thread, Wait};
use super::{MAX_ATTRIBUTED, fraction, seconds, thread_name};

/// How many locks a report has at most: programs can have a new one for every call.
const MAX_LOCKS: usize = 1000;

/// All locks that were waited for.
pub(super) fn locks(
    profile: &Profile,
    locks: &[LockSummary],
    threads: &[Thread],
    groups: &ThreadGroups<'_>,
) -> Vec<Lock> {
    let real = locks.iter().filter(|lock| lock.info.kind.is_lock());
    real.take(MAX_LOCKS).map(|lock| self::lock(profile, lock, threads, groups)).collect()
}

fn lock(profile: &Profile, lock: &LockSummary, threads: &[Thread], groups: &ThreadGroups<'_>) -> Lock {
    let info = &lock.info;
    let waits = lock.threads.iter().map(|share| (share.thread, share.waits));
    let (victims, causes) = victims_and_causes(profile, groups, threads, waits, &lock.contention);
    Lock {
        pid: profile.processes[info.process.0 as usize].pid,
        address: info.address,
        kind: info.kind.name().to_owned(),
        type_name: info.type_name.as_deref().map(str::to_owned),
        name: info.name.as_deref().map(str::to_owned),
        label: info.label(),
        estimated: lock.estimated,
        contended: lock.contention.waits.count,
        parked: lock.parks,
        contended_fraction: fraction(lock.contention.contended_ns, profile.session.end.since(profile.session.start)),
        owner_changes: lock.owner_changes,
        wait: wait(lock.contention.waits),
        spin_s: lock.spun as f64 * profile.session.period_ns() / 1e9,
        lengths: bars(&lock.contention.lengths),
        caused_s: seconds(lock.contention.caused_ns),
        gap_s: seconds(lock.contention.gap_ns),
        unknown_s: seconds(lock.contention.unknown_ns),
        holders: all_blamed(profile, &lock.contention.by_holder),
        holders_margin: lock.contention.margin(),
        releasers: all_blamed(profile, &lock.contention.by_releaser),
        waiters: all_blamed(profile, &lock.contention.by_waiter),
        holder_off_cpu: off_cpu(profile, lock),
        threads: lock
            .threads
            .iter()
            .map(|share| LockThread {
                tid: profile.threads[share.thread.0 as usize].tid,
                thread: thread_name(profile, share.thread),
                wait: wait(share.waits),
                caused_s: seconds(share.caused_ns),
            })
            .collect(),
        victims,
        causes,
    }
}

fn off_cpu(profile: &Profile, lock: &LockSummary) -> Vec<OffCpuHolder> {
    let all = lock.holder_off_cpu.iter().take(MAX_ATTRIBUTED);
    all.map(|(state, blame)| OffCpuHolder {
        state: state.name().to_owned(),
        syscall: state.syscall().map(|call| call.to_string()),
        by: blamed(profile, blame),
    })
    .collect()
}

/// Stops of all threads, in all processes together; the lengths are those of the process that was held up most.
pub(super) fn pauses(profile: &Profile, locks: &[LockSummary]) -> Pauses {
    let mut pauses = Pauses::default();
    let of = |kind| locks.iter().filter(move |lock: &&LockSummary| lock.info.kind == kind);
    for lock in of(LockKind::Pause) {
        // From samples it is not known who let threads go on: there were at least as many stops as any one of them was in.
        let most = || lock.threads.iter().map(|share| share.waits.count).max().unwrap_or(0);
        let count = if lock.estimated { most() } else { lock.releases };
        pauses.count += count;
        let reason = match lock.info.name.as_deref() {
            Some(LockInfo::COLLECTION) => "gc",
            other => other.unwrap_or("other"),
        };
        *pauses.reasons.entry(reason.to_owned()).or_default() += count;
        let by = if lock.estimated { &lock.contention.by_holder } else { &lock.contention.by_releaser };
        pauses.requesters.extend(all_blamed(profile, by));
        pauses.wait = longer(pauses.wait, wait(lock.contention.waits));
    }
    for lock in of(LockKind::StopRequest) {
        pauses.last_to_stop.extend(all_blamed(profile, &lock.contention.by_releaser));
        pauses.time_to_stop = longer(pauses.time_to_stop, wait(lock.contention.waits));
    }
    let start = profile.session.start;
    let interval = |(part, interval): (TimeRange, TrendInterval)| PausedInterval {
        from_s: seconds(part.start.since(start)),
        to_s: seconds(part.end.min(profile.session.end).since(start)),
        count: interval.count,
        total_s: seconds(interval.total_ns),
        max_s: seconds(interval.max_ns),
    };
    pauses.trend = profile.locks.pauses().intervals().into_iter().map(interval).collect();
    pauses
}

fn longer(a: Wait, b: Wait) -> Wait {
    if a.total_s >= b.total_s { a } else { b }
}

/// Who waited for something to do, or for something of which there is a limited number.
pub(super) fn waiting_for_work(profile: &Profile, limited: bool) -> Vec<Idle> {
    let period = profile.session.period_ns();
    let mut found: FxHashMap<_, (Work, u64)> = FxHashMap::default();
    for (key, weight) in profile.tree.sorted() {
        if key.state != ThreadState::Blocked(Syscall::FUTEX) {
            continue;
        }
        let Some(work) = profile.work(key.stack).filter(|work| work.is_limited() == limited) else {
            continue;
        };
        let ns = weight.ns(period);
        found.entry((key.thread, key.stack)).or_insert((work, 0)).1 += ns;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|&((thread, stack), (_, ns))| (Reverse(ns), thread, stack));
    found.truncate(MAX_ATTRIBUTED);
    found
        .into_iter()
        .map(|((thread, stack), (work, ns))| Idle {
            kind: work.name().to_owned(),
            by: blamed(profile, &Blame { thread, stack, ns }),
        })
        .collect()
}
