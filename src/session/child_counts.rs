//! How many processes the observed ones start, however short they live: from the kernel's records of each `fork`, `exec` and
//! end, where these are permitted; else as many as were seen. Polled by [`super::children`].

use rustc_hash::FxHashMap;

use crate::event::{Nanos, Pid};
use crate::process::task_events::{TaskChange, TaskEvent, TaskEvents};
use crate::process::{descendants, ended_children_cpu};
use crate::profile::ChildCounts;

/// What is known of a process that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LookedAt {
    pub is_python: bool,
    /// No code of the program runs in it.
    pub is_helper: bool,
}

#[derive(Debug)]
pub(super) struct ChildCounter {
    root: Pid,
    /// None if the kernel does not permit it.
    events: Option<TaskEvents>,
    family: Family,
    /// What the processes had used that had ended before the recording began, in nanoseconds.
    ended_cpu_before: Option<u64>,
    ended_cpu_ns: u64,
}

impl ChildCounter {
    /// Counts the processes that `root` starts, and those below it.
    pub(super) fn new(root: Pid) -> ChildCounter {
        let events = TaskEvents::open(root).inspect_err(|error| log::info!("children are estimated: {error}")).ok();
        // After the events are open: so none is missed.
        let family = Family::new(root, &descendants(root));
        ChildCounter { root, events, family, ended_cpu_before: None, ended_cpu_ns: 0 }
    }

    /// The recording begins: what was before is not part of it.
    pub(super) fn begin(&mut self, now: Nanos, observed: &[Pid]) {
        self.take(now, observed, &|_| None);
        (self.family.started, self.family.ended) = (0, EndedChildren::default());
        self.ended_cpu_before = ended_children_cpu(self.root);
    }

    /// Takes in what has happened up to now. `looked_at` tells what is known of a process.
    pub(super) fn take(&mut self, now: Nanos, observed: &[Pid], looked_at: &dyn Fn(Pid) -> Option<LookedAt>) {
        if let Some(events) = &mut self.events {
            for event in events.drain(now) {
                self.family.event(&event, observed, looked_at);
            }
        }
        if let Some(cpu) = ended_children_cpu(self.root) {
            self.ended_cpu_ns = cpu.saturating_sub(*self.ended_cpu_before.get_or_insert(cpu));
        }
    }

    /// The counts so far. Without the kernel's records, `seen` is how many were seen, and how many of them ran Python.
    pub(super) fn counts(
        &self,
        observed: &[Pid],
        looked_at: &dyn Fn(Pid) -> Option<LookedAt>,
        seen: (u64, u64),
        followed: bool,
    ) -> ChildCounts {
        let ended_cpu_ns = self.ended_cpu_ns;
        let Some(events) = &self.events else {
            let (unobserved, unobserved_python) = seen;
            let started = unobserved + observed.len().saturating_sub(1) as u64;
            return ChildCounts { started, unobserved, unobserved_python, exact: false, followed, ended_cpu_ns };
        };
        let unobserved = self.family.unobserved(observed, looked_at);
        ChildCounts {
            started: self.family.started,
            unobserved: unobserved.all,
            unobserved_python: unobserved.python,
            exact: !events.lost,
            followed,
            ended_cpu_ns,
        }
    }
}

/// Processes that were not observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EndedChildren {
    all: u64,
    python: u64,
}

impl EndedChildren {
    fn add(&mut self, is_python: bool) {
        self.all += 1;
        self.python += u64::from(is_python);
    }
}

/// The living processes below one, and how many others there have been.
#[derive(Debug)]
struct Family {
    root: Pid,
    /// With whether they run Python, as far as the name of their program tells.
    living: FxHashMap<Pid, bool>,
    started: u64,
    /// Those that were not observed.
    ended: EndedChildren,
}

impl Family {
    fn new(root: Pid, below: &[Pid]) -> Family {
        let living = std::iter::once(root).chain(below.iter().copied()).map(|pid| (pid, false)).collect();
        Family { root, living, started: 0, ended: EndedChildren::default() }
    }

    fn event(&mut self, event: &TaskEvent, observed: &[Pid], looked_at: &dyn Fn(Pid) -> Option<LookedAt>) {
        match &event.change {
            TaskChange::Forked { parent } => {
                let Some(&runs_python) = self.living.get(parent) else { return };
                // It runs what its parent runs.
                self.living.insert(event.pid, runs_python || observed.contains(parent));
                self.started += 1;
            }
            TaskChange::Executed { comm } => {
                if let Some(is_python) = self.living.get_mut(&event.pid) {
                    *is_python = comm.starts_with("python");
                }
            }
            TaskChange::Ended => {
                let Some(by_name) = self.living.remove(&event.pid) else { return };
                if let Some(is_python) = self.missed(event.pid, by_name, observed, looked_at) {
                    self.ended.add(is_python);
                }
            }
        }
    }

    /// Whether a process runs Python, if it is one that should have been observed and was not.
    fn missed(
        &self,
        pid: Pid,
        by_name: bool,
        observed: &[Pid],
        looked_at: &dyn Fn(Pid) -> Option<LookedAt>,
    ) -> Option<bool> {
        let known = looked_at(pid);
        let is_none = pid == self.root || observed.contains(&pid) || known.is_some_and(|known| known.is_helper);
        (!is_none).then(|| by_name || known.is_some_and(|known| known.is_python))
    }

    /// All that were not observed, living or not.
    fn unobserved(&self, observed: &[Pid], looked_at: &dyn Fn(Pid) -> Option<LookedAt>) -> EndedChildren {
        let mut all = self.ended;
        let missed = self.living.iter().filter_map(|(&pid, &by_name)| self.missed(pid, by_name, observed, looked_at));
        missed.for_each(|is_python| all.add(is_python));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Pid = 1;

    fn counted(events: &[(Pid, TaskChange)], observed: &[Pid]) -> (u64, u64, u64) {
        let mut family = Family::new(ROOT, &[]);
        let helper = |pid: Pid| (pid == 99).then_some(LookedAt { is_python: true, is_helper: true });
        for (pid, change) in events {
            let event = TaskEvent { at: Nanos(0), pid: *pid, change: change.clone() };
            family.event(&event, observed, &helper);
        }
        let unobserved = family.unobserved(observed, &helper);
        (family.started, unobserved.all, unobserved.python)
    }

    #[test]
    fn each_child_counts_once_however_short_it_lives() {
        let fork = |pid, parent| (pid, TaskChange::Forked { parent });
        let exec = |pid, comm: &str| (pid, TaskChange::Executed { comm: comm.to_owned() });
        let end = |pid| (pid, TaskChange::Ended);
        let of_root = [ROOT];
        assert_eq!(counted(&[fork(2, ROOT), end(2), fork(3, ROOT)], &of_root), (2, 2, 2), "they run what it runs");
        assert_eq!(counted(&[fork(2, ROOT), exec(2, "gcc"), end(2)], &of_root), (1, 1, 0));
        assert_eq!(
            counted(&[fork(2, ROOT), exec(2, "sh"), fork(3, 2), exec(3, "python3"), end(3), end(2)], &of_root),
            (2, 2, 1)
        );
        assert_eq!(counted(&[fork(2, ROOT), fork(3, 2), end(2), end(3)], &[ROOT, 2]), (2, 1, 1), "one was observed");
        assert_eq!(counted(&[fork(99, ROOT), end(99)], &of_root), (1, 0, 0), "a helper of multiprocessing");
        assert_eq!(counted(&[fork(8, 7), end(8)], &of_root), (0, 0, 0), "of another program");
        // A pid that is used again is another process.
        assert_eq!(counted(&[fork(2, ROOT), end(2), fork(2, ROOT), end(2)], &of_root), (2, 2, 2));
    }
}
