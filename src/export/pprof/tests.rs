//! Reads profiles back.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

use super::super::fixture;
use super::*;
use crate::event::{Event, Nanos, OffCpu, ThreadId};

fn read(profile: &Profile, options: &Options) -> proto::Profile {
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
    let profile = read(&fixture::profile(), &Options { view: View::Wall, ..Options::default() });
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
        measured.push(&Event::OffCpu(OffCpu {
            thread: ThreadId(1),
            start: Nanos(start),
            end: Nanos(end),
            state: ThreadState::GilWait,
            stack,
            lost: false,
            wake: None,
            gil: None,
            open: false,
        }));
    }
    let profile = read(&measured, &Options { view: View::GilWait, threads: true, ..Options::default() });
    assert_eq!(types(&profile), [("contentions", "count"), ("delay", "nanoseconds")]);
    let [sample] = &*profile.sample else { panic!("{:?}", profile.sample) };
    assert_eq!(sample.value, [2, 12_000]);
    assert_eq!(shown(&profile, sample).0, "python app.py [100]:0;thread 101:0;a:1;b:2;c:3;[waiting for GIL]:0");
    assert_eq!(profile.time_nanos, 77);
}

#[test]
fn lines_of_a_function_are_one_if_asked_for() {
    let options = Options { functions: true, ..Options::default() };
    let profile = read(&fixture::profile(), &options);
    let work = profile.function.iter().find(|function| text(&profile, function.name) == "work").unwrap();
    assert_eq!(work.start_line, 20);
    let locations = profile.location.iter().filter(|location| location.line[0].function_id == work.id);
    assert_eq!(locations.count(), 1);
}
