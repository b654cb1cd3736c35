//! Records of all other kinds. Thread A is the worker, whose thread state is the newer one, and B the main thread.

use proptest::prelude::*;

use super::*;
use crate::event::ThreadState;
use crate::kernel::traced::ThreadSeed;

const READ: Syscall = Syscall(0);
const NO_CALL: Syscall = Syscall(-1);
const NO_FLAGS: OffFlags = OffFlags(0);

/// The GIL was held when it was read.
const LOCKED: OffFlags = OffFlags(OffFlags::HAS_GIL.0 | OffFlags::LOCKED.0);
/// By the thread itself.
const HELD: OffFlags = OffFlags(LOCKED.0 | OffFlags::HELD.0);

impl Fixture {
    /// What the worker's time off the CPU becomes, of which so much is as `with` says.
    fn off(&mut self, kind: OffKind, call: Syscall, flags: OffFlags, with: impl FnOnce(&mut WireOff)) -> String {
        let mut record = off_record(self.worker, kind, call, flags, WORKER_STACK);
        with(&mut record);
        assert!(self.send(record.as_bytes()));
        self.look(4000)
    }

    /// The same, with the main thread as the last to hold the GIL.
    fn off_with_gil(&mut self, kind: OffKind, call: Syscall, flags: OffFlags) -> String {
        let (gil, holder) = (self.fake.gil, self.fake.threads[0].tstate);
        self.off(kind, call, flags, |record| (record.gil, record.holder, record.switches) = (gil, holder, 7))
    }

    fn sample(&mut self, flags: SampleFlags) -> String {
        let sample = sample_record(self.worker, flags, self.fake.gil, WORKER_STACK);
        assert!(self.send(sample.as_bytes()));
        self.look(4000)
    }
}

#[test]
fn what_the_registry_finds_is_announced_and_passed_on() {
    let mut fake = FakeInterpreter::with_gil();
    fake.thread();
    let mut traced = Traced::new(&fake.process(), fake.memory.clone());
    let (mut names, mut ids, mut events) = (Interner::default(), Ids::default(), Vec::new());
    let mut sink = Sink { stacks: &mut names, events: &mut events, ids: &mut ids };
    let update = traced.refresh(Nanos(1), &mut sink).unwrap().unwrap();
    // Its tid is one of this process, whose thread has a name.
    events.retain(|event| !matches!(event, crate::event::Event::ThreadNamed { .. }));
    assert_eq!(words::lines(&events, &names), "A starts at 1\nGIL 0 of interpreter 0, enabled: true");
    assert_eq!(update.gils, Some(vec![fake.gil]));
    let [thread] = &fake.threads[..] else { panic!("one thread") };
    let ident = fake.memory.u64_at(thread.tstate + fake.layout.thread.thread_id);
    assert_eq!(update.thread_states, [(thread.tid, vec![[thread.tstate, fake.interp, ident, fake.gil]])]);

    let mut fixture = Fixture::new(fake);
    assert!(fixture.refresh(3).0.is_none(), "nothing has changed");
    let (update, words) = {
        fixture.fake.thread();
        fixture.refresh(4)
    };
    assert_eq!(words, "D starts at 4");
    let update = update.unwrap();
    assert_eq!((update.gils, update.thread_states.len()), (None, 4));
}

#[test]
fn a_wait_for_the_gil_says_who_held_it_and_who_has_ended_it() {
    let mut fixture = Fixture::with_gil();
    let (gil, holder) = (fixture.fake.gil, fixture.fake.threads[0].tstate);
    let main = fixture.main as u32;
    let woken = LOCKED.with(OffFlags::WOKEN).with(OffFlags::WAKER).with(OffFlags::WAKER_GIL);
    let line = fixture.off(OffKind::GilWait, Syscall::FUTEX, woken, |record| {
        (record.gil, record.holder, record.switches) = (gil, holder, 7);
        (record.woken_at, record.waker, record.waker_stack, record.waker_switches) = (2500, main, MAIN_STACK, 8);
    });
    assert_eq!(
        line,
        "A off the CPU 1000..3000: waits for the GIL, in step:22 < run:13; woken at 2500 by B, in run:11, switch 8; \
         GIL 0 locked, B, switch 7"
    );
    // A timer has no stack, and has released nothing.
    let timer = LOCKED.with(OffFlags::WOKEN);
    let line = fixture.off(OffKind::GilWait, Syscall::FUTEX, timer, |record| {
        (record.gil, record.woken_at, record.waker_switches) = (gil, 2500, 8);
    });
    assert_eq!(
        line,
        "A off the CPU 1000..3000: waits for the GIL, in step:22 < run:13; woken at 2500 by nobody known, in no Python \
         code; GIL 0 locked, nobody known, switch 0"
    );
}

#[test]
fn a_time_off_the_cpu_is_what_its_kind_and_the_gil_say() {
    let mut fixture = Fixture::with_gil();
    let cases = [
        (OffKind::Runnable, NO_CALL, OffFlags::HAS_GIL, "ready, has no CPU", "free, nobody known"),
        (OffKind::Runnable, NO_CALL, HELD, "holds the GIL, has no CPU", "locked, B"),
        (OffKind::Blocked, READ, HELD, "holds the GIL, blocked in read", "locked, B"),
        // Of a GIL that is free, the last holder is known if the thread blocks.
        (OffKind::Blocked, READ, OffFlags::HAS_GIL, "blocked in read", "free, B"),
        (OffKind::Stopped, NO_CALL, LOCKED, "stopped", "locked, B"),
        (OffKind::Unknown, NO_CALL, LOCKED, "unknown", "locked, B"),
    ];
    for (kind, call, flags, state, gil) in cases {
        let expected = format!("A off the CPU 1000..3000: {state}, in step:22 < run:13; GIL 0 {gil}, switch 7");
        assert_eq!(fixture.off_with_gil(kind, call, flags), expected);
    }
}

#[test]
fn a_collection_is_a_frame_of_the_thread_that_makes_it() {
    let mut fixture = Fixture::with_gil();
    let line = fixture.off_with_gil(OffKind::Blocked, READ, HELD.with(OffFlags::COLLECTING));
    assert!(line.contains("in [garbage collection] < step:22 < run:13"), "{line}");
    let line = fixture.sample(SampleFlags(SampleFlags::HELD.0 | SampleFlags::HAS_GIL.0 | SampleFlags::COLLECTS.0));
    assert_eq!(line, "A at 1000: holds the GIL, in [garbage collection] < step:22 < run:13, GIL 0");
}

#[test]
fn a_lock_is_announced_with_the_first_wait_for_it() {
    let mut fixture = Fixture::with_gil();
    let wait = |fixture: &mut Fixture, lock| {
        fixture.off(OffKind::Blocked, Syscall::FUTEX, NO_FLAGS, |record| record.lock = lock)
    };
    let waits = "A off the CPU 1000..3000: waits for lock 0, in step:22 < run:13";
    assert_eq!(wait(&mut fixture, 0x7000_0000), format!("lock 0: Semaphore, no name\n{waits}"));
    assert_eq!(wait(&mut fixture, 0x7000_0000), waits);
    // Not at a futex, or at one of code that has its own conditions: nothing is known of a lock.
    assert_eq!(wait(&mut fixture, 0), "A off the CPU 1000..3000: blocked in futex, in step:22 < run:13");
    let line = fixture.off(OffKind::Blocked, Syscall::FUTEX, NO_FLAGS, |record| {
        (record.lock, record.stack) = (0x7000_1000, 0);
    });
    assert_eq!(line, "A off the CPU 1000..3000: blocked in futex, in no Python code");
}

#[test]
fn a_parked_thread_says_what_it_is_parked_for() {
    let mut fixture = Fixture::free_threaded();
    let parked = |fixture: &mut Fixture, kind, lock, fair_at| {
        fixture.off(kind, Syscall::FUTEX, NO_FLAGS, |record| (record.lock, record.fair_at) = (lock, fair_at))
    };
    let asked = crate::kernel::abi::TIME_TO_BE_FAIR + 900;
    assert_eq!(
        parked(&mut fixture, OffKind::ParkedMutex, 1, asked),
        "lock 0: Mutex, parking lot\nA off the CPU 1000..3000: waits for lock 0, in step:22 < run:13; asked at 900"
    );
    // That cannot be when it asked: it did so before it slept.
    let line = parked(&mut fixture, OffKind::ParkedMutex, 1, asked + 101);
    assert_eq!(line, "A off the CPU 1000..3000: waits for lock 0, in step:22 < run:13");
    assert_eq!(
        parked(&mut fixture, OffKind::NativeMutex, 0x7000_0001, 0),
        "lock 1: Native, no name\nA off the CPU 1000..3000: waits for lock 1, in step:22 < run:13"
    );
}

#[test]
fn a_thread_that_the_interpreter_stops_is_paused() {
    let mut fixture = Fixture::free_threaded();
    let own_state = fixture.fake.threads[1].tstate + fixture.fake.layout.thread.state.unwrap();
    let line = fixture.off(OffKind::Parked, Syscall::FUTEX, OffFlags::COLLECTING, |record| record.lock = own_state);
    // It is not this thread that collects.
    let paused = "A off the CPU 1000..3000: paused by lock 0, in step:22 < run:13";
    assert_eq!(line, format!("lock 0: Pause, garbage collection\n{paused}"));
    // A record of who has resumed it comes first. What that thread's stack would tell is in no file of this process.
    let (main, woken) = (fixture.main, OffFlags::WOKEN.with(OffFlags::WAKER));
    assert!(fixture.send(resume_record(main, 2400).as_bytes()));
    assert_eq!(fixture.look(2450), "");
    let line = fixture.off(OffKind::Parked, Syscall::FUTEX, woken, |record| {
        (record.lock, record.woken_at, record.waker) = (own_state, 2500, main as u32);
    });
    assert_eq!(
        line,
        "lock 1: Pause, no name\nA off the CPU 1000..3000: paused by lock 1, in step:22 < run:13; woken at 2500 by B, in \
         no Python code"
    );
}

#[test]
fn a_lock_that_knows_its_owner_says_who_holds_it() {
    let mut fixture = Fixture::free_threaded();
    // `imports.lock` in PyInterpreterState of 3.13t: a mutex, the owner's `threading.get_ident()`, the depth.
    let lock = fixture.fake.interp + 7712;
    let ident = fixture.fake.memory.u64_at(fixture.fake.threads[0].tstate + fixture.fake.layout.thread.thread_id);
    fixture.fake.memory.word(lock + 8, ident);
    let asleep = off_record(fixture.main, OffKind::Blocked, READ, NO_FLAGS, MAIN_STACK);
    fixture.kernel = vec![(fixture.main, KernelThread { off: asleep, ..KernelThread::default() })];
    let line = fixture.off(OffKind::ParkedMutex, Syscall::FUTEX, NO_FLAGS, |record| record.lock = lock);
    assert_eq!(
        line,
        "lock 0: ImportLock, imports.lock\nlock 0 held at 3000 by B, in run:11\nA off the CPU 1000..3000: waits for lock \
         0, in step:22 < run:13"
    );
}

#[test]
fn what_a_thread_did_before_it_was_observed_comes_from_the_seed() {
    let mut fixture = Fixture::with_gil();
    let seed = ThreadSeed {
        state: ThreadState::GilWait,
        stack: crate::stack::StackId::EMPTY,
        left_early: None,
        caller: None,
    };
    fixture.traced.seed(fixture.worker, seed);
    let open = |fixture: &mut Fixture| fixture.off(OffKind::GilWait, Syscall::FUTEX, OffFlags::OPEN, |_| ());
    assert_eq!(open(&mut fixture), "A off the CPU 1000..3000: waits for the GIL, in no Python code; open");
    // Only once: then it has moved.
    let line = fixture.off(OffKind::Blocked, READ, NO_FLAGS, |_| ());
    assert_eq!(line, "A off the CPU 1000..3000: blocked in read, in step:22 < run:13");
}

#[test]
fn a_sample_says_what_a_thread_with_a_gil_runs() {
    let mut fixture = Fixture::with_gil();
    let (held, has_gil, native) = (SampleFlags::HELD.0, SampleFlags::HAS_GIL.0, SampleFlags::NATIVE.0);
    let cases = [
        (held | has_gil, "holds the GIL"),
        (held | has_gil | native, "holds the GIL, in native code"),
        (has_gil, "native (without the GIL)"),
        (has_gil | native, "native (without the GIL)"),
    ];
    for (flags, state) in cases {
        let line = fixture.sample(SampleFlags(flags));
        assert_eq!(line, format!("A at 1000: {state}, in step:22 < run:13, GIL 0"));
    }
}

#[test]
fn a_sample_of_a_free_threaded_build_says_whether_the_thread_is_attached() {
    let mut fixture = Fixture::free_threaded();
    // Its GIL is switched off, so that it was not read.
    assert_eq!(fixture.sample(SampleFlags::ATTACHED), "A at 1000: running, in step:22 < run:13");
    assert_eq!(fixture.sample(SampleFlags(0)), "A at 1000: native (without the GIL), in step:22 < run:13");
}

#[test]
fn registers_show_spinning_and_memory_accesses() {
    let mut fixture = Fixture::free_threaded();
    // For a lock of the parking lot, for which 1 stands, and for another.
    for lock in [1, 0x7000_0002] {
        fixture.off(OffKind::ParkedMutex, Syscall::FUTEX, NO_FLAGS, |record| record.lock = lock);
    }
    let with_registers = |fixture: &mut Fixture, call: Syscall, r12: u64| {
        let mut sample = sample_record(fixture.worker, SampleFlags::ATTACHED, 0, WORKER_STACK);
        sample.header.syscall = call.0;
        let mut registers = WireRegisters::default();
        // The word of the lock: it is locked.
        registers.general[3] = 1;
        registers.general[12] = r12;
        fixture.send(WireSampleWithRegisters { sample, registers }.as_bytes());
        fixture.look(4001)
    };
    let sample = "A at 1000: running, in step:22 < run:13";
    let nothing = "A at 1000: accesses Nothing";
    assert_eq!(with_registers(&mut fixture, READ, 0x7000_0002), format!("{sample}\n{nothing}"));
    let spins = with_registers(&mut fixture, Syscall::SCHED_YIELD, 0x7000_0002);
    assert_eq!(spins, format!("{sample}\nA at 1000: spins for lock 1, in step:22 < run:13\n{nothing}"));
    let unknown = with_registers(&mut fixture, Syscall::SCHED_YIELD, 2);
    assert_eq!(unknown, format!("{sample}\nA at 1000: spins for a lock, in step:22 < run:13\n{nothing}"));
}

#[test]
fn a_thread_that_ends_leaves_its_account() {
    let mut fixture = Fixture::with_gil();
    let mut exit = WireExit { header: header(REC_EXIT, fixture.worker), at: 3000, ..WireExit::default() };
    (exit.account.on_cpu, exit.account.gil_wait, exit.account.blocks) = (700, 50, 3);
    assert!(fixture.send(exit.as_bytes()));
    assert_eq!(fixture.look(4000), "A account: on CPU 700, GIL wait 50, blocks 3\nA ends at 3000, 700 ns on the CPU");
    // Its tid may come again, and is that of another thread.
    let line = fixture.off(OffKind::Blocked, READ, NO_FLAGS, |_| ());
    assert_eq!(line, "C starts at 1000\nC off the CPU 1000..3000: blocked in read, in step:22 < run:13");
}

#[test]
fn a_thread_without_a_thread_state_is_announced_by_its_first_record() {
    let mut fixture = Fixture::with_gil();
    fixture.send(sample_record(1 << 22, SampleFlags(0), 0, 0).as_bytes());
    assert_eq!(fixture.look(10), "C starts at 1000\nC at 1000: native (without the GIL), in no Python code");
}

/// Lines in no order: threads come in that of a hash map.
fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_under_way_is_reported_up_to_now_and_again_at_the_end() {
    let mut fixture = Fixture::free_threaded();
    let asleep = WireOff {
        lock: 1,
        woken_at: 500,
        ..off_record(fixture.worker, OffKind::ParkedMutex, Syscall::FUTEX, OffFlags::WOKEN, WORKER_STACK)
    };
    fixture.kernel = vec![
        (fixture.main, KernelThread { in_at: 3000, ..KernelThread::default() }),
        (fixture.worker, KernelThread { off: asleep, ..KernelThread::default() }),
    ];
    let under_way = fixture.under_way(5000);
    let waits = |end| format!("A off the CPU 1000..{end}: waits for lock 0, in step:22 < run:13; open");
    assert_eq!(
        sorted(&under_way),
        ["A account: futex 4000", &waits(5000), "B account: on CPU 2000", "lock 0: Mutex, parking lot"]
    );
    let finished = fixture.finish(6000);
    let mut finished = sorted(&finished);
    // What the kernel calls the threads of this very test.
    finished.retain(|line| !line.starts_with("ThreadNamed"));
    assert_eq!(
        finished,
        [
            "A account: futex 5000",
            "A ends at 6000, 0 ns on the CPU",
            &waits(6000),
            "B account: on CPU 3000",
            "B ends at 6000, 3000 ns on the CPU"
        ]
    );
}

#[test]
fn what_has_begun_after_the_end_is_no_part_of_the_recording() {
    let mut fixture = Fixture::free_threaded();
    let asleep = off_record(fixture.worker, OffKind::Blocked, READ, NO_FLAGS, WORKER_STACK);
    fixture.kernel = vec![(fixture.worker, KernelThread { off: asleep, ..KernelThread::default() })];
    assert!(fixture.under_way(1001).contains("off the CPU 1000..1001"));
    assert!(!fixture.finish(999).contains("off the CPU"));
}

#[test]
fn bytes_that_are_no_record_make_no_event() {
    let mut fixture = Fixture::with_gil();
    let whole = off_record(fixture.worker, OffKind::Blocked, READ, NO_FLAGS, WORKER_STACK);
    let whole = whole.as_bytes();
    assert!((0..whole.len()).all(|len| !fixture.send(&whole[..len])));
    assert_eq!(fixture.look(4000), "");
}

thread_local! {
    /// Threads of this process are part of it: one is enough.
    static GARBAGE: std::cell::RefCell<[Fixture; 2]> =
        std::cell::RefCell::new([Fixture::with_gil(), Fixture::free_threaded()]);
}

proptest! {
    #[test]
    fn any_bytes_in_a_record_end_in_events(
        free_threaded: bool,
        kind in REC_STACK..=REC_RESUME,
        words in proptest::collection::vec(prop_oneof![0u64..20, any::<u64>(), 0x7f00_0000_0000u64..0x7f00_0002_0000], 70),
        known: bool,
    ) {
        GARBAGE.with_borrow_mut(|fixtures| {
            let fixture = &mut fixtures[usize::from(free_threaded)];
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            bytes[0] = kind;
            if known {
                // Of a thread that is known, at a futex.
                bytes[2..4].copy_from_slice(&Syscall::FUTEX.0.to_ne_bytes());
                bytes[4..8].copy_from_slice(&fixture.worker.to_ne_bytes());
            }
            bytes[8..12].copy_from_slice(&PID.to_ne_bytes());
            fixture.send(&bytes);
            fixture.look(words[69] % (1 << 40));
        });
    }
}
