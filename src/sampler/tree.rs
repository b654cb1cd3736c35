//! Samples and time off the CPU by thread, state and stack: the base of every flame graph. Owned by
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

/// How much was seen of a [`Key`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Samples, each of which stands for a period of the sampling rate.
    pub samples: u64,
    /// Time off the CPU that was measured, in nanoseconds (kernel mode).
    pub off_cpu_ns: u64,
    /// How often that was (kernel mode).
    pub waits: u64,
}

/// Weights by [`Key`]. Interned stacks already share their prefixes, so this is all a call tree needs.
#[derive(Debug, Default)]
pub struct Tree {
    weights: FxHashMap<Key, Weight>,
}

impl Tree {
    /// Adds to a key's weight. Allocates only when the key is new.
    pub fn add(&mut self, key: Key, weight: Weight) {
        let sum = self.weights.entry(key).or_default();
        sum.samples += weight.samples;
        sum.off_cpu_ns += weight.off_cpu_ns;
        sum.waits += weight.waits;
    }

    /// All weights, in a stable order.
    pub fn sorted(&self) -> Vec<(Key, Weight)> {
        let mut weights: Vec<(Key, Weight)> = self.weights.iter().map(|(&key, &weight)| (key, weight)).collect();
        weights.sort_unstable_by_key(|&(key, _)| key);
        weights
    }
}
