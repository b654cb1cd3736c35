use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::ptr::{null, null_mut};

use nix::libc;

use super::*;

/// A program that runs all the time, and prints the numbers of signals that it gets.
struct BusyProgram {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl BusyProgram {
    fn start() -> BusyProgram {
        let script = "trap 'echo 5' 5; trap 'echo 10' 10; trap 'echo 36' 36; echo READY; while :; do :; done";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut program = BusyProgram { child, output };
        assert_eq!(program.line(), "READY");
        program
    }

    fn tid(&self) -> Tid {
        self.child.id() as Tid
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.tid())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }
}

impl Drop for BusyProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a seized thread has stopped.
fn stopped(tracer: &mut Tracer<'_>, tid: Tid) -> Stopped {
    let now = Instant::now();
    let mut stop = PendingStop { tid, asked_at: now, running_at: now, stopped_at: None };
    loop {
        if let Some(stopped) = poll(&mut stop, &mut tracer.stopper.stats).unwrap() {
            return stopped;
        }
        thread::sleep(LATE_POLL);
    }
}

#[test]
fn signals_that_come_while_a_thread_is_traced_are_handed_on() {
    let mut program = BusyProgram::start();
    let tid = program.tid();
    for signal in [5, 10, 36] {
        let mut stopper = Stopper::default();
        let traced = stopper.trace(|tracer| {
            ptrace::seize(NixPid::from_raw(tid), ptrace::Options::empty()).unwrap();
            let kill = format!("kill -{signal} {tid}");
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            let stopped = stopped(tracer, tid);
            assert_eq!(stopped.signal, signal);
            tracer.resume(stopped);
        });
        traced.unwrap();
        assert_eq!(program.line(), signal.to_string());
    }
}

#[test]
fn the_time_for_which_a_thread_is_stopped_is_counted_and_a_long_stop_is_not_repeated() {
    const HELD_FOR: Duration = Duration::from_millis(50);
    let program = BusyProgram::start();
    let mut stopper = Stopper::default();
    let start = Instant::now();
    let traced = stopper.trace(|tracer| {
        // A single long one can be the machine's doing.
        for _ in 0..2 {
            ptrace::seize(NixPid::from_raw(program.tid()), ptrace::Options::empty()).unwrap();
            ptrace::interrupt(NixPid::from_raw(program.tid())).unwrap();
            let stopped = stopped(tracer, program.tid());
            assert_eq!(stopped.signal, 0);
            thread::sleep(HELD_FOR);
            assert_eq!(program.state(), 't');
            tracer.resume(stopped);
            assert_ne!(program.state(), 't');
        }
        assert_eq!(tracer.stop(program.tid()).unwrap_err(), StopError::Spared);
    });
    traced.unwrap();
    // Without those that stop late: they are counted for all together.
    let StopStats { stops, stopped_ns, spared, not_permitted, .. } = stopper.stats;
    assert_eq!((stops, spared, not_permitted), (2, 1, 0));
    assert!((2 * HELD_FOR.as_nanos()..start.elapsed().as_nanos()).contains(&stopped_ns.into()), "{stopped_ns}");
}

#[test]
fn a_request_to_stop_ends_with_the_thread_that_made_it() {
    let program = BusyProgram::start();
    for _ in 0..20 {
        let asked = Stopper::default().trace(|tracer| tracer.interrupt(program.tid()).map(drop)).unwrap();
        asked.unwrap();
        let is_free = || Status::read(program.tid()).is_some_and(|status| status.tracer == 0);
        while !(is_free() && program.state() != 't') {
            thread::sleep(LATE_POLL);
        }
    }
}

const FIFO: &str = "GILSCOPE_TEST_FIFO";

/// Run as a process of its own by [`a_thread_that_stops_late_is_let_go_at_once`].
#[test]
#[ignore = "blocks until somebody opens the other end"]
fn starts_a_program_slowly() {
    let fifo = std::ffi::CString::new(std::env::var(FIFO).unwrap()).unwrap();
    let words = [c"sh".as_ptr().cast_mut(), c"-c".as_ptr().cast_mut(), c"exit 0".as_ptr().cast_mut(), null_mut()];
    // The caller is asleep, and no signal wakes it, until the child runs the program.
    // SAFETY: all pointers are to what lives until the call has returned, and both arrays end with a null.
    let failed = unsafe {
        let (mut actions, mut child) = (std::mem::zeroed(), 0);
        libc::posix_spawn_file_actions_init(&raw mut actions);
        libc::posix_spawn_file_actions_addopen(&raw mut actions, 3, fifo.as_ptr(), libc::O_RDONLY, 0);
        let none = [null_mut()];
        let failed =
            libc::posix_spawn(&mut child, c"/bin/sh".as_ptr(), &actions, null(), words.as_ptr(), none.as_ptr());
        libc::waitpid(child, null_mut(), 0);
        failed
    };
    assert_eq!(failed, 0);
}

/// Waits for a thread of a process that no signal wakes.
fn fast_asleep(process: &Child) -> Tid {
    loop {
        for task in std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap().flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('D')) {
                return task.file_name().to_str().unwrap().parse().unwrap();
            }
        }
        thread::sleep(LATE_POLL);
    }
}

#[test]
fn a_thread_that_stops_late_is_let_go_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process::stop::tests::starts_a_program_slowly", "--ignored"]).env(FIFO, &fifo);
    let mut process = command.stdout(Stdio::null()).spawn().unwrap();
    let tid = fast_asleep(&process);
    let mut stopper = Stopper::default();
    for _ in 0..2 {
        // At once, and the second time without asking again.
        let stopped = stopper.trace(|tracer| tracer.stop(tid).map(drop)).unwrap();
        assert_eq!(stopped, Err(StopError::NotRunning));
    }
    assert!(late().tids.contains(&tid) && stopper.hold.is_some());
    let before = stopper.stats().stopped_ns;
    thread::sleep(Duration::from_millis(20));
    let asleep_until = Instant::now();
    drop(std::fs::File::options().write(true).open(&fifo).unwrap());
    assert!(process.wait().unwrap().success());
    while late().tids.contains(&tid) {
        thread::sleep(LATE_POLL);
    }
    // Not from when it was asked to stop.
    let stopped_ns = stopper.stats().stopped_ns - before;
    assert!(u128::from(stopped_ns) < asleep_until.elapsed().as_nanos(), "{stopped_ns}");
}
