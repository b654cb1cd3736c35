//! `gilscope check` and `gilscope diff`: what breaks rules fails, and two runs of one program are alike.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{self, Done, Python, folder, gilscope, need_root, run};

/// Records two threads that hold a lock for a time in milliseconds, and then pause.
fn recorded(folder: &Path, name: &str, held_ms: &str) -> PathBuf {
    let out = folder.join(name);
    let program = Python::usual().script("gated.py", &["2.5", held_ms, "10"]);
    run(support::recording(&out, &[], &program)).ok();
    out
}

fn check(files: &[&Path], options: &[&str]) -> Done {
    let mut command = gilscope(["check"]);
    command.args(files).args(options);
    run(command)
}

#[track_caller]
fn code(done: &Done, code: i32) -> &str {
    assert_eq!(done.code, code, "{}{}", done.stdout, done.stderr);
    &done.stdout
}

#[test]
fn a_fight_breaks_a_limit_a_quiet_program_keeps_it_and_two_runs_are_alike() {
    let folder = folder();
    let fights = ["a.gscope", "b.gscope"].map(|name| recorded(folder.path(), name, "25"));
    let quiet = recorded(folder.path(), "quiet.gscope", "0");
    let limits = ["--max-lock-wait", "5%", "--max-gil-wait", "90%", "--thread", "server-*"];
    let failed = check(&[&fights[0]], &limits);
    let text = code(&failed, 3).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("FAIL --max-lock-wait 5%") && text.contains("points too much"), "{text}");
    assert!(text.contains("pass --max-gil-wait 90%") && text.contains("2 rules: 1 failed"), "{text}");
    code(&check(&[&quiet], &limits), 0);

    let [one, other] = [&*fights[0], &*fights[1]];
    for (new, old) in [(one, other), (other, one), (&quiet, &quiet)] {
        code(&check(&[new], &["--baseline", old.to_str().unwrap()]), 0);
    }
    let worse = check(&[one], &["--baseline", quiet.to_str().unwrap(), "--json"]);
    let result: Value = serde_json::from_str(code(&worse, 3)).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../docs/check.schema.json")).unwrap();
    assert!(jsonschema::is_valid(&schema, &result), "{result:#}");
    let failed = result["rules"].as_array().unwrap().iter().find(|rule| rule["status"] == "failed").unwrap();
    assert_eq!(failed["rule"], "--baseline: lock-wait");

    let diff = |before: &Path, after: &Path| {
        let mut command = gilscope(["diff", "--view", "wall"]);
        command.arg(before).arg(after);
        run(command)
    };
    let alike = diff(one, other);
    assert!(alike.ok().contains("functions: no difference beyond noise"), "{}", alike.stdout);
    assert!(alike.stdout.contains("waits for the GIL and for locks: no difference beyond noise"), "{}", alike.stdout);
    assert!(!alike.stdout.contains("different"), "{}", alike.stdout);
    let changed = diff(&quiet, one);
    assert!(
        changed.ok().contains("waits for locks: ") && changed.stdout.contains("handler (gated.py)"),
        "{}",
        changed.stdout
    );
    assert!(changed.stdout.contains("note: different programs: "), "{}", changed.stdout);
    // Nothing is written that was not asked for.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_long_hold_is_found_where_it_is() {
    need_root();
    let folder = folder();
    let out = folder.path().join("kernel.gscope");
    let program = Python::usual().script("gated.py", &["1.5", "25", "10"]);
    run(support::recording(&out, &["--mode", "kernel"], &program)).ok();
    let failed =
        check(&[&out], &["--max-hold", "handler=5ms", "--max-hold", "10s", "--max-hold", "nosuch=1ms", "--json"]);
    let result: Value = serde_json::from_str(code(&failed, 3)).unwrap();
    let rules = result["rules"].as_array().unwrap();
    let statuses: Vec<&str> = rules.iter().map(|rule| rule["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["failed", "passed", "passed"], "{result:#}");
    assert!(rules[0]["value"].as_f64().unwrap() > 0.01, "{result:#}");
    let place = format!("in handler (gated.py:{})", support::lines_of("gated.py", "time.sleep(held)")[0]);
    let with = format!("in handler (gated.py:{})", support::lines_of("gated.py", "with lock:")[0]);
    let sentence = rules[0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("gated.lock") && (sentence.contains(&place) || sentence.contains(&with)), "{sentence}");
    assert!(rules[2]["sentence"].as_str().unwrap().contains("no function of this name"), "{result:#}");
}

#[test]
fn a_recording_is_checked_in_one_go_and_the_results_are_files() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("rules.toml"), "max-lock-wait = \"5%\"\nthread = [\"server-*\"]\n").unwrap();
    fs::write(path("wrong.toml"), "max-lock-weight = \"5%\"\n").unwrap();
    let record = |rules: &str, held_ms: &str, out: &str| {
        let program = Python::usual().script("gated.py", &["1.5", held_ms, "10"]);
        let rules = path(rules);
        run(support::recording(&path(out), &["--check", rules.to_str().unwrap()], &program))
    };
    let failed = record("rules.toml", "25", "fight.gscope");
    assert_eq!(failed.code, 3, "{}", failed.stderr);
    assert!(failed.stderr.contains("FAIL  --max-lock-wait 5%"), "{}", failed.stderr);
    assert_eq!(record("rules.toml", "0", "quiet.gscope").code, 0);
    // Known before anything is run.
    assert!(record("wrong.toml", "0", "x.gscope").failed().contains("max-lock-weight"));
    assert!(record("rules.toml", "0", "x.svg").failed().contains("--check needs a recording"));
    assert!(!path("x.gscope").exists() && !path("x.svg").exists());

    let fight = path("fight.gscope");
    let rules = path("rules.toml");
    let options = |format: &'static str| ["--rules", rules.to_str().unwrap(), "--format", format].map(str::to_owned);
    let mut command = gilscope(["check", "-o"]);
    command.arg(path("check.xml")).arg(&fight).args(options("junit"));
    assert!(code(&run(command), 3).contains("FAIL"));
    let mut parse = std::process::Command::new(&Python::usual().words()[0]);
    let script = "import sys, xml.etree.ElementTree as tree\nroot = tree.parse(sys.argv[1]).getroot()\n\
                  print(root.tag, root.get('failures'), len(root.findall('.//testcase/failure')))";
    parse.args(["-c", script]).arg(path("check.xml"));
    assert_eq!(run(parse).ok(), "testsuites 1 1\n");
    let mut command = gilscope(["check"]);
    command.arg(&fight).args(options("markdown"));
    assert!(code(&run(command), 3).contains("| **fail** | `--max-lock-wait 5%` |"));
}

#[test]
fn what_cannot_be_checked_says_why() {
    let folder = folder();
    let report = folder.path().join("x.report.json");
    fs::write(&report, "{}").unwrap();
    let limits = ["--max-gil-wait", "5%"];
    assert!(check(&[&report], &limits).failed().contains("is no recording"));
    assert!(check(&[&folder.path().join("missing.gscope")], &limits).failed().contains("missing.gscope"));
    for wrong in [&[][..], &["--max-gil-wait", "5"], &["--max-pause", "5%"], &["--max-hold", "f=5%"]] {
        assert_eq!(check(&[&report], wrong).code, 2, "{wrong:?}");
    }
}
