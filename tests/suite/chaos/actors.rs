//! Who takes part: programs that are observed, and gilscopes that observe them.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use super::{Dice, remains};
use crate::support::{GILSCOPE, Proc, Python, gilscope, until};

/// A program that is observed.
pub(super) struct Target {
    process: Proc,
    pub version: &'static str,
    is_stopped: bool,
}

impl Target {
    /// Starts one of any version that is supported.
    pub fn start(dice: &mut Dice) -> Target {
        let supported =
            |python: &&'static Python| (8..=15).contains(&python.minor()) && python.label.starts_with('3');
        let pythons: Vec<&'static Python> = Python::everyone().iter().filter(supported).collect();
        let python = dice.one_of(&pythons);
        Target { process: python.start("unruly.py", &[]), version: &python.version, is_stopped: false }
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Sends a signal. Returns whether that was its end.
    pub fn signal(&mut self, signal: Signal) -> bool {
        self.assert_alive();
        match signal {
            Signal::SIGSTOP => self.is_stopped = true,
            Signal::SIGCONT => self.is_stopped = false,
            _ => {}
        }
        self.process.signal(signal);
        matches!(signal, Signal::SIGKILL | Signal::SIGTERM)
    }

    #[track_caller]
    fn assert_alive(&self) {
        assert!(self.process.is_running(), "target {} has ended by itself: {}", self.pid(), self.process.stderr());
    }

    /// None of its threads is stopped or traced, unless the test itself has stopped it, and it goes on.
    #[track_caller]
    pub fn assert_undisturbed(&mut self) {
        self.assert_alive();
        let pid = self.pid();
        remains::assert_not_traced(pid);
        if self.is_stopped {
            let states = || remains::of_all_threads(pid, "State");
            until("the stop", || states().iter().all(|state| state.starts_with(['T', 'Z'])).then_some(()));
            self.process.signal(Signal::SIGCONT);
            self.is_stopped = false;
        }
        // What it has said up to now does not count.
        self.process.drain();
        self.process.wait_for("BEAT");
        self.process.wait_for("BEAT");
        let states = remains::of_all_threads(pid, "State");
        assert!(!states.iter().any(|state| state.starts_with(['T', 't'])), "target {pid}: {states:?}");
    }
}

/// A run of gilscope.
pub(super) struct Observer {
    run: Run,
    pub words: Vec<String>,
    /// Where it writes, and nobody else.
    folder: PathBuf,
    is_killed: bool,
}

enum Run {
    Plain(Proc),
    InTerminal { child: Box<dyn portable_pty::Child + Send + Sync>, _reader: std::thread::JoinHandle<()> },
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// How a recording is made.
fn recording(dice: &mut Dice) -> Vec<String> {
    let output =
        dice.one_of(&["out.gscope", "out.gscope", "out.gscope", "out.collapsed", "out.svg", "out.report.json"]);
    let duration = dice.one_of(&["0.2", "1", "3", "100"]);
    let rate = dice.one_of(&["50", "100", "1000", "5000"]);
    let mut words = text(&["record", "-q", "-o", output, "-d", duration, "-r", rate]);
    words.extend(observing(dice));
    words
}

/// How a program is observed.
fn observing(dice: &mut Dice) -> Vec<String> {
    let mut words = Vec::new();
    if nix::unistd::geteuid().is_root() && dice.below(3) == 0 {
        words.extend(text(&["--mode", "kernel"]));
    }
    words.extend(dice.one_of(&[text(&["--blocking"]), text(&["--nonblocking"]), Vec::new(), Vec::new()]));
    words.extend(dice.one_of(&[text(&["--subprocesses"]), Vec::new()]));
    words
}

impl Observer {
    /// Starts one that observes one of these processes, or another that has just gone, or one that it starts itself.
    pub fn start(dice: &mut Dice, folder: PathBuf, pids: &[i32]) -> Observer {
        let pid = if pids.is_empty() { i32::MAX } else { dice.one_of(pids) }.to_string();
        let (mut words, in_terminal) = match dice.below(12) {
            0 | 1 => (text(&["dump"]), false),
            2 => (text(&["dump", "--json"]), false),
            3 => (text(&["doctor"]), false),
            4 | 5 => {
                let mut words = text(&["top"]);
                words.extend(observing(dice));
                (words, true)
            }
            _ => (recording(dice), false),
        };
        if words[0] == "record" && dice.below(5) == 0 {
            words.push("--".to_owned());
            words.extend(Python::usual().script("unruly.py", &[]).words);
        } else {
            words.extend(["--pid".to_owned(), pid]);
        }
        let run = match in_terminal {
            true => in_a_terminal(&words, &folder),
            false => {
                let mut command: Command = gilscope(&words);
                command.current_dir(&folder);
                Run::Plain(Proc::start(command))
            }
        };
        Observer { run, words, folder, is_killed: false }
    }

    pub fn pid(&self) -> i32 {
        match &self.run {
            Run::Plain(process) => process.pid(),
            Run::InTerminal { child, .. } => child.process_id().map_or(0, |pid| pid as i32),
        }
    }

    /// Looks without reaping it.
    pub fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("Z", |(_, rest)| &rest[..1]);
        !matches!(state, "Z" | "X")
    }

    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            self.is_killed |= signal == Signal::SIGKILL;
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    #[track_caller]
    pub fn wait_for_end(&self) {
        until(&format!("the end of gilscope {} ({})", self.pid(), self.words.join(" ")), || {
            (!self.is_running()).then_some(())
        });
    }

    /// It has not panicked, what it has launched is not stopped, and whatever file it has left is whole.
    #[track_caller]
    pub fn examine(self) {
        let Observer { run, words, folder, is_killed } = self;
        let what = words.join(" ");
        match run {
            Run::Plain(process) => {
                for pid in remains::group(process.pid()) {
                    remains::assert_not_traced(pid);
                }
                let done = process.finish();
                assert!(!done.stderr.contains("panicked"), "{what}: {}", done.stderr);
                assert!(![101, 134, 139].contains(&done.code), "{what}: {} {}", done.code, done.stderr);
            }
            Run::InTerminal { mut child, .. } => {
                let status = child.wait().unwrap();
                assert!(status.exit_code() != 101, "{what}: {status:?}");
            }
        }
        remains::assert_files_are_whole(&folder, is_killed, &what);
        fs::remove_dir_all(&folder).unwrap();
    }
}

fn in_a_terminal(words: &[String], folder: &std::path::Path) -> Run {
    let pair = native_pty_system().openpty(PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 }).unwrap();
    let mut command = CommandBuilder::new(GILSCOPE);
    command.args(words);
    command.cwd(folder);
    command.env("TERM", "xterm-256color");
    let child = pair.slave.spawn_command(command).unwrap();
    let mut output = pair.master.try_clone_reader().unwrap();
    let master = pair.master;
    let reader = std::thread::spawn(move || {
        // It stays a terminal for as long as something may be written to it.
        let _master = master;
        let mut bytes = [0; 4096];
        while let Ok(1..) = output.read(&mut bytes) {}
    });
    Run::InTerminal { child, _reader: reader }
}
