//! Who holds the GIL and who waits for it, where a thread holds it while it sleeps in C.

use crate::support::{self, Folded, MODES, Words, has, on_every_python, on_pythons};

const OFF_CPU: &str = "[GIL held off CPU: clock_nanosleep]";
const ASLEEP: &str = "[blocked: clock_nanosleep]";
const WAITING: &str = "[waiting for GIL]";

/// A recording of the program in a view, and what it has measured itself.
struct Recorded {
    stacks: Folded,
    /// Shares of the time for which one thread has slept with the GIL, and another has computed.
    held: f64,
    computed: f64,
}

impl Recorded {
    fn new(program: &Words, mode: &str, view: &str) -> Recorded {
        let recording = support::record(&["--mode", mode, "-r", "500", "--view", view], program);
        let own = recording.done.measured("HELD");
        let stacks = recording
            .stacks
            .only(|stack| ["holding", "computing", "polite"].iter().any(|function| has(stack, function)));
        Recorded { stacks, held: own[0] / own[2], computed: own[1] / own[2] }
    }

    /// The share of a thread's samples that end so.
    fn of(&self, function: &str, leaf: &str) -> f64 {
        self.stacks.only(|stack| has(stack, function)).share(|stack| ends(stack, leaf))
    }
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
    let hold = Recorded::new(program, mode, "gil-hold");
    // Nobody else holds it for long.
    let all = hold.held + hold.computed;
    let asleep = hold.stacks.share(|stack| has(stack, "holding") && ends(stack, OFF_CPU));
    close("held asleep", asleep, hold.held / all)?;
    close("held computing", hold.stacks.share(|stack| has(stack, "computing")), hold.computed / all)?;
    let polite = hold.stacks.share(|stack| has(stack, "polite") && ends(stack, OFF_CPU));
    below("held by who sleeps without it", polite, 0.01)?;
    assert_eq!(hold.stacks.with(WAITING), 0, "who waits does not hold");

    let wall = Recorded::new(program, mode, "wall");
    close("asleep with the GIL", wall.of("holding", OFF_CPU), wall.held)?;
    // All that the others can do meanwhile is to wait.
    below("not waiting for who is asleep with the GIL", wall.held - wall.of("computing", WAITING), 0.05)?;
    below("waiting", wall.of("computing", WAITING), 1.0 - wall.computed)?;
    // It sleeps without the GIL for 20 ms, and then waits for its turn.
    below("not asleep without the GIL", 0.3, wall.of("polite", ASLEEP))?;
    below("neither asleep nor waiting", 1.0 - wall.of("polite", ASLEEP) - wall.of("polite", WAITING), 0.05)
}

fn check_without_gil(program: &Words, mode: &str) -> Result<(), String> {
    assert_eq!(Recorded::new(program, mode, "gil-hold").stacks.total(), 0, "nobody holds what there is not");
    let wall = Recorded::new(program, mode, "wall");
    assert_eq!(wall.stacks.with(WAITING), 0);
    assert_eq!(wall.stacks.with(OFF_CPU), 0);
    // It sleeps for 5 ms after every 20, too.
    below("not asleep", wall.held, wall.of("holding", ASLEEP) + 0.05)?;
    below("computing", wall.computed, 1.0 - wall.of("computing", ASLEEP) + 0.05)
}

on_every_python! {
    fn a_sleep_that_keeps_the_gil_is_told_from_one_that_does_not(python) {
        let program = python.script("holder.py", &["2"]);
        for mode in MODES {
            support::thrice(|| match python.is_free_threaded() {
                true => check_without_gil(&program, mode),
                false => check_with_gil(&program, mode),
            });
        }
    }
}

// A free-threaded build has a GIL all the same, if it is told to.
on_pythons! {
    FreeThreaded,
    fn the_gil_of_a_free_threaded_build_is_seen_when_it_is_on(python) {
        let program = python.script_with_gil("holder.py", &["2"]);
        MODES.iter().for_each(|mode| support::thrice(|| check_with_gil(&program, mode)));
    }
}
