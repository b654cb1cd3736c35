//! System calls by number. An event has only the number: what it means depends on the architecture.

use std::fmt;

use syscalls::Sysno;

use crate::event::Syscall;

impl Syscall {
    /// `futex`: the call in which threads wait for the GIL, and for most locks.
    pub const FUTEX: Syscall = Syscall(Sysno::futex as i16);
    /// `sched_yield`: what a thread calls that spins before it sleeps for a lock of a free-threaded build.
    pub const SCHED_YIELD: Syscall = Syscall(Sysno::sched_yield as i16);
    /// A call of which is only known that there is one.
    pub const HIDDEN: Syscall = Syscall(-2);
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(Sysno::new) {
            Some(call) => f.write_str(call.name()),
            None if *self == Syscall::HIDDEN => f.write_str("hidden system call"),
            None if self.0 < 0 => f.write_str("no system call"),
            None => write!(f, "system call {}", self.0),
        }
    }
}
