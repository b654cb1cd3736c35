//! The memory map of a process (`/proc/PID/maps`): which file lies where, and opening exactly the file that is
//! mapped, also from another root or container, or after it was deleted or replaced on disk. Called by
//! [`crate::cpython::locate`], and by everything that must know what an address of the target belongs to.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustix::fs::OFlags;

use super::limits::{MAX_MAP_TEXT, MAX_MAPPINGS};
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
    pub path: Option<Arc<Path>>,
    /// The path no longer leads to this file.
    pub deleted: bool,
}

impl Mapping {
    /// Whether `addr` lies in it.
    pub fn contains(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }

    /// Whether both are of one file.
    pub(crate) fn is_of_file(&self, other: &Mapping) -> bool {
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

/// Reads the map of a process. What is over the limits is left out, and that is logged.
///
/// # Errors
/// It may not be read, or the process is gone.
pub fn read(pid: Pid) -> io::Result<Vec<Mapping>> {
    let file = File::open(format!("/proc/{pid}/maps"))?;
    read_lines(BufReader::with_capacity(1 << 16, file), MAX_MAPPINGS, MAX_MAP_TEXT)
}

fn read_lines(text: impl BufRead, most: usize, most_bytes: u64) -> io::Result<Vec<Mapping>> {
    let (mut text, mut line, mut maps) = (text.take(most_bytes), Vec::new(), Vec::new());
    while text.read_until(b'\n', &mut line)? > 0 {
        if maps.len() == most || text.limit() == 0 {
            log::warn!("the process has more mappings than gilscope reads: only the first {} are known", maps.len());
            break;
        }
        push_line(&mut maps, line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
    Ok(maps)
}

/// Parses the text of `/proc/PID/maps`. Lines that are not understood are left out.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    let mut maps = Vec::new();
    text.split(|&byte| byte == b'\n').for_each(|line| push_line(&mut maps, line));
    maps
}

fn push_line(maps: &mut Vec<Mapping>, line: &[u8]) {
    let Some(mut mapping) = parse_line(line) else { return };
    // The mappings of a file follow one another mostly: they share its path.
    if let Some(last) = maps.last().filter(|last| last.path == mapping.path) {
        mapping.path.clone_from(&last.path);
    }
    maps.push(mapping);
}

/// The index of the mapping that an address is in. Maps are in the order of addresses.
pub(crate) fn index_of(maps: &[Mapping], address: u64) -> Option<usize> {
    let index = maps.partition_point(|mapping| mapping.end <= address);
    maps.get(index).filter(|mapping| mapping.contains(address)).map(|_| index)
}

/// The mapping that an address is in.
pub(crate) fn containing(maps: &[Mapping], address: u64) -> Option<&Mapping> {
    index_of(maps, address).map(|index| &maps[index])
}

/// The shortest time between two reads of a map of this length, in nanoseconds, and not less than `least`. While the kernel
/// writes it, a microsecond for each mapping, the process can map nothing.
pub(crate) fn pause_between_reads(mappings: usize, least: u64) -> u64 {
    const FOR_EACH: u64 = 20_000;
    least.max(FOR_EACH * mappings as u64)
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
        path: (inode != 0 && name.starts_with(b"/")).then(|| Arc::from(Path::new(OsStr::from_bytes(name)))),
        deleted,
    })
}

/// A file that is mapped, with all its mappings in the order of their addresses.
#[derive(Clone, Debug)]
pub struct MappedFile {
    /// Where it is (or was), as the kernel shows it.
    pub path: Arc<Path>,
    /// Its mappings; never empty.
    pub mappings: Vec<Mapping>,
}

/// The files that a process has mapped code from: its executable and its libraries.
pub fn code_files(maps: &[Mapping]) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    let mut known = FxHashMap::default();
    for mapping in maps {
        let Some(path) = &mapping.path else { continue };
        let index = *known.entry((mapping.inode, mapping.device, path)).or_insert(files.len());
        match files.get_mut(index) {
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
        let by_name = [in_its_root.join(self.path.strip_prefix("/").unwrap_or(&self.path)), self.path.to_path_buf()];
        let mut refused = None;
        for path in by_name.iter().filter(|_| !first.deleted) {
            match open_regular(path) {
                Ok(file) if self.is_backed_by(pid, &file) => return Ok(file),
                Err(error) if error.kind() != ErrorKind::NotFound => drop(refused.get_or_insert(error)),
                _ => {}
            }
        }
        let mapped = format!("/proc/{pid}/map_files/{:x}-{:x}", first.start, first.end);
        open_regular(Path::new(&mapped)).map_err(|error| match (refused, error.kind()) {
            (Some(refused), _) => refused,
            (None, ErrorKind::PermissionDenied) => {
                io::Error::new(error.kind(), "it was deleted or replaced on disk, and only root can still open it")
            }
            (None, _) => error,
        })
    }

    /// Whether `file` is what is mapped. Device and inode decide; but overlayfs (containers) and btrfs show
    /// another device in the map than `stat` does, so the same first page (its headers and build id) will do.
    fn is_backed_by(&self, pid: Pid, file: &File) -> bool {
        let Ok(found) = file.metadata() else { return false };
        let first = &self.mappings[0];
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

/// Opens a file for reading if it is a regular one. Whatever else may lie at that path by now is not opened even for a
/// moment: to open a device can do something, and to open a FIFO can take for ever.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = |flags: OFlags| flags.bits() as i32;
    let place = File::options().read(true).custom_flags(flags(OFlags::PATH)).open(path)?;
    if !place.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
    File::options().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(itself)
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

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
    fn maps_have_limits_and_their_files_are_found_in_no_time() {
        assert_eq!(read_lines(MAPS, 3, 10_000).unwrap().len(), 3);
        assert_eq!(read_lines(MAPS, 100, 250).unwrap().len(), 2, "the third is cut off");
        assert_eq!(read_lines(MAPS, 100, 10_000).unwrap(), parse(MAPS));

        // Each of another file: as bad as it gets.
        let line = |index: u64| {
            let (start, end) = (index << 12, (index + 1) << 12);
            format!("{start:x}-{end:x} r-xp 00000000 08:01 {} /tmp/lib{index}.so\n", index + 5)
        };
        let text: String = (0..200_000).map(line).collect();
        let cpu_time = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
        let started = cpu_time();
        let maps = read_lines(text.as_bytes(), MAX_MAPPINGS, MAX_MAP_TEXT).unwrap();
        assert_eq!(code_files(&maps).len(), 200_000);
        for index in (0..200_000_u64).step_by(7) {
            assert_eq!(index_of(&maps, (index << 12) + 5), Some(index as usize));
        }
        assert!(cpu_time() - started < 10, "{} s", cpu_time() - started);
    }

    #[test]
    fn addresses_between_mappings_are_in_none() {
        let maps = parse(MAPS);
        assert_eq!(index_of(&maps, 0x55d0c8a01fff), Some(1));
        assert_eq!(index_of(&maps, 0x55d0c8a02000), None);
        assert_eq!(index_of(&maps, 0), None);
        assert_eq!(index_of(&maps, u64::MAX), None);
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("libpython3.12.so");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        for path in [&*fifo, Path::new("/dev/zero"), folder.path()] {
            assert!(open_regular(path).unwrap_err().to_string().contains("regular"), "{}", path.display());
        }
        assert!(open_regular(Path::new("/proc/self/exe")).is_ok());
    }

    #[test]
    fn a_replaced_file_is_not_taken_for_the_mapped_one() {
        let pid = std::process::id() as Pid;
        let maps = parse(&std::fs::read("/proc/self/maps").unwrap());
        let mut file = code_files(&maps).remove(0);
        assert!(file.open(pid).is_ok());
        // The path now leads to something else; by the mapping it can still be opened, by those who may.
        file.path = Path::new("/proc/self/maps").into();
        if let Ok(opened) = file.open(pid) {
            assert_eq!(opened.metadata().unwrap().ino(), file.mappings[0].inode);
        }
    }
}
