//! Who holds the GIL and who waits for it, where a thread holds it while it sleeps in C.

use std::fs;

use crate::support::{self, Folded, MODES, Words, has, on_every_python, on_pythons};

const OFF_CPU: &str = "[GIL held off CPU: clock_nanosleep]";
const ASLEEP: &str = "[blocked: clock_nanosleep]";
const WAITING: &str = "[waiting for GIL]";

/// A recording of the program, and what it has measured itself.
struct Recorded {
    folder: tempfile::TempDir,
    /// Shares of the time for which one thread has slept with the GIL, and another has computed.
    held: f64,
    computed: f64,
}

impl Recorded {
    fn new(program: &Words, mode: &str) -> Recorded {
        let folder = support::folder();
        let out = folder.path().join("out.gscope");
        let done = support::run(support::recording(&out, &["--mode", mode, "-r", "500"], program));
        done.ok();
        let own = done.measured("HELD");
        Recorded { folder, held: own[0] / own[2], computed: own[1] / own[2] }
    }

    fn view(&self, view: &str) -> Folded {
        let [recording, out] = ["out.gscope", "out.collapsed"].map(|name| self.folder.path().join(name));
        let mut command = support::gilscope(["export", "--view", view, "-o"]);
        command.arg(&out).arg(recording);
        support::run(command).ok();
        let stacks = Folded::parse(&fs::read_to_string(out).unwrap());
        stacks.only(|stack| ["holding", "computing", "polite"].iter().any(|function| has(stack, function)))
    }
}

/// The share of a thread's samples that end so.
fn share_of(stacks: &Folded, function: &str, leaf: &str) -> f64 {
    stacks.only(|stack| has(stack, function)).share(|stack| ends(stack, leaf))
}

fn ends(stack: &[String], leaf: &str) -> bool {
    stack.last().is_some_and(|last| last == leaf)
}

fn close(what: &str, seen: f64, real: f64) -> Result<(), String> {
    match (seen - real).abs() <= 0.05 {
        true => Ok(()),
        false => Err(format!("{what}: {seen:.3} instead of {real:.3}")),
    }
}

fn below(what: &str, seen: f64, most: f64) -> Result<(), String> {
    if seen <= most { Ok(()) } else { Err(format!("{what}: {seen:.3}, more than {most:.3}")) }
}

fn check_with_gil(program: &Words, mode: &str) -> Result<(), String> {
    let recorded = Recorded::new(program, mode);
    let (held, computed) = (recorded.held, recorded.computed);
    let hold = recorded.view("gil-hold");
    // Nobody else holds it for long.
    let all = held + computed;
    let asleep = hold.share(|stack| has(stack, "holding") && ends(stack, OFF_CPU));
    close("held asleep", asleep, held / all)?;
    close("held computing", hold.share(|stack| has(stack, "computing")), computed / all)?;
    let polite = hold.share(|stack| has(stack, "polite") && ends(stack, OFF_CPU));
    below("held by who sleeps without it", polite, 0.01)?;
    assert_eq!(hold.with(WAITING), 0, "who waits does not hold");

    let wall = recorded.view("wall");
    let of = |function, leaf| share_of(&wall, function, leaf);
    close("asleep with the GIL", of("holding", OFF_CPU), held)?;
    // All that the others can do meanwhile is to wait.
    below("not waiting for who is asleep with the GIL", held - of("computing", WAITING), 0.05)?;
    below("waiting", of("computing", WAITING), 1.0 - computed)?;
    // It sleeps without the GIL for 20 ms, and then waits for its turn.
    below("not asleep without the GIL", 0.3, of("polite", ASLEEP))?;
    below("neither asleep nor waiting", 1.0 - of("polite", ASLEEP) - of("polite", WAITING), 0.05)
}

fn check_without_gil(program: &Words, mode: &str) -> Result<(), String> {
    let recorded = Recorded::new(program, mode);
    assert_eq!(recorded.view("gil-hold").total(), 0, "nobody holds what there is not");
    let wall = recorded.view("wall");
    assert_eq!(wall.with(WAITING), 0);
    assert_eq!(wall.with(OFF_CPU), 0);
    // It sleeps for 5 ms after every 20, too.
    below("not asleep", recorded.held, share_of(&wall, "holding", ASLEEP) + 0.05)?;
    below("computing", recorded.computed, 1.0 - share_of(&wall, "computing", ASLEEP) + 0.05)
}

on_every_python! {
    fn a_sleep_that_keeps_the_gil_is_distinguished_from_one_that_does_not(python) {
        let program = python.script("holder.py", &["2"]);
        for mode in MODES {
            support::thrice(|| match python.is_free_threaded() {
                true => check_without_gil(&program, mode),
                false => check_with_gil(&program, mode),
            });
        }
    }
}

// A free-threaded build has a GIL all the same, if that is asked for.
on_pythons! {
    FreeThreaded,
    fn the_gil_of_a_free_threaded_build_is_seen_when_it_is_on(python) {
        let program = python.script_with_gil("holder.py", &["2"]);
        MODES.iter().for_each(|mode| support::thrice(|| check_with_gil(&program, mode)));
    }
}
