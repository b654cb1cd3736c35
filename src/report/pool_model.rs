//! What a report says of pools, and of processes that were not observed: a part of [`super::model`].

use serde::{Deserialize, Serialize};

use super::model::Blamed;
use crate::event::{Pid, Tid};

/// Threads that take work from the same queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ThreadPool {
    pub pid: Pid,
    /// Whose: `executor`, `thread-pool`, `anyio`, `queue` ...
    pub kind: String,
    /// The name of its threads, without their numbers.
    pub name: String,
    pub tids: Vec<Tid>,
    /// How many threads it had at a time at most.
    pub size: usize,
    /// How many of them had work at a time, on average.
    pub busy_mean: f64,
    /// The part of the time in which all of them had work; if the queue is known, of the time in which something was in it.
    pub saturated_fraction: f64,
    /// How much waited in its queue, on average; none if the queue was not found.
    pub queued_mean: Option<f64>,
    pub queued_max: Option<u64>,
    /// What its threads did while they had work, by the program's own line, the longest first.
    pub work: Vec<PoolWork>,
}

/// How threads share the connections of pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connections {
    /// Threads that take connections, those that waited longest for one first.
    pub users: Vec<ConnectionUser>,
    /// Where they waited for one, by the program's own line, the longest first.
    pub waits: Vec<PoolWork>,
    /// What they did while they did not wait, in the function that takes a connection or what it calls, by the program's own
    /// line, the longest first.
    pub work: Vec<PoolWork>,
}

/// A thread that takes connections of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConnectionUser {
    pub tid: Tid,
    pub thread: String,
    /// For how long it was there, and for how long it waited for a connection.
    pub wall_s: f64,
    pub waited_s: f64,
}

/// What the threads of a pool did at one line of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PoolWork {
    /// The program's own line, `func (file.py:LINE)`.
    pub line: String,
    /// What they mostly did there: `blocked`, `GIL wait`, `running` ...
    pub state: String,
    /// The system call, if they were mostly in one.
    pub syscall: Option<String>,
    /// The part of the time there in which they were off the CPU, neither waiting for the GIL nor for a lock nor for a CPU.
    pub blocked_fraction: f64,
    /// All threads together; with the stack that took the most.
    #[serde(flatten)]
    pub by: Blamed,
}

/// A child process that was not observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnobservedProcess {
    pub pid: Pid,
    pub command: Vec<String>,
    pub python: bool,
    /// CPU time that it used during the recording.
    pub cpu_s: f64,
}
