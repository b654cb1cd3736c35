//! What cannot be measured: gilscope ends with 1, leaves nothing behind, and says what is the matter and what to do.

use std::fs;
use std::process::Command;

use crate::support::{self, Proc, Python, Words, folder, gilscope, on_pythons, run};

/// Both ways to attach to a process must fail with words that contain all of `parts`.
#[track_caller]
fn assert_refused(pid: i32, parts: &[&str]) {
    let folder = folder();
    let pid = pid.to_string();
    let mut record = gilscope(["record", "-d", "5", "--pid", &pid, "-o"]);
    record.arg(folder.path().join("out.svg"));
    for command in [gilscope(["dump", "--pid", &pid]), gilscope(["dump", "--json", "--pid", &pid]), record] {
        let done = run(command);
        let complaint = done.failed();
        for part in parts {
            assert!(complaint.contains(part), "{part:?} is missing: {complaint}");
        }
        assert_eq!(done.stdout, "");
    }
}

/// To launch it must fail with words that contain all of `parts`.
#[track_caller]
fn assert_not_recorded(words: &[&str], parts: &[&str]) {
    let folder = folder();
    let mut command = gilscope(["record", "-o"]);
    command.arg(folder.path().join("out.svg")).arg("--").args(words);
    let done = run(command);
    let complaint = done.failed();
    for part in parts {
        assert!(complaint.contains(part), "{part:?} is missing: {complaint}");
    }
}

fn sleep() -> Proc {
    let mut command = Command::new("sleep");
    command.arg("600");
    Proc::start(command)
}

#[test]
fn a_process_that_is_not_there() {
    let ended = sleep();
    ended.signal(nix::sys::signal::Signal::SIGKILL);
    let pid = ended.pid();
    ended.finish();
    assert_refused(pid, &[&format!("no process {pid}")]);
    assert_refused(i32::MAX, &["no process"]);
}

#[test]
fn a_process_that_is_no_python() {
    let target = sleep();
    assert_refused(target.pid(), &["does not run Python", "sleep"]);
}

#[test]
fn a_shell_that_has_started_python_names_its_child() {
    let python = Python::usual();
    let script = python.script("blocked.py", &[]);
    let mut command = Command::new("sh");
    command.args(["-c", "\"$@\"; exit", "sh"]).args(&script.words);
    let mut shell = Proc::start(command);
    shell.wait_for("READY");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.pid())).unwrap();
    assert_refused(shell.pid(), &["does not run Python", &format!("--pid {}", children.trim())]);
}

#[test]
fn a_zombie() {
    let child = Command::new("true").spawn().unwrap();
    let pid = child.id() as i32;
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ").then_some(());
    support::until("the zombie", state);
    assert_refused(pid, &["zombie"]);
    { child }.wait().unwrap();
}

#[test]
fn a_kernel_thread() {
    match fs::read_to_string("/proc/2/comm") {
        Ok(comm) if comm.trim() == "kthreadd" => assert_refused(2, &["thread of the kernel", "kthreadd"]),
        _ => support::not_measured("no threads of the kernel are visible"),
    }
}

#[test]
fn a_single_thread_names_its_process() {
    let target = Python::usual().start("blocked.py", &[]);
    let dump = support::dump(target.pid());
    let tid = support::thread(&dump, "sleeper")["tid"].as_i64().unwrap();
    assert_refused(tid as i32, &["thread", &target.pid().to_string()]);
}

on_pythons! {
    Labels(&["pypy"]),
    fn another_implementation(python) {
        assert_not_supported(python, &["PyPy", "CPython only"]);
    }
}

on_pythons! {
    Labels(&["2.7", "3.6", "3.7"]),
    fn a_python_that_is_too_old(python) {
        assert_not_supported(python, &[&*format!("Python {}", python.version), "3.8 is the oldest"]);
    }
}

fn assert_not_supported(python: &Python, parts: &[&str]) {
    let target = python.start_code("import time; print('READY'); time.sleep(600)");
    assert_refused(target.pid(), parts);
    let words = [python.words(), vec!["-c".to_owned(), "import time; time.sleep(600)".to_owned()]].concat();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_not_recorded(&words, parts);
}

#[test]
fn a_command_that_does_not_exist() {
    assert_not_recorded(
        &["/nonexistent/program", "x"],
        &["cannot run `/nonexistent/program x`", "/nonexistent/program is not installed"],
    );
}

#[test]
fn a_command_that_may_not_be_run() {
    let folder = folder();
    let path = folder.path().join("not-executable");
    fs::write(&path, "").unwrap();
    assert_not_recorded(&[path.to_str().unwrap()], &["cannot run", "is not executable for this user: chmod +x"]);
}

#[test]
fn a_command_that_is_no_python() {
    assert_not_recorded(&["true"], &["`true` has ended (exit code 0)", "no Python interpreter was seen"]);
    assert_not_recorded(&["sh", "-c", "sleep 0.2; exit 3"], &["exit code 3", "no Python interpreter was seen"]);
}

#[test]
fn an_interpreter_that_ends_at_once() {
    // Whether it was seen or not: no panic, no file that says nothing without a word.
    let words = [Python::usual().words(), vec!["-c".to_owned(), "raise SystemExit(4)".to_owned()]].concat();
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let mut command = gilscope(["record", "-o"]);
    command.arg(&out).arg("--").args(words);
    let done = run(command);
    match done.code {
        4 => assert!(out.exists(), "{}", done.stderr),
        _ => assert!(done.failed().contains("no Python interpreter was seen"), "{}", done.stderr),
    }
}

#[test]
fn nothing_is_left_behind() {
    let folder = folder();
    let target = sleep();
    let pid = target.pid().to_string();
    let refused = [
        &["--pid", &pid][..],
        &["--pid", &i32::MAX.to_string()],
        &["--", "/nonexistent/program"],
        &["--", "sh", "-c", "sleep 0.1"],
    ];
    for words in refused {
        let mut command = gilscope(["record", "-o"]);
        command.arg(folder.path().join("out.svg")).args(words);
        run(command).failed();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{words:?} leaves {left:?}");
    }
}

#[test]
fn wrong_usage() {
    for words in [
        &["record", "--pid", "1", "--", "python"][..],
        &["record", "-r", "0", "--pid", "1"],
        &["record", "-r", "fast", "--pid", "1"],
        &["record", "-d", "-1", "--pid", "1"],
        &["record", "--blocking", "--nonblocking", "--pid", "1"],
        &["record", "--view", "none", "--pid", "1"],
        &["record", "-f", "jpeg", "--pid", "1"],
        &["dump", "--pid", ""],
        &["nonsense"],
        &[],
    ] {
        let done = run(gilscope(words));
        assert_eq!(done.code, 2, "{words:?}: {}", done.stderr);
        let helps = ["Usage", "possible values", "invalid"].iter().any(|word| done.stderr.contains(word));
        assert!(helps, "{}", done.stderr);
    }
    for words in [&["--help"][..], &["--version"], &["record", "--help"]] {
        run(gilscope(words)).ok();
    }
}

#[test]
fn a_program_without_an_interpreter_yet_is_waited_for_only_so_long() {
    // A Python executable that never gets to its interpreter: stopped in the dynamic loader.
    let python = Python::usual();
    let Words { words, .. } = python.script("blocked.py", &[]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("LD_PRELOAD", "/nonexistent/library.so");
    let stopped = Proc::start(command);
    // Whatever it has come to by now.
    stopped.signal(nix::sys::signal::Signal::SIGSTOP);
    let done = run(gilscope(["dump", "--pid", &stopped.pid().to_string()]));
    assert!(done.code == 0 || done.failed().contains(&stopped.pid().to_string()), "{}", done.stderr);
}
