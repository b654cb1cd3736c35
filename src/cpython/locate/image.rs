//! One file that the target has mapped code from, opened: what it says about a Python in it. Called by
//! [`super`] for the executable, then libpython, then every other library.

use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use super::{FoundBy, version};
use crate::event::Pid;
use crate::event::version::Version;
use crate::process::elf::{Elf, ElfError, SymbolTable};
use crate::process::maps::MappedFile;
use crate::process::memory::{LiveMemory, Memory};
use crate::process::refusal::file_refused;
use crate::text::{Shown, from_bytes};

/// The part a file has in the process; what is searched first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Its executable. It comes first because the dynamic linker, too, prefers its symbols.
    Executable,
    /// Python's library, by its name.
    Library,
    /// Any other library. It may have Python linked in.
    Other,
}

/// How the library of PyPy is called.
const PYPY: &str = "libpypy";

/// The files to search, in that order.
pub fn candidates(files: Vec<MappedFile>, exe: Option<&Path>) -> Vec<(Role, MappedFile)> {
    let role = |file: &MappedFile| match file.name() {
        _ if exe == Some(&*file.path) => Role::Executable,
        name if is_libpython(name) => Role::Library,
        _ => Role::Other,
    };
    let mut files: Vec<_> = files.into_iter().map(|file| (role(&file), file)).collect();
    files.sort_by_key(|(role, _)| *role);
    files
}

/// `libpython3.12.so.1.0`, `libpython3.7m.so`, but not `libboost_python312.so`.
fn is_libpython(name: &str) -> bool {
    let rest = name.strip_prefix("libpython").unwrap_or_default();
    rest.starts_with(|first: char| first.is_ascii_digit()) && rest.contains(".so")
}

/// `python`, `python3`, `python3.13t`, but not `python-launcher`.
pub fn is_python(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || ".mtd".contains(c)))
}

/// A mapped file that could be opened.
#[derive(Debug)]
pub struct LoadedImage {
    /// What it is to the process.
    pub role: Role,
    /// Where it is mapped.
    pub file: MappedFile,
    elf: Elf,
    bias: u64,
    /// Why a table was not read.
    refused: RefCell<Option<String>>,
}

impl LoadedImage {
    /// Opens the file that is mapped.
    ///
    /// # Errors
    /// The file, and why it is of no use.
    pub fn open(pid: Pid, role: Role, file: MappedFile) -> Result<LoadedImage, (MappedFile, String)> {
        let opened = match role {
            // Works for an executable that was deleted, or that we would not find.
            Role::Executable => File::open(format!("/proc/{pid}/exe")),
            _ => file.open(pid),
        };
        let elf = match opened.map(Elf::open) {
            Ok(Ok(elf)) => elf,
            Ok(Err(error)) => {
                return Err((file, format!("{error}. If it was replaced on disk, restart the process")));
            }
            Err(error) => return Err((file, file_refused(&error))),
        };
        match elf.load_bias(&file.mappings) {
            Ok(Some(bias)) => Ok(LoadedImage { role, file, elf, bias, refused: RefCell::default() }),
            Ok(None) => Err((file, "it is not what is mapped".into())),
            Err(error) => Err((file, error.to_string())),
        }
    }

    /// Where this file has its `_PyRuntime` in the process, if it has one.
    pub fn runtime(&self) -> Option<(u64, FoundBy)> {
        let name = &["_PyRuntime"];
        if let Some(addr) = self.symbol(SymbolTable::Dynamic, name) {
            return Some((addr, FoundBy::DynamicSymbol));
        }
        if let Some(section) = self.known(self.elf.section(".PyRuntime")) {
            return Some((self.loaded(section.start), FoundBy::Section));
        }
        // Libraries may have huge tables of local symbols. That one of those should be a Python from before
        // 3.10 (which has no section) and keep it local: not to be expected.
        let worthwhile = self.role != Role::Other;
        let addr = worthwhile.then(|| self.symbol(SymbolTable::Full, name)).flatten()?;
        Some((addr, FoundBy::Symbol))
    }

    /// The version of the Python in this file.
    pub fn version(&self, memory: &LiveMemory) -> Option<Version> {
        let constant = &["Py_Version"];
        let constant = self
            .symbol(SymbolTable::Dynamic, constant)
            .or_else(|| self.symbol(SymbolTable::Full, constant))
            .and_then(|addr| {
                let version = Version::from_hex(u64::from(memory.i32(addr).ok()? as u32));
                (version.major == 3).then_some(version)
            });
        constant.or_else(|| version::search_text(memory, &self.writable()))
    }

    /// Whether a Python may be in it that keeps its `_PyRuntime` to itself, or another than CPython.
    pub fn may_hide_python(&self) -> bool {
        let is_it = || {
            self.file.name().starts_with(PYPY)
                || self.symbol(SymbolTable::Dynamic, &["Py_GetVersion", "Py_Initialize"]).is_some()
        };
        self.role != Role::Other || is_it()
    }

    /// Why one of its tables was not read, if that was so.
    pub fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// Bytes of its tables that were read.
    pub fn bytes_read(&self) -> u64 {
        self.elf.bytes_read()
    }

    /// The version of a Python that keeps its `_PyRuntime` to itself, or has none (before 3.7).
    pub fn hidden_version(&self, memory: &LiveMemory) -> Option<Version> {
        version::search_text(memory, &self.writable())
    }

    /// Whether this ought to be CPython, by its name.
    pub fn looks_like_python(&self) -> bool {
        is_libpython(self.file.name()) || self.role == Role::Executable && is_python(self.file.name())
    }

    /// "PyPy 7.3.19", if this is PyPy.
    pub fn other_python(&self) -> Option<String> {
        if !self.file.name().starts_with(PYPY) {
            return None;
        }
        const INTRODUCTION: &str = "[PyPy ";
        let text = self.elf.find_text(INTRODUCTION, 32).unwrap_or_default();
        let text = from_bytes(&text);
        let version = text.strip_prefix(INTRODUCTION).and_then(|rest| rest.split([' ', ']']).next());
        Some(format!("PyPy {}", version.unwrap_or_default()).trim_end().to_owned())
    }

    /// Where its writable data are in the process.
    pub fn writable(&self) -> Vec<Range<u64>> {
        let ranges = self.elf.writable().unwrap_or_default().into_iter();
        ranges.map(|range| self.loaded(range.start)..self.loaded(range.end)).collect()
    }

    fn symbol(&self, table: SymbolTable, names: &[&str]) -> Option<u64> {
        self.known(self.elf.symbol(table, names)).map(|addr| self.loaded(addr))
    }

    fn loaded(&self, addr: u64) -> u64 {
        addr.wrapping_add(self.bias)
    }

    /// A damaged table is as good as none: there are other ways.
    fn known<T>(&self, found: Result<Option<T>, ElfError>) -> Option<T> {
        found.unwrap_or_else(|error| {
            log::debug!("{}: {error}", self.file.path.shown());
            if let ElfError::Refused(refusal) = error {
                self.refused.replace(Some(refusal.to_string()));
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_python() {
        for name in ["libpython3.12.so.1.0", "libpython2.7.so", "libpython3.6m.so.1.0", "libpython3.13t.so.1.0"] {
            assert!(is_libpython(name), "{name}");
        }
        for name in ["libboost_python312.so.1", "libpythonvm.so", "libpython3.12.a", "python3.12", ""] {
            assert!(!is_libpython(name), "{name}");
        }
        for name in ["python", "python3", "python3.13t", "python2.7"] {
            assert!(is_python(name), "{name}");
        }
        for name in ["pypy3", "python-launcher", "ipython", "bash"] {
            assert!(!is_python(name), "{name}");
        }
    }

    #[test]
    fn the_executable_is_searched_before_libraries() {
        let file = |path: &str| MappedFile { path: Path::new(path).into(), mappings: Vec::new() };
        let files = ["/lib/libc.so.6", "/lib/libpython3.9.so.1.0", "/usr/bin/uwsgi"].map(file);
        let order = candidates(files.to_vec(), Some(Path::new("/usr/bin/uwsgi")));
        let order: Vec<_> = order.iter().map(|(role, file)| (*role, file.name())).collect();
        assert_eq!(
            order,
            [(Role::Executable, "uwsgi"), (Role::Library, "libpython3.9.so.1.0"), (Role::Other, "libc.so.6")]
        );
    }
}
