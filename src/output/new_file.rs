//! A file before it has its name. Whoever owns the folder, no link that was planted there is followed, and no other file
//! is written to: a new file has no name at all (`O_TMPFILE`), or one that nobody could know, and gets its own when it is
//! complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, flock, fstat,
    linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

const OWN_FILES: &str = "/proc/self/fd";
/// Names that are tried before giving up.
const MAX_NAMES: u32 = 100;
/// Names of files are no longer than 255 bytes, and what is added to them takes some.
const MAX_STEM: usize = 200;
/// Whoever else is to read what was recorded gets it from the user.
const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// A folder in which files are made.
#[derive(Debug)]
pub(super) struct OutputFolder(OwnedFd);

impl OutputFolder {
    /// # Errors
    /// There is no such folder.
    pub fn open(path: &Path) -> io::Result<OutputFolder> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(OutputFolder(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// What has this name, itself if it is a link; none if nothing has.
    pub fn look(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what has this name, unless it is a link.
    pub fn open_file(&self, name: &OsStr, how: OFlags) -> io::Result<File> {
        Ok(openat(&self.0, name, how | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    pub fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.0)?)
    }

    /// Whether it is one such as `/tmp`, in which everyone can make files, and remove only their own.
    pub fn is_shared(&self) -> io::Result<bool> {
        let mode = Mode::from_raw_mode(self.stat()?.st_mode);
        Ok(mode.contains(Mode::SVTX) && mode.intersects(Mode::WOTH | Mode::WGRP))
    }
}

/// A file that only its owner may read, locked by this process.
#[derive(Debug)]
pub(super) struct NewFile {
    folder: OutputFolder,
    pub file: File,
    /// None while it has no name.
    name: Option<OsString>,
}

impl NewFile {
    /// A file without a name, which is gone if gilscope is killed; where the file system has none, one with a temporary name
    /// made of `stem`.
    pub fn unnamed(folder: OutputFolder, stem: &OsStr) -> io::Result<NewFile> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        // It gets its name by way of /proc.
        let can_be_named = std::fs::metadata(OWN_FILES).is_ok();
        match openat(&folder.0, ".", flags, OWNER_ONLY) {
            Ok(file) if can_be_named => NewFile::new(folder, file.into(), None),
            _ => NewFile::temporary(folder, stem),
        }
    }

    /// A file with a temporary name beside the one it is for: `STEM.1a2b3c4d5e6f.part`.
    pub fn temporary(folder: OutputFolder, stem: &OsStr) -> io::Result<NewFile> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        for _ in 0..MAX_NAMES {
            let name = temporary_name(stem);
            match openat(&folder.0, &name, flags, OWNER_ONLY) {
                Ok(file) => return NewFile::new(folder, file.into(), Some(name)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn new(folder: OutputFolder, file: File, name: Option<OsString>) -> io::Result<NewFile> {
        // Whatever the umask is.
        fchmod(&file, OWNER_ONLY)?;
        if let Some((user, group)) = sudo_user(&folder) {
            // It stays with root if that fails.
            let _ = fchown(&file, Some(user), Some(group));
        }
        // So that a second writer notices. Where files cannot be locked, it does not.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(NewFile { folder, file, name })
    }

    pub fn name(&self) -> Option<&OsStr> {
        self.name.as_deref()
    }

    pub fn folder(&self) -> &OutputFolder {
        &self.folder
    }

    /// Gives it a name that nothing has.
    ///
    /// # Errors
    /// Something has it.
    pub fn name_anew(&mut self, name: &OsStr) -> io::Result<()> {
        match &self.name {
            None => self.link(name)?,
            Some(old) => match renameat_with(&self.folder.0, old, &self.folder.0, name, RenameFlags::NOREPLACE) {
                // The file system cannot do that.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    linkat(&self.folder.0, old, &self.folder.0, name, AtFlags::empty())?;
                    unlinkat(&self.folder.0, old, AtFlags::empty())?;
                }
                renamed => renamed?,
            },
        }
        self.name = Some(name.to_owned());
        Ok(())
    }

    /// Gives it a name, in place of what has it. A link is replaced itself.
    pub fn replace(&mut self, name: &OsStr) -> io::Result<()> {
        if self.name.is_none() {
            let temporary = temporary_name(name);
            self.link(&temporary)?;
            self.name = Some(temporary);
        }
        if let Some(old) = &self.name {
            renameat(&self.folder.0, old, &self.folder.0, name)?;
        }
        self.name = Some(name.to_owned());
        Ok(())
    }

    fn link(&self, name: &OsStr) -> io::Result<()> {
        let own = format!("{OWN_FILES}/{}", self.file.as_raw_fd());
        Ok(linkat(CWD, own, &self.folder.0, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Removes its name, if it has one: with this, the file is gone.
    pub fn remove(self) {
        if let Some(name) = &self.name
            && self.folder.look(name).is_ok_and(|stat| stat.is_some_and(|stat| self.is(&stat)))
        {
            let _ = unlinkat(&self.folder.0, name, AtFlags::empty());
        }
    }

    fn is(&self, other: &Stat) -> bool {
        fstat(&self.file).is_ok_and(|own| identity(&own) == identity(other))
    }
}

/// Which file it is: its device, and its number there.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Locks a file for this process, as long as it is open. False if another process has locked it.
pub(super) fn try_lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

pub(super) fn temporary_name(stem: &OsStr) -> OsString {
    // Its keys are random, and of 128 bits.
    let random = RandomState::new().hash_one(std::process::id());
    let mut name = stem.as_bytes()[..stem.len().min(MAX_STEM)].to_vec();
    name.extend_from_slice(format!(".{:012x}.part", random & 0xffff_ffff_ffff).as_bytes());
    OsString::from_vec(name)
}

/// Who has run gilscope by `sudo`, if the folder is theirs: then the file is, too.
fn sudo_user(folder: &OutputFolder) -> Option<(Uid, Gid)> {
    if !geteuid().is_root() {
        return None;
    }
    let id = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let (user, group) = (id("SUDO_UID")?, id("SUDO_GID")?);
    let is_theirs = folder.stat().is_ok_and(|stat| stat.st_uid == user);
    // All ones mean "leave it", and are nobody's.
    (is_theirs && user != u32::MAX && group != u32::MAX).then(|| (Uid::from_raw(user), Gid::from_raw(group)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn open(path: &Path) -> OutputFolder {
        OutputFolder::open(path).unwrap()
    }

    type MakeFile = fn(OutputFolder, &OsStr) -> io::Result<NewFile>;
    const WAYS: [MakeFile; 2] = [NewFile::unnamed, NewFile::temporary];

    #[test]
    fn a_new_file_takes_a_name_only_if_it_is_free() {
        for way in WAYS {
            let folder = tempfile::tempdir().unwrap();
            let taken = folder.path().join("taken");
            fs::write(&taken, "old").unwrap();
            let mut new = way(open(folder.path()), OsStr::new("x")).unwrap();
            new.file.write_all(b"new").unwrap();
            assert_eq!(new.name_anew(OsStr::new("taken")).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&taken).unwrap(), b"old");
            new.name_anew(OsStr::new("free")).unwrap();
            let metadata = fs::metadata(folder.path().join("free")).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.len(), metadata.nlink()), (0o600, 3, 1));
            new.replace(OsStr::new("taken")).unwrap();
            assert_eq!(fs::read(&taken).unwrap(), b"new");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing temporary is left");
            new.remove();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        for way in WAYS {
            let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let victim = elsewhere.path().join("victim");
            fs::write(&victim, "victim").unwrap();
            let link = folder.path().join("link");
            symlink(&victim, &link).unwrap();
            let mut new = way(open(folder.path()), OsStr::new("link")).unwrap();
            new.file.write_all(b"new").unwrap();
            assert!(new.name_anew(OsStr::new("link")).is_err());
            new.replace(OsStr::new("link")).unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"victim");
            assert!(fs::symlink_metadata(&link).unwrap().is_file());
        }
    }

    #[test]
    fn temporary_names_are_short_enough_and_never_the_same() {
        let long = OsString::from("x".repeat(255));
        let (one, other) = (temporary_name(&long), temporary_name(&long));
        assert!(one.len() < 255 && one != other);
    }

    #[test]
    fn a_second_writer_notices() {
        let folder = tempfile::tempdir().unwrap();
        let mut new = NewFile::unnamed(open(folder.path()), OsStr::new("x")).unwrap();
        new.name_anew(OsStr::new("x")).unwrap();
        let other = open(folder.path()).open_file(OsStr::new("x"), OFlags::RDONLY).unwrap();
        assert!(!try_lock(&other));
        drop(new);
        assert!(try_lock(&other));
    }
}
