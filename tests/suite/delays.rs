//! Why waits take as long as they do: what the holder of the GIL does after it was asked to release it.

use std::fs;

use serde_json::Value;

use crate::support::{self, Python, folder, on_every_python, run};

const NOT_RELEASED: &str = "gil-not-released";

/// The report of `keeps_gil.py`, and for how long a turn took on average, as the program says.
fn keeps(python: &Python, what: &str) -> (Value, f64) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let program = python.script("keeps_gil.py", &["2", what]);
    let done = run(support::recording(&out, &["--mode", "kernel"], &program));
    done.ok();
    let line = done.stdout.lines().find_map(|line| line.strip_prefix("KEPT ")).unwrap();
    let mean = line.split(' ').nth(1).unwrap().parse().unwrap();
    (serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap(), mean)
}

fn finding<'r>(report: &'r Value, id: &str) -> Option<&'r Value> {
    report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id)
}

/// Of the GIL that was waited for most.
fn parts(report: &Value) -> [f64; 5] {
    let gil = &report["gils"][0];
    let part = |name: &str| gil["parts"][name].as_f64().unwrap();
    let sum = part("until_asked_s") + part("until_released_s") + part("until_running_s");
    let total = gil["wait"]["total_s"].as_f64().unwrap();
    let unknown = gil["unknown_s"].as_f64().unwrap();
    assert!((sum + unknown - total).abs() < 1e-6, "{gil:#}");
    let on_cpu = part("until_released_s") - part("holder_no_cpu_s") - part("holder_blocked_s");
    [part("until_asked_s"), on_cpu, part("until_running_s"), part("holder_no_cpu_s"), total]
}

on_every_python! {
    fn a_c_call_that_does_not_release_the_gil_is_named(python) {
        if !python.is_free_threaded() {
            support::measured(|| check(python));
        }
    }
}

fn check(python: &Python) {
    let (report, mean) = keeps(python, "call");
    let [until_asked, until_released, _, _, _] = parts(&report);
    assert!(until_released > 3.0 * until_asked, "{}: {:#}", python.version, report["gils"][0]["parts"]);
    let found =
        finding(&report, NOT_RELEASED).unwrap_or_else(|| panic!("{}: {:#}", python.version, report["findings"]));
    let evidence = &found["evidence"];
    assert!(evidence["line"].as_str().unwrap().starts_with("call ("), "{found:#}");
    // Less by the interval after which it is asked.
    let after = evidence["mean_s"].as_f64().unwrap();
    assert!(after > 0.5 * mean && after < 1.1 * mean, "{}: {after} of {mean}", python.version);

    // Turns as long that look for the request.
    let (report, _) = keeps(python, "python");
    let [until_asked, until_released, _, _, _] = parts(&report);
    assert!(until_released < 0.5 * until_asked, "{}: {:#}", python.version, report["gils"][0]["parts"]);
    assert_eq!(finding(&report, NOT_RELEASED), None, "{}", python.version);
}

on_every_python! {
    fn collections_are_counted_and_take_as_long_as_the_program_says(python) {
        if !python.is_free_threaded() {
            support::measured(|| check_collections(python));
        }
    }
}

fn check_collections(python: &Python) {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let done = run(support::recording(&out, &["--mode", "kernel"], &python.script("collected.py", &["2"])));
    done.ok();
    let line = done.stdout.lines().find_map(|line| line.strip_prefix("COLLECTED ")).unwrap();
    let [number, full, freed, at_least, at_most] =
        line.split(' ').map(|word| word.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{line}")
    };
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    let of = |name: &str| report["collections"][name].as_f64();
    let near = |name: &str, truth: f64, tolerance: f64| {
        let found = of(name).unwrap();
        let range = (1.0 - tolerance) * truth - 5.0..(1.0 + tolerance) * truth + 5.0;
        assert!(range.contains(&found), "{}: {name} {found} of {truth}: {:#}", python.version, report["collections"]);
    };
    let total = of("total_s").unwrap();
    let range = 0.85 * at_least..1.1 * at_most;
    assert!(range.contains(&total), "{}: {total} is not in {range:?}", python.version);
    // Another structure has the counts from 3.15 on.
    if of("number").is_some() {
        // The interpreter has made some before.
        assert!(of("number").unwrap() >= 0.85 * number, "{}: {number}", python.version);
        near("full", full, 0.15);
        near("freed", freed, 0.15);
        assert!(of("longest_s").unwrap() < at_most);
    }
}
