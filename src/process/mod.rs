//! What Linux says about another process, before and beside CPython: who it is, its threads and relatives, its maps and
//! files, its memory, and stopping its threads. Nothing here knows Python.

pub mod access;
pub mod clock;
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
mod relatives;
pub mod statics;
mod status;
pub mod stop;
pub mod symbols;

pub use self::identity::{Process, ProcessCpuTime, command, cpu_time, has_forked};
pub use self::namespaces::tid_map;
pub use self::relatives::{descendants, threads};
pub use self::status::Status;
