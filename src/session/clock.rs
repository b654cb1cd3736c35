//! Time for the session: now, and when to look next.

use rustix::time::{ClockId, clock_gettime};

use crate::event::Nanos;

/// The one clock of all events.
pub fn now() -> Nanos {
    nanos(ClockId::Monotonic)
}

/// CPU time gilscope has used, in nanoseconds.
pub fn own_cpu() -> u64 {
    nanos(ClockId::ProcessCPUTime).0
}

/// Asks the kernel not to put off timers of this thread (by 50 us, as is usual).
pub fn precise() {
    // Without it, ticks are a little late, and say so.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

fn nanos(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// When to look: once in every period, at a random moment of it, so that a program that is periodic itself is not
/// always seen at the same point. The mean rate is exact all the same.
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
    /// `rate` ticks a second from `start` on.
    pub fn new(rate: f64, start: Nanos) -> Ticks {
        let mut ticks =
            Ticks { start, period: 1e9 / rate, index: 0, next: start, made: 0, late: 0, random: start.0 | 1 };
        ticks.plan();
        ticks
    }

    /// When the next tick is due.
    pub fn next(&self) -> Nanos {
        self.next
    }

    /// Whether it is due; counts it as late if it is half a period over.
    pub fn due(&mut self, now: Nanos) -> bool {
        let due = self.next <= now;
        if due {
            self.made += 1;
            self.late += u64::from(now.since(self.next) as f64 > self.period / 2.0);
        }
        due
    }

    /// The tick was made. Periods that have passed meanwhile are skipped, and count as late.
    pub fn done(&mut self, now: Nanos) {
        self.index += 1;
        let current = (now.since(self.start) as f64 / self.period) as u64;
        if current > self.index {
            self.late += current - self.index;
            self.index = current;
        }
        self.plan();
    }

    /// Ticks made.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Ticks that were late or left out.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn plan(&mut self) {
        // xorshift64: any generator is good enough to keep off a program's own rhythm.
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
            assert!(ticks.due(at));
            ticks.done(at);
        }
        points.sort_unstable();
        assert!((4_000_000..6_000_000).contains(&points[500]), "the middle is in the middle");
        assert!(points[50] < 1_000_000 && points[949] > 9_000_000, "all of the period is used");
        assert_eq!(ticks.late(), 0);
    }

    #[test]
    fn what_was_missed_is_counted_and_not_made_up_for() {
        let mut ticks = Ticks::new(1000.0, Nanos(0));
        assert!(ticks.due(ticks.next()));
        ticks.done(Nanos(5_500_000));
        assert_eq!(ticks.late(), 4);
        assert!(ticks.next() >= Nanos(5_000_000));
    }
}
