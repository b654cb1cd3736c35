//! The file that a launched program's output goes to while the screen shows something else.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::unistd::User;
use rustix::fs::{CWD, Mode, OFlags, fchmod, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Output;
use super::new_file::{NewFile, OutputFolder};
use super::numbered::numbered;
use crate::text::{Shown, file_word};

/// The folder is for its owner alone.
const OWNER_ONLY: Mode = Mode::RWXU;
/// Older logs are removed from the user's own folder.
const MAX_LOGS: usize = 100;

/// A log that a program is about to write.
#[derive(Debug)]
pub enum ProgramLog {
    /// In the folder for what programs leave behind; it has its name.
    Own(PathBuf, NewLog),
    /// Where the user wants it; it gets its name when the program runs.
    Chosen(Output),
}

/// A file that is not shown outside of this folder.
#[derive(Debug)]
pub struct NewLog(NewFile);

impl ProgramLog {
    /// A log of `program`: the file at `path`, or else one in the user's state folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(program: &OsStr, path: Option<&Path>) -> Result<ProgramLog> {
        if let Some(path) = path {
            let cannot = "choose another place for the program's output with --log";
            return Ok(ProgramLog::Chosen(Output::create(path, &[]).context(cannot)?));
        }
        let word =
            Path::new(program).file_name().map(|name| file_word(&name.shown().to_string())).unwrap_or_default();
        let name = format!("gilscope-{word}-{}.log", std::process::id());
        let folder = state_folder().or_else(|_| temporary_folder());
        let folder =
            folder.context("cannot make a folder for the program's output: choose a file for it with --log")?;
        remove_old(&folder);
        let cannot = || format!("cannot write the program's output to {}: choose a file with --log", folder.shown());
        let (new, path) = new_log(&folder, &name).with_context(cannot)?;
        Ok(ProgramLog::Own(path, NewLog(new)))
    }

    /// For the program to write to.
    ///
    /// # Errors
    /// There can be no more open files.
    pub fn file(&self) -> io::Result<File> {
        match self {
            ProgramLog::Own(_, NewLog(new)) => new.file.try_clone(),
            ProgramLog::Chosen(output) => output.descriptor(),
        }
    }

    /// The program runs. Returns where its output is.
    ///
    /// # Errors
    /// The file cannot have its name.
    pub fn keep(self) -> Result<PathBuf> {
        match self {
            ProgramLog::Own(path, _) => Ok(path),
            ProgramLog::Chosen(output) => output.finish(),
        }
    }

    /// The program could not be started.
    pub fn discard(self) {
        match self {
            ProgramLog::Own(_, NewLog(new)) => new.remove(),
            ProgramLog::Chosen(output) => output.discard(),
        }
    }
}

impl Output {
    fn descriptor(&self) -> io::Result<File> {
        match self {
            Output::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Output::Special(_, file) => file.try_clone(),
            Output::File(file) => file.file().try_clone(),
        }
    }
}

fn new_log(folder: &Path, name: &str) -> io::Result<(NewFile, PathBuf)> {
    let mut new = NewFile::unnamed(OutputFolder::open(folder)?, OsStr::new(name))?;
    let named = numbered(&folder.join(name), |name| new.name_anew(name));
    match named {
        Ok((path, _)) => Ok((new, path)),
        Err(error) => {
            new.remove();
            Err(error)
        }
    }
}

/// The user's folder for what programs leave behind, as the XDG Base Directory Specification has it.
fn state_folder() -> io::Result<PathBuf> {
    let chosen = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match chosen {
        Some(base) => base,
        None => home().ok_or(ErrorKind::NotFound)?.join(".local/state"),
    };
    // Somebody else could exchange what is in their folders while it is used.
    if !base.ancestors().find_map(|path| fs::metadata(path).ok()).is_some_and(|found| is_trusted(found.uid())) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    DirBuilder::new().recursive(true).mode(OWNER_ONLY.as_raw_mode()).create(&base)?;
    own_folder(&base, "gilscope")
}

fn is_trusted(user: u32) -> bool {
    user == geteuid().as_raw() || user == 0
}

/// The home of the user that gilscope runs as: `sudo` can leave that of another in the environment.
fn home() -> Option<PathBuf> {
    let own = |home: &PathBuf| fs::metadata(home).is_ok_and(|home| home.uid() == geteuid().as_raw());
    let listed = || User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.dir);
    std::env::home_dir().filter(own).or_else(|| listed().filter(own))
}

/// A folder that only its owner may enter; it is made if it is not there.
fn own_folder(base: &Path, name: &str) -> io::Result<PathBuf> {
    let base_folder = openat(CWD, base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match mkdirat(&base_folder, name, OWNER_ONLY) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(&base_folder, name, flags, Mode::empty())?;
    if fstat(&folder)?.st_uid != geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "the folder belongs to another user"));
    }
    fchmod(&folder, OWNER_ONLY)?;
    Ok(base.join(name))
}

/// For users without a home.
fn temporary_folder() -> io::Result<PathBuf> {
    let name = super::new_file::temporary_name(OsStr::new("gilscope"));
    let path = std::env::temp_dir().join(name).with_extension("logs");
    DirBuilder::new().mode(OWNER_ONLY.as_raw_mode()).create(&path)?;
    Ok(path)
}

/// Removes all but the newest logs. The folder is ours.
fn remove_old(folder: &Path) {
    let mut logs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_log = entry.path().extension().is_some_and(|extension| extension == "log");
        if let Some(modified) = entry.metadata().ok().filter(|_| is_log).and_then(|metadata| metadata.modified().ok())
        {
            logs.push((modified, entry.path()));
        }
    }
    logs.sort_unstable();
    let surplus = logs.len().saturating_sub(MAX_LOGS - 1);
    for (_, path) in logs.drain(..surplus) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_folder_is_for_its_owner_and_no_link() {
        let base = tempfile::tempdir().unwrap();
        let folder = own_folder(base.path(), "gilscope").unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        own_folder(base.path(), "gilscope").unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        symlink(&folder, base.path().join("link")).unwrap();
        assert!(own_folder(base.path(), "link").is_err());
    }

    #[test]
    fn old_logs_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MAX_LOGS + 3 {
            fs::write(folder.path().join(format!("{number}.log")), "").unwrap();
        }
        fs::write(folder.path().join("other"), "").unwrap();
        remove_old(folder.path());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            MAX_LOGS - 1 + 1,
            "room for the next, and the other"
        );
    }

    #[test]
    fn a_chosen_log_replaces_an_old_one_only_if_the_program_runs() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        fs::write(&path, "old").unwrap();
        let create = || ProgramLog::create(OsStr::new("python3"), Some(&path)).unwrap();
        create().discard();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let log = create();
        log.file().unwrap().write_all(b"new").unwrap();
        assert_eq!(log.keep().unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
