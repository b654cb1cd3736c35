//! What the BPF programs share with gilscope, mirrored from `bpf/gilscope.bpf.c`: the configuration of a target, the
//! state of a thread, and the records that come out of the ring. Pure; called by the rest of `kernel/`.

use crate::arch::x86_64::Registers;
use crate::cpython::code::CodeWords;
use crate::cpython::frames::RawFrame;
use crate::cpython::layout::{FrameHead, GilPlace, Layout, Position};
use crate::cpython::locks::{How, PARKED_WITHIN};
use crate::event::{Account, Nanos, Syscall, Tid};

/// Most GILs of one process that are told from other futexes.
pub const MAX_GILS: usize = 16;
/// Most ranges of code that are the interpreter's.
const MAX_TEXTS: usize = 8;
/// Where in `struct target` the GILs are, in words.
const GILS: usize = 1 + 2 * MAX_TEXTS;
/// Most thread states of one thread.
pub const MAX_TSTATES: usize = 4;
/// An offset that this version does not have.
const NONE: u64 = 0xffff_ffff;
/// How much is read at once where callers' frames are in front of a frame (`FRAMES_LEN`).
const FRAMES_LEN: u64 = 1024;
const TLBC_SHIFT: u32 = 48;

/// `struct target`.
pub type Target = [u64; 54];
/// `struct tstates`.
pub type TStates = [u64; 4 * MAX_TSTATES + 1];
/// `struct thread`.
pub type Thread = [u64; 26];

/// `struct target` for a process whose interpreter is not known yet: its threads are observed without stacks.
pub const BLANK: Target = [0; 54];

/// `struct target` for a process, with the address ranges of the interpreter's code and the addresses of its GILs.
pub fn target(layout: &Layout, runtime: u64, text: &[(u64, u64)], gils: &[u64]) -> Target {
    let mut words = BLANK;
    let gils = &gils[..gils.len().min(MAX_GILS)];
    words[0] = runtime;
    for (index, &(start, end)) in text.iter().take(MAX_TEXTS).enumerate() {
        words[1 + 2 * index..][..2].copy_from_slice(&[start, end]);
    }
    words[GILS..][..gils.len()].copy_from_slice(gils);
    let Layout { thread, frame, code, gil, .. } = layout;
    let (head, cframe_current) = match thread.head {
        FrameHead::Direct(head) => (head, NONE),
        FrameHead::CFrame { cframe, current } => (cframe, current),
    };
    let (gil_place, gil_in_runtime) = match layout.gil_place {
        GilPlace::Runtime(offset) => (offset, 1),
        GilPlace::Interpreter(offset) => (offset, 0),
    };
    // Whole words.
    let frame_len = frame.len.next_multiple_of(8) as u64;
    let numbers = [
        gils.len() as u64,
        layout.interpreters_head,
        layout.interp_next,
        layout.interp_threads,
        gil_place,
        gil_in_runtime,
        gil.enabled.unwrap_or(NONE),
        gil.last_holder,
        gil.locked,
        gil.switches,
        gil.cond,
        gil.wait_size,
        thread.next,
        thread.interp,
        head,
        cframe_current,
        thread.thread_id,
        thread.native_thread_id.unwrap_or(NONE),
        thread.state.unwrap_or(NONE),
        frame.previous,
        frame.code,
        frame.instr,
        frame.owner.unwrap_or(NONE),
        frame.tlbc_index.unwrap_or(NONE),
        frame_len,
        if layout.version.minor >= 11 { FRAMES_LEN } else { frame_len },
        if frame.position == Position::Pointer { 0 } else { 32 },
        code.name,
        code.filename,
        code.line_table,
        code.first_line,
        layout.gc.collecting,
        u64::from(layout.gc.in_runtime),
        layout.gc.world_stopped.unwrap_or(NONE),
        if layout.has_parking_lot() { PARKED_WITHIN } else { 0 },
    ];
    for (index, pair) in numbers.chunks(2).enumerate() {
        words[GILS + MAX_GILS + index] = pair[0] & NONE | pair.get(1).unwrap_or(&0) << 32;
    }
    words
}

/// `struct tstates`: thread states in the order they were entered, each with its interpreter, its `thread_id` and its GIL.
pub fn tstates(states: &[[u64; 4]]) -> TStates {
    let mut words = [0; 4 * MAX_TSTATES + 1];
    let states = &states[..states.len().min(MAX_TSTATES)];
    for (index, state) in states.iter().enumerate() {
        for (field, &value) in state.iter().enumerate() {
            words[field * MAX_TSTATES + index] = value;
        }
    }
    words[4 * MAX_TSTATES] = states.len() as u64;
    words
}

/// `code_key()`: a number for what the code object at `addr` is.
pub fn code_key(addr: u64, words: &CodeWords) -> u64 {
    let mix = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 29)
    };
    let place = words.filename.wrapping_add(u64::from(words.first_line as u32));
    mix(mix(mix(addr, words.name), words.line_table), place)
}

/// Where in `struct thread` its parts are, in words.
const ACCOUNT: usize = 3;
const OFF: usize = ACCOUNT + Account::NUMBERS;

/// `struct thread` for a thread found when observation began: off the CPU since `now` (why, in which call, bits of
/// [`flag`], at which lock), or on it.
pub fn seed(now: Nanos, tid: Tid, pid: u32, off: Option<(OffKind, i16, u8, u64)>) -> Thread {
    let mut words = [0; 26];
    words[0] = now.0;
    if let Some((kind, syscall, flags, lock)) = off {
        let flags = u64::from(flags | flag::OPEN);
        words[OFF] = RECORD_OFF | flags << 8 | u64::from(syscall as u16) << 16 | (tid as u64) << 32;
        words[OFF + 1] = u64::from(pid) | (kind as u64) << 32;
        words[OFF + 2] = now.0;
        words[OFF + 11] = lock;
    }
    words
}

/// Bits of `header.flags`.
pub mod flag {
    /// The thread held the GIL.
    pub const HELD: u8 = 1;
    /// Somebody held the GIL; of a sample without a GIL: the thread was attached.
    pub const LOCKED: u8 = 2;
    /// The GIL was read.
    pub const HAS_GIL: u8 = 4;
    /// It was seen to be made ready.
    pub const WOKEN: u8 = 8;
    /// By a thread that is known.
    pub const WAKER: u8 = 16;
    /// Whose GIL was read then.
    pub const WAKER_GIL: u8 = 32;
    /// Of a sample: the thread ran its own code, not the kernel's.
    pub const IN_USER: u8 = 8;
    /// Off the CPU since before it was observed.
    pub const OPEN: u8 = 64;
    /// Of a sample: runs code that is neither the interpreter's nor the C library's.
    pub const NATIVE: u8 = 128;
    /// Of a time off the CPU: the interpreter was collecting garbage. Unless the thread was parked, it was this one that did.
    pub const COLLECTING: u8 = 128;
    /// Of a sample: the thread was collecting garbage.
    pub const COLLECTS: u8 = 16;
}

/// `enum off_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffKind {
    /// Cannot be told.
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
    /// There for something else.
    Parked,
    /// At a mutex of the C library.
    NativeMutex,
}

impl From<How> for OffKind {
    fn from(how: How) -> OffKind {
        match how {
            How::ParkedMutex => OffKind::ParkedMutex,
            How::Parked => OffKind::Parked,
            How::NativeMutex => OffKind::NativeMutex,
            How::Other => OffKind::Blocked,
        }
    }
}

impl OffKind {
    /// In a system call.
    pub fn is_blocked(self) -> bool {
        matches!(self, OffKind::Blocked | OffKind::ParkedMutex | OffKind::Parked | OffKind::NativeMutex)
    }
}

const RECORD_STACK: u64 = 1;
const RECORD_OFF: u64 = 2;
const RECORD_SAMPLE: u64 = 3;
const RECORD_EXIT: u64 = 4;
const RECORD_RESUME: u64 = 5;
/// Words of a stack that are sent.
const STACK_WORDS: usize = 64;

/// `struct off_record`: one time off the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Off {
    /// Whose.
    pub tid: Tid,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The system call; -1 if it was in none.
    pub syscall: i16,
    /// Why.
    pub kind: OffKind,
    /// When it left the CPU.
    pub start: Nanos,
    /// When it was back.
    pub end: Nanos,
    /// Its stack; 0 if it has none.
    pub stack: u64,
    /// When it was made ready.
    pub woken_at: Nanos,
    /// The waker's stack.
    pub waker_stack: u64,
    /// The waker.
    pub waker: Tid,
    /// `switch_number` of the GIL then.
    pub waker_switches: u32,
    /// The GIL's address.
    pub gil: u64,
    /// The thread state that held it.
    pub holder: u64,
    /// Its `switch_number`.
    pub switches: u32,
    /// The futex it was at, or what it was parked for; 0 in other calls.
    pub lock: u64,
    /// When it may claim the mutex that it is parked for: [`TIME_TO_BE_FAIR`] after it has asked for it.
    pub fair_at: Nanos,
}

/// After so long in the parking lot a thread is handed a `PyMutex` (`TIME_TO_BE_FAIR_NS` in `Python/lock.c`, 3.13 and later).
pub const TIME_TO_BE_FAIR: u64 = 1_000_000;

/// `struct sample_record`: a thread on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Whose.
    pub tid: Tid,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The system call it was in; -1 if it ran its own code.
    pub syscall: i16,
    /// When.
    pub at: Nanos,
    /// Its stack; 0 if it has none.
    pub stack: u64,
    /// The GIL's address.
    pub gil: u64,
    /// What its registers held, of free-threaded builds.
    pub registers: Option<Registers>,
}

/// A record.
#[derive(Debug)]
pub enum Record {
    /// A stack that later records refer to.
    Stack {
        /// By this number.
        id: u64,
        /// It was deeper than the kernel walks, or its end could not be read.
        truncated: bool,
        /// Its frames, innermost first, each with what its code object was ([`code_key`]).
        frames: Vec<(RawFrame, u64)>,
    },
    /// A thread was off the CPU.
    Off(Off),
    /// A thread was on the CPU.
    Sample(Sample),
    /// A thread ended.
    Exit {
        /// Which.
        tid: Tid,
        /// Its account.
        account: Account,
    },
    /// A thread let the others go on that it had stopped.
    Resume {
        /// Which.
        tid: Tid,
        /// When.
        at: Nanos,
        /// Words of its stack, innermost first.
        words: Vec<u64>,
    },
}

/// Decodes a record and the process that it is of; `None` for bytes that are none.
pub fn decode(bytes: &[u8]) -> Option<(u32, Record)> {
    let header = word(bytes, 0)?;
    let second = word(bytes, 1)?;
    let (tid, pid) = ((header >> 32) as Tid, second as u32);
    let record = match header & 0xff {
        RECORD_STACK => {
            let third = word(bytes, 3)?;
            let count = (third & NONE) as usize;
            let frames = (0..count).map(|index| {
                let [code, instr, key] = [0, 1, 2].map(|field| word(bytes, 4 + 3 * index + field));
                let code = code?;
                let tlbc_index = i32::from((code >> TLBC_SHIFT) as u16);
                Some((RawFrame { addr: 0, code: code & ((1 << TLBC_SHIFT) - 1), instr: instr?, tlbc_index }, key?))
            });
            Record::Stack { id: word(bytes, 2)?, truncated: third >> 32 != 0, frames: frames.collect::<Option<_>>()? }
        }
        RECORD_OFF => Record::Off(off(|index| word(bytes, index))?),
        RECORD_SAMPLE => Record::Sample(Sample {
            tid,
            flags: (header >> 8) as u8,
            syscall: (header >> 16) as i16,
            at: Nanos(word(bytes, 2)?),
            stack: word(bytes, 3)?,
            gil: word(bytes, 4)?,
            registers: registers(bytes),
        }),
        RECORD_EXIT => {
            let at = Nanos(word(bytes, 2)?);
            Record::Exit { tid, account: account(at, |index| word(bytes, 3 + index))? }
        }
        RECORD_RESUME => {
            let words = (0..STACK_WORDS).map(|index| word(bytes, 3 + index)).collect::<Option<_>>()?;
            Record::Resume { tid, at: Nanos(word(bytes, 2)?), words }
        }
        _ => return None,
    };
    Some((pid, record))
}

/// The time off the CPU under way in a `struct thread`, if there is one, and its account up to `now`.
pub fn under_way(thread: &Thread, now: Nanos) -> (Option<Off>, Account) {
    let off = off(|index| thread.get(OFF + index).copied()).filter(|off| off.start.0 != 0);
    let mut account = account(now, |index| thread.get(ACCOUNT + index).copied()).unwrap_or_default();
    match &off {
        None => account.on_cpu_ns += now.0.saturating_sub(thread[0]),
        Some(off) => {
            let ns = now.since(off.start);
            let held = off.flags & flag::HELD != 0;
            *match off.kind {
                OffKind::GilWait => &mut account.gil_wait_ns,
                OffKind::Runnable if held => &mut account.gil_held_runnable_ns,
                OffKind::Runnable => &mut account.runnable_ns,
                kind if kind.is_blocked() && held => &mut account.gil_held_off_cpu_ns,
                kind if kind.is_blocked() && off.syscall == Syscall::FUTEX.0 => &mut account.futex_ns,
                kind if kind.is_blocked() => &mut account.blocked_ns,
                _ => &mut account.unknown_ns,
            } += ns;
        }
    }
    (off.map(|off| Off { end: now, flags: off.flags & !(flag::WOKEN | flag::WAKER), ..off }), account)
}

fn off(word: impl Fn(usize) -> Option<u64>) -> Option<Off> {
    let (header, second, wakers) = (word(0)?, word(1)?, word(7)?);
    Some(Off {
        tid: (header >> 32) as Tid,
        flags: (header >> 8) as u8,
        syscall: (header >> 16) as i16,
        kind: match second >> 32 {
            1 => OffKind::Runnable,
            2 => OffKind::GilWait,
            3 => OffKind::Blocked,
            4 => OffKind::Stopped,
            5 => OffKind::ParkedMutex,
            6 => OffKind::Parked,
            7 => OffKind::NativeMutex,
            _ => OffKind::Unknown,
        },
        start: Nanos(word(2)?),
        end: Nanos(word(3)?),
        stack: word(4)?,
        woken_at: Nanos(word(5)?),
        waker_stack: word(6)?,
        waker: wakers as Tid,
        waker_switches: (wakers >> 32) as u32,
        gil: word(8)?,
        holder: word(9)?,
        switches: word(10)? as u32,
        lock: word(11)?,
        fair_at: Nanos(word(12)?),
    })
}

/// `enum account`: its order is that of the numbers of an [`Account`].
fn account(at: Nanos, word: impl Fn(usize) -> Option<u64>) -> Option<Account> {
    let mut numbers = [0; Account::NUMBERS];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = word(index)?;
    }
    Some(Account::of(at, numbers))
}

/// The end of `struct sample_record`.
fn registers(bytes: &[u8]) -> Option<Registers> {
    let mut general = [0; 16];
    for (index, register) in general.iter_mut().enumerate() {
        *register = word(bytes, 6 + index)?;
    }
    Some(Registers { ip: word(bytes, 5)?, general })
}

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let bytes = bytes.get(index * 8..index * 8 + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}
