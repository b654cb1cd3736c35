//! Waits for locks as they are reported, against what the waiting thread has measured itself: the right lock, the right
//! holder, the right time.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{self, Done, MODES, Python, Words, folder, on_every_python, on_pythons, run, thrice};

// What people call the objects that threads fight for.
on_pythons! {
    FreeThreaded,
    fn locks_of_objects_have_names(python) {
        let shapes = [
            ("builtin", "list (names.inventory)"),
            ("instance", "Account instance (names.account)"),
            ("cache", "lru_cache wrapper of names.slow_square"),
            ("library", "random.Random instance (random._inst)"),
            ("module", "dict of module names"),
            ("abstract", "set (names.Shape._abc_impl._abc_negative_cache)"),
        ];
        for (shape, label) in shapes {
            thrice(|| {
                let (report, done) = recorded(&["--mode", "kernel"], &python.script("names.py", &[shape, "1"]));
                done.ok();
                let locks = report["locks"].as_array().unwrap();
                let of_objects = locks.iter().filter(|lock| lock["kind"] == "critical_section");
                let most = of_objects.max_by_key(|lock| lock["contended"].as_u64());
                match most.is_some_and(|lock| lock["label"] == label) {
                    true => Ok(()),
                    false => Err(format!("{shape} on {}: {most:#?}", python.version)),
                }
            });
        }
    }
}

/// On which builds the lock of a shape can be identified.
#[derive(Clone, Copy, PartialEq)]
enum Builds {
    Every,
    /// Where objects have locks of their own.
    FreeThreaded,
}

/// A shape of `locks.py`: what its lock is to be reported as, and which function holds it.
struct Shape {
    name: &'static str,
    is: Builds,
    kinds: &'static [&'static str],
    /// Part of the type's name; empty if it need not have one.
    type_name: &'static str,
    /// One of these is on the holder's stack.
    holder: &'static str,
}

impl Shape {
    /// Whether there is such a lock: from 3.14 on `lru_cache` calls the function without holding one.
    fn is_in(&self, python: &Python) -> bool {
        self.name != "lru_cache" || python.minor() == 13
    }
}

const fn shape(
    name: &'static str,
    is: Builds,
    kinds: &'static [&'static str],
    type_name: &'static str,
    holder: &'static str,
) -> Shape {
    Shape { name, is, kinds, type_name, holder }
}

const LOCK: &[&str] = &["threading.Lock"];
const RLOCK: &[&str] = &["threading.RLock"];
const OBJECT: &[&str] = &["critical_section"];
const SHAPES: [Shape; 16] = [
    shape("shared_list", Builds::FreeThreaded, OBJECT, "list", "hold_attached"),
    shape("shared_dict", Builds::FreeThreaded, OBJECT, "dict", "hold_attached"),
    shape("shared_set", Builds::FreeThreaded, OBJECT, "set", "hold_attached"),
    shape("shared_deque", Builds::FreeThreaded, OBJECT, "collections.deque", "hold_attached"),
    shape("attribute", Builds::FreeThreaded, OBJECT, "", "hold_attached"),
    shape("lru_cache", Builds::FreeThreaded, OBJECT, "functools._lru_cache_wrapper", "hold_attached"),
    shape("type_lock", Builds::FreeThreaded, &["type_lock"], "", "hold_attached"),
    shape("lock", Builds::Every, LOCK, "_thread.lock", "hold_detached"),
    shape("impatient", Builds::Every, LOCK, "_thread.lock", "hold_detached"),
    shape("rlock", Builds::Every, RLOCK, "_thread.RLock", "hold_detached"),
    shape("condition", Builds::Every, RLOCK, "_thread.RLock", "hold_detached"),
    shape("work_queue", Builds::Every, LOCK, "_thread.lock", "hold_detached"),
    shape("log_handler", Builds::Every, RLOCK, "_thread.RLock", "hold_detached"),
    shape("buffered_file", Builds::Every, &["semaphore", "pymutex"], "_io.BufferedWriter", "hold_detached"),
    shape("import_lock", Builds::Every, &["import_lock"], "", "hold_detached"),
    shape("native_mutex", Builds::Every, &["native", "semaphore"], "", "hold_detached"),
];

/// A program's report, and what it has said itself.
fn recorded(options: &[&str], program: &Words) -> (Value, Done) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let done = run(support::recording(&out, options, program));
    (serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap(), done)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A report of the program, and what it has measured itself: for how long a thread waited, and how much of that was for a CPU.
fn report(python: &Python, mode: &str, arguments: &[&str]) -> (Value, [f64; 2]) {
    let (report, done) = recorded(&["--mode", mode, "-r", "1000"], &python.script("locks.py", arguments));
    done.ok();
    (report, ["WAITED", "NO_CPU"].map(|what| done.measured(what)[0]))
}

/// Whether it waited as long as it says. What it waited for a CPU is part of that where the lock was what it had slept for.
fn is_right(waited: f64, [own, ready]: [f64; 2], tolerance: f64) -> bool {
    own > 0.3 && waited > (own - ready) * (1.0 - tolerance) && waited < own * (1.0 + tolerance)
}

/// What is reported of the thread called victim.
fn waited(lock: &Value) -> f64 {
    let threads = lock["threads"].as_array().unwrap();
    threads
        .iter()
        .filter(|thread| thread["thread"] == "victim")
        .map(|thread| number(&thread["wait"]["total_s"]))
        .sum()
}

fn check(python: &Python, shape: &Shape) -> Result<(), String> {
    let (report, own) = report(python, "kernel", &[shape.name, "1.5"]);
    let version = &python.version;
    let wrong = |what: &str| Err(format!("{} on {version}: {what} ({own:?} s): {:#}", shape.name, report["locks"]));
    let locks = report["locks"].as_array().unwrap();
    for lock in locks {
        let nanos = |part: &str| (number(&lock[part]) * 1e9).round() as i64;
        let total = (number(&lock["wait"]["total_s"]) * 1e9).round() as i64;
        assert_eq!(nanos("caused_s") + nanos("gap_s") + nanos("unknown_s"), total, "{lock:#}");
    }
    let Some(lock) = locks.iter().max_by(|a, b| waited(a).total_cmp(&waited(b))) else { return wrong("no lock") };
    if !shape.kinds.iter().any(|kind| lock["kind"] == *kind) {
        return wrong("another kind");
    }
    if !shape.type_name.is_empty() && !lock["type"].as_str().is_some_and(|name| name.contains(shape.type_name)) {
        return wrong("another type");
    }
    // To make a type takes several locks.
    let tolerance = if shape.name == "type_lock" { 0.1 } else { 0.05 };
    if !is_right(waited(lock), own, tolerance) {
        return wrong("another time");
    }
    let caused = |by: &&Value| number(&by["seconds"]);
    let of_holder = |by: &&Value| by["thread"] == "holder" && by["stack"].to_string().contains(shape.holder);
    let holders = lock["holders"].as_array().unwrap();
    let by_holder: f64 = holders.iter().filter(of_holder).map(|by| caused(&by)).sum();
    if by_holder < 0.9 * number(&lock["wait"]["total_s"]) {
        return wrong("another holder");
    }
    let ledger = report["threads"].as_array().unwrap().iter().find(|thread| thread["name"] == "victim").unwrap();
    let states: f64 = ledger["states"].as_object().unwrap().values().map(number).sum();
    assert!((states - number(&ledger["wall_s"])).abs() <= 0.01 * states, "{ledger:#}");
    if number(&ledger["states"]["lock_wait_s"]) < waited(lock) * 0.99 {
        return wrong("not in the ledger");
    }
    // Nobody waits where each has its own.
    let (report, _) = self::report(python, "kernel", &[shape.name, "0.7", "own"]);
    let total: f64 = report["locks"].as_array().unwrap().iter().map(waited).sum();
    if shape.name != "type_lock" && shape.name != "import_lock" && total > 0.2 * own[0] * 0.7 / 1.5 {
        return Err(format!("{} on {version}: {total} s without a shared lock: {:#}", shape.name, report["locks"]));
    }
    Ok(())
}

on_every_python! {
    fn a_wait_for_a_lock_is_reported_with_the_lock_and_its_holder(python) {
        for shape in &SHAPES {
            if shape.is == Builds::FreeThreaded && !python.is_free_threaded() || !shape.is_in(python) {
                continue;
            }
            thrice(|| check(python, shape));
        }
    }
}

// Locks of C libraries have the names of their variables; those that many can read at once, too.
on_pythons! {
    Three,
    fn locks_of_libraries_have_names(python) {
        let folder = folder();
        let library = folder.path().join("catalog.so");
        let mut command = Command::new("cc");
        command
            .args(["-O1", "-shared", "-fPIC", "-pthread", "-o"])
            .arg(&library)
            .arg(support::targets().join("catalog.c"));
        run(command).ok();
        let library = library.to_str().unwrap();
        let shapes = [
            ("update_mutex", "update_mutex", "catalog_mutex"),
            ("update_rwlock", "look_up_rwlock", "catalog_rwlock"),
            ("look_up_rwlock", "update_rwlock", "catalog_rwlock"),
        ];
        for (hold, use_it, variable) in shapes {
            thrice(|| {
                let program = python.script("catalog.py", &[library, hold, use_it, "1"]);
                let (report, done) = recorded(&["--mode", "kernel"], &program);
                done.ok();
                let lock = &report["locks"][0];
                let by = &lock["holders"][0];
                let named = lock["name"] == format!("{variable} in catalog.so");
                match named && by["thread"] == "updating" && by["stack"].to_string().contains("updating (") {
                    true => Ok(()),
                    false => Err(format!("{hold} on {}: {lock:#}", python.version)),
                }
            });
        }
    }
}

/// The same from samples: an estimate.
fn estimated(python: &Python, shape: &Shape) -> Result<(), String> {
    let (report, own) = report(python, "memory", &[shape.name, "1.5"]);
    let version = &python.version;
    let wrong = |what: &str| Err(format!("{} on {version}: {what} ({own:?} s): {:#}", shape.name, report["locks"]));
    let locks = report["locks"].as_array().unwrap();
    let Some(lock) = locks.iter().max_by(|a, b| waited(a).total_cmp(&waited(b))) else { return wrong("no lock") };
    if !shape.kinds.iter().any(|kind| lock["kind"] == *kind) || !lock["type"].to_string().contains(shape.type_name) {
        return wrong("another lock");
    }
    assert_eq!(lock["estimated"], true, "{lock:#}");
    if !is_right(waited(lock), own, 0.15) {
        return wrong("another time");
    }
    let of_holder = |by: &&Value| by["thread"] == "holder" && by["stack"].to_string().contains(shape.holder);
    let holders = lock["holders"].as_array().unwrap();
    let (all, by_holder): (f64, f64) = (
        holders.iter().map(|by| number(&by["seconds"])).sum(),
        holders.iter().filter(of_holder).map(|by| number(&by["seconds"])).sum(),
    );
    match by_holder > 0.9 * all && by_holder > 0.2 * own[0] {
        true => Ok(()),
        false => wrong("another holder"),
    }
}

on_every_python! {
    fn in_memory_mode_that_is_estimated(python) {
        let tells = |shape: &&Shape| match shape.name {
            "shared_list" | "lru_cache" => python.is_free_threaded() && shape.is_in(python),
            name => ["lock", "rlock", "work_queue", "buffered_file"].contains(&name),
        };
        SHAPES.iter().filter(tells).for_each(|shape| thrice(|| estimated(python, shape)));
    }
}

/// Samples further apart than waits are long find a thread in one wait after the other.
fn sampled_seldom(python: &Python) -> Result<(), String> {
    let (report, done) = recorded(&["--mode", "memory", "-r", "100"], &python.script("in_turn.py", &["2"]));
    done.ok();
    let own = done.measured("WAITED")[0];
    let locks = report["locks"].as_array().unwrap();
    let reported: f64 = locks.iter().map(|lock| number(&lock["wait"]["total_s"])).sum();
    match reported > 0.8 * own && reported < 1.15 * own {
        true => Ok(()),
        false => Err(format!("{reported} of {own} s on {}: {:#}", python.version, report["threads"])),
    }
}

on_every_python! {
    fn in_memory_mode_short_waits_are_estimated_too(python) {
        thrice(|| sampled_seldom(python));
    }
}

// Threads that take a lock again and again spin for it before they sleep: that is CPU time of that lock, and nobody
// spins where each thread has its own.
on_pythons! {
    FreeThreaded,
    fn spinning_is_attributed_to_its_lock(python) {
        thrice(|| {
            let spun = |arguments: &[&str]| -> [f64; 3] {
                let program = python.script("contend.py", arguments);
                let (report, done) = recorded(&["--mode", "kernel", "-r", "10000"], &program);
                done.ok();
                let locks = report["locks"].as_array().unwrap();
                let spin = |lock: &Value| number(&lock["spin_s"]);
                let shared = |lock: &&Value| lock["name"].as_str().is_some_and(|name| name.ends_with("shared"));
                let of_lock = locks.iter().filter(shared).map(spin).sum();
                [of_lock, locks.iter().map(spin).sum(), done.measured("NO_CPU")[0]]
            };
            let [of_lock, all, no_cpu] = spun(&["1.5"]);
            let [_, own, _] = spun(&["1.5", "own"]);
            // A thread yields its CPU at each turn: where others want it, it hardly has any time to spin (5 samples here).
            let least = if no_cpu < 0.2 { 0.05 } else { 0.0005 };
            match of_lock >= least && of_lock > 0.9 * all && own < 0.2 * all {
                true => Ok(()),
                false => Err(format!("{of_lock} of {all} s, {own} s without a shared lock, {no_cpu} without a CPU")),
            }
        });
    }
}

/// Stops of all threads are reported with who has stopped them, and for how long each stood still.
fn stopped(python: &Python, mode: &str) -> Result<(), String> {
    let times = 40;
    let program = python.script("pauses.py", &[&times.to_string()]);
    let (report, done) = recorded(&["--mode", mode, "-r", "500"], &program);
    done.ok();
    let own = done.measured("STALLED")[0];
    let threads = report["threads"].as_array().unwrap();
    let victim = threads.iter().find(|thread| thread["name"] == "victim").unwrap();
    let state = |name: &str| number(&victim["states"][name]);
    let pauses = &report["pauses"];
    let by = &pauses["requesters"][0];
    let count = number(&pauses["count"]);
    // It may also have stood still because there was no CPU; and samples may miss a stop, or not tell two from each other.
    let fewest = if mode == "kernel" { 0.9 } else { 0.5 };
    let unexplained = state("paused_s") + state("runnable_s") < 0.8 * own;
    let right = by["thread"] == "collector"
        && number(&pauses["reasons"]["gc"]) >= 0.9 * count
        && by["stack"].to_string().contains("collector (")
        && (f64::from(times) * fewest..f64::from(times) * 2.5).contains(&count)
        && state("paused_s") > 0.1
        && state("paused_s") < own * 1.1 + 0.05
        && (mode == "memory" || !unexplained);
    if right { Ok(()) } else { Err(format!("{mode}, {own} s: {pauses:#} {victim:#}")) }
}

on_pythons! {
    FreeThreaded,
    fn who_stops_all_threads_is_reported(python) {
        MODES.iter().for_each(|mode| thrice(|| stopped(python, mode)));
    }
}

// And why: each reason from a program that stops them for nothing else.
on_pythons! {
    FreeThreaded,
    fn the_reasons_of_stops_are_reported(python) {
        support::measured(|| check_reasons(python));
    }
}

fn check_reasons(python: &Python) {
    let reasons = [
        ("fork", "fork"),
        ("type_change", "type being changed"),
        ("tracing", "tracing being set"),
        ("stacks", "stacks being looked at"),
        ("collection", "gc"),
    ];
    for (shape, reason) in reasons {
        let (report, done) = recorded(&["--mode", "kernel"], &python.script("stops.py", &[shape, "100"]));
        done.ok();
        let pauses = &report["pauses"];
        let count = number(&pauses["count"]);
        let so = pauses["reasons"][reason].as_f64().unwrap_or(0.0);
        assert!(count >= 30.0 && so >= 0.8 * count, "{shape} on {}: {pauses:#}", python.version);
        let trend = pauses["trend"].as_array().unwrap();
        let sum = |name: &str| trend.iter().map(|interval| number(&interval[name])).sum::<f64>();
        assert_eq!(sum("count"), count, "{pauses:#}");
        assert!((2..=16).contains(&trend.len()), "{pauses:#}");
        let ends = trend.iter().zip(&trend[1..]).all(|(one, next)| one["to_s"] == next["from_s"]);
        assert!(ends && number(&trend.last().unwrap()["to_s"]) <= number(&report["session"]["duration_s"]));
    }
}

/// Nobody releases the lock, so no release shows who holds it.
fn kept(python: &Python, shape: &str) -> Result<(), String> {
    let target = python.start("kept.py", &[shape]);
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let pid = target.pid().to_string();
    let mut command = support::gilscope(["record", "--mode", "kernel", "-d", "1.5", "--pid", &pid, "-o"]);
    command.arg(&out);
    run(command).ok();
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    let Some(lock) = report["locks"].as_array().unwrap().first() else { return Err(format!("{report:#}")) };
    let by_keeper = |by: &&Value| by["thread"] == "keeper" && by["stack"].to_string().contains("keeper (");
    let holders = lock["holders"].as_array().unwrap();
    let caused: f64 = holders.iter().filter(by_keeper).map(|by| number(&by["seconds"])).sum();
    let waited = number(&lock["wait"]["total_s"]);
    match waited > 1.4 && caused > 0.9 * waited {
        true => Ok(()),
        false => Err(format!("{shape} on {}: {lock:#}", python.version)),
    }
}

on_every_python! {
    fn who_never_releases_a_lock_is_reported_as_its_holder(python) {
        let shapes = ["rlock", "lock", "list"].iter().filter(|&&shape| shape != "list" || python.is_free_threaded());
        shapes.for_each(|shape| thrice(|| kept(python, shape)));
    }
}

/// A wait that follows upon another at once, because the thread hands on what it has waited for, is one of its own.
fn played(python: &Python, arguments: &[&str]) -> Result<(), String> {
    let (report, done) = recorded(&["--mode", "kernel"], &python.script("pingpong.py", arguments));
    done.ok();
    let own = done.measured("WAITED")[0];
    let locks = report["locks"].as_array().unwrap();
    let sum = |name: &str| locks.iter().map(|lock| number(&lock[name])).sum::<f64>();
    let (waits, sleeps) = (sum("contended"), sum("parked"));
    // Whoever gets the lock before it sleeps does not wait: without a GIL that is most of them.
    let sleeps_often = python.is_free_threaded() || sleeps > 0.3 * own;
    // If they were taken for one where a lock is a semaphore, it would be one wait of thirty.
    match waits >= 0.9 * sleeps && waits <= 1.02 * own && sleeps_often {
        true => Ok(()),
        false => Err(format!("{waits} waits, {sleeps} sleeps, {own} of its own on {} {arguments:?}", python.version)),
    }
}

on_every_python! {
    fn waits_that_follow_one_another_at_once_are_all_counted(python) {
        // Where there is one CPU, who is handed the lock is often not asleep yet.
        [&["1"][..], &["1", "one_cpu"]].iter().for_each(|arguments| thrice(|| played(python, arguments)));
    }
}

/// The mutexes of the GIL are not taken for other locks, not even in the first moment.
fn nothing_but_two_locks(python: &Python) {
    let target = python.start("pingpong.py", &["60"]);
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let pid = target.pid().to_string();
    for _ in 0..2 {
        let mut command = support::gilscope(["record", "--mode", "kernel", "-d", "0.3", "--pid", &pid, "-o"]);
        command.arg(&out);
        run(command).ok();
        let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        let locks = report["locks"].as_array().unwrap();
        let contended: Vec<_> = locks.iter().map(|lock| (&lock["label"], number(&lock["contended"]))).collect();
        let all: f64 = contended.iter().map(|lock| lock.1).sum();
        let few = contended.iter().any(|lock| lock.1 < 0.01 * all);
        assert!(contended.len() <= 2 && !few, "on {}: {contended:?}", python.version);
    }
}

on_pythons! {
    WithGil,
    fn the_gil_is_no_lock_among_others(python) {
        support::measured(|| nothing_but_two_locks(python));
    }
}

/// The last waits of a program are reported when its memory cannot be read any more.
fn no_others_at_the_end(python: &Python) -> Result<(), String> {
    // What is at an address is looked at again every 100 ms.
    let (report, done) = recorded(&["--mode", "kernel"], &python.script("pingpong.py", &["1.2", "killed"]));
    assert_eq!(done.code, 137, "{}", done.stderr);
    // Threads that play also wait for what they count in, and for the parking lot; but copies of their locks have no name.
    let locks = report["locks"].as_array().unwrap().iter();
    let locks = locks.filter(|lock| lock["kind"] == "threading.Lock" || lock["name"].is_null());
    let waits: Vec<_> = locks.map(|lock| (&lock["label"], number(&lock["contended"]))).collect();
    // The program's start has some, of its own.
    let played = waits.iter().filter(|(_, times)| *times > 2.0).count();
    match (1..=2).contains(&played) {
        true => Ok(()),
        false => Err(format!("on {}: {waits:?}", python.version)),
    }
}

on_every_python! {
    fn a_program_that_is_killed_has_no_other_locks(python) {
        thrice(|| no_others_at_the_end(python));
    }
}

/// Threads that are handed their work have nothing to do meanwhile.
fn handed(python: &Python, mode: &str) -> Result<(), String> {
    let (report, done) = recorded(&["--mode", mode, "-r", "500"], &python.script("handed.py", &["2"]));
    done.ok();
    let waited: f64 = report["locks"].as_array().unwrap().iter().map(|lock| number(&lock["wait"]["total_s"])).sum();
    let of_threads = |state: &str| -> f64 {
        report["threads"].as_array().unwrap().iter().map(|thread| number(&thread["states"][state])).sum()
    };
    let (locks, blocked) = (of_threads("lock_wait_s"), of_threads("blocked_s"));
    let findings: Vec<_> = report["findings"].as_array().unwrap().iter().map(|finding| &finding["id"]).collect();
    let wrong = findings.iter().any(|id| id.as_str().is_some_and(|id| id.starts_with("lock")));
    let idle = report["waiting_for_work"].as_array().unwrap().iter();
    let at_queue: f64 = idle
        .filter(|idle| idle["thread"] == "worker" && idle["kind"] == "queue")
        .map(|idle| number(&idle["seconds"]))
        .sum();
    match waited < 0.3 && locks < 0.3 && blocked > 6.0 && at_queue > 1.3 && !wrong {
        true => Ok(()),
        false => Err(format!(
            "{waited} and {locks} of {blocked} s, {at_queue} at the queue on {} in {mode} mode: {findings:?} {:#} {:#}",
            python.version, report["locks"], report["waiting_for_work"]
        )),
    }
}

on_every_python! {
    fn who_is_handed_work_waits_for_no_lock(python) {
        MODES.iter().for_each(|mode| thrice(|| handed(python, mode)));
    }
}
