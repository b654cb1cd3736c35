//! Pools of threads, in the words of the report. Called by [`super::Report::new`].

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::contention::Blame;
use crate::event::{Nanos, ProcessId, ThreadId, ThreadState};
use crate::profile::Profile;
use crate::profile::pools::PoolThread;
use crate::stack::label::describe;
use crate::stack::own::own_frame;
use crate::stack::pool_worker::{PoolKind, pool_stack};
use crate::stack::{FrameId, StackId};

use super::gils::blamed;
use super::model::{PoolWork, ThreadPool};
use super::{fraction, ratio, thread_name};

/// How many lines of its work a pool is reported with.
const MAX_LINES: usize = 20;

/// A pool in which the threads are idle for less than this part of the time has nothing to do the work with. Taking an item and
/// finishing one takes a moment, too.
const MAX_IDLE: f64 = 0.1;
/// The same where each thread is given its work one by one.
const MAX_IDLE_IF_GIVEN: f64 = 0.2;

/// Threads are of one pool if they take work from the same queue, or, where that is not known, have the same name but for
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PoolIdentity {
    process: ProcessId,
    kind: PoolKind,
    name: String,
    queue: Option<u64>,
}

type PoolMembers<'a> = Vec<(ThreadId, &'a PoolThread)>;

/// The pools of all observed processes, the busiest first.
pub(super) fn pools(profile: &Profile) -> Vec<ThreadPool> {
    if profile.selection().is_some() {
        // The times of all threads say nothing of what was selected.
        return Vec::new();
    }
    let work = WorkByThread::of(profile);
    let found = identified(profile).into_iter();
    let mut pools: Vec<ThreadPool> = found.filter_map(|(pool, members)| work.pool(pool, &members)).collect();
    let busy = |pool: &ThreadPool| pool.busy_mean;
    pools.sort_by(|a, b| busy(b).total_cmp(&busy(a)));
    pools
}

fn identified(profile: &Profile) -> BTreeMap<PoolIdentity, PoolMembers<'_>> {
    let mut pools: BTreeMap<PoolIdentity, PoolMembers<'_>> = BTreeMap::new();
    for (thread, known) in profile.pools.threads() {
        let process = profile.threads[thread.0 as usize].process;
        let name = without_number(&thread_name(profile, thread));
        let queue = known.queue.filter(|_| known.kind.has_one_queue());
        let pool = PoolIdentity { process, kind: known.kind, name, queue };
        pools.entry(pool).or_default().push((thread, known));
    }
    // Threads whose queue was not found belong to the pool of the same name, if there is only one.
    let mut known: BTreeMap<PoolIdentity, Vec<PoolIdentity>> = BTreeMap::new();
    for pool in pools.keys() {
        let of_name = known.entry(PoolIdentity { queue: None, ..pool.clone() }).or_default();
        of_name.extend(pool.queue.map(|_| pool.clone()));
    }
    for (pool, same) in known {
        let mut same = same.iter();
        if let (Some(other), None) = (same.next().cloned(), same.next())
            && let Some(members) = pools.remove(&pool)
        {
            pools.entry(other).or_default().extend(members);
        }
    }
    pools
}

/// `asyncio_0`, `asyncio_1`: `asyncio`; `Thread-3 (worker)`: `Thread (worker)`.
fn without_number(name: &str) -> String {
    if let Some((before, target)) = name.split_once(" (") {
        return format!("{} ({target}", without_number(before));
    }
    let short = name.trim_end_matches(|char: char| char.is_ascii_digit());
    let short = short.trim_end_matches(['_', '-', ' ', '.', '#']);
    if short.is_empty() { name.to_owned() } else { short.to_owned() }
}

/// What threads of pools did while they had work, by stack, in nanoseconds.
struct WorkByThread<'a> {
    profile: &'a Profile,
    work: FxHashMap<ThreadId, Vec<(StackId, ThreadState, u64)>>,
}

impl WorkByThread<'_> {
    fn of(profile: &Profile) -> WorkByThread<'_> {
        let period = profile.session.period_ns();
        let mut work: FxHashMap<ThreadId, Vec<(StackId, ThreadState, u64)>> = FxHashMap::default();
        for (thread, _) in profile.pools.threads() {
            work.insert(thread, Vec::new());
        }
        if !work.is_empty() {
            for (key, weight) in profile.tree.sorted() {
                let Some(of_thread) = work.get_mut(&key.thread) else { continue };
                if !key.lost && pool_stack(&profile.stacks, key.stack).is_none_or(|found| !found.is_idle) {
                    of_thread.push((key.stack, key.state, weight.ns(period)));
                }
            }
        }
        WorkByThread { profile, work }
    }

    /// A pool, if it was there for any time.
    fn pool(&self, pool: PoolIdentity, members: &PoolMembers<'_>) -> Option<ThreadPool> {
        let profile = self.profile;
        let lengths = pool.queue.map(|queue| profile.pools.lengths(pool.process.0, queue)).unwrap_or_default();
        let mut times = PoolSums { queue_is_known: !lengths.is_empty(), ..PoolSums::default() };
        let size = members_at_a_time(profile, members);
        let mut queued = 0.0;
        for (index, from, to) in profile.pools.intervals(profile.session.start, profile.session.end) {
            let (mut there, mut idle) = (0, 0);
            for (thread, known) in members {
                let info = &profile.threads[thread.0 as usize];
                let alive = info.end.min(to).since(info.start.max(from));
                there += alive;
                idle += known.idle.get(index).copied().unwrap_or(0).min(alive);
            }
            if let Some(length) = lengths.get(index).filter(|length| length.count > 0) {
                queued = length.sum as f64 / length.count as f64;
                times.queued_sum += queued;
                times.queued_intervals += 1;
                times.queued_max = times.queued_max.max(length.max);
            }
            times.add(to.since(from), there, idle, queued > 0.0, size);
        }
        (times.time > 0).then(|| ThreadPool {
            pid: profile.processes[pool.process.0 as usize].pid,
            kind: pool.kind.name().to_owned(),
            name: pool.name,
            tids: members.iter().map(|(thread, _)| profile.threads[thread.0 as usize].tid).collect(),
            size,
            busy_mean: ratio(times.busy, times.time),
            saturated_fraction: fraction(times.saturated, times.relevant),
            queued_mean: times.queue_is_known.then(|| (times.queued_mean() * 1e3).round() / 1e3),
            queued_max: times.queue_is_known.then_some(times.queued_max),
            work: self.lines(members),
        })
    }

    /// What the threads did, by the program's own line.
    fn lines(&self, members: &PoolMembers<'_>) -> Vec<PoolWork> {
        let of_thread = |&(thread, _): &(ThreadId, _)| self.work.get(&thread).into_iter().flatten();
        let parts = members.iter().flat_map(|member| {
            of_thread(member).map(|&(stack, state, ns)| WorkPart { thread: member.0, stack, state, ns })
        });
        work_lines(self.profile, parts)
    }
}

/// A part of what threads did.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkPart {
    pub thread: ThreadId,
    pub stack: StackId,
    pub state: ThreadState,
    pub ns: u64,
}

/// What threads did by the program's own line, the longest first.
pub(super) fn work_lines(profile: &Profile, parts: impl Iterator<Item = WorkPart>) -> Vec<PoolWork> {
    let mut lines: FxHashMap<FrameId, Vec<WorkPart>> = FxHashMap::default();
    for part in parts {
        if let Some(frame) = own_frame(&profile.stacks, part.stack) {
            lines.entry(frame).or_default().push(part);
        }
    }
    let mut lines: Vec<PoolWork> = lines.into_iter().map(|(frame, all)| work_line(profile, frame, &all)).collect();
    lines.sort_by(|a, b| b.by.seconds.total_cmp(&a.by.seconds).then_with(|| a.line.cmp(&b.line)));
    lines.truncate(MAX_LINES);
    lines
}

fn work_line(profile: &Profile, frame: FrameId, all: &[WorkPart]) -> PoolWork {
    let mut states: FxHashMap<ThreadState, u64> = FxHashMap::default();
    let mut places: FxHashMap<(ThreadId, StackId), u64> = FxHashMap::default();
    for part in all {
        *states.entry(part.state).or_default() += part.ns;
        *places.entry((part.thread, part.stack)).or_default() += part.ns;
    }
    let total: u64 = all.iter().map(|part| part.ns).sum();
    let is_blocked = |state: ThreadState| matches!(state, ThreadState::Blocked(_) | ThreadState::GilHeldOffCpu(_));
    let blocked: u64 = states.iter().filter(|(state, _)| is_blocked(**state)).map(|(_, ns)| ns).sum();
    let longest = states.into_iter().max_by_key(|&(state, ns)| (ns, state.name()));
    let state = longest.map_or(ThreadState::Unknown, |(state, _)| state);
    let at = places.into_iter().max_by_key(|&(at, ns)| (ns, at)).map(|(at, _)| at);
    let (thread, stack) = at.unwrap_or((ThreadId(0), StackId::EMPTY));
    PoolWork {
        line: describe(&profile.stacks, frame, false).label,
        state: state.name().to_owned(),
        syscall: state.syscall().map(|call| call.to_string()),
        blocked_fraction: fraction(blocked, total),
        by: blamed(profile, &Blame { thread, stack, ns: total }),
    }
}

/// How many threads there were at a time, at most.
fn members_at_a_time(profile: &Profile, members: &PoolMembers<'_>) -> usize {
    let lives = members.iter().map(|(thread, _)| &profile.threads[thread.0 as usize]);
    let mut changes: Vec<(Nanos, bool)> = lives.flat_map(|info| [(info.start, true), (info.end, false)]).collect();
    // Who ends at a moment is gone when another begins.
    changes.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, begins) in changes {
        now = if begins { now + 1 } else { now.saturating_sub(1) };
        most = most.max(now);
    }
    most.max(1)
}

/// What the intervals of a pool add up to, in nanoseconds.
#[derive(Debug, Default)]
struct PoolSums {
    queue_is_known: bool,
    /// In which it was there, and how long its threads had work meanwhile.
    time: u64,
    busy: u64,
    /// In which something was in its queue, or in which all of its threads were there if that is not known; and in which all
    /// had work then.
    relevant: u64,
    saturated: u64,
    queued_sum: f64,
    queued_intervals: u32,
    queued_max: u64,
}

impl PoolSums {
    fn add(&mut self, time: u64, there: u64, idle: u64, is_queued: bool, size: usize) {
        if there == 0 {
            return;
        }
        self.time += time;
        self.busy += there - idle;
        let max_idle = if self.queue_is_known { MAX_IDLE } else { MAX_IDLE_IF_GIVEN };
        let are_all_there = there as f64 >= time as f64 * size as f64 * (1.0 - max_idle);
        // Without a queue it is not known whether there was anything to do while the pool was not complete.
        let is_relevant = if self.queue_is_known { is_queued } else { are_all_there };
        if !is_relevant {
            return;
        }
        self.relevant += time;
        if are_all_there && idle as f64 <= max_idle * there as f64 {
            self.saturated += time;
        }
    }

    fn queued_mean(&self) -> f64 {
        if self.queued_intervals == 0 { 0.0 } else { self.queued_sum / f64::from(self.queued_intervals) }
    }
}
