//! The tracks of GILs and of threads whose time off the CPU was measured.

use std::collections::BTreeSet;

use super::*;
use crate::contention::{Handoff, Hold, Timeline};
use crate::event::{Event as Observed, GilInfo, OffCpu, ProcessId, Syscall, ThreadState};
use crate::export::contended::{ContendedKind, ContendedTrack};
use crate::export::fixture;
use crate::profile::Mode;

const MS: u64 = 1_000_000;
const GILS: i64 = CONTENDED_TRACKS as i64;
const STATES: i64 = STATE_TRACKS as i64;

fn off_cpu(thread: u32, from: u64, to: u64, state: ThreadState, stack: StackId) -> Observed {
    let (thread, start, end) = (ThreadId(thread), Nanos(from * MS), Nanos(to * MS));
    Observed::OffCpu(OffCpu::new(thread, start, end, state, stack))
}

/// Two threads that take turns with the GIL for 40 ms, and one that comes to nothing. One sample of each turn but one,
/// and records a little out of order.
fn turns() -> Profile {
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.mode = Mode::Kernel;
    (profile.session.start, profile.session.end, profile.session.rate_hz) = (Nanos(0), Nanos(40 * MS), 100.0);
    fixture::start(&mut profile, 7, &[70, 71, 72]);
    profile.threads.iter_mut().for_each(|thread| (thread.start, thread.end) = (Nanos(0), Nanos(0)));
    profile.push(&Observed::ThreadNamed { thread: ThreadId(0), name: "odd".into() });
    let stack = fixture::deep(&mut profile);
    use ThreadState::{Blocked, GilHeld, GilHeldNative, GilWait};
    for event in [
        fixture::sample(0, 5 * MS, GilHeld, stack),
        off_cpu(1, 0, 10, GilWait, stack),
        fixture::sample(1, 15 * MS, GilHeld, stack),
        fixture::sample(0, 22 * MS, GilHeld, stack),
        off_cpu(0, 10, 20, GilWait, stack),
        fixture::sample(0, 25 * MS, GilHeldNative, stack),
        off_cpu(0, 30, 40, Blocked(Syscall(0)), stack),
        off_cpu(1, 20, 30, GilWait, stack),
    ] {
        profile.push(&event);
    }
    for index in 0..3 {
        profile.push(&Observed::ThreadExited { at: Nanos(40 * MS), thread: ThreadId(index), cpu_ns: 0 });
    }
    profile
}

fn hold(thread: u32, from: u64, to: u64) -> Hold {
    Hold { start: Nanos(from * MS), end: Nanos(to * MS), thread: ThreadId(thread) }
}

fn handoff(from: u32, released: u64, to: u32, acquired: u64) -> Handoff {
    let (from, to) = (ThreadId(from), ThreadId(to));
    Handoff { from, released: Nanos(released * MS), to, acquired: Nanos(acquired * MS) }
}

fn turns_timeline() -> Timeline {
    Timeline {
        // The last two overlap, which is not to be seen.
        holds: vec![hold(0, 0, 10), hold(1, 10, 20), hold(0, 20, 30), hold(1, 29, 40)],
        waiters: [(0, 1), (20, 0), (20, 1), (30, 1), (31, 0)].map(|(at, waiters)| (Nanos(at * MS), waiters)).to_vec(),
        handoffs: vec![
            handoff(0, 10, 1, 10),
            handoff(1, 20, 0, 20),
            handoff(0, 30, 1, 30),
            // Nothing is known of one of the threads, or of any at that time.
            handoff(2, 5, 1, 10),
            handoff(1, 39, 0, 45),
        ],
    }
}

fn info(interpreter: i64) -> GilInfo {
    GilInfo { process: ProcessId(0), interpreter, enabled: true, switch_interval_ns: 5 * MS }
}

fn events_with(profile: &Profile, gils: &[(GilInfo, Timeline)]) -> Vec<Value> {
    let contended =
        |(info, timeline)| ContendedTrack { process: ProcessId(0), what: ContendedKind::Gil(info), timeline };
    let gils: Vec<ContendedTrack<'_>> = gils.iter().map(|(info, timeline)| contended((info, timeline))).collect();
    let mut out = Vec::new();
    let tracks = Tracks::with(profile, gils, u64::MAX).unwrap();
    write_tracks(profile, &tracks, &ExportOptions::default(), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn every_moment_of_a_thread_has_a_state_and_a_stack() {
    let slices = slices(&events_with(&turns(), &[]));
    assert_eq!(
        slices[&(7, STATES)],
        [
            slice("GIL held", 0, 10),
            slice("GIL wait", 10, 20),
            slice("GIL held", 20, 25),
            slice("GIL held, native", 25, 30),
            slice("blocked", 30, 40),
        ]
    );
    assert_eq!(
        slices[&(7, STATES + 1)],
        [slice("GIL wait", 0, 10), slice("GIL held", 10, 20), slice("GIL wait", 20, 30), slice("GIL held", 30, 40)],
        "no sample was needed to know that it had the GIL it had waited for"
    );
    assert_eq!(slices[&(7, 70)].last(), Some(&slice("a (a.py:1)", 0, 40)));
    assert!(!slices.contains_key(&(7, STATES + 2)), "what is not known is not shown");
}

#[test]
fn a_gil_shows_who_held_it_and_how_many_waited() {
    let events = events_with(&turns(), &[(info(0), turns_timeline())]);
    assert_eq!(
        slices(&events)[&(7, GILS)],
        [slice("odd (70)", 0, 10), slice("thread 71", 10, 20), slice("odd (70)", 20, 30), slice("thread 71", 30, 40)]
    );
    let named = |name: &str| events.iter().filter(|event| event["name"] == name).cloned().collect::<Vec<_>>();
    let counter = named("GIL").into_iter().filter(|event| event["ph"] == "C");
    let waiters: Vec<(f64, u64)> = counter
        .map(|event| {
            assert_eq!(event["pid"], 7);
            (event["ts"].as_f64().unwrap(), event["args"]["waiters"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(waiters, [(0.0, 1), (31_000.0, 0)], "only changes");
    let label = |what| named(what).into_iter().find(|event| event["tid"] == GILS).unwrap()["args"].clone();
    assert_eq!(label("thread_name")["name"], "GIL");
    assert_eq!(label("thread_sort_index")["sort_index"], -1);
    assert_eq!(named("GIL wait")[0]["args"]["holders"], "thread 71 10.0 ms");
    assert_eq!(named("blocked")[0]["args"], serde_json::json!({"syscall": "read"}));
}

#[test]
fn arrows_go_from_slice_to_slice() {
    let events = events_with(&turns(), &[(info(0), turns_timeline())]);
    let slices = slices(&events);
    let nanos = |event: &Value| (event["ts"].as_f64().unwrap() * 1e3).round() as u64;
    let enclosing = |event: &Value| {
        let track = (event["pid"].as_i64().unwrap(), event["tid"].as_i64().unwrap());
        let at = nanos(event);
        let inside = slices[&track].iter().find(|slice| slice.1 <= at && at < slice.2);
        inside.unwrap_or_else(|| panic!("{event} is outside all slices")).0.clone()
    };
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).cloned().collect::<Vec<_>>();
    let (begins, ends) = (of("s"), of("f"));
    let ids: BTreeSet<u64> = begins.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert_eq!((begins.len(), ends.len(), ids.len()), (3, 3, 3), "one each, and only those with both ends");
    for (begin, end) in begins.iter().zip(&ends) {
        for key in ["id", "cat", "name"] {
            assert_eq!(begin[key], end[key]);
        }
        assert_eq!(end["bp"], "e");
        assert_eq!((&begin["cat"], &begin["name"]), (&"gil".into(), &"GIL handed over".into()));
        assert!(enclosing(begin).starts_with("GIL held"), "{begin} in {}", enclosing(begin));
        assert_eq!(enclosing(end), "GIL held", "{end}");
        assert_ne!(begin["tid"], end["tid"]);
        assert!(nanos(begin) < nanos(end));
        if begin["id"] == 2 {
            assert_eq!((nanos(begin), nanos(end)), (20 * MS - 1, 20 * MS + 1));
        }
    }
}

#[test]
fn of_several_gils_each_has_its_name_and_none_is_blamed_for_a_wait() {
    let quiet = Timeline { waiters: vec![(Nanos(0), 0)], ..Timeline::default() };
    let events = events_with(&turns(), &[(info(0), turns_timeline()), (info(2), quiet)]);
    let slices = slices(&events);
    assert_eq!((slices[&(7, GILS)].len(), slices.get(&(7, GILS + 1))), (4, None));
    let name = |tid: i64| events.iter().find(|event| event["name"] == "thread_name" && event["tid"] == tid).unwrap();
    assert_eq!(name(GILS)["args"]["name"], "GIL (interpreter 0)");
    assert_eq!(name(GILS + 1)["args"]["name"], "GIL (interpreter 2)");
    assert!(events.iter().any(|event| event["ph"] == "C" && event["name"] == "GIL (interpreter 2)"));
    let wait = events.iter().find(|event| event["name"] == "GIL wait").unwrap();
    assert_eq!(wait["args"], serde_json::json!({}));
}
