//! The Python processes that the user of the server may observe.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use nix::unistd::getuid;
use serde::Serialize;

use crate::cpython::attach::attach_early;
use crate::event::Pid;
use crate::process::Process;

/// More would help no assistant.
const MAX_LISTED: usize = 200;

/// A process that runs Python.
#[derive(Debug, Serialize)]
pub(super) struct McpProcess {
    pid: Pid,
    command: Vec<String>,
    python: String,
    free_threaded: bool,
    threads: usize,
}

/// Whether a process is of the user who started the server. It may be able to read more, as a copy with capabilities can:
/// an assistant gets no more than its user has.
///
/// # Errors
/// There is no such process, or it is of somebody else.
pub(super) fn may_observe(pid: Pid) -> Result<()> {
    let metadata = fs::metadata(format!("/proc/{pid}"));
    let owner = metadata.with_context(|| format!("there is no process {pid}"))?.uid();
    let user = getuid();
    if !user.is_root() && owner != user.as_raw() {
        bail!("process {pid} is of another user: only processes of your own can be observed");
    }
    Ok(())
}

/// All processes that run Python and may be observed.
pub(super) fn list() -> Vec<McpProcess> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id() as Pid;
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<Pid>().ok());
    let pids = pids.filter(|&pid| pid != own && may_observe(pid).is_ok());
    pids.filter_map(listed).take(MAX_LISTED).collect()
}

fn listed(pid: Pid) -> Option<McpProcess> {
    let found = attach_early(pid).ok()?;
    let threads = Process::open(pid).map_or(0, |process| process.threads());
    let info = found.info;
    Some(McpProcess { pid, command: info.command, python: info.python, free_threaded: info.free_threaded, threads })
}
