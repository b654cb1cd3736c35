//! Signals as a file descriptor to poll: they interrupt nothing, and their sender is known.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// `si_code` of a signal that the kernel itself sends: Ctrl-C on the terminal, which every process of the foreground group
/// receives.
const SI_KERNEL: i32 = 0x80;

/// What the signals that came ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The launched program has changed its state.
    Child,
    /// The recording is to end.
    Stop {
        signal: Signal,
        /// It came from the terminal: the launched program received it, too.
        by_terminal: bool,
    },
}

/// The signals that gilscope handles, blocked and queued.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// The mask before that.
    inherited: SigSet,
}

impl Signals {
    /// Blocks the signals from now on: before there is anything that must not be left behind.
    pub fn new() -> Result<Signals, Errno> {
        let set: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD].into_iter().collect();
        let inherited = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Signals { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?, inherited })
    }

    /// The signals that were blocked before, as a program that is launched is to have them.
    pub fn inherited(&self) -> SigSet {
        self.inherited
    }

    /// The next signal, if there is one. A request to stop comes before everything else.
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

    /// Waits for a signal, or until `other` becomes readable (then `None`).
    pub fn wait(&mut self, other: &impl AsFd) -> Option<Received> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
        // An interrupted poll is as good as one that found nothing.
        let _ = poll(&mut fds, None);
        self.take()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
