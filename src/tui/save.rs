//! Saves what is on the screen. Called by the loop of the screen.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::app::App;
use super::shown::Shown;
use super::tabs::Tab;
use crate::export::{self, Format, View};
use crate::report::Attribution;
use crate::snapshot::Snapshot;

/// So many names are tried.
const MOST_NAMES: u32 = 10_000;

/// Writes a file into the current directory, never over another one. Returns its name.
///
/// # Errors
/// It cannot be written there.
pub fn save(app: &App, shown: &Shown, format: Format) -> Result<PathBuf> {
    let (path, mut file) = create(shown, if format == Format::REPORT { "report.json" } else { "svg" })?;
    match format {
        format if format == Format::REPORT => {
            serde_json::to_writer_pretty(&mut file, &shown.report)?;
            file.write_all(b"\n")?;
        }
        format => {
            let view = export::ExportOptions {
                view: view(app),
                functions: app.functions,
                ..export::ExportOptions::default()
            };
            // A copy, of which what is not on the screen can be left out.
            let mut part = shown.part.since(&Snapshot::default());
            if let Some(thread) = app.thread.filter(|_| matches!(app.tab, Tab::Functions | Tab::Flame)) {
                part.profile.tree.retain(|key| key.thread == thread);
            }
            export::write(&part.profile, format, &view, &mut file)?;
        }
    }
    Ok(path)
}

/// What the flame graph of a tab shows.
fn view(app: &App) -> View {
    match app.tab {
        Tab::Functions | Tab::Flame => app.view,
        Tab::Refcounts => View::Refcount,
        Tab::Gil if app.blame == Attribution::Waiter => View::GilWait,
        Tab::Gil => View::GilHold,
        Tab::Locks | Tab::Pauses => View::LockWait,
        Tab::Threads | Tab::Findings => View::Wall,
    }
}

fn create(shown: &Shown, suffix: &str) -> Result<(PathBuf, File)> {
    let first = shown.part.profile.processes.first();
    let name = first.map_or_else(|| "python".to_owned(), |info| info.short_name());
    let pid = shown.report.target.pid;
    for number in 1..MOST_NAMES {
        let path = PathBuf::from(format!("gilscope-{name}-{pid}-{number}.{suffix}"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }
    anyhow::bail!("there are too many gilscope-{name}-{pid}-*.{suffix} here already")
}
