//! Accesses to reference counts by object, thread and stack. Owned by [`crate::profile::Profile`].
//!
//! That a thread is found at an access does not yet mean that it lost time there: any instruction takes some. A count is
//! contended if several threads are found at it. And every time that one of them has to fetch the cache line, another
//! has to fetch it back: a thread that is found there far more often than all the others together was not held up by
//! them each time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::contention::folding::{self, FoldedRows};
use crate::event::{Accessed, CountOp, Counting, MemoryPlace, ObjectId, ObjectInfo, ThreadId};
use crate::stack::StackId;

/// Of the thread that is found most often at a count, at most this many times the samples of all others are believed to
/// be due to them.
const MAX_OF_ONE: u64 = 3;

/// What happened at reference counts.
#[derive(Clone, Debug, Default)]
pub struct Refcounts {
    objects: Vec<ObjectAccesses>,
    samples: u64,
    elsewhere: BTreeMap<MemoryPlace, u64>,
    unknown: u64,
}

#[derive(Clone, Debug)]
struct ObjectAccesses {
    info: Arc<ObjectInfo>,
    counts: FxHashMap<CountUse, u64>,
    /// Samples at the rest of its header.
    rest: u64,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CountUse {
    thread: ThreadId,
    stack: StackId,
    op: CountOp,
    atomic: bool,
}

/// What there is to say about all reference counts. Counts samples.
#[derive(Clone, Debug, Default)]
pub struct RefcountSummary {
    /// Samples of threads on a CPU that were looked at.
    pub samples: u64,
    /// Those of them that found a thread held up by a reference count that others use.
    pub held_up: u64,
    /// By something else in the header of an object whose count is contended.
    pub header: u64,
    /// By an atomic operation on something else.
    pub elsewhere: BTreeMap<MemoryPlace, u64>,
    /// By an access of which it cannot be told which memory it was to.
    pub unknown: u64,
    /// Objects whose counts are contended, the most costly first.
    pub objects: Vec<ObjectSummary>,
}

/// What there is to say about one object.
#[derive(Clone, Debug)]
pub struct ObjectSummary {
    /// What it is; as last known.
    pub info: Arc<ObjectInfo>,
    /// Samples that found a thread held up by its count.
    pub samples: u64,
    /// Samples at its count by thread, the most first.
    pub threads: Vec<(ThreadId, u64)>,
    /// By operation, the most first; and those by an atomic one.
    pub ops: Vec<(CountOp, u64)>,
    /// Those at an atomic operation: the others wait for one.
    pub atomic: u64,
    /// Who was where, the most first. Sum: that of `threads`.
    pub stacks: Vec<(ThreadId, StackId, u64)>,
}

impl Refcounts {
    /// An object was met, or more is known of it.
    pub fn found(&mut self, object: ObjectId, info: &Arc<ObjectInfo>) {
        match self.objects.get_mut(object.0 as usize) {
            Some(known) => known.info = info.clone(),
            None => {
                debug_assert_eq!(object.0 as usize, self.objects.len());
                self.objects.push(ObjectAccesses { info: info.clone(), counts: FxHashMap::default(), rest: 0 });
            }
        }
    }

    /// A thread was found on a CPU.
    pub fn access(&mut self, thread: ThreadId, stack: StackId, accessed: Accessed) {
        self.samples += 1;
        match accessed {
            Accessed::Count { object, op, atomic } => {
                let used = CountUse { thread, stack, op, atomic };
                *self.objects[object.0 as usize].counts.entry(used).or_default() += 1;
            }
            Accessed::Header { object } => self.objects[object.0 as usize].rest += 1,
            Accessed::Elsewhere(place) => *self.elsewhere.entry(place).or_default() += 1,
            Accessed::Unknown => self.unknown += 1,
            Accessed::Nothing => {}
        }
    }

    /// Threads that have ended become part of other rows.
    pub fn fold(&mut self, rows: &FoldedRows) {
        for object in &mut self.objects {
            rows.keys(&mut object.counts, |used| rows.put(&mut used.thread), folding::add);
            if let Some(owner) = object.info.owner.filter(|owner| rows.is_folded(*owner)) {
                Arc::make_mut(&mut object.info).owner = Some(rows.of(owner));
            }
        }
    }

    /// What came after an earlier copy of it was made.
    pub fn since(&self, earlier: &Refcounts) -> Refcounts {
        let object = |(index, now): (usize, &ObjectAccesses)| {
            let before = earlier.objects.get(index);
            let was = |used: &CountUse| before.and_then(|before| before.counts.get(used)).copied().unwrap_or(0);
            let counts = now.counts.iter().map(|(used, samples)| (*used, samples.saturating_sub(was(used))));
            ObjectAccesses {
                info: now.info.clone(),
                counts: counts.filter(|(_, samples)| *samples > 0).collect(),
                rest: now.rest - before.map_or(0, |before| before.rest),
            }
        };
        Refcounts {
            objects: self.objects.iter().enumerate().map(object).collect(),
            samples: self.samples - earlier.samples,
            elsewhere: self
                .elsewhere
                .iter()
                .map(|(key, &samples)| (*key, samples - earlier.elsewhere.get(key).copied().unwrap_or(0)))
                .filter(|(_, samples)| *samples > 0)
                .collect(),
            unknown: self.unknown - earlier.unknown,
        }
    }

    /// Samples of threads on a CPU that were looked at.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples that found a thread held up by the count of an object: by whom, where, and which. In a stable order.
    pub fn stacks(&self) -> Vec<(ThreadId, StackId, &ObjectInfo, u64)> {
        let mut stacks = Vec::new();
        for object in &self.objects {
            let Some(summary) = object.summary() else { continue };
            let all: u64 = summary.threads.iter().map(|(_, samples)| samples).sum();
            // What is not believed to be due to others is taken from all of its stacks alike.
            let part = |samples: u64| (samples * summary.samples).div_ceil(all);
            let own = summary.stacks.iter().map(|&(thread, stack, n)| (thread, stack, &*object.info, part(n)));
            stacks.extend(own);
        }
        stacks
    }

    /// What all of it amounts to.
    pub fn summary(&self) -> RefcountSummary {
        let mut objects = Vec::new();
        let mut header = 0;
        for object in &self.objects {
            if let Some(summary) = object.summary() {
                header += object.rest;
                objects.push(summary);
            }
        }
        objects.sort_by_key(|object: &ObjectSummary| (Reverse(object.samples), object.info.address));
        RefcountSummary {
            samples: self.samples,
            held_up: objects.iter().map(|object| object.samples).sum(),
            header,
            elsewhere: self.elsewhere.clone(),
            unknown: self.unknown,
            objects,
        }
    }
}

impl ObjectAccesses {
    /// None if its count is not contended.
    fn summary(&self) -> Option<ObjectSummary> {
        // Nobody writes there.
        if self.info.counting == Counting::Immortal {
            return None;
        }
        let threads = sorted(self.counts.iter().map(|(used, &samples)| (used.thread, samples)));
        let (most, all) = (threads.first()?.1, threads.iter().map(|(_, samples)| samples).sum::<u64>());
        let others = all - most;
        let stacks = sorted(self.counts.iter().map(|(used, &samples)| ((used.thread, used.stack), samples)));
        (others > 0).then(|| ObjectSummary {
            info: self.info.clone(),
            samples: others + most.min(MAX_OF_ONE * others),
            threads,
            ops: sorted(self.counts.iter().map(|(used, &samples)| (used.op, samples))),
            atomic: self.counts.iter().filter(|(used, _)| used.atomic).map(|(_, samples)| samples).sum(),
            stacks: stacks.into_iter().map(|((thread, stack), samples)| (thread, stack, samples)).collect(),
        })
    }
}

/// Sums by key, the largest first.
fn sorted<K: Copy + Ord + std::hash::Hash>(items: impl Iterator<Item = (K, u64)>) -> Vec<(K, u64)> {
    let mut sums: FxHashMap<K, u64> = FxHashMap::default();
    for (key, samples) in items {
        *sums.entry(key).or_default() += samples;
    }
    let mut sums: Vec<(K, u64)> = sums.into_iter().collect();
    sums.sort_by_key(|&(key, samples)| (Reverse(samples), key));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProcessId;

    fn object(counting: Counting) -> Arc<ObjectInfo> {
        Arc::new(ObjectInfo {
            process: ProcessId(0),
            address: 0x1000,
            type_name: "list".into(),
            name: None,
            len: Some(3),
            counting,
            owner: None,
        })
    }

    fn counted(refcounts: &mut Refcounts, thread: u32, times: u64, atomic: bool) {
        let accessed = Accessed::Count { object: ObjectId(0), op: CountOp::Incref, atomic };
        (0..times).for_each(|_| refcounts.access(ThreadId(thread), StackId::EMPTY, accessed));
    }

    #[test]
    fn a_count_is_contended_by_several_threads() {
        let mut refcounts = Refcounts::default();
        refcounts.found(ObjectId(0), &object(Counting::Biased));
        counted(&mut refcounts, 0, 30, false);
        assert_eq!(refcounts.summary().held_up, 0, "one alone");
        counted(&mut refcounts, 1, 20, true);
        refcounts.access(ThreadId(1), StackId::EMPTY, Accessed::Nothing);
        let summary = refcounts.summary();
        assert_eq!((summary.samples, summary.held_up), (51, 50));
        assert_eq!((summary.objects[0].samples, summary.objects[0].atomic), (50, 20));
        assert_eq!(summary.objects[0].threads, [(ThreadId(0), 30), (ThreadId(1), 20)]);
    }

    #[test]
    fn who_is_there_all_the_time_is_not_held_up_by_who_comes_by() {
        let mut refcounts = Refcounts::default();
        refcounts.found(ObjectId(0), &object(Counting::Merged));
        counted(&mut refcounts, 0, 1000, true);
        counted(&mut refcounts, 1, 2, true);
        assert_eq!(refcounts.summary().held_up, 8);
        assert_eq!(refcounts.stacks().iter().map(|(.., samples)| samples).sum::<u64>(), 9, "rounded up");
    }

    #[test]
    fn immortal_objects_are_only_read() {
        let mut refcounts = Refcounts::default();
        refcounts.found(ObjectId(0), &object(Counting::Biased));
        refcounts.found(ObjectId(0), &object(Counting::Immortal));
        counted(&mut refcounts, 0, 5, false);
        counted(&mut refcounts, 1, 5, false);
        assert_eq!(refcounts.summary().held_up, 0);
        assert!(refcounts.stacks().is_empty());
    }
}
