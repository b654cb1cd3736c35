//! What one time off the CPU, or one sample, says about who held the GIL when. Made by [`super::exact`], understood
//! by [`super::holders`].

use crate::contention::folding::FoldedRows;
use crate::contention::in_order::Timed;
use crate::event::{GilGlimpse, Nanos, ThreadId, ThreadState};
use crate::stack::StackId;

/// Who held the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Held(ThreadId),
    Free,
    Unknown,
}

/// A fact, and when it was so.
#[derive(Clone, Copy, Debug)]
pub struct GilFact {
    pub at: Nanos,
    pub what: GilFactKind,
}

/// What can be known of a GIL at a moment.
#[derive(Clone, Copy, Debug)]
pub enum GilFactKind {
    /// A thread that seemed to have acquired it when its last sleep ended at `since` now sleeps again: it had not.
    NotYet { thread: ThreadId, since: Nanos },
    /// A thread released it and woke one that waited.
    Released { by: ThreadId, stack: StackId, switches: Option<u32> },
    /// A thread acquired it and woke the one that it had asked to release it.
    Took { by: ThreadId },
    /// A waiting thread, woken by a release, is on the CPU: it acquires the GIL if no other is faster.
    Woken { thread: ThreadId, stack: StackId },
    /// A waiting thread is on the CPU because it had waited for the switch interval: it acquires the GIL if that is free,
    /// else it asks the holder to release it, if that is still the one that held it when the thread fell asleep.
    TimedOut {
        thread: ThreadId,
        stack: StackId,
        /// Who held the GIL when it fell asleep.
        over: Option<ThreadId>,
        /// When it fell asleep.
        since: Nanos,
    },
    /// A thread looked as it left the CPU.
    Seen { holder: Holder, switches: Option<u32> },
    /// A thread left the CPU to block, and the GIL was free.
    LeftFree { thread: ThreadId, stack: StackId, switches: u32 },
    /// A thread that held the GIL was off the CPU from `since` on, in that state, and is back. From `ready` on it only had no
    /// CPU.
    HeldOffCpu { thread: ThreadId, since: Nanos, ready: Nanos, stack: StackId, state: ThreadState },
    /// A thread without the GIL is back on the CPU.
    Back { thread: ThreadId },
    /// A sample of a thread on the CPU.
    Sampled { thread: ThreadId, stack: StackId, holds: bool },
}

impl Timed for GilFact {
    fn place(&self) -> (Nanos, u8) {
        let rank = match self.what {
            GilFactKind::NotYet { .. } => 0,
            GilFactKind::Released { .. } => 1,
            GilFactKind::HeldOffCpu { .. } | GilFactKind::Back { .. } => 2,
            GilFactKind::Woken { .. } | GilFactKind::TimedOut { .. } => 3,
            GilFactKind::Took { .. } => 4,
            GilFactKind::Seen { .. } | GilFactKind::LeftFree { .. } | GilFactKind::Sampled { .. } => 5,
        };
        (self.at, rank)
    }
}

impl Holder {
    pub fn fold(&mut self, rows: &FoldedRows) {
        if let Holder::Held(thread) = self {
            rows.put(thread);
        }
    }
}

impl GilFactKind {
    /// Replaces the threads that it names.
    pub fn fold(&mut self, rows: &FoldedRows) {
        match self {
            GilFactKind::Seen { holder, .. } => holder.fold(rows),
            GilFactKind::Released { by, .. } | GilFactKind::Took { by } => rows.put(by),
            GilFactKind::TimedOut { thread, over, .. } => {
                rows.put(thread);
                over.iter_mut().for_each(|over| rows.put(over));
            }
            GilFactKind::NotYet { thread, .. }
            | GilFactKind::Woken { thread, .. }
            | GilFactKind::LeftFree { thread, .. }
            | GilFactKind::HeldOffCpu { thread, .. }
            | GilFactKind::Back { thread }
            | GilFactKind::Sampled { thread, .. } => rows.put(thread),
        }
    }

    /// What a thread that does not hold the GIL saw; none if it saw itself hold it (it was read while it changed).
    pub fn seen(from: ThreadId, glimpse: &GilGlimpse) -> Option<GilFactKind> {
        let holder = match glimpse.holder {
            _ if !glimpse.locked => Holder::Free,
            Some(thread) if thread == from => return None,
            Some(thread) => Holder::Held(thread),
            None => Holder::Unknown,
        };
        Some(GilFactKind::Seen { holder, switches: Some(glimpse.switches) })
    }
}
