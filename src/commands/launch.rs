//! What `record` and `top` have in common before they record: the collector, the program, and the signals.

use std::ffi::OsString;

use anyhow::{Context, Result};

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

/// Prepares a recording for a command, of processes that run, or of one that `launch` starts.
pub(crate) fn prepare(
    command: &str,
    args: &CollectArgs,
    options: &RecordingOptions,
    launch: impl FnOnce(&[OsString]) -> Result<Child>,
) -> Result<PreparedRecording> {
    let signals = || Signals::new().context("cannot set up signal handling");
    // A program that is launched gets the signal mask that it would have had without gilscope; a running one has its own.
    let running = match args.program.is_empty() {
        true => chosen(command, &args.pid, args.subprocesses)?,
        false => Vec::new(),
    };
    let early = if running.is_empty() { None } else { Some(signals()?) };
    // Before the launch: loading the collector takes longer than a program needs to start.
    let collector = session::collector(options)?;
    let child = if args.program.is_empty() { None } else { Some(launch(&script::with_interpreter(&args.program))?) };
    let signals = early.map_or_else(signals, Ok)?;
    survive_size_limit();
    let roots = child.as_ref().map_or(running, |child| vec![child.pid()]);
    Ok(PreparedRecording { collector, child, roots, signals })
}
