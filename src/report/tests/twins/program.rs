//! A program whose every moment is written down, and what a collector that misses nothing makes of it in either mode.

use std::sync::Arc;

use crate::event::{
    Account, Event, GilGlimpse, GilId, GilInfo, LockId, LockInfo, LockKind, Loss, Nanos, OffCpu, ProcessId, Syscall,
    ThreadId, ThreadState, Wake,
};
use crate::profile::{Mode, Profile};
use crate::report::fixture::{self, MS};
use crate::stack::StackId;

/// When the recording starts and ends.
pub const START: u64 = 5_000 * MS;
pub const END: u64 = 7_000 * MS;
pub const RATE: f64 = 1000.0;
const GIL: GilId = GilId(0);

/// What a thread does for some time, in nanoseconds since the start.
#[derive(Clone, Copy)]
struct Act {
    thread: u32,
    from: u64,
    to: u64,
    state: ThreadState,
    stack: StackId,
    /// The thread that ends it, which is at this stack then.
    woken_by: Option<(u32, StackId)>,
}

/// A program, as it is and as it was recorded.
pub struct Program {
    pub profile: Profile,
    acts: Vec<Act>,
    threads: u32,
    has_gil: bool,
}

impl Program {
    pub fn new(mode: Mode, has_gil: bool, names: &[&str]) -> Program {
        let mut profile = fixture::profile(mode, !has_gil, names);
        profile.session.rate_hz = RATE;
        profile.keep_timeline();
        let info = GilInfo { process: ProcessId(0), interpreter: 0, enabled: has_gil, switch_interval_ns: 5 * MS };
        profile.push(&Event::Gil { at: Nanos(START), gil: GIL, info: Arc::new(info), switched_on_by: None });
        Program { profile, acts: Vec::new(), threads: names.len() as u32, has_gil }
    }

    pub fn stack(&mut self, function: &str) -> StackId {
        fixture::stack(&mut self.profile, function, 10)
    }

    /// A lock of a kind, and the events that tell of it.
    pub fn lock(&mut self, lock: LockId, kind: LockKind, name: &str) {
        let (process, address) = (ProcessId(0), 0x1000 + u64::from(lock.0));
        let info = LockInfo { process, address, kind, type_name: None, name: Some(name.into()) };
        self.profile.push(&Event::Lock { lock, info: Arc::new(info) });
    }

    /// From one millisecond to another.
    pub fn act(&mut self, thread: u32, from: u64, to: u64, state: ThreadState, stack: StackId) {
        self.acts.push(Act { thread, from: from * MS, to: to * MS, state, stack, woken_by: None });
    }

    /// The same, ended by another thread.
    pub fn wait(&mut self, thread: u32, from: u64, to: u64, state: ThreadState, stack: StackId, by: (u32, StackId)) {
        self.act(thread, from, to, state, stack);
        self.acts.last_mut().expect("it was pushed").woken_by = Some(by);
    }

    fn at(&self, thread: u32, at: u64) -> Option<&Act> {
        self.acts.iter().find(|act| act.thread == thread && (act.from..act.to).contains(&at))
    }

    /// How long a thread is in such states.
    pub fn truth(&self, thread: u32, is_such: impl Fn(ThreadState) -> bool) -> f64 {
        let acts = self.acts.iter().filter(|act| act.thread == thread && is_such(act.state));
        acts.map(|act| act.to - act.from).sum::<u64>() as f64 / 1e9
    }

    /// Records all of it.
    pub fn record(mut self) -> Profile {
        match self.profile.session.mode {
            Mode::Memory => self.sample_all(),
            Mode::Kernel => self.trace(),
        }
        fixture::finish(&mut self.profile);
        self.profile.finish();
        self.profile
    }

    /// Every thread at each tick.
    fn sample_all(&mut self) {
        for at in ticks() {
            for thread in 0..self.threads {
                let Some(&act) = self.at(thread, at) else { continue };
                if let ThreadState::LockWait(lock) = act.state
                    && let Some((by, stack)) = act.woken_by
                {
                    let (at, thread) = (Nanos(START + at), ThreadId(by));
                    self.profile.push(&Event::LockHeld { at, lock, thread, stack });
                }
            }
            for thread in 0..self.threads {
                self.sample(thread, at);
            }
        }
    }

    pub fn sample(&mut self, thread: u32, at: u64) {
        let Some(&Act { state, stack, .. }) = self.at(thread, at) else { return };
        let (at, thread, gil) = (Nanos(START + at), ThreadId(thread), self.has_gil.then_some(GIL));
        let event = match stack == StackId::EMPTY {
            true => Event::Lost { at, periods: 1, thread, state, gil, loss: Loss::Torn },
            false => Event::Sample { at, periods: 1, thread, state, stack, gil },
        };
        self.profile.push(&event);
    }

    /// Every time off the CPU, in the order of their ends, and samples of threads that are on it.
    fn trace(&mut self) {
        let off_cpu = self.acts.iter().filter(|act| !act.state.on_cpu());
        let mut ends: Vec<Act> = off_cpu.flat_map(sleeps).collect();
        ends.sort_by_key(|act| act.to);
        let mut ends = ends.into_iter().peekable();
        for at in ticks().chain([u64::MAX]) {
            while let Some(act) = ends.next_if(|act| act.to <= at) {
                let off = self.off_cpu(&act);
                self.profile.push(&Event::OffCpu(off));
            }
            for thread in 0..self.threads {
                if self.at(thread, at).is_some_and(|act| act.state.on_cpu()) {
                    self.sample(thread, at);
                }
            }
        }
        for thread in 0..self.threads {
            let account = self.account(thread);
            self.profile.push(&Event::Account { thread: ThreadId(thread), account });
        }
    }

    fn off_cpu(&self, act: &Act) -> OffCpu {
        let (thread, start, end) = (ThreadId(act.thread), Nanos(START + act.from), Nanos(START + act.to));
        let open = act.to >= END - START;
        let switches = self.switches(act.from);
        let wake = act.woken_by.filter(|_| !open).map(|(by, stack)| Wake {
            at: end,
            by: Some(ThreadId(by)),
            stack,
            switches: self.has_gil.then(|| self.switches(act.to - 1)),
        });
        let holder = (0..self.threads).find(|&other| self.holds(other, act.from)).map(ThreadId);
        let gil = GilGlimpse { gil: GIL, holder, locked: holder.is_some(), switches };
        let gil = self.has_gil.then_some(gil);
        OffCpu { wake, gil, open, ..OffCpu::new(thread, start, end, act.state, act.stack) }
    }

    fn holds(&self, thread: u32, at: u64) -> bool {
        self.at(thread, at).is_some_and(|act| act.state.holds_gil())
    }

    /// How often the GIL has gone to another thread by then.
    fn switches(&self, at: u64) -> u32 {
        let mut held: Vec<&Act> = self.acts.iter().filter(|act| act.state.holds_gil() && act.from <= at).collect();
        held.sort_by_key(|act| act.from);
        held.windows(2).filter(|pair| pair[0].thread != pair[1].thread).count() as u32
    }

    fn account(&self, thread: u32) -> Account {
        let nanos = |is_such: fn(ThreadState) -> bool| (self.truth(thread, is_such) * 1e9).round() as u64;
        Account {
            at: Nanos(END),
            on_cpu_ns: nanos(ThreadState::on_cpu),
            gil_held_off_cpu_ns: nanos(|state| matches!(state, ThreadState::GilHeldOffCpu(_))),
            gil_wait_ns: nanos(|state| state == ThreadState::GilWait),
            futex_ns: nanos(|state| state.lock().is_some() || state == ThreadState::Blocked(Syscall::FUTEX)),
            blocked_ns: nanos(|state| {
                matches!(state, ThreadState::Blocked(_)) && state != ThreadState::Blocked(Syscall::FUTEX)
            }),
            ..Account::default()
        }
    }
}

/// The times off the CPU that a thread is so: who waits for the GIL wakes up after each switch interval.
fn sleeps(act: &Act) -> Vec<Act> {
    const INTERVAL: u64 = 5 * MS;
    if act.state != ThreadState::GilWait {
        return vec![*act];
    }
    let starts = (act.from..act.to).step_by(INTERVAL as usize);
    let sleep = |from: u64| {
        let to = act.to.min(from + INTERVAL);
        Act { from, to, woken_by: act.woken_by.filter(|_| to == act.to), ..*act }
    };
    starts.map(sleep).collect()
}

/// About one each millisecond, but with no rhythm that a program could meet. The same ones each time.
pub fn ticks() -> impl Iterator<Item = u64> {
    let mut random = 1u64;
    let step = move |at: &u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(at + MS / 2 + (random >> 33) % MS)
    };
    std::iter::successors(Some(MS / 3), step).take_while(|&at| at < END - START)
}
