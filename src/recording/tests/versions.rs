//! Recordings of older versions, and frames of every kind.

use std::path::Path;

use super::{complete, direct, everything, loaded, records, session};
use crate::event::{Event, Nanos, ThreadId, ThreadState};
use crate::export::{self, Format, View};
use crate::profile::{Mode, Profile};
use crate::report::{Attribution, Report};
use crate::stack::{Frame, FrameKind, Interner, StackId};

/// Written by gilscope 0.1.0: three threads of a program that sleep with a lock, compute, and collect garbage, in kernel
/// mode.
const VERSION_1: &[u8] = include_bytes!("version-1.gscope");

/// What that gilscope said of it.
const OF_VERSION_1: &str = include_str!("version-1.txt");

fn collapsed(profile: &Profile, view: View) -> String {
    let mut out = Vec::new();
    let options = export::ExportOptions { view, ..export::ExportOptions::default() };
    export::write(profile, Format::COLLAPSED, &options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn recordings_of_version_1_say_what_they_said() {
    assert_eq!(VERSION_1[8..12], [1, 0, 0, 0]);
    let profile = loaded(VERSION_1, true);
    assert!(profile.session.degraded.is_empty(), "{:?}", profile.session.degraded);
    let views = [("cpu", View::Cpu), ("gil-wait", View::GilWait), ("lock-wait", View::LockWait)];
    let text: String = views.map(|(name, view)| format!("# {name}\n{}", collapsed(&profile, view))).concat();
    assert_eq!(text, OF_VERSION_1);
    let report = Report::of(&profile, Attribution::Holder);
    assert_eq!((report.session.samples, report.threads.len()), (7, 4));
    let (gil, lock) = (&report.gils[0], &report.locks[0]);
    assert_eq!((gil.wait.count, gil.wait.total_s), (20, 0.159068418));
    assert_eq!((&*lock.label, lock.wait.count), ("threading.Lock (app.cache_lock)", 10));
    assert!(report.collections.held_s > 0.0, "its markers are markers");
}

#[test]
fn an_old_recording_is_written_anew_as_one_of_this_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("old.gscope"), VERSION_1).unwrap();
    let copy = |from: &Path, to: &Path| {
        let output = crate::output::Output::create(to, &[]).unwrap();
        crate::recording::copy(from, output, &Default::default()).unwrap();
    };
    copy(&path("old.gscope"), &path("new.gscope"));
    let bytes = std::fs::read(path("new.gscope")).unwrap();
    assert_eq!(bytes[8..12], super::block::VERSION.to_le_bytes());
    let (old, new) = (loaded(VERSION_1, true), loaded(&bytes, true));
    assert!(everything(&old) == everything(&new), "an export differs");
}

/// Native code called from Python, with a marker on top.
fn mixed_stack(table: &mut Interner) -> StackId {
    let mut frame = |kind, function: &str, file: &str, line| {
        let (function, file) = (table.string(function), table.string(file));
        table.frame(Frame { kind, function, name: function, file, line, first_line: line })
    };
    let frames = [
        frame(FrameKind::Python, "main", "/srv/app.py", 3),
        frame(FrameKind::Native, "inflate", "/usr/lib/libz.so.1", 0),
        frame(FrameKind::Marker, "[garbage collection]", "", 0),
        // Python's own frames can be without a file, and look like a marker.
        frame(FrameKind::Python, "[x]", "", 1),
    ];
    frames.into_iter().fold(StackId::EMPTY, |stack, frame| table.push(stack, frame))
}

#[test]
fn frames_of_every_kind_come_back_and_are_in_every_export() {
    let (mut table, mut events, info) = session(Mode::Kernel, &[]);
    let stack = mixed_stack(&mut table);
    let state = ThreadState::GilHeld;
    let at = Nanos(info.end.0 - 1);
    events.push(Event::Sample { at, periods: 1, thread: ThreadId(0), state, stack, gil: None });
    let replayed = loaded(&complete(&records(&table, &events, &info)), true);
    let kinds: Vec<FrameKind> =
        replayed.stacks.all_frames().iter().rev().take(4).rev().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [FrameKind::Python, FrameKind::Native, FrameKind::Marker, FrameKind::Python]);
    assert_eq!(
        collapsed(&replayed, View::Cpu),
        "python app.py [4000];main (app.py:3);inflate (libz.so.1);[garbage collection];[x] 1\n"
    );
    let direct = direct(table, &events, info);
    assert!(everything(&direct) == everything(&replayed), "an export differs");
    for format in ["svg", "speedscope", "chrome", "perfetto", "firefox"].map(|name| Format::named(name).unwrap()) {
        let mut out = Vec::new();
        export::write(&replayed, format, &export::ExportOptions::default(), &mut out).unwrap();
        assert!(String::from_utf8_lossy(&out).contains("inflate (libz.so.1)"), "{format:?}");
    }
}
