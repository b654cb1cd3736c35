//! What `/proc` tells of a process before anything in it is read: whether it can be a target at all, who it
//! is, its relatives and its threads. Called by [`crate::cpython::locate`], [`crate::process::access`], the launching loop and
//! the doctor.

pub mod access;
pub mod clock;
pub mod elf;
pub mod error;
pub mod functions;
pub mod maps;
pub mod memory;
pub mod os_thread;
pub mod pages;
pub mod statics;
mod status;
pub mod stop;

use std::fs;
use std::io::{ErrorKind, Result as IoResult};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid as NixPid;
use rustc_hash::FxHashMap;

use self::error::{AttachError, Denied};
use self::maps::Mapping;
use crate::event::{Pid, Tid};

pub use status::Status;
use status::numbers;

/// `PF_KTHREAD` of the kernel's task flags.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One incarnation of a process: pids are reused, the pair of pid and start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: Pid,
    /// When it started, in clock ticks since boot.
    started: u64,
}

impl Process {
    /// Finds the process `pid`.
    ///
    /// # Errors
    /// When no process can be observed under that number: there is none, it is hidden, a single thread of
    /// another process, a kernel thread or a zombie.
    pub fn open(pid: Pid) -> Result<Process, AttachError> {
        let stat = match read_stat(pid) {
            Ok(Some(stat)) => stat,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(hidden(pid)),
            // Signal 0 only asks whether there is such a process.
            _ if pid > 0 && kill(NixPid::from_raw(pid), None) == Err(Errno::EPERM) => return Err(hidden(pid)),
            _ => return Err(AttachError::NoSuchProcess { pid }),
        };
        if stat.flags & KERNEL_THREAD != 0 {
            return Err(AttachError::KernelThread { pid, comm: stat.comm });
        }
        if stat.is_dead() {
            return Err(AttachError::Zombie { pid, comm: stat.comm, parent: stat.parent });
        }
        match Status::read(pid) {
            Some(status) if status.process != pid => Err(AttachError::OneThread { pid, process: status.process }),
            _ => Ok(Process { pid, started: stat.started }),
        }
    }

    /// Whether this very process still runs: not exited, not a zombie, the pid not given to another one.
    pub fn is_alive(&self) -> bool {
        matches!(read_stat(self.pid), Ok(Some(stat)) if stat.started == self.started && !stat.is_dead())
    }

    /// Its short name (at most 15 bytes); empty once it is gone.
    pub fn comm(&self) -> String {
        read_stat(self.pid).ok().flatten().map(|stat| stat.comm).unwrap_or_default()
    }

    /// The number of its threads; 0 once it is gone.
    pub fn threads(&self) -> usize {
        read_stat(self.pid).ok().flatten().map_or(0, |stat| stat.threads)
    }

    /// Its command line; empty once it is gone.
    pub fn command(&self) -> Vec<String> {
        let raw = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let raw = raw.strip_suffix(b"\0").unwrap_or(&raw);
        match raw {
            b"" => Vec::new(),
            raw => raw.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
        }
    }

    /// Its executable, without the kernel's ` (deleted)`; `None` if it may not be known.
    pub fn exe(&self) -> Option<PathBuf> {
        let target = fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        let (path, _) = maps::strip_deleted(target.as_os_str().as_bytes());
        Some(PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())))
    }

    /// Its memory map.
    ///
    /// # Errors
    /// [`AttachError::Permission`], [`AttachError::Exited`].
    pub fn maps(&self) -> Result<Vec<Mapping>, AttachError> {
        match fs::read(format!("/proc/{}/maps", self.pid)) {
            Ok(text) if !text.is_empty() => Ok(maps::parse(&text)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(access::denied(self.pid)),
            _ => Err(AttachError::Exited { pid: self.pid }),
        }
    }
}

fn hidden(pid: Pid) -> AttachError {
    AttachError::Permission { pid, cause: Denied::Hidden }
}

/// `/proc/PID/stat`, as far as it is of use.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: u8,
    parent: Pid,
    flags: u64,
    threads: usize,
    started: u64,
}

impl Stat {
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn read_stat(pid: Pid) -> IoResult<Option<Stat>> {
    Ok(parse_stat(&fs::read(format!("/proc/{pid}/stat"))?))
}

fn parse_stat(raw: &[u8]) -> Option<Stat> {
    // The name may itself contain spaces and parentheses.
    let open = raw.iter().position(|&byte| byte == b'(')?;
    let close = raw.iter().rposition(|&byte| byte == b')')?;
    let comm = String::from_utf8_lossy(raw.get(open + 1..close)?).into_owned();
    let fields: Vec<&str> = std::str::from_utf8(&raw[close + 1..]).ok()?.split_ascii_whitespace().collect();
    // The numbers are those of proc_pid_stat(5), where the state is the third field.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        comm,
        state: *field(3)?.as_bytes().first()?,
        parent: field(4)?.parse().ok()?,
        flags: field(9)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        started: field(22)?.parse().ok()?,
    })
}

/// For a process in another pid namespace (a container): the thread ids that it knows itself by, and ours for
/// the same threads. `None` for a process in our own namespace, where they are equal.
pub fn tid_map(pid: Pid) -> Option<FxHashMap<Tid, Tid>> {
    if Status::read(pid)?.ids.len() < 2 {
        return None;
    }
    let threads = threads(pid).into_iter();
    Some(threads.filter_map(|tid| Some((*Status::read(tid)?.ids.last()?, tid))).collect())
}

/// The threads of a process; empty once it is gone.
pub fn threads(pid: Pid) -> Vec<Tid> {
    numbered_entries(&format!("/proc/{pid}/task"))
}

/// All descendants of a process, parents before their children.
pub fn descendants(pid: Pid) -> Vec<Pid> {
    // A list of children is kept per thread, but only by kernels built to (all distributions' are).
    if fs::exists("/proc/thread-self/children").unwrap_or(false) {
        breadth_first(pid, |parent| {
            let lists = threads(parent).into_iter();
            let lists =
                lists.filter_map(|tid| fs::read_to_string(format!("/proc/{parent}/task/{tid}/children")).ok());
            lists.flat_map(|list| numbers(&list)).collect()
        })
    } else {
        let mut children: FxHashMap<Pid, Vec<Pid>> = FxHashMap::default();
        for candidate in numbered_entries("/proc") {
            if let Ok(Some(stat)) = read_stat(candidate) {
                children.entry(stat.parent).or_default().push(candidate);
            }
        }
        breadth_first(pid, |parent| children.remove(&parent).unwrap_or_default())
    }
}

fn breadth_first(root: Pid, mut children: impl FnMut(Pid) -> Vec<Pid>) -> Vec<Pid> {
    let mut found = children(root);
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children(parent));
        next += 1;
    }
    found
}

fn numbered_entries(folder: &str) -> Vec<Pid> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let raw = b"4242 (a) (b c) S 17 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 987654 1000 200\n";
        let stat = parse_stat(raw).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.parent), ("a) (b c", b'S', 17));
        assert_eq!((stat.flags, stat.threads, stat.started), (4194560, 12, 987654));
        assert_eq!(parse_stat(b"4242 (cut"), None);
    }

    #[test]
    fn what_cannot_be_observed_is_told_apart() {
        assert!(matches!(Process::open(-1), Err(AttachError::NoSuchProcess { .. })));
        assert!(matches!(Process::open(i32::MAX), Err(AttachError::NoSuchProcess { .. })));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as Pid;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !matches!(Process::open(pid), Err(AttachError::Zombie { .. })) {
            assert!(std::time::Instant::now() < deadline, "{:?}", Process::open(pid));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(matches!(Process::open(pid), Err(AttachError::NoSuchProcess { .. })));
    }

    #[test]
    fn a_living_process_is_itself_and_has_its_children() {
        let me = Process::open(std::process::id() as Pid).unwrap();
        assert!(me.is_alive());
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
        assert_eq!(me.exe(), std::env::current_exe().ok());
        assert_eq!(me.command(), std::env::args().collect::<Vec<_>>());
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(descendants(me.pid).contains(&(child.id() as Pid)));
        let tree = breadth_first(1, |parent| if parent < 4 { vec![parent * 2, parent * 2 + 1] } else { vec![] });
        assert_eq!(tree, [2, 3, 4, 5, 6, 7]);
        assert_eq!(tid_map(me.pid), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
