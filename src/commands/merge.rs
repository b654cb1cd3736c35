//! `gilscope merge`: joins recordings. Called by `main`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::commands::cli::MergeArgs;
use crate::commands::waiting::WaitingLine;
use crate::export::kind::OutputKind;
use crate::output::{Output, say};
use crate::recording::merge;
use crate::report::text::WIDTH;
use crate::report::text::units::wrap;
use crate::text::Shown;

/// Runs the command.
///
/// # Errors
/// As with [`merge`].
pub fn run(args: &MergeArgs) -> Result<u8> {
    if OutputKind::of(&args.output, None).is_ok_and(|kind| kind != OutputKind::Recording) {
        bail!("{} is no name for a recording: merge to NAME.gscope, then use gilscope export", args.output.shown());
    }
    let waiting = WaitingLine::new(format!("merging {} recordings", args.files.len()));
    let inputs: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
    let (path, session) = merge(&args.files, Output::create(&args.output, &inputs)?)?;
    drop(waiting);
    for note in &session.degraded {
        say(wrap(&format!("note: {note}"), "  ", WIDTH));
    }
    say(format_args!("written to {}", path.shown()));
    Ok(0)
}
