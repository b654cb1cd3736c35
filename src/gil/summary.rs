//! What [`super::analysis`] concludes about one GIL: the numbers and stacks that the report, the findings and the
//! traces show. All times are nanoseconds.

use std::sync::Arc;

use super::delays::{HolderDelays, PlaceDelays};
use crate::contention::lengths::WaitLengths;
use crate::contention::{Blame, Contention, WaitStats};
use crate::event::{GilInfo, Nanos, Syscall, ThreadId};
use crate::stack::StackId;

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
    pub contention: Contention,
    /// How often the holder released it because a waiting thread had asked for that.
    pub forced_drops: u64,
    /// How often the holder released it on its own while others waited (a call that may block).
    pub voluntary_drops: u64,
    /// Time it was held by a thread blocked in a system call: in which, where. Sum: `held.off_cpu_ns`.
    pub held_off_cpu: Vec<(Syscall, Blame)>,
    /// Why the waits took as long as they did; not known where they were sampled.
    pub delays: Option<HolderDelays>,
    /// Where holders kept it although they had been asked to release it, the most costly first.
    pub not_released: Vec<(ThreadId, StackId, PlaceDelays)>,
    /// Every thread that waited for it or held it.
    pub threads: Vec<ThreadShare>,
}

impl GilSummary {
    /// A GIL at which nothing has happened.
    pub fn nothing_yet(info: Arc<GilInfo>) -> GilSummary {
        GilSummary {
            info,
            switched_on: None,
            estimated: false,
            observed_ns: 0,
            held: HoldClasses::default(),
            contention: Contention::default(),
            forced_drops: 0,
            voluntary_drops: 0,
            held_off_cpu: Vec::new(),
            delays: None,
            not_released: Vec::new(),
            threads: Vec::new(),
        }
    }
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
    pub fn total_ns(&self) -> u64 {
        self.python_ns + self.native_ns + self.off_cpu_ns + self.runnable_ns
    }
}

/// One thread's part in what happened at a GIL.
#[derive(Clone, Debug)]
pub struct ThreadShare {
    pub thread: ThreadId,
    pub waits: WaitStats,
    /// Only of those that are over.
    pub lengths: WaitLengths,
    /// How long it held it (an estimate, as in [`GilSummary::held`]).
    pub held: HoldClasses,
    /// How much waiting of others it caused as the holder.
    pub caused_ns: u64,
}
