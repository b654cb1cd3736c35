//! The decoders of what others have written, each as one function of bytes. `fuzz/` runs them for as long as one likes, and the
//! tests here for some seconds: none may panic, use the CPU for a second, or have 256 MB at a time, whatever the bytes are.
//!
//! What is decoded from the memory of a target is covered in `tests/decoders`, which change an interpreter made of bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::cpython::layout::{Layout, LineTable};
use crate::cpython::line_table;
use crate::event::version::Version;
use crate::export::changes::FunctionChanges;
use crate::export::diff::{self, FoldedStacks};
use crate::interpreter::with_locks::handler_depth;
use crate::process::elf::{Elf, SymbolTable};
use crate::process::memory::MemoryImage;
use crate::process::{functions, maps};
use crate::profile::{Profile, SessionInfo};
use crate::recording::{Reader, file_of};
use crate::report::{self, Attribution, Report};
use crate::text::{from_bytes, visible_lines};

#[cfg(test)]
mod tests;

/// Where what is decoded lies, where that matters.
const BASE: u64 = 0x10_0000;

/// A decoder and its name, which is that of its target in `fuzz/fuzz_targets`.
pub type NamedDecoder = (&'static str, fn(&[u8]));

/// All decoders that work on bytes alone.
pub const DECODERS: [NamedDecoder; 10] = [
    ("recording", recording),
    ("records", records),
    ("elf", elf),
    ("unwind_table", unwind_table),
    ("line_table", line_table),
    ("exception_table", exception_table),
    ("debug_offsets", debug_offsets),
    ("memory_map", memory_map),
    ("report", report),
    ("folded", folded),
];

/// A recording, from the bytes of its file to the text of its report.
pub fn recording(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let mut profile = Profile::default();
    let mut stacks = std::mem::take(&mut profile.stacks);
    let mut session = None;
    while let Ok(Some(event)) = reader.next(&mut stacks) {
        // That is known with the first block.
        let session = session.get_or_insert_with(|| reader.session());
        profile.push_recorded(&event, &stacks, session);
    }
    profile.stacks = stacks;
    let SessionInfo { waits, records_lost, .. } = profile.session;
    profile.session = SessionInfo { waits, records_lost, ..reader.session() };
    profile.finish();
    let report = Report::of(&profile, Attribution::default());
    report::text::text(&report, Attribution::default(), false);
}

/// The same of records that are packed as they should be.
pub fn records(bytes: &[u8]) {
    recording(&file_of(bytes));
}

/// An ELF file: every question that is ever asked of one.
pub fn elf(bytes: &[u8]) {
    let Ok(file) = rustix::fs::memfd_create("elf", rustix::fs::MemfdFlags::CLOEXEC).map(File::from) else { return };
    if file.write_all_at(bytes, 0).is_err() {
        return;
    }
    let Ok(elf) = Elf::open(file) else { return };
    let maps = maps::parse(
        b"100000-101000 r--p 00000000 08:01 5 /lib/libpython3.12.so\n\
          101000-102000 r-xp 00001000 08:01 5 /lib/libpython3.12.so\n\
          102000-103000 rw-p 00002000 08:01 5 /lib/libpython3.12.so\n",
    );
    let _ = (elf.load_bias(&maps), elf.writable(), elf.unwind_table(), elf.section(".PyRuntime"));
    for table in [SymbolTable::Dynamic, SymbolTable::Full] {
        let _ = elf.symbol(table, &["_PyRuntime", "Py_Version"]);
        let _ = elf.functions(table, |name| name.starts_with(b"gc_").then_some(()));
        let _ = elf.variable(table, BASE);
        for function in elf.function_symbols(table).unwrap_or_default().iter().take(4) {
            elf.function_name(function);
        }
    }
    elf.find_text("[PyPy ", 32);
}

/// `.eh_frame_hdr`.
pub fn unwind_table(bytes: &[u8]) {
    let begins = functions::begins(bytes, BASE);
    assert!(begins.is_none_or(|begins| begins.len() <= bytes.len() && begins.is_sorted()));
}

/// A line table of any version of CPython.
pub fn line_table(bytes: &[u8]) {
    let Some((head, table)) = bytes.split_first_chunk::<4>() else { return };
    let first_line = i32::from_le_bytes(*head);
    for format in [LineTable::Lnotab, LineTable::Pep626, LineTable::Locations] {
        let runs = line_table::decode(format, table, first_line);
        assert!(runs.len() <= table.len() + 1 && runs.is_sorted_by_key(|run| run.end));
        for unit in [-1, 0, 7, i64::from(head[0]), i64::MAX] {
            line_table::line_at(&runs, unit, first_line);
        }
    }
}

/// `co_exceptiontable`.
pub fn exception_table(bytes: &[u8]) {
    let Some((head, table)) = bytes.split_first_chunk::<2>() else { return };
    handler_depth(table, u16::from_le_bytes(*head).into());
    handler_depth(table, u64::MAX);
}

/// `_Py_DebugOffsets`, after a byte for the version and one for the kind of build.
pub fn debug_offsets(bytes: &[u8]) {
    let Some((&[minor, free_threaded], table)) = bytes.split_first_chunk::<2>() else { return };
    let mut image = MemoryImage::default();
    image.insert(BASE, table.to_vec());
    let version = Version { major: 3, minor: 13 + minor % 4, patch: 0 };
    let _ = Layout::of(&image, BASE, version, free_threaded % 2 == 1);
}

/// `/proc/PID/maps`.
pub fn memory_map(bytes: &[u8]) {
    let maps = maps::parse(bytes);
    maps::code_files(&maps);
    maps::index_of(&maps, BASE);
}

/// A report in JSON, up to its text.
pub fn report(bytes: &[u8]) {
    if let Ok(report) = report::parse(bytes) {
        report::text::text(&report, report.blame, false);
    }
}

/// Folded stacks, up to the picture of a difference.
pub fn folded(bytes: &[u8]) {
    let half = bytes.len() / 2;
    let stacks = |bytes: &[u8]| FoldedStacks::new("a", visible_lines(&from_bytes(bytes)));
    if let (Ok(before), Ok(after)) = (stacks(&bytes[..half]), stacks(&bytes[half..])) {
        diff::table_of_amounts(&before, &after);
        FunctionChanges::new(&before, &after).table();
        let _ = diff::write(&before, &after, false, &mut std::io::sink());
    }
}
