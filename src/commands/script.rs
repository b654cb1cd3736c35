//! COMMAND as people type it: a script, or `-m MODULE`, without the interpreter that is to run it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The interpreter that `python -m gilscope` was called with.
const CALLED_WITH: &str = "GILSCOPE_PYTHON";

/// The words of a command, with an interpreter before a script that cannot be executed by itself, and before `-m`. A
/// script that can is left to the interpreter it names, unless gilscope was called by one.
pub(crate) fn with_interpreter(command: &[OsString]) -> Vec<OsString> {
    let called_with = env::var_os(CALLED_WITH).filter(|python| !python.is_empty());
    let environment = env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python"));
    add_interpreter(command, called_with, environment.filter(|python| python.exists()))
}

fn add_interpreter(
    command: &[OsString],
    called_with: Option<OsString>,
    environment: Option<PathBuf>,
) -> Vec<OsString> {
    let is_left_to_itself = |name: &OsString| called_with.is_none() && is_executable(name);
    let is_incomplete = |name: &OsString| name == "-m" || is_script(name) && !is_left_to_itself(name);
    let mut words = command.to_vec();
    if command.first().is_some_and(is_incomplete) {
        let environment = environment.map_or_else(|| OsString::from("python3"), PathBuf::into_os_string);
        words.insert(0, called_with.unwrap_or(environment));
    }
    words
}

fn is_script(name: &OsStr) -> bool {
    let path = Path::new(name);
    path.extension().is_some_and(|suffix| suffix == "py" || suffix == "pyz") && path.is_file()
}

fn is_executable(name: &OsStr) -> bool {
    fs::metadata(name).is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn scripts_and_modules_get_the_interpreter_that_is_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (script, executable) = (path("app.py"), path("tool.py"));
        fs::write(&script, "").unwrap();
        fs::write(&executable, "#!/usr/bin/python3").unwrap();
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
        let own = || Some(OsString::from("/own/python"));
        let environment = || Some(PathBuf::from("/venv/bin/python"));
        for (command, called_with, environment, interpreter) in [
            (vec![&*script, "-m"], own(), environment(), Some("/own/python")),
            (vec![&*script, "1"], None, environment(), Some("/venv/bin/python")),
            (vec![&*script], None, None, Some("python3")),
            (vec![&*executable], None, environment(), None),
            (vec![&*executable], own(), None, Some("/own/python")),
            (vec!["-m", "pytest"], None, None, Some("python3")),
            (vec!["python3", &*script], own(), environment(), None),
            (vec!["no-such-file.py"], own(), environment(), None),
        ] {
            let expected: Vec<_> = interpreter.into_iter().chain(command.iter().copied()).collect();
            assert_eq!(add_interpreter(&words(&command), called_with, environment), words(&expected));
        }
        assert!(with_interpreter(&[]).is_empty());
    }
}
