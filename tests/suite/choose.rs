//! Which process is meant: chosen from a list, named, or several; and what files and the environment set.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::top::Terminal;
use crate::support::{GILSCOPE, Proc, Python, Words, folder, gilscope, on_pythons, run};

const IDLE: &str = "
import time
print('READY', flush=True)
time.sleep(100)";

/// A Python with these arguments, once it is ready.
fn started(python: &Python, arguments: &[&str]) -> Proc {
    let words = python.words().into_iter().chain(arguments.iter().map(|word| (*word).to_owned()));
    let mut target = Words::of(words.collect()).run();
    target.wait_for("READY");
    target
}

/// A Python that runs a script of this name.
fn named(python: &Python, folder: &Path, name: &str) -> Proc {
    let script = folder.join(name);
    fs::write(&script, IDLE).unwrap();
    started(python, &["-u", script.to_str().unwrap()])
}

/// What `gilscope ps` says of a process.
fn listed(pid: i32) -> Value {
    let done = run(gilscope(["ps", "--json"]));
    let list: Value = serde_json::from_str(done.ok()).unwrap();
    let found = list.as_array().unwrap().iter().find(|process| process["pid"] == pid);
    found.unwrap_or_else(|| panic!("{pid} is missing: {list:#}")).clone()
}

on_pythons! {
    Every,
    fn a_running_python_is_listed_with_its_version(python) {
        let target = python.start_code(IDLE);
        let process = listed(target.pid());
        let version = python.version.split('.').take(2).collect::<Vec<_>>().join(".");
        assert_eq!(process["python"], version.trim_end_matches('t'), "{process:#}");
        assert_eq!(process["free_threaded"], python.label.ends_with('t'), "{process:#}");
        assert_eq!(process["threads"], 1);
        assert_eq!(process["readable"], true);
    }
}

#[test]
fn without_a_process_it_lists_those_that_there_are() {
    let target = Python::usual().start_code(IDLE);
    for words in [&["record"][..], &["top"], &["dump"]] {
        let done = run(gilscope(words));
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(done.stderr.contains(&format!(" {} ", target.pid())), "{}", done.stderr);
        assert!(done.stderr.contains("--pid"), "{}", done.stderr);
    }
    let alone = run(gilscope::<&str>([]));
    assert_eq!(alone.code, 2);
    assert!(alone.stderr.contains("Usage") && alone.stderr.contains("gilscope top"), "{}", alone.stderr);
}

#[test]
fn in_a_terminal_one_can_choose() {
    let (target, folder) = (Python::usual().start_code(IDLE), folder());
    let mut terminal = Terminal::start([GILSCOPE, "dump"], folder.path());
    terminal.wait_for(&["PROGRAM", "Which one?"]);
    terminal.keys("0\r");
    terminal.wait_for(&["0 is not in the list"]);
    terminal.keys(&format!("{}\r", target.pid()));
    terminal.wait_for(&[&format!("Process {}", target.pid()), "Thread"]);
    assert_eq!(terminal.end().0, 0);
    let mut terminal = Terminal::start([GILSCOPE, "top"], folder.path());
    terminal.wait_for(&["Which one?"]);
    terminal.keys("q\r");
    assert_eq!(terminal.end().0, 2);
}

#[test]
fn a_part_of_a_command_line_means_the_process_that_has_it() {
    let (python, folder) = (Python::usual(), folder());
    let orders = named(python, folder.path(), "gilscope_orders.py");
    let _other = named(python, folder.path(), "gilscope_orders_admin.py");
    let dump = |name: &str| run(gilscope(["dump", "--json", "-p", name]));
    let one: Value = serde_json::from_str(dump("gilscope_orders").ok()).unwrap();
    assert_eq!(one["pid"], orders.pid(), "the script that is called exactly so");
    let several = dump("gilscope_ord");
    assert_eq!(several.code, 2);
    assert!(several.stderr.contains("2 Python processes") && several.stderr.contains("gilscope_orders_admin.py"));
    let none = dump("gilscope_nothing");
    assert_eq!(none.code, 2);
    assert!(
        none.stderr.contains("no Python process") && none.stderr.contains("gilscope_orders.py"),
        "{}",
        none.stderr
    );
}

#[test]
fn several_processes_are_recorded_until_all_have_ended() {
    const ENDS: &str = "
import sys, time
print('READY', flush=True)
time.sleep(float(sys.argv[1]))";
    let (python, folder) = (Python::usual(), folder());
    let start = |seconds: &str| started(python, &["-u", "-c", ENDS, seconds]);
    let (first, second) = (start("2"), start("4"));
    let pids = format!("{},{}", first.pid(), second.pid());
    let dumps: Value = serde_json::from_str(run(gilscope(["dump", "--json", "--pid", &pids])).ok()).unwrap();
    assert_eq!(dumps.as_array().unwrap().len(), 2);
    let out = folder.path().join("two.report.json");
    let done = run(gilscope(["record", "-o", out.to_str().unwrap(), "--pid", &pids]));
    done.ok();
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    let mut recorded: Vec<i64> =
        report["threads"].as_array().unwrap().iter().map(|thread| thread["pid"].as_i64().unwrap()).collect();
    recorded.sort_unstable();
    let mut wanted = [first.pid(), second.pid()].map(i64::from);
    wanted.sort_unstable();
    assert_eq!(recorded, wanted);
    assert!(!second.is_running(), "the recording ended before the last process");
}

#[test]
fn a_file_and_the_environment_set_defaults() {
    let folder = folder();
    let config = folder.path().join("gilscope");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("gilscope.toml"), "rate = 250\n").unwrap();
    let rate = |variable: Option<&str>, typed: &[&str]| {
        let target = Python::usual().start_code(IDLE);
        let out = folder.path().join("rate.report.json");
        let mut command = gilscope(["record", "-d", "0.2", "--pid", &target.pid().to_string(), "-o"]);
        command.arg(&out).args(typed).env("XDG_CONFIG_HOME", folder.path());
        if let Some(rate) = variable {
            command.env("GILSCOPE_RATE", rate);
        }
        run(command).ok();
        serde_json::from_str::<Value>(&fs::read_to_string(&out).unwrap()).unwrap()["session"]["rate_hz"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(rate(None, &[]), 250.0);
    assert_eq!(rate(Some("20"), &[]), 20.0);
    assert_eq!(rate(Some("20"), &["-r", "50"]), 50.0);
    fs::write(config.join("gilscope.toml"), "speed = 250\n").unwrap();
    let mut command = gilscope(["ps"]);
    command.env("XDG_CONFIG_HOME", folder.path());
    let complaint = run(command);
    let complaint = complaint.failed();
    assert!(complaint.contains("gilscope.toml") && complaint.contains("speed"), "{complaint}");
}

#[test]
fn long_text_goes_through_a_pager() {
    let folder = folder();
    let out = folder.path().join("long.gscope");
    let code = "import threading, time; \
        [threading.Thread(target=time.sleep, args=(0.3,), name=chr(65 + n) * 3).start() for n in range(40)]";
    let mut record = gilscope(["record", "-o"]);
    record.arg(&out).arg("--").args(Python::usual().words()).args(["-c", code]);
    run(record).ok();
    let report = |options: &[&str]| {
        let words = ["env", "GILSCOPE_PAGER=sed s/^/PAGED./", GILSCOPE, "report"];
        let words = words.iter().chain(options).copied().chain([out.to_str().unwrap()]);
        Terminal::start(words, folder.path()).end()
    };
    let (code, text) = report(&[]);
    assert!(code == 0 && text.contains("PAGED."), "{text}");
    let (code, text) = report(&["--no-pager"]);
    assert!(code == 0 && !text.contains("PAGED."), "{text}");
}
