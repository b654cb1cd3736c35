//! What each mode can see of one process for this user, found out by trying it. Called by [`super::process`]. Nothing here
//! stops the process or changes it.

use std::thread;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid as NixPid;

use super::{Check, Verdict};
use crate::event::{Pid, Tid};
use crate::kernel::{Kernel, KernelError, KernelOptions};
use crate::process::access::{self, HiddenCalls, hidden_calls};
use crate::process::error::{AttachError, KERNEL_MODE, setcap};
use crate::process::refusal::with_remedy;
use crate::process::stopped::{StopCause, stop_cause};
use crate::process::task_events::TaskEvents;
use crate::process::{Process, Status, living_thread};
use crate::sampler::registers_refused;

pub fn checks(pid: Pid, free_threaded: bool) -> Vec<Check> {
    let tid = living_thread(pid).unwrap_or(pid);
    let mut checks = vec![system_calls(hidden_calls(pid)), stops(pid, tid), kernel_mode(pid), children(pid)];
    if free_threaded {
        checks.push(registers(tid));
    }
    checks.extend(stopped(pid));
    checks.extend(first_thread(pid, tid));
    checks
}

fn system_calls(hidden: Option<HiddenCalls>) -> Check {
    let check = |verdict, reason: String| {
        Check::new("system_calls", "who waits for the GIL and locks (memory mode)", verdict, reason)
    };
    match hidden {
        None => check(Verdict::Yes, "the system calls of its threads can be seen".into()),
        Some(HiddenCalls { reason, remedy }) => check(
            Verdict::Partly,
            format!(
                "{reason}. Who waits for the GIL is an estimate, and waits for locks are not told from other sleep"
            ),
        )
        .remedy(remedy),
    }
}

/// Whether threads may be stopped for the microseconds of a read.
fn stops(pid: Pid, tid: Tid) -> Check {
    let check = |verdict, reason: String| {
        Check::new("stops", "reading stacks that move too fast, with their thread stopped (ptrace)", verdict, reason)
    };
    // Seized only, not interrupted: it goes on. The kernel detaches it when the thread that has seized it ends.
    let seized = thread::spawn(move || ptrace::seize(NixPid::from_raw(tid), ptrace::Options::empty())).join();
    match seized.unwrap_or(Err(Errno::EINVAL)) {
        Ok(()) => check(Verdict::Yes, "tested with its first thread, without stopping it".into()),
        Err(_) if is_traced(tid) => check(
            Verdict::No,
            "a debugger has it. Such stacks are read again instead, and are lost where they still move".into(),
        ),
        Err(error) => {
            let (reason, remedy) = match access::denied(pid) {
                AttachError::Permission { cause, .. } => (cause.reason(), cause.remedy()),
                _ => (error.desc().to_owned(), "Try again".to_owned()),
            };
            check(
                Verdict::No,
                format!("{reason}. Such stacks are read again instead, and lost where they still move"),
            )
            .remedy(remedy)
        }
    }
}

fn is_traced(tid: Tid) -> bool {
    Status::read(tid).is_some_and(|status| status.tracer != 0)
}

fn kernel_mode(pid: Pid) -> Check {
    let check =
        |verdict, reason: String| Check::new("kernel_mode", "every wait of it (kernel mode)", verdict, reason);
    let watched = Kernel::load(&KernelOptions { rate: 1.0, min_wait_ns: 0 }).and_then(|mut kernel| kernel.watch(pid));
    match watched {
        Ok(()) => check(Verdict::Yes, "tested: the BPF programs were loaded and have watched it".into()),
        Err(KernelError::NotPermitted) => {
            check(Verdict::No, "gilscope lacks CAP_BPF or CAP_PERFMON: it is measured in memory mode".into())
                .remedy(setcap(KERNEL_MODE))
        }
        Err(error) => check(Verdict::No, error.to_string()),
    }
}

fn children(pid: Pid) -> Check {
    let check = |verdict, reason: String| {
        Check::new("children", "counting each child process, however short it lives", verdict, reason)
    };
    match TaskEvents::open(pid) {
        Ok(_) => check(Verdict::Yes, "the kernel reports each fork, exec and end (perf events)".into()),
        Err(error) => check(
            Verdict::Partly,
            format!("perf events are not available ({}): short ones are missed, which is said", with_remedy(&error)),
        )
        .remedy("Run gilscope as root or with CAP_PERFMON, or set kernel.perf_event_paranoid to 2 or less"),
    }
}

fn registers(tid: Tid) -> Check {
    let check = |verdict, reason: String| Check::new("registers", "what reference counts cost", verdict, reason);
    match registers_refused(tid) {
        None => check(Verdict::Yes, "perf events of its threads are available".into()),
        Some(error) => check(Verdict::No, format!("perf events of its threads are refused: {}", with_remedy(&error)))
            .remedy("Run gilscope as root or with CAP_PERFMON, or set kernel.perf_event_paranoid to 2 or less"),
    }
}

fn stopped(pid: Pid) -> Option<Check> {
    let why = match stop_cause(pid)? {
        StopCause::Signal => format!("a signal has stopped it (SIGSTOP, SIGTSTP): kill -CONT {pid} has it go on"),
        StopCause::Tracer(tracer) => format!("process {tracer}, a debugger, has stopped it"),
        StopCause::Freezer => "its control group is frozen, as by `docker pause`".to_owned(),
    };
    Some(Check::new("running", "running", Verdict::Partly, format!("{why}. It can be observed, and does nothing")))
}

fn first_thread(pid: Pid, tid: Tid) -> Option<Check> {
    let has_ended = tid != pid && Process::open(pid).is_ok();
    has_ended.then(|| {
        let reason = "its first thread has ended and others go on: they can be observed".to_owned();
        Check::new("first_thread", "first thread", Verdict::Partly, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seized_thread_goes_on_and_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pid = child.id() as Pid;
        let check = stops(pid, pid);
        assert_eq!(check.verdict, Verdict::Yes, "one's own child may be traced: {check:?}");
        let status = Status::read(pid).unwrap();
        assert_eq!(status.tracer, 0, "detached again");
        assert!(status.state != b't' && status.state != b'T', "not stopped");
        assert_eq!(system_calls(hidden_calls(pid)).verdict, Verdict::Yes);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn hidden_system_calls_are_half_a_loss_with_a_remedy() {
        let hidden = HiddenCalls { reason: "why".into(), remedy: "do that".into() };
        let check = system_calls(Some(hidden));
        assert_eq!((check.verdict, check.remedy.as_deref()), (Verdict::Partly, Some("do that")));
        assert!(check.reason.starts_with("why. Who waits for the GIL is an estimate"), "{check:?}");
    }
}
