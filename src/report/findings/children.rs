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
    let counts = report.children.unwrap_or_default();
    let named = match pids(children(), count) {
        pids if pids.is_empty() => String::new(),
        pids => format!(" ({pids})"),
    };
    let at_least = if report.children.is_some_and(|children| !children.exact) { "At least " } else { "" };
    let who = match count {
        1 => format!("A child process{named} runs Python and was not observed"),
        _ => format!("{at_least}{count} child processes{named} run Python and were not observed"),
    };
    let message = match counts.followed {
        // What they used cannot be told from what the others did that have ended.
        true => format!(
            "{who}, of {} that were started: they ended before gilscope could attach. All that have ended, observed or not, \
             used {} of CPU time in {}.",
            counts.started,
            duration(counts.ended_cpu_s),
            duration(report.session.duration_s),
        ),
        false => format!(
            "{who}: {} of CPU time in {}, beside {} of what was observed. Record with -s (--subprocesses) to see {} too.",
            duration(cpu_s),
            duration(report.session.duration_s),
            duration(observed_s),
            if count == 1 { "it" } else { "them" },
        ),
    };
    let busy = part(if counts.followed { cpu_s.max(counts.ended_cpu_s) } else { cpu_s }, report.session.duration_s);
    // Who asked for all of them wants to know of each.
    if busy < IDLE && !counts.followed {
        return None;
    }
    Some(finding(
        "children-not-observed",
        if busy >= BUSY { Severity::Medium } else { Severity::Low },
        0.0,
        message,
        [
            ("pids", json!(children().map(|child| child.pid).collect::<Vec<_>>())),
            ("count", json!(count)),
            ("exact", json!(counts.exact)),
            ("cpu_s", json!(cpu_s)),
            ("observed_cpu_s", json!(super::nanos(observed_s))),
            ("mean_cpus", json!(busy)),
            ("mean_cpus_threshold", json!(BUSY)),
        ],
    ))
}

/// Of this number of them, the pids of some.
fn pids<'a>(children: impl Iterator<Item = &'a UnobservedProcess>, count: usize) -> String {
    let mut words: Vec<String> = children.take(MAX_PIDS).map(|child| child.pid.to_string()).collect();
    let more = count - words.len().min(count);
    if more > 0 && !words.is_empty() {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::ChildProcesses;
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
        report.unobserved_children.clear();
        let counts =
            ChildProcesses { started: 121, not_observed: 98, not_observed_python: 98, ..ChildProcesses::default() };
        report.children = Some(ChildProcesses { exact: true, ended_cpu_s: 3.0, ..counts });
        let found = not_observed(&report).unwrap();
        assert!(
            found.message.starts_with("98 child processes run Python and were not observed: 3.00 s"),
            "{}",
            found.message
        );
        report.children = Some(ChildProcesses { followed: true, ..counts });
        let found = not_observed(&report).unwrap();
        let said =
            "At least 98 child processes run Python and were not observed, of 121 that were started: they ended";
        assert!(found.message.starts_with(said), "{}", found.message);
        (report.children, report.unobserved_children) = (None, vec![child(8, true, 0.03)]);
        report.gils.clear();
        report.findings.clear();
        assert!(verdict(&report).ends_with(" A child process that runs Python was not observed."));
    }
}
