//! What `record` and `top` have in common before they record: the collector, the program, and the signals.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use nix::sys::signal::SigSet;

use crate::commands::cli::CollectArgs;
use crate::event::Pid;
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

/// Blocks the signals that end a recording, and hands them over: the first thing that a command does, before it makes files.
pub(crate) fn signals() -> Result<Signals> {
    Signals::new().context("cannot set up signal handling")
}

/// Prepares a recording of a process that runs, or of one that `launch` starts.
pub(crate) fn prepare(
    args: &CollectArgs,
    options: &RecordingOptions,
    signals: Signals,
    launch: impl FnOnce(&[OsString], SigSet) -> Result<Child>,
) -> Result<PreparedRecording> {
    // Before the launch: loading the collector takes longer than a program needs to start.
    let collector = session::collector(options)?;
    // The program gets the signal mask that it would have had without gilscope.
    let child = match &*args.program {
        [] => None,
        program => Some(launch(program, signals.inherited())?),
    };
    let root = match (&child, args.pid) {
        (Some(child), _) => child.pid(),
        (None, Some(pid)) => pid,
        (None, None) => bail!("neither a process nor a command was given"),
    };
    Ok(PreparedRecording { collector, child, root, signals })
}
