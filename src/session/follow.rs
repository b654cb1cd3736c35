//! Finds the interpreters to record: first the one that was asked for, which may start later, behind wrappers and shims, and
//! with `--subprocesses` every one below it. Polled by the session.

use std::path::PathBuf;

use rustc_hash::{FxHashMap, FxHashSet};

use super::launch::{Child, exit_code};
use crate::cpython::attach::{AttachedProcess, attach, attach_early};
use crate::event::{Nanos, Pid};
use crate::process::descendants;
use crate::process::error::AttachError;

const MILLISECOND: u64 = 1_000_000;
/// How long to wait for an interpreter that is not initialised yet, when attaching, and for one below a launcher.
const MAX_START: u64 = 10_000 * MILLISECOND;
/// How often to search for the first interpreter: at first, and after [`EARLY`].
const EARLY_INTERVAL: u64 = MILLISECOND;
const EARLY: u64 = 2_000 * MILLISECOND;
const LATER_INTERVAL: u64 = 10 * MILLISECOND;
/// How often to search for child processes.
const CHILDREN_INTERVAL: u64 = 20 * MILLISECOND;
/// How often to check a process again that is not Python, while it runs the same executable.
const RECHECK_INTERVAL: u64 = 100 * MILLISECOND;

/// Searches for interpreters in a process and, if wanted, those it starts.
#[derive(Debug)]
pub struct Follower {
    roots: Vec<Pid>,
    launched: bool,
    subprocesses: bool,
    /// Interpreters are also wanted before they have started.
    early: bool,
    observed: FxHashSet<Pid>,
    /// Processes that were not Python, with their executable and when that was seen.
    others: FxHashMap<Pid, (Option<PathBuf>, Nanos)>,
    found_any: bool,
    started: Option<Nanos>,
    next: Nanos,
}

impl Follower {
    /// Follows the `roots`, which gilscope has `launched` or not. With `early`, interpreters are also found before they have
    /// started.
    pub fn new(roots: &[Pid], launched: bool, subprocesses: bool, early: bool) -> Follower {
        Follower {
            roots: roots.to_owned(),
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
    pub fn poll(&mut self, now: Nanos) -> Result<Vec<AttachedProcess>, AttachError> {
        if now < self.next {
            return Ok(Vec::new());
        }
        let started = *self.started.get_or_insert(now);
        let mut found = Vec::new();
        let missing: Vec<Pid> = self.roots.iter().copied().filter(|root| !self.observed.contains(root)).collect();
        for root in missing {
            match self.attach(root, now) {
                None => {}
                Some(Ok(target)) => found.push(target),
                Some(Err(error)) if self.found_any => log::debug!("{error}"),
                // The session finds out how it ended.
                Some(Err(error @ (AttachError::Exited { .. } | AttachError::Zombie { .. }))) if self.launched => {
                    log::debug!("{error}");
                }
                Some(Err(error)) if self.launched && error.is_transient() => log::debug!("{error}"),
                // An attached process will not become another one; only its interpreter may be about to start.
                Some(Err(error)) if error.may_be_starting() && now.since(started) < MAX_START => {
                    log::debug!("{error}")
                }
                // A launcher (a shell, `uv run`): its Python is among its descendants, or about to be.
                Some(Err(error @ AttachError::NotPython { .. }))
                    if self.subprocesses && now.since(started) < MAX_START =>
                {
                    log::debug!("{error}");
                }
                Some(Err(error)) => return Err(error),
            }
        }
        let through_wrapper = self.launched && self.observed.is_empty() && found.is_empty();
        if self.subprocesses || through_wrapper {
            let below: Vec<Pid> = self.roots.iter().copied().flat_map(descendants).collect();
            for pid in below {
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
        let interval = if now.since(started) < EARLY { EARLY_INTERVAL } else { LATER_INTERVAL };
        self.next = match (self.found_any, self.subprocesses) {
            (false, _) => Nanos(now.0 + interval),
            (true, true) => Nanos(now.0 + CHILDREN_INTERVAL),
            // A process that was Python may run something else, and then Python again.
            (true, false) if self.observed.is_empty() => Nanos(now.0 + LATER_INTERVAL),
            (true, false) => Nanos(u64::MAX),
        };
        Ok(found)
    }

    /// Attaches to a process, unless it is known not to be Python: that changes only with its executable.
    fn attach(&mut self, pid: Pid, now: Nanos) -> Option<Result<AttachedProcess, AttachError>> {
        let exe = || std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        if let Some((ran, at)) = self.others.get(&pid)
            && now.since(*at) < RECHECK_INTERVAL
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
        self.next = self.next.min(Nanos(now.0 + LATER_INTERVAL));
    }

    /// The error if the process has ended before any interpreter was found.
    pub fn ended_without_python(&self, child: Option<&mut Child>) -> AttachError {
        match child {
            Some(child) => AttachError::NeverPython {
                command: child.command().to_owned(),
                code: child.try_wait().map_or(0, exit_code),
            },
            None => AttachError::Exited { pid: self.roots.first().copied().unwrap_or(0) },
        }
    }
}
