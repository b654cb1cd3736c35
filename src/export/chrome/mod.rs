//! ChromeTrace events as JSON, for <https://ui.perfetto.dev> and `chrome://tracing`. Called for `.json` files.
//!
//! Every thread has two tracks: its frames as nested slices, and below them its states. They cannot share one,
//! because slices of one track must nest and states change in the middle of calls. All states are there whatever
//! the view, and a thread off the CPU still shows its stack. Every GIL, and every lock that was waited for much, has a
//! track of its own, with who held it, and a counter of the threads that wait; arrows between the states of threads show
//! hand-offs.
//!
//! The file is a bare array, written event by event: it needs no memory beyond the timeline, and viewers accept it
//! when it was cut off. Times are microseconds since the start of the session, with nanoseconds as decimals:
//! absolute times would not fit the numbers of JavaScript to the nanosecond.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::event::{Nanos, Pid, ThreadId};
use crate::profile::{Profile, Span};

use super::ExportOptions;
use super::coarse::MergedSlices;
use super::frames::FrameTable;
use super::slices::{Edge, Visitor, walk};
use super::tracks::{ArrowEnd, Detail, Tracks};
use crate::stack::label::one_line;
use crate::text::json;

/// More slices are merged: each is some hundred bytes, and a browser has to hold them all.
const MAX_SLICES: u64 = 1_000_000;

/// Track ids that are no thread's: Linux gives out tids below 2^22. Viewers know tracks by these ids.
const STATE_TRACKS: u32 = 1 << 23;
/// The frames of a thread whose tid another thread had before it.
const REUSED_TRACKS: u32 = 1 << 24;
/// Who holds a GIL or a lock.
const CONTENDED_TRACKS: u32 = 1 << 25;

#[derive(Serialize)]
#[serde(tag = "ph")]
enum ChromeEvent<'a> {
    #[serde(rename = "M")]
    Metadata {
        name: &'static str,
        pid: Pid,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<u32>,
        args: ChromeMetadata<'a>,
    },
    #[serde(rename = "B")]
    Begin { name: &'a str, pid: Pid, tid: u32, ts: f64, args: SourcePlace<'a> },
    #[serde(rename = "E")]
    End { pid: Pid, tid: u32, ts: f64 },
    #[serde(rename = "X")]
    Slice {
        name: &'a str,
        pid: Pid,
        tid: u32,
        ts: f64,
        dur: f64,
        #[serde(serialize_with = "as_map")]
        args: Vec<(&'static str, Detail)>,
    },
    #[serde(rename = "C")]
    Counter { name: &'a str, pid: Pid, ts: f64, args: WaiterCount },
    #[serde(rename = "s")]
    FlowBegin { name: &'static str, cat: &'static str, id: u64, pid: Pid, tid: u32, ts: f64 },
    #[serde(rename = "f")]
    FlowEnd { name: &'static str, cat: &'static str, id: u64, bp: &'static str, pid: Pid, tid: u32, ts: f64 },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ChromeMetadata<'a> {
    Name(&'a str),
    SortIndex(i64),
}

#[derive(Serialize)]
struct SourcePlace<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
struct WaiterCount {
    waiters: u32,
}

fn as_map<S: Serializer>(details: &[(&'static str, Detail)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(details.len()))?;
    for (key, detail) in details {
        match detail {
            Detail::Name(text) | Detail::Text(text) => map.serialize_entry(key, text)?,
            Detail::Number(number) => map.serialize_entry(key, number)?,
        }
    }
    map.end()
}

/// Writes all of the timeline.
pub(super) fn write(
    profile: &Profile,
    options: &ExportOptions,
    out: &mut impl Write,
) -> anyhow::Result<MergedSlices> {
    let tracks = Tracks::new(profile, MAX_SLICES)?;
    write_tracks(profile, &tracks, options, out)?;
    Ok(tracks.merged)
}

fn write_tracks(
    profile: &Profile,
    tracks: &Tracks<'_>,
    options: &ExportOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut trace = ChromeTrace { out, origin: tracks.origin, empty: true };
    for process in tracks.processes() {
        let label = one_line(&profile.process_label(process));
        trace.describe(profile.processes[process.0 as usize].pid, None, &label, process.0.into())?;
    }
    for index in 0..tracks.contended.len() {
        trace.contended(profile, tracks, index)?;
    }
    let mut frames = FrameTable::new(profile, options);
    for (thread, tid, reused) in tracks.threads() {
        let (pid, index) = (profile.process_of(thread).pid, thread.0);
        let track = if reused { REUSED_TRACKS + index } else { tid as u32 };
        let label = one_line(&profile.thread_label(thread));
        trace.describe(pid, Some(track), &label, 2 * i64::from(index))?;
        trace.describe(pid, Some(state_track(thread)), &format!("{label} state"), 2 * i64::from(index) + 1)?;
        let mut visitor = ChromeFrameTrack { trace: &mut trace, frames: &mut frames, pid, tid: track };
        walk(&tracks.stacks(thread), &mut visitor)?;
        let process = profile.threads[index as usize].process;
        for slice in &tracks.states[index as usize] {
            let (start, end) = (slice.span.start, slice.span.end);
            trace.slice(slice.name(), (pid, state_track(thread)), start, end, tracks.details(process, slice))?;
        }
    }
    trace.arrows(profile, tracks)?;
    trace.finish()
}

fn state_track(thread: ThreadId) -> u32 {
    STATE_TRACKS + thread.0
}

/// The array being written.
struct ChromeTrace<W> {
    out: W,
    origin: Nanos,
    empty: bool,
}

impl<W: Write> ChromeTrace<W> {
    fn event(&mut self, event: &ChromeEvent<'_>) -> io::Result<()> {
        self.out.write_all(if self.empty { b"[\n" } else { b",\n" })?;
        self.empty = false;
        Ok(json::to_writer(&mut self.out, event)?)
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.write_all(if self.empty { b"[]\n" } else { b"\n]\n" })
    }

    fn micros(&self, at: Nanos) -> f64 {
        at.since(self.origin) as f64 / 1e3
    }

    /// Names a process or a thread and says where it comes among its like.
    fn describe(&mut self, pid: Pid, tid: Option<u32>, label: &str, index: i64) -> io::Result<()> {
        let (name, sort) = match tid {
            None => ("process_name", "process_sort_index"),
            Some(_) => ("thread_name", "thread_sort_index"),
        };
        self.event(&ChromeEvent::Metadata { name, pid, tid, args: ChromeMetadata::Name(label) })?;
        self.event(&ChromeEvent::Metadata { name: sort, pid, tid, args: ChromeMetadata::SortIndex(index) })
    }

    fn slice(
        &mut self,
        name: &str,
        (pid, tid): (Pid, u32),
        start: Nanos,
        end: Nanos,
        args: Vec<(&'static str, Detail)>,
    ) -> io::Result<()> {
        let (ts, dur) = (self.micros(start), end.since(start) as f64 / 1e3);
        self.event(&ChromeEvent::Slice { name, pid, tid, ts, dur, args })
    }

    /// The track and the counter of a GIL or lock, the `index`th of all.
    fn contended(&mut self, profile: &Profile, tracks: &Tracks<'_>, index: usize) -> io::Result<()> {
        let one = &tracks.contended[index];
        let pid = profile.processes[one.process.0 as usize].pid;
        let track = CONTENDED_TRACKS + index as u32;
        let name = one.name(&tracks.contended);
        // Before the threads.
        let order = index as i64 - tracks.contended.len() as i64;
        self.describe(pid, Some(track), &name, order)?;
        for held in &tracks.holds[index] {
            self.slice(&held.name(profile), (pid, track), held.start, held.end, held.details())?;
        }
        for (at, waiters) in one.waiters() {
            // Viewers add the name of the series: this is "GIL waiters".
            let ts = self.micros(at);
            self.event(&ChromeEvent::Counter { name: &name, pid, ts, args: WaiterCount { waiters } })?;
        }
        Ok(())
    }

    /// An arrow for each hand-off.
    fn arrows(&mut self, profile: &Profile, tracks: &Tracks<'_>) -> io::Result<()> {
        for (id, arrow) in (1..).zip(&tracks.arrows) {
            let (name, cat) = if arrow.gil { ("GIL handed over", "gil") } else { ("lock handed over", "lock") };
            let place = |end: ArrowEnd| (profile.process_of(end.thread).pid, state_track(end.thread));
            let (pid, tid) = place(arrow.from);
            self.event(&ChromeEvent::FlowBegin { name, cat, id, pid, tid, ts: self.micros(arrow.from.at) })?;
            let (pid, tid) = place(arrow.to);
            self.event(&ChromeEvent::FlowEnd { name, cat, id, bp: "e", pid, tid, ts: self.micros(arrow.to.at) })?;
        }
        Ok(())
    }
}

/// The frames of one thread. They begin and end in the order of time: viewers would have to sort complete events,
/// and do not agree on the order of a call and its caller that begin at once.
struct ChromeFrameTrack<'t, 'a, W> {
    trace: &'t mut ChromeTrace<W>,
    frames: &'t mut FrameTable<'a>,
    pid: Pid,
    tid: u32,
}

impl<W: Write> Visitor for ChromeFrameTrack<'_, '_, W> {
    type Error = io::Error;

    fn fill(&mut self, span: &Span, into: &mut Vec<u32>) {
        self.frames.push_stack(span.stack, into);
    }

    fn edge(&mut self, at: Nanos, edge: Edge) -> io::Result<()> {
        let (pid, tid, ts) = (self.pid, self.tid, self.trace.micros(at));
        match edge {
            Edge::Open(frame) => {
                let entry = &self.frames.entries()[frame as usize];
                let args = SourcePlace { file: entry.file.as_deref(), line: entry.line };
                self.trace.event(&ChromeEvent::Begin { name: &entry.name, pid, tid, ts, args })
            }
            Edge::Close(_) => self.trace.event(&ChromeEvent::End { pid, tid, ts }),
        }
    }
}

#[cfg(test)]
mod tests;
