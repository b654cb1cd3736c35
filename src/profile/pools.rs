//! When the threads of pools had nothing to do, and how much waited in their queues. Kept in intervals of one length, which
//! doubles when there are too many: how many threads were idle at a time is known only if their times are. Owned by
//! [`super::Profile`].

use rustc_hash::FxHashMap;

use crate::contention::folding::FoldedRows;
use crate::event::{Event, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::pool_worker::{PoolKind, PoolStack, pool_stack};
use crate::stack::{Interner, StackId};

/// The length of an interval at first, in nanoseconds.
const FIRST_WIDTH: u64 = 50_000_000;
const MAX_INTERVALS: usize = 512;
/// Times of more threads are not kept: no pool has that many, and programs can start a thread for each request.
const MAX_THREADS: usize = 4096;

/// What is known of one queue in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLengths {
    pub sum: u64,
    pub count: u64,
    pub max: u64,
}

/// A thread that takes work from a queue.
#[derive(Clone, Debug)]
pub struct PoolThread {
    pub kind: PoolKind,
    /// For how long it was idle in each interval, in nanoseconds.
    pub idle: Vec<u64>,
    /// The address of its queue, if it was found.
    pub queue: Option<u64>,
}

/// The threads of all pools.
#[derive(Clone, Debug, Default)]
pub struct PoolTimes {
    /// When the first interval begins.
    origin: Option<Nanos>,
    width: u64,
    threads: FxHashMap<ThreadId, PoolThread>,
    /// By the process and the address of the queue.
    queues: FxHashMap<(u32, u64), Vec<QueueLengths>>,
    /// What stacks say, by their number.
    stacks: Vec<Option<Option<PoolStack>>>,
}

impl PoolTimes {
    /// What a stack says of a thread of a pool.
    fn stack(&mut self, stacks: &Interner, stack: StackId) -> Option<PoolStack> {
        let index = stack.index() as usize;
        if index > stacks.stacks().len() {
            // It is not known yet what it is.
            return None;
        }
        if self.stacks.len() <= index {
            self.stacks.resize(index + 1, None);
        }
        *self.stacks[index].get_or_insert_with(|| pool_stack(stacks, stack))
    }

    /// Takes note of what a thread did, if it is one of a pool. Samples stand for periods of this length, in nanoseconds.
    pub fn event(&mut self, event: &Event, stacks: &Interner, period_ns: f64) {
        match *event {
            Event::Sample { at, periods, thread, state, stack, .. } => {
                let time = (period_ns * f64::from(periods)) as u64;
                self.was_at(stacks, thread, stack, (at, Nanos(at.0.saturating_add(time))), may_be_idle(state));
            }
            Event::OffCpu(OffCpu { thread, start, end, state, stack, .. }) => {
                self.was_at(stacks, thread, stack, (start, end), may_be_idle(state));
            }
            _ => {}
        }
    }

    /// A thread had this stack from one moment to another, in a state in which it may be idle or not.
    pub fn was_at(
        &mut self,
        stacks: &Interner,
        thread: ThreadId,
        stack: StackId,
        time: (Nanos, Nanos),
        may_be_idle: bool,
    ) {
        let Some(PoolStack { kind, is_idle }) = self.stack(stacks, stack) else { return };
        if !self.threads.contains_key(&thread) {
            if self.threads.len() == MAX_THREADS {
                return;
            }
            self.threads.insert(thread, PoolThread { kind, idle: Vec::new(), queue: None });
        }
        if !is_idle || !may_be_idle {
            return;
        }
        let (first, last) = (self.interval(time.0), self.interval(Nanos(time.1.0.saturating_sub(1).max(time.0.0))));
        // The second may have made the intervals longer.
        let first = first.min(self.interval(time.0));
        let (origin, width) = (self.origin, self.width);
        let Some(known) = self.threads.get_mut(&thread) else { return };
        for index in first..=last {
            let (start, end) = range(origin, width, index);
            *at(&mut known.idle, index) += time.1.min(end).since(time.0.max(start));
        }
    }

    /// Threads that have ended and are many are no pool: when one was idle is of no use without when it lived.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.threads.retain(|thread, _| !rows.is_folded(*thread));
        self.threads = self.threads.drain().map(|(thread, known)| (rows.of(thread), known)).collect();
    }

    /// The queue of a thread had this length.
    pub fn queue(&mut self, process: u32, thread: ThreadId, queue: u64, length: u64, now: Nanos) {
        let Some(known) = self.threads.get_mut(&thread) else { return };
        if self.queues.len() == MAX_THREADS && !self.queues.contains_key(&(process, queue)) {
            return;
        }
        known.queue = Some(queue);
        let index = self.interval(now);
        let lengths = at(self.queues.entry((process, queue)).or_default(), index);
        lengths.sum = lengths.sum.saturating_add(length);
        lengths.count += 1;
        lengths.max = lengths.max.max(length);
    }

    /// All threads of pools, in their order.
    pub fn threads(&self) -> Vec<(ThreadId, &PoolThread)> {
        let mut threads: Vec<_> = self.threads.iter().map(|(&thread, known)| (thread, known)).collect();
        threads.sort_unstable_by_key(|(thread, _)| *thread);
        threads
    }

    /// What is known of a queue, by interval.
    pub fn lengths(&self, process: u32, queue: u64) -> &[QueueLengths] {
        self.queues.get(&(process, queue)).map_or(&[], Vec::as_slice)
    }

    /// The intervals that lie between two moments.
    pub fn intervals(&self, start: Nanos, end: Nanos) -> impl Iterator<Item = (usize, Nanos, Nanos)> + '_ {
        let all = if self.origin.is_some() { 0..MAX_INTERVALS } else { 0..0 };
        let all = all.map(|index| (index, self.range(index).0, self.range(index).1));
        all.filter(move |&(_, from, to)| start <= from && to <= end)
    }

    fn range(&self, index: usize) -> (Nanos, Nanos) {
        range(self.origin, self.width, index)
    }

    /// In which interval a moment is.
    fn interval(&mut self, at: Nanos) -> usize {
        if self.origin.is_none() {
            (self.origin, self.width) = (Some(at), FIRST_WIDTH);
        }
        loop {
            let index = at.since(self.origin.unwrap_or_default()) / self.width;
            if index < MAX_INTERVALS as u64 {
                return index as usize;
            }
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.width = self.width.saturating_mul(2);
        for known in self.threads.values_mut() {
            known.idle = known.idle.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        for lengths in self.queues.values_mut() {
            let join = |pair: &[QueueLengths]| QueueLengths {
                sum: pair.iter().fold(0, |sum, part| sum.saturating_add(part.sum)),
                count: pair.iter().map(|part| part.count).sum(),
                max: pair.iter().map(|part| part.max).max().unwrap_or(0),
            };
            *lengths = lengths.chunks(2).map(join).collect();
        }
    }
}

/// Where an interval begins and ends.
fn range(origin: Option<Nanos>, width: u64, index: usize) -> (Nanos, Nanos) {
    let start = origin.unwrap_or_default().0.saturating_add(width.saturating_mul(index as u64));
    (Nanos(start), Nanos(start.saturating_add(width)))
}

/// A thread that waits for the GIL or a CPU has taken some work, wherever it is.
fn may_be_idle(state: ThreadState) -> bool {
    !state.on_cpu() && !matches!(state, ThreadState::GilWait | ThreadState::Runnable)
}

/// The value of an interval, which is nothing at first.
fn at<T: Default + Clone>(values: &mut Vec<T>, index: usize) -> &mut T {
    if values.len() <= index {
        values.resize(index + 1, T::default());
    }
    &mut values[index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{Frame, FrameKind};

    const MS: u64 = 1_000_000;

    #[test]
    fn idle_times_stay_what_they_are_when_intervals_get_longer() {
        let mut stacks = Interner::default();
        let mut push = |caller, name: &str, file: &str| {
            let (name, file) = (stacks.string(name), stacks.string(file));
            let kind = FrameKind::Python;
            let frame = stacks.frame(Frame { kind, function: name, name, file, line: 1, first_line: 1 });
            stacks.push(caller, frame)
        };
        let idle = push(StackId::EMPTY, "_worker", "/usr/lib/python3.12/concurrent/futures/thread.py");
        let busy = push(idle, "job", "app.py");
        let other = push(StackId::EMPTY, "main", "app.py");
        let mut times = PoolTimes::default();
        let thread = ThreadId(3);
        times.was_at(&stacks, ThreadId(0), other, (Nanos(0), Nanos(MS)), true);
        assert!(times.threads().is_empty());
        let ms = |from: u64, to: u64| (Nanos(from * MS), Nanos(to * MS));
        times.was_at(&stacks, thread, idle, ms(1000, 1120), true);
        times.was_at(&stacks, thread, busy, ms(1120, 1150), true);
        times.was_at(&stacks, thread, idle, ms(1150, 1160), false);
        times.queue(0, thread, 0x10, 4, Nanos(1010 * MS));
        times.queue(0, thread, 0x10, 2, Nanos(1070 * MS));
        times.queue(0, ThreadId(9), 0x20, 2, Nanos(1070 * MS));
        let idle_ms =
            |times: &PoolTimes| -> Vec<u64> { times.threads()[0].1.idle.iter().map(|ns| ns / MS).collect() };
        assert_eq!(idle_ms(&times), [50, 50, 20]);
        assert_eq!(
            times.intervals(Nanos(1040 * MS), Nanos(1150 * MS)).map(|(index, ..)| index).collect::<Vec<_>>(),
            [1, 2]
        );
        // Twice as long as there is room for.
        let late = 1000 + 1000 * 50;
        times.was_at(&stacks, thread, idle, ms(late, late + 10), true);
        assert_eq!(idle_ms(&times)[..3], [100, 20, 0]);
        assert_eq!(idle_ms(&times).iter().sum::<u64>(), 130);
        assert_eq!(times.lengths(0, 0x10), [QueueLengths { sum: 6, count: 2, max: 4 }]);
        assert_eq!(times.threads()[0].1.queue, Some(0x10));
        assert!(times.lengths(0, 0x20).is_empty());
    }
}
