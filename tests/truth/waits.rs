//! Waits for the GIL as they are reported, against what the waiting program has measured itself.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{self, Words, folder, on_every_python, on_pythons, run};

/// For how long `stall.py` sleeps at a time with the GIL.
const SLEEP: f64 = 0.020;

/// What is reported of a run of `stall.py`, and what that says itself.
struct Recorded {
    report: Value,
    /// What the victim lost in stalls of more than 2 ms: it waited, or had no CPU.
    stalled: f64,
    /// In shorter ones.
    short: f64,
    /// How often the other one has slept with the GIL.
    sleeps: f64,
    /// How long that took it, with the waits for the GIL that it was asked for at the end of each sleep.
    held: f64,
    /// By how much sleepers overslept on this machine meanwhile, on average.
    late: f64,
}

impl Recorded {
    fn new(program: &Words, options: &[&str]) -> Recorded {
        let folder = folder();
        let out = folder.path().join("out.report.json");
        let over = AtomicBool::new(false);
        let (done, late) = std::thread::scope(|scope| {
            let late = scope.spawn(|| lateness(&over));
            let done = run(support::recording(&out, options, program));
            over.store(true, Ordering::Relaxed);
            (done, late.join().unwrap())
        });
        done.ok();
        let report = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        let (long, short) = (done.measured("STALLED"), done.measured("SHORT"));
        Recorded { report, stalled: long[0], short: short[0], held: long[2], sleeps: long[3], late }
    }

    fn thread(&self, name: &str) -> &Value {
        let threads = self.report["threads"].as_array().unwrap();
        let found = threads.iter().find(|thread| thread["name"] == name);
        found.unwrap_or_else(|| panic!("no thread {name}: {:#}", self.report))
    }

    fn state(&self, thread: &str, state: &str) -> f64 {
        number(&self.thread(thread)["states"][state])
    }

    fn gil(&self) -> &Value {
        let gils = self.report["gils"].as_array().unwrap();
        assert_eq!(gils.len(), 1, "{gils:#?}");
        &gils[0]
    }

    /// How much waiting is attributed to the sleeps of `holding()`.
    fn caused_asleep(&self) -> f64 {
        let holders = self.gil()["holders"].as_array().unwrap();
        holders.iter().filter(|by| is_asleep(by)).map(|by| number(&by["seconds"])).sum()
    }

    /// What must be so whatever the machine does.
    fn check_sums(&self) {
        for thread in self.report["threads"].as_array().unwrap() {
            let states = thread["states"].as_object().unwrap();
            let (sum, wall) = (states.values().map(number).sum::<f64>(), number(&thread["wall_s"]));
            assert!((sum - wall).abs() <= 0.01 * wall, "{sum} of {wall}: {thread:#}");
            assert!(states.values().all(|state| number(state) >= 0.0), "{thread:#}");
        }
        for gil in self.report["gils"].as_array().unwrap() {
            let [caused, gap, unknown] = ["caused_s", "gap_s", "unknown_s"].map(|part| nanos(&gil[part]));
            assert_eq!(caused + gap + unknown, nanos(&gil["wait"]["total_s"]), "{:#}", gil["wait"]);
            let by_thread = gil["threads"].as_array().unwrap().iter();
            let by_thread: i64 = by_thread.map(|thread| nanos(&thread["wait"]["total_s"])).sum();
            assert_eq!(by_thread, nanos(&gil["wait"]["total_s"]), "{gil:#}");
        }
    }
}

/// By how much sleeps of 20 ms are too long until it is over, on average.
fn lateness(over: &AtomicBool) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs_f64(SLEEP));
        sum += start.elapsed().as_secs_f64() - SLEEP;
        count += 1;
    }
    sum / f64::from(count.max(1))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn nanos(value: &Value) -> i64 {
    (number(value) * 1e9).round() as i64
}

fn is_asleep(by: &Value) -> bool {
    let line = support::lines_of("stall.py", "usleep_with_gil(")[0];
    let place = by["stack"][0].as_str().unwrap_or_default();
    by["thread"] == "holder" && place.starts_with("holding (") && place.ends_with(&format!("stall.py:{line})"))
}

/// `seen` is `real`, give or take so much of it and 10 ms.
fn close(what: &str, seen: f64, real: f64, part: f64) -> Result<(), String> {
    between(what, seen, real * (1.0 - part) - 0.01, real * (1.0 + part) + 0.01)
}

fn between(what: &str, seen: f64, least: f64, most: f64) -> Result<(), String> {
    match (least..=most).contains(&seen) {
        true => Ok(()),
        false => Err(format!("{what}: {seen:.4}, not {least:.4} to {most:.4}")),
    }
}

fn check_exact(program: &Words) -> Result<(), String> {
    let recorded = Recorded::new(program, &["--mode", "kernel"]);
    let report = &recorded.report;
    assert_eq!(report["session"]["mode"], "kernel");
    assert_eq!(report["session"]["lost_events"], 0, "{:#}", report["session"]);
    recorded.check_sums();
    let gil = recorded.gil();
    assert_eq!(gil["estimated"], false);

    // A loop that does nothing but look at the clock stands still when it waits for the GIL, but also when it has no
    // CPU, with or without the GIL.
    let waited = recorded.state("victim", "gil_wait_s");
    let robbed = recorded.state("victim", "gil_held_off_cpu_s") + recorded.state("victim", "gil_held_no_cpu_s");
    let lost = waited + robbed + recorded.state("victim", "runnable_s");
    close("lost by the victim", lost, recorded.stalled + recorded.short, 0.02)?;

    // A sleep is never too short. By how much it is too long cannot be known to Python code, which has to get the GIL
    // back first: that is `held`, and the sleeps of another process in the same time tell how much is to be expected.
    let asleep = recorded.state("holder", "gil_held_off_cpu_s");
    let least = recorded.sleeps * SLEEP;
    between(
        "slept with the GIL",
        asleep,
        0.98 * least - 0.01,
        1.02 * (least + 2.0 * recorded.sleeps * recorded.late) + 0.01,
    )?;
    between("slept with the GIL", asleep, 0.0, recorded.held + 0.001)?;

    // That is what the victim waits for, and nothing else.
    close("attributed to the sleeps", recorded.caused_asleep(), waited, 0.05)?;
    let victim = gil["threads"].as_array().unwrap().iter().find(|thread| thread["thread"] == "victim").unwrap();
    close("waits of the victim", number(&victim["wait"]["total_s"]), waited, 0.02)?;
    let count = number(&victim["wait"]["count"]);
    between("waits of the victim", count, 0.9 * recorded.sleeps, 2.5 * recorded.sleeps + 20.0)?;
    // Unless the victim itself keeps the GIL while others have its CPU.
    if robbed < 0.2 * asleep {
        let first = &gil["holders"][0];
        assert!(is_asleep(first), "{first:#}");
    }
    check_finding(report)
}

fn check_finding(report: &Value) -> Result<(), String> {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["id"] == "gil-held-while-blocked");
    let message = found.and_then(|finding| finding["message"].as_str()).unwrap_or_default();
    let line = support::lines_of("stall.py", "usleep_with_gil(")[0];
    for part in ["holder kept the GIL", "blocked in clock_nanosleep in holding (", &format!("stall.py:{line})")] {
        if !message.contains(part) {
            return Err(format!("{part:?} is in no finding: {findings:#?}"));
        }
    }
    Ok(())
}

fn check_estimated(program: &Words) -> Result<(), String> {
    let recorded = Recorded::new(program, &["--mode", "memory", "-r", "500"]);
    assert_eq!(recorded.report["session"]["mode"], "memory");
    recorded.check_sums();
    let gil = recorded.gil();
    assert_eq!(gil["estimated"], true);
    // Having no CPU looks like running here: with the GIL, or, just woken from a wait, without it.
    let waited = recorded.state("victim", "gil_wait_s");
    let least = recorded.sleeps * SLEEP;
    between("waited", waited, 0.0, 1.1 * (recorded.stalled + recorded.short) + 0.01)?;
    between("waited, or woken", waited + recorded.state("victim", "native_s"), 0.9 * least - 0.01, f64::MAX)?;
    let asleep = recorded.state("holder", "gil_held_off_cpu_s");
    between(
        "slept with the GIL",
        asleep,
        0.9 * least - 0.01,
        1.1 * (least + 2.0 * recorded.sleeps * recorded.late) + 0.01,
    )?;
    close("attributed to the sleeps", recorded.caused_asleep(), waited, 0.1)?;
    check_finding(&recorded.report)
}

fn check_without_gil(program: &Words, mode: &str) {
    let recorded = Recorded::new(program, &["--mode", mode]);
    recorded.check_sums();
    // The main thread has it for a moment whenever it imports an extension module: it is switched on for that.
    for thread in ["victim", "holder"] {
        for state in ["gil_wait_s", "gil_held_s", "gil_held_off_cpu_s"] {
            assert_eq!(recorded.state(thread, state), 0.0, "{:#}", recorded.thread(thread));
        }
    }
    let gil = recorded.gil();
    assert_eq!((&gil["enabled"], &gil["wait"]["count"]), (&false.into(), &0.into()), "{gil:#}");
    // What else the machine does is no fault of the program's.
    let findings = recorded.report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["id"] == "no-cpu"), "{findings:#?}");
}

on_every_python! {
    fn waits_are_as_long_as_the_program_says(python) {
        let program = python.script("stall.py", &["3"]);
        match python.is_free_threaded() {
            true => ["kernel", "memory"].iter().for_each(|mode| check_without_gil(&program, mode)),
            false => support::thrice(|| check_exact(&program)),
        }
    }
}

on_pythons! {
    WithGil,
    fn estimated_waits_are_about_as_long_as_the_program_says(python) {
        let program = python.script("stall.py", &["3"]);
        support::thrice(|| check_estimated(&program));
    }
}

// A free-threaded build has a GIL all the same, if that is asked for.
on_pythons! {
    FreeThreaded,
    fn waits_for_the_gil_of_a_free_threaded_build_are_exact_when_it_is_on(python) {
        let program = python.script_with_gil("stall.py", &["3"]);
        support::thrice(|| check_exact(&program));
        support::thrice(|| check_estimated(&program));
    }
}
