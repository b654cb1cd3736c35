//! Trace events as JSON, for <https://ui.perfetto.dev> and `chrome://tracing`. Called for `.json` files.
//!
//! Every thread has two tracks: its frames as nested slices, and below them its states. They cannot share one,
//! because slices of one track must nest and states change in the middle of calls. All states are there whatever
//! the view, and a thread off the CPU still shows its stack. Every GIL, and every lock that was waited for much, has a
//! track of its own, with who held it, and a counter of the threads that wait; arrows between the states of threads show
//! it handed over.
//!
//! The file is a bare array, written event by event: it needs no memory beyond the timeline, and viewers accept it
//! when it was cut off. Times are microseconds since the start of the session, with nanoseconds as decimals:
//! absolute times would not fit the numbers of JavaScript to the nanosecond.

use std::io::{self, Write};

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::contention::Timeline;
use crate::event::{Nanos, Pid, ProcessId, ThreadId};
use crate::profile::{Profile, Span};

use self::contended::{Contended, contended, holders, waited_for};
use super::Options;
use super::frames::FrameTable;
use super::label::one_line;
use super::slices::{Edge, Visitor, bounds, lengths, shown, timeline, walk};

mod contended;

/// Track ids that are no thread's: Linux gives out tids below 2^22. Viewers know tracks by these ids.
const STATE_TRACKS: u32 = 1 << 23;
/// The frames of a thread whose tid another thread had before it.
const REUSED_TRACKS: u32 = 1 << 24;
/// Who holds a GIL or a lock.
const CONTENDED_TRACKS: u32 = 1 << 25;

#[derive(Serialize)]
#[serde(tag = "ph")]
enum Event<'a> {
    #[serde(rename = "M")]
    Metadata {
        name: &'static str,
        pid: Pid,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<u32>,
        args: Metadata<'a>,
    },
    #[serde(rename = "B")]
    Begin { name: &'a str, pid: Pid, tid: u32, ts: f64, args: Place<'a> },
    #[serde(rename = "E")]
    End { pid: Pid, tid: u32, ts: f64 },
    #[serde(rename = "X")]
    State { name: &'static str, pid: Pid, tid: u32, ts: f64, dur: f64, args: Details },
    #[serde(rename = "X")]
    Hold { name: &'a str, pid: Pid, tid: u32, ts: f64, dur: f64 },
    #[serde(rename = "C")]
    Counter { name: &'a str, pid: Pid, ts: f64, args: Waiters },
    #[serde(rename = "s")]
    FlowBegin { name: &'static str, cat: &'static str, id: u64, pid: Pid, tid: u32, ts: f64 },
    #[serde(rename = "f")]
    FlowEnd { name: &'static str, cat: &'static str, id: u64, bp: &'static str, pid: Pid, tid: u32, ts: f64 },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Metadata<'a> {
    Name(&'a str),
    SortIndex(i64),
}

#[derive(Serialize)]
struct Place<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<String>,
    /// What was waited for, unless that is the GIL.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    /// Of the GIL or lock that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<String>,
}

#[derive(Serialize)]
struct Waiters {
    waiters: u32,
}

/// Writes all of the timeline.
pub(super) fn write(profile: &Profile, options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    write_with(profile, &contended(profile), options, out)
}

fn write_with(
    profile: &Profile,
    contended: &[Contended<'_>],
    options: &Options,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let timeline = timeline(profile)?;
    let (origin, _) = bounds(profile, timeline);
    let mut trace = Trace { out, origin, empty: true };
    for (index, process) in profile.processes.iter().enumerate() {
        let label = one_line(&profile.process_label(ProcessId(index as u32)));
        trace.describe(process.pid, None, &label, index as i64)?;
    }
    for index in 0..contended.len() {
        trace.contended(profile, contended, index)?;
    }
    let arrows = contended.iter().any(|one| !one.timeline.handoffs.is_empty());
    let mut kept = Vec::new();
    let mut frames = FrameTable::new(profile, options);
    let mut used = FxHashSet::default();
    for (index, spans) in (0..).zip(timeline) {
        let thread = ThreadId(index);
        let (pid, tid) = (profile.process_of(thread).pid, profile.threads[index as usize].tid as u32);
        let track = if used.insert(tid) { tid } else { REUSED_TRACKS + index };
        let states = STATE_TRACKS + index;
        let label = one_line(&profile.thread_label(thread));
        trace.describe(pid, Some(track), &label, 2 * i64::from(index))?;
        trace.describe(pid, Some(states), &format!("{label} state"), 2 * i64::from(index) + 1)?;
        let spans = shown(profile, thread, spans);
        walk(&spans, &mut FrameTrack { trace: &mut trace, frames: &mut frames, pid, tid: track })?;
        let slices = merged(&spans);
        let process = profile.threads[index as usize].process;
        for slice in &slices {
            trace.state(profile, pid, states, slice, waited_for(contended, process, slice.state))?;
        }
        if arrows {
            kept.push(slices);
        }
    }
    trace.arrows(profile, contended, &kept)?;
    Ok(trace.finish()?)
}

/// The array being written.
struct Trace<W> {
    out: W,
    origin: Nanos,
    empty: bool,
}

impl<W: Write> Trace<W> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.out.write_all(if self.empty { b"[\n" } else { b",\n" })?;
        self.empty = false;
        Ok(serde_json::to_writer(&mut self.out, event)?)
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
        self.event(&Event::Metadata { name, pid, tid, args: Metadata::Name(label) })?;
        self.event(&Event::Metadata { name: sort, pid, tid, args: Metadata::SortIndex(index) })
    }

    fn state(
        &mut self,
        profile: &Profile,
        pid: Pid,
        tid: u32,
        span: &Span,
        waited_for: Option<&Timeline>,
    ) -> io::Result<()> {
        self.event(&Event::State {
            name: span.state.name(),
            pid,
            tid,
            ts: self.micros(span.start),
            dur: span.end.since(span.start) as f64 / 1e3,
            args: Details {
                syscall: span.state.syscall().map(|call| call.to_string()),
                lock: span.state.lock().map(|lock| one_line(&profile.locks.info(lock).label())),
                holders: waited_for.and_then(|timeline| holders(profile, timeline, span.start, span.end)),
            },
        })
    }
}

/// One slice as long as the state is the same, whatever happens to the stack.
fn merged(spans: &[Span]) -> Vec<Span> {
    let mut slices: Vec<Span> = Vec::new();
    for span in lengths(spans) {
        match slices.last_mut() {
            Some(last) if last.state == span.state && last.end == span.start => last.end = span.end,
            _ => slices.push(span),
        }
    }
    slices
}

/// The frames of one thread. They begin and end in the order of time: viewers would have to sort complete events,
/// and do not agree on the order of a call and its caller that begin at once.
struct FrameTrack<'t, 'a, W> {
    trace: &'t mut Trace<W>,
    frames: &'t mut FrameTable<'a>,
    pid: Pid,
    tid: u32,
}

impl<W: Write> Visitor for FrameTrack<'_, '_, W> {
    type Error = io::Error;

    fn fill(&mut self, span: &Span, into: &mut Vec<u32>) {
        self.frames.push_stack(span.stack, into);
    }

    fn edge(&mut self, at: Nanos, edge: Edge) -> io::Result<()> {
        let (pid, tid, ts) = (self.pid, self.tid, self.trace.micros(at));
        match edge {
            Edge::Open(frame) => {
                let entry = &self.frames.entries()[frame as usize];
                let args = Place { file: entry.file, line: entry.line };
                self.trace.event(&Event::Begin { name: &entry.name, pid, tid, ts, args })
            }
            Edge::Close(_) => self.trace.event(&Event::End { pid, tid, ts }),
        }
    }
}

#[cfg(test)]
mod tests;
