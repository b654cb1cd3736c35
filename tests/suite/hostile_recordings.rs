//! Files that nobody would write by accident: reading one neither takes long nor much memory, and what has no end is refused.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{folder, gilscope, run};

/// What is enough by far for a small file: seconds of CPU time, and bytes of address space.
const MAX_CPU: u64 = 60;
const MAX_MEMORY: u64 = 600 << 20;

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn numbers(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|&value| number(&mut out, value));
    out
}

fn text(words: &str) -> Vec<u8> {
    [numbers(&[words.len() as u64]), words.as_bytes().to_vec()].concat()
}

fn block(records: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(records).unwrap();
    let packed = encoder.finish().unwrap();
    let mut sum = flate2::Crc::new();
    sum.update(&packed);
    let words = [packed.len() as u32, records.len() as u32, sum.sum()];
    words.iter().flat_map(|word| word.to_le_bytes()).chain(packed).collect()
}

/// A recording that begins as all do, and goes on with blocks.
fn write(path: &Path, blocks: &[Vec<u8>]) {
    let origin = [vec![0], text("0.1.0"), text("boot"), numbers(&[0, 0])].concat();
    let process = [numbers(&[4, 1234, 1]), text("app.py"), text("3.12.1"), vec![0]].concat();
    let session = [vec![13, 1], 100_f64.to_le_bytes().to_vec(), numbers(&[0, 10_u64.pow(17), 1, 1, 0, 0, 0, 1])];
    let thread = numbers(&[5, 0, 0, 1]);
    let first = [origin, process, session.concat(), thread].concat();
    let mut file = b"\x93gscope\n\x03\0\0\0".to_vec();
    file.extend(block(&first));
    blocks.iter().for_each(|records| file.extend(block(records)));
    fs::write(path, file).unwrap();
}

/// Limits what a command may take: it is ended if that is not enough.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    let limits = format!("ulimit -t {MAX_CPU} && ulimit -v {} && exec \"$@\"", MAX_MEMORY >> 10);
    limited.args(["-c", &limits, "sh"]).arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn small_recordings_take_little_time_and_memory() {
    const BLOCK: usize = 15 << 20;
    let repeated = |record: &[u8]| record.repeat(BLOCK / record.len());
    let gil = numbers(&[8, 0, 0, 0, 0, 1, 5_000_000, 0]);
    let wait = [gil, numbers(&[17, 0, 4, 0, 0b10000, 0, 0])].concat();
    let dead = [numbers(&[22, 2, 5 << 20]), numbers(&[0, 0]).repeat(5 << 20)].concat();
    let long = 2 * (10_u64.pow(15) - 10);
    let cases = [
        ("threads", vec![repeated(&numbers(&[5, 0, 0, 1]))]),
        ("circle", vec![dead]),
        ("words", vec![[numbers(&[29, 0, 8 << 20]), vec![0; 8 << 20]].concat()]),
        ("ends", (0..20).map(|_| repeated(&[15])).collect()),
        ("waits", vec![wait.clone(), repeated(&numbers(&[32, 200, 1000, 2]))]),
        (
            "waits, the last first",
            vec![[wait.clone(), numbers(&[32, 1 << 50, 9, 0])].concat(), {
                repeated(&numbers(&[32, 4021, 1000, 2]))
            }],
        ),
        (
            "long waits",
            vec![[wait, numbers(&[32, 1 << 51, 9, 0])].concat(), {
                numbers(&[32, long - 1, 10_u64.pow(15), 2]).repeat(2000)
            }],
        ),
    ];
    let folder = folder();
    for (name, blocks) in cases {
        let path = folder.path().join("hostile.gscope");
        write(&path, &blocks);
        let mut command = gilscope(["report"]);
        command.arg(&path);
        let done = run(limited(&command));
        assert_eq!(done.code, 0, "{name}: {}", done.stderr);
    }
}

#[test]
fn what_has_no_end_is_refused() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let out = folder.path().join("out.svg");
    for (path, words) in [(Path::new("/dev/zero"), "a device"), (&pipe, "a pipe")] {
        for command in ["report", "export", "diff"] {
            let mut command = gilscope([command]);
            command.arg(path);
            if command.get_args().next().is_some_and(|word| word == "diff") {
                command.arg(path);
            }
            if command.get_args().next().is_none_or(|word| word != "report") {
                command.arg("-o").arg(&out);
            }
            let done = run(limited(&command));
            assert!(done.failed().contains(words), "{}", done.stderr);
        }
    }
}
