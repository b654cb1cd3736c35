//! `gilscope merge`: joins recordings. Called by `main`.

use anyhow::Result;

use crate::cli::MergeArgs;

/// Runs the command.
pub fn run(_args: &MergeArgs) -> Result<u8> {
    todo!()
}
