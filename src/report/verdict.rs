//! What a recording comes to, in one sentence. Called by everything that shows a report to people.

use super::model::{Report, Severity};
use super::text::units::duration;
use crate::profile::Mode;

/// Waiting matters from this many threads on, on average.
const MIN_HELD_UP: f64 = 0.05;

/// The sentence that goes first.
pub fn verdict(report: &Report) -> String {
    let (session, gils) = (&report.session, &report.gils);
    if report.threads.is_empty() {
        return "No thread was seen.".to_owned();
    }
    let for_gil: f64 = gils.iter().map(|gil| gil.wait.total_s).sum();
    let for_locks: f64 = report.real_locks().map(|lock| lock.wait.total_s).sum();
    if !report.deadlocks.is_empty() {
        let stuck: usize = report.deadlocks.iter().map(Vec::len).sum();
        if stuck == 1 {
            return "Deadlock: a thread waits for what will never be released.".to_owned();
        }
        return format!("Deadlock: {stuck} threads wait for each other and cannot proceed.");
    }
    let cpu: f64 = report.threads.iter().map(|thread| thread.cpu_s).sum();
    let counts = &report.refcounts;
    let kinds = [
        ("waiting for the GIL", for_gil),
        ("waiting for locks", for_locks),
        ("waiting for a free connection", report.waiting_for_connections_s()),
        ("waiting for a CPU", report.threads.iter().map(|thread| thread.states.runnable_s).sum()),
        ("stops of all threads by the interpreter", report.pauses.wait.total_s),
        ("counting references to shared objects", (counts.cpu_fraction - counts.margin).max(0.0) * cpu),
    ];
    let (what, cost) = kinds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
    let threads = if session.duration_s > 0.0 { cost / session.duration_s } else { 0.0 };
    let time = duration(session.duration_s);
    if threads >= MIN_HELD_UP {
        let cost = duration(cost);
        return format!(
            "Biggest cost: {what}. On average {threads:.1} threads were held up ({cost} of thread time in {time})."
        );
    }
    let nothing = report.findings.iter().all(|finding| finding.severity == Severity::Low);
    let so = if nothing { "Threads hardly get in each other's way" } else { "Threads hardly wait for each other" };
    match for_gil + for_locks {
        0.0 if session.mode == Mode::Memory => {
            format!("{so}: no sample found anybody waiting for the GIL or a lock in {time}.")
        }
        0.0 => format!("{so}: nobody waited for the GIL or a lock in {time}."),
        _ => format!(
            "{so}: in {time} they waited {} for the GIL and {} for locks.",
            duration(for_gil),
            duration(for_locks)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn what_costs_most_is_named() {
        let mut report = fixture::report();
        assert_eq!(
            verdict(&report),
            "Biggest cost: waiting for the GIL. On average 1.0 threads were held up (2.01 s of thread time in 2.00 s)."
        );
        report.pauses.wait.total_s = 3.0;
        assert!(
            verdict(&report)
                .starts_with("Biggest cost: stops of all threads by the interpreter. On average 1.5 threads")
        );
        report.pauses.wait.total_s = 0.0;
        report.threads[0].states.runnable_s = 4.0;
        assert!(verdict(&report).starts_with("Biggest cost: waiting for a CPU. "));
        report.threads[0].states.runnable_s = 0.0;
        report.gils[0].wait.total_s = 0.01;
        report.findings.clear();
        assert_eq!(
            verdict(&report),
            "Threads hardly get in each other's way: in 2.00 s they waited 10.0 ms for the GIL and 0 for locks."
        );
        report.gils.clear();
        assert!(verdict(&report).ends_with("nobody waited for the GIL or a lock in 2.00 s."));
        report.threads.clear();
        assert_eq!(verdict(&report), "No thread was seen.");
    }
}
