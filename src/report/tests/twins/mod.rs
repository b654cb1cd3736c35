//! Deterministic twins of the tests on living programs: the same things, asserted of programs whose every moment is
//! known. `tests/support/twins.rs` lists which test each is the twin of.

mod program;

use std::sync::Arc;

use crate::event::{
    Accessed, CountOp, Counting, Event, LockId, LockInfo, LockKind, Nanos, ObjectId, ObjectInfo, ProcessId, Syscall,
    ThreadId, ThreadState,
};
use crate::export::{ExportOptions, Format, View, write};
use crate::profile::{Mode, Profile};
use crate::report::fixture::{self, MS};
use crate::report::model::{Blamed, Report, Thread};
use crate::report::*;
use crate::stack::StackId;
use crate::stack::collections::FRAME;

use self::program::{END, Program, RATE, START, ticks};

const SLEEP: ThreadState = ThreadState::Blocked(Syscall(syscalls::Sysno::clock_nanosleep as i16));
const SLEEP_WITH_GIL: ThreadState = ThreadState::GilHeldOffCpu(Syscall(syscalls::Sysno::clock_nanosleep as i16));
const LOCK: LockId = LockId(0);
const MODES: [Mode; 2] = [Mode::Memory, Mode::Kernel];

fn report(profile: &Profile) -> Report {
    Report::of(profile, Attribution::Holder)
}

fn thread<'r>(report: &'r Report, name: &str) -> &'r Thread {
    report.threads.iter().find(|thread| thread.name.as_deref() == Some(name)).expect("it is in the report")
}

/// The share of a view that stacks with `function` and this leaf have among those with one of `all`.
fn share(profile: &Profile, view: View, all: &[&str], function: &str, leaf: &str) -> f64 {
    let mut folded = Vec::new();
    let options = ExportOptions { view, ..ExportOptions::default() };
    write(profile, Format::COLLAPSED, &options, &mut folded).expect("it is written to memory");
    let lines = String::from_utf8(folded).expect("it is text");
    let lines = lines.lines().filter_map(|line| line.rsplit_once(' '));
    let lines: Vec<(&str, f64)> = lines.map(|(stack, count)| (stack, count.parse().expect("a number"))).collect();
    let sum = |is_such: &dyn Fn(&str) -> bool| -> f64 {
        lines.iter().filter(|line| is_such(line.0)).map(|line| line.1).sum()
    };
    let has = |stack: &str, function: &str| stack.contains(&format!(";{function} ("));
    let whole = sum(&|stack| all.iter().any(|function| has(stack, function)));
    sum(&|stack| has(stack, function) && stack.ends_with(leaf)) / whole
}

fn seconds_of(by: &[Blamed], thread: &str, function: &str) -> f64 {
    let is_it = |by: &&Blamed| by.thread == thread && by.stack.iter().any(|frame| frame.starts_with(function));
    by.iter().filter(is_it).map(|by| by.seconds).sum()
}

#[track_caller]
fn close(seen: f64, real: f64, tolerance: f64) {
    assert!((seen - real).abs() <= tolerance, "{seen:.6} instead of {real:.6}");
}

#[test]
fn a_split_of_70_20_10_is_the_share_of_the_samples() {
    for mode in MODES {
        let mut program = Program::new(mode, true, &["", "worker"]);
        let functions = [("often", 7), ("seldom", 2), ("rarely", 1)];
        let stacks = functions.map(|(function, _)| program.stack(function));
        let asleep = program.stack("sleep_all_the_time");
        for round in (0..2000).step_by(10) {
            let mut from = round;
            for (stack, (_, length)) in stacks.into_iter().zip(functions) {
                program.act(1, from, from + length, ThreadState::GilHeld, stack);
                from += length;
            }
        }
        program.act(0, 0, 2000, SLEEP, asleep);
        let profile = program.record();
        let all = ["often", "seldom", "rarely", "sleep_all_the_time"];
        for (function, length) in functions {
            close(share(&profile, View::Cpu, &all, function, ""), length as f64 / 10.0, 0.02);
        }
        assert_eq!(share(&profile, View::Cpu, &all, "sleep_all_the_time", ""), 0.0);
    }
}

/// One thread sleeps for 20 ms with the GIL and 5 ms without; when it has it not, another one computes. The third
/// sleeps without the GIL for 10 ms, and then waits for its turn.
fn holder(mode: Mode) -> Program {
    let mut program = Program::new(mode, true, &["", "holder", "computing"]);
    let [holds, computes, polite] = ["holding", "computing", "polite"].map(|function| program.stack(function));
    for start in (0..2000).step_by(25) {
        program.act(1, start, start + 20, SLEEP_WITH_GIL, holds);
        program.act(1, start + 20, start + 25, SLEEP, holds);
        program.wait(2, start, start + 20, ThreadState::GilWait, computes, (1, holds));
        program.act(2, start + 20, start + 24, ThreadState::GilHeld, computes);
        program.act(2, start + 24, start + 25, SLEEP, computes);
        program.act(0, start, start + 10, SLEEP, polite);
        program.wait(0, start + 10, start + 24, ThreadState::GilWait, polite, (2, computes));
        program.act(0, start + 24, start + 25, ThreadState::GilHeld, polite);
    }
    program
}

#[test]
fn a_sleep_that_keeps_the_gil_is_distinguished_from_one_that_does_not() {
    const OFF_CPU: &str = "[GIL held off CPU: clock_nanosleep]";
    const WAITING: &str = "[waiting for GIL]";
    const ASLEEP: &str = "[blocked: clock_nanosleep]";
    for mode in MODES {
        let profile = holder(mode).record();
        let all = ["holding", "computing", "polite"];
        let hold = |function, leaf| share(&profile, View::GilHold, &all, function, leaf);
        close(hold("holding", OFF_CPU), 20.0 / 25.0, 0.02);
        close(hold("computing", ""), 4.0 / 25.0, 0.02);
        assert_eq!(hold("polite", OFF_CPU) + hold("computing", WAITING), 0.0, "who waits does not hold");
        let wall = |function, leaf| share(&profile, View::Wall, &[function], function, leaf);
        close(wall("holding", OFF_CPU), 20.0 / 25.0, 0.02);
        close(wall("holding", ASLEEP), 5.0 / 25.0, 0.02);
        close(wall("computing", WAITING), 20.0 / 25.0, 0.02);
        close(wall("polite", ASLEEP), 10.0 / 25.0, 0.02);
        close(wall("polite", WAITING), 14.0 / 25.0, 0.02);
    }
}

/// One thread computes; the other sleeps with the GIL for 20 of each 30 ms, after it has waited for it for 5 ms.
fn stall(mode: Mode) -> Program {
    let mut program = Program::new(mode, true, &["", "holder", "victim"]);
    let [holds, computes] = ["holding", "computing"].map(|function| program.stack(function));
    let main = program.stack("main");
    program.act(0, 0, 2000, SLEEP, main);
    for start in (0..1980).step_by(30) {
        program.act(1, start, start + 5, SLEEP, holds);
        program.wait(1, start + 5, start + 10, ThreadState::GilWait, holds, (2, computes));
        program.act(1, start + 10, start + 30, SLEEP_WITH_GIL, holds);
        program.act(2, start, start + 10, ThreadState::GilHeld, computes);
        program.wait(2, start + 10, start + 30, ThreadState::GilWait, computes, (1, holds));
    }
    program.act(1, 1980, 2000, SLEEP, holds);
    program.act(2, 1980, 2000, ThreadState::GilHeld, computes);
    program
}

#[test]
fn waits_for_the_gil_are_as_long_as_they_were_and_of_who_slept_with_it() {
    for (mode, tolerance) in [(Mode::Kernel, 1e-6), (Mode::Memory, 0.02)] {
        let program = stall(mode);
        let waited = program.truth(2, |state| state == ThreadState::GilWait);
        let asleep = program.truth(1, |state| state == SLEEP_WITH_GIL);
        assert_eq!((waited, asleep), (1.32, 1.32));
        let report = report(&program.record());
        let gil = &report.gils[0];
        assert_eq!(gil.estimated, mode == Mode::Memory);
        let states = |name| &thread(&report, name).states;
        close(states("victim").gil_wait_s, waited, tolerance);
        close(states("holder").gil_held_off_cpu_s, asleep, tolerance);
        close(seconds_of(&gil.holders, "holder", "holding ("), waited, tolerance);
        close(gil.wait.total_s, waited + 66.0 * 0.005, tolerance);
        close(gil.caused_s + gil.gap_s + gil.unknown_s, gil.wait.total_s, 1e-9);
        let by_thread: f64 = gil.threads.iter().map(|thread| thread.wait.total_s).sum();
        close(by_thread, gil.wait.total_s, 1e-9);
        let victim = gil.threads.iter().find(|thread| thread.thread == "victim").expect("it waited");
        assert_eq!(victim.wait.count, 66);
        let found = report.findings.iter().find(|finding| finding.id == "gil-held-while-blocked");
        let message = &found.expect("that is the matter").message;
        assert!(message.contains("blocked in clock_nanosleep in holding (app.py:10)"), "{message}");
    }
}

#[test]
fn where_there_is_no_gil_nobody_waits_for_one() {
    for mode in MODES {
        let mut program = Program::new(mode, false, &["", "holder", "victim"]);
        let stack = program.stack("computing");
        program.act(1, 0, 2000, SLEEP, stack);
        program.act(2, 0, 2000, ThreadState::Running, stack);
        let report = report(&program.record());
        for name in ["holder", "victim"] {
            let states = &thread(&report, name).states;
            assert_eq!(states.gil_wait_s + states.gil_held_s + states.gil_held_off_cpu_s, 0.0);
        }
        assert_eq!((report.gils[0].enabled, report.gils[0].wait.count), (false, 0));
        assert!(report.findings.is_empty());
    }
}

#[test]
fn the_busy_share_is_right_whether_stacks_are_read_or_lost() {
    for lost in [0, 1, 10] {
        let mut program = Program::new(Mode::Memory, true, &["", "worker"]);
        let [busy, main] = ["busy", "run_chains"].map(|function| program.stack(function));
        for round in (0..2000).step_by(10) {
            // Stacks that are lost are those that change.
            let stack = if round % 100 < lost * 10 { StackId::EMPTY } else { busy };
            program.act(1, round, round + 6, ThreadState::GilHeld, stack);
            program.act(1, round + 6, round + 10, SLEEP, main);
        }
        let profile = program.record();
        assert_eq!(profile.lost() > 0, lost > 0);
        let states = thread(&report(&profile), "worker").states;
        close(states.gil_held_s / 2.0, 0.6, 0.02);
        let mut folded = Vec::new();
        let options = ExportOptions { view: View::Wall, ..ExportOptions::default() };
        write(&profile, Format::COLLAPSED, &options, &mut folded).expect("it is written to memory");
        let text = String::from_utf8(folded).expect("it is text");
        assert_eq!(text.contains("[stack unreadable]"), lost > 0, "{text}");
    }
}

#[test]
fn what_happens_first_and_what_never_ends_is_all_there() {
    let mut program = Program::new(Mode::Kernel, true, &["", "locker"]);
    let [first, waits] = ["first", "waits"].map(|function| program.stack(function));
    program.lock(LOCK, LockKind::Lock, "app.lock");
    program.act(0, 0, 50, SLEEP, first);
    program.act(0, 50, 2000, ThreadState::GilHeld, waits);
    program.act(1, 0, 2000, ThreadState::LockWait(LOCK), waits);
    let profile = program.record();
    let mut folded = Vec::new();
    let options = ExportOptions { view: View::Wall, ..ExportOptions::default() };
    write(&profile, Format::COLLAPSED, &options, &mut folded).expect("it is written to memory");
    let text = String::from_utf8(folded).expect("it is text");
    let lines = [
        "<module> (app.py:1);first (app.py:10);[blocked: clock_nanosleep] 50000\n",
        "<module> (app.py:1);waits (app.py:10);[waiting for threading.Lock (app.lock)] 2000000\n",
    ];
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    assert_eq!(thread(&report(&profile), "locker").states.lock_wait_s, 2.0);
}

/// A thread collects for 40 of each 100 ms, and computes; another wants the GIL meanwhile.
fn collecting(mode: Mode) -> Program {
    let mut program = Program::new(mode, true, &["", "collector", "computing"]);
    let [collects, computes] = ["collector", "computing"].map(|function| program.stack(function));
    let table = &mut program.profile.stacks;
    let frame = table.marker_frame(FRAME);
    let collection = table.push(collects, frame);
    for start in (0..2000).step_by(100) {
        program.act(1, start, start + 40, ThreadState::GilHeld, collection);
        program.act(1, start + 40, start + 50, ThreadState::GilHeld, collects);
        program.act(1, start + 50, start + 100, SLEEP, collects);
        program.wait(2, start, start + 50, ThreadState::GilWait, computes, (1, collects));
        program.act(2, start + 50, start + 100, ThreadState::GilHeld, computes);
    }
    program
}

#[test]
fn a_collection_is_of_who_makes_it_and_others_wait_for_it() {
    for mode in MODES {
        let report = report(&collecting(mode).record());
        let tolerance = 0.02;
        let collections = &report.collections;
        close(seconds_of(&collections.by, "collector", "collector ("), 20.0 * 0.040, tolerance);
        assert_eq!(seconds_of(&collections.by, "computing", ""), 0.0);
        close(collections.total_s, 20.0 * 0.040, tolerance);
        close(collections.held_s, 20.0 * 0.040, tolerance);
        close(collections.waited_s, 20.0 * 0.040, tolerance);
        let holders = &report.gils[0].holders;
        close(seconds_of(holders, "collector", FRAME), collections.waited_s, 1e-6);
    }
}

/// A thread holds a lock for 8 of each 10 ms, while another waits for it.
fn contended(mode: Mode, kind: LockKind) -> Program {
    let mut program = Program::new(mode, false, &["", "holder", "victim"]);
    let [holds, waits] = ["hold_detached", "want"].map(|function| program.stack(function));
    program.lock(LOCK, kind, "app.lock");
    for start in (0..2000).step_by(10) {
        program.act(1, start, start + 10, SLEEP, holds);
        program.wait(2, start, start + 8, ThreadState::LockWait(LOCK), waits, (1, holds));
        program.act(2, start + 8, start + 10, ThreadState::Running, waits);
    }
    program
}

#[test]
fn a_lock_is_waited_for_as_long_as_it_was_held_by_who_held_it() {
    for (mode, tolerance) in [(Mode::Kernel, 1e-6), (Mode::Memory, 0.03)] {
        let report = report(&contended(mode, LockKind::Lock).record());
        let lock = &report.locks[0];
        assert_eq!((lock.label.as_str(), lock.estimated), ("threading.Lock (app.lock)", mode == Mode::Memory));
        close(lock.wait.total_s, 1.6, tolerance);
        close(lock.caused_s + lock.gap_s + lock.unknown_s, lock.wait.total_s, 1e-9);
        close(seconds_of(&lock.holders, "holder", "hold_detached ("), 1.6, tolerance);
        close(thread(&report, "victim").states.lock_wait_s, lock.wait.total_s, tolerance);
    }
}

#[test]
fn each_of_many_waits_in_a_row_is_counted() {
    // Two threads that hand on to each other what each has waited for.
    let mut program = Program::new(Mode::Kernel, false, &["", "ping", "pong"]);
    let stack = program.stack("play");
    let other = LockId(1);
    program.lock(LOCK, LockKind::Lock, "app.ping");
    program.lock(other, LockKind::Lock, "app.pong");
    for start in (0..1998).step_by(2) {
        program.wait(1, start, start + 1, ThreadState::LockWait(LOCK), stack, (2, stack));
        program.act(1, start + 1, start + 2, ThreadState::Running, stack);
        program.act(2, start, start + 1, ThreadState::Running, stack);
        program.wait(2, start + 1, start + 2, ThreadState::LockWait(other), stack, (1, stack));
    }
    let report = report(&program.record());
    let waits: Vec<_> = report.locks.iter().map(|lock| (lock.contended, lock.parked, lock.wait.total_s)).collect();
    assert_eq!(waits, [(999, 999, 0.999), (999, 999, 0.999)]);
}

#[test]
fn samples_further_apart_than_waits_are_long_estimate_them_all_the_same() {
    // Waits of 2 ms each, of which a sample in 10 ms sees some.
    let mut program = Program::new(Mode::Memory, false, &["", "holder", "victim"]);
    program.profile.session.rate_hz = RATE / 10.0;
    let [holds, waits] = ["holder", "victim"].map(|function| program.stack(function));
    program.lock(LOCK, LockKind::Lock, "app.lock");
    for start in (0..2000).step_by(3) {
        program.act(1, start, start + 3, SLEEP, holds);
        program.wait(2, start, start + 2, ThreadState::LockWait(LOCK), waits, (1, holds));
        program.act(2, start + 2, start + 3, ThreadState::Running, waits);
    }
    let every_tenth: Vec<u64> = ticks().step_by(10).collect();
    for at in every_tenth {
        (0..3).for_each(|thread| program.sample(thread, at));
    }
    let mut profile = program.profile;
    fixture::finish(&mut profile);
    profile.finish();
    let waited = report(&profile).locks[0].wait.total_s;
    let real = 2.0 * 2.0 / 3.0;
    assert!((0.8 * real..1.15 * real).contains(&waited), "{waited} instead of {real}");
}

#[test]
fn a_lock_that_is_never_released_is_held_by_who_is_seen_to_have_it() {
    let mut program = Program::new(Mode::Kernel, false, &["", "keeper", "victim"]);
    let [keeps, waits] = ["keeper", "victim"].map(|function| program.stack(function));
    program.lock(LOCK, LockKind::RLock, "app.lock");
    program.act(1, 0, 2000, SLEEP, keeps);
    program.act(2, 0, 2000, ThreadState::LockWait(LOCK), waits);
    for at in [START, END] {
        let (at, lock, thread, stack) = (Nanos(at), LOCK, ThreadId(1), keeps);
        program.profile.push(&Event::LockHeld { at, lock, thread, stack });
    }
    let report = report(&program.record());
    let lock = &report.locks[0];
    close(lock.wait.total_s, 2.0, 1e-6);
    close(seconds_of(&lock.holders, "keeper", "keeper ("), 2.0, 1e-6);
}

#[test]
fn spinning_is_cpu_time_of_its_lock() {
    let mut program = Program::new(Mode::Kernel, false, &["", "first", "second"]);
    let stack = program.stack("contend");
    program.lock(LOCK, LockKind::Mutex, "app.shared");
    program.act(1, 0, 2000, ThreadState::Running, stack);
    program.act(2, 0, 2000, ThreadState::LockWait(LOCK), stack);
    for at in 0..100 {
        let (at, thread, lock) = (Nanos(START + at * MS), ThreadId(1), Some(LOCK));
        program.profile.push(&Event::Spin { at, thread, stack, lock });
    }
    let report = report(&program.record());
    assert_eq!(report.locks[0].spin_s, 100.0 / RATE);
}

#[test]
fn who_stands_still_for_a_stop_is_paused_for_as_long() {
    for (mode, tolerance) in [(Mode::Kernel, 1e-6), (Mode::Memory, 0.03)] {
        let mut program = Program::new(mode, false, &["", "collector", "victim"]);
        let [collects, computes] = ["collector", "victim"].map(|function| program.stack(function));
        program.lock(LOCK, LockKind::Pause, LockInfo::COLLECTION);
        for start in (0..2000).step_by(50) {
            program.act(1, start, start + 50, ThreadState::Running, collects);
            program.wait(2, start, start + 10, ThreadState::Paused(LOCK), computes, (1, collects));
            program.act(2, start + 10, start + 50, ThreadState::Running, computes);
        }
        let report = report(&program.record());
        close(thread(&report, "victim").states.paused_s, 40.0 * 0.010, tolerance);
        let pauses = &report.pauses;
        assert_eq!((pauses.count, pauses.reasons.get("gc")), (40, Some(&40)));
        if mode == Mode::Kernel {
            assert_eq!(pauses.requesters[0].thread, "collector");
            assert!(pauses.requesters[0].stack[0].starts_with("collector ("), "{pauses:#?}");
        }
    }
}

#[test]
fn who_is_handed_work_waits_for_no_lock() {
    for mode in MODES {
        let mut program = contended(mode, LockKind::Queue);
        let main = program.stack("main");
        program.act(0, 0, 2000, SLEEP, main);
        let report = report(&program.record());
        assert_eq!(report.locks.iter().map(|lock| lock.wait.total_s).sum::<f64>(), 0.0, "{:#?}", report.locks);
        let states = &thread(&report, "victim").states;
        assert_eq!(states.lock_wait_s, 0.0);
        close(states.blocked_s, 1.6, 0.03);
        let idle: f64 = report.waiting_for_work.iter().map(|idle| idle.by.seconds).sum();
        close(idle, 1.6, 0.03);
        assert!(report.findings.iter().all(|finding| !finding.id.starts_with("lock")), "{:#?}", report.findings);
    }
}

/// Used six, three and two times in each round, by two threads.
#[test]
fn accesses_have_the_proportions_of_the_program() {
    let mut program = Program::new(Mode::Kernel, false, &["", "first", "second"]);
    let stack = program.stack("ratio");
    let uses = [6u64, 3, 2];
    for object in 0..3 {
        let info = ObjectInfo {
            process: ProcessId(0),
            address: 0x2000 + 32 * u64::from(object),
            type_name: "Shared".into(),
            name: None,
            len: None,
            counting: Counting::Biased,
            owner: Some(ThreadId(1)),
        };
        program.profile.push(&Event::Object { object: ObjectId(object), info: Arc::new(info) });
    }
    for (number, at) in ticks().enumerate() {
        // Which use of the round a sample meets has nothing to do with the tick.
        let number = number as u64 * 7 % 11;
        let object = if number < uses[0] { 0 } else { 1 + u32::from(number >= uses[0] + uses[1]) };
        let op = if at % 2 == 0 { CountOp::Incref } else { CountOp::Decref };
        let accessed = Accessed::Count { object: ObjectId(object), op, atomic: true };
        let thread = ThreadId(1 + (at % 3 % 2) as u32);
        program.profile.push(&Event::Access { at: Nanos(START + at), thread, stack, accessed });
    }
    let counts = report(&program.record()).refcounts;
    assert_eq!(counts.cpu_fraction, 1.0);
    let samples: Vec<u64> = counts.objects.iter().map(|object| object.samples).collect();
    for (samples, uses) in samples.iter().zip(uses) {
        close(*samples as f64 / counts.samples as f64, uses as f64 / 11.0, 0.01);
    }
}
