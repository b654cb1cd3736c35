//! From waits for a lock to what the report and the flame graph say of them.

use std::sync::Arc;

use super::fixture::{self, MS};
use super::*;
use crate::event::{Event, LockId, LockInfo, LockKind, Nanos, OffCpu, ProcessId, Syscall, ThreadState, Wake};
use crate::export::{Format, Options, View, write};
use crate::profile::Mode;

const HOLDER: ThreadId = ThreadId(1);
const WAITER: ThreadId = ThreadId(2);
const WORKER: ThreadId = ThreadId(3);
const LIST: LockId = LockId(0);
const START: u64 = 5_000 * MS;

fn lock(kind: LockKind, type_name: &str, name: Option<&str>) -> Arc<LockInfo> {
    let (type_name, name) = (Some(type_name.into()), name.map(Into::into));
    Arc::new(LockInfo { process: ProcessId(0), address: 0x7f00_1000, kind, type_name, name })
}

/// One thread writes with the lock of a list held, for 90 of each 100 ms; another waits for it. A third waits for work.
fn contended() -> Profile {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "holder", "waiter", "worker"]);
    let [writes, waits, gets] = [("save", 10), ("add", 20), ("main", 30)]
        .map(|(function, line)| fixture::stack(&mut profile, function, line));
    let wait = {
        let table = &mut profile.stacks;
        let (name, file) = (table.string("wait"), table.string("/usr/lib/python3.13/threading.py"));
        let frame = table.frame(crate::intern::Frame { function: name, name, file, line: 350, first_line: 300 });
        table.push(gets, frame)
    };
    profile.push(&Event::Lock { lock: LIST, info: lock(LockKind::CriticalSection, "list", Some("app.inventory")) });
    let off = |thread, start: u64, end: u64, state, stack, wake| {
        let (start, end) = (Nanos(START + start * MS), Nanos(START + end * MS));
        Event::OffCpu(OffCpu { thread, start, end, state, stack, lost: false, wake, gil: None, open: false })
    };
    let write = Syscall(1);
    for turn in (0..2000).step_by(100) {
        profile.push(&off(HOLDER, turn + 5, turn + 85, ThreadState::Blocked(write), writes, None));
        let wake = Wake { at: Nanos(START + (turn + 90) * MS), by: Some(HOLDER), stack: writes, switches: None };
        profile.push(&off(WAITER, turn + 10, turn + 91, ThreadState::LockWait(LIST), waits, Some(wake)));
    }
    profile.push(&off(WORKER, 0, 1900, ThreadState::Blocked(Syscall::FUTEX), wait, None));
    fixture::finish(&mut profile);
    profile.finish();
    profile
}

#[test]
fn a_lock_is_told_of_with_who_waits_and_who_holds_it() {
    let report = Report::of(&contended(), Blame::Holder);
    let lock = &report.locks[0];
    assert_eq!((lock.kind.as_str(), lock.label.as_str()), ("critical_section", "list (app.inventory)"));
    assert_eq!((lock.type_name.as_deref(), lock.name.as_deref()), (Some("list"), Some("app.inventory")));
    assert_eq!((lock.contended, lock.parked, lock.wait.total_s), (20, 20, 1.62));
    assert_eq!((lock.caused_s, lock.gap_s, lock.unknown_s), (1.6, 0.02, 0.0));
    assert_eq!(lock.holders.len(), 1);
    assert_eq!((lock.holders[0].thread.as_str(), lock.holders[0].stack[0].as_str()), ("holder", "save (app.py:10)"));
    assert_eq!(lock.holder_off_cpu[0].syscall.as_deref(), Some("write"));
    assert_eq!((lock.holder_off_cpu[0].by.seconds * 1e3).round(), 1500.0);
    assert_eq!(report.threads[2].states.lock_wait_s, 1.62);
    let idle = &report.waiting_for_work[0];
    assert_eq!((idle.kind.as_str(), idle.by.thread.as_str(), idle.by.seconds), ("condition", "worker", 1.9));
}

#[test]
fn what_is_wrong_with_it_is_found() {
    let report = Report::of(&contended(), Blame::Holder);
    let found =
        |id: &str| report.findings.iter().find(|finding| finding.id == id).map(|found| found.message.as_str());
    let hot = found("lock-hot").unwrap();
    assert!(hot.contains("list (app.inventory)") && hot.contains("add (app.py:20)"), "{hot}");
    let idle = found("lock-held-off-cpu").unwrap();
    assert!(idle.contains("holder (101) is blocked in write in save (app.py:10)"), "{idle}");
    let mut quiet = contended();
    quiet.session.end = Nanos(START + 100_000 * MS);
    assert_eq!(Report::of(&quiet, Blame::Holder).findings, []);
}

#[test]
fn the_text_and_the_flame_graph_name_it() {
    let profile = contended();
    let text = text::text(&Report::of(&profile, Blame::Holder), Blame::Holder, false);
    for line in
        ["app.inventory: list", "list (app.inventory)", "save (app.py:10)", "add (app.py:20)", "main (app.py:30)"]
    {
        assert!(text.contains(line), "{line} is missing: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let mut folded = Vec::new();
    let options = Options { view: View::LockWait, ..Options::default() };
    write(&profile, Format::Collapsed, &options, &mut folded).unwrap();
    let expected = "<module> (app.py:1);add (app.py:20);[waiting for list (app.inventory)] 1620000\n";
    assert_eq!(String::from_utf8(folded).unwrap(), expected);
}
