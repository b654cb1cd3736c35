//! The Python processes that the user of the server may observe.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use nix::unistd::getuid;

use crate::commands::processes::{self, ListedProcess};
use crate::event::Pid;

/// More would help no assistant.
const MAX_LISTED: usize = 200;

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

/// All processes that run Python and may be observed, those that use the most CPU time first.
pub(super) fn list() -> Vec<ListedProcess> {
    let mut listed = processes::list();
    listed.retain(|process| may_observe(process.pid).is_ok());
    listed.truncate(MAX_LISTED);
    listed
}
