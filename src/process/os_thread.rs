//! What the kernel says of one thread, cheaply enough for every tick: has it run since the last look, and where is
//! it blocked. Two `/proc` files kept open per thread. Called by the sampler and by `dump`.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};

use super::wait_channel;
use crate::event::{Pid, Syscall, Tid};
use crate::text::from_bytes;

/// The thread does not exist any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Where a thread is, as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// On a CPU or ready to run.
    Running,
    /// Blocked in a system call.
    Blocked {
        call: Syscall,
        /// Its first argument: the address, for a futex call.
        /// 0 if that is hidden.
        arg: u64,
    },
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Not told (no permission to look, or a kernel without the file).
    Unknown,
}

/// Counters of the scheduler: equal values at two moments mean that the thread was not switched in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedStat {
    /// Time on a CPU so far, in nanoseconds; of a running thread, up to the last scheduler tick.
    pub cpu_ns: u64,
    /// Time spent ready to run but not running, in nanoseconds.
    pub run_delay_ns: u64,
    /// How many times it was put on a CPU.
    pub switches: u64,
}

#[derive(Debug)]
pub struct OsThread {
    pid: Pid,
    tid: Tid,
    schedstat: ProcFile,
    syscall: ProcFile,
}

/// A `/proc` file, kept open unless descriptors ran out.
#[derive(Debug)]
enum ProcFile {
    Open(OwnedFd),
    /// To be opened at each read.
    Closed(&'static str),
}

/// A thread's call of `futex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Futex {
    pub address: u64,
    /// What: `FUTEX_WAIT`, with flags.
    pub operation: u32,
    /// The value the futex had.
    pub value: u32,
    /// The end of the thread's stack.
    pub stack: u64,
    /// The instruction after the call.
    pub ip: u64,
}

impl OsThread {
    /// Opens the files of thread `tid` of process `pid`.
    pub fn open(pid: Pid, tid: Tid) -> Result<OsThread, Gone> {
        let file = |name| match open(pid, tid, name) {
            Ok(fd) => Ok(ProcFile::Open(fd)),
            Err(Errno::NOENT | Errno::SRCH) => Err(Gone),
            Err(_) => Ok(ProcFile::Closed(name)),
        };
        // `syscall` is absent from kernels without CONFIG_HAVE_ARCH_TRACEHOOK; `schedstat` tells whether the
        // thread is there at all.
        let schedstat = file("schedstat")?;
        let syscall = file("syscall").unwrap_or(ProcFile::Closed("syscall"));
        let thread = OsThread { pid, tid, schedstat, syscall };
        // The first thread of a process stays a zombie for as long as others go on.
        match thread.stat(0, |state| matches!(state, b"Z" | b"X" | b"x")) {
            Some(true) => Err(Gone),
            _ => Ok(thread),
        }
    }

    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// The scheduler's counters; `None` where the kernel keeps none (no CONFIG_SCHED_INFO).
    pub fn sched(&self) -> Result<Option<SchedStat>, Gone> {
        let mut buffer = [0; 80];
        let Some(text) = self.read(&self.schedstat, &mut buffer)? else { return Ok(None) };
        let mut numbers = text.split(|byte| byte.is_ascii_whitespace()).map(decimal);
        let mut next = || numbers.next().unwrap_or(0);
        let stat = SchedStat { cpu_ns: next(), run_delay_ns: next(), switches: next() };
        Ok((stat.switches != 0).then_some(stat))
    }

    /// Where the thread is now.
    pub fn run_state(&self) -> Result<RunState, Gone> {
        let mut buffer = [0; 160];
        let Some(text) = self.read(&self.syscall, &mut buffer)? else { return self.state_without_call() };
        if text.starts_with(b"running") {
            return Ok(RunState::Running);
        }
        let mut words = text.split(|byte| byte.is_ascii_whitespace());
        let call = words.next().unwrap_or(b"");
        if call.starts_with(b"-") {
            // Off the CPU but in no call: a page fault, stopped, or ended. Rare enough for a costlier look.
            return match self.stat(0, |state| state.first().copied()).flatten() {
                Some(b'T' | b't') => Ok(RunState::Stopped),
                Some(b'Z' | b'X' | b'x') => Err(Gone),
                _ => Ok(RunState::Blocked { call: Syscall(-1), arg: 0 }),
            };
        }
        let arg = words.next().map_or(0, hexadecimal);
        Ok(RunState::Blocked { call: Syscall(decimal(call) as i16), arg })
    }

    /// Where the thread is, if its system call is hidden.
    fn state_without_call(&self) -> Result<RunState, Gone> {
        let Some(letter) = self.stat(0, |state| state.first().copied()).flatten() else {
            return Ok(RunState::Unknown);
        };
        wait_channel::run_state(letter, &self.function().unwrap_or_default()).ok_or(Gone)
    }

    /// The function of the kernel that it sleeps in.
    fn function(&self) -> Option<String> {
        let mut buffer = [0; 64];
        let text = self.read(&ProcFile::Closed("wchan"), &mut buffer).ok()??;
        Some(from_bytes(text))
    }

    /// Why the system calls of the thread are hidden; none if they are not, or if it has ended.
    pub fn hidden_calls(&self) -> Option<Errno> {
        let mut buffer = [0; 160];
        let read = open(self.pid, self.tid, "syscall").and_then(|fd| pread(&fd, &mut buffer[..], 0));
        read.err().filter(|&error| error != Errno::SRCH)
    }

    /// The futex at which the thread sleeps; none if it does not.
    pub fn futex(&self) -> Option<Futex> {
        let mut buffer = [0; 256];
        let text = self.read(&self.syscall, &mut buffer).ok()??;
        let mut words = text.split(|byte| byte.is_ascii_whitespace());
        let call = Syscall(decimal(words.next().filter(|word| word.iter().all(u8::is_ascii_digit))?) as i16);
        let [address, operation, value, _, _, _, stack, ip] =
            std::array::from_fn(|_| words.next().map_or(0, hexadecimal));
        (call == Syscall::FUTEX).then_some(Futex {
            address,
            operation: operation as u32,
            value: value as u32,
            stack,
            ip,
        })
    }

    /// The kernel's name for the thread (`comm`), of at most 15 bytes.
    pub fn comm(&self) -> Option<String> {
        comm(self.pid, self.tid)
    }

    /// The CPU the thread runs on, or last ran on.
    pub fn last_cpu(&self) -> Option<usize> {
        self.stat(36, |field| decimal(field) as usize)
    }

    /// Whether a signal, a debugger or a frozen control group has stopped the thread.
    pub fn is_stopped(&self) -> bool {
        match self.stat(0, |state| state.first().copied()).flatten() {
            Some(b'T' | b't') => true,
            Some(b'R') | None => false,
            Some(_) => self.function().is_some_and(|function| wait_channel::is_freezer(&function)),
        }
    }

    /// A field of `stat`, counted from the state, which follows the name. That is in parentheses and may contain
    /// any byte.
    fn stat<T>(&self, index: usize, decode: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut buffer = [0; 512];
        let text = self.read(&ProcFile::Closed("stat"), &mut buffer).ok()??;
        let name_end = text.iter().rposition(|&byte| byte == b')')?;
        let field = text.get(name_end + 2..)?.split(|&byte| byte == b' ').nth(index)?;
        Some(decode(field))
    }

    /// Reads a file; `None` if that is not allowed or there is none.
    fn read<'b>(&self, file: &ProcFile, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Gone> {
        let result = match file {
            ProcFile::Open(fd) => pread(fd, &mut *buffer, 0),
            ProcFile::Closed(name) => open(self.pid, self.tid, name).and_then(|fd| pread(fd, &mut *buffer, 0)),
        };
        match result {
            Ok(0) | Err(Errno::SRCH) => Err(Gone),
            Ok(len) => Ok(Some(&buffer[..len])),
            Err(Errno::NOENT) if matches!(file, ProcFile::Closed("schedstat")) => Err(Gone),
            Err(_) => Ok(None),
        }
    }
}

fn open(pid: Pid, tid: Tid, name: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, format!("/proc/{pid}/task/{tid}/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The kernel's name for a thread of a process (`comm`), of at most 15 bytes.
pub fn comm(pid: Pid, tid: Tid) -> Option<String> {
    let text = std::fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(from_bytes(text.trim_ascii_end()))
}

fn decimal(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit & 0xf)))
}

fn hexadecimal(digits: &[u8]) -> u64 {
    digits.strip_prefix(b"0x").unwrap_or(digits).iter().fold(0, |value: u64, &digit| {
        value.wrapping_mul(16).wrapping_add(char::from(digit).to_digit(16).map_or(0, u64::from))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(decimal(b"202"), 202);
        assert_eq!(hexadecimal(b"0x7fbe00a1"), 0x7fbe_00a1);
    }

    fn tid() -> Tid {
        rustix::thread::gettid().as_raw_nonzero().get()
    }

    #[test]
    fn a_busy_thread_runs_and_a_sleeping_one_is_blocked() {
        let pid = std::process::id() as Pid;
        let (send, receive) = std::sync::mpsc::channel();
        let sender = send.clone();
        let sleeper = std::thread::spawn(move || {
            sender.send(tid()).unwrap();
            std::thread::park();
        });
        let asleep = OsThread::open(pid, receive.recv().unwrap()).unwrap();
        let parked = || {
            let before = asleep.sched().unwrap();
            let blocked = matches!(asleep.run_state(), Ok(RunState::Blocked { call: Syscall(202), .. }));
            blocked && before == asleep.sched().unwrap()
        };
        // Once it is parked, its counters stand still.
        while !(parked() && parked() && parked()) {
            std::thread::yield_now();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let busy = std::thread::spawn(move || {
            send.send(tid()).unwrap();
            while !told.load(Relaxed) {}
        });
        let running = OsThread::open(pid, receive.recv().unwrap()).unwrap();
        while running.run_state() != Ok(RunState::Running) {
            std::thread::yield_now();
        }
        stop.store(true, Relaxed);
        sleeper.thread().unpark();
        busy.join().unwrap();
        sleeper.join().unwrap();
        // The kernel takes a moment to take them away.
        while asleep.sched().is_ok() || running.run_state().is_ok() {
            std::thread::yield_now();
        }
    }
}
