//! Files that are made to cost much: what reading one takes is limited by its size.

use super::super::wire::put_signed;
use super::*;

/// Records that any other can refer to: a session, a process, a thread, a GIL, a lock, a string, a frame and a stack.
fn first() -> Vec<u8> {
    let (table, info) = (Interner::default(), SessionInfo { rate_hz: 100.0, ..SessionInfo::default() });
    let mut out = records(&table, &[], &info);
    let record = |out: &mut Vec<u8>, kind: u64, numbers: &[u64]| {
        put(out, kind);
        numbers.iter().for_each(|&number| put(out, number));
    };
    put(&mut out, tag::PROCESS);
    [1, 0].iter().for_each(|&number| put(&mut out, number));
    put_text(&mut out, "3.12.1");
    out.push(0);
    record(&mut out, tag::THREAD_STARTED, &[0, 0, 1]);
    record(&mut out, tag::GIL, &[0, 0, 0, 0, 1, 5_000_000, 0]);
    record(&mut out, tag::LOCK, &[0, 0, 16, 1, 0, 0]);
    put(&mut out, tag::STRING);
    put_text(&mut out, "f");
    record(&mut out, tag::FRAME, &[0, 0, 0, 1, 0]);
    record(&mut out, tag::STACK, &[0, 0]);
    record(&mut out, tag::SAMPLE_CONTEXT, &[0, 0, 1, 1, u64::from(u32::MAX), 0]);
    record(&mut out, tag::WAIT_CONTEXT, &[0, 4, 1, 0b10000, 0, 0]);
    record(&mut out, tag::SAMPLE_CONTEXT, &[0, 0, 0, 0, 1, 0]);
    out
}

/// Appends a record; the number counts them.
type PutRecord = Box<dyn Fn(u64, &mut Vec<u8>)>;

/// One record of each kind that can come again and again, whose last number grows from one to the next.
fn kinds() -> Vec<(&'static str, PutRecord)> {
    fn numbers(numbers: &'static [u64]) -> PutRecord {
        Box::new(move |_, out| numbers.iter().for_each(|&number| put(out, number)))
    }
    let named = |kind: u64, before: &'static [u64], after: &'static [u64]| -> PutRecord {
        Box::new(move |_, out| {
            put(out, kind);
            before.iter().for_each(|&number| put(out, number));
            put_text(out, "name");
            after.iter().for_each(|&number| put(out, number));
        })
    };
    let grows = |kind: u64, after: &'static [u64]| -> PutRecord {
        Box::new(move |number, out| {
            put(out, kind);
            put(out, number + 1);
            after.iter().for_each(|&number| put(out, number));
        })
    };
    vec![
        ("strings", named(tag::STRING, &[], &[])),
        ("frames", numbers(&[tag::FRAME, 0, 0, 0, 1, 0])),
        ("stacks", grows(tag::STACK, &[0])),
        ("native frames", numbers(&[tag::OTHER_FRAME, 0, 0, 0])),
        ("processes", named(tag::PROCESS, &[1, 0], &[0])),
        ("command lines", numbers(&[tag::PROCESS_TITLED, 0, 3, 0, 0, 0])),
        ("threads", numbers(&[tag::THREAD_STARTED, 0, 0, 1])),
        ("names", named(tag::THREAD_NAMED, &[0], &[])),
        ("ends", numbers(&[tag::THREAD_EXITED, 0, 0, 1])),
        ("locks", grows(tag::LOCK, &[0, 16, 1, 0, 0])),
        ("notes", named(tag::NOTE, &[], &[])),
        ("holders", numbers(&[tag::LOCK_HELD, 2, 0, 0, 1])),
        ("circles", named(tag::DEADLOCK, &[2, 1, 0], &[])),
        ("children", named(tag::CHILDREN, &[1, 7, 1], &[1, 5])),
        ("queues", numbers(&[tag::QUEUE_LENGTH, 2, 0, 77, 1])),
        ("collections", numbers(&[tag::COLLECTED, 2, 0, 1, 1, 1])),
        ("contexts", numbers(&[tag::FORGET_CONTEXTS, tag::SAMPLE_CONTEXT, 0, 0, 1, 0, 1, 0])),
        ("accounts", numbers(&[tag::ACCOUNT, 2, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])),
        ("samples", numbers(&[tag::FIRST_CONTEXT + 2, 2])),
        ("waits", numbers(&[tag::FIRST_CONTEXT + 1, 2, 100, 2])),
        (
            "waits that come in the wrong order",
            Box::new(|number, out| {
                put(out, tag::FIRST_CONTEXT + 1);
                let back = if number == 0 { 1 << 50 } else { -201_i64 };
                put_signed(out, back);
                put(out, 100);
                put_signed(out, 1);
            }),
        ),
    ]
}

#[test]
fn no_kind_of_record_costs_more_than_a_multiple_of_the_file() {
    for (kind, record) in kinds() {
        let mut blocks = vec![first()];
        let mut block = Vec::new();
        for number in 0..6_000_000 {
            record(number, &mut block);
            if block.len() > 3 << 19 {
                break;
            }
        }
        blocks.push(block);
        let bytes = file(&blocks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut reader = Reader::new(&*bytes).unwrap();
        let (mut profile, mut table, mut events) = (Profile::default(), Interner::default(), 0_u64);
        while let Some(event) = reader.next(&mut table).unwrap() {
            profile.push_recorded(&event, &table, &SessionInfo::default());
            events += 1;
        }
        profile.finish();
        let size = bytes.len() as u64;
        assert!(events <= (1 << 20) + 128 * size, "{kind}: {events} events of {size} bytes");
        assert!(profile.threads.len() as u64 <= (64 << 20) / 256 + size, "{kind}");
        let ends = |what: &str| reader.session().degraded.iter().any(|note| note.contains(what));
        let is_bomb = block_of(&blocks[1]) * 256 + (1 << 20) < blocks[1].len() as u64;
        assert!(ends(if is_bomb { "holds more" } else { "cut off" }) || ends("holds more"), "{kind}");
    }
}

/// How many bytes a block has in the file.
fn block_of(records: &[u8]) -> u64 {
    block::pack(records).len() as u64
}

#[test]
fn views_of_deep_stacks_cost_no_more_than_their_frames() {
    let mut records = first();
    for depth in 1..60_000 {
        [tag::STACK, depth, 0].iter().for_each(|&number| put(&mut records, number));
    }
    // Each of them is seen.
    for depth in 1..20_000 {
        [tag::SAMPLE_CONTEXT, 0, 0, 40_000 + depth, 0, 1, 0].iter().for_each(|&number| put(&mut records, number));
        if depth % 10_000 == 0 {
            put(&mut records, tag::FORGET_CONTEXTS);
        }
    }
    let bytes = file(&[&records]);
    let mut reader = Reader::new(&*bytes).unwrap();
    while reader.next(&mut Interner::default()).unwrap().is_some() {}
    let packed = bytes.len() as u64;
    let frames = (1 << 26) + (packed << 12);
    assert_eq!(reader.session().degraded[0].contains("holds more"), 20_000 * 50_000 > frames, "{packed}");
}
