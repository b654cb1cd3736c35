//! Samples counted by thread, state and stack: the base of every flame graph. Owned by
//! [`crate::profile::Profile`].

use rustc_hash::FxHashMap;

use crate::event::{ThreadId, ThreadState};
use crate::intern::StackId;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whose samples.
    pub thread: ThreadId,
    /// What the thread was doing.
    pub state: ThreadState,
    /// Its stack.
    pub stack: StackId,
    /// The stack could not be read (it is [`StackId::EMPTY`] then, but not because the thread had none).
    pub lost: bool,
}

/// Sample counts by [`Key`]. Interned stacks already share their prefixes, so this is all a call tree needs.
#[derive(Debug, Default)]
pub struct Tree {
    counts: FxHashMap<Key, u64>,
}

impl Tree {
    /// Counts samples. Allocates only when the key is new.
    pub fn add(&mut self, key: Key, samples: u64) {
        *self.counts.entry(key).or_insert(0) += samples;
    }

    /// All counts, in a stable order.
    pub fn sorted(&self) -> Vec<(Key, u64)> {
        let mut counts: Vec<(Key, u64)> = self.counts.iter().map(|(&key, &count)| (key, count)).collect();
        counts.sort_unstable_by_key(|&(key, _)| key);
        counts
    }
}
