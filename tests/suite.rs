//! What gilscope does to real programs of every Python, through its command line.

#[macro_use(test)]
extern crate gilscope_test_attribute;

#[allow(dead_code)]
mod support;

mod suite {
    mod browser;
    mod chaos;
    mod deadlocks;
    mod delays;
    mod errors;
    mod exports;
    mod harmless;
    mod hostile_files;
    mod html;
    mod kernel;
    mod native_waits;
    mod offsets;
    mod pools;
    mod readme;
    mod record;
    mod recordings;
    mod reports;
    mod stacks;
    mod subprocesses;
    mod targets;
    mod top;
    mod trace;
    mod unprivileged;
}

fn main() -> std::process::ExitCode {
    support::harness::run()
}
