//! What `record` and `top` have in common before they record: the collector, the program, and the signals.

use std::ffi::OsString;

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;

use crate::commands::cli::CollectArgs;
use crate::commands::processes::chosen;
use crate::commands::script;
use crate::event::Pid;
use crate::output::survive_size_limit;
use crate::session::launch::Child;
use crate::session::signals::Signals;
use crate::session::{self, ReadyCollector, RecordingOptions};

/// What a recording begins with.
pub(crate) struct PreparedRecording {
    pub collector: ReadyCollector,
    /// The program, if it was launched for the recording.
    pub child: Option<Child>,
    /// The processes to record.
    pub roots: Vec<Pid>,
    pub signals: Signals,
}

/// Blocks the signals that end a recording, and hands them over: the first thing that a command does once it is clear what to
/// record, before it makes files.
pub(crate) fn signals() -> Result<Signals> {
    Signals::new().context("cannot set up signal handling")
}

/// The processes that run already and are to be recorded: those that were named, or that the user chooses.
///
/// # Errors
/// It is not clear which.
pub(crate) fn running(command: &str, args: &CollectArgs) -> Result<Vec<Pid>> {
    if args.program.is_empty() { chosen(command, &args.pid, args.subprocesses) } else { Ok(Vec::new()) }
}

/// Prepares a recording of processes that run, or of a program that `launch` starts.
pub(crate) fn prepare(
    args: &CollectArgs,
    options: &RecordingOptions,
    running: Vec<Pid>,
    signals: Signals,
    launch: impl FnOnce(&[OsString], SigSet) -> Result<Child>,
) -> Result<PreparedRecording> {
    // Before the launch: loading the collector takes longer than a program needs to start.
    let collector = session::collector(options)?;
    // The program gets the signal mask that it would have had without gilscope.
    let child = match &*args.program {
        [] => None,
        program => Some(launch(&script::with_interpreter(program), signals.inherited())?),
    };
    survive_size_limit();
    let roots = child.as_ref().map_or(running, |child| vec![child.pid()]);
    Ok(PreparedRecording { collector, child, roots, signals })
}
