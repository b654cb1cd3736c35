//! The harness of the test binaries. Like the standard one, but a test can find out while it runs that it cannot
//! measure what it is for: then it is reported as ignored, with the reason, and never as passed.
//!
//! Each such outcome is also appended to the ledger of the run, a file with one line each: binary, test, reason, with
//! TABs between. `tests/run` names that file in `GILSCOPE_TEST_LEDGER`, and reports what is in it at its end.

use std::any::Any;
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::RwLock;
use std::time::Instant;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::pythons::PythonTest;

/// A function with the attribute `#[test]`.
pub struct Test {
    /// `suite::suite::kernel::name`: the binary, the folder, the file.
    pub path: &'static str,
    pub run: fn(),
    /// Runs only if it is asked for, as `#[ignore]` says.
    pub is_ignored: bool,
}

inventory::collect!(Test);

/// What is known of the test that a thread runs.
#[derive(Default)]
struct CurrentTest {
    path: &'static str,
    /// Why it did not measure everything.
    not_measured: Vec<String>,
    /// Where and why it failed.
    panic: Option<String>,
}

thread_local! {
    static CURRENT: RefCell<Option<CurrentTest>> = const { RefCell::new(None) };
}

/// Tests of threads that must run at the same time: on one CPU they hand locks to one another without ever sleeping for
/// them, so no other test may have the second one meanwhile.
const ALONE: &[&str] = &[
    "locks::a_program_that_is_killed_has_no_other_locks",
    // And what uses all CPUs for long: tests of proportions would see nothing else.
    "chaos::nothing_is_left_of_chaos_and_nobody_is_harmed",
];

/// Held by each test that runs; for writing by those that run alone.
static RUNNING: RwLock<()> = RwLock::new(());

/// What a test unwinds with that can measure nothing.
struct NotMeasured;

pub fn is_not_measured(payload: &(dyn Any + Send)) -> bool {
    payload.is::<NotMeasured>()
}

/// The text of the last panic of the test that this thread runs.
pub fn take_panic() -> String {
    let panic = CURRENT.with_borrow_mut(|current| current.as_mut().and_then(|test| test.panic.take()));
    panic.unwrap_or_else(|| "it panicked".to_owned())
}

/// Ends the test here: it cannot measure anything, for this reason.
pub fn not_measured(why: &str) -> ! {
    not_measured_in_part(why);
    panic::resume_unwind(Box::new(NotMeasured))
}

/// A part of what the test is for cannot be measured, for this reason. The test goes on, and can still fail.
pub fn not_measured_in_part(why: &str) {
    CURRENT.with_borrow_mut(|current| match current {
        Some(test) if test.not_measured.iter().any(|known| known == why) => {}
        Some(test) => test.not_measured.push(why.to_owned()),
        None => panic!("not measured, on a thread that is no test's own: {why}"),
    });
}

/// Ends the test here unless it may do what only root can.
pub fn need_root() {
    if !nix::unistd::geteuid().is_root() {
        not_measured("not root");
    }
}

/// The path of the test that this thread runs, without the interpreter: `kernel::name`.
pub fn current_test() -> &'static str {
    CURRENT.with_borrow(|current| current.as_ref().map_or("", |test| test.path))
}

/// Without the binary and the folder, of which there is only one each.
fn short(path: &'static str) -> &'static str {
    path.splitn(3, "::").nth(2).unwrap_or(path)
}

/// Runs the tests that the command line asks for.
pub fn run() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let threads = std::env::var("RUST_TEST_THREADS").ok();
    arguments.test_threads = arguments.test_threads.or(threads.and_then(|threads| threads.parse().ok()));
    let mut trials: Vec<Trial> = inventory::iter::<Test>().map(trial).collect();
    trials.extend(inventory::iter::<PythonTest>().flat_map(PythonTest::trials));
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    report_panics_with_their_test();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(test: &'static Test) -> Trial {
    let path = short(test.path);
    let trial = Trial::ignorable_test(path, move || outcome(path, path, test.run));
    trial.with_ignored_flag(test.is_ignored)
}

/// A trial of a test that runs once per interpreter.
pub fn python_trial(path: &'static str, name: String, test: impl FnOnce() + Send + 'static) -> Trial {
    let path = short(path);
    let name = format!("{path}::{name}");
    Trial::ignorable_test(name.clone(), move || outcome(path, &name, test))
}

fn outcome(path: &'static str, name: &str, test: impl FnOnce()) -> Result<Completion, Failed> {
    let is_alone = ALONE.contains(&path);
    // A test that fails does so in `catch_unwind`, so the lock is never poisoned.
    let _alone = is_alone.then(|| RUNNING.write().unwrap());
    let _beside_others = (!is_alone).then(|| RUNNING.read().unwrap());
    CURRENT.set(Some(CurrentTest { path, ..CurrentTest::default() }));
    let start = Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(test));
    if let Some(times) = std::env::var_os("GILSCOPE_TEST_TIMES") {
        append(Path::new(&times), name, &format!("{:.1} s", start.elapsed().as_secs_f64()));
    }
    let current = CURRENT.take().unwrap_or_default();
    match result {
        Err(payload) if !is_not_measured(&*payload) => {
            Err(current.panic.unwrap_or_else(|| text_of(&*payload).to_owned()).into())
        }
        _ if current.not_measured.is_empty() => Ok(Completion::Completed),
        _ => {
            current.not_measured.iter().for_each(|why| append(&ledger(), name, why));
            Ok(Completion::ignored_with(current.not_measured.join("; ").replace('\n', " ")))
        }
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// The harness prints failures at the end, and has only the text of a panic: here its place is added.
fn report_panics_with_their_test() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_test = CURRENT
            .with_borrow_mut(|current| current.as_mut().map(|test| test.panic = Some(info.to_string())).is_some());
        if !is_test || std::env::var_os("RUST_BACKTRACE").is_some() {
            default(info);
        }
    }));
}

fn ledger() -> PathBuf {
    let named = std::env::var_os("GILSCOPE_TEST_LEDGER").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-measured.tsv"))
}

/// Appends a line to a file in one piece, so that several processes can do so.
fn append(path: &Path, name: &str, what: &str) {
    let what = what.replace(['\n', '\t'], " ");
    let line = format!("{}\t{name}\t{what}\n", env!("CARGO_CRATE_NAME"));
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
