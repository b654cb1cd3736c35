//! Which row of the table of locks a lock has. Its own, as long as there are not too many: programs can make a lock for each
//! request. Then those of a kind share one.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::{LockId, LockInfo, LockKind, ProcessId};

/// How many locks have rows of their own: the first that were waited for.
pub(super) const MAX_LOCKS: u32 = 1 << 13;
/// Of how many others it is known of what kind they are. What comes later of one that is not known any more counts as that of
/// the first kind.
const MAX_KNOWN: usize = 1 << 14;
/// What locks that share a row are called.
const OTHERS: &str = "(others)";

/// The rows of locks beyond those that have their own.
#[derive(Clone, Debug, Default)]
pub(super) struct LockRows {
    rows: FxHashMap<LockId, LockId>,
    /// The ids in `rows`, the oldest first.
    ids: VecDeque<LockId>,
    shared: FxHashMap<(ProcessId, LockKind), (LockId, Arc<LockInfo>)>,
    first: Option<LockId>,
}

impl LockRows {
    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    pub(super) fn row(&self, id: LockId) -> LockId {
        match id.0 < MAX_LOCKS {
            true => id,
            false => self.rows.get(&id).copied().or(self.first).unwrap_or(id),
        }
    }

    /// The row of a lock that was found, with what is known of all that share it. A new one is the `next`.
    pub(super) fn found(&mut self, id: LockId, info: &LockInfo, next: LockId) -> (LockId, Arc<LockInfo>) {
        let (row, shared) = self.shared.entry((info.process, info.kind)).or_insert_with(|| {
            let shared = LockInfo { address: 0, type_name: None, name: Some(OTHERS.into()), ..info.clone() };
            (next, Arc::new(shared))
        });
        self.first.get_or_insert(*row);
        if self.rows.insert(id, *row).is_none() {
            self.ids.push_back(id);
        }
        if self.ids.len() > MAX_KNOWN
            && let Some(oldest) = self.ids.pop_front()
        {
            self.rows.remove(&oldest);
        }
        (*row, shared.clone())
    }
}
