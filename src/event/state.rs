//! What a thread was doing, as exactly as a collector can tell. A new state is a variant and a row here, a number in
//! `recording/records.rs`, and the collector that reports it; everything else asks for [`ThreadState::activity`].

use std::borrow::Cow;
use std::fmt;

use super::{Activity, LockId, Syscall};

/// What a thread was doing at one moment. The states are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThreadState {
    /// Holds the GIL and runs (in memory mode: on a CPU or ready to).
    GilHeld,
    /// Holds the GIL and runs code that is neither the interpreter's nor the C library's (an extension module).
    /// Distinguished from [`Self::GilHeld`] only in kernel mode.
    GilHeldNative,
    /// Holds the GIL and is runnable, but has no CPU. Distinguished from [`Self::GilHeld`] only in kernel mode.
    GilHeldRunnable,
    /// Holds the GIL while blocked in a system call: no other thread can run Python.
    GilHeldOffCpu(Syscall),
    /// Blocked until it can acquire the GIL.
    GilWait,
    /// Blocked until it can acquire a lock, without the GIL.
    LockWait(LockId),
    /// Stopped by the interpreter, for a collection for example (free-threaded builds).
    Paused(LockId),
    /// Blocked until native code has done something, or a thread has ended: what, is among the locks.
    Awaits(LockId),
    /// Runs attached to an interpreter that has no GIL (free-threaded builds).
    Running,
    /// Runs native code without the GIL (detached from the interpreter).
    Native,
    /// Runnable, without the GIL, but has no CPU. Distinguished only in kernel mode.
    Runnable,
    /// Off the CPU in a system call, without the GIL.
    Blocked(Syscall),
    /// Stopped by a signal, a debugger or a frozen control group.
    Stopped,
    /// The collector could not determine it.
    Unknown,
}

/// How a state is classified and worded.
struct StateRow {
    activity: Activity,
    /// For names of trace slices and JSON: the same for all system calls and locks.
    name: &'static str,
    /// Completes "the thread ...". A system call is appended.
    words: &'static str,
    /// The marker frame on top of a stack that was not running Python. A system call or a lock is appended.
    marker: Option<&'static str>,
}

impl ThreadState {
    fn row(self) -> StateRow {
        let row = |activity, name, words, marker| StateRow { activity, name, words, marker };
        match self {
            // What it runs is on the stack; the report says how much of it is native.
            Self::GilHeld => row(Activity::GilHeld, "GIL held", "holds the GIL", None),
            Self::GilHeldNative => row(Activity::GilHeld, "GIL held, native", "holds the GIL, in native code", None),
            Self::GilHeldRunnable => {
                row(Activity::GilHeldNoCpu, "GIL held, no CPU", "holds the GIL, has no CPU", Some("GIL held, no CPU"))
            }
            Self::GilHeldOffCpu(_) => row(
                Activity::GilHeldBlocked,
                "GIL held off CPU",
                "holds the GIL, blocked in",
                Some("GIL held off CPU:"),
            ),
            Self::GilWait => row(Activity::GilWait, "GIL wait", "waits for the GIL", Some("waiting for GIL")),
            Self::LockWait(_) => row(Activity::LockWait, "lock wait", "waits for a lock", Some("waiting for")),
            Self::Paused(_) => {
                row(Activity::Paused, "paused", "stopped by the interpreter", Some("stopped by the interpreter"))
            }
            Self::Awaits(_) => row(Activity::Blocked, "blocked", "waits for native code", Some("waiting for")),
            Self::Running => row(Activity::Running, "running", "running", None),
            Self::Native => row(Activity::Native, "native", "native (without the GIL)", Some("native")),
            Self::Runnable => row(Activity::NoCpu, "no CPU", "ready, has no CPU", Some("no CPU")),
            Self::Blocked(_) => row(Activity::Blocked, "blocked", "blocked in", Some("blocked:")),
            Self::Stopped => row(Activity::Stopped, "stopped", "stopped", Some("stopped")),
            Self::Unknown => row(Activity::Unknown, "unknown", "unknown", Some("state unknown")),
        }
    }

    /// What it amounts to for those who count, colour and sort.
    pub(crate) fn activity(self) -> Activity {
        self.row().activity
    }

    /// Runs, as far as the collector can tell.
    pub fn on_cpu(self) -> bool {
        self.activity().on_cpu()
    }

    /// Holds a GIL, running or not.
    pub fn holds_gil(self) -> bool {
        self.activity().holds_gil()
    }

    /// A short constant name, the same for all system calls and locks.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The marker frame to put on top of the stack of a thread that was not running Python; `None` for one that was. It
    /// depends on the state alone, so that the same sample has the same frame in every view.
    pub(crate) fn marker(self, lock_label: impl FnOnce(LockId) -> String) -> Option<Cow<'static, str>> {
        let words = self.row().marker?;
        let detail = match self {
            Self::LockWait(lock) | Self::Awaits(lock) => Some(lock_label(lock)),
            _ => self.syscall().map(|call| call.to_string()),
        };
        Some(match detail {
            Some(detail) => format!("[{words} {detail}]").into(),
            None => format!("[{words}]").into(),
        })
    }

    /// The lock that the thread waits for, if it does.
    pub fn lock(self) -> Option<LockId> {
        match self {
            Self::LockWait(lock) | Self::Paused(lock) => Some(lock),
            _ => None,
        }
    }

    /// What it waits for, if that is among the locks, whether it is one or not.
    pub fn awaited(self) -> Option<LockId> {
        match self {
            Self::Awaits(awaited) => Some(awaited),
            state => state.lock(),
        }
    }

    /// The system call the thread is blocked in, if it is.
    pub fn syscall(self) -> Option<Syscall> {
        match self {
            Self::GilHeldOffCpu(call) | Self::Blocked(call) => Some(call),
            _ => None,
        }
    }
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().words)?;
        match self.syscall() {
            Some(Syscall::HIDDEN) => f.write_str(" a system call that is hidden from gilscope"),
            Some(call) if call.0 < 0 => {
                f.write_str(" the kernel, outside any system call (a page fault, for example)")
            }
            Some(call) => write!(f, " {call}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_name_what_they_wait_for() {
        let marker = |state: ThreadState| state.marker(|lock| format!("lock {}", lock.0));
        let read = Syscall(syscalls::Sysno::read as i16);
        assert_eq!(marker(ThreadState::GilHeld), None);
        assert_eq!(marker(ThreadState::GilWait).as_deref(), Some("[waiting for GIL]"));
        assert_eq!(marker(ThreadState::LockWait(LockId(7))).as_deref(), Some("[waiting for lock 7]"));
        assert_eq!(marker(ThreadState::Paused(LockId(7))).as_deref(), Some("[stopped by the interpreter]"));
        assert_eq!(marker(ThreadState::GilHeldOffCpu(read)).as_deref(), Some("[GIL held off CPU: read]"));
        assert_eq!(ThreadState::GilHeldOffCpu(read).to_string(), "holds the GIL, blocked in read");
        assert_eq!(
            ThreadState::Blocked(Syscall(-1)).to_string(),
            "blocked in the kernel, outside any system call (a page fault, for example)"
        );
    }
}
