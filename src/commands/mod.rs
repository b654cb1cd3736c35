//! The commands, a file or folder each, and the arguments that they take.

pub mod cli;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod export;
mod launch;
pub mod merge;
pub(crate) mod progress;
pub mod record;
pub mod report;
mod text_style;
pub mod top;

/// The exit code for an error: 2 for what the command line should have said, as for an option that there is not; 1 for
/// everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<crate::export::kind::UnknownOutputKind>() { 2 } else { 1 }
}
