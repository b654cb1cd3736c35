//! Reads traces back the way a viewer does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::event::{Event as Observed, ThreadState};
use crate::export::fixture;
use crate::stack::StackId;

mod contended;

fn events(profile: &Profile) -> Vec<Value> {
    let mut out = Vec::new();
    write(profile, &ExportOptions::default(), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// Process and track id.
type Track = (i64, i64);
/// Name, begin and end in nanoseconds.
type Slice = (String, u64, u64);

/// The slices of each track in the order they end. Fails where they do not nest.
fn slices(events: &[Value]) -> BTreeMap<Track, Vec<Slice>> {
    let nanos = |value: &Value| (value.as_f64().unwrap() * 1e3).round() as u64;
    let mut open: BTreeMap<Track, Vec<(String, u64)>> = BTreeMap::new();
    let mut done: BTreeMap<Track, Vec<Slice>> = BTreeMap::new();
    for event in events.iter().filter(|event| ["B", "E", "X"].iter().any(|phase| event["ph"] == *phase)) {
        let track = (event["pid"].as_i64().unwrap(), event["tid"].as_i64().unwrap());
        let at = nanos(&event["ts"]);
        let name = || event["name"].as_str().unwrap().to_owned();
        let (open, done) = (open.entry(track).or_default(), done.entry(track).or_default());
        match event["ph"].as_str().unwrap() {
            "B" => {
                assert!(done.iter().all(|slice| slice.2 <= at), "{event} begins in a slice that is over");
                assert!(open.iter().all(|slice| slice.1 <= at), "{event} begins before its caller");
                open.push((name(), at));
            }
            "E" => {
                let (name, begin) = open.pop().expect("an end without a begin");
                assert!(begin < at, "{name} has no length");
                assert!(done.iter().all(|slice| slice.2 <= at), "{name} ends before its callee");
                done.push((name, begin, at));
            }
            "X" => {
                assert!(open.is_empty(), "{event} is on a track of frames");
                assert!(done.iter().all(|slice| slice.2 <= at), "{event} overlaps");
                assert!(nanos(&event["dur"]) > 0, "{event}");
                done.push((name(), at, at + nanos(&event["dur"])));
            }
            other => panic!("phase {other}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "left open: {open:?}");
    done
}

fn slice(name: &str, from_ms: u64, to_ms: u64) -> Slice {
    (name.to_owned(), from_ms * 1_000_000, to_ms * 1_000_000)
}

#[test]
fn frames_nest_and_states_do_not_overlap() {
    let slices = slices(&events(&fixture::profile()));
    assert_eq!(
        slices[&(100, 100)],
        [
            slice("work (pkg/core.py:20)", 0, 2),
            slice("work (pkg/core.py:21)", 2, 4),
            slice("work (pkg/core.py:20)", 4, 5),
            slice("main (app.py:10)", 0, 5),
        ]
    );
    let states = i64::from(STATE_TRACKS);
    assert_eq!(
        slices[&(100, states)],
        [slice("GIL held", 0, 3), slice("native", 3, 4), slice("GIL held off CPU", 4, 5), slice("GIL held", 5, 6),]
    );
    assert_eq!(slices[&(100, 101)], [slice("main (app.py:10)", 0, 4)], "blocked calls keep their stack");
    assert_eq!(
        slices[&(100, states + 1)],
        [slice("GIL wait", 0, 2), slice("blocked", 2, 4), slice("GIL wait", 4, 5), slice("unknown", 5, 6)]
    );
    assert_eq!(slices.len(), 6, "two tracks per thread: {:?}", slices.keys());
}

#[test]
fn tracks_are_named_and_slices_say_where_and_what() {
    let events = events(&fixture::profile());
    let of = |what: &str, pid: i32, tid: Option<u32>| -> Value {
        let named =
            events.iter().find(|e| e["name"] == what && e["pid"] == pid && e["tid"].as_u64() == tid.map(u64::from));
        named.unwrap_or_else(|| panic!("no {what} of {pid} {tid:?}"))["args"].clone()
    };
    assert_eq!(of("process_name", 200, None)["name"], "python; x [200]");
    assert_eq!(of("process_sort_index", 200, None)["sort_index"], 1);
    assert_eq!(of("thread_name", 100, Some(100))["name"], "MainThread (100)");
    assert_eq!(of("thread_name", 100, Some(STATE_TRACKS))["name"], "MainThread (100) state");
    assert_eq!(of("thread_sort_index", 100, Some(101))["sort_index"], 2);
    assert_eq!(of("thread_sort_index", 100, Some(STATE_TRACKS + 1))["sort_index"], 3);
    let named = |name: &str| events.iter().find(|event| event["name"] == name).unwrap();
    let place = &named("work (pkg/core.py:21)")["args"];
    assert_eq!(place["file"], "/v/lib/python3.12/site-packages/pkg/core.py");
    assert_eq!(place["line"], 21);
    assert_eq!(named("blocked")["args"]["syscall"], "recvfrom");
    assert_eq!(named("GIL held")["args"].as_object().unwrap().len(), 0);
}

#[test]
fn times_keep_their_nanoseconds() {
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.start = Nanos(9_000_000_000_000_000_123);
    fixture::start(&mut profile, 7, &[70]);
    for nanos in [9_000_000_000_000_000_124, 9_000_000_000_000_001_999] {
        profile.push(&fixture::sample(0, nanos, ThreadState::Running, crate::stack::StackId::EMPTY));
    }
    let events = events(&profile);
    let state = events.last().unwrap();
    assert_eq!((state["ts"].as_f64(), state["dur"].as_f64()), (Some(0.001), Some(1.875)));
}

#[test]
fn a_reused_tid_is_another_track() {
    let mut profile = Profile::default();
    profile.keep_timeline();
    fixture::start(&mut profile, 7, &[70, 70]);
    let stack = fixture::deep(&mut profile);
    for (thread, nanos) in [(0, 1_000), (1, 1_500), (0, 2_000), (1, 2_500)] {
        profile.push(&fixture::sample(thread, nanos, ThreadState::Running, stack));
    }
    profile.push(&Observed::ThreadExited { at: Nanos(3_000), thread: ThreadId(0), cpu_ns: 0 });
    let slices = slices(&events(&profile));
    assert_eq!(slices[&(7, 70)].len(), slices[&(7, i64::from(REUSED_TRACKS) + 1)].len());
}
