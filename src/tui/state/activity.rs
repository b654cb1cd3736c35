//! What a thread did most in a part of the recording: the cells of the strips.

use crate::event::{ACTIVITIES, Activity};
use crate::report::model::States;

/// A thread that waits for a fifth of the time is not idle: below this fraction of its time, the rest is not reported.
const MIN_BUSY_FRACTION: f64 = 0.2;

/// What a thread did most of some time; `None` if it was not there. Idleness counts only if there was little else.
pub(crate) fn prevailing_activity(states: &States) -> Option<Activity> {
    const IDLE: [Activity; 3] = [Activity::Blocked, Activity::Stopped, Activity::Unknown];
    let is_idle = |activity| IDLE.contains(&activity);
    let busy = ACTIVITIES.iter().map(|row| row.activity).filter(|activity| !is_idle(*activity));
    let busy_s: f64 = busy.clone().map(|activity| states.of(activity)).sum();
    let idle_s: f64 = IDLE.iter().map(|&activity| states.of(activity)).sum();
    if busy_s <= 0.0 && idle_s <= 0.0 {
        return None;
    }
    if busy_s < MIN_BUSY_FRACTION * (busy_s + idle_s) {
        return IDLE.into_iter().rev().max_by(|a, b| states.of(*a).total_cmp(&states.of(*b)));
    }
    busy.max_by(|a, b| states.of(*a).total_cmp(&states.of(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_what_it_does_most_and_idle_only_if_it_does_little() {
        let states =
            |gil_wait_s, gil_held_s, blocked_s| States { gil_wait_s, gil_held_s, blocked_s, ..States::default() };
        assert_eq!(prevailing_activity(&states(0.3, 0.1, 0.6)), Some(Activity::GilWait));
        assert_eq!(prevailing_activity(&states(0.1, 0.3, 0.0)), Some(Activity::GilHeld));
        assert_eq!(prevailing_activity(&states(0.1, 0.0, 0.9)), Some(Activity::Blocked));
        assert_eq!(prevailing_activity(&States::default()), None);
    }
}
