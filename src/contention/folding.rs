//! Threads that have ended become part of one row for all of their group: what tables have of them is added to what they
//! have of that row. Decided by [`crate::profile::Profile`], done by each table that knows threads.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::event::{OffCpu, ThreadId};

/// Which rows become part of which others, and where all of them are then.
#[derive(Clone, Debug, Default)]
pub struct FoldedRows {
    /// By row, the row that has what this one had; rows after the last stay where they are.
    to: Vec<ThreadId>,
    /// By row, whether it becomes part of another.
    folded: Vec<bool>,
}

impl FoldedRows {
    /// Of this number of rows, some become part of others, which do not. The rest moves up to fill the gaps.
    pub fn new(rows: usize, into: &FxHashMap<ThreadId, ThreadId>) -> FoldedRows {
        let all = || (0..rows as u32).map(ThreadId);
        let folded: Vec<bool> = all().map(|row| into.contains_key(&row)).collect();
        let mut next = 0;
        let mut to: Vec<ThreadId> = Vec::with_capacity(rows);
        for is_folded in &folded {
            to.push(ThreadId(next));
            next += u32::from(!is_folded);
        }
        for (row, group) in into {
            to[row.0 as usize] = to[group.0 as usize];
        }
        FoldedRows { to, folded }
    }

    /// Rows that are elsewhere now.
    pub fn moved(to: Vec<ThreadId>) -> FoldedRows {
        FoldedRows { to, folded: Vec::new() }
    }

    /// The row that has what this one had.
    pub fn of(&self, row: ThreadId) -> ThreadId {
        self.to.get(row.0 as usize).copied().unwrap_or(row)
    }

    /// It becomes part of another.
    pub fn is_folded(&self, row: ThreadId) -> bool {
        self.folded.get(row.0 as usize).copied().unwrap_or(false)
    }

    pub fn put(&self, row: &mut ThreadId) {
        *row = self.of(*row);
    }

    /// Replaces all threads that a time off the CPU names.
    pub fn put_off_cpu(&self, off: &mut OffCpu) {
        self.put(&mut off.thread);
        if let Some(by) = off.wake.as_mut().and_then(|wake| wake.by.as_mut()) {
            self.put(by);
        }
        if let Some(holder) = off.gil.as_mut().and_then(|gil| gil.holder.as_mut()) {
            self.put(holder);
        }
    }

    /// Folds a table whose keys name threads. `put` replaces those of a key, `add` adds one value to another.
    pub fn keys<K: Copy + Eq + Hash, V>(
        &self,
        table: &mut FxHashMap<K, V>,
        put: impl Fn(&mut K),
        mut add: impl FnMut(&mut V, V),
    ) {
        let moved = |key: K| {
            let mut to = key;
            put(&mut to);
            (to != key).then_some((key, to))
        };
        let moved: Vec<(K, K)> = table.keys().copied().filter_map(moved).collect();
        // All are taken out before the first is put in: one may go where another was.
        let moved: Vec<(K, V)> =
            moved.into_iter().filter_map(|(from, to)| Some((to, table.remove(&from)?))).collect();
        for (to, value) in moved {
            match table.get_mut(&to) {
                Some(known) => add(known, value),
                None => {
                    table.insert(to, value);
                }
            }
        }
        // A table that had many entries once must not be walked as a large one for ever.
        if table.capacity() > 4 * table.len().max(1 << 10) {
            table.shrink_to(2 * table.len());
        }
    }
}

/// Adds numbers: what [`FoldedRows::keys`] does for most tables.
pub fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_folded_is_added_up() {
        let row = ThreadId;
        let rows = FoldedRows::new(5, &[(row(1), row(4)), (row(2), row(4))].into_iter().collect());
        assert_eq!([0, 1, 2, 3, 4, 5].map(|number| rows.of(row(number)).0), [0, 2, 2, 1, 2, 5]);
        assert_eq!([0, 1, 3, 4, 9].map(|number| rows.is_folded(row(number))), [false, true, false, false, false]);
        let mut table: FxHashMap<(ThreadId, u8), u64> =
            [((row(0), 0), 1), ((row(1), 0), 2), ((row(2), 0), 4), ((row(3), 9), 8), ((row(4), 0), 16)]
                .into_iter()
                .collect();
        rows.keys(&mut table, |key| rows.put(&mut key.0), add);
        let mut all: Vec<_> = table.into_iter().collect();
        all.sort_unstable();
        assert_eq!(all, [((row(0), 0), 1), ((row(1), 9), 8), ((row(2), 0), 22)]);
    }
}
