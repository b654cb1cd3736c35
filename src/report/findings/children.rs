//! Processes of the program that the recording says nothing of.

use serde_json::json;

use super::{finding, part};
use crate::report::model::{Finding, Report, Severity, UnobservedProcess};
use crate::report::text::units::duration;

/// Child processes that use less than this part of a CPU are of little interest ...
const BUSY: f64 = 0.05;
/// ... and less than this of none.
const IDLE: f64 = 0.01;

/// How many pids a message names.
const MAX_PIDS: usize = 5;

/// Child processes run Python, and were not observed.
pub(super) fn not_observed(report: &Report) -> Option<Finding> {
    let (count, cpu_s) = report.unobserved_python()?;
    let children = || report.unobserved_children.iter().filter(|child| child.python);
    let observed_s: f64 = report.threads.iter().map(|thread| thread.cpu_s).sum();
    let who = match count {
        1 => format!("A child process ({}) runs Python and was not observed", pids(children())),
        _ => format!("{count} child processes ({}) run Python and were not observed", pids(children())),
    };
    let message = format!(
        "{who}: {} of CPU time in {}, beside {} of what was observed. Record with -s (--subprocesses) to see {} too.",
        duration(cpu_s),
        duration(report.session.duration_s),
        duration(observed_s),
        if count == 1 { "it" } else { "them" },
    );
    let busy = part(cpu_s, report.session.duration_s);
    if busy < IDLE {
        return None;
    }
    Some(finding(
        "children-not-observed",
        if busy >= BUSY { Severity::Medium } else { Severity::Low },
        0.0,
        message,
        [
            ("pids", json!(children().map(|child| child.pid).collect::<Vec<_>>())),
            ("cpu_s", json!(cpu_s)),
            ("observed_cpu_s", json!(super::nanos(observed_s))),
            ("mean_cpus", json!(busy)),
            ("mean_cpus_threshold", json!(BUSY)),
        ],
    ))
}

fn pids<'a>(children: impl Iterator<Item = &'a UnobservedProcess> + Clone) -> String {
    let more = children.clone().count().saturating_sub(MAX_PIDS);
    let mut words: Vec<String> = children.take(MAX_PIDS).map(|child| child.pid.to_string()).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, verdict};

    #[test]
    fn children_that_run_python_are_a_finding() {
        let mut report = fixture::report();
        assert!(not_observed(&report).is_none());
        let child = |pid, python, cpu_s| UnobservedProcess { pid, command: Vec::new(), python, cpu_s };
        report.unobserved_children = vec![child(7, false, 9.0)];
        assert!(not_observed(&report).is_none(), "others are none of gilscope's business");
        report.unobserved_children.extend([child(8, true, 3.5), child(9, true, 0.4)]);
        let found = not_observed(&report).unwrap();
        assert_eq!(
            found.message,
            "2 child processes (8, 9) run Python and were not observed: 3.90 s of CPU time in 2.00 s, beside 1.55 s of \
             what was observed. Record with -s (--subprocesses) to see them too."
        );
        assert_eq!((found.severity, &found.evidence["pids"]), (Severity::Medium, &json!([8, 9])));
        report.unobserved_children = vec![child(8, true, 0.01)];
        assert!(not_observed(&report).is_none(), "half a percent of a CPU");
        report.unobserved_children = vec![child(8, true, 0.03)];
        assert_eq!(not_observed(&report).unwrap().severity, Severity::Low);
        report.gils.clear();
        report.findings.clear();
        assert!(verdict(&report).ends_with(" A child process that runs Python was not observed."));
    }
}
