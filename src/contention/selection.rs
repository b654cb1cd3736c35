//! Which threads, stacks and waits are looked at, of all that was recorded. Made by [`crate::filter`].
//!
//! What is not selected is still evidence of who held what when; it is only not counted.

use std::sync::Arc;

use super::TimeRange;
use crate::event::{LockId, Nanos, ThreadId, ThreadState};
use crate::stack::StackId;

/// What is selected. What is `None` selects all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// By [`ThreadId`].
    pub threads: Option<Vec<bool>>,
    /// By [`StackId`].
    pub stacks: Option<Vec<bool>>,
    /// By [`LockId`]: only waiting for these.
    pub locks: Option<Vec<bool>>,
    /// By [`ThreadId`], in the order of time: only waiting in these ranges.
    pub waits: Option<Vec<Vec<TimeRange>>>,
}

fn has(selected: Option<&Vec<bool>>, index: u32) -> bool {
    selected.is_none_or(|selected| selected.get(index as usize).copied().unwrap_or(false))
}

impl Selection {
    pub fn has_thread(&self, thread: ThreadId) -> bool {
        has(self.threads.as_ref(), thread.0)
    }

    /// All waits of the threads that are selected are selected.
    pub fn has_all_waits(&self) -> bool {
        self.stacks.is_none() && self.locks.is_none() && self.waits.is_none()
    }

    /// Whether what a thread did at a moment is selected.
    pub fn has(&self, thread: ThreadId, stack: StackId, state: ThreadState, at: Nanos) -> bool {
        let waits = state == ThreadState::GilWait || state.lock().is_some();
        self.has_thread(thread)
            && has(self.stacks.as_ref(), stack.index())
            && (self.locks.is_none() || state.lock().is_some())
            && state.lock().is_none_or(|lock| has(self.locks.as_ref(), lock.0))
            && (!waits || self.is_within(thread, at))
    }

    /// Whether a wait is selected of which that moment is a part: for a lock, or for a GIL.
    pub fn has_wait(&self, thread: ThreadId, stack: StackId, lock: Option<LockId>, at: Nanos) -> bool {
        self.has(thread, stack, lock.map_or(ThreadState::GilWait, ThreadState::LockWait), at)
    }

    fn is_within(&self, thread: ThreadId, at: Nanos) -> bool {
        let Some(waits) = &self.waits else { return true };
        let Some(waits) = waits.get(thread.0 as usize) else { return false };
        let after = waits.partition_point(|wait| wait.start <= at);
        after.checked_sub(1).is_some_and(|index| at <= waits[index].end)
    }
}

/// What analyses keep, and what they count.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// What happened when, for traces.
    pub timeline: bool,
    /// Every wait, counted or not.
    pub waits: bool,
    /// What is counted; everything if there is none.
    pub selection: Option<Arc<Selection>>,
}

impl Retention {
    /// Whether a wait is counted of which that moment is a part.
    pub fn counts(&self, thread: ThreadId, stack: StackId, lock: Option<LockId>, at: Nanos) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.has_wait(thread, stack, lock, at))
    }
}

/// A wait that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastWait {
    pub thread: ThreadId,
    /// As far as it was seen.
    pub part: TimeRange,
    /// In nanoseconds; where waits were sampled, in periods of the sampling rate.
    pub length: u64,
    pub sampled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_selected_is_what_all_parts_let_through() {
        let part = |start, end| TimeRange { start: Nanos(start), end: Nanos(end) };
        let all = Selection::default();
        let one = Selection {
            threads: Some(vec![false, true]),
            waits: Some(vec![vec![], vec![part(10, 20), part(30, 40)]]),
            ..all.clone()
        };
        let (thread, stack) = (ThreadId(1), StackId::EMPTY);
        assert!(all.has_wait(ThreadId(0), stack, None, Nanos(0)));
        assert!(!one.has_thread(ThreadId(0)) && one.has_thread(thread) && !one.has_thread(ThreadId(2)));
        let within = [5, 10, 20, 25, 30, 41].map(|at| one.has_wait(thread, stack, None, Nanos(at)));
        assert_eq!(within, [false, true, true, false, true, false]);
        assert!(one.has(thread, stack, ThreadState::GilHeld, Nanos(5)), "it does not wait");
        let lock = Selection { locks: Some(vec![false, true]), ..all };
        let of = |lock: &Selection, id| lock.has_wait(thread, stack, Some(LockId(id)), Nanos(0));
        assert!(!of(&lock, 0) && of(&lock, 1));
        assert!(
            !lock.has_wait(thread, stack, None, Nanos(0)) && !lock.has(thread, stack, ThreadState::Running, Nanos(0))
        );
    }
}
