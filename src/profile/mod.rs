//! Everything learned so far about the observed processes. Fed with [`Event`]s by the session, read by the
//! exports. Pure: no clock, no system calls.

mod collecting;
mod deadlocks;
pub mod pools;
mod queue_waits;
pub(crate) mod rows;
pub mod tree;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::contention::in_order::{OffCpuOrder, OrderedOffCpu};
use crate::contention::selection::{PastWait, Retention, Selection};
use crate::event::{
    Account, Event, LockKind, Nanos, OffCpu, Pid, ProcessId, ProcessInfo, Syscall, ThreadId, ThreadState, Tid,
};
use crate::gil::analysis::GilAnalysis;
use crate::lockstats::Locks;
use crate::profile::collecting::CollectionTimes;
pub use crate::profile::deadlocks::SeenDeadlock;
use crate::profile::pools::PoolTimes;
use crate::profile::queue_waits::QueueWaits;
pub use crate::profile::rows::FoldedThreads;
use crate::profile::rows::ThreadRows;
use crate::profile::tree::{Key, Tree, Weight};
use crate::refcount::Refcounts;
use crate::stack::idle_wait::{Work, work};
use crate::stack::{FrameId, Interner, StackId};
use crate::text::short;

/// How many threads of circles are remembered: whether each has run is asked for every sample. Nobody reads of more.
const MAX_STUCK: usize = 1 << 10;

/// What is known of one thread.
#[derive(Clone, Debug)]
pub struct ThreadInfo {
    /// The process it runs in.
    pub process: ProcessId,
    pub tid: Tid,
    /// `threading.Thread.name`, when known.
    pub name: Option<Arc<str>>,
    /// When it was first seen.
    pub start: Nanos,
    /// When it was last seen.
    pub end: Nanos,
    /// Ticks at which it was there.
    pub samples: u64,
    /// Ticks without a stack (torn or unreadable); part of `samples`.
    pub lost: u64,
    /// CPU time it used while observed, in nanoseconds; 0 while it lives.
    pub cpu_ns: u64,
    /// What the kernel accounted to it (kernel mode).
    pub account: Option<Account>,
    /// The last sample of it: what it was doing, and where.
    pub last_sample: Option<(Nanos, ThreadState, StackId)>,
    /// It is gone, or no longer observed.
    pub exited: bool,
    /// Its id; rows of several threads have that of one of them.
    pub id: ThreadId,
    /// The threads that share this row, if it is one of several that have ended.
    pub folded: FoldedThreads,
}

/// A stretch of time in which a thread was seen in one state with one stack at every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first tick that saw it.
    pub start: Nanos,
    /// The tick after the last, or the end of the recording.
    pub end: Nanos,
    pub state: ThreadState,
    pub stack: StackId,
    /// The stack could not be read.
    pub lost: bool,
    /// Not seen at ticks, but measured: off the CPU from the first moment to the last (kernel mode). Then the thread
    /// was on the CPU before and after, and a tick that found it there says nothing of how long.
    pub exact: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Programs in the kernel: exact times off the CPU, samples of threads on it.
    Kernel,
    /// Reads of the target's memory: samples of all threads.
    #[default]
    Memory,
}

/// How the recording went: the honest small print of every output.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    pub start: Nanos,
    pub end: Nanos,
    /// `start` by the calendar: nanoseconds since 1970, UTC. 0 if that is not known.
    pub started_unix_ns: u64,
    pub mode: Mode,
    /// Ticks a second that were asked for.
    pub rate_hz: f64,
    /// Periods of the sampling rate that were recorded.
    pub ticks: u64,
    /// How often the threads were polled: once per period, but for those missed.
    pub looks: u64,
    /// Ticks that came more than half a period late, or not at all.
    pub late_ticks: u64,
    /// How often a thread was stopped for a read.
    pub stops: u64,
    /// Time threads were stopped for reads, in nanoseconds, summed over threads.
    pub stopped_ns: u64,
    /// CPU time gilscope itself used, in nanoseconds.
    pub profiler_cpu_ns: u64,
    /// Times off the CPU that were recorded (kernel mode).
    pub waits: u64,
    /// Records lost between the kernel and gilscope (kernel mode).
    pub records_lost: u64,
    /// What was degraded: sentences, each with a reason.
    pub degraded: Vec<String>,
    /// Which part of the recording that is, in words; none if it is all.
    pub filter: Option<String>,
    /// Processes that the observed ones started and that were not observed.
    pub unobserved: Vec<UnobservedChild>,
    /// How many processes the observed ones started; none if nothing is known of that.
    pub children: Option<ChildCounts>,
    /// Who else had the CPUs; none if that is not known.
    pub machine: Option<MachineUse>,
}

/// How many processes the observed ones, or those below them, have started during the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    pub started: u64,
    /// How many of those, and of the ones that were there before, were not observed.
    pub unobserved: u64,
    /// How many of the unobserved ran Python, as far as is known.
    pub unobserved_python: u64,
    /// They were to be observed, too (`--subprocesses`).
    pub followed: bool,
    /// Each `fork` and `exec` was seen. Otherwise it may have been more: short ones were missed.
    pub exact: bool,
    /// CPU time of all processes below the observed ones that have ended, in nanoseconds, as their parents have it.
    pub ended_cpu_ns: u64,
}

/// A child process of the program, or a child of one, that was not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnobservedChild {
    pub pid: Pid,
    pub command: Vec<String>,
    pub is_python: bool,
    /// CPU time that it used during the recording, in nanoseconds.
    pub cpu_ns: u64,
}

/// Who had the CPUs of the machine, besides the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineUse {
    /// For how long that was looked at, in nanoseconds.
    pub span_ns: u64,
    /// CPUs that the program may run on; 0 if that is not known.
    pub cpus: u32,
    /// The share of a CPU's time that the program's control group may use, in percent, if it has a limit.
    pub limit_percent: Option<u32>,
    /// For how long the group was kept from running because of that, in nanoseconds.
    pub throttled_ns: u64,
    /// CPU time that other processes used which still ran in the end, in nanoseconds.
    pub others_ns: u64,
    /// The busiest of them, the busiest first.
    pub others: Vec<BusyProcess>,
}

/// A process and the CPU time that it has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusyProcess {
    pub pid: Pid,
    pub name: String,
    pub cpu_ns: u64,
}

impl SessionInfo {
    /// What one sample stands for, in nanoseconds.
    pub fn period_ns(&self) -> f64 {
        if self.rate_hz > 0.0 { 1e9 / self.rate_hz } else { 0.0 }
    }
}

/// Samples of each function, by the Python stack.
pub(crate) type HeldInNative = FxHashMap<StackId, FxHashMap<FrameId, u64>>;

/// All that was learned. Processes are indexed by [`ProcessId`], and threads by their rows, which are their [`ThreadId`]s as
/// long as no rows were folded ([`rows`]).
#[derive(Debug, Default)]
pub struct Profile {
    /// Strings, frames and stacks.
    pub stacks: Interner,
    pub processes: Vec<Arc<ProcessInfo>>,
    pub threads: Vec<ThreadInfo>,
    /// Samples by thread, state and stack; only what is selected, if there is a selection.
    pub tree: Tree,
    /// All samples, by thread and state alone, if there is a selection: a thread's ledger is of everything that it did.
    pub(crate) whole: Tree,
    pub(crate) rows: ThreadRows,
    pub(crate) retention: Retention,
    pub(crate) off_cpu_order: OffCpuOrder,
    /// What happened at each GIL.
    pub gils: Vec<GilAnalysis>,
    /// What happened at locks.
    pub locks: Locks,
    /// What happened at reference counts.
    pub refcounts: Refcounts,
    /// Functions of libraries in which threads that held the GIL were sampled, by their Python stack.
    pub(crate) held_in_native: HeldInNative,
    /// How many garbage collections there were, and the longest.
    pub(crate) collections: CollectionTimes,
    /// Waits that seem to be for locks but are for work.
    pub(crate) queue_waits: QueueWaits,
    /// When the threads of pools had nothing to do.
    pub pools: PoolTimes,
    /// Threads that wait for each other, with what each waits for.
    pub deadlocks: Vec<SeenDeadlock>,
    /// Per thread, what it did when, whatever is selected; filled only after [`Profile::keep_timeline`].
    pub timeline: Option<Vec<Vec<Span>>>,
    /// How the recording went.
    pub session: SessionInfo,
}

impl Profile {
    /// Keeps a timeline from now on. Trace formats need it; every change of a stack costs memory.
    pub fn keep_timeline(&mut self) {
        self.retention.timeline = true;
        self.locks.retain(self.retention.clone());
        self.timeline.get_or_insert_default().resize_with(self.threads.len(), Vec::new);
    }

    /// Keeps all waits from now on ([`Profile::past_waits`]).
    pub fn keep_waits(&mut self) {
        self.retention.waits = true;
        self.locks.retain(self.retention.clone());
    }

    /// Counts only what is selected from now on. The rest is still evidence of who held what.
    pub fn select(&mut self, selection: Selection) {
        self.retention.selection = Some(Arc::new(selection));
        self.locks.retain(self.retention.clone());
    }

    /// What is selected, if that is not everything.
    pub fn selection(&self) -> Option<&Selection> {
        self.retention.selection.as_deref()
    }

    /// All waits for GILs and locks that are over, if they were kept.
    pub fn past_waits(&self) -> impl Iterator<Item = &PastWait> {
        self.gils.iter().flat_map(GilAnalysis::past_waits).chain(self.locks.past_waits())
    }

    /// What each thread did in all, whatever is selected: the stacks of these keys mean nothing.
    pub fn whole(&self) -> &Tree {
        match self.selection() {
            Some(_) => &self.whole,
            None => &self.tree,
        }
    }

    /// Events must come in the order in which they were recorded.
    pub fn push(&mut self, event: &Event) {
        let with_rows = self.with_rows(event);
        let rows = with_rows.as_ref().unwrap_or(event);
        self.pools.event(rows, &self.stacks, self.session.period_ns());
        self.apply(rows);
        self.has_applied(event);
    }

    /// The same for an event of a recording that is being read: its stacks and its session are not the profile's own yet.
    pub fn push_recorded(&mut self, event: &Event, stacks: &Interner, session: &SessionInfo) {
        let with_rows = self.with_rows(event);
        let rows = with_rows.as_ref().unwrap_or(event);
        self.pools.event(rows, stacks, session.period_ns());
        self.apply(rows);
        self.has_applied(event);
    }

    /// Keeps the rows of threads: `event` has their ids.
    fn has_applied(&mut self, event: &Event) {
        match *event {
            Event::ThreadStarted { thread, .. } => {
                if let Some(info) = self.threads.last_mut() {
                    info.id = thread;
                }
            }
            Event::ThreadExited { .. } => self.fold_if_many(),
            _ => {}
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Process { process, ref info } => {
                debug_assert_eq!(process.0 as usize, self.processes.len());
                self.processes.push(info.clone());
            }
            Event::ProcessTitled { process, ref command } => {
                Arc::make_mut(&mut self.processes[process.0 as usize]).command = command.to_vec();
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
                    account: None,
                    last_sample: None,
                    exited: false,
                    id: thread,
                    folded: FoldedThreads::default(),
                });
                if let Some(timeline) = &mut self.timeline {
                    timeline.push(Vec::new());
                }
            }
            Event::ThreadNamed { thread, ref name } => {
                let info = &mut self.threads[thread.0 as usize];
                if info.folded.count == 0 {
                    info.name = Some(short(name).into());
                }
            }
            Event::ThreadExited { at, thread, cpu_ns } => {
                self.ran(thread, at);
                let info = &mut self.threads[thread.0 as usize];
                if info.exited {
                    return;
                }
                self.rows.has_ended(thread);
                info.end = at;
                info.cpu_ns = cpu_ns;
                info.exited = true;
                if let Some(last) = self.last_span(thread).filter(|last| !last.exact) {
                    last.end = at;
                }
            }
            Event::Sample { at, periods, thread, state, stack, gil } => {
                let state = self.queue_waits.classify(state, stack);
                if let Some(gil) = gil {
                    self.gils[gil.0 as usize].sample(at, periods, thread, state, stack);
                }
                self.locks.sample(at, periods, thread, state, stack);
                self.sample(at, periods, Key { thread, state, stack, lost: false });
            }
            Event::Lost { at, periods, thread, state, gil, .. } => {
                if let Some(gil) = gil {
                    self.gils[gil.0 as usize].sample(at, periods, thread, state, StackId::EMPTY);
                }
                self.sample(at, periods, Key { thread, state, stack: StackId::EMPTY, lost: true });
            }
            Event::OffCpu(ref off) => {
                let off = &OffCpu { state: self.queue_waits.classify(off.state, off.stack), ..*off };
                self.off_cpu(off);
                self.analyse_off_cpu(off);
            }
            Event::Object { object, ref info } => self.refcounts.found(object, info),
            Event::Access { at, thread, stack, accessed } => {
                // Only a thread that runs can be delayed by a reference count.
                let runs = |selection: &Arc<Selection>| selection.has(thread, stack, ThreadState::Running, at);
                if self.retention.selection.as_ref().is_none_or(runs) {
                    self.refcounts.access(thread, stack, accessed);
                }
            }
            Event::QueueLength { at, thread, queue, length } => {
                let process = self.threads[thread.0 as usize].process.0;
                self.pools.queue(process, thread, queue, length, at);
            }
            Event::Deadlock { at, ref threads } => {
                let known: usize = self.deadlocks.iter().map(|deadlock| deadlock.threads.len()).sum();
                if known + threads.len() <= MAX_STUCK && self.deadlocks.len() < MAX_STUCK {
                    self.deadlocks.push(SeenDeadlock::new(at, threads.clone()));
                }
            }
            Event::Collected { totals, .. } => self.collections.collected(totals),
            Event::HeldInNative { stack, function, .. } => {
                *self.held_in_native.entry(stack).or_default().entry(function).or_default() += 1;
            }
            Event::Spin { at, thread, stack, lock } => self.locks.spin(at, thread, stack, lock),
            Event::LockHeld { at, lock, thread, stack } => self.locks.held(at, lock, thread, stack),
            Event::Lock { lock, ref info } => {
                if info.kind == LockKind::Queue {
                    self.queue_waits.reclassify_queue_wait(lock, [&mut self.tree, &mut self.whole]);
                }
                self.locks.found(lock, info);
            }
            Event::Account { thread, account } => {
                let info = &mut self.threads[thread.0 as usize];
                if info.folded.count == 0 {
                    info.account = Some(account);
                }
            }
            Event::RecordsLost { count, .. } => self.session.records_lost += count,
            Event::Gil { at, gil, ref info, ref switched_on_by } => match self.gils.get_mut(gil.0 as usize) {
                Some(analysis) => analysis.changed(at, info, switched_on_by.as_ref()),
                None => {
                    debug_assert_eq!(gil.0 as usize, self.gils.len());
                    self.gils.push(GilAnalysis::new(at, info.clone(), self.retention.clone()));
                }
            },
        }
    }

    /// What a thread waits for that sleeps at a lock with this stack, if that is work and not the lock.
    pub fn work(&self, stack: StackId) -> Option<Work> {
        work(&self.stacks, stack).or_else(|| self.queue_waits.is_at_queue(stack).then_some(Work::Queue))
    }

    /// No more events come; `session` is complete.
    pub fn finish(&mut self) {
        let end = self.session.end;
        self.off_cpu_order.finish();
        self.analyse_complete();
        self.gils.iter_mut().for_each(|gil| gil.finish(end));
        self.locks.finish(end);
        self.fold_the_rest();
    }

    /// A thread was on a CPU at that moment, or has been since it was last seen.
    fn ran(&mut self, thread: ThreadId, at: Nanos) {
        self.deadlocks.iter_mut().for_each(|deadlock| deadlock.ran(thread, at));
    }

    fn sample(&mut self, at: Nanos, periods: u32, key: Key) {
        // Sleeps for what threads have are in `futex`.
        if key.state.on_cpu() || key.state.syscall().is_some_and(|call| call != Syscall::FUTEX) {
            self.ran(key.thread, at);
        }
        let index = key.thread.0 as usize;
        let info = &mut self.threads[index];
        info.end = info.end.max(at);
        info.samples += u64::from(periods);
        info.last_sample = Some((at, key.state, key.stack));
        self.collections.was_at(&self.stacks, key.thread, key.stack, at, at);
        info.lost += if key.lost { u64::from(periods) } else { 0 };
        self.count(at, key, Weight { samples: u64::from(periods), ..Weight::default() });
        let Some(timeline) = &mut self.timeline else { return };
        let spans = &mut timeline[index];
        let Key { state, stack, lost, .. } = key;
        match spans.last_mut().filter(|last| !last.exact) {
            Some(last) if (last.state, last.stack, last.lost) == (state, stack, lost) => last.end = at,
            last => {
                if let Some(last) = last {
                    last.end = at;
                }
                spans.push(Span { start: at, end: at, state, stack, lost, exact: false });
            }
        }
    }

    fn count(&mut self, at: Nanos, key: Key, weight: Weight) {
        if let Some(selection) = &self.retention.selection {
            self.whole.add(Key { stack: StackId::EMPTY, ..key }, weight);
            if !selection.has(key.thread, key.stack, key.state, at) {
                return;
            }
        }
        self.tree.add(key, weight);
    }

    fn off_cpu(&mut self, off: &OffCpu) {
        self.session.waits += 1;
        let &OffCpu { thread, stack, lost, .. } = off;
        self.ran(thread, off.start);
        let index = thread.0 as usize;
        let info = &mut self.threads[index];
        info.end = info.end.max(off.end);
        self.collections.was_at(&self.stacks, thread, stack, off.start, off.end);
        for (number, (start, end, state)) in off.parts().enumerate() {
            let weight = Weight { samples: 0, off_cpu_ns: end.since(start), waits: u64::from(number == 0) };
            self.count(start, Key { thread, state, stack, lost }, weight);
            if let Some(timeline) = self.timeline.as_mut().filter(|_| start < end) {
                timeline[index].push(Span { start, end, state, stack, lost, exact: true });
            }
        }
    }

    /// GILs and locks get times off the CPU in the order of their ends. This is where they are ordered, once for all.
    fn analyse_off_cpu(&mut self, off: &OffCpu) {
        let gil = off.gil.map(|glimpse| glimpse.gil.0 as usize);
        if let Some(gil) = gil {
            self.gils[gil].announce_off_cpu(off.end);
        }
        self.off_cpu_order.push(*off, !self.locks.infos().is_empty());
        self.analyse_complete();
        if let Some(gil) = gil {
            self.gils[gil].decide();
        }
        self.locks.decide(self.off_cpu_order.complete());
    }

    fn analyse_complete(&mut self) {
        while let Some(OrderedOffCpu { off, has_locks }) = self.off_cpu_order.pop() {
            if let Some(glimpse) = off.gil {
                self.gils[glimpse.gil.0 as usize].off_cpu(&off);
            }
            if has_locks {
                self.locks.off_cpu(&off);
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
        match info.shown_name() {
            Some(name) if info.folded.count > 0 => name,
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

/// A command line for titles: the directories of the interpreter and the script would leave no room for the rest.
pub fn short_command(command: &[String]) -> Vec<String> {
    let short = |(index, word): (usize, &String)| match index {
        0 | 1 => word.rsplit('/').next().unwrap_or_default().to_owned(),
        _ => word.clone(),
    };
    command.iter().enumerate().map(short).collect()
}

/// `python app.py [1234]`.
pub fn process_label(command: &[String], pid: Pid) -> String {
    format!("{} [{pid}]", command.join(" "))
}
