//! Pools of threads that have more to do than threads to do it.

use serde_json::Value;

use crate::support::{MODES, Python, on_every_python, recorded_report};

/// What a report says of the pool of the program: itself, and the finding that it is full.
fn pool(python: &Python, mode: &str, kind: &str) -> (Value, Option<Value>) {
    let program = python.script("full_pool.py", &[kind, "1.5"]);
    let (_, report) = recorded_report(&["--mode", mode], &program);
    let pools = report["pools"].as_array().unwrap();
    // That of multiprocessing has threads that only pass things on.
    let is_it =
        |pool: &&Value| pool["name"] != "Thread (_handle_tasks)" && pool["name"] != "Thread (_handle_results)";
    let of_three = pools.iter().find(is_it).unwrap_or_else(|| panic!("{kind}: {pools:#?}"));
    let findings = report["findings"].as_array().unwrap();
    (of_three.clone(), findings.iter().find(|finding| finding["id"] == "pool-full").cloned())
}

#[track_caller]
fn assert_full(python: &Python, mode: &str, kind: &str) {
    let (pool, finding) = pool(python, mode, kind);
    let what = format!("{kind} of {} in {mode} mode: {pool:#} {finding:#?}", python.version);
    let number = |name: &str| pool[name].as_f64().unwrap_or_else(|| panic!("no {name}: {what}"));
    // Its queue goes from 21 to 0, again and again.
    assert!((3.0..18.0).contains(&number("queued_mean")) && number("queued_max") <= 24.0, "{what}");
    assert!(number("saturated_fraction") > 0.8 && number("busy_mean") > 2.0, "{what}");
    assert!(pool["work"][0]["line"].as_str().unwrap().starts_with("slow ("), "{what}");
    let message = finding.as_ref().unwrap_or_else(|| panic!("{what}"))["message"].as_str().unwrap();
    assert!(message.contains("spent in slow ("), "{what}");
}

on_every_python! {
    fn a_full_executor_is_found_with_its_queue(python) {
        MODES.iter().for_each(|mode| assert_full(python, mode, "executor"));
    }
}

#[test]
fn other_full_pools_are_found_too() {
    for kind in ["thread-pool", "queue"] {
        MODES.iter().for_each(|mode| assert_full(Python::usual(), mode, kind));
    }
}

#[test]
fn a_pool_that_has_enough_threads_or_too_few_cpus_is_not_full() {
    for mode in MODES {
        let (idle, finding) = pool(Python::usual(), mode, "idle");
        assert!(finding.is_none() && idle["busy_mean"].as_f64().unwrap() < 2.0, "{mode}: {idle:#} {finding:#?}");
        let (_, finding) = pool(Python::usual(), mode, "spinning");
        assert!(finding.is_none(), "{mode}: {finding:#?}");
    }
}
