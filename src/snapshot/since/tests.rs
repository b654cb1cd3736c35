//! Parts add up to the whole.

use super::*;
use crate::event::{Event, GilGlimpse, GilId, GilInfo, OffCpu, ProcessId, ProcessInfo, ThreadId, ThreadState};
use crate::profile::Mode;
use crate::stack::StackId;
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// A recording with waits for the GIL of these lengths, in milliseconds, one after the other: a snapshot before each, and one
/// at the end.
fn snapshots(waits: &[u64]) -> Vec<Snapshot> {
    let mut profile = Profile::default();
    profile.session.mode = Mode::Kernel;
    profile.session.rate_hz = 100.0;
    let info = ProcessInfo { pid: 1, command: Vec::new(), python: "3.12.1".to_owned(), free_threaded: false };
    profile.push(&Event::Process { process: ProcessId(0), info: Arc::new(info) });
    let (at, process) = (Nanos(0), ProcessId(0));
    for thread in [ThreadId(0), ThreadId(1)] {
        profile.push(&Event::ThreadStarted { at, thread, process, tid: 1 + thread.0 as i32 });
    }
    let info = GilInfo { process, interpreter: 0, enabled: true, switch_interval_ns: 5 * MS };
    profile.push(&Event::Gil { at, gil: GilId(0), info: Arc::new(info), switched_on_by: None });
    let mut now = 0;
    let mut taken = vec![Snapshot::of(Nanos(0), &profile, &[])];
    for (turn, &length) in (1..).zip(waits) {
        let (start, end) = (Nanos(now), Nanos(now + length * MS));
        let gil = GilGlimpse { gil: GilId(0), holder: Some(ThreadId(0)), locked: true, switches: 3 * turn };
        profile.push(&Event::OffCpu(OffCpu {
            gil: Some(gil),
            ..OffCpu::new(ThreadId(1), start, end, ThreadState::GilWait, StackId::EMPTY)
        }));
        now = end.0 + MS;
        taken.push(Snapshot::of(Nanos(now), &profile, &[]));
    }
    taken
}

proptest::proptest! {
    #[test]
    fn two_parts_are_the_whole(waits in proptest::collection::vec(1..100_u64, 1..20), at in 0..20_usize) {
        let taken = snapshots(&waits);
        let (last, middle) = (&taken[taken.len() - 1], &taken[at.min(taken.len() - 1)]);
        let nothing = Snapshot::default();
        let [whole, first, second] = [last.since(&nothing), middle.since(&nothing), last.since(middle)];
        let sum = |of: fn(&GilSummary) -> u64| (of(&whole.gils[0]), of(&first.gils[0]) + of(&second.gils[0]));
        for (whole, parts) in [
            sum(|gil| gil.contention.waits.count),
            sum(|gil| gil.contention.waits.total_ns),
            sum(|gil| gil.contention.lengths.count()),
            sum(|gil| gil.contention.caused_ns + gil.contention.gap_ns + gil.contention.unknown_ns),
            sum(|gil| gil.contention.by_waiter.iter().map(|blame| blame.ns).sum()),
            sum(|gil| gil.observed_ns),
        ] {
            assert_eq!(whole, parts);
        }
        let off_cpu = |part: &Snapshot| part.profile.tree.iter().map(|(_, weight)| weight.off_cpu_ns).sum::<u64>();
        assert_eq!(off_cpu(&whole), off_cpu(&first) + off_cpu(&second));
        assert!((whole.seconds() - first.seconds() - second.seconds()).abs() < 1e-9);
    }
}

#[test]
fn percentiles_are_of_the_part() {
    let taken = snapshots(&[&[50; 20][..], &[3; 20]].concat());
    let whole = &taken[taken.len() - 1];
    let late = whole.since(&taken[taken.len() - 6]);
    let within = |ns: u64, ms: u64| ns.abs_diff(ms * MS) <= ms * MS / 50;
    assert!(within(whole.gils[0].contention.waits.max_ns, 50), "{:?}", whole.gils[0].contention.waits);
    assert!(within(late.gils[0].contention.waits.p99_ns, 3), "{:?}", late.gils[0].contention.waits);
    assert!(within(late.gils[0].contention.waits.max_ns, 3), "{:?}", late.gils[0].contention.waits);
}

#[test]
fn a_thread_that_still_waits_for_a_lock_is_reported_at_once() {
    use crate::event::{LockId, LockInfo, LockKind};
    let mut profile = Profile::default();
    profile.session.mode = Mode::Kernel;
    let info = ProcessInfo { pid: 1, command: Vec::new(), python: "3.12.1".to_owned(), free_threaded: false };
    profile.push(&Event::Process { process: ProcessId(0), info: Arc::new(info) });
    profile.push(&Event::ThreadStarted { at: Nanos(0), thread: ThreadId(0), process: ProcessId(0), tid: 1 });
    let (process, kind) = (ProcessId(0), LockKind::Lock);
    let info = LockInfo { process, address: 1, kind, type_name: None, name: None };
    profile.push(&Event::Lock { lock: LockId(0), info: Arc::new(info) });
    let waits = |from: u64, until: u64, open| OffCpu {
        open,
        ..OffCpu::new(
            ThreadId(0),
            Nanos(from * MS),
            Nanos(until * MS),
            ThreadState::LockWait(LockId(0)),
            StackId::EMPTY,
        )
    };
    let early = Snapshot::of(Nanos(500 * MS), &profile, &[waits(0, 500, true)]);
    let later = Snapshot::of(Nanos(1500 * MS), &profile, &[waits(0, 1500, true)]);
    assert_eq!(early.locks[0].contention.waits.total_ns, 500 * MS);
    assert_eq!(early.now[0].map(|now| now.state), Some(ThreadState::LockWait(LockId(0))));
    assert_eq!(early.now[0].and_then(|now| now.since), Some(Nanos(0)));
    let Contention { waits: stats, caused_ns, gap_ns, unknown_ns, .. } = early.locks[0].contention;
    assert_eq!((caused_ns + gap_ns + unknown_ns, stats.max_ns), (stats.total_ns, stats.total_ns));
    let part = later.since(&early);
    assert_eq!((part.locks[0].contention.waits.total_ns, part.locks[0].contention.waits.count), (1000 * MS, 0));
    // And when it is over, it is not reported twice.
    profile.push(&Event::OffCpu(waits(0, 2000, false)));
    profile.finish();
    let over = Snapshot::of(Nanos(2000 * MS), &profile, &[]);
    assert_eq!(over.since(&later).locks[0].contention.waits.total_ns, 500 * MS);
    assert_eq!(over.since(&Snapshot::default()).locks[0].contention.waits.total_ns, 2000 * MS);
}

/// Of everything that is counted, what came since is what there is now without what there was before. Numbers differ, so
/// that one that is taken for another shows.
#[test]
fn whatever_is_counted_is_counted_from_the_earlier_one() {
    use crate::event::{LockId, LockInfo, LockKind};
    let session = |times: u64| SessionInfo {
        ticks: 2 * times,
        looks: 3 * times,
        late_ticks: 5 * times,
        profiler_cpu_ns: 7 * times,
        waits: 11 * times,
        records_lost: 13 * times,
        ..SessionInfo::default()
    };
    let part = super::session(&session(5), &session(2), Nanos(0));
    assert_eq!(format!("{part:?}"), format!("{:?}", session(3)));

    let account = |times: u64| {
        let numbers = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29].map(|prime| prime * times);
        Account::of(Nanos(9), numbers)
    };
    assert_eq!(super::account(account(5), account(2)).numbers(), account(3).numbers());

    let classes = |times: u64| HoldClasses {
        python_ns: 2 * times,
        native_ns: 3 * times,
        off_cpu_ns: 5 * times,
        runnable_ns: 7 * times,
    };
    let contention = |times: u64| Contention {
        contended_ns: 3 * times,
        caused_ns: 5 * times,
        gap_ns: 7 * times,
        unknown_ns: 11 * times,
        ..Contention::default()
    };
    let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 1 };
    let info = Arc::new(info);
    let gil = |times: u64| GilSummary {
        observed_ns: 2 * times,
        held: classes(times),
        contention: contention(times),
        forced_drops: 13 * times,
        voluntary_drops: 17 * times,
        ..GilSummary::nothing_yet(info.clone())
    };
    assert_eq!(format!("{:?}", super::gil(&gil(5), Some(&gil(2)))), format!("{:?}", gil(3)));

    let (process, kind) = (ProcessId(0), LockKind::Lock);
    let info = Arc::new(LockInfo { process, address: 1, kind, type_name: None, name: None });
    let lock = |times: u64| LockSummary {
        parks: 2 * times,
        spun: 3 * times,
        contention: contention(times),
        owner_changes: 7 * times,
        releases: 11 * times,
        ..LockSummary::nothing_yet(LockId(0), info.clone())
    };
    assert_eq!(format!("{:?}", super::lock(&lock(5), Some(&lock(2)))), format!("{:?}", lock(3)));
}

#[test]
fn an_estimate_that_has_become_less_does_not_make_the_sum_more() {
    use crate::contention::fixture::stack;
    let blame = |thread, number, ns| Blame { thread: ThreadId(thread), stack: stack(number), ns };
    let before = [blame(1, 1, 100), blame(2, 1, 10)];
    let now = [blame(1, 1, 60), blame(1, 2, 60), blame(1, 3, 21), blame(2, 1, 30)];
    let since = blames(&now, &before);
    assert_eq!(since, [blame(1, 2, 30), blame(2, 1, 20), blame(1, 3, 11)]);
    let pairs = |all: &[Blame]| all.iter().map(|&blame| (ThreadId(9), blame)).collect::<Vec<_>>();
    assert_eq!(kinds(&pairs(&now), &pairs(&before), 9), pairs(&since));
}
