//! How much is read of what belongs to a target: its files and its memory map. Whoever made them need not have meant well,
//! and a table may claim any size, so that neither work nor memory may follow from what is only claimed.
//!
//! Each limit is several times what the largest programs have that are known: PyTorch's libraries, interpreters with
//! debug information, servers with 10^5 mappings.

/// Bytes of one table of an ELF file: symbols, their names, sections, unwind information.
pub(crate) const MAX_TABLE: u64 = 64 << 20;
/// Tables that are longer, in bytes, are checked for holes of their file before memory is allocated for them.
pub(crate) const MAX_UNCHECKED_TABLE: u64 = 1 << 20;
/// Segments of an ELF file.
pub(crate) const MAX_SEGMENTS: usize = 1024;
/// Bytes of the name of a section.
pub(crate) const MAX_SECTION_NAME: u64 = 256;
/// Bytes of the name of a symbol.
pub(crate) const MAX_SYMBOL_NAME: u64 = 4096;
/// Functions of one file that are chosen by their names.
pub(crate) const MAX_CHOSEN_FUNCTIONS: usize = 1 << 16;
/// Bytes of a file that are searched for a text.
pub(crate) const MAX_SEARCHED_FILE: u64 = 256 << 20;
/// Functions that are kept of all files of a process together.
pub(crate) const MAX_KEPT_FUNCTIONS: usize = 1 << 22;
/// Files with code of one process that are looked into for an interpreter.
pub(crate) const MAX_CODE_FILES: usize = 4096;
/// Bytes of tables that are read for that, of all files together.
pub(crate) const MAX_ALL_TABLES: u64 = 1 << 30;
/// Mappings of a process: the kernel's own limit is 65,530 unless somebody has raised it.
pub(crate) const MAX_MAPPINGS: usize = 1 << 20;
/// Bytes of a command line.
pub(crate) const MAX_COMMAND_LINE: u64 = 256 << 10;
/// Bytes of the text that describes them.
pub(crate) const MAX_MAP_TEXT: u64 = 128 << 20;
