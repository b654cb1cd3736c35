//! Reads traces back. That Perfetto's own schema reads them, too, is tested in `tests/suite/exports.rs`.

use std::collections::BTreeMap;

use prost::Message;

use super::*;
use crate::contention::{Handoff, Hold, Timeline};
use crate::event::{Event, GilInfo, OffCpu, ThreadState};
use crate::export::contended::{ContendedKind, ContendedTrack};
use crate::export::fixture;
use crate::profile::Mode;

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

fn read(profile: &Profile, tracks: &Tracks<'_>) -> Vec<TracePacket> {
    let mut out = Vec::new();
    write_tracks(profile, tracks, &ExportOptions::default(), &mut out).unwrap();
    File::decode(&*out).unwrap().packet
}

/// The slices of each track as `name start-end`, in milliseconds, in the order they end.
fn slices(packets: &[TracePacket], start: u64) -> BTreeMap<u64, Vec<String>> {
    let mut names = BTreeMap::new();
    let mut open: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let mut slices: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for packet in packets {
        for name in packet.interned_data.iter().flat_map(|data| &data.event_names) {
            assert!(names.insert(name.iid, name.name.clone()).is_none(), "{name:?} twice");
        }
        let Some(Data::TrackEvent(event)) = &packet.data else { continue };
        let at = (packet.timestamp.unwrap() - start) / 1_000_000;
        match event.r#type() {
            EventType::SliceBegin => {
                open.entry(event.track_uuid).or_default().push((names[&event.name_iid.unwrap()].clone(), at));
            }
            EventType::SliceEnd => {
                let (name, begin) = open.get_mut(&event.track_uuid).unwrap().pop().unwrap();
                slices.entry(event.track_uuid).or_default().push(format!("{name} {begin}-{at}"));
            }
            _ => {}
        }
    }
    assert!(open.values().all(Vec::is_empty));
    slices
}

#[test]
fn a_thread_has_states_and_frames_below_them() {
    let profile = fixture::profile();
    let tracks = Tracks::new(&profile, u64::MAX).unwrap();
    let packets = read(&profile, &tracks);
    let slices = slices(&packets, 1_000_000_000);
    assert_eq!(
        slices[&uuid(TrackKind::Thread, 0)],
        ["GIL held 0-3", "native 3-4", "GIL held off CPU 4-5", "GIL held 5-6"]
    );
    assert_eq!(
        slices[&uuid(TrackKind::Frames, 0)],
        [
            "work (pkg/core.py:20) 0-2",
            "work (pkg/core.py:21) 2-4",
            "work (pkg/core.py:20) 4-5",
            "main (app.py:10) 0-5"
        ]
    );
    let described = packets.iter().filter_map(|packet| match &packet.data {
        Some(Data::TrackDescriptor(track)) => Some(track),
        _ => None,
    });
    let described: BTreeMap<u64, &TrackDescriptor> = described.map(|track| (track.uuid, track)).collect();
    let thread = described[&uuid(TrackKind::Thread, 0)].thread.as_ref().unwrap();
    assert_eq!((thread.pid, thread.tid, thread.thread_name.as_deref()), (100, 100, Some("MainThread")));
    assert_eq!(described[&uuid(TrackKind::Frames, 0)].parent_uuid, Some(uuid(TrackKind::Thread, 0)));
    assert_eq!(described[&uuid(TrackKind::Process, 1)].process.as_ref().unwrap().cmdline, ["python;", "x"]);
    assert_eq!(packets[0].sequence_flags, proto::INCREMENTAL_STATE_CLEARED);
    // CLOCK_MONOTONIC is 3 to Perfetto: in the snapshot, and for all times.
    let Some(Data::ClockSnapshot(clock)) = &packets[0].data else { panic!("{:?}", packets[0]) };
    let default = packets[0].trace_packet_defaults.as_ref().unwrap().timestamp_clock_id;
    assert_eq!((clock.clocks[0].clock_id, clock.primary_trace_clock, default), (3, 3, 3));
    // Frames of stacks have their file and line.
    let data = || packets.iter().flat_map(|packet| &packet.interned_data);
    let name = data().flat_map(|data| &data.function_names).find(|name| name.str.starts_with("main (")).unwrap();
    let frame = data().flat_map(|data| &data.frames).find(|frame| frame.function_name_id == name.iid).unwrap();
    let path = data().flat_map(|data| &data.source_paths).find(|path| Some(path.iid) == frame.source_path_iid);
    assert_eq!((path.map(|path| path.str.as_str()), frame.line_number), (Some("/srv/app.py"), Some(10)));
    // A stack is written once, however many waits have it.
    let stacks: usize =
        packets.iter().flat_map(|packet| &packet.interned_data).map(|data| data.callstacks.len()).sum();
    assert_eq!(stacks, 2);
}

#[test]
fn a_gil_has_holders_waiters_and_flows() {
    const MS: u64 = 1_000_000;
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.mode = Mode::Kernel;
    (profile.session.end, profile.session.rate_hz) = (Nanos(20 * MS), 100.0);
    fixture::start(&mut profile, 7, &[70, 71, 70]);
    profile.threads.iter_mut().for_each(|thread| (thread.start, thread.end) = (Nanos(0), Nanos(0)));
    let stack = fixture::deep(&mut profile);
    for (thread, start, end) in [(0, 10, 20), (1, 0, 10)] {
        let (thread, start, end) = (ThreadId(thread), Nanos(start * MS), Nanos(end * MS));
        let state = ThreadState::GilWait;
        let off = OffCpu::new(thread, start, end, state, stack);
        profile.push(&Event::OffCpu(off));
    }
    for (thread, at) in [(0, 5), (1, 15)] {
        profile.push(&fixture::sample(thread, at * MS, ThreadState::GilHeld, stack));
        profile.push(&Event::ThreadExited { at: Nanos(20 * MS), thread: ThreadId(thread), cpu_ns: 0 });
    }
    let hold = |thread, from, to| Hold { start: Nanos(from * MS), end: Nanos(to * MS), thread: ThreadId(thread) };
    let at = Nanos(10 * MS);
    let timeline = Timeline {
        holds: vec![hold(0, 0, 10), hold(1, 10, 20)],
        waiters: vec![(Nanos(0), 1), (at, 1), (Nanos(20 * MS), 0)],
        handoffs: [(10, 10), (9, 12)]
            .map(|(released, acquired)| {
                let (released, acquired) = (Nanos(released * MS), Nanos(acquired * MS));
                Handoff { from: ThreadId(0), released, to: ThreadId(1), acquired }
            })
            .to_vec(),
    };
    let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 5 * MS };
    let gil = ContendedTrack { process: ProcessId(0), what: ContendedKind::Gil(&info), timeline: &timeline };
    let tracks = Tracks::with(&profile, vec![gil], u64::MAX).unwrap();
    let packets = read(&profile, &tracks);
    let slices = slices(&packets, 0);
    assert_eq!(slices[&uuid(TrackKind::ContendedTrack, 0)], ["thread 70 0-10", "thread 71 10-20"]);
    let events: Vec<(u64, &TrackEvent)> = packets
        .iter()
        .filter_map(|packet| match &packet.data {
            Some(Data::TrackEvent(event)) => Some((packet.timestamp.unwrap(), event)),
            _ => None,
        })
        .collect();
    let counts: Vec<_> = events.iter().filter_map(|(at, event)| Some((*at, event.counter_value?))).collect();
    assert_eq!(counts, [(0, 1), (20 * MS, 0)], "only changes");
    let (begin, from) = events.iter().find(|(_, event)| !event.flow_ids.is_empty()).unwrap();
    let (end, to) = events.iter().find(|(_, event)| !event.terminating_flow_ids.is_empty()).unwrap();
    assert_eq!(from.flow_ids, to.terminating_flow_ids);
    assert_eq!((*begin, from.track_uuid), (0, uuid(TrackKind::Thread, 0)), "from the slice in which it was held");
    assert_eq!((*end, to.track_uuid), (10 * MS, uuid(TrackKind::Thread, 1)));
    let waits = events.iter().filter(|(_, event)| event.callstack_iid.is_some());
    assert_eq!(waits.count(), 2, "both waits have their stack");
    // Every track has an id of its own, and those of GILs come before the threads, which have no rank: that is 0.
    let described = packets.iter().filter_map(|packet| match &packet.data {
        Some(Data::TrackDescriptor(track)) => Some(track),
        _ => None,
    });
    let described: Vec<&TrackDescriptor> = described.collect();
    let ids: std::collections::BTreeSet<u64> = described.iter().map(|track| track.uuid).collect();
    assert_eq!((ids.len(), ids.contains(&0)), (described.len(), false));
    let ranks: Vec<i32> = described.iter().filter_map(|track| track.sibling_order_rank).collect();
    assert!(ranks.len() == 2 && ranks.iter().all(|rank| *rank < 0), "{ranks:?}");
    let flows: Vec<u64> = events.iter().flat_map(|(_, event)| event.flow_ids.clone()).collect();
    assert_eq!(flows.len(), 2);
    assert_ne!(flows[0], flows[1], "each arrow has an id of its own");
    // A thread with the tid of another is none to viewers.
    let reused = packets.iter().find_map(|packet| match &packet.data {
        Some(Data::TrackDescriptor(track)) if track.uuid == uuid(TrackKind::Thread, 2) => Some(track),
        _ => None,
    });
    assert_eq!(reused.unwrap().thread, None);
}
