//! A known split of CPU time between functions, in the view that shows CPU time.

use crate::support::{self, MODES, Python, has, on_every_python};

on_every_python! {
    fn a_split_of_70_20_10_is_reported_as_the_program_measures_it(python) {
        for mode in MODES {
            support::thrice(|| check(python, mode));
        }
    }
}

fn check(python: &Python, mode: &str) -> Result<(), String> {
    // Kernel mode samples CPU time, memory mode the time for which a thread could run.
    let clock = if mode == "kernel" { "thread_time" } else { "perf_counter" };
    let program = python.script("split.py", &["4", clock]);
    let recording = support::record(&["--mode", mode, "-r", "1000"], &program);
    let (stacks, done) = (&recording.stacks, &recording.done);
    for phase in ["coarse", "fine"] {
        let own: Vec<_> = done.account(&format!("SPLIT {phase}")).split(' ').collect();
        let without_a_cpu = done.measured(&format!("NO_CPU {phase}"))[0];
        let stacks = stacks.only(|stack| has(stack, phase));
        assert!(stacks.total() > 500, "{} samples: {}", stacks.total(), done.stderr);
        for pair in own.chunks(2) {
            let (function, real) = (pair[0], pair[1].parse::<f64>().unwrap());
            let seen = stacks.share(|stack| has(stack, function));
            let tolerance = match (mode, phase) {
                // Its clock keeps its period for a while, in which a rhythm as exact as this one's can meet it.
                ("kernel", _) => 0.05,
                // A thread without a CPU cannot be stopped, and where it gets one again is no random place.
                ("memory", "fine") => 0.03 + 0.1 * without_a_cpu,
                _ => 0.03,
            };
            if (seen - real).abs() > tolerance {
                let version = &python.version;
                let said = &done.stderr;
                return Err(format!(
                    "{function} in {phase} on {version} in {mode} mode: {seen:.3} instead of {real:.3}, {said}"
                ));
            }
        }
    }
    let asleep = stacks.share(|stack| has(stack, "sleep_all_the_time"));
    match asleep < 0.02 {
        true => Ok(()),
        false => Err(format!("a sleeping thread has {asleep:.3} of the CPU time on {}", python.version)),
    }
}
