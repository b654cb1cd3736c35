"""Reads a Perfetto trace with Perfetto's own schema (PyPI: perfetto) the way its importer does, and prints it as JSON.

Fails where the importer would count an error: what was not interned, slices that do not nest, flows that lead nowhere,
events of unknown tracks.
"""

import json
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

INTERNED = {
    "event_names": "name",
    "debug_annotation_names": "name",
    "debug_annotation_string_values": "str",
    "function_names": "str",
    "source_paths": "str",
    "mapping_paths": "str",
}

trace = pb.Trace()
with open(sys.argv[1], "rb") as file:
    data = file.read()
trace.ParseFromString(data)
# This parser takes packed numbers for others, the importer does not.
assert len(trace.SerializeToString()) == len(data), "not encoded as the schema says"

interned = {}
tracks, events, clocks = {}, [], []
for packet in trace.packet:
    assert packet.trusted_packet_sequence_id == 1
    if packet.sequence_flags & pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
        interned = {kind: {} for kind in [*INTERNED, "mappings", "frames", "callstacks"]}
        default_clock = packet.trace_packet_defaults.timestamp_clock_id
    for kind, table in interned.items():
        for entry in getattr(packet.interned_data, kind):
            assert entry.iid not in table, f"{kind} {entry.iid} twice"
            value = getattr(entry, INTERNED[kind]) if kind in INTERNED else entry
            table[entry.iid] = value.decode() if isinstance(value, bytes) else value
    if packet.HasField("clock_snapshot"):
        snapshot = packet.clock_snapshot
        clocks = [clock.clock_id for clock in snapshot.clocks]
        assert snapshot.primary_trace_clock == default_clock == clocks[0]
    if packet.HasField("track_descriptor"):
        track = packet.track_descriptor
        assert track.uuid not in tracks, f"track {track.uuid} twice"
        tracks[track.uuid] = track
    if packet.HasField("track_event"):
        event = packet.track_event
        assert packet.sequence_flags & pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        assert event.track_uuid in tracks, event
        # What is interned is valid from this packet on.
        texts = {}
        for note in event.debug_annotations:
            value = getattr(note, note.WhichOneof("value"))
            if note.HasField("string_value_iid"):
                value = interned["debug_annotation_string_values"][value]
            texts[interned["debug_annotation_names"][note.name_iid]] = value
        name = interned["event_names"][event.name_iid] if event.name_iid else None
        stack = None
        if event.callstack_iid:
            frames = [interned["frames"][iid] for iid in interned["callstacks"][event.callstack_iid].frame_ids]
            for frame in frames:
                mapping = interned["mappings"][frame.mapping_id]
                assert [interned["mapping_paths"][iid] for iid in mapping.path_string_ids] == ["python"]
                assert not frame.source_path_iid or interned["source_paths"][frame.source_path_iid]
            stack = [interned["function_names"][frame.function_name_id] for frame in frames]
        events.append((packet.timestamp, event, name, texts, stack))


def label(track):
    return {
        "name": track.name,
        "parent": str(track.parent_uuid),
        "pid": track.process.pid or track.thread.pid,
        "tid": track.thread.tid,
        "thread": track.thread.thread_name,
        "process": track.process.process_name,
        "counter": track.counter.unit_name,
    }


# As the importer sorts: by time, and in the order of the file where that is the same.
events.sort(key=lambda event: event[0])
opened, slices, counters, flows = {}, [], [], {}
for at, event, name, texts, stack in events:
    # Ids as strings: they do not fit the numbers of JSON.
    track = str(event.track_uuid)
    stacked = opened.setdefault(track, [])
    if event.type == pb.TrackEvent.TYPE_SLICE_BEGIN:
        one = {"track": track, "name": name, "start": at, "depth": len(stacked), "args": texts, "stack": stack}
        stacked.append(one)
        slices.append(one)
        for flow in event.flow_ids:
            assert flow not in flows, f"flow {flow} begins twice"
            flows[flow] = [track, None]
        for flow in event.terminating_flow_ids:
            assert flows[flow][1] is None, f"flow {flow} ends twice"
            flows[flow][1] = track
    elif event.type == pb.TrackEvent.TYPE_SLICE_END:
        one = stacked.pop()
        one["end"] = at
        assert one["start"] < at, one
    elif event.type == pb.TrackEvent.TYPE_COUNTER:
        counters.append({"track": track, "at": at, "value": event.counter_value})
    else:
        raise AssertionError(event)
assert not any(opened.values()), "slices left open"
assert all(end is not None for _, end in flows.values()), "a flow that leads nowhere"
json.dump(
    {
        "clocks": clocks,
        "tracks": {str(uuid): label(track) for uuid, track in tracks.items()},
        "slices": slices,
        "counters": counters,
        "flows": list(flows.values()),
    },
    sys.stdout,
)
