//! Chaos: programs start, fork, exec, are stopped, continued and killed, while gilscopes observe them in all ways and are stopped
//! and killed as well. Whatever happens, the programs that nobody has killed go on, and nothing is left behind.
//!
//! What is done follows from a seed; when it happens does not. `tests/chaos MINUTES SEED` runs it for longer.

mod actors;
mod remains;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::actors::{Observer, Target};
use crate::support::{Proc, folder, gilscope, say};

/// How long it takes as one test of many.
const SECONDS: f64 = 40.0;
/// How often everything is counted.
const ROUND: Duration = Duration::from_secs(10);
const MAX_TARGETS: usize = 4;
const MAX_OBSERVERS: usize = 3;

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// What was done, which is printed if the test fails.
struct Log {
    seed: u64,
    started: Instant,
    lines: Vec<String>,
}

impl Log {
    fn add(&mut self, what: String) {
        self.lines.push(format!("{:8.3} {what}", self.started.elapsed().as_secs_f64()));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = &self.lines[self.lines.len().saturating_sub(60)..];
            say(&format!("chaos with seed {} (tests/chaos MINUTES {0}):\n{}", self.seed, last.join("\n")));
        }
    }
}

struct Chaos {
    dice: Dice,
    log: Log,
    targets: Vec<Target>,
    observers: Vec<Observer>,
    folder: tempfile::TempDir,
    /// Runs of gilscope so far.
    runs: usize,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        Chaos {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            log: Log { seed, started: Instant::now(), lines: Vec::new() },
            targets: Vec::new(),
            observers: Vec::new(),
            folder: folder(),
            runs: 0,
        }
    }

    /// Does one thing.
    fn step(&mut self) {
        match self.dice.below(20) {
            0 | 1 if self.targets.len() < MAX_TARGETS => self.start_target(),
            2..9 if self.observers.len() < MAX_OBSERVERS => self.start_observer(),
            9 => self.disturb_target(&[Signal::SIGKILL, Signal::SIGTERM]),
            10..13 => self.disturb_target(&[Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGCONT]),
            13..16 => self.disturb_target(&[Signal::SIGUSR1, Signal::SIGUSR1, Signal::SIGUSR2]),
            16..20 => self.disturb_observer(),
            _ => {}
        }
    }

    fn start_target(&mut self) {
        let target = Target::start(&mut self.dice);
        self.log.add(format!("target {} of {} starts", target.pid(), target.version));
        self.targets.push(target);
    }

    fn start_observer(&mut self) {
        let folder = self.folder.path().join(self.runs.to_string());
        std::fs::create_dir(&folder).unwrap();
        self.runs += 1;
        let pids: Vec<i32> = self.targets.iter().map(Target::pid).collect();
        let observer = Observer::start(&mut self.dice, folder, &pids);
        self.log.add(format!("gilscope {} starts: {}", observer.pid(), observer.words.join(" ")));
        self.observers.push(observer);
    }

    fn disturb_target(&mut self, signals: &[Signal]) {
        if self.targets.is_empty() {
            return;
        }
        let (index, signal) = (self.dice.below(self.targets.len()), self.dice.one_of(signals));
        let target = &mut self.targets[index];
        self.log.add(format!("target {} gets {signal}", target.pid()));
        if target.signal(signal) {
            // The kernel waits for whoever traces a thread of it, if only to take note of its end: a gilscope that was stopped in
            // those microseconds cannot, and nothing can make it.
            self.observers.iter_mut().for_each(|observer| observer.signal(Signal::SIGCONT));
            self.targets.swap_remove(index);
        }
    }

    fn disturb_observer(&mut self) {
        if self.observers.is_empty() {
            return;
        }
        let index = self.dice.below(self.observers.len());
        let signals =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGCONT];
        let (observer, signal) = (&mut self.observers[index], self.dice.one_of(&signals));
        self.log.add(format!("gilscope {} gets {signal}", observer.pid()));
        observer.signal(signal);
    }

    /// Examines what has ended by itself.
    fn collect(&mut self) {
        let (ended, going): (Vec<_>, Vec<_>) = self.observers.drain(..).partition(|observer| !observer.is_running());
        self.observers = going;
        for observer in ended {
            self.log.add(format!("gilscope {} has ended", observer.pid()));
            observer.examine();
        }
    }

    /// Ends all gilscopes, each in its own way, and looks for what is left of them.
    fn count(&mut self) {
        self.log.add("all gilscopes are ended".to_owned());
        for observer in &mut self.observers {
            observer.signal(Signal::SIGCONT);
            observer.signal(self.dice.one_of(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL]));
        }
        for observer in self.observers.drain(..) {
            self.log.add(format!("gilscope {} is to end", observer.pid()));
            observer.wait_for_end();
            observer.examine();
        }
        remains::assert_nothing_in_the_kernel();
        for target in &mut self.targets {
            self.log.add(format!("target {} is looked at", target.pid()));
            target.assert_undisturbed();
        }
    }
}

/// The value of a variable of the environment, if it is set.
fn set_to<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().ok().unwrap_or_else(|| panic!("{name} is no number: {value}")))
}

#[test]
fn nothing_is_left_of_chaos_and_nobody_is_harmed() {
    let seconds = set_to("GILSCOPE_CHAOS_MINUTES").map_or(SECONDS, |minutes: f64| 60.0 * minutes);
    let mut chaos = Chaos::new(set_to("GILSCOPE_CHAOS_SEED").unwrap_or(1));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    chaos.start_target();
    while Instant::now() < end {
        let round = end.min(Instant::now() + ROUND);
        while Instant::now() < round {
            chaos.step();
            chaos.collect();
            std::thread::sleep(Duration::from_millis(20 + chaos.dice.below(120) as u64));
        }
        chaos.count();
    }
    say(&format!(
        "chaos: {} runs of gilscope, {} actions, seed {}",
        chaos.runs,
        chaos.log.lines.len(),
        chaos.log.seed
    ));
}

#[test]
fn a_signal_in_the_first_moments_leaves_no_part_of_a_file() {
    for moment in 0..16 {
        let folder = folder();
        let mut command = gilscope(["record", "-q", "-o", "out.svg", "--", "sleep", "0.3"]);
        command.current_dir(folder.path());
        let process = Proc::start(command);
        std::thread::sleep(Duration::from_millis(7 * moment));
        process.signal([Signal::SIGINT, Signal::SIGTERM][moment as usize % 2]);
        process.finish();
        remains::assert_files_are_whole(folder.path(), false, &format!("a signal after {} ms", 7 * moment));
    }
}
