//! The file that a recording is written to. Nothing recorded may be lost because it cannot be written: the file is
//! opened before the recording starts, and what does not fit in it goes elsewhere.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Prints a line to standard error. Nobody may be there to read it any more, and that must not be the end.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[derive(Debug)]
pub enum Output {
    Stdout,
    /// A device or pipe, written to directly.
    Special(PathBuf, File),
    /// A file that appears under its name only when it is complete.
    File {
        path: PathBuf,
        /// What is written to until then.
        part: PathBuf,
        file: File,
    },
}

impl Output {
    /// Opens `path` for writing; `-` is standard output.
    ///
    /// # Errors
    /// It cannot be written to: the directory is missing or read-only, or the like.
    pub fn create(path: &Path) -> Result<Output> {
        if path == Path::new("-") {
            return Ok(Output::Stdout);
        }
        let cannot = || format!("cannot write to {}: choose another place with -o", path.display());
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path).with_context(cannot)?;
            return Ok(Output::Special(path.to_owned(), file));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).with_context(cannot)?;
        Ok(Output::File { path: path.to_owned(), part, file })
    }

    /// Writes with `write`. If that fails (a full disk), tries again in the directory for temporary files, and
    /// in the home directory. Returns where it was written.
    ///
    /// # Errors
    /// It could not be written anywhere, or what was asked for cannot be written in this format.
    pub fn write(self, mut write: impl FnMut(&mut dyn Write) -> Result<()>) -> Result<PathBuf> {
        match self {
            Output::Stdout => {
                write(&mut io::stdout().lock()).context("cannot write to standard output")?;
                Ok(self.path())
            }
            Output::Special(path, mut file) => {
                write(&mut file).with_context(|| format!("cannot write to {}", path.display()))?;
                Ok(path)
            }
            Output::File { path, part, mut file } => {
                let written = write(&mut file).and_then(|()| Ok(fs::rename(&part, &path)?));
                let Err(error) = written else { return Ok(path) };
                let _ = fs::remove_file(&part);
                let error = error.context(format!("cannot write {}", path.display()));
                let name = path.file_name().unwrap_or(path.as_os_str());
                let places = [Some(std::env::temp_dir()), std::env::home_dir()];
                for place in places.into_iter().flatten().map(|directory| directory.join(name)) {
                    // Never over a file that is there already.
                    let Ok(mut file) = File::create_new(&place) else { continue };
                    match write(&mut file) {
                        Ok(()) => {
                            return Err(error.context(format!("the recording was saved to {}", place.display())));
                        }
                        Err(_) => drop(fs::remove_file(&place)),
                    }
                }
                Err(error.context("the recording is lost: no other place for it was found either"))
            }
        }
    }

    /// Gives a file its name before it is complete: what is written bit by bit is to be found when gilscope was killed.
    /// `name` is for one whose name was not known before.
    ///
    /// # Errors
    /// It cannot have that name.
    pub fn appear(&mut self, name: Option<&Path>) -> Result<()> {
        if let Output::File { path, part, .. } = self {
            if let Some(name) = name {
                *path = name.to_owned();
            }
            fs::rename(&*part, &*path)?;
            *part = path.clone();
        }
        Ok(())
    }

    pub fn path(&self) -> PathBuf {
        match self {
            Output::Stdout => PathBuf::from("standard output"),
            Output::Special(path, _) | Output::File { path, .. } => path.clone(),
        }
    }

    /// The file that is written to until it is complete.
    pub fn unfinished(&self) -> Option<PathBuf> {
        match self {
            Output::File { part, .. } => Some(part.clone()),
            Output::Stdout | Output::Special(..) => None,
        }
    }

    /// Makes what is written safe from a loss of power, where that can be.
    pub fn sync(&self) {
        if let Output::File { file, .. } = self {
            let _ = file.sync_data();
        }
    }

    /// Takes away what was written after `length` bytes, where that can be.
    pub fn cut(&self, length: u64) {
        if let Output::File { file, .. } = self {
            let _ = file.set_len(length);
        }
    }

    pub fn discard(self) {
        if let Output::File { part, .. } = self {
            let _ = fs::remove_file(part);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stdout => io::stdout().write(bytes),
            Output::Special(_, file) | Output::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stdout => io::stdout().flush(),
            Output::Special(_, file) | Output::File { file, .. } => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profile.svg");
        let output = Output::create(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(output.write(|out| Ok(out.write_all(b"<svg/>")?)).unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"<svg/>");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_known_at_once() {
        let error = Output::create(Path::new("/nonexistent/profile.svg")).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/profile.svg"), "{error:#}");
    }

    #[test]
    fn what_does_not_fit_is_saved_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("gilscope-test-{}.svg", std::process::id());
        let output = Output::create(&directory.path().join(&name)).unwrap();
        let mut full = true;
        let error = output
            .write(|out| {
                if std::mem::take(&mut full) {
                    return Err(io::Error::from(io::ErrorKind::StorageFull).into());
                }
                Ok(out.write_all(b"kept")?)
            })
            .unwrap_err();
        let saved = std::env::temp_dir().join(&name);
        assert!(format!("{error:#}").contains(&*saved.to_string_lossy()), "{error:#}");
        assert_eq!(fs::read(&saved).unwrap(), b"kept");
        fs::remove_file(saved).unwrap();
    }
}
