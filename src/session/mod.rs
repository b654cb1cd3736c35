//! The one loop of a recording: waits for the next tick, signals and the ends of processes, lets the samplers
//! look, and feeds what they saw to the [`Profile`]. Called by `record` and `top`, which may look at it meanwhile as
//! an [`Observer`].

mod clock;
mod follow;
pub mod launch;
pub mod progress;
pub mod signals;

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::clock::Ticks;
use self::follow::Follower;
use self::launch::Child;
use self::signals::{Received, Signals};
use crate::commands::dump::{self, Blocked};
use crate::cpython::attach::{Target, attach};
use crate::event::{Event, Ids, Nanos, OffCpu, Pid, ThreadId};
use crate::interpreter::PythonProcess;
use crate::interpreter::registry::Sink;
use crate::kernel::{self, Kernel, KernelError};
use crate::process::error::AttachError;
use crate::profile::{Mode, Profile, ThreadInfo};
use crate::recording::Recorder;
use crate::sampler::{Sampler, Stopping};

pub use self::clock::{clock_offset_ns, now};

/// What to record, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples a second.
    pub rate: f64,
    /// When to stop.
    pub duration: Option<Duration>,
    /// Follow child processes.
    pub subprocesses: bool,
    /// Which collector to use; none: the best there is.
    pub mode: Option<Mode>,
    /// Times off the CPU that are shorter get no record of their own (kernel mode).
    pub min_wait: Duration,
    /// When threads may be stopped (memory mode).
    pub stopping: Stopping,
    /// Keep a timeline (trace formats).
    pub timeline: bool,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The program has.
    TargetExited,
    /// The time asked for is over.
    Duration,
    /// A signal came.
    Signal,
    /// The observer has seen enough.
    Observer,
    /// What was recorded could not be written any more.
    Unwritable,
}

/// Looks at what is learned while it is learned. It is called by the loop that collects, so it has to be quick, and never
/// waits for anything.
pub trait Observer {
    /// When it wants to look next.
    fn next(&self) -> Nanos;

    /// Whether it then needs to know what threads do that are off the CPU, which takes time to find out.
    fn needs_under_way(&self, at: Nanos) -> bool;

    /// Looks, when it is time. Says whether the recording goes on.
    fn look(&mut self, look: &Look<'_>) -> ControlFlow<()>;
}

/// What an [`Observer`] sees.
#[derive(Debug)]
pub struct Look<'a> {
    /// The moment.
    pub at: Nanos,
    /// All that was learned. What `session` says of how it goes is as of now.
    pub profile: &'a Profile,
    /// What threads off the CPU have been doing up to now (kernel mode), if that was asked for: the profile learns of it
    /// only when it is over.
    pub under_way: &'a [OffCpu],
    /// How many processes are observed.
    pub processes: usize,
}

/// The collector to use.
#[derive(Debug)]
pub struct Collector {
    /// That of kernel mode; none for memory mode.
    kernel: Option<Kernel>,
    /// Why it is not what it should be.
    degraded: Option<String>,
}

/// How often records are taken out of the kernel, in nanoseconds.
const DRAIN_EVERY: u64 = 25_000_000;

/// How often what keeps threads from going on is looked for, in nanoseconds, and for which part of the time at most.
const BLOCKED_EVERY: u64 = 2_000_000_000;
const BLOCKED_PART: u64 = 100;

/// A process under observation.
struct Observed {
    pid: Pid,
    /// In kernel mode the [`Kernel`] observes it.
    sampler: Option<Sampler>,
}

/// A recording under way.
struct Session<'a> {
    options: &'a Options,
    profile: Profile,
    recorder: Option<&'a mut Recorder>,
    events: Vec<Event>,
    ids: Ids,
    observed: Vec<Observed>,
    kernel: Option<Kernel>,
    follower: Follower,
    totals: crate::sampler::Stats,
    /// CPU time gilscope had used when the recording started, in nanoseconds.
    cpu_before: u64,
    /// When to look for threads that wait for each other, if somebody is watching.
    blocked_at: Nanos,
}

/// Makes ready what is to look.
///
/// # Errors
/// [`KernelError`] if it was asked for and is not to be had.
pub fn collector(options: &Options) -> Result<Collector, KernelError> {
    if options.mode == Some(Mode::Memory) {
        return Ok(Collector { kernel: None, degraded: None });
    }
    let wanted =
        kernel::Options { rate: options.rate, min_wait_ns: options.min_wait.as_nanos().min(u64::MAX.into()) as u64 };
    match Kernel::load(&wanted) {
        Ok(kernel) => Ok(Collector { kernel: Some(kernel), degraded: None }),
        Err(error) if options.mode == Some(Mode::Kernel) => Err(error),
        Err(error) => Ok(Collector {
            kernel: None,
            degraded: Some(format!(
                "memory mode: waits are estimated from samples, and short ones are missed. {error}"
            )),
        }),
    }
}

/// Records process `root`, or the program launched as `child`, until one of the ends. What is seen also goes to the
/// `recorder`, if there is one; that is still to be finished then.
///
/// # Errors
/// [`AttachError`] if there is no interpreter to record; what goes wrong later ends the recording instead.
pub fn record(
    options: &Options,
    collector: Collector,
    recorder: Option<&mut Recorder>,
    root: Pid,
    child: Option<&mut Child>,
    signals: &mut Signals,
    observer: &mut dyn Observer,
) -> Result<(Profile, End), AttachError> {
    let Collector { kernel, degraded } = collector;
    // After the launch: the program keeps the limits it would have had.
    raise_descriptor_limit();
    if kernel.is_none() {
        clock::precise();
    }
    let mut session = Session {
        options,
        profile: Profile::default(),
        recorder,
        events: Vec::new(),
        ids: Ids::default(),
        observed: Vec::new(),
        follower: Follower::new(root, child.is_some(), options.subprocesses, kernel.is_some()),
        kernel,
        totals: crate::sampler::Stats::default(),
        cpu_before: 0,
        blocked_at: Nanos(0),
    };
    if options.timeline {
        session.profile.keep_timeline();
    }
    session.profile.session.degraded.extend(degraded);
    session.profile.session.mode = if session.kernel.is_some() { Mode::Kernel } else { Mode::Memory };
    let end = session.run(root, child, signals, observer)?;
    if end != End::TargetExited {
        session.find_blocked();
    }
    Ok((session.close(), end))
}

impl Session<'_> {
    fn run(
        &mut self,
        root: Pid,
        mut child: Option<&mut Child>,
        signals: &mut Signals,
        observer: &mut dyn Observer,
    ) -> Result<End, AttachError> {
        let started = now();
        (self.profile.session.start, self.profile.session.started_unix_ns) = (started, clock::unix());
        self.profile.session.rate_hz = self.options.rate;
        // What there is no such handle for is no process; looking closer tells what else it is.
        let pidfd = launch::pidfd(root)
            .map_err(|_| attach(root).err().unwrap_or(AttachError::NoSuchProcess { pid: root }))?;
        // In kernel mode nothing is looked at: ticks are when records are taken out.
        let rate = if self.kernel.is_some() { 1e9 / DRAIN_EVERY as f64 } else { self.options.rate };
        let mut ticks = Ticks::new(rate, started);
        if let Some(kernel) = &mut self.kernel
            && child.is_some()
            && let Err(error) = kernel.watch(root)
        {
            log::debug!("{error}");
        }
        let mut until: Option<Nanos> = None;
        let mut full = false;
        loop {
            let at = now();
            for found in self.follower.poll(at)? {
                if self.observed.is_empty() {
                    // The clock starts with the first interpreter: waiting for it is no part of the recording.
                    (self.profile.session.start, self.profile.session.started_unix_ns) = (at, clock::unix());
                    self.cpu_before = clock::own_cpu();
                    ticks = Ticks::new(rate, at);
                    until = self.options.duration.map(|duration| Nanos(at.0 + duration.as_nanos() as u64));
                }
                self.observe(found, at);
            }
            if !self.observed.is_empty() {
                if let Some(periods) = ticks.due(at) {
                    self.tick(at, periods);
                    ticks.done();
                } else if full {
                    // The next tick comes when it would have come.
                    self.tick(at, 1);
                }
            }
            self.profile.session.ticks = ticks.periods();
            self.profile.session.looks = ticks.made();
            self.profile.session.late_ticks = ticks.late();
            if !self.observed.is_empty() && observer.next() <= at && self.show(at, observer).is_break() {
                return Ok(End::Observer);
            }
            if self.recorder.as_ref().is_some_and(|recorder| recorder.has_failed()) {
                return Ok(End::Unwritable);
            }
            let at = now();
            if until.is_some_and(|until| until <= at) {
                return Ok(End::Duration);
            }
            let tick = if self.observed.is_empty() { Nanos(u64::MAX) } else { ticks.next().min(observer.next()) };
            let wake = tick.min(self.follower.next()).min(until.unwrap_or(Nanos(u64::MAX)));
            let left = wake.since(at).min(1_000_000_000);
            let timeout = Timespec { tv_sec: (left / 1_000_000_000) as _, tv_nsec: (left % 1_000_000_000) as _ };
            let ring = self.kernel.as_ref().map_or(pidfd.as_fd(), Kernel::fd);
            let mut fds =
                [signals.as_fd(), pidfd.as_fd(), ring].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            // An interrupted poll is as good as one that found nothing.
            let _ = poll(&mut fds, Some(&timeout));
            let [signalled, root_ended, ring_full] = fds.map(|fd| !fd.revents().is_empty());
            full = ring_full && self.kernel.is_some();
            match signalled.then(|| signals.take()).flatten() {
                Some(Received::Child) => self
                    .observed
                    .iter_mut()
                    .filter_map(|observed| observed.sampler.as_mut())
                    .for_each(Sampler::release),
                Some(Received::Stop { signal, by_terminal }) => {
                    if let Some(child) = child.as_deref_mut().filter(|_| !by_terminal) {
                        child.signal(signal);
                    }
                    return Ok(End::Signal);
                }
                None => {}
            }
            if root_ended {
                return match self.profile.processes.is_empty() {
                    true => Err(self.follower.ended_without_python(child)),
                    false => Ok(End::TargetExited),
                };
            }
        }
    }

    /// Starts to observe a process.
    fn observe(&mut self, target: Target, at: Nanos) {
        let id = self.ids.process();
        let text = if self.kernel.is_some() { target.text() } else { Vec::new() };
        let Target { located, layout, foreign_tids, info } = target;
        self.push(&Event::Process { process: id, info: Arc::new(info) });
        let pid = located.pid;
        let process = PythonProcess { pid, id, runtime: located.runtime, layout, foreign_tids };
        let Session { profile, events, ids, kernel, .. } = self;
        // Once for all processes that are alike.
        let degraded = &mut profile.session.degraded;
        degraded.extend(layout.unknowns().filter(|note| !degraded.contains(note)));
        let sampler = match kernel {
            Some(kernel) => {
                let mut sink = Sink { stacks: &mut profile.stacks, events, ids };
                if let Err(error) = kernel.observe(&process, text, at, &mut sink) {
                    profile.session.degraded.push(format!("process {pid} was not recorded: {error}"));
                }
                None
            }
            None => {
                let mut sampler = Sampler::new(&process, self.options.stopping);
                sampler.watch_locks(&process);
                sampler.watch_accesses(&process, self.options.rate);
                Some(sampler)
            }
        };
        self.observed.push(Observed { pid, sampler });
    }

    /// One look at every process. Those that cannot be read any more have ended, or run another program now.
    fn tick(&mut self, at: Nanos, periods: u32) {
        let Session { profile, events, ids, observed, follower, totals, kernel, .. } = self;
        let mut sink = Sink { stacks: &mut profile.stacks, events, ids };
        if let Some(kernel) = kernel {
            for pid in kernel.drain(at, &mut sink) {
                kernel.finish(pid, at, &mut sink);
                observed.retain(|observed| observed.pid != pid);
                follower.lost(pid, at);
            }
        }
        observed.retain_mut(|observed| {
            let Some(sampler) = &mut observed.sampler else { return true };
            let result = sampler.tick(at, periods, &mut sink);
            if let Err(error) = result {
                log::info!("process {}: {error}", observed.pid);
                sampler.finish(at, &mut sink);
                totals.add(&sampler.stats);
                follower.lost(observed.pid, at);
            }
            result.is_ok()
        });
        self.take_in();
        if let Some(recorder) = &mut self.recorder {
            recorder.tick(at, &self.profile.session);
        }
    }

    /// Looks for threads that wait for each other, which they will for ever, and for who holds locks that do not tell.
    fn find_blocked(&mut self) {
        let at = now();
        let mut again = false;
        for observed in &self.observed {
            let Blocked { circles, held } = dump::blocked(observed.pid).unwrap_or_else(|error| {
                log::debug!("process {}: {error:#}", observed.pid);
                Blocked::default()
            });
            if let Some(kernel) = &mut self.kernel {
                kernel.held(observed.pid, at, held);
            }
            for circle in circles {
                let Profile { threads, processes, .. } = &self.profile;
                // The last incarnation of a tid is the one that is there.
                let id = |tid| {
                    let of = |info: &ThreadInfo| processes[info.process.0 as usize].pid == observed.pid;
                    threads.iter().rposition(|info| info.tid == tid && of(info)).map(|index| ThreadId(index as u32))
                };
                let stuck = circle.into_iter().map(|stuck| Some((id(stuck.tid)?, stuck.waits_for.into())));
                let Some(threads) = stuck.collect::<Option<Vec<(ThreadId, Arc<str>)>>>() else {
                    // One of them has not been told of yet.
                    again = true;
                    continue;
                };
                // One that is there stays for ever.
                let is_it = |known: &Vec<(ThreadId, Arc<str>)>| {
                    known.iter().map(|stuck| stuck.0).eq(threads.iter().map(|stuck| stuck.0))
                };
                if !self.profile.deadlocks.iter().any(is_it) {
                    self.events.push(Event::Deadlock { at, threads });
                }
            }
        }
        self.take_in();
        let took = now().since(at);
        self.blocked_at = if again { at } else { Nanos(at.0 + BLOCKED_EVERY.max(BLOCKED_PART * took)) };
    }

    /// Lets the observer look.
    fn show(&mut self, at: Nanos, observer: &mut dyn Observer) -> ControlFlow<()> {
        let mut under_way = Vec::new();
        if observer.needs_under_way(at) {
            if at >= self.blocked_at {
                self.find_blocked();
            }
            if let Some(kernel) = &mut self.kernel {
                let mut sink =
                    Sink { stacks: &mut self.profile.stacks, events: &mut self.events, ids: &mut self.ids };
                under_way = kernel.under_way(at, &mut sink);
                self.take_in();
            }
        }
        self.profile.session.end = at;
        self.profile.session.profiler_cpu_ns = clock::own_cpu() - self.cpu_before;
        let (profile, processes) = (&self.profile, self.observed.len());
        observer.look(&Look { at, profile, under_way: &under_way, processes })
    }

    /// Takes in the events that the collectors have left.
    fn take_in(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let start = self.profile.session.start;
        events.drain(..).filter_map(|event| after(start, event)).for_each(|event| self.push(&event));
        self.events = events;
    }

    fn push(&mut self, event: &Event) {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(event, &self.profile.stacks, &self.profile.session);
        }
        self.profile.push(event);
    }

    /// Ends the recording: what there is to know about how it went.
    fn close(mut self) -> Profile {
        let at = now();
        let observed = std::mem::take(&mut self.observed);
        let Session { profile, events, ids, totals, kernel, .. } = &mut self;
        let mut sink = Sink { stacks: &mut profile.stacks, events, ids };
        for mut sampler in observed.into_iter().filter_map(|observed| observed.sampler) {
            if let Some(refused) = sampler.registers_refused() {
                profile.session.degraded.push(format!(
                    "what reference counts cost cannot be told: perf events of the target's threads cannot be had \
                     ({refused}). Set /proc/sys/kernel/perf_event_paranoid to 2 or less, or run gilscope as root or \
                     with CAP_PERFMON"
                ));
            }
            sampler.finish(at, &mut sink);
            totals.add(&sampler.stats);
        }
        if let Some(kernel) = kernel {
            kernel.drain(at, &mut sink);
            for pid in kernel.pids() {
                kernel.finish(pid, at, &mut sink);
            }
        }
        self.take_in();
        let session = &mut self.profile.session;
        session.end = at;
        session.stops = self.totals.stops;
        session.stopped_ns = self.totals.stopped_ns;
        session.profiler_cpu_ns = clock::own_cpu() - self.cpu_before;
        if self.totals.not_permitted > 0 {
            session.degraded.push(format!(
                "{} reads of moving stacks could not stop their thread (ptrace is not permitted, or a debugger has \
                 it): they were repeated instead, and are lost where they still moved",
                self.totals.not_permitted
            ));
        }
        self.profile.finish();
        self.profile
    }
}

/// What of an event is part of a recording that began then. The kernel sees a launched program before its interpreter is
/// found.
fn after(start: Nanos, mut event: Event) -> Option<Event> {
    let is_part = match &mut event {
        Event::ThreadStarted { at, .. } | Event::ThreadExited { at, .. } | Event::Gil { at, .. } => {
            *at = start.max(*at);
            true
        }
        Event::OffCpu(off) if off.start < start => {
            (off.start, off.open) = (start, true);
            off.end > start
        }
        event => event.at().is_none_or(|at| at >= start),
    };
    is_part.then_some(event)
}

/// Two files are kept open for every thread.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Without it, files of many threads are opened again for every look.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ThreadState, Tid};
    use crate::stack::StackId;

    #[test]
    fn what_was_before_the_recording_is_no_part_of_it() {
        let thread = ThreadId(0);
        let off = |start, end| {
            let (start, end, state) = (Nanos(start), Nanos(end), ThreadState::Runnable);
            let stack = StackId::EMPTY;
            Event::OffCpu(OffCpu::new(thread, start, end, state, stack))
        };
        let cut = |start, end| match after(Nanos(10), off(start, end)) {
            Some(Event::OffCpu(off)) => Some((off.start.0, off.end.0, off.open)),
            other => other.map(|_| unreachable!()),
        };
        assert_eq!(cut(4, 9), None);
        assert_eq!(cut(4, 10), None);
        assert_eq!(cut(4, 12), Some((10, 12, true)));
        assert_eq!(cut(10, 12), Some((10, 12, false)));
        let sample = |at| Event::Sample {
            at: Nanos(at),
            periods: 1,
            thread,
            state: ThreadState::Running,
            stack: StackId::EMPTY,
            gil: None,
        };
        assert!(after(Nanos(10), sample(9)).is_none() && after(Nanos(10), sample(10)).is_some());
        let started =
            Event::ThreadStarted { at: Nanos(9), thread, process: crate::event::ProcessId(0), tid: 1 as Tid };
        assert_eq!(after(Nanos(10), started).and_then(|event| event.at()), Some(Nanos(10)));
    }
}
