//! Time in which the program was stopped from outside.

use serde_json::json;

use super::{finding, part, severity};
use crate::report::model::{Finding, Report};
use crate::report::text::units::duration;

/// What the finding is called.
pub(in crate::report) const STOPPED: &str = "stopped";

/// Below this part of the recording it is not worth saying.
const MIN_PART: f64 = 0.05;

/// The program was stopped for a good part of the recording. It costs nothing that a change of the program would save.
pub(super) fn stopped(report: &Report) -> Option<Finding> {
    let longest = report.threads.iter().max_by(|a, b| a.states.stopped_s.total_cmp(&b.states.stopped_s))?;
    let (stopped, time) = (longest.states.stopped_s, report.session.duration_s);
    let share = part(stopped, time);
    if share < MIN_PART {
        return None;
    }
    let several = report.threads.iter().any(|thread| thread.pid != longest.pid);
    let who = if several { format!("Process {}", longest.pid) } else { "The program".to_owned() };
    let message = format!(
        "{who} was stopped from outside (SIGSTOP or SIGTSTP, a debugger, or a frozen control group) for {} of {}. That \
         time counts neither as work nor as waiting.",
        duration(stopped),
        duration(time),
    );
    Some(finding(
        STOPPED,
        severity(share),
        0.0,
        message,
        [
            ("pid", json!(longest.pid)),
            ("stopped_s", json!(stopped)),
            ("stopped_fraction", json!(share)),
            ("stopped_fraction_threshold", json!(MIN_PART)),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::verdict;

    #[test]
    fn a_program_that_was_stopped_is_said_to_have_been() {
        let mut report = fixture::report();
        assert!(stopped(&report).is_none());
        report.threads[0].states.stopped_s = 1.2;
        let found = stopped(&report).unwrap();
        assert!(found.message.starts_with("The program was stopped from outside"), "{}", found.message);
        assert!(found.message.contains("for 1.20 s of 2.00 s."), "{}", found.message);
        (report.findings, report.gils) = (vec![found], Vec::new());
        assert!(verdict(&report).ends_with("The program was stopped from outside for 1.20 s of it."));
    }
}
