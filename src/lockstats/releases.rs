//! Who held a lock while others waited for it, as its releases show. Used by [`super::resource`].
//!
//! As long as a thread waits, everyone who releases the lock wakes somebody. So between two releases there was one
//! holder, the one of the second release; and nobody, until that thread had come back from its own wait.

use std::collections::VecDeque;

use crate::contention::TimeRange;
use crate::contention::engine::Owner;
use crate::contention::evidence::AttributedHold;
use crate::contention::folding::FoldedRows;
use crate::contention::in_order::place_of;
use crate::event::{Nanos, ThreadId};
use crate::stack::StackId;

/// How many releases of one lock are remembered.
const MAX_REMEMBERED: usize = 1 << 12;

/// Threads woken by one thread within this time of each other, in nanoseconds, were woken together.
const TOGETHER_NS: u64 = 500_000;

/// A thread released the lock and woke one that waited; or was seen to hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRelease {
    pub at: Nanos,
    pub by: ThreadId,
    pub stack: StackId,
    /// Who was woken, and when that thread was on a CPU again. None: the lock was not released.
    pub to: Option<(ThreadId, Nanos)>,
    /// If whoever releases it wakes all that wait, one after the other (who stopped all threads does): since when this one
    /// slept.
    pub of_all: Option<Nanos>,
}

impl LockRelease {
    /// Whether two threads were woken by one release of the lock. None of several that are all woken then goes to sleep
    /// after the first of them was; otherwise they were woken at nearly the same time.
    fn is_with(&self, other: &LockRelease) -> bool {
        let (first, second) = if self.at < other.at { (self, other) } else { (other, self) };
        let together = second.of_all.map_or(second.at.since(first.at) < TOGETHER_NS, |since| since < first.at);
        first.by == second.by && first.to.is_some() && second.to.is_some() && together
    }

    fn woke(&self, thread: ThreadId) -> Option<Nanos> {
        self.to.filter(|to| to.0 == thread).map(|to| to.1)
    }
}

/// The releases of one lock.
#[derive(Debug, Default)]
pub struct Releases {
    /// In the order of time.
    all: VecDeque<LockRelease>,
    /// How often it was another thread than the time before.
    pub changes: u64,
    /// How often it was released, threads woken together counted once.
    pub times: u64,
}

impl Releases {
    /// Releases come nearly in the order of time.
    pub fn add(&mut self, release: LockRelease) {
        let index = place_of(&self.all, release.at, |other| other.at);
        let before = index.checked_sub(1).map(|before| self.all[before]);
        self.changes += u64::from(before.is_some_and(|before| before.by != release.by));
        let with = |other: &LockRelease| release.is_with(other);
        let together = before.as_ref().is_some_and(with) || self.all.get(index).is_some_and(with);
        self.times += u64::from(release.to.is_some() && !together);
        self.all.insert(index, release);
        if self.all.len() > MAX_REMEMBERED {
            self.all.pop_front();
        }
    }

    pub fn fold(&mut self, rows: &FoldedRows) {
        for release in &mut self.all {
            rows.put(&mut release.by);
            if let Some((thread, _)) = &mut release.to {
                rows.put(thread);
            }
        }
    }

    /// When it was next released, from `at` on.
    pub fn next(&self, at: Nanos) -> Option<Nanos> {
        self.all.get(self.all.partition_point(|release| release.at < at)).map(|release| release.at)
    }

    /// Says who had the lock during a part of a wait, without overlaps and in full. All releases up to its end must be
    /// there. What belongs to whoever releases it next, if nobody does unnoticed in between, is undecided.
    pub fn owners(&self, waiter: ThreadId, wait: TimeRange, owners: &mut Vec<(Owner, TimeRange)>) {
        let mut from = wait.start;
        let next = self.all.partition_point(|release| release.at <= from);
        for index in next..self.all.len() {
            let release = &self.all[index];
            if from >= wait.end {
                return;
            }
            let until = release.at.min(wait.end);
            self.owner_before(index, waiter, TimeRange { start: from, end: until }, owners);
            from = until;
            if release.woke(waiter).is_some_and(|back| back >= wait.end) {
                // It was on its way to the waiter.
                owners.push((Owner::Nobody, TimeRange { start: from, end: wait.end }));
                return;
            }
        }
        owners.push((Owner::Undecided, TimeRange { start: from, end: wait.end }));
    }

    /// Who had it in a part of the time between two releases, the second of which has this index.
    fn owner_before(&self, index: usize, waiter: ThreadId, part: TimeRange, owners: &mut Vec<(Owner, TimeRange)>) {
        let release = &self.all[index];
        if release.by == waiter {
            // It cannot have held what it waited for.
            return owners.push((Owner::Unknown, part));
        }
        let before = index.checked_sub(1).map(|before| self.all[before]);
        // It waited itself before it had the lock, if it was woken by the release before.
        let acquired = before.and_then(|before| before.woke(release.by)).map(|back| back.min(release.at));
        let start = acquired.or(before.map(|before| before.at)).unwrap_or(Nanos(0));
        let middle = start.clamp(part.start, part.end);
        owners.push((Owner::Nobody, TimeRange { start: part.start, end: middle }));
        let (acquired, released) = (None, Some(release.stack));
        let hold = AttributedHold { by: release.by, start, end: release.at, acquired, released, asked: None };
        owners.push((Owner::Held(hold), TimeRange { start: middle, end: part.end }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ThreadId = ThreadId(1);
    const B: ThreadId = ThreadId(2);
    const C: ThreadId = ThreadId(3);

    /// A release: when, by whom, to whom, who is back when.
    fn releases(all: &[(u64, ThreadId, ThreadId, u64)]) -> Releases {
        let mut releases = Releases::default();
        for &(at, by, to, back) in all {
            releases.add(LockRelease {
                at: Nanos(at),
                by,
                stack: StackId::EMPTY,
                to: Some((to, Nanos(back))),
                of_all: None,
            });
        }
        releases
    }

    /// Who had it while `waiter` waited: 0 is nobody, 9 is unknown, 8 is who releases it next.
    fn split(releases: &Releases, waiter: ThreadId, start: u64, end: u64) -> Vec<(u32, u64)> {
        let mut owners = Vec::new();
        releases.owners(waiter, TimeRange { start: Nanos(start), end: Nanos(end) }, &mut owners);
        let who = |owner: &Owner| match owner {
            Owner::Held(hold) => hold.by.0,
            Owner::Nobody => 0,
            Owner::Unknown => 9,
            Owner::Undecided => 8,
        };
        let mut parts: Vec<_> = owners.iter().map(|(owner, part)| (who(owner), part.ns())).collect();
        parts.retain(|part| part.1 > 0);
        assert_eq!(parts.iter().map(|part| part.1).sum::<u64>(), end - start);
        parts
    }

    #[test]
    fn who_ends_a_wait_has_held_it_until_then() {
        let one = releases(&[(150, A, B, 160)]);
        assert_eq!(split(&one, B, 100, 160), [(1, 50), (0, 10)]);
    }

    #[test]
    fn a_wait_through_several_hands_is_shared_between_them() {
        let hands = releases(&[(110, A, B, 120), (150, B, A, 155), (190, A, C, 200)]);
        assert_eq!(split(&hands, C, 100, 200), [(1, 10), (0, 10), (2, 30), (0, 5), (1, 35), (0, 10)]);
    }

    #[test]
    fn who_was_faster_than_the_one_woken_held_it() {
        // B was woken at 110, but C had it until 150, and A until 190.
        let hands = releases(&[(110, A, B, 115), (150, C, B, 155), (190, A, B, 200)]);
        assert_eq!(split(&hands, B, 100, 115), [(1, 10), (0, 5)]);
        assert_eq!(split(&hands, B, 116, 155), [(3, 34), (0, 5)]);
        assert_eq!(split(&hands, B, 156, 200), [(1, 34), (0, 10)]);
    }

    #[test]
    fn what_nobody_tells_is_unknown() {
        assert_eq!(split(&releases(&[]), A, 0, 50), [(8, 50)]);
        let mut hands = releases(&[(10, A, B, 12)]);
        assert_eq!(split(&hands, C, 0, 50), [(1, 10), (8, 40)], "it timed out");
        assert_eq!(split(&hands, A, 0, 50), [(9, 10), (8, 40)], "its own release");
        assert_eq!((hands.next(Nanos(10)), hands.next(Nanos(11))), (Some(Nanos(10)), None));
        hands.add(LockRelease {
            at: Nanos(70),
            by: B,
            stack: StackId::EMPTY,
            to: Some((A, Nanos(71))),
            of_all: None,
        });
        assert_eq!(split(&hands, C, 0, 50), [(1, 10), (0, 2), (2, 38)], "released after it has timed out");
    }

    #[test]
    fn who_is_seen_to_hold_it_has_since_it_was_last_released() {
        let mut hands = releases(&[(10, A, B, 12)]);
        hands.add(LockRelease { at: Nanos(50), by: B, stack: StackId::EMPTY, to: None, of_all: None });
        assert_eq!((hands.times, hands.changes), (1, 1));
        assert_eq!(split(&hands, C, 0, 50), [(1, 10), (0, 2), (2, 38)]);
        assert_eq!(split(&hands, C, 20, 60), [(2, 30), (8, 10)], "it may have released it since");
        hands.add(LockRelease {
            at: Nanos(70),
            by: B,
            stack: StackId::EMPTY,
            to: Some((C, Nanos(71))),
            of_all: None,
        });
        assert_eq!(split(&hands, C, 20, 71), [(2, 30), (2, 20), (0, 1)]);
        assert_eq!((hands.times, hands.changes), (2, 1));
    }

    #[test]
    fn all_are_woken_once_however_long_that_takes() {
        // When, by whom, and since when the one slept that was woken.
        let times = |all: &[(u64, ThreadId, u64)]| {
            let mut releases = Releases::default();
            for &(at, by, since) in all {
                let (at, since, stack) = (Nanos(at), Some(Nanos(since)), StackId::EMPTY);
                releases.add(LockRelease { at, by, stack, to: Some((C, at)), of_all: since });
            }
            releases.times
        };
        const MS: u64 = 1_000_000;
        assert_eq!(times(&[(10 * MS, A, MS), (15 * MS, A, 2 * MS), (12 * MS, A, 3 * MS)]), 1);
        assert_eq!(times(&[(10, A, 1), (20, A, 11)]), 2, "it slept anew");
        assert_eq!(times(&[(20, A, 11), (10, A, 1)]), 2);
        assert_eq!(times(&[(10, A, 1), (20, B, 2)]), 2);
    }

    #[test]
    fn releases_are_put_in_order_and_their_number_is_bounded() {
        let mut hands = releases(&[(30, A, B, 31), (10, B, A, 12), (20, A, B, 22)]);
        assert!(hands.all.iter().is_sorted_by_key(|release| release.at));
        for at in 0..2 * MAX_REMEMBERED as u64 {
            let to = Some((B, Nanos(100 + at)));
            hands.add(LockRelease { at: Nanos(100 + at), by: A, stack: StackId::EMPTY, to, of_all: None });
        }
        assert_eq!(hands.all.len(), MAX_REMEMBERED);
    }
}
