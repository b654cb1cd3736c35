//! The Chrome trace of a real program in kernel mode keeps the rules of the format, and says what the program says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::support::{self, Python, folder, on_every_python, run};

/// Times are microseconds with nanoseconds as decimals; this is their rounding.
const HAIR: f64 = 0.0015;

type Track = (i64, i64);

struct Trace {
    events: Vec<Value>,
    names: BTreeMap<Track, String>,
}

/// A slice: name, from, to.
type Slice = (String, f64, f64);

fn number(event: &Value, field: &str) -> f64 {
    event[field].as_f64().unwrap_or_else(|| panic!("no {field}: {event}"))
}

fn track(event: &Value) -> Track {
    let id = |field: &str| event[field].as_i64().unwrap_or_else(|| panic!("no {field}: {event}"));
    (id("pid"), id("tid"))
}

impl Trace {
    fn parse(text: &str) -> Trace {
        let events: Vec<Value> = serde_json::from_str(text).unwrap();
        let names = events.iter().filter(|event| event["name"] == "thread_name");
        let names = names.map(|event| (track(event), event["args"]["name"].as_str().unwrap().to_owned())).collect();
        Trace { events, names }
    }

    fn of<'t>(&'t self, phase: &'t str) -> impl Iterator<Item = &'t Value> {
        self.events.iter().filter(move |event| event["ph"] == phase)
    }

    /// All complete slices, by track.
    fn slices(&self) -> BTreeMap<Track, Vec<Slice>> {
        let mut slices: BTreeMap<Track, Vec<Slice>> = BTreeMap::new();
        for event in self.of("X") {
            let (start, length) = (number(event, "ts"), number(event, "dur"));
            assert!(start >= 0.0 && length > 0.0, "{event}");
            let name = event["name"].as_str().unwrap().to_owned();
            slices.entry(track(event)).or_default().push((name, start, start + length));
        }
        slices.values_mut().for_each(|slices| slices.sort_by(|a, b| a.1.total_cmp(&b.1)));
        slices
    }

    fn track(&self, name: &str) -> Track {
        let found = self.names.iter().find(|(_, known)| known.starts_with(name));
        *found.unwrap_or_else(|| panic!("no track {name}: {:?}", self.names)).0
    }

    fn state_track(&self, thread: &str) -> Track {
        let is_it = |name: &str| name.starts_with(thread) && name.ends_with(" state");
        let found = self.names.iter().find(|(_, name)| is_it(name));
        *found.unwrap_or_else(|| panic!("no states of {thread}: {:?}", self.names)).0
    }

    fn check(&self) {
        let slices = self.slices();
        for (track, slices) in &slices {
            assert!(self.names.contains_key(track), "{track:?} has no name");
            for pair in slices.windows(2) {
                assert!(pair[0].2 <= pair[1].1 + HAIR, "{:?} overlap on {}", pair, self.names[track]);
            }
        }
        self.check_frames();
        self.check_arrows(&slices);
        for event in self.of("C") {
            let values = event["args"].as_object().unwrap();
            assert!(!values.is_empty() && values.values().all(|value| value.as_f64() >= Some(0.0)), "{event}");
        }
        let known = ["M", "X", "B", "E", "C", "s", "f"];
        assert!(self.events.iter().all(|event| known.iter().any(|phase| event["ph"] == *phase)));
    }

    /// Frames begin and end in the order of time, and no more end than have begun.
    fn check_frames(&self) {
        let mut open: BTreeMap<Track, Vec<&str>> = BTreeMap::new();
        let mut last: BTreeMap<Track, f64> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event["ph"] == "B" || event["ph"] == "E") {
            let (track, at) = (track(event), number(event, "ts"));
            assert!(at >= last.insert(track, at).unwrap_or(0.0), "back in time: {event}");
            let stack = open.entry(track).or_default();
            match event["name"].as_str() {
                Some(name) if event["ph"] == "B" => stack.push(name),
                _ => assert!(stack.pop().is_some(), "nothing is open: {event}"),
            }
        }
        assert!(open.values().all(Vec::is_empty), "never ended: {open:?}");
    }

    /// Arrows have two ends, in this order, each of them inside of a slice of its track.
    fn check_arrows(&self, slices: &BTreeMap<Track, Vec<Slice>>) {
        let ends = |phase| -> BTreeMap<i64, &Value> {
            let ends = self.of(phase).map(|event| (event["id"].as_i64().unwrap(), event));
            let ends: BTreeMap<_, _> = ends.collect();
            assert_eq!(ends.len(), self.of(phase).count(), "ids are used twice");
            ends
        };
        let (begins, finishes) = (ends("s"), ends("f"));
        assert_eq!(begins.keys().collect::<BTreeSet<_>>(), finishes.keys().collect());
        for (id, begin) in begins {
            let finish = finishes[&id];
            assert!(number(begin, "ts") <= number(finish, "ts"), "{begin} {finish}");
            for end in [begin, finish] {
                let at = number(end, "ts");
                let inside = |slice: &Slice| slice.1 - HAIR <= at && at <= slice.2 + HAIR;
                let slices = slices.get(&track(end)).map(Vec::as_slice).unwrap_or_default();
                assert!(slices.iter().any(inside), "in no slice: {end}");
            }
        }
    }
}

/// Seconds in slices of this name.
fn sum(slices: &[Slice], names: &[&str]) -> f64 {
    slices.iter().filter(|slice| names.contains(&&*slice.0)).map(|slice| slice.2 - slice.1).sum::<f64>() / 1e6
}

fn check(python: &Python, mode: &str) -> Result<(), String> {
    let folder = folder();
    let out = folder.path().join("out.json");
    let program = python.script("stall.py", &["1"]);
    let done = run(support::recording(&out, &["--mode", mode], &program));
    done.ok();
    let trace = Trace::parse(&fs::read_to_string(&out).unwrap());
    trace.check();
    let slices = trace.slices();
    let victim = &slices[&trace.state_track("victim")];
    if python.is_free_threaded() {
        assert_eq!(sum(victim, &["GIL wait"]), 0.0);
        assert_eq!(trace.of("s").count(), 0, "nothing is handed over");
        return Ok(());
    }
    let held = &slices[&trace.track("GIL")];
    assert!(sum(held, &held.iter().map(|slice| &*slice.0).collect::<Vec<_>>()) > 0.3, "{held:?}");
    if mode == "memory" {
        return Ok(());
    }
    assert!(trace.of("s").count() >= 10, "{} hand-overs", trace.of("s").count());
    assert!(trace.of("C").count() >= 10, "{} counts of waiters", trace.of("C").count());
    let stalled = done.measured("STALLED")[0] + done.measured("SHORT")[0];
    let lost = sum(victim, &["GIL wait", "no CPU", "GIL held, no CPU", "GIL held off CPU"]);
    match (lost - stalled).abs() <= 0.1 * stalled + 0.01 {
        true => Ok(()),
        false => Err(format!("{lost:.4} s in slices instead of {stalled:.4} on {}", python.version)),
    }
}

on_every_python! {
    fn a_trace_of_waits_keeps_the_rules_and_is_true(python) {
        support::thrice(|| check(python, "kernel"));
    }
}

#[test]
fn a_trace_of_estimated_waits_keeps_the_rules() {
    support::thrice(|| check(Python::usual(), "memory"));
}

on_every_python! {
    fn a_trace_shows_who_held_a_lock_and_who_waited(python) {
        support::thrice(|| check_lock(python));
    }
}

fn check_lock(python: &Python) -> Result<(), String> {
    let folder = folder();
    let out = folder.path().join("out.json");
    let done = run(support::recording(&out, &["--mode", "kernel"], &python.script("locks.py", &["rlock", "1"])));
    done.ok();
    let trace = Trace::parse(&fs::read_to_string(&out).unwrap());
    trace.check();
    let slices = trace.slices();
    let own = done.measured("WAITED")[0];
    let waited = sum(&slices[&trace.state_track("victim")], &["lock wait"]);
    // Up to 3.13.0 it is a semaphore, until the object that has it is found.
    let named = trace.names.values().any(|name| name.starts_with("threading.RLock"));
    let held = &slices[&trace.track(if named { "threading.RLock" } else { "semaphore" })];
    let by_holder: f64 =
        held.iter().filter(|slice| slice.0.starts_with("holder ")).map(|slice| slice.2 - slice.1).sum();
    let arrows = trace.of("s").filter(|event| event["cat"] == "lock").count();
    match (waited - own).abs() < 0.1 * own && by_holder / 1e6 > 0.9 * own && arrows > 50 {
        true => Ok(()),
        false => Err(format!("{waited} s waited instead of {own}, {by_holder} us held, {arrows} arrows")),
    }
}
