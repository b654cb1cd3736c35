//! The structure of a file. That the Firefox Profiler reads it is tested in `tests/suite/exports.rs`.

use serde_json::Value;

use super::*;
use crate::event::{Event, OffCpu, ThreadId};
use crate::export::fixture;
use crate::profile::Mode;

fn file(profile: &Profile, most: u64) -> Value {
    let tracks = Tracks::new(profile, u64::MAX).unwrap();
    serde_json::to_value(build(profile, &tracks, &ExportOptions::default(), most)).unwrap()
}

fn numbers(column: &Value) -> Vec<f64> {
    column.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// One thread: 20 ms on the CPU, 15 ms of waiting, 5 ms on the CPU.
fn one_wait() -> Profile {
    const MS: u64 = 1_000_000;
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.mode = Mode::Kernel;
    profile.session.started_unix_ns = 1_700_000_000_000_000_000;
    (profile.session.end, profile.session.rate_hz) = (Nanos(40 * MS), 1000.0);
    fixture::start(&mut profile, 7, &[70]);
    profile.threads[0].start = Nanos(0);
    profile.threads[0].end = Nanos(0);
    let stack = fixture::deep(&mut profile);
    profile.push(&fixture::sample(0, 5 * MS, ThreadState::GilHeld, stack));
    let (start, end, state) = (Nanos(20 * MS), Nanos(35 * MS), ThreadState::GilWait);
    let thread = ThreadId(0);
    let off = OffCpu::new(thread, start, end, state, stack);
    profile.push(&Event::OffCpu(off));
    profile.push(&Event::ThreadExited { at: Nanos(40 * MS), thread, cpu_ns: 0 });
    profile
}

#[test]
fn samples_have_the_cpu_time_since_the_last_one() {
    let file = file(&one_wait(), u64::MAX);
    assert_eq!((&file["meta"]["interval"], &file["meta"]["startTime"]), (&1.0.into(), &1_700_000_000_000.0.into()));
    let samples = &file["threads"][0]["samples"];
    let cpu = numbers(&samples["threadCPUDelta"]);
    assert_eq!(cpu.len(), 40);
    assert_eq!(cpu.iter().sum::<f64>(), 24_000.0, "the last one is not followed by another: {cpu:?}");
    assert_eq!((cpu[10], cpu[25], cpu[39]), (1000.0, 0.0, 1000.0));
}

#[test]
fn waits_are_markers_with_a_stack() {
    let file = file(&one_wait(), u64::MAX);
    let markers = &file["threads"][0]["markers"];
    assert_eq!((numbers(&markers["startTime"]), numbers(&markers["endTime"])), (vec![20.0], vec![35.0]));
    assert_eq!(markers["data"][0]["type"], "gilscope wait");
    assert!(markers["data"][0]["cause"]["stack"].is_u64(), "{markers}");
    let schema = &file["meta"]["markerSchema"][0];
    assert_eq!(schema["name"], "gilscope wait");
    let categories = file["meta"]["categories"].as_array().unwrap();
    let category = &categories[markers["category"][0].as_u64().unwrap() as usize];
    assert_eq!((&category["name"], &category["color"]), (&"Waiting for the GIL".into(), &"red".into()));
}

#[test]
fn long_recordings_have_fewer_samples() {
    let file = file(&one_wait(), 10);
    let samples = &file["threads"][0]["samples"];
    assert_eq!(file["meta"]["interval"], 4.0);
    assert_eq!(numbers(&samples["threadCPUDelta"]).iter().sum::<f64>(), 21_000.0);
}

#[test]
fn threads_are_there_while_they_live_and_the_main_one_is_known() {
    let file = file(&fixture::profile(), u64::MAX);
    let threads: Vec<(Value, Value, f64, f64)> = file["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|thread| {
            let end = thread["unregisterTime"].as_f64().unwrap();
            (thread["tid"].clone(), thread["isMainThread"].clone(), thread["registerTime"].as_f64().unwrap(), end)
        })
        .collect();
    let thread = |tid: &str, main: bool, end| (Value::from(tid), Value::from(main), 0.0, end);
    assert_eq!(threads, [thread("100", true, 6.0), thread("101", false, 6.0), thread("200", true, 9.0)]);
}

#[test]
fn every_kind_of_wait_has_a_marker_of_its_own_colour_that_says_what_for() {
    use crate::contention::{Hold, Timeline};
    use crate::event::{GilInfo, LockId, LockInfo, LockKind, ProcessId, Syscall};
    use crate::export::contended::{ContendedKind, ContendedTrack};
    const MS: u64 = 1_000_000;
    let mut profile = one_wait();
    fixture::start(&mut profile, 8, &[80]);
    for (id, kind) in [(0, LockKind::Lock), (1, LockKind::Pause)] {
        let info = LockInfo { process: ProcessId(0), address: id.into(), kind, type_name: None, name: None };
        profile.push(&Event::Lock { lock: LockId(id), info: info.into() });
    }
    let thread = ThreadId(0);
    let states = [
        (ThreadState::LockWait(LockId(0)), "Waiting for a lock"),
        (ThreadState::Paused(LockId(1)), "Stopped by the interpreter"),
        (ThreadState::GilHeldOffCpu(Syscall(0)), "GIL held while blocked"),
    ];
    let (mut start, stack) = (40 * MS, fixture::deep(&mut profile));
    for (state, _) in states {
        let end = Nanos(start + MS);
        let start_at = Nanos(std::mem::replace(&mut start, end.0));
        let off = OffCpu::new(thread, start_at, end, state, stack);
        profile.push(&Event::OffCpu(off));
    }
    let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 1 };
    let hold = Hold { start: Nanos(20 * MS), end: Nanos(35 * MS), thread: ThreadId(1) };
    let timeline = Timeline { holds: vec![hold], ..Timeline::default() };
    let gil = ContendedTrack { process: ProcessId(0), what: ContendedKind::Gil(&info), timeline: &timeline };
    let tracks = Tracks::with(&profile, vec![gil], u64::MAX).unwrap();
    let file = serde_json::to_value(build(&profile, &tracks, &ExportOptions::default(), u64::MAX)).unwrap();
    let markers = &file["threads"][0]["markers"];
    let categories = markers["category"].as_array().unwrap().iter();
    let category = |index: &Value| &file["meta"]["categories"][index.as_u64().unwrap() as usize]["name"];
    let named: Vec<&str> = categories.map(|index| category(index).as_str().unwrap()).collect();
    assert_eq!(named[0], "Waiting for the GIL");
    assert_eq!(named[1..], states.map(|(_, category)| category));
    // The text of a detail is in the data itself, or is a place in the table of strings.
    let strings = &file["shared"]["stringArray"];
    let strings = if strings.is_null() { &file["threads"][0]["stringArray"] } else { strings };
    let holders = &markers["data"][0]["holders"];
    let holders = holders.as_u64().map_or(holders, |index| &strings[index as usize]);
    assert_eq!(holders, "thread 80 15.0 ms");
}
