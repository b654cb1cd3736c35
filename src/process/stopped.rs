//! What keeps a whole process from running: a signal of job control, a debugger, or the freezer of its control group.
//! Asked by `dump`, which says so; collectors only have to know that it is stopped.

use std::fs;

use super::relatives::living_thread;
use super::status::Status;
use super::wait_channel::is_freezer;
use crate::event::Pid;

/// Who or what has stopped a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// `SIGSTOP`, `SIGTSTP`, `SIGTTIN` or `SIGTTOU`: until it is sent `SIGCONT`.
    Signal,
    /// A debugger, by its pid.
    Tracer(Pid),
    /// Its control group is frozen, as `docker pause` does.
    Freezer,
}

/// What has stopped a process, if something has: its first thread is stopped.
pub fn stop_cause(pid: Pid) -> Option<StopCause> {
    let thread = living_thread(pid)?;
    let status = Status::read(thread)?;
    cause(&status, || fs::read_to_string(format!("/proc/{pid}/task/{thread}/wchan")).unwrap_or_default())
}

fn cause(status: &Status, function: impl FnOnce() -> String) -> Option<StopCause> {
    match status.state {
        b'T' => Some(StopCause::Signal),
        b't' if status.tracer != 0 => Some(StopCause::Tracer(status.tracer)),
        b't' => Some(StopCause::Signal),
        b'R' => None,
        _ => is_freezer(&function()).then_some(StopCause::Freezer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_has_a_cause() {
        let of = |state, tracer, function: &str| {
            cause(&Status { state, tracer, ..Status::default() }, || function.to_owned())
        };
        assert_eq!(of(b'T', 0, ""), Some(StopCause::Signal));
        assert_eq!(of(b'T', 77, ""), Some(StopCause::Signal), "a debugger is attached, but has not stopped it");
        assert_eq!(of(b't', 77, ""), Some(StopCause::Tracer(77)));
        assert_eq!(of(b'S', 0, "do_freezer_trap"), Some(StopCause::Freezer));
        assert_eq!(of(b'S', 0, "futex_wait_queue"), None);
        assert_eq!(of(b'R', 0, ""), None);
    }

    #[test]
    fn a_stopped_child_is_stopped_by_a_signal() {
        use nix::sys::signal::{Signal, kill};
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id() as Pid);
        assert_eq!(stop_cause(pid.as_raw()), None);
        kill(pid, Signal::SIGSTOP).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while stop_cause(pid.as_raw()) != Some(StopCause::Signal) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(stop_cause(pid.as_raw()), None);
    }
}
