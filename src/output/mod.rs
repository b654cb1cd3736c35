//! What gilscope writes: every file that it makes or replaces, and lines for standard output and error. No other folder
//! creates, renames or removes a file (`tests/house.rs` holds it).
//!
//! A file belongs to its user alone (mode 0600), appears under its name when it is complete, and replaces an older one only
//! then: one that is there is never half written, and no link is followed. Only a live recording appears at once, under a
//! name that was free, so that it is found if gilscope is killed.

mod destination;
mod log;
mod new_file;
mod numbered;

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::Error;
use nix::sys::signal::{SigSet, Signal};

pub use self::destination::Output;
pub use self::log::ProgramLog;
pub(crate) use self::numbered::save_numbered;
use crate::text;

/// Prints a line, or several, to standard error. Nobody may be there to read it any more, and that must not be the end.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", text::lines(&line.to_string()));
}

/// Asks for something: prints to standard error, and leaves the cursor behind it.
pub fn prompt(question: &str) {
    let _ = write!(io::stderr(), "{}", text::lines(question)).and_then(|()| io::stderr().flush());
}

/// Replaces the line that the cursor is in on the terminal.
pub(crate) fn rewrite_line(line: &str) {
    let _ = write!(io::stderr(), "\r{}\x1b[K", text::one_line(line)).and_then(|()| io::stderr().flush());
}

/// Makes a folder, and those that it is in, for files that others may read, too.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes a folder that was not there before, for its owner alone.
///
/// # Errors
/// It cannot be made, or was there.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Removes what [`Output::unfinished`] has named, when gilscope ends before it is complete.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn remove_unfinished(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Prints the error that a command has ended with.
pub fn say_error(error: &Error) {
    say(format_args!("gilscope: {error:#}"));
}

/// Prints whole lines to standard output.
///
/// # Errors
/// It cannot be written to.
pub fn print(lines: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text::lines(lines).as_bytes())?;
    out.flush()
}

/// Beyond the limit of the size of files (`ulimit -f`), writing is to fail in this thread and those that it starts, rather
/// than to kill. A program that is launched later would inherit that.
pub fn survive_size_limit() {
    // It is a valid signal.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
}
