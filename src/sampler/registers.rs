//! The registers of threads on a CPU, in memory mode: a cpu-clock perf event for each thread, which the kernel permits for
//! one's own processes. Owned by [`super::Sampler`] for free-threaded builds.
//!
//! Each event counts its thread's CPU time and writes a record after each period of it, into a ring of its own: a page holds
//! some 20 records, and is emptied at every tick.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use perf_event::events::Software;
use perf_event::{Builder, Counter};
use perf_event_open_sys::bindings as sys;
use rustc_hash::FxHashMap;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::arch::{PERF_REGISTERS, PERF_REGISTERS_MASK, Registers};
use crate::event::{Nanos, Tid};
use crate::process::perf_ring::PerfRing;

/// The room for records, in pages.
const PAGES: usize = 1;
/// `PERF_RECORD_MISC_CPUMODE_MASK`
const CPU_MODE: u16 = 7;
/// A record of a sample: its header, the process and the thread, the time, the kind of registers, and those.
const RECORD: usize = 8 + 8 + 8 + 8 + PERF_REGISTERS * 8;

/// What a thread's registers were.
#[derive(Clone, Copy, Debug)]
pub struct RegisterSample {
    pub tid: Tid,
    pub at: Nanos,
    /// Those of its user-space code; none if it was in the kernel.
    pub registers: Option<Registers>,
}

/// The events of one process.
#[derive(Debug)]
pub struct RegisterClock {
    period: u64,
    /// Time in the kernel counts, too: allowed to the privileged, or where `perf_event_paranoid` is 1 or less.
    with_kernel: bool,
    rings: FxHashMap<Tid, Ring>,
    /// The kernel's error when it refused; it is not asked again.
    refused: Option<io::Error>,
}

impl RegisterClock {
    /// Samples each thread at this rate per second of its CPU time.
    pub fn new(rate: f64) -> RegisterClock {
        RegisterClock { period: (1e9 / rate) as u64, with_kernel: true, rings: FxHashMap::default(), refused: None }
    }

    /// Why the kernel refused, if it did.
    pub fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// The same, for whoever only wanted to know.
    pub fn into_refused(self) -> Option<io::Error> {
        self.refused
    }

    /// Opens events for new threads, and closes those of all but these.
    pub fn cover(&mut self, tids: impl Iterator<Item = Tid>) {
        let mut gone = std::mem::take(&mut self.rings);
        for tid in tids {
            if let Some(ring) = gone.remove(&tid).or_else(|| self.open(tid)) {
                self.rings.insert(tid, ring);
            }
        }
    }

    fn open(&mut self, tid: Tid) -> Option<Ring> {
        if self.refused.is_some() {
            return None;
        }
        let mut opened = Ring::open(tid, self.period, self.with_kernel);
        if self.with_kernel && matches!(&opened, Err(error) if error.kind() == io::ErrorKind::PermissionDenied) {
            self.with_kernel = false;
            opened = Ring::open(tid, self.period, false);
        }
        match opened {
            Ok(ring) => Some(ring),
            // The thread has ended.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => None,
            Err(error) => {
                self.refused = Some(error);
                None
            }
        }
    }

    /// Moves out what has been recorded.
    pub fn drain(&mut self, samples: &mut Vec<RegisterSample>) {
        for ring in self.rings.values_mut() {
            ring.drain(samples);
        }
    }
}

/// The event of one thread, with its ring.
#[derive(Debug)]
struct Ring {
    records: PerfRing,
    counter: Counter,
}

impl Ring {
    fn open(tid: Tid, period: u64, with_kernel: bool) -> io::Result<Ring> {
        let mut builder = Builder::new().kind(Software::CPU_CLOCK).observe_pid(tid).any_cpu();
        builder.sample_period(period);
        if with_kernel {
            builder.include_kernel();
        }
        let attrs = builder.attrs_mut();
        attrs.sample_type = (sys::PERF_SAMPLE_TID | sys::PERF_SAMPLE_TIME | sys::PERF_SAMPLE_REGS_USER).into();
        attrs.sample_regs_user = PERF_REGISTERS_MASK;
        attrs.set_use_clockid(1);
        attrs.clockid = nix::libc::CLOCK_MONOTONIC;
        let counter = builder.build()?;
        // SAFETY: the descriptor belongs to `counter`, which outlives the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(counter.as_raw_fd()) };
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        let mut ring = Ring { records: PerfRing::map(fd, PAGES)?, counter };
        ring.counter.enable()?;
        Ok(ring)
    }

    fn drain(&mut self, samples: &mut Vec<RegisterSample>) {
        self.records.drain(|record| samples.extend(record.try_into().ok().and_then(decode)));
    }
}

/// Decodes a `PERF_RECORD_SAMPLE`; none if it is another record.
fn decode(record: &[u8; RECORD]) -> Option<RegisterSample> {
    let word = |index: usize| u64::from_le_bytes(record[8 * index..][..8].try_into().expect("eight bytes"));
    let (header, ids) = (word(0), word(1));
    if header as u32 != sys::PERF_RECORD_SAMPLE {
        return None;
    }
    let mode = (header >> 32) as u16 & CPU_MODE;
    let in_user = u32::from(mode) == sys::PERF_RECORD_MISC_USER && u64::from(sys::PERF_SAMPLE_REGS_ABI_64) == word(3);
    let registers = in_user.then(|| Registers::from_perf(std::array::from_fn(|index| word(4 + index))));
    Some(RegisterSample { tid: (ids >> 32) as Tid, at: Nanos(word(2)), registers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_decoded() {
        let mut words = vec![u64::from(sys::PERF_RECORD_SAMPLE) | 2 << 32 | (RECORD as u64) << 48];
        words.extend([7 | 9 << 32, 1000, 2]);
        words.extend(100..117);
        let record: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let sample = decode(&record.try_into().unwrap()).unwrap();
        assert_eq!((sample.tid, sample.at), (9, Nanos(1000)));
        let registers = sample.registers.unwrap();
        assert_eq!(registers.ip, 108);
        // ax, cx, dx, bx, sp, bp, si, di, r8 ...
        assert_eq!(registers.general[..9], [100, 102, 103, 101, 107, 106, 104, 105, 109]);
        assert_eq!(registers.general[15], 116);
    }

    /// Says so in the ledger of `tests/run`: the harness of unit tests knows only passed and failed.
    fn not_measured(why: &str) {
        let line = format!("lib\tsampler::registers::this_very_thread_is_seen\t{why}\n");
        eprint!("not measured: {line}");
        let Some(ledger) = std::env::var_os("GILSCOPE_TEST_LEDGER") else { return };
        let mut ledger = std::fs::File::options().append(true).create(true).open(ledger).unwrap();
        std::io::Write::write_all(&mut ledger, line.as_bytes()).unwrap();
    }

    #[test]
    fn this_very_thread_is_seen() {
        let mut clock = RegisterClock::new(1000.0);
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        clock.cover([own].into_iter());
        if let Some(refused) = clock.refused() {
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            return not_measured("perf events are not permitted");
        }
        let mut samples = Vec::new();
        let mut number = 1u64;
        while samples.len() < 5 {
            (0..10_000).for_each(|_| number = std::hint::black_box(number.wrapping_mul(5)));
            clock.drain(&mut samples);
        }
        assert!(samples.iter().all(|sample: &RegisterSample| sample.tid == own));
        assert!(samples.iter().any(|sample| sample.registers.is_some()));
        assert!(samples.windows(2).all(|two| two[0].at < two[1].at));
        clock.cover([].into_iter());
        assert!(clock.rings.is_empty());
    }
}
