//! Where threads are blocked. Called by [`super::text`].

use super::units::{cut, cut_middle, duration};
use super::{ReportText, WIDTH};
use crate::report::model::Report;

/// How many places are shown.
const MAX_PLACES: usize = 10;
/// Shorter ones are not worth a line, in parts of the recording.
const WORTH_A_LINE: f64 = 0.01;

pub(super) fn section(report: &Report, text: &mut ReportText) {
    let least = WORTH_A_LINE * report.session.duration_s;
    let worth = || report.blocked.iter().filter(|place| place.seconds >= least);
    if worth().next().is_none() {
        return;
    }
    text.heading("Blocked: in which call, at which line");
    for place in worth().take(MAX_PLACES) {
        let threads = cut_middle(&place.threads, 26);
        let call = cut(&place.syscall, 20);
        text.line(format!(
            "{:>9}  {call:<20} {threads:<24} {}",
            duration(place.seconds),
            cut_middle(&place.place, WIDTH - 57)
        ));
    }
    let rest = worth().count().saturating_sub(MAX_PLACES);
    if rest > 0 {
        text.line(format!("... and {rest} more places"));
    }
}
