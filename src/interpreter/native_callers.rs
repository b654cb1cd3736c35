//! Whose code called the C library and sleeps there: the first return address on the end of a thread's stack that is not in the
//! C library itself. Used by [`super::locks`] and [`super::waits`] for sleeps at futexes that no structure of the interpreter tells.
//!
//! A word counts only if it lies behind a call instruction. Words of calls that have returned may still be on the stack, below
//! the frames that are in use; they are rare, and [`NativeCallers::caller`] says how they are told apart for semaphores.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::arch::{CallTarget, call_before, jump_pointer};
use crate::cpython::frames::u64_at;
use crate::event::{Nanos, Pid};
use crate::process::maps::{self, Mapping};
use crate::process::memory::Memory;
use crate::process::os_thread::Futex;
use crate::stack::StackId;

/// How long the list of mapped files is believed, in nanoseconds; longer if it is a long one.
const KNOWN_FOR: u64 = 1_000_000_000;
/// The bytes before a return address that say whether it is one.
const CALL_LEN: usize = 7;
/// The return address of a call of `sem_wait` and the like is no further than this many words from where they sleep.
const NEAR: usize = 20;
/// `FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME`, as a semaphore of glibc sleeps.
const SEMAPHORE_OPERATION: u32 = 9 | 256;
const FUTEX_PRIVATE: u32 = 128;

/// Libraries between a program's code and the kernel.
const RUNTIMES: [&str; 10] =
    ["libc.", "libc-", "libpthread", "ld-", "libstdc++", "libgcc_s", "libc++", "libm.", "librt", "libunwind"];

/// What calls functions of any library for Python code.
const BRIDGES: [&str; 3] = ["libffi", "_ctypes.", "_cffi_backend."];

/// The interpreter's library, and the one whose locks processes share.
const INTERPRETER: [&str; 2] = ["libpython", "_multiprocessing."];

/// Whose code it is that sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NativeCaller {
    Interpreter,
    /// Another library, by the name of its file: `libpolars.so`.
    Library(Arc<str>),
    /// The C library, called by Python code through `ctypes` or `cffi`.
    Unnamed,
}

/// A sleep in `futex`, as the stack of its thread shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeSite<'a> {
    pub ip: u64,
    pub operation: u32,
    pub value: u32,
    /// The end of the stack, innermost first.
    pub words: &'a [u64],
}

/// How much is read of the end of a stack, in words.
const STACK_WORDS: usize = 64;

impl NativeSite<'_> {
    fn may_be_semaphore(&self) -> bool {
        self.operation & !FUTEX_PRIVATE == SEMAPHORE_OPERATION && self.value == 0
    }
}

#[derive(Debug)]
struct CodeRange {
    start: u64,
    end: u64,
    /// None for what is between a program and the kernel.
    owner: Option<NativeCaller>,
}

/// The code of one process.
#[derive(Debug)]
pub(crate) struct NativeCallers {
    pid: Pid,
    /// `_PyRuntime`, which is in the interpreter's file.
    runtime: u64,
    ranges: Vec<CodeRange>,
    read_at: Option<Nanos>,
    known_for: u64,
}

impl NativeCallers {
    pub fn new(pid: Pid, runtime: u64) -> NativeCallers {
        NativeCallers { pid, runtime, ranges: Vec::new(), read_at: None, known_for: KNOWN_FOR }
    }

    /// Whose code sleeps; none if that does not show.
    pub fn caller(&mut self, memory: &impl Memory, site: &NativeSite<'_>, now: Nanos) -> Option<NativeCaller> {
        if self.read_at.is_none_or(|at| now.since(at) > self.known_for) {
            self.read_at = Some(now);
            if let Ok(maps) = maps::read(self.pid) {
                self.known_for = maps::pause_between_reads(maps.len(), KNOWN_FOR);
                self.ranges = ranges(&maps, self.runtime);
            }
        }
        if let Some(owner) = self.owner(site.ip) {
            return Some(owner.clone());
        }
        let mut found: Option<&NativeCaller> = None;
        for (index, &word) in site.words.iter().enumerate() {
            let Some((owner, target)) = self.owner(word).zip(call(memory, word)) else { continue };
            found = found.or(Some(owner));
            // The interpreter's own locks are semaphores: what is on the stack before its call of the C library is left over.
            let may_be_lock = site.may_be_semaphore() && index < NEAR && *owner == NativeCaller::Interpreter;
            if may_be_lock && self.is_runtime(memory, target) {
                return Some(NativeCaller::Interpreter);
            }
        }
        found.cloned()
    }

    /// The same for a thread that sleeps at a futex now.
    pub fn caller_of(&mut self, memory: &impl Memory, futex: &Futex, now: Nanos) -> Option<NativeCaller> {
        let mut bytes = [0; 8 * STACK_WORDS];
        memory.read(futex.stack, &mut bytes).ok()?;
        let words: Vec<u64> = (0..STACK_WORDS as u64).map(|index| u64_at(&bytes, 8 * index)).collect();
        let &Futex { ip, operation, value, .. } = futex;
        self.caller(memory, &NativeSite { ip, operation, value, words: &words }, now)
    }

    fn range(&self, address: u64) -> Option<&CodeRange> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        self.ranges[..after].last().filter(|range| address < range.end)
    }

    fn owner(&self, address: u64) -> Option<&NativeCaller> {
        self.range(address)?.owner.as_ref()
    }

    /// Whether a call is of what is between a program and the kernel.
    fn is_runtime(&self, memory: &impl Memory, target: CallTarget) -> bool {
        let address = match target {
            CallTarget::At(address) => {
                let mut stub = [0; 16];
                let read = memory.read(address, &mut stub).is_ok();
                let pointer = jump_pointer(&stub, address).filter(|_| read);
                pointer.map_or(Some(address), |pointer| memory.u64(pointer).ok())
            }
            CallTarget::Through(pointer) => memory.u64(pointer).ok(),
            CallTarget::Unknown => None,
        };
        address.and_then(|address| self.range(address)).is_some_and(|range| range.owner.is_none())
    }
}

/// How many sleeps are remembered.
const MAX_KNOWN: usize = 1 << 12;

/// The same of sleeps that are seen again and again: which futex, the end of the thread's stack, its Python stack.
#[derive(Debug)]
pub(crate) struct KnownCallers {
    callers: NativeCallers,
    known: FxHashMap<(u64, u64, StackId), Option<NativeCaller>>,
}

impl KnownCallers {
    pub fn new(pid: Pid, runtime: u64) -> KnownCallers {
        KnownCallers { callers: NativeCallers::new(pid, runtime), known: FxHashMap::default() }
    }

    pub fn get(
        &mut self,
        memory: &impl Memory,
        at: (u64, u64, StackId),
        futex: &Futex,
        now: Nanos,
    ) -> Option<NativeCaller> {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let KnownCallers { callers, known } = self;
        known.entry(at).or_insert_with(|| callers.caller_of(memory, futex, now)).clone()
    }
}

/// The call after which this is the next instruction, if there is one.
fn call(memory: &impl Memory, address: u64) -> Option<CallTarget> {
    let mut before = [0; CALL_LEN];
    memory.read(address.wrapping_sub(CALL_LEN as u64), &mut before).ok()?;
    call_before(&before, address)
}

fn ranges(maps: &[Mapping], runtime: u64) -> Vec<CodeRange> {
    let of_runtime = maps.iter().rposition(|mapping| mapping.start <= runtime);
    // Variables that are zero at first follow upon the file's mappings, in memory of no file.
    let interpreter = of_runtime.and_then(|at| maps[..=at].iter().rev().find_map(|mapping| mapping.path.as_ref()));
    let mut ranges: Vec<CodeRange> = maps
        .iter()
        .filter(|mapping| mapping.executable)
        .filter_map(|mapping| {
            let path = mapping.path.as_ref()?;
            let name = path.file_name()?.to_str()?;
            let owner = match name {
                _ if Some(path) == interpreter || INTERPRETER.iter().any(|own| name.starts_with(own)) => {
                    Some(NativeCaller::Interpreter)
                }
                _ if BRIDGES.iter().any(|bridge| name.starts_with(bridge)) => Some(NativeCaller::Unnamed),
                _ if RUNTIMES.iter().any(|runtime| name.starts_with(runtime)) => None,
                name => Some(NativeCaller::Library(short_name(name).into())),
            };
            Some(CodeRange { start: mapping.start, end: mapping.end, owner })
        })
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// The name of an extension module's file without what says for which Python it is.
fn short_name(file: &str) -> String {
    let stem = file.strip_suffix(".so").map(|stem| stem.split_once(".cpython-").map_or(stem, |(before, _)| before));
    match stem {
        Some(stem) => format!("{}.so", stem.strip_suffix(".abi3").unwrap_or(stem)),
        None => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::memory::{MemorySpan, ReadError};

    /// Memory in which every address that is a multiple of 16 follows a call, of the C library if it is a multiple of 32.
    #[derive(Debug)]
    struct Code;

    impl Memory for Code {
        fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), ReadError> {
            into.fill(0x90);
            let end = addr.wrapping_add(into.len() as u64);
            if into.len() == CALL_LEN && end.is_multiple_of(16) {
                let target: u64 = if end.is_multiple_of(32) { 0x5100 } else { 0x1100 };
                into[2] = 0xe8;
                into[3..].copy_from_slice(&(target.wrapping_sub(end) as u32).to_le_bytes());
            }
            Ok(())
        }

        fn read_some(&self, _: &[MemorySpan], _: &mut [u8]) -> Result<usize, ReadError> {
            Ok(0)
        }
    }

    const MAPS: &str = "\
1000-2000 r-xp 00000000 08:01 11 /usr/bin/python3.12
2000-3000 rw-p 00000000 08:01 11 /usr/bin/python3.12
3000-4000 rw-p 00000000 00:00 0
5000-6000 r-xp 00000000 08:01 12 /lib/libc.so.6
7000-8000 r-xp 00000000 08:01 13 /lib/python3/site-packages/_polars_runtime.abi3.so
8000-9000 rw-p 00000000 08:01 13 /lib/python3/site-packages/_polars_runtime.abi3.so
a000-b000 r-xp 00000000 08:01 14 /lib/libstdc++.so.6
";

    fn callers() -> NativeCallers {
        let ranges = ranges(&maps::parse(MAPS.as_bytes()), 0x3010);
        NativeCallers { pid: 0, runtime: 0, ranges, read_at: Some(Nanos(0)), known_for: KNOWN_FOR }
    }

    fn of(ip: u64, operation: u32, words: &[u64]) -> Option<NativeCaller> {
        callers().caller(&Code, &NativeSite { ip, operation, value: 0, words }, Nanos(1))
    }

    fn polars() -> Option<NativeCaller> {
        Some(NativeCaller::Library("_polars_runtime.so".into()))
    }

    #[test]
    fn the_first_return_address_outside_the_c_library_says_whose_sleep_it_is() {
        assert_eq!(of(0x5010, 128, &[0x5020, 0, 0xa020, 0x7108, 0x8010, 0x7110, 0x1010]), polars());
        assert_eq!(of(0x7004, 128, &[0x1010]), polars(), "it makes the call itself");
        assert_eq!(of(0x5010, 128, &[0x5020, 0x1010, 0x7010]), Some(NativeCaller::Interpreter));
        assert_eq!(of(0x5010, 128, &[0x5020, 7]), None);
    }

    #[test]
    fn a_lock_of_the_interpreter_is_not_what_is_left_over_on_the_stack() {
        let left_over = [0x7010, 0, 0, 0x1010, 0x1020, 0x7020];
        assert_eq!(of(0x5010, SEMAPHORE_OPERATION | FUTEX_PRIVATE, &left_over), Some(NativeCaller::Interpreter));
        assert_eq!(of(0x5010, 128, &left_over), polars());
        let of_library = [0x7020, 0x1010, 0x1030];
        assert_eq!(
            of(0x5010, SEMAPHORE_OPERATION, &of_library),
            polars(),
            "the interpreter does not call the C library"
        );
    }

    #[test]
    fn code_that_python_calls_by_itself_has_no_name() {
        let text = "1000-2000 r-xp 00000000 08:01 11 /lib/libffi.so.8\n";
        let ranges = ranges(&maps::parse(text.as_bytes()), 0);
        assert_eq!(ranges[0].owner, Some(NativeCaller::Unnamed));
    }

    #[test]
    fn files_are_called_by_their_short_names() {
        assert_eq!(short_name("cygrpc.cpython-312-x86_64-linux-gnu.so"), "cygrpc.so");
        assert_eq!(short_name("libarrow.so.1800"), "libarrow.so.1800");
        assert_eq!(short_name("polars.abi3.so"), "polars.so");
    }
}
