//! Launches the program that is to be recorded. It keeps the terminal, and gilscope exits with its exit status.

#![allow(unsafe_code)] // What is to be done between fork and exec.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child as Process, Command, ExitStatus, Stdio};

use anyhow::{Context, anyhow};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid as NixPid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::event::Pid;
use crate::process::refusal::not_started;
use crate::text::{Shown, from_os};

#[derive(Debug)]
pub struct Child {
    process: Process,
    command: String,
}

impl Child {
    /// Runs a command with gilscope's own standard input, output and error.
    pub fn launch(program: &[OsString], mask: SigSet) -> anyhow::Result<Child> {
        Child::start(program, mask, |_| {})
    }

    /// Runs a command without standard input, whose output goes to a file.
    pub fn launch_into(program: &[OsString], mask: SigSet, log: File) -> anyhow::Result<Child> {
        let errors = log.try_clone().context("cannot open the log twice")?;
        Child::start(program, mask, |command| {
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
        })
    }

    /// With these signals blocked, which are not those of gilscope itself.
    fn start(program: &[OsString], mask: SigSet, prepare: impl FnOnce(&mut Command)) -> anyhow::Result<Child> {
        let command = program.iter().map(|word| from_os(word)).collect::<Vec<_>>().join(" ");
        let (name, arguments) = program.split_first().context("no command was given")?;
        let mut process = Command::new(name);
        process.args(arguments);
        prepare(&mut process);
        // SAFETY: between fork and exec, it makes one system call, which allocates nothing and takes no lock.
        unsafe {
            process.pre_exec(move || Ok(mask.thread_set_mask()?));
        }
        let process = process.spawn().map_err(|error| {
            anyhow!("cannot run `{}`: {}", command.shown(), not_started(&error, &name.shown().to_string()))
        })?;
        Ok(Child { process, command })
    }

    pub fn pid(&self) -> Pid {
        self.process.id() as Pid
    }

    pub fn command(&self) -> &str {
        &self.command
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // It may have ended just now.
            let _ = kill(NixPid::from_raw(self.pid()), signal);
        }
    }

    /// Its exit status, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

/// The exit code as in a shell: that of the program, or 128 plus the signal that ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1) as u8
}

/// Something that becomes readable when the process ends.
pub fn pidfd(pid: Pid) -> rustix::io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    pidfd_open(pid, PidfdFlags::empty())
}
