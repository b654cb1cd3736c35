//! Holds much shorter than the sampling period are attributed to what is done in them, not to where they begin and end.

use std::fs;

use serde_json::Value;

use crate::support::{self, Words, folder, on_pythons, run};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Which of the GILs or locks was waited for most, and how much of what holders caused is of each function.
fn check(program: &Words, mode: &str, of: &str) -> Result<(), String> {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    run(support::recording(&out, &["--mode", mode], program)).ok();
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    let all = report[of].as_array().unwrap().iter();
    let waited = |one: &&Value| number(&one["wait"]["total_s"]);
    let Some(most) = all.max_by(|a, b| waited(a).total_cmp(&waited(b))) else {
        return Err(format!("nobody waited: {report:#}"));
    };
    let share = |function: &str| {
        let holders = most["holders"].as_array().unwrap().iter();
        let of_function = holders.filter(|by| by["stack"][0].as_str().is_some_and(|top| top.starts_with(function)));
        of_function.map(|by| number(&by["seconds"])).sum::<f64>() / number(&most["caused_s"])
    };
    let (burn, nap) = (share("burn ("), share("nap ("));
    // Whoever loses its CPU elsewhere while it holds it is there.
    match burn > 0.9 && nap < 0.05 && most["holders_margin"].is_number() {
        true => Ok(()),
        false => Err(format!("{mode}: {burn} burn, {nap} nap: {most:#}")),
    }
}

on_pythons! {
    WithGil,
    fn short_holds_of_the_gil_are_attributed_to_what_is_done_in_them(python) {
        let program = python.script("short_holds.py", &["gil", "3"]);
        for mode in ["kernel", "memory"] {
            support::thrice(|| check(&program, mode, "gils"));
        }
    }
}

on_pythons! {
    FreeThreaded,
    fn short_holds_of_a_lock_are_attributed_to_what_is_done_in_them(python) {
        let program = python.script("short_holds.py", &["lock", "3"]);
        support::thrice(|| check(&program, "kernel", "locks"));
    }
}
