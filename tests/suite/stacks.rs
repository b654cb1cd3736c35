//! Threads that stand still: their stacks, names and states are exactly those that the program itself prints, and
//! those that py-spy reads.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{self, Proc, Python, on_every_python, on_pythons};

/// Frames, innermost first: qualified name, name, file, line.
type Stack = Vec<(String, String, String, u32)>;

/// A thread as the target prints it.
struct Known {
    ident: u64,
    name: Option<String>,
    stack: Stack,
}

/// What the target has printed, by tid.
fn known(target: &Proc) -> BTreeMap<i64, Known> {
    let lines = target.seen.iter().filter(|line| line.starts_with('['));
    lines
        .map(|line| {
            let (tid, ident, name, stack) = serde_json::from_str(line).unwrap();
            (tid, Known { ident, name, stack })
        })
        .collect()
}

/// What gilscope has seen, by tid: name and stack.
fn seen(dump: &Value) -> BTreeMap<i64, (Option<String>, Stack)> {
    let threads = dump["threads"].as_array().unwrap().iter();
    // The thread that printed may not have ended yet.
    let threads = threads.filter(|thread| thread["name"] != "reporter");
    threads
        .map(|thread| {
            assert!(thread["error"].is_null(), "{thread:#}");
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let frames = thread["stack"].as_array().unwrap().iter().map(|frame| {
                let field = |name: &str| text(&frame[name]).unwrap();
                (field("function"), field("name"), field("file"), frame["line"].as_u64().unwrap() as u32)
            });
            (thread["tid"].as_i64().unwrap(), (text(&thread["name"]), frames.collect()))
        })
        .collect()
}

on_every_python! {
    fn blocked_threads_are_where_the_program_says(python) {
        let target = python.start("blocked.py", &[]);
        let known = known(&target);
        assert_eq!(known.len(), 22);
        let dump = support::dump(target.pid());
        assert_eq!(dump["python"], python.release());
        assert_eq!(dump["free_threaded"], python.is_free_threaded());
        let seen = seen(&dump);
        for (tid, Known { name, stack, .. }) in &known {
            let (seen_name, seen_stack) = seen.get(tid).unwrap_or_else(|| panic!("{name:?} is missing: {dump:#}"));
            assert_eq!(seen_name, name, "{}", python.version);
            assert_eq!(seen_stack, stack, "{name:?} on {}", python.version);
        }
        assert_eq!(seen.len(), known.len());
    }
}

on_every_python! {
    fn blocked_threads_are_seen_in_their_system_calls(python) {
        let target = python.start("blocked.py", &[]);
        let dump = support::dump(target.pid());
        let call = |name: &str| {
            let thread = support::thread(&dump, name);
            assert_eq!(thread["state"], "blocked", "{thread:#}");
            assert_eq!(thread["holds_gil"], false);
            thread["syscall"].as_str().unwrap()
        };
        assert_eq!(call("reader"), "read");
        assert_eq!(call("deep"), "futex");
        let sleep: &[&str] = if python.minor() < 11 { &["select", "pselect6"] } else { &["clock_nanosleep"] };
        assert!(sleep.contains(&call("sleeper")), "{}", call("sleeper"));
        let gil = &dump["interpreters"][0]["gil"];
        assert_eq!(gil["enabled"], !python.is_free_threaded());
        assert!(gil["holder"].is_null() && gil["waiters"] == serde_json::json!([]), "{gil}");
    }
}

// It knows no free-threaded build.
on_pythons! {
    WithGil,
    fn stacks_are_those_that_py_spy_reads(python) {
        // Nor what is not released yet.
        if python.minor() > 15 {
            return;
        }
        let target = python.start("blocked.py", &[]);
        let known = known(&target);
        let seen = seen(&support::dump(target.pid()));
        let config = py_spy::Config { blocking: py_spy::config::LockingStrategy::NonBlocking, ..Default::default() };
        let mut py_spy = py_spy::PythonSpy::retry_new(target.pid(), &config, 5).unwrap();
        let mut compared = 0;
        for theirs in py_spy.get_stack_traces().unwrap() {
            let Some((tid, known)) = known.iter().find(|(_, known)| known.ident == theirs.thread_id) else { continue };
            compared += 1;
            match known.name.as_deref() {
                // It reads no more than 4,096 bytes of a line table.
                Some("far") => continue,
                // It takes the 3.10 instruction index for a byte offset, and is a line off where that matters.
                Some("many lines") if python.minor() == 10 => continue,
                _ => {}
            }
            let frames: Vec<_> = theirs.frames.iter().map(|f| (&*f.name, &*f.filename, f.line as u32)).collect();
            let qualified = python.minor() >= 11;
            let name = |(function, name, ..): &'_ (String, String, String, u32)| match qualified {
                true => function.clone(),
                false => name.clone(),
            };
            let ours: Vec<_> = seen[tid].1.iter().map(|frame| (name(frame), &*frame.2, frame.3)).collect();
            let ours: Vec<_> = ours.iter().map(|(name, file, line)| (&**name, *file, *line)).collect();
            assert_eq!(ours, frames, "{:?} on {}", known.name, python.version);
        }
        assert_eq!(compared, known.len());
    }
}

#[test]
fn the_text_says_the_same_as_the_json() {
    // Long names lack their middle in the text.
    let end = |name: &str| name.char_indices().rev().nth(60).map_or(name, |(at, _)| &name[at..]).to_owned();
    let target = Python::usual().start("blocked.py", &[]);
    let done = support::run(support::gilscope(["dump", "--pid", &target.pid().to_string()]));
    let text = done.ok();
    for Known { name, stack, .. } in known(&target).values() {
        if let Some(name) = name {
            assert!(text.contains(&format!("{}\": blocked in ", end(name))), "{name}: {text}");
        }
        let (function, _, file, line) = &stack[0];
        let short = file.rsplit('/').next().unwrap();
        assert!(text.contains(&format!("{} ({short}:{line})\n", end(function))), "{function}: {text}");
    }
    assert!(text.contains("GIL: free; nobody waits\n"), "{text}");
}
