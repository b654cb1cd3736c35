//! A trace in Perfetto's own format, for <https://ui.perfetto.dev> and `trace_processor`. Called for `.pftrace` files.
//!
//! It shows what the Chrome trace shows ([`super::tracks`]), in a third of the bytes, and with the stacks of waits: a
//! selected wait shows where the thread was, a selected area a flame graph of all waits in it (Perfetto 53 and later).
//!
//! A thread's own track has its states; a track below it has its frames. GILs and locks are tracks of the process, each
//! with a counter of waiting threads below it. The file is written packet by packet, thread by thread: readers sort
//! packets by time. Times are those of `CLOCK_MONOTONIC`, so that traces of other tools can be merged with it.

use std::io::{self, Write};

use rustc_hash::FxHashMap;

use crate::event::{Nanos, ProcessId, ThreadId};
use crate::profile::{Profile, Span};

use self::interned::Interned;
use self::proto::{
    ChildOrdering, Clock, ClockSnapshot, CounterDescriptor, Data, DebugAnnotation, EventType, ProcessDescriptor,
    SiblingMerge, ThreadDescriptor, TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent, Value,
};
use super::ExportOptions;
use super::coarse::MergedSlices;
use super::frames::FrameTable;
use super::slices::{Edge, Visitor, walk};
use super::tracks::{ArrowEnd, Detail, StateSlice, Tracks};
use crate::stack::label::one_line;

mod interned;
pub(super) mod proto;

/// More slices are merged: a browser can hold about ten million events.
const MAX_SLICES: u64 = 3_000_000;

/// All packets are of one sequence.
const SEQUENCE: u32 = 1;

/// Kinds of tracks: the upper half of their ids, which are one space for the whole trace.
#[derive(Clone, Copy)]
enum TrackKind {
    Process = 1,
    Thread,
    Frames,
    ContendedTrack,
    Waiters,
}

fn uuid(kind: TrackKind, index: usize) -> u64 {
    ((kind as u64) << 32) + index as u64
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
    let mut trace = PerfettoTrace { out, buffer: Vec::new(), interned: Interned::default() };
    trace.begin(profile)?;
    for process in tracks.processes() {
        trace.process(profile, process.0 as usize)?;
    }
    for index in 0..tracks.contended.len() {
        trace.contended(profile, tracks, index)?;
    }
    let flows = Flows::new(tracks);
    let mut frames = FrameTable::new(profile, options);
    for (thread, tid, reused) in tracks.threads() {
        trace.describe_thread(profile, thread, tid, reused)?;
        let process = profile.threads[thread.0 as usize].process;
        for (index, slice) in tracks.states[thread.0 as usize].iter().enumerate() {
            let details = tracks.details(process, slice);
            trace.state(thread, slice, details, flows.of(thread, index), &mut frames)?;
        }
        let track = uuid(TrackKind::Frames, thread.0 as usize);
        walk(&tracks.stacks(thread), &mut PerfettoFrameTrack { trace: &mut trace, frames: &mut frames, track })?;
    }
    Ok(())
}

/// Ids of the arrows that leave and reach each slice.
struct Flows(FxHashMap<(ThreadId, usize), (Vec<u64>, Vec<u64>)>);

impl Flows {
    fn new(tracks: &Tracks<'_>) -> Flows {
        let mut flows: FxHashMap<_, (Vec<u64>, Vec<u64>)> = FxHashMap::default();
        // Viewers take a flow in the order in which its slices begin.
        let begins = |end: &ArrowEnd| tracks.states[end.thread.0 as usize][end.slice].span.start;
        let drawn = tracks.arrows.iter().filter(|arrow| begins(&arrow.from) < begins(&arrow.to));
        for (id, arrow) in (1..).zip(drawn) {
            flows.entry((arrow.from.thread, arrow.from.slice)).or_default().0.push(id);
            flows.entry((arrow.to.thread, arrow.to.slice)).or_default().1.push(id);
        }
        Flows(flows)
    }

    fn of(&self, thread: ThreadId, slice: usize) -> (&[u64], &[u64]) {
        self.0.get(&(thread, slice)).map_or((&[], &[]), |(begin, end)| (begin, end))
    }
}

/// The file being written.
struct PerfettoTrace<W> {
    out: W,
    buffer: Vec<u8>,
    interned: Interned,
}

impl<W: Write> PerfettoTrace<W> {
    fn packet(&mut self, packet: &TracePacket) -> io::Result<()> {
        // The field `packet` of the message `Trace`.
        prost::encoding::message::encode(1, packet, &mut self.buffer);
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Says what times are, and that nothing is interned so far.
    fn begin(&mut self, profile: &Profile) -> io::Result<()> {
        let clocks = vec![Clock { clock_id: proto::MONOTONIC, timestamp: profile.session.start.0 }];
        self.packet(&TracePacket {
            trusted_packet_sequence_id: SEQUENCE,
            sequence_flags: proto::INCREMENTAL_STATE_CLEARED,
            trace_packet_defaults: Some(TracePacketDefaults { timestamp_clock_id: proto::MONOTONIC }),
            data: Some(Data::ClockSnapshot(ClockSnapshot { clocks, primary_trace_clock: proto::MONOTONIC })),
            ..TracePacket::default()
        })
    }

    fn track(&mut self, track: TrackDescriptor) -> io::Result<()> {
        self.packet(&TracePacket {
            trusted_packet_sequence_id: SEQUENCE,
            data: Some(Data::TrackDescriptor(track)),
            ..TracePacket::default()
        })
    }

    fn event(&mut self, at: Nanos, event: TrackEvent) -> io::Result<()> {
        let packet = TracePacket {
            timestamp: Some(at.0),
            trusted_packet_sequence_id: SEQUENCE,
            interned_data: self.interned.take(),
            sequence_flags: proto::NEEDS_INCREMENTAL_STATE,
            data: Some(Data::TrackEvent(event)),
            ..TracePacket::default()
        };
        self.packet(&packet)
    }

    fn end(&mut self, track: u64, at: Nanos) -> io::Result<()> {
        self.event(at, TrackEvent { r#type: EventType::SliceEnd as i32, track_uuid: track, ..TrackEvent::default() })
    }

    fn details(&mut self, details: Vec<(&'static str, Detail)>) -> Vec<DebugAnnotation> {
        let annotate = |(key, detail)| DebugAnnotation {
            name_iid: self.interned.key(key),
            value: Some(match detail {
                Detail::Name(name) => Value::StringIid(self.interned.text(name)),
                Detail::Text(text) => Value::Text(text),
                Detail::Number(number) => Value::Uint(number),
            }),
        };
        details.into_iter().map(annotate).collect()
    }

    fn process(&mut self, profile: &Profile, index: usize) -> io::Result<()> {
        let info = &profile.processes[index];
        let process_name = one_line(&info.command.join(" "));
        self.track(TrackDescriptor {
            uuid: uuid(TrackKind::Process, index),
            process: Some(ProcessDescriptor {
                pid: info.pid,
                cmdline: info.command.iter().map(|word| one_line(word)).collect(),
                legacy_sort_index: index as i32,
                process_name,
            }),
            child_ordering: Some(ChildOrdering::Explicit as i32),
            ..TrackDescriptor::default()
        })
    }

    /// The track and the counter of a GIL or lock.
    fn contended(&mut self, profile: &Profile, tracks: &Tracks<'_>, index: usize) -> io::Result<()> {
        let one = &tracks.contended[index];
        let name = one.name(&tracks.contended);
        let track = uuid(TrackKind::ContendedTrack, index);
        let waiters = uuid(TrackKind::Waiters, index);
        // Before the threads.
        let rank = 2 * (index as i32 - tracks.contended.len() as i32);
        self.track(TrackDescriptor {
            uuid: track,
            name: Some(name.clone()),
            parent_uuid: Some(uuid(TrackKind::Process, one.process.0 as usize)),
            // Two locks can have one name.
            sibling_merge_behavior: Some(SiblingMerge::Never as i32),
            sibling_order_rank: Some(rank),
            description: Some("Who held it".to_owned()),
            ..TrackDescriptor::default()
        })?;
        self.track(TrackDescriptor {
            uuid: waiters,
            name: Some(format!("{name} waiters")),
            parent_uuid: Some(uuid(TrackKind::Process, one.process.0 as usize)),
            sibling_merge_behavior: Some(SiblingMerge::Never as i32),
            sibling_order_rank: Some(rank + 1),
            counter: Some(CounterDescriptor { unit_name: "threads".to_owned() }),
            description: Some("How many threads waited for it".to_owned()),
            ..TrackDescriptor::default()
        })?;
        for held in &tracks.holds[index] {
            let event = TrackEvent {
                r#type: EventType::SliceBegin as i32,
                track_uuid: track,
                name_iid: Some(self.interned.name(&held.name(profile))),
                debug_annotations: self.details(held.details()),
                ..TrackEvent::default()
            };
            self.event(held.start, event)?;
            self.end(track, held.end)?;
        }
        for (at, count) in one.waiters() {
            let event = TrackEvent {
                r#type: EventType::Counter as i32,
                track_uuid: waiters,
                counter_value: Some(i64::from(count)),
                ..TrackEvent::default()
            };
            self.event(at, event)?;
        }
        Ok(())
    }

    /// The tracks of a thread. One whose tid another had before it is no thread to viewers: they would be one.
    fn describe_thread(&mut self, profile: &Profile, thread: ThreadId, tid: i32, reused: bool) -> io::Result<()> {
        let info = &profile.threads[thread.0 as usize];
        let ProcessId(process) = info.process;
        let track = uuid(TrackKind::Thread, thread.0 as usize);
        let label = one_line(&profile.thread_label(thread));
        let own = TrackDescriptor { uuid: track, ..TrackDescriptor::default() };
        self.track(if reused {
            let parent_uuid = Some(uuid(TrackKind::Process, process as usize));
            TrackDescriptor { name: Some(label), parent_uuid, ..own }
        } else {
            let thread_name = info.name.as_deref().map(one_line);
            let (pid, tid) = (profile.process_of(thread).pid, i64::from(tid));
            let thread = ThreadDescriptor { pid, tid, legacy_sort_index: thread.0 as i32, thread_name };
            TrackDescriptor { thread: Some(thread), ..own }
        })?;
        self.track(TrackDescriptor {
            uuid: uuid(TrackKind::Frames, thread.0 as usize),
            name: Some("stack".to_owned()),
            parent_uuid: Some(track),
            description: Some("Where it was: seen now and then on the CPU, known off it".to_owned()),
            sibling_merge_behavior: Some(SiblingMerge::Never as i32),
            ..TrackDescriptor::default()
        })
    }

    fn state(
        &mut self,
        thread: ThreadId,
        slice: &StateSlice,
        details: Vec<(&'static str, Detail)>,
        (begin, end): (&[u64], &[u64]),
        frames: &mut FrameTable<'_>,
    ) -> io::Result<()> {
        let track_uuid = uuid(TrackKind::Thread, thread.0 as usize);
        let event = TrackEvent {
            r#type: EventType::SliceBegin as i32,
            track_uuid,
            name_iid: Some(self.interned.name(slice.name())),
            debug_annotations: self.details(details),
            flow_ids: begin.to_vec(),
            terminating_flow_ids: end.to_vec(),
            callstack_iid: slice.stack().map(|stack| self.interned.stack(stack, frames)),
            ..TrackEvent::default()
        };
        self.event(slice.span.start, event)?;
        self.end(track_uuid, slice.span.end)
    }
}

/// The frames of one thread.
struct PerfettoFrameTrack<'t, 'a, W> {
    trace: &'t mut PerfettoTrace<W>,
    frames: &'t mut FrameTable<'a>,
    track: u64,
}

impl<W: Write> Visitor for PerfettoFrameTrack<'_, '_, W> {
    type Error = io::Error;

    fn fill(&mut self, span: &Span, into: &mut Vec<u32>) {
        self.frames.push_stack(span.stack, into);
    }

    fn edge(&mut self, at: Nanos, edge: Edge) -> io::Result<()> {
        match edge {
            Edge::Open(frame) => {
                let name = &self.frames.entries()[frame as usize].name;
                let event = TrackEvent {
                    r#type: EventType::SliceBegin as i32,
                    track_uuid: self.track,
                    name_iid: Some(self.trace.interned.name(name)),
                    ..TrackEvent::default()
                };
                self.trace.event(at, event)
            }
            Edge::Close(_) => self.trace.end(self.track, at),
        }
    }
}

#[cfg(test)]
mod tests;
