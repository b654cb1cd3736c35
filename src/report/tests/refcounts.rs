//! From samples at reference counts to what the report and the flame graph say of them.

use std::sync::Arc;

use crate::event::{Accessed, CountOp, Counting, Event, MemoryPlace, Nanos, ObjectId, ObjectInfo, ProcessId};
use crate::export::{ExportOptions, Format, View, write};
use crate::profile::Mode;
use crate::report::{fixture, *};

const SETTINGS: ObjectId = ObjectId(0);
const NONE: ObjectId = ObjectId(1);
const OWN: ObjectId = ObjectId(2);

fn object(id: ObjectId, type_name: &str, name: Option<&str>, counting: Counting) -> Event {
    let info = ObjectInfo {
        process: ProcessId(0),
        address: 0x2000 + 32 * u64::from(id.0),
        type_name: type_name.into(),
        name: name.map(Into::into),
        len: (type_name == "dict").then_some(3),
        counting,
        owner: Some(ThreadId(1)),
    };
    Event::Object { object: id, info: Arc::new(info) }
}

/// Two threads ask the same settings all the time.
fn shared() -> Profile {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "first", "second"]);
    let stack = fixture::stack(&mut profile, "ask", 10);
    profile.push(&object(SETTINGS, "dict", None, Counting::Biased));
    profile.push(&object(NONE, "NoneType", None, Counting::Immortal));
    profile.push(&object(OWN, "list", None, Counting::Biased));
    profile.push(&object(SETTINGS, "dict", Some("app.settings"), Counting::Biased));
    let at = Nanos(5_000 * fixture::MS);
    let count = |object, op, atomic| Accessed::Count { object, op, atomic };
    let mutex = Accessed::Elsewhere(MemoryPlace::ObjectMutex);
    for (thread, accessed, times) in [
        (1, count(SETTINGS, CountOp::Incref, true), 100),
        (2, count(SETTINGS, CountOp::Decref, true), 120),
        (2, count(SETTINGS, CountOp::TryIncref, false), 80),
        (1, count(NONE, CountOp::Incref, false), 50),
        (2, count(NONE, CountOp::Incref, false), 50),
        (1, count(OWN, CountOp::Incref, false), 50),
        (2, mutex, 20),
        (1, Accessed::Nothing, 530),
    ] {
        for _ in 0..times {
            profile.push(&Event::Access { at, thread: ThreadId(thread), stack, accessed });
        }
    }
    fixture::finish(&mut profile);
    profile.finish();
    profile
}

#[test]
fn an_object_is_told_of_with_its_part_of_the_cpu_time() {
    let report = Report::of(&shared(), Attribution::Holder);
    let counts = &report.refcounts;
    assert_eq!((counts.samples, counts.cpu_fraction, counts.unavailable.as_deref()), (1000, 0.3, None));
    // 1.96 standard deviations of 1,000 throws of which 300 hit.
    assert_eq!(counts.margin, 0.028403);
    let [settings] = &counts.objects[..] else { panic!("{counts:#?}") };
    assert_eq!((settings.label.as_str(), settings.length), ("dict (app.settings)", Some(3)));
    assert_eq!((settings.samples, settings.atomic, settings.threads), (300, 220, 2));
    let operations: Vec<_> = settings.operations.iter().map(|(name, samples)| (name.as_str(), *samples)).collect();
    assert_eq!(operations, [("decref", 120), ("incref", 100), ("try-incref", 80)]);
    assert_eq!((counts.lines[0].line.as_str(), counts.lines[0].samples), ("ask (app.py:10)", 300));
    assert_eq!((counts.types[0].type_name.as_str(), counts.types[0].objects), ("dict", 1));
    assert_eq!(counts.elsewhere.object_mutex, 0.02);
    assert!(report.findings.iter().any(|finding| finding.id == "refcount-hot"));
}

#[test]
fn the_text_says_whose_count_it_is() {
    let report = Report::of(&shared(), Attribution::Holder);
    let text = text::text(&report, Attribution::Holder, false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let from = text.find("Reference counts: 30 % of the CPU time (").unwrap();
    insta::assert_snapshot!(&text[from..], @r"
    Reference counts: 30 % of the CPU time (+/- 2.8 %, estimated from samples)
    object                               of                  by in- atomic
                                        CPU  samples threads   cref    ops
    app.settings: dict                 30 %      300       2   60 %   73 %

    dict (app.settings)
    at 0x2000, 3 items, owned by first, counted: biased
       100 %  second (102) and 1 more
               ask (app.py:10)
               <module> (app.py:1)
    Give each thread an object of its own; 3.14 counts fewer uses of local
      variables.

    Other atomic operations, in % of the CPU time, whether shared or not
    objects' own locks 2.0 %
    ");
}

#[test]
fn the_flame_graph_has_the_object_on_top() {
    let mut out = Vec::new();
    let options = ExportOptions { view: View::Refcount, ..ExportOptions::default() };
    let summary = write(&shared(), Format::COLLAPSED, &options, &mut out).unwrap();
    assert_eq!(summary.amount, 300);
    let lines = String::from_utf8(out).unwrap();
    assert_eq!(lines, "<module> (app.py:1);ask (app.py:10);[reference count of dict (app.settings)] 300\n");
}

#[test]
fn why_there_is_nothing_to_see() {
    let of = |mode, free_threaded| {
        let mut profile = fixture::profile(mode, free_threaded, &[""]);
        fixture::finish(&mut profile);
        Report::of(&profile, Attribution::Holder).refcounts.unavailable.unwrap()
    };
    assert!(of(Mode::Kernel, false).contains("has a GIL"));
    assert!(of(Mode::Memory, true).contains("perf_event_paranoid"));
    assert!(of(Mode::Kernel, true).contains("no thread was found on a CPU"));
}
