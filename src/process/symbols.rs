//! Which function of which library an address is in. Called by [`crate::kernel`] for threads that were sampled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::elf::{Elf, SymbolTable};
use super::maps::{self, Mapping};
use crate::event::{Nanos, Pid};
use crate::text::from_os;

/// How many functions, and how many addresses without one, are cached.
const MAX_CACHED: usize = 1 << 14;
/// In how many files symbols are looked up.
const MAX_FILES: usize = 256;
/// The shortest time between two reads of the map, in nanoseconds.
const READ_AFTER: u64 = 1_000_000_000;

/// A function, as its file's table of symbols has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeFunction {
    pub name: Arc<str>,
    /// The path of the library or the executable.
    pub library: Arc<str>,
}

/// The functions of one process.
#[derive(Debug)]
pub struct NativeSymbols {
    pid: Pid,
    maps: Vec<Mapping>,
    read_at: Option<Nanos>,
    files: Vec<SymbolFile>,
    /// By where they begin, with where they end.
    functions: BTreeMap<u64, (u64, NativeFunction)>,
    /// Addresses that are in none.
    without: FxHashSet<u64>,
}

#[derive(Debug)]
struct SymbolFile {
    path: PathBuf,
    /// The file, and what was added to its addresses; none if it is of no use.
    elf: Option<(Elf, u64)>,
}

impl NativeSymbols {
    pub fn new(pid: Pid) -> NativeSymbols {
        NativeSymbols {
            pid,
            maps: Vec::new(),
            read_at: None,
            files: Vec::new(),
            functions: BTreeMap::new(),
            without: FxHashSet::default(),
        }
    }

    /// The function at an address; none if its file has no symbol for it.
    pub fn at(&mut self, address: u64, now: Nanos) -> Option<&NativeFunction> {
        if address == 0 || self.without.contains(&address) {
            return None;
        }
        if self.cached(address).is_none() {
            self.look_up(address, now);
        }
        self.cached(address)
    }

    fn cached(&self, address: u64) -> Option<&NativeFunction> {
        let (_, (end, function)) = self.functions.range(..=address).next_back()?;
        (address < *end).then_some(function)
    }

    /// Puts the function into the cache, or the address to those without one.
    fn look_up(&mut self, address: u64, now: Nanos) {
        let Some(path) = self.path(address, now) else { return };
        if self.functions.len() >= MAX_CACHED || self.without.len() >= MAX_CACHED {
            self.functions.clear();
            self.without.clear();
        }
        match self.symbol(&path, address) {
            Some((start, end, name)) => {
                let function = NativeFunction { name: name.into(), library: from_os(path.as_os_str()).into() };
                self.functions.insert(start, (end, function));
            }
            None => {
                self.without.insert(address);
            }
        }
    }

    /// The file with the code at an address.
    fn path(&mut self, address: u64, now: Nanos) -> Option<PathBuf> {
        let find = |maps: &[Mapping]| {
            maps.iter().find(|map| map.executable && map.contains(address)).map(|map| map.path.clone())
        };
        if let Some(found) = find(&self.maps) {
            return found;
        }
        if self.read_at.is_some_and(|at| now.since(at) < READ_AFTER) {
            return None;
        }
        self.read_at = Some(now);
        self.maps = maps::parse(&std::fs::read(format!("/proc/{}/maps", self.pid)).ok()?);
        // Other files may be where those were.
        self.functions.clear();
        self.without.clear();
        self.files.clear();
        find(&self.maps)?
    }

    fn symbol(&mut self, path: &PathBuf, address: u64) -> Option<(u64, u64, String)> {
        let index = self.files.iter().position(|file| file.path == *path);
        let index = match index {
            Some(index) => index,
            None if self.files.len() >= MAX_FILES => return None,
            None => {
                let elf = open(&self.maps, path, self.pid);
                self.files.push(SymbolFile { path: path.clone(), elf });
                self.files.len() - 1
            }
        };
        let (elf, bias) = self.files[index].elf.as_ref()?;
        let tables = [SymbolTable::Full, SymbolTable::Dynamic];
        let found = tables.iter().find_map(|&table| elf.function_at(table, address.wrapping_sub(*bias)).ok()?);
        found.map(|(name, range)| (range.start.wrapping_add(*bias), range.end.wrapping_add(*bias), name))
    }
}

fn open(maps: &[Mapping], path: &PathBuf, pid: Pid) -> Option<(Elf, u64)> {
    let file = maps::code_files(maps).into_iter().find(|file| file.path == *path)?;
    let elf = Elf::open(file.open(pid).ok()?).ok()?;
    let bias = elf.load_bias(&file.mappings).ok()??;
    Some((elf, bias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_this_very_process_have_names() {
        let mut symbols = NativeSymbols::new(std::process::id() as Pid);
        let here = functions_of_this_very_process_have_names as *const () as u64;
        let function = symbols.at(here + 1, Nanos(0)).unwrap();
        assert!(function.name.contains("functions_of_this_very_process_have_names"), "{function:?}");
        let function = function.clone();
        assert_eq!(symbols.at(here, Nanos(0)), Some(&function), "from the cache");
        assert_eq!(symbols.at(8, Nanos(0)), None);
        assert_eq!(symbols.at(0, Nanos(0)), None);
    }
}
