//! What tests are made of: interpreters, programs that run under them, runs of gilscope, and folded stacks.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde_json::Value;

/// The program under test.
pub const GILSCOPE: &str = env!("CARGO_BIN_EXE_gilscope");
/// Anything that takes longer hangs. Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

/// An interpreter that `tests/pythons` has found or provided.
#[derive(Debug)]
pub struct Python {
    /// `3.13`, `3.13t`, `pypy`.
    pub label: String,
    /// `3.13.5`.
    pub version: String,
    root: PathBuf,
    exe: PathBuf,
}

impl Python {
    /// Those with a label, best first. One line on standard error if there is none.
    pub fn all(label: &str) -> Vec<&'static Python> {
        static MISSED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let found: Vec<_> = pythons().iter().filter(|python| python.label == label).collect();
        if found.is_empty() && MISSED.lock().unwrap().insert(label.to_owned()) {
            say(&format!("there is no Python {label} here: tests that need it check nothing (see tests/pythons)"));
        }
        found
    }

    /// All that were found.
    pub fn everyone() -> &'static [Python] {
        pythons()
    }

    /// Where its headers are, the internal ones among them; none if they are not installed.
    pub fn include(&self) -> Option<PathBuf> {
        let words = self.words();
        let code = "import sysconfig; print(sysconfig.get_path('include'))";
        let output = Command::new(&words[0]).args(&words[1..]).args(["-c", code]).output().ok()?;
        let inside = String::from_utf8(output.stdout).ok()?;
        let include = self.root.join(inside.trim().trim_start_matches('/'));
        include.join("internal").is_dir().then_some(include)
    }

    /// The first with one of these labels; a test that gets none has nothing to do.
    pub fn any(labels: &[&str]) -> Option<&'static Python> {
        let found = labels.iter().find_map(|label| pythons().iter().find(|python| python.label == *label));
        found.or_else(|| labels.iter().find_map(|label| Python::all(label).first().copied()))
    }

    /// For tests to which the version makes no difference.
    pub fn usual() -> &'static Python {
        Python::any(&["3.12", "3.11", "3.13", "3.10", "3.14", "3.9", "3.8"]).expect("tests need some Python 3")
    }

    /// 3.8 is 8.
    pub fn minor(&self) -> u32 {
        self.label.trim_end_matches('t').split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
    }

    pub fn is_free_threaded(&self) -> bool {
        self.label.ends_with('t')
    }

    /// The executable, if it can be run without chroot.
    pub fn exe(&self) -> Option<&Path> {
        (self.root == Path::new("/")).then_some(&*self.exe)
    }

    /// The words that run it.
    pub fn words(&self) -> Vec<String> {
        let exe = self.exe.display().to_string();
        match self.exe() {
            Some(_) => vec![exe],
            None => vec!["chroot".to_owned(), self.root.display().to_string(), exe],
        }
    }

    /// The words that run a script of `tests/targets` under it.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Words {
        let source = targets().join(name);
        let mut words = self.words();
        let copy = match self.exe() {
            Some(_) => None,
            None => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let inside = format!("tmp/gilscope-{}-{count}-{name}", std::process::id());
                let copy = self.root.join(&inside);
                fs::copy(&source, &copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
                words.push(format!("/{inside}"));
                Some(Copy(copy))
            }
        };
        if copy.is_none() {
            words.push(source.display().to_string());
        }
        words.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Words { words, _copy: copy }
    }

    /// The same, with the GIL of a free-threaded build on.
    pub fn script_with_gil(&self, name: &str, arguments: &[&str]) -> Words {
        let mut program = self.script(name, arguments);
        let script = self.words().len();
        program.words.splice(script..script, ["-X".to_owned(), "gil=1".to_owned()]);
        program
    }

    /// Runs a script of `tests/targets` up to its line READY.
    pub fn start(&self, script: &str, arguments: &[&str]) -> Proc {
        let words = self.script(script, arguments);
        let mut target = words.run();
        target.wait_for("READY");
        target
    }

    /// Runs a piece of source up to its line READY.
    pub fn start_code(&self, code: &str) -> Proc {
        let mut words = Words::of(self.words());
        words.words.extend(["-u".to_owned(), "-c".to_owned(), code.to_owned()]);
        let mut target = words.run();
        target.wait_for("READY");
        target
    }
}

/// Where the scripts are.
pub fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets")
}

/// A command, and the script it needs.
#[derive(Debug)]
pub struct Words {
    pub words: Vec<String>,
    _copy: Option<Copy>,
}

impl Words {
    /// A command that needs no script.
    pub fn of(words: Vec<String>) -> Words {
        Words { words, _copy: None }
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

/// A script inside of a root folder, for as long as it is needed.
#[derive(Debug)]
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What `tests/pythons` says is there. It is asked once if it has never run.
fn pythons() -> &'static [Python] {
    static PYTHONS: OnceLock<Vec<Python>> = OnceLock::new();
    PYTHONS.get_or_init(|| {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("GILSCOPE_TEST_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("gilscope-tests")))
            .or_else(|| Some(folder("HOME")?.join(".cache/gilscope-tests")));
        let table = cache.and_then(|cache| fs::read_to_string(cache.join("pythons.tsv")).ok()).unwrap_or_else(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pythons");
            let output = Command::new(script).arg("--offline").output().expect("tests/pythons can be run");
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let python = |line: &str| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().map(str::to_owned);
            let (label, version) = (field()?, field()?);
            let python = Python { label, version, root: field()?.into(), exe: field()?.into() };
            python.root.join(python.exe.strip_prefix("/").ok()?).exists().then_some(python)
        };
        table.lines().filter_map(python).collect()
    })
}

/// Tells whoever runs the tests, past the capture of their output.
pub fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "note: {what}");
}

/// Whether this test may do what only root can; says so if not.
pub fn is_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        say(&format!("not root: {what} is not tested"));
    }
    root
}

/// A folder of its own for a test, which everyone may read.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("gilscope-test-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Writes an executable file.
pub fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
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

/// Measures up to three times, because the machine does other things, too: what is biased is so every time. Times at which
/// others had a CPU of this virtual machine do not count; if they have it all the time, so that nothing can be measured,
/// that is said, and is no failure.
#[track_caller]
pub fn thrice(measure: impl Fn() -> Result<(), String>) {
    const AT_MOST: usize = 10;
    const CALM: f64 = 0.01;
    const HOPELESS: f64 = 0.05;
    let (mut problems, mut calm, mut least_stolen) = (Vec::new(), 0, f64::MAX);
    while calm < 3 && problems.len() < AT_MOST {
        let (start, before) = (Instant::now(), stolen());
        let Err(problem) = measure() else { return };
        let part = (stolen() - before) / start.elapsed().as_secs_f64();
        problems.push(format!("{problem} ({:.1} % of a CPU were stolen)", part * 100.0));
        least_stolen = least_stolen.min(part);
        match part {
            ..=CALM => calm += 1,
            _ => std::thread::sleep(Duration::from_secs(2)),
        }
    }
    if least_stolen > HOPELESS {
        return say("others have the CPUs of this machine all the time: a test could not measure anything");
    }
    panic!("{}", problems.join("\nand again: "));
}

/// For how long others had the CPUs of this virtual machine when it wanted them, in seconds, of all CPUs together. Programs
/// take that for time on or off the CPU, depending on which clock they ask, and so do profilers.
fn stolen() -> f64 {
    let times = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all_cpus = times.lines().next().unwrap_or_default();
    // Hundredths of a second; after user, nice, system, idle, iowait, irq and softirq.
    all_cpus.split_ascii_whitespace().nth(8).and_then(|steal| steal.parse().ok()).unwrap_or(0.0) / 100.0
}

/// Waits for something to become true.
#[track_caller]
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: Command) -> Done {
    Proc::start(command).finish()
}

/// What `--mode` can say.
pub const MODES: [&str; 2] = ["memory", "kernel"];

/// gilscope with arguments, in memory mode unless these or `GILSCOPE_TEST_MODE` say otherwise.
pub fn gilscope<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(GILSCOPE);
    // The log is for whoever asks for it.
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("GILSCOPE_MODE", std::env::var("GILSCOPE_TEST_MODE").unwrap_or("memory".to_owned()));
    command
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

/// What `gilscope dump --json` says of a process.
#[track_caller]
pub fn dump(pid: i32) -> Value {
    let done = run(gilscope(["dump", "--json", "--pid", &pid.to_string()]));
    serde_json::from_str(done.ok()).unwrap()
}

/// The thread of a dump that has a name.
#[track_caller]
pub fn thread<'d>(dump: &'d Value, name: &str) -> &'d Value {
    let threads = dump["threads"].as_array().unwrap();
    threads.iter().find(|thread| thread["name"] == name).unwrap_or_else(|| panic!("no thread {name}: {dump:#}"))
}

/// The names of a thread's functions, outermost first.
pub fn functions(thread: &Value) -> Vec<&str> {
    thread["stack"].as_array().unwrap().iter().rev().map(|frame| frame["name"].as_str().unwrap()).collect()
}

/// gilscope recording a program into a file.
pub fn recording(out: &Path, options: &[&str], program: &Words) -> Command {
    let mut command = gilscope(["record", "-o"]);
    command.arg(out).args(options).arg("--").args(&program.words);
    command
}

/// A recording that went well.
#[derive(Debug)]
pub struct Recording {
    pub done: Done,
    pub stacks: Folded,
}

/// Records a program as folded stacks. It must end with exit code 0.
#[track_caller]
pub fn record(options: &[&str], program: &Words) -> Recording {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let done = run(recording(&out, options, program));
    done.ok();
    Recording { stacks: Folded::parse(&fs::read_to_string(&out).unwrap()), done }
}

/// Records a running program for some time as folded stacks.
#[track_caller]
pub fn record_pid(options: &[&str], seconds: f64, pid: i32) -> Recording {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let mut command = gilscope(["record", "-o"]);
    command.arg(&out).args(options).args(["-d", &seconds.to_string(), "--pid", &pid.to_string()]);
    let done = run(command);
    done.ok();
    Recording { stacks: Folded::parse(&fs::read_to_string(&out).unwrap()), done }
}

/// Folded stacks: labels from the outermost, and how many samples.
#[derive(Debug, Default)]
pub struct Folded(pub Vec<(Vec<String>, u64)>);

impl Folded {
    /// Every line must be one.
    #[track_caller]
    pub fn parse(text: &str) -> Folded {
        let line = |line: &str| {
            let (stack, count) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a folded stack: {line}"));
            let count: u64 = count.parse().unwrap_or_else(|_| panic!("no count: {line}"));
            assert!(count > 0 && !stack.is_empty(), "empty: {line}");
            (stack.split(';').map(str::to_owned).collect(), count)
        };
        Folded(text.lines().map(line).collect())
    }

    /// Samples whose stack is one of those.
    pub fn count(&self, which: impl Fn(&[String]) -> bool) -> u64 {
        self.0.iter().filter(|(stack, _)| which(stack)).map(|(_, count)| count).sum()
    }

    pub fn total(&self) -> u64 {
        self.count(|_| true)
    }

    /// Only those.
    pub fn only(&self, which: impl Fn(&[String]) -> bool) -> Folded {
        Folded(self.0.iter().filter(|(stack, _)| which(stack)).cloned().collect())
    }

    /// Samples with a frame of this function.
    pub fn with(&self, function: &str) -> u64 {
        self.count(|stack| has(stack, function))
    }

    /// The share of samples that are such.
    #[track_caller]
    pub fn share(&self, which: impl Fn(&[String]) -> bool) -> f64 {
        let total = self.total();
        assert!(total > 0, "no samples");
        self.count(which) as f64 / total as f64
    }
}

/// Whether a stack has a frame of this function.
pub fn has(stack: &[String], function: &str) -> bool {
    stack.iter().any(|label| name(label) == function)
}

/// The function of a label, without what it is in: `run` of `Worker.run (app.py:3)`.
pub fn name(label: &str) -> &str {
    let name = label.rsplit_once(" (").map_or(label, |(name, _)| name);
    if name.starts_with('[') { name } else { name.rsplit('.').next().unwrap_or(name) }
}

/// The line of a label: 3 of `main (app.py:3)`.
pub fn line(label: &str) -> u32 {
    let number = label.rsplit_once(':').and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
    number.unwrap_or(0)
}

/// The lines of a script that contain `text`, counted from 1.
pub fn lines_of(script: &str, text: &str) -> Vec<u32> {
    let source = fs::read_to_string(targets().join(script)).unwrap();
    (1..).zip(source.lines()).filter(|(_, line)| line.contains(text)).map(|(number, _)| number).collect()
}

/// Makes one test for each Python out of a function that checks one.
macro_rules! on_every_python {
    ($(#[$doc:meta])* fn $name:ident($python:ident) $body:block) => {
        $(#[$doc])*
        mod $name {
            use super::*;

            fn on_one($python: &'static $crate::support::Python) $body

            $crate::support::on_every_python! { @tests
                py38 "3.8", py39 "3.9", py310 "3.10", py311 "3.11", py312 "3.12", py313 "3.13", py314 "3.14",
                py315 "3.15", py313t "3.13t"
            }

            // These need not be here.
            #[test]
            fn others() {
                $crate::support::Python::others().into_iter().for_each(on_one);
            }
        }
    };
    (@tests $($test:ident $label:literal),*) => {
        $(#[test]
        fn $test() {
            $crate::support::Python::all($label).into_iter().for_each(on_one);
        })*
    };
}
pub(crate) use on_every_python;

impl Python {
    /// Free-threaded builds, of which only the first has to be there.
    pub fn free_threaded() -> Vec<&'static Python> {
        let others = Python::others().into_iter().filter(|python| python.is_free_threaded());
        Python::all("3.13t").into_iter().chain(others).collect()
    }

    /// Of those that need not be there, all that are: other free-threaded builds, and newer versions.
    pub fn others() -> Vec<&'static Python> {
        let is_one = |python: &&Python| {
            let number = python.label.starts_with("3.");
            number && python.label != "3.13t" && (python.is_free_threaded() || python.minor() > 15)
        };
        pythons().iter().filter(is_one).collect()
    }
}
