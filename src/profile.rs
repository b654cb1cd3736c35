//! Everything learned so far about the observed processes. Fed with [`Event`]s by the session, read by the
//! exports. Pure: no clock, no system calls.

use std::sync::Arc;

use crate::event::{Event, Nanos, Pid, ProcessId, ProcessInfo, ThreadId, ThreadState, Tid};
use crate::intern::{Interner, StackId};
use crate::sampler::tree::Tree;

/// What is known of one thread.
#[derive(Clone, Debug)]
pub struct ThreadInfo {
    /// The process it runs in.
    pub process: ProcessId,
    /// Its OS thread id.
    pub tid: Tid,
    /// `threading.Thread.name`, when known.
    pub name: Option<Arc<str>>,
    /// First seen.
    pub start: Nanos,
    /// Last seen.
    pub end: Nanos,
    /// Ticks at which it was looked at.
    pub samples: u64,
    /// Ticks without a stack (torn or unreadable); part of `samples`.
    pub lost: u64,
    /// CPU time it used while observed, in nanoseconds; 0 while it lives.
    pub cpu_ns: u64,
}

/// A stretch of time in which a thread was seen in one state with one stack at every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first tick.
    pub start: Nanos,
    /// The tick after the last (or the last one plus a period at the end of the recording).
    pub end: Nanos,
    /// What the thread was doing.
    pub state: ThreadState,
    /// Its stack.
    pub stack: StackId,
}

/// How the recording went: the honest small print of every output.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// When recording started.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
    /// Ticks a second that were asked for.
    pub rate_hz: f64,
    /// Ticks made.
    pub ticks: u64,
    /// Ticks that came more than half a period late.
    pub late_ticks: u64,
    /// Threads stopped for a read, times.
    pub stops: u64,
    /// Time threads were stopped for reads, in nanoseconds, summed over threads.
    pub stopped_ns: u64,
    /// CPU time gilscope itself used, in nanoseconds.
    pub profiler_cpu_ns: u64,
    /// What was degraded, each a sentence with its reason.
    pub degraded: Vec<String>,
}

/// All that was learned. Threads and processes are indexed by [`ThreadId`] and [`ProcessId`].
#[derive(Debug, Default)]
pub struct Profile {
    /// Strings, frames and stacks.
    pub stacks: Interner,
    /// Observed processes.
    pub processes: Vec<Arc<ProcessInfo>>,
    /// Observed threads.
    pub threads: Vec<ThreadInfo>,
    /// Samples by thread, state and stack.
    pub tree: Tree,
    /// Per thread, what it did when; filled only after [`Profile::keep_timeline`].
    pub timeline: Option<Vec<Vec<Span>>>,
    /// How the recording went.
    pub session: SessionInfo,
}

impl Profile {
    /// Keeps a timeline from now on (trace formats need it; it costs memory with every change of stack).
    pub fn keep_timeline(&mut self) {
        self.timeline.get_or_insert_default();
    }

    /// Takes in one event.
    pub fn push(&mut self, event: &Event) {
        match *event {
            Event::Process { process, ref info } => {
                debug_assert_eq!(process.0 as usize, self.processes.len());
                self.processes.push(info.clone());
            }
            Event::ThreadStarted { at, thread, process, tid } => {
                debug_assert_eq!(thread.0 as usize, self.threads.len());
                self.threads.push(ThreadInfo {
                    process,
                    tid,
                    name: None,
                    start: at,
                    end: at,
                    samples: 0,
                    lost: 0,
                    cpu_ns: 0,
                });
                if let Some(timeline) = &mut self.timeline {
                    timeline.push(Vec::new());
                }
            }
            Event::ThreadNamed { thread, ref name } => {
                self.threads[thread.0 as usize].name = Some(name.clone());
            }
            Event::ThreadExited { at, thread, cpu_ns } => {
                let info = &mut self.threads[thread.0 as usize];
                info.end = at;
                info.cpu_ns = cpu_ns;
                if let Some(last) = self.last_span(thread) {
                    last.end = at;
                }
            }
            Event::Sample { at, thread, state, stack } => self.sample(at, thread, state, stack, false),
            Event::Lost { at, thread, state, .. } => self.sample(at, thread, state, StackId::EMPTY, true),
        }
    }

    fn sample(&mut self, at: Nanos, thread: ThreadId, state: ThreadState, stack: StackId, lost: bool) {
        let info = &mut self.threads[thread.0 as usize];
        info.end = at;
        info.samples += 1;
        info.lost += u64::from(lost);
        self.tree.add(thread, state, stack, lost);
        if let Some(timeline) = &mut self.timeline {
            let spans = &mut timeline[thread.0 as usize];
            match spans.last_mut() {
                Some(last) if last.state == state && last.stack == stack => last.end = at,
                last => {
                    if let Some(last) = last {
                        last.end = at;
                    }
                    spans.push(Span { start: at, end: at, state, stack });
                }
            }
        }
    }

    fn last_span(&mut self, thread: ThreadId) -> Option<&mut Span> {
        self.timeline.as_mut()?.get_mut(thread.0 as usize)?.last_mut()
    }

    /// Samples in all, lost ones included.
    pub fn samples(&self) -> u64 {
        self.threads.iter().map(|thread| thread.samples).sum()
    }

    /// Samples without a stack.
    pub fn lost(&self) -> u64 {
        self.threads.iter().map(|thread| thread.lost).sum()
    }

    /// The process a thread belongs to.
    pub fn process_of(&self, thread: ThreadId) -> &ProcessInfo {
        &self.processes[self.threads[thread.0 as usize].process.0 as usize]
    }

    /// What to call a thread: `worker (4711)`, or `thread 4711` when it has no name.
    pub fn thread_label(&self, thread: ThreadId) -> String {
        let info = &self.threads[thread.0 as usize];
        match &info.name {
            Some(name) => format!("{name} ({})", info.tid),
            None => format!("thread {}", info.tid),
        }
    }

    /// What to call a process: its command line and pid.
    pub fn process_label(&self, process: ProcessId) -> String {
        let info = &self.processes[process.0 as usize];
        process_label(&info.command, info.pid)
    }
}

/// `python app.py [1234]`.
pub fn process_label(command: &[String], pid: Pid) -> String {
    format!("{} [{pid}]", command.join(" "))
}
