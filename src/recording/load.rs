//! A recording as a profile again. Called by `report` and `export`.

use std::path::Path;

use anyhow::Result;

use super::{Origin, Reader};
use crate::profile::{Profile, SessionInfo};

/// A recording that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What `record` would have made of it.
    pub profile: Profile,
    /// Where it comes from.
    pub origin: Origin,
}

/// Reads a recording; with a timeline if the format that it is for needs one.
///
/// # Errors
/// It cannot be read. One that is cut off or damaged is none: a note in [`SessionInfo::degraded`] says so.
pub fn load(path: &Path, timeline: bool) -> Result<Loaded> {
    let mut reader = Reader::open(path)?;
    let mut profile = Profile::default();
    if timeline {
        profile.keep_timeline();
    }
    while let Some(event) = reader.next(&mut profile.stacks)? {
        profile.push(&event);
    }
    let SessionInfo { waits, records_lost, .. } = profile.session;
    profile.session = SessionInfo { waits, records_lost, ..reader.session() };
    profile.finish();
    Ok(Loaded { profile, origin: reader.origin() })
}
