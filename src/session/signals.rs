//! Signals as something to poll for: none interrupts anything, and who sent it is known.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// `si_code` of a signal that the kernel itself sends: Ctrl-C on the terminal, which every process of the
/// foreground group gets.
const SI_KERNEL: i32 = 0x80;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A thread that was interrupted has stopped, or the launched program has changed its state.
    Child,
    /// Somebody wants the recording to end.
    Stop {
        /// By this signal.
        signal: Signal,
        /// From the terminal: the launched program got it, too.
        by_terminal: bool,
    },
}

/// The signals gilscope cares for, held back and queued.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Holds the signals back from now on. Programs launched later would inherit that.
    pub fn new() -> Result<Signals, Errno> {
        let set: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD].into_iter().collect();
        set.thread_block()?;
        Ok(Signals { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// The next signal, if there is one. A request to stop goes before everything else.
    pub fn take(&mut self) -> Option<Received> {
        let mut child = None;
        while let Ok(Some(info)) = self.fd.read_signal() {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => child = Some(Received::Child),
                Ok(signal) => return Some(Received::Stop { signal, by_terminal: info.ssi_code == SI_KERNEL }),
                Err(_) => {}
            }
        }
        child
    }

    /// Waits for a signal, or until `other` becomes readable (`None`).
    pub fn wait(&mut self, other: &impl AsFd) -> Option<Received> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
        // An interrupted poll is as good as one that found nothing.
        let _ = poll(&mut fds, None);
        self.take()
    }

    /// To poll for input.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
