//! `gilscope record` as a command: what it passes on, what it writes and where, what it says meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;

use crate::support::{
    self, Done, Folded, GILSCOPE, Proc, Python, folder, gilscope, has, line, lines_of, name, need_root, not_measured,
    record_pid, run, until,
};

/// A program that runs for a moment, then does this.
fn then(code: &str) -> Vec<String> {
    let code = format!(
        "import os, sys, time\ndef spin(end):\n  while time.time() < end: pass\nspin(time.time() + 0.4)\n{code}"
    );
    [Python::usual().words(), vec!["-c".to_owned(), code]].concat()
}

fn recorded(out: &Path, program: Vec<String>) -> Command {
    let mut command = gilscope(["record", "-o"]);
    command.arg(out).arg("--").args(program);
    command
}

fn samples(out: &Path) -> Folded {
    Folded::parse(&fs::read_to_string(out).unwrap())
}

#[test]
fn the_exit_code_is_passed_on() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    for (end, code) in [
        ("", 0),
        ("sys.exit(3)", 3),
        ("os._exit(255)", 255),
        ("raise KeyError", 1),
        ("os.kill(os.getpid(), 9)", 137),
        ("os.kill(os.getpid(), 15)", 143),
        ("os.abort()", 134),
    ] {
        let done = run(recorded(&out, then(end)));
        assert_eq!(done.code, code, "{end}: {}", done.stderr);
        assert!(samples(&out).with("spin") > 10, "{end}: {}", done.stderr);
    }
}

#[test]
fn the_program_keeps_its_input_and_output() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let mut command = recorded(&out, then("sys.stderr.write('error:' + sys.stdin.readline()); print('output')"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "output\n", "nothing of gilscope's is in it");
    assert!(String::from_utf8_lossy(&output.stderr).contains("error:input\n"));
    assert!(samples(&out).total() > 10);
}

/// Counts the interrupts it gets; leaves half a second after the first one.
const COUNTS_INTERRUPTS: &str = "import os, signal, sys, time\ncount = 0\ndef handler(*_):\n  global count\n  count += 1\n\
    signal.signal(signal.SIGINT, handler)\nsignal.signal(signal.SIGTERM, handler)\nprint('READY', flush=True)\n\
    while not count: sum(range(1000))\nend = time.time() + 0.5\nwhile time.time() < end: sum(range(1000))\n\
    print('INTERRUPTS', count, flush=True)\nsys.exit(5)";

fn counting(out: &Path) -> Command {
    recorded(out, [Python::usual().words(), vec!["-c".to_owned(), COUNTS_INTERRUPTS.to_owned()]].concat())
}

/// Lets the recording see something.
fn pause() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_signal_to_gilscope_ends_the_recording_and_reaches_the_program() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = folder();
        let out = folder.path().join("out.collapsed");
        let mut recording = Proc::start(counting(&out));
        recording.wait_for("READY");
        pause();
        recording.signal(signal);
        recording.wait_for("INTERRUPTS 1");
        let done = recording.finish();
        assert_eq!(done.code, 5, "{}", done.stderr);
        assert!(samples(&out).total() > 5, "{}", done.stderr);
    }
}

#[test]
fn a_signal_to_all_of_the_group_ends_the_recording_too() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let mut recording = Proc::start(counting(&out));
    recording.wait_for("READY");
    pause();
    recording.signal_group(Signal::SIGINT);
    recording.wait_for("INTERRUPTS");
    let done = recording.finish();
    assert_eq!(done.code, 5, "{}", done.stderr);
    assert!(samples(&out).total() > 5);
}

#[test]
fn a_second_signal_does_not_wait_for_the_program() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('READY', flush=True)\n\
        while True: time.sleep(0.01)";
    let program = [Python::usual().words(), vec!["-c".to_owned(), code.to_owned()]].concat();
    let mut recording = Proc::start(recorded(&out, program));
    recording.wait_for("READY");
    pause();
    recording.signal(Signal::SIGINT);
    recording.wait_for_stderr("waiting for the program");
    assert!(out.exists(), "the output is there before the program has ended");
    recording.signal(Signal::SIGINT);
    assert_eq!(recording.finish().code, 130);
}

#[test]
fn an_attached_recording_ends_with_an_interrupt_or_the_program() {
    for ends in [true, false] {
        let target = Python::usual().start("spin.py", &[if ends { "1.5" } else { "60" }]);
        let folder = folder();
        let out = folder.path().join("out.collapsed");
        let mut command = gilscope(["record", "-o"]);
        command.arg(&out).args(["--pid", &target.pid().to_string()]);
        let recording = Proc::start(command);
        pause();
        pause();
        if !ends {
            recording.signal(Signal::SIGINT);
        }
        recording.finish().ok();
        assert!(samples(&out).with("spin") > 10);
        assert_eq!(target.is_running(), !ends, "the program is not ours to end");
    }
}

#[test]
fn a_duration_ends_the_recording_and_not_the_program() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let mut command = gilscope(["record", "-d", "0.5", "-r", "200", "-o"]);
    command.arg(&out).arg("--").args(then("spin(time.time() + 1.5)\nprint('END')\nsys.exit(3)"));
    let done = run(command);
    assert_eq!((done.code, done.stdout.as_str()), (3, "END\n"), "{}", done.stderr);
    let total = samples(&out).total();
    assert!((50..=101).contains(&total), "{total} samples: {}", done.stderr);
}

#[test]
fn the_rate_is_what_was_asked_for() {
    let target = Python::usual().start("spin.py", &["60"]);
    for rate in [10, 100, 1000] {
        let recording = record_pid(&["-r", &rate.to_string()], 1.0, target.pid());
        let total = recording.stacks.total();
        // Late ticks are left out on a busy machine; there are never more than the time has, which a look at something else
        // can make some milliseconds longer.
        assert!(
            (rate / 2..=rate + rate / 50 + 1).contains(&total),
            "{total} at {rate} Hz: {}",
            recording.done.stderr
        );
    }
}

/// Records a running program in a format.
fn written(target: &Proc, file: &str, options: &[&str]) -> String {
    let folder = folder();
    let out = folder.path().join(file);
    let mut command = gilscope(["record", "-d", "0.6", "-r", "500", "--pid", &target.pid().to_string(), "-o"]);
    command.arg(&out).args(options);
    run(command).ok();
    fs::read_to_string(&out).unwrap()
}

#[test]
fn standard_output_can_be_written_to() {
    let target = Python::usual().start("ticking.py", &[]);
    let pid = target.pid().to_string();
    let on_stdout = |options: &[&str]| {
        let mut command = gilscope(["record", "-d", "0.3", "--pid", &pid, "-o", "-"]);
        command.args(options);
        run(command).ok().to_owned()
    };
    assert!(Folded::parse(&on_stdout(&[])).total() > 5, "folded stacks where nothing else is said");
    assert!(on_stdout(&["-f", "svg"]).starts_with("<?xml"));
    let trace: Value = serde_json::from_str(&on_stdout(&["-f", "chrome"])).unwrap();
    assert!(trace.as_array().unwrap().len() > 5);
}

#[test]
fn speedscope_files_are_valid() {
    let target = Python::usual().start("ticking.py", &[]);
    let file: Value = serde_json::from_str(&written(&target, "x.speedscope.json", &["--view", "wall"])).unwrap();
    assert_eq!(file["$schema"], "https://www.speedscope.app/file-format-schema.json");
    let frames = file["shared"]["frames"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame["name"].as_str().unwrap().starts_with("keep_moving")));
    let profiles = file["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 2, "one per thread");
    for profile in profiles {
        assert_eq!(profile["type"], "evented");
        let number = |value: &Value| value.as_u64().unwrap();
        let (mut at, end) = (number(&profile["startValue"]), number(&profile["endValue"]));
        let mut open = Vec::new();
        for event in profile["events"].as_array().unwrap() {
            assert!((at..=end).contains(&number(&event["at"])), "{event}");
            at = number(&event["at"]);
            let frame = number(&event["frame"]);
            assert!((frame as usize) < frames.len());
            match event["type"].as_str().unwrap() {
                "O" => open.push(frame),
                "C" => assert_eq!(open.pop(), Some(frame)),
                other => panic!("{other}"),
            }
        }
        assert!(open.is_empty());
        assert!(end - number(&profile["startValue"]) > 300_000_000, "the time is that of the recording");
    }
}

#[test]
fn chrome_traces_are_valid() {
    let target = Python::usual().start("ticking.py", &[]);
    let events: Vec<Value> = serde_json::from_str(&written(&target, "x.json", &[])).unwrap();
    let mut open: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let mut last: BTreeMap<u64, f64> = BTreeMap::new();
    let (mut names, mut functions, mut states) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for event in &events {
        assert_eq!(event["pid"].as_i64(), Some(target.pid().into()));
        let tid = event["tid"].as_u64().unwrap_or(0);
        match event["ph"].as_str().unwrap() {
            "M" => {
                if event["name"] == "thread_name" {
                    names.insert(tid, event["args"]["name"].as_str().unwrap());
                }
                continue;
            }
            "B" => {
                let name = event["name"].as_str().unwrap();
                functions.insert(support::name(name));
                open.entry(tid).or_default().push(name);
            }
            "E" => drop(open.get_mut(&tid).and_then(Vec::pop).expect("something to end")),
            "X" => {
                assert!(event["dur"].as_f64().unwrap() >= 0.0);
                states.insert(event["name"].as_str().unwrap());
            }
            // How many wait for the GIL, and who hands it to whom.
            "C" | "s" | "f" => continue,
            other => panic!("{other}"),
        }
        let at = event["ts"].as_f64().unwrap();
        assert!(*last.get(&tid).unwrap_or(&0.0) <= at, "{event}");
        last.insert(tid, at);
    }
    assert!(open.values().all(Vec::is_empty), "{open:?}");
    let names: Vec<_> = names.values().collect();
    assert!(
        names.iter().any(|name| name.starts_with("moving (")) && names.iter().any(|n| n.starts_with("MainThread ("))
    );
    assert!(functions.contains("keep_moving") && functions.contains("<module>"), "{functions:?}");
    assert!(states.contains("GIL held"), "{states:?}");
}

#[test]
fn flame_graphs_are_valid() {
    let target = Python::usual().start("ticking.py", &[]);
    let svg = written(&target, "x.svg", &[]);
    assert!(svg.contains("keep_moving (ticking.py:") && svg.contains("&lt;module&gt; (ticking.py:"));
    let folder = folder();
    let file = folder.path().join("x.svg");
    fs::write(&file, svg).unwrap();
    let parse = "import sys, xml.etree.ElementTree as t; print(t.parse(sys.argv[1]).getroot().tag)";
    let mut command = Command::new("python3");
    command.args(["-c", parse]).arg(&file);
    assert_eq!(run(command).ok().trim(), "{http://www.w3.org/2000/svg}svg");
}

#[test]
fn views_show_what_they_say() {
    support::measured(check_views);
}

fn check_views() {
    let target = Python::usual().start("ticking.py", &[]);
    let view = |options: &[&str]| Folded::parse(&written(&target, "x.collapsed", options));
    let asleep = |stack: &[String]| stack.last().unwrap() == "[blocked: clock_nanosleep]";
    let waits = |stack: &[String]| stack.last().unwrap() == "[waiting for GIL]";
    let off_cpu =
        |stack: &[String]| asleep(stack) || waits(stack) || stack.last().unwrap().starts_with("[GIL held off CPU");

    let cpu = view(&[]);
    assert!(cpu.with("keep_moving") > 50 && cpu.count(off_cpu) == 0, "{cpu:?}");
    let wall = view(&["--view", "wall"]);
    // Two threads, of which the main one sleeps now and then.
    let unreadable = |stack: &[String]| stack[0] == "[stack unreadable]";
    let main = wall.only(|stack| !has(stack, "keep_moving") && !unreadable(stack));
    let lost = wall.count(unreadable);
    assert!(wall.with("keep_moving").abs_diff(main.total()) <= 2 + lost, "both are in every tick: {wall:?}");
    assert!(lost * 100 <= wall.total(), "{lost} lost: {wall:?}");
    assert!((0.05..0.7).contains(&main.share(asleep)), "asleep for {:.2}", main.share(asleep));
    assert!(wall.count(waits) > 0, "{wall:?}");
    let hold = view(&["--view", "gil-hold"]);
    assert!(hold.total() > 100 && hold.count(waits) + hold.count(asleep) == 0, "{hold:?}");
    let idle = view(&["--idle"]);
    assert!(idle.count(asleep) > 0, "{idle:?}");
    assert!(idle.total() > cpu.total());
}

#[test]
fn options_say_how_stacks_are_labelled() {
    let target = Python::usual().start("ticking.py", &[]);
    let view = |options: &[&str]| Folded::parse(&written(&target, "x.collapsed", options));
    let threads = view(&["--threads"]);
    for (stack, _) in threads.0.iter().filter(|(stack, _)| stack[1] != "[stack unreadable]") {
        let of_main = !has(stack, "keep_moving");
        let root = if of_main { format!("MainThread ({})", target.pid()) } else { "moving (".to_owned() };
        assert!(stack[0].starts_with(&root), "{stack:?}");
    }
    let definition = lines_of("ticking.py", "def moving(")[0];
    let lines = |folded: &Folded| {
        let labels = folded.0.iter().flat_map(|(stack, _)| stack).filter(|label| name(label) == "moving");
        labels.map(|label| line(label)).collect::<BTreeSet<_>>()
    };
    assert_eq!(lines(&view(&["--functions"])), BTreeSet::from([definition]));
    assert!(lines(&view(&[])).iter().any(|&line| line != definition));
}

#[test]
fn without_a_path_the_file_is_named_after_the_program() {
    let folder = folder();
    let target = Python::usual().start("spin.py", &["60"]);
    let mut command = gilscope(["record", "-d", "0.2", "--pid", &target.pid().to_string()]);
    command.current_dir(folder.path());
    let done = run(command);
    done.ok();
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [format!("gilscope-spin-{}.gscope", target.pid()).as_str()]);
    assert!(done.stderr.contains(files[0].to_str().unwrap()), "{}", done.stderr);
}

/// A program that leaves a file when it is started.
fn leaves_a_trace(folder: &Path) -> (Vec<String>, std::path::PathBuf) {
    let trace = folder.join("was started");
    (then(&format!("open({:?}, 'w')", trace.display().to_string())), trace)
}

#[test]
fn an_output_that_cannot_be_written_is_known_before_the_program_starts() {
    let folder = folder();
    let (program, trace) = leaves_a_trace(folder.path());
    for out in ["/nonexistent/folder/out.svg", "/proc/out.svg", "/", "out.unknown"] {
        let done = run(recorded(Path::new(out), program.clone()));
        // A name that does not say which format to write is an error of usage.
        let code = if out.contains("out.svg") { 1 } else { 2 };
        assert_eq!(done.code, code, "{out}: {}", done.stderr);
        assert!(done.stderr.contains(out.trim_end_matches('/')), "{}", done.stderr);
        assert!(!trace.exists(), "{out}: {}", done.stderr);
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let mut command = gilscope(["record", "-f", "svg", "-o", "/dev/full", "--"]);
    command.args(then(""));
    let done = run(command);
    let complaint = done.failed();
    assert!(complaint.contains("/dev/full") && complaint.contains("No space left"), "{complaint}");
}

#[test]
fn what_does_not_fit_on_the_disk_is_saved_elsewhere() {
    need_root();
    let (folder, elsewhere) = (folder(), folder());
    let program = then("");
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=4k none \"$0\" || exit 99; exec \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(folder.path()).args([GILSCOPE, "record", "-r", "1000", "-o"]);
    command.arg(folder.path().join("out.svg")).arg("--").args(program).env("TMPDIR", elsewhere.path());
    let done = run(command);
    if done.code == 99 || done.stderr.contains("unshare failed") {
        not_measured("no file system can be mounted");
    }
    let complaint = done.failed();
    let saved = elsewhere.path().join("out.svg");
    assert!(complaint.contains("No space left") && complaint.contains(saved.to_str().unwrap()), "{complaint}");
    assert!(fs::read_to_string(saved).unwrap().contains("spin ("));
}

/// What gilscope shows on a terminal, with keys pressed after a while.
fn on_terminal(command: &Command, keys: &str) -> (String, u32) {
    let pty = native_pty_system().openpty(PtySize { rows: 24, cols: 120, ..PtySize::default() }).unwrap();
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.env("GILSCOPE_MODE", "memory");
    builder.cwd(std::env::current_dir().unwrap());
    let mut child = pty.slave.spawn_command(builder).unwrap();
    drop(pty.slave);
    let mut output = pty.master.try_clone_reader().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // Ends with an error when the last process leaves the terminal.
        let _ = output.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    std::thread::sleep(Duration::from_millis(1500));
    // It types a line end when it goes, and the terminal would show that in the middle of anything.
    let mut writer = pty.master.take_writer().unwrap();
    writer.write_all(keys.as_bytes()).unwrap();
    let code = until("its end", || child.try_wait().unwrap()).exit_code();
    drop((writer, pty.master));
    (reader.join().unwrap(), code)
}

#[test]
fn on_a_terminal_progress_is_live_and_ctrl_c_ends_the_recording() {
    let folder = folder();
    let out = folder.path().join("out.collapsed");
    let (text, code) = on_terminal(&counting(&out), "\x03");
    assert!(text.matches("\rrecording ").count() >= 3, "{text:?}");
    for word in ["samples of 1 threads", "Hz", "late", "torn"] {
        assert!(text.contains(word), "{word:?} is missing: {text:?}");
    }
    assert!(text.contains("INTERRUPTS 1\r\n"), "the program gets the signal of the terminal, once: {text:?}");
    assert_eq!(code, 5, "{text}");
    assert!(samples(&out).total() > 20);
}

#[test]
fn the_program_keeps_its_terminal() {
    let folder = folder();
    let code = "import os, sys, time\nprint('TTY', [os.isatty(n) for n in range(3)], flush=True)\n\
        print('LINE', sys.stdin.readline(), flush=True)\nend = time.time() + 0.3\nwhile time.time() < end: pass";
    let program = [Python::usual().words(), vec!["-c".to_owned(), code.to_owned()]].concat();
    let (text, code) = on_terminal(&recorded(&folder.path().join("out.svg"), program), "typed\n");
    assert!(text.contains("TTY [True, True, True]") && text.contains("LINE typed"), "{text:?}");
    assert_eq!(code, 0);
}

#[test]
fn elsewhere_progress_is_a_line_in_ten_seconds() {
    let target = Python::usual().start("many.py", &["1"]);
    let recording = record_pid(&["-r", "20", "--view", "wall"], 11.0, target.pid());
    let lines = recording.done.stderr.lines().filter(|line| line.contains("recording 1")).count();
    assert_eq!(lines, 1, "{}", recording.done.stderr);
    assert!(!recording.done.stderr.contains('\r'));
}

#[test]
fn the_report_says_how_it_went() {
    let target = Python::usual().start("ticking.py", &[]);
    let recording = record_pid(&["-r", "500"], 1.0, target.pid());
    let said = &recording.done.stderr;
    let python = format!("(Python {})", Python::usual().version);
    for part in ["samples of 2 threads", " Hz", "late", "% of a CPU", "written to ", &python, "ticking.py"] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    assert_eq!(recording.done.stdout, "");
}

#[test]
fn quiet_prints_nothing() {
    let folder = folder();
    let out = folder.path().join("out.svg");
    let mut command = gilscope(["record", "-q", "-o"]);
    command.arg(&out).arg("--").args(then(""));
    let Done { code, stdout, stderr } = run(command);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
    assert!(out.exists());
}

#[test]
fn the_first_sample_comes_soon() {
    support::measured(check_first_sample);
}

fn check_first_sample() {
    // 150 ms for a release build on a quiet machine; this is about not waiting for anything.
    let target = Python::usual().start("spin.py", &["60"]);
    let started = Instant::now();
    let recording = record_pid(&["-r", "1000"], 0.1, target.pid());
    assert!(recording.stacks.total() > 10);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let target = Python::usual().start("blocked.py", &[]);
    let mut command = Command::new("sh");
    let line = "\"$0\" dump --pid \"$1\" | head -n 1; \"$0\" record -q -d 0.2 -o - --pid \"$1\" --idle | true";
    command.args(["-c", line, GILSCOPE, &target.pid().to_string()]);
    let done = run(command);
    assert!(done.stdout.starts_with("Process "), "{}", done.stdout);
    assert_eq!(done.stderr, "");
}
