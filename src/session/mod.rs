//! The loop of a recording: waits for the next tick, signals and the end of the program, has the collector report, and applies
//! its events to the [`Profile`]. Called by `record` and `top`, which see the profile meanwhile as an [`Observer`]. The loop is
//! the same for all collectors; `collectors` chooses one.

mod child_counts;
pub mod children;
mod clock;
mod collectors;
mod deadlocks;
mod follow;
pub mod launch;
mod machine;
mod queues;
pub mod signals;
mod titles;

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustc_hash::FxHashSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::children::ChildWatch;
use self::clock::Ticks;
use self::follow::Follower;
use self::launch::Child;
use self::machine::MachineWatch;
use self::queues::QueueWatch;
use self::signals::{Received, Signals};
use self::titles::TitleWatch;
use crate::cpython::attach::{AttachedProcess, attach};
use crate::event::{Event, HIDDEN_CALLS, Ids, Nanos, OffCpu, Pid, ProcessId, ProcessInfo};
use crate::interpreter::PythonProcess;
use crate::interpreter::collector::Collector;
use crate::interpreter::registry::Sink;
use crate::process::access::{HiddenCalls, hidden_calls};
use crate::process::clock::now;
use crate::process::error::AttachError;
use crate::process::refused;
use crate::process::watchdog::{ReadGuard, ReadPause};
use crate::profile::{Mode, Profile};
use crate::recording::Recorder;
use crate::sampler::Stopping;
use crate::stack::OwnPatterns;

pub use self::clock::clock_offset_ns;
pub use self::collectors::{ReadyCollector, collector};

/// What to record, and how.
#[derive(Clone, Debug)]
pub struct RecordingOptions {
    pub rate: f64,
    pub duration: Option<Duration>,
    pub subprocesses: bool,
    /// The collector to use; none for the best one available.
    pub mode: Option<Mode>,
    /// Shorter times off the CPU get no record of their own (kernel mode).
    pub min_wait: Duration,
    /// When threads may be stopped (memory mode).
    pub stopping: Stopping,
    /// Keep a timeline (trace formats).
    pub timeline: bool,
    /// What counts as the program's own.
    pub own: OwnPatterns,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    TargetExited,
    Duration,
    Signal,
    /// The observer asked for it.
    Observer,
    /// The recording could not be written any more.
    Unwritable,
}

/// Sees the profile while it is recorded. It is called by the loop that collects, so it has to be quick and never waits.
pub trait Observer {
    /// When to call it next.
    fn next(&self) -> Nanos;

    /// Whether it then needs to know what threads off the CPU are doing, which takes time to find out.
    fn needs_under_way(&self, at: Nanos) -> bool;

    /// Called when it is time. Says whether the recording goes on.
    fn observe(&mut self, view: &RecordingView<'_>) -> ControlFlow<()>;
}

/// What an [`Observer`] sees.
#[derive(Debug)]
pub struct RecordingView<'a> {
    pub at: Nanos,
    /// Everything learned so far; its `session` is up to date.
    pub profile: &'a Profile,
    /// What threads off the CPU have been doing up to now (kernel mode), if that was asked for: the profile has only what is
    /// over.
    pub under_way: &'a [OffCpu],
    /// The number of observed processes.
    pub processes: usize,
}

/// How long to wait at most when there is nothing to do, in nanoseconds.
const MAX_WAIT: u64 = 1_000_000_000;

/// A recording under way.
struct Session<'a> {
    options: &'a RecordingOptions,
    profile: Profile,
    recorder: Option<&'a mut Recorder>,
    events: Vec<Event>,
    ids: Ids,
    observed: Vec<PythonProcess>,
    /// The processes of which a thread was seen: others ended before.
    with_threads: FxHashSet<ProcessId>,
    ticks: Ticks,
    /// When to end, once there is an interpreter.
    until: Option<Nanos>,
    collector: Box<dyn Collector>,
    follower: Follower,
    /// CPU time gilscope had used when the recording started, in nanoseconds.
    cpu_before: u64,
    /// Who else has the CPUs, once there is an interpreter.
    machine: Option<MachineWatch>,
    /// When to search for deadlocks, if there is an observer that wants to know.
    blocked_at: Nanos,
    /// When to ask for long waits again.
    long_waits_at: Nanos,
    /// The child processes that are not observed.
    children: ChildWatch,
    /// The queues from which pools take their work.
    queues: QueueWatch,
    titles: TitleWatch,
}

/// What the loop has waited for.
struct Ready {
    signal: bool,
    /// All processes that were asked for have ended.
    roots_ended: bool,
    /// The collector wants a tick.
    collector: bool,
}

/// Records the processes `roots`, or the program launched as `child`, until one of the ends. Events also go to the `recorder`, if
/// there is one, which the caller has to finish.
///
/// # Errors
/// [`AttachError`] if there is no interpreter to record; what goes wrong later ends the recording instead.
pub fn record(
    options: &RecordingOptions,
    collector: ReadyCollector,
    recorder: Option<&mut Recorder>,
    roots: &[Pid],
    child: Option<&mut Child>,
    signals: &mut Signals,
    observer: &mut dyn Observer,
) -> Result<(Profile, RecordingEnd), AttachError> {
    let ReadyCollector { collector, mode, degraded } = collector;
    // After the launch, so that the program does not inherit this limit.
    raise_descriptor_limit();
    if collector.ticks().punctual {
        clock::precise();
    }
    let started = now();
    let mut session = Session {
        options,
        profile: Profile::default(),
        recorder,
        events: Vec::new(),
        ids: Ids::default(),
        observed: Vec::new(),
        with_threads: FxHashSet::default(),
        ticks: Ticks::new(collector.ticks().rate, started),
        until: None,
        follower: Follower::new(roots, child.is_some(), options.subprocesses, collector.observes_early()),
        collector,
        cpu_before: 0,
        machine: None,
        blocked_at: Nanos(0),
        long_waits_at: Nanos(0),
        queues: QueueWatch::default(),
        titles: TitleWatch::default(),
        children: ChildWatch::new(roots, options.subprocesses),
    };
    if options.timeline {
        session.profile.keep_timeline();
    }
    session.profile.stacks.set_own(&options.own);
    session.profile.session.degraded.extend(degraded);
    session.profile.session.mode = mode;
    session.profile.session.rate_hz = options.rate;
    session.start(started);
    let end = session.run(roots, child, signals, observer)?;
    let _reading = ReadGuard::new(roots.first().copied().unwrap_or(0));
    if end != RecordingEnd::TargetExited {
        session.find_blocked();
    }
    Ok((session.close(), end))
}

impl Session<'_> {
    fn run(
        &mut self,
        roots: &[Pid],
        mut child: Option<&mut Child>,
        signals: &mut Signals,
        observer: &mut dyn Observer,
    ) -> Result<RecordingEnd, AttachError> {
        // Without a pidfd it is no process; attaching finds out what is wrong with it.
        let open = |&pid: &Pid| {
            let why = |error: std::io::Error| refused(pid, "wait for the end", &error);
            launch::pidfd(pid).map_err(|error| attach(pid).err().unwrap_or_else(|| why(error.into())))
        };
        let mut running: Vec<OwnedFd> = roots.iter().map(open).collect::<Result<_, _>>()?;
        if child.is_some() {
            roots.iter().for_each(|&root| self.collector.watch(root));
        }
        let mut woken = false;
        loop {
            let reading = ReadGuard::new(roots.first().copied().unwrap_or(0));
            let at = now();
            self.find_processes(at)?;
            if !self.observed.is_empty() {
                self.tick_if_due(at, woken);
                self.look_at_long_waits(at);
                if self.children.next() <= at {
                    self.look_at_children(at);
                }
                if self.queues.next() <= at {
                    self.look_at_queues(at);
                }
                self.look_at_titles(at);
                if observer.next() <= at && self.show(at, observer).is_break() {
                    return Ok(RecordingEnd::Observer);
                }
            }
            if self.recorder.as_ref().is_some_and(|recorder| recorder.has_failed()) {
                return Ok(RecordingEnd::Unwritable);
            }
            let at = now();
            if self.until.is_some_and(|until| until <= at) {
                return Ok(RecordingEnd::Duration);
            }
            drop(reading);
            let ready = self.wait(self.next_wake(observer).since(at), signals, &mut running);
            woken = ready.collector;
            match ready.signal.then(|| signals.take()).flatten() {
                Some(Received::Stop { signal, by_terminal }) => {
                    if let Some(child) = child.as_deref_mut().filter(|_| !by_terminal) {
                        child.signal(signal);
                    }
                    return Ok(RecordingEnd::Signal);
                }
                Some(Received::Child) | None => {}
            }
            if ready.roots_ended {
                return match self.profile.processes.is_empty() {
                    true => Err(self.follower.ended_without_python(child)),
                    false => Ok(RecordingEnd::TargetExited),
                };
            }
        }
    }

    fn start(&mut self, at: Nanos) {
        (self.profile.session.start, self.profile.session.started_unix_ns) = (at, clock::unix());
        self.ticks = Ticks::new(self.collector.ticks().rate, at);
    }

    /// Starts to observe the interpreters that have appeared.
    ///
    /// # Errors
    /// The process that was asked for can never be recorded.
    fn find_processes(&mut self, at: Nanos) -> Result<(), AttachError> {
        for found in self.follower.poll(at)? {
            if self.profile.processes.is_empty() {
                // The recording starts with the first interpreter: waiting for one is not part of it. What comes after one that
                // has ended, or runs another program now, is part of the same recording.
                self.start(at);
                self.machine = Some(MachineWatch::new(found.info.pid, at));
                self.cpu_before = clock::own_cpu();
                self.until = self.options.duration.map(|duration| Nanos(at.0 + duration.as_nanos() as u64));
            }
            self.observe(found, at);
        }
        Ok(())
    }

    fn tick_if_due(&mut self, at: Nanos, woken: bool) {
        if let Some(periods) = self.ticks.due(at) {
            let cpu_before = clock::own_cpu();
            self.tick(at, periods);
            self.ticks.done();
            // What reads of deep stacks or many threads take is not to grow beyond half of a CPU.
            let used = clock::own_cpu() - cpu_before;
            if used > self.ticks.budget() {
                self.ticks.put_off(Nanos(now().0 + used));
            }
        } else if woken {
            // The next tick comes when it would have come.
            self.tick(at, 1);
        }
        self.profile.session.ticks = self.ticks.periods();
        self.profile.session.looks = self.ticks.made();
        self.profile.session.late_ticks = self.ticks.late();
    }

    fn next_wake(&self, observer: &dyn Observer) -> Nanos {
        let tick = if self.observed.is_empty() { Nanos(u64::MAX) } else { self.ticks.next().min(observer.next()) };
        let look = if self.observed.is_empty() { tick } else { self.children.next() };
        let queues = if self.observed.is_empty() { tick } else { self.queues.next() };
        tick.min(look).min(queues).min(self.follower.next()).min(self.until.unwrap_or(Nanos(u64::MAX)))
    }

    /// Waits for something to do, at most for a time in nanoseconds.
    fn wait(&self, time: u64, signals: &Signals, running: &mut Vec<OwnedFd>) -> Ready {
        let wake = self.collector.wake_fd();
        let mut fds: Vec<_> = running.iter().map(OwnedFd::as_fd).collect();
        fds.push(signals.as_fd());
        fds.extend(wake);
        let mut fds: Vec<_> = fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let time = time.min(MAX_WAIT);
        let timeout = Timespec { tv_sec: (time / 1_000_000_000) as _, tv_nsec: (time % 1_000_000_000) as _ };
        // An interrupted poll is as good as one that found nothing.
        let _ = poll(&mut fds, Some(&timeout));
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let (ended, others) = ready.split_at(running.len());
        let mut ended = ended.iter();
        let (signal, collector) = (others.first() == Some(&true), others.get(1) == Some(&true));
        running.retain(|_| ended.next() != Some(&true));
        Ready { signal, roots_ended: running.is_empty(), collector }
    }

    /// Starts to observe a process.
    fn observe(&mut self, target: AttachedProcess, at: Nanos) {
        let id = self.ids.process();
        let process = PythonProcess::new(id, &target);
        self.push(&Event::Process { process: id, info: Arc::new(target.info.clone()) });
        let Session { profile, events, ids, collector, .. } = self;
        // Once for all processes that are alike.
        let degraded = &mut profile.session.degraded;
        degraded.extend(target.layout.unknowns().filter(|note| !degraded.contains(note)));
        degraded.extend(hidden_calls_note(profile.session.mode, process.pid));
        let mut sink = Sink { stacks: &mut profile.stacks, events, ids };
        if let Err(error) = collector.observe(id, &target, at, &mut sink) {
            profile.session.degraded.push(format!("process {} was not recorded: {error}", process.pid));
        }
        self.observed.push(process);
    }

    /// One tick of the collector. Processes that cannot be read any more have ended, or run another program now.
    fn tick(&mut self, at: Nanos, periods: u32) {
        let Session { profile, events, ids, observed, follower, collector, .. } = self;
        let mut sink = Sink { stacks: &mut profile.stacks, events, ids };
        for pid in collector.tick(at, periods, &mut sink) {
            observed.retain(|process| process.pid != pid);
            follower.lost(pid, at);
        }
        self.apply_events();
        if let Some(recorder) = &mut self.recorder {
            recorder.tick(at, &self.profile.session);
        }
    }

    fn look_at_children(&mut self, at: Nanos) {
        let has_threads =
            |(index, _): &(usize, &Arc<ProcessInfo>)| self.with_threads.contains(&ProcessId(*index as u32));
        let processes = self.profile.processes.iter().enumerate().filter(has_threads);
        let observed: Vec<Pid> = processes.map(|(_, info)| info.pid).collect();
        self.children.look(at, &observed, now);
        self.profile.session.unobserved = self.children.unobserved(&observed);
        self.profile.session.children = Some(self.children.counts(&observed));
    }

    /// Shows the observer the profile as it is now.
    fn show(&mut self, at: Nanos, observer: &mut dyn Observer) -> ControlFlow<()> {
        let mut under_way = Vec::new();
        if observer.needs_under_way(at) {
            if at >= self.blocked_at {
                self.find_blocked();
            }
            let Session { profile, events, ids, collector, .. } = self;
            under_way = collector.under_way(at, &mut Sink { stacks: &mut profile.stacks, events, ids });
            self.apply_events();
            self.profile.put_rows(&mut under_way);
        }
        if self.machine.as_mut().is_some_and(|machine| machine.is_due(at)) {
            self.look_at_machine(at);
        }
        self.profile.session.end = at;
        self.profile.session.profiler_cpu_ns = clock::own_cpu() - self.cpu_before;
        let (profile, processes) = (&self.profile, self.observed.len());
        // It may write to a terminal that is held up.
        let _pause = ReadPause::new();
        observer.observe(&RecordingView { at, profile, under_way: &under_way, processes })
    }

    fn look_at_machine(&mut self, at: Nanos) {
        let processes = &self.profile.processes;
        let own = |pid| processes.iter().any(|process| process.pid == pid);
        self.profile.session.machine = self.machine.as_ref().map(|machine| machine.so_far(at, own));
    }

    /// Applies the events that the collector has left.
    fn apply_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let start = self.profile.session.start;
        events.drain(..).filter_map(|event| after(start, event)).for_each(|event| self.push(&event));
        self.events = events;
    }

    fn push(&mut self, event: &Event) {
        if let Event::ThreadStarted { process, .. } = event {
            self.with_threads.insert(*process);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.event(event, &self.profile.stacks, &self.profile.session);
        }
        self.profile.push(event);
    }

    /// Ends the recording, and adds what is known about its quality.
    fn close(mut self) -> Profile {
        let looked_at = now();
        self.look_at_machine(looked_at);
        self.look_at_children(looked_at);
        // These looks take some milliseconds.
        let at = now();
        let Session { profile, events, ids, collector, .. } = &mut self;
        let summary = collector.finish(at, &mut Sink { stacks: &mut profile.stacks, events, ids });
        self.apply_events();
        let session = &mut self.profile.session;
        session.end = at;
        session.stops = summary.stops;
        session.stopped_ns = summary.stopped_ns;
        session.profiler_cpu_ns = clock::own_cpu() - self.cpu_before;
        session.degraded.extend(summary.degraded);
        self.profile.finish();
        self.profile
    }
}

/// Says what the recording of a process lacks if the system calls of its threads are hidden. Kernel mode sees them all the same.
fn hidden_calls_note(mode: Mode, pid: Pid) -> Option<String> {
    let HiddenCalls { reason, remedy } = hidden_calls(pid).filter(|_| mode == Mode::Memory)?;
    Some(format!(
        "process {pid}: {HIDDEN_CALLS} ({reason}). Who waits for the GIL is concluded from the GIL and from how often \
         threads wake up, and waits for locks are counted as blocked. {remedy}"
    ))
}

/// The part of an event that belongs to a recording that began at `start`. The kernel sees a launched program before its
/// interpreter is found.
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

/// Raises the limit on open files: two are kept open for every thread.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // If that fails, the files of many threads are opened again for every tick.
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
    use crate::event::{ThreadId, ThreadState, Tid};
    use crate::stack::StackId;

    #[test]
    fn what_was_before_the_recording_is_not_part_of_it() {
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
