//! Pools of threads, and of connections.

use crate::event::{Event, Nanos, OffCpu, Syscall, ThreadId, ThreadState};
use crate::profile::{Mode, Profile};
use crate::report::fixture::{self, END, MS};
use crate::report::{Attribution, Report};
use crate::stack::{Frame, FrameKind, StackId};

const SLEEP: ThreadState = ThreadState::Blocked(Syscall(syscalls::Sysno::clock_nanosleep as i16));
const FUTEX: ThreadState = ThreadState::Blocked(Syscall::FUTEX);
const EXECUTOR: &str = "/usr/lib/python3.12/concurrent/futures/thread.py";
const PACKAGE: &str = "/v/lib/python3.12/site-packages/sqlalchemy";

/// A stack of functions, outermost first.
fn stack(profile: &mut Profile, frames: &[(&str, &str)]) -> StackId {
    let table = &mut profile.stacks;
    frames.iter().fold(StackId::EMPTY, |caller, (function, file)| {
        let (name, file) = (table.string(function), table.string(file));
        let kind = FrameKind::Python;
        let frame = table.frame(Frame { kind, function: name, name, file, line: 7, first_line: 1 });
        table.push(caller, frame)
    })
}

/// A thread was off the CPU, in milliseconds since the recording began.
fn off(profile: &mut Profile, thread: u32, (from, to): (u64, u64), state: ThreadState, stack: StackId) {
    let begin = END.0 - 2000 * MS;
    let off = OffCpu::new(ThreadId(thread), Nanos(begin + from * MS), Nanos(begin + to * MS), state, stack);
    profile.push(&Event::OffCpu(off));
}

/// Two threads of an executor, whose queue has some length for the first half, and then nothing.
fn executor(queued: u64, work: ThreadState, idle_ms: u64) -> Report {
    let mut profile = fixture::profile(Mode::Kernel, true, &["", "jobs_0", "jobs_1"]);
    let idle = stack(&mut profile, &[("_worker", EXECUTOR)]);
    let busy = stack(&mut profile, &[("_worker", EXECUTOR), ("run", EXECUTOR), ("export", "/srv/app.py")]);
    for thread in [1, 2] {
        off(&mut profile, thread, (0, idle_ms), FUTEX, idle);
        off(&mut profile, thread, (idle_ms, 1000), work, busy);
        off(&mut profile, thread, (1000, 2000), FUTEX, idle);
    }
    for tick in 0..20 {
        let at = Nanos(END.0 - 2000 * MS + tick * 100 * MS + MS);
        let length = if tick < 10 { queued } else { 0 };
        profile.push(&Event::QueueLength { at, thread: ThreadId(1), queue: 0x5000, length });
    }
    fixture::finish(&mut profile);
    profile.finish();
    Report::of(&profile, Attribution::Holder)
}

fn is_full(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.id == "pool-full")
}

#[test]
fn a_pool_is_full_if_all_its_threads_have_work_while_something_waits() {
    let report = executor(12, SLEEP, 0);
    let pool = &report.pools[0];
    assert_eq!((pool.kind.as_str(), pool.name.as_str(), pool.size, pool.tids.len()), ("executor", "jobs", 2, 2));
    assert_eq!((pool.busy_mean, pool.saturated_fraction), (1.0, 1.0));
    assert_eq!((pool.queued_mean, pool.queued_max), (Some(6.0), Some(12)));
    let work = &pool.work[0];
    assert_eq!((work.line.as_str(), work.syscall.as_deref()), ("export (app.py:7)", Some("clock_nanosleep")));
    assert_eq!((work.by.seconds, work.blocked_fraction), (2.0, 1.0));
    let finding = report.findings.iter().find(|finding| finding.id == "pool-full").unwrap();
    assert_eq!(
        finding.message,
        "All 2 threads of the executor jobs are busy for 100 % of the time in which calls wait for one: 6.0 calls wait \
         in its queue on average, at most 12. 100 % of their time is spent in export (app.py:7), blocked in \
         clock_nanosleep. Make the pool larger, or give export (app.py:7) a pool of its own."
    );
}

#[test]
fn a_pool_with_nothing_in_its_queue_or_with_idle_threads_or_without_the_gil_is_not_full() {
    assert!(!is_full(&executor(0, SLEEP, 0)), "nothing waits");
    assert!(!is_full(&executor(12, SLEEP, 500)), "idle half of that time");
    assert!(!is_full(&executor(12, ThreadState::GilWait, 0)), "that is the GIL's finding");
    assert!(!is_full(&executor(12, ThreadState::Runnable, 0)), "more threads would not get a CPU either");
}

#[test]
fn threads_that_never_get_a_connection_are_told_from_a_pool_that_is_too_small() {
    let waits = [("request", "/srv/app.py"), ("connect", &format!("{PACKAGE}/pool/base.py"))];
    let wait = ("_do_get", &*format!("{PACKAGE}/pool/impl.py"));
    let queue = [("get", &*format!("{PACKAGE}/util/queue.py")), ("wait", "/usr/lib/python3.12/threading.py")];
    let report = |waited: &[u64]| {
        let names = ["", "request-0", "request-1", "request-2", "request-3"];
        let mut profile = fixture::profile(Mode::Kernel, true, &names[..=waited.len()]);
        let frames: Vec<(&str, &str)> = waits.iter().copied().chain([wait]).chain(queue).collect();
        let (waiting, query) = (stack(&mut profile, &frames), stack(&mut profile, &[("request", "/srv/app.py")]));
        for (thread, &ms) in (1..).zip(waited) {
            off(&mut profile, thread, (0, ms), FUTEX, waiting);
            off(&mut profile, thread, (ms, 2000), SLEEP, query);
        }
        fixture::finish(&mut profile);
        profile.finish();
        let report = Report::of(&profile, Attribution::Holder);
        let finding = report.findings.iter().find(|finding| finding.id == "no-free-connection").unwrap();
        finding.message.clone()
    };
    assert_eq!(
        report(&[0, 2000, 2000, 2000]),
        "3 of 4 threads never get a connection of the pool: they wait in request (app.py:7) all the time (6.00 s in \
         all), while request-0 gets one whenever it asks. Who has one spends 100 % of that time in request (app.py:7), \
         blocked in clock_nanosleep. That is unfair, the pool need not be too small: who gives a connection back and \
         asks again gets it before those that wait. Keep a connection for several pieces of work, or have as many as \
         there are threads."
    );
    let fair = report(&[1500, 1500, 1500, 1500]);
    assert!(fair.contains("3.0 threads wait for a free connection of a pool on average, 6.00 s in all"), "{fair}");
    assert!(fair.contains("spends 100 % of that time in request (app.py:7), blocked in clock_nanosleep"), "{fair}");
    assert!(!fair.contains("unfair"), "{fair}");
}
