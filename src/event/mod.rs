//! The vocabulary: what a collector can say about a program under observation.
//!
//! Read this file first. Collectors (`sampler/`, `kernel/`) turn a living process into these events; everything
//! after them (`profile`, `gil/`, `export/`) is pure and has no clock of its own.
//!
//! There are two kinds of evidence. A [`Event::Sample`] says what one thread did at one tick, and stands for a period of the
//! sampling rate. An [`Event::OffCpu`] is exact: a thread was off the CPU from one moment to another, and why. Memory
//! mode samples all threads at every tick and knows nothing else. Kernel mode samples threads on the CPU only, and
//! has an `OffCpu` for all the rest of the time.
//!
//! # Glossary
//!
//! - *acquire*, *release*: to become, and to stop being, the holder of the GIL or a lock.
//! - *hold*: the time from acquire to release; *holder*: the thread that has it.
//! - *wait*: the time from when a thread asks for the GIL or a lock until it has acquired it. It can consist of several
//!   sleeps; *waiter*: the thread that waits.
//! - *contended*: at least one thread waits. Uncontended locks are invisible to gilscope.
//! - *hand-off*: a release by one thread that is followed by the acquire of a waiter; *gap*: the time between the two.
//! - *waker*: the thread that made a sleeping one runnable again (by `FUTEX_WAKE`), usually the releaser.
//! - *attribute*: to divide the time of waits among the stacks of those who held it meanwhile (`caused`), of those who
//!   ended the waits, or of those who waited. What no thread explains is a gap or unknown.
//! - *on-CPU*: runs on a CPU. *Runnable*: could run, but others have the CPUs. *Off-CPU*: everything but on-CPU.
//! - *blocked*: off-CPU in a system call until something happens; *idle*: blocked without anything to do.
//! - *pause*: a stop of all threads by the interpreter ("stop the world"), for a collection, a fork and the like.
//! - *attached*: a thread that can run Python. With a GIL that is its holder, without one any number of threads.
//! - *tick*: a moment at which the collector samples; *period*: the mean time between two ticks.
//! - *sample*: what one thread did at one tick. It stands for one period, or for more if ticks were missed.
//! - *span*: a stretch of time in which a thread was in one state with one stack.
//! - *marker*: a frame that is no code, but says something about the stack: `[waiting for GIL]`.
//! - *lost*: a sample or record without its stack; *torn*: a stack that changed under every attempt to read it.
//! - *ledger*: all of a thread's time, divided by its [`Activity`].

mod activity;
mod group_names;
mod ids;
mod lock;
mod objects;
mod state;
pub mod version;

use std::path::Path;
use std::sync::Arc;

use crate::stack::{FrameId, StackId};
use crate::text::{Shown, file_word};

/// What a note says where the system calls of a process's threads could not be seen: then nothing is known of waits for
/// locks, and waits for the GIL are conclusions.
pub(crate) const HIDDEN_CALLS: &str = "the system calls of its threads are hidden";

pub(crate) use self::activity::{ACTIVITIES, ACTIVITY_COUNT, Activity, ActivityColor, ActivityRow};
pub(crate) use self::group_names::name_pattern;
pub use self::ids::{Ids, Renumber};
pub(crate) use self::lock::LOCK_KINDS;
pub use self::lock::{HANDLER, LockInfo, LockKind, OTHER_INTERNAL};
pub use self::objects::{Accessed, CountOp, Counting, MODULE, MemoryPlace, ObjectInfo, object_label};
pub use self::state::ThreadState;

/// An operating system process id, in gilscope's own pid namespace.
pub type Pid = i32;
/// An operating system thread id, in gilscope's own pid namespace.
pub type Tid = i32;

/// A moment on the one clock all events share: `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One incarnation of an OS thread. Tids are reused by the kernel, these never are: they index
/// [`crate::profile::Profile::threads`] in the order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u32);

/// One observed process: an index into [`crate::profile::Profile::processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// One GIL: an index into [`crate::profile::Profile::gils`]. Interpreters that share a GIL share its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GilId(pub u32);

/// One contended lock: an index into [`crate::lockstats::Locks::infos`]. Another lock in the same memory has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(pub u32);

/// A system call number of the target's architecture; negative when the thread is off the CPU outside any
/// call (a page fault, a stop). Its names and constants are in [`crate::arch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall(pub i16);

/// An object whose reference count threads were sampled at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u32);

/// Why a tick has no stack of a thread that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The stack changed under every attempt to read it, and the thread could not be stopped.
    Torn,
    /// The memory held no plausible stack (thread starting or ending, or unreadable memory).
    Unreadable,
}

/// What is said of a lock that nobody will release, after what it is called: in [`Event::Deadlock`] of one thread.
pub const LEFT_AT_FORK: &str = ", which was held by a thread that did not survive fork()";
pub const LEFT_BY_ENDED: &str = ", which was held by a thread that has ended";

/// What happened, in the order of `at` within one process.
#[derive(Clone, Debug)]
pub enum Event {
    /// A Python interpreter was found in a process; its threads follow.
    Process {
        /// The process's handle, given out in ascending order.
        process: ProcessId,
        info: Arc<ProcessInfo>,
    },
    /// A process has given itself another title (`setproctitle`): what it calls its command line.
    ProcessTitled { process: ProcessId, command: Arc<[String]> },
    ThreadStarted {
        /// When it was first seen.
        at: Nanos,
        /// Its handle, given out in ascending order.
        thread: ThreadId,
        /// The process it belongs to.
        process: ProcessId,
        /// Its OS thread id.
        tid: Tid,
    },
    /// A thread's name is known or has changed (`threading.Thread.name`).
    ThreadNamed { thread: ThreadId, name: Arc<str> },
    /// A thread is gone.
    ThreadExited {
        /// When that was noticed.
        at: Nanos,
        thread: ThreadId,
        /// CPU time it used while observed, in nanoseconds.
        cpu_ns: u64,
    },
    /// A GIL was found, or facts about it have changed.
    Gil {
        at: Nanos,
        /// Its handle, given out in ascending order.
        gil: GilId,
        /// What is known of it.
        info: Arc<GilInfo>,
        /// The extension module that switched it on, if one has (free-threaded builds).
        switched_on_by: Option<Arc<str>>,
    },
    /// A lock was waited for, or more is known of it.
    Lock {
        /// Its handle, given out in ascending order.
        lock: LockId,
        /// What is known of it.
        info: Arc<LockInfo>,
    },
    /// A thread held a lock while others waited for it: in memory mode at a tick, before their samples; in kernel mode when a
    /// wait was over that nobody had ended, or was still going on.
    LockHeld { at: Nanos, lock: LockId, thread: ThreadId, stack: StackId },
    /// A thread was off the CPU. Comes when it is back, so these come in the order of `end` (more or less: up to a
    /// millisecond of disorder is possible).
    OffCpu(OffCpu),
    /// Records of threads were lost between the kernel and gilscope.
    RecordsLost {
        /// When that was noticed.
        at: Nanos,
        count: u64,
    },
    /// An object was found whose reference count several threads access, or more is known of it (free-threaded builds).
    Object {
        /// Its handle, given out in ascending order.
        object: ObjectId,
        /// What is known of it.
        info: Arc<ObjectInfo>,
    },
    /// The memory access that delayed a thread which was sampled on a CPU (free-threaded builds). There is one for each
    /// sample that was examined in this way: together they are the CPU time. It may come late: that a count is shared
    /// shows when a second thread is sampled at it.
    Access { at: Nanos, thread: ThreadId, stack: StackId, accessed: Accessed },
    /// A sample found a thread spinning before it sleeps for a lock (free-threaded builds). Comes after that sample.
    Spin {
        at: Nanos,
        thread: ThreadId,
        stack: StackId,
        /// For which, if that is known.
        lock: Option<LockId>,
    },
    /// A sample found a thread that held the GIL in this function of a shared library or the executable. Comes after that
    /// sample; there is none if it ran the interpreter's own loop.
    HeldInNative {
        at: Nanos,
        thread: ThreadId,
        stack: StackId,
        /// A frame of the kind [`FrameKind::Native`](crate::stack::FrameKind::Native).
        function: FrameId,
    },
    /// The interpreters of a process have counted that many garbage collections since the last such event.
    Collected { at: Nanos, process: ProcessId, totals: CollectionTotals },
    /// Threads wait for each other in a circle: each for what the next one has, the last for what the first one has. Or one
    /// waits for a lock that nobody will release.
    Deadlock {
        /// When that was seen.
        at: Nanos,
        /// The threads, and what each waits for, in words.
        threads: Vec<(ThreadId, Arc<str>)>,
    },
    /// The queue from which a thread takes its work had this many items.
    QueueLength {
        at: Nanos,
        thread: ThreadId,
        /// Where the queue is: threads with the same one are a pool.
        queue: u64,
        length: u64,
    },
    /// What the kernel accounts to a thread so far: exact, also where single records were not asked for or lost.
    Account {
        thread: ThreadId,
        /// Its totals since it was first seen.
        account: Account,
    },
    /// One thread at one tick.
    Sample {
        /// When it was read.
        at: Nanos,
        /// For how many periods of the sampling rate it stands: 1, unless ticks were missed before it.
        periods: u32,
        thread: ThreadId,
        /// What it was doing.
        state: ThreadState,
        /// Its Python stack; [`StackId::EMPTY`] when it has none.
        stack: StackId,
        /// The GIL of the interpreter it runs in, on builds that have one.
        gil: Option<GilId>,
    },
    /// One thread at one tick, whose stack could not be read; its state still counts.
    Lost {
        at: Nanos,
        /// As for [`Event::Sample`].
        periods: u32,
        thread: ThreadId,
        /// What it was doing.
        state: ThreadState,
        /// As for [`Event::Sample`].
        gil: Option<GilId>,
        /// Why there is no stack.
        loss: Loss,
    },
}

/// How many garbage collections there were, and what they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectionTotals {
    pub number: u64,
    /// Of the oldest generation: all objects were looked at.
    pub full: u64,
    /// Objects that they freed.
    pub freed: u64,
}

impl CollectionTotals {
    pub fn add(&mut self, more: CollectionTotals) {
        self.number = self.number.saturating_add(more.number);
        self.full = self.full.saturating_add(more.full);
        self.freed = self.freed.saturating_add(more.freed);
    }

    /// What came after an earlier total.
    pub fn since(self, before: CollectionTotals) -> CollectionTotals {
        CollectionTotals {
            number: self.number.saturating_sub(before.number),
            full: self.full.saturating_sub(before.full),
            freed: self.freed.saturating_sub(before.freed),
        }
    }
}

/// A thread's time by what it was doing, in nanoseconds, up to one moment. The parts are exclusive; their sum is the
/// time from when it was first seen to `at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub at: Nanos,
    pub on_cpu_ns: u64,
    /// Runnable, without the GIL.
    pub runnable_ns: u64,
    /// Runnable, with the GIL.
    pub gil_held_runnable_ns: u64,
    /// Off the CPU in a system call, with the GIL.
    pub gil_held_off_cpu_ns: u64,
    /// Off the CPU, waiting for the GIL, and then for a CPU.
    pub gil_wait_ns: u64,
    /// Off the CPU in `futex` for another reason.
    pub futex_ns: u64,
    /// Off the CPU in another system call, without the GIL.
    pub blocked_ns: u64,
    /// Off the CPU before it was ever seen to leave it, or outside any system call.
    pub unknown_ns: u64,
    /// How often it began to wait for the GIL (a wait interrupted by time-outs counts each part).
    pub gil_waits: u64,
    /// How often it blocked in all.
    pub blocks: u64,
}

impl Account {
    /// How many numbers there are beside the time.
    pub const NUMBERS: usize = 10;

    /// All numbers, in the order of the fields.
    pub fn numbers(mut self) -> [u64; Self::NUMBERS] {
        self.fields().map(|field| *field)
    }

    /// An account of such numbers.
    pub fn of(at: Nanos, numbers: [u64; Self::NUMBERS]) -> Account {
        let mut account = Account { at, ..Account::default() };
        account.fields().into_iter().zip(numbers).for_each(|(field, number)| *field = number);
        account
    }

    /// That of two threads together, up to the later moment.
    pub fn and(self, other: Account) -> Account {
        let (mut numbers, more) = (self.numbers(), other.numbers());
        numbers.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        Account::of(self.at.max(other.at), numbers)
    }

    fn fields(&mut self) -> [&mut u64; Self::NUMBERS] {
        // All are named, so that none that is added can be forgotten.
        let Account {
            at: _,
            on_cpu_ns,
            runnable_ns,
            gil_held_runnable_ns,
            gil_held_off_cpu_ns,
            gil_wait_ns,
            futex_ns,
            blocked_ns,
            unknown_ns,
            gil_waits,
            blocks,
        } = self;
        [
            on_cpu_ns,
            runnable_ns,
            gil_held_runnable_ns,
            gil_held_off_cpu_ns,
            gil_wait_ns,
            futex_ns,
            blocked_ns,
            unknown_ns,
            gil_waits,
            blocks,
        ]
    }
}

/// A stretch of time in which a thread was off the CPU: one context switch out and the next one in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffCpu {
    pub thread: ThreadId,
    /// When it left the CPU.
    pub start: Nanos,
    /// When it was back on one (or, if `open`, when recording ended).
    pub end: Nanos,
    /// Why: any state in which a thread is not on a CPU.
    pub state: ThreadState,
    /// Its Python stack; [`StackId::EMPTY`] when it has none.
    pub stack: StackId,
    /// The stack could not be read.
    pub lost: bool,
    /// What made it runnable again; none if it was runnable all the time, or if that was not seen.
    pub wake: Option<Wake>,
    /// What it saw of its interpreter's GIL as it left the CPU; none on builds without, or if that could not be read.
    pub gil: Option<GilGlimpse>,
    /// When it asked for the lock that it waits for, if the interpreter has noted that (a `PyMutex`, 3.13 and later): all
    /// sleeps until it has it have the same.
    pub asked: Option<Nanos>,
    /// It had left the CPU before recording started, or was not back when recording ended.
    pub open: bool,
}

impl OffCpu {
    /// What it did when: a thread that was blocked is ready, without a CPU, from when it was woken. Waits for the GIL and for
    /// locks go on until the thread runs.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Nanos, Nanos, ThreadState)> {
        let after = match self.state {
            ThreadState::Blocked(_) => ThreadState::Runnable,
            ThreadState::GilHeldOffCpu(_) => ThreadState::GilHeldRunnable,
            state => state,
        };
        let ready = self.wake.filter(|_| after != self.state).map_or(self.end, |wake| wake.at);
        // What comes from a recording need not be in order.
        let ready = ready.min(self.end).max(self.start);
        let after = Some((ready, self.end, after)).filter(|_| ready < self.end);
        std::iter::once((self.start, ready, self.state)).chain(after)
    }
}

#[cfg(test)]
impl OffCpu {
    /// One of which nothing else is known.
    pub(crate) fn new(thread: ThreadId, start: Nanos, end: Nanos, state: ThreadState, stack: StackId) -> OffCpu {
        OffCpu { thread, start, end, state, stack, lost: false, wake: None, gil: None, asked: None, open: false }
    }
}

/// How a blocked thread was made runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    pub at: Nanos,
    /// The observed thread that did it, by a call for that purpose (`FUTEX_WAKE`); none if it was a timer, a
    /// device, or another process.
    pub by: Option<ThreadId>,
    /// That thread's Python stack at that moment.
    pub stack: StackId,
    /// `switch_number` of the GIL at that moment, if it was read: the waker has released it then.
    pub switches: Option<u32>,
}

/// A GIL as a thread saw it at the moment it left the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GilGlimpse {
    pub gil: GilId,
    /// Who held it (the thread itself, if it did), if that is known. If it was free: the thread itself, if it was the last to
    /// hold it. Not known in waits for a `PyMutex` or a native mutex, in which a thread may acquire and release it.
    pub holder: Option<ThreadId>,
    /// It was held, by whomever.
    pub locked: bool,
    /// The low half of its `switch_number`, which counts how often it went to another thread than the last.
    pub switches: u32,
}

impl GilGlimpse {
    /// Who held it at that moment, if it was held and that is known.
    pub fn held_by(&self) -> Option<ThreadId> {
        self.holder.filter(|_| self.locked)
    }

    /// It was free, and this thread, which saw it, was the last to hold it.
    pub fn was_last_held_by(&self, thread: ThreadId) -> bool {
        !self.locked && self.holder == Some(thread)
    }
}

/// Facts about a GIL.
#[derive(Clone, Debug, PartialEq)]
pub struct GilInfo {
    /// The process it belongs to.
    pub process: ProcessId,
    /// The interpreter that owns it; 0 is the main one.
    pub interpreter: i64,
    /// In use: always, or (free-threaded builds) only after something switched it on.
    pub enabled: bool,
    /// After how long a waiting thread asks the holder to release it, in nanoseconds (`sys.getswitchinterval()`).
    pub switch_interval_ns: u64,
}

/// Facts about a process that do not change while it is observed.
#[derive(Clone, Debug)]
pub struct ProcessInfo {
    pub pid: Pid,
    pub command: Vec<String>,
    /// The interpreter's version, `3.13.15`.
    pub python: String,
    /// Built without a GIL (PEP 703).
    pub free_threaded: bool,
}

impl ProcessInfo {
    /// A word for names of files: the script, or the program if there is none.
    pub fn short_name(&self) -> String {
        let script = self.command.iter().skip(1).find(|word| !word.starts_with('-')).or(self.command.first());
        let stem = script.and_then(|path| Path::new(path).file_stem());
        let name = stem.map(|stem| file_word(&stem.shown().to_string())).unwrap_or_default();
        if name.is_empty() { "python".to_owned() } else { name }
    }
}
