//! Which sleeps have become so long that it is worth finding out what they are for while they last: when they end, the process
//! may be gone, and with it what tells. Used by both collectors.

use rustc_hash::FxHashMap;

use crate::event::{Nanos, Tid};

/// A sleep is long from here on, in nanoseconds: most waits are over before, and a watchdog that ends a program that hangs
/// does not come that soon.
pub const LONG_WAIT: u64 = 700_000_000;
/// The same for a thread that waits until another has imported a module: which one shows only meanwhile.
pub const LONG_IMPORT: u64 = 50_000_000;
/// How often to check, in nanoseconds: it takes a look at each thread.
const CHECK_EVERY: u64 = 300_000_000;

/// The long sleeps of one process that were seen already.
#[derive(Debug, Default)]
pub struct LongWaits {
    seen: FxHashMap<Tid, Nanos>,
    checked: Nanos,
}

impl LongWaits {
    /// Whether it is time to check.
    pub fn is_due(&self, now: Nanos) -> bool {
        now.since(self.checked) >= CHECK_EVERY
    }

    /// The threads that have slept for long by now, each once for each of its sleeps. `asleep` are all that sleep, with since
    /// when, and from how many nanoseconds on that is long.
    pub fn new_ones(&mut self, now: Nanos, asleep: impl Iterator<Item = (Tid, Nanos, u64)>) -> Vec<Tid> {
        self.checked = now;
        let is_long = |(tid, since, limit): (Tid, Nanos, u64)| (now.since(since) >= limit).then_some((tid, since));
        let long: FxHashMap<Tid, Nanos> = asleep.filter_map(is_long).collect();
        let is_new = |(tid, since): (&Tid, &Nanos)| (self.seen.get(tid) != Some(since)).then_some(*tid);
        let mut new: Vec<Tid> = long.iter().filter_map(is_new).collect();
        new.sort_unstable();
        self.seen = long;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn each_long_sleep_is_told_once() {
        let mut waits = LongWaits::default();
        let mut at = |ms: u64, asleep: &[(Tid, u64)]| {
            let now = Nanos(ms * MS);
            assert!(waits.is_due(now));
            waits.new_ones(now, asleep.iter().map(|&(tid, since)| (tid, Nanos(since * MS), LONG_WAIT)))
        };
        assert_eq!(at(1000, &[(7, 500), (5, 100)]), [5]);
        assert_eq!(at(1300, &[(7, 500), (5, 100)]), [7]);
        assert_eq!(at(1600, &[(7, 500), (5, 100)]), [] as [Tid; 0]);
        // It was on a CPU meanwhile.
        assert_eq!(at(2600, &[(7, 500), (5, 1700)]), [5]);
        assert!(!waits.is_due(Nanos(2700 * MS)));
    }
}
