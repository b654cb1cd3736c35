//! Waits at a `queue.SimpleQueue`. Used by [`super::Profile`] and [`crate::snapshot`].
//!
//! A thread that finds such a queue empty sleeps as it would for a lock, and the collectors announce it so. But it waits for
//! work: nobody has what it waits for. From 3.13 on the object at which it sleeps says what it is, so the lock is announced as a
//! [`LockKind::Queue`] before the first wait. Up to 3.12 the thread sleeps at a semaphore of which nothing can be known until a
//! search of the program's variables leads to the queue; the waits before were announced as waits for a lock by then.
//!
//! [`LockKind::Queue`]: crate::event::LockKind::Queue

use rustc_hash::FxHashSet;

use super::tree::Tree;
use crate::event::{LockId, Syscall, ThreadState};
use crate::stack::StackId;

/// What a thread does that waits at a queue.
const AT_QUEUE: ThreadState = ThreadState::Blocked(Syscall::FUTEX);

/// Which locks are queues, and where threads wait at them.
#[derive(Clone, Debug, Default)]
pub struct QueueWaits {
    queues: FxHashSet<LockId>,
    /// Stacks of threads that waited: they do not tell by themselves what for.
    stacks: FxHashSet<StackId>,
}

impl QueueWaits {
    /// What a thread does that is announced to wait for a lock: that may be known to be a queue.
    pub fn classify(&mut self, state: ThreadState, stack: StackId) -> ThreadState {
        if state.lock().is_none_or(|lock| !self.queues.contains(&lock)) {
            return state;
        }
        self.stacks.insert(stack);
        AT_QUEUE
    }

    /// Whether threads with this stack have waited at a queue.
    pub fn is_at_queue(&self, stack: StackId) -> bool {
        self.stacks.contains(&stack)
    }

    /// A lock has turned out to be a queue. This is the only place where the past is told anew: what was counted as waiting
    /// for that lock, in any of the trees, becomes waiting for work. The first of the trees knows stacks.
    pub fn reclassify_queue_wait(&mut self, lock: LockId, trees: [&mut Tree; 2]) {
        if !self.queues.insert(lock) {
            return;
        }
        let waits = ThreadState::LockWait(lock);
        let keys = trees[0].iter().map(|(key, _)| key);
        self.stacks.extend(keys.filter(|key| key.state == waits).map(|key| key.stack));
        for tree in trees {
            tree.restate(waits, AT_QUEUE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::fixture::stack;
    use crate::event::ThreadId;
    use crate::profile::tree::{Key, Weight};

    const QUEUE: LockId = LockId(1);

    #[test]
    fn a_lock_that_turns_out_to_be_a_queue_was_one_all_along() {
        let key = |lock, number| Key {
            thread: ThreadId(0),
            state: ThreadState::LockWait(lock),
            stack: stack(number),
            lost: false,
        };
        let weight = |off_cpu_ns| Weight { samples: 0, off_cpu_ns, waits: 1 };
        let (mut tree, mut whole, mut waits) = (Tree::default(), Tree::default(), QueueWaits::default());
        for (lock, number, ns) in [(QUEUE, 1, 5), (QUEUE, 2, 7), (LockId(0), 3, 9)] {
            assert_eq!(waits.classify(ThreadState::LockWait(lock), stack(number)), ThreadState::LockWait(lock));
            tree.add(key(lock, number), weight(ns));
        }
        waits.reclassify_queue_wait(QUEUE, [&mut tree, &mut whole]);
        let mut states: Vec<_> = tree.iter().map(|(key, weight)| (weight.off_cpu_ns, key.state)).collect();
        states.sort_unstable();
        assert_eq!(states, [(5, AT_QUEUE), (7, AT_QUEUE), (9, ThreadState::LockWait(LockId(0)))]);
        assert_eq!([1, 2, 3, 4].map(|number| waits.is_at_queue(stack(number))), [true, true, false, false]);
        assert_eq!(waits.classify(ThreadState::LockWait(QUEUE), stack(4)), AT_QUEUE);
        assert!(waits.is_at_queue(stack(4)));
    }
}
