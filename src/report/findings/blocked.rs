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
