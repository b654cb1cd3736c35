//! Reads profiles back.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::event::{Event, Nanos, OffCpu, ThreadId};
use crate::export::fixture;

fn read(profile: &Profile, options: &ExportOptions) -> proto::Profile {
    let (mut zipped, mut bytes) = (Vec::new(), Vec::new());
    write(profile, options, &mut zipped).unwrap();
    GzDecoder::new(&*zipped).read_to_end(&mut bytes).unwrap();
    proto::Profile::decode(&*bytes).unwrap()
}

fn text(profile: &proto::Profile, index: i64) -> &str {
    &profile.string_table[index as usize]
}

/// The frames of a sample, outermost first, and its labels.
fn shown(profile: &proto::Profile, sample: &Sample) -> (String, BTreeMap<String, String>) {
    let frame = |id: &u64| {
        let location = &profile.location[*id as usize - 1];
        assert_eq!(location.id, *id, "ids are places in the table");
        let line = location.line[0];
        let function = &profile.function[line.function_id as usize - 1];
        format!("{}:{}", text(profile, function.name), line.line)
    };
    let frames: Vec<String> = sample.location_id.iter().rev().map(frame).collect();
    let label = |label: &Label| {
        let value = if label.str == 0 { label.num.to_string() } else { text(profile, label.str).to_owned() };
        (text(profile, label.key).to_owned(), value)
    };
    (frames.join(";"), sample.label.iter().map(label).collect())
}

fn types(profile: &proto::Profile) -> Vec<(&str, &str)> {
    profile.sample_type.iter().map(|one| (text(profile, one.r#type), text(profile, one.unit))).collect()
}

#[test]
fn samples_count_and_last_a_period_each() {
    let profile = read(&fixture::profile(), &ExportOptions { view: View::Wall, ..ExportOptions::default() });
    assert_eq!(types(&profile), [("samples", "count"), ("wall", "nanoseconds")]);
    assert_eq!(text(&profile, profile.default_sample_type), "wall");
    assert_eq!((profile.period, profile.duration_nanos), (10_000_000, 10_000_000));
    let sum = |index: usize| profile.sample.iter().map(|sample| sample.value[index]).sum::<i64>();
    assert_eq!((sum(0), sum(1)), (14, 140_000_000));
    let all: Vec<_> = profile.sample.iter().map(|sample| shown(&profile, sample)).collect();
    let (frames, labels) = all.iter().find(|(frames, _)| frames.ends_with("[native]:0")).unwrap();
    assert_eq!(frames, "python app.py [100]:0;main:10;work:21;[native]:0");
    let expected = [
        ("process", "python app.py [100]"),
        ("state", "native"),
        ("thread id", "100"),
        ("thread name", "MainThread"),
    ];
    assert_eq!(*labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let (_, labels) = all.iter().find(|(frames, _)| frames.ends_with("[waiting for GIL]:0")).unwrap();
    assert_eq!((&*labels["lock name"], &*labels["lock kind"]), ("GIL", "gil"));
    assert!(profile.string_table[0].is_empty());
}

#[test]
fn measured_waits_are_contentions_with_their_delay() {
    let mut measured = fixture::profile();
    measured.session.mode = Mode::Kernel;
    measured.session.started_unix_ns = 77;
    measured.tree = Default::default();
    let stack = fixture::deep(&mut measured);
    for (start, end) in [(10_000, 15_000), (20_000, 27_000)] {
        measured.push(&Event::OffCpu(OffCpu::new(
            ThreadId(1),
            Nanos(start),
            Nanos(end),
            ThreadState::GilWait,
            stack,
        )));
    }
    let profile = read(&measured, &ExportOptions { view: View::GilWait, threads: true, ..ExportOptions::default() });
    assert_eq!(types(&profile), [("contentions", "count"), ("delay", "nanoseconds")]);
    let [sample] = &*profile.sample else { panic!("{:?}", profile.sample) };
    assert_eq!(sample.value, [2, 12_000]);
    assert_eq!(shown(&profile, sample).0, "python app.py [100]:0;thread 101:0;a:1;b:2;c:3;[waiting for GIL]:0");
    assert_eq!(profile.time_nanos, 77);
}

#[test]
fn lines_of_a_function_are_one_if_asked_for() {
    let options = ExportOptions { functions: true, ..ExportOptions::default() };
    let profile = read(&fixture::profile(), &options);
    let work = profile.function.iter().find(|function| text(&profile, function.name) == "work").unwrap();
    assert_eq!(work.start_line, 20);
    let locations = profile.location.iter().filter(|location| location.line[0].function_id == work.id);
    assert_eq!(locations.count(), 1);
}

#[test]
fn waits_say_what_for_and_notes_are_comments() {
    use crate::event::{LockId, LockInfo, LockKind, ProcessId, Syscall};
    let mut profile = fixture::profile();
    profile.session.mode = Mode::Kernel;
    profile.session.degraded = vec!["something was not as it should be".to_owned()];
    let (process, kind, name) = (ProcessId(0), LockKind::RLock, Some("app.lock".into()));
    let info = LockInfo { process, address: 1, kind, type_name: None, name };
    let label = info.label();
    profile.push(&Event::Lock { lock: LockId(0), info: info.into() });
    let read = Syscall(syscalls::Sysno::read as i16);
    for (thread, state) in [(1, ThreadState::LockWait(LockId(0))), (0, ThreadState::Blocked(read))] {
        profile.push(&fixture::sample(thread, 5, state, StackId::EMPTY));
    }
    let read = read_all(&profile);
    let labels = |state: &str| {
        let all = read.sample.iter().map(|sample| shown(&read, sample).1);
        all.filter(|labels| labels["state"] == state).collect::<Vec<_>>()
    };
    let waits = &labels("lock wait")[0];
    assert_eq!((&waits["lock name"], waits["lock kind"].as_str()), (&label, kind.name()));
    assert!(labels("blocked").iter().any(|labels| labels["system call"] == "read"));
    assert!(labels("native").iter().all(|labels| !labels.contains_key("system call")));
    let period = read.period_type.unwrap();
    assert_eq!((text(&read, period.r#type), text(&read, period.unit)), ("cpu", "nanoseconds"));
    let comments: Vec<&str> = read.comment.iter().map(|&comment| text(&read, comment)).collect();
    assert!(comments.contains(&"something was not as it should be"), "{comments:?}");
}

fn read_all(profile: &Profile) -> proto::Profile {
    read(profile, &ExportOptions { view: View::Wall, ..ExportOptions::default() })
}

#[test]
fn functions_of_one_name_in_one_file_are_two() {
    let mut profile = fixture::profile();
    for line in [10, 20] {
        let table = &mut profile.stacks;
        let (function, file) = (table.string("__init__"), table.string("/srv/app.py"));
        let frame = crate::stack::Frame {
            kind: crate::stack::FrameKind::Python,
            function,
            name: function,
            file,
            line,
            first_line: line,
        };
        let frame = table.frame(frame);
        let stack = table.push(StackId::EMPTY, frame);
        profile.push(&fixture::sample(0, 5, ThreadState::GilHeld, stack));
    }
    let profile = read_all(&profile);
    let lines = profile.function.iter().filter(|function| text(&profile, function.name) == "__init__");
    assert_eq!(lines.map(|function| function.start_line).collect::<Vec<_>>(), [10, 20]);
}
