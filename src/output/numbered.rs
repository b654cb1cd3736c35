//! Files whose names nobody has chosen: a number is added to what is taken, and nothing is replaced.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::new_file::{NewFile, OutputFolder};
use super::survive_size_limit;
use crate::text::Shown;

/// Numbers that are tried.
const MAX_NUMBER: u32 = 10_000;

/// The first name that `take` finds to be free.
fn first_free(
    name: impl Fn(u32) -> OsString,
    mut take: impl FnMut(&OsStr) -> io::Result<()>,
) -> io::Result<OsString> {
    for number in 1..=MAX_NUMBER {
        let name = name(number);
        match take(&name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{MAX_NUMBER} files with such names are there already")))
}

/// `NAME.log`, `NAME-2.log` and so on: the first that `take` finds to be free.
pub(super) fn numbered(path: &Path, take: impl FnMut(&OsStr) -> io::Result<()>) -> io::Result<(PathBuf, OsString)> {
    let stem = path.file_stem().unwrap_or_default();
    let name = |number| {
        let mut name = stem.to_owned();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        name
    };
    let name = first_free(name, take)?;
    Ok((path.with_file_name(&name), name))
}

/// Writes a file into the current folder, under the first `name` of a number from 1 that is free. Returns that.
///
/// # Errors
/// It cannot be written there.
pub(crate) fn save_numbered(
    name: impl Fn(u32) -> String,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<PathBuf> {
    survive_size_limit();
    let first = OsString::from(name(1));
    let cannot = || format!("cannot write {} here", first.shown());
    let mut new =
        OutputFolder::open(Path::new(".")).and_then(|here| NewFile::unnamed(here, &first)).with_context(cannot)?;
    let written = write(&mut new.file);
    let named = written.and_then(|()| Ok(first_free(|number| name(number).into(), |name| new.name_anew(name))?));
    match named {
        Ok(name) => Ok(name.into()),
        Err(error) => {
            new.remove();
            Err(error.context(cannot()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_gets_a_number() {
        let taken = [OsStr::new("app-7.gscope"), OsStr::new("app-7-2.gscope")];
        let take = |name: &OsStr| match taken.contains(&name) {
            true => Err(ErrorKind::AlreadyExists.into()),
            false => Ok(()),
        };
        let (path, name) = numbered(Path::new("logs/app-7.gscope"), take).unwrap();
        assert_eq!((path, name), (PathBuf::from("logs/app-7-3.gscope"), OsString::from("app-7-3.gscope")));
        let full = first_free(|_| "x".into(), |_| Err(ErrorKind::AlreadyExists.into()));
        assert_eq!(full.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let broken = first_free(|_| "x".into(), |_| Err(ErrorKind::PermissionDenied.into()));
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
