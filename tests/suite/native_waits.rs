//! Waits in native code that are for no lock: the end of a thread, and whatever threads of a library have to do.

use serde_json::Value;

use crate::support::{MODES, dump, folder, gilscope, on_every_python, run, thread, until};

fn report(mode: &str, pid: i32) -> Value {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let pid = pid.to_string();
    run(gilscope(["record", "--mode", mode, "-d", "0.5", "--pid", &pid, "-o", out.to_str().unwrap()])).ok();
    serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap()
}

on_every_python! {
    fn threads_that_wait_in_native_code_wait_for_no_lock(python) {
        let target = python.start("native_waits.py", &[]);
        let dump = dump(target.pid());
        for (name, kind) in [("joiner", "thread_end"), ("latch", "native_code")] {
            assert_eq!(thread(&dump, name)["waits_for"]["kind"], kind, "{dump:#}");
        }
        for mode in MODES {
            let report = report(mode, target.pid());
            assert_eq!(report["locks"].as_array().map(Vec::len), Some(0), "{mode} mode: {report:#}");
            assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{mode} mode: {report:#}");
            for name in ["joiner", "latch"] {
                let threads = report["threads"].as_array().unwrap();
                let thread = threads.iter().find(|thread| thread["name"] == name).unwrap();
                let blocked = thread["states"]["blocked_s"].as_f64().unwrap();
                assert!(blocked > 0.9 * thread["wall_s"].as_f64().unwrap(), "{mode} mode: {thread:#}");
            }
        }
    }
}

on_every_python! {
    fn who_keeps_the_gil_and_waits_for_a_thread_that_wants_it_is_in_a_circle(python) {
        if python.is_free_threaded() {
            return;
        }
        let target = python.start("native_waits.py", &["circle"]);
        let dump = until("a circle", || {
            let dump = dump(target.pid());
            (dump["deadlocks"][0].as_array().map(Vec::len) == Some(2)).then_some(dump)
        });
        assert_eq!(thread(&dump, "MainThread")["waits_for"]["kind"], "thread_end", "{dump:#}");
        for mode in MODES {
            let report = report(mode, target.pid());
            let message = report["findings"][0]["message"].as_str().unwrap();
            let says = |text: &str| assert!(message.contains(text), "{mode} mode: {message}");
            says("waits for the end of thread");
            says("in keeps_gil (");
            says("waits for the GIL");
        }
    }
}
