//! Locks from single events.

use super::*;
use crate::contention::fixture::stack;
use crate::contention::in_order::OffCpuOrder;
use crate::event::{GilGlimpse, GilId, ProcessId, Syscall, Wake};

const HOLDER: ThreadId = ThreadId(1);
const WAITER: ThreadId = ThreadId(2);
const OTHER: ThreadId = ThreadId(3);
const LOCK: LockId = LockId(0);
const US: u64 = 1000;

fn locks(events: &[OffCpu]) -> Locks {
    let mut locks = Locks::default();
    let (process, kind) = (ProcessId(0), LockKind::Lock);
    let info = LockInfo { process, address: 0x1000, kind, type_name: None, name: None };
    locks.found(LOCK, &Arc::new(info));
    feed(&mut locks, events);
    locks
}

/// Does what a profile does with times off the CPU.
fn feed(locks: &mut Locks, events: &[OffCpu]) {
    let mut order = OffCpuOrder::default();
    for off in events {
        order.push(*off, true);
        std::iter::from_fn(|| order.pop()).for_each(|next| locks.off_cpu(&next.off));
        locks.decide(order.complete());
    }
    order.finish();
    std::iter::from_fn(|| order.pop()).for_each(|next| locks.off_cpu(&next.off));
}

fn summary(mut locks: Locks) -> LockSummary {
    locks.finish(Nanos(u64::MAX));
    let summary = locks.summaries(1.0).remove(0);
    assert_eq!(
        summary.contention.caused_ns + summary.contention.gap_ns + summary.contention.unknown_ns,
        summary.contention.waits.total_ns
    );
    assert_eq!(summary.contention.by_holder.iter().map(|blame| blame.ns).sum::<u64>(), summary.contention.caused_ns);
    assert_eq!(
        summary.contention.by_waiter.iter().map(|blame| blame.ns).sum::<u64>(),
        summary.contention.waits.total_ns
    );
    summary
}

/// Times in microseconds.
fn off(thread: ThreadId, start: u64, end: u64, state: ThreadState, number: u32) -> OffCpu {
    let (start, end) = (Nanos(start * US), Nanos(end * US));
    OffCpu::new(thread, start, end, state, stack(number))
}

/// A sleep for the lock, ended by a release.
fn sleep(thread: ThreadId, start: u64, end: u64, woken: u64, by: ThreadId) -> OffCpu {
    let wake = Wake { at: Nanos(woken * US), by: Some(by), stack: stack(9), switches: None };
    OffCpu { wake: Some(wake), ..off(thread, start, end, ThreadState::LockWait(LOCK), thread.0) }
}

#[test]
fn a_wait_is_attributed_to_where_the_holder_was() {
    let blocked = ThreadState::Blocked(Syscall(0));
    let mut locks = locks(&[off(HOLDER, 100, 400, blocked, 5), sleep(WAITER, 200, 1010, 1000, HOLDER)]);
    locks.sample(Nanos(700 * US), 1, HOLDER, ThreadState::GilHeld, stack(6));
    let summary = summary(locks);
    assert_eq!((summary.contention.waits.count, summary.contention.waits.total_ns, summary.parks), (1, 810 * US, 1));
    assert_eq!((summary.contention.gap_ns, summary.contention.unknown_ns), (10 * US, 0));
    let by: Vec<_> =
        summary.contention.by_holder.iter().map(|blame| (blame.thread, blame.stack, blame.ns / US)).collect();
    assert_eq!(by, [(HOLDER, stack(6), 600), (HOLDER, stack(5), 200)]);
    let held = Blame { thread: HOLDER, stack: stack(5), ns: 200 * US };
    assert_eq!(summary.holder_off_cpu, [(blocked, held)]);
    assert_eq!(summary.contention.by_releaser, [Blame { thread: HOLDER, stack: stack(9), ns: 810 * US }]);
}

#[test]
fn sleeps_are_one_wait_if_the_lock_was_asked_for_once() {
    let asked = |at: u64, off: OffCpu| OffCpu { asked: Some(Nanos(at * US)), ..off };
    let waits = |first: u64, second: u64, between: u64| {
        let [one, two] = [asked(first, sleep(WAITER, 100, 200, 199, HOLDER)), {
            let start = 200 + between;
            asked(second, sleep(WAITER, start, start + 100, start + 99, HOLDER))
        }];
        let summary = summary(locks(&[one, two]));
        (summary.contention.waits.count, summary.contention.waits.total_ns / US, summary.parks)
    };
    assert_eq!(waits(90, 90, 1), (1, 201, 2), "it was woken in vain");
    assert_eq!(waits(90, 90, 5000), (1, 5200, 2), "however long it spun");
    assert_eq!(waits(90, 201, 1), (2, 200, 2), "it has had it in between, however short that was");
}

#[test]
fn who_is_woken_in_vain_goes_on_with_the_same_wait() {
    let runnable = off(WAITER, 112, 152, ThreadState::Runnable, 2);
    let summary = summary(locks(&[
        sleep(WAITER, 0, 110, 100, HOLDER),
        runnable,
        sleep(WAITER, 160, 310, 300, OTHER),
        sleep(WAITER, 400, 510, 500, HOLDER),
    ]));
    assert_eq!((summary.contention.waits.count, summary.parks, summary.owner_changes), (2, 3, 2));
    assert_eq!(summary.contention.waits.max_ns, 310 * US);
    assert_eq!(summary.threads.iter().map(|share| share.caused_ns).sum::<u64>(), summary.contention.caused_ns);
}

#[test]
fn who_has_released_it_meanwhile_waits_anew() {
    let events = [
        sleep(WAITER, 0, 110, 100, HOLDER),
        sleep(HOLDER, 105, 114, 113, WAITER),
        sleep(WAITER, 115, 210, 200, HOLDER),
    ];
    assert_eq!(summary(locks(&events)).contention.waits.count, 3);
}

#[test]
fn who_has_had_another_lock_meanwhile_waits_anew() {
    let other = LockId(1);
    let for_other = |off: OffCpu| OffCpu { state: ThreadState::LockWait(other), ..off };
    let count = |meanwhile: OffCpu| {
        let mut locks = locks(&[]);
        let info = locks.info(LOCK).clone();
        locks.found(other, &info);
        let events = [sleep(WAITER, 0, 110, 100, HOLDER), meanwhile, sleep(WAITER, 120, 210, 200, HOLDER)];
        feed(&mut locks, &events);
        locks.finish(Nanos(u64::MAX));
        locks.summaries(1.0).iter().find(|lock| lock.id == LOCK).unwrap().contention.waits.count
    };
    assert_eq!(count(for_other(sleep(OTHER, 50, 119, 115, HOLDER))), 1);
    assert_eq!(count(for_other(sleep(OTHER, 50, 119, 115, WAITER))), 2, "it released the other");
    assert_eq!(count(for_other(sleep(WAITER, 111, 118, 115, HOLDER))), 2, "it waited for the other");
    assert_eq!(count(off(WAITER, 111, 118, ThreadState::GilWait, 1)), 1, "to look it may need the GIL");
}

#[test]
fn who_has_had_the_gil_meanwhile_waits_anew() {
    let count = |holder, locked| {
        let gil = Some(GilGlimpse { gil: GilId(0), holder: Some(holder), locked, switches: 1 });
        let events = [sleep(WAITER, 0, 110, 100, HOLDER), OffCpu { gil, ..sleep(WAITER, 120, 210, 200, HOLDER) }];
        summary(locks(&events)).contention.waits.count
    };
    assert_eq!([count(WAITER, false), count(HOLDER, true), count(HOLDER, false)], [2, 1, 1]);
}

#[test]
fn a_wait_without_an_end_is_of_an_unknown_holder() {
    let open = OffCpu { open: true, ..off(WAITER, 0, 500, ThreadState::LockWait(LOCK), 2) };
    let summary = summary(locks(&[open]));
    assert_eq!((summary.contention.waits.total_ns, summary.contention.unknown_ns), (500 * US, 500 * US));
}

#[test]
fn who_releases_it_had_it_while_others_gave_up() {
    let timed_out = |start: u64, end: u64| off(WAITER, start, end, ThreadState::LockWait(LOCK), 2);
    let caused = |events: &[OffCpu]| {
        let summary = summary(locks(events));
        assert!(summary.contention.by_holder.iter().all(|blame| blame.thread == HOLDER));
        (summary.contention.caused_ns / US, summary.contention.unknown_ns / US)
    };
    const S: u64 = 1_000_000;
    let looks = [timed_out(S, 2 * S), timed_out(3 * S, 4 * S)];
    assert_eq!(caused(&looks), (0, 2 * S));
    let [first, second] = looks;
    assert_eq!(caused(&[first, second, sleep(WAITER, 4 * S, 5 * S, 5 * S, HOLDER)]), (3 * S, 0));
    assert_eq!(caused(&[first, second, sleep(OTHER, 4 * S, 5 * S, 5 * S, HOLDER)]), (3 * S, 0), "whoever is woken");
    assert_eq!(caused(&[first, second, sleep(WAITER, 9 * S, 11 * S, 11 * S, HOLDER)]), (2 * S, 2 * S), "not watched");
    let all_along = sleep(OTHER, S, 11 * S, 11 * S, HOLDER);
    assert_eq!(caused(&[first, second, all_along]), (12 * S, 0));
}

#[test]
fn waits_that_were_sampled_are_runs_of_ticks() {
    let mut locks = locks(&[]);
    let waits = ThreadState::LockWait(LOCK);
    for tick in 0..10 {
        let at = Nanos(tick);
        if tick < 4 {
            locks.held(at, LOCK, HOLDER, stack(7));
        }
        let state = if tick == 5 { ThreadState::GilHeld } else { waits };
        locks.sample(at, 1, WAITER, state, stack(1));
        locks.sample(at, 1, OTHER, ThreadState::GilHeld, stack(2));
    }
    locks.finish(Nanos(u64::MAX));
    let summary = locks.summaries(1000.0).remove(0);
    assert!(summary.estimated);
    assert_eq!(
        (summary.contention.waits.count, summary.contention.waits.total_ns, summary.contention.waits.max_ns),
        (2, 9000, 5000)
    );
    assert_eq!(
        (summary.contention.caused_ns, summary.contention.unknown_ns, summary.contention.contended_ns),
        (4000, 5000, 9000)
    );
    assert_eq!(summary.contention.by_holder, [Blame { thread: HOLDER, stack: stack(7), ns: 4000 }]);
}

#[test]
fn nothing_is_remembered_where_there_are_no_locks() {
    let mut none = Locks::default();
    feed(&mut none, &[off(HOLDER, 0, 10, ThreadState::Runnable, 1)]);
    none.sample(Nanos(5), 1, HOLDER, ThreadState::GilHeld, stack(1));
    none.finish(Nanos(5));
    assert!(none.summaries(1.0).is_empty());
}

#[test]
fn short_holds_are_attributed_to_what_was_sampled_in_like_ones() {
    // It holds the lock for 50 us, again and again, and releases it where it has only to release it.
    let mut locks = locks(&[]);
    for turn in 0..100 {
        let start = turn * 100;
        if turn % 10 == 0 {
            locks.sample(Nanos((start + 20) * US), 1, HOLDER, ThreadState::Running, stack(5));
        }
        feed(&mut locks, &[sleep(WAITER, start, start + 55, start + 50, HOLDER)]);
    }
    let by_holder = summary(locks).contention.by_holder;
    assert_eq!(by_holder, [Blame { thread: HOLDER, stack: stack(5), ns: 5000 * US }]);
}

#[test]
fn who_spins_before_a_lock_is_known_spins_for_that_of_the_same_place() {
    let mut locks = locks(&[sleep(WAITER, 10, 20, 15, HOLDER)]);
    let other =
        LockInfo { process: ProcessId(0), address: 0x2000, kind: LockKind::Lock, type_name: None, name: None };
    locks.found(LockId(1), &Arc::new(other));
    let at = Nanos(0);
    let spins = [(5, 1, Some(LOCK)), (2, 1, Some(LockId(1))), (30, 1, None), (7, 2, None)];
    for (times, number, lock) in spins {
        (0..times).for_each(|_| locks.spin(at, WAITER, stack(number), lock));
    }
    assert_eq!(summary(locks).spun, 35, "elsewhere it may have been for anything");
}
