//! What a static variable of C code is called: locks of extension modules and of the libraries they use have no Python
//! object that leads to them. Called by [`crate::cpython::locks`] for native locks that were not met before.

use super::elf::{Elf, SymbolTable};
use super::maps::{self, Mapping};
use crate::event::Pid;

/// The variable at an address: `blas_lock in libopenblas.so`, or only `libopenblas.so` if its file does not say. None if no
/// file's data are there.
pub fn name(pid: Pid, address: u64) -> Option<String> {
    let maps = maps::read(pid).ok()?;
    let path = owner(&maps, address)?.path.clone()?;
    let file = maps::code_files(&maps).into_iter().find(|file| file.path == path)?;
    let elf = Elf::open(file.open(pid).ok()?).ok()?;
    let offset = address.wrapping_sub(elf.load_bias(&file.mappings).ok()??);
    let symbol =
        [SymbolTable::Full, SymbolTable::Dynamic].into_iter().find_map(|table| elf.variable(table, offset).ok()?);
    Some(match symbol {
        Some(symbol) => format!("{symbol} in {}", file.name()),
        None => without_version(file.name()).to_owned(),
    })
}

/// `libsqlite3.so` for `libsqlite3.so.0.8.6`.
fn without_version(file: &str) -> &str {
    file.find(".so.").map_or(file, |at| &file[..at + ".so".len()])
}

/// The mapping of the file whose data are at an address: variables that are zero at first (`.bss`) are in memory of no file
/// that follows upon the file's.
fn owner(maps: &[Mapping], address: u64) -> Option<&Mapping> {
    let at = maps::index_of(maps, address)?;
    let mapping = &maps[at];
    let before = || maps[..at].last().filter(|before| before.end == mapping.start && mapping.inode == 0);
    let owner = if mapping.path.is_some() { Some(mapping) } else { before() };
    owner.filter(|owner| owner.path.is_some() && owner.writable && mapping.writable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_this_very_process_has_its_name_and_others_have_none() {
        static mut DATA_IN_A_FILE: [u64; 2] = [1, 2];
        static mut ZERO_AT_FIRST: u64 = 0;
        let pid = std::process::id() as Pid;
        let exe = std::env::current_exe().unwrap();
        let file = exe.file_name().unwrap().to_str().unwrap().to_owned();
        for (address, symbol) in [
            (&raw const DATA_IN_A_FILE as u64 + 8, "DATA_IN_A_FILE"),
            (&raw const ZERO_AT_FIRST as u64, "ZERO_AT_FIRST"),
        ] {
            let name = name(pid, address).unwrap();
            assert!(name.contains(symbol) && name.ends_with(&format!(" in {file}")), "{name}");
        }
        let on_the_heap = Box::new(1_u64);
        assert_eq!(name(pid, &raw const *on_the_heap as u64), None);
        let on_the_stack = 1_u64;
        assert_eq!(name(pid, &raw const on_the_stack as u64), None);
        assert_eq!(name(pid, 8), None);
    }
}
