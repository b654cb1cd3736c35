//! What a report consists of: the JSON `gilscope-report/1`, stable and versioned. Times are seconds, shares are
//! fractions. Filled by the files beside it, printed by `text`, read back by `gilscope report`.
//!
//! Fields may be added under the same schema; readers ignore those they do not know. A field that changes its
//! meaning or goes away needs a new schema.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{LockKind, Pid, Tid};
use crate::profile::Mode;

pub use super::blocked::BlockedPlace;
pub use super::causes::{WaitCause, WaitVictim};
pub use super::counted::{CountedLine, CountedObject, CountedType, Elsewhere, ReportedCounts, Sampled};
pub use super::delays::{Machine, NotReleased, OtherProcess, WaitParts};
pub use super::pool_model::{ConnectionUser, Connections, PoolWork, ThreadPool, UnobservedProcess};
pub use super::states::States;

/// The name of the schema without its version.
pub const SCHEMA: &str = "gilscope-report";
pub const VERSION: u32 = 1;

/// Everything a recording tells, as numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// `gilscope-report/1`.
    pub schema: String,
    /// The program; the first of them if child processes were followed.
    pub target: Target,
    /// How it was recorded.
    pub session: Session,
    /// What each thread did.
    pub threads: Vec<Thread>,
    /// What happened at each GIL.
    pub gils: Vec<Gil>,
    /// Locks that were waited for, the most costly first.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// Stops of all threads by the interpreter (free-threaded builds), as far as somebody was held up by them.
    #[serde(default)]
    pub pauses: Pauses,
    #[serde(default)]
    pub collections: Collections,
    /// Threads that wait for each other in a circle: each for what the next one has, the last for what the first one has.
    #[serde(default)]
    pub deadlocks: Vec<Vec<Stuck>>,
    /// Circles that something has broken: a time limit, or a signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken_circles: Vec<BrokenCircle>,
    /// Objects whose reference counts threads contend for (free-threaded builds).
    #[serde(default)]
    pub refcounts: ReportedCounts,
    /// Where threads were blocked in system calls, other than for locks and for something to do. The longest first.
    #[serde(default)]
    pub blocked: Vec<BlockedPlace>,
    /// Who waited for something to do, for what, and where: a queue, an event, the end of a thread. The longest first.
    #[serde(default)]
    pub waiting_for_work: Vec<Idle>,
    /// Who had something to do, and waited until somebody gave back what it needs: a connection of a pool, a permit of a
    /// semaphore, room in a queue. The longest first.
    #[serde(default)]
    pub waiting_for_limited: Vec<Idle>,
    /// Pools of threads that take work from a queue, the busiest first.
    #[serde(default)]
    pub pools: Vec<ThreadPool>,
    /// Who waited for connections of pools, and what those did that had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// Processes that the observed ones started and that were not observed, the most costly first.
    #[serde(default)]
    pub unobserved_children: Vec<UnobservedProcess>,
    /// How many processes the observed ones started; none if nothing is known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildProcesses>,
    /// What is wrong, the worst first, and of those that are as bad the most costly.
    pub findings: Vec<Finding>,
    /// To whom the text attributes the waiting, unless asked otherwise.
    #[serde(default)]
    pub blame: Attribution,
}

/// How many processes the observed ones, and those below them, have started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChildProcesses {
    pub started: u64,
    /// How many were not observed, those included that were there when the recording began.
    pub not_observed: u64,
    /// How many of those ran Python, as far as is known.
    pub not_observed_python: u64,
    /// They were to be observed, too (`--subprocesses`).
    pub followed: bool,
    /// Each of them was counted. Otherwise there may have been more that lived too shortly to be seen.
    pub exact: bool,
    /// CPU time of all that have ended.
    pub ended_cpu_s: f64,
}

/// To whom waiting is attributed. All three divide the same waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// Who waited, and where
    Waiter,
    /// Who ended each wait, and where it released the GIL
    Releaser,
    /// Who held the GIL meanwhile, and what it was doing
    #[default]
    Holder,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    pub pid: Pid,
    pub command: Vec<String>,
    pub python: String,
    /// Built without a GIL.
    pub free_threaded: bool,
    /// Has a GIL all the same: always, unless free-threaded.
    pub gil_enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Session {
    /// Which collector ran. In memory mode all times are estimates, made from samples.
    pub mode: Mode,
    /// How long the recording took.
    pub duration_s: f64,
    /// Samples a second that were asked for.
    pub rate_hz: f64,
    pub samples: u64,
    /// Samples without a stack; part of `samples`.
    pub torn_samples: u64,
    /// Records lost between the kernel and gilscope.
    pub lost_events: u64,
    /// CPU time that gilscope itself used.
    pub profiler_cpu_s: f64,
    /// What could not be measured as it should, and why.
    pub degraded: Vec<String>,
    /// Who had the CPUs, besides the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Which part of the recording that is, if it is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Thread {
    /// The process it runs in.
    pub pid: Pid,
    /// Its OS thread id.
    pub tid: Tid,
    /// Its name, if known.
    pub name: Option<String>,
    /// How many threads it is: several that have ended, of a kind of which there were many, are one, with `tid` 0.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// From when it was first seen to when it was last; of several, all together.
    pub wall_s: f64,
    /// CPU time used meanwhile.
    pub cpu_s: f64,
    /// What it did in that time.
    pub states: States,
}

fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_one(count: &u64) -> bool {
    *count == 1
}

fn the_gil() -> String {
    "the GIL".to_owned()
}

/// What happened at one GIL. `waiters`, `releasers` and `holders` divide the same waits in three ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gil {
    /// The process it belongs to.
    pub pid: Pid,
    /// The interpreter that owns it.
    pub interpreter: i64,
    /// What sentences call it: `the GIL`, or which one if its process has several.
    #[serde(default = "the_gil")]
    pub words: String,
    /// In use, as last known.
    pub enabled: bool,
    /// When and by what it was switched on, if it was (free-threaded builds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_on: Option<SwitchedOn>,
    /// All of this is made from samples.
    pub estimated: bool,
    /// For how long it was observed.
    pub observed_s: f64,
    /// After how long a waiting thread asks for it.
    pub switch_interval_s: f64,
    /// The part of the time for which it was held.
    pub held_fraction: f64,
    /// The part of the time for which at least one thread waited.
    pub contended_fraction: f64,
    /// How many threads waited at a time, on average.
    pub mean_waiters: f64,
    /// For how long it was held, by what the holder was doing.
    pub held: Held,
    pub wait: Wait,
    /// How many waits were how long.
    #[serde(default)]
    pub lengths: Vec<Bar>,
    /// The part of `wait.total_s` in which a known thread held it. With the next two it adds up to that, to the
    /// nanosecond.
    pub caused_s: f64,
    /// The part in which it was free, on its way to the next thread.
    pub gap_s: f64,
    /// The part in which the holder is not known.
    pub unknown_s: f64,
    /// Given up because somebody had waited for the switch interval.
    pub forced_drops: u64,
    /// Given up by the holder's own choice while others waited.
    pub voluntary_drops: u64,
    /// Who held it while others waited. The longest first; at most [`super::MAX_ATTRIBUTED`].
    pub holders: Vec<Blamed>,
    /// How far the share of one of them in `wait.total_s` may be off, as a part of that, at 95 % confidence: where a holder was
    /// while it was on a CPU is known from samples. None if nothing is.
    #[serde(default)]
    pub holders_margin: Option<f64>,
    /// Who ended the waits.
    pub releasers: Vec<Blamed>,
    pub waiters: Vec<Blamed>,
    /// Who held it while blocked in a system call.
    pub held_off_cpu: Vec<BlockedHolder>,
    /// What the waits were made of; not known in memory mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<WaitParts>,
    /// Where holders that were on a CPU kept it although they had been asked to release it, by thread and stack: each is one
    /// C call, or another long operation of the interpreter. The most costly first.
    #[serde(default)]
    pub not_released: Vec<NotReleased>,
    /// Each thread that waited for it or held it.
    pub threads: Vec<GilThread>,
    /// Who waited, by groups of threads. Who lost the greatest part of its time first.
    #[serde(default)]
    pub victims: Vec<WaitVictim>,
    /// What code of the program ran meanwhile, in whatever thread. The costliest first.
    #[serde(default)]
    pub causes: Vec<WaitCause>,
}

/// A GIL that came to be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SwitchedOn {
    /// When, since the start of the recording.
    pub at_s: f64,
    /// The extension module that did it, if known.
    pub module: Option<String>,
}

/// Time a GIL was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Held {
    /// While the interpreter's own code ran.
    pub python_s: f64,
    /// While other code ran.
    pub native_s: f64,
    /// While the holder was blocked in a system call.
    pub off_cpu_s: f64,
    /// While the holder had no CPU.
    pub runnable_s: f64,
}

impl Held {
    pub fn total_s(&self) -> f64 {
        self.python_s + self.native_s + self.off_cpu_s + self.runnable_s
    }
}

/// How many waits, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Wait {
    pub count: u64,
    pub total_s: f64,
    pub mean_s: f64,
    pub p50_s: f64,
    /// 99 % were not longer.
    pub p99_s: f64,
    pub max_s: f64,
}

/// One bar of a histogram of waits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bar {
    /// Not longer than that, but longer than the bar before.
    pub upto_s: f64,
    pub count: u64,
}

/// Time attributed to a thread's stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Blamed {
    pub tid: Tid,
    pub thread: String,
    pub seconds: f64,
    /// Where, `func (file.py:LINE)`, innermost first.
    pub stack: Vec<String>,
    /// Which of these frames is the program's own, and not the library's that it called.
    #[serde(default, skip_serializing_if = "is_innermost")]
    pub own: usize,
}

pub(super) fn is_innermost(own: &usize) -> bool {
    *own == 0
}

impl Blamed {
    /// The program's own line; none if there is no frame.
    pub fn own_line(&self) -> Option<&str> {
        self.stack.get(self.own).map(String::as_str)
    }
}

/// Time a GIL was held by a thread blocked in a system call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockedHolder {
    pub syscall: String,
    #[serde(flatten)]
    pub by: Blamed,
}

/// One thread's part in what happened at a GIL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GilThread {
    pub tid: Tid,
    pub thread: String,
    /// As in its ledger.
    pub wall_s: f64,
    /// As in its ledger.
    pub cpu_s: f64,
    pub wait: Wait,
    /// How long it held the GIL.
    pub held: Held,
    /// How much waiting of others it caused by holding it.
    pub caused_s: f64,
}

/// What happened at one lock. `waiters`, `releasers` and `holders` divide the same waits in three ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lock {
    /// The process it is in.
    pub pid: Pid,
    /// Where it is; of a lock that is part of an object, where that is.
    pub address: u64,
    /// What it is: `critical_section`, `threading.Lock`, `type_lock` ...
    pub kind: String,
    /// The type of the object that it is part of.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// A variable that holds it, or the interpreter's own name for it.
    pub name: Option<String>,
    /// What to call it.
    pub label: String,
    /// All of this is made from samples.
    #[serde(default)]
    pub estimated: bool,
    /// How often it was waited for.
    pub contended: u64,
    /// How often a thread went to sleep for it: more than once in a wait if another was faster.
    pub parked: u64,
    /// The part of the time for which at least one thread waited.
    pub contended_fraction: f64,
    /// How often it was released by another thread than the time before, while others waited.
    pub owner_changes: u64,
    pub wait: Wait,
    /// CPU time for which threads spun for it before they slept (free-threaded builds, kernel mode): an estimate.
    #[serde(default)]
    pub spin_s: f64,
    /// How many waits were how long.
    #[serde(default)]
    pub lengths: Vec<Bar>,
    /// The part of `wait.total_s` in which a known thread held it. With the next two it adds up to that, to the
    /// nanosecond.
    pub caused_s: f64,
    /// The part in which it was free, on its way to the next thread.
    pub gap_s: f64,
    /// The part in which the holder is not known.
    pub unknown_s: f64,
    /// Who held it while others waited. The longest first; at most [`super::MAX_ATTRIBUTED`].
    pub holders: Vec<Blamed>,
    /// How far the share of one of them in `wait.total_s` may be off, as a part of that, at 95 % confidence: where a holder was
    /// while it was on a CPU is known from samples. None if nothing is.
    #[serde(default)]
    pub holders_margin: Option<f64>,
    /// Who ended the waits.
    pub releasers: Vec<Blamed>,
    pub waiters: Vec<Blamed>,
    /// The part of `holders` in which the holder did not run, and why.
    pub holder_off_cpu: Vec<OffCpuHolder>,
    /// Each thread that waited for it or was seen to hold it.
    pub threads: Vec<LockThread>,
    /// Who waited, by groups of threads. Who lost the greatest part of its time first.
    #[serde(default)]
    pub victims: Vec<WaitVictim>,
    /// What code of the program held it meanwhile, in whatever thread. The costliest first.
    #[serde(default)]
    pub causes: Vec<WaitCause>,
}

impl Lock {
    /// A semaphore of which nobody knows what it is need not be a lock: if some threads only wait for it and others only
    /// release it, those may have given them something to do.
    pub(super) fn is_signal(&self) -> bool {
        let both = |thread: &LockThread| thread.wait.count > 0 && thread.caused_s > 0.0;
        self.kind == LockKind::Semaphore.name() && self.type_name.is_none() && !self.threads.iter().any(both)
    }

    /// What to call it where it may be cut: the name before the kind, so that it is the kind that is lost.
    pub fn name_first(&self) -> String {
        match &self.name {
            Some(name) => format!("{name}: {}", self.type_name.as_ref().unwrap_or(&self.kind)),
            None => self.label.clone(),
        }
    }
}

/// Time others waited for a lock whose holder did not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OffCpuHolder {
    /// The name of what it did: `blocked`, `no CPU`, `lock wait`.
    pub state: String,
    /// The system call, if it was in one.
    pub syscall: Option<String>,
    #[serde(flatten)]
    pub by: Blamed,
}

/// One thread's part in what happened at a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LockThread {
    pub tid: Tid,
    pub thread: String,
    pub wait: Wait,
    /// How much waiting of others it caused by holding it.
    pub caused_s: f64,
}

/// Stops of all threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pauses {
    /// How often they held somebody up. There may be many more for which nobody had to sleep: those are not seen.
    pub count: u64,
    /// The same by reason: `gc` for a collection, `fork`, `type being changed` ...; `other` if it is not known.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// For how long threads were held up.
    pub wait: Wait,
    /// For how long who stopped the others had to wait until they had stopped.
    #[serde(default)]
    pub time_to_stop: Wait,
    /// Who was waited for then: the last to stop, where.
    #[serde(default)]
    pub last_to_stop: Vec<Blamed>,
    /// Who stopped the others, where.
    pub requesters: Vec<Blamed>,
    /// How it changed: intervals of one length, from the first to the last stop (kernel mode).
    #[serde(default)]
    pub trend: Vec<PausedInterval>,
}

/// Stops that ended in some part of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PausedInterval {
    /// From when, since the start of the recording.
    pub from_s: f64,
    pub to_s: f64,
    /// How often threads were stopped.
    pub count: u64,
    /// For how long that held them up, all together.
    pub total_s: f64,
    /// And any one of them at most.
    pub max_s: f64,
}

/// Garbage collections: how long they took, with all waits in them. An estimate, as far as it is from samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Collections {
    /// How many there were; none if there were none, or the interpreter does not say. The last tenth of a second may be missing.
    #[serde(default)]
    pub number: Option<u64>,
    /// How many of them looked at all objects.
    #[serde(default)]
    pub full: Option<u64>,
    /// How many objects they freed.
    #[serde(default)]
    pub freed: Option<u64>,
    /// How long the longest took at least.
    #[serde(default)]
    pub longest_s: f64,
    /// For how long threads made them.
    pub total_s: f64,
    /// The part in which the GIL was held for it.
    pub held_s: f64,
    /// That part of all the time for which it was held.
    pub held_fraction: f64,
    /// For how long others waited for the GIL meanwhile.
    pub waited_s: f64,
    /// Who made them, and where they were started. The longest first.
    pub by: Vec<Blamed>,
}

/// Threads that waited for each other until something broke the circle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BrokenCircle {
    pub threads: Vec<Stuck>,
    /// How often it was seen, with threads of the same names.
    pub times: u64,
    /// How long it was seen to last at most.
    pub longest_s: f64,
}

/// A thread that waits for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stuck {
    pub tid: Tid,
    pub thread: String,
    /// For what, in words.
    pub waits_for: String,
}

/// Time a thread had nothing to do, or not what it needs to do it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Idle {
    /// What it waited for: `queue`, `event`, `join` ...
    pub kind: String,
    #[serde(flatten)]
    pub by: Blamed,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// What kind; stays the same between versions.
    pub id: String,
    pub severity: Severity,
    /// What it costs, in seconds of threads' time; 0 if that is not known. What several findings cost may be the same
    /// time.
    #[serde(default)]
    pub cost_s: f64,
    /// Victim, cause and place in one clause, for the line that goes first. Empty: the first sentence of `message` is that.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub headline: String,
    pub message: String,
    /// The numbers behind it, with the thresholds that they passed.
    pub evidence: BTreeMap<String, Value>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Costs a good part of the time.
    High,
    /// Costs time that is worth having.
    Medium,
    Low,
}
