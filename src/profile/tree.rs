//! Samples and time off the CPU by thread, state and stack: the base of every flame graph. Owned by
//! [`crate::profile::Profile`].

use rustc_hash::FxHashMap;

use crate::contention::folding::FoldedRows;
use crate::event::{ThreadId, ThreadState};
use crate::stack::StackId;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub thread: ThreadId,
    pub state: ThreadState,
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
    /// How often it was off the CPU (kernel mode).
    pub waits: u64,
}

impl Weight {
    /// The time that it amounts to, in nanoseconds, with samples of such a period.
    pub fn ns(self, period_ns: f64) -> u64 {
        (self.samples as f64 * period_ns) as u64 + self.off_cpu_ns
    }
}

/// Weights by [`Key`]. Interned stacks already share their prefixes, so this is all a call tree needs.
#[derive(Clone, Debug, Default)]
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

    /// All weights, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Weight)> {
        self.weights.iter().map(|(&key, &weight)| (key, weight))
    }

    /// What was counted as one state has turned out to be another.
    pub fn restate(&mut self, from: ThreadState, to: ThreadState) {
        let wrong: Vec<Key> = self.weights.keys().filter(|key| key.state == from).copied().collect();
        for key in wrong {
            if let Some(weight) = self.weights.remove(&key) {
                self.add(Key { state: to, ..key }, weight);
            }
        }
    }

    /// Threads that have ended become part of other rows.
    pub fn fold(&mut self, rows: &FoldedRows) {
        let add = |sum: &mut Weight, more: Weight| {
            sum.samples += more.samples;
            sum.off_cpu_ns += more.off_cpu_ns;
            sum.waits += more.waits;
        };
        rows.keys(&mut self.weights, |key| rows.put(&mut key.thread), add);
    }

    pub fn retain(&mut self, wanted: impl Fn(Key) -> bool) {
        self.weights.retain(|&key, _| wanted(key));
    }

    /// What has been added since an earlier copy of it was made.
    pub fn since(&self, earlier: &Tree) -> Tree {
        let mut tree = Tree::default();
        for (key, weight) in self.iter() {
            let before = earlier.weights.get(&key).copied().unwrap_or_default();
            let since = Weight {
                samples: weight.samples.saturating_sub(before.samples),
                off_cpu_ns: weight.off_cpu_ns.saturating_sub(before.off_cpu_ns),
                waits: weight.waits.saturating_sub(before.waits),
            };
            if since != Weight::default() {
                tree.weights.insert(key, since);
            }
        }
        tree
    }

    /// All weights, in a stable order.
    pub fn sorted(&self) -> Vec<(Key, Weight)> {
        let mut weights: Vec<(Key, Weight)> = self.iter().collect();
        weights.sort_unstable_by_key(|&(key, _)| key);
        weights
    }
}
