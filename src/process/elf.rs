//! The few things to know of an executable or library on disk: where a symbol or section is, which parts are
//! data, how far it was moved when loaded. Reads only what it needs: whole tables at once, names never one by
//! one, so that an interpreter of 40 MB with debug information costs milliseconds. Called by [`crate::cpython::locate`].

use std::fs::File;
use std::ops::Range;

use object::elf::{
    FileHeader64, PF_W, PF_X, PT_GNU_EH_FRAME, PT_LOAD, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_OBJECT,
    SectionType, Sym64,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{LittleEndian as LE, ReadCache, ReadRef};

use super::maps::{Mapping, PAGE};
use crate::arch::{ARCH_NAME, ELF_MACHINE};
use crate::text::from_bytes;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not an ELF file, or a damaged one.
    #[error(transparent)]
    Malformed(#[from] object::Error),
    #[error("not made for {ARCH_NAME}")]
    OtherMachine,
}

/// Which table of symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolTable {
    /// `.dynsym`: what is exported to other files; survives stripping.
    Dynamic,
    /// `.symtab`: everything; absent from a stripped file.
    Full,
}

/// A table of symbols, and the text of their names.
type Symbols<'a> = (&'a [Sym64<LE>], &'a [u8]);

/// An ELF file for the processor that gilscope runs on.
#[derive(Debug)]
pub struct Elf {
    data: ReadCache<File>,
}

impl Elf {
    /// Opens `file`.
    ///
    /// # Errors
    /// [`ElfError`] when it is none.
    pub fn open(file: File) -> Result<Elf, ElfError> {
        let elf = Elf { data: ReadCache::new(file) };
        match elf.header()?.e_machine(LE) {
            ELF_MACHINE => Ok(elf),
            _ => Err(ElfError::OtherMachine),
        }
    }

    fn header(&self) -> Result<&FileHeader64<LE>, object::Error> {
        let header = FileHeader64::<LE>::parse(&self.data)?;
        header.endian()?;
        Ok(header)
    }

    /// The address, before loading, of the first of `names` that this file itself defines.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn symbol(&self, table: SymbolTable, names: &[&str]) -> Result<Option<u64>, ElfError> {
        let Some((symbols, strings)) = self.symbols(table)? else { return Ok(None) };
        // A name is where its text is in the table of strings, possibly as the end of a longer one.
        Ok(names.iter().find_map(|name| {
            let name = [name.as_bytes(), b"\0"].concat();
            let places: Vec<u32> = memchr::memmem::find_iter(strings, &name).map(|place| place as u32).collect();
            symbols
                .iter()
                .find(|symbol| symbol.st_shndx(LE) != SHN_UNDEF && places.contains(&symbol.st_name(LE)))
                .map(|symbol| symbol.st_value(LE))
        }))
    }

    /// A table and the names in it.
    fn symbols(&self, table: SymbolTable) -> Result<Option<Symbols<'_>>, ElfError> {
        let kind: SectionType = match table {
            SymbolTable::Dynamic => SHT_DYNSYM,
            SymbolTable::Full => SHT_SYMTAB,
        };
        let sections = self.header()?.sections(LE, &self.data)?;
        let Some(symbols) = sections.iter().find(|section| section.sh_type(LE) == kind) else { return Ok(None) };
        let strings = sections.section(symbols.link(LE))?.data(LE, &self.data)?;
        Ok(Some((symbols.data_as_array(LE, &self.data)?, strings)))
    }

    /// The functions whose names mean something, with what they mean: from where to where they are, before loading.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn functions<T>(
        &self,
        table: SymbolTable,
        meaning: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<(Range<u64>, T)>, ElfError> {
        let Some((symbols, strings)) = self.symbols(table)? else { return Ok(Vec::new()) };
        let functions = symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_size(LE) > 0);
        let known = functions.filter_map(|symbol| {
            let name = strings.get(symbol.st_name(LE) as usize..)?;
            let meaning = meaning(&name[..memchr::memchr(0, name)?])?;
            Some((symbol.st_value(LE)..symbol.st_value(LE).saturating_add(symbol.st_size(LE)), meaning))
        });
        Ok(known.collect())
    }

    /// The function at an address, before loading: its name, and from where to where it is.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn function_at(&self, table: SymbolTable, address: u64) -> Result<Option<(String, Range<u64>)>, ElfError> {
        let Some((symbols, strings)) = self.symbols(table)? else { return Ok(None) };
        let range = |symbol: &Sym64<LE>| symbol.st_value(LE)..symbol.st_value(LE).saturating_add(symbol.st_size(LE));
        let is_there = |symbol: &&Sym64<LE>| symbol.st_type() == STT_FUNC && range(symbol).contains(&address);
        Ok(symbols.iter().find(is_there).and_then(|symbol| {
            let name = strings.get(symbol.st_name(LE) as usize..)?;
            let name = from_bytes(&name[..memchr::memchr(0, name)?]);
            Some((name, range(symbol)))
        }))
    }

    /// The name of the variable at an address, before loading.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn variable(&self, table: SymbolTable, address: u64) -> Result<Option<String>, ElfError> {
        let Some((symbols, strings)) = self.symbols(table)? else { return Ok(None) };
        let is_there = |symbol: &&Sym64<LE>| {
            let (start, size) = (symbol.st_value(LE), symbol.st_size(LE));
            symbol.st_type() == STT_OBJECT && (start..start.saturating_add(size)).contains(&address)
        };
        Ok(symbols.iter().find(is_there).and_then(|symbol| {
            let name = strings.get(symbol.st_name(LE) as usize..)?;
            Some(from_bytes(&name[..memchr::memchr(0, name)?]))
        }))
    }

    /// The address, before loading, of a section.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn section(&self, name: &str) -> Result<Option<Range<u64>>, ElfError> {
        let sections = self.header()?.sections(LE, &self.data)?;
        let found = sections.section_by_name(LE, name.as_bytes());
        Ok(found.map(|(_, section)| section.sh_addr(LE)..section.sh_addr(LE).saturating_add(section.sh_size(LE))))
    }

    /// The address, before loading, of the table of functions for unwinding (`.eh_frame_hdr`).
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn unwind_table(&self) -> Result<Option<Range<u64>>, ElfError> {
        let mut segments = self.header()?.program_headers(LE, &self.data)?.iter();
        let table = segments.find(|segment| segment.p_type(LE) == PT_GNU_EH_FRAME);
        Ok(table.map(|table| table.p_vaddr(LE)..table.p_vaddr(LE).saturating_add(table.p_memsz(LE))))
    }

    /// The addresses, before loading, of the writable data: `.data` and `.bss` among them.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn writable(&self) -> Result<Vec<Range<u64>>, ElfError> {
        let segments = self.header()?.program_headers(LE, &self.data)?.iter();
        Ok(segments
            .filter(|segment| segment.p_type(LE) == PT_LOAD && segment.p_flags(LE) & PF_W != Default::default())
            .map(|segment| segment.p_vaddr(LE)..segment.p_vaddr(LE).saturating_add(segment.p_memsz(LE)))
            .collect())
    }

    /// What to add to an address of this file to have it in a process that has these `mappings` of the file;
    /// 0 for an executable that cannot be moved. `None` if the mappings are not of this file.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn load_bias(&self, mappings: &[Mapping]) -> Result<Option<u64>, ElfError> {
        let segments = self.header()?.program_headers(LE, &self.data)?;
        // Segments share pages at their ends, and somebody may have mapped the file as data as well: the code
        // is the part that cannot be mistaken.
        let code = mappings.iter().filter(|mapping| mapping.executable);
        let others = mappings.iter().filter(|mapping| !mapping.executable);
        Ok(code.chain(others).find_map(|mapping| {
            let segment = segments.iter().find(|segment| {
                let in_file =
                    segment.p_offset(LE) / PAGE * PAGE..segment.p_offset(LE).saturating_add(segment.p_filesz(LE));
                let code = segment.p_flags(LE) & PF_X != Default::default();
                segment.p_type(LE) == PT_LOAD && code == mapping.executable && in_file.contains(&mapping.offset)
            })?;
            let into_segment = mapping.offset - segment.p_offset(LE) / PAGE * PAGE;
            Some(mapping.start.wrapping_sub((segment.p_vaddr(LE) / PAGE * PAGE).wrapping_add(into_segment)))
        }))
    }

    /// Searches the file for `text` and returns up to `length` bytes from there, if it occurs.
    pub fn find_text(&self, text: &str, length: usize) -> Option<Vec<u8>> {
        const CHUNK: u64 = 1 << 20;
        let (finder, size) = (memchr::memmem::Finder::new(text), (&self.data).len().ok()?);
        (0..size).step_by(CHUNK as usize).find_map(|start| {
            // Beyond the chunk's end, so that what straddles it is found whole.
            let bytes = (&self.data).read_bytes_at(start, (CHUNK + length as u64).min(size - start)).ok()?;
            let place = finder.find(bytes).filter(|&place| place < CHUNK as usize)?;
            Some(bytes[place..].iter().copied().take(length).collect())
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::process::maps;

    /// The file of this very process, and what was added to its addresses.
    pub fn own() -> (Elf, u64) {
        let exe = std::env::current_exe().unwrap();
        let maps = maps::parse(&std::fs::read("/proc/self/maps").unwrap());
        let file = maps::code_files(&maps).into_iter().find(|file| file.path == exe).unwrap();
        let elf = Elf::open(File::open(exe).unwrap()).unwrap();
        let bias = elf.load_bias(&file.mappings).unwrap().unwrap();
        (elf, bias)
    }

    #[test]
    fn addresses_in_this_very_process_are_found() {
        let (elf, bias) = own();
        let text = elf.section(".text").unwrap().unwrap();
        let here = (addresses_in_this_very_process_are_found as *const () as u64).wrapping_sub(bias);
        assert!(text.contains(&here), "{here:#x} in {text:#x?}");
        let main = elf.symbol(SymbolTable::Full, &["no_such_symbol", "main"]).unwrap().unwrap();
        assert!(text.contains(&main), "{main:#x} in {text:#x?}");
        static mut DATA: u8 = 1;
        let data = (&raw const DATA as u64).wrapping_sub(bias);
        assert!(elf.writable().unwrap().iter().any(|range| range.contains(&data)));
    }

    #[test]
    fn what_is_only_used_here_and_what_is_only_part_of_a_name_are_no_symbols() {
        let (elf, _) = own();
        assert_eq!(elf.symbol(SymbolTable::Dynamic, &["process_vm_readv"]).unwrap(), None);
        assert_eq!(elf.symbol(SymbolTable::Full, &["ain"]).unwrap(), None);
        assert_eq!(elf.section(".PyRuntime").unwrap(), None);
    }

    #[test]
    fn text_is_found_across_pieces_and_other_files_are_refused() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![b'.'; 3 << 20];
        bytes[(1 << 20) - 3..][..17].copy_from_slice(b"[PyPy 7.3.19 with");
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let elf = Elf { data: ReadCache::new(file.try_clone().unwrap()) };
        assert_eq!(elf.find_text("[PyPy ", 12).as_deref(), Some(&b"[PyPy 7.3.19"[..]));
        assert!(elf.find_text("[PyPy 8", 12).is_none());
        assert!(matches!(Elf::open(file), Err(ElfError::Malformed(_))));
    }
}
