//! From a pid to everything the sampler needs. Called by the session and by `dump`.

use super::layout::{Layout, LayoutError};
use super::locate::{Located, locate};
use crate::event::{Pid, ProcessInfo};
use crate::process::error::AttachError;
use crate::process::memory::{LiveMemory, Memory};
use crate::process::tid_map;
use crate::process::watchdog::ReadGuard;
use crate::text::from_os;

/// A process with a running interpreter.
#[derive(Clone, Debug)]
pub struct AttachedProcess {
    /// Where the interpreter is.
    pub located: Located,
    pub layout: Layout,
    /// The process is in another pid namespace: its tids are not ours.
    pub foreign_tids: bool,
    pub info: ProcessInfo,
}

impl AttachedProcess {
    /// Where the interpreter's own code is, and that of the C library and the loader which it leans on. Empty if that
    /// cannot be read.
    pub fn text(&self) -> Vec<(u64, u64)> {
        const LIBRARIES: [&str; 8] = ["libc.", "libc-", "ld-", "libm.", "libm-", "libpthread", "ld.so", "[vdso]"];
        let maps = self.located.process.maps().unwrap_or_default();
        let own = maps.iter().filter(|mapping| {
            let Some(path) = mapping.path.as_deref().filter(|_| mapping.executable) else { return false };
            let name = from_os(path.file_name().unwrap_or_default());
            path == self.located.binary || LIBRARIES.iter().any(|library| name.starts_with(library))
        });
        own.map(|mapping| (mapping.start, mapping.end)).collect()
    }
}

/// Finds the interpreter of a process and learns its layout.
///
/// # Errors
/// Those of [`locate`]; [`AttachError::NotStarted`] while the interpreter has no thread yet.
pub fn attach(pid: Pid) -> Result<AttachedProcess, AttachError> {
    let target = attach_early(pid)?;
    let (memory, layout) = (LiveMemory(pid), &target.layout);
    let head = memory.u64(target.located.runtime.wrapping_add(layout.interpreters_head)).unwrap_or(0);
    if head == 0 || memory.u64(head.wrapping_add(layout.interp_threads)).unwrap_or(0) == 0 {
        return Err(AttachError::NotStarted { pid });
    }
    Ok(target)
}

/// The same, but the interpreter need not have started: to see it from its first bytecode on.
///
/// # Errors
/// Those of [`locate`].
pub fn attach_early(pid: Pid) -> Result<AttachedProcess, AttachError> {
    let _reading = ReadGuard::new(pid);
    let located = locate(pid)?;
    let layout = layout_of(&located)?;
    let command = located.process.command();
    if command.is_empty() {
        // It is only just becoming this program.
        return Err(AttachError::NotStarted { pid });
    }
    let info =
        ProcessInfo { pid, command, python: located.version.to_string(), free_threaded: located.free_threaded };
    Ok(AttachedProcess { foreign_tids: tid_map(pid).is_some(), located, layout, info })
}

/// The structure offsets of an interpreter that was found.
///
/// # Errors
/// What it says of itself cannot be read or makes no sense: of a newer version that it is not supported.
pub fn layout_of(located: &Located) -> Result<Layout, AttachError> {
    let &Located { pid, runtime, version, free_threaded, .. } = located;
    Layout::of(&LiveMemory(pid), runtime, version, free_threaded).map_err(|error| match error {
        LayoutError::Read(error) => AttachError::Read { pid, error },
        LayoutError::UnknownVersion(version) => AttachError::Unsupported { pid, version },
        LayoutError::Implausible { .. } if version.is_newer() => AttachError::Unsupported { pid, version },
        implausible @ LayoutError::Implausible { .. } => AttachError::Layout { pid, reason: implausible.to_string() },
    })
}
