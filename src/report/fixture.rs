//! A recording of threads that contend for the GIL, made by hand. Called by the tests of the report.

use std::sync::Arc;

use crate::contention::{Blame, Contention, WaitStats};
use crate::event::{Account, Event, GilInfo, Nanos, ProcessId, ProcessInfo, Syscall, ThreadId, ThreadState};
use crate::gil::summary::{GilSummary, HoldClasses, ThreadShare};
use crate::profile::{Mode, Profile};
use crate::stack::{Frame, FrameKind, StackId};

use super::Report;

pub const MS: u64 = 1_000_000;
const START: Nanos = Nanos(5_000 * MS);
/// The recording takes two seconds.
pub const END: Nanos = Nanos(7_000 * MS);
/// Reads from a socket for a moment at a time.
pub const CLIENT: ThreadId = ThreadId(1);
pub const CRUNCHER: ThreadId = ThreadId(2);
/// Sleeps with the GIL.
pub const LEGACY: ThreadId = ThreadId(3);

/// The stack of one frame.
pub fn stack(profile: &mut Profile, function: &str, line: u32) -> StackId {
    let table = &mut profile.stacks;
    let (function, file) = (table.string(function), table.string("/srv/app.py"));
    let module = table.string("<module>");
    let outer =
        table.frame(Frame { kind: FrameKind::Python, function: module, name: module, file, line: 1, first_line: 1 });
    let frame =
        table.frame(Frame { kind: FrameKind::Python, function, name: function, file, line, first_line: line });
    let outer = table.push(StackId::EMPTY, outer);
    table.push(outer, frame)
}

/// Waits of the same length.
pub fn waits(count: u64, each: u64) -> WaitStats {
    WaitStats { count, total_ns: count * each, p50_ns: each, p99_ns: each, max_ns: each }
}

/// A profile of one process with this many threads, seen for all of the recording. The first has no name.
pub fn profile(mode: Mode, free_threaded: bool, names: &[&str]) -> Profile {
    let mut profile = Profile::default();
    profile.session.mode = mode;
    (profile.session.start, profile.session.end, profile.session.rate_hz) = (START, END, 100.0);
    let command = ["python", "app.py"].map(str::to_owned).to_vec();
    let info = Arc::new(ProcessInfo { pid: 100, command, python: "3.12.1".to_owned(), free_threaded });
    profile.push(&Event::Process { process: ProcessId(0), info });
    for (index, name) in (0..).zip(names) {
        let thread = ThreadId(index);
        profile.push(&Event::ThreadStarted { at: START, thread, process: ProcessId(0), tid: 100 + index as i32 });
        if index > 0 {
            profile.push(&Event::ThreadNamed { thread, name: (*name).into() });
        }
    }
    profile
}

/// All threads are gone at the end.
pub fn finish(profile: &mut Profile) {
    for index in 0..profile.threads.len() as u32 {
        profile.push(&Event::ThreadExited { at: END, thread: ThreadId(index), cpu_ns: 0 });
    }
}

/// Some samples of a thread.
pub fn samples(profile: &mut Profile, thread: ThreadId, count: u32, state: ThreadState) {
    let stack = StackId::EMPTY;
    profile.push(&Event::Sample { at: START, periods: count, thread, state, stack, gil: None });
}

/// A GIL that nothing happened to.
pub fn quiet_gil() -> GilSummary {
    let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 5 * MS };
    GilSummary { observed_ns: END.since(START), ..GilSummary::nothing_yet(Arc::new(info)) }
}

/// Three threads that contend for the GIL, and one that sleeps. The waits add up.
pub fn fight() -> (Profile, GilSummary) {
    let mut profile = profile(Mode::Kernel, false, &["", "client", "cruncher", "legacy"]);
    let (read, sleep) = (syscalls::Sysno::recvfrom as i16, syscalls::Sysno::clock_nanosleep as i16);
    let asleep = Account { at: END, on_cpu_ns: 2 * MS, futex_ns: 1998 * MS, ..Account::default() };
    let client = Account {
        at: END,
        on_cpu_ns: 30 * MS,
        gil_wait_ns: 1530 * MS,
        blocked_ns: 430 * MS,
        runnable_ns: 10 * MS,
        gil_waits: 300,
        blocks: 600,
        ..Account::default()
    };
    let cruncher = Account {
        at: END,
        on_cpu_ns: 1500 * MS,
        gil_wait_ns: 480 * MS,
        gil_held_runnable_ns: 20 * MS,
        gil_waits: 60,
        ..Account::default()
    };
    let legacy =
        Account { at: END, on_cpu_ns: 20 * MS, gil_held_off_cpu_ns: 400 * MS, blocked_ns: 1580 * MS, ..asleep };
    let legacy = Account { futex_ns: 0, ..legacy };
    for (index, account) in (0..).zip([asleep, client, cruncher, legacy]) {
        profile.push(&Event::Account { thread: ThreadId(index), account });
    }
    samples(&mut profile, CLIENT, 2, ThreadState::GilHeld);
    samples(&mut profile, CLIENT, 1, ThreadState::Native);
    samples(&mut profile, CRUNCHER, 100, ThreadState::GilHeld);
    samples(&mut profile, CRUNCHER, 50, ThreadState::GilHeldNative);
    finish(&mut profile);

    let ask = stack(&mut profile, "ask", 20);
    let crunch = stack(&mut profile, "crunch", 30);
    let call = stack(&mut profile, "call_native_code", 40);
    let blame = |thread, stack, ns| Blame { thread, stack, ns };
    let share =
        |thread, waits, held, caused_ns| ThreadShare { thread, waits, lengths: Default::default(), held, caused_ns };
    let crunching = HoldClasses { python_ns: 1000 * MS, native_ns: 500 * MS, off_cpu_ns: 0, runnable_ns: 20 * MS };
    let asking = HoldClasses { python_ns: 20 * MS, ..HoldClasses::default() };
    let sleeping = HoldClasses { off_cpu_ns: 400 * MS, ..HoldClasses::default() };
    let gil = GilSummary {
        held: HoldClasses { python_ns: 1020 * MS, native_ns: 500 * MS, off_cpu_ns: 400 * MS, runnable_ns: 20 * MS },
        contention: Contention {
            waits: WaitStats { count: 360, total_ns: 2010 * MS, p50_ns: 5 * MS, p99_ns: 9 * MS, max_ns: 12 * MS },
            contended_ns: 1900 * MS,
            caused_ns: 1_999_876_543,
            gap_ns: 10_123_456,
            unknown_ns: 1,
            by_waiter: vec![blame(CLIENT, ask, 1530 * MS), blame(CRUNCHER, crunch, 480 * MS)],
            by_releaser: vec![blame(CRUNCHER, crunch, 1500 * MS), blame(LEGACY, call, 300 * MS)],
            by_holder: vec![
                blame(CRUNCHER, crunch, 1500 * MS),
                blame(LEGACY, call, 380 * MS),
                blame(CLIENT, ask, 119_876_543),
            ],
            by_pair: vec![
                (CLIENT, blame(CRUNCHER, crunch, 1500 * MS)),
                (CRUNCHER, blame(LEGACY, call, 380 * MS)),
                (CRUNCHER, blame(CLIENT, ask, 119_876_543)),
            ],
            ..Contention::default()
        },
        forced_drops: 280,
        voluntary_drops: 80,
        held_off_cpu: vec![
            (Syscall(sleep), blame(LEGACY, call, 398 * MS)),
            (Syscall(read), blame(CLIENT, ask, 2 * MS)),
        ],
        threads: vec![
            share(
                CLIENT,
                WaitStats { p99_ns: 9 * MS, max_ns: 12 * MS, ..waits(300, 5_100_000) },
                asking,
                119_876_543,
            ),
            share(CRUNCHER, waits(60, 8 * MS), crunching, 1500 * MS),
            share(LEGACY, WaitStats::default(), sleeping, 380 * MS),
        ],
        ..quiet_gil()
    };
    (profile, gil)
}

/// The report of the fight.
pub fn report() -> Report {
    let (profile, gil) = fight();
    Report::new(&profile, &[gil], &[], super::Attribution::Holder)
}
