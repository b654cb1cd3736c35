//! From waits for a lock to what the report and the flame graph say of them.

use std::sync::Arc;

use crate::event::{Event, LockId, LockInfo, LockKind, Nanos, OffCpu, ProcessId, Syscall, ThreadState, Wake};
use crate::export::{ExportOptions, Format, View, write};
use crate::profile::Mode;
use crate::report::fixture::{self, MS};
use crate::report::model::{Blamed, Finding, Lock};
use crate::report::*;
use crate::stack::StackId;

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
    contended_while(ThreadState::Blocked(Syscall(1)))
}

/// The same, the holder doing something else off the CPU.
fn contended_while(idle: ThreadState) -> Profile {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "holder", "waiter", "worker"]);
    let [writes, waits, gets] = [("save", 10), ("add", 20), ("main", 30)]
        .map(|(function, line)| fixture::stack(&mut profile, function, line));
    let wait = {
        let table = &mut profile.stacks;
        let (name, file) = (table.string("wait"), table.string("/usr/lib/python3.13/threading.py"));
        let frame = table.frame(crate::stack::Frame {
            kind: crate::stack::FrameKind::Python,
            function: name,
            name,
            file,
            line: 350,
            first_line: 300,
        });
        table.push(gets, frame)
    };
    profile.push(&Event::Lock { lock: LIST, info: lock(LockKind::CriticalSection, "list", Some("app.inventory")) });
    let off = |thread, start: u64, end: u64, state, stack, wake| {
        let (start, end) = (Nanos(START + start * MS), Nanos(START + end * MS));
        Event::OffCpu(OffCpu { wake, ..OffCpu::new(thread, start, end, state, stack) })
    };
    for turn in (0..2000).step_by(100) {
        profile.push(&off(HOLDER, turn + 5, turn + 85, idle, writes, None));
        profile.push(&runs(Nanos(START + (turn + 88) * MS), HOLDER, writes));
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
    let report = Report::of(&contended(), Attribution::Holder);
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
    let report = Report::of(&contended(), Attribution::Holder);
    let found =
        |id: &str| report.findings.iter().find(|finding| finding.id == id).map(|found| found.message.as_str());
    assert_eq!(
        found("lock-held-off-cpu").unwrap(),
        "waiter waits 81 % of its time for the lock of list (app.inventory) in add (app.py:20) (20 waits, 1.62 s in all, longest \
         81.0 ms). 99 % of that time it is held by holder in save (app.py:10). 93 % of the time the holder itself was \
         blocked in write, in save (app.py:10). Make that call before acquiring the lock, or after."
    );
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    for (state, id, doing) in [
        (ThreadState::GilWait, "lock-hot", "the holder itself waited for the GIL, in save (app.py:10)."),
        (ThreadState::Runnable, "lock-held-off-cpu", "the holder itself had no CPU."),
    ] {
        let report = Report::of(&contended_while(state), Attribution::Holder);
        let told = |finding: &Finding| finding.id == id && finding.message.contains(doing);
        assert!(report.findings.iter().any(told), "{:#?}", report.findings);
    }
    let mut quiet = contended();
    quiet.session.end = Nanos(START + 100_000 * MS);
    assert_eq!(Report::of(&quiet, Attribution::Holder).findings, []);
}

#[test]
fn the_text_and_the_flame_graph_name_it() {
    let profile = contended();
    let text = text::text(&Report::of(&profile, Attribution::Holder), Attribution::Holder, false);
    for line in
        ["app.inventory: list", "list (app.inventory)", "save (app.py:10)", "add (app.py:20)", "main (app.py:30)"]
    {
        assert!(text.contains(line), "{line} is missing: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let mut folded = Vec::new();
    let options = ExportOptions { view: View::LockWait, ..ExportOptions::default() };
    write(&profile, Format::COLLAPSED, &options, &mut folded).unwrap();
    let expected = "<module> (app.py:1);add (app.py:20);[waiting for list (app.inventory)] 1620000\n";
    assert_eq!(String::from_utf8(folded).unwrap(), expected);
}

/// A thread is sampled on a CPU.
fn runs(at: Nanos, thread: ThreadId, stack: StackId) -> Event {
    Event::Sample { at, periods: 1, thread, state: ThreadState::Running, stack, gil: None }
}

/// Two threads call a function that takes the lock of an object for 100 us, one after the other.
fn one_at_a_time(calls: u64, line_of_other: u32) -> Report {
    calls_of(calls, line_of_other, &[WAITER, HOLDER])
}

/// The same; these hold it in turn, while another waits.
fn calls_of(calls: u64, line_of_other: u32, holders: &[ThreadId]) -> Report {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "holder", "waiter"]);
    let lines = [20, line_of_other].map(|line| fixture::stack(&mut profile, "add", line));
    profile.push(&Event::Lock { lock: LIST, info: lock(LockKind::CriticalSection, "list", Some("app.inventory")) });
    let threads = [HOLDER, WAITER];
    for turn in 0..calls {
        let by = holders[turn as usize % holders.len()];
        let other = usize::from(by == threads[1]);
        let own = 1 - other;
        let start = START + turn * MS / 10;
        if turn % 100 == 0 {
            profile.push(&runs(Nanos(start + MS / 20), by, lines[other]));
        }
        let wake = Wake { at: Nanos(start + MS / 10), by: Some(by), stack: lines[other], switches: None };
        profile.push(&Event::OffCpu(OffCpu {
            wake: Some(wake),
            ..OffCpu::new(threads[own], Nanos(start), Nanos(start + MS / 10), ThreadState::LockWait(LIST), lines[own])
        }));
    }
    fixture::finish(&mut profile);
    profile.finish();
    Report::of(&profile, Attribution::Holder)
}

#[test]
fn calls_that_go_one_at_a_time_are_told_from_a_lock_that_one_thread_keeps() {
    let found = |report: Report| report.findings.into_iter().map(|found| (found.id, found.message)).next().unwrap();
    let (id, message) = found(one_at_a_time(20_000, 20));
    assert_eq!(id, "lock-per-call");
    assert_eq!(
        message,
        "Calls in add (app.py:20) are serialized: each acquires the lock of list (app.inventory), and 1.0 threads wait \
         for it on average (20000 waits, 2.00 s in all, longest 100 us). Give each thread one of its own, and merge them at the end."
    );
    assert_eq!(found(one_at_a_time(20_000, 30)).0, "lock-hot", "another line holds it");
    assert_eq!(found(calls_of(20_000, 20, &[HOLDER])).0, "lock-hot", "one thread holds it all the time");
    assert_eq!(one_at_a_time(1_000, 20).findings, [], "0.05 threads wait");
    assert_eq!(found(Report::of(&contended(), Attribution::Holder)).0, "lock-held-off-cpu", "one thread keeps it");
}

#[test]
fn stops_are_told_with_their_reasons_and_how_they_change() {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "holder", "waiter"]);
    let line = fixture::stack(&mut profile, "tidy", 7);
    for (id, reason) in [(0, Some(LockInfo::COLLECTION)), (1, Some("fork")), (2, None)] {
        let (kind, name) = (LockKind::Pause, reason.map(Into::into));
        let info = LockInfo { process: ProcessId(0), address: 0, kind, type_name: None, name };
        profile.push(&Event::Lock { lock: LockId(id), info: Arc::new(info) });
    }
    for stop in 0..20 {
        let start = START + stop * 100 * MS;
        let end = Nanos(start + (stop + 1) * MS);
        let wake = Wake { at: end, by: Some(HOLDER), stack: line, switches: None };
        let state = ThreadState::Paused(LockId(if stop < 18 { 0 } else { stop as u32 - 17 }));
        let (thread, stack) = (WAITER, StackId::EMPTY);
        let start = Nanos(start);
        profile.push(&Event::OffCpu(OffCpu { wake: Some(wake), ..OffCpu::new(thread, start, end, state, stack) }));
    }
    fixture::finish(&mut profile);
    profile.finish();
    let report = Report::of(&profile, Attribution::Holder);
    let pauses = &report.pauses;
    let reasons: Vec<_> = pauses.reasons.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!((pauses.count, reasons), (20, vec![("fork", 1), ("gc", 18), ("other", 1)]));
    let trend = &pauses.trend;
    assert!(trend.is_sorted_by_key(|interval| (interval.max_s * 1e9) as u64), "{trend:?}");
    assert_eq!(trend.iter().map(|interval| interval.count).sum::<u64>(), 20);
    let total: f64 = trend.iter().map(|interval| interval.total_s).sum();
    assert!((total - 0.21).abs() < 1e-9, "{total}");
    assert!(trend[0].from_s < 0.2 && trend.last().unwrap().to_s <= 2.0, "{trend:?}");
    let text = text::text(&report, Attribution::Holder, false);
    let reasons = "  at least 20 times: 18 for garbage collection, 1 for fork, 1 for";
    assert!(text.contains(reasons), "{text}");
    assert!(text.contains("  over time\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// As above, but the third thread waits until a connection of urllib3's pool is free.
#[test]
fn who_waits_for_a_connection_of_a_pool_has_something_to_do() {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "crawler"]);
    let waits = [
        "_get_conn (/v/lib/python3.12/site-packages/urllib3/connectionpool.py)",
        "get (/usr/lib/python3.12/queue.py)",
        "wait (/usr/lib/python3.12/threading.py)",
    ];
    let stack = waits.iter().fold(StackId::EMPTY, |stack, frame| {
        let (function, file) = frame.trim_end_matches(')').split_once(" (").unwrap();
        let table = &mut profile.stacks;
        let (name, file) = (table.string(function), table.string(file));
        let frame = table.frame(crate::stack::Frame {
            kind: crate::stack::FrameKind::Python,
            function: name,
            name,
            file,
            line: 7,
            first_line: 1,
        });
        table.push(stack, frame)
    });
    let (start, end) = (Nanos(START), Nanos(START + 1500 * MS));
    let state = ThreadState::Blocked(Syscall::FUTEX);
    let off = OffCpu::new(HOLDER, start, end, state, stack);
    profile.push(&Event::OffCpu(off));
    fixture::finish(&mut profile);
    profile.finish();
    let report = Report::of(&profile, Attribution::Holder);
    assert_eq!(report.waiting_for_work, []);
    let waits = &report.waiting_for_limited[0];
    assert_eq!((waits.kind.as_str(), waits.by.thread.as_str(), waits.by.seconds), ("connection", "crawler", 1.5));
    let found = &report.findings[0];
    assert_eq!((found.id.as_str(), found.cost_s), ("no-free-connection", 1.5));
    assert!(
        found.message.contains("1.50 s in all, most of it in _get_conn (urllib3/connectionpool.py:7)"),
        "{}",
        found.message
    );
    let text = text::text(&report, Attribution::Holder, false);
    assert!(text.contains("Biggest cost: 0.8 threads wait for a free connection of a pool on average"), "{text}");
    assert!(!text.contains("Idle (normal)"), "{text}");
}

#[test]
fn locks_that_are_left_out_are_summed_up_and_blame_is_put_where_it_was_asked_for() {
    let blamed = |thread: &str| Blamed { tid: 7, thread: thread.to_owned(), seconds: 1.0, stack: Vec::new(), own: 0 };
    let mut report = Report::of(&contended(), Attribution::Holder);
    let one = report.locks[0].clone();
    report.locks = (1..=18)
        .map(|number| {
            let mut lock = Lock { label: format!("lock {number}"), ..one.clone() };
            (lock.wait.count, lock.wait.total_s) = (1, f64::from(number));
            (lock.holders, lock.releasers) = (vec![blamed("keeper")], vec![blamed("giver")]);
            lock
        })
        .collect();
    let of = |blame| crate::report::text::text(&report, blame, false);
    assert!(of(Attribution::Holder).contains("... and 3 more, 51.0 s in all"), "{}", of(Attribution::Holder));
    let has = |blame| (of(blame).contains("keeper (7)"), of(blame).contains("giver (7)"));
    assert_eq!(
        (has(Attribution::Holder), has(Attribution::Releaser), has(Attribution::Waiter)),
        ((true, false), (false, true), (false, false))
    );
}
