//! What [`super::analysis`] concludes about one GIL: the numbers and stacks that the report, the findings and the
//! traces show. All times are nanoseconds.

use std::sync::Arc;

use crate::contention::{Bar, Blame, WaitStats};
use crate::event::{GilInfo, Nanos, Syscall, ThreadId};

/// Everything there is to say about one GIL.
#[derive(Clone, Debug)]
pub struct GilSummary {
    /// What it is; as last known.
    pub info: Arc<GilInfo>,
    /// When it was switched on, and by which extension module, if that happened (free-threaded builds).
    pub switched_on: Option<(Nanos, Option<Arc<str>>)>,
    /// True if all of this comes from samples (memory mode): an estimate.
    pub estimated: bool,
    /// For how long it was observed.
    pub observed_ns: u64,
    /// For how long it was held, by what the holder was doing. An estimate where the holder was on the CPU.
    pub held: HoldClasses,
    /// For how long at least one thread waited.
    pub contended_ns: u64,
    /// Waits for it.
    pub waits: WaitStats,
    /// How many of them were how long; those that are over.
    pub bars: Vec<Bar>,
    /// The part of `waits.total_ns` during which a known thread held it. With the next two it adds up to
    /// `waits.total_ns`, to the nanosecond.
    pub caused_ns: u64,
    /// The part during which it was free: released, but the next thread did not have it yet.
    pub gap_ns: u64,
    /// The part during which the holder is not known.
    pub unknown_ns: u64,
    /// How often the holder gave it up because a waiting thread had asked for that.
    pub forced_drops: u64,
    /// How often the holder gave it up on its own while others waited (a call that may block).
    pub voluntary_drops: u64,
    /// Wait by who waited where. Sorted like the next two by descending time; sum: `waits.total_ns`.
    pub by_waiter: Vec<Blame>,
    /// Wait by who ended it, releasing the GIL where. Sum: at most `waits.total_ns`; the rest ended otherwise.
    pub by_releaser: Vec<Blame>,
    /// Wait by who held the GIL meanwhile, where. Sum: `caused_ns`.
    pub by_holder: Vec<Blame>,
    /// Time it was held by a thread blocked in a system call: in which, where. Sum: `held.off_cpu_ns`.
    pub held_off_cpu: Vec<(Syscall, Blame)>,
    /// Every thread that waited for it or held it.
    pub threads: Vec<ThreadShare>,
}

/// Time the GIL was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldClasses {
    /// By a thread running the interpreter's own code.
    pub python_ns: u64,
    /// By a thread running other code (an extension module, the C library).
    pub native_ns: u64,
    /// By a thread blocked in a system call.
    pub off_cpu_ns: u64,
    /// By a thread without a CPU.
    pub runnable_ns: u64,
}

impl HoldClasses {
    /// All of it.
    pub fn total_ns(&self) -> u64 {
        self.python_ns + self.native_ns + self.off_cpu_ns + self.runnable_ns
    }
}

/// One thread's part in what happened at a GIL.
#[derive(Clone, Copy, Debug)]
pub struct ThreadShare {
    /// Who.
    pub thread: ThreadId,
    /// Its waits.
    pub waits: WaitStats,
    /// How long it held it (an estimate, as in [`GilSummary::held`]).
    pub held: HoldClasses,
    /// How much waiting of others it caused as the holder.
    pub caused_ns: u64,
}
