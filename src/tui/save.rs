//! Saves what is on the screen.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use super::state::choices::{Tab, UserChoices};
use super::state::shown::ShownPart;
use crate::export::{self, Format, View};
use crate::output::save_numbered;
use crate::report::Attribution;
use crate::snapshot::Snapshot;
use crate::text::json;

/// Writes a file into the current directory without overwriting another one. Returns its name.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save(choices: &UserChoices, shown: &ShownPart, format: Format) -> Result<PathBuf> {
    let first = shown.part.profile.processes.first();
    let name = first.map_or_else(|| "python".to_owned(), |info| info.short_name());
    let pid = shown.report.target.pid;
    let suffix = if format == Format::REPORT { "report.json" } else { "svg" };
    save_numbered(
        |number| format!("gilscope-{name}-{pid}-{number}.{suffix}"),
        |out| write(choices, shown, format, out),
    )
}

fn write(choices: &UserChoices, shown: &ShownPart, format: Format, out: &mut dyn Write) -> Result<()> {
    if format == Format::REPORT {
        return Ok(out.write_all(json::to_lines(&shown.report)?.as_bytes())?);
    }
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
    export::write(&part.profile, format, &view, out)?;
    Ok(())
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
