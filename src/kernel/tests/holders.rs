//! Waits that go on: what they are for is found out while they last, and counts when the process is gone.

use std::collections::BTreeMap;

use super::*;
use crate::cpython::locks::Lock;
use crate::event::LockKind;
use crate::interpreter::waits::{Awaited, BlockedThreads, ThreadWait};

const READ: Syscall = Syscall(0);
const NO_FLAGS: OffFlags = OffFlags(0);
const MS: u64 = 1_000_000;
/// Where the worker waits: a semaphore.
const SEMAPHORE: u64 = 0x7f00_0010;

impl Fixture {
    /// A thread sleeps in a call from this moment on.
    fn sleeps(&mut self, tid: Tid, call: Syscall, start: u64, stack: u64) -> WireOff {
        let asleep = off_record(tid, OffKind::Blocked, call, NO_FLAGS, stack);
        let asleep = WireOff { start, end: 0, lock: SEMAPHORE, ..asleep };
        self.kernel.retain(|known| known.0 != tid);
        self.kernel.push((tid, KernelThread { off: asleep, ..KernelThread::default() }));
        asleep
    }

    fn has_new_long_waits(&mut self, now: u64) -> bool {
        self.events(|traced, peek, sink, _| traced.has_new_long_waits(Nanos(now), peek, sink)).0
    }

    /// The worker was found to wait for a lock of this name that the main thread holds.
    fn note(&mut self, at: u64, asleep: &WireOff, name: &str) -> String {
        let lock = Lock { name: Some(name.to_owned()), ..Lock::new(asleep.lock, LockKind::Lock) };
        let wait = ThreadWait::new(Awaited::Lock(lock), asleep.lock, Some(self.main));
        let blocked = BlockedThreads { waits: BTreeMap::from([(self.worker, wait)]), ..BlockedThreads::default() };
        let events = self.events(|traced, peek, sink, _| traced.note_blocked(Nanos(at), &blocked, peek, sink)).1;
        self.words(&events)
    }

    /// All threads end at this moment, as those of a process that is killed do: nobody has woken them.
    fn killed(&mut self, at: u64, asleep: &[WireOff]) -> String {
        self.kernel.clear();
        for off in asleep {
            self.send(WireOff { end: at, ..*off }.as_bytes());
        }
        self.look(at + MS)
    }
}

#[test]
fn who_was_found_to_hold_a_lock_holds_it_until_the_process_is_killed() {
    let mut fixture = Fixture::with_gil();
    let waits = fixture.sleeps(fixture.worker, Syscall::FUTEX, 100 * MS, WORKER_STACK);
    let holds = fixture.sleeps(fixture.main, READ, 90 * MS, MAIN_STACK);
    assert!(!fixture.has_new_long_waits(500 * MS), "not long yet");
    assert!(fixture.has_new_long_waits(850 * MS));
    assert_eq!(
        fixture.note(860 * MS, &waits, "app.lock"),
        "lock 0: Lock, app.lock\nlock 0 held at 860000000 by B, in run:11"
    );
    assert!(!fixture.has_new_long_waits(1200 * MS), "it is known");
    assert_eq!(
        fixture.killed(2000 * MS, &[holds, waits]),
        "B off the CPU 90000000..2000000000: blocked in read, in run:11\nlock 0 held at 2000000000 by B, in run:11\nA off the CPU 100000000..2000000000: waits for lock 0, in step:22 < run:13"
    );
}

#[test]
fn who_has_run_since_may_have_released_it() {
    let mut fixture = Fixture::with_gil();
    let waits = fixture.sleeps(fixture.worker, Syscall::FUTEX, 100 * MS, WORKER_STACK);
    fixture.sleeps(fixture.main, READ, 90 * MS, MAIN_STACK);
    assert!(fixture.has_new_long_waits(850 * MS));
    fixture.note(860 * MS, &waits, "app.lock");
    let later = fixture.sleeps(fixture.main, READ, 1500 * MS, MAIN_STACK);
    let words = fixture.killed(2000 * MS, &[later, waits]);
    assert!(words.contains("A off the CPU 100000000..2000000000: waits for lock 0"), "{words}");
    assert!(!words.contains("held at"), "{words}");
}

#[test]
fn the_end_of_a_thread_is_no_lock() {
    let mut fixture = Fixture::with_gil();
    let record = off_record(fixture.worker, OffKind::Join, Syscall::FUTEX, NO_FLAGS, WORKER_STACK);
    fixture.send(WireOff { lock: 4711, ..record }.as_bytes());
    assert_eq!(
        fixture.look(4000),
        "lock 0: ThreadEnd, no name\nA off the CPU 1000..3000: awaits lock 0, in step:22 < run:13"
    );
}

#[test]
fn a_site_is_decoded() {
    let mut site = WireSite::new_zeroed();
    (site.header, site.id, site.words[63]) = (header(REC_SITE, 7), 9, 3);
    match KernelRecord::decode(site.as_bytes()) {
        Some((PID, KernelRecord::Site { id: 9, words, .. })) => assert_eq!(words.last(), Some(&3)),
        other => panic!("{other:?}"),
    }
}
