//! Finding CPython in a process: which of its files the interpreter is in, where its `_PyRuntime` lies in
//! memory, and which Python it is. Called once per target by whoever attaches, again and again by the loop
//! that waits for a program it launched, and by the doctor.

mod image;
mod old;
mod version;

use std::path::{Path, PathBuf};

use crate::event::Pid;
use crate::event::version::Version;
use crate::process::error::{AttachError, Program};
use crate::process::limits::{MAX_ALL_TABLES, MAX_CODE_FILES};
use crate::process::memory::{LiveMemory, Memory, ReadError};
use crate::process::{self, Process, access, maps};
use crate::text::{Shown, from_os};

use image::{LoadedImage, Role};

/// Files whose data are searched for a Python that does not show.
const MAX_SEARCHED_IMAGES: usize = 8;

/// A CPython, found in a living process. Its interpreter need not be initialised yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub pid: Pid,
    /// The process, safe against reuse of its pid.
    pub process: Process,
    /// The address of `_PyRuntime`.
    pub runtime: u64,
    pub version: Version,
    /// Built without a GIL (it may have been enabled again at run time).
    pub free_threaded: bool,
    /// Whether `_PyRuntime` begins with `_Py_DebugOffsets` (3.13 and later).
    pub debug_offsets: bool,
    /// The file that the interpreter was loaded from, as the process sees it.
    pub binary: PathBuf,
    /// Whether that is a library, and not the executable itself.
    pub shared: bool,
    /// What led to `_PyRuntime`.
    pub found_by: FoundBy,
}

/// The ways to find `_PyRuntime`, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    DynamicSymbol,
    /// The section `.PyRuntime`, which survives stripping.
    Section,
    Symbol,
    /// Searching writable memory for the cookie that `_Py_DebugOffsets` begins with.
    Cookie,
    /// Searching memory for interpreters and threads that fit together.
    Search,
}

/// Finds the CPython in process `pid`.
///
/// # Errors
/// [`AttachError`], for whatever keeps it from being observed; see [`AttachError::is_transient`] about a process
/// that has only just started.
pub fn locate(pid: Pid) -> Result<Located, AttachError> {
    let process = Process::open(pid)?;
    match find(process) {
        // Whatever else seemed wrong was so because it was ending.
        Err(_) if !process.is_alive() => Err(AttachError::Exited { pid }),
        // It has no memory at all while it replaces its program by another.
        Err(AttachError::Exited { .. }) => Err(AttachError::NotStarted { pid }),
        found => found,
    }
}

fn find(process: Process) -> Result<Located, AttachError> {
    let pid = process.pid;
    let maps = process.maps()?;
    let memory = LiveMemory(pid);
    let reachable_by = process.reachable_by();
    // The map may be read by more processes than the memory. The first mapping is the executable's.
    let probe = maps.iter().find(|mapping| mapping.readable).map_or(0, |mapping| mapping.start);
    memory.read(probe, &mut [0]).map_err(|error| read_failed(pid, error))?;

    let exe = process.exe();
    let mut images = Vec::new();
    let (mut unreadable, mut refused) = (None, None);
    let mut tables = 0;
    let candidates = image::candidates(maps::code_files(&maps), exe.as_deref());
    for (index, (role, file)) in candidates.into_iter().enumerate() {
        if index == MAX_CODE_FILES || tables > MAX_ALL_TABLES {
            log::warn!("process {pid}: only the first {index} of its files are searched: they are many, or large");
            break;
        }
        match LoadedImage::open(reachable_by, role, file) {
            Ok(image) => {
                if let Some((runtime, found_by)) = image.runtime()
                    && let Some(located) = judge(process, &image, runtime, found_by)?
                {
                    return Ok(located);
                }
                tables += image.bytes_read();
                if let Some(reason) = image.refused().filter(|_| role != Role::Other) {
                    refused = Some((image.file.path.to_path_buf(), reason));
                }
                // Each keeps a file open, and some programs have mapped a thousand.
                if image.may_hide_python() {
                    images.push(image);
                }
            }
            Err((file, reason)) => {
                log::debug!("process {pid}: {}: {reason}", file.path.shown());
                if role == Role::Library {
                    unreadable = Some((file.path.to_path_buf(), reason));
                }
            }
        }
    }
    if let Some((mapping, runtime)) = version::search_cookie(&memory, &maps)
        && let Some(found) = version::debug_offsets(&memory, runtime)
    {
        let binary = mapping.path.as_deref().map(Path::to_path_buf).unwrap_or_default();
        let shared = exe.as_ref() != Some(&binary);
        return accept(process, runtime, found, FoundBy::Cookie, binary, shared);
    }
    if let Some(name) = images.iter().find_map(LoadedImage::other_python) {
        return Err(AttachError::OtherPython { pid, name });
    }
    for image in images.iter().take(MAX_SEARCHED_IMAGES) {
        if let Some(version) = image.hidden_version(&memory) {
            supported(pid, version)?;
            if let Some(runtime) = old::search_runtime(&memory, &image.writable(), version)
                && let Some(located) = judge(process, image, runtime, FoundBy::Search)?
            {
                return Ok(located);
            }
        }
    }
    let comm = process.comm();
    let looks_like_python = image::is_python(&comm) || images.iter().any(LoadedImage::looks_like_python);
    let what = Program { comm, exe };
    Err(match (unreadable, refused) {
        (Some((path, reason)), _) => AttachError::Binary { pid, path, reason },
        (None, Some((path, reason))) => AttachError::RefusedFile { pid, path, reason },
        _ if looks_like_python => AttachError::NoInterpreter { pid, what },
        _ => AttachError::NotPython { pid, what, children: python_children(pid) },
    })
}

/// Takes `runtime` for the `_PyRuntime` of `image`, if what lies there can be one.
fn judge(
    process: Process,
    image: &LoadedImage,
    runtime: u64,
    found_by: FoundBy,
) -> Result<Option<Located>, AttachError> {
    let pid = process.pid;
    let memory = LiveMemory(pid);
    let found = match version::debug_offsets(&memory, runtime) {
        Some(found) => found,
        None => {
            // Up to 3.12 it begins with flags that say which stages of the initialisation are done.
            let mut flags = [0; 4];
            for (flag, addr) in flags.iter_mut().zip((runtime..).step_by(4)) {
                match memory.i32(addr) {
                    Ok(value) => *flag = value,
                    Err(ReadError::Unmapped(_)) => return Ok(None),
                    Err(error) => return Err(read_failed(pid, error)),
                }
            }
            if flags.iter().any(|flag| !matches!(flag, 0 | 1)) {
                return Ok(None);
            }
            match image.version(&memory) {
                Some(version) if version.minor > 12 => return Ok(None),
                Some(version) => version::FoundVersion { version, free_threaded: false, debug_offsets: false },
                // The text of the version is made early in the initialisation.
                None if flags[3] == 0 => return Err(AttachError::NotStarted { pid }),
                None => return Ok(None),
            }
        }
    };
    accept(process, runtime, found, found_by, image.file.path.to_path_buf(), image.role != Role::Executable).map(Some)
}

fn accept(
    process: Process,
    runtime: u64,
    found: version::FoundVersion,
    found_by: FoundBy,
    binary: PathBuf,
    shared: bool,
) -> Result<Located, AttachError> {
    let version::FoundVersion { version, free_threaded, debug_offsets } = found;
    supported(process.pid, version)?;
    Ok(Located {
        pid: process.pid,
        process,
        runtime,
        version,
        free_threaded,
        debug_offsets,
        binary,
        shared,
        found_by,
    })
}

fn supported(pid: Pid, version: Version) -> Result<(), AttachError> {
    if version.may_be_read() { Ok(()) } else { Err(AttachError::Unsupported { pid, version }) }
}

fn read_failed(pid: Pid, error: ReadError) -> AttachError {
    match error {
        ReadError::Gone => AttachError::Exited { pid },
        ReadError::Permission => access::denied(pid),
        ReadError::Unmapped(_) => AttachError::Read { pid, error },
    }
}

/// The descendants of a process that look like Python by their names: what the user may have meant.
fn python_children(pid: Pid) -> Vec<Pid> {
    let named_python = |child: &Pid| {
        Process::open(*child).is_ok_and(|child| {
            let exe = child.exe().and_then(|exe| Some(from_os(exe.file_name()?)));
            image::is_python(&exe.unwrap_or_else(|| child.comm()))
        })
    };
    process::descendants(pid).into_iter().filter(named_python).collect()
}
