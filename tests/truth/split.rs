//! A known split of CPU time between functions, in the view that shows CPU time.

use crate::support::{self, has, on_every_python};

on_every_python! {
    fn a_split_of_70_20_10_is_reported_as_the_program_measures_it(python) {
        let program = python.script("split.py", &["5"]);
        let recording = support::record(&["-r", "1000"], &program);
        let (stacks, done) = (&recording.stacks, &recording.done);
        for phase in ["coarse", "fine"] {
            let start = format!("SPLIT {phase} ");
            let own = done.stdout.lines().find_map(|line| line.strip_prefix(&start)).expect("its own account");
            let own: Vec<_> = own.split(' ').collect();
            let stacks = stacks.only(|stack| has(stack, phase));
            assert!(stacks.total() > 1000, "{} samples: {}", stacks.total(), done.stderr);
            for pair in own.chunks(2) {
                let (function, real) = (pair[0], pair[1].parse::<f64>().unwrap());
                let seen = stacks.share(|stack| has(stack, function));
                let off = 100.0 * (seen - real);
                assert!(off.abs() <= 3.0, "{function} in {phase}: {seen:.3} instead of {real:.3}, {}", done.stderr);
            }
        }
        let asleep = stacks.share(|stack| has(stack, "sleep_all_the_time"));
        assert!(asleep < 0.02, "a sleeping thread has {asleep:.3} of the CPU time on {}", python.version);
    }
}
