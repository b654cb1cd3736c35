//! `gilscope report`: what was saved comes back, and what is no report is recognized.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{self, Done, MODES, Python, folder, gilscope, run};

fn report(file: &Path, options: &[&str]) -> Done {
    let mut command = gilscope(["report"]);
    command.args(options).arg(file);
    run(command)
}

/// A report of `stall.py`, and what was printed as it was recorded.
fn recorded(folder: &Path, mode: &str) -> (PathBuf, Done) {
    let out = folder.join(format!("{mode}.report.json"));
    let program = Python::usual().script("stall.py", &["1"]);
    let done = run(support::recording(&out, &["--mode", mode], &program));
    done.ok();
    (out, done)
}

#[test]
fn a_report_that_was_saved_is_printed_as_it_was_when_it_was_recorded() {
    let folder = folder();
    for mode in MODES {
        let (file, done) = recorded(folder.path(), mode);
        let text = report(&file, &[]);
        assert_eq!(text.stderr, "");
        let from = done.stderr.find("\nBiggest cost").unwrap_or_else(|| panic!("{}", done.stderr));
        let to = done.stderr.find("\nTables of ").unwrap_or_else(|| panic!("{}", done.stderr));
        let answer = &done.stderr[from..to];
        assert!(text.ok().contains(answer), "{}\ninstead of\n{answer}", text.stdout);
        assert!(text.stdout.contains("stall.py") && text.stdout.contains(&format!("{mode} mode")), "{}", text.stdout);

        let json = report(&file, &["--json"]);
        let (back, saved): (Value, Value) = (
            serde_json::from_str(json.ok()).unwrap(),
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap(),
        );
        assert_eq!(back, saved);
        assert_eq!(back["schema"], "gilscope-report/1");
        // And what was printed can be read again.
        let again = folder.path().join("again.report.json");
        fs::write(&again, &json.stdout).unwrap();
        assert_eq!(report(&again, &[]).ok(), text.stdout);
        for blame in ["holder", "releaser", "waiter"] {
            assert!(report(&file, &["--blame", blame]).ok().contains("stall.py"));
        }
        assert_eq!(report(&file, &["--blame", "holder"]).ok(), text.stdout);
    }
}

#[test]
fn what_is_no_report_says_so_and_what_to_do() {
    let folder = folder();
    let (good, _) = recorded(folder.path(), "memory");
    let text = fs::read_to_string(&good).unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let missing = folder.path().join("missing.report.json");
    let cases = [
        (missing, "No such file"),
        (folder.path().to_owned(), "directory"),
        (file("empty", ""), "neither a recording nor a report"),
        (file("folded", "main;work 12\n"), "-o NAME.report.json"),
        (file("trace", "[\n{\"ph\": \"M\"}\n]\n"), "neither a recording nor a report"),
        (file("other", "{\"schema\": \"speedscope\"}"), "no report"),
        (file("half", &text[..text.len() / 2]), "cut off"),
        (file("newer", &text.replace("gilscope-report/1", "gilscope-report/9")), "update gilscope"),
        (file("damaged", "{\"schema\": \"gilscope-report/1\"}"), "damaged"),
    ];
    for (path, part) in cases {
        for options in [&[][..], &["--json"]] {
            let done = report(&path, options);
            let complaint = done.failed();
            assert!(complaint.contains(part) && complaint.contains(path.to_str().unwrap()), "{part}: {complaint}");
            assert_eq!(done.stdout, "");
        }
    }
}
