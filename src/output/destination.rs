//! Where a command writes to: what `-o` says.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::process::geteuid;

use super::new_file::{NewFile, OutputFolder, identity, kind, try_lock};
use super::numbered::numbered;
use super::survive_size_limit;
use crate::text::Shown;

#[derive(Debug)]
pub enum Output {
    Stdout,
    /// A device or pipe, written to directly.
    Special(PathBuf, File),
    /// A file that does not exist yet, or that will be replaced.
    File(OutputFile),
}

/// A file under way.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    name: OsString,
    new: NewFile,
    old: Option<OldFile>,
    is_live: bool,
}

/// What will be replaced.
#[derive(Debug)]
struct OldFile {
    identity: (u64, u64),
    /// Locked, so that a second writer notices; none where that cannot be.
    _lock: Option<File>,
}

impl Output {
    /// A destination for what appears when it is complete; `-` is standard output. None of the `inputs` can be it.
    ///
    /// # Errors
    /// It cannot be written to: the folder is missing or read-only, another gilscope writes to it, or the like.
    pub fn create(path: &Path, inputs: &[&Path]) -> Result<Output> {
        refuse_inputs(path, inputs)?;
        Output::open(path, false)
    }

    /// A destination for what is written while it happens, and is of use before it is complete. A new file
    /// [appears](Output::appear) at once; what replaces another has a temporary name until the end.
    ///
    /// # Errors
    /// As with [`Output::create`].
    pub fn create_live(path: &Path) -> Result<Output> {
        Output::open(path, true)
    }

    fn open(path: &Path, is_live: bool) -> Result<Output> {
        let cannot = || format!("cannot write to {}: choose another place with -o", path.shown());
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Output::Stdout);
        }
        if let Some(own) = own_descriptor(path).transpose().with_context(cannot)? {
            return Ok(Output::Special(path.to_owned(), own));
        }
        let Some(name) = path.file_name() else { bail!("{} is a folder: choose a file in it with -o", path.shown()) };
        let folder = OutputFolder::open(path.parent().unwrap_or(Path::new("."))).with_context(cannot)?;
        let old = match folder.look(name).with_context(cannot)? {
            None => None,
            Some(stat) => match kind(&stat) {
                FileType::RegularFile | FileType::Symlink => Some(OldFile::lock(&folder, name, &stat, path)?),
                FileType::Fifo | FileType::CharacterDevice => {
                    let file = special(&folder, name, &stat).with_context(cannot)?;
                    return Ok(Output::Special(path.to_owned(), file));
                }
                other => bail!("{} is {}: choose another place with -o", path.shown(), noun(other)),
            },
        };
        let new = match is_live && old.is_some() {
            true => NewFile::temporary(folder, name),
            false => NewFile::unnamed(folder, name),
        };
        let (path, name) = (path.to_owned(), name.to_owned());
        Ok(Output::File(OutputFile { new: new.with_context(cannot)?, path, name, old, is_live }))
    }

    /// Writes all of it with `write`. If that fails, there is nothing new, and what was there is as it was.
    ///
    /// # Errors
    /// It could not be written, or what was asked for cannot be written in this format.
    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<PathBuf> {
        survive_size_limit();
        match self {
            Output::Stdout => {
                let mut out = io::stdout().lock();
                write(&mut out)
                    .and_then(|()| Ok(out.flush()?))
                    .map_err(explained)
                    .context("cannot write to standard output")?;
                Ok(Output::Stdout.path())
            }
            Output::Special(path, mut file) => {
                let written = write(&mut file).map_err(explained);
                written.with_context(|| format!("cannot write to {}", path.shown()))?;
                Ok(path)
            }
            Output::File(mut file) => match write(&mut file.new.file).and_then(|()| file.publish()) {
                Ok(()) => Ok(file.path),
                Err(error) => {
                    let context = format!("cannot write {}{}", file.path.shown(), file.unchanged());
                    file.new.remove();
                    Err(explained(error).context(context))
                }
            },
        }
    }

    /// Writes as [`Output::write`] does what would be lost otherwise. If that fails (a full disk), tries again in the
    /// folder for temporary files, and in the home folder.
    ///
    /// # Errors
    /// It could not be written there; the error says where it is.
    pub fn write_or_save(self, mut write: impl FnMut(&mut dyn Write) -> Result<()>) -> Result<PathBuf> {
        let name = match &self {
            Output::File(file) => Some(file.name.clone()),
            Output::Stdout | Output::Special(..) => None,
        };
        let (error, name) = match (self.write(&mut write), name) {
            (Err(error), Some(name)) => (error, name),
            (written, _) => return written,
        };
        let places = [Some(std::env::temp_dir()), std::env::home_dir()];
        for place in places.into_iter().flatten() {
            if let Ok(saved) = save_in(&place, &name, &mut write) {
                return Err(error.context(format!("the recording was saved to {}", saved.shown())));
            }
        }
        Err(error.context("the recording is lost: no other place for it was found either"))
    }

    /// There is something to write. What is live gets its name, so that it is found if gilscope is killed; `name` is for one
    /// whose name was not known before, and a number is added to it if it is taken.
    ///
    /// # Errors
    /// It cannot have that name.
    pub fn appear(&mut self, name: Option<&Path>) -> Result<()> {
        let Output::File(file) = self else { return Ok(()) };
        if !file.is_live || file.old.is_some() {
            return Ok(());
        }
        let Some(name) = name else {
            file.new.name_anew(&file.name).map_err(|error| taken(error, &file.path))?;
            return Ok(());
        };
        let new = &mut file.new;
        let named = numbered(&file.path.with_file_name(name), |name| new.name_anew(name));
        (file.path, file.name) = named.context("cannot name the recording")?;
        Ok(())
    }

    /// All of it was written. Returns where it is.
    ///
    /// # Errors
    /// It cannot have its name; the error says where it is.
    pub fn finish(self) -> Result<PathBuf> {
        let path = self.path();
        if let Output::File(mut file) = self
            && !file.is_published()
            && let Err(error) = file.publish()
        {
            let kept = file.kept();
            return Err(error.context(format!("cannot write {}: {kept}", file.path.shown())));
        }
        Ok(path)
    }

    /// Ends it before it is complete. What is live and `has_content` stays; returns what is left, in words for the user.
    pub fn abandon(self, has_content: bool) -> String {
        match self {
            Output::File(file) if file.is_live && has_content => file.kept(),
            Output::File(file) => {
                let unchanged = if file.old.is_some() { ", and it is as it was" } else { "" };
                file.new.remove();
                format!("nothing was written{unchanged}")
            }
            Output::Stdout | Output::Special(..) => "it is incomplete".to_owned(),
        }
    }

    /// Where it will be.
    pub fn path(&self) -> PathBuf {
        match self {
            Output::Stdout => PathBuf::from("standard output"),
            Output::Special(path, _) => path.clone(),
            Output::File(file) => file.path.clone(),
        }
    }

    /// Where it is until it is complete, if it replaces another file then.
    pub fn until_complete(&self) -> Option<PathBuf> {
        match self {
            Output::File(file) if file.is_live && file.old.is_some() => Some(file.place()),
            _ => None,
        }
    }

    /// The temporary file that is left behind if gilscope ends now; none if it would vanish by itself.
    pub fn unfinished(&self) -> Option<PathBuf> {
        match self {
            Output::File(file) if file.new.name().is_some() => Some(file.place()),
            _ => None,
        }
    }

    /// Makes what is written safe from a loss of power, where that can be.
    pub fn sync(&self) {
        if let Output::File(file) = self {
            let _ = file.new.file.sync_data();
        }
    }

    /// Takes away what was written after `length` bytes, where that can be.
    pub fn cut(&self, length: u64) {
        if let Output::File(file) = self {
            let _ = file.new.file.set_len(length);
        }
    }

    /// Nothing is left behind.
    pub fn discard(self) {
        if let Output::File(file) = self {
            file.new.remove();
        }
    }
}

impl OutputFile {
    pub(super) fn file(&self) -> &File {
        &self.new.file
    }

    fn is_published(&self) -> bool {
        self.new.name() == Some(&self.name)
    }

    /// Gives it its name.
    fn publish(&mut self) -> Result<()> {
        let Some(old) = &self.old else {
            return self.new.name_anew(&self.name).map_err(|error| taken(error, &self.path));
        };
        // What is replaced must not be lost with the power.
        self.new.file.sync_data()?;
        let there = self.new.folder().look(&self.name)?;
        if there.is_some_and(|there| identity(&there) != old.identity) {
            return Err(taken(ErrorKind::AlreadyExists.into(), &self.path));
        }
        Ok(self.new.replace(&self.name)?)
    }

    /// Where it is now.
    fn place(&self) -> PathBuf {
        self.new.name().map_or_else(|| self.path.clone(), |name| self.path.with_file_name(name))
    }

    /// Where the part that was written is, in words that follow a colon.
    fn kept(&self) -> String {
        let report = format!("the recording ends here; gilscope report {} shows what it has", self.place().shown());
        match &self.old {
            Some(_) if !self.is_published() => format!("{report}; {} is as it was", self.path.shown()),
            _ => report,
        }
    }

    fn unchanged(&self) -> &'static str {
        if self.old.is_some() { ", which is as it was" } else { "" }
    }
}

impl OldFile {
    fn lock(folder: &OutputFolder, name: &OsStr, stat: &Stat, path: &Path) -> Result<OldFile> {
        let identity = identity(stat);
        let own = geteuid().as_raw();
        let may_replace = [0, stat.st_uid, folder.stat()?.st_uid].contains(&own);
        if !may_replace && folder.is_shared()? {
            bail!("{} belongs to another user, and cannot be replaced: choose another place with -o", path.shown());
        }
        if kind(stat) == FileType::Symlink {
            if fs::metadata(path).is_ok_and(|to| to.is_dir()) {
                bail!("{} leads to a folder: choose a file in it with -o", path.shown());
            }
            return Ok(OldFile { identity, _lock: None });
        }
        // One that cannot be read can be replaced all the same.
        let file = folder.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK).ok();
        if file.as_ref().is_some_and(|file| !try_lock(file)) {
            bail!(
                "another gilscope is writing to {}: wait until it has ended, or choose another place with -o",
                path.shown()
            );
        }
        Ok(OldFile { identity, _lock: file })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout => io::stdout().write(bytes),
            Output::Special(_, file) => file.write(bytes),
            Output::File(file) => file.new.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout => io::stdout().flush(),
            Output::Special(_, file) => file.flush(),
            Output::File(file) => file.new.file.flush(),
        }
    }
}

/// An input that is written over is lost, in whatever way it is named.
fn refuse_inputs(path: &Path, inputs: &[&Path]) -> Result<()> {
    let Ok(there) = fs::metadata(path) else { return Ok(()) };
    let is_same = |input: &&&Path| {
        fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()))
    };
    match inputs.iter().find(is_same) {
        Some(_) if !there.is_file() => Ok(()),
        Some(input) if **input == *path => {
            bail!("{} would be written over while it is read: choose another place with -o", path.shown())
        }
        Some(input) => bail!(
            "{} would be written over while it is read: {} is the same file. Choose another place with -o",
            input.shown(),
            path.shown()
        ),
        None => Ok(()),
    }
}

/// `/dev/stderr` and `/dev/fd/N` are what gilscope itself was started with: links, but no planted ones.
fn own_descriptor(path: &Path) -> Option<io::Result<File>> {
    if path == Path::new("/dev/stderr") {
        return Some(io::stderr().as_fd().try_clone_to_owned().map(File::from));
    }
    let number = ["/dev/fd", "/proc/self/fd"].iter().find_map(|folder| path.strip_prefix(folder).ok())?;
    let number: u32 = number.to_str()?.parse().ok()?;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty());
    Some(opened.map(File::from).map_err(io::Error::from))
}

/// Opens a pipe or a device. In a folder in which everyone can make files, somebody else's pipe is a trap: what is written
/// to it is read there.
fn special(folder: &OutputFolder, name: &OsStr, stat: &Stat) -> io::Result<File> {
    let own = geteuid().as_raw();
    if folder.is_shared()? && ![own, 0, folder.stat()?.st_uid].contains(&stat.st_uid) {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    let file = folder.open_file(name, OFlags::WRONLY | OFlags::NOCTTY)?;
    let opened = rustix::fs::fstat(&file)?;
    // It may have been exchanged meanwhile.
    if identity(&opened) == identity(stat) { Ok(file) } else { Err(ErrorKind::InvalidInput.into()) }
}

fn noun(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a folder",
        FileType::BlockDevice => "a disk",
        FileType::Socket => "a socket",
        _ => "no file that can be written to",
    }
}

/// Saves something that has no room where it should be.
fn save_in(folder: &Path, name: &OsStr, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<PathBuf> {
    let mut new = NewFile::unnamed(OutputFolder::open(folder)?, name)?;
    let saved = write(&mut new.file).and_then(|()| Ok(new.name_anew(name)?));
    if let Err(error) = saved {
        new.remove();
        return Err(error);
    }
    Ok(folder.join(name))
}

/// Why a new file could not have its name.
fn taken(error: io::Error, path: &Path) -> Error {
    match error.kind() {
        ErrorKind::AlreadyExists => anyhow!(
            "{} was made or replaced by another program meanwhile, and is left as it is: choose another place with -o",
            path.shown()
        ),
        _ => error.into(),
    }
}

/// Adds what the user can do to an error of the system.
fn explained(error: Error) -> Error {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::FileTooLarge) => error.context(
            "the limit of the size of files is reached: raise it with ulimit -f, or choose another place with -o",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
