//! A simulated GIL for tests: threads that take and drop it as CPython's `take_gil` and `drop_gil` do. Gives what the
//! kernel collector would report of it, and the truth.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::event::{GilGlimpse, GilId, Nanos, OffCpu, Syscall, ThreadId, ThreadState, Wake};
use crate::stack::{Interner, StackId};

/// What the threads do. Probabilities are in percent, times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub threads: u32,
    pub interval: u64,
    /// Length of a piece of work that releases the GIL when asked.
    pub python: (u64, u64),
    /// Chance that a piece of work is one that does not, and its length.
    pub native: (u64, (u64, u64)),
    /// Chance that it is a call that sleeps while holding the GIL, or a loss of the CPU while holding it.
    pub held_sleep: (u64, (u64, u64)),
    pub held_preempted: (u64, (u64, u64)),
    /// Chance that the GIL is dropped after a piece, for a call that blocks.
    pub block: (u64, (u64, u64)),
    /// Chance that it is dropped for a call that does not block.
    pub short: (u64, (u64, u64)),
    /// From a wake to being on the CPU; and the chance that it takes much longer, for lack of a CPU.
    pub latency: (u64, u64),
    pub late: (u64, (u64, u64)),
    /// Chance to lose the CPU between being woken and looking at the GIL.
    pub preempted: (u64, (u64, u64)),
    /// Each piece of work is in one of two functions, which are neither where the GIL was acquired nor where it is released:
    /// the chance that it is the first, and the lengths of both.
    pub branches: Option<(u64, [(u64, u64); 2])>,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            threads: 4,
            interval: 5000,
            python: (50, 3000),
            native: (0, (0, 0)),
            held_sleep: (0, (0, 0)),
            held_preempted: (0, (0, 0)),
            block: (0, (0, 0)),
            short: (0, (0, 0)),
            latency: (5, 60),
            late: (0, (0, 0)),
            preempted: (0, (0, 0)),
            branches: None,
        }
    }
}

/// A stretch of time of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub thread: ThreadId,
    pub stack: StackId,
    pub start: u64,
    pub end: u64,
}

/// A look at the holder on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: u64,
    pub thread: ThreadId,
    pub stack: StackId,
}

#[derive(Debug, Default)]
pub struct Run {
    /// In the order of their ends.
    pub events: Vec<OffCpu>,
    pub samples: Vec<Sample>,
    /// From the first to the last time asleep of each wait.
    pub waits: Vec<Stretch>,
    pub holds: Vec<Stretch>,
    /// The first branch of each thread.
    pub short: Vec<StackId>,
    /// Where holders were, one stretch for each piece of work.
    pub pieces: Vec<Stretch>,
    /// When holders were asked to release it.
    pub requests: Vec<u64>,
    pub forced: u64,
    pub lost_races: u64,
    pub end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Cond,
    SwitchCond,
}

#[derive(Clone, Copy, Debug)]
struct Sleep {
    on: On,
    /// It has left the CPU, and what it saw then.
    out: Option<(u64, GilGlimpse)>,
    wake: Option<Wake>,
    /// `switch_number` when it began to sleep.
    switches: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Look { timed_out: bool },
    Out,
    TimeOut,
    On,
    PieceEnds,
    Dropped,
    BlockEnds,
    Sample,
}

/// When, the how-manieth, whose, in which epoch of the thread, what.
type Planned = (u64, u64, u32, u64, Act);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Python,
    Native,
    Sleep,
    Preempted,
}

#[derive(Debug)]
struct Thread {
    stacks: [StackId; 3],
    stack: usize,
    branches: [StackId; 2],
    /// Where it works, and since when.
    at: (StackId, u64),
    epoch: u64,
    sleep: Option<Sleep>,
    /// First and last end of the slices of the wait that goes on.
    wait: Option<(u64, u64)>,
    piece: Piece,
    left: u64,
    off: Option<(u64, ThreadState, GilGlimpse)>,
}

pub struct Sim {
    load: Load,
    random: u64,
    queue: BinaryHeap<Reverse<Planned>>,
    number: u64,
    threads: Vec<Thread>,
    cond: VecDeque<u32>,
    locked: bool,
    last_holder: u32,
    switches: u32,
    drop_request: bool,
    held_since: u64,
    run: Run,
}

const NOBODY: u32 = u32::MAX;

/// How far samples are apart, in nanoseconds; at most.
pub const PERIOD: u64 = 1_000_000;

impl Sim {
    /// Runs `load` for `end` ns.
    pub fn run(load: Load, seed: u64, end: u64) -> Run {
        let mut stacks = Interner::default();
        let file = stacks.string("sim.py");
        let threads = (0..load.threads)
            .map(|thread| {
                let mut stack = |place: u32| {
                    let name = stacks.string(&format!("{thread}.{place}"));
                    let frame = crate::stack::Frame {
                        kind: crate::stack::FrameKind::Python,
                        function: name,
                        name,
                        file,
                        line: place + 1,
                        first_line: 1,
                    };
                    let frame = stacks.frame(frame);
                    stacks.push(StackId::EMPTY, frame)
                };
                Thread {
                    stacks: [0, 1, 2].map(&mut stack),
                    stack: 0,
                    branches: [3, 4].map(&mut stack),
                    at: (StackId::EMPTY, 0),
                    epoch: 0,
                    sleep: None,
                    wait: None,
                    piece: Piece::Python,
                    left: 0,
                    off: None,
                }
            })
            .collect();
        let mut sim = Sim {
            load,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            queue: BinaryHeap::new(),
            number: 0,
            threads,
            cond: VecDeque::new(),
            locked: false,
            last_holder: NOBODY,
            switches: u32::MAX - 20,
            drop_request: false,
            held_since: 0,
            run: Run { end, ..Run::default() },
        };
        sim.run.short = sim.threads.iter().map(|thread| thread.branches[0]).collect();
        for thread in 0..load.threads {
            let at = 1_000_000 + sim.between((0, 1000));
            sim.at(at, thread, Act::Look { timed_out: false });
        }
        sim.at(1_000_000, 0, Act::Sample);
        while let Some(Reverse((at, _, thread, epoch, act))) = sim.queue.pop() {
            if at >= end {
                break;
            }
            if act == Act::Sample || epoch == sim.threads[thread as usize].epoch {
                sim.act(at, thread, act);
            }
        }
        sim.close(end)
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// A length in nanoseconds, between two lengths in microseconds.
    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low * 1000 + self.random() % ((high - low) * 1000 + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random() % 100 < percent
    }

    fn at(&mut self, at: u64, thread: u32, act: Act) {
        self.number += 1;
        let epoch = self.threads[thread as usize].epoch;
        self.queue.push(Reverse((at, self.number, thread, epoch, act)));
    }

    /// What was planned for a thread is off.
    fn replan(&mut self, at: u64, thread: u32, act: Act) {
        self.threads[thread as usize].epoch += 1;
        self.at(at, thread, act);
    }

    fn glimpse(&self) -> GilGlimpse {
        let holder = self.locked.then_some(ThreadId(self.last_holder));
        GilGlimpse { gil: GilId(0), holder, locked: self.locked, switches: self.switches }
    }

    fn stack(&self, thread: u32) -> StackId {
        let thread = &self.threads[thread as usize];
        thread.stacks[thread.stack]
    }

    /// It may be in the same place when it wants the GIL next.
    fn moves_on(&mut self, thread: u32) {
        self.threads[thread as usize].stack = self.random() as usize % 3;
    }

    fn latency(&mut self) -> u64 {
        let (chance, late) = self.load.late;
        let range = if self.chance(chance) { late } else { self.load.latency };
        self.between(range)
    }

    fn emit(&mut self, thread: u32, start: u64, end: u64, state: ThreadState, wake: Option<Wake>, gil: GilGlimpse) {
        let open = end == self.run.end;
        self.run.events.push(OffCpu {
            wake,
            gil: Some(gil),
            open,
            ..OffCpu::new(ThreadId(thread), Nanos(start), Nanos(end), state, self.stack(thread))
        });
    }

    fn act(&mut self, now: u64, thread: u32, act: Act) {
        let index = thread as usize;
        match act {
            Act::Look { timed_out } => self.look(now, thread, timed_out),
            Act::Out => {
                let glimpse = self.glimpse();
                self.threads[index].sleep.as_mut().unwrap().out = Some((now, glimpse));
                if self.threads[index].sleep.unwrap().on == On::Cond {
                    let at = now + self.load.interval * 1000;
                    self.at(at, thread, Act::TimeOut);
                }
            }
            Act::TimeOut => {
                self.cond.retain(|&other| other != thread);
                let latency = self.latency();
                self.replan(now + latency, thread, Act::On);
            }
            Act::On => self.on(now, thread),
            Act::PieceEnds => {
                self.piece_is_over(now, thread);
                if let Some((start, state, glimpse)) = self.threads[index].off.take() {
                    self.emit(thread, start, now, state, None, glimpse);
                }
                if self.drop_request {
                    return self.release(now, thread, true);
                }
                let (block, short) = (self.load.block, self.load.short);
                if self.chance(block.0) {
                    self.release(now, thread, false);
                    let length = self.between(block.1);
                    self.moves_on(thread);
                    let start = now + 700;
                    // What it sees a moment later: the GIL is free, or already another's.
                    self.threads[index].off = Some((start, ThreadState::Blocked(Syscall(0)), self.glimpse()));
                    self.replan(start + length, thread, Act::BlockEnds);
                } else if self.chance(short.0) {
                    self.release(now, thread, false);
                    let length = self.between(short.1);
                    self.moves_on(thread);
                    self.replan(now + length, thread, Act::Look { timed_out: false });
                } else {
                    self.piece(now, thread);
                }
            }
            Act::Dropped => {
                // Asked to release it in the middle of a piece.
                self.piece_is_over(now, thread);
                self.release(now, thread, true);
            }
            Act::BlockEnds => {
                let (start, state, glimpse) = self.threads[index].off.take().unwrap();
                self.emit(thread, start, now, state, None, glimpse);
                self.replan(now + 500, thread, Act::Look { timed_out: false });
            }
            Act::Sample => {
                let holder = self.last_holder;
                if self.locked && self.threads[holder as usize].off.is_none() {
                    let stack = self.threads[holder as usize].at.0;
                    self.run.samples.push(Sample { at: now, thread: ThreadId(holder), stack });
                }
                let early = if self.load.branches.is_some() { self.random() % (PERIOD / 10) } else { 0 };
                self.at(now + PERIOD - early, 0, Act::Sample);
            }
        }
    }

    fn piece_is_over(&mut self, now: u64, thread: u32) {
        let (stack, start) = self.threads[thread as usize].at;
        self.run.pieces.push(Stretch { thread: ThreadId(thread), stack, start, end: now });
    }

    /// The loop of `take_gil`.
    fn look(&mut self, now: u64, thread: u32, timed_out: bool) {
        let index = thread as usize;
        if !self.locked {
            return self.take(now, thread);
        }
        if timed_out {
            let unchanged = self.threads[index].sleep.is_some_and(|sleep| sleep.switches == self.switches);
            if unchanged && !self.drop_request {
                self.drop_request = true;
                self.run.requests.push(now);
                let holder = self.last_holder;
                let state = &self.threads[holder as usize];
                if state.piece == Piece::Python {
                    let soon = now + 200 + self.random() % 10_000;
                    self.replan(soon, holder, Act::Dropped);
                }
            }
        } else if self.threads[index].wait.is_some() {
            self.run.lost_races += 1;
        }
        let switches = self.switches;
        self.threads[index].sleep = Some(Sleep { on: On::Cond, out: None, wake: None, switches });
        self.cond.push_back(thread);
        let out = now + 800 + self.random() % 2000;
        self.replan(out, thread, Act::Out);
    }

    fn take(&mut self, now: u64, thread: u32) {
        let index = thread as usize;
        self.locked = true;
        self.drop_request = false;
        self.held_since = now;
        if self.last_holder != thread {
            self.last_holder = thread;
            self.switches = self.switches.wrapping_add(1);
            let waits = |t: &Thread| t.sleep.is_some_and(|s| s.on == On::SwitchCond && s.wake.is_none());
            if let Some(other) = (0..self.load.threads).find(|&other| waits(&self.threads[other as usize])) {
                self.wake(now, other, thread);
            }
        }
        if let Some((start, end)) = self.threads[index].wait.take() {
            self.run.waits.push(Stretch { thread: ThreadId(thread), stack: self.stack(thread), start, end });
        }
        self.threads[index].sleep = None;
        self.piece(now, thread);
    }

    /// Begins a piece of work, or goes on with one it was interrupted in.
    fn piece(&mut self, now: u64, thread: u32) {
        let index = thread as usize;
        let load = self.load;
        let (piece, range) = if self.chance(load.native.0) {
            (Piece::Native, load.native.1)
        } else if self.chance(load.held_sleep.0) {
            (Piece::Sleep, load.held_sleep.1)
        } else if self.chance(load.held_preempted.0) {
            (Piece::Preempted, load.held_preempted.1)
        } else {
            (Piece::Python, load.python)
        };
        let branch = load.branches.filter(|_| piece == Piece::Python);
        let branch = branch.map(|(chance, ranges)| (ranges, usize::from(!self.chance(chance))));
        let range = branch.map_or(range, |(ranges, which)| ranges[which]);
        let at = branch.map_or(self.stack(thread), |(_, which)| self.threads[index].branches[which]);
        self.threads[index].at = (at, now);
        let length = 300 + self.between(range);
        self.threads[index].piece = piece;
        self.threads[index].left = length;
        let state = match piece {
            Piece::Sleep => ThreadState::GilHeldOffCpu(Syscall(35)),
            Piece::Preempted => ThreadState::GilHeldRunnable,
            _ => {
                self.replan(now + length, thread, Act::PieceEnds);
                return;
            }
        };
        self.threads[index].off = Some((now + 200, state, self.glimpse()));
        self.replan(now + length, thread, Act::PieceEnds);
    }

    fn release(&mut self, now: u64, thread: u32, forced: bool) {
        self.locked = false;
        self.run.holds.push(Stretch {
            thread: ThreadId(thread),
            stack: self.stack(thread),
            start: self.held_since,
            end: now,
        });
        if let Some(waiter) = self.cond.pop_front() {
            self.wake(now, waiter, thread);
        }
        if forced {
            self.run.forced += 1;
            let switches = self.switches;
            self.threads[thread as usize].sleep = Some(Sleep { on: On::SwitchCond, out: None, wake: None, switches });
            let out = now + 800 + self.random() % 2000;
            self.replan(out, thread, Act::Out);
        }
        self.drop_request = false;
    }

    fn wake(&mut self, now: u64, thread: u32, by: u32) {
        let wake =
            Wake { at: Nanos(now), by: Some(ThreadId(by)), stack: self.stack(by), switches: Some(self.switches) };
        let sleep = self.threads[thread as usize].sleep.as_mut().unwrap();
        sleep.wake = Some(wake);
        if sleep.out.is_some() {
            let latency = self.latency();
            self.replan(now + latency, thread, Act::On);
        } else {
            // It was about to sleep, and does not.
            self.replan(now + 400, thread, Act::Look { timed_out: false });
        }
    }

    /// A slice is over.
    fn on(&mut self, now: u64, thread: u32) {
        let index = thread as usize;
        let sleep = self.threads[index].sleep.as_mut().unwrap();
        let (start, glimpse) = sleep.out.take().unwrap();
        let wake = sleep.wake;
        self.emit(thread, start, now, ThreadState::GilWait, wake, glimpse);
        let wait = &mut self.threads[index].wait;
        *wait = Some((wait.map_or(start, |(first, _)| first), now));
        let mut look = now + 500 + self.random() % 1500;
        let (chance, range) = self.load.preempted;
        if self.chance(chance) {
            let back = look + self.between(range);
            let glimpse = self.glimpse();
            self.emit(thread, look, back, ThreadState::Runnable, None, glimpse);
            look = back + 300;
        }
        self.replan(look, thread, Act::Look { timed_out: wake.is_none() });
    }

    fn close(mut self, end: u64) -> Run {
        for thread in 0..self.load.threads {
            let index = thread as usize;
            if let Some((start, state, glimpse)) = self.threads[index].off.filter(|off| off.0 < end) {
                self.emit(thread, start, end, state, None, glimpse);
            }
            let sleep = self.threads[index].sleep;
            let out = sleep.and_then(|sleep| Some((sleep.out?, sleep.wake)));
            let mut wait = self.threads[index].wait;
            if let Some(((start, glimpse), wake)) = out.filter(|out| out.0.0 < end) {
                self.emit(thread, start, end, ThreadState::GilWait, wake, glimpse);
                wait = Some((wait.map_or(start, |wait| wait.0), end));
            }
            if let Some((start, end)) = wait {
                self.run.waits.push(Stretch { thread: ThreadId(thread), stack: self.stack(thread), start, end });
            }
        }
        if self.locked {
            self.piece_is_over(end, self.last_holder);
            let thread = ThreadId(self.last_holder);
            self.run.holds.push(Stretch { thread, stack: self.stack(self.last_holder), start: self.held_since, end });
        }
        self.run.events.retain(|event| event.end.0 <= end);
        self.run.events.sort_by_key(|event| event.end);
        self.run
    }
}
