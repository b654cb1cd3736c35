//! What records consist of: their numbers, and contexts. Used by the encoder and the decoder.

use crate::event::{
    Accessed, CountOp, Counting, GilGlimpse, GilId, LockId, Loss, MemoryPlace, Nanos, OffCpu, Syscall, ThreadId,
    ThreadState, Wake,
};
use crate::stack::{FrameId, FrameKind, StackId};

use super::wire::{Bytes, Malformed, put, put_signed};

/// The numbers of records; [`FIRST_CONTEXT`] and more are a use of a context.
pub mod tag {
    pub const ORIGIN: u64 = 0;
    pub const STRING: u64 = 1;
    pub const FRAME: u64 = 2;
    pub const STACK: u64 = 3;
    pub const PROCESS: u64 = 4;
    pub const THREAD_STARTED: u64 = 5;
    pub const THREAD_NAMED: u64 = 6;
    pub const THREAD_EXITED: u64 = 7;
    pub const GIL: u64 = 8;
    pub const LOCK: u64 = 9;
    pub const LOCK_HELD: u64 = 10;
    pub const RECORDS_LOST: u64 = 11;
    pub const ACCOUNT: u64 = 12;
    pub const SESSION: u64 = 13;
    pub const NOTE: u64 = 14;
    pub const END: u64 = 15;
    pub const SAMPLE_CONTEXT: u64 = 16;
    pub const WAIT_CONTEXT: u64 = 17;
    pub const FORGET_CONTEXTS: u64 = 18;
    pub const OBJECT: u64 = 19;
    pub const ACCESS_CONTEXT: u64 = 20;
    pub const SPIN_CONTEXT: u64 = 21;
    pub const DEADLOCK: u64 = 22;
    pub const OTHER_FRAME: u64 = 23;
    pub const CHILDREN: u64 = 24;
    pub const CHILD_COUNTS: u64 = 31;
    pub const QUEUE_LENGTH: u64 = 25;
    pub const NATIVE_CONTEXT: u64 = 26;
    pub const MACHINE: u64 = 27;
    pub const COLLECTED: u64 = 28;
    pub const PROCESS_TITLED: u64 = 29;
    pub const FIRST_CONTEXT: u64 = 32;
}

/// With this many contexts, all are forgotten and numbering starts anew.
pub const MAX_CONTEXTS: usize = 1 << 15;

/// Kinds of frames that have no lines, by their numbers in records.
pub const OTHER_FRAME_KINDS: [FrameKind; 2] = [FrameKind::Native, FrameKind::Marker];

/// Ways of counting references.
pub const COUNTINGS: [Counting; 4] = [Counting::Biased, Counting::Merged, Counting::Deferred, Counting::Immortal];
/// What accesses to counts are part of.
pub const COUNT_OPS: [CountOp; 4] = [CountOp::Incref, CountOp::Decref, CountOp::TryIncref, CountOp::Unknown];
/// Memory that is no reference count.
pub const PLACES: [MemoryPlace; 5] = [
    MemoryPlace::ObjectMutex,
    MemoryPlace::Interpreter,
    MemoryPlace::DictKeys,
    MemoryPlace::Content,
    MemoryPlace::Memory,
];

/// The number of something in one of these tables.
pub fn number<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|known| known == value).expect("everything has a number") as u8
}

/// Appends what was accessed.
fn put_accessed(out: &mut Vec<u8>, accessed: Accessed) {
    match accessed {
        Accessed::Count { object, op, atomic } => {
            out.push(0);
            put(out, object.0.into());
            out.extend([number(&COUNT_OPS, &op), atomic.into()]);
        }
        Accessed::Header { object } => {
            out.push(1);
            put(out, object.0.into());
        }
        Accessed::Elsewhere(place) => out.extend([2, number(&PLACES, &place)]),
        Accessed::Unknown => out.push(3),
        Accessed::Nothing => out.push(4),
    }
}

pub fn put_state(out: &mut Vec<u8>, state: ThreadState) {
    let (number, detail) = match state {
        ThreadState::GilHeld => (0, None),
        ThreadState::GilHeldNative => (1, None),
        ThreadState::GilHeldRunnable => (2, None),
        ThreadState::GilHeldOffCpu(call) => (3, Some(i64::from(call.0))),
        ThreadState::GilWait => (4, None),
        ThreadState::LockWait(lock) => (5, Some(i64::from(lock.0))),
        ThreadState::Paused(lock) => (6, Some(i64::from(lock.0))),
        ThreadState::Running => (7, None),
        ThreadState::Native => (8, None),
        ThreadState::Runnable => (9, None),
        ThreadState::Blocked(call) => (10, Some(i64::from(call.0))),
        ThreadState::Stopped => (11, None),
        ThreadState::Unknown => (12, None),
        ThreadState::Awaits(lock) => (13, Some(i64::from(lock.0))),
    };
    out.push(number);
    if let Some(detail) = detail {
        put_signed(out, detail);
    }
}

/// Reads a state; `lock` resolves the number of a lock.
pub fn state(
    bytes: &mut Bytes<'_>,
    lock: impl Fn(u64) -> Result<LockId, Malformed>,
) -> Result<ThreadState, Malformed> {
    let number = bytes.byte()?;
    let detail = if matches!(number, 3 | 5 | 6 | 10 | 13) { bytes.signed()? } else { 0 };
    let call = || i16::try_from(detail).map(Syscall).map_err(|_| Malformed);
    let lock = || lock(u64::try_from(detail).map_err(|_| Malformed)?);
    Ok(match number {
        0 => ThreadState::GilHeld,
        1 => ThreadState::GilHeldNative,
        2 => ThreadState::GilHeldRunnable,
        3 => ThreadState::GilHeldOffCpu(call()?),
        4 => ThreadState::GilWait,
        5 => ThreadState::LockWait(lock()?),
        6 => ThreadState::Paused(lock()?),
        7 => ThreadState::Running,
        8 => ThreadState::Native,
        9 => ThreadState::Runnable,
        10 => ThreadState::Blocked(call()?),
        11 => ThreadState::Stopped,
        12 => ThreadState::Unknown,
        13 => ThreadState::Awaits(lock()?),
        _ => return Err(Malformed),
    })
}

/// Everything about a sample but its time. Threads do the same over and over, so that most samples are a known context
/// and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SampleContext {
    pub thread: ThreadId,
    pub state: ThreadState,
    pub stack: StackId,
    pub gil: Option<GilId>,
    pub periods: u32,
    /// Why it has no stack, if it has none.
    pub loss: Option<Loss>,
}

/// Everything about a time off the CPU but its times and numbers of switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitContext {
    pub thread: ThreadId,
    pub state: ThreadState,
    pub stack: StackId,
    pub lost: bool,
    pub open: bool,
    /// When it asked for the lock is known.
    pub asked: bool,
    pub wake: Option<WakeContext>,
    pub gil: Option<GilContext>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WakeContext {
    pub by: Option<ThreadId>,
    pub stack: StackId,
    /// The number of switches is known.
    pub switches: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GilContext {
    pub gil: GilId,
    pub holder: Option<ThreadId>,
    pub locked: bool,
}

impl WaitContext {
    /// That of a time off the CPU.
    pub fn of(off: &OffCpu) -> WaitContext {
        let &OffCpu { thread, state, stack, lost, open, asked, .. } = off;
        let wake =
            off.wake.map(|Wake { by, stack, switches, .. }| WakeContext { by, stack, switches: switches.is_some() });
        let gil = off.gil.map(|GilGlimpse { gil, holder, locked, .. }| GilContext { gil, holder, locked });
        WaitContext { thread, state, stack, lost, open, asked: asked.is_some(), wake, gil }
    }
}

/// Everything about an access to memory but its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessContext {
    pub thread: ThreadId,
    pub stack: StackId,
    pub accessed: Accessed,
}

/// Everything about a sample of a thread that spins but its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpinContext {
    pub thread: ThreadId,
    pub stack: StackId,
    pub lock: Option<LockId>,
}

/// Everything about a sample of a thread in native code but its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NativeContext {
    pub thread: ThreadId,
    pub stack: StackId,
    pub function: FrameId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordContext {
    Sample(SampleContext),
    Wait(WaitContext),
    Access(AccessContext),
    Spin(SpinContext),
    Native(NativeContext),
}

impl RecordContext {
    /// Appends the record that makes it known.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            RecordContext::Sample(sample) => {
                put(out, tag::SAMPLE_CONTEXT);
                put(out, sample.thread.0.into());
                put_state(out, sample.state);
                put(out, sample.stack.index().into());
                put_id(out, sample.gil.map(|gil| gil.0));
                put(out, sample.periods.into());
                out.push(match sample.loss {
                    None => 0,
                    Some(Loss::Torn) => 1,
                    Some(Loss::Unreadable) => 2,
                });
            }
            RecordContext::Access(access) => {
                put(out, tag::ACCESS_CONTEXT);
                put(out, access.thread.0.into());
                put(out, access.stack.index().into());
                put_accessed(out, access.accessed);
            }
            RecordContext::Spin(spin) => {
                put(out, tag::SPIN_CONTEXT);
                put(out, spin.thread.0.into());
                put(out, spin.stack.index().into());
                put_id(out, spin.lock.map(|lock| lock.0));
            }
            RecordContext::Native(native) => {
                put(out, tag::NATIVE_CONTEXT);
                put(out, native.thread.0.into());
                put(out, native.stack.index().into());
                put(out, native.function.index().into());
            }
            RecordContext::Wait(wait) => {
                put(out, tag::WAIT_CONTEXT);
                put(out, wait.thread.0.into());
                put_state(out, wait.state);
                put(out, wait.stack.index().into());
                let flags = [
                    wait.lost,
                    wait.open,
                    wait.wake.is_some(),
                    wait.wake.is_some_and(|wake| wake.switches),
                    wait.gil.is_some(),
                    wait.gil.is_some_and(|gil| gil.locked),
                    wait.asked,
                ];
                out.push(flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u8::from(flag)));
                if let Some(wake) = &wait.wake {
                    put_id(out, wake.by.map(|thread| thread.0));
                    put(out, wake.stack.index().into());
                }
                if let Some(gil) = &wait.gil {
                    put(out, gil.gil.0.into());
                    put_id(out, gil.holder.map(|thread| thread.0));
                }
            }
        }
    }
}

/// Appends an id that may be missing: 0, or one more than it is.
pub fn put_id(out: &mut Vec<u8>, id: Option<u32>) {
    put(out, id.map_or(0, |id| u64::from(id) + 1));
}

/// The last times and numbers, to which the next are relative.
#[derive(Debug, Default)]
pub struct LastValues {
    /// The time of the last record that has one and is no time off the CPU.
    pub at: Nanos,
    /// By thread, when it was last back on a CPU.
    pub back: Vec<Nanos>,
    /// By GIL, the number of switches last seen.
    pub switches: Vec<u32>,
}

impl LastValues {
    /// The value for an id, which is 0 at first.
    pub fn of<T: Default + Clone>(values: &mut Vec<T>, id: u32) -> &mut T {
        let index = id as usize;
        if values.len() <= index {
            values.resize(index + 1, T::default());
        }
        &mut values[index]
    }
}
