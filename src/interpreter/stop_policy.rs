//! Whether a running thread is stopped so that its stack can be read.

/// Decides, before the stack of a running thread is read, whether to stop the thread for it.
///
/// To stop it only when its stack has just been seen to move would be a bias: quiet moments would be kept, busy ones replaced
/// by later ones. So a thread whose stack moves in more than a fraction of its readings is stopped for a number of readings.
/// Then it is tried live again; if it still moves, it is stopped for twice as many. What remains of the bias is that of the
/// trials.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopPolicy {
    attempts: u32,
    failures: u32,
    stop_for: u32,
    /// For how many readings it was stopped last; 0 if its stack has been quiet since.
    stopped_for: u32,
}

impl StopPolicy {
    /// Live readings that are judged together.
    const WINDOW: u32 = 100;
    /// How many of those may fail; none may after the thread was stopped.
    const TOLERATED: u32 = 1;
    /// For how many readings the thread is stopped then: this number, doubled each time up to the maximum.
    const STOP_FOR: u32 = 400;
    const MAX_STOP_FOR: u32 = 6400;

    /// Whether to stop the thread for the next reading.
    pub fn stop_next(&mut self) -> bool {
        let stop = self.stop_for > 0;
        self.stop_for = self.stop_for.saturating_sub(1);
        stop
    }

    /// Counts a live reading of the running thread.
    pub fn count(&mut self, moved: bool) {
        if self.stop_for > 0 {
            return;
        }
        self.attempts += 1;
        self.failures += u32::from(moved);
        let tolerated = if self.stopped_for > 0 { 0 } else { Self::TOLERATED };
        if self.failures > tolerated {
            let stop_for = (2 * self.stopped_for).clamp(Self::STOP_FOR, Self::MAX_STOP_FOR);
            *self = StopPolicy { stop_for, stopped_for: stop_for, ..StopPolicy::default() };
        } else if self.attempts >= Self::WINDOW {
            *self = StopPolicy::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many readings are made with the thread stopped, if every `nth` of the others fails.
    fn stopped(readings: u32, nth: u32) -> u32 {
        let mut policy = StopPolicy::default();
        let (mut stopped, mut tried) = (0, 0);
        for _ in 0..readings {
            if policy.stop_next() {
                stopped += 1;
            } else {
                tried += 1;
                policy.count(tried % nth == 0);
            }
        }
        stopped
    }

    #[test]
    fn a_thread_that_moves_is_hardly_ever_tried_and_a_quiet_one_never_stopped() {
        assert_eq!(stopped(10_000, 1000), 0);
        assert!(stopped(10_000, 2) > 9_950, "{}", stopped(10_000, 2));
        assert!(stopped(10_000, 10) > 9_900, "{}", stopped(10_000, 10));
    }

    #[test]
    fn a_thread_that_has_become_quiet_is_left_alone() {
        let mut policy = StopPolicy::default();
        while !policy.stop_next() {
            policy.count(true);
        }
        while policy.stop_next() {}
        (0..StopPolicy::WINDOW).for_each(|_| policy.count(false));
        policy.count(true);
        assert!(!policy.stop_next(), "one failure is tolerated again");
    }
}
