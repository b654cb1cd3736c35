//! Recordings (`.gscope`): everything that a session saw, to be looked at later in any way. Written by `gilscope
//! record`, read by `report`, `export` and `merge`.
//!
//! A recording is the stream of [`Event`]s in the order in which the [`Profile`] took them in, with the strings, frames
//! and stacks that they name. [`load`] pushes them into a new profile: live and replayed events take the same road, so
//! that what comes out is what `record -o` would have written.
//!
//! # The format, version 4
//!
//! A reader reads its own version and all older ones, and refuses those that are newer. New kinds of records need a new
//! version, because older readers do not know how long they are. Version 1 has no `OTHER_FRAME`: its markers are
//! `FRAME`s without a file, with a name in brackets. Version 2 has nothing after that, version 3 no `CHILD_COUNTS`.
//!
//! All fixed numbers are little-endian.
//!
//! ```text
//! file    = header block*
//! header  = "\x93gscope\n" (8 bytes), version: u32
//! block   = packed: u32, unpacked: u32, crc: u32, bytes
//! ```
//!
//! `bytes` are `packed` bytes of raw deflate (RFC 1951), which unpack to `unpacked` bytes of records; `crc` is the
//! CRC-32 (as in gzip) of them, packed. Neither length is more than 16 MiB. A block is written when 64 KiB of records
//! are there, and once a second if there are any. Records do not go across blocks, but refer to what was in those
//! before: blocks are read in their order. Where a block is broken or missing, the recording ends; it is complete if an
//! `END` has come.
//!
//! A record is its number and its fields, all of them varints unless said otherwise ([`wire`] has the encodings: *s*
//! is a signed number, *text* a length and UTF-8, *flag* a byte 0 or 1, *x?* a flag and x if that is 1, *id?* is 0 or
//! the id plus 1).
//!
//! | number | record           | fields                                                                            |
//! |-------:|------------------|-----------------------------------------------------------------------------------|
//! | 0      | `ORIGIN`         | text gilscope's version, text boot id, *s* what to add to a time for that since 1970 in ns, `--min-wait` in ns |
//! | 1      | `STRING`         | text. The strings are numbered from 0 in their order                               |
//! | 2      | `FRAME`          | strings: qualified name, name, file; first line of the function; *s* line minus that. From 0 |
//! | 3      | `STACK`          | stack of the caller, innermost frame. From 1: stack 0 has no frames                |
//! | 4      | `PROCESS`        | pid, number of words, text for each, text Python's version, flag free-threaded. From 0 |
//! | 5      | `THREAD_STARTED` | time, process, tid. Threads are numbered from 0                                    |
//! | 6      | `THREAD_NAMED`   | thread, text                                                                       |
//! | 7      | `THREAD_EXITED`  | time, thread, CPU time in ns                                                       |
//! | 8      | `GIL`            | time, GIL (a new one is one more than the last), process, *s* interpreter, flag enabled, switch interval in ns, text? what switched it on |
//! | 9      | `LOCK`           | lock (as with GILs), process, address, byte kind, text? type, text? name           |
//! | 10     | `LOCK_HELD`      | time, lock, thread, stack                                                          |
//! | 11     | `RECORDS_LOST`   | time, how many                                                                     |
//! | 12     | `ACCOUNT`        | time, thread, the ten numbers of [`Account`](crate::event::Account) in their order |
//! | 13     | `SESSION`        | flag kernel mode, rate as `f64` (8 bytes), start, length in ns, ticks, looks, late ticks, stops, stopped ns, own CPU time in ns. The last one counts |
//! | 14     | `NOTE`           | text: something that was degraded                                                  |
//! | 15     | `END`            |                                                                                    |
//! | 16     | `SAMPLE_CONTEXT` | thread, state, stack, GIL id?, periods, byte loss (0 none, 1 torn, 2 unreadable)   |
//! | 17     | `WAIT_CONTEXT`   | thread, state, stack, byte flags; if woken: by thread id?, its stack; if with a GIL: that, holder thread id? |
//! | 18     | `FORGET_CONTEXTS`|                                                                                    |
//! | 19     | `OBJECT`         | object (as with GILs), process, address, text type, text? name, flag and, if it is 1, length, byte how it counts, owner thread id? |
//! | 20     | `ACCESS_CONTEXT` | thread, stack, what was accessed                                                   |
//! | 21     | `SPIN_CONTEXT`   | thread, stack, lock id?                                                            |
//! | 22     | `DEADLOCK`       | time, number of threads, thread and text what it waits for, for each               |
//! | 23     | `OTHER_FRAME`    | byte kind (0 native, 1 marker), strings: symbol or text, library or nothing. Numbered with the `FRAME`s |
//! | 24     | `CHILDREN`       | number of child processes that were not observed; for each pid, number of words, text for each, flag Python, CPU time in ns. The last one counts |
//! | 25     | `QUEUE_LENGTH`   | time, thread, address of the queue, length                                         |
//! | 26     | `NATIVE_CONTEXT` | thread, stack, frame                                                               |
//! | 27     | `MACHINE`        | time looked at in ns, CPUs, limit in percent id?, throttled ns, CPU time of all others in ns, number of others, pid and text and CPU time in ns for each. The last one counts |
//! | 28     | `COLLECTED`      | time, process, numbers of collections, of full ones, of objects freed              |
//! | 29     | `PROCESS_TITLED` | process, number of words, text for each                                            |
//! | 31     | `CHILD_COUNTS`   | child processes started, not observed, those of them that run Python, flag exact, flag followed, CPU time of ended ones in ns. The last one counts |
//! | 32 + n | use of context n | see below                                                                          |
//!
//! Times are *s*: nanoseconds of `CLOCK_MONOTONIC` since the last record with a time (0 at first). All kinds of
//! contexts are numbered together from 0, and anew after `FORGET_CONTEXTS`.
//!
//! The use of a `SAMPLE_CONTEXT` is a sample ([`Event::Sample`], or [`Event::Lost`] if it has a loss), and has a time.
//! So are
//! those of an `ACCESS_CONTEXT` ([`Event::Access`]), a `SPIN_CONTEXT` ([`Event::Spin`]) and a `NATIVE_CONTEXT`
//! ([`Event::HeldInNative`]). That of a `WAIT_CONTEXT` is an [`Event::OffCpu`], and has, other than the rest, *s* the start since the end of the
//! thread's last one, and the length. Then, if there is a GIL, *s* its number of switches since that seen last (32 bits,
//! wrapping); if it was woken, *s* how long before the end, and, if that is known, *s* the number of switches then
//! minus the other (0 without a GIL); and, if it is known when it asked for the lock, *s* how long before the start.
//!
//! The flags of a `WAIT_CONTEXT`, from the lowest bit: stack lost, open, woken, number of switches known when woken, with
//! a GIL, that was locked, known when it asked for the lock. A state is a byte, and *s* a system call for 3 and 10, *s* a lock for 5, 6 and 13:
//!
//! 0 `GilHeld`, 1 `GilHeldNative`, 2 `GilHeldRunnable`, 3 `GilHeldOffCpu`, 4 `GilWait`, 5 `LockWait`, 6 `Paused`,
//! 7 `Running`, 8 `Native`, 9 `Runnable`, 10 `Blocked`, 11 `Stopped`, 12 `Unknown`,
//! 13 `Awaits`
//! ([`ThreadState`](crate::event::ThreadState)). What was accessed is a byte, too: 0 a count (object, byte operation,
//! flag atomic), 1 a header (object), 2 elsewhere (byte place), 3 not known, 4 nothing
//! ([`Accessed`](crate::event::Accessed)). Kinds of locks, operations, places and ways of counting are numbered
//! from 0 in the order in which [`crate::event`] has them.

mod allowance;
mod block;
mod bytes;
mod decode;
mod encode;
pub(crate) mod input;
mod load;
mod merge;
mod reader;
mod records;
mod slices;
#[cfg(test)]
pub(crate) mod tests;
mod wire;
mod writer;

#[allow(unused_imports)]
use crate::event::Event;

pub(crate) use self::bytes::file_of;
pub use self::load::{copy, load};
pub use self::merge::merge;
pub use self::reader::{Reader, is_recording};
pub(crate) use self::slices::slices;
pub use self::writer::Recorder;

/// Where a recording comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingOrigin {
    /// The version of gilscope that wrote it.
    pub gilscope: String,
    /// The boot of the machine: recordings of one boot are on one clock. Empty if not known.
    pub boot: String,
    /// What to add to a time of the recording to have nanoseconds since 1970.
    pub clock_offset_ns: i64,
    /// Times off the CPU that are shorter have no record of their own (kernel mode).
    pub min_wait_ns: u64,
}
