//! The vocabulary: what a collector can say about a program under observation.
//!
//! Read this file first. Collectors (`sampler/`) turn a living process into these events; everything after
//! them (`profile`, `export/`) is pure, has no clock of its own and cannot tell which collector spoke.

use std::fmt;
use std::sync::Arc;

use crate::intern::StackId;

/// An operating system process id, in gilscope's own pid namespace.
pub type Pid = i32;
/// An operating system thread id, in gilscope's own pid namespace.
pub type Tid = i32;

/// A moment on the one clock all events share: `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One incarnation of an OS thread. Tids are reused by the kernel, these never are: they index
/// [`crate::profile::Profile::threads`] in the order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u32);

/// One observed process: an index into [`crate::profile::Profile::processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// A system call number of the target's architecture; negative when the thread is off the CPU outside any
/// call (a page fault, a stop).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall(pub i16);

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(syscalls::Sysno::new) {
            Some(call) => f.write_str(call.name()),
            None if self.0 < 0 => f.write_str("no system call"),
            None => write!(f, "system call {}", self.0),
        }
    }
}

/// What a thread was doing at one moment. The states are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThreadState {
    /// Holds the GIL and runs (on a CPU or ready to).
    GilHeld,
    /// Holds the GIL while blocked in a system call: everybody else waits for nothing.
    GilHeldOffCpu(Syscall),
    /// Blocked until the GIL is free.
    GilWait,
    /// Runs attached to an interpreter that has no GIL (free-threaded builds).
    Running,
    /// Runs native code without the GIL (detached from the interpreter).
    Native,
    /// Off the CPU in a system call, without the GIL.
    Blocked(Syscall),
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Could not be told.
    Unknown,
}

impl ThreadState {
    /// Runs or is ready to run, as the kernel sees it.
    pub fn on_cpu(self) -> bool {
        matches!(self, Self::GilHeld | Self::Running | Self::Native)
    }

    /// Holds a GIL, running or not.
    pub fn holds_gil(self) -> bool {
        matches!(self, Self::GilHeld | Self::GilHeldOffCpu(_))
    }

    /// A short constant name, the same for all system calls: names of trace slices, JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::GilHeld => "GIL held",
            Self::GilHeldOffCpu(_) => "GIL held off CPU",
            Self::GilWait => "GIL wait",
            Self::Running => "running",
            Self::Native => "native",
            Self::Blocked(_) => "blocked",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
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
        match self {
            Self::GilHeld => f.write_str("holds the GIL"),
            Self::GilHeldOffCpu(call) => write!(f, "holds the GIL, blocked in {call}"),
            Self::GilWait => f.write_str("waits for the GIL"),
            Self::Running => f.write_str("running"),
            Self::Native => f.write_str("native (without the GIL)"),
            Self::Blocked(call) => write!(f, "blocked in {call}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Why a tick has no stack of a thread that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The stack changed under every attempt to read it, and the thread could not be stopped.
    Torn,
    /// The memory held no plausible stack (thread starting or ending, or unreadable memory).
    Unreadable,
}

/// What happened, in the order of `at` within one process.
#[derive(Clone, Debug)]
pub enum Event {
    /// A Python interpreter was found in a process; its threads follow.
    Process {
        /// The process's handle, given out in ascending order.
        process: ProcessId,
        /// Who it is.
        info: Arc<ProcessInfo>,
    },
    /// A thread appeared.
    ThreadStarted {
        /// When it was first seen.
        at: Nanos,
        /// Its handle, given out in ascending order.
        thread: ThreadId,
        /// The process it belongs to.
        process: ProcessId,
        /// Its OS thread id.
        tid: Tid,
    },
    /// A thread's name is known or has changed (`threading.Thread.name`).
    ThreadNamed {
        /// The thread.
        thread: ThreadId,
        /// Its name.
        name: Arc<str>,
    },
    /// A thread is gone.
    ThreadExited {
        /// When that was noticed.
        at: Nanos,
        /// The thread.
        thread: ThreadId,
        /// CPU time it used while observed, in nanoseconds.
        cpu_ns: u64,
    },
    /// One thread at one tick.
    Sample {
        /// When it was read.
        at: Nanos,
        /// For how many periods of the sampling rate it stands: 1, unless ticks were missed before it.
        periods: u32,
        /// Whose.
        thread: ThreadId,
        /// What it was doing.
        state: ThreadState,
        /// Its Python stack; [`StackId::EMPTY`] when it has none.
        stack: StackId,
    },
    /// One thread at one tick, whose stack could not be had; its state still counts.
    Lost {
        /// When.
        at: Nanos,
        /// As for [`Event::Sample`].
        periods: u32,
        /// Whose.
        thread: ThreadId,
        /// What it was doing.
        state: ThreadState,
        /// Why there is no stack.
        loss: Loss,
    },
}

/// Facts about a process that do not change while it is observed.
#[derive(Clone, Debug)]
pub struct ProcessInfo {
    /// Its pid.
    pub pid: Pid,
    /// Its command line.
    pub command: Vec<String>,
    /// The interpreter's version, `3.13.15`.
    pub python: String,
    /// Built without a GIL (PEP 703).
    pub free_threaded: bool,
}
