//! What Linux says about another process, before and beside CPython: who it is, its threads and relatives, its maps and
//! files, its memory, and stopping its threads. Nothing here knows Python.

pub mod access;
pub mod clock;
mod container;
pub mod elf;
pub mod error;
pub mod functions;
mod identity;
pub(crate) mod limits;
pub mod maps;
pub mod memory;
mod namespaces;
pub mod os_thread;
pub mod pages;
pub mod perf_ring;
pub mod refusal;
mod relatives;
pub mod statics;
mod status;
pub mod stop;
pub mod stopped;
pub mod symbols;
pub mod task_events;
mod wait_channel;
pub mod watchdog;

pub use self::container::container;
pub use self::identity::{Process, ProcessCpuTime, command, cpu_time, ended_children_cpu, has_forked, refused};
pub use self::namespaces::{in_first_pid_namespace, in_user_namespace, tid_map};
pub use self::relatives::{all, descendants, living_thread, threads};
pub use self::status::Status;
