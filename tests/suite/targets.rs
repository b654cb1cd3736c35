//! Programs of every shape and size: many threads, deep stacks, threads that come and go, several interpreters,
//! callbacks, wrappers, stripped and embedded interpreters, and such that are only just starting.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    self, Folded, MODES, Proc, Python, Words, dump, executable, folder, functions, gilscope, has, name, need_root,
    not_measured, on_every_python, on_pythons, record, record_pid, run, targets, thread, until,
};

fn threads(dump: &Value) -> &Vec<Value> {
    dump["threads"].as_array().unwrap()
}

on_pythons! {
    Three,
    fn a_thousand_threads(python) {
        let target = python.start("many.py", &["1000"]);
        let dump = dump(target.pid());
        let names: BTreeSet<_> = threads(&dump).iter().map(|thread| thread["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 1001, "on {}", python.version);
        for number in [0, 500, 999] {
            let still = thread(&dump, &format!("still {number}"));
            assert_eq!(functions(still)[..3], ["_bootstrap", "_bootstrap_inner", "run"]);
            assert!(functions(still).contains(&"stand_still"), "{still:#}");
        }
        let recording = record_pid(&["--view", "wall"], 1.0, target.pid());
        let stacks = &recording.stacks;
        let ticks = stacks.count(|stack| !has(stack, "stand_still"));
        assert!(ticks >= 20, "{ticks} ticks: {}", recording.done.stderr);
        // Every thread is in every tick.
        assert_eq!(stacks.with("stand_still"), 1000 * ticks, "{}", recording.done.stderr);
    }
}

on_every_python! {
    fn recursion_5000_deep(python) {
        let target = python.start("deep.py", &["5000"]);
        let dump = dump(target.pid());
        for what in ["stand_there", "run_there"] {
            let functions = functions(thread(&dump, what));
            let deep = functions.iter().filter(|name| **name == "descend").count();
            assert_eq!(deep, 5000, "{what} on {}", python.version);
            assert_eq!(functions[..3], ["_bootstrap", "_bootstrap_inner", "run"]);
            assert_eq!(functions[5003..], [what]);
        }
        let recording = record_pid(&["--view", "wall"], 0.6, target.pid());
        let complete = |stack: &[String]| {
            let deep = stack.iter().filter(|label| name(label) == "descend").count();
            deep == 5000 && name(&stack[0]) == "_bootstrap"
        };
        // The main thread is in none.
        let complete = recording.stacks.only(complete);
        assert_eq!(complete.total(), recording.stacks.with("descend"), "{}", recording.done.stderr);
        assert!(complete.with("stand_there") >= 20, "{}", recording.done.stderr);
    }
}

on_every_python! {
    fn threads_that_come_and_go(python) {
        let recording = record(&["-r", "1000", "--view", "wall"], &python.script("churn.py", &["1.5"]));
        let done = &recording.done;
        let ended: u32 = done.stdout.lines().find_map(|line| line.strip_prefix("THREADS ")?.parse().ok()).unwrap();
        assert!(ended >= 30, "{ended} threads");
        assert!(recording.stacks.with("live_shortly") > 50, "{}", done.stderr);
        for (stack, _) in &recording.stacks.0 {
            let inside = stack.iter().any(|label| label.contains("churn.py:"));
            let rooted = ["<module>", "_bootstrap"].contains(&name(&stack[0]));
            assert!(rooted || !inside, "on {} the root is lost: {}", python.version, stack.join(";"));
            if has(stack, "live_shortly") {
                let inner: Vec<_> = stack[..4].iter().map(|label| name(label)).collect();
                assert_eq!(inner, ["_bootstrap", "_bootstrap_inner", "run", "live_shortly"], "{}", python.version);
            }
        }
        let lost = recording.stacks.count(|stack| stack[0] == "[stack unreadable]");
        assert!(lost * 100 <= recording.stacks.total(), "{lost} lost: {}", done.stderr);
    }
}

on_pythons! {
    Three,
    fn threads_that_come_have_their_names(python) {
        let folder = folder();
        let out = folder.path().join("out.json");
        let done = run(support::recording(&out, &["-r", "1000"], &python.script("churn.py", &["2"])));
        done.ok();
        let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        let names = events.iter().filter(|event| event["name"] == "thread_name");
        let names: Vec<_> = names.map(|event| event["args"]["name"].as_str().unwrap()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two have one name: {names:?}");
        let long: Vec<_> =
            names.iter().filter(|name| name.starts_with("long ") && !name.ends_with("state")).collect();
        assert!(long.len() >= 6, "on {} only {long:?}, each there for 0.15 s, have names", python.version);
    }
}

fn check_interpreters(python: &Python, gil: &str) {
    let target = python.start("interpreters.py", &[gil]);
    // They have said that they are there before they sleep, and may have to wait for the GIL in between.
    let dump = until("threads that are blocked", || {
        let dump = dump(target.pid());
        ["first", "second"].iter().all(|name| thread(&dump, name)["state"] == "blocked").then_some(dump)
    });
    let interpreters = dump["interpreters"].as_array().unwrap();
    assert_eq!(interpreters.len(), 4, "{dump:#}");
    let gils: BTreeSet<_> = interpreters.iter().map(|one| one["gil"]["address"].as_str().unwrap()).collect();
    assert_eq!(gils.len(), if gil == "own" { 4 } else { 1 }, "on {}: {dump:#}", python.version);
    for name in ["first", "second"] {
        let thread = thread(&dump, name);
        let functions = functions(thread);
        assert_eq!(thread["interpreters"].as_array().unwrap().len(), 2, "{thread:#}");
        assert_eq!(functions[functions.len() - 3..], ["enter", "<module>", "inside"], "{}", python.version);
    }
    // Only the third one can have any.
    let held = interpreters.iter().filter(|one| !one["gil"]["holder"].is_null());
    let held: BTreeSet<_> = held.map(|one| one["gil"]["address"].as_str().unwrap()).collect();
    assert!(held.len() <= 1, "on {}: {dump:#}", python.version);
    let recording = record_pid(&["-r", "500", "--view", "wall"], 0.5, target.pid());
    for (stack, _) in recording.stacks.0.iter().filter(|(stack, _)| has(stack, "inside")) {
        let names: Vec<_> = stack.iter().map(|label| name(label)).collect();
        let enter = names.iter().position(|name| *name == "enter").unwrap_or_else(|| panic!("{names:?}"));
        assert_eq!(names[enter + 1..enter + 3], ["<module>", "inside"]);
    }
    assert!(recording.stacks.with("inside") > 100, "{}", recording.done.stderr);
}

on_pythons! {
    WithGilPerInterpreter,
    fn threads_that_a_sub_interpreter_starts_are_its_own(python) {
        let target = python.start("threads_inside.py", &[]);
        let dump = dump(target.pid());
        let entered = thread(&dump, "entered");
        let inner = thread(&dump, "inner");
        assert_eq!(inner["interpreters"], json!([1]), "on {}: {dump:#}", python.version);
        assert_eq!(entered["interpreters"], json!([0, 1]), "on {}: {dump:#}", python.version);
        assert!(functions(entered).contains(&"enter") && !functions(entered).contains(&"inner_loop"), "{dump:#}");
        assert!(functions(inner).contains(&"inner_loop") && !functions(inner).contains(&"enter"), "{dump:#}");
        for mode in MODES {
            let recording = record_pid(&["--mode", mode, "-r", "200", "--threads", "--view", "wall", "--idle"], 1.0, target.pid());
            let inside = recording.stacks.count(|stack| has(stack, "inner_loop") && !has(stack, "enter"));
            assert!(inside > 50, "{mode} mode on {}: {inside} {}", python.version, recording.done.stderr);
            assert_eq!(recording.stacks.count(|stack| has(stack, "inner_loop") && has(stack, "enter")), 0, "{mode}");
        }
    }
}

on_pythons! {
    WithGilPerInterpreter,
    fn sub_interpreters_with_a_gil_of_their_own(python) {
        check_interpreters(python, "own");
    }
}

on_every_python! {
    fn sub_interpreters_that_share_the_gil(python) {
        check_interpreters(python, "shared");
    }
}

on_every_python! {
    fn a_thread_of_c_that_calls_python_that_calls_c_that_calls_python(python) {
        let target = python.start("native.py", &[]);
        let dump = dump(target.pid());
        let stack: Vec<_> = threads(&dump).iter().map(functions).find(|stack| stack.contains(&"routine")).unwrap();
        assert_eq!(stack[..3], ["routine", "compare", "stand_still"], "on {}", python.version);
    }
}

on_every_python! {
    fn coroutines_have_their_awaiters_below_them(python) {
        let recording = record(&["-r", "500"], &python.script("tasks.py", &["0.7"]));
        let computing = recording.stacks.only(|stack| has(stack, "compute"));
        assert!(computing.total() > 50, "{}", recording.done.stderr);
        for (stack, _) in &computing.0 {
            let names: Vec<_> = stack.iter().map(|label| name(label)).collect();
            let job = names.iter().position(|name| *name == "job").unwrap_or_else(|| panic!("{names:?}"));
            assert_eq!(names[job + 1..job + 3], ["middle", "compute"]);
            assert!(names[..job].iter().any(|name| name.ends_with("run_forever")), "{names:?}");
        }
    }
}

/// Whatever starts Python for a living: the Python below it is recorded, and its exit code passed on.
#[track_caller]
fn assert_recorded(words: Vec<String>, code: i32, environment: &[(&str, &Path)]) {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let program = words.join(" ");
    let mut command = gilscope(["record", "-o"]);
    command.arg(&out).arg("--").args(words).envs(environment.iter().copied());
    let done = run(command);
    assert_eq!(done.code, code, "{program}: {}", done.stderr);
    let stacks = Folded::parse(&fs::read_to_string(&out).unwrap());
    assert!(stacks.with("spin") >= 20, "{program}: {}", done.stderr);
}

/// `python spin.py 0.5 3`, with other words in front.
fn spin(front: &[&str], python: &Path) -> Vec<String> {
    let script = targets().join("spin.py").display().to_string();
    let mut words: Vec<String> = front.iter().map(|&word| word.to_owned()).collect();
    words.extend([python.display().to_string(), script, "0.5".to_owned(), "3".to_owned()]);
    words
}

fn usual() -> &'static Path {
    Python::usual().exe().unwrap_or_else(|| not_measured("no usual Python outside a root folder"))
}

fn executable_of(python: &'static Python) -> &'static Path {
    python.exe().expect("it is not in a root folder")
}

#[test]
fn a_shell_that_runs_python_and_waits_for_it() {
    let python = usual().display().to_string();
    let script = targets().join("spin.py").display().to_string();
    let line = format!("'{python}' '{script}' 0.5 7; exit 3");
    assert_recorded(vec!["sh".to_owned(), "-c".to_owned(), line], 3, &[]);
    // Through several shells, and not at once.
    let line = format!("sleep 0.3; sh -c \"sh -c '{python} {script} 0.5 7'; exit 4\"; exit $?");
    assert_recorded(vec!["sh".to_owned(), "-c".to_owned(), line], 4, &[]);
}

#[test]
fn a_shell_that_becomes_python() {
    assert_recorded(spin(&["sh", "-c", "sleep 0.1; exec \"$@\"", "sh"], usual()), 3, &[]);
    assert_recorded(spin(&["env", "nice", "-n", "1"], usual()), 3, &[]);
}

#[test]
fn a_shim_as_pyenv_has_them() {
    let folder = folder();
    let shim = folder.path().join("python");
    let text = "#!/usr/bin/env bash\nset -e\nprogram=\"${0##*/}\"\n[ \"$program\" = python ]\nfor arg; do\n  \
        case \"$arg\" in -c* | -- ) break ;; esac\ndone\nsleep 0.05\nexec \"$(echo PYTHON)\" \"$@\"\n";
    executable(&shim, &text.replace("PYTHON", &usual().display().to_string()));
    assert_recorded(spin(&[], &shim), 3, &[]);
}

on_pythons! {
    Labels(&["3.8", "3.9", "3.10"]),
    fn a_virtual_environment(python) {
        let folder = folder();
        let place = folder.path().join("venv");
        let mut command = Words::of(python.words()).command();
        command.args(["-m", "venv", "--clear", "--without-pip"]).arg(&place);
        let made = run(command);
        if made.code != 0 {
            not_measured(&format!("it makes no venv: {}", made.stderr.trim()));
        }
        assert_recorded(spin(&[], &place.join("bin/python")), 3, &[]);
    }
}

#[test]
fn a_link_with_another_name() {
    let folder = folder();
    let link = folder.path().join("my-program");
    let python = usual();
    symlink(python, &link).unwrap();
    // It finds its library by where it is.
    let home = python.parent().unwrap().parent().unwrap();
    assert_recorded(spin(&[], &link), 3, &[("PYTHONHOME", home)]);
}

#[test]
fn a_program_that_becomes_a_shell_that_becomes_python() {
    let mut program = Python::usual().script("again.py", &["-c"]);
    let other = "import os, sys; os.execvp('sh', ['sh', '-c', 'sleep 0.5; exec \"$@\"', 'sh'] + sys.argv[1:])";
    program.words.push(other.to_owned());
    program.words.extend(Python::usual().script("spin.py", &["1", "0"]).words);
    let recording = record(&["-r", "200"], &program);
    assert!(recording.stacks.with("before") > 20, "{}", recording.done.stderr);
    assert!(recording.stacks.with("spin") > 20, "what came after is missing: {}", recording.done.stderr);
}

on_every_python! {
    fn a_program_that_becomes_another(python) {
        let mut program = python.script("again.py", &[]);
        let spin = python.script("spin.py", &["1", "0"]);
        program.words.extend(spin.words[python.words().len()..].iter().cloned());
        let recording = record(&["-r", "200"], &program);
        assert!(recording.stacks.with("before") > 20, "{}", recording.done.stderr);
        assert!(recording.stacks.with("spin") > 20, "what came after is missing: {}", recording.done.stderr);
    }
}

/// A copy of an interpreter, and of its library if it is in one, without symbols.
fn stripped(python: &Path, folder: &Path) -> (PathBuf, PathBuf) {
    if Command::new("strip").arg("--version").output().is_err() {
        not_measured("no strip");
    }
    let home = python.parent().unwrap().parent().unwrap();
    let name = python.file_name().unwrap();
    let mut files = vec![python.to_owned()];
    let libraries = fs::read_dir(home.join("lib")).into_iter().flatten().flatten();
    files.extend(libraries.map(|file| file.path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libpython3") && name.contains(".so.")
    }));
    for file in files {
        let copy = folder.join(file.file_name().unwrap());
        fs::copy(&file, &copy).unwrap();
        let mut command = Command::new("strip");
        command.arg("-s").arg(copy);
        run(command).ok();
    }
    (folder.join(name), home.to_owned())
}

on_pythons! {
    WithoutChroot,
    fn a_stripped_interpreter(python) {
        let python = executable_of(python);
        let folder = folder();
        let (copy, home) = stripped(python, folder.path());
        let environment = [("PYTHONHOME", &*home), ("LD_LIBRARY_PATH", folder.path())];
        let mut command = Command::new(&copy);
        command.args(["-c", "import threading"]).envs(environment);
        if run(command).code != 0 {
            not_measured("a copy of it does not run");
        }
        assert_recorded(spin(&[], &copy), 3, &environment);
        let mut command = Command::new(&copy);
        command.arg(targets().join("blocked.py")).envs(environment);
        let mut target = Proc::start(command);
        target.wait_for("READY");
        assert_eq!(functions(thread(&dump(target.pid()), "deep")).len(), 4 + 11, "{}", python.display());
    }
}

#[test]
fn a_program_whose_files_are_gone() {
    // As after an upgrade: the processes still run what is deleted.
    let folder = folder();
    let python = ["3.13t", "3.11"].into_iter().flat_map(Python::found).find_map(Python::exe).unwrap_or(usual());
    let (copy, home) = stripped(python, folder.path());
    let mut command = Command::new(&copy);
    command.arg(targets().join("blocked.py")).env("PYTHONHOME", home).env("LD_LIBRARY_PATH", folder.path());
    let mut target = Proc::start(command);
    target.wait_for("READY");
    for file in fs::read_dir(folder.path()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_eq!(functions(thread(&dump(target.pid()), "deep")).len(), 4 + 11);
}

/// A C program with this Python in it, as a command with its environment.
fn embedding(python: &'static Python, folder: &Path) -> Command {
    let python = executable_of(python);
    let program = folder.join("embedding");
    let config = PathBuf::from(format!("{}-config", python.display()));
    if !config.exists() {
        not_measured("no python3-config of it");
    }
    if Command::new("gcc").arg("--version").output().is_err() {
        not_measured("no gcc");
    }
    let flags = |what: &str| {
        let output = Command::new(&config).args(["--embed", what]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let home = python.parent().unwrap().parent().unwrap();
    let mut command = Command::new("gcc");
    command.arg(targets().join("embed.c")).arg("-o").arg(&program).args(flags("--cflags")).args(flags("--ldflags"));
    command.arg(format!("-Wl,-rpath,{}", home.join("lib").display())).arg("-pthread");
    let made = run(command);
    if made.code != 0 {
        not_measured(&format!("no program that embeds it can be built: {}", made.stderr.trim()));
    }
    let mut command = Command::new(&program);
    command.env("PYTHONHOME", home);
    command
}

on_pythons! {
    WithoutChroot,
    fn a_c_program_with_python_in_it(python) {
        let folder = folder();
        let mut command = embedding(python, folder.path());
        command.arg("import time\ndef called_from_c():\n    print('READY', flush=True)\n    time.sleep(3600)");
        command.arg("called_from_c()");
        let mut target = Proc::start(command);
        target.wait_for("READY");
        let dump = dump(target.pid());
        let stacks: Vec<_> = threads(&dump).iter().map(functions).collect();
        assert!(stacks.contains(&vec!["<module>", "called_from_c"]), "{stacks:?}");
        // A build without a shared library is linked into the program.
        let shared = fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap().contains("/libpython3.");
        let is_library = dump["executable"].as_str().unwrap().contains("libpython");
        assert_eq!(is_library, shared, "{dump:#}");
    }
}

on_pythons! {
    Labels(&["3.8", "3.12", "3.13"]),
    fn a_thread_whose_state_comes_and_goes_holds_the_gil_all_the_same(python) {
        need_root();
        let folder = folder();
        let mut command = embedding(python, folder.path());
        let define = "def called_from_c():\n    for _ in range(40000): pass\nprint('READY', flush=True)";
        command.args([define, "called_from_c()", "100000"]);
        let mut target = Proc::start(command);
        target.wait_for("READY");
        let out = folder.path().join("out.report.json");
        let mut record = gilscope(["record", "--mode", "kernel", "-d", "2", "-o"]);
        record.arg(&out).args(["--pid", &target.pid().to_string()]);
        let done = run(record);
        done.ok();
        let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        let threads = report["threads"].as_array().unwrap().iter();
        let busiest = threads.max_by(|a, b| a["cpu_s"].as_f64().unwrap().total_cmp(&b["cpu_s"].as_f64().unwrap()));
        let state = |name: &str| busiest.unwrap()["states"][name].as_f64().unwrap();
        // A fifth of the time is between the calls, when it is asleep.
        let (held, native) = (state("gil_held_s"), state("native_s"));
        assert!(native < 0.25 * held, "on {}: native {native} s, held {held} s: {}", python.version, done.stderr);
    }
}

/// Attaches to a Python that has been running for so long, and is held there until gilscope has looked at it.
fn attach_early(python: &Path, after: Duration) {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let mut command = Command::new(python);
    command.arg(targets().join("spin.py")).arg("60");
    let mut target = Proc::start(command);
    std::thread::sleep(after);
    target.signal(Signal::SIGSTOP);
    let mut command = gilscope(["record", "-v", "-d", "0.3", "--view", "wall", "-o"]);
    command.arg(&out).args(["--pid", &target.pid().to_string()]);
    let recording = Proc::start(command);
    std::thread::sleep(Duration::from_millis(100));
    target.signal(Signal::SIGCONT);
    target.wait_for("READY");
    let done = recording.finish();
    done.ok();
    let stacks = Folded::parse(&fs::read_to_string(&out).unwrap());
    assert!(stacks.total() > 0, "{}", done.stderr);
}

on_pythons! {
    WithoutChroot,
    fn attaching_while_python_is_starting(python) {
        for after in [0, 4, 12] {
            attach_early(executable_of(python), Duration::from_millis(after));
        }
    }
}

#[test]
fn attaching_while_python_starts_slowly() {
    let folder = folder();
    let slow = "import sys, time\ndef start_slowly():\n    end = time.time() + 1\n    sys.stdout.write('READY\\n')\n    \
        sys.stdout.flush()\n    while time.time() < end:\n        pass\nstart_slowly()\n";
    fs::write(folder.path().join("sitecustomize.py"), slow).unwrap();
    let code =
        "import time\ndef later():\n  time.sleep(0.5)\n  print('LATER', flush=True)\n  time.sleep(60)\nlater()";
    for python in ["3.8", "3.12", "3.13t"].into_iter().flat_map(Python::all).filter_map(Python::exe) {
        let mut command = Command::new(python);
        command.args(["-c", code]).env("PYTHONPATH", folder.path());
        let mut target = Proc::start(command);
        target.wait_for("READY");
        let out = folder.path().join("out.collapsed");
        let mut command = gilscope(["record", "--view", "wall", "-o"]);
        command.arg(&out).args(["--pid", &target.pid().to_string()]);
        let recording = Proc::start(command);
        target.wait_for("LATER");
        recording.signal(Signal::SIGINT);
        let done = recording.finish();
        done.ok();
        let stacks = Folded::parse(&fs::read_to_string(out).unwrap());
        assert!(stacks.with("start_slowly") > 10 && stacks.with("later") > 10, "{stacks:?}: {}", done.stderr);
    }
}

#[test]
fn a_program_that_ends_while_it_is_attached_to() {
    let python = usual();
    for milliseconds in [0, 5, 10, 20, 30, 50] {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import time; time.sleep({})", f64::from(milliseconds) / 1000.0)]);
        let target = Proc::start(command);
        let folder = folder();
        let mut command = gilscope(["record", "-f", "collapsed", "-o"]);
        command.arg(folder.path().join("out")).args(["--pid", &target.pid().to_string()]);
        let recording = Proc::start(command);
        target.finish().ok();
        let done = recording.finish();
        assert!(done.code == 0 || done.failed().contains("process"), "{}", done.stderr);
    }
}

#[test]
fn a_thread_in_a_call_without_an_end_is_blocked_in_it() {
    let code = "import os, select, signal, socket, sys, threading\nread, write = os.pipe()\na, b = socket.socketpair()\n\
        def recv(): a.recv(1)\ndef poll(): select.select([read], [], [])\ndef wait(): os.waitid(os.P_PID, child, os.WEXITED)\n\
        child = os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '600')\nfor f in recv, poll, wait:\n  \
        threading.Thread(target=f, name=f.__name__, daemon=True).start()\nimport time\ntime.sleep(0.2)\nprint('READY')\n\
        signal.pause()";
    let target = Python::usual().start_code(code);
    let call = |name: &str| {
        until(name, || {
            let dump = dump(target.pid());
            let thread = thread(&dump, name).clone();
            (thread["state"] == json!("blocked")).then(|| thread["syscall"].as_str().unwrap().to_owned())
        })
    };
    assert_eq!(call("recv"), "recvfrom");
    assert!(["select", "pselect6"].contains(&&*call("poll")));
    assert_eq!(call("wait"), "waitid");
    assert_eq!(call("MainThread"), "pause");
}

#[test]
fn a_program_in_another_root_is_read_through_it() {
    // The interpreters that `tests/pythons` has unpacked are in one.
    let found = ["3.14", "3.15"].into_iter().flat_map(Python::found).find(|python| python.exe().is_none());
    let python = found.unwrap_or_else(|| not_measured("no interpreter in another root"));
    let target = python.start("blocked.py", &[]);
    let dump = dump(target.pid());
    assert_eq!(dump["python"], python.version);
    assert_eq!(functions(thread(&dump, "deep")).len(), 4 + 11);
}

on_pythons! {
    Three,
    fn a_program_in_a_pid_namespace_of_its_own(python) {
        let mut works = Command::new("unshare");
        works.args(["--pid", "--fork", "true"]);
        if !works.status().is_ok_and(|status| status.success()) {
            not_measured("unshare --pid is not permitted");
        }
        let Words { words, .. } = python.script("blocked.py", &[]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).args(words);
        let mut target = Proc::start(command);
        target.wait_for("READY");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", target.pid())).unwrap();
        let pid: i32 = children.trim().parse().unwrap();
        let dump = dump(pid);
        let tids: BTreeSet<_> = threads(&dump).iter().map(|thread| thread["tid"].as_i64().unwrap()).collect();
        let real = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let real: BTreeSet<i64> =
            real.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        assert!(tids.is_subset(&real) && tids.len() >= 22, "{tids:?} of {real:?}");
        assert_eq!(functions(thread(&dump, "deep")).len(), 4 + 11);
        // Only a namespace's own init can end it all.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
}
