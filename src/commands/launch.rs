//! What `record` and `top` have in common before they record: the collector, the program, and the signals.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};

use crate::commands::cli::CollectArgs;
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
    /// The process to record.
    pub root: Pid,
    pub signals: Signals,
}

/// Prepares a recording of a process that runs, or of one that `launch` starts.
pub(crate) fn prepare(
    args: &CollectArgs,
    options: &RecordingOptions,
    launch: impl FnOnce(&[OsString]) -> Result<Child>,
) -> Result<PreparedRecording> {
    let signals = || Signals::new().context("cannot set up signal handling");
    // A program that is launched gets the signal mask that it would have had without gilscope; a running one has its own.
    let early = if args.pid.is_some() { Some(signals()?) } else { None };
    // Before the launch: loading the collector takes longer than a program needs to start.
    let collector = session::collector(options)?;
    let child = if args.program.is_empty() { None } else { Some(launch(&args.program)?) };
    let signals = early.map_or_else(signals, Ok)?;
    survive_size_limit();
    let root = match (&child, args.pid) {
        (Some(child), _) => child.pid(),
        (None, Some(pid)) => pid,
        (None, None) => bail!("neither a process nor a command was given"),
    };
    Ok(PreparedRecording { collector, child, root, signals })
}
