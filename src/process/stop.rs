//! Stopping one thread for the microseconds that one read of its stack takes. The last resort of the sampler for
//! stacks that move faster than they can be read, and what `--blocking` does to all threads.
//!
//! A thread is seized, interrupted and detached as a whole each time: in between nothing of gilscope is attached
//! to it, a debugger can come at any time, and signals reach it undisturbed.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid as NixPid;

use super::Status;
use crate::arch::{InterruptedCall, restart_interrupted_call};
use crate::event::Tid;

/// A thread on a CPU stops within some 15 us; one that has not stopped by now is not on a CPU.
const STOPS_WITHIN: Duration = Duration::from_micros(150);
/// A thread that stopped only later is not stopped again for so long: it would get no further than to the stop each
/// time that it comes to a CPU.
const SPARED_FOR: Duration = Duration::from_millis(20);

/// Why a thread could not be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// Not allowed, or somebody else (a debugger, strace) traces it already.
    #[error("ptrace is not permitted, or taken by a debugger")]
    NotPermitted,
    #[error("the thread has ended")]
    Gone,
    /// It is not on a CPU: it will stop when it comes to one, and [`Stopper::release`] detaches it then. Until then
    /// its stack does not move.
    #[error("the thread is not on a CPU")]
    NotRunning,
}

/// Stops threads. All calls must come from one thread of gilscope: to the kernel, that thread is the tracer.
#[derive(Debug, Default)]
pub struct Stopper {
    /// Interrupted but not stopped yet.
    pending: Vec<NixPid>,
    /// Those that were, and when.
    spared: Vec<(NixPid, Instant)>,
    /// System calls of the target that a stop has interrupted, and that fail because of it.
    failed_calls: u64,
}

/// A thread that stands still until this is dropped.
#[derive(Debug)]
pub struct Stopped {
    tid: NixPid,
    since: Instant,
    /// A signal that arrived in the meantime and must be handed on.
    signal: Option<Signal>,
}

impl Stopper {
    /// Stops a thread. Meant for threads that run: one that is blocked in a system call, or is about to be, has the call
    /// interrupted, and restarted by the kernel or by [`restart_interrupted_call`].
    pub fn stop(&mut self, tid: Tid) -> Result<Stopped, StopError> {
        let tid = NixPid::from_raw(tid);
        let since = Instant::now();
        self.spared.retain(|(_, at)| since.duration_since(*at) < SPARED_FOR);
        if self.pending.contains(&tid) || self.spared.iter().any(|(spared, _)| *spared == tid) {
            return Err(StopError::NotRunning);
        }
        ptrace::seize(tid, ptrace::Options::empty()).map_err(gone_or_not_permitted)?;
        ptrace::interrupt(tid).map_err(gone_or_not_permitted)?;
        loop {
            if let Some(stopped) = poll(tid, since, &mut self.failed_calls)? {
                return Ok(stopped);
            }
            if since.elapsed() > STOPS_WITHIN {
                self.pending.push(tid);
                self.spared.push((tid, since));
                return Err(StopError::NotRunning);
            }
            std::hint::spin_loop();
        }
    }

    /// A thread has been seen to move since it could not be stopped: it gets on, and need not be spared any longer.
    pub fn moves(&mut self, tid: Tid) {
        self.spared.retain(|(spared, _)| spared.as_raw() != tid);
    }

    /// Detaches the threads that have stopped since they could not be stopped at once. To be called whenever
    /// the kernel signals (`SIGCHLD`) that a thread has stopped, and at every tick.
    pub fn release(&mut self) {
        // Dropping what `poll` returns detaches.
        let failed = &mut self.failed_calls;
        self.pending.retain(|&tid| matches!(poll(tid, Instant::now(), failed), Ok(None)));
    }

    /// How many system calls of the target failed because of a stop.
    pub fn failed_calls(&self) -> u64 {
        self.failed_calls
    }

    /// Whether a thread is still to be detached.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        // Ending the process detaches the rest, but only if they have not stopped in front of it.
        let until = Instant::now() + Duration::from_millis(100);
        while self.is_pending() && Instant::now() < until {
            self.release();
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Looks whether an interrupted thread has stopped.
fn poll(tid: NixPid, since: Instant, failed_calls: &mut u64) -> Result<Option<Stopped>, StopError> {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(tid), peek | WaitPidFlag::__WALL | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return Ok(None),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {
            reap(tid);
            return Err(StopError::Gone);
        }
        Err(_) => return Err(StopError::Gone),
        Ok(_) => {}
    }
    match waitpid(tid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
        // Our own interruption, or a stop of the whole group: nothing to hand on.
        Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(_, Signal::SIGTRAP)) => {
            *failed_calls += u64::from(!restart(tid));
            Ok(Some(Stopped { tid, since, signal: None }))
        }
        // A signal that is handled interrupts the call anyway.
        Ok(WaitStatus::Stopped(_, signal)) => Ok(Some(Stopped { tid, since, signal: Some(signal) })),
        _ => Err(StopError::Gone),
    }
}

/// Has a system call that the stop has interrupted be made once more. Returns whether the target will not notice.
fn restart(tid: NixPid) -> bool {
    let Ok(mut registers) = ptrace::getregs(tid) else { return true };
    match restart_interrupted_call(&mut registers) {
        InterruptedCall::Unharmed => true,
        InterruptedCall::Restarted => ptrace::setregs(tid, registers).is_ok(),
        InterruptedCall::Failed => false,
    }
}

/// Takes notice of the end of a thread that ended while it was traced: until its tracer does, its process does not
/// end either. Only the exit status of a program that gilscope itself has launched is left for whoever waits for it.
fn reap(tid: NixPid) {
    let status = Status::read(tid.as_raw());
    let launched = |status: &Status| status.process == tid.as_raw() && status.parent == std::process::id() as Tid;
    if !status.is_some_and(|status| launched(&status)) {
        let _ = waitpid(tid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
    }
}

fn gone_or_not_permitted(errno: Errno) -> StopError {
    match errno {
        Errno::ESRCH => StopError::Gone,
        _ => StopError::NotPermitted,
    }
}

impl Stopped {
    /// How long ago it was seized, in nanoseconds.
    pub fn elapsed_ns(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if ptrace::detach(self.tid, self.signal).is_err() {
            // It was killed meanwhile.
            reap(self.tid);
        }
    }
}
