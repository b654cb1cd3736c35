//! The program under observation never notices: it can do whatever it wants to, be stopped, killed or debugged, and
//! nothing is left of a gilscope that was killed.

use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::{
    self, Folded, Proc, Python, folder, gilscope, on_every_python, on_pythons, record_pid, thrice, until,
};

/// Everything counted by `busy_life.py`, under every way of sampling.
const COUNTS: &str = "DONE alarms=200 execs=5 forks=20 pipes=1000 signals=1000 sleeps=100 threads=200";

#[track_caller]
fn assert_undisturbed(python: &Python, options: &[&str]) {
    // How many samples there are depends on what CPU time gilscope gets.
    thrice(|| match busy_samples(python, options) {
        samples if samples > 100 => Ok(()),
        samples => Err(format!("{samples} samples")),
    });
}

/// Records a program that must not notice it. Returns how many samples there are of its busy function.
fn busy_samples(python: &Python, options: &[&str]) -> u64 {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let program = python.script("busy_life.py", &[]);
    let done = support::run(support::recording(&out, options, &program));
    assert!(done.stdout.contains(COUNTS), "on {}: {}{}", python.version, done.stdout, done.stderr);
    assert_eq!(done.code, 7, "{}", done.stderr);
    Folded::parse(&fs::read_to_string(out).unwrap()).with("busy")
}

on_every_python! {
    fn a_program_can_do_what_it_wants_to(python) {
        assert_undisturbed(python, &["-r", "1000"]);
    }
}

on_pythons! {
    Labels(&["3.12", "3.13t", "3.14t", "3.15t"]),
    fn also_when_it_is_stopped_for_every_sample(python) {
        assert_undisturbed(python, &["-r", "500", "--blocking"]);
    }
}

#[test]
fn also_when_it_is_never_stopped_and_its_children_are_followed() {
    assert_undisturbed(Python::usual(), &["-r", "1000", "--nonblocking", "--subprocesses"]);
}

#[test]
fn a_program_that_is_killed_leaves_its_recording() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let program = Python::usual().script("ticking.py", &[]);
    let mut recording = Proc::start(support::recording(&out, &["-r", "1000"], &program));
    recording.wait_for("TICK 20");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", recording.pid())).unwrap();
    nix::sys::signal::kill(Pid::from_raw(children.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    let done = recording.finish();
    assert_eq!(done.code, 128 + 9, "{}", done.stderr);
    assert!(Folded::parse(&fs::read_to_string(out).unwrap()).with("moving") > 10);
}

/// All threads of a process with the field of their `status`.
fn of_all_threads(pid: i32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let value =
        |status: String| status.lines().find_map(|line| Some(line.strip_prefix(field)?[1..].trim().to_owned()));
    status.filter_map(value).collect()
}

#[track_caller]
fn assert_goes_on(target: &mut Proc) {
    let last: u32 = target.seen.iter().rev().find_map(|line| line.strip_prefix("TICK ")?.parse().ok()).unwrap_or(0);
    target.wait_for(&format!("TICK {}", last + 6));
}

#[test]
fn a_killed_gilscope_leaves_the_program_running_and_untraced() {
    for (options, python) in [(&["--blocking"][..], "3.12"), (&[], "3.13t"), (&[], "3.8")] {
        let Some(python) = Python::all(python).first().copied() else { continue };
        let mut target = python.start("ticking.py", &[]);
        for round in 0..8 {
            let mut command = gilscope(["record", "-q", "-r", "5000", "-o", "/dev/null", "-f", "collapsed", "--pid"]);
            command.arg(target.pid().to_string()).args(options);
            let recording = Proc::start(command);
            std::thread::sleep(Duration::from_millis(150 + 13 * round));
            drop(recording);
            let tracers = of_all_threads(target.pid(), "TracerPid");
            assert!(tracers.len() >= 2 && tracers.iter().all(|tracer| tracer == "0"), "{tracers:?}");
            assert_goes_on(&mut target);
        }
        let states = of_all_threads(target.pid(), "State");
        assert!(states.iter().all(|state| state.starts_with(['R', 'S'])), "{states:?}");
    }
}

/// Holds all threads of a process as a debugger does, for as long as it lives.
struct Debugger {
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Debugger {
    /// Attaches; stops the threads as well if `stop`.
    fn attach(pid: i32, stop: bool) -> Debugger {
        let (end, ended) = channel::<()>();
        let (ready, wait) = channel();
        // To the kernel, the tracer is a thread; its end detaches it.
        let thread = std::thread::spawn(move || {
            for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
                let tid = Pid::from_raw(task.unwrap().file_name().to_str().unwrap().parse().unwrap());
                ptrace::seize(tid, ptrace::Options::empty()).unwrap();
                if stop {
                    ptrace::interrupt(tid).unwrap();
                    nix::sys::wait::waitpid(tid, Some(nix::sys::wait::WaitPidFlag::__WALL)).unwrap();
                }
            }
            ready.send(()).unwrap();
            let _ = ended.recv();
        });
        wait.recv().unwrap();
        Debugger { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().unwrap().join();
    }
}

#[test]
fn a_program_that_is_being_debugged_is_read_without_stopping_it_and_says_so() {
    for options in [&[][..], &["--blocking"]] {
        // It need not move too fast each time: others may have the CPUs.
        thrice(|| {
            let mut target = Python::usual().start("chains.py", &["3"]);
            let debugger = Debugger::attach(target.pid(), false);
            let recording = record_pid(&[&["-r", "2000"], options].concat(), 1.0, target.pid());
            let said = recording.done.stderr;
            assert!(of_all_threads(target.pid(), "TracerPid").iter().all(|tracer| tracer != "0"));
            drop(debugger);
            target.wait_for("BUSY");
            let is_said = said.contains("debugger") && said.contains("ptrace");
            if is_said && recording.stacks.with("busy") > 100 { Ok(()) } else { Err(said) }
        });
    }
}

#[test]
fn threads_that_a_debugger_has_stopped_are_seen_to_be() {
    let mut target = Python::usual().start("ticking.py", &[]);
    let debugger = Debugger::attach(target.pid(), true);
    let dump = support::dump(target.pid());
    for thread in dump["threads"].as_array().unwrap() {
        assert_eq!(thread["state"], "stopped", "{thread:#}");
    }
    assert!(support::functions(support::thread(&dump, "moving")).contains(&"keep_moving"));
    drop(debugger);
    assert_goes_on(&mut target);
}

#[test]
fn a_stopped_program_is_seen_and_stays_stopped() {
    for options in [&[][..], &["--blocking"], &["--nonblocking"]] {
        let mut target = Python::usual().start("ticking.py", &[]);
        target.signal(Signal::SIGSTOP);
        let stopped = |pid| of_all_threads(pid, "State").iter().all(|state| state.starts_with('T')).then_some(());
        until("the stop", || stopped(target.pid()));
        let dump = support::dump(target.pid());
        for thread in dump["threads"].as_array().unwrap() {
            assert_eq!(thread["state"], "stopped", "{thread:#}");
            assert!(thread["stack"].as_array().unwrap().len() > 1 || thread["name"] == "MainThread", "{thread:#}");
        }
        let recording = record_pid(&[&["-r", "500", "--view", "wall"], options].concat(), 0.5, target.pid());
        assert!(recording.stacks.share(|stack| stack.last().unwrap() == "[stopped]") > 0.99);
        let seen = target.seen.len();
        assert!(stopped(target.pid()).is_some(), "it goes on");
        target.signal(Signal::SIGCONT);
        assert_goes_on(&mut target);
        assert!(seen < target.seen.len());
    }
}

#[test]
fn stopping_and_continuing_works_while_recording() {
    for options in [&[][..], &["--blocking"]] {
        let mut target = Python::usual().start("ticking.py", &[]);
        let mut command = gilscope(["record", "-q", "-r", "2000", "-o", "/dev/null", "-f", "collapsed", "--pid"]);
        command.arg(target.pid().to_string()).args(options);
        let recording = Proc::start(command);
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..10 {
            target.signal(Signal::SIGSTOP);
            // Traced threads are T or t.
            let stopped = || of_all_threads(target.pid(), "State").iter().all(|state| state.starts_with(['T', 't']));
            until("the stop", || stopped().then_some(()));
            std::thread::sleep(Duration::from_millis(20));
            assert!(stopped(), "it goes on by itself");
            target.signal(Signal::SIGCONT);
            assert_goes_on(&mut target);
        }
        recording.signal(Signal::SIGINT);
        recording.finish().ok();
        assert_goes_on(&mut target);
    }
}

on_pythons! {
    Labels(&["3.8", "3.12", "3.14"]),
    fn its_system_calls_do_not_fail(python) {
        for options in [&["-r", "1000"][..], &["-r", "500", "--blocking"]] {
            let folder = folder();
            let out = folder.path().join("out.collapsed");
            let done = support::run(support::recording(&out, options, &python.script("interrupted.py", &["2"])));
            assert!(done.ok().contains("FAILED 0"), "{options:?} on {}: {}{}", python.version, done.stdout, done.stderr);
        }
    }
}
