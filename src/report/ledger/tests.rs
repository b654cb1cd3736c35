//! Ledgers of threads that did one thing or another.

use super::*;
use crate::event::Syscall;
use crate::report::fixture::{self, MS, quiet_gil, samples};

fn sum(states: &States) -> f64 {
    let States { running_s, gil_held_s, gil_held_off_cpu_s, gil_held_no_cpu_s, gil_wait_s, lock_wait_s, .. } =
        *states;
    let States { native_s, paused_s, blocked_s, runnable_s, stopped_s, unknown_s, .. } = *states;
    let held = gil_held_s + gil_held_off_cpu_s + gil_held_no_cpu_s + gil_wait_s;
    running_s + held + lock_wait_s + native_s + paused_s + blocked_s + runnable_s + stopped_s + unknown_s
}

fn assert_whole(threads: &[Thread]) {
    for thread in threads {
        assert!((sum(&thread.states) - thread.wall_s).abs() < 1e-6, "{thread:?}");
        assert!(thread.wall_s > 0.0);
    }
}

/// The ledger of the only thread of a profile in kernel mode, made by `fill`.
fn exact(free_threaded: bool, account: Option<Account>, fill: impl Fn(&mut Profile)) -> Thread {
    let mut profile = fixture::profile(Mode::Kernel, free_threaded, &[""]);
    fill(&mut profile);
    fixture::finish(&mut profile);
    profile.threads[0].account = account;
    let gil = GilSummary { info: gil_info(!free_threaded), ..quiet_gil() };
    let threads = ledgers(&profile, &[gil]);
    assert_whole(&threads);
    threads[0].clone()
}

fn gil_info(enabled: bool) -> std::sync::Arc<crate::event::GilInfo> {
    let mut info = (*quiet_gil().info).clone();
    info.enabled = enabled;
    info.into()
}

#[test]
fn measured_times_are_taken_as_they_are() {
    let (profile, gil) = fixture::fight();
    let threads = ledgers(&profile, &[gil]);
    assert_whole(&threads);
    let client = &threads[1];
    assert_eq!((client.wall_s, client.cpu_s), (2.0, 0.03));
    assert_eq!((client.states.gil_wait_s, client.states.blocked_s, client.states.runnable_s), (1.53, 0.43, 0.01));
    // Two samples of three had the GIL.
    assert_eq!((client.states.gil_held_s, client.states.native_s), (0.02, 0.01));
    assert_eq!(threads[0].states.blocked_s, 1.998, "a futex is a place to sleep, too");
    assert_eq!(threads[2].states.gil_held_no_cpu_s, 0.02, "without a CPU it is held as well");
    assert_eq!(threads[3].states.gil_held_off_cpu_s, 0.4);
    assert_eq!((threads[3].name.as_deref(), threads[0].name.as_deref()), (Some("legacy"), None));
}

#[test]
fn what_no_account_covers_is_unknown() {
    let account = Account { on_cpu_ns: 500 * MS, unknown_ns: 100 * MS, ..Account::default() };
    let thread = exact(false, Some(account), |profile| samples(profile, ThreadId(0), 3, ThreadState::Native));
    assert_eq!((thread.wall_s, thread.states.native_s, thread.states.unknown_s), (2.0, 0.5, 1.5));
    // An account that covers more than was noticed of the thread.
    let account = Account { on_cpu_ns: 500 * MS, blocked_ns: 2500 * MS, ..Account::default() };
    assert_eq!(exact(false, Some(account), |_| {}).wall_s, 3.0);
}

#[test]
fn a_thread_that_was_never_seen_running_runs_what_it_can() {
    let states = |free_threaded, account| exact(free_threaded, Some(account), |_| {}).states;
    let account = Account { on_cpu_ns: 10 * MS, ..Account::default() };
    assert_eq!(states(true, account).running_s, 0.01);
    assert_eq!(states(false, account).native_s, 0.01, "nothing says that it ever had the GIL");
    assert_eq!(states(false, Account { gil_waits: 1, ..account }).gil_held_s, 0.01);
    let held = Account { gil_held_runnable_ns: 1, ..account };
    assert_eq!(states(false, held).gil_held_s, 0.01);
    // What is known of the GIL says so as well.
    let (mut profile, gil) = fixture::fight();
    profile.tree = Default::default();
    assert_eq!(ledgers(&profile, std::slice::from_ref(&gil))[3].states.gil_held_s, 0.02);
    assert_eq!(ledgers(&profile, &[gil])[0].states.native_s, 0.002);
}

#[test]
fn a_thread_without_an_account_is_made_of_what_was_seen() {
    let thread = exact(false, None, |profile| {
        let off = crate::event::OffCpu::new(
            ThreadId(0),
            profile.session.start,
            crate::event::Nanos(profile.session.start.0 + 1200 * MS),
            ThreadState::Blocked(Syscall(0)),
            crate::stack::StackId::EMPTY,
        );
        profile.push(&crate::event::Event::OffCpu(off));
        samples(profile, ThreadId(0), 50, ThreadState::GilHeld);
    });
    assert_eq!((thread.cpu_s, thread.states.gil_held_s), (0.5, 0.5), "fifty periods of ten milliseconds");
    assert_eq!((thread.states.blocked_s, thread.states.unknown_s), (1.2, 0.3));
}

#[test]
fn samples_stand_for_all_of_the_time() {
    let mut profile = fixture::profile(Mode::Memory, false, &["", "never seen"]);
    use ThreadState::{Blocked, GilHeld, GilHeldNative, GilHeldOffCpu, GilWait, Native, Running, Stopped, Unknown};
    let call = Syscall(0);
    // 199 looks in two seconds, as it happens.
    for (count, state) in [(50, GilHeld), (10, GilHeldNative), (20, GilHeldOffCpu(call)), (40, GilWait), (9, Running)]
    {
        samples(&mut profile, ThreadId(0), count, state);
    }
    for (count, state) in [(30, Native), (20, Blocked(call)), (15, Stopped), (5, Unknown)] {
        samples(&mut profile, ThreadId(0), count, state);
    }
    fixture::finish(&mut profile);
    let threads = ledgers(&profile, &[]);
    assert_whole(&threads);
    let states = threads[0].states;
    let shares = [states.gil_held_s, states.gil_held_off_cpu_s, states.gil_wait_s, states.running_s, states.native_s];
    for (seconds, count) in shares.into_iter().zip([60.0, 20.0, 40.0, 9.0, 30.0]) {
        assert!((seconds - 2.0 * count / 199.0).abs() < 1e-6, "{states:?}");
    }
    assert!((states.stopped_s - 30.0 / 199.0).abs() < 1e-6);
    assert!((states.unknown_s - 10.0 / 199.0).abs() < 1e-6);
    assert_eq!(threads[1].states.unknown_s, 2.0);
}

#[test]
fn rounding_loses_nothing() {
    let mut parts = ActivityParts::default();
    for activity in [Activity::Running, Activity::GilHeld, Activity::Unknown] {
        parts[activity] = 1;
    }
    for total in [0, 1, 2, 100, u64::MAX] {
        assert_eq!(parts.scaled_to(total).total(), total);
    }
    assert_eq!(parts.scaled_to(100)[Activity::Blocked], 0);
}

#[test]
fn being_ready_after_a_wait_for_a_lock_counts_once() {
    use crate::event::{Event, LockId, LockInfo, LockKind, OffCpu, ProcessId};
    // It slept for 900 ms in `futex`, and had no CPU for 100 ms before it had the lock, and for 50 ms another time.
    let (futex_ns, runnable_ns, on_cpu_ns) = (900 * MS, 150 * MS, 950 * MS);
    let account = Account { on_cpu_ns, futex_ns, runnable_ns, ..Account::default() };
    let thread = exact(true, Some(account), |profile| {
        let (process, kind) = (ProcessId(0), LockKind::Lock);
        let info = LockInfo { process, address: 1, kind, type_name: None, name: None };
        profile.push(&Event::Lock { lock: LockId(0), info: info.into() });
        let (start, end) = (profile.session.start, crate::event::Nanos(profile.session.start.0 + 1000 * MS));
        let (thread, state) = (ThreadId(0), ThreadState::LockWait(LockId(0)));
        let stack = crate::stack::StackId::EMPTY;
        let off = OffCpu::new(thread, start, end, state, stack);
        profile.push(&Event::OffCpu(off));
    });
    let states = thread.states;
    assert_eq!((thread.wall_s, states.lock_wait_s, states.runnable_s, states.blocked_s), (2.0, 1.0, 0.05, 0.0));
}
