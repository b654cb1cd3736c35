//! A recording as several profiles, each of a part of its time: what they differ by is the noise of the whole. Called by
//! `check` and `diff`.

use std::path::Path;

use anyhow::Result;

use super::Reader;
use crate::event::{Event, Nanos};
use crate::filter::Window;
use crate::profile::{Profile, SessionInfo};
use crate::stack::Interner;

struct RecordingSlice {
    window: Window,
    profile: Profile,
}

/// Reads a recording once more, whose session is known, and divides it into parts of equal length. `see` gets all events, `view`
/// each part in order. Stacks have the ids that they had when the recording was read before.
///
/// # Errors
/// It cannot be read.
pub(crate) fn slices<T>(
    path: &Path,
    session: &SessionInfo,
    count: usize,
    mut see: impl FnMut(&Event),
    mut view: impl FnMut(&Profile) -> T,
) -> Result<Vec<T>> {
    let length = session.end.since(session.start) / count.max(1) as u64;
    let edge = |index: usize| Nanos(session.start.0 + index as u64 * length);
    let slice = |index| {
        let window = Window::new(edge(index), edge(index + 1), session);
        RecordingSlice { window, profile: Profile::default() }
    };
    let mut slices: Vec<RecordingSlice> = (0..count).map(slice).collect();
    let mut table = Interner::default();
    let mut reader = Reader::open(path)?;
    let mut events = Vec::new();
    while let Some(event) = reader.next(&mut table)? {
        see(&event);
        for RecordingSlice { window, profile } in &mut slices {
            window.push(event.clone(), &mut events);
            events.drain(..).for_each(|event| profile.push_recorded(&event, &table, session));
        }
    }
    let finish = |RecordingSlice { window, mut profile }: RecordingSlice| {
        profile.stacks = std::mem::take(&mut table);
        let SessionInfo { waits, records_lost, .. } = profile.session;
        profile.session = SessionInfo { waits, records_lost, ..window.session(session.clone()) };
        profile.finish();
        let seen = view(&profile);
        table = std::mem::take(&mut profile.stacks);
        seen
    };
    Ok(slices.into_iter().map(finish).collect())
}
