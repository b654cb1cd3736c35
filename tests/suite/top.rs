//! `gilscope top` in a terminal, and without one.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::support::{GILSCOPE, Proc, Python, folder, gilscope, on_pythons, run, until};

/// A cruncher has the GIL, a client needs it for moments.
const CONVOY: &str = "
import threading, time
def crunch():
    while True: sum(i * i for i in range(2000))
def ask():
    while True: time.sleep(0.0005)
for name, function in {'cruncher': crunch, 'client': ask}.items():
    threading.Thread(target=function, name=name, daemon=True).start()
print('READY')
time.sleep(100)";

/// Four threads hold one lock while they sleep.
const HOT_LOCK: &str = "
import threading, time
class Journal:
    lock = threading.Lock()
journal = Journal()
def work():
    while True:
        with journal.lock: time.sleep(0.003)
for number in range(4):
    threading.Thread(target=work, name='worker-%d' % number, daemon=True).start()
print('READY')
time.sleep(100)";

/// Runs its arguments in several terminals, closes each at another moment after something has been printed, and says what
/// becomes of them.
const CLOSES: &str = "
import os, pty, sys, time
running = {}
for _ in range(8):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    running[pid] = terminal
for terminal in running.values():
    os.read(terminal, 1)
time.sleep(0.5)
for terminal in running.values():
    time.sleep(0.037)
    os.close(terminal)
until = time.monotonic() + 20
while running and time.monotonic() < until:
    for pid in list(running):
        if os.waitpid(pid, os.WNOHANG)[0]:
            del running[pid]
    time.sleep(0.05)
for pid in running:
    os.kill(pid, 9)
print(len(running), 'GO ON')";

/// A shell with one job: says what the terminal is like when that has stopped, and continues it when it gets a line.
const SHELL: &str = "
import os, signal, sys, termios
before = termios.tcgetattr(0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpgrp())
    print('STOPPED', 'AS BEFORE' if termios.tcgetattr(0) == before else 'CHANGED', flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, pid)
    os.kill(-pid, signal.SIGCONT)";

const SIZE: (u16, u16) = (30, 120);

/// A program in a terminal.
pub(super) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    pub(super) fn start<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>, folder: &Path) -> Terminal {
        let (rows, cols) = SIZE;
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::from_argv(words.into_iter().map(|word| word.as_ref().to_owned()).collect());
        command.cwd(folder);
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        command.env("GILSCOPE_MODE", std::env::var("GILSCOPE_TEST_MODE").unwrap_or("memory".to_owned()));
        for name in ["NO_COLOR", "RUST_LOG"] {
            command.env_remove(name);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let (mut output, seen) = (pair.master.try_clone_reader().unwrap(), screen.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap().process(&bytes[..count]);
            }
        });
        let writer = pair.master.take_writer().unwrap();
        Terminal { child, master: pair.master, writer, screen, reader: Some(reader) }
    }

    /// gilscope, looking at a process.
    fn top(pid: i32, options: &[&str], folder: &Path) -> Terminal {
        let pid = pid.to_string();
        Terminal::start([&[GILSCOPE, "top", "--pid", &pid][..], options].concat(), folder)
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until everything that is wanted is on the screen, wherever its lines are broken.
    #[track_caller]
    pub(super) fn wait_for(&self, wanted: &[&str]) -> String {
        let mut last = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(&format!("a screen with {wanted:?}"), || {
                last = self.text();
                let flat = last.split_whitespace().collect::<Vec<_>>().join(" ");
                wanted.iter().all(|text| last.contains(text) || flat.contains(text)).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("no screen with {wanted:?}, but:\n{last}"))
    }

    pub(super) fn keys(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    fn is_taken_over(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Keys are lines, and are echoed.
    fn is_cooked(&self) -> bool {
        let termios = self.master.get_termios().expect("it is a terminal");
        let flags = format!("{:?}", termios.local_flags);
        ["ICANON", "ECHO", "ISIG"].iter().all(|flag| flags.contains(flag))
    }

    /// The terminal is as it was.
    #[track_caller]
    fn assert_restored(&self) {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{}", screen.contents());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert!(self.is_cooked());
    }

    /// Waits until gilscope has the terminal, all of it. The cursor goes last, after the first drawing.
    #[track_caller]
    fn wait_until_taken_over(&self) {
        until("a terminal that is taken over", || {
            let parser = self.screen.lock().unwrap();
            let screen = parser.screen();
            let mouse = screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None;
            (screen.alternate_screen() && screen.hide_cursor() && mouse && !self.is_cooked()).then_some(())
        });
    }

    /// Waits for the end. Returns the exit code and what is on the screen then.
    pub(super) fn end(mut self) -> (u32, String) {
        let code = until("the end of gilscope", || self.child.try_wait().unwrap()).exit_code();
        // It ends when nobody has the other side of the terminal any more.
        self.reader.take().unwrap().join().unwrap();
        self.assert_restored();
        let text = self.screen.lock().unwrap().screen().contents();
        (code, text)
    }
}

fn convoy() -> Proc {
    Python::usual().start_code(CONVOY)
}

#[test]
fn a_convoy_is_seen_and_its_holder_named() {
    let (target, folder) = (convoy(), folder());
    let mut top = Terminal::top(target.pid(), &[], folder.path());
    let screen = top.wait_for(&["1Threads", "GIL < cruncher", "client ("]);
    assert!(screen.starts_with("Biggest cost (estimated): client waits "), "{screen}");
    top.keys("2");
    top.wait_for(&["HOLDS IT IN", "CAUSED"]);
    // The client is who waits most; its detail has both stacks.
    top.keys("g\r");
    top.wait_for(&["client (", "Waiter: where it waited", "ask (<string>", "Holders", "crunch"]);
    top.keys("\x1b");
    top.wait_for(&["HOLDS IT IN"]);
    top.keys("7vvv");
    top.wait_for(&["view gil-wait", "ask (<string>"]);
    top.keys("ds");
    let screen = top.wait_for(&["saved to gilscope-"]);
    let name = screen.lines().last().unwrap().trim().strip_prefix("saved to ").unwrap().to_owned();
    assert!(fs::read_to_string(folder.path().join(name)).unwrap().contains("<svg"));
    top.keys("?");
    top.wait_for(&["Letters and colours"]);
    // The first goes back from the help.
    top.keys("qq");
    let (code, text) = top.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("GIL: ") && text.contains("Findings"), "{text}");
    assert!(target.is_running());
}

on_pythons! {
    FreeThreaded,
    fn a_hot_lock_is_named(python) {
        let (target, folder) = (python.start_code(HOT_LOCK), folder());
        let mut top = Terminal::top(target.pid(), &[], folder.path());
        top.wait_for(&["No GIL", "Locks: ", "Journal.lock"]);
        top.keys("3");
        top.wait_for(&["Journal.lock", "worker-", "WAITED FOR BY"]);
        top.keys("\r");
        top.wait_for(&["threading.Lock (__main__.Journal.lock)", "Holders: who held it", "work (<string>"]);
        top.keys(&"j".repeat(20));
        top.wait_for(&["Waiters: who waited", "work (<string>"]);
        top.keys("q");
        assert_eq!(top.end().0, 0);
    }
}

#[test]
fn it_fits_any_terminal() {
    let (target, folder) = (convoy(), folder());
    let mut top = Terminal::top(target.pid(), &["--ascii"], folder.path());
    top.wait_for(&["OVER TIME", "cruncher ("]);
    for ((rows, cols), there, not_there) in
        [((10, 40), "THREAD", "OVER TIME"), ((6, 30), "Biggest cost", "THREAD"), ((50, 200), "OVER TIME", "PAUSED")]
    {
        top.screen.lock().unwrap().screen_mut().set_size(rows, cols);
        top.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
        let screen = until("the other size", || {
            let text = top.text();
            (text.contains(there) && !text.contains(not_there)).then_some(text)
        });
        assert!(screen.is_ascii(), "{screen}");
    }
    top.keys("q");
    assert_eq!(top.end().0, 0);
}

#[test]
fn the_last_state_stays_when_the_program_ends() {
    let (target, folder) = (convoy(), folder());
    let mut top = Terminal::top(target.pid(), &[], folder.path());
    top.wait_for(&["GIL < cruncher"]);
    target.signal(Signal::SIGKILL);
    top.wait_for(&["EXITED", "cruncher ("]);
    top.keys("2");
    top.wait_for(&["EXITED", "CAUSED", "client ("]);
    top.keys("q");
    let (code, text) = top.end();
    assert_eq!(code, 0);
    assert!(text.contains("GIL: "), "{text}");
}

#[test]
fn signals_give_the_terminal_back() {
    let (target, folder) = (convoy(), folder());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let top = Terminal::top(target.pid(), &[], folder.path());
        top.wait_for(&["1Threads"]);
        assert!(top.is_taken_over());
        kill(Pid::from_raw(top.child.process_id().unwrap() as i32), signal).unwrap();
        top.end();
    }
    assert!(target.is_running());
}

#[test]
fn it_ends_with_its_terminal() {
    let target = convoy();
    let mut command = Command::new("python3");
    let pid = target.pid().to_string();
    command.args(["-c", CLOSES, GILSCOPE, "top", "--mode", "memory", "-i", "0.1", "--pid", &pid]);
    command.env("TERM", "xterm-256color").stdin(Stdio::null());
    assert_eq!(run(command).ok().trim(), "0 GO ON");
}

#[test]
fn it_can_be_stopped_and_come_back() {
    let (target, folder) = (convoy(), folder());
    let mut shell = Terminal::start(["bash", "--norc", "--noprofile", "-i"], folder.path());
    shell.keys(&format!("PS1='ready> '; {GILSCOPE} top --pid {}\n", target.pid()));
    shell.wait_for(&["1Threads", "GIL < cruncher"]);
    shell.keys("\x1a");
    shell.wait_for(&["Stopped", "ready> "]);
    assert!(!shell.is_taken_over());
    shell.keys("fg\n");
    shell.wait_for(&["1Threads", "cruncher ("]);
    assert!(shell.is_taken_over());
    shell.keys("q");
    shell.wait_for(&["recorded in", "ready> "]);
    shell.keys("exit\n");
    shell.end();
}

#[test]
fn a_stop_gives_the_terminal_back_whoever_asks_for_it() {
    let (target, folder) = (convoy(), folder());
    let pid = target.pid().to_string();
    let mut shell =
        Terminal::start(["python3", "-c", SHELL, GILSCOPE, "top", "--ascii", "--pid", &pid], folder.path());
    let own = shell.child.process_id().unwrap();
    for round in 1..=3 {
        shell.wait_for(&["1Threads", "cruncher ("]);
        shell.wait_until_taken_over();
        if round == 2 {
            shell.keys("\x1a");
        } else {
            let job = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
            kill(Pid::from_raw(job.trim().parse().unwrap()), Signal::SIGTSTP).unwrap();
        }
        // A line may come in pieces.
        let said = |text: &str| text.matches("AS BEFORE").count() + text.matches("CHANGED").count();
        let text = until("a stop", || Some(shell.text()).filter(|text| said(text) == round));
        assert_eq!(text.matches("STOPPED AS BEFORE").count(), round, "{text}");
        shell.assert_restored();
        shell.keys("fg\n");
    }
    shell.wait_for(&["1Threads", "cruncher ("]);
    shell.wait_until_taken_over();
    shell.keys("q");
    let (_, text) = shell.end();
    assert!(text.contains("recorded in"), "{text}");
}

/// A program that runs for a second, and then ends itself in this way.
fn ends(how: &str) -> Vec<String> {
    let code = format!("import os, sys, time\nend = time.time() + 1\nwhile time.time() < end: pass\n{how}");
    [Python::usual().words(), vec!["-c".to_owned(), code]].concat()
}

#[test]
fn the_exit_code_of_a_program_is_passed_on_unless_the_user_quits() {
    let folder = folder();
    let log = folder.path().join("log").display().to_string();
    let top = |options: &[&str], program: Vec<String>| {
        let options = [&["top", "--log", &log], options, &["--"]].concat();
        [options.into_iter().map(str::to_owned).collect(), program].concat()
    };
    for (how, code) in [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 128 + 9), ("sys.exit(0)", 0)] {
        let done = run(gilscope(top(&["-b", "-i", "0.2"], ends(how))));
        assert_eq!(done.code, code, "{how}: {} {}", done.stdout, done.stderr);
    }
    let done = run(gilscope(top(&["-n", "1", "-i", "0.2"], ends("sys.exit(3)"))));
    assert_eq!(done.code, 0, "it was still running: {}", done.stderr);
    let words = [vec![GILSCOPE.to_owned()], top(&[], ends("sys.exit(3)"))].concat();
    let mut top = Terminal::start(words, folder.path());
    top.wait_for(&["EXITED with exit code 3"]);
    top.keys("q");
    assert_eq!(top.end().0, 3);
}

#[test]
fn what_a_program_prints_goes_to_a_file() {
    let folder = folder();
    let code =
        "import time\nprint('hello', 'there', flush=True)\nend = time.time() + 100\nwhile time.time() < end: pass";
    let program = [Python::usual().words(), vec!["-c".to_owned(), code.to_owned()]].concat();
    let words = [vec![GILSCOPE.to_owned(), "top".into(), "--log".into(), "out.log".into(), "--".into()], program];
    let mut top = Terminal::start(words.concat(), folder.path());
    let screen = top.wait_for(&["<module> (<string>"]);
    assert!(!screen.contains("hello there"), "{screen}");
    top.keys("q");
    let (code, text) = top.end();
    assert_eq!(code, 0);
    assert!(text.contains("SIGTERM") && text.contains("out.log"), "{text}");
    assert_eq!(fs::read_to_string(folder.path().join("out.log")).unwrap(), "hello there\n");
}

#[test]
fn without_a_terminal_it_prints_tables() {
    let target = convoy();
    let pid = target.pid().to_string();
    let done = run(gilscope(["top", "-n", "2", "-i", "0.5", "--pid", &pid]));
    let text = done.ok();
    assert_eq!(text.matches("THREAD").count(), 2, "{text}");
    assert_eq!(text.matches("cruncher (").count(), 2, "{text}");
    assert!(text.contains("] Biggest cost (estimated): client waits ") && !text.contains('\x1b'), "{text}");
}

#[test]
fn what_cannot_be_looked_at_is_said_before_the_terminal_is_touched() {
    let folder = folder();
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("100");
    let other = Proc::start(sleep);
    for (pid, why) in [(999_999_999, "no process"), (other.pid(), "Python")] {
        let (code, text) = Terminal::top(pid, &[], folder.path()).end();
        assert_eq!(code, 1, "{text}");
        assert!(text.starts_with("gilscope: ") && text.to_lowercase().contains(&why.to_lowercase()), "{text}");
    }
    other.signal(Signal::SIGKILL);
}
