//! What `dump` says of threads that wait for locks: which, who holds them, and that they wait in a circle.

use serde_json::Value;

use crate::support::{MODES, Python, dump, folder, gilscope, on_every_python, recording, run, thread, until};

/// The tids of threads, by name.
fn tids(dump: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| thread(dump, name)["tid"].clone()).collect()
}

/// The same circle, wherever it begins.
fn is_circle(circle: &Value, expected: &[Value]) -> bool {
    let circle = circle.as_array().unwrap();
    circle.len() == expected.len()
        && (0..expected.len()).any(|turn| {
            let (after, before) = expected.split_at(turn);
            circle.iter().eq(before.iter().chain(after))
        })
}

on_every_python! {
    fn threads_that_wait_for_each_other_are_reported(python) {
        locks(python, "rlocks", "threading.RLock");
        locks(python, "locks", "threading.Lock");
        join(python);
        import(python);
    }
}

on_every_python! {
    fn who_just_waits_is_in_no_circle(python) {
        let target = python.start("long_blocked.py", &[]);
        let dump = dump(target.pid());
        assert_eq!(dump["deadlocks"], Value::Array(Vec::new()), "{dump:#}");
    }
}

on_every_python! {
    fn who_has_released_a_lock_does_not_hold_it(python) {
        let target = python.start("deadlock.py", &["released"]);
        let dump = dump(target.pid());
        let waits = &thread(&dump, "wanter")["waits_for"];
        assert_eq!((&waits["kind"], &waits["held_by"]), (&Value::from("threading.Lock"), &Value::Null), "{dump:#}");
    }
}

on_every_python! {
    fn a_lock_has_the_name_of_the_variable_that_leads_to_it(python) {
        let target = python.start("around.py", &[]);
        let names = until("a name of each lock", || {
            let dump = dump(target.pid());
            let waits = |thread: &Value| Some((thread["name"].clone(), thread["waits_for"]["name"].clone()));
            let mut names: Vec<_> = dump["threads"].as_array()?.iter().filter_map(waits).collect();
            names.retain(|(thread, _)| thread != "MainThread");
            (names.len() == 17 && names.iter().all(|(_, lock)| lock.is_string())).then_some(names)
        });
        for (thread, lock) in names {
            assert!(lock.as_str().unwrap().ends_with(thread.as_str().unwrap()), "{thread}: {lock}");
        }
    }
}

on_every_python! {
    fn a_lock_in_an_object_of_c_has_the_name_of_the_object(python) {
        let target = python.start("compressor.py", &[]);
        until("a name of the lock", || {
            let dump = dump(target.pid());
            let is_named = |thread: &Value| {
                let lock = &thread["waits_for"];
                lock["type"] == "zlib.Compress" && lock["name"].as_str().is_some_and(|name| name.ends_with(".compressor"))
            };
            dump["threads"].as_array()?.iter().any(is_named).then_some(())
        });
    }
}

fn locks(python: &Python, shape: &str, kind: &str) {
    let target = python.start("deadlock.py", &[shape]);
    recorded(target.pid(), kind);
    let dump = dump(target.pid());
    let takers = tids(&dump, &["taker-0", "taker-1", "taker-2"]);
    let circles = dump["deadlocks"].as_array().unwrap();
    assert!(circles.len() == 1 && is_circle(&circles[0], &takers), "{takers:?}: {dump:#}");
    for number in 0..3 {
        let waits = &thread(&dump, &format!("taker-{number}"))["waits_for"];
        assert_eq!(waits["kind"], kind, "{waits}");
        // In another root the script has a name of its own.
        let end = format!("deadlock.locks[{}]", (number + 1) % 3);
        assert!(waits["name"].as_str().is_some_and(|name| name.ends_with(&end)), "{waits}");
        assert_eq!(waits["held_by"], takers[(number + 1) % 3], "{waits}");
    }
    let done = run(gilscope(["dump", "--pid", &target.pid().to_string()]));
    let text = done.ok();
    assert!(text.contains("DEADLOCK: 3 threads wait for each other"), "{text}");
    assert!(text.contains("deadlock.locks[2]), held by"), "{text}");
}

/// A recording of it says so, too; in kernel mode, where none of the waits ends.
fn recorded(pid: i32, kind: &str) {
    for mode in MODES {
        let folder = folder();
        let out = folder.path().join("out.report.json");
        let pid = pid.to_string();
        run(gilscope(["record", "--mode", mode, "-d", "0.3", "--pid", &pid, "-o", out.to_str().unwrap()])).ok();
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(report["deadlocks"][0].as_array().map(Vec::len), Some(3), "{report:#}");
        assert_eq!(report["findings"][0]["id"], "deadlock");
        let message = report["findings"][0]["message"].as_str().unwrap();
        assert!(message.contains(&format!("waits for {kind} (")) && message.contains("held by taker-1"), "{message}");
        let locks = report["locks"].as_array().unwrap();
        let is_reported = |lock: &Value| {
            let (name, by) = (lock["name"].as_str(), lock["holders"][0]["thread"].as_str());
            lock["kind"] == kind
                && name.is_some_and(|name| name.contains("deadlock.locks["))
                && by.is_some_and(|by| by.starts_with("taker-"))
        };
        assert!(locks.len() == 3 && locks.iter().all(is_reported), "{mode} mode: {locks:#?}");
    }
}

on_every_python! {
    /// The program is ended while its threads wait: what they waited for, who held it and how long is known all the same.
    fn waits_that_only_the_end_of_the_program_ends_are_kept(python) {
        for (shape, kind) in [("import", "import lock of wants_lock_itself"), ("locks", "threading.Lock (")] {
            for mode in MODES {
                let report = ended_report(python, mode, shape);
                let message = report["findings"][0]["message"].as_str().unwrap();
                assert!(message.contains("wait for each other") && message.contains(kind), "{mode} mode: {message}");
                let waited = |lock: &Value| lock["wait"]["total_s"].as_f64() > Some(1.0);
                let locks: Vec<&Value> = report["locks"].as_array().unwrap().iter().filter(|lock| waited(lock)).collect();
                assert_eq!(locks.len(), if shape == "import" { 2 } else { 3 }, "{mode} mode, {shape}: {locks:#?}");
                for lock in locks {
                    let holder = lock["holders"][0]["seconds"].as_f64();
                    assert!(holder > Some(0.4), "{mode} mode, {shape}: {lock:#}");
                    assert!(lock["name"].is_string(), "{mode} mode, {shape}: {lock:#}");
                }
            }
        }
    }
}

on_every_python! {
    fn a_thread_that_waits_for_itself_is_reported(python) {
        let report = ended_report(python, "kernel", "self");
        let message = report["findings"][0]["message"].as_str().unwrap();
        assert!(message.contains("taker (") && message.contains("waits for itself"), "{message}");
        let target = python.start("deadlock.py", &["self"]);
        let text = run(gilscope(["dump", "--pid", &target.pid().to_string()]));
        assert!(text.ok().contains("DEADLOCK: a thread waits for itself"), "{}", text.stdout);
    }
}

on_every_python! {
    /// Nobody in a child has a lock that a thread of its parent held at the fork.
    fn a_lock_that_was_held_at_a_fork_is_never_released(python) {
        for (kind, label) in [("lock", "threading.Lock"), ("rlock", "threading.RLock")] {
            let mut parent = python.script("forked_lock.py", &[kind]).run();
            let child = parent.wait_for("CHILD").trim().rsplit(' ').next().unwrap().to_owned();
            let text = run(gilscope(["dump", "--pid", &child]));
            let text = text.ok();
            assert!(text.contains("DEADLOCK: ") && text.contains("did not survive fork()"), "{text}");
            for mode in MODES {
                let report = reported(&["--mode", mode, "-d", "1", "--pid", &child]);
                let message = report["findings"][0]["message"].as_str().unwrap();
                let says = |text: &str| message.contains(text);
                assert!(says(label) && says("did not survive fork()") && says("in work (") && says("forked_lock.py:"), "{message}");
            }
        }
    }
}

/// The report of a recording with these options.
fn reported(options: &[&str]) -> Value {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let mut command = gilscope(["record", "-o"]);
    command.arg(&out).args(options);
    run(command).ok();
    serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap()
}

/// The report of a recording of threads in a circle, up to when the program is ended by its watchdog after 3.5 s.
fn ended_report(python: &Python, mode: &str, shape: &str) -> Value {
    let folder = folder();
    let out = folder.path().join("out.report.json");
    let program = python.script("deadlock.py", &[shape, "3.5"]);
    run(recording(&out, &["--mode", mode], &program)).ok();
    serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap()
}

/// And so does the live view, while it goes on.
#[test]
fn the_live_view_says_so() {
    let target = Python::usual().start("deadlock.py", &["rlocks"]);
    let pid = target.pid().to_string();
    let done = run(gilscope(["top", "-b", "-n", "8", "--interval", "0.5", "--pid", &pid]));
    assert!(done.ok().contains("Deadlock: 3 threads wait for each other"), "{}", done.stdout);
}

fn join(python: &Python) {
    let target = python.start("deadlock.py", &["join"]);
    let dump = dump(target.pid());
    let circle = tids(&dump, &["joiner", "wanter"]);
    let circles = dump["deadlocks"].as_array().unwrap();
    assert!(circles.len() == 1 && is_circle(&circles[0], &circle), "{circle:?}: {dump:#}");
    let joiner = &thread(&dump, "joiner")["waits_for"];
    assert_eq!((&joiner["kind"], &joiner["held_by"]), (&Value::from("join"), &circle[1]), "{dump:#}");
}

/// One thread imports a module that wants a lock, and who has the lock wants the module.
fn import(python: &Python) {
    let target = python.start("deadlock.py", &["import"]);
    let dump = dump(target.pid());
    let circle = tids(&dump, &["importer", "wanter"]);
    let circles = dump["deadlocks"].as_array().unwrap();
    assert!(circles.len() == 1 && is_circle(&circles[0], &circle), "{circle:?}: {dump:#}");
    let wanter = &thread(&dump, "wanter")["waits_for"];
    let [kind, name] = ["kind", "name"].map(|field| wanter[field].as_str().unwrap_or_default());
    assert_eq!((kind, name), ("import_lock", "module wants_lock_itself"), "{dump:#}");
    let text = run(gilscope(["dump", "--pid", &target.pid().to_string()]));
    assert!(text.ok().contains("waits for import lock of wants_lock_itself, held by"), "{}", text.stdout);
}
