//! The structures of `../bpf/abi.h`, as they are in the programs' maps and in the ring.
//!
//! `zerocopy` makes bytes of them and them of bytes: it refuses, when compiling, structures with padding and types that
//! not all bytes are values of. aya asks of a map's values that they are `Pod`, which only bytes are without `unsafe`:
//! hence [`MapValue`].
#![allow(dead_code, reason = "some fields are read by the BPF programs only")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{MAX_GILS, MAX_TEXTS, MAX_TSTATES, STACK_WORDS};

/// A value of one of the programs' maps.
pub(crate) trait MapValue {
    /// An array of its size.
    type Bytes: aya::Pod;

    fn to_bytes(&self) -> Self::Bytes;

    fn from_bytes(bytes: Self::Bytes) -> Self;
}

macro_rules! map_values {
    ($($value:ty),*) => {$(
        impl MapValue for $value {
            type Bytes = [u8; size_of::<$value>()];

            fn to_bytes(&self) -> Self::Bytes {
                zerocopy::transmute!(*self)
            }

            fn from_bytes(bytes: Self::Bytes) -> Self {
                zerocopy::transmute!(bytes)
            }
        }
    )*};
}

map_values!(TargetConfig, ProcessState, KernelThreadStates, KernelThread, u8);

/// `struct target`: where the interpreter of a process keeps what, with offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct TargetConfig {
    pub(crate) runtime: u64,
    /// The interpreter's own code and that of the C library: from, to.
    pub(crate) text: [[u64; 2]; MAX_TEXTS],
    pub(crate) gils: [u64; MAX_GILS],
    pub(crate) gil_count: u32,
    /// Its place in the map `process_states`.
    pub(crate) state_index: u32,
    pub(crate) interpreters_head: u32,
    pub(crate) interp_next: u32,
    pub(crate) interp_threads: u32,
    pub(crate) gil_place: u32,
    pub(crate) gil_in_runtime: u32,
    pub(crate) gil_enabled: u32,
    pub(crate) gil_holder: u32,
    pub(crate) gil_locked: u32,
    pub(crate) gil_switches: u32,
    pub(crate) gil_cond: u32,
    pub(crate) gil_wait_len: u32,
    pub(crate) ts_next: u32,
    pub(crate) ts_interp: u32,
    pub(crate) ts_head: u32,
    pub(crate) cframe_current: u32,
    pub(crate) ts_thread_id: u32,
    pub(crate) ts_native_id: u32,
    pub(crate) ts_state: u32,
    pub(crate) frame_previous: u32,
    pub(crate) frame_code: u32,
    pub(crate) frame_instr: u32,
    pub(crate) frame_owner: u32,
    pub(crate) frame_tlbc: u32,
    pub(crate) frame_len: u32,
    /// How much is read with a frame.
    pub(crate) frame_reach: u32,
    /// 32 where the instruction is an int, else 0.
    pub(crate) instr_shift: u32,
    pub(crate) code_name: u32,
    pub(crate) code_filename: u32,
    pub(crate) code_line_table: u32,
    pub(crate) code_first_line: u32,
    pub(crate) gc_collecting: u32,
    pub(crate) gc_in_runtime: u32,
    pub(crate) world_stopped: u32,
    /// How far from the end of its stack a thread's semaphore is that sleeps in the parking lot; 0 where there is none.
    pub(crate) parked_within: u32,
}

/// `struct process_state`: what the programs remember of a process. User space only clears it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ProcessState {
    pub(crate) collector_in: u64,
    pub(crate) collector: u32,
    pub(crate) collector_away: u32,
    pub(crate) resumed_at: u64,
}

/// `struct tstates`: the thread states of a thread, in the order they were entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct KernelThreadStates {
    pub(crate) tstate: [u64; MAX_TSTATES],
    pub(crate) interp: [u64; MAX_TSTATES],
    pub(crate) ident: [u64; MAX_TSTATES],
    pub(crate) gil: [u64; MAX_TSTATES],
    pub(crate) count: u64,
}

/// `struct account`: a thread's time by what it was doing, in nanoseconds, and two counts.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireAccount {
    pub(crate) on_cpu: u64,
    pub(crate) runnable: u64,
    pub(crate) gil_held_runnable: u64,
    pub(crate) gil_held_off_cpu: u64,
    pub(crate) gil_wait: u64,
    pub(crate) futex: u64,
    pub(crate) blocked: u64,
    pub(crate) unknown: u64,
    pub(crate) gil_waits: u64,
    pub(crate) blocks: u64,
}

/// `struct header`: the beginning of every record.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireHeader {
    /// One of `enum record_kind`.
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The system call; -1 if it was in none.
    pub(crate) syscall: i16,
    pub(crate) tid: u32,
    pub(crate) tgid: u32,
    pub(crate) off_kind: u32,
}

/// `struct frame`: one frame of a stack.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireFrame {
    /// The code object's address and, above [`super::TLBC_SHIFT`], the index of a copy of its bytecode.
    pub(crate) code: u64,
    pub(crate) instr: u64,
    /// What the code object was ([`super::code_key`]).
    pub(crate) key: u64,
}

/// `struct stack_head`: a record of a stack, without the frames that follow it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireStackHead {
    pub(crate) header: WireHeader,
    pub(crate) id: u64,
    pub(crate) frames: u32,
    /// Not 0: it was deeper than the programs walk, or its end could not be read.
    pub(crate) truncated: u32,
}

/// `struct off_record`: one time off the CPU.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireOff {
    pub(crate) header: WireHeader,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) stack: u64,
    pub(crate) woken_at: u64,
    pub(crate) waker_stack: u64,
    pub(crate) waker: u32,
    pub(crate) waker_switches: u32,
    pub(crate) gil: u64,
    pub(crate) holder: u64,
    pub(crate) switches: u32,
    pub(crate) waker_gil: u32,
    pub(crate) lock: u64,
    pub(crate) fair_at: u64,
    pub(crate) site: u64,
}

/// `struct sample_record`: a thread on the CPU.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireSample {
    pub(crate) header: WireHeader,
    pub(crate) at: u64,
    pub(crate) stack: u64,
    pub(crate) gil: u64,
    /// Where its own code was, also if it was in the kernel.
    pub(crate) ip: u64,
}

/// `struct registers`: what a thread's registers held.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireRegisters {
    pub(crate) ip: u64,
    /// In the order in which the processor numbers them.
    pub(crate) general: [u64; 16],
}

/// `struct sample_with_registers`: of free-threaded builds.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireSampleWithRegisters {
    pub(crate) sample: WireSample,
    pub(crate) registers: WireRegisters,
}

/// `struct thread`: what the programs have of a thread.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct KernelThread {
    /// When it came to the CPU that it is on.
    pub(crate) in_at: u64,
    pub(crate) search_at: u64,
    pub(crate) search_after: u64,
    pub(crate) account: WireAccount,
    /// The time off the CPU under way; none if its start is 0.
    pub(crate) off: WireOff,
}

/// `struct exit_record`: a thread ended.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireExit {
    pub(crate) header: WireHeader,
    pub(crate) at: u64,
    pub(crate) account: WireAccount,
    /// Up to the first 0.
    pub(crate) name: [u8; 16],
}

/// `struct resume_record`: a thread resumed the others that it had stopped.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireResume {
    pub(crate) header: WireHeader,
    pub(crate) at: u64,
    pub(crate) words: [u64; STACK_WORDS],
}

/// `struct site_record`: where in native code a thread sleeps in `futex`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct WireSite {
    pub(crate) header: WireHeader,
    pub(crate) id: u64,
    pub(crate) ip: u64,
    pub(crate) operation: u32,
    pub(crate) value: u32,
    pub(crate) words: [u64; STACK_WORDS],
}
