//! Why a process cannot be observed, in words for its user: what was tried, why it failed and what to do.
//! Made by [`crate::cpython::locate`], [`super`] and [`super::access`]; shown by the command line and the doctor.

use std::fmt;
use std::path::PathBuf;

use super::memory::ReadError;
use super::namespaces::in_first_pid_namespace;
use crate::event::Pid;
use crate::event::version::Version;
use crate::text::{Shown, from_os};

/// Why gilscope cannot attach to a process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the messages say they are")]
pub enum AttachError {
    /// No process has this id.
    #[error("there is no process {pid}{}. See `ps -e` or `pgrep -a python` for the ones there are", in_namespace())]
    NoSuchProcess { pid: Pid },
    /// `/proc` shows other processes than the system calls mean by the same numbers.
    #[error(
        "/proc belongs to another pid namespace than gilscope: its numbers are not those of the processes. Mount one that \
         fits (mount -t proc proc /proc; unshare --mount-proc), or run gilscope outside"
    )]
    ForeignProc,
    /// The id is that of a thread.
    #[error("{pid} is a thread of process {process}, and gilscope observes whole processes. Use --pid {process}")]
    OneThread { pid: Pid, process: Pid },
    /// The id is that of a kernel thread.
    #[error("process {pid} ({}) is a thread of the kernel: it runs no program that gilscope could observe", comm.shown())]
    KernelThread { pid: Pid, comm: String },
    /// The process has ended, and its parent has not taken notice.
    #[error(
        "process {pid} ({}) has ended already: it is a zombie until its parent, process {parent}, collects its \
         exit status",
        comm.shown()
    )]
    Zombie { pid: Pid, comm: String, parent: Pid },
    #[error("process {pid} has ended")]
    Exited { pid: Pid },
    #[error("reading the memory of process {pid} is not permitted: {cause}")]
    Permission { pid: Pid, cause: Denied },
    /// No CPython in it.
    #[error("process {pid} does not run Python: it is {what}.{}", look_at(children))]
    NotPython {
        pid: Pid,
        what: Program,
        /// Those of its descendants that look like Python.
        children: Vec<Pid>,
    },
    /// Another implementation of Python.
    #[error(
        "process {pid} runs {}, which is not supported: gilscope measures CPython only. Run the program with \
         CPython {oldest} or newer",
        name.shown(),
        oldest = oldest()
    )]
    OtherPython { pid: Pid, name: String },
    /// A CPython whose structures are not known.
    #[error("process {pid} runs Python {version}, which is not supported: {}", bounds(*version))]
    Unsupported { pid: Pid, version: Version },
    /// The interpreter is there but has not initialised itself yet.
    #[error("the interpreter of process {pid} has not initialised itself yet. Try again in a moment")]
    NotStarted { pid: Pid },
    /// It should be Python, but its interpreter state is nowhere to be found.
    #[error(
        "process {pid} runs {what}, but its interpreter state was found neither by the symbol _PyRuntime nor by the \
         section .PyRuntime nor by searching its memory. If it has only just started, try again; if not, its \
         binary is stripped or modified in a way that gilscope does not know: please report how it was built"
    )]
    NoInterpreter { pid: Pid, what: Program },
    /// The file that the interpreter was loaded from cannot be read.
    #[error(
        "cannot read {}, which process {pid} runs Python from: {reason}",
        path.shown()
    )]
    Binary { pid: Pid, path: PathBuf, reason: String },
    /// The kernel refused something for a reason that is none of the process's.
    #[error("cannot {tried} of process {pid}: {reason}")]
    Refused { pid: Pid, tried: &'static str, reason: String },
    /// The same, because of what its tables claim.
    #[error(
        "{} of process {pid} is not searched for Python: {reason}. If it is an interpreter, strip it (strip \
         --strip-debug); if not, see who has made it",
        path.shown()
    )]
    RefusedFile { pid: Pid, path: PathBuf, reason: String },
    /// Its table of offsets makes no sense.
    #[error(
        "cannot make sense of the interpreter of process {pid}: {reason}. If the interpreter was modified, that is \
         why; if not, please report it with the version of Python and how it was built"
    )]
    Layout { pid: Pid, reason: String },
    /// A launched command has ended, and no interpreter was seen in it.
    #[error(
        "`{}` has ended (exit code {code}) and no Python interpreter was seen in it. If it starts Python \
         only for a moment, or in the background, record that process itself: gilscope record --pid PID",
        command.shown()
    )]
    NeverPython { command: String, code: u8 },
    /// A read went wrong.
    #[error("cannot read the interpreter state of process {pid}: {error}. Try again")]
    Read { pid: Pid, error: ReadError },
}

impl AttachError {
    /// Whether this is a Python whose interpreter may be about to start.
    pub fn may_be_starting(&self) -> bool {
        use AttachError::{NoInterpreter, NotStarted, Read};
        matches!(self, NotStarted { .. } | NoInterpreter { .. } | Read { .. })
    }

    /// Whether waiting can help with a process that was only just started: it may still run another program
    /// (as the shell scripts of pyenv do), load libpython or initialise the interpreter.
    pub fn is_transient(&self) -> bool {
        use AttachError::{NoInterpreter, NotPython, NotStarted, Read};
        matches!(self, NotPython { .. } | NotStarted { .. } | NoInterpreter { .. } | Read { .. })
    }
}

/// What a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The name of the process.
    pub comm: String,
    /// Its executable, if it may be known.
    pub exe: Option<PathBuf>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exe {
            Some(exe) if exe.file_name().is_some_and(|name| from_os(name) == self.comm) => {
                write!(f, "{}", exe.shown())
            }
            Some(exe) => write!(f, "{} ({})", self.comm.shown(), exe.shown()),
            None => write!(f, "{}", self.comm.shown()),
        }
    }
}

/// Why the kernel does not let us read the memory of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It runs as somebody else.
    OtherUser { target: String, own: String },
    /// It runs as root.
    OfRoot { own: String },
    /// It runs as somebody else or has more privileges, and we are root without the capability for that: as in a
    /// container.
    PowerlessRoot,
    /// gilscope has its capabilities in a user namespace only, and the process is outside of that.
    UserNamespace,
    /// The kernel's `kernel.yama.ptrace_scope`, 1 to 3.
    Yama(u8),
    /// It is protected: started with privileges (setuid, file capabilities) or by its own wish (`PR_SET_DUMPABLE`).
    Protected,
    /// The administrator hides other users' processes (`hidepid` of `/proc`).
    Hidden,
    /// Something else: a system call filter, SELinux, AppArmor.
    Sandbox,
}

impl Denied {
    pub fn reason(&self) -> String {
        match self {
            Denied::OtherUser { target, own } => format!("it belongs to {target}, and gilscope runs as {own}"),
            Denied::OfRoot { own } => format!("it belongs to root, and gilscope runs as {own}"),
            Denied::PowerlessRoot => {
                "it has another user or more privileges than gilscope, whose root user lacks the \
                                      capability CAP_SYS_PTRACE"
                    .into()
            }
            Denied::UserNamespace => {
                "gilscope is privileged only in its own user namespace (a rootless container), and the \
                                      process is outside of it, or protected from it"
                    .into()
            }
            Denied::Yama(1) => "kernel.yama.ptrace_scope is 1, which permits it only to those who started the \
                                process"
                .into(),
            Denied::Yama(2) => "kernel.yama.ptrace_scope is 2, which permits it only to administrators".into(),
            Denied::Yama(scope) => format!("kernel.yama.ptrace_scope is {scope}, which permits it to nobody"),
            Denied::Protected => "it is protected, because it was started with privileges (setuid or file \
                                  capabilities) or asked for it (PR_SET_DUMPABLE)"
                .into(),
            Denied::Hidden => "it is hidden from this user, because /proc is mounted with hidepid".into(),
            Denied::Sandbox => "something beyond users and capabilities forbids it, such as a system call filter, \
                                SELinux or AppArmor"
                .into(),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        let once = format!("allow it once and for all: {}", setcap(MEMORY_MODE));
        match self {
            Denied::OtherUser { target, .. } => format!("Run gilscope as {target} or as root, or {once}"),
            Denied::UserNamespace => {
                "Run gilscope as root outside of the container, or as the user of the process".into()
            }
            Denied::PowerlessRoot => "If this is a container, start it with --cap-add SYS_PTRACE".into(),
            Denied::Yama(1) => format!(
                "Start the program with `gilscope record -- COMMAND`, run gilscope as root, {once}, or permit it to \
                 all programs until the next boot: sudo sysctl kernel.yama.ptrace_scope=0"
            ),
            Denied::Yama(2) | Denied::OfRoot { .. } | Denied::Protected | Denied::Hidden => {
                format!("Run gilscope as root, or {once}")
            }
            Denied::Yama(_) => {
                "It cannot be changed before the next boot: set it to 1 in /etc/sysctl.d/ and reboot".into()
            }
            Denied::Sandbox => "If this is a container, start it with --cap-add SYS_PTRACE --security-opt \
                                seccomp=unconfined"
                .into(),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.reason(), self.remedy())
    }
}

/// The capabilities with which memory mode may observe every process: to read its memory, and files that only its owner
/// may open, such as `/proc/PID/task/TID/syscall` and an interpreter in a private folder.
pub const MEMORY_MODE: &str = "cap_sys_ptrace,cap_dac_read_search";

/// The same for kernel mode.
pub const KERNEL_MODE: &str = "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search";

/// The command that gives gilscope these capabilities (`cap_a,cap_b`) for every user.
pub fn setcap(capabilities: &str) -> String {
    let exe = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("$(which gilscope)"));
    format!("sudo setcap {capabilities}+ep {}", exe.shown())
}

/// What a number of a process may be mistaken for in a container.
fn in_namespace() -> &'static str {
    match in_first_pid_namespace() {
        true => "",
        false => {
            " in this container (pid namespace), where processes have other numbers than outside and those outside cannot be \
             seen"
        }
    }
}

fn oldest() -> String {
    format!("{}.{}", Version::OLDEST.major, Version::OLDEST.minor)
}

fn bounds(version: Version) -> String {
    let newest = format!("{}.{}", Version::OLDEST.major, Version::NEWEST_MINOR);
    if version < Version::OLDEST {
        format!("{} is the oldest that is (and {newest} the newest)", oldest())
    } else {
        format!("{newest} is the newest that this version of gilscope knows. Look for a newer gilscope")
    }
}

fn look_at(children: &[Pid]) -> String {
    match children {
        [] => String::new(),
        [one] => format!(" It started a Python process: use --pid {one}"),
        [first, ..] => {
            let all: Vec<String> = children.iter().map(Pid::to_string).collect();
            format!(" It started the Python processes {}: use --pid {first}, for instance", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u8, minor: u8, patch: u8) -> Version {
        Version { major, minor, patch }
    }

    #[test]
    fn an_unsupported_version_is_told_which_ones_are() {
        let text = |version| AttachError::Unsupported { pid: 7, version }.to_string();
        assert_eq!(
            text(version(3, 7, 16)),
            "process 7 runs Python 3.7.16, which is not supported: 3.8 is the oldest that is (and 3.15 the newest)"
        );
        assert!(text(version(2, 7, 18)).contains("3.8 is the oldest"));
        assert!(text(version(3, 16, 0)).contains("3.15 is the newest"));
    }

    #[test]
    fn each_refusal_names_its_remedy() {
        let text = |cause| AttachError::Permission { pid: 7, cause }.to_string();
        let other = text(Denied::OtherUser { target: "user www-data".into(), own: "user me".into() });
        assert!(other.starts_with(
            "reading the memory of process 7 is not permitted: it belongs to user www-data, and gilscope runs as \
             user me. Run gilscope as user www-data or as root, or allow it once and for all: sudo \
             setcap cap_sys_ptrace,cap_dac_read_search+ep /"
        ));
        assert!(text(Denied::PowerlessRoot).ends_with("start it with --cap-add SYS_PTRACE"));
        assert!(text(Denied::OfRoot { own: "user me".into() }).contains("runs as user me. Run gilscope as root, or"));
        assert!(text(Denied::Yama(1)).contains("`gilscope record -- COMMAND`"));
        assert!(text(Denied::Yama(1)).ends_with("sudo sysctl kernel.yama.ptrace_scope=0"));
        assert!(text(Denied::Yama(2)).contains("administrators. Run gilscope as root, or"));
        assert!(!text(Denied::Yama(2)).contains("record"), "scope 2 forbids it to parents, too");
        assert!(text(Denied::Yama(3)).contains("reboot"));
        assert!(text(Denied::Protected).contains("setuid"));
    }

    #[test]
    fn what_is_not_python_is_named() {
        let what = Program { comm: "main".into(), exe: Some("/usr/lib/jvm/bin/java".into()) };
        let error = AttachError::NotPython { pid: 7, what, children: vec![8] };
        assert_eq!(
            error.to_string(),
            "process 7 does not run Python: it is main (/usr/lib/jvm/bin/java). It started a Python process: use \
             --pid 8"
        );
        assert!(error.is_transient(), "a launcher still runs the program it is for");
        assert!(!AttachError::OtherPython { pid: 7, name: "PyPy 7.3.19".into() }.is_transient());
        let what = Program { comm: "bash".into(), exe: Some("/bin/bash".into()) };
        assert_eq!(what.to_string(), "/bin/bash");
    }
}
