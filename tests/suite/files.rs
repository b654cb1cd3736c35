//! The files that gilscope makes: for their owner alone, whole or not there, and never in place of what was there before
//! they are whole.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{
    Done, GILSCOPE, Proc, Python, Words, folder, gilscope, need_root, not_measured, recording, run, until,
};

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o7777
}

/// A short recording.
fn recorded(file: &Path) -> Done {
    let program = Words::of([Python::usual().words(), vec!["-c".into(), "sum(range(6_000_000))".into()]].concat());
    let done = run(recording(file, &[], &program));
    done.ok();
    done
}

fn shell(script: &str, arguments: &[&Path]) -> Done {
    let mut command = Command::new("sh");
    command.args(["-c", script, GILSCOPE]).args(arguments);
    run(command)
}

#[test]
fn a_recording_replaces_an_older_one_when_it_is_complete() {
    let folder = folder();
    let out = folder.path().join("out.gscope");
    recorded(&out);
    assert_eq!(mode(&out), 0o600);
    let old = fs::read(&out).unwrap();
    let target = Python::usual().start("spin.py", &["120"]);
    let pid = target.pid().to_string();
    let start = |seconds: &str| {
        let mut record = gilscope(["record", "-d", seconds, "--pid", &pid, "-o"]);
        record.arg(&out);
        Proc::start(record)
    };
    let first = start("60");
    first.wait_for_stderr("until then it is in");
    let part = names(folder.path()).into_iter().find(|name| name.ends_with(".part")).unwrap();
    let part = folder.path().join(part);
    let report = || {
        let mut report = gilscope(["report"]);
        report.arg(&part);
        run(report)
    };
    until("a part of the recording", || (report().code == 0).then_some(()));
    assert_eq!(mode(&part), 0o600);
    let second = start("1").finish();
    assert!(second.failed().contains("another gilscope is writing to"), "{}", second.stderr);
    first.signal(Signal::SIGKILL);
    first.finish();
    assert_eq!(fs::read(&out).unwrap(), old, "it is as it was");
    assert!(report().ok().contains("cut off"), "what was recorded until then can be read");
    fs::remove_file(&part).unwrap();
    start("1").finish().ok();
    assert_ne!(fs::read(&out).unwrap(), old);
    assert_eq!((names(folder.path()), mode(&out)), (vec!["out.gscope".to_owned()], 0o600));
}

#[test]
fn files_are_for_their_owner_whatever_the_umask_and_links_are_not_followed() {
    let (folder, elsewhere) = (folder(), folder());
    let file = folder.path().join("a.gscope");
    recorded(&file);
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "victim").unwrap();
    for name in ["out.svg", "out.html", "out.gscope"] {
        symlink(&victim, folder.path().join(name)).unwrap();
        let out = folder.path().join(name);
        shell("umask 0; \"$0\" export \"$1\" -o \"$2\"", &[&file, &out]).ok();
        assert!(fs::symlink_metadata(&out).unwrap().is_file(), "{name}");
        assert_eq!(mode(&out), 0o600, "{name}");
    }
    assert_eq!(fs::read(&victim).unwrap(), b"victim");
}

#[test]
fn with_sudo_a_file_belongs_to_the_user_whose_folder_it_is_in() {
    need_root();
    let (theirs, ours) = (folder(), folder());
    let file = ours.path().join("a.gscope");
    recorded(&file);
    let nobody = 65534;
    chown(theirs.path(), Some(nobody), Some(nobody)).unwrap();
    for (folder, owner) in [(&theirs, nobody), (&ours, 0)] {
        let out = folder.path().join("x.svg");
        let mut export = gilscope(["export", "-o"]);
        export.arg(&out).arg(&file).env("SUDO_UID", nobody.to_string()).env("SUDO_GID", nobody.to_string());
        run(export).ok();
        assert_eq!((fs::metadata(&out).unwrap().uid(), mode(&out)), (owner, 0o600));
    }
}

#[test]
fn an_input_is_never_written_over() {
    let folder = folder();
    let [a, b, hard, soft] =
        ["a.gscope", "b.gscope", "hard.gscope", "soft.gscope"].map(|name| folder.path().join(name));
    recorded(&a);
    fs::copy(&a, &b).unwrap();
    fs::hard_link(&a, &hard).unwrap();
    symlink(&a, &soft).unwrap();
    let before = fs::read(&a).unwrap();
    let same = folder.path().join("./a.gscope");
    for out in [&a, &hard, &soft, &same] {
        for script in [
            "\"$0\" merge \"$1\" \"$2\" -o \"$3\"",
            "\"$0\" merge \"$2\" \"$1\" -o \"$3\"",
            "\"$0\" export \"$1\" -o \"$3\"",
            "\"$0\" diff \"$1\" \"$2\" -o \"$3\"",
        ] {
            let done = shell(script, &[&a, &b, out]);
            assert!(done.failed().contains("would be written over"), "{script} {out:?}: {}", done.stderr);
        }
    }
    assert_eq!(fs::read(&a).unwrap(), before);
    assert_eq!(names(folder.path()), ["a.gscope", "b.gscope", "hard.gscope", "soft.gscope"]);
}

/// What is done on a full disk: all of `$1` fits in, and nothing else.
const FULL: &str = r#"
set -e
mount -t tmpfs -o size=192k none "$2" || { echo "no mount"; exit 0; }
cp "$1" "$2/a.gscope"; cp "$1" "$2/b.gscope"
echo old > "$2/out.html"; echo old > "$2/out.gscope"; echo old > "$2/out.svg"
dd if=/dev/zero of="$2/ballast" bs=1k 2>/dev/null || true
cd "$2"
for words in "export a.gscope -o out.html" "merge a.gscope b.gscope -o out.gscope" "export a.gscope -o out.svg --view wall" \
    "merge a.gscope b.gscope -o a.gscope" "diff a.gscope b.gscope -o out.svg --view wall"
do
    "$0" $words && echo "$words succeeded"
done
cmp "$1" a.gscope && cmp "$1" b.gscope
cat out.html out.gscope out.svg
ls
"#;

#[test]
fn a_full_disk_costs_no_file() {
    let folder = folder();
    let file = folder.path().join("a.gscope");
    recorded(&file);
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", FULL, GILSCOPE]).args([&file, &disk]).env("HOME", "/nonexistent");
    let done = run(command);
    if done.code != 0 && done.stdout.is_empty() || done.stdout.starts_with("no mount") {
        not_measured("nothing can be mounted");
    }
    assert_eq!(
        done.stdout, "old\nold\nold\na.gscope\nb.gscope\nballast\nout.gscope\nout.html\nout.svg\n",
        "{}",
        done.stderr
    );
    for part in [
        "out.html, which is as it was",
        "out.gscope: nothing was written, and it is as it was",
        "would be written over",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_end() {
    let folder = folder();
    let file = folder.path().join("a.gscope");
    recorded(&file);
    let out = |name: &str| folder.path().join(name);
    for name in ["out.html", "out.report.json"] {
        // In blocks of 512 bytes.
        let done = shell("ulimit -f 4; exec \"$0\" export \"$1\" -o \"$2\"", &[&file, &out(name)]);
        assert!(done.failed().contains("ulimit -f"), "{name}: {}", done.stderr);
    }
    let done = shell("ulimit -f 2; exec \"$0\" report --json \"$1\" > \"$2\"", &[&file, &out("report")]);
    assert_eq!(done.code, 1, "{}", done.stderr);
    let program = "import time; end = time.time() + 1.5\nwhile time.time() < end: pass";
    let script = format!(
        "ulimit -f 1; exec \"$0\" record -r 2000 -o \"$1\" -- {} -c \"$2\"",
        Python::usual().words().join(" ")
    );
    let done = shell(&script, &[&out("live.gscope"), Path::new(program)]);
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(
        done.stderr.contains("shows what it has") || done.stderr.contains("nothing was written"),
        "{}",
        done.stderr
    );
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("out.")), "{:?}", names(folder.path()));
}

#[test]
fn pipes_and_devices_are_written_to() {
    let folder = folder();
    let file = folder.path().join("a.gscope");
    recorded(&file);
    let fifo = folder.path().join("fifo");
    let script = "mkfifo \"$2\"; \"$0\" export \"$1\" -f svg -q -o \"$2\" & cat \"$2\"; wait $!";
    assert!(shell(script, &[&file, &fifo]).ok().contains("<svg"));
    for place in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let file_out = folder.path().join("redirected");
        let script = "\"$0\" export \"$1\" -f svg -q -o \"$2\" > \"$3\"";
        shell(script, &[&file, Path::new(place), &file_out]).ok();
        assert!(fs::read_to_string(&file_out).unwrap().contains("<svg"), "{place}");
    }
    assert!(fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
    shell("\"$0\" export \"$1\" -f svg -o /dev/null", &[&file]).ok();
    let done = shell("\"$0\" export \"$1\" -f svg -o \"$2\"", &[&file, folder.path()]);
    assert!(done.failed().contains("is a folder"), "{}", done.stderr);
}

#[test]
fn what_a_program_prints_goes_to_the_folder_of_its_user() {
    let (home, temporary) = (folder(), folder());
    let program = Python::usual().words();
    let mut command = gilscope(["top", "-b", "-n", "1", "-i", "0.3", "--"]);
    command.args(&program).args(["-c", "print('hello', flush=True)\nimport time; time.sleep(3)"]);
    command.env("HOME", home.path()).env("TMPDIR", temporary.path()).env_remove("XDG_STATE_HOME");
    let done = run(command);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let state: PathBuf = home.path().join(".local/state/gilscope");
    let [log] = <[String; 1]>::try_from(names(&state)).unwrap();
    assert!(done.stderr.contains(&log) && log.starts_with("gilscope-python"), "{log}: {}", done.stderr);
    let log = state.join(log);
    assert_eq!(fs::read(&log).unwrap(), b"hello\n");
    assert_eq!((mode(&log), mode(&state)), (0o600, 0o700));
    assert!(names(temporary.path()).is_empty(), "not where everyone can plant links");
}
