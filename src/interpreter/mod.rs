//! A running interpreter as both collectors see it: its threads and their stacks, GILs and locks, and the names of all of these.

pub mod batched_read;
pub mod collections;
pub mod contended_objects;
pub mod gils;
pub mod locks;
pub mod memory_accesses;
pub mod name_search;
pub mod registry;
pub mod stacks;
pub mod thread_names;
pub mod threads;
pub mod with_locks;

use crate::cpython::layout::Layout;
use crate::event::{Pid, ProcessId};

/// What a collector has to know of a process to observe the interpreter in it.
#[derive(Clone, Copy, Debug)]
pub struct PythonProcess {
    /// Its pid.
    pub pid: Pid,
    /// Its handle.
    pub id: ProcessId,
    /// The address of its `_PyRuntime`.
    pub runtime: u64,
    /// Its structure offsets.
    pub layout: Layout,
    /// It is in another pid namespace than gilscope.
    pub foreign_tids: bool,
}
