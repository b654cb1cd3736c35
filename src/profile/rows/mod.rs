//! Which row of [`Profile::threads`] a thread has. A row of its own, as long as it lives and for a while after that; then
//! those that have ended and are many of a kind share one: programs that start a thread for each request start millions of
//! them.

mod locks;

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use self::locks::{LockRows, MAX_LOCKS};
use super::{Profile, ThreadInfo};
use crate::contention::folding::FoldedRows;
use crate::event::{Event, GilId, LockId, ObjectId, OffCpu, ProcessId, Renumber, ThreadId, name_pattern};

/// How many threads keep their rows after they have ended: records of them may still come, and nobody reads more rows.
const MAX_ENDED: usize = 512;
/// From this number on, those that have ended are many of a kind.
const MIN_CROWD: usize = 16;
/// How many keep their rows because they are few of their kind ...
const MAX_KEPT: usize = 512;
/// ... and how many kinds have rows of their own; the rest has one for each process.
const MAX_KINDS: usize = 512;
/// Of how many threads that share a row it is known which one. What comes later still of others counts as an unknown thread's.
const MAX_KNOWN_FOLDED: usize = 1 << 14;
/// Threads of too many kinds to have rows of their own.
const OTHER_KINDS: &str = "threads that have ended";

/// Threads that have ended and share a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldedThreads {
    /// How many; 0 for a row of a single thread.
    pub count: u64,
    /// For how long they lived, all together, in nanoseconds.
    pub lived_ns: u64,
}

/// The threads of a process that have the name in common but for the number.
type ThreadKind = (ProcessId, Option<Arc<str>>);

/// The rows of all threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadRows {
    /// By id, of all threads that may still be mentioned; none as long as ids are rows.
    rows: Option<FxHashMap<ThreadId, ThreadId>>,
    /// Rows of threads that have ended, in the order of their ends.
    ended: VecDeque<ThreadId>,
    /// Those of them that were looked at, and are few of their kind.
    kept: VecDeque<ThreadId>,
    kinds: FxHashMap<ThreadKind, ThreadId>,
    /// The ids of those that share a row, the oldest first.
    folded: VecDeque<ThreadId>,
    /// How often rows have changed.
    changes: u64,
    locks: LockRows,
}

impl ThreadInfo {
    /// How many threads it stands for.
    pub fn count(&self) -> u64 {
        self.folded.count.max(1)
    }

    /// For how long it lived as far as it was observed, in nanoseconds; for several, all together.
    pub fn lived_ns(&self) -> u64 {
        if self.folded.count > 0 { self.folded.lived_ns } else { self.end.since(self.start) }
    }

    /// What it is called, if it has a name: `worker`, `Thread-* (311000 threads)`.
    pub fn shown_name(&self) -> Option<String> {
        match (&self.name, self.folded.count) {
            (name, 0) => name.as_deref().map(str::to_owned),
            (Some(name), count) => Some(format!("{name} ({count} threads)")),
            (None, count) => Some(format!("{count} unnamed threads")),
        }
    }

    /// A row for threads of a kind, like this one, which is one of them.
    fn of_kind(&self, name: Option<Arc<str>>) -> ThreadInfo {
        ThreadInfo {
            name,
            tid: 0,
            samples: 0,
            lost: 0,
            cpu_ns: 0,
            account: None,
            last_sample: None,
            exited: true,
            folded: FoldedThreads::default(),
            ..self.clone()
        }
    }

    /// Another becomes part of it.
    pub(crate) fn add(&mut self, other: &ThreadInfo) {
        self.folded.count += other.count();
        self.folded.lived_ns = self.folded.lived_ns.saturating_add(other.lived_ns());
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.samples += other.samples;
        self.lost += other.lost;
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.account = match (self.account, other.account) {
            (Some(account), Some(more)) => Some(account.and(more)),
            (account, more) => account.or(more),
        };
    }
}

impl ThreadRows {
    /// How often rows have changed: as long as that is the same, so is the row of each thread.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The row of a thread, if it is still known.
    pub fn row(&self, id: ThreadId) -> Option<ThreadId> {
        match &self.rows {
            None => Some(id),
            Some(rows) => rows.get(&id).copied(),
        }
    }

    /// The row that threads like this one share, if they do.
    pub fn kind(&self, info: &ThreadInfo) -> Option<ThreadId> {
        let name = info.name.as_deref().map(|name| name_pattern(name).into());
        let other = || self.kinds.get(&(info.process, Some(OTHER_KINDS.into())));
        self.kinds.get(&(info.process, name)).or_else(other).copied()
    }

    fn started(&mut self, id: ThreadId, row: ThreadId) {
        if let Some(rows) = &mut self.rows {
            rows.insert(id, row);
        }
    }

    /// The thread of a row has ended: it may become part of another.
    pub(super) fn has_ended(&mut self, row: ThreadId) {
        self.ended.push_back(row);
    }

    /// Chooses which of those that have ended are to share a row: their rows.
    fn choose(&mut self, threads: &[ThreadInfo], is_over: bool) -> Vec<(ThreadId, ThreadKind)> {
        let kind = |row: ThreadId| -> ThreadKind {
            let info = &threads[row.0 as usize];
            (info.process, info.name.as_deref().map(|name| name_pattern(name).into()))
        };
        let mut counts: FxHashMap<ThreadKind, usize> = FxHashMap::default();
        for &row in self.kept.iter().chain(&self.ended) {
            *counts.entry(kind(row)).or_default() += 1;
        }
        let looked_at = if is_over { self.ended.len() } else { self.ended.len() - MAX_ENDED };
        let old: Vec<ThreadId> = self.kept.drain(..).chain(self.ended.drain(..looked_at)).collect();
        let (mut chosen, mut few) = (Vec::new(), VecDeque::new());
        for row in old {
            let kind = kind(row);
            match self.kinds.contains_key(&kind) || counts.get(&kind).is_some_and(|&count| count >= MIN_CROWD) {
                true => chosen.push((row, kind)),
                false => few.push_back((row, kind)),
            }
        }
        let too_many = few.len().saturating_sub(MAX_KEPT);
        chosen.extend(few.drain(..too_many));
        self.kept = few.into_iter().map(|(row, _)| row).collect();
        chosen
    }

    fn fold(&mut self, rows: &FoldedRows, threads: &[ThreadInfo]) {
        let kinds: FxHashSet<ThreadId> = self.kinds.values().copied().collect();
        let known = self.rows.get_or_insert_with(|| {
            let all = threads.iter().enumerate().map(|(row, info)| (info.id, ThreadId(row as u32)));
            // Rows of kinds have the id of one of their threads.
            all.filter(|(_, row)| !kinds.contains(row)).collect()
        });
        for (row, info) in threads.iter().enumerate() {
            if rows.is_folded(ThreadId(row as u32)) {
                self.folded.push_back(info.id);
            }
        }
        while self.folded.len() > MAX_KNOWN_FOLDED {
            if let Some(oldest) = self.folded.pop_front() {
                known.remove(&oldest);
            }
        }
        known.values_mut().for_each(|row| rows.put(row));
        self.kinds.values_mut().for_each(|row| rows.put(row));
        self.ended.iter_mut().chain(&mut self.kept).for_each(|row| rows.put(row));
        self.changes += 1;
    }
}

/// Ids of an event as rows.
struct IdsToRows<'p> {
    rows: &'p mut ThreadRows,
    threads: &'p mut Vec<ThreadInfo>,
}

impl Renumber for IdsToRows<'_> {
    fn thread(&mut self, id: ThreadId) -> ThreadId {
        if let Some(row) = self.rows.row(id) {
            return row;
        }
        // One that ended so long ago that nobody knows any more which it was.
        let Some(first) = self.threads.first() else { return id };
        kind_row(self.rows, self.threads, (first.process, Some(OTHER_KINDS.into())), ThreadId(0))
    }

    fn process(&mut self, id: ProcessId) -> ProcessId {
        id
    }

    fn gil(&mut self, id: GilId) -> GilId {
        id
    }

    fn lock(&mut self, id: LockId) -> LockId {
        self.rows.locks.row(id)
    }

    fn object(&mut self, id: ObjectId) -> ObjectId {
        id
    }
}

/// The row that threads of a kind share, of which `row` is one.
fn kind_row(rows: &mut ThreadRows, threads: &mut Vec<ThreadInfo>, kind: ThreadKind, row: ThreadId) -> ThreadId {
    let kind = match rows.kinds.len() < MAX_KINDS || rows.kinds.contains_key(&kind) {
        true => kind,
        false => (kind.0, Some(OTHER_KINDS.into())),
    };
    *rows.kinds.entry(kind).or_insert_with_key(|(process, name)| {
        let mut info = threads[row.0 as usize].of_kind(name.clone());
        info.process = *process;
        threads.push(info);
        ThreadId(threads.len() as u32 - 1)
    })
}

impl Profile {
    /// How many threads were seen.
    pub fn thread_count(&self) -> u64 {
        self.threads.iter().map(ThreadInfo::count).sum()
    }

    /// The event with rows in place of ids, if they are not the same.
    pub(super) fn with_rows(&mut self, event: &Event) -> Option<Event> {
        if let Event::Lock { lock, info } = event
            && lock.0 >= MAX_LOCKS
            && !self.keeps_threads()
        {
            let next = LockId(self.locks.infos().len() as u32);
            let (lock, info) = self.rows.locks.found(*lock, info, next);
            return Some(Event::Lock { lock, info });
        }
        if self.rows.rows.is_none() && self.rows.locks.is_empty() {
            return None;
        }
        let mut event = event.clone();
        if let Event::ThreadStarted { thread, .. } = &mut event {
            let row = ThreadId(self.threads.len() as u32);
            self.rows.started(*thread, row);
            *thread = row;
            return Some(event);
        }
        event.renumber(&mut IdsToRows { rows: &mut self.rows, threads: &mut self.threads });
        Some(event)
    }

    /// Replaces the ids in times off the CPU by rows.
    pub fn put_rows(&mut self, times: &mut [OffCpu]) {
        let mut to = IdsToRows { rows: &mut self.rows, threads: &mut self.threads };
        for off in times {
            let mut event = Event::OffCpu(*off);
            event.renumber(&mut to);
            if let Event::OffCpu(changed) = event {
                *off = changed;
            }
        }
    }

    /// What is known of a thread, alone or with others that share its row.
    pub fn thread(&self, id: ThreadId) -> Option<&ThreadInfo> {
        self.threads.get(self.rows.row(id)?.0 as usize)
    }

    /// The row of a thread, if it has one.
    pub fn row(&self, id: ThreadId) -> Option<ThreadId> {
        self.rows.row(id)
    }

    /// Folds rows of threads that have ended, if there are many.
    pub(super) fn fold_if_many(&mut self) {
        if self.rows.ended.len() >= 2 * MAX_ENDED && !self.keeps_threads() {
            self.fold_ended(false);
        }
    }

    /// What happened when, and what is selected, is kept by thread.
    fn keeps_threads(&self) -> bool {
        self.timeline.is_some() || self.retention.waits || self.retention.selection.is_some()
    }

    /// Nothing more comes: whoever is one of a kind of which there is a row becomes part of it.
    pub(super) fn fold_the_rest(&mut self) {
        if self.rows.changes > 0 && !self.keeps_threads() {
            self.fold_ended(true);
        }
    }

    fn fold_ended(&mut self, is_over: bool) {
        let mut into = FxHashMap::default();
        for (row, kind) in self.rows.choose(&self.threads, is_over) {
            into.insert(row, kind_row(&mut self.rows, &mut self.threads, kind, row));
        }
        if into.is_empty() {
            return;
        }
        let rows = FoldedRows::new(self.threads.len(), &into);
        self.rows.fold(&rows, &self.threads);
        for (&row, &kind) in &into {
            let info = self.threads[row.0 as usize].clone();
            self.threads[kind.0 as usize].add(&info);
        }
        let mut row = 0..;
        self.threads.retain(|_| row.next().is_some_and(|row| !rows.is_folded(ThreadId(row))));
        self.fold_tables(&rows);
    }

    fn fold_tables(&mut self, rows: &FoldedRows) {
        self.tree.fold(rows);
        self.whole.fold(rows);
        self.off_cpu_order.fold(rows);
        self.gils.iter_mut().for_each(|gil| gil.fold(rows));
        self.locks.fold(rows);
        self.refcounts.fold(rows);
        self.collections.fold(rows);
        self.pools.fold(rows);
        self.deadlocks.iter_mut().for_each(|deadlock| deadlock.fold(rows));
    }
}

#[cfg(test)]
mod tests;
