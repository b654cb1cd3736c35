//! Sessions that never were: what threads did, as a property test chooses it, and the events that a collector would have
//! made of it.

use std::sync::Arc;

use proptest::prelude::*;

use crate::event::{
    Accessed, Account, CollectionTotals, CountOp, Counting, Event, GilGlimpse, GilId, GilInfo, LockId, LockInfo,
    LockKind, Loss, MemoryPlace, Nanos, ObjectId, ObjectInfo, OffCpu, ProcessId, ProcessInfo, Syscall, ThreadId,
    ThreadState, Wake,
};
use crate::profile::{Mode, SessionInfo};
use crate::stack::{Frame, FrameKind, Interner, StackId};

pub(crate) const START: u64 = 5_000_000_000_000;
pub(crate) const THREADS: u32 = 4;
const LOCKS: u32 = 2;

/// Something that a thread does for some microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Run { depth: u32, holds: bool, lost: bool },
    Off { depth: u32, why: u8, by: Option<u32>, holder: Option<u32>, lost: bool },
    Name { number: u32 },
    Held { lock: u32 },
    Lost { count: u64 },
    Access { depth: u32, what: u8 },
    Spin { lock: Option<u32> },
    Native { depth: u32 },
    Collected { number: u64 },
    Deadlock { with: u32 },
}

pub(crate) fn some_act() -> impl Strategy<Value = (u32, u64, Act)> {
    let by = || prop::option::of(0..THREADS);
    let act = prop_oneof![
        4 => (0..9u32, any::<bool>(), any::<bool>()).prop_map(|(depth, holds, lost)| Act::Run { depth, holds, lost }),
        8 => (0..9u32, 0..9u8, by(), by(), any::<bool>())
            .prop_map(|(depth, why, by, holder, lost)| Act::Off { depth, why, by, holder, lost }),
        1 => (0..3u32).prop_map(|number| Act::Name { number }),
        1 => (0..LOCKS).prop_map(|lock| Act::Held { lock }),
        1 => (1..50u64).prop_map(|count| Act::Lost { count }),
        2 => (0..9u32, 0..5u8).prop_map(|(depth, what)| Act::Access { depth, what }),
        1 => prop::option::of(0..LOCKS).prop_map(|lock| Act::Spin { lock }),
        1 => (0..9u32).prop_map(|depth| Act::Native { depth }),
        1 => (0..9u64).prop_map(|number| Act::Collected { number }),
        1 => (0..THREADS).prop_map(|with| Act::Deadlock { with }),
    ];
    (0..THREADS, prop_oneof![0..50u64, 1..20_000u64], act)
}

/// What a session would have seen, and what it knows at the end.
pub(crate) fn session(mode: Mode, acts: &[(u32, u64, Act)]) -> (Interner, Vec<Event>, SessionInfo) {
    let mut table = Interner::default();
    let mut stacks = vec![StackId::EMPTY];
    for depth in 1..9u32 {
        let (name, file) = (table.string(&format!("f{depth}")), table.string("app.py"));
        let function = table.string(&format!("App.f{depth}"));
        let frame = table.frame(Frame {
            kind: FrameKind::Python,
            function,
            name,
            file,
            line: depth * 3,
            first_line: depth * 7,
        });
        stacks.push(table.push(stacks[depth as usize - 1], frame));
    }
    let process = ProcessId(0);
    let command = ["python", "app.py"].map(str::to_owned).to_vec();
    let info = ProcessInfo { pid: 4000, command, python: "3.12.1".to_owned(), free_threaded: false };
    let mut events = vec![Event::Process { process, info: Arc::new(info) }];
    let gil = GilInfo { process, interpreter: 0, enabled: true, switch_interval_ns: 5_000_000 };
    events.push(Event::Gil { at: Nanos(START), gil: GilId(0), info: Arc::new(gil), switched_on_by: None });
    for lock in 0..LOCKS {
        let name = (lock > 0).then(|| "app.lock".into());
        let info =
            LockInfo { process, address: 0x7f00 + 16 * u64::from(lock), kind: LockKind::Lock, type_name: None, name };
        events.push(Event::Lock { lock: LockId(lock), info: Arc::new(info) });
    }
    for thread in 0..THREADS {
        let (at, tid) = (Nanos(START + u64::from(thread)), 4000 + thread as i32);
        events.push(Event::ThreadStarted { at, thread: ThreadId(thread), process, tid });
    }
    // Another process, to which nothing happens but that its GIL is switched on.
    let (process, second) = (ProcessId(1), GilId(1));
    let info = ProcessInfo { pid: 5000, command: Vec::new(), python: "3.14.0".to_owned(), free_threaded: true };
    events.push(Event::Process { process, info: Arc::new(info) });
    events.push(Event::ThreadStarted { at: Nanos(START + 9), thread: ThreadId(THREADS), process, tid: 5000 });
    for enabled in [false, true] {
        let info = GilInfo { process, interpreter: 3, enabled, switch_interval_ns: 1_000_000 };
        let switched_on_by = enabled.then(|| "numpy".into());
        events.push(Event::Gil { at: Nanos(START + 10), gil: second, info: Arc::new(info), switched_on_by });
    }
    let type_name = Some("Journal".into());
    let info = LockInfo { process, address: 0x9f00, kind: LockKind::CriticalSection, type_name, name: None };
    events.push(Event::Lock { lock: LockId(LOCKS), info: Arc::new(info) });
    let process = ProcessId(0);
    let object = ObjectInfo {
        process,
        address: 0x7000,
        type_name: "list".into(),
        name: Some("app.shared".into()),
        len: Some(3),
        counting: Counting::Merged,
        owner: Some(ThreadId(1)),
    };
    events.push(Event::Object { object: ObjectId(0), info: Arc::new(object) });
    // Not in the table of a session that does not need it: what is written stays the same then.
    let mut native = || {
        let (name, file) = (table.string("sre_ucs1_match"), table.string("/lib/_sre.so"));
        table.frame(Frame { kind: FrameKind::Native, function: name, name, file, line: 0, first_line: 0 })
    };
    let mut now = [START + 1_000_000; THREADS as usize];
    let mut switches = 0u32;
    for &(who, micros, act) in acts {
        let thread = ThreadId(who);
        let at = Nanos(now[who as usize] + micros * 1000);
        events.push(match act {
            Act::Name { number } => Event::ThreadNamed { thread, name: format!("worker {number}").into() },
            Act::Held { lock } => Event::LockHeld { at, lock: LockId(lock), thread, stack: stacks[3] },
            Act::Access { depth, what } => {
                let object = ObjectId(0);
                let accessed = match what {
                    0 => Accessed::Count { object, op: CountOp::TryIncref, atomic: true },
                    1 => Accessed::Header { object },
                    2 => Accessed::Elsewhere(MemoryPlace::DictKeys),
                    3 => Accessed::Unknown,
                    _ => Accessed::Nothing,
                };
                Event::Access { at, thread, stack: stacks[depth as usize], accessed }
            }
            Act::Collected { number } => {
                let totals = CollectionTotals { number, full: number / 2, freed: 3 * number };
                Event::Collected { at, process: ProcessId(0), totals }
            }
            Act::Native { depth } => {
                Event::HeldInNative { at, thread, stack: stacks[depth as usize], function: native() }
            }
            Act::Spin { lock } => Event::Spin { at, thread, stack: stacks[2], lock: lock.map(LockId) },
            Act::Deadlock { with } => {
                Event::Deadlock { at, threads: vec![(thread, "a lock".into()), (ThreadId(with), "another".into())] }
            }
            Act::Lost { count } => Event::RecordsLost { at, count },
            Act::Run { depth, holds, lost } => {
                let state = if holds { ThreadState::GilHeld } else { ThreadState::Native };
                let gil = Some(GilId(0));
                match lost {
                    true => {
                        let loss = if depth % 2 == 0 { Loss::Torn } else { Loss::Unreadable };
                        Event::Lost { at, periods: 1, thread, state, gil, loss }
                    }
                    false => Event::Sample { at, periods: 2, thread, state, stack: stacks[depth as usize], gil },
                }
            }
            Act::Off { depth, why, by, holder, lost } => {
                let start = Nanos(now[who as usize]);
                now[who as usize] = at.0 + 3000;
                let call = Syscall(i16::from(why) * 31 - 1);
                let state = match why {
                    0..3 => ThreadState::GilWait,
                    3 => ThreadState::GilHeldOffCpu(call),
                    4 => ThreadState::LockWait(LockId(0)),
                    5 => ThreadState::LockWait(LockId(1)),
                    6 => ThreadState::Blocked(call),
                    7 => ThreadState::Runnable,
                    _ => ThreadState::Paused(LockId(1)),
                };
                switches = switches.wrapping_add(1);
                let stack = if lost { StackId::EMPTY } else { stacks[depth as usize] };
                let wake = by.map(|by| Wake {
                    at: Nanos(at.0 - micros * 300),
                    by: (by != who).then_some(ThreadId(by)),
                    stack: stacks[1],
                    switches: (by > 1).then_some(switches.wrapping_sub(3)),
                });
                let holder = holder.map(ThreadId);
                let gil = GilGlimpse { gil: GilId(0), holder, locked: holder.is_some(), switches };
                let gil = (why != 6).then_some(gil);
                match mode {
                    Mode::Kernel => {
                        let open = micros == 7;
                        Event::OffCpu(OffCpu {
                            lost,
                            wake,
                            gil,
                            asked: lost.then(|| Nanos(start.0.saturating_sub(micros))),
                            open,
                            ..OffCpu::new(thread, start, at, state, stack)
                        })
                    }
                    Mode::Memory => Event::Sample { at, periods: 1, thread, state, stack, gil: Some(GilId(0)) },
                }
            }
        });
    }
    let end = Nanos(now.iter().max().unwrap() + 1_000_000);
    for thread in (0..THREADS).map(ThreadId) {
        let account = Account { at: end, on_cpu_ns: 5000, gil_waits: 7, ..Account::default() };
        if mode == Mode::Kernel {
            events.push(Event::Account { thread, account });
        }
        events.push(Event::ThreadExited { at: end, thread, cpu_ns: 5000 });
    }
    let info = SessionInfo {
        start: Nanos(START),
        end,
        mode,
        rate_hz: 100.0,
        ticks: 9,
        looks: 8,
        late_ticks: 2,
        stops: 3,
        stopped_ns: 4_000,
        profiler_cpu_ns: 50_000,
        started_unix_ns: START - 77,
        degraded: vec!["something was not as it should be".to_owned()],
        ..SessionInfo::default()
    };
    (table, events, info)
}
