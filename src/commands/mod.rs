//! The commands, a file or folder each, and the arguments that they take.

pub mod check;
pub mod cli;
pub mod completions;
pub mod config;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod export;
mod launch;
pub mod mcp;
pub mod merge;
pub mod pager;
pub mod processes;
pub(crate) mod progress;
pub mod record;
pub mod report;
mod script;
mod text_style;
pub mod top;
pub mod usage;
mod waiting;
