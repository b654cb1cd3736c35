//! Whole analyses of a few events, in kernel mode and in memory mode.

use std::sync::Arc;

use crate::contention::fixture::stack;
use crate::contention::selection::Retention;
use crate::contention::{Blame, Handoff, Hold};
use crate::event::{GilGlimpse, GilId, GilInfo, Nanos, OffCpu, ProcessId, Syscall, ThreadId, ThreadState, Wake};
use crate::gil::analysis::GilAnalysis;
use crate::gil::summary::HoldClasses;

const A: ThreadId = ThreadId(1);
const B: ThreadId = ThreadId(2);
const C: ThreadId = ThreadId(3);
const MS: u64 = 1_000_000;

fn info(enabled: bool) -> Arc<GilInfo> {
    let process = ProcessId(0);
    Arc::new(GilInfo { process, interpreter: 0, enabled, switch_interval_ns: 5 * MS })
}

fn analysis() -> GilAnalysis {
    GilAnalysis::new(Nanos(0), info(true), Retention { timeline: true, ..Retention::default() })
}

/// What a profile does with a time off the CPU that comes in order.
fn feed(analysis: &mut GilAnalysis, off: &OffCpu) {
    analysis.announce_off_cpu(off.end);
    analysis.off_cpu(off);
    analysis.decide();
}

fn blame(thread: ThreadId, number: u32, ns: u64) -> Blame {
    Blame { thread, stack: stack(number), ns }
}

fn off(thread: ThreadId, start: u64, end: u64, state: ThreadState, number: u32, gil: GilGlimpse) -> OffCpu {
    let (start, end) = (Nanos(start), Nanos(end));
    let stack = stack(number);
    OffCpu { gil: Some(gil), ..OffCpu::new(thread, start, end, state, stack) }
}

fn held_by(holder: ThreadId, switches: u32) -> GilGlimpse {
    GilGlimpse { gil: GilId(0), holder: Some(holder), locked: true, switches }
}

fn released_by(by: ThreadId, at: u64, number: u32, switches: u32) -> Option<Wake> {
    Some(Wake { at: Nanos(at), by: Some(by), stack: stack(number), switches: Some(switches) })
}

/// A holds the GIL from before 10 ms and sleeps with it from 12 to 15 ms; B asks for it after 5 ms and gets it at 17
/// ms; C waits from 16 ms to the end at 30 ms.
fn kernel_mode() -> GilAnalysis {
    let mut analysis = analysis();
    let call = Syscall(35);
    let wait = ThreadState::GilWait;
    let b1 = off(B, 10 * MS, 15 * MS, wait, 1, held_by(A, 4));
    let sleep = off(A, 12 * MS, 15 * MS, ThreadState::GilHeldOffCpu(call), 2, held_by(A, 4));
    let wake = released_by(A, 16_900_000, 3, 4);
    let b2 = OffCpu { wake, ..off(B, 15 * MS + 2000, 17 * MS, wait, 1, held_by(A, 4)) };
    let c = OffCpu { open: true, ..off(C, 16 * MS, 30 * MS, wait, 4, held_by(A, 4)) };
    analysis.sample(Nanos(11 * MS), 2, A, ThreadState::GilHeld, stack(5));
    for event in [sleep, b1, b2, c] {
        feed(&mut analysis, &event);
    }
    analysis.sample(Nanos(20 * MS), 3, B, ThreadState::GilHeldNative, stack(6));
    analysis.finish(Nanos(30 * MS));
    analysis
}

#[test]
fn kernel_mode_is_exact() {
    let summary = kernel_mode().summary(1e6);
    assert!(!summary.estimated);
    assert_eq!(summary.observed_ns, 30 * MS);
    assert_eq!(summary.contention.waits.count, 2, "the slices of B are one wait");
    assert_eq!(summary.contention.waits.total_ns, 21 * MS);
    assert_eq!(summary.contention.waits.max_ns, 14 * MS);
    assert_eq!(summary.contention.contended_ns, 20 * MS);
    assert_eq!(
        (summary.contention.caused_ns, summary.contention.gap_ns, summary.contention.unknown_ns),
        (20_800_000, 200_000, 0)
    );
    assert_eq!(summary.contention.by_waiter, [blame(C, 4, 14 * MS), blame(B, 1, 7 * MS)]);
    assert_eq!(summary.contention.by_releaser, [blame(A, 3, 7 * MS)]);
    // B waited 6.9 ms for A, C 0.9 ms; 3 ms of that for its sleep. Then C waited 13 ms for B.
    let unsampled = Blame { thread: A, stack: crate::stack::StackId::NOT_SAMPLED, ns: 4_800_000 };
    let by_holder = [blame(B, 6, 13 * MS), unsampled, blame(A, 2, 3 * MS)];
    assert_eq!(
        summary.contention.by_holder, by_holder,
        "the first sample came before it was known that this is kernel mode"
    );
    assert_eq!((summary.contention.on_cpu_ns, summary.contention.samples), (17_800_000, 1));
    assert_eq!((summary.forced_drops, summary.voluntary_drops), (1, 0));
    assert_eq!(summary.held_off_cpu, [(Syscall(35), blame(A, 2, 3 * MS))]);
    let held = HoldClasses { python_ns: 2 * MS, native_ns: 3 * MS, off_cpu_ns: 3 * MS, runnable_ns: 0 };
    assert_eq!(summary.held, held);
    let threads: Vec<_> = summary.threads.iter().map(|s| (s.thread, s.waits.total_ns, s.caused_ns)).collect();
    assert_eq!(threads, [(A, 0, 7_800_000), (B, 7 * MS, 13 * MS), (C, 14 * MS, 0)]);
    assert_eq!(summary.threads[0].held, HoldClasses { python_ns: 2 * MS, off_cpu_ns: 3 * MS, ..Default::default() });
}

#[test]
fn kernel_mode_has_a_timeline() {
    let analysis = kernel_mode();
    let timeline = analysis.timeline().unwrap();
    let hold = |thread, start, end| Hold { thread, start: Nanos(start), end: Nanos(end) };
    assert_eq!(timeline.holds, [hold(A, 10 * MS, 16_900_000), hold(B, 17 * MS, 30 * MS)]);
    let waiters = [(10, 1), (16, 2), (17, 1), (30, 0)].map(|(ms, waiters)| (Nanos(ms * MS), waiters));
    assert_eq!(timeline.waiters, waiters);
    let handoff = Handoff { from: A, released: Nanos(16_900_000), to: B, acquired: Nanos(17 * MS) };
    assert_eq!(timeline.handoffs, [handoff]);
}

#[test]
fn a_thread_does_not_cause_its_own_waiting() {
    let mut analysis = analysis();
    feed(&mut analysis, &off(B, 10 * MS, 15 * MS, ThreadState::GilWait, 1, held_by(A, 4)));
    analysis.sample(Nanos(12 * MS), 1, B, ThreadState::GilHeld, stack(1));
    analysis.finish(Nanos(30 * MS));
    let summary = analysis.summary(1e6);
    assert_eq!(
        (summary.contention.caused_ns, summary.contention.gap_ns, summary.contention.unknown_ns),
        (2 * MS, 0, 3 * MS)
    );
}

#[test]
fn the_parts_add_up_while_it_goes_on() {
    let mut analysis = analysis();
    for i in 0..100 {
        let event = off(B, i * 10 * MS, i * 10 * MS + 3 * MS, ThreadState::GilWait, 1, held_by(A, 2 * i as u32));
        let wake = released_by(A, event.end.0 - 50_000, 3, 2 * i as u32);
        feed(&mut analysis, &OffCpu { wake, ..event });
        let summary = analysis.summary(1e6);
        assert_eq!(
            summary.contention.caused_ns + summary.contention.gap_ns + summary.contention.unknown_ns,
            summary.contention.waits.total_ns
        );
        let undecided = 3 * 3 * MS;
        assert!(summary.contention.unknown_ns <= undecided, "{} at {i}", summary.contention.unknown_ns);
    }
    assert!(analysis.summary(1e6).contention.waits.count >= 97);
}

/// Seven ticks: B waits at 1 to 3 (A holds it), then A waits at 5 and 6 with another stack each (nobody holds it at 5,
/// B at 6). At 7 two seem to hold it while C waits.
fn memory_mode() -> GilAnalysis {
    use ThreadState::{Blocked, GilHeld, GilHeldOffCpu, GilWait};
    let idle = Blocked(Syscall(0));
    let ticks = [
        [(GilHeld, 1), (GilWait, 2), (idle, 0)],
        [(GilHeldOffCpu(Syscall(35)), 1), (GilWait, 2), (idle, 0)],
        [(GilHeld, 1), (GilWait, 2), (idle, 0)],
        [(GilHeld, 1), (idle, 0), (idle, 0)],
        [(GilWait, 3), (idle, 0), (idle, 0)],
        [(GilWait, 4), (GilHeld, 5), (idle, 0)],
        [(GilHeld, 4), (GilHeld, 5), (GilWait, 6)],
    ];
    let mut analysis = analysis();
    for (tick, threads) in ticks.into_iter().enumerate() {
        for (thread, (state, number)) in [A, B, C].into_iter().zip(threads) {
            // The sixth tick is a late one and stands for two.
            let periods = if tick == 5 { 2 } else { 1 };
            analysis.sample(Nanos((1 + tick as u64) * MS), periods, thread, state, stack(number));
        }
    }
    analysis.finish(Nanos(8 * MS));
    analysis
}

#[test]
fn memory_mode_is_an_estimate() {
    let summary = memory_mode().summary(1e6);
    assert!(summary.estimated);
    assert_eq!(summary.contention.waits.count, 4, "three ticks with one stack, one with another, one more, one of C");
    assert_eq!(
        (summary.contention.waits.total_ns, summary.contention.waits.max_ns, summary.contention.waits.p50_ns),
        (7 * MS, 3 * MS, MS)
    );
    assert_eq!(
        (summary.contention.caused_ns, summary.contention.gap_ns, summary.contention.unknown_ns),
        (5 * MS, 0, 2 * MS)
    );
    assert_eq!(summary.contention.contended_ns, 7 * MS);
    let by_waiter = [blame(B, 2, 3 * MS), blame(A, 4, 2 * MS), blame(A, 3, MS), blame(C, 6, MS)];
    assert_eq!(summary.contention.by_waiter, by_waiter);
    assert_eq!(summary.contention.by_holder, [blame(A, 1, 3 * MS), blame(B, 5, 2 * MS)]);
    assert_eq!(summary.contention.by_releaser, []);
    assert_eq!((summary.forced_drops, summary.voluntary_drops), (0, 0));
    assert_eq!(summary.held_off_cpu, [(Syscall(35), blame(A, 1, MS))]);
    assert_eq!(summary.held, HoldClasses { python_ns: 7 * MS, off_cpu_ns: MS, ..Default::default() });
}

#[test]
fn memory_mode_has_a_timeline() {
    let analysis = memory_mode();
    let timeline = analysis.timeline().unwrap();
    let hold = |thread, start, end| Hold { thread, start: Nanos(start * MS), end: Nanos(end * MS) };
    assert_eq!(timeline.holds, [hold(A, 1, 5), hold(B, 6, 7)]);
    assert_eq!(timeline.waiters, [(1, 1), (4, 0), (5, 1), (8, 0)].map(|(ms, n)| (Nanos(ms * MS), n)));
    assert_eq!(timeline.handoffs, []);
}

#[test]
fn a_wait_is_not_one_across_a_tick_without_it() {
    let mut analysis = analysis();
    for (at, thread) in [(1, B), (2, A), (3, B)] {
        analysis.sample(Nanos(at * MS), 1, thread, ThreadState::GilWait, stack(1));
    }
    let running = analysis.summary(1e6);
    assert_eq!(
        running.contention.caused_ns + running.contention.gap_ns + running.contention.unknown_ns,
        running.contention.waits.total_ns
    );
    assert_eq!(running.contention.waits.count, 3);
}

#[test]
fn the_parts_add_up_with_odd_periods() {
    let summary = memory_mode().summary(1e9 / 99.0);
    assert_eq!(
        summary.contention.caused_ns + summary.contention.gap_ns + summary.contention.unknown_ns,
        summary.contention.waits.total_ns
    );
    assert_eq!(summary.contention.by_holder.iter().map(|blame| blame.ns).sum::<u64>(), summary.contention.caused_ns);
    assert_eq!(
        summary.contention.by_waiter.iter().map(|blame| blame.ns).sum::<u64>(),
        summary.contention.waits.total_ns
    );
}

#[test]
fn being_switched_on_is_remembered() {
    let mut analysis = GilAnalysis::new(Nanos(5), info(false), Retention::default());
    let module: Arc<str> = "ext".into();
    analysis.changed(Nanos(20), &info(true), Some(&module));
    analysis.changed(Nanos(30), &info(true), None);
    let summary = analysis.summary(1e6);
    assert_eq!(summary.switched_on, Some((Nanos(20), Some(module))));
    assert!(summary.info.enabled && summary.threads.is_empty());
    assert_eq!((summary.observed_ns, summary.contention.waits.count), (25, 0));
    assert!(analysis.timeline().is_none());
}
