//! gilscope: see from outside who holds what in a multi-threaded CPython, and who waits for it.
//!
//! Begin with [`event`], the vocabulary; ARCHITECTURE.md has the map. Public is what the tests and the binary use.

mod arch;
pub mod commands;
mod contention;
pub mod cpython;
pub mod event;
mod export;
mod filter;
pub mod fuzzing;
mod gil;
pub mod interpreter;
mod kernel;
mod lockstats;
pub mod output;
pub mod process;
mod profile;
mod recording;
mod refcount;
mod report;
mod sampler;
mod session;
mod snapshot;
pub mod stack;
pub mod text;
pub mod tui;
