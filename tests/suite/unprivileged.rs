//! As an ordinary user: what one's own programs need no privilege for works; what is not allowed says why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{
    self, Done, Folded, GILSCOPE, Proc, Python, dump, executable, folder, functions, need_root, not_measured, run,
    targets, thread,
};

/// A folder that everyone can read, with gilscope and a Python in it.
struct Place {
    folder: tempfile::TempDir,
    python: PathBuf,
    /// What it needs to find its library.
    home: Option<PathBuf>,
}

/// With an interpreter that has a GIL. Made once.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| Place::make(&["3.11", "3.12", "3.13", "3.10", "3.9", "3.8"]))
}

impl Place {
    fn make(labels: &[&str]) -> Place {
        // To become another user.
        need_root();
        let folder = folder();
        fs::copy(GILSCOPE, folder.path().join("gilscope")).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        let mut chown = Command::new("chown");
        chown.arg("65534:65534").arg(folder.path().join("out"));
        run(chown).ok();
        for file in fs::read_dir(targets()).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let readable = |python: &&'static Python| {
            // setpriv itself still may what root may.
            let python = python.exe().unwrap_or(Path::new("/nonexistent"));
            let works = nobody().arg("env").arg(python).args(["-c", "0"]).output();
            works.is_ok_and(|output| output.status.success())
        };
        let found = || labels.iter().flat_map(|label| Python::found(label));
        if let Some(python) = found().find(readable) {
            return Place { folder, python: python.exe().unwrap().to_owned(), home: None };
        }
        // Below a home folder: a copy will do.
        let why = || not_measured(&format!("no Python {} outside a root folder", labels[0]));
        let python = found().find_map(Python::exe).unwrap_or_else(why);
        let home = python.parent().unwrap().parent().unwrap();
        let copy = folder.path().join("python");
        let mut command = Command::new("cp");
        command.arg("-a").arg(home).arg(&copy);
        run(command).ok();
        Place { python: copy.join("bin").join(python.file_name().unwrap()), home: Some(copy), folder }
    }
}

/// A command as `nobody`.
fn nobody() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).env_remove("RUST_LOG").env("HOME", "/");
    command
}

impl Place {
    /// gilscope as `nobody`.
    fn gilscope(&self) -> Command {
        let mut command = nobody();
        command.arg(self.folder.path().join("gilscope"));
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        if let Some(home) = &self.home {
            command.env("PYTHONHOME", home).env("LD_LIBRARY_PATH", home.join("lib"));
        }
    }

    fn script(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// A script, run by somebody up to its line READY.
    fn start(&self, mut command: Command, script: &str) -> Proc {
        command.arg(&self.python).arg(self.script(script));
        self.environment(&mut command);
        let mut target = Proc::start(command);
        target.wait_for("READY");
        target
    }
}

#[test]
fn ones_own_program_can_be_recorded() {
    let place = place();
    for options in [&["-r", "200"][..], &["-r", "200", "--blocking"]] {
        let out = place.out("own.collapsed");
        let mut command = place.gilscope();
        command.args(["record", "-o"]).arg(&out).args(options).arg("--");
        command.arg(&place.python).arg(place.script("chains.py")).arg("1");
        let done = run(command);
        done.ok();
        let stacks = Folded::parse(&fs::read_to_string(&out).unwrap());
        let busy = stacks.only(|stack| support::has(stack, "run_chains"));
        assert!(busy.with("a0") > 20 && busy.with("b0") > 20, "{}", done.stderr);
        assert!(!done.stderr.contains("not permitted"), "{}", done.stderr);
        fs::remove_file(out).unwrap();
    }
}

#[test]
fn without_privilege_it_is_memory_mode_and_kernel_mode_says_what_it_needs() {
    let place = place();
    let record = |mode: &[&str], out: &Path| {
        let mut command = place.gilscope();
        command.env_remove("GILSCOPE_MODE").args(["record", "-o"]).arg(out).args(mode).arg("--");
        command.arg(&place.python).arg(place.script("stall.py")).arg("1");
        run(command)
    };
    for mode in [&[][..], &["--mode", "auto"]] {
        let out = place.out("auto.report.json");
        let done = record(mode, &out);
        assert!(done.ok().contains("STALLED "), "{}", done.stdout);
        let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(report["session"]["mode"], "memory");
        let degraded = report["session"]["degraded"].to_string();
        for part in ["waits are estimated", "short ones are missed", "CAP_BPF", "CAP_PERFMON", "setcap", "as root"] {
            assert!(done.stderr.contains(part) && degraded.contains(part), "{part:?}: {}{degraded}", done.stderr);
        }
        fs::remove_file(out).unwrap();
    }
    let out = place.out("kernel.report.json");
    let done = record(&["--mode", "kernel"], &out);
    assert_denied(&done, &["kernel mode needs", "CAP_BPF", "CAP_PERFMON", "as root", "setcap cap_bpf,cap_perfmon"]);
    assert!(!done.stdout.contains("READY"), "the program was started: {}", done.stdout);
    assert!(!out.exists());
}

/// The kernel allows perf events of one's own threads, or says that it does not.
#[test]
fn reference_counts_need_no_privilege() {
    let place = Place::make(&["3.13t"]);
    let out = place.out("counts.report.json");
    let mut command = place.gilscope();
    command.env_remove("GILSCOPE_MODE").args(["record", "-r", "500", "-o"]).arg(&out).arg("--");
    command.arg(&place.python).arg(place.script("counts.py")).args(["method", "1.5"]);
    run(command).ok();
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(report["session"]["mode"], "memory");
    let counts = &report["refcounts"];
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    if paranoid.trim().parse().unwrap_or(4) > 2 {
        assert!(counts["unavailable"].as_str().unwrap().contains("perf_event_paranoid"), "{counts:#}");
        assert!(report["session"]["degraded"].to_string().contains("what reference counts cost"), "{report:#}");
        not_measured(&format!("kernel.perf_event_paranoid is {}", paranoid.trim()));
    }
    assert!(counts["samples"].as_u64().unwrap() > 50 && counts["objects"][0]["type"] == "Shared", "{counts:#}");
}

#[test]
fn ones_own_processes_can_be_dumped_if_the_kernel_permits_it() {
    let place = place();
    let target = place.start(nobody(), "blocked.py");
    let mut command = place.gilscope();
    command.args(["dump", "--json", "--pid", &target.pid().to_string()]);
    let done = run(command);
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if !matches!(yama.trim(), "" | "0") {
        assert!(done.failed().contains("ptrace_scope"), "{}", done.stderr);
        not_measured(&format!("kernel.yama.ptrace_scope is {}", yama.trim()));
    }
    let seen: Value = serde_json::from_str(done.ok()).unwrap();
    assert_eq!(functions(thread(&seen, "deep")), functions(thread(&dump(target.pid()), "deep")), "as root sees it");
}

#[track_caller]
fn assert_denied(done: &Done, parts: &[&str]) {
    let complaint = done.failed();
    for part in parts {
        assert!(complaint.contains(part), "{part:?} is missing: {complaint}");
    }
}

#[test]
fn anothers_process_says_why_not_and_what_to_do() {
    let place = place();
    let of_root = place.start(Command::new("env"), "blocked.py");
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65533", "--regid=65533", "--clear-groups", "--"]);
    let of_other = place.start(other, "blocked.py");
    for command in ["dump", "record"] {
        let attach = |pid: i32| {
            let mut run_as = place.gilscope();
            run_as.args([command, "--pid", &pid.to_string()]).current_dir(place.folder.path().join("out"));
            run(run_as)
        };
        let done = attach(of_root.pid());
        assert_denied(&done, &["not permitted", "belongs to root", "Run gilscope as root", "setcap cap_sys_ptrace"]);
        let done = attach(of_other.pid());
        assert_denied(&done, &["not permitted", "user 65533", "as root", "setcap cap_sys_ptrace"]);
    }
    assert_eq!(
        fs::read_dir(place.folder.path().join("out"))
            .unwrap()
            .filter(|file| { file.as_ref().unwrap().file_name().to_string_lossy().starts_with("gilscope-") })
            .count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn a_program_with_privileges_of_its_own_is_protected() {
    let place = place();
    // What was started with more rights than it has now is not dumpable: as a setuid program is.
    let code =
        "import ctypes\nctypes.CDLL(None).prctl(4, 0)\nprint('READY', flush=True)\nimport time\ntime.sleep(600)";
    let mut command = nobody();
    command.arg(&place.python).args(["-c", code]);
    place.environment(&mut command);
    let mut target = Proc::start(command);
    target.wait_for("READY");
    let mut command = place.gilscope();
    command.args(["dump", "--pid", &target.pid().to_string()]);
    assert_denied(&run(command), &["not permitted", "protected"]);
    assert!(dump(target.pid())["threads"].as_array().unwrap().len() == 1, "root may");
}

#[test]
fn the_doctor_needs_no_privilege() {
    let place = place();
    let doctor = |options: &[&str]| {
        let mut command = place.gilscope();
        command.arg("doctor").args(options);
        run(command)
    };
    let text = doctor(&[]);
    assert!(text.ok().contains("This machine"), "{}", text.stdout);
    let report: Value = serde_json::from_str(doctor(&["--json"]).ok()).unwrap();
    assert_eq!(report["schema"], "gilscope-doctor/1");
    let checks = report["machine"].as_array().unwrap();
    let refused: Vec<_> = checks.iter().filter(|check| check["verdict"] != "yes").collect();
    assert!(!refused.is_empty(), "an ordinary user cannot do everything: {report:#}");
    for check in refused {
        assert!(check["reason"].as_str().is_some_and(|reason| reason.len() > 5), "{check:#}");
    }

    let of_root = place.start(Command::new("env"), "blocked.py");
    let own = place.start(nobody(), "blocked.py");
    let report: Value = serde_json::from_str(&doctor(&["--json", "--pid", &own.pid().to_string()]).stdout).unwrap();
    assert!(report["target"]["error"].is_null(), "{report:#}");
    let report = doctor(&["--pid", &of_root.pid().to_string()]);
    let words = report.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("belongs to root") && words.contains("setcap"), "{}", report.stdout);
}

#[test]
fn a_place_that_may_not_be_written_to_is_known_at_once() {
    let place = place();
    let trace = place.out("was-started");
    let program = place.folder.path().join("program");
    executable(&program, &format!("#!/bin/sh\necho > {}\n", trace.display()));
    let mut command = place.gilscope();
    command.args(["record", "-o", "/root/out.svg", "--"]).arg(&program);
    assert_denied(&run(command), &["/root/out.svg", "ermission denied"]);
    assert!(!trace.exists());
    // And where no name is given, it is the current folder that may not be.
    let mut command = place.gilscope();
    command.args(["record", "--"]).arg(&place.python).arg(place.script("spin.py")).arg("0.5").current_dir("/");
    let done = run(command);
    assert_denied(&done, &["cannot write to gilscope-", "-o", "ermission denied"]);
}

/// A copy of gilscope that has these capabilities, whoever runs it.
fn capable(place: &Place, capabilities: &str) -> PathBuf {
    let copy = place.folder.path().join(capabilities.replace(',', "-"));
    fs::copy(GILSCOPE, &copy).unwrap();
    let mut setcap = Command::new("setcap");
    setcap.arg(format!("{capabilities}+ep")).arg(&copy);
    if !setcap.output().is_ok_and(|output| output.status.success()) {
        not_measured("setcap is not here, or files cannot have capabilities");
    }
    copy
}

/// What `nobody` gets out of another user's program with a copy of gilscope.
fn with_copy(place: &Place, copy: &Path, arguments: &[&str], pid: i32) -> Done {
    let mut command = nobody();
    command.arg(copy).args(arguments).args(["--pid", &pid.to_string()]).env_remove("GILSCOPE_MODE");
    place.environment(&mut command);
    run(command)
}

#[test]
fn where_system_calls_are_hidden_waits_for_the_gil_are_concluded_and_no_all_clear_is_given() {
    let place = place();
    let mut command = Command::new("env");
    command.arg(&place.python).arg(place.script("fight.py")).arg("600");
    place.environment(&mut command);
    let mut target = Proc::start(command);
    target.wait_for("READY");
    let copy = capable(place, "cap_sys_ptrace");
    let hidden = "the system calls of its threads are hidden";

    let out = place.out("hidden.report.json");
    let options = ["record", "--mode", "memory", "-d", "2", "-o", out.to_str().unwrap()];
    let done = with_copy(place, &copy, &options, target.pid());
    let words = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(hidden) && words.contains("cap_dac_read_search"), "{}", done.stderr);
    done.ok();
    assert!(!words.contains("obody waited") && !words.contains("hardly"), "{}", done.stderr);
    let report: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    fs::remove_file(&out).unwrap();
    assert!(report["session"]["degraded"].to_string().contains(hidden), "{report:#}");
    let fighters = report["threads"].as_array().unwrap().iter();
    let fighters = fighters.filter(|thread| thread["name"].as_str().is_some_and(|name| name.starts_with("fighter")));
    let sum = |key: &str| fighters.clone().map(|thread| thread["states"][key].as_f64().unwrap()).sum::<f64>();
    let wall: f64 = fighters.clone().map(|thread| thread["wall_s"].as_f64().unwrap()).sum();
    // One of four has the GIL.
    assert!(sum("gil_wait_s") > 0.5 * wall && sum("unknown_s") < 0.05 * wall, "{report:#}");

    let dump = with_copy(place, &copy, &["dump"], target.pid());
    assert!(dump.ok().contains(hidden) && !dump.stdout.contains("nobody waits"), "{}", dump.stdout);
    let doctor = with_copy(place, &copy, &["doctor"], target.pid());
    let words = doctor.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("gilscope lacks CAP_DAC_READ_SEARCH"), "{}", doctor.stdout);

    let copy = capable(place, "cap_sys_ptrace,cap_dac_read_search");
    let dump = with_copy(place, &copy, &["dump"], target.pid());
    assert!(!dump.ok().contains(hidden), "{}", dump.stdout);
}

#[test]
fn an_interpreter_in_a_private_folder_is_not_called_deleted() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::make(&["3.11", "3.12", "3.13", "3.10", "3.9", "3.8"]);
    let private = place.folder.path().join("private");
    let Some(home) = &place.home else { not_measured("the Python here is not one that can be copied") };
    fs::rename(home, &private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(private.join("bin").join(place.python.file_name().unwrap()));
    command.arg(place.script("fight.py")).arg("600");
    command.env("PYTHONHOME", &private).env("LD_LIBRARY_PATH", private.join("lib"));
    let mut target = Proc::start(command);
    target.wait_for("READY");
    let done = with_copy(&place, &capable(&place, "cap_sys_ptrace"), &["dump"], target.pid());
    // One that finds the interpreter without its files does not need them.
    if done.code != 0 {
        assert!(done.failed().contains("may not open it") && !done.stderr.contains("deleted"), "{}", done.stderr);
        assert!(done.stderr.contains("cap_dac_read_search"), "{}", done.stderr);
    }
    let copy = capable(&place, "cap_sys_ptrace,cap_dac_read_search");
    with_copy(&place, &copy, &["dump"], target.pid()).ok();
}
