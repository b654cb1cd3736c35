//! What tests are made of: interpreters, programs that run under them, runs of gilscope, and folded stacks.

mod folded;
pub mod harness;
mod noise;
mod process;
mod pythons;
pub mod twins;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::folded::{Folded, has, line, name};
#[allow(unused_imports)] // Not all of them are used by every binary.
pub use self::harness::{need_root, not_measured, not_measured_in_part};
pub use self::noise::{measured, thrice};
pub use self::process::{Done, Proc, Words};
pub use self::pythons::{Python, PythonTest, Which};
pub(crate) use self::pythons::{on_every_python, on_pythons};

/// The program under test.
pub const GILSCOPE: &str = env!("CARGO_BIN_EXE_gilscope");
/// Anything that takes longer hangs. Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the scripts are.
pub fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets")
}

/// Prints a note for whoever runs the tests.
pub fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "note: {what}");
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

/// Records a program as a report. It must end with exit code 0.
#[track_caller]
pub fn recorded_report(options: &[&str], program: &Words) -> (Done, Value) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let done = run(recording(&out, options, program));
    done.ok();
    let report = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    (done, report)
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

/// The lines of a script that contain `text`, counted from 1.
pub fn lines_of(script: &str, text: &str) -> Vec<u32> {
    let source = fs::read_to_string(targets().join(script)).unwrap();
    (1..).zip(source.lines()).filter(|(_, line)| line.contains(text)).map(|(number, _)| number).collect()
}
