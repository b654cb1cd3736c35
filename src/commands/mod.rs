//! The commands, a file or folder each, and the arguments that they take.

pub mod cli;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod export;
pub mod merge;
pub(crate) mod progress;
pub mod record;
pub mod report;
