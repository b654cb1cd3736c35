//! Several recordings as one. Called by `gilscope merge`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Reader, Recorder, RecordingOrigin};
use crate::event::{Event, GilId, Ids, LockId, Nanos, ObjectId, ProcessId, Renumber, ThreadId};
use crate::output::Output;
use crate::profile::{ChildCounts, SessionInfo};
use crate::stack::Interner;
use crate::text::Shown;

/// A recording to be joined with others.
struct MergedRecording<'a> {
    path: &'a Path,
    reader: Reader<BufReader<File>>,
    numbers: RenumberedIds,
    next: Option<Event>,
    /// When the next event happened, or the one before if that has no time.
    at: Nanos,
}

/// The ids of a recording in the whole, in the order of its own.
#[derive(Default)]
struct RenumberedIds {
    ids: Ids,
    processes: Vec<ProcessId>,
    threads: Vec<ThreadId>,
    gils: Vec<GilId>,
    locks: Vec<LockId>,
    objects: Vec<ObjectId>,
}

impl RenumberedIds {
    /// The id of something; one that is new gets the next of the whole.
    fn of<T: Copy>(known: &mut Vec<T>, number: u32, new: impl FnOnce() -> T) -> T {
        // They come in their order.
        if known.len() == number as usize {
            known.push(new());
        }
        known[number as usize]
    }
}

impl Renumber for RenumberedIds {
    fn process(&mut self, id: ProcessId) -> ProcessId {
        Self::of(&mut self.processes, id.0, || self.ids.process())
    }

    fn thread(&mut self, id: ThreadId) -> ThreadId {
        Self::of(&mut self.threads, id.0, || self.ids.thread())
    }

    fn gil(&mut self, id: GilId) -> GilId {
        Self::of(&mut self.gils, id.0, || self.ids.gil())
    }

    fn lock(&mut self, id: LockId) -> LockId {
        Self::of(&mut self.locks, id.0, || self.ids.lock())
    }

    fn object(&mut self, id: ObjectId) -> ObjectId {
        Self::of(&mut self.objects, id.0, || self.ids.object())
    }
}

impl<'a> MergedRecording<'a> {
    fn open(path: &'a Path, table: &mut Interner) -> Result<MergedRecording<'a>> {
        let reader = Reader::open(path)?;
        let mut part = MergedRecording { path, reader, numbers: RenumberedIds::default(), next: None, at: Nanos(0) };
        part.advance(table)?;
        Ok(part)
    }

    fn advance(&mut self, table: &mut Interner) -> Result<()> {
        self.next = self.reader.next(table)?;
        if let Some(at) = self.next.as_ref().and_then(Event::at) {
            self.at = at;
        }
        Ok(())
    }
}

/// Joins recordings of one boot of a machine on their common clock. Returns where the whole of them is, and how they
/// were recorded.
///
/// # Errors
/// One cannot be read, they have no common clock or were recorded in different ways, or the whole cannot be written.
pub fn merge(paths: &[PathBuf], output: Output) -> Result<(PathBuf, SessionInfo)> {
    let mut table = Interner::default();
    let parts: Result<Vec<_>> = paths.iter().map(|path| MergedRecording::open(path, &mut table)).collect();
    let checked = parts.and_then(|parts| check(&parts).map(|()| parts));
    let mut parts = match checked {
        Ok(parts) => parts,
        Err(error) => {
            output.discard();
            return Err(error);
        }
    };
    let origins = || parts.iter().map(|part| part.reader.origin());
    let origin = RecordingOrigin {
        gilscope: env!("CARGO_PKG_VERSION").to_owned(),
        min_wait_ns: origins().map(|origin| origin.min_wait_ns).max().unwrap_or(0),
        ..origins().next().unwrap_or_default()
    };
    let session = whole(&parts);
    let mut pids = Vec::new();
    let mut recorder = Recorder::new(output, true, &origin)?;
    let mut ids = Ids::default();
    while let Some(part) = parts.iter_mut().filter(|part| part.next.is_some()).min_by_key(|part| part.at) {
        let Some(mut event) = part.next.take() else { break };
        // The ids given out so far go from hand to hand.
        part.numbers.ids = ids;
        event.renumber(&mut part.numbers);
        ids = part.numbers.ids;
        if let Event::Process { info, .. } = &event {
            pids.push(info.pid);
        }
        recorder.event(&event, &table, &session);
        recorder.tick(part.at, &session);
        if let Err(error) = part.advance(&mut table) {
            recorder.discard();
            return Err(error);
        }
    }
    let mut session = whole(&parts);
    pids.sort_unstable();
    let twice: Vec<String> =
        pids.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(|same| same[0].to_string()).collect();
    if !twice.is_empty() {
        session.degraded.push(format!(
            "process {} is in more than one of the recordings: what they have in common counts twice",
            twice.join(", ")
        ));
    }
    Ok((recorder.finish(&session)?, session))
}

/// Whether they can be joined.
fn check(parts: &[MergedRecording<'_>]) -> Result<()> {
    let Some((first, others)) = parts.split_first() else { return Ok(()) };
    let (name, session) = (first.path.shown(), first.reader.session());
    for other in others {
        let (other_name, other_session) = (other.path.shown(), other.reader.session());
        if first.reader.origin().boot != other.reader.origin().boot {
            bail!(
                "{name} and {other_name} cannot be joined: they were recorded on different machines, or before and \
                 after a restart, and their clocks have nothing in common"
            );
        }
        if session.mode != other_session.mode {
            bail!(
                "{name} and {other_name} cannot be joined: one was recorded in kernel mode, the other in memory mode"
            );
        }
        if session.rate_hz != other_session.rate_hz {
            bail!(
                "{name} and {other_name} cannot be joined: their samples stand for different times ({} and {} a \
                 second)",
                session.rate_hz,
                other_session.rate_hz
            );
        }
    }
    Ok(())
}

/// The processes that were started in both.
fn sum(a: Option<ChildCounts>, b: Option<ChildCounts>) -> Option<ChildCounts> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    Some(ChildCounts {
        started: a.started.saturating_add(b.started),
        unobserved: a.unobserved.saturating_add(b.unobserved),
        unobserved_python: a.unobserved_python.saturating_add(b.unobserved_python),
        exact: a.exact && b.exact,
        followed: a.followed && b.followed,
        ended_cpu_ns: a.ended_cpu_ns.saturating_add(b.ended_cpu_ns),
    })
}

/// How the recordings went, together.
fn whole(parts: &[MergedRecording<'_>]) -> SessionInfo {
    let mut whole: Option<SessionInfo> = None;
    for part in parts {
        let mut session = part.reader.session();
        let name = part.path.shown();
        session.degraded.iter_mut().for_each(|note| *note = format!("{name}: {note}"));
        whole = Some(match whole {
            None => session,
            Some(mut whole) => {
                whole.start = whole.start.min(session.start);
                whole.end = whole.end.max(session.end);
                whole.ticks = whole.ticks.max(session.ticks);
                whole.looks = whole.looks.max(session.looks);
                whole.late_ticks += session.late_ticks;
                whole.stops += session.stops;
                whole.stopped_ns += session.stopped_ns;
                whole.profiler_cpu_ns += session.profiler_cpu_ns;
                whole.children = sum(whole.children, session.children);
                whole.unobserved.append(&mut session.unobserved);
                whole.degraded.append(&mut session.degraded);
                whole
            }
        });
    }
    whole.unwrap_or_default()
}
