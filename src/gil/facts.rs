//! What one time off the CPU, or one sample, says about who held the GIL when. Made by [`super::exact`], understood
//! by [`super::holders`].

use crate::contention::in_order::Timed;
use crate::event::{GilGlimpse, Nanos, ThreadId, ThreadState};
use crate::stack::StackId;

/// Who held the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This thread.
    Held(ThreadId),
    /// Nobody.
    Free,
    /// Not known.
    Unknown,
}

/// A fact and when it was so.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// When.
    pub at: Nanos,
    /// What.
    pub what: What,
}

/// What can be known.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A thread that seemed to have got it when its last slice ended at `since` now sleeps again: it had not.
    NotYet {
        /// Who.
        thread: ThreadId,
        /// When that slice ended.
        since: Nanos,
    },
    /// A thread let go of it and woke one that waited.
    Released {
        /// Who.
        by: ThreadId,
        /// Its stack.
        stack: StackId,
        /// The number of switches then.
        switches: Option<u32>,
    },
    /// A thread took it and woke the one it had asked to let go.
    Took {
        /// Who.
        by: ThreadId,
    },
    /// A waiting thread, woken by a release, is on the CPU: it takes the GIL if no other is faster.
    Woken {
        /// Who.
        thread: ThreadId,
        /// Where it waited.
        stack: StackId,
    },
    /// A waiting thread is on the CPU because it had waited for the switch interval: it takes the GIL if it is free,
    /// else it asks the holder to let go, if that is still the one it fell asleep over.
    TimedOut {
        /// Who.
        thread: ThreadId,
        /// Where it waited.
        stack: StackId,
        /// Who held the GIL when it fell asleep.
        over: Option<ThreadId>,
        /// When that was.
        since: Nanos,
    },
    /// A thread looked as it left the CPU.
    Seen {
        /// What it saw.
        holder: Holder,
        /// The number of switches.
        switches: Option<u32>,
    },
    /// A thread left the CPU to block, and the GIL was free.
    LeftFree {
        /// Who.
        thread: ThreadId,
        /// Where.
        stack: StackId,
        /// The number of switches.
        switches: u32,
    },
    /// A thread that held the GIL was off the CPU from `since` on and is back.
    HeldOffCpu {
        /// Who.
        thread: ThreadId,
        /// From when.
        since: Nanos,
        /// Where.
        stack: StackId,
        /// Why.
        state: ThreadState,
    },
    /// A thread without the GIL is back on the CPU.
    Back {
        /// Who.
        thread: ThreadId,
    },
    /// A sample of a thread on the CPU.
    Sampled {
        /// Whose.
        thread: ThreadId,
        /// Where.
        stack: StackId,
        /// It held the GIL.
        holds: bool,
    },
}

impl Timed for Fact {
    fn place(&self) -> (Nanos, u8) {
        let rank = match self.what {
            What::NotYet { .. } => 0,
            What::Released { .. } => 1,
            What::HeldOffCpu { .. } | What::Back { .. } => 2,
            What::Woken { .. } | What::TimedOut { .. } => 3,
            What::Took { .. } => 4,
            What::Seen { .. } | What::LeftFree { .. } | What::Sampled { .. } => 5,
        };
        (self.at, rank)
    }
}

impl What {
    /// What a thread that does not hold the GIL saw; none if it saw itself hold it (it was read while it changed).
    pub fn seen(from: ThreadId, glimpse: &GilGlimpse) -> Option<What> {
        let holder = match glimpse.holder {
            _ if !glimpse.locked => Holder::Free,
            Some(thread) if thread == from => return None,
            Some(thread) => Holder::Held(thread),
            None => Holder::Unknown,
        };
        Some(What::Seen { holder, switches: Some(glimpse.switches) })
    }
}
