//! What the BPF programs share with gilscope, mirrored from `../bpf/abi.h`: the configuration of a process, the state of
//! a thread, and the records that come out of the ring. Pure; called by the rest of `kernel/`.
//!
//! [`wire`] has the structures as they are in memory, with the field names of the C file. The tests compare names, offsets
//! and sizes of all fields with the BTF of the committed object, so that neither side can change alone.

#[cfg(test)]
mod btf;
mod config;
mod flags;
mod records;
#[cfg(test)]
mod tests;
mod thread;
pub(crate) mod wire;

use crate::cpython::code::CodeWords;

pub(crate) use self::flags::{OffFlags, SampleFlags};
pub(crate) use self::records::{CpuSample, KernelRecord, OffCpuRecord, OffKind, TIME_TO_BE_FAIR};
#[cfg(test)]
pub(crate) use self::records::{REC_EXIT, REC_OFF, REC_RESUME, REC_SAMPLE, REC_SITE, REC_STACK};
pub(crate) use self::thread::SeededWait;

/// Ranges of code of one process that are the interpreter's, at most.
const MAX_TEXTS: usize = 8;
/// GILs of one process that are distinguished from other futexes, at most.
const MAX_GILS: usize = 16;
/// Thread states of one thread, at most.
const MAX_TSTATES: usize = 4;
/// Processes that are observed at once, at most.
pub(crate) const MAX_PROCESSES: usize = 1024;
/// Words of a stack in a record of resumed threads.
const STACK_WORDS: usize = 64;
/// How much is read at once where callers' frames are in front of a frame, in bytes.
const FRAMES_LEN: u32 = 1024;
/// Where in a frame's code address the index of a thread-local copy of bytecode is.
const TLBC_SHIFT: u32 = 48;
/// Stands for the offset of a field that this version does not have.
const NONE: u32 = 0xffff_ffff;

/// `enum counter`: what the programs count, by its place in their map.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum KernelCounter {
    /// Records that did not fit into the ring.
    LostRecords,
    /// How often a thread was met that the map of threads had no room for.
    UntrackedThreads,
    /// How deep in pid namespaces gilscope is.
    PidNamespaceLevel,
}

/// `code_key()` in `../bpf/stacks.h`: a number for what the code object at `addr` is.
pub(crate) fn code_key(addr: u64, words: &CodeWords) -> u64 {
    let mix = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 29)
    };
    let place = words.filename.wrapping_add(u64::from(words.first_line as u32));
    mix(mix(mix(addr, words.name), words.line_table), place)
}
