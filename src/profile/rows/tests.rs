use super::*;
use crate::contention::fixture::stack;
use crate::event::{GilGlimpse, GilInfo, LockInfo, LockKind, Nanos, ThreadState, Wake};
use crate::profile::Mode;
use crate::report::{Attribution, Report};
use crate::snapshot::Snapshot;

const MAIN: ThreadId = ThreadId(0);
const LOCK: LockId = LockId(0);
const GIL: GilId = GilId(0);
const US: u64 = 1000;

/// A program that starts a thread for each request.
struct Server {
    profile: Profile,
    now: u64,
    started: u32,
    /// What its threads have waited in all, in nanoseconds.
    waited: u64,
}

impl Server {
    fn new() -> Server {
        let mut profile = Profile::default();
        profile.session.mode = Mode::Kernel;
        profile.session.rate_hz = 100.0;
        let process = ProcessId(0);
        let info = crate::event::ProcessInfo {
            pid: 100,
            command: vec!["server".to_owned()],
            python: "3.12".to_owned(),
            free_threaded: false,
        };
        profile.push(&Event::Process { process, info: info.into() });
        let gil = GilInfo { process, interpreter: 0, enabled: true, switch_interval_ns: 5_000_000 };
        profile.push(&Event::Gil { at: Nanos(0), gil: GIL, info: gil.into(), switched_on_by: None });
        let lock = LockInfo { process, address: 16, kind: LockKind::Lock, type_name: None, name: Some("db".into()) };
        profile.push(&Event::Lock { lock: LOCK, info: lock.into() });
        let mut server = Server { profile, now: 1_000_000, started: 0, waited: 0 };
        server.start("MainThread");
        server
    }

    fn start(&mut self, name: &str) -> ThreadId {
        let thread = ThreadId(self.started);
        self.started += 1;
        let at = Nanos(self.now);
        let tid = 1000 + (self.started % 30_000) as i32;
        self.profile.push(&Event::ThreadStarted { at, thread, process: ProcessId(0), tid });
        self.profile.push(&Event::ThreadNamed { thread, name: name.into() });
        thread
    }

    /// A thread waits for the lock, then for the GIL, each for 100 us that the main thread causes; and ends.
    fn request(&mut self, name: &str) {
        let thread = self.start(name);
        for state in [ThreadState::LockWait(LOCK), ThreadState::GilWait] {
            let start = self.now + 10 * US;
            self.now = start + 100 * US;
            let glimpse = GilGlimpse { gil: GIL, holder: Some(MAIN), locked: true, switches: self.started };
            let off = OffCpu {
                wake: Some(Wake { at: Nanos(self.now - US), by: Some(MAIN), stack: stack(2), switches: None }),
                gil: Some(glimpse),
                ..OffCpu::new(thread, Nanos(start), Nanos(self.now), state, stack(1))
            };
            self.waited += off.end.since(off.start);
            self.profile.push(&Event::OffCpu(off));
        }
        self.now += 10 * US;
        self.profile.push(&Event::Sample {
            at: Nanos(self.now),
            periods: 1,
            thread: MAIN,
            state: ThreadState::GilHeld,
            stack: stack(2),
            gil: Some(GIL),
        });
        self.profile.push(&Event::ThreadExited { at: Nanos(self.now), thread, cpu_ns: 20 * US });
    }

    fn requests(&mut self, count: u32) {
        (0..count).for_each(|number| self.request(&format!("Thread-{number} (handle)")));
    }

    fn finish(&mut self) {
        self.profile.session.end = Nanos(self.now);
        self.profile.finish();
    }

    /// Waits for the GIL and for the lock, and the parts to which they are attributed.
    fn sums(&self) -> [u64; 2] {
        let gil = self.profile.gils[0].summary(1e7).contention;
        let lock = self.profile.locks.summaries(1e7).remove(0).contention;
        let of = |contention: &crate::contention::Contention| {
            let parts = contention.caused_ns + contention.gap_ns + contention.unknown_ns;
            assert_eq!(parts, contention.waits.total_ns);
            let by_holder: u64 = contention.by_holder.iter().map(|blame| blame.ns).sum();
            assert_eq!(by_holder, contention.caused_ns);
            let by_waiter: u64 = contention.by_waiter.iter().map(|blame| blame.ns).sum();
            assert_eq!(by_waiter, contention.waits.total_ns);
            contention.waits.total_ns
        };
        [of(&gil), of(&lock)]
    }
}

#[test]
fn a_million_threads_take_the_room_of_some() {
    let mut server = Server::new();
    // The rest of a million costs as much again and again, and shows the same.
    for count in [2_000, 98_000] {
        server.requests(count);
        let profile = &server.profile;
        assert!(profile.threads.len() < 3 * MAX_ENDED, "{}", profile.threads.len());
        assert!(profile.tree.iter().count() < 9 * MAX_ENDED);
        assert!(profile.rows.rows.as_ref().unwrap().len() < MAX_KNOWN_FOLDED + 3 * MAX_ENDED);
    }
    server.finish();
    let [gil, lock] = server.sums();
    assert_eq!((gil + lock, gil), (server.waited, lock));
    let threads = &server.profile.threads;
    assert_eq!(threads.len(), 2, "the main thread and all others");
    assert_eq!(threads[1].shown_name().as_deref(), Some("Thread-* (handle) (100000 threads)"));
    assert_eq!(threads[1].lived_ns(), 100_000 * 230 * US);
    let report = Report::of(&server.profile, Attribution::Holder);
    let row = report.threads.iter().find(|thread| thread.tid == 0).unwrap();
    let states: f64 = crate::event::ACTIVITIES.iter().map(|row_of| row.states.of(row_of.activity)).sum();
    assert!((states - row.wall_s).abs() < 1e-6 * row.wall_s, "{states} {}", row.wall_s);
    assert!((row.wall_s - 23.0).abs() < 1e-6);
    let waiters = format!("{:?}", report.gils[0]);
    assert!(waiters.contains("100000 threads (Thread-* (handle))"), "{waiters}");
}

#[test]
fn few_of_a_kind_keep_their_rows() {
    let mut server = Server::new();
    (0..10).for_each(|number| server.request(&format!("loader-{number}")));
    server.requests(3_000);
    server.finish();
    let named = |name: &str| {
        server.profile.threads.iter().filter(|info| info.name.as_deref().is_some_and(|it| it.contains(name))).count()
    };
    assert_eq!((named("loader-"), named("Thread-*"), named("MainThread")), (10, 1, 1));
    // More kinds than there is room for.
    let mut server = Server::new();
    let letters =
        |number: u32| format!("{number:08}").chars().map(|digit| (digit as u8 + 49) as char).collect::<String>();
    (0..5_000).for_each(|number| server.request(&letters(number)));
    assert!(server.profile.threads.len() < 3 * MAX_ENDED + MAX_KEPT + MAX_KINDS);
    server.finish();
    assert_eq!(server.profile.threads.iter().map(ThreadInfo::count).sum::<u64>(), 5_001);
    assert_eq!(server.sums().iter().sum::<u64>(), server.waited);
}

#[test]
fn what_comes_of_threads_that_are_gone_is_counted() {
    let mut server = Server::new();
    server.requests(20_000);
    let samples = |server: &Server| server.profile.tree.iter().map(|(_, weight)| weight.samples).sum::<u64>();
    let before = samples(&server);
    for thread in [1, 15_000, 19_999, 20_000].map(ThreadId) {
        let at = Nanos(server.now);
        let sample =
            Event::Sample { at, periods: 1, thread, state: ThreadState::GilHeld, stack: stack(3), gil: Some(GIL) };
        server.profile.push(&sample);
        server.profile.push(&Event::ThreadNamed { thread, name: "changed".into() });
        server.profile.push(&Event::ThreadExited { at, thread, cpu_ns: 7 });
    }
    server.finish();
    assert_eq!(samples(&server), before + 4);
    let counted: u64 = server.profile.threads.iter().map(|info| info.folded.count).sum();
    assert_eq!(counted, 19_998, "those that still had rows of their own have another name");
}

#[test]
fn snapshots_are_compared_over_changes_of_rows() {
    let mut server = Server::new();
    let snapshot = |server: &mut Server| {
        server.profile.session.end = Nanos(server.now);
        Snapshot::of(Nanos(server.now), &server.profile, &[])
    };
    server.requests(700);
    let first = snapshot(&mut server);
    server.requests(900);
    let second = snapshot(&mut server);
    server.requests(5_000);
    let third = snapshot(&mut server);
    for (now, before, requests) in [(&second, &first, 900), (&third, &first, 5_900), (&third, &second, 5_000)] {
        let since = now.since(before);
        assert_eq!(since.profile.threads.len(), now.profile.threads.len());
        let off_cpu: u64 = since.profile.tree.iter().map(|(_, weight)| weight.off_cpu_ns).sum();
        assert_eq!(off_cpu, requests * 200 * US);
        let waits = &since.gils[0].contention.waits;
        assert_eq!(waits.total_ns, now.gils[0].contention.waits.total_ns - before.gils[0].contention.waits.total_ns);
        let shares: u64 = since.gils[0].threads.iter().map(|share| share.waits.total_ns).sum();
        assert_eq!(shares, waits.total_ns);
        let lived: u64 = since.profile.threads.iter().skip(1).map(ThreadInfo::lived_ns).sum();
        let known_before: u64 = before.profile.threads.iter().skip(1).map(ThreadInfo::lived_ns).sum();
        let all: u64 = now.profile.threads.iter().skip(1).map(ThreadInfo::lived_ns).sum();
        assert_eq!(lived, all - known_before);
    }
}

#[test]
fn many_locks_share_rows() {
    let mut server = Server::new();
    let mut waited = 0;
    for number in 1..3 * MAX_LOCKS {
        let kind = if number % 2 == 0 { LockKind::Lock } else { LockKind::RLock };
        let address = 16 * u64::from(number);
        let info = LockInfo { process: ProcessId(0), address, kind, type_name: None, name: None };
        let lock = LockId(number);
        server.profile.push(&Event::Lock { lock, info: info.into() });
        server.now += 100 * US;
        let start = Nanos(server.now - 50 * US);
        waited += 50 * US;
        let off = OffCpu::new(MAIN, start, Nanos(server.now), ThreadState::LockWait(lock), stack(1));
        server.profile.push(&Event::OffCpu(off));
    }
    assert_eq!(server.profile.locks.infos().len(), MAX_LOCKS as usize + 2);
    server.finish();
    let summaries = server.profile.locks.summaries(1e7);
    assert_eq!(summaries.iter().map(|lock| lock.contention.waits.total_ns).sum::<u64>(), waited);
    assert_eq!(summaries[0].contention.waits.count, u64::from(MAX_LOCKS));
}
