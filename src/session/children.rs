//! Processes that the observed ones have started and that are not observed themselves: without them, a recording of a program
//! that does its work in child processes says that nothing happens. Polled by the session, and asked by `dump`.

use std::fs;
use std::path::PathBuf;

use rustc_hash::FxHashMap;

use crate::cpython::attach::attach_early;
use crate::event::{Nanos, Pid};
use crate::process::error::AttachError;
use crate::process::{Process, ProcessCpuTime, cpu_time, descendants};
use crate::profile::{ChildCounts, UnobservedChild};

use super::child_counts::{ChildCounter, LookedAt};

/// How often to look, in nanoseconds: at first, and later. Less often if a look takes long: at intervals of this many times
/// that, up to the longest one.
const FIRST_INTERVAL: u64 = 50_000_000;
const INTERVAL: u64 = 1_000_000_000;
const SPACING: u64 = 200;
const MAX_INTERVAL: u64 = 3_000_000_000;

/// How many of them are kept: those that used the most CPU time.
const MAX_CHILDREN: usize = 200;

/// A process between `fork` and `exec` is not what it is about to be: one that was seen once, and used less CPU time than that,
/// in nanoseconds, does not count.
const MIN_CPU: u64 = 50_000_000;

/// The child processes that are not observed, as far as they were seen.
#[derive(Debug)]
pub(super) struct ChildWatch {
    root: Pid,
    /// All that run Python are to be observed.
    followed: bool,
    counter: ChildCounter,
    first: Option<Nanos>,
    next: Nanos,
    /// By pid and start.
    seen: FxHashMap<(Pid, u64), SeenChild>,
    /// Whether executables are Pythons.
    executables: FxHashMap<PathBuf, bool>,
}

#[derive(Debug)]
struct SeenChild {
    exe: Option<PathBuf>,
    command: Vec<String>,
    is_python: bool,
    looks: u32,
    /// CPU time it had used when the recording began, and when it was last seen, in nanoseconds.
    cpu_before: u64,
    cpu: u64,
}

impl ChildWatch {
    /// Watches the processes below `root`.
    pub(super) fn new(root: Pid, followed: bool) -> ChildWatch {
        ChildWatch {
            root,
            followed,
            counter: ChildCounter::new(root),
            first: None,
            next: Nanos(0),
            seen: FxHashMap::default(),
            executables: FxHashMap::default(),
        }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Nanos {
        self.next
    }

    /// Looks at the child processes that are there now.
    pub(super) fn look(&mut self, at: Nanos, observed: &[Pid], clock: impl Fn() -> Nanos) {
        let begun = clock();
        let is_first = self.first.is_none();
        let first = *self.first.get_or_insert(at);
        if is_first {
            self.counter.begin(begun, observed);
        }
        for (&(pid, started), child) in &mut self.seen {
            // Also those that have another parent by now, because theirs has ended.
            if let Some(time) = cpu_time(pid).filter(|time| time.started == started) {
                child.cpu = time.ns;
            }
        }
        for pid in descendants(self.root) {
            if !observed.contains(&pid)
                && let Some(time) = cpu_time(pid)
            {
                self.see(pid, time, is_first);
            }
        }
        let ChildWatch { seen, counter, .. } = self;
        counter.take(begun, observed, &|pid| looked_at(seen, pid));
        let interval = INTERVAL.min(FIRST_INTERVAL + at.since(first) / 2);
        let spaced = (SPACING * clock().since(begun)).min(MAX_INTERVAL);
        self.next = Nanos(at.0 + interval.max(spaced));
    }

    fn see(&mut self, pid: Pid, time: ProcessCpuTime, is_first: bool) {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let key = (pid, time.started);
        if let Some(child) = self.seen.get_mut(&key)
            && child.exe == exe
            && !child.command.is_empty()
        {
            child.looks += 1;
            return;
        }
        let is_python = self.is_python(pid, exe.as_ref());
        let command = Process::open(pid).map(|process| process.command()).unwrap_or_default();
        let cpu_before = if is_first { time.ns } else { 0 };
        let child = self.seen.entry(key).or_insert(SeenChild {
            exe: None,
            command: Vec::new(),
            is_python,
            looks: 0,
            cpu_before,
            cpu: time.ns,
        });
        (child.exe, child.is_python) = (exe, is_python);
        child.looks += 1;
        if !command.is_empty() {
            child.command = command;
        }
    }

    fn is_python(&mut self, pid: Pid, exe: Option<&PathBuf>) -> bool {
        let Some(exe) = exe else { return false };
        if let Some(&known) = self.executables.get(exe) {
            return known;
        }
        match attach_early(pid) {
            Ok(_) => self.executables.insert(exe.clone(), true),
            Err(AttachError::NotPython { .. }) => self.executables.insert(exe.clone(), false),
            // It may be about to end, or to start.
            Err(_) => return false,
        };
        self.executables[exe]
    }

    /// How many there have been.
    pub(super) fn counts(&self, observed: &[Pid]) -> ChildCounts {
        let seen = self
            .real(observed)
            .fold((0, 0), |(all, python), (_, child)| (all + 1, python + u64::from(child.is_python)));
        self.counter.counts(observed, &|pid| looked_at(&self.seen, pid), seen, self.followed)
    }

    /// Those that were seen and not observed.
    fn real(&self, observed: &[Pid]) -> impl Iterator<Item = (Pid, &SeenChild)> {
        let real = self.seen.iter().filter(|((pid, _), child)| {
            !observed.contains(pid) && !is_helper(&child.command) && (child.looks > 1 || child.cpu >= MIN_CPU)
        });
        real.map(|(&(pid, _), child)| (pid, child))
    }

    /// Those that were not observed, the most costly first.
    pub(super) fn unobserved(&self, observed: &[Pid]) -> Vec<UnobservedChild> {
        let mut children: Vec<UnobservedChild> = self
            .real(observed)
            .map(|(pid, child)| UnobservedChild {
                pid,
                command: child.command.clone(),
                is_python: child.is_python,
                cpu_ns: child.cpu.saturating_sub(child.cpu_before),
            })
            .collect();
        children.sort_unstable_by_key(|child| (std::cmp::Reverse(child.cpu_ns), child.pid));
        children.truncate(MAX_CHILDREN);
        children
    }
}

/// What is known of the last process with a pid.
fn looked_at(seen: &FxHashMap<(Pid, u64), SeenChild>, pid: Pid) -> Option<LookedAt> {
    let last = seen.iter().filter(|((known, _), _)| *known == pid).max_by_key(|((_, started), _)| *started);
    last.map(|(_, child)| LookedAt { is_python: child.is_python, is_helper: is_helper(&child.command) })
}

/// A process of `multiprocessing`'s own, in which no code of the program runs.
fn is_helper(command: &[String]) -> bool {
    let modules =
        ["multiprocessing.resource_tracker", "multiprocessing.forkserver", "multiprocessing.semaphore_tracker"];
    command.iter().any(|word| modules.iter().any(|module| word.contains(module)))
}

/// The processes below `pid` that run Python.
pub fn python_children(pid: Pid) -> Vec<Pid> {
    let runs_python = |&child: &Pid| attach_early(child).is_ok_and(|target| !is_helper(&target.info.command));
    descendants(pid).into_iter().filter(runs_python).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_seen_with_its_cpu_time_and_is_no_python() {
        let own = std::process::id() as Pid;
        let mut watch = ChildWatch::new(own, false);
        let clock = || Nanos(1_000);
        watch.look(Nanos(0), &[own], clock);
        assert_eq!(watch.next(), Nanos(FIRST_INTERVAL));
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 60";
        let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = child.id() as Pid;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let found = loop {
            watch.look(Nanos(INTERVAL * 10), &[own], clock);
            let found = watch.unobserved(&[own]).into_iter().find(|child| child.pid == pid);
            let is_started = |found: &UnobservedChild| found.cpu_ns >= MIN_CPU && !found.command.is_empty();
            if let Some(found) = found.filter(is_started) {
                break found;
            }
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        assert!(!found.is_python && found.command[0] == "sh", "{found:?}");
        assert_eq!(watch.next(), Nanos(INTERVAL * 11), "later, once a second");
        assert!(watch.unobserved(&[own, pid]).iter().all(|child| child.pid != pid), "it is observed now");
        child.kill().unwrap();
        child.wait().unwrap();
        watch.look(Nanos(INTERVAL * 12), &[own], clock);
        assert!(watch.unobserved(&[own]).contains(&found), "what it used stays known");
    }

    #[test]
    fn helpers_of_multiprocessing_do_no_work_of_the_program() {
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(is_helper(&command(&["python", "-c", "from multiprocessing.resource_tracker import main;main(3)"])));
        assert!(!is_helper(&command(&["python", "-c", "from multiprocessing.spawn import spawn_main"])));
    }
}
