//! Recordings in memory: what was put in comes out, and whatever happens to the bytes, nothing panics.

use clap::ValueEnum;
use proptest::prelude::*;
use std::fs;
use std::sync::Arc;

use super::encode::Encoder;
use super::records::tag;
use super::wire::{put, put_text};
use super::{Reader, RecordingOrigin, block, load};
use crate::event::{Event, GilGlimpse, GilId, Nanos, OffCpu, ProcessId, ThreadId, ThreadState, Wake};
use crate::export::{self, FORMATS, Format, View};
use crate::filter::Filter;
use crate::profile::{BusyProcess, MachineUse, Mode, Profile, SessionInfo, UnobservedChild};
use crate::report::{Attribution, Report};
use crate::stack::{Frame, FrameKind, Interner, StackId};

mod hostile;
mod sessions;
mod versions;

pub(crate) use sessions::{Act, START, THREADS, session, some_act};

/// The number of cases, unless `PROPTEST_CASES` says otherwise.
fn cases(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn origin() -> RecordingOrigin {
    let (gilscope, boot) = ("0.1.0".to_owned(), "a boot".to_owned());
    RecordingOrigin { gilscope, boot, clock_offset_ns: -77, min_wait_ns: 7_000 }
}

/// The records of a session, without what ends them.
pub(crate) fn records(table: &Interner, events: &[Event], info: &SessionInfo) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.origin(&origin());
    encoder.session(&SessionInfo { end: info.start, ..info.clone() });
    events.iter().for_each(|event| encoder.event(event, table));
    encoder.session(info);
    encoder.records
}

/// A file of blocks.
fn file(blocks: &[&[u8]]) -> Vec<u8> {
    let blocks = blocks.iter().flat_map(|records| block::pack(records));
    block::header().into_iter().chain(blocks).collect()
}

pub(crate) fn complete(records: &[u8]) -> Vec<u8> {
    let mut end = Vec::new();
    put(&mut end, tag::END);
    file(&[records, &end])
}

/// The profile of a file.
fn loaded(bytes: &[u8], timeline: bool) -> Profile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, bytes).unwrap();
    load(file.path(), timeline, &Filter::default()).unwrap()
}

/// The profile of a session that was not recorded.
fn direct(table: Interner, events: &[Event], info: SessionInfo) -> Profile {
    let mut profile = Profile { stacks: table, ..Profile::default() };
    profile.keep_timeline();
    events.iter().for_each(|event| profile.push(event));
    profile.session =
        SessionInfo { waits: profile.session.waits, records_lost: profile.session.records_lost, ..info };
    profile.finish();
    profile
}

/// Everything that can be written of a profile.
fn everything(profile: &Profile) -> Vec<Vec<u8>> {
    written(profile, &FORMATS)
}

fn written(profile: &Profile, formats: &[Format]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for &format in formats {
        for &view in View::value_variants() {
            let options =
                export::ExportOptions { view, threads: true, idle: true, ..export::ExportOptions::default() };
            let mut out = Vec::new();
            export::write(profile, format, &options, &mut out).unwrap();
            all.push(out);
        }
    }
    all
}

pub(crate) fn some_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Kernel), Just(Mode::Memory)]
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_recording_gives_what_the_session_would_have_given(
        mode in some_mode(), acts in prop::collection::vec(some_act(), 0..120)
    ) {
        let (table, events, info) = session(mode, &acts);
        let file = complete(&records(&table, &events, &info));
        let mut reader = Reader::new(&*file).unwrap();
        let mut back = Interner::default();
        for event in &events {
            let read = reader.next(&mut back).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{:?}", Some(event)));
        }
        prop_assert!(reader.next(&mut back).unwrap().is_none());
        prop_assert_eq!(reader.origin(), origin());
        let (direct, replayed) = (direct(table, &events, info), loaded(&file, true));
        prop_assert_eq!(format!("{:?}", direct.session), format!("{:?}", replayed.session));
        prop_assert!(everything(&direct) == everything(&replayed), "an export differs");
    }
}

/// Something that happens to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Number(prop::sample::Index, u64),
    Cut(prop::sample::Index, u8),
    Again(prop::sample::Index, u8),
}

fn some_damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let number = prop_oneof![Just(u64::MAX), Just(1 << 62), (0..64u32).prop_map(|bit| 1u64 << bit), any::<u64>()];
    prop_oneof![
        6 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (index(), number).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => (index(), any::<u8>()).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (index(), any::<u8>()).prop_map(|(at, length)| Damage::Again(at, length)),
    ]
}

fn damage(bytes: &mut Vec<u8>, damages: &[Damage]) {
    for damage in damages {
        if bytes.is_empty() {
            return;
        }
        let range = |at: &prop::sample::Index, length: u8| {
            let start = at.index(bytes.len());
            start..(start + usize::from(length)).min(bytes.len())
        };
        match damage {
            Damage::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Damage::Number(at, number) => {
                let mut varint = Vec::new();
                put(&mut varint, *number);
                let at = at.index(bytes.len());
                bytes.splice(at..(at + 1), varint);
            }
            Damage::Cut(at, length) => {
                let range = range(at, *length);
                bytes.drain(range);
            }
            Damage::Again(at, length) => {
                let piece = bytes[range(at, *length)].to_vec();
                let at = at.index(bytes.len());
                bytes.splice(at..at, piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(1500))]

    /// The checksum is right: as if a gilscope with a defect had written it.
    #[test]
    fn damaged_records_are_survived(
        mode in some_mode(),
        acts in prop::collection::vec(some_act(), 1..40),
        damages in prop::collection::vec(some_damage(), 1..6),
    ) {
        let (table, events, info) = session(mode, &acts);
        let mut records = records(&table, &events, &info);
        damage(&mut records, &damages);
        let profile = loaded(&complete(&records), true);
        // Nothing of it is guaranteed but that it can be looked at.
        let report = Report::of(&profile, Attribution::Holder);
        crate::report::text::text(&report, Attribution::Waiter, false);
        // Firefox has a sample for every tick of a recording that may seem to have taken years: millions, and no more.
        let quick: Vec<_> =
            FORMATS.into_iter().filter(|format| format.name != "firefox").collect();
        prop_assert!(written(&profile, &quick).iter().map(Vec::len).sum::<usize>() < 64 << 20);
    }

    #[test]
    fn damaged_files_are_survived(
        acts in prop::collection::vec(some_act(), 1..40),
        damages in prop::collection::vec(some_damage(), 1..6),
    ) {
        let (table, events, info) = session(Mode::Kernel, &acts);
        let mut bytes = complete(&records(&table, &events, &info));
        damage(&mut bytes, &damages);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, &bytes).unwrap();
        if let Ok(profile) = load(file.path(), false, &Filter::default()) {
            Report::of(&profile, Attribution::Holder);
        }
    }
}

#[test]
fn a_recording_can_be_read_up_to_where_it_was_cut() {
    let acts: Vec<_> =
        (0..300).map(|number| (number % 4, 100, Act::Run { depth: number % 9, holds: true, lost: false })).collect();
    let (table, events, info) = session(Mode::Memory, &acts);
    let mut encoder = Encoder::default();
    encoder.session(&info);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for part in events.chunks(50) {
        part.iter().for_each(|event| encoder.event(event, &table));
        encoder
            .session(&SessionInfo { end: Nanos(START + 1_000_000_000 * (blocks.len() as u64 + 1)), ..info.clone() });
        blocks.push(std::mem::take(&mut encoder.records));
    }
    let whole = file(&blocks.iter().map(|records| &**records).collect::<Vec<_>>());
    let mut samples = 0;
    for length in (block::HEADER..whole.len()).step_by(37) {
        let profile = loaded(&whole[..length], false);
        assert!(profile.samples() >= samples, "more of the file is no less");
        samples = profile.samples();
        let notes = &profile.session.degraded;
        assert!(notes.iter().any(|note| note.contains("cut off after")), "{notes:?}");
    }
    assert!(samples > 300);
    // A changed bit in the middle.
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 4;
    let profile = loaded(&damaged, false);
    assert!(profile.samples() > 0 && profile.samples() < samples);
    assert!(profile.session.degraded.iter().any(|note| note.contains("damaged after")));
}

/// What is in recordings that people have: if that changes, they cannot be read any more. New kinds of records can be
/// added; for everything else the format needs another number.
#[test]
fn the_format_stays_what_it_is() {
    let off = |why| Act::Off { depth: 2, why, by: Some(2), holder: Some(1), lost: false };
    let acts = [off(0), off(3), off(4), off(6), off(7), off(8), Act::Run { depth: 8, holds: true, lost: true }];
    let rest = [
        Act::Run { depth: 1, holds: false, lost: false },
        Act::Name { number: 1 },
        Act::Held { lock: 1 },
        Act::Lost { count: 5 },
        Act::Spin { lock: None },
        Act::Deadlock { with: 2 },
    ];
    let accesses = (0..5).map(|what| Act::Access { depth: 1, what });
    let acts: Vec<_> =
        (0..).zip(acts.into_iter().chain(rest).chain(accesses)).map(|(at, act)| (at % 4, 5, act)).collect();
    let (table, events, info) = session(Mode::Kernel, &acts);
    let records = records(&table, &events, &info);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: Vec<String> = records.chunks(48).map(hex).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn children_that_were_not_observed_come_back_as_they_were_last() {
    let (table, events, mut info) = session(Mode::Memory, &[]);
    let child = |pid, cpu_ns| UnobservedChild {
        pid,
        command: vec!["python".to_owned(), "worker.py".to_owned()],
        is_python: pid == 7,
        cpu_ns,
    };
    info.unobserved = vec![child(7, 5)];
    let mut encoder = Encoder::default();
    encoder.session(&info);
    info.unobserved = vec![child(8, 600), child(7, 6)];
    encoder.records.extend(records(&table, &events, &info));
    assert_eq!(loaded(&complete(&encoder.records), false).session.unobserved, info.unobserved);
}

#[test]
fn who_had_the_cpus_comes_back_as_it_was_last() {
    let (table, events, mut info) = session(Mode::Kernel, &[]);
    let machine = |cpu_ns| MachineUse {
        span_ns: 5,
        cpus: 2,
        limit_percent: Some(150),
        throttled_ns: 7,
        others_ns: 9,
        others: vec![BusyProcess { pid: 8, name: "cc1".to_owned(), cpu_ns }],
    };
    info.machine = Some(machine(1));
    let mut encoder = Encoder::default();
    encoder.session(&info);
    info.machine = Some(machine(2));
    encoder.records.extend(records(&table, &events, &info));
    assert_eq!(loaded(&complete(&encoder.records), false).session.machine, info.machine);
}

#[test]
fn a_title_that_a_process_gives_itself_replaces_its_command_line() {
    let (table, mut events, info) = session(Mode::Kernel, &[]);
    let command: Arc<[String]> = ["gunicorn: worker [app]".to_owned()].into();
    events.push(Event::ProcessTitled { process: ProcessId(0), command: command.clone() });
    let profile = loaded(&complete(&records(&table, &events, &info)), false);
    assert_eq!(profile.processes[0].command, *command);
}

#[test]
fn what_is_no_recording_is_told_apart() {
    let error = |bytes: &[u8]| format!("{:#}", Reader::new(bytes).unwrap_err());
    for bytes in [&b""[..], b"\x93gscop", b"{}", b"main;work 12\n", b"\x93gscope\r\n\x01\0\0\0"] {
        assert!(error(bytes).starts_with("it is not a recording"), "{}", error(bytes));
    }
    assert!(error(b"\x93gscope\n\x01").contains("cut off"));
    let newer = error(b"\x93gscope\n\x05\0\0\0");
    assert!(newer.contains("newer gilscope (format 5; this one reads up to 4)"), "{newer}");
    assert!(newer.contains("update gilscope"), "it says what to do: {newer}");
    // Nothing after the header is a recording of nothing.
    assert_eq!(loaded(&block::header(), false).samples(), 0);
}

#[test]
fn recordings_that_are_joined_are_one_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, micros: u64, info: &dyn Fn(SessionInfo) -> SessionInfo| {
        let act = Act::Off { depth: 2, why: 6, by: None, holder: None, lost: false };
        let (table, events, end) = session(Mode::Kernel, &vec![(0, micros, act); 30]);
        let info = info(end);
        fs::write(path(name), complete(&records(&table, &events, &info))).unwrap();
        (events.len(), info)
    };
    let (first, a) = write("a.gscope", 700, &|info| info);
    // It began earlier and ended later, and cost something else.
    let (second, b) = write("b.gscope", 500, &|info| SessionInfo {
        start: Nanos(info.start.0 - 5_000),
        end: Nanos(info.end.0 + 50_000_000),
        profiler_cpu_ns: 3,
        stops: 11,
        ..info
    });
    assert!(b.start < a.start && b.end > a.end);
    for names in [["a.gscope", "b.gscope"], ["b.gscope", "a.gscope"]] {
        let whole = path("whole.gscope");
        let output = crate::output::Output::create(&whole, &[]).unwrap();
        let (_, session) = super::merge(&names.map(path), output).unwrap();
        assert_eq!((session.start, session.end), (b.start, b.end));
        assert_eq!(
            (session.profiler_cpu_ns, session.stops),
            (a.profiler_cpu_ns + b.profiler_cpu_ns, a.stops + b.stops)
        );
        let mut reader = Reader::open(&whole).unwrap();
        let mut table = Interner::default();
        let (mut count, mut last) = (0, Nanos(0));
        while let Some(event) = reader.next(&mut table).unwrap() {
            count += 1;
            let at = event.at().unwrap_or(last);
            assert!(at >= last, "{event:?} after {last:?}");
            last = at;
        }
        assert_eq!(count, first + second);
    }
}

#[test]
fn numbers_that_make_no_sense_are_not_believed() {
    let mut text = Vec::new();
    put(&mut text, tag::STRING);
    put(&mut text, u64::MAX);
    let mut command = Vec::new();
    put(&mut command, tag::PROCESS);
    put(&mut command, 1);
    put(&mut command, 1 << 60);
    put_text(&mut command, "python");
    let mut stack = Vec::new();
    [tag::STACK, 7, 0].into_iter().for_each(|number| put(&mut stack, number));
    for records in [text, command, stack, vec![23], vec![24], vec![0xff; 30]] {
        let profile = loaded(&complete(&records), false);
        assert!(profile.session.degraded[0].contains("damaged"), "{records:?}");
    }
}

/// A program that keeps eight threads busy: how many bytes a sample takes, and a wait. With `--nocapture` it prints them.
#[test]
fn a_busy_program_takes_few_bytes() {
    let mut random = 7u64;
    let mut below = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut measure = |samples: bool| {
        let (table, mut events, info) = session(Mode::Kernel, &[]);
        let table = many_stacks(table, 2000);
        let stacks: Vec<StackId> = table.stacks().iter().map(|&(caller, _)| caller).collect();
        let mut encoder = Encoder::default();
        events.drain(..).for_each(|event| encoder.event(&event, &table));
        let before = block::pack(&std::mem::take(&mut encoder.records)).len();
        const COUNT: u64 = 40_000;
        let (mut file, mut now, mut switches) = (before, START, 0u32);
        for number in 0..COUNT {
            let thread = ThreadId((number % u64::from(THREADS)) as u32);
            // Some stacks come more often than others.
            let spread = 1 + below(200);
            let stack = stacks[(below(spread) * 7) as usize % stacks.len()];
            now += below(5_000_000);
            let at = Nanos(now);
            encoder.event(
                &if samples {
                    Event::Sample { at, periods: 1, thread, state: ThreadState::GilHeld, stack, gil: Some(GilId(0)) }
                } else {
                    switches += below(3) as u32;
                    let holder = Some(ThreadId((thread.0 + 1) % THREADS));
                    let gil = GilGlimpse { gil: GilId(0), holder, locked: true, switches };
                    let wake =
                        Wake { at: Nanos(now - below(60_000)), by: holder, stack, switches: Some(switches + 1) };
                    Event::OffCpu(OffCpu {
                        wake: Some(wake),
                        gil: Some(gil),
                        ..OffCpu::new(
                            thread,
                            Nanos(now - 100_000 - below(5_000_000)),
                            at,
                            ThreadState::GilWait,
                            stack,
                        )
                    })
                },
                &table,
            );
            if encoder.records.len() > 64 << 10 {
                encoder.session(&info);
                file += block::pack(&std::mem::take(&mut encoder.records)).len();
            }
        }
        (file + block::pack(&encoder.records).len()) as f64 / COUNT as f64
    };
    let (sample, wait) = (measure(true), measure(false));
    println!("{sample:.1} bytes a sample, {wait:.1} a wait");
    assert!(sample <= 10.0, "{sample:.1} bytes a sample");
    assert!(wait <= 16.0, "{wait:.1} bytes a wait");
}

/// A tree of calls.
fn many_stacks(mut table: Interner, count: u32) -> Interner {
    let mut stacks = vec![StackId::EMPTY];
    for number in 0..count {
        let name = table.string(&format!("Handler.method_{}", number % 300));
        let file = table.string(&format!("/srv/app/package_{}/module.py", number % 40));
        let frame = table.frame(Frame {
            kind: FrameKind::Python,
            function: name,
            name,
            file,
            line: number % 900 + 1,
            first_line: number % 900,
        });
        let caller = stacks[(number as usize * 7 / 8).saturating_sub(number as usize % 5)];
        stacks.push(table.push(caller, frame));
    }
    table
}
