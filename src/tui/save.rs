//! Saves what is on the screen.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::state::choices::{Tab, UserChoices};
use super::state::shown::ShownPart;
use crate::export::{self, Format, View};
use crate::report::Attribution;
use crate::snapshot::Snapshot;

/// Names that are tried.
const MAX_NAMES: u32 = 10_000;

/// Writes a file into the current directory without overwriting another one. Returns its name.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save(choices: &UserChoices, shown: &ShownPart, format: Format) -> Result<PathBuf> {
    let (path, mut file) = create(shown, if format == Format::REPORT { "report.json" } else { "svg" })?;
    match format {
        format if format == Format::REPORT => {
            serde_json::to_writer_pretty(&mut file, &shown.report)?;
            file.write_all(b"\n")?;
        }
        format => {
            let view = export::ExportOptions {
                view: view(choices),
                functions: choices.calls.functions,
                ..export::ExportOptions::default()
            };
            // A copy without what is not on the screen.
            let mut part = shown.part.since(&Snapshot::default());
            if let Some(thread) = choices.shown_thread() {
                part.profile.tree.retain(|key| key.thread == thread);
            }
            export::write(&part.profile, format, &view, &mut file)?;
        }
    }
    Ok(path)
}

/// The view of the flame graph that belongs to a tab.
fn view(choices: &UserChoices) -> View {
    match choices.tab {
        Tab::Functions | Tab::Flame => choices.calls.view,
        Tab::Refcounts => View::Refcount,
        Tab::Gil if choices.blame == Attribution::Waiter => View::GilWait,
        Tab::Gil => View::GilHold,
        Tab::Locks | Tab::Pauses => View::LockWait,
        Tab::Threads | Tab::Findings => View::Wall,
    }
}

fn create(shown: &ShownPart, suffix: &str) -> Result<(PathBuf, File)> {
    let first = shown.part.profile.processes.first();
    let name = first.map_or_else(|| "python".to_owned(), |info| info.short_name());
    let pid = shown.report.target.pid;
    for number in 1..MAX_NAMES {
        let path = PathBuf::from(format!("gilscope-{name}-{pid}-{number}.{suffix}"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }
    anyhow::bail!("there are too many files gilscope-{name}-{pid}-*.{suffix} here already")
}
