//! Names that a terminal, a page or a parser might obey: none of them leaves gilscope as it is, whatever it is asked for.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::support::{GILSCOPE, Proc, Python, Words, folder, gilscope, not_measured, run, targets};

/// For files and arguments, which cannot have all of the names.
const EVIL: &str = "\u{1b}]0;OWNED\u{7}\u{202e}<img src=x>\u{9b}31m\nNEXT";

/// What must not be in any text: a definition of its own, so that one of gilscope's that is too narrow shows.
fn is_forbidden(char: char) -> bool {
    let code = u32::from(char);
    match code {
        0x09 | 0x0a => false,
        0x00..=0x1f | 0x7f..=0x9f => true,
        0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff | 0xfdd0..=0xfdef => true,
        0xe0000..=0xe007f => true,
        _ => code & 0xffff >= 0xfffe,
    }
}

#[track_caller]
fn assert_safe(what: &str, text: &str) {
    let found = text.char_indices().find(|&(_, char)| is_forbidden(char));
    if let Some((at, char)) = found {
        let around: String = text[..at].chars().rev().take(60).collect::<Vec<char>>().into_iter().rev().collect();
        panic!("{what} contains {char:?} after {around:?}");
    }
    let marks = text.chars().fold((0, 0), |(longest, run), char| match char {
        '\u{300}'..='\u{36f}' => (longest.max(run + 1), run + 1),
        _ => (longest, 0),
    });
    // What is exact is exact in JSON.
    assert!(what.ends_with("json") || marks.0 <= 8, "{what} has {} marks on one character", marks.0);
    let longest = text.lines().map(|line| line.matches("gggggggggg").count() * 10).max().unwrap_or(0);
    assert!(what.ends_with("json") || what.ends_with("html") || longest < 2_000, "{what} has a name of {longest}");
}

/// The elements of a page or a drawing are those that gilscope makes.
#[track_caller]
fn assert_no_elements(what: &str, text: &str) {
    assert_safe(what, text);
    for part in ["<img", "onerror=alert(1)>", "<!-->"] {
        assert!(!text.contains(part), "{what} contains {part}");
    }
}

fn evil_path(folder: &Path, end: &str) -> PathBuf {
    folder.join(format!("{EVIL}{end}"))
}

/// A program with all of the names. Its executable and a library have some, too, where they can be copied.
fn target(folder: &Path) -> Proc {
    let python = Python::usual();
    let exe = python.exe().map(|exe| fs::canonicalize(exe).unwrap());
    let copy = exe.as_deref().map(|exe| {
        let copy = evil_path(folder, "python3");
        copy_program(exe, &copy);
        copy
    });
    let home = exe.as_deref().and_then(|exe| exe.parent()?.parent());
    let mut command = Command::new(copy.as_deref().unwrap_or(Path::new("python3")));
    command.env("PYTHONHOME", home.unwrap_or(Path::new(""))).arg(targets().join("hostile_names.py")).arg("90");
    if let Some(library) = home.and_then(|home| find(home, "_random.")) {
        let copy = evil_path(folder, ".so");
        copy_program(&library, &copy);
        command.arg(copy).arg(EVIL);
    }
    let mut target = Proc::start(command);
    target.wait_for("READY");
    target
}

/// Another process copies it: what a test forks meanwhile would keep the copy open for writing, and it could not be run.
fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// An extension module of the standard library.
fn find(home: &Path, start: &str) -> Option<PathBuf> {
    let libraries = fs::read_dir(home.join("lib")).ok()?.flatten().map(|entry| entry.path().join("lib-dynload"));
    let mut modules = libraries.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    modules.find(|entry| entry.file_name().to_string_lossy().starts_with(start)).map(|entry| entry.path())
}

#[test]
fn no_output_obeys_a_name() {
    if Python::usual().exe().is_none() {
        not_measured("the usual Python is none of this root");
    }
    let folder = folder();
    let target = target(folder.path());
    let pid = target.pid().to_string();
    for words in [
        &["dump"][..],
        &["dump", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["top", "-b", "-n", "2", "-i", "0.5"],
    ] {
        let done = run(gilscope(words.iter().chain(&["--pid", &pid])));
        let what = words.join(" ").replace("--json", "json");
        assert_safe(&what, &done.stdout);
        assert_safe(&what, &done.stderr);
        if what.ends_with("json") {
            let parsed = serde_json::from_str::<Value>(&done.stdout);
            parsed.unwrap_or_else(|error| panic!("{what}: {error}: {}", done.stderr));
        } else if what != "doctor" {
            assert!(done.stdout.contains("OWNED"), "{what}: {}", done.stdout);
        }
    }
    let recordings = ["a.gscope", "b.gscope"].map(|name| folder.path().join(name));
    for file in &recordings {
        let mut record = gilscope(["-v", "record", "-d", "2", "--pid", &pid, "-o"]);
        record.arg(file);
        let done = run(record);
        done.ok();
        assert_safe("record", &done.stderr);
    }
    let [file, other] = &recordings;
    exports_are_safe(file, folder.path());
    for words in [&["report"][..], &["report", "--json"]] {
        let done = run(gilscope(words.iter().map(OsStr::new).chain([file.as_os_str()])));
        assert_safe(&words.join(" ").replace("--json", "json"), done.ok());
        assert!(done.stdout.contains("OWNED"));
    }
    for (command, name) in [("report", "out.report.json"), ("diff", "out.collapsed")] {
        let again = folder.path().join(name);
        let mut command = gilscope([command]);
        command.arg(&again).current_dir(folder.path());
        if name == "out.collapsed" {
            command.arg(&again).args(["-o", "again.svg"]);
        }
        let done = run(command);
        done.ok();
        assert_safe("what was saved", &done.stdout);
        assert_safe("what was saved", &done.stderr);
    }
    let diff = folder.path().join("diff.svg");
    let done =
        run(gilscope([OsStr::new("diff"), file.as_os_str(), other.as_os_str(), OsStr::new("-o"), diff.as_os_str()]));
    assert_safe("diff", &done.stderr);
    assert_no_elements("diff.svg", &fs::read_to_string(&diff).unwrap());
    let merged = folder.path().join("merged.gscope");
    let done = run(gilscope([
        OsStr::new("merge"),
        file.as_os_str(),
        other.as_os_str(),
        OsStr::new("-o"),
        merged.as_os_str(),
    ]));
    done.ok();
    assert_safe("merge", &done.stderr);
}

/// Runs its arguments in a terminal, presses keys, and prints what came, in hexadecimal digits.
const IN_TERMINAL: &str = "
import os, pty, select, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM='xterm-256color', LC_ALL='C.UTF-8')
    os.execv(sys.argv[1], sys.argv[1:])
seen, keys, due = b'', list('1234567') + ['\\r', '\\x1b', 'q'], time.monotonic() + 3
while True:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    if keys and time.monotonic() > due:
        os.write(terminal, keys.pop(0).encode())
        due = time.monotonic() + 0.4
os.waitpid(pid, 0)
print(seen.hex())";

#[test]
fn the_screen_obeys_no_name() {
    if Python::usual().exe().is_none() {
        not_measured("the usual Python is none of this root");
    }
    let folder = folder();
    let target = target(folder.path());
    let mut command = Python::usual().words();
    command.extend(["-c", IN_TERMINAL, GILSCOPE, "top", "--mode", "memory", "-i", "0.3", "--pid"].map(str::to_owned));
    command.push(target.pid().to_string());
    let done = run(Words::of(command).command());
    let digits = done.ok().trim();
    let bytes: Vec<u8> =
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("OWNED"), "the names were there: {text:?}");
    // A terminal gets controls, but none of these.
    let found = text.chars().find(|&char| !char.is_ascii() && is_forbidden(char) || char == '\u{7}');
    assert_eq!(found, None);
    assert!(!text.contains("\u{1b}]0;OWNED") && !text.contains("\u{1b}[1;31mALARM"));
}

fn exports_are_safe(file: &Path, folder: &Path) {
    for suffix in
        ["svg", "collapsed", "speedscope.json", "json", "firefox.json", "report.json", "html", "pftrace", "pb.gz"]
    {
        let out = folder.join(format!("out.{suffix}"));
        let view = if suffix == "svg" || suffix == "collapsed" { "lock-wait" } else { "wall" };
        let mut export = gilscope(["export", "--view", view, "-o"]);
        export.arg(&out).arg(file);
        let done = run(export);
        done.ok();
        assert_safe("export", &done.stderr);
        let mut bytes = fs::read(&out).unwrap();
        if suffix == "pb.gz" {
            let mut unpacked = Vec::new();
            GzDecoder::new(&*bytes).read_to_end(&mut unpacked).unwrap();
            bytes = unpacked;
        }
        match suffix {
            "pftrace" | "pb.gz" => {
                for evil in ["\u{1b}]0;OWNED", "\u{1b}[2J", "\u{202e}txt", "zero\u{200b}"] {
                    let found = bytes.windows(evil.len()).any(|window| window == evil.as_bytes());
                    assert!(!found, "{suffix} contains {evil:?}");
                }
            }
            _ => {
                let text = String::from_utf8(bytes).unwrap();
                match suffix {
                    "svg" | "html" => assert_no_elements(suffix, &text),
                    _ => assert_safe(suffix, &text),
                }
                if suffix.ends_with("json") {
                    serde_json::from_str::<Value>(&text).unwrap();
                }
                if suffix == "collapsed" {
                    assert!(
                        text.lines().all(|line| line.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok()))
                    );
                    assert!(text.contains(",semi,colon 99"), "one frame: {text}");
                }
            }
        }
    }
}

#[test]
fn no_error_obeys_a_name() {
    let folder = folder();
    let missing = evil_path(folder.path(), ".gscope");
    let sleep = evil_path(folder.path(), "sleep");
    fs::copy("/bin/sleep", &sleep).unwrap();
    let mut command = Command::new(&sleep);
    command.arg("100");
    let target = Proc::start(command);
    let path = |words: &[&str], path: &Path| {
        let mut command = gilscope(words);
        command.arg(path);
        command
    };
    let pid = target.pid().to_string();
    let mut started = path(&["record", "-d", "1", "-o", "x.gscope", "--"], &sleep);
    started.arg("0.3");
    let words = Path::new(OsStr::from_bytes(b"--evil\x1b]0;OWNED\x07\xff"));
    for command in [
        gilscope(["dump", "--pid", &pid]),
        gilscope(["-vv", "record", "-d", "1", "--pid", &pid]),
        path(&["report"], &missing),
        path(&["export", "-o", "x.svg"], &missing),
        path(&["merge", "-o", "x.gscope"], &missing),
        path(&["diff", "/nonexistent"], &missing),
        path(&["export", "/nonexistent", "-o"], &missing),
        path(&["record", "--"], &missing),
        started,
        path(&["report"], words),
        path(&["report", EVIL], words),
    ] {
        let mut command = command;
        command.current_dir(folder.path());
        let what = format!("{command:?}");
        let done = run(command);
        assert!(done.code == 1 || done.code == 2, "{what}: {} {}", done.code, done.stderr);
        assert_safe(&what, &done.stderr);
        assert!(!done.stderr.lines().any(|line| line.starts_with("NEXT")), "{what}: {}", done.stderr);
        assert_safe(&what, &done.stdout);
    }
}
