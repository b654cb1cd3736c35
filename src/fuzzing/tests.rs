//! Some thousand executions of each decoder, the same each time, with limits of time and memory.

#![allow(unsafe_code)] // An allocator cannot be anything else.

use std::alloc::{GlobalAlloc, System};
use std::cell::Cell;
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::process::elf;
use crate::profile::Mode;
use crate::recording::tests::{complete, records as encoded, session, some_act};

/// Bytes that a decoder may have allocated at one time.
const MAX_ALLOCATED: isize = 256 << 20;
/// The CPU time that it may use for one input, in nanoseconds.
const MAX_NANOS: u64 = 1_000_000_000;
const EXECUTIONS: usize = 4000;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct CountingAllocator;

fn count(change: isize) {
    // A thread that is ending counts no more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: all of it is the system's allocator's doing; the counters do not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: std::alloc::Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A number at which something may change.
    fn extreme(&mut self) -> u64 {
        match self.below(5) {
            0 => u64::MAX,
            1 => 1 << self.below(64),
            2 => (1 << self.below(64)) - 1,
            3 => self.next(),
            _ => self.below(300) as u64,
        }
    }
}

/// Changes some of the bytes of an input.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        match numbers.below(7) {
            0 if rest > 0 => bytes[at] = numbers.next() as u8,
            1 if rest > 0 => bytes[at] ^= 1 << numbers.below(8),
            2 => {
                let len = rest.min([1, 2, 4, 8][numbers.below(4)]);
                bytes[at..at + len].copy_from_slice(&numbers.extreme().to_le_bytes()[..len]);
            }
            // As records have their numbers.
            3 => {
                let (mut value, mut varint) = (numbers.extreme(), Vec::new());
                while value >= 0x80 {
                    varint.push(value as u8 | 0x80);
                    value >>= 7;
                }
                varint.push(value as u8);
                let end = at + rest.min(numbers.below(3));
                bytes.splice(at..end, varint);
            }
            4 => bytes.truncate(at),
            5 => {
                let piece = bytes[at..at + rest.min(numbers.below(64))].to_vec();
                let to = numbers.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = at + rest.min(numbers.below(16));
                bytes.drain(at..end);
            }
        }
    }
}

/// The records of sessions in which many things happened.
fn sessions() -> Vec<Vec<u8>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let acts = proptest::collection::vec(some_act(), 1..60);
    let modes = [Mode::Kernel, Mode::Memory].into_iter().cycle();
    modes
        .take(8)
        .map(|mode| {
            let (table, events, info) = session(mode, &acts.new_tree(&mut runner).unwrap().current());
            encoded(&table, &events, &info)
        })
        .collect()
}

/// The table of offsets of a version, as `tests/data` has it.
fn offsets(minor: u8, free_threaded: u8) -> Vec<u8> {
    let mut bytes = vec![minor - 13, free_threaded];
    bytes.extend(b"xdebugpy");
    bytes.extend((u64::from(minor) << 16 | 0x0300_0000).to_le_bytes());
    bytes.extend(u64::from(free_threaded).to_le_bytes());
    (0..110_u64).for_each(|word| bytes.extend((word % 40 * 8).to_le_bytes()));
    bytes
}

/// Inputs that are as they should be, from which others are made.
fn seeds(decoder: &str) -> Vec<Vec<u8>> {
    match decoder {
        "recording" => sessions().iter().map(|records| complete(records)).collect(),
        "records" => sessions(),
        "elf" => vec![elf::tests::small_library()],
        "unwind_table" => {
            let mut table = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 3, 0, 0, 0];
            (0..6_u32).for_each(|word| table.extend((word * 64).to_le_bytes()));
            vec![table, vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 255, 255, 255, 255]]
        }
        "line_table" => vec![vec![10, 0, 0, 0, 0xd9, 4, 9, 0xf0, 11, 0, 1, 0x41, 2, 0xf8, 0x98, 0x7f, 0x80, 0]],
        "exception_table" => vec![vec![3, 0, 0x82, 5, 0x43, 9, 0x90, 0x41, 3, 7, 2]],
        "debug_offsets" => [(13, 0), (13, 1), (14, 0), (15, 1)].map(|(minor, kind)| offsets(minor, kind)).to_vec(),
        "memory_map" => vec![std::fs::read("/proc/self/maps").unwrap(), b"0-1 r-xp 0 1:2 3 /a\n".to_vec()],
        "report" => vec![serde_json::to_vec(&crate::report::fixture::report()).unwrap()],
        "folded" => vec![b"main;work 10\nmain;wait;[idle] 3\nmain;work 12\nmain;read 1\n".to_vec()],
        other => panic!("{other} has no seeds"),
    }
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs a decoder, and checks that it was modest.
fn modest(name: &str, decoder: fn(&[u8]), bytes: &[u8]) {
    let (before, started) = (LIVE.get(), now());
    PEAK.set(before);
    decoder(bytes);
    let (allocated, took) = (PEAK.get() - before, now() - started);
    if allocated > MAX_ALLOCATED || took > MAX_NANOS {
        let file = std::env::temp_dir().join(format!("gilscope-fuzz-{name}"));
        std::fs::write(&file, bytes).unwrap();
        panic!("{name} took {took} ns and {allocated} bytes for {}", file.display());
    }
}

#[test]
fn every_decoder_is_modest_with_whatever_it_is_given() {
    for (name, decoder) in DECODERS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| modest(name, decoder, seed));
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for execution in 0..EXECUTIONS {
            let mut bytes = seeds[execution % seeds.len()].clone();
            mutate(&mut bytes, &mut numbers);
            modest(name, decoder, &bytes);
        }
    }
}

#[test]
fn every_decoder_has_its_target_for_the_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in DECODERS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml does not name {name}");
        let target = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("{name}!")) || target.contains(&format!("fuzzing::{name}")), "{target}");
    }
}

/// Not a test: `fuzz/run` calls it for the inputs that the fuzzer begins with.
#[test]
#[ignore = "writes files: fuzz/run calls it"]
fn write_seeds() {
    let folder = std::env::var_os("GILSCOPE_FUZZ_SEEDS").expect("GILSCOPE_FUZZ_SEEDS names a folder");
    for (name, _) in DECODERS {
        let folder = Path::new(&folder).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds(name).iter().enumerate() {
            std::fs::write(folder.join(number.to_string()), seed).unwrap();
        }
    }
}
