//! Kernel mode: the program never notices, whatever it does and however gilscope ends; and what only this mode can
//! tell: times that are exact, from the very first one on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{
    self, Done, Folded, Proc, Python, Words, folder, gilscope, has, lines_of, on_every_python, run, until,
};

const KERNEL: [&str; 2] = ["--mode", "kernel"];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no array: {value}"))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A thread's states, the sum of which is its wall time, exactly.
#[track_caller]
fn assert_sums(report: &Value) {
    for thread in array(&report["threads"]) {
        let sum: f64 = thread["states"].as_object().unwrap().values().map(number).sum();
        let wall = number(&thread["wall_s"]);
        assert!((sum - wall).abs() < 1e-6, "{sum} of {wall}: {thread:#}");
    }
}

/// The report of a program that was recorded from its start in kernel mode.
#[track_caller]
fn report(options: &[&str], program: &Words) -> (Done, Value) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let done = run(support::recording(&out, &[&KERNEL, options].concat(), program));
    done.ok();
    let report = read(&out);
    assert_eq!(report["session"]["mode"], "kernel", "{}", done.stderr);
    assert_sums(&report);
    (done, report)
}

/// gilscope attached to a process in kernel mode.
fn attached(pid: i32, out: &Path, options: &[&str]) -> Proc {
    let mut command = gilscope(["record", "--pid", &pid.to_string(), "-o"]);
    command.arg(out).args(KERNEL).args(options);
    Proc::start(command)
}

/// Records `restless.py`, which is stopped and continued meanwhile.
fn check_restless(python: &Python, threads: u32) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let program = python.script("restless.py", &[&threads.to_string()]);
    let mut recording = Proc::start(support::recording(&out, &[&KERNEL[..], &["-r", "1000"]].concat(), &program));
    let ready = recording.wait_for("READY ");
    // Not another's: nobody has waited for it.
    let pid = Pid::from_raw(ready["READY ".len()..].parse().unwrap());
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        // It may have ended by now.
        let _ = kill(pid, Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(10));
        let _ = kill(pid, Signal::SIGCONT);
    }
    let done = recording.finish();
    done.ok();
    assert!(done.stdout.contains(&format!("DONE {threads} 20 2\n")), "{}: {}", python.version, done.stdout);
    let report = read(&out);
    assert_sums(&report);
    assert_eq!(report["session"]["lost_events"], 0, "{}", done.stderr);
    // Up to the moment when it became itself anew, and then again from when its interpreter was found.
    let count = |thread: &Value| thread["count"].as_u64().unwrap_or(1);
    let seen: u64 = array(&report["threads"]).iter().map(count).sum();
    assert!(seen * 10 > u64::from(threads) * 9, "{seen} threads of {threads}: {}", done.stderr);
}

on_every_python! {
    fn a_program_can_do_what_it_wants_to_in_kernel_mode(python) {
        check_restless(python, 2000);
    }
}

#[test]
fn ten_thousand_threads_come_and_go_in_kernel_mode() {
    check_restless(Python::usual(), 10_000);
}

/// The BPF programs that a process holds: others may run gilscope at the same time.
fn programs_of(pid: i32) -> BTreeSet<u32> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let infos = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let id = |info: String| info.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    infos.filter_map(id).collect()
}

/// Those that are in the kernel still, with their names.
fn loaded(ids: &BTreeSet<u32>) -> Vec<(u32, String)> {
    let all = aya::programs::loaded_programs().filter_map(Result::ok);
    let name = |program: &aya::programs::ProgramInfo| program.name_as_str().unwrap_or_default().to_owned();
    all.filter(|program| ids.contains(&program.id())).map(|program| (program.id(), name(&program))).collect()
}

#[test]
fn a_killed_gilscope_leaves_the_program_running_and_nothing_in_the_kernel() {
    let mut target = Python::usual().start("until_told.py", &[]);
    for (round, delay) in [5, 300, 40, 120, 10, 200, 80, 250, 20, 160].into_iter().enumerate() {
        let recording = attached(target.pid(), Path::new("/dev/null"), &["-q", "-f", "collapsed", "-r", "5000"]);
        // Loading takes a second. It is killed as it does so, and when it is done.
        if round % 2 == 1 {
            let wanted = ["on_switch", "on_waking", "on_cpu_clock", "on_exit"];
            until("its programs", || {
                let loaded = loaded(&programs_of(recording.pid()));
                wanted.iter().all(|wanted| loaded.iter().any(|(_, name)| name == wanted)).then_some(())
            });
        }
        std::thread::sleep(Duration::from_millis(delay));
        recording.signal(Signal::SIGSTOP);
        let stopped = || fs::read_to_string(format!("/proc/{}/stat", recording.pid())).unwrap().contains(") T ");
        until("the stop", || stopped().then_some(()));
        let programs = programs_of(recording.pid());
        // Kills it.
        drop(recording);
        until("the end of its programs", || loaded(&programs).is_empty().then_some(()));
        let ticks = target.seen.len();
        while target.seen.len() < ticks + 5 {
            target.wait_for("TICK ");
        }
    }
    target.signal(Signal::SIGTERM);
    let done = target.finish();
    let rounds = done.ok().lines().find_map(|line| line.strip_prefix("ENDED ")?.parse::<u32>().ok());
    assert!(rounds.is_some_and(|rounds| rounds > 100), "{}", done.stdout);
}

#[test]
fn two_can_record_the_same_program_in_kernel_mode() {
    support::measured(check_two);
}

fn check_two() {
    let folder = folder();
    let target = Python::usual().start("stall.py", &["60"]);
    let outs = ["one", "two"].map(|name| folder.path().join(format!("{name}.report.json")));
    let recordings = outs.each_ref().map(|out| attached(target.pid(), out, &["-d", "1.5"]));
    for recording in recordings {
        recording.finish().ok();
    }
    for out in &outs {
        let report = read(out);
        assert_sums(&report);
        assert_eq!(report["session"]["lost_events"], 0);
        let threads = array(&report["threads"]);
        let victim = threads.iter().find(|thread| thread["name"] == "victim").unwrap();
        let waited = number(&victim["states"]["gil_wait_s"]);
        assert!(waited > 0.15 * number(&victim["wall_s"]), "{victim:#}");
        let known = 1.0 - number(&victim["states"]["unknown_s"]) / number(&victim["wall_s"]);
        assert!(known > 0.98, "{victim:#}");
    }
    assert!(target.is_running());
}

#[test]
fn short_waits_can_be_left_out_but_count_all_the_same() {
    support::measured(check_short_waits);
}

fn check_short_waits() {
    let program = Python::usual().script("until_told.py", &[]);
    let folder = folder();
    let out = folder.path().join("out.json");
    let target = program.run();
    let record = |out: &Path, options: &[&str]| {
        let recording = attached(target.pid(), out, &[&["-d", "1"], options].concat());
        recording.finish().ok();
        read(out)
    };
    let slices = |trace: &Value| -> Vec<(String, f64)> {
        let waits = ["GIL wait", "blocked", "no CPU", "GIL held off CPU", "GIL held, no CPU"];
        let slices = array(trace).iter().filter(|event| waits.iter().any(|wait| event["name"] == *wait));
        let mut slices: Vec<&Value> = slices.collect();
        slices.sort_by(|a, b| {
            (number(&a["tid"]), number(&a["ts"])).partial_cmp(&(number(&b["tid"]), number(&b["ts"]))).unwrap()
        });
        let mut whole: Vec<(String, f64)> = Vec::new();
        let mut last = (Value::Null, 0.0);
        for slice in slices {
            let (start, micros) = (number(&slice["ts"]), number(&slice["dur"]));
            // After it was woken a thread is ready, and that is a part of the same time off the CPU.
            match whole.last_mut().filter(|_| last.0 == slice["tid"] && (start - last.1).abs() < 0.01) {
                Some(before) => before.1 += micros,
                None => whole.push((slice["name"].to_string(), micros)),
            }
            last = (slice["tid"].clone(), start + micros);
        }
        whole
    };
    std::thread::sleep(Duration::from_millis(300));
    // It sleeps for half a millisecond at a time, and for 10.
    let all = slices(&record(&out, &[]));
    let long = slices(&record(&out, &["--min-wait", "1000"]));
    let short: Vec<_> = long.iter().filter(|(_, micros)| *micros < 999.0).collect();
    let before = all.iter().filter(|(_, micros)| *micros < 999.0).count();
    assert!(before > 500, "{before} of {}", all.len());
    // What is cut short by the beginning or the end of the recording.
    assert!(short.len() <= 6, "{short:?}");
    assert!(long.len() > 20, "{long:?}");

    let out = folder.path().join("out.report.json");
    let report = record(&out, &["--min-wait", "1000"]);
    assert_sums(&report);
    for thread in array(&report["threads"]) {
        let (states, wall) = (&thread["states"], number(&thread["wall_s"]));
        // The sleeps of the two workers are most of their time, and known without a record of any.
        assert!(number(&states["blocked_s"]) > 0.3 * wall, "{thread:#}");
        assert!(number(&states["unknown_s"]) < 0.02 * wall, "{thread:#}");
    }
}

/// What `at_once.py` does is known for as long as it runs: on a busy machine, that can be over before it is looked at.
fn check_first(python: &Python) -> Result<(), String> {
    let program = python.script("at_once.py", &[]);
    let recording = support::record(&[&KERNEL[..], &["--view", "wall"]].concat(), &program);
    let line = lines_of("at_once.py", "time.sleep(")[0];
    // A program in another root has another name.
    let asleep = |stack: &[String]| {
        stack.len() == 2
            && support::name(&stack[0]) == "<module>"
            && support::line(&stack[0]) == line
            && stack[1].starts_with("[blocked: ")
    };
    let micros = recording.stacks.count(asleep);
    match (49_900..150_000).contains(&micros) {
        true => Ok(()),
        false => {
            let off = recording.stacks.only(|stack| stack.last().unwrap().starts_with("[blocked: "));
            Err(format!("{micros} us on {}: {off:?}, {}", python.version, recording.done.stderr))
        }
    }
}

on_every_python! {
    fn the_first_thing_a_program_does_is_seen_in_kernel_mode(python) {
        support::thrice(|| check_first(python));
    }
}

on_every_python! {
    fn threads_of_c_that_wait_to_enter_python_are_listed(python) {
        support::measured(|| check_entering(python));
    }
}

fn check_entering(python: &Python) {
    let (done, report) = report(&[], &python.script("entering.py", &["3"]));
    assert!(done.stdout.contains("ENTERED 3\n"), "{}", done.stdout);
    let pid = &report["target"]["pid"];
    let native: Vec<_> = array(&report["threads"]).iter().filter(|thread| &thread["tid"] != pid).collect();
    assert_eq!(native.len(), 3, "{report:#}");
    if python.is_free_threaded() {
        return;
    }
    let gil = &array(&report["gils"])[0];
    for thread in native {
        let waited = number(&thread["states"]["gil_wait_s"]);
        // It is not seen that it sleeps for as long before its thread begins.
        let wall = number(&thread["wall_s"]);
        assert!((0.15..0.8).contains(&waited) && waited > 0.7 * wall, "{}: {thread:#}", python.version);
        let own = array(&gil["threads"]).iter().find(|own| own["tid"] == thread["tid"]);
        let own = own.unwrap_or_else(|| panic!("not among those that waited: {gil:#}"));
        // That counts what it did between time-outs, too: every 5 ms it asks for the GIL.
        let in_all = number(&own["wait"]["total_s"]);
        assert!(in_all > waited - 0.001 && in_all < wall + 0.001, "{own:#} {thread:#}");
    }
    // Whoever slept with it is to blame.
    let first = &gil["holders"][0];
    assert_eq!(&first["tid"], pid, "{gil:#}");
    let line = lines_of("entering.py", "usleep(")[0];
    assert!(first["stack"][0].as_str().unwrap().ends_with(&format!("entering.py:{line})")), "{first:#}");
    assert!(number(&first["seconds"]) > 0.35, "{first:#}");
}

on_every_python! {
    fn threads_that_have_long_been_blocked_are_so_for_all_of_the_recording(python) {
        support::measured(|| check_long_blocked(python));
    }
}

fn check_long_blocked(python: &Python) {
    let target = python.start("long_blocked.py", &[]);
    let folder = folder();
    let out = folder.path().join("out.report.json");
    attached(target.pid(), &out, &["-d", "1"]).finish().ok();
    let report = read(&out);
    assert_sums(&report);
    let threads = array(&report["threads"]);
    assert_eq!(threads.len(), 4, "{report:#}");
    for thread in threads {
        let waits_for_lock = thread["name"] == "locker";
        let state = if waits_for_lock { "lock_wait_s" } else { "blocked_s" };
        let (blocked, wall) = (number(&thread["states"][state]), number(&thread["wall_s"]));
        assert!(wall > 0.98 && wall < 1.3, "{}: {thread:#}", python.version);
        assert!(blocked > 0.98 * wall, "{}: {thread:#}", python.version);
    }
    let out = folder.path().join("out.collapsed");
    attached(target.pid(), &out, &["-d", "1", "--view", "wall"]).finish().ok();
    let stacks = Folded::parse(&fs::read_to_string(&out).unwrap());
    for (function, leaf) in [("sleeper", "[blocked: "), ("reader", "[blocked: "), ("locker", "[waiting for ")] {
        let micros = stacks.count(|stack| has(stack, function) && stack.last().unwrap().starts_with(leaf));
        assert!(micros > 980_000, "{function} on {}: {stacks:?}", python.version);
    }
}
