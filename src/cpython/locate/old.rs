//! The last resort, for a Python up to 3.12 that was stripped and exports nothing: its `_PyRuntime` is where
//! flags, a list of interpreters and the threads of these fit together. Called by [`super`].

use std::ops::Range;

use super::version::{MAX_SEARCHED_IN_ALL, limited, search};
use crate::event::version::Version;
use crate::process::memory::Memory;

/// Compilers align a structure of that size so, or better.
const ALIGNMENT: usize = 16;
/// `PyInterpreterState.next`.
const INTERPRETER_NEXT: u64 = 0;
/// `PyThreadState.interp`.
const THREAD_INTERPRETER: u64 = 16;
/// More interpreters than this no program has.
const MAX_INTERPRETERS: usize = 1000;

/// Offsets by which the parts are linked.
struct Links {
    /// `_PyRuntimeState.interpreters.head`; `main` follows.
    head: usize,
    /// `PyInterpreterState.tstate_head` or `threads.head`.
    threads: u64,
}

/// Searches writable data for the `_PyRuntime` of an initialised `python`.
pub fn search_runtime(memory: &impl Memory, data: &[Range<u64>], python: Version) -> Option<u64> {
    let links = match python.minor {
        ..=10 => Links { head: 32, threads: 8 },
        11 => Links { head: 40, threads: 16 },
        _ => Links { head: 40, threads: 72 },
    };
    let mut left = MAX_SEARCHED_IN_ALL;
    data.iter().find_map(|range| {
        search(memory, &limited(range, &mut left), |addr, bytes| {
            let places = (0..bytes.len()).step_by(ALIGNMENT);
            let mut runtimes = places.filter(|&place| fits(memory, &bytes[place..], &links));
            runtimes.next().map(|place| addr + place as u64)
        })
    })
}

fn fits(memory: &impl Memory, bytes: &[u8], links: &Links) -> bool {
    let (flags, _) = bytes.split_at(bytes.len().min(16));
    let (flags, _) = flags.as_chunks::<4>();
    // Cheap, and rarely true: the stages of the initialisation that are done.
    let done: Vec<i32> = flags.iter().map(|flag| i32::from_le_bytes(*flag)).collect();
    if done.len() < 4 || done.iter().any(|flag| !matches!(flag, 0 | 1)) || done[3] != 1 {
        return false;
    }
    let word = |place: usize| Some(u64::from_le_bytes(*bytes.get(place..)?.first_chunk()?));
    let (Some(head), Some(main)) = (word(links.head), word(links.head + 8)) else { return false };
    let of_interpreter = |interpreter: u64| {
        let thread = memory.u64(interpreter.wrapping_add(links.threads)).unwrap_or(0);
        thread != 0 && memory.u64(thread.wrapping_add(THREAD_INTERPRETER)) == Ok(interpreter)
    };
    let next = |interpreter: &u64| memory.u64(interpreter.wrapping_add(INTERPRETER_NEXT)).ok().filter(|&it| it != 0);
    // The main interpreter is the oldest, and so the last of the list.
    head != 0
        && of_interpreter(main)
        && std::iter::successors(Some(head), next).take(MAX_INTERPRETERS).last() == Some(main)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::memory::MemoryImage;

    const PYTHON: Version = Version { major: 3, minor: 9, patch: 18 };
    const DATA: Range<u64> = 0x1000..0x2000;

    /// A runtime at 0x1200 whose interpreters are `main` and a newer one, with one thread.
    fn memory(thread_belongs_to: u64) -> MemoryImage {
        let (newer, main, thread) = (0x8000_u64, 0x9000_u64, 0xa000_u64);
        let mut data = vec![0; 0x1000];
        data[0x200..0x210].copy_from_slice(&[0, 1, 1, 1].map(i32::to_le_bytes).concat());
        data[0x218..0x230].copy_from_slice(&[7, newer, main].map(u64::to_le_bytes).concat());
        let mut image = MemoryImage::default();
        image.insert(DATA.start, data);
        image.insert(newer, [main, 0].map(u64::to_le_bytes).concat());
        image.insert(main, [0, thread].map(u64::to_le_bytes).concat());
        image.insert(thread, [0, 0, thread_belongs_to].map(u64::to_le_bytes).concat());
        image
    }

    #[test]
    fn a_runtime_is_known_by_what_refers_back_to_it() {
        assert_eq!(search_runtime(&memory(0x9000), &[DATA], PYTHON), Some(0x1200));
        assert_eq!(search_runtime(&memory(0x9008), &[DATA], PYTHON), None, "the thread is somebody else's");
        let later = Version { minor: 12, ..PYTHON };
        assert_eq!(search_runtime(&memory(0x9000), &[DATA], later), None, "the parts are elsewhere there");
    }
}
