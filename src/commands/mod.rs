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

/// The exit code for an error: 2 for what the command line should have said, as for an option that there is not; 1 for
/// everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error.is::<crate::export::kind::UnknownOutputKind>() || error.is::<usage::UsageError>();
    if is_usage { usage::EXIT_CODE } else { 1 }
}
