//! Which CPython a process runs, by the names of the files that it has mapped: cheap enough for every process of a machine.
//! Called where processes are listed; whoever attaches reads the memory instead (`super::locate`).

use std::ffi::OsStr;
use std::path::Path;

/// A CPython, as far as names of files tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonByFiles {
    /// 12 for Python 3.12; none if no name has it.
    pub minor: Option<u32>,
    /// Its name has the `t` of builds without a GIL.
    pub free_threaded: bool,
}

impl PythonByFiles {
    /// Of the end of a name: `12`, `13t`, `13td.so.1.0`.
    fn of_tag(tag: &str) -> Option<PythonByFiles> {
        let digits = tag.bytes().take_while(u8::is_ascii_digit).count();
        let (minor, rest) = tag.split_at_checked(digits)?;
        Some(PythonByFiles { minor: Some(minor.parse().ok()?), free_threaded: rest.starts_with('t') })
    }

    /// Of an executable's name: `python3.13t`, or `python` without a version.
    fn of_executable(name: &str) -> Option<PythonByFiles> {
        match name.strip_prefix("python")? {
            "" | "3" => Some(PythonByFiles::default()),
            version => PythonByFiles::of_tag(version.strip_prefix("3.")?),
        }
    }

    /// Of the interpreter's own library: `libpython3.12.so.1.0`.
    fn of_library(name: &str) -> Option<PythonByFiles> {
        PythonByFiles::of_tag(name.strip_prefix("libpython3.")?)
    }

    /// Of an extension module: `_ssl.cpython-313t-x86_64-linux-gnu.so`.
    fn of_extension(name: &str) -> Option<PythonByFiles> {
        PythonByFiles::of_tag(name.split_once(".cpython-3")?.1)
    }
}

/// The CPython of a process with this executable and these mapped files; none if nothing speaks for one.
pub fn python_by_files<'a>(
    exe: Option<&Path>,
    files: impl IntoIterator<Item = &'a Path> + Clone,
) -> Option<PythonByFiles> {
    let name = |path: &'a Path| path.file_name().and_then(OsStr::to_str);
    let executable = exe.and_then(Path::file_name).and_then(OsStr::to_str).and_then(PythonByFiles::of_executable);
    if executable.is_some_and(|python| python.minor.is_some()) {
        return executable;
    }
    let first = |of: fn(&str) -> Option<PythonByFiles>| files.clone().into_iter().filter_map(name).find_map(of);
    first(PythonByFiles::of_library).or_else(|| first(PythonByFiles::of_extension)).or(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_tell_which_python_it_is() {
        let of = |exe: &str, files: &[&str]| {
            let found = python_by_files(Some(Path::new(exe)), files.iter().map(Path::new))?;
            let suffix = if found.free_threaded { "t" } else { "" };
            Some(found.minor.map_or("?".to_owned(), |minor| format!("3.{minor}{suffix}")))
        };
        let is = |version: &str| Some(version.to_owned());
        assert_eq!(of("/usr/bin/python3.12", &[]), is("3.12"));
        assert_eq!(of("/opt/bin/python3.13t", &["/usr/lib/libpython3.9.so.1.0"]), is("3.13t"));
        assert_eq!(of("/usr/bin/python", &[]), is("?"));
        assert_eq!(of("/v/bin/python3", &["/lib/_ssl.cpython-314-x86_64-linux-gnu.so"]), is("3.14"));
        assert_eq!(of("/usr/bin/uwsgi", &["/usr/lib/libc.so.6", "/usr/lib/libpython3.11.so.1.0"]), is("3.11"));
        assert_eq!(of("/srv/renamed", &["/l/lib-dynload/_json.cpython-313t-x86_64-linux-gnu.so"]), is("3.13t"));
        assert_eq!(of("/usr/bin/postgres", &["/usr/lib/libc.so.6"]), None);
        // Programs that were installed with pip, or are named like one.
        assert_eq!(of("/v/lib/python3.12/site-packages/bin/ruff", &["/v/lib/python3.12/x.so"]), None);
        assert_eq!(of("/usr/bin/python-launcher", &[]), None);
        assert_eq!(of("/usr/bin/python3.x", &["/usr/lib/libpython3.so"]), None);
    }
}
