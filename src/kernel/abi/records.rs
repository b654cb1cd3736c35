//! Records as they come out of the ring, decoded. Whatever the bytes are, decoding ends with a record or with none.

use zerocopy::FromBytes;

use super::wire::{
    WireAccount, WireExit, WireFrame, WireHeader, WireOff, WireRegisters, WireResume, WireSample, WireSite,
    WireStackHead,
};
use super::{OffFlags, SampleFlags, TLBC_SHIFT};
use crate::arch::Registers;
use crate::cpython::frames::RawFrame;
use crate::cpython::locks::FutexSite;
use crate::event::{Account, Nanos, Pid, Tid};
use crate::text::from_bytes;

/// FutexSite long a thread sleeps in the parking lot before it is handed a `PyMutex`, in nanoseconds (`TIME_TO_BE_FAIR_NS` in
/// `Python/lock.c`, 3.13 and later).
pub(crate) const TIME_TO_BE_FAIR: u64 = 1_000_000;

// `enum record_kind`
pub(crate) const REC_STACK: u8 = 1;
pub(crate) const REC_OFF: u8 = 2;
pub(crate) const REC_SAMPLE: u8 = 3;
pub(crate) const REC_EXIT: u8 = 4;
pub(crate) const REC_RESUME: u8 = 5;
pub(crate) const REC_SITE: u8 = 6;

/// `enum off_kind`: why a thread was off the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum OffKind {
    Unknown,
    /// Ready to run all the time.
    Runnable,
    /// At a futex of a GIL.
    GilWait,
    /// In a system call, or in the kernel for another reason (system call -1).
    Blocked,
    /// By a signal or a debugger.
    Stopped,
    /// In the interpreter's parking lot, for a `PyMutex`.
    ParkedMutex,
    /// In the parking lot, for something else.
    Parked,
    /// At a mutex of the C library.
    NativeMutex,
    /// In `pthread_join`.
    Join,
}

impl OffKind {
    /// In the order of `enum off_kind`.
    pub(super) const ALL: [OffKind; 9] = [
        OffKind::Unknown,
        OffKind::Runnable,
        OffKind::GilWait,
        OffKind::Blocked,
        OffKind::Stopped,
        OffKind::ParkedMutex,
        OffKind::Parked,
        OffKind::NativeMutex,
        OffKind::Join,
    ];

    /// A number that is none of the kinds stands for [`OffKind::Unknown`].
    fn decode(number: u32) -> OffKind {
        OffKind::ALL.get(number as usize).copied().unwrap_or(OffKind::Unknown)
    }

    /// Blocked in the kernel, in a system call or for another reason.
    pub(crate) fn is_blocked(self) -> bool {
        matches!(
            self,
            OffKind::Blocked | OffKind::ParkedMutex | OffKind::Parked | OffKind::NativeMutex | OffKind::Join
        )
    }
}

impl From<FutexSite> for OffKind {
    fn from(how: FutexSite) -> OffKind {
        match how {
            FutexSite::ParkedMutex => OffKind::ParkedMutex,
            FutexSite::Parked => OffKind::Parked,
            FutexSite::NativeMutex => OffKind::NativeMutex,
            FutexSite::Join => OffKind::Join,
            FutexSite::Other => OffKind::Blocked,
        }
    }
}

/// A record of one time off the CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OffCpuRecord {
    pub(crate) tid: Tid,
    pub(crate) flags: OffFlags,
    /// The system call; -1 if it was in none.
    pub(crate) syscall: i16,
    pub(crate) kind: OffKind,
    /// When it left the CPU.
    pub(crate) start: Nanos,
    /// When it was back.
    pub(crate) end: Nanos,
    /// Its stack; 0 if it has none.
    pub(crate) stack: u64,
    /// When it was made ready.
    pub(crate) woken_at: Nanos,
    pub(crate) waker_stack: u64,
    pub(crate) waker: Tid,
    /// `switch_number` of the GIL when it was made ready.
    pub(crate) waker_switches: u32,
    /// The address of the GIL that was read.
    pub(crate) gil: u64,
    /// The thread state that held the GIL.
    pub(crate) holder: u64,
    /// `switch_number` of the GIL when it left the CPU.
    pub(crate) switches: u32,
    /// The futex it was at, or what it was parked for, or the tid of the thread for whose end it waited; 0 in other calls.
    pub(crate) lock: u64,
    /// When it may claim the mutex that it is parked for: [`TIME_TO_BE_FAIR`] after it has asked for it.
    pub(crate) fair_at: Nanos,
    /// What says which native code it was that slept, see [`KernelRecord::Site`]; 0 if that is not known.
    pub(crate) site: u64,
}

/// A record of a thread on the CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuSample {
    pub(crate) tid: Tid,
    pub(crate) flags: SampleFlags,
    /// The system call it was in; -1 if it ran its own code.
    pub(crate) syscall: i16,
    pub(crate) at: Nanos,
    /// Its stack; 0 if it has none.
    pub(crate) stack: u64,
    /// The address of the GIL that was read.
    pub(crate) gil: u64,
    /// Where its own code was, also if it was in the kernel.
    pub(crate) ip: u64,
    /// Sent of free-threaded builds only.
    pub(crate) registers: Option<Registers>,
}

/// A record from the ring.
#[derive(Debug)]
pub(crate) enum KernelRecord {
    /// A stack that later records refer to.
    Stack {
        id: u64,
        /// It was deeper than the kernel walks, or its end could not be read.
        truncated: bool,
        /// Its frames, innermost first, each with what its code object was ([`super::code_key`]).
        frames: Vec<(RawFrame, u64)>,
    },
    /// A thread was off the CPU.
    Off(OffCpuRecord),
    /// A thread was on the CPU.
    Sample(CpuSample),
    Exit {
        tid: Tid,
        account: Account,
        /// The kernel's name for it (`comm`).
        name: String,
    },
    /// A thread resumed the others that it had stopped.
    Resume {
        tid: Tid,
        at: Nanos,
        /// Words of its stack, innermost first.
        words: Vec<u64>,
    },
    /// Where in native code threads sleep, that later records refer to: the end of the stack, and the call.
    Site { id: u64, ip: u64, operation: u32, value: u32, words: Vec<u64> },
}

impl KernelRecord {
    /// Decodes a record and the process that it is of; `None` for bytes that are no record.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Pid, KernelRecord)> {
        let (header, _) = WireHeader::read_from_prefix(bytes).ok()?;
        let record = match header.kind {
            REC_STACK => decode_stack(bytes)?,
            REC_OFF => KernelRecord::Off(OffCpuRecord::decode(&prefix(bytes)?)),
            REC_SAMPLE => decode_sample(bytes)?,
            REC_EXIT => {
                let exit: WireExit = prefix(bytes)?;
                let account = exit.account.up_to(Nanos(exit.at));
                KernelRecord::Exit { tid: header.tid as Tid, account, name: name_of(&exit.name) }
            }
            REC_RESUME => {
                let resume: WireResume = prefix(bytes)?;
                let words = resume.words.to_vec();
                KernelRecord::Resume { tid: header.tid as Tid, at: Nanos(resume.at), words }
            }
            REC_SITE => {
                let WireSite { id, ip, operation, value, words, .. } = prefix(bytes)?;
                KernelRecord::Site { id, ip, operation, value, words: words.to_vec() }
            }
            _ => return None,
        };
        Some((header.tgid as Pid, record))
    }
}

/// The name in a field that it does not fill.
fn name_of(field: &[u8]) -> String {
    let len = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    from_bytes(&field[..len])
}

/// The structure that `bytes` begin with.
fn prefix<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_prefix(bytes).ok().map(|(value, _)| value)
}

fn decode_stack(bytes: &[u8]) -> Option<KernelRecord> {
    let (head, rest) = WireStackHead::read_from_prefix(bytes).ok()?;
    let len = usize::try_from(head.frames).ok()?.checked_mul(size_of::<WireFrame>())?;
    let frames = rest.get(..len)?.chunks_exact(size_of::<WireFrame>());
    let frames = frames.map(|frame| WireFrame::read_from_bytes(frame).ok().map(WireFrame::decode));
    Some(KernelRecord::Stack { id: head.id, truncated: head.truncated != 0, frames: frames.collect::<Option<_>>()? })
}

fn decode_sample(bytes: &[u8]) -> Option<KernelRecord> {
    let (sample, rest) = WireSample::read_from_prefix(bytes).ok()?;
    let registers: Option<WireRegisters> = prefix(rest);
    Some(KernelRecord::Sample(CpuSample {
        tid: sample.header.tid as Tid,
        flags: SampleFlags(sample.header.flags),
        syscall: sample.header.syscall,
        at: Nanos(sample.at),
        stack: sample.stack,
        gil: sample.gil,
        ip: sample.ip,
        registers: registers.map(|WireRegisters { ip, general }| Registers { ip, general }),
    }))
}

impl WireFrame {
    fn decode(self) -> (RawFrame, u64) {
        let code = self.code & ((1 << TLBC_SHIFT) - 1);
        let tlbc_index = i32::from((self.code >> TLBC_SHIFT) as u16);
        (RawFrame { addr: 0, code, instr: self.instr, tlbc_index }, self.key)
    }
}

impl OffCpuRecord {
    pub(super) fn decode(off: &WireOff) -> OffCpuRecord {
        OffCpuRecord {
            tid: off.header.tid as Tid,
            flags: OffFlags(off.header.flags),
            syscall: off.header.syscall,
            kind: OffKind::decode(off.header.off_kind),
            start: Nanos(off.start),
            end: Nanos(off.end),
            stack: off.stack,
            woken_at: Nanos(off.woken_at),
            waker_stack: off.waker_stack,
            waker: off.waker as Tid,
            waker_switches: off.waker_switches,
            gil: off.gil,
            holder: off.holder,
            switches: off.switches,
            lock: off.lock,
            fair_at: Nanos(off.fair_at),
            site: off.site,
        }
    }
}

impl WireAccount {
    pub(super) fn up_to(&self, at: Nanos) -> Account {
        Account {
            at,
            on_cpu_ns: self.on_cpu,
            runnable_ns: self.runnable,
            gil_held_runnable_ns: self.gil_held_runnable,
            gil_held_off_cpu_ns: self.gil_held_off_cpu,
            gil_wait_ns: self.gil_wait,
            futex_ns: self.futex,
            blocked_ns: self.blocked,
            unknown_ns: self.unknown,
            gil_waits: self.gil_waits,
            blocks: self.blocks,
        }
    }
}
