//! The clock that samples are taken by: a cpu-clock perf event on every CPU, each with the BPF program that takes a
//! sample if a thread of a target runs there. Opened and kept going by [`super::Kernel`].
//!
//! One event for each CPU, not for each thread: threads that come and go need none, and no context switch of the
//! target pays for switching events. The period of such an event is constant, and a program with a rhythm of its own
//! would be seen at the same points of it again and again. So each is given another period now and then, with the rate
//! that was asked for on average.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use perf_event::events::Software;
use perf_event::{Builder, Counter};
use perf_event_open_sys::ioctls;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::event::Nanos;

/// Rates differ from the one asked for by up to this part of it: enough for a program with a rhythm to be seen at all
/// points of it before long, and so little that shares of time are not off by it.
const SPREAD: f64 = 0.05;
/// How many ticks a period is kept for. A new one begins at once: what has passed of the old one, half of it on
/// average, is lost.
const TICKS_PER_PERIOD: f64 = 100.0;

/// The clocks of all CPUs.
#[derive(Debug)]
pub(super) struct CpuClock {
    counters: Vec<Counter>,
    rate: f64,
    /// When to change the periods.
    next: Nanos,
    random: u64,
}

impl CpuClock {
    /// Opens the clocks, with `program` to be run at each tick.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn open(rate: f64, program: BorrowedFd<'_>) -> io::Result<CpuClock> {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
        let mut clock = CpuClock { counters: Vec::new(), rate, next: Nanos(0), random: seed | 1 };
        for cpu in online_cpus(&std::fs::read_to_string("/sys/devices/system/cpu/online")?) {
            let mut builder = Builder::new().kind(Software::CPU_CLOCK).any_pid().one_cpu(cpu);
            builder.include_kernel().include_hv().sample_period(clock.period());
            let mut counter = builder.build()?;
            // The crate leaves it open across exec.
            // SAFETY: the descriptor belongs to `counter`, which outlives the borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(counter.as_raw_fd()) };
            fcntl_setfd(fd, FdFlags::CLOEXEC)?;
            // SAFETY: both descriptors are open; the kernel keeps the program for as long as the event lives.
            if unsafe { ioctls::SET_BPF(counter.as_raw_fd(), program.as_fd().as_raw_fd() as u32) } != 0 {
                return Err(io::Error::last_os_error());
            }
            counter.enable()?;
            clock.counters.push(counter);
        }
        Ok(clock)
    }

    /// Changes the periods, if it is time to.
    pub(super) fn jitter(&mut self, now: Nanos) {
        if now < self.next {
            return;
        }
        self.next = Nanos(now.0 + (TICKS_PER_PERIOD * 1e9 / self.rate) as u64);
        for index in 0..self.counters.len() {
            let period = self.period();
            // SAFETY: the kernel reads a number of 64 bits from this address, and nothing else.
            // A clock that cannot be changed goes on as it was.
            let _ = unsafe { ioctls::PERIOD(self.counters[index].as_raw_fd(), &raw const period as u64) };
        }
    }

    /// A period in nanoseconds, at random. Rates, not periods, are evenly spread: so their mean is the rate asked for.
    fn period(&mut self) -> u64 {
        // xorshift64: any sequence without a rhythm will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let unit = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        let rate = self.rate * (1.0 + 0.5 / TICKS_PER_PERIOD);
        (1e9 / (rate * (1.0 - SPREAD + 2.0 * SPREAD * unit))) as u64
    }
}

/// The numbers in a list such as `0-3,5`.
fn online_cpus(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(online_cpus("0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(online_cpus("0\n"), [0]);
        assert_eq!(online_cpus("\n"), [0; 0]);
    }

    #[test]
    fn rates_are_spread_around_the_one_asked_for() {
        let mut clock = CpuClock { counters: Vec::new(), rate: 1000.0, next: Nanos(0), random: 1 };
        let rates: Vec<f64> = (0..10_000).map(|_| 1e9 / clock.period() as f64).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean - 1005.0).abs() < 10.0, "{mean}");
        assert!(rates.iter().all(|rate| (950.0..1056.0).contains(rate)));
        assert!(rates.iter().any(|&rate| rate < 965.0) && rates.iter().any(|&rate| rate > 1045.0));
    }
}
