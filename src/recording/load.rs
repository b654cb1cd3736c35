//! A recording as a profile again. Called by `report` and `export`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{Reader, Recorder};
use crate::event::{Event, ThreadId};
use crate::filter::Filter;
use crate::output::Output;
use crate::profile::{Profile, SessionInfo};
use crate::stack::Interner;
use crate::text::Shown;

/// Reads a recording, or a part of it, and makes of it what `record` would have; with a timeline if the format that it is
/// for needs one.
///
/// # Errors
/// It cannot be read, or has nothing of that part. One that is cut off or damaged is none: a note in
/// [`SessionInfo::degraded`] says so.
pub fn load(path: &Path, timeline: bool, filter: &Filter) -> Result<Profile> {
    let mut profile = Profile::default();
    if filter.selects() {
        // Names of threads, and how long waits are, are known only in the end: the recording is read twice.
        let mut all = Profile::default();
        all.keep_waits();
        let names = fill(&mut all, path, filter)?;
        let selection = filter.selection(&all, &names).with_context(|| path.shown().to_string())?;
        profile.select(selection);
    }
    if timeline {
        profile.keep_timeline();
    }
    fill(&mut profile, path, filter)?;
    Ok(profile)
}

/// The names that threads had.
type Names = Vec<(ThreadId, Arc<str>)>;

fn fill(profile: &mut Profile, path: &Path, filter: &Filter) -> Result<Names> {
    let mut names = Vec::new();
    let mut stacks = std::mem::take(&mut profile.stacks);
    let session = replay(path, filter, &mut stacks, |event, stacks, session| {
        if let Event::ThreadNamed { thread, name } = event {
            names.push((*thread, name.clone()));
        }
        profile.push_recorded(event, stacks, session);
    })?;
    profile.stacks = stacks;
    let SessionInfo { waits, records_lost, .. } = profile.session;
    profile.session = SessionInfo { waits, records_lost, ..session };
    profile.finish();
    Ok(names)
}

/// Replays the events of a recording that are in the selected time. Returns how they were recorded.
fn replay(
    path: &Path,
    filter: &Filter,
    table: &mut Interner,
    mut each: impl FnMut(&Event, &Interner, &SessionInfo),
) -> Result<SessionInfo> {
    let mut reader = Reader::open(path)?;
    let mut first = reader.next(table)?;
    // That is known with the first block.
    let mut session = reader.session();
    let mut window = filter.window(&session);
    let mut events = Vec::new();
    while let Some(event) = first.take().map_or_else(|| reader.next(table), |event| Ok(Some(event)))? {
        match &mut window {
            Some(window) => window.push(event, &mut events),
            None => events.push(event),
        }
        events.drain(..).for_each(|event| each(&event, table, &session));
    }
    session = reader.session();
    filter.check(&session).with_context(|| path.shown().to_string())?;
    if let Some(window) = window {
        session = window.session(session);
    }
    session.filter = filter.words();
    let offset = reader.origin().clock_offset_ns;
    if offset != 0 {
        session.started_unix_ns = session.start.0.saturating_add_signed(offset);
    }
    Ok(session)
}

/// Writes the part of a recording that is in the selected time as a recording. Returns where it is, and how it was
/// recorded.
///
/// # Errors
/// It cannot be read or written.
pub fn copy(path: &Path, output: Output, filter: &Filter) -> Result<(PathBuf, SessionInfo)> {
    let origin = Reader::open(path).and_then(|mut reader| {
        reader.next(&mut Interner::default())?;
        Ok(reader.origin())
    });
    let mut recorder = match origin {
        Ok(origin) => Recorder::new(output, true, &origin)?,
        Err(error) => {
            output.discard();
            return Err(error);
        }
    };
    let replayed = replay(path, filter, &mut Interner::default(), |event, table, session| {
        recorder.event(event, table, session);
    });
    match replayed {
        Ok(session) => Ok((recorder.finish(&session)?, session)),
        Err(error) => {
            recorder.discard();
            Err(error)
        }
    }
}
