//! What a refusal of the kernel means, by its error number, and what helps: an error that only says that something did not
//! work has users search at the wrong place. Asked by whoever makes an error of an [`io::Error`].

use std::error::Error;
use std::io;

use nix::errno::Errno;

use super::error::{MEMORY_MODE, setcap};

/// What helps against a limit that was reached, whatever was tried; none if that is not why it failed.
pub fn remedy_for_limit(error: Errno) -> Option<&'static str> {
    Some(match error {
        Errno::EMFILE => "gilscope may not open more files: raise its limit (ulimit -n) and try again",
        Errno::ENFILE => "no process may open more files: raise the limit of the machine (sysctl fs.file-max)",
        Errno::ENOMEM => {
            "the kernel has no memory for that: free some, or raise the limit of gilscope's control group (memory.max) or \
             of locked memory (ulimit -l)"
        }
        Errno::EAGAIN => "no more processes or threads are permitted: raise the limit (ulimit -u, or pids.max)",
        Errno::ENOSPC => "there is no space left: free some",
        Errno::ENOSYS => {
            "the kernel lacks that call, or a sandbox forbids it (in a container: --security-opt seccomp=unconfined)"
        }
        _ => return None,
    })
}

/// The kernel's error number behind an error, wherever it is in the chain of its sources.
pub fn number(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(Errno::from_raw(number));
        }
        next = error.source();
    }
    None
}

/// An error, and what helps if a limit is behind it.
pub fn with_remedy(error: &io::Error) -> String {
    match number(error).and_then(remedy_for_limit) {
        Some(remedy) => format!("{error}: {remedy}"),
        None => error.to_string(),
    }
}

/// Why a file of a process cannot be opened, and what helps.
pub fn file_refused(error: &io::Error) -> String {
    match number(error) {
        Some(Errno::EACCES | Errno::EPERM) => format!(
            "gilscope may not open it ({error}). Run gilscope as root or as the owner of the file, or allow it once and for \
             all: {}; in a container: --cap-add DAC_READ_SEARCH",
            setcap(MEMORY_MODE)
        ),
        Some(limit) if remedy_for_limit(limit).is_some() => with_remedy(error),
        _ => format!("{error}. Run gilscope as root, or restart the process"),
    }
}

/// Why a program cannot be started.
pub fn not_started(error: &io::Error, name: &str) -> String {
    match number(error) {
        Some(Errno::ENOENT) => format!("{name} is not installed (or, if it is a script, what should run it is not)"),
        Some(Errno::EACCES) => format!("{name} is not executable for this user: chmod +x, or look at its folders"),
        Some(Errno::ENOEXEC) => {
            format!("{name} is no program that this machine can run: does a script lack its #! line?")
        }
        Some(Errno::E2BIG) => "the command line and the environment are too long".to_owned(),
        _ => with_remedy(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it went wrong")]
    struct Wrapped(#[source] io::Error);

    fn os(number: Errno) -> io::Error {
        io::Error::from_raw_os_error(number as i32)
    }

    #[test]
    fn each_number_has_its_own_remedy() {
        for (number, words) in [
            (Errno::EMFILE, "ulimit -n"),
            (Errno::ENFILE, "fs.file-max"),
            (Errno::ENOMEM, "no memory"),
            (Errno::EAGAIN, "ulimit -u"),
            (Errno::ENOSPC, "no space left"),
            (Errno::ENOSYS, "seccomp"),
        ] {
            for text in [with_remedy(&os(number)), file_refused(&os(number)), not_started(&os(number), "x")] {
                assert!(text.contains(words), "{number}: {text}");
                assert!(!text.contains("deleted") && !text.contains("5.15"), "{number}: {text}");
            }
        }
        assert_eq!(remedy_for_limit(Errno::EINVAL), None);
    }

    #[test]
    fn a_file_that_may_not_be_opened_was_not_deleted() {
        let text = file_refused(&os(Errno::EACCES));
        assert!(text.contains("may not open it") && text.contains("cap_dac_read_search"), "{text}");
        assert!(!text.contains("restart"), "{text}");
        assert!(file_refused(&io::Error::other("it was deleted")).ends_with("or restart the process"));
    }

    #[test]
    fn a_program_does_not_start_for_a_reason() {
        assert!(not_started(&os(Errno::ENOENT), "pythn").starts_with("pythn is not installed"));
        assert!(not_started(&os(Errno::EACCES), "a.sh").contains("chmod +x"));
    }

    #[test]
    fn the_number_is_found_below_other_errors() {
        assert_eq!(number(&Wrapped(os(Errno::EMFILE))), Some(Errno::EMFILE));
        assert_eq!(number(&io::Error::other("x")), None);
    }
}
