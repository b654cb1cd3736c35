//! gilscope: see from outside who holds what in a multi-threaded CPython, and who waits for it.
//!
//! - `target`: a process: finding the interpreter in it, reading its memory, knowing its structures;
//! - `kernel`: the collector of kernel mode: every context switch of its threads, and samples of them on the CPU;
//! - `sampler`: the collector of memory mode: every thread's state and stack, once per tick;
//! - [`event`]: what collectors say; everything after it is pure;
//! - [`profile`]: everything learned, made of events; `gil` understands the GIL;
//! - [`recording`]: all events in a file, to be looked at later;
//! - [`report`]: what it amounts to, and what is wrong; [`export`]: flame graphs and traces of it;
//! - `session`, [`record`], [`dump`], [`report_command`], [`diff_command`], [`doctor`]: what the commands do.

pub mod arch;
pub mod commands;
pub mod contention;
pub mod cpython;
pub mod event;
mod export;
pub mod filter;
pub mod gil;
pub mod interpreter;
pub mod kernel;
pub mod lockstats;
pub mod output;
pub mod process;
pub mod profile;
mod recording;
pub mod refcount;
mod report;
pub mod sampler;
pub mod session;
pub mod snapshot;
pub mod stack;
pub mod tui;
