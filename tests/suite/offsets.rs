//! The tables of offsets that gilscope has are those that the headers of every interpreter here give, and each interpreter is read
//! with its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use gilscope::cpython::attach::attach;
use gilscope::cpython::offsets::of_release;
use gilscope::event::version::Version;

use crate::support::{Python, not_measured_in_part, say};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cpython/offsets")
}

/// Whether the interpreter can be traced by perf (`PY_HAVE_PERF_TRAMPOLINE`), as all are that the tables were made of. Where the
/// runtime has locks depends on it, and where it cannot they are taken for unknown.
fn has_perf(include: &Path) -> bool {
    let is_on = |path: PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("\n#define PY_HAVE_PERF_TRAMPOLINE 1"))
    };
    let of_debian = include.parent().unwrap().join("x86_64-linux-gnu").join(include.file_name().unwrap());
    is_on(include.join("pyconfig.h")) || is_on(of_debian.join("pyconfig.h"))
}

/// A table without what it says of where it is from, and perhaps without what it says of the runtime.
fn table(text: &str, runtime: bool) -> Vec<&str> {
    let mut in_runtime = false;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("//")).collect();
    lines.retain(|line| {
        in_runtime = if line.starts_with("    runtime") { true } else { in_runtime && line.starts_with("        ") };
        runtime || !in_runtime
    });
    lines
}

fn committed(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap()
}

/// What the headers in a folder give. That a build has a JIT compiler they do not say.
fn generated(include: &Path, free_threaded: bool, jit: bool) -> String {
    let mut generate = Command::new(folder().join("generate"));
    generate.arg(include).args(free_threaded.then_some("--free-threaded")).args(jit.then_some("--jit"));
    let output = generate.output().unwrap();
    assert!(output.status.success(), "{generate:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_same(generated: &str, file: &str, include: &Path) {
    let minor = file.split('_').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
    let runtime = minor < 13 || has_perf(include);
    let committed = committed(file);
    let (generated, committed) = (table(generated, runtime), table(&committed, runtime));
    let different = generated.iter().zip(&committed).find(|(here, there)| here != there);
    assert!(
        generated == committed,
        "{file} is not what the headers in {} give; the first difference: {different:?}",
        include.display()
    );
}

/// `3.13.5`, `3.15.0rc1+`.
fn release(version: &str) -> Version {
    let mut parts = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().unwrap_or(0)
    });
    let mut next = || parts.next().unwrap_or(0);
    Version { major: next(), minor: next(), patch: next() }
}

/// Interpreters that can be read, with the folders of their headers: `None` if these are not installed.
fn interpreters() -> Vec<(&'static Python, Option<PathBuf>)> {
    let readable = Python::everyone().iter().filter(|python| {
        let version = release(&python.version);
        python.label != "pypy" && version.may_be_read()
    });
    readable.map(|python| (python, python.include())).collect()
}

#[test]
fn every_interpreter_is_read_with_the_table_that_its_headers_give() {
    let mut compared = 0;
    for (python, include) in interpreters() {
        let target = python.start_code("import time; print('READY'); time.sleep(60)");
        let layout = attach(target.pid()).unwrap().layout;
        let name = format!("Python {}{}", python.version, if python.is_free_threaded() { "t" } else { "" });
        if layout.version.is_newer() {
            assert_eq!(layout.table, None, "{name}");
            say(&format!("{name} is newer than all tables of offsets: it is read without one"));
            continue;
        }
        let file = layout.table.unwrap_or_else(|| panic!("no table says what {name} says of itself"));
        match include {
            Some(include) => {
                let jit = file.ends_with("j.rs");
                assert_same(&generated(&include, python.is_free_threaded(), jit), file, &include);
                compared += 1;
            }
            None => not_measured_in_part(&format!("{name} has no headers to compare {file} with")),
        }
    }
    assert!(compared > 0, "no interpreter has its headers");
}

/// The headers of a standard build say how the free-threaded one of that release is laid out, too.
#[test]
fn headers_give_the_table_of_the_free_threaded_build_as_well() {
    let standard =
        interpreters().into_iter().filter(|(python, _)| python.minor() >= 13 && !python.is_free_threaded());
    for (python, include) in standard.filter_map(|(python, include)| Some((python, include?))) {
        let version = release(&python.version);
        // Pre-releases have the number of the release that they come before.
        if version.is_newer() || python.version.contains(['a', 'b', 'r']) {
            continue;
        }
        let build = of_release(version, true).unwrap_or_else(|| panic!("no table for {version}t"));
        assert_same(&generated(&include, true, false), build.file, &include);
    }
}
