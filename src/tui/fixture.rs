//! Programs that fight, made of events through the ordinary profile. Called by the tests of the screen.

use std::sync::Arc;

use super::state::history::History;
use super::state::shown::{PastSnapshots, Range, ShownPart};
use crate::event::{
    Account, Event, GilGlimpse, GilId, GilInfo, LockId, LockInfo, LockKind, Nanos, OffCpu, ProcessId, ProcessInfo,
    Syscall, ThreadId, ThreadState, Wake,
};
use crate::profile::{Mode, Profile};
use crate::report::Attribution;
use crate::snapshot::Snapshot;
use crate::stack::{Frame, FrameKind, StackId};

const MS: u64 = 1_000_000;
const START: u64 = 1_000 * MS;
const SLEEP: Syscall = Syscall(syscalls::Sysno::clock_nanosleep as i16);

/// A recording under way, and what the screen knows of it.
pub struct RecordingUnderWay {
    profile: Profile,
    at: u64,
    under_way: Vec<OffCpu>,
    /// One for each second.
    pub snapshots: Vec<Arc<Snapshot>>,
}

impl RecordingUnderWay {
    fn new(python: &str, free_threaded: bool, names: &[&str]) -> RecordingUnderWay {
        let mut profile = Profile::default();
        profile.session.mode = Mode::Kernel;
        profile.session.start = Nanos(START);
        profile.session.rate_hz = 100.0;
        let command = ["/usr/bin/python3", "/srv/app.py", "--fast"].map(str::to_owned).to_vec();
        let info = Arc::new(ProcessInfo { pid: 100, command, python: python.to_owned(), free_threaded });
        profile.push(&Event::Process { process: ProcessId(0), info });
        for (index, name) in (0..).zip(names) {
            let (thread, at) = (ThreadId(index), Nanos(START));
            profile.push(&Event::ThreadStarted { at, thread, process: ProcessId(0), tid: 100 + index as i32 });
            profile.push(&Event::ThreadNamed { thread, name: (*name).into() });
        }
        RecordingUnderWay { profile, at: START, under_way: Vec::new(), snapshots: Vec::new() }
    }

    /// A stack of functions of `app.py`, outermost first.
    fn stack(&mut self, functions: &[(&str, u32)]) -> StackId {
        let table = &mut self.profile.stacks;
        functions.iter().fold(StackId::EMPTY, |stack, &(function, line)| {
            let (function, file) = (table.string(function), table.string("/srv/app.py"));
            let frame = table.frame(Frame {
                kind: FrameKind::Python,
                function,
                name: function,
                file,
                line,
                first_line: (line - line % 10).max(1),
            });
            table.push(stack, frame)
        })
    }

    fn off(
        &mut self,
        thread: u32,
        from: u64,
        until: u64,
        state: ThreadState,
        stack: StackId,
        by: Option<(u32, StackId)>,
    ) {
        let off = OffCpu {
            wake: by.map(|(by, stack)| Wake {
                at: Nanos(until - 1000),
                by: Some(ThreadId(by)),
                stack,
                switches: None,
            }),
            gil: (state == ThreadState::GilWait).then_some(GilGlimpse {
                gil: GilId(0),
                holder: Some(ThreadId(1)),
                locked: true,
                switches: (from / MS) as u32,
            }),
            ..OffCpu::new(ThreadId(thread), Nanos(from), Nanos(until), state, stack)
        };
        self.profile.push(&Event::OffCpu(off));
    }

    fn sample(&mut self, thread: u32, at: u64, state: ThreadState, stack: StackId, gil: Option<GilId>) {
        let (at, thread) = (Nanos(at), ThreadId(thread));
        self.profile.push(&Event::Sample { at, periods: 1, thread, state, stack, gil });
    }

    fn account(&mut self, thread: u32, of_each_ms: Account) {
        let ms = (self.at - START) / MS;
        let account = Account {
            at: Nanos(self.at),
            on_cpu_ns: of_each_ms.on_cpu_ns * ms,
            gil_wait_ns: of_each_ms.gil_wait_ns * ms,
            futex_ns: of_each_ms.futex_ns * ms,
            blocked_ns: of_each_ms.blocked_ns * ms,
            gil_held_off_cpu_ns: of_each_ms.gil_held_off_cpu_ns * ms,
            ..Account::default()
        };
        self.profile.push(&Event::Account { thread: ThreadId(thread), account });
    }

    fn look(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        self.profile.session.end = Nanos(self.at);
        self.snapshots.push(Arc::new(Snapshot::of(Nanos(self.at), &self.profile, &under_way)));
    }

    /// What a screen that has seen all of it shows.
    pub fn shown(&self, range: Range, blame: Attribution) -> (ShownPart, History) {
        let (mut history, mut past) = (History::default(), PastSnapshots::default());
        for pair in self.snapshots.windows(2) {
            past.push(&pair[0]);
            history.push(&pair[1], &pair[0]);
        }
        let newest = self.snapshots.last().expect("there is one");
        (ShownPart::new(newest, &past, range, blame), history)
    }
}

/// A client that needs the GIL for moments, and a cruncher that has it for 5 ms at a time; a thread sleeps. Twelve
/// seconds.
pub fn convoy() -> RecordingUnderWay {
    let mut live = RecordingUnderWay::new("3.12.1", false, &["MainThread", "cruncher", "client"]);
    let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 5 * MS };
    let at = Nanos(START);
    live.profile.push(&Event::Gil { at, gil: GilId(0), info: Arc::new(info), switched_on_by: None });
    let main = live.stack(&[("<module>", 5), ("main", 12)]);
    let crunch = live.stack(&[("run", 3), ("crunch", 22), ("is_prime", 31)]);
    let ask = live.stack(&[("run", 3), ("ask", 41)]);
    live.look();
    for second in 0..12 {
        for turn in 0..100 {
            let from = START + second * 1000 * MS + turn * 10 * MS;
            // The client waits for 8 ms and sleeps for 2.
            live.off(2, from, from + 2 * MS, ThreadState::Blocked(SLEEP), ask, None);
            live.off(2, from + 2 * MS, from + 10 * MS, ThreadState::GilWait, ask, Some((1, crunch)));
            live.sample(1, from + 5 * MS, ThreadState::GilHeld, crunch, Some(GilId(0)));
        }
        live.at = START + (second + 1) * 1000 * MS;
        live.account(0, Account { blocked_ns: MS, ..Account::default() });
        live.account(1, Account { on_cpu_ns: MS, ..Account::default() });
        let (waiting, sleeping) = (MS * 8 / 10, MS * 2 / 10);
        live.account(2, Account { gil_wait_ns: waiting, blocked_ns: sleeping, ..Account::default() });
        let now = Nanos(live.at);
        let under_way = |thread, ms, state, stack, gil| OffCpu {
            gil,
            open: true,
            ..OffCpu::new(ThreadId(thread), Nanos(now.0 - ms * MS), now, state, stack)
        };
        let glimpse = GilGlimpse { gil: GilId(0), holder: Some(ThreadId(1)), locked: true, switches: 1 };
        live.under_way = vec![
            under_way(0, (second + 1) * 1000, ThreadState::Blocked(SLEEP), main, None),
            under_way(2, 3, ThreadState::GilWait, ask, Some(glimpse)),
        ];
        live.look();
    }
    live
}

/// Three threads of a free-threaded Python take turns with a lock, and now and then all are stopped. Six seconds.
pub fn hot_lock() -> RecordingUnderWay {
    let names = ["MainThread", "worker-1", "worker-2", "worker-3"];
    let mut live = RecordingUnderWay::new("3.13.5", true, &names);
    let process = ProcessId(0);
    let lock =
        |kind, name: &str| LockInfo { process, address: 0x7f10, kind, type_name: None, name: Some(name.into()) };
    let (hot, pause) = (LockId(0), LockId(1));
    live.profile.push(&Event::Lock { lock: hot, info: Arc::new(lock(LockKind::Lock, "journal.lock in run")) });
    live.profile.push(&Event::Lock { lock: pause, info: Arc::new(lock(LockKind::Pause, "collection")) });
    let append = live.stack(&[("run", 3), ("work", 52), ("Journal.append", 61)]);
    let write = live.stack(&[("run", 3), ("work", 52), ("Journal.append", 62), ("Journal.write", 71)]);
    let collect = live.stack(&[("<module>", 5), ("tidy", 81)]);
    live.look();
    for second in 0..6 {
        for turn in 0..100_u64 {
            let from = START + second * 1000 * MS + turn * 10 * MS;
            let (holder, next) = (1 + (turn % 3) as u32, 1 + ((turn + 1) % 3) as u32);
            live.sample(holder, from + 4 * MS, ThreadState::Running, write, None);
            live.off(next, from, from + 10 * MS, ThreadState::LockWait(hot), append, Some((holder, write)));
            if turn % 50 == 49 {
                live.off(holder, from + 5 * MS, from + 9 * MS, ThreadState::Paused(pause), write, Some((0, collect)));
            }
        }
        live.at = START + (second + 1) * 1000 * MS;
        live.account(0, Account { blocked_ns: MS, ..Account::default() });
        for thread in 1..=3 {
            live.account(thread, Account { on_cpu_ns: MS / 3, futex_ns: MS * 2 / 3, ..Account::default() });
        }
        live.look();
    }
    live
}
