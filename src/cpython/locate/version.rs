//! Which Python it is, from what lies in the target's memory: the table of offsets that `_PyRuntime` begins
//! with (3.13 and later), or the text of `sys.version`. Called by [`super`].

use std::ops::Range;

use crate::event::version::Version;
use crate::process::maps::Mapping;
use crate::process::memory::Memory;

/// What `_Py_DebugOffsets` begins with.
const COOKIE: &[u8; 8] = b"xdebugpy";
/// `_PyRuntime` is aligned so, or better.
const RUNTIME_ALIGNMENT: u64 = 32;
/// The longest text of a version (`Py_GetVersion` has a buffer of 250).
const LONGEST_TEXT: usize = 256;
/// No more than this of one stretch of memory is searched.
const MAX_SEARCHED: u64 = 64 << 20;
/// And no more than this of all of them together.
pub const MAX_SEARCHED_IN_ALL: u64 = 256 << 20;

/// Which Python lies at a `_PyRuntime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundVersion {
    pub version: Version,
    /// Built without a GIL.
    pub free_threaded: bool,
    /// It exports its offsets.
    pub debug_offsets: bool,
}

/// What the table of offsets at `runtime` says, if there is one.
pub fn debug_offsets(memory: &impl Memory, runtime: u64) -> Option<FoundVersion> {
    let mut head = [0; 24];
    memory.read(runtime, &mut head).ok()?;
    let word = |index: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[index * 8 + byte]));
    let (hex, free_threaded) = (word(1), word(2));
    let plausible = head.starts_with(COOKIE) && (0x030d_0000..0x0400_0000).contains(&hex) && free_threaded <= 1;
    plausible.then(|| FoundVersion {
        version: Version::from_hex(hex),
        free_threaded: free_threaded == 1,
        debug_offsets: true,
    })
}

/// Searches the writable data of all files for a table of offsets.
pub fn search_cookie<'a>(memory: &impl Memory, maps: &'a [Mapping]) -> Option<(&'a Mapping, u64)> {
    let data = maps.iter().filter(|mapping| mapping.readable && mapping.writable && mapping.path.is_some());
    let mut left = MAX_SEARCHED_IN_ALL;
    data.into_iter().find_map(|mapping| {
        let runtime = search(memory, &limited(&(mapping.start..mapping.end), &mut left), |addr, bytes| {
            let places = (0..bytes.len()).step_by(RUNTIME_ALIGNMENT as usize);
            let cookies = places.filter(|&place| bytes[place..].starts_with(COOKIE));
            // The code that compares with the cookie has it, too, but no version after it.
            cookies.map(|place| addr + place as u64).find(|&runtime| debug_offsets(memory, runtime).is_some())
        })?;
        Some((mapping, runtime))
    })
}

/// Searches writable data for the text that `sys.version` shows.
pub fn search_text(memory: &impl Memory, data: &[Range<u64>]) -> Option<Version> {
    // Compilers align arrays of that size to 16 bytes.
    let mut left = MAX_SEARCHED_IN_ALL;
    data.iter().find_map(|range| {
        search(memory, &limited(range, &mut left), |_, bytes| {
            (0..bytes.len()).step_by(16).find_map(|place| from_text(&bytes[place..]))
        })
    })
}

/// What of a stretch of memory may be searched while there is something left of the limit of all.
pub fn limited(data: &Range<u64>, left: &mut u64) -> Range<u64> {
    let len = data.end.saturating_sub(data.start).min(MAX_SEARCHED).min(*left);
    *left -= len;
    data.start..data.start + len
}

/// Shows `data` piece by piece to `find`, together with the address of the piece, until something was found.
/// Pieces overlap by the length of the longest text.
pub fn search<T>(memory: &impl Memory, data: &Range<u64>, find: impl Fn(u64, &[u8]) -> Option<T>) -> Option<T> {
    const PIECE: usize = 1 << 20;
    let end = data.end;
    let start = data.start.checked_next_multiple_of(RUNTIME_ALIGNMENT)?;
    let mut buffer = vec![0; PIECE + LONGEST_TEXT];
    (start..end).step_by(PIECE).find_map(|addr| {
        let piece = &mut buffer[..(end - addr).min((PIECE + LONGEST_TEXT) as u64) as usize];
        memory.read(addr, piece).ok()?;
        find(addr, piece)
    })
}

/// The version in a text such as `3.8.18 (default, Oct  4 2025, 11:12:13) \n[GCC 12.2.0]`, which ends with a
/// zero byte. Distributors put more words between number and parenthesis.
fn from_text(bytes: &[u8]) -> Option<Version> {
    if !matches!(bytes, [b'2' | b'3', b'.', ..]) {
        return None;
    }
    let text = bytes.iter().take(LONGEST_TEXT).position(|&byte| byte == 0).map(|length| &bytes[..length])?;
    let (number, rest) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    (rest.contains('(') && rest.contains(") ") && rest.contains('[')).then(|| from_number(number)).flatten()
}

/// `3.8.18`, `3.13.0rc1+`.
fn from_number(number: &str) -> Option<Version> {
    let mut parts = number.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u8>().ok()
    });
    let (major, minor) = (parts.next()??, parts.next()??);
    Some(Version { major, minor, patch: parts.next().flatten().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;
    use crate::process::memory::MemoryImage;

    fn version(major: u8, minor: u8, patch: u8) -> Option<Version> {
        Some(Version { major, minor, patch })
    }

    #[test]
    fn texts_of_versions() {
        let parse = |text: &str| from_text(&[text.as_bytes(), &[0, b'x']].concat());
        assert_eq!(parse("3.8.18 (default, Oct  4 2025, 11:12:13) \n[GCC 12.2.0]"), version(3, 8, 18));
        assert_eq!(parse("2.7.18 (default, Oct  4 2025, 11:12:13) \n[GCC 12.2.0]"), version(2, 7, 18));
        assert_eq!(parse("3.9.7 | packaged by conda-forge | (default, Sep 2021) \n[GCC 9.4.0]"), version(3, 9, 7));
        assert_eq!(parse("3.11.0rc2+ (heads/3.11:1, Oct 1 2022) [Clang 14]"), version(3, 11, 0));
        assert_eq!(parse("3.8.18"), None, "a library's version");
        assert_eq!(parse("3.x (a) [b]"), None);
        assert_eq!(from_text(b"3.8.18 (default) [GCC"), None, "no end");
    }

    /// Data of a file at 0x10000 that hold `content` at 0x10000 + `place`.
    fn data(place: usize, content: &[u8]) -> (MemoryImage, Vec<Mapping>) {
        let mut bytes = vec![0; 0x20_0000];
        bytes[place..place + content.len()].copy_from_slice(content);
        let mut image = MemoryImage::default();
        image.insert(0x10000, bytes);
        (image, maps::parse(b"10000-210000 rw-p 00000000 08:01 5 /usr/bin/python3.13\n"))
    }

    fn table(hex: u64, free_threaded: u64) -> Vec<u8> {
        [*COOKIE, hex.to_le_bytes(), free_threaded.to_le_bytes()].concat()
    }

    #[test]
    fn the_cookie_is_found_and_its_copies_in_code_are_not() {
        let (memory, maps) = data(0x12340, &table(0x030d_0ff0, 1));
        let (_, runtime) = search_cookie(&memory, &maps).unwrap();
        assert_eq!(runtime, 0x22340);
        let found = debug_offsets(&memory, runtime).unwrap();
        assert_eq!((Some(found.version), found.free_threaded), (version(3, 13, 15), true));
        for (place, content) in [(0x12348, table(0x030d_0ff0, 1)), (0x12340, table(0x9090_9090, 0))] {
            let (memory, maps) = data(place, &content);
            assert!(search_cookie(&memory, &maps).is_none());
        }
    }

    #[test]
    fn a_text_across_two_pieces_is_found() {
        let (memory, maps) = data((1 << 20) - 16, b"3.9.18 (main, Oct  4 2025, 11:12:13) \n[GCC 12.2.0]");
        let range = maps[0].start..maps[0].end;
        assert_eq!(search_text(&memory, std::slice::from_ref(&range)), version(3, 9, 18));
        assert_eq!(search_text(&memory, &[0..0x1000, 0x30_0000..0x40_0000]), None);
    }
}
