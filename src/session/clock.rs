//! Time for the session: when the next tick is due, and gilscope's own use of the CPU.

use crate::event::Nanos;
use crate::process::clock::{ClockId, now, read};

/// What to add to a moment of the monotonic clock to get nanoseconds since 1970.
pub fn clock_offset_ns() -> i64 {
    unix().wrapping_sub(now().0) as i64
}

/// The time of day: nanoseconds since 1970, UTC.
pub fn unix() -> u64 {
    read(ClockId::Realtime).0
}

/// CPU time gilscope has used, in nanoseconds.
pub fn own_cpu() -> u64 {
    read(ClockId::ProcessCPUTime).0
}

/// Asks the kernel to wake this thread exactly on time, and ahead of threads that have the CPU. Ticks that come late whenever
/// the target is busy would see it idle more often than it is.
pub fn precise() {
    // Where one of these is not permitted or not known, ticks may be late, and are counted as such.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let _ = rustix::process::setpriority_process(None, -20);
    short_slices();
}

/// Asks for the shortest time slice. Since Linux 6.12 that lets a thread that wakes up run at once: it preempts one with a
/// longer slice, which otherwise keeps the CPU for some milliseconds.
#[allow(unsafe_code)]
fn short_slices() {
    const SHORTEST: u64 = 100_000;
    // SAFETY: the kernel reads `size` bytes of a structure of plain integers, which lives until it returns.
    unsafe {
        let mut attributes: nix::libc::sched_attr = std::mem::zeroed();
        attributes.size = size_of::<nix::libc::sched_attr>() as u32;
        attributes.sched_policy = nix::libc::SCHED_OTHER as u32;
        attributes.sched_nice = rustix::process::getpriority_process(None).unwrap_or(0);
        attributes.sched_runtime = SHORTEST;
        nix::libc::syscall(nix::libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}

/// Ticks that use no more CPU time than this are never too much, in nanoseconds.
const MIN_BUDGET: u64 = 1_000_000;

/// When ticks are due: once in every period, at a random moment of it, so that a periodic program is not always seen at the
/// same point. The mean rate is exact.
#[derive(Debug)]
pub struct Ticks {
    start: Nanos,
    period: f64,
    /// The period that the next tick belongs to.
    index: u64,
    next: Nanos,
    made: u64,
    late: u64,
    random: u64,
}

impl Ticks {
    /// `rate` ticks per second from `start` on.
    pub fn new(rate: f64, start: Nanos) -> Ticks {
        let mut ticks =
            Ticks { start, period: 1e9 / rate, index: 0, next: start, made: 0, late: 0, random: start.0 | 1 };
        ticks.plan();
        ticks
    }

    pub fn next(&self) -> Nanos {
        self.next
    }

    /// Whether a tick is due, and for how many periods it stands: more than one if whole periods have passed without a tick
    /// because gilscope got no CPU. Omitting those would be a bias, since that happens when the target is busy. They count as
    /// late, as does a tick that is overdue by half a period.
    pub fn due(&mut self, now: Nanos) -> Option<u32> {
        if now < self.next {
            return None;
        }
        let current = (now.since(self.start) as f64 / self.period) as u64;
        let missed = current.saturating_sub(self.index + 1);
        self.index += missed;
        self.made += 1;
        self.late += missed + u64::from(now.since(self.next) as f64 > self.period / 2.0);
        Some(u32::try_from(missed + 1).unwrap_or(u32::MAX))
    }

    /// Plans the next tick: this one was made.
    pub fn done(&mut self) {
        self.index += 1;
        self.plan();
    }

    /// Has the next tick come not before this. What it then stands for is as with any late one.
    pub fn put_off(&mut self, until: Nanos) {
        self.next = self.next.max(until);
    }

    /// CPU time in nanoseconds that a tick may use without another being put off for it.
    pub fn budget(&self) -> u64 {
        ((self.period / 2.0) as u64).max(MIN_BUDGET)
    }

    pub fn periods(&self) -> u64 {
        self.index
    }

    pub fn made(&self) -> u64 {
        self.made
    }

    /// The number of ticks that were late or omitted.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn plan(&mut self) {
        // xorshift64: any generator is good enough to avoid a program's own rhythm.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let fraction = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        self.next = Nanos(self.start.0 + ((self.index as f64 + fraction) * self.period) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tick_in_every_period_but_not_at_the_same_point() {
        let start = Nanos(1_000_000_007);
        let mut ticks = Ticks::new(100.0, start);
        let mut points = Vec::new();
        for period in 0..1000 {
            let at = ticks.next();
            let into = at.since(start) - period * 10_000_000;
            assert!(into < 10_000_000, "tick {period} is outside its period");
            points.push(into);
            assert_eq!(ticks.due(at), Some(1));
            ticks.done();
        }
        points.sort_unstable();
        assert!((4_000_000..6_000_000).contains(&points[500]), "the middle is in the middle");
        assert!(points[50] < 1_000_000 && points[949] > 9_000_000, "all of the period is used");
        assert_eq!(ticks.late(), 0);
    }

    #[test]
    fn a_late_tick_stands_for_the_periods_without_one() {
        let start = Nanos(1_000_000_007);
        let after = |nanos: u64| Nanos(start.0 + nanos);
        let mut ticks = Ticks::new(1000.0, start);
        assert_eq!(ticks.due(start), None);
        assert_eq!(ticks.due(after(5_500_000)), Some(5), "periods 0 to 4");
        ticks.done();
        assert!((5_000_000..6_000_000).contains(&ticks.next().since(start)), "period 5 has its own");
        assert_eq!((ticks.made(), ticks.late(), ticks.periods()), (1, 5, 5));
    }

    #[test]
    fn a_tick_that_is_put_off_stands_for_those_that_did_not_come() {
        let start = Nanos(1_000_000_007);
        let mut ticks = Ticks::new(100.0, start);
        assert_eq!(ticks.due(ticks.next()), Some(1));
        ticks.done();
        let until = Nanos(start.0 + 35_000_000);
        ticks.put_off(until);
        assert_eq!(ticks.next(), until);
        assert_eq!(ticks.due(until), Some(2), "periods 1 and 2");
    }
}
