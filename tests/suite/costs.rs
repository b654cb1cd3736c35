//! What a read or a stop may cost the program: no signal, no time without an end, and gilscope itself never hangs.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{
    self, Proc, Python, dump, folder, functions, gilscope, name, not_measured, on_pythons, record_pid, targets,
    thread, until,
};

/// The limit of frames, and how many are kept at least.
const MAX_FRAMES: usize = 8192;
const MIN_KEPT: usize = MAX_FRAMES / 2;
const LEFT_OUT: &str = "[deeper frames left out]";

on_pythons! {
    Labels(&["3.8", "3.12", "3.14"]),
    fn of_recursion_50000_deep_the_innermost_frames_are_shown(python) {
        let target = python.start("deep.py", &["50000"]);
        let dump = dump(target.pid());
        for what in ["stand_there", "run_there"] {
            let functions = functions(thread(&dump, what));
            assert_eq!((functions[0], functions[functions.len() - 1]), (LEFT_OUT, what), "on {}", python.version);
            assert!((MIN_KEPT..=MAX_FRAMES).contains(&(functions.len() - 1)), "{}", functions.len());
            assert!(functions[1..functions.len() - 1].iter().all(|&name| name == "descend"));
        }
        let recording = record_pid(&["--view", "wall"], 0.6, target.pid());
        let cut = |stack: &[String]| stack[0] == LEFT_OUT && stack.len() <= MAX_FRAMES + 2;
        let cut = recording.stacks.only(cut);
        assert_eq!(cut.total(), recording.stacks.with("descend"), "{}", recording.done.stderr);
        assert!(cut.with("stand_there") >= 20, "{}", recording.done.stderr);
        assert!(cut.0.iter().all(|(stack, _)| stack[1..].iter().any(|label| name(label) == "descend")));
    }
}

on_pythons! {
    Labels(&["3.12", "3.13t"]),
    fn every_signal_of_the_program_arrives(python) {
        let folder = folder();
        let out = folder.path().join("out.collapsed");
        let options = ["-r", "5000", "--blocking"];
        let done = support::run(support::recording(&out, &options, &python.script("signalled.py", &["3"])));
        assert!(done.ok().contains("LOST 0"), "{}{}", done.stdout, done.stderr);
        assert!(done.measured("SENT")[0] > 100.0, "{}", done.stdout);
    }
}

#[test]
fn threads_in_system_calls_are_never_stopped() {
    for options in [&["-r", "1000"][..], &["-r", "1000", "--blocking"]] {
        let target = Python::usual().start("blocked.py", &[]);
        let recording = record_pid(&[options, &["--view", "wall"]].concat(), 1.0, target.pid());
        assert!(recording.stacks.with("wait_forever") > 100, "{}", recording.done.stderr);
        assert!(!recording.done.stderr.contains("thread stopped"), "{}", recording.done.stderr);
    }
}

/// What the kernel says that the threads of a process are doing, one letter for each.
fn states(pid: i32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stat = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stat.filter_map(|stat| stat.rsplit(") ").next()?.chars().next()).collect()
}

#[test]
fn ctrl_z_stops_no_thread_of_the_program() {
    let mut target = Python::usual().start("ticking.py", &[]);
    let mut command = gilscope(["record", "-q", "-r", "5000", "--blocking", "-o", "/dev/null", "-f", "collapsed"]);
    command.args(["--pid", &target.pid().to_string()]);
    let recording = Proc::start(command);
    target.wait_for("TICK 20");
    for round in 0..30 {
        recording.signal(Signal::SIGTSTP);
        let all_stopped = || states(recording.pid()).chars().all(|state| state == 'T').then_some(());
        until("the stop of gilscope", all_stopped);
        let states = states(target.pid());
        assert!(!states.contains(['t', 'T']), "round {round}: {states}");
        recording.signal(Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(5 + round));
    }
    recording.signal(Signal::SIGINT);
    recording.finish().ok();
}

/// A process that can be attached to, but not be read.
fn unreadable(folder: &std::path::Path) -> Proc {
    let program = folder.join("blocked_memory");
    let mut compiler = Command::new("gcc");
    compiler.arg("-o").arg(&program).arg(targets().join("blocked_memory.c"));
    if !compiler.output().is_ok_and(|output| output.status.success()) {
        not_measured("no gcc that compiles for userfaultfd");
    }
    let mut target = Proc::start(Command::new(program));
    target.wait_for("");
    if target.seen != ["READY"] {
        not_measured("userfaultfd is not permitted");
    }
    target
}

#[test]
fn memory_that_blocks_whoever_reads_it_is_an_error() {
    let folder = folder();
    let target = unreadable(folder.path());
    let pid = target.pid().to_string();
    let out = folder.path().join("out.gscope");
    let commands: [&[&str]; 4] = [
        &["dump", "--pid", &pid],
        &["record", "-o", &out.to_string_lossy(), "--pid", &pid],
        &["top", "-b", "--pid", &pid],
        &["doctor", "--pid", &pid],
    ];
    let blocked: Vec<Proc> = commands.iter().map(|words| Proc::start(gilscope(*words))).collect();
    for (process, words) in blocked.into_iter().zip(commands) {
        let done = process.finish();
        assert_eq!(done.code, 1, "{words:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains(&format!("gilscope: process {pid} cannot be read")), "{}", done.stderr);
    }
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left, ["blocked_memory"]);
}

#[test]
fn whoever_wants_to_end_a_blocked_gilscope_need_not_wait() {
    let folder = folder();
    let target = unreadable(folder.path());
    let recording =
        Proc::start(gilscope(["record", "-o", "/dev/null", "-f", "collapsed", "--pid", &target.pid().to_string()]));
    let is_blocked = || states(recording.pid()).contains('D').then_some(());
    until("the blocked read", is_blocked);
    recording.signal(Signal::SIGINT);
    assert!(recording.finish().stderr.contains("cannot be read"));
}
