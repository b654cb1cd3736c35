//! `--subprocesses`: children are recorded as the program itself is, each under its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Folded, MODES, Proc, Python, dump, has, on_every_python, record, record_pid, recorded_report};

/// The pids that a program says its parts have.
fn parts(stdout: &str) -> BTreeMap<&str, &str> {
    let lines = stdout.lines().filter_map(|line| line.strip_prefix("CHILD "));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

/// Every part is there under the root of its own process, and nowhere else.
#[track_caller]
fn assert_each_has_its_root(stacks: &Folded, parts: &BTreeMap<&str, &str>, what: &str) {
    assert_eq!(parts.len(), 4, "{what}");
    for (function, pid) in parts {
        let root = format!(" [{pid}]");
        let samples = stacks.count(|stack| stack[0].ends_with(&root) && has(stack, function));
        assert!(samples > 10, "{function} in {pid} has {samples} samples, {what}");
        // A forked child has its parent's frames below its own.
        if !["<module>", "second_child"].contains(function) {
            assert_eq!(stacks.with(function), samples, "{function} is in other processes too, {what}");
        }
    }
    for (stack, _) in &stacks.0 {
        assert!(stack[0].contains("python") && stack[0].ends_with(']'), "{what}: {}", stack.join(";"));
    }
}

fn check(python: &Python, method: &str) {
    let program = python.script("pool.py", &[method, "0.6"]);
    let recording = record(&["--subprocesses", "-r", "200", "--idle"], &program);
    let what = format!("with {method} on {}: {}", python.version, recording.done.stderr);
    assert_each_has_its_root(&recording.stacks, &parts(&recording.done.stdout), &what);
    assert!(recording.stacks.0.iter().any(|(stack, _)| stack[0].contains("pool.py")), "{what}");
}

on_every_python! {
    fn multiprocessing_with_fork(python) {
        check(python, "fork");
    }
}

on_every_python! {
    fn multiprocessing_with_spawn(python) {
        check(python, "spawn");
    }
}

#[test]
fn children_that_are_there_already() {
    let mut target = Python::usual().start("pool.py", &["fork", "60"]);
    for _ in 0..4 {
        target.wait_for("CHILD ");
    }
    let recording = record_pid(&["--subprocesses", "-r", "200", "--idle"], 1.0, target.pid());
    assert_eq!(dump(target.pid())["python_children"].as_array().unwrap().len(), 3);
    let stdout = target.seen.join("\n");
    assert_each_has_its_root(&recording.stacks, &parts(&stdout), &recording.done.stderr);
}

#[test]
fn without_the_option_children_are_left_alone() {
    let program = Python::usual().script("pool.py", &["fork", "0.5"]);
    let recording = record(&["--idle"], &program);
    assert!(recording.stacks.with("<module>") > 10);
    for function in ["first_child", "second_child", "grandchild"] {
        assert_eq!(recording.stacks.with(function), 0, "{function}");
    }
    assert!(recording.stacks.0.iter().all(|(stack, _)| !stack[0].contains(" [")), "one process needs no root");
}

#[test]
fn children_that_are_not_observed_are_counted() {
    for mode in MODES {
        let program = Python::usual().script("pool.py", &["fork", "1.5"]);
        let (done, report) = recorded_report(&["--mode", mode], &program);
        let pids: BTreeSet<i64> = parts(&done.stdout).values().map(|pid| pid.parse().unwrap()).collect();
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|found| found["id"] == "children-not-observed").unwrap();
        let evidence = &finding["evidence"];
        let found: BTreeSet<i64> = evidence["pids"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        // Each is counted; which they are is seen when gilscope looks, seldom if a look takes long.
        assert!(found.is_subset(&pids) && evidence["count"] == 3, "{mode}: {found:?} of {pids:?}: {finding:#}");
        // Three processes that compute, beside one that waits for them; how much depends on what else the machine does.
        assert!(evidence["cpu_s"].as_f64() > evidence["observed_cpu_s"].as_f64(), "{mode}: {finding}");
        assert!(done.stderr.contains("were not observed"), "{mode}: {}", done.stderr);
        let (_, report) = recorded_report(&["--mode", mode, "-s"], &program);
        assert_eq!(report["unobserved_children"], json!([]), "{mode}");
    }
}

#[test]
fn children_of_other_kinds() {
    // Not Python; Python through a shell; Python that outlives the program it was started by.
    let code = "import subprocess, sys, time\nspin = 'import time\\ndef child_%s():\\n  end = time.time() + %s\\n  \
        while time.time() < end: pass\\nchild_%s()'\nsubprocess.call(['sleep', '0.2'])\n\
        subprocess.call(['sh', '-c', '\"$0\" -c \"$1\"; true', sys.executable, spin % ('shell', 0.5, 'shell')])\n\
        subprocess.Popen([sys.executable, '-c', spin % ('left', 1, 'left')])\ntime.sleep(0.4)";
    let mut program = Python::usual().script("spin.py", &[]);
    program.words.truncate(Python::usual().words().len());
    program.words.extend(["-c".to_owned(), code.to_owned()]);
    let recording = record(&["--subprocesses", "-r", "200"], &program);
    for function in ["child_shell", "child_left"] {
        assert!(recording.stacks.with(function) > 10, "{function}: {}", recording.done.stderr);
    }
}

/// A Python that computes in a function of this name for some seconds, as words of a shell.
fn spinning(function: &str, seconds: f64) -> String {
    let python = Python::usual().words().join(" ");
    let code = format!(
        "import time\ndef {function}():\n  end = time.time() + {seconds}\n  while time.time() < end: pass\n{function}()"
    );
    format!("{python} -c '{code}'")
}

#[test]
fn what_a_launcher_did_that_was_python_itself_is_part_of_the_recording() {
    let code = format!(
        "import os, time\nend = time.time() + 0.7\nwhile time.time() < end: pass\nos.execl('/bin/sh', 'sh', '-c', {:?})",
        format!("exec {}", spinning("launched", 0.7))
    );
    for mode in MODES {
        let mut program = Python::usual().script("spin.py", &[]);
        program.words.truncate(Python::usual().words().len());
        program.words.extend(["-c".to_owned(), code.clone()]);
        let (done, report) = recorded_report(&["--mode", mode], &program);
        let duration = report["session"]["duration_s"].as_f64().unwrap();
        let threads = report["threads"].as_array().unwrap();
        let walls: Vec<f64> = threads.iter().map(|thread| thread["wall_s"].as_f64().unwrap()).collect();
        assert!(walls.len() == 2 && walls.iter().all(|wall| *wall > 0.4), "{mode}: {walls:?} {}", done.stderr);
        // One after the other.
        assert!(walls.iter().sum::<f64>() <= duration * 1.01, "{mode}: {walls:?} in {duration} s");
    }
}

#[test]
fn a_launcher_that_is_no_python_can_be_given_with_its_children() {
    let mut program = Command::new("sh");
    program.args(["-c", &format!("sleep 0.5; {} & echo READY; wait", spinning("launched", 60.0))]);
    let mut launcher = Proc::start(program);
    launcher.wait_for("READY");
    let recording = record_pid(&["--subprocesses", "-r", "200"], 1.0, launcher.pid());
    assert!(recording.stacks.with("launched") > 10, "{}", recording.done.stderr);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", launcher.pid())).unwrap();
    for child in children.split_whitespace() {
        nix::sys::signal::kill(Pid::from_raw(child.parse().unwrap()), Signal::SIGKILL).unwrap();
    }
    launcher.finish();
}

#[test]
fn a_script_that_starts_two_pythons_at_once_says_that_one_is_not_observed() {
    let script = format!("{} & {} & wait", spinning("one", 1.0), spinning("other", 1.0));
    let mut program = Python::usual().script("spin.py", &[]);
    program.words = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let (done, report) = recorded_report(&[], &program);
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|found| found["id"] == "children-not-observed");
    assert_eq!(finding.unwrap_or_else(|| panic!("{}", done.stderr))["evidence"]["pids"].as_array().unwrap().len(), 1);
    let recording = record(&["--subprocesses", "-r", "200"], &program);
    for function in ["one", "other"] {
        assert!(recording.stacks.with(function) > 10, "{function}: {}", recording.done.stderr);
    }
}
