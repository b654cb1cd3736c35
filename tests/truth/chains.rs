//! A thread whose stack changes all the time, too fast to be read: no stack is reported that never was, and its busy
//! share is right, which it is not if stacks that move are left out.

use std::sync::Mutex;

use crate::support::{self, MODES, Python, has, line, name, on_every_python};

const SCRIPT: &str = "chains.py";
const DEPTH: u32 = 20;

/// What one recording says, and what the program does.
struct Shares {
    seen: f64,
    least: f64,
    most: f64,
    lost: f64,
    /// Samples of threads that seemed to be asleep where they do not sleep.
    woken: u64,
    samples: u64,
    version: &'static str,
    said: String,
}

impl Shares {
    /// In points.
    fn off(&self) -> f64 {
        100.0 * (self.seen - self.seen.clamp(self.least, self.most))
    }

    /// At least this number of samples, not more points off than these, and hardly a sample without a stack.
    fn check(&self, samples: u64, points: f64) -> Result<(), String> {
        let Shares { seen, least, most, lost, woken, version, said, .. } = self;
        let enough = self.samples >= samples && *woken <= 1 + self.samples / 1000;
        match enough && self.off().abs() <= points && *lost <= 0.01 {
            true => Ok(()),
            false => Err(format!(
                "{seen:.3}, not {least:.3} to {most:.3}, {lost:.3} lost, {woken} woken of {} on {version}: {said}",
                self.samples
            )),
        }
    }
}

/// A stack of which not all is known.
fn is_lost(stack: &[String]) -> bool {
    stack[0] == "[stack unreadable]" || stack.iter().any(|label| label == "[code object freed]")
}

/// Records the program and checks every stack.
fn shares(python: &'static Python, mode: &str, rate: u32, seconds: u32) -> Shares {
    let program = python.script(SCRIPT, &[&seconds.to_string()]);
    let recording = support::record(&["--mode", mode, "--view", "wall", "-r", &rate.to_string()], &program);
    let lines = Lines::new();
    let mut woken = 0;
    for (stack, count) in recording.stacks.0.iter().filter(|(stack, _)| !is_lost(stack)) {
        let mut checked = lines.check(stack);
        // Memory mode reads what a thread does some microseconds before its stack, and says so: it may wake up meanwhile.
        if checked.is_err() && sleeps(stack) && mode == "memory" {
            woken += count;
            checked = lines.check(&stack[..stack.len() - 1]);
        }
        if let Err(why) = checked {
            panic!("{why}, on {} at {rate} Hz: {}", python.version, stack.join(";"));
        }
    }
    let said = format!("{}{}", recording.done.stdout, recording.done.stderr);
    // Without a stack it is not known to be in there, but there is not much else. Of modules that are imported, the code
    // may be gone before it is read.
    let imports = |stack: &[String]| stack.iter().any(|label| label.contains("(<frozen "));
    let window = recording.stacks.only(|stack| has(stack, "run_chains") || is_lost(stack) && !imports(stack));
    let own = recording.done.measured("BUSY");
    let (least, most) = (own[0] / own[2], own[1] / own[2]);
    let (seen, lost) = (window.share(|stack| !sleeps(stack)), window.share(is_lost));
    Shares { seen, least, most, lost, woken, samples: window.total(), version: &python.version, said }
}

fn sleeps(stack: &[String]) -> bool {
    stack.last().is_some_and(|leaf| leaf.starts_with("[blocked: "))
}

/// Which stacks there are: lines and functions of the script.
struct Lines {
    call_main: u32,
    main: std::ops::Range<u32>,
    call_busy: u32,
    sleep: u32,
    busy: u32,
    call: [u32; 2],
}

impl Lines {
    fn new() -> Lines {
        let one = |text| support::lines_of(SCRIPT, text)[0];
        Lines {
            call_main: one("run_chains(float("),
            main: one("def run_chains(")..one("print(\"READY\""),
            call_busy: one("        busy("),
            sleep: one("time.sleep("),
            busy: one("def busy("),
            call: [one("        a0()"), one("        b0()")],
        }
    }

    /// Whether this stack can have been, frame by frame.
    fn check(&self, stack: &[String]) -> Result<(), String> {
        let frames: Vec<_> =
            stack.iter().filter(|label| !label.starts_with('[')).map(|l| (name(l), line(l))).collect();
        let in_chain = |name: &str| name.starts_with(['a', 'b']) && name[1..].parse::<u32>().is_ok();
        let Some(at) = frames.iter().position(|&(name, _)| name == "run_chains") else {
            // Before or after: anything but a piece of what belongs into run_chains().
            return match frames.iter().find(|(name, _)| in_chain(name)) {
                Some((name, _)) => Err(format!("{name} has lost its callers")),
                None => Ok(()),
            };
        };
        if frames[..at] != [("<module>", self.call_main)] {
            return Err("main is not called from the module".to_owned());
        }
        let (main, inside) = (frames[at].1, &frames[at + 1..]);
        let Some((&(busy, busy_line), chain)) = inside.split_first() else {
            let slept = sleeps(stack) && main != self.sleep;
            return match self.main.contains(&main) && !slept {
                true => Ok(()),
                false => Err(format!("main is not at line {main}")),
            };
        };
        if busy != "busy" || main != self.call_busy {
            return Err(format!("main does not call {busy} at line {main}"));
        }
        let Some(&(first, _)) = chain.first() else {
            return match (self.busy..=self.call[1]).contains(&busy_line) {
                true => Ok(()),
                false => Err(format!("busy is not at line {busy_line}")),
            };
        };
        let which = usize::from(first.starts_with('b'));
        if busy_line != self.call[which] {
            return Err(format!("busy does not call {first} at line {busy_line}"));
        }
        let letter = ["a", "b"][which];
        for (level, &(name, line)) in (0..).zip(chain) {
            // Two lines each, the deepest function first, chain a before chain b.
            let define = 1 + which as u32 * 2 * DEPTH + 2 * (DEPTH - 1 - level);
            let innermost = level as usize + 1 == chain.len();
            if name != format!("{letter}{level}") || (line != define + 1 && !(innermost && line == define)) {
                return Err(format!("{name} at line {line} is not called there"));
            }
        }
        Ok(())
    }
}

on_every_python! {
    fn every_stack_was_there_and_the_busy_share_is_right_in_kernel_mode_at_10000_hz(python) {
        support::thrice(|| shares(python, "kernel", 10_000, 3).check(0, 2.0));
    }
}

on_every_python! {
    fn every_stack_was_there_and_the_busy_share_is_right_at_2000_hz(python) {
        support::thrice(|| shares(python, "memory", 2000, 3).check(3000, 2.0));
    }
}

/// All versions together have the samples to tell two points from chance; each alone must be within the limits of
/// chance, which is three standard deviations.
#[test]
fn every_stack_was_there_and_the_busy_share_is_right_at_100_hz() {
    let labels = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.13t"];
    let first = |found: Vec<&'static Python>| found.first().copied();
    let others = ["3.14t", "3.15t"].into_iter().filter_map(|label| first(Python::found(label)));
    let all: Vec<_> = labels.into_iter().filter_map(|label| first(Python::all(label))).chain(others).collect();
    support::thrice(|| {
        let pythons = Mutex::new(all.clone());
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(python) = { pythons.lock().unwrap().pop() } {
                        let shares = shares(python, "memory", 100, 6);
                        results.lock().unwrap().push(shares);
                    }
                });
            }
        });
        let results = results.into_inner().unwrap();
        let mut sum = 0.0;
        for shares in &results {
            let chance = 100.0 * (0.25 / shares.samples as f64).sqrt();
            shares.check(400, 3.0 * chance)?;
            sum += shares.off();
        }
        let mean = sum / results.len() as f64;
        if mean.abs() <= 2.0 { Ok(()) } else { Err(format!("off by {mean:.2} points on average")) }
    });
}

on_every_python! {
    fn functions_are_not_taken_for_those_that_had_their_memory_before(python) {
        MODES.iter().for_each(|mode| reuse(python, mode));
    }
}

fn reuse(python: &Python, mode: &str) {
    let program = python.script("reuse.py", &["2"]);
    let recording = support::record(&["--mode", mode, "-r", "2000"], &program);
    let stacks = recording.stacks.only(|stack| has(stack, "run_pairs") && !is_lost(stack));
    let (mut pairs, mut wrong) = (0, Vec::new());
    for (stack, count) in &stacks.0 {
        let below = stack.iter().skip_while(|label| name(label) != "run_pairs").skip(1);
        let made: Vec<_> = below.filter(|label| label.contains("(made_") && !label.contains("<module>")).collect();
        let Some(first) = made.first() else { continue };
        let number: u32 = name(first).trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        let real = [
            format!("outer_{number} (made_{number}.py:{})", number + 1),
            format!("inner_{number} (made_{number}.py:{})", number + 2),
            format!("inner_{number} (made_{number}.py:{})", number + 3),
        ];
        let inner = made.get(1).is_none_or(|inner| real[1..].contains(inner));
        // Garbage is collected now and then.
        let others = stack.iter().filter(|label| name(label) != "[garbage collection]").count() - made.len();
        if *first != &real[0] || made.len() > 2 || !inner || has(stack, "<module>") && others != 2 {
            wrong.push(format!("{} {count}", stack.join(";")));
        }
        pairs += count;
    }
    let version = &python.version;
    assert!(
        wrong.is_empty(),
        "on {version} in {mode} mode, {} of {} stacks never were: {wrong:#?}",
        wrong.len(),
        stacks.0.len()
    );
    assert!(pairs * 2 > stacks.total() && pairs > 300, "{pairs} of {}", stacks.total());
}
