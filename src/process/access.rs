//! Why the kernel refuses access to a process: its rules (`__ptrace_may_access`, Yama) applied to what `/proc`
//! tells, because `EPERM` alone does not say which remedy helps. Called where a read was refused, and by the
//! doctor.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Uid, User};

use rustix::io::Errno;

use super::error::{AttachError, Denied, MEMORY_MODE, setcap};
use super::namespaces::in_user_namespace;
use super::os_thread::OsThread;
use super::{Status, threads};
use crate::event::Pid;

/// `CAP_DAC_OVERRIDE`: open any file.
pub const CAP_DAC_OVERRIDE: u64 = 1 << 1;
/// `CAP_DAC_READ_SEARCH`: open any file for reading.
pub const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
/// `CAP_SYS_PTRACE`: read any process.
pub const CAP_SYS_PTRACE: u64 = 1 << 19;
/// `CAP_SYS_ADMIN`: includes the next two.
pub const CAP_SYS_ADMIN: u64 = 1 << 21;
/// `CAP_PERFMON`: observe the whole machine.
pub const CAP_PERFMON: u64 = 1 << 38;
/// `CAP_BPF`: load BPF programs.
pub const CAP_BPF: u64 = 1 << 39;

/// The setting `kernel.yama.ptrace_scope`; `None` where the kernel has no Yama.
pub fn yama_scope() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?.trim().parse().ok()
}

/// The error for a process whose memory we were refused.
pub fn denied(pid: Pid) -> AttachError {
    let Some(target) = Status::read(pid) else { return AttachError::Exited { pid } };
    // The kernel gives the files of a protected process to root (but not the folder they are in).
    let owner = fs::metadata(format!("/proc/{pid}/maps")).map_or(0, |file| file.uid());
    let mut cause = cause(&Status::own(), &target, owner, yama_scope());
    // The capability is there, but not outside of the namespace.
    if cause == Denied::Sandbox && in_user_namespace() {
        cause = Denied::UserNamespace;
    }
    AttachError::Permission { pid, cause }
}

/// Why the system calls of a process's threads cannot be seen, although its memory can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenCalls {
    pub reason: String,
    pub remedy: String,
}

/// Whether the system calls of a process's threads are hidden from gilscope, found out by trying.
pub fn hidden_calls(pid: Pid) -> Option<HiddenCalls> {
    let mut threads = threads(pid).into_iter().filter_map(|tid| OsThread::open(pid, tid).ok());
    let error = threads.next()?.hidden_calls()?;
    Some(why_hidden(error, Status::own().effective))
}

fn why_hidden(error: Errno, capabilities: u64) -> HiddenCalls {
    let file = "/proc/PID/task/TID/syscall";
    let may_read_files = capabilities & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH) != 0;
    let (reason, remedy) = match error {
        Errno::ACCESS | Errno::PERM if !may_read_files => (
            format!("only the owner of the process may open {file}, and gilscope lacks CAP_DAC_READ_SEARCH"),
            format!("Run gilscope as root, or: {}; in a container: --cap-add DAC_READ_SEARCH", setcap(MEMORY_MODE)),
        ),
        Errno::NOENT => (
            format!("this kernel has no {file} (CONFIG_HAVE_ARCH_TRACEHOOK)"),
            "Kernel mode does without that file".to_owned(),
        ),
        error => (
            format!("{file} cannot be read: {error}"),
            "If a sandbox forbids it, run gilscope outside of it".to_owned(),
        ),
    };
    HiddenCalls { reason, remedy }
}

fn cause(own: &Status, target: &Status, owner: u32, yama: Option<u8>) -> Denied {
    if own.effective & CAP_SYS_PTRACE != 0 {
        return match yama {
            Some(scope @ 3..) => Denied::Yama(scope),
            _ => Denied::Sandbox,
        };
    }
    let id = |ids: &[u32]| ids.first().copied().unwrap_or(0);
    // Real, effective and saved ids must all be ours.
    let other = |ids: &[u32], own: u32| ids.iter().take(3).copied().find(|&id| id != own);
    let uid = id(&own.uids);
    let effective_uid = target.uids.get(1).copied().unwrap_or(uid);
    let other_user = other(&target.uids, uid);
    let protected = other(&target.gids, id(&own.gids)).is_some()
        || owner != effective_uid
        || target.permitted & !own.permitted != 0;
    match (other_user, yama) {
        (other_user, _) if uid == 0 && (other_user.is_some() || protected) => Denied::PowerlessRoot,
        (Some(0), _) => Denied::OfRoot { own: user(uid) },
        (Some(theirs), _) => Denied::OtherUser { target: user(theirs), own: user(uid) },
        (None, _) if protected => Denied::Protected,
        (None, Some(scope @ 1..)) => Denied::Yama(scope),
        (None, _) => Denied::Sandbox,
    }
}

/// "user NAME" or "user NUMBER".
fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("user {}", user.name),
        _ => format!("user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uid: u32, gid: u32, capabilities: u64) -> Status {
        let (uids, gids) = (vec![uid; 4], vec![gid; 4]);
        Status { uids, gids, permitted: capabilities, effective: capabilities, ..Status::default() }
    }

    #[test]
    fn a_hidden_system_call_has_a_cause_and_a_remedy() {
        let lacking = why_hidden(Errno::ACCESS, CAP_SYS_PTRACE);
        assert!(lacking.reason.contains("lacks CAP_DAC_READ_SEARCH"), "{lacking:?}");
        assert!(lacking.remedy.contains("setcap cap_sys_ptrace,cap_dac_read_search+ep /"), "{lacking:?}");
        assert!(lacking.remedy.contains("--cap-add DAC_READ_SEARCH"), "{lacking:?}");
        assert!(why_hidden(Errno::NOENT, 0).reason.contains("CONFIG_HAVE_ARCH_TRACEHOOK"));
        let sandboxed = why_hidden(Errno::ACCESS, CAP_SYS_PTRACE | CAP_DAC_READ_SEARCH);
        assert!(!sandboxed.reason.contains("lacks"), "{sandboxed:?}");
        assert_eq!(hidden_calls(std::process::id() as Pid), None, "one's own are not hidden");
    }

    #[test]
    fn each_rule_of_the_kernel_is_told_apart() {
        let me = status(4001, 4001, 0);
        let twin = status(4001, 4001, 0);
        let other = status(4002, 4002, 0);
        let root = status(0, 0, u64::MAX);
        assert_eq!(
            cause(&me, &other, 4002, Some(1)),
            Denied::OtherUser { target: "user 4002".into(), own: "user 4001".into() }
        );
        assert_eq!(cause(&me, &root, 0, None), Denied::OfRoot { own: "user 4001".into() });
        assert_eq!(cause(&status(0, 0, 0), &other, 4002, None), Denied::PowerlessRoot);
        assert_eq!(cause(&status(0, 0, 0), &root, 0, None), Denied::PowerlessRoot);
        assert_eq!(cause(&status(0, 0, 0), &status(0, 0, 0), 0, Some(1)), Denied::Yama(1));
        assert_eq!(cause(&me, &twin, 4001, Some(1)), Denied::Yama(1));
        assert_eq!(cause(&me, &twin, 4001, Some(2)), Denied::Yama(2));
        assert_eq!(cause(&root, &other, 4002, Some(3)), Denied::Yama(3));
        assert_eq!(cause(&root, &other, 4002, Some(2)), Denied::Sandbox);
        assert_eq!(cause(&me, &twin, 4001, Some(0)), Denied::Sandbox);
        assert_eq!(cause(&me, &twin, 0, None), Denied::Protected, "not dumpable");
        assert_eq!(cause(&me, &status(4001, 4001, 1 << 10), 4001, None), Denied::Protected, "file capabilities");
        assert_eq!(cause(&me, &status(4001, 42, 0), 4001, None), Denied::Protected, "setgid");
    }
}
