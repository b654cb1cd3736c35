//! Finding the interpreters to record: at first the one that was asked for, which may still have to start behind
//! wrappers and shims, and with `--subprocesses` every one below it. Polled by the session.

use std::path::PathBuf;

use rustc_hash::{FxHashMap, FxHashSet};

use super::launch::{Child, exit_code};
use crate::cpython::attach::{Target, attach, attach_early};
use crate::event::{Nanos, Pid};
use crate::process::descendants;
use crate::process::error::AttachError;

const MILLISECOND: u64 = 1_000_000;
/// How long an interpreter that is there but not initialised is waited for, when attaching.
const PATIENCE: u64 = 10_000 * MILLISECOND;
/// How often to look for the first interpreter, and after [`HASTE_FOR`] of that; how often for child processes.
const HASTY: u64 = MILLISECOND;
const HASTE_FOR: u64 = 2_000 * MILLISECOND;
const RELAXED: u64 = 10 * MILLISECOND;
const CHILDREN: u64 = 20 * MILLISECOND;
/// How often a process that is no Python is looked at again while it runs the same executable.
const DOUBTFUL: u64 = 100 * MILLISECOND;

/// Looks for interpreters in a process and, if need be, those it starts.
#[derive(Debug)]
pub struct Follower {
    root: Pid,
    launched: bool,
    subprocesses: bool,
    /// Interpreters are wanted even before they have started.
    early: bool,
    observed: FxHashSet<Pid>,
    /// Processes that were no Python, with what they ran and when that was seen.
    others: FxHashMap<Pid, (Option<PathBuf>, Nanos)>,
    found_any: bool,
    started: Option<Nanos>,
    next: Nanos,
}

impl Follower {
    /// A follower of `root`, which gilscope has `launched` or not. With `early`, interpreters are found before they have
    /// started.
    pub fn new(root: Pid, launched: bool, subprocesses: bool, early: bool) -> Follower {
        Follower {
            root,
            launched,
            subprocesses,
            early,
            observed: FxHashSet::default(),
            others: FxHashMap::default(),
            found_any: false,
            started: None,
            next: Nanos(0),
        }
    }

    /// When to poll next.
    pub fn next(&self) -> Nanos {
        self.next
    }

    /// Interpreters that have appeared since the last poll.
    ///
    /// # Errors
    /// The process that was asked for can never be recorded.
    pub fn poll(&mut self, now: Nanos) -> Result<Vec<Target>, AttachError> {
        if now < self.next {
            return Ok(Vec::new());
        }
        let started = *self.started.get_or_insert(now);
        let mut found = Vec::new();
        if !self.observed.contains(&self.root) {
            match self.attach(self.root, now) {
                None => {}
                Some(Ok(target)) => found.push(target),
                Some(Err(error)) if self.found_any => log::debug!("{error}"),
                // How it ended is for the session to find out.
                Some(Err(error @ (AttachError::Exited { .. } | AttachError::Zombie { .. }))) if self.launched => {
                    log::debug!("{error}");
                }
                Some(Err(error)) if self.launched && error.is_transient() => log::debug!("{error}"),
                // An attached process is what it is; only its interpreter may still be about to start.
                Some(Err(error)) if error.may_be_starting() && now.since(started) < PATIENCE => {
                    log::debug!("{error}")
                }
                Some(Err(error)) => return Err(error),
            }
        }
        let through_wrapper = self.launched && self.observed.is_empty() && found.is_empty();
        if self.subprocesses || through_wrapper {
            for pid in descendants(self.root) {
                if self.observed.contains(&pid) || (through_wrapper && !self.subprocesses && !found.is_empty()) {
                    continue;
                }
                match self.attach(pid, now) {
                    None => {}
                    Some(Ok(target)) => found.push(target),
                    Some(Err(error)) if error.is_transient() => log::debug!("{error}"),
                    Some(Err(error)) => log::info!("{error}"),
                }
            }
        }
        self.observed.extend(found.iter().map(|target| target.info.pid));
        self.found_any |= !found.is_empty();
        let haste = if now.since(started) < HASTE_FOR { HASTY } else { RELAXED };
        self.next = match (self.found_any, self.subprocesses) {
            (false, _) => Nanos(now.0 + haste),
            (true, true) => Nanos(now.0 + CHILDREN),
            // What was Python may run something else, and then Python again.
            (true, false) if self.observed.is_empty() => Nanos(now.0 + RELAXED),
            (true, false) => Nanos(u64::MAX),
        };
        Ok(found)
    }

    /// Attaches to a process, unless it is known to be no Python: that changes only with what it runs.
    fn attach(&mut self, pid: Pid, now: Nanos) -> Option<Result<Target, AttachError>> {
        let exe = || std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        if let Some((ran, at)) = self.others.get(&pid)
            && now.since(*at) < DOUBTFUL
            && *ran == exe()
        {
            return None;
        }
        let ran = exe();
        let result = if self.early { attach_early(pid) } else { attach(pid) };
        match &result {
            Err(AttachError::NotPython { .. } | AttachError::OtherPython { .. }) => {
                self.others.insert(pid, (ran, now));
            }
            _ => drop(self.others.remove(&pid)),
        }
        Some(result)
    }

    /// A process can no longer be read: it has ended, or runs another program now, which may be Python again.
    pub fn lost(&mut self, pid: Pid, now: Nanos) {
        self.observed.remove(&pid);
        self.next = self.next.min(Nanos(now.0 + RELAXED));
    }

    /// What to say when the process has ended before any interpreter was seen.
    pub fn ended_without_python(&self, child: Option<&mut Child>) -> AttachError {
        match child {
            Some(child) => AttachError::NeverPython {
                command: child.command().to_owned(),
                code: child.try_wait().map_or(0, exit_code),
            },
            None => AttachError::Exited { pid: self.root },
        }
    }
}
