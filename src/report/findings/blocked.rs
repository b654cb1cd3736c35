//! Calls that block where nothing may block.

use serde_json::json;

use super::{finding, part, severity};
use crate::report::model::{BlockedPlace, Finding, Report};
use crate::report::text::units::{duration, percent};

/// An event loop that is blocked for this part of the recording is late for everybody it serves.
const LOOP_BLOCKED: f64 = 0.02;

/// One finding for each line at which an event loop has called something that blocks.
pub(super) fn event_loop(report: &Report) -> Vec<Finding> {
    let share = |place: &BlockedPlace| part(place.seconds, report.session.duration_s);
    let places = report.blocked.iter().filter(|place| place.in_event_loop && share(place) >= LOOP_BLOCKED);
    let found = |place: &BlockedPlace| {
        let calling = place.innermost.as_ref().map_or_else(String::new, |innermost| format!(", calling {innermost}"));
        let message = format!(
            "{}, an event loop, is blocked in {} in {}{calling}: {}, {} of the time, in which nothing else that it serves \
             goes on. Await something that does not block, or run the call in a thread (asyncio.to_thread).",
            place.threads,
            place.syscall,
            place.place,
            duration(place.seconds),
            percent(share(place)),
        );
        let evidence = [
            ("place", json!(place.place)),
            ("syscall", json!(place.syscall)),
            ("blocked_s", json!(place.seconds)),
            ("blocked_fraction", json!(share(place))),
            ("blocked_fraction_threshold", json!(LOOP_BLOCKED)),
        ];
        finding("loop-blocked", severity(share(place)), place.seconds, message, evidence)
    };
    places.map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::model::Severity;

    #[test]
    fn only_what_an_event_loop_calls_is_wrong_to_block() {
        let mut report = fixture::report();
        let place = BlockedPlace {
            syscall: "clock_nanosleep".to_owned(),
            threads: "MainThread".to_owned(),
            count: 1,
            seconds: 0.6,
            place: "handler (app.py:7)".to_owned(),
            innermost: None,
            in_event_loop: true,
        };
        report.blocked = vec![place.clone(), BlockedPlace { in_event_loop: false, ..place.clone() }];
        let found = event_loop(&report);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].severity, found[0].cost_s), (Severity::High, 0.6));
        assert!(
            found[0].message.starts_with(
                "MainThread, an event loop, is blocked in clock_nanosleep in handler (app.py:7): 600 ms, 30 % of the time"
            ),
            "{}",
            found[0].message
        );
        report.blocked = vec![BlockedPlace { seconds: 0.03, ..place }];
        assert_eq!(event_loop(&report), [], "1.5 % of two seconds");
    }
}
