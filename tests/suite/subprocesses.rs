//! `--subprocesses`: children are recorded as the program itself is, each under its own name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Folded, MODES, Python, dump, has, on_every_python, record, record_pid, recorded_report};

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
        assert!(found.is_subset(&pids) && found.len() == 3, "{mode}: {found:?} of {pids:?}");
        // Three processes that compute, on at least one CPU.
        assert!(evidence["cpu_s"].as_f64().unwrap() > 0.3, "{mode}: {finding}");
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
