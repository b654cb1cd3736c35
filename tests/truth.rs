//! Whether what is reported of running programs is true: every stack was there, every share is what the program
//! has measured itself. A test binary of its own, so that nothing of the suite disturbs the measurements.

#[macro_use(test)]
extern crate gilscope_test_attribute;

#[allow(dead_code)]
mod support;

mod truth {
    mod chains;
    mod collections;
    mod counts;
    mod gil;
    mod locks;
    mod short_holds;
    mod split;
    mod waits;
}

#[test]
fn every_live_test_has_twins_that_exist() {
    support::twins::check();
}

fn main() -> std::process::ExitCode {
    support::harness::run()
}
