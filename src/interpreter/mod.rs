//! A running interpreter as both collectors see it: its threads and their stacks, GILs and locks, and what threads wait for.
//! No collector is known here; [`collector::Collector`] is what the session drives.

pub(crate) mod batched_read;
pub(crate) mod collections;
pub(crate) mod collector;
pub(crate) mod contended_objects;
pub(crate) mod gils;
pub(crate) mod import_waits;
pub(crate) mod locks;
pub(crate) mod long_waits;
pub(crate) mod memory_accesses;
pub(crate) mod name_search;
pub(crate) mod native_callers;
pub mod registry;
pub mod stacks;
pub(crate) mod stop_policy;
pub(crate) mod thread_names;
pub(crate) mod threads;
pub(crate) mod unnamed_threads;
pub(crate) mod view;
pub(crate) mod waits;
pub(crate) mod with_locks;
pub(crate) mod work_queues;

use crate::cpython::attach::AttachedProcess;
use crate::cpython::layout::Layout;
use crate::event::{Pid, ProcessId};

/// A process with an interpreter, as far as a collector has to know it.
#[derive(Clone, Copy, Debug)]
pub struct PythonProcess {
    /// In gilscope's pid namespace.
    pub pid: Pid,
    /// Stands for it in events.
    pub id: ProcessId,
    /// The address of its `_PyRuntime`.
    pub runtime: u64,
    /// The offsets of its version of CPython.
    pub layout: Layout,
    /// It is in another pid namespace than gilscope: tids in its memory are not those in `/proc`.
    pub foreign_tids: bool,
}

impl PythonProcess {
    pub(crate) fn new(id: ProcessId, target: &AttachedProcess) -> PythonProcess {
        PythonProcess {
            pid: target.located.pid,
            id,
            runtime: target.located.runtime,
            layout: target.layout,
            foreign_tids: target.foreign_tids,
        }
    }
}
