//! The one loop of a recording: waits for the next tick, signals and the ends of processes, lets the samplers
//! look, and feeds what they saw to the [`Profile`]. Called by `record`.

mod clock;
mod follow;
pub mod launch;
mod progress;
pub mod signals;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::clock::Ticks;
use self::follow::Follower;
use self::launch::Child;
use self::progress::Progress;
use self::signals::{Received, Signals};
use crate::event::{Event, Nanos, Pid, ProcessId};
use crate::profile::Profile;
use crate::sampler::registry::Sink;
use crate::sampler::{Process, Sampler, Stopping};
use crate::target::attach::{Target, attach};
use crate::target::error::AttachError;

pub use self::clock::now;

/// What to record, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples a second.
    pub rate: f64,
    /// When to stop.
    pub duration: Option<Duration>,
    /// Follow child processes.
    pub subprocesses: bool,
    /// When threads may be stopped.
    pub stopping: Stopping,
    /// Print progress.
    pub progress: bool,
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
}

/// A process under observation.
struct Observed {
    pid: Pid,
    sampler: Sampler,
}

/// A recording under way.
struct Session<'a> {
    options: &'a Options,
    profile: Profile,
    events: Vec<Event>,
    next_thread: u32,
    observed: Vec<Observed>,
    follower: Follower,
    totals: crate::sampler::Stats,
    /// CPU time gilscope had used when the recording started, in nanoseconds.
    cpu_before: u64,
}

/// Records process `root`, or the program launched as `child`, until one of the ends.
///
/// # Errors
/// [`AttachError`] if there is no interpreter to record; what goes wrong later ends the recording instead.
pub fn record(
    options: &Options,
    root: Pid,
    child: Option<&mut Child>,
    signals: &mut Signals,
) -> Result<(Profile, End), AttachError> {
    clock::precise();
    let mut session = Session {
        options,
        profile: Profile::default(),
        events: Vec::new(),
        next_thread: 0,
        observed: Vec::new(),
        follower: Follower::new(root, child.is_some(), options.subprocesses),
        totals: crate::sampler::Stats::default(),
        cpu_before: 0,
    };
    if options.timeline {
        session.profile.keep_timeline();
    }
    let end = session.run(root, child, signals)?;
    Ok((session.close(), end))
}

impl Session<'_> {
    fn run(&mut self, root: Pid, mut child: Option<&mut Child>, signals: &mut Signals) -> Result<End, AttachError> {
        let started = now();
        self.profile.session.start = started;
        self.profile.session.rate_hz = self.options.rate;
        // What there is no such handle for is no process; looking closer tells what else it is.
        let pidfd = launch::pidfd(root)
            .map_err(|_| attach(root).err().unwrap_or(AttachError::NoSuchProcess { pid: root }))?;
        let mut ticks = Ticks::new(self.options.rate, started);
        let mut progress = Progress::new(self.options.progress, started);
        let mut until: Option<Nanos> = None;
        loop {
            let at = now();
            for found in self.follower.poll(at)? {
                if self.observed.is_empty() {
                    // The clock starts with the first interpreter: waiting for it is no part of the recording.
                    self.profile.session.start = at;
                    self.cpu_before = clock::own_cpu();
                    ticks = Ticks::new(self.options.rate, at);
                    until = self.options.duration.map(|duration| Nanos(at.0 + duration.as_nanos() as u64));
                }
                self.observe(found);
            }
            if !self.observed.is_empty()
                && let Some(periods) = ticks.due(at)
            {
                self.tick(at, periods);
                ticks.done();
                progress.show(at, &self.profile, &ticks, self.observed.len());
            }
            self.profile.session.ticks = ticks.periods();
            self.profile.session.looks = ticks.made();
            self.profile.session.late_ticks = ticks.late();
            let at = now();
            if until.is_some_and(|until| until <= at) {
                return Ok(End::Duration);
            }
            let tick = if self.observed.is_empty() { Nanos(u64::MAX) } else { ticks.next() };
            let wake = tick.min(self.follower.next()).min(until.unwrap_or(Nanos(u64::MAX)));
            let left = wake.since(at).min(1_000_000_000);
            let timeout = Timespec { tv_sec: (left / 1_000_000_000) as _, tv_nsec: (left % 1_000_000_000) as _ };
            let mut fds = [PollFd::new(&*signals, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
            // An interrupted poll is as good as one that found nothing.
            let _ = poll(&mut fds, Some(&timeout));
            let root_ended = !fds[1].revents().is_empty();
            let signalled = !fds[0].revents().is_empty();
            match signalled.then(|| signals.take()).flatten() {
                Some(Received::Child) => self.observed.iter_mut().for_each(|observed| observed.sampler.release()),
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

    /// Starts to sample a process.
    fn observe(&mut self, target: Target) {
        let id = ProcessId(self.profile.processes.len() as u32);
        let Target { located, layout, foreign_tids, info } = target;
        self.profile.push(&Event::Process { process: id, info: Arc::new(info) });
        let pid = located.pid;
        let process = Process { pid, id, runtime: located.runtime, layout, foreign_tids };
        self.observed.push(Observed { pid, sampler: Sampler::new(&process, self.options.stopping) });
    }

    /// One look at every process. Those that cannot be read any more have ended, or run another program now.
    fn tick(&mut self, at: Nanos, periods: u32) {
        let Session { profile, events, next_thread, observed, follower, totals, .. } = self;
        observed.retain_mut(|observed| {
            let mut sink = Sink { stacks: &mut profile.stacks, events, next_thread };
            let result = observed.sampler.tick(at, periods, &mut sink);
            if let Err(error) = result {
                log::info!("process {}: {error}", observed.pid);
                observed.sampler.finish(at, &mut sink);
                totals.add(&observed.sampler.stats);
                follower.lost(observed.pid, at);
            }
            result.is_ok()
        });
        for event in events.drain(..) {
            profile.push(&event);
        }
    }

    /// Ends the recording: what there is to know about how it went.
    fn close(mut self) -> Profile {
        let at = now();
        for mut observed in std::mem::take(&mut self.observed) {
            let Session { profile, events, next_thread, totals, .. } = &mut self;
            observed.sampler.finish(at, &mut Sink { stacks: &mut profile.stacks, events, next_thread });
            totals.add(&observed.sampler.stats);
        }
        for event in self.events.drain(..) {
            self.profile.push(&event);
        }
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

impl AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd()
    }
}
