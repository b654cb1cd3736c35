//! Programs whose files and maps are made to cost whoever looks at them a lot: gilscope reads no more than its limits, and says
//! what it has not read.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::{Done, GILSCOPE, Proc, folder, run, targets};

/// Memory that gilscope may have, in KiB: it has many shared libraries and threads, but nowhere near what the files claim.
const MEMORY_KIB: u64 = 1 << 20;

/// A program that maps files.
fn mapper(folder: &Path) -> PathBuf {
    let program = folder.join("mapper");
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(targets().join("mapper.c"));
    run(compiler).ok();
    program
}

fn mapping(folder: &Path, file: &Path, times: u32) -> Proc {
    let mut command = Command::new(mapper(folder));
    command.arg(file).arg(times.to_string());
    let mut process = Proc::start(command);
    process.wait_for("READY");
    process
}

/// A library for x86-64 with one segment whose table of names claims this many bytes, of which the file has none.
fn sparse_library(path: &Path, claimed: u64) {
    let (sections, symbols, names) = (0x1000_u64, 0x3000_u64, 0x4000_u64);
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    let halves = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let longs = |values: &[u64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    header.extend(halves(&[3, 62, 1, 0]));
    header.extend(longs(&[0, 64, sections]));
    header.extend(halves(&[0, 0, 64, 56, 1, 64, 3, 2]));
    header.extend(longs(&[1 | 5 << 32, 0, 0, 0, 0x1000, 0x1000, 0x1000]));
    let section = |kind: u64, at: u64, len: u64, link: u64| longs(&[kind << 32, 0, 0, at, len, link, 0, 24]);
    let table = [section(0, 0, 0, 0), section(11, symbols, 24 * 50, 2), section(3, names, claimed, 0)].concat();
    let file = File::create(path).unwrap();
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&table, sections).unwrap();
    file.set_len(names + claimed + 0x1000).unwrap();
}

/// gilscope's answer about a process, given in time and with limited memory.
#[track_caller]
fn dumped(pid: i32) -> Done {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" dump --pid {pid}"), GILSCOPE]);
    let started = Instant::now();
    let done = run(command);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    done
}

#[test]
fn tables_that_are_only_claimed_cost_nothing_and_are_said_to_be() {
    let folder = folder();
    let library = folder.path().join("libpython3.99.so");
    for claimed in [3 << 30, 40 << 20] {
        sparse_library(&library, claimed);
        let target = mapping(folder.path(), &library, 1);
        let done = dumped(target.pid());
        let said = done.failed();
        assert!(said.contains("libpython3.99.so") && said.contains(&format!("claims {claimed} bytes")), "{said}");
    }
}

#[test]
fn what_lies_in_the_place_of_a_mapped_file_is_not_opened() {
    let folder = folder();
    let library = folder.path().join("libpython3.99.so");
    sparse_library(&library, 0x1000);
    let target = mapping(folder.path(), &library, 1);
    fs::remove_file(&library).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &library, rustix::fs::Mode::RWXU).unwrap();
    // Whoever opens the FIFO to write waits for somebody to read.
    let writer = Proc::start({
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3>\"$0\"; echo somebody reads", &library.display().to_string()]);
        command
    });
    dumped(target.pid()).failed();
    assert!(writer.is_running(), "somebody has opened the FIFO");
}

#[test]
fn as_many_mappings_as_there_can_be_are_read_in_time() {
    let folder = folder();
    let library = folder.path().join("libmany.so");
    sparse_library(&library, 0x1000);
    let target = mapping(folder.path(), &library, 65_000);
    let done = dumped(target.pid());
    assert!(done.failed().contains("does not run Python"), "{}", done.stderr);
    nix::sys::signal::kill(Pid::from_raw(target.pid()), Signal::SIGKILL).unwrap();
}
