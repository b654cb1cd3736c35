//! Threads that do the same thing have names that differ in a number: those of a pool, workers, readers. They are a group,
//! and sentences speak of groups. Called by everything in the report that names threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use crate::event::name_pattern as pattern;
use crate::event::{Pid, ProcessId, ThreadId, Tid};
use crate::profile::Profile;
use crate::stack::label::one_line;

use super::model::{Report, Thread};
use super::text::units::label;

/// A group of threads whose names nobody knows.
const UNNAMED: &str = "";
/// Up to this many threads are named each; of more only the number and what they are called in common.
const MAX_NAMED: usize = 3;

/// A group of a process: the name its threads have in common.
pub(super) type GroupKey = (ProcessId, Arc<str>);

/// All threads of a recording by their groups.
pub(super) struct ThreadGroups<'p> {
    profile: &'p Profile,
    patterns: Vec<Arc<str>>,
    /// How many threads of a process have a name.
    same: BTreeMap<(ProcessId, &'p str), usize>,
}

/// Threads as the subject of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThreadWords {
    /// `MainThread`, `a and b`, `8 threads (ThreadPoolExecutor-0_*)`.
    pub words: String,
    pub count: usize,
}

impl<'p> ThreadGroups<'p> {
    pub fn new(profile: &'p Profile) -> ThreadGroups<'p> {
        let mut known: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let pattern = |name: Option<&str>| {
            let pattern = name.map_or_else(|| UNNAMED.to_owned(), |name| pattern(&one_line(name)));
            known.entry(pattern).or_insert_with_key(|pattern| pattern.as_str().into()).clone()
        };
        let patterns = profile.threads.iter().map(|thread| thread.name.as_deref()).map(pattern).collect();
        let mut same = BTreeMap::new();
        for info in &profile.threads {
            if let Some(name) = &info.name {
                *same.entry((info.process, &**name)).or_default() += 1;
            }
        }
        ThreadGroups { profile, patterns, same }
    }

    pub fn key(&self, thread: ThreadId) -> GroupKey {
        let index = thread.0 as usize;
        (self.profile.threads[index].process, self.patterns[index].clone())
    }

    /// What to call these threads, the most important first.
    pub fn words(&self, threads: &[ThreadId]) -> ThreadWords {
        let count = self.count(threads);
        let words = match threads {
            [] => "nobody".to_owned(),
            [only] if count == 1 => self.name(*only),
            _ if self.is_one_group(threads) => self.group(threads),
            _ if threads.len() <= MAX_NAMED => {
                joined(&threads.iter().map(|thread| self.name(*thread)).collect::<Vec<_>>())
            }
            _ => {
                let mut groups: Vec<GroupKey> = Vec::new();
                for key in threads.iter().map(|thread| self.key(*thread)) {
                    if !groups.contains(&key) && groups.len() <= MAX_NAMED {
                        groups.push(key);
                    }
                }
                let more = if groups.len() > MAX_NAMED { ", ..." } else { "" };
                let known = groups.iter().take(MAX_NAMED).filter(|(_, pattern)| &**pattern != UNNAMED);
                let names: Vec<&str> = known.map(|(_, pattern)| &**pattern).collect();
                format!("{count} threads ({}{more})", names.join(", "))
            }
        };
        ThreadWords { words: words + &self.process(threads), count }
    }

    fn is_one_group(&self, threads: &[ThreadId]) -> bool {
        threads.windows(2).all(|two| self.key(two[0]) == self.key(two[1]))
    }

    fn group(&self, threads: &[ThreadId]) -> String {
        let pattern = &*self.key(threads[0]).1;
        match pattern {
            UNNAMED => format!("{} unnamed threads", self.count(threads)),
            pattern => format!("{} threads ({pattern})", self.count(threads)),
        }
    }

    /// How many these are: a row can be that of several.
    fn count(&self, threads: &[ThreadId]) -> usize {
        let counts = threads.iter().map(|thread| self.profile.threads[thread.0 as usize].count());
        usize::try_from(counts.sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// A thread's name, with its tid if another has the same.
    fn name(&self, thread: ThreadId) -> String {
        let info = &self.profile.threads[thread.0 as usize];
        if info.folded.count > 0 {
            return self.group(&[thread]);
        }
        let Some(name) = &info.name else { return format!("thread {}", info.tid) };
        let same = self.same.get(&(info.process, &**name)).copied().unwrap_or(0);
        if same > 1 { format!("{} ({})", one_line(name), info.tid) } else { one_line(name) }
    }

    /// Which process that is, if there are several.
    fn process(&self, threads: &[ThreadId]) -> String {
        let processes = &self.profile.processes;
        let Some(first) = threads.first().filter(|_| processes.len() > 1) else { return String::new() };
        let process = self.profile.threads[first.0 as usize].process;
        let is_same = |thread: &ThreadId| self.profile.threads[thread.0 as usize].process == process;
        match threads.iter().all(is_same) {
            true => format!(" of process {}", processes[process.0 as usize].pid),
            false => String::new(),
        }
    }
}

/// As [`ThreadGroups::words`], of threads in a report.
pub(super) fn words_of(report: &Report, threads: &[(Tid, &str)]) -> ThreadWords {
    let mut seen: BTreeSet<(Tid, &str)> = BTreeSet::new();
    let known: Vec<(Tid, &str)> = threads.iter().copied().filter(|thread| seen.insert(*thread)).collect();
    let mut by_tid: BTreeMap<Tid, &Thread> = BTreeMap::new();
    report.threads.iter().rev().for_each(|thread| {
        by_tid.insert(thread.tid, thread);
    });
    let of = |tid: Tid| by_tid.get(&tid).copied();
    let name = |&(tid, name): &(Tid, &str)| {
        let pid = of(tid).map(|thread| thread.pid);
        let is_same = |other: &&Thread| Some(other.pid) == pid && other.name.as_deref() == Some(name);
        if report.threads.iter().filter(is_same).count() > 1 { label(name, tid) } else { one_line(name) }
    };
    let mut patterns: Vec<String> = known.iter().map(|(_, name)| pattern(&one_line(name))).collect();
    patterns.sort();
    patterns.dedup();
    let words = match known.as_slice() {
        [only] => name(only),
        _ if patterns.len() > 1 && known.len() <= MAX_NAMED => joined(&known.iter().map(name).collect::<Vec<_>>()),
        _ => {
            let more = if patterns.len() > MAX_NAMED { ", ..." } else { "" };
            patterns.truncate(MAX_NAMED);
            format!("{} threads ({}{more})", known.len(), patterns.join(", "))
        }
    };
    let mut pids: Vec<Pid> = known.iter().filter_map(|&(tid, _)| of(tid)).map(|thread| thread.pid).collect();
    pids.dedup();
    let several = report.threads.iter().any(|thread| Some(&thread.pid) != pids.first());
    let process = match pids.as_slice() {
        [pid] if several => format!(" of process {pid}"),
        _ => String::new(),
    };
    ThreadWords { words: words + &process, count: known.len() }
}

/// `a, b and c`
fn joined(names: &[String]) -> String {
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Mode;
    use crate::report::fixture;

    #[test]
    fn groups_are_named_in_sentences() {
        let profile = fixture::profile(Mode::Kernel, false, &["", "w1", "w2", "w3", "main", "same", "same", "other"]);
        let groups = ThreadGroups::new(&profile);
        let words = |threads: &[u32]| {
            let threads: Vec<ThreadId> = threads.iter().copied().map(ThreadId).collect();
            groups.words(&threads).words
        };
        assert_eq!(words(&[]), "nobody");
        assert_eq!(words(&[0]), "thread 100");
        assert_eq!(words(&[4]), "main");
        assert_eq!(words(&[5]), "same (105)");
        assert_eq!(words(&[5, 6]), "2 threads (same)");
        assert_eq!(words(&[1, 2, 3]), "3 threads (w*)");
        assert_eq!(words(&[1, 4, 7]), "w1, main and other");
        assert_eq!(words(&[1, 2, 4, 7]), "4 threads (w*, main, other)");
    }

    #[test]
    fn threads_of_a_report_are_named_in_the_same_way() {
        let report = fixture::report();
        let words = |threads: &[(Tid, &str)]| words_of(&report, threads).words;
        assert_eq!(words(&[(101, "client")]), "client");
        assert_eq!(words(&[(101, "client"), (101, "client")]), "client");
        assert_eq!(words(&[(101, "client"), (102, "cruncher")]), "client and cruncher");
        assert_eq!(words(&[(7, "w1"), (8, "w2")]), "2 threads (w*)");
        let mut report = report;
        report.threads[2].name = Some("client".to_owned());
        assert_eq!(words_of(&report, &[(101, "client")]).words, "client (101)", "there are two of them");
        report.threads[2].pid = 200;
        assert_eq!(words_of(&report, &[(101, "client")]).words, "client of process 100");
    }

    #[test]
    fn with_several_processes_it_is_said_which() {
        use crate::event::{Event, Nanos, ProcessInfo};
        let mut profile = fixture::profile(Mode::Kernel, false, &["", "w1"]);
        let info = ProcessInfo { pid: 200, command: Vec::new(), python: String::new(), free_threaded: false };
        profile.push(&Event::Process { process: ProcessId(1), info: info.into() });
        let (thread, process) = (ThreadId(2), ProcessId(1));
        profile.push(&Event::ThreadStarted { at: Nanos(1), thread, process, tid: 201 });
        profile.push(&Event::ThreadNamed { thread, name: "w2".into() });
        let groups = ThreadGroups::new(&profile);
        assert_eq!(groups.words(&[ThreadId(1)]).words, "w1 of process 100");
        assert_eq!(groups.words(&[ThreadId(1), thread]).words, "w1 and w2");
    }
}
