//! Garbage collections: for how long they are made, by whom, and for how long others wait for that.

use std::fs;

use serde_json::Value;

use crate::support::{self, MODES, Python, folder, on_every_python, run, thrice};

const FRAME: &str = "[garbage collection]";

/// A report of the program, and what it has measured itself: the CPU time of all collections, how long they took, and for
/// how long of that another thread stood still.
fn recorded(python: &Python, mode: &str, arguments: &[&str]) -> (Value, [f64; 3]) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let program = python.script("garbage.py", arguments);
    let done = run(support::recording(&out, &["--mode", mode, "-r", "1000"], &program));
    done.ok();
    let own = done.measured("COLLECTED").try_into().unwrap();
    (serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap(), own)
}

/// For how long a thread has made collections, as reported.
fn made_by(report: &Value, thread: &str) -> f64 {
    let by = report["collections"]["by"].as_array().unwrap();
    by.iter().filter(|by| by["thread"] == thread).map(|by| by["seconds"].as_f64().unwrap()).sum()
}

fn check(python: &Python, mode: &str) -> Result<(), String> {
    let (report, [collected, took, stalled]) = recorded(python, mode, &["1.5"]);
    let collections = &report["collections"];
    let number = |name: &str| collections[name].as_f64().unwrap();
    let made = made_by(&report, "collector");
    let wrong = |what: &str| {
        Err(format!(
            "{what} on {} in {mode} mode ({collected}, {took}, {stalled} s): {collections:#}",
            python.version
        ))
    };
    // Without a GIL, the others are stopped first.
    let least = if python.is_free_threaded() { 0.9 * collected } else { 0.92 * took };
    if made < least || made > 1.08 * took {
        return wrong("another time");
    }
    if made_by(&report, "computing") > 0.03 * made {
        return wrong("another thread");
    }
    let line = |by: &Value| by["stack"][0].as_str().unwrap_or_default().starts_with("collector (");
    if !line(&collections["by"][0]) {
        return wrong("another place");
    }
    let caused = |by: &&Value| by["thread"] == "collector" && by["stack"][0] == FRAME;
    let holders = report["gils"].as_array().unwrap().iter().flat_map(|gil| gil["holders"].as_array().unwrap());
    let by_collections: f64 = holders.filter(caused).map(|by| by["seconds"].as_f64().unwrap()).sum();
    if python.is_free_threaded() {
        return if number("held_s") == 0.0 { Ok(()) } else { wrong("there is no GIL to hold") };
    }
    let waited = number("waited_s");
    if (waited - by_collections).abs() > 1e-6 || waited < 0.85 * stalled || waited > 1.1 * stalled {
        return wrong("another wait");
    }
    if number("held_s") < 0.9 * made { wrong("without the GIL") } else { Ok(()) }
}

on_every_python! {
    fn a_collection_is_distinguished_from_what_started_it(python) {
        for mode in MODES {
            thrice(|| check(python, mode));
        }
    }
}

on_every_python! {
    fn who_computes_while_a_collection_waits_does_not_collect(python) {
        thrice(|| {
            let (report, [collected, ..]) = recorded(python, "kernel", &["1.5", "lets_go"]);
            let [made, other] = ["collector", "computing"].map(|thread| made_by(&report, thread));
            match made > 0.8 * collected && other < 0.1 * made {
                true => Ok(()),
                false => Err(format!("{made} and {other} of {collected} s: {:#}", report["collections"])),
            }
        });
    }
}
