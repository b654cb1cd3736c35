//! Which function of which library an address is in. Called by [`crate::kernel`] for threads that were sampled.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::elf::{Elf, FunctionSymbol, SymbolTable};
use super::limits::MAX_KEPT_FUNCTIONS;
use super::maps::{self, Mapping};
use crate::event::{Nanos, Pid};
use crate::text::from_os;

/// How many functions, and how many addresses without one, are cached.
const MAX_CACHED: usize = 1 << 14;
/// In how many files symbols are looked up.
const MAX_FILES: usize = 256;
/// Functions may be inside others: before this number of them that begin before an address, none is searched that it is in.
const MAX_NESTED: usize = 16;
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
    path: Arc<Path>,
    /// None if it is of no use.
    loaded: Option<LoadedSymbols>,
}

/// A file whose symbols can be read.
#[derive(Debug)]
struct LoadedSymbols {
    elf: Elf,
    /// What was added to its addresses.
    bias: u64,
    /// Its tables; none before they are needed, and after there was no room for them any more.
    tables: Option<[Vec<FunctionSymbol>; 2]>,
}

impl LoadedSymbols {
    fn open(maps: &[Mapping], path: &Path, pid: Pid) -> Option<LoadedSymbols> {
        let file = maps::code_files(maps).into_iter().find(|file| *file.path == *path)?;
        let elf = Elf::open(file.open(pid).ok()?).ok()?;
        let bias = elf.load_bias(&file.mappings).ok()??;
        Some(LoadedSymbols { elf, bias, tables: None })
    }

    fn kept(&self) -> usize {
        self.tables.iter().flatten().map(Vec::len).sum()
    }

    /// The function at an address: from where to where it is, and its name.
    fn function(&mut self, address: u64) -> Option<(u64, u64, String)> {
        let (elf, address) = (&self.elf, address.wrapping_sub(self.bias));
        let tables = self.tables.get_or_insert_with(|| {
            [SymbolTable::Full, SymbolTable::Dynamic].map(|table| {
                elf.function_symbols(table).unwrap_or_else(|error| {
                    log::debug!("functions have no names: {error}");
                    Vec::new()
                })
            })
        });
        let (function, name) = tables.iter().find_map(|table| {
            let function = containing(table, address)?;
            Some((function, elf.function_name(function)?))
        })?;
        Some((function.start.wrapping_add(self.bias), function.end.wrapping_add(self.bias), name))
    }
}

/// The innermost function that an address is in.
fn containing(table: &[FunctionSymbol], address: u64) -> Option<&FunctionSymbol> {
    let after = table.partition_point(|function| function.start <= address);
    table[..after].iter().rev().take(MAX_NESTED).find(|function| address < function.end)
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
    fn path(&mut self, address: u64, now: Nanos) -> Option<Arc<Path>> {
        let find = |maps: &[Mapping]| {
            maps::containing(maps, address).filter(|map| map.executable).map(|map| map.path.clone())
        };
        if let Some(found) = find(&self.maps) {
            return found;
        }
        let pause = maps::pause_between_reads(self.maps.len(), READ_AFTER);
        if self.read_at.is_some_and(|at| now.since(at) < pause) {
            return None;
        }
        self.read_at = Some(now);
        self.maps = maps::read(self.pid).ok()?;
        // Other files may be where those were.
        self.functions.clear();
        self.without.clear();
        self.files.clear();
        find(&self.maps)?
    }

    fn symbol(&mut self, path: &Arc<Path>, address: u64) -> Option<(u64, u64, String)> {
        let index = self.files.iter().position(|file| file.path == *path);
        let index = match index {
            Some(index) => index,
            None if self.files.len() >= MAX_FILES => return None,
            None => {
                let loaded = LoadedSymbols::open(&self.maps, path, self.pid);
                self.files.push(SymbolFile { path: path.clone(), loaded });
                self.files.len() - 1
            }
        };
        let found = self.files[index].loaded.as_mut()?.function(address);
        let loaded = || self.files.iter().filter_map(|file| file.loaded.as_ref());
        if loaded().map(LoadedSymbols::kept).sum::<usize>() > MAX_KEPT_FUNCTIONS {
            let others = self.files.iter_mut().enumerate().filter(|(other, _)| *other != index);
            others.filter_map(|(_, file)| file.loaded.as_mut()).for_each(|loaded| loaded.tables = None);
        }
        found
    }
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
