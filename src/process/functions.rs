//! Where the functions of a process begin and end, in stripped files, too: what unwinds the stack for C++ exceptions
//! (`.eh_frame_hdr`) has a table of them. Used by [`crate::interpreter::memory_accesses`], which decodes their code.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};

use super::elf::Elf;
use super::limits::{MAX_KEPT_FUNCTIONS, MAX_TABLE};
use super::maps::{self, MappedFile, Mapping};
use super::memory::{LiveMemory, Memory};
use crate::event::{Nanos, Pid};

/// Larger functions are not decoded.
const MAX_CODE: u64 = 1 << 20;
/// Where nothing is known of functions, decoding begins this far before an address: after some instructions it is in step
/// with the code, wherever it began.
const RUN_UP: u64 = 256;
/// The shortest time between two reads of the map, in nanoseconds.
const READ_AFTER: u64 = 100_000_000;

/// The functions of one process.
#[derive(Debug)]
pub struct Functions {
    pid: Pid,
    maps: Vec<Mapping>,
    files: Vec<CodeFile>,
    read_at: Option<Nanos>,
}

/// A file with code.
#[derive(Debug)]
struct CodeFile {
    path: Arc<Path>,
    first: u64,
    /// Where its functions begin, in order.
    begins: Vec<u64>,
}

impl Functions {
    /// Those of a process.
    pub fn new(pid: Pid) -> Functions {
        Functions { pid, maps: Vec::new(), files: Vec::new(), read_at: None }
    }

    /// The function that `address` is in. None if no code is there, or its file appeared just now.
    pub fn around(&mut self, address: u64, now: Nanos) -> Option<Range<u64>> {
        let index = self.mapping(address, now)?;
        let mapping = &self.maps[index];
        let (start, end) = (mapping.start, mapping.end);
        let begins = self.begins(index);
        let next = begins.partition_point(|&begin| begin <= address);
        let from = next.checked_sub(1).map(|before| begins[before]).filter(|&begin| begin >= start);
        let to = begins.get(next).map_or(end, |&next| next.min(end));
        match from {
            Some(from) if to - from <= MAX_CODE => Some(from..to),
            _ => Some((address & !15).saturating_sub(RUN_UP).max(start)..to.min(address + RUN_UP)),
        }
    }

    /// The mapping with the code at `address`.
    fn mapping(&mut self, address: u64, now: Nanos) -> Option<usize> {
        let find = |maps: &[Mapping]| maps::index_of(maps, address).filter(|&index| maps[index].executable);
        if let Some(found) = find(&self.maps) {
            return Some(found);
        }
        let pause = maps::pause_between_reads(self.maps.len(), READ_AFTER);
        if self.read_at.is_some_and(|at| now.since(at) < pause) {
            return None;
        }
        self.read_at = Some(now);
        self.maps = maps::read(self.pid).ok()?;
        find(&self.maps)
    }

    /// Where the functions of a mapped file begin; nothing if it does not say.
    fn begins(&mut self, index: usize) -> &[u64] {
        let mapping = &self.maps[index];
        let Some(path) = mapping.path.clone() else { return &[] };
        let Some(first) = self.maps.iter().find(|other| other.is_of_file(mapping)).map(|first| first.start) else {
            return &[];
        };
        let known = self.files.iter().position(|file| file.first == first && file.path == path);
        let known = known.unwrap_or_else(|| {
            let mapped = maps::code_files(&self.maps).into_iter().find(|file| file.mappings[0].start == first);
            let begins = mapped.and_then(|mapped| read(&mapped, self.pid)).unwrap_or_default();
            let kept: usize = self.files.iter().map(|file| file.begins.len() + 1).sum();
            if kept + begins.len() > MAX_KEPT_FUNCTIONS {
                self.files.clear();
            }
            self.files.push(CodeFile { path, first, begins });
            self.files.len() - 1
        });
        &self.files[known].begins
    }
}

/// Reads the table of a file from the process's memory.
fn read(file: &MappedFile, pid: Pid) -> Option<Vec<u64>> {
    let elf = Elf::open(file.open(pid).ok()?).ok()?;
    let bias = elf.load_bias(&file.mappings).ok()??;
    let table = elf.unwind_table().ok()??;
    let at = bias.wrapping_add(table.start);
    // Larger than what is mapped it cannot be, whatever the file says.
    let mapping = file.mappings.iter().find(|mapping| mapping.contains(at))?;
    let len = (table.end - table.start).min(MAX_TABLE).min(mapping.end - at);
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    LiveMemory(pid).read(at, &mut bytes).ok()?;
    begins(&bytes, at)
}

/// The beginnings of functions in an `.eh_frame_hdr` that is at an address.
pub(crate) fn begins(bytes: &[u8], at: u64) -> Option<Vec<u64>> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(at);
    let header = EhFrameHdr::new(bytes, LittleEndian).parse(&bases, 8).ok()?;
    let table = header.table()?;
    let mut entries = table.iter(&bases);
    let mut begins = Vec::new();
    while let Ok(Some((Pointer::Direct(begin), _))) = entries.next() {
        begins.push(begin);
    }
    begins.sort_unstable();
    Some(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_this_very_process() {
        let mut functions = Functions::new(std::process::id() as Pid);
        let here = functions_of_this_very_process as *const () as u64;
        let function = functions.around(here + 1, Nanos(0)).unwrap();
        assert_eq!(function.start, here);
        assert!(function.end > here && function.end - here < 1 << 16);
        // And one of the C library.
        let function = functions.around(nix::libc::malloc as *const () as u64, Nanos(0)).unwrap();
        assert_eq!(function.start, nix::libc::malloc as *const () as u64);
        assert_eq!(functions.around(8, Nanos(0)), None);
    }

    #[test]
    fn garbage_has_no_functions() {
        assert_eq!(begins(&[], 0), None);
        assert_eq!(begins(&[1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 255, 255, 255, 255], 0), Some(vec![]));
        assert_eq!(begins(&[9; 64], 0), None);
    }
}
