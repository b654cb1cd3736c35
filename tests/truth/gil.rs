//! Who holds the GIL and who waits for it, where a thread holds it while it sleeps in C.

use crate::support::{self, Folded, Python, Words, has, on_every_python};

const OFF_CPU: &str = "[GIL held off CPU: clock_nanosleep]";
const ASLEEP: &str = "[blocked: clock_nanosleep]";
const WAITING: &str = "[waiting for GIL]";

/// Records the program in a view; its stacks, and the share of the time for which the GIL was held in a sleep.
fn recorded(program: &Words, view: &str) -> (Folded, f64) {
    let recording = support::record(&["-r", "500", "--view", view], program);
    let own = recording.done.stdout.lines().find_map(|line| line.strip_prefix("HELD ")).expect("its own account");
    (recording.stacks, own.parse().unwrap())
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

fn check_with_gil(program: &Words) -> Result<(), String> {
    let (stacks, held) = recorded(program, "gil-hold");
    let threads = stacks.only(|stack| ["holding", "spinning", "polite"].iter().any(|function| has(stack, function)));
    // It is held all the time: asleep by one, else by the one that spins.
    close("held off the CPU", threads.share(|stack| has(stack, "holding") && ends(stack, OFF_CPU)), held)?;
    close("held by the one that spins", threads.share(|stack| has(stack, "spinning")), 1.0 - held)?;
    let released = threads.share(|stack| has(stack, "polite") && ends(stack, OFF_CPU));
    assert!(released < 0.01, "a thread that sleeps without the GIL holds it for {released:.3}");
    assert_eq!(stacks.with(WAITING), 0);

    let (stacks, held) = recorded(program, "wall");
    let of = |function: &str, leaf: &str| stacks.only(|stack| has(stack, function)).share(|stack| ends(stack, leaf));
    close("spinning, waiting", of("spinning", WAITING), held)?;
    close("holding, off the CPU", of("holding", OFF_CPU), held)?;
    close("holding, waiting", of("holding", WAITING), 1.0 - held)?;
    // When it wakes up, it waits for its turn.
    let released = of("polite", ASLEEP);
    match released > 0.3 && released + of("polite", WAITING) > 0.95 {
        true => Ok(()),
        false => Err(format!("asleep without the GIL: {released:.3}")),
    }
}

on_every_python! {
    fn a_sleep_that_keeps_the_gil_is_told_from_one_that_does_not(python) {
        let program = python.script("holder.py", &["2"]);
        if python.is_free_threaded() {
            support::thrice(|| check_without_gil(&program));
        } else {
            support::thrice(|| check_with_gil(&program));
        }
    }
}

fn check_without_gil(program: &Words) -> Result<(), String> {
    let (stacks, _) = recorded(program, "gil-hold");
    assert_eq!(stacks.total(), 0, "nobody holds what there is not");
    let (stacks, held) = recorded(program, "wall");
    assert_eq!(stacks.with(WAITING), 0);
    let of = |function: &str, leaf: &str| stacks.only(|stack| has(stack, function)).share(|stack| ends(stack, leaf));
    close("in usleep", of("holding", ASLEEP), held)?;
    close("spinning", of("spinning", ASLEEP), 0.0)
}

/// A free-threaded build has a GIL all the same, if it is told to.
#[test]
fn the_gil_of_a_free_threaded_build_is_seen_when_it_is_on() {
    for label in ["3.13t", "3.14t", "3.15t"] {
        let pythons = if label == "3.13t" { Python::all(label) } else { Python::if_there(label) };
        for python in pythons {
            let mut program = python.script("holder.py", &["2"]);
            let script = program.words.iter().position(|word| word.ends_with("holder.py")).unwrap();
            program.words.splice(script..script, ["-X".to_owned(), "gil=1".to_owned()]);
            support::thrice(|| check_with_gil(&program));
        }
    }
}
