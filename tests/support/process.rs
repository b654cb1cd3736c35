//! Processes that tests run: what they print, how they end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::{PATIENCE, until};

/// A command, and the copy of a script that it needs.
#[derive(Debug)]
pub struct Words {
    pub words: Vec<String>,
    pub copy: Option<CopiedScript>,
}

impl Words {
    /// A command that needs no script.
    pub fn of(words: Vec<String>) -> Words {
        Words { words, copy: None }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    /// Runs it. The script stays until the process is dropped.
    pub fn run(self) -> Proc {
        let mut process = Proc::start(self.command());
        process.words = Some(self);
        process
    }
}

/// A script inside a root folder, which is removed with this value.
#[derive(Debug)]
pub struct CopiedScript(pub PathBuf);

impl Drop for CopiedScript {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A running process in a process group of its own, which ends with this value.
#[derive(Debug)]
pub struct Proc {
    child: Child,
    lines: Receiver<String>,
    /// Lines of standard output so far.
    pub seen: Vec<String>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    words: Option<Words>,
    waited_for: bool,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code, or 128 plus the signal that ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Proc {
    /// Runs a command with nothing to read; what it prints is collected.
    pub fn start(mut command: Command) -> Proc {
        command.process_group(0).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (send, lines) = channel();
        let (stdout, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let sink = stderr.clone();
        let readers = vec![
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                    if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                }
            }),
            std::thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(len @ 1..) = errors.read(&mut part) {
                    sink.lock().unwrap().extend_from_slice(&part[..len]);
                }
            }),
        ];
        Proc { child, lines, seen: Vec::new(), stderr, readers, words: None, waited_for: false }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for a line that starts with `start`, and returns it.
    #[track_caller]
    pub fn wait_for(&mut self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.starts_with(start) {
                        return line;
                    }
                }
                Err(problem) => {
                    let after = if problem == RecvTimeoutError::Timeout { "too long" } else { "its end" };
                    panic!("no line {start:?} until {after}:\n{}\n{}", self.seen.join("\n"), self.stderr());
                }
            }
        }
    }

    /// Forgets what it has printed up to now.
    pub fn drain(&mut self) {
        self.lines.try_iter().for_each(drop);
        self.seen.clear();
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Waits until standard error contains `text`.
    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str) {
        until(&format!("{text:?} on standard error"), || self.stderr().contains(text).then_some(()));
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Sends a signal to all of its process group, as the terminal does.
    pub fn signal_group(&self, signal: Signal) {
        killpg(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Looks without reaping it, so that its pid stays its own.
    pub fn is_running(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        waitid(Id::Pid(Pid::from_raw(self.pid())), flags).unwrap() == WaitStatus::StillAlive
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            assert!(Instant::now() < deadline, "it does not end:\n{}\n{}", self.seen.join("\n"), self.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        // Something it started may hold its output open for longer: what is there is enough.
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seen.extend(self.lines.try_iter());
        let status = self.end();
        Done {
            code: status.code().or(status.signal().map(|signal| 128 + signal)).unwrap(),
            stdout: self.seen.iter().map(|line| format!("{line}\n")).collect(),
            stderr: self.stderr(),
        }
    }

    /// Ends it with all of its group. That must be done before it is waited for: after that, its pid may be
    /// another's.
    fn end(&mut self) -> ExitStatus {
        if !self.waited_for {
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.child.kill();
            self.waited_for = true;
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.end();
    }
}

impl Done {
    /// Its output, if it ended well.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        &self.stdout
    }

    /// What a target has said of itself: the rest of its line that begins with a word.
    #[track_caller]
    pub fn account(&self, word: &str) -> &str {
        let mut lines = self.stdout.lines();
        let account = lines.find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        account.unwrap_or_else(|| panic!("no {word} in {}", self.stdout))
    }

    /// The numbers of [`Self::account`].
    #[track_caller]
    pub fn measured(&self, word: &str) -> Vec<f64> {
        self.account(word).split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    /// Its complaint, if it failed with 1 and said so properly.
    #[track_caller]
    pub fn failed(&self) -> &str {
        assert_eq!(self.code, 1, "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        // What it has launched may have had something to say, too.
        let complaint = self.stderr.find("gilscope: ").unwrap_or_else(|| panic!("{}", self.stderr));
        &self.stderr[complaint..]
    }
}
