//! What people install beside the program: the Python package, completions, and what keeps packages in step. The packages
//! themselves are tried by tests/packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Done, GILSCOPE, Python, Words, executable, folder, gilscope, not_measured, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The oldest and the newest Python that need no chroot.
fn oldest_and_newest() -> Vec<&'static Path> {
    let found = (8..=15).flat_map(|minor| Python::found(&format!("3.{minor}")));
    let all: Vec<&Path> = found.filter_map(Python::exe).collect();
    all.first().into_iter().chain(all.last()).copied().collect()
}

/// A folder as `pip install --target` makes it, with a program `app.py` beside it.
fn packages() -> tempfile::TempDir {
    let folder = folder();
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(GILSCOPE, folder.path().join("bin/gilscope")).unwrap();
    symlink(root().join("python/gilscope"), folder.path().join("gilscope")).unwrap();
    fs::write(folder.path().join("app.py"), "import sys; print(sys.executable); sum(range(3_000_000))").unwrap();
    folder
}

/// `python -m gilscope` with the package from that folder.
fn module(python: &Path, packages: &Path, arguments: &[&str]) -> Done {
    let mut words = vec![python.display().to_string(), "-m".to_owned(), "gilscope".to_owned()];
    words.extend(arguments.iter().map(|&word| word.to_owned()));
    let mut command = Words::of(words).command();
    command.current_dir(packages).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PATH", "/usr/bin:/bin").env_remove("VIRTUAL_ENV").env_remove("RUST_LOG");
    run(command)
}

#[test]
fn the_module_runs_scripts_with_the_interpreter_that_runs_it() {
    let pythons = oldest_and_newest();
    if pythons.is_empty() {
        not_measured("no Python outside a root folder");
    }
    for python in pythons {
        let packages = packages();
        assert_eq!(
            module(python, packages.path(), &["--version"]).ok(),
            format!("gilscope {}\n", env!("CARGO_PKG_VERSION"))
        );
        for command in [&["app.py"][..], &["--", "-m", "app"]] {
            let record = [&["record", "-q", "--mode", "memory", "-o", "app.gscope"], command].concat();
            let done = module(python, packages.path(), &record);
            let ran_with = PathBuf::from(done.ok().trim_end());
            assert_eq!(ran_with.canonicalize().unwrap(), python.canonicalize().unwrap(), "{command:?}");
        }
        fs::remove_file(packages.path().join("bin/gilscope")).unwrap();
        let done = module(python, packages.path(), &["--version"]);
        assert!(done.code == 1 && done.failed().contains("Install it again"), "{}", done.stderr);
    }
}

#[test]
fn a_script_needs_no_interpreter_before_it() {
    let packages = packages();
    let path = |name: &str| packages.path().join(name);
    fs::create_dir_all(path("venv/bin")).unwrap();
    executable(&path("venv/bin/python"), "#!/bin/sh\necho environment \"$@\"\n");
    executable(&path("own.py"), "#!/bin/sh\necho own\n");
    let output = |script: &str| {
        let mut command = gilscope(["record", "-q", "--mode", "memory", "-o", "x.gscope", script, "1"]);
        command.current_dir(packages.path()).env("VIRTUAL_ENV", path("venv"));
        // What runs is no Python.
        run(command).stdout
    };
    assert_eq!(output("app.py"), "environment app.py 1\n");
    assert_eq!(output("./own.py"), "own\n");
}

/// What bash offers for a line whose last word is unfinished.
fn completed_by_bash(words: &[&str]) -> Vec<String> {
    let script = r#"
        source <("$1" completions bash)
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        function=$(complete -p gilscope | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" gilscope "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash", GILSCOPE]).args(words);
    run(command).ok().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_process_ids() {
    assert_eq!(completed_by_bash(&["gilscope", "rec"]), ["record"]);
    assert!(completed_by_bash(&["gilscope", "report", "--fr"]).contains(&"--from".to_owned()));
    assert!(completed_by_bash(&["gilscope", "record", "--view", "gil-w"]).contains(&"gil-wait".to_owned()));
    let target = Python::usual().start_code("print('READY', flush=True); input()");
    let pids = completed_by_bash(&["gilscope", "dump", "--pid", ""]);
    assert!(pids.contains(&target.pid().to_string()), "{pids:?}");
}

#[test]
fn other_shells_accept_their_scripts() {
    let folder = folder();
    for (shell, arguments) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = folder.path().join(shell);
        fs::write(&script, run(gilscope(["completions", shell])).ok()).unwrap();
        let checked = Command::new(shell).arg(arguments).arg(&script).output();
        // Neither is needed for anything else, so they need not be there.
        assert!(
            checked.is_ok_and(|output| output.status.success())
                || Command::new(shell).arg("-c").arg(":").status().is_err()
        );
    }
}

#[test]
fn what_is_packed_has_all_that_packages_need() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["package", "--list", "--offline", "--allow-dirty"]).current_dir(root());
    let listed = run(command);
    let listed: Vec<&str> = listed.ok().lines().collect();
    for file in [
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "pyproject.toml",
        "python/gilscope/__main__.py",
        "src/kernel/bpf/gilscope.bpf.o",
    ] {
        assert!(listed.contains(&file), "{file} is not packed");
    }
}

/// The value of `key = "value"` in TOML.
fn value<'t>(toml: &'t str, key: &str) -> &'t str {
    let start = format!("{key} = \"");
    let line = toml.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn versions_and_descriptions_are_in_step() {
    let (cargo, python, changelog) = (read("Cargo.toml"), read("pyproject.toml"), read("CHANGELOG.md"));
    assert!(python.contains("\ndynamic = [\"version\"]\n"), "the version is that of Cargo.toml");
    for key in ["name", "description", "license", "readme"] {
        assert_eq!(value(&cargo, key), value(&python, key), "{key}");
    }
    let mut headings = changelog.lines().filter_map(|line| line.strip_prefix("## ["));
    assert_eq!(headings.next(), Some("Unreleased]"));
    // The first release has none before it.
    if let Some(newest) = headings.next() {
        assert!(newest.starts_with(&format!("{}] - ", env!("CARGO_PKG_VERSION"))), "{newest}: Cargo.toml differs");
    }
    for file in ["release/build", "tests/packages"] {
        assert!(read(".github/workflows/release.yml").contains(file), "the workflow does without {file}");
    }
}
