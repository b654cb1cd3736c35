//! The memory map of a process (`/proc/PID/maps`): which file lies where, and opening exactly the file that is
//! mapped, also from another root or container, or after it was deleted or replaced on disk. Called by
//! [`crate::cpython::locate`], and by everything that must know what an address of the target belongs to.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::memory::{LiveMemory, Memory};
use crate::event::Pid;

/// The size of a page of memory, in bytes.
pub const PAGE: u64 = crate::arch::PAGE_SIZE;

/// One line of the map: a stretch of memory and the file behind it, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    /// Where in the file `start` lies.
    pub offset: u64,
    /// The file's device, as `stat` encodes it.
    pub device: u64,
    /// The file's inode; 0 for memory that no file backs.
    pub inode: u64,
    /// The file, without the kernel's ` (deleted)`; `None` for memory that no file backs.
    pub path: Option<PathBuf>,
    /// The path no longer leads to this file.
    pub deleted: bool,
}

impl Mapping {
    /// Whether `addr` lies in it.
    pub fn contains(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }

    fn same_file(&self, other: &Mapping) -> bool {
        self.inode == other.inode && self.device == other.device && self.path == other.path
    }
}

/// Takes the kernel's ` (deleted)` off a path, and says whether it was there.
pub fn strip_deleted(path: &[u8]) -> (&[u8], bool) {
    match path.strip_suffix(b" (deleted)") {
        Some(bare) => (bare, true),
        None => (path, false),
    }
}

/// Parses the text of `/proc/PID/maps`. Lines that are not understood are left out.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let length = rest.iter().position(|&byte| byte == b' ')?;
        let (field, after) = rest.split_at(length);
        rest = &after[1..];
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let flags = field()?.as_bytes();
    let offset = u64::from_str_radix(field()?, 16).ok()?;
    let (major, minor) = field()?.split_once(':')?;
    let device = rustix::fs::makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = field()?.parse().ok()?;
    // The path is padded to a column; the kernel writes a newline in it as \012, and nothing else specially.
    let (name, deleted) = strip_deleted(rest.trim_ascii_start());
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: flags.first() == Some(&b'r'),
        writable: flags.get(1) == Some(&b'w'),
        executable: flags.get(2) == Some(&b'x'),
        offset,
        device,
        inode,
        path: (inode != 0 && name.starts_with(b"/")).then(|| PathBuf::from(OsStr::from_bytes(name))),
        deleted,
    })
}

/// A file that is mapped, with all its mappings in the order of their addresses.
#[derive(Clone, Debug)]
pub struct MappedFile {
    /// Where it is (or was), as the kernel shows it.
    pub path: PathBuf,
    /// Its mappings; never empty.
    pub mappings: Vec<Mapping>,
}

/// The files that a process has mapped code from: its executable and its libraries.
pub fn code_files(maps: &[Mapping]) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    for mapping in maps {
        let Some(path) = &mapping.path else { continue };
        match files.iter_mut().rev().find(|file| file.mappings[0].same_file(mapping)) {
            Some(file) => file.mappings.push(mapping.clone()),
            None => files.push(MappedFile { path: path.clone(), mappings: vec![mapping.clone()] }),
        }
    }
    files.retain(|file| file.mappings.iter().any(|mapping| mapping.executable));
    files
}

impl MappedFile {
    /// The file's name without its folder.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// Opens the very file that process `pid` has mapped: by its path in the process's own root, then in ours,
    /// then by the mapping itself (which works for a deleted file, but only as root).
    ///
    /// # Errors
    /// Why the last of these ways failed: usually that the file was deleted or replaced.
    pub fn open(&self, pid: Pid) -> io::Result<File> {
        let first = &self.mappings[0];
        let in_its_root = Path::new("/proc").join(pid.to_string()).join("root");
        let by_name = [in_its_root.join(self.path.strip_prefix("/").unwrap_or(&self.path)), self.path.clone()];
        let mut refused = None;
        for path in by_name.iter().filter(|_| !first.deleted) {
            // Whatever lies there now must not block us.
            let opened =
                File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
            match opened {
                Ok(file) if self.is_backed_by(pid, &file) => return Ok(file),
                Err(error) if error.kind() != ErrorKind::NotFound => drop(refused.get_or_insert(error)),
                _ => {}
            }
        }
        File::open(format!("/proc/{pid}/map_files/{:x}-{:x}", first.start, first.end)).map_err(|error| {
            match (refused, error.kind()) {
                (Some(refused), _) => refused,
                (None, ErrorKind::PermissionDenied) => io::Error::new(
                    error.kind(),
                    "it was deleted or replaced on disk, and only root can still open it",
                ),
                (None, _) => error,
            }
        })
    }

    /// Whether `file` is what is mapped. Device and inode decide; but overlayfs (containers) and btrfs show
    /// another device in the map than `stat` does, so the same first page (its headers and build id) will do.
    fn is_backed_by(&self, pid: Pid, file: &File) -> bool {
        let Ok(found) = file.metadata() else { return false };
        let first = &self.mappings[0];
        if !found.is_file() {
            return false;
        }
        if found.ino() == first.inode && found.dev() == first.device {
            return true;
        }
        let (mut on_disk, mut in_memory) = ([0; PAGE as usize], [0; PAGE as usize]);
        first.offset == 0
            && !first.writable
            && file.read_exact_at(&mut on_disk, 0).is_ok()
            && LiveMemory(pid).read(first.start, &mut in_memory).is_ok()
            && on_disk == in_memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
55d0c8a00000-55d0c8a01000 r--p 00000000 fe:01 1234                       /opt/my python/bin/python3.12\n\
55d0c8a01000-55d0c8a02000 r-xp 00001000 fe:01 1234                       /opt/my python/bin/python3.12\n\
55d0ca000000-55d0ca021000 rw-p 00000000 00:00 0                          [heap]\n\
7f0000000000-7f0000001000 r-xp 00000000 08:10f 99                        /lib/libold.so (deleted)\n\
7f0000001000-7f0000002000 rw-p 00000000 00:00 0 \n\
7f0000002000-7f0000003000 r--p 00000000 fe:01 77                         /usr/share/locale/C\xff.mo\n\
nonsense\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

    #[test]
    fn every_kind_of_line_is_understood() {
        let maps = parse(MAPS);
        assert_eq!(maps.len(), 7);
        assert_eq!(maps[1].path.as_deref(), Some(Path::new("/opt/my python/bin/python3.12")));
        assert!(maps[1].readable && maps[1].executable && !maps[1].writable && !maps[1].deleted);
        assert_eq!((maps[1].start, maps[1].end, maps[1].offset), (0x55d0c8a01000, 0x55d0c8a02000, 0x1000));
        assert_eq!((maps[1].device, maps[1].inode), (rustix::fs::makedev(0xfe, 1), 1234));
        assert_eq!((&maps[2].path, maps[2].writable), (&None, true));
        assert_eq!((maps[3].path.as_deref(), maps[3].deleted), (Some(Path::new("/lib/libold.so")), true));
        assert_eq!(maps[3].device, rustix::fs::makedev(8, 0x10f));
        assert_eq!(maps[5].path.as_deref(), Some(Path::new(OsStr::from_bytes(b"/usr/share/locale/C\xff.mo"))));
        assert!(!maps[6].readable && maps[6].contains(0xffffffffff600fff));
    }

    #[test]
    fn only_files_with_code_count() {
        let files = code_files(&parse(MAPS));
        let names: Vec<_> = files.iter().map(|file| (file.name(), file.mappings.len())).collect();
        assert_eq!(names, [("python3.12", 2), ("libold.so", 1)]);
    }

    #[test]
    fn a_replaced_file_is_not_taken_for_the_mapped_one() {
        let pid = std::process::id() as Pid;
        let maps = parse(&std::fs::read("/proc/self/maps").unwrap());
        let mut file = code_files(&maps).remove(0);
        assert!(file.open(pid).is_ok());
        // The path now leads to something else; by the mapping it can still be opened, by those who may.
        file.path = PathBuf::from("/proc/self/maps");
        if let Ok(opened) = file.open(pid) {
            assert_eq!(opened.metadata().unwrap().ino(), file.mappings[0].inode);
        }
    }
}
