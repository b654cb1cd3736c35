//! Recordings (`.gscope`): what comes back, whatever has become of gilscope or of the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    self, Done, Folded, GILSCOPE, MODES, Proc, Python, Words, folder, gilscope, need_root, not_measured, run, say,
    until,
};

/// gilscope's answer to a command about files.
#[track_caller]
fn asked(words: &[&str], files: &[&Path]) -> Done {
    let mut command = gilscope(words);
    command.args(files);
    run(command)
}

#[track_caller]
fn report(file: &Path, options: &[&str]) -> Value {
    let done = asked(&[&["report", "--json"], options].concat(), &[file]);
    serde_json::from_str(done.ok()).unwrap()
}

#[track_caller]
fn export(file: &Path, out: &Path, options: &[&str]) -> Done {
    let mut command = gilscope(["export", "-o"]);
    command.arg(out).args(options).arg(file);
    let done = run(command);
    done.ok();
    done
}

#[track_caller]
fn folded(file: &Path, options: &[&str]) -> Folded {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    export(file, &out, options);
    Folded::parse(&fs::read_to_string(out).unwrap())
}

/// Records a program that is started for that.
#[track_caller]
fn recorded(folder: &Path, name: &str, options: &[&str], program: &Words) -> (PathBuf, Done) {
    let out = folder.join(name);
    let done = run(support::recording(&out, options, program));
    done.ok();
    (out, done)
}

/// The verdict and the findings of an output.
fn answer(text: &str) -> &str {
    let start = text.find("\nBiggest cost").unwrap_or_else(|| panic!("{text}"));
    let end = text.find("\nGIL: ").unwrap_or_else(|| panic!("{text}"));
    &text[start + 1..end]
}

#[test]
fn a_recording_gives_what_was_printed_as_it_was_recorded_and_every_export() {
    let folder = folder();
    for mode in MODES {
        let program = Python::usual().script("stall.py", &["1"]);
        let (file, done) = recorded(folder.path(), &format!("{mode}.gscope"), &["--mode", mode], &program);
        let printed = asked(&["report"], &[&file]);
        assert_eq!(answer(printed.ok()), answer(&done.stderr));
        assert!(
            printed.stdout.contains("\nThreads: what each did") && !done.stderr.contains("\nThreads: what each did")
        );
        assert!(printed.stdout.contains("stall.py") && printed.stdout.contains(&format!("{mode} mode")));
        let saved = folder.path().join("x.report.json");
        export(&file, &saved, &[]);
        assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&saved).unwrap()).unwrap(), report(&file, &[]));
        for name in ["x.svg", "x.collapsed", "x.speedscope.json", "x.json"] {
            let out = folder.path().join(name);
            export(&file, &out, &["--view", "wall"]);
            let text = fs::read_to_string(&out).unwrap();
            assert!(text.contains("victim"), "{name}");
            if name.ends_with("json") {
                serde_json::from_str::<Value>(&text).unwrap();
            }
        }
        // A recording of a recording is the same again, and so is one of a part of it that is all of it.
        for options in [&[][..], &["--from", "0"]] {
            let copy = folder.path().join("copy.gscope");
            export(&file, &copy, options);
            assert_eq!(folded(&copy, &["--view", "wall"]).0, folded(&file, &["--view", "wall"]).0);
        }
    }
}

#[test]
fn a_recording_can_go_through_a_pipe() {
    // It prints nothing: that would go the same way.
    let mut words = Python::usual().words();
    words.extend(["-c", "import time\nwhile time.process_time() < 0.6: pass"].map(str::to_owned));
    let program = Words::of(words);
    let folder = folder();
    let out = folder.path().join("piped.gscope");
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\" > \"$0\""]).arg(&out).args([GILSCOPE, "record", "--mode", "memory"]);
    command.args(["-q", "-f", "gscope", "-o", "-", "--"]).args(&program.words);
    run(command).ok();
    assert!(folded(&out, &[]).total() > 20);
}

/// gilscope that records a process, and has written some blocks.
fn under_way(out: &Path, target: &Proc, rate: &str) -> Proc {
    let mut command = gilscope(["record", "-r", rate, "-o"]);
    command.arg(out).args(["--pid", &target.pid().to_string()]);
    let profiler = Proc::start(command);
    until("a recording of some length", || {
        let report = asked(&["report", "--json"], &[out]);
        let report: Value = serde_json::from_str(&report.stdout).ok()?;
        (report["session"]["samples"].as_u64()? > 50).then_some(())
    });
    profiler
}

#[test]
fn what_was_recorded_until_gilscope_was_killed_can_be_read() {
    let folder = folder();
    let target = Python::usual().start("spin.py", &["120"]);
    let out = folder.path().join("out.gscope");
    let profiler = under_way(&out, &target, "100");
    profiler.signal(Signal::SIGKILL);
    assert_eq!(profiler.finish().code, 137);
    let report = report(&out, &[]);
    assert!(report["session"]["samples"].as_u64().unwrap() > 50);
    assert!(report["session"]["duration_s"].as_f64().unwrap() > 0.5);
    let note = report["session"]["degraded"].to_string();
    assert!(note.contains("cut off after"), "{note}");
    assert!(folded(&out, &[]).total() > 50);
    assert_eq!(files(folder.path()), ["out.gscope"]);
}

fn files(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    files.collect()
}

#[test]
fn any_part_of_a_recording_opens_or_says_why_not() {
    let folder = folder();
    let program = Python::usual().script("stall.py", &["1.5"]);
    let (file, _) = recorded(folder.path(), "whole.gscope", &["-r", "500"], &program);
    let whole = fs::read(&file).unwrap();
    let part = folder.path().join("part.gscope");
    let all = report(&file, &[])["session"]["samples"].as_u64().unwrap();
    for length in [0, 5, 11] {
        fs::write(&part, &whole[..length]).unwrap();
        let done = asked(&["report"], &[&part]);
        let complaint = done.failed();
        assert!(complaint.contains("part.gscope") && !complaint.contains("cannot be shown: :"), "{complaint}");
    }
    for tenth in 0..10 {
        fs::write(&part, &whole[..12 + (whole.len() - 12) * tenth / 10]).unwrap();
        let report = report(&part, &[]);
        assert!(report["session"]["samples"].as_u64().unwrap() < all);
        assert!(report["session"]["degraded"].to_string().contains("cut off"), "{tenth}: {report}");
    }
    // A later gilscope's.
    let mut newer = whole.clone();
    newer[8] = 9;
    fs::write(&part, &newer).unwrap();
    for words in [&["report"][..], &["export", "-o", "/dev/null", "-f", "collapsed"]] {
        let done = asked(words, &[&part]);
        assert!(done.failed().contains("newer gilscope"), "{}", done.stderr);
    }
}

#[test]
fn bad_input_is_recognized_and_leaves_nothing_behind() {
    let folder = folder();
    let text = folder.path().join("text");
    fs::write(&text, "main;work 12\n").unwrap();
    let out = folder.path().join("out.svg");
    let exported = |file: &Path| asked(&["export", "-o", out.to_str().unwrap()], &[file]);
    for (file, part) in [
        (text.clone(), "not a recording"),
        (folder.path().join("missing"), "No such file"),
        (folder.path().into(), "directory"),
    ] {
        let done = exported(&file);
        assert!(done.failed().contains(part) && done.stderr.contains(file.to_str().unwrap()), "{}", done.stderr);
    }
    assert_eq!(files(folder.path()), ["text"]);
    let program = Python::usual().script("spin.py", &["0.3"]);
    let (file, _) = recorded(folder.path(), "x.gscope", &[], &program);
    let complains = |words: &[&str], part: &str| {
        let done = asked(words, &[&file]);
        assert!(done.failed().contains(part), "{words:?}: {}", done.stderr);
    };
    complains(&["export", "-o", file.to_str().unwrap()], "written over");
    complains(&["export", "-o", "/nonexistent/x.svg"], "/nonexistent/x.svg");
    complains(&["export", "-o", "/dev/full", "-f", "svg"], "No space left");
    let unknown = asked(&["export", "-o", "out.what"], &[&file]);
    assert_eq!(unknown.code, 2, "an error of usage: {}", unknown.stderr);
    assert!(unknown.stderr.contains("does not say which format"), "{}", unknown.stderr);
    complains(&["export", "-o", "out.gscope", "--thread", "MainThread"], "only --from and --to");
    complains(&["report", "--thread", "nobody"], "no thread is called nobody: there are ");
    complains(&["report", "--function", "nothing"], "no function is called nothing");
    complains(&["report", "--lock", "nothing"], "no lock that was waited for is called nothing");
    complains(&["report", "--from", "100"], "nothing after --from 100");
    complains(&["report", "--from", "2", "--to", "1"], "nothing between");
    complains(&["merge", "-o", "x.svg"], "no name for a recording");
    // Nothing was recorded: that is no error.
    let (empty, _) =
        recorded(folder.path(), "empty.gscope", &["-r", "0.01"], &Python::usual().script("spin.py", &["0"]));
    asked(&["report"], &[&empty]).ok();
    let done = export(&empty, &out, &[]);
    assert!(done.stderr.contains("nothing was recorded"), "{}", done.stderr);
}

#[test]
fn when_the_file_may_grow_no_more_what_is_there_can_be_read() {
    let folder = folder();
    let target = Python::usual().start("spin.py", &["120"]);
    let out = folder.path().join("out.gscope");
    let mut command = Command::new("sh");
    // In blocks of 512 or 1,024 bytes, as the shell likes it.
    command.args(["-c", "ulimit -f 24; exec \"$@\"", "sh", GILSCOPE, "record", "-r", "1000", "-o"]).arg(&out);
    command.args(["--mode", "memory", "--pid", &target.pid().to_string()]);
    let done = run(command);
    let complaint = done.failed();
    assert!(complaint.contains("out.gscope") && complaint.contains("File too large"), "{complaint}");
    assert!(complaint.contains("the recording ends here"), "{complaint}");
    // What was seen is reported all the same.
    assert!(done.stderr.contains("GIL: "), "{}", done.stderr);
    assert!(folded(&out, &[]).total() > 50);
    assert!(report(&out, &[])["session"]["degraded"].to_string().contains("cut off"));
    assert!(target.is_running());
}

#[test]
fn a_full_disk_ends_the_recording_but_not_the_program() {
    need_root();
    let (folder, elsewhere) = (folder(), folder());
    let program = Python::usual().script("spin.py", &["8", "7"]);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=16k none \"$0\" || exit 99; out=$1; shift; \"$@\"; code=$?; \
                  cp \"$0\"/out.gscope \"$out\"; exit $code";
    let kept = elsewhere.path().join("kept.gscope");
    command.args(["-m", "sh", "-c", script]).arg(folder.path()).arg(&kept).args([GILSCOPE, "record", "-r", "1000"]);
    command.args(["--mode", "memory", "-o"]).arg(folder.path().join("out.gscope")).arg("--").args(&program.words);
    let done = run(command);
    if done.code == 99 || done.stderr.contains("unshare failed") {
        not_measured("no file system can be mounted");
    }
    let complaint = done.failed();
    assert!(complaint.contains("No space left") && complaint.contains("the recording ends here"), "{complaint}");
    assert!(complaint.contains("the program continues"), "{complaint}");
    assert!(folded(&kept, &[]).total() > 20);
}

#[test]
fn recordings_of_two_processes_become_one() {
    let folder = folder();
    for mode in MODES {
        let programs = ["stall.py", "split.py"];
        let running: Vec<_> = programs
            .iter()
            .map(|script| {
                let out = folder.path().join(format!("{mode}-{script}.gscope"));
                let program = Python::usual().script(script, &["1.5"]);
                (Proc::start(support::recording(&out, &["--mode", mode], &program)), out, program)
            })
            .collect();
        let files: Vec<PathBuf> = running
            .into_iter()
            .map(|(profiler, out, _program)| {
                profiler.finish().ok();
                out
            })
            .collect();
        let both = folder.path().join(format!("{mode}.gscope"));
        asked(&["merge", "-o", both.to_str().unwrap()], &[&files[0], &files[1]]).ok();
        let parts: Vec<Value> = files.iter().map(|file| report(file, &[])).collect();
        let whole = report(&both, &[]);
        let samples = |report: &Value| report["session"]["samples"].as_u64().unwrap();
        assert_eq!(samples(&whole), samples(&parts[0]) + samples(&parts[1]));
        let threads = |report: &Value| report["threads"].as_array().unwrap().clone();
        // The same ledgers, whichever came first.
        let mut apart = [threads(&parts[0]), threads(&parts[1])].concat();
        let mut together = threads(&whole);
        let tid = |thread: &Value| thread["tid"].as_i64();
        apart.sort_by_key(tid);
        together.sort_by_key(tid);
        assert_eq!(apart, together);
        assert_eq!(whole["gils"].as_array().unwrap().len(), 2);
        for part in &parts {
            let gil = &part["gils"][0];
            let same = whole["gils"].as_array().unwrap().iter().find(|other| other["pid"] == gil["pid"]).unwrap();
            assert_eq!((&same["wait"], &same["held"]), (&gil["wait"], &gil["held"]), "{mode}");
        }
        let stacks = folded(&both, &["--view", "wall"]);
        assert!(stacks.with("victim") > 0 && stacks.with("seventy") > 0);
        // Twice the same, and what does not go together.
        let done = asked(&["merge", "-o", both.to_str().unwrap()], &[&files[0], &files[0]]);
        done.ok();
        assert!(done.stderr.contains("counts twice"), "{}", done.stderr);
    }
    let [memory, kernel] = MODES.map(|mode| folder.path().join(format!("{mode}-stall.py.gscope")));
    let done = asked(&["merge", "-o", folder.path().join("no.gscope").to_str().unwrap()], &[&memory, &kernel]);
    assert!(done.failed().contains("kernel mode, the other in memory mode"), "{}", done.stderr);
    assert!(!files(folder.path()).iter().any(|name| name.starts_with("no.gscope")));
}

/// Three threads that wait for one lock for known times: `early` computes for a second, then `late` does; `holder` holds
/// a lock for 40 ms again and again, and `waiter` wants it.
const KNOWN: &str = "
import threading, time
lock = threading.Lock()
def early_work(end):
    while time.perf_counter() < end: pass
def late_work(end):
    while time.perf_counter() < end: pass
def hold():
    for _ in range(20):
        with lock: time.sleep(0.04)
        time.sleep(0.06)
def want():
    end = time.perf_counter() + 2
    while time.perf_counter() < end:
        with lock: pass
        time.sleep(0.001)
start = time.perf_counter()
def phases():
    early_work(start + 1)
    late_work(start + 2)
threads = [threading.Thread(target=target, name=name) for target, name in [(phases, 'worker'), (hold, 'holder'), (want, 'waiter')]]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
";

#[test]
fn filters_show_what_is_known_of_a_part() {
    support::measured(check_filters);
}

fn check_filters() {
    let folder = folder();
    let mut words = Python::usual().words();
    words.extend(["-c".to_owned(), KNOWN.to_owned()]);
    let program = Words::of(words);
    for mode in MODES {
        let (file, _) = recorded(folder.path(), &format!("{mode}.gscope"), &["--mode", mode, "-r", "200"], &program);
        let wall = |options: &[&str]| folded(&file, &[&["--view", "wall"], options].concat());
        // Time.
        let (first, second) = (wall(&["--to", "0.8"]), wall(&["--from", "1.3"]));
        assert!(first.with("early_work") > 0 && first.with("late_work") == 0, "{mode}: {first:?}");
        assert!(second.with("late_work") > 0 && second.with("early_work") == 0, "{mode}: {second:?}");
        let whole = report(&file, &[]);
        let part = report(&file, &["--from", "0.5", "--to", "1.5"]);
        assert_eq!(part["session"]["duration_s"], 1.0);
        for thread in part["threads"].as_array().unwrap() {
            let wall = thread["wall_s"].as_f64().unwrap();
            let sum: f64 = thread["states"].as_object().unwrap().values().map(|state| state.as_f64().unwrap()).sum();
            assert!(wall <= 1.0 + 1e-6 && (wall - sum).abs() < 0.01, "{mode}: {thread}");
        }
        // Two parts are the whole.
        let total = |stacks: &Folded| stacks.total() as f64;
        let (before, after) = (wall(&["--to", "1"]), wall(&["--from", "1"]));
        let all = wall(&[]);
        assert!((total(&before) + total(&after) - total(&all)).abs() <= total(&all) * 0.001 + 2.0, "{mode}");
        // Threads.
        let of_waiter = wall(&["--thread", "waiter", "--threads"]);
        assert!(of_waiter.total() > 0);
        assert!(of_waiter.0.iter().all(|(stack, _)| stack[0].starts_with("waiter (")), "{of_waiter:?}");
        let trace = folder.path().join("waiter.json");
        export(&file, &trace, &["--thread", "waiter"]);
        let trace: Value = serde_json::from_slice(&fs::read(trace).unwrap()).unwrap();
        let events = trace.as_array().unwrap();
        let tracks: Vec<&Value> = events.iter().filter(|event| event["name"] == "thread_name").collect();
        assert!(tracks.iter().any(|track| track["args"]["name"].as_str().unwrap().starts_with("waiter (")), "{mode}");
        for track in tracks {
            let shows = |event: &&Value| event["tid"] == track["tid"] && event["ts"].is_number();
            assert!(events.iter().any(|event| shows(&event)), "{mode}: nothing is on {track}");
        }
        let reported = report(&file, &["--thread", "waiter"]);
        let names: Vec<&Value> =
            reported["threads"].as_array().unwrap().iter().map(|thread| &thread["name"]).collect();
        assert_eq!(names, ["waiter"], "{mode}");
        let ledger = |report: &Value, name: &str| {
            report["threads"].as_array().unwrap().iter().find(|thread| thread["name"] == name).unwrap().clone()
        };
        assert_eq!(ledger(&reported, "waiter"), ledger(&whole, "waiter"), "its ledger is all that it did");
        let tid = ledger(&whole, "waiter")["tid"].to_string();
        assert_eq!(report(&file, &["--thread", &tid])["locks"], reported["locks"]);
        let waits_of = |report: &Value| {
            let locks = report["locks"].as_array().unwrap();
            locks.iter().map(|lock| lock["wait"]["total_s"].as_f64().unwrap()).fold(0.0, f64::max)
        };
        // 20 times 40 ms, if it came in time for each of them.
        let waited = waits_of(&reported);
        assert!((0.4..1.0).contains(&waited), "{mode}: {waited}");
        // Who held it is reported, though it is not selected.
        let lock =
            reported["locks"].as_array().unwrap().iter().max_by(|a, b| {
                a["wait"]["total_s"].as_f64().unwrap().total_cmp(&b["wait"]["total_s"].as_f64().unwrap())
            });
        let lock = lock.unwrap();
        if mode == "kernel" {
            assert_eq!(lock["holders"][0]["thread"], "holder", "{lock:#}");
        }
        // Functions.
        let early = wall(&["--function", "early_work"]);
        assert!(early.0.iter().all(|(stack, _)| support::has(stack, "early_work")) && early.total() > 0);
        assert_eq!(early.total(), all.with("early_work"));
        assert!(waits_of(&report(&file, &["--function", "want"])) > 0.9 * waited);
        // Locks, and long waits.
        let label = lock["label"].as_str().unwrap();
        let for_lock = report(&file, &["--lock", label]);
        assert_eq!(for_lock["locks"].as_array().unwrap().len(), 1);
        assert_eq!(for_lock["gils"][0]["wait"]["count"], 0);
        assert_eq!(
            for_lock["locks"][0]["wait"]["total_s"],
            report(&file, &[])["locks"].as_array().unwrap().iter().find(|other| other["label"] == label).unwrap()["wait"]
                ["total_s"]
        );
        let long = report(&file, &["--min-wait", "30"]);
        let long_lock =
            long["locks"].as_array().unwrap().iter().find(|other| other["label"] == label).unwrap().clone();
        let count = long_lock["wait"]["count"].as_u64().unwrap();
        assert!((5..=25).contains(&count), "{mode}: {count} of 20 times 40 ms");
        if mode == "kernel" {
            let mean = long_lock["wait"]["mean_s"].as_f64().unwrap();
            assert!((0.03..0.08).contains(&mean), "{mean}");
        }
        let sum =
            ["caused_s", "gap_s", "unknown_s"].map(|part| long_lock[part].as_f64().unwrap()).iter().sum::<f64>();
        assert!((sum - long_lock["wait"]["total_s"].as_f64().unwrap()).abs() < 1e-6);
        assert!(report(&file, &["--min-wait", "5000"])["locks"].as_array().unwrap().is_empty());
    }
}

/// What a sample and a wait take on disk. Run with `--ignored --nocapture`: the figures are for the documentation.
#[test]
#[ignore = "prints figures"]
fn bytes_of_real_programs() {
    let folder = folder();
    for python in [Python::usual()].into_iter().chain(Python::free_threaded()) {
        for (script, arguments) in
            [("split.py", &["4"][..]), ("stall.py", &["4"]), ("pauses.py", &["4"]), ("many.py", &["30", "4"])]
        {
            for mode in MODES {
                let program = python.script(script, arguments);
                let (file, _) = recorded(folder.path(), "x.gscope", &["--mode", mode, "-r", "1000"], &program);
                let length = fs::metadata(&file).unwrap().len();
                let session = &report(&file, &[])["session"];
                let samples = session["samples"].as_u64().unwrap();
                say(&format!("{} {script} {mode}: {length} bytes, {samples} samples", python.label));
            }
        }
    }
}
