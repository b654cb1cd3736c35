//! Stopping threads for the microseconds that one read of their stacks takes. The last resort of the sampler for stacks that
//! move faster than they can be read, and what `--blocking` does to all threads.
//!
//! A thread is seized, interrupted and detached as a whole each time. In between nothing is attached: a debugger can come at
//! any time, and signals reach the target undisturbed.
//!
//! To the kernel, the tracer is a thread of gilscope. Here that is one for each time that threads are stopped
//! ([`Stopper::trace`]). A thread of the target that has no CPU when it is asked stops only when it comes to one. Then its
//! tracer has nothing else to do than to wait for that and to let it go on ([`OwnLateStops`]), whatever the rest of gilscope does
//! meanwhile. However a tracer ends, the kernel detaches what it still traces.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid as NixPid;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use super::Status;
use crate::arch::{InterruptedCall, restart_interrupted_call};
use crate::event::Tid;

/// A thread on a CPU stops within some 15 us; one that has not stopped by now is not on a CPU.
const STOPS_WITHIN: Duration = Duration::from_micros(150);
/// How often it is looked which of several threads have stopped that had no CPU.
const LATE_POLL: Duration = Duration::from_micros(50);
/// For how long the end of gilscope waits for those.
const LATE_WITHIN: Duration = Duration::from_millis(100);
/// A thread that did not stop at once is not stopped again for so long: it is short of CPU time already.
const SPARED_FOR: Duration = Duration::from_millis(20);
/// A thread for which two stops in a row took longer than this is not stopped again for [`SPARED_PER_STOP`] times as long: so stops for
/// stacks that take long to read cost it 2.5 % of its time.
const LONG_STOP: Duration = Duration::from_micros(250);
const SPARED_PER_STOP: u32 = 40;
/// Of how many threads it is remembered that their last stop was a long one.
const MAX_LONG: usize = 64;
/// Bytes of the stack of the thread that traces.
const TRACER_STACK: usize = 1 << 20;
/// `PTRACE_EVENT_STOP`: the event of a stop that was asked for, or of a stop of the whole process.
const EVENT_STOP: i32 = 128;

/// Why a thread could not be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// Not allowed, or somebody else (a debugger, strace) traces it already.
    #[error("ptrace is not permitted, or taken by a debugger")]
    NotPermitted,
    #[error("the thread has ended")]
    Gone,
    #[error("the thread is not on a CPU")]
    NotRunning,
    #[error("stopping the thread again would slow it down")]
    Spared,
}

/// The cost of stopping to the target, and what could not be stopped, so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopStats {
    /// How often a thread was stopped for a read.
    pub stops: u64,
    /// How long they were stopped together, in nanoseconds.
    pub stopped_ns: u64,
    /// How often a thread could not be stopped because ptrace is not permitted or a debugger is attached.
    pub not_permitted: u64,
    /// How many system calls of the target failed with `EINTR` because their thread was stopped.
    pub failed_calls: u64,
    /// How often a thread was not stopped because an earlier stop had taken long.
    pub spared: u64,
}

impl StopStats {
    const NONE: StopStats = StopStats { stops: 0, stopped_ns: 0, not_permitted: 0, failed_calls: 0, spared: 0 };

    pub fn add(&mut self, other: &StopStats) {
        self.stops += other.stops;
        self.stopped_ns += other.stopped_ns;
        self.not_permitted += other.not_permitted;
        self.failed_calls += other.failed_calls;
        self.spared += other.spared;
    }
}

/// Stops threads, and remembers which are better left alone.
#[derive(Debug, Default)]
pub struct Stopper {
    spared: Vec<SparedThread>,
    /// The threads whose last stop was a long one.
    long: Vec<Tid>,
    stats: StopStats,
    /// As long as there may be threads that stop late.
    hold: Option<JobControlHold>,
}

/// Stops that come late, of all tracers.
#[derive(Debug, Default)]
struct LateStops {
    /// The threads that are still to stop.
    tids: Vec<Tid>,
    /// Of those that have.
    stats: StopStats,
}

static LATE: Mutex<LateStops> = Mutex::new(LateStops { tids: Vec::new(), stats: StopStats::NONE });

fn late() -> MutexGuard<'static, LateStops> {
    LATE.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static OWN_LATE: RefCell<OwnLateStops> = const { RefCell::new(OwnLateStops(Vec::new())) };
}

/// What is left to do for a tracer at its end. By then, nobody waits for it.
struct OwnLateStops(Vec<PendingStop>);

#[derive(Debug)]
struct SparedThread {
    tid: Tid,
    until: Instant,
    /// Because stops of it take long, and not because it had no CPU.
    is_costly: bool,
}

/// The thread that traces, while it does. What is still to stop when it is dropped is left to [`OwnLateStops`].
#[derive(Debug)]
pub struct Tracer<'a> {
    stopper: &'a mut Stopper,
    /// Interrupted but not stopped yet.
    pending: Vec<PendingStop>,
}

#[derive(Debug)]
struct PendingStop {
    tid: Tid,
    asked_at: Instant,
    /// When it was last seen not to have stopped.
    running_at: Instant,
    /// When it has stopped, if that is known.
    stopped_at: Option<Instant>,
}

/// A thread that stands still until it is given to [`Tracer::resume`], or dropped.
#[derive(Debug)]
pub struct Stopped {
    tid: Tid,
    since: Instant,
    /// The number of a signal that arrived in the meantime and must be handed on; 0 for none.
    signal: i32,
    is_detached: bool,
}

impl Stopper {
    /// Runs `work` in a thread that can stop others, and waits for it.
    ///
    /// # Errors
    /// There can be no more threads; `work` was not run.
    pub fn trace<R: Send>(&mut self, work: impl FnOnce(&mut Tracer<'_>) -> R + Send) -> io::Result<R> {
        let now = Instant::now();
        self.spared.retain(|spared| now < spared.until);
        let hold = self.hold.take().unwrap_or_else(JobControlHold::new);
        let mut result = None;
        thread::scope(|scope| {
            let on_this_cpu = CpuPin::new();
            let trace = || result = Some(work(&mut Tracer { stopper: self, pending: Vec::new() }));
            let builder = thread::Builder::new().name("tracer".to_owned()).stack_size(TRACER_STACK);
            // Not joined: the scope waits for the end of `work`, and not for stops that come late.
            builder.spawn_scoped(scope, trace).map(drop)?;
            drop(on_this_cpu);
            io::Result::Ok(())
        })?;
        self.hold = Some(hold);
        self.tidy();
        result.ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// Lets Ctrl-Z stop gilscope again as soon as no thread can be held any more. To be called at every tick.
    pub fn tidy(&mut self) {
        if self.hold.is_some() && late().tids.is_empty() {
            self.hold = None;
        }
    }

    /// The cost to the target so far.
    pub fn stats(&mut self) -> &StopStats {
        let late = std::mem::take(&mut late().stats);
        self.stats.add(&late);
        &self.stats
    }

    /// A thread has been seen to move since it could not be stopped: it has a CPU.
    pub fn moves(&mut self, tid: Tid) {
        self.spared.retain(|spared| spared.tid != tid || spared.is_costly);
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        // The end of gilscope detaches them, but a system call that was interrupted would fail.
        let until = Instant::now() + LATE_WITHIN;
        while !late().tids.is_empty() && Instant::now() < until {
            thread::sleep(LATE_POLL);
        }
    }
}

impl Tracer<'_> {
    /// Stops a thread. Meant for threads that run: one that is blocked in a system call, or is about to be, has the call
    /// interrupted, and restarted by the kernel or by [`restart_interrupted_call`].
    ///
    /// # Errors
    /// It is not stopped, and will not be.
    pub fn stop(&mut self, tid: Tid) -> Result<Stopped, StopError> {
        self.release();
        let mut stop = self.interrupt(tid)?;
        loop {
            if let Some(stopped) = poll(&mut stop, &mut self.stopper.stats)? {
                return Ok(stopped);
            }
            if stop.asked_at.elapsed() > STOPS_WITHIN {
                self.give_up(stop);
                return Err(StopError::NotRunning);
            }
            std::hint::spin_loop();
        }
    }

    /// Stops threads together: none of them waits, stopped, until the others are.
    pub fn stop_all(&mut self, tids: impl Iterator<Item = Tid>) -> Vec<Stopped> {
        let (mut stopped, mut asked) = (Vec::new(), Vec::new());
        for tid in tids {
            asked.extend(self.interrupt(tid));
        }
        let until = Instant::now() + STOPS_WITHIN;
        while !asked.is_empty() && Instant::now() < until {
            asked.retain_mut(|stop| match poll(stop, &mut self.stopper.stats) {
                Ok(Some(thread)) => {
                    stopped.push(thread);
                    false
                }
                result => result.is_ok(),
            });
        }
        asked.into_iter().for_each(|stop| self.give_up(stop));
        stopped
    }

    /// Lets a thread go on, and counts for how long it was stopped.
    pub fn resume(&mut self, stopped: Stopped) {
        let tid = stopped.tid;
        let time = stopped.resume(&mut self.stopper.stats);
        let long = &mut self.stopper.long;
        let was_long = long.iter().position(|other| *other == tid).map(|place| long.swap_remove(place)).is_some();
        if time > LONG_STOP {
            // A single one can be the machine's doing: the tracer had no CPU meanwhile.
            match was_long {
                true => self.spare(tid, time * SPARED_PER_STOP, true),
                false => {
                    // Some may have ended since.
                    if long.len() >= MAX_LONG {
                        long.clear();
                    }
                    long.push(tid);
                }
            }
        }
    }

    /// Lets those go on that have stopped late.
    fn release(&mut self) {
        for mut stop in std::mem::take(&mut self.pending) {
            match poll(&mut stop, &mut self.stopper.stats) {
                Ok(None) => self.pending.push(stop),
                Ok(Some(stopped)) => self.resume(stopped),
                Err(_) => {}
            }
        }
    }

    fn give_up(&mut self, stop: PendingStop) {
        self.spare(stop.tid, SPARED_FOR, false);
        self.pending.push(stop);
    }

    fn spare(&mut self, tid: Tid, time: Duration, is_costly: bool) {
        self.stopper.spared.push(SparedThread { tid, until: Instant::now() + time, is_costly });
    }

    /// Asks for a stop.
    fn interrupt(&mut self, tid: Tid) -> Result<PendingStop, StopError> {
        if late().tids.contains(&tid) {
            return Err(StopError::NotRunning);
        }
        if let Some(spared) = self.stopper.spared.iter().find(|spared| spared.tid == tid) {
            self.stopper.stats.spared += u64::from(spared.is_costly);
            return Err(if spared.is_costly { StopError::Spared } else { StopError::NotRunning });
        }
        let thread = NixPid::from_raw(tid);
        let asked = ptrace::seize(thread, ptrace::Options::empty()).map_err(gone_or_not_permitted);
        let asked_at = Instant::now();
        let asked = asked.and_then(|()| ptrace::interrupt(thread).map_err(gone_or_not_permitted));
        self.stopper.stats.not_permitted += u64::from(asked == Err(StopError::NotPermitted));
        asked.map(|()| PendingStop { tid, asked_at, running_at: asked_at, stopped_at: None })
    }
}

impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        self.release();
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            late().tids.extend(pending.iter().map(|stop| stop.tid));
            OWN_LATE.with_borrow_mut(|own| own.0 = pending);
        }
    }
}

impl Drop for OwnLateStops {
    fn drop(&mut self) {
        while !self.0.is_empty() {
            match &mut *self.0 {
                [only] => wait(only),
                _ => thread::sleep(LATE_POLL),
            }
            self.0.retain_mut(|stop| {
                let mut stats = StopStats::default();
                let result = poll(stop, &mut stats);
                if let Ok(Some(stopped)) = result {
                    stopped.resume(&mut stats);
                } else if result.is_ok() {
                    return true;
                }
                let mut late = late();
                late.stats.add(&stats);
                late.tids.retain(|&tid| tid != stop.tid);
                false
            });
        }
    }
}

/// Waits until an interrupted thread has stopped or ended, without taking notice of it.
fn wait(stop: &mut PendingStop) {
    let Some(tid) = Pid::from_raw(stop.tid) else { return };
    let delayed_before = own_run_delay();
    let _ = waitid(WaitId::Pid(tid), WaitIdOptions::NOWAIT | stops_and_ends());
    // The stop has woken this thread, which then may have had no CPU either.
    let delayed = Duration::from_nanos(own_run_delay().saturating_sub(delayed_before));
    stop.stopped_at = Instant::now().checked_sub(delayed);
}

/// For how long this thread was ready to run without a CPU so far, in nanoseconds; 0 if the kernel does not count that.
fn own_run_delay() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Looks whether an interrupted thread has stopped.
fn poll(stop: &mut PendingStop, stats: &mut StopStats) -> Result<Option<Stopped>, StopError> {
    let at = Instant::now();
    let Some(tid) = Pid::from_raw(stop.tid) else { return Err(StopError::Gone) };
    match waitid(WaitId::Pid(tid), WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG | stops_and_ends()) {
        Ok(None) | Err(rustix::io::Errno::INTR) => {
            (stop.running_at, stop.stopped_at) = (at, None);
            return Ok(None);
        }
        Ok(Some(status)) if status.trapped() || status.stopped() => {}
        Ok(Some(_)) => {
            reap(stop.tid);
            return Err(StopError::Gone);
        }
        Err(_) => return Err(StopError::Gone),
    }
    let Ok(Some((_, status))) = waitpid(Some(tid), without_waiting()) else { return Err(StopError::Gone) };
    let (event, signal) = (status.as_raw() >> 16, status.stopping_signal().unwrap_or(0));
    let is_asked = event == EVENT_STOP;
    // A call that a signal has interrupted is made once more, too, if the signal has no handler: without a tracer, the thread
    // would not have been woken for that signal.
    let is_unharmed = restart(NixPid::from_raw(stop.tid));
    stats.failed_calls += u64::from(is_asked && !is_unharmed);
    let signal = if is_asked { 0 } else { signal };
    // Otherwise, it has stopped at some moment since the last look.
    let between = || stop.running_at + at.saturating_duration_since(stop.running_at) / 2;
    let since = stop.stopped_at.unwrap_or_else(between);
    Ok(Some(Stopped { tid: stop.tid, since, signal, is_detached: false }))
}

fn stops_and_ends() -> WaitIdOptions {
    WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::from_bits_retain(nix::libc::__WALL as u32)
}

fn without_waiting() -> WaitOptions {
    WaitOptions::NOHANG | WaitOptions::from_bits_retain(nix::libc::__WALL as u32)
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
fn reap(tid: Tid) {
    let status = Status::read(tid);
    let launched = |status: &Status| status.process == tid && status.parent == std::process::id() as Tid;
    if !status.is_some_and(|status| launched(&status)) {
        let _ = waitpid(Pid::from_raw(tid), without_waiting());
    }
}

fn gone_or_not_permitted(errno: Errno) -> StopError {
    match errno {
        Errno::ESRCH => StopError::Gone,
        _ => StopError::NotPermitted,
    }
}

impl Stopped {
    /// Lets it go on, and counts for how long it was stopped.
    fn resume(mut self, stats: &mut StopStats) -> Duration {
        self.detach();
        let time = self.since.elapsed();
        stats.stops += 1;
        stats.stopped_ns += time.as_nanos() as u64;
        time
    }

    fn detach(&mut self) {
        if std::mem::replace(&mut self.is_detached, true) {
            return;
        }
        // The type of signals in `nix` has no real-time signals.
        // SAFETY: this request takes two numbers, and touches no memory of gilscope.
        let detached = unsafe {
            let none: *mut nix::libc::c_void = std::ptr::null_mut();
            nix::libc::ptrace(nix::libc::PTRACE_DETACH, self.tid, none, nix::libc::c_long::from(self.signal))
        };
        if detached != 0 {
            // It was killed meanwhile.
            reap(self.tid);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Ctrl-Z does not stop gilscope while this exists: a thread that it holds would be stopped for as long. It stops gilscope right
/// after.
#[derive(Debug)]
struct JobControlHold(Option<SigSet>);

/// The signals of the terminal that stop a process, unless they are blocked.
pub const JOB_CONTROL: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

impl JobControlHold {
    fn new() -> JobControlHold {
        let stops: SigSet = JOB_CONTROL.into_iter().collect();
        JobControlHold(stops.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).ok())
    }
}

impl Drop for JobControlHold {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = before.thread_set_mask();
        }
    }
}

/// Keeps this thread, and those that it starts, on the CPU that it is on: a tracer on any other could displace the very thread
/// that it is to stop. Those that were started stay there.
struct CpuPin(Option<CpuSet>);

impl CpuPin {
    fn new() -> CpuPin {
        let (mut here, cpu) = (CpuSet::new(), sched_getcpu());
        if cpu >= CpuSet::MAX_CPU {
            return CpuPin(None);
        }
        here.set(cpu);
        CpuPin(sched_getaffinity(None).ok().filter(|_| sched_setaffinity(None, &here).is_ok()))
    }
}

impl Drop for CpuPin {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = sched_setaffinity(None, before);
        }
    }
}

#[cfg(test)]
mod tests;
