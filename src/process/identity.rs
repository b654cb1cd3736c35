//! One incarnation of a process, as `/proc/PID` and the `remoteprocess` crate describe it: whether it can be observed at
//! all, its command line, executable and memory map. A port to another system begins here and in [`super::relatives`].

use std::fs;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid as NixPid;

use super::access;
use super::error::{AttachError, Denied};
use super::limits::MAX_COMMAND_LINE;
use super::maps::{self, Mapping};
use super::namespaces::proc_is_own;
use super::refusal::{number, remedy_for_limit, with_remedy};
use super::relatives::living_thread;
use super::status::Status;
use crate::event::{Pid, Tid};
use crate::text::from_bytes;

/// `PF_KTHREAD` of the kernel's task flags.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One incarnation of a process: pids are reused, the pair of pid and start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
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
        if !proc_is_own() {
            return Err(AttachError::ForeignProc);
        }
        let stat = match read_stat(pid) {
            Ok(Some(stat)) => stat,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(hidden(pid)),
            Err(error) if is_limit(&error) => return Err(refused(pid, "read the state", &error)),
            // Signal 0 only asks whether there is such a process.
            _ if pid > 0 && kill(NixPid::from_raw(pid), None) == Err(Errno::EPERM) => return Err(hidden(pid)),
            _ => return Err(AttachError::NoSuchProcess { pid }),
        };
        if stat.flags & KERNEL_THREAD != 0 {
            return Err(AttachError::KernelThread { pid, comm: stat.comm });
        }
        if stat.is_dead() && living_thread(pid).is_none() {
            return Err(AttachError::Zombie { pid, comm: stat.comm, parent: stat.parent });
        }
        match Status::read(pid) {
            Some(status) if status.process != pid => Err(AttachError::OneThread { pid, process: status.process }),
            _ => Ok(Process { pid, started: stat.started }),
        }
    }

    /// Whether this very process still runs: not exited, not a zombie, the pid not given to another one.
    pub fn is_alive(&self) -> bool {
        let is_same = |stat: &Stat| stat.started == self.started;
        let stat = read_stat(self.pid).ok().flatten().filter(is_same);
        stat.is_some_and(|stat| !stat.is_dead() || living_thread(self.pid).is_some())
    }

    /// Its short name (at most 15 bytes); empty once it is gone.
    pub fn comm(&self) -> String {
        read_stat(self.pid).ok().flatten().map(|stat| stat.comm).unwrap_or_default()
    }

    /// The number of its threads; 0 once it is gone.
    pub fn threads(&self) -> usize {
        read_stat(self.pid).ok().flatten().map_or(0, |stat| stat.threads)
    }

    /// The id under which `/proc` shows its memory map and its files: the pid, or that of a living thread if the first
    /// one has ended.
    pub fn reachable_by(&self) -> Pid {
        living_thread(self.pid).unwrap_or(self.pid)
    }

    /// Its command line; empty once it is gone.
    pub fn command(&self) -> Vec<String> {
        command(self.reachable_by())
    }

    /// Its executable, without the kernel's ` (deleted)`; `None` if gilscope may not know it.
    pub fn exe(&self) -> Option<PathBuf> {
        let exe = remote(self.reachable_by())?.exe().ok()?;
        let (path, _) = maps::strip_deleted(exe.as_bytes());
        Some(Path::new(std::ffi::OsStr::from_bytes(path)).to_owned())
    }

    /// Its memory map.
    ///
    /// # Errors
    /// [`AttachError::Permission`], [`AttachError::Exited`].
    pub fn maps(&self) -> Result<Vec<Mapping>, AttachError> {
        match maps::read(self.reachable_by()) {
            Ok(maps) if !maps.is_empty() => Ok(maps),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(access::denied(self.pid)),
            Err(error) if is_limit(&error) => Err(refused(self.pid, "read the memory map", &error)),
            _ => Err(AttachError::Exited { pid: self.pid }),
        }
    }
}

/// Whether something failed because of a limit, and not because of the process.
fn is_limit(error: &IoError) -> bool {
    number(error).and_then(remedy_for_limit).is_some()
}

/// The error where a limit kept gilscope from what it tried.
pub fn refused(pid: Pid, tried: &'static str, error: &IoError) -> AttachError {
    AttachError::Refused { pid, tried, reason: with_remedy(error) }
}

fn hidden(pid: Pid) -> AttachError {
    AttachError::Permission { pid, cause: Denied::Hidden }
}

/// The command line of a process; empty once it is gone. A process can have the kernel show any of its memory as that, so of a
/// long one only the beginning is read, and `...` follows.
pub fn command(pid: Pid) -> Vec<String> {
    let mut raw = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/cmdline"));
    // What has been read until an error is what there is.
    let _ = file.and_then(|file| file.take(MAX_COMMAND_LINE).read_to_end(&mut raw));
    let words = raw.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    let mut words: Vec<String> = words.map(from_bytes).collect();
    if raw.len() as u64 == MAX_COMMAND_LINE {
        words.push("...".to_owned());
    }
    words
}

/// The fields of `/proc/PID/stat` that gilscope reads.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: u8,
    parent: Pid,
    flags: u64,
    threads: usize,
    started: u64,
    /// CPU time in user and kernel mode, in clock ticks, of all its threads.
    cpu: u64,
    /// The same of its children, and of theirs, that have ended and were waited for.
    children_cpu: u64,
}

impl Stat {
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Whether a process was forked and has not called `exec` since (`PF_FORKNOEXEC`).
pub fn has_forked(pid: Pid) -> bool {
    const FORK_NO_EXEC: u64 = 0x40;
    matches!(read_stat(pid), Ok(Some(stat)) if stat.flags & FORK_NO_EXEC != 0)
}

/// The letter of a thread's state; none once it is gone.
pub(super) fn thread_state(pid: Pid, tid: Tid) -> Option<u8> {
    Some(parse_stat(&fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?)?.state)
}

fn read_stat(pid: Pid) -> IoResult<Option<Stat>> {
    Ok(parse_stat(&fs::read(format!("/proc/{pid}/stat"))?))
}

fn parse_stat(raw: &[u8]) -> Option<Stat> {
    // The name may itself contain spaces and parentheses.
    let open = raw.iter().position(|&byte| byte == b'(')?;
    let close = raw.iter().rposition(|&byte| byte == b')')?;
    let comm = from_bytes(raw.get(open + 1..close)?);
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
        cpu: field(14)?.parse::<u64>().ok()?.saturating_add(field(15)?.parse().ok()?),
        children_cpu: field(16)?.parse::<u64>().ok()?.saturating_add(field(17)?.parse().ok()?),
    })
}

/// The CPU time that one incarnation of a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessCpuTime {
    /// When the process started, in clock ticks since boot: pids are reused, the pair of pid and start time is not.
    pub started: u64,
    /// In nanoseconds, of all its threads.
    pub ns: u64,
}

/// The CPU time that a process has used; `None` once it is gone. A zombie still has it.
pub fn cpu_time(pid: Pid) -> Option<ProcessCpuTime> {
    let stat = read_stat(pid).ok()??;
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(ProcessCpuTime { started: stat.started, ns: stat.cpu.saturating_mul(1_000_000_000 / ticks_per_second) })
}

/// The CPU time in nanoseconds that the children of a process, and theirs, have used that have ended; none once it is gone.
pub fn ended_children_cpu(pid: Pid) -> Option<u64> {
    let stat = read_stat(pid).ok()??;
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(stat.children_cpu.saturating_mul(1_000_000_000 / ticks_per_second))
}

/// The process as the `remoteprocess` crate knows it.
pub(super) fn remote(pid: Pid) -> Option<remoteprocess::Process> {
    remoteprocess::Process::new(pid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let raw = b"4242 (a) (b c) S 17 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 987654 1000 200\n";
        let stat = parse_stat(raw).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.parent), ("a) (b c", b'S', 17));
        assert_eq!((stat.flags, stat.threads, stat.started, stat.cpu), (4194560, 12, 987654, 5 + 6));
        assert_eq!(stat.children_cpu, 7 + 8);
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
    fn of_a_long_command_line_only_the_beginning_is_read() {
        let word = "x".repeat(100_000);
        let words = ["-c", "read line; exit", &word, &word, &word, &word];
        let piped = std::process::Stdio::piped;
        let mut child = std::process::Command::new("sh").args(words).stdin(piped()).spawn().unwrap();
        let pid = child.id() as Pid;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while command(pid).len() < 5 {
            assert!(std::time::Instant::now() < deadline, "{:?}", command(pid).len());
        }
        let known = command(pid);
        assert!(known.iter().map(String::len).sum::<usize>() <= MAX_COMMAND_LINE as usize + 3);
        assert_eq!((&*known[0], &*known[1], known.last().map(String::as_str)), ("sh", "-c", Some("...")));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_living_process_is_itself() {
        let me = Process::open(std::process::id() as Pid).unwrap();
        assert!(me.is_alive());
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
        assert_eq!(me.exe(), std::env::current_exe().ok());
        assert_eq!(me.command(), std::env::args().collect::<Vec<_>>());
    }
}
