//! What gilscope does to real programs of every Python, through its command line.

#[macro_use(test)]
extern crate gilscope_test_attribute;

#[allow(dead_code)]
mod support;

mod suite {
    mod browser;
    mod chaos;
    mod check;
    mod choose;
    mod costs;
    mod deadlocks;
    mod delays;
    mod errors;
    mod exports;
    mod files;
    mod harmless;
    mod hostile_files;
    mod hostile_names;
    mod hostile_recordings;
    mod html;
    mod kernel;
    mod mcp;
    mod native_waits;
    mod offsets;
    mod packages;
    mod pools;
    mod process_states;
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
