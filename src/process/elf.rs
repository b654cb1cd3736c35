//! The few things to know of an executable or library on disk: where a symbol or section is, which parts are
//! data, how far it was moved when loaded. Reads only what it needs: whole tables at once, names never one by
//! one, so that an interpreter of 40 MB with debug information costs milliseconds. Called by [`crate::cpython::locate`].
//!
//! Files are read and never mapped: a target may cut its file short at any time, and a mapping would then end gilscope
//! with SIGBUS. What a table claims is compared with [`limits`](super::limits) before anything is allocated for it, and
//! nothing that was read outlives the question that it was read for.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::elf::{
    FileHeader64, PF_W, PF_X, PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC,
    STT_OBJECT, SectionHeader64, SectionType, Sym64,
};
use object::read::ReadCacheOps;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{LittleEndian as LE, ReadCache, ReadRef};
use rustix::fs::SeekFrom;

use super::limits::{
    MAX_CHOSEN_FUNCTIONS, MAX_SEARCHED_FILE, MAX_SECTION_NAME, MAX_SEGMENTS, MAX_SYMBOL_NAME, MAX_TABLE,
    MAX_UNCHECKED_TABLE,
};
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
    #[error("{0}")]
    Refused(TableRefusal),
}

/// Why a table was not read that the file claims to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableRefusal {
    #[error("one of its tables claims {0} bytes, and gilscope reads no more than {MAX_TABLE}")]
    Large(u64),
    #[error("one of its tables claims {0} bytes, but the file has holes there")]
    Sparse(u64),
    #[error("it claims {0} segments, and gilscope reads no more than {MAX_SEGMENTS}")]
    Segments(usize),
}

/// Which table of symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolTable {
    /// `.dynsym`: what is exported to other files; survives stripping.
    Dynamic,
    /// `.symtab`: everything; absent from a stripped file.
    Full,
}

/// A function of a file: its addresses before loading, and where in the file its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FunctionSymbol {
    pub start: u64,
    pub end: u64,
    name: u64,
}

/// An ELF file for the processor that gilscope runs on.
#[derive(Debug)]
pub struct Elf {
    file: File,
    len: u64,
    /// Bytes of tables that were read.
    read: Cell<u64>,
    /// Why the last table was refused, until somebody is told.
    refused: Cell<Option<TableRefusal>>,
}

/// The bytes of a file, for the time of one question.
#[derive(Debug)]
struct ElfBytes<'a> {
    elf: &'a Elf,
    at: u64,
}

impl ReadCacheOps for ElfBytes<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.elf.len)
    }

    fn seek(&mut self, pos: u64) -> Result<u64, ()> {
        self.at = pos;
        Ok(pos)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let read = self.elf.file.read_at(buffer, self.at).map_err(drop)?;
        self.at += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.elf.file.read_exact_at(buffer, self.at).map_err(drop)
    }
}

/// The same, with limits.
#[derive(Clone, Copy)]
struct ElfTables<'a> {
    cache: &'a ReadCache<ElfBytes<'a>>,
    elf: &'a Elf,
}

impl<'a> ReadRef<'a> for ElfTables<'a> {
    fn len(self) -> Result<u64, ()> {
        Ok(self.elf.len)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if let Some(refusal) = self.elf.refusal(offset, size) {
            self.elf.refused.set(Some(refusal));
            return Err(());
        }
        let bytes = self.cache.read_bytes_at(offset, size)?;
        self.elf.read.set(self.elf.read.get().saturating_add(size));
        Ok(bytes)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let end = range.end.min(range.start.saturating_add(MAX_SECTION_NAME));
        self.cache.read_bytes_at_until(range.start..end, delimiter)
    }
}

impl<'a> ElfTables<'a> {
    fn header(self) -> Result<&'a FileHeader64<LE>, ElfError> {
        let header = FileHeader64::<LE>::parse(self).map_err(|error| self.elf.error(error))?;
        header.endian()?;
        Ok(header)
    }

    fn segments(self) -> Result<&'a [ProgramHeader64<LE>], ElfError> {
        let segments = self.header()?.program_headers(LE, self).map_err(|error| self.elf.error(error))?;
        if segments.len() > MAX_SEGMENTS {
            return Err(ElfError::Refused(TableRefusal::Segments(segments.len())));
        }
        Ok(segments)
    }

    /// A table of symbols, and the section with their names.
    fn symbols(self, table: SymbolTable) -> Result<Option<Symbols<'a>>, ElfError> {
        let kind: SectionType = match table {
            SymbolTable::Dynamic => SHT_DYNSYM,
            SymbolTable::Full => SHT_SYMTAB,
        };
        let found = self.header()?.sections(LE, self).and_then(|sections| {
            let Some(symbols) = sections.iter().find(|section| section.sh_type(LE) == kind) else { return Ok(None) };
            Ok(Some((symbols.data_as_array(LE, self)?, sections.section(symbols.link(LE))?)))
        });
        found.map_err(|error| self.elf.error(error))
    }

    /// The same with the text of the names.
    fn named_symbols(self, table: SymbolTable) -> Result<Option<NamedSymbols<'a>>, ElfError> {
        let Some((symbols, strings)) = self.symbols(table)? else { return Ok(None) };
        let strings = strings.data(LE, self).map_err(|error| self.elf.error(error))?;
        Ok(Some((symbols, strings)))
    }
}

/// A table of symbols, and the text of their names.
type NamedSymbols<'a> = (&'a [Sym64<LE>], &'a [u8]);
/// The same, and the section that the text is in.
type Symbols<'a> = (&'a [Sym64<LE>], &'a SectionHeader64<LE>);

/// The addresses of a symbol.
fn range(symbol: &Sym64<LE>) -> Range<u64> {
    symbol.st_value(LE)..symbol.st_value(LE).saturating_add(symbol.st_size(LE))
}

/// The text of a symbol's name.
fn name<'a>(symbol: &Sym64<LE>, strings: &'a [u8]) -> Option<&'a [u8]> {
    let name = strings.get(symbol.st_name(LE) as usize..)?;
    let name = &name[..name.len().min(MAX_SYMBOL_NAME as usize)];
    Some(&name[..memchr::memchr(0, name)?])
}

/// Asks one question of a file: `tables` has what was read for it, and is gone afterwards.
macro_rules! ask {
    ($elf:expr, |$tables:ident| $answer:expr) => {{
        let elf: &Elf = $elf;
        let cache = ReadCache::new(ElfBytes { elf, at: 0 });
        let $tables = ElfTables { cache: &cache, elf };
        $answer
    }};
}

impl Elf {
    /// Opens `file`.
    ///
    /// # Errors
    /// [`ElfError`] when it is none.
    pub fn open(file: File) -> Result<Elf, ElfError> {
        let elf = Elf::unchecked(file);
        let machine = ask!(&elf, |tables| tables.header().map(|header| header.e_machine(LE)))?;
        if machine == ELF_MACHINE { Ok(elf) } else { Err(ElfError::OtherMachine) }
    }

    fn unchecked(file: File) -> Elf {
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        Elf { file, len, read: Cell::new(0), refused: Cell::new(None) }
    }

    /// Bytes of tables that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Why a table is not read.
    fn refusal(&self, offset: u64, size: u64) -> Option<TableRefusal> {
        let end = offset.saturating_add(size);
        // Beyond the end of the file: that is damage, and nothing will be read.
        if end > self.len {
            return None;
        }
        if size > MAX_TABLE {
            return Some(TableRefusal::Large(size));
        }
        if size <= MAX_UNCHECKED_TABLE {
            return None;
        }
        // Where the file system does not know holes, its end is the first one.
        let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(offset)).ok()?;
        (hole < end).then_some(TableRefusal::Sparse(size))
    }

    /// What went wrong, if the error is that a table was refused.
    fn error(&self, error: object::Error) -> ElfError {
        self.refused.take().map_or(ElfError::Malformed(error), ElfError::Refused)
    }

    /// The address, before loading, of the first of `names` that this file itself defines.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn symbol(&self, table: SymbolTable, names: &[&str]) -> Result<Option<u64>, ElfError> {
        ask!(self, |tables| {
            let Some((symbols, strings)) = tables.named_symbols(table)? else { return Ok(None) };
            // A name is where its text is in the table of strings, possibly as the end of a longer one.
            Ok(names.iter().find_map(|name| {
                let name = [name.as_bytes(), b"\0"].concat();
                // In ascending order. A table may consist of nothing else.
                let places: Vec<u32> = memchr::memmem::find_iter(strings, &name).map(|place| place as u32).collect();
                let is_it = |symbol: &&Sym64<LE>| {
                    symbol.st_shndx(LE) != SHN_UNDEF && places.binary_search(&symbol.st_name(LE)).is_ok()
                };
                symbols.iter().find(is_it).map(|symbol| symbol.st_value(LE))
            }))
        })
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
        ask!(self, |tables| {
            let Some((symbols, strings)) = tables.named_symbols(table)? else { return Ok(Vec::new()) };
            let functions = symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_size(LE) > 0);
            let known = functions.filter_map(|symbol| Some((range(symbol), meaning(name(symbol, strings)?)?)));
            Ok(known.take(MAX_CHOSEN_FUNCTIONS).collect())
        })
    }

    /// All functions in the order of their addresses.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub(crate) fn function_symbols(&self, table: SymbolTable) -> Result<Vec<FunctionSymbol>, ElfError> {
        ask!(self, |tables| {
            let Some((symbols, strings)) = tables.symbols(table)? else { return Ok(Vec::new()) };
            let names = strings.sh_offset(LE);
            let functions = symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC && symbol.st_size(LE) > 0);
            let place = |symbol: &Sym64<LE>| {
                let Range { start, end } = range(symbol);
                FunctionSymbol { start, end, name: names.saturating_add(symbol.st_name(LE).into()) }
            };
            let mut functions: Vec<FunctionSymbol> = functions.map(place).collect();
            functions.sort_by_key(|function| function.start);
            Ok(functions)
        })
    }

    /// What a function is called; none if its name has no end.
    pub(crate) fn function_name(&self, function: &FunctionSymbol) -> Option<String> {
        let mut text = vec![0; MAX_SYMBOL_NAME as usize];
        let read = self.file.read_at(&mut text, function.name).ok()?;
        let end = memchr::memchr(0, &text[..read])?;
        Some(from_bytes(&text[..end]))
    }

    /// The name of the variable at an address, before loading.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn variable(&self, table: SymbolTable, address: u64) -> Result<Option<String>, ElfError> {
        ask!(self, |tables| {
            let Some((symbols, strings)) = tables.named_symbols(table)? else { return Ok(None) };
            let is_there = |symbol: &&Sym64<LE>| symbol.st_type() == STT_OBJECT && range(symbol).contains(&address);
            let found = symbols.iter().find(is_there).and_then(|symbol| name(symbol, strings));
            Ok(found.map(from_bytes))
        })
    }

    /// The address, before loading, of a section.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn section(&self, name: &str) -> Result<Option<Range<u64>>, ElfError> {
        ask!(self, |tables| {
            let sections = tables.header()?.sections(LE, tables).map_err(|error| self.error(error))?;
            let found = sections.section_by_name(LE, name.as_bytes());
            Ok(found.map(|(_, section)| section.sh_addr(LE)..section.sh_addr(LE).saturating_add(section.sh_size(LE))))
        })
    }

    /// The address, before loading, of the table of functions for unwinding (`.eh_frame_hdr`).
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn unwind_table(&self) -> Result<Option<Range<u64>>, ElfError> {
        ask!(self, |tables| {
            let table = tables.segments()?.iter().find(|segment| segment.p_type(LE) == PT_GNU_EH_FRAME);
            Ok(table.map(|table| table.p_vaddr(LE)..table.p_vaddr(LE).saturating_add(table.p_memsz(LE))))
        })
    }

    /// The addresses, before loading, of the writable data: `.data` and `.bss` among them.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn writable(&self) -> Result<Vec<Range<u64>>, ElfError> {
        ask!(self, |tables| {
            let is_writable = |segment: &&ProgramHeader64<LE>| {
                segment.p_type(LE) == PT_LOAD && segment.p_flags(LE) & PF_W != Default::default()
            };
            let writable = tables.segments()?.iter().filter(is_writable);
            let range = |segment: &ProgramHeader64<LE>| {
                segment.p_vaddr(LE)..segment.p_vaddr(LE).saturating_add(segment.p_memsz(LE))
            };
            Ok(writable.map(range).collect())
        })
    }

    /// What to add to an address of this file to have it in a process that has these `mappings` of the file;
    /// 0 for an executable that cannot be moved. `None` if the mappings are not of this file.
    ///
    /// # Errors
    /// [`ElfError`] when the file is damaged.
    pub fn load_bias(&self, mappings: &[Mapping]) -> Result<Option<u64>, ElfError> {
        ask!(self, |tables| {
            let segments = tables.segments()?;
            // Segments share pages at their ends, and somebody may have mapped the file as data as well: the code
            // is the part that cannot be mistaken.
            let code = mappings.iter().filter(|mapping| mapping.executable);
            let others = mappings.iter().filter(|mapping| !mapping.executable);
            Ok(code.chain(others).find_map(|mapping| bias(segments, mapping)))
        })
    }

    /// Searches the file for `text` and returns up to `length` bytes from there, if it occurs.
    pub fn find_text(&self, text: &str, length: usize) -> Option<Vec<u8>> {
        const CHUNK: u64 = 1 << 20;
        let finder = memchr::memmem::Finder::new(text);
        // Beyond the chunk's end, so that what straddles it is found whole.
        let mut chunk = vec![0; CHUNK as usize + length];
        (0..self.len.min(MAX_SEARCHED_FILE)).step_by(CHUNK as usize).find_map(|start| {
            let read = read_up_to(&self.file, &mut chunk, start);
            let place = finder.find(&chunk[..read]).filter(|&place| place < CHUNK as usize)?;
            Some(chunk[place..read].iter().copied().take(length).collect())
        })
    }
}

/// What to add to an address of a file's segments to have it in this mapping, if it is of one of them.
fn bias(segments: &[ProgramHeader64<LE>], mapping: &Mapping) -> Option<u64> {
    let segment = segments.iter().find(|segment| {
        let in_file = segment.p_offset(LE) / PAGE * PAGE..segment.p_offset(LE).saturating_add(segment.p_filesz(LE));
        let code = segment.p_flags(LE) & PF_X != Default::default();
        segment.p_type(LE) == PT_LOAD && code == mapping.executable && in_file.contains(&mapping.offset)
    })?;
    let into_segment = mapping.offset - segment.p_offset(LE) / PAGE * PAGE;
    Some(mapping.start.wrapping_sub((segment.p_vaddr(LE) / PAGE * PAGE).wrapping_add(into_segment)))
}

/// Fills a buffer as far as the file goes, and returns how far that is.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> usize {
    let mut read = 0;
    while let Ok(more @ 1..) = file.read_at(&mut buffer[read..], at + read as u64) {
        read += more;
    }
    read
}

#[cfg(test)]
pub(crate) mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;
    use crate::process::maps;

    /// The file of this very process, and what was added to its addresses.
    pub fn own() -> (Elf, u64) {
        let exe = std::env::current_exe().unwrap();
        let maps = maps::parse(&std::fs::read("/proc/self/maps").unwrap());
        let file = maps::code_files(&maps).into_iter().find(|file| *file.path == *exe).unwrap();
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
        let elf = Elf::unchecked(file.try_clone().unwrap());
        assert_eq!(elf.find_text("[PyPy ", 12).as_deref(), Some(&b"[PyPy 7.3.19"[..]));
        assert!(elf.find_text("[PyPy 8", 12).is_none());
        assert!(matches!(Elf::open(file), Err(ElfError::Malformed(_))));
    }

    /// A file of a header, one segment and these sections (kind, offset, size, link), made as long as is said.
    fn made(sections: &[(u32, u64, u64, u32)], len: u64) -> File {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let mut put = |parts: &[&[u8]]| bytes.extend(parts.concat());
        let half = |value: u16| value.to_le_bytes();
        let word = |value: u32| value.to_le_bytes();
        let long = |value: u64| value.to_le_bytes();
        put(&[&half(3), &half(ELF_MACHINE.0), &word(1), &long(0), &long(64), &long(0x1000), &word(0), &half(64)]);
        put(&[&half(56), &half(1), &half(64), &half(sections.len() as u16), &half(2)]);
        put(&[&word(1), &word(5), &[0; 24], &long(0x1000), &long(0x1000), &long(0x1000)]);
        bytes.resize(0x1000, 0);
        for &(kind, offset, size, link) in sections {
            let parts: [&[u8]; 8] =
                [&word(0), &word(kind), &[0; 16], &long(offset), &long(size), &word(link), &[0; 12], &long(24)];
            bytes.extend(parts.concat());
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.set_len(len).unwrap();
        file
    }

    /// The bytes of a file with two symbols.
    pub fn small_library() -> Vec<u8> {
        let file = made(&[(0, 0, 0, 0), (11, 0x1200, 48, 2), (3, 0x1300, 0x40, 0), (2, 0x1200, 48, 2)], 0x1340);
        file.write_all_at(b"\0_PyRuntime\0gc_collect_main\0[PyPy 7.3.19 with", 0x1300).unwrap();
        for (index, name, kind) in [(0, 1_u32, 1), (1, 12, 2)] {
            let symbol =
                [&name.to_le_bytes()[..], &[kind, 0, 1, 0], &[0, 0, 16, 0, 0, 0, 0, 0, 64], &[0; 7]].concat();
            file.write_all_at(&symbol, 0x1200 + 24 * index).unwrap();
        }
        let mut bytes = vec![0; 0x1340];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn a_small_library_is_understood() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&small_library(), 0).unwrap();
        let elf = Elf::open(file).unwrap();
        for table in [SymbolTable::Dynamic, SymbolTable::Full] {
            assert_eq!(elf.symbol(table, &["_PyRuntime"]).unwrap(), Some(0x10_0000));
            assert_eq!(elf.variable(table, 0x10_0008).unwrap().as_deref(), Some("_PyRuntime"));
            let functions = elf.function_symbols(table).unwrap();
            assert_eq!(functions.len(), 1);
            assert_eq!(elf.function_name(&functions[0]).as_deref(), Some("gc_collect_main"));
        }
        assert!(elf.find_text("[PyPy ", 32).is_some());
    }

    #[test]
    fn what_a_table_only_claims_is_not_read() {
        let refusal = |sections: &[(u32, u64, u64, u32)], len| {
            let elf = Elf::open(made(sections, len)).unwrap();
            let error = elf.symbol(SymbolTable::Dynamic, &["_PyRuntime"]).unwrap_err();
            assert!(elf.bytes_read() < 1 << 20, "{}", elf.bytes_read());
            match error {
                ElfError::Refused(refusal) => Some(refusal),
                _ => None,
            }
        };
        let strings = |size| [(0, 0, 0, 0), (11, 0x3000, 24_000, 2), (3, 0x2000, size, 0)];
        assert_eq!(refusal(&strings(3 << 30), 4 << 30), Some(TableRefusal::Large(3 << 30)));
        assert_eq!(refusal(&strings(32 << 20), 4 << 30), Some(TableRefusal::Sparse(32 << 20)));
        assert_eq!(refusal(&strings(32 << 20), 0x10000), None, "beyond the end of the file");
        let symbols = [(0, 0, 0, 0), (11, 0x3000, 24 << 24, 2), (3, 0x2000, 0x1000, 0)];
        assert_eq!(refusal(&symbols, 4 << 30), Some(TableRefusal::Large(24 << 24)));
    }

    #[test]
    fn a_number_of_sections_that_is_only_claimed_is_refused() {
        let file = made(&[(0, 0, 1 << 31, 0)], 1 << 42);
        // No number in the header: it is the size of the first section.
        file.write_all_at(&[0, 0], 60).unwrap();
        let elf = Elf::open(file).unwrap();
        assert!(matches!(elf.section(".PyRuntime"), Err(ElfError::Refused(TableRefusal::Large(_)))));
        assert!(elf.symbol(SymbolTable::Full, &["main"]).is_err());
        assert!(elf.bytes_read() < 1 << 20);
    }

    #[test]
    fn a_table_of_one_name_again_and_again_is_searched_in_no_time() {
        const NAMES: u64 = 1 << 20;
        let (symbols, strings) = (0x2000, 0x2000 + 24 * NAMES);
        let file =
            made(&[(0, 0, 0, 0), (2, symbols, 24 * NAMES, 2), (3, strings, 11 * NAMES, 0)], strings + 11 * NAMES);
        file.write_all_at(&b"_PyRuntime\0".repeat(NAMES as usize), strings).unwrap();
        // All are undefined, and of a name that is none of these.
        let symbol = [&5_u32.to_le_bytes()[..], &[2, 0, 0, 0], &[1; 16]].concat();
        file.write_all_at(&symbol.repeat(NAMES as usize), symbols).unwrap();
        let elf = Elf::open(file).unwrap();
        let cpu_time = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
        let started = cpu_time();
        assert_eq!(elf.symbol(SymbolTable::Full, &["_PyRuntime"]).unwrap(), None);
        assert_eq!(elf.function_symbols(SymbolTable::Full).unwrap().len(), NAMES as usize);
        assert!(cpu_time() - started < 10, "{} s", cpu_time() - started);
    }

    #[test]
    fn a_file_that_is_cut_off_meanwhile_is_an_error() {
        let file = made(&[(0, 0, 0, 0), (11, 0x3000, 24_000, 2), (3, 0x2000, 0x1000, 0)], 0x10000);
        let elf = Elf::open(file.try_clone().unwrap()).unwrap();
        file.set_len(0x1800).unwrap();
        assert!(matches!(elf.symbol(SymbolTable::Dynamic, &["_PyRuntime"]), Err(ElfError::Malformed(_))));
        file.set_len(0).unwrap();
        assert!(elf.load_bias(&[]).is_err());
    }
}
