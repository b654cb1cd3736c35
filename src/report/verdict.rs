//! What a recording comes to, in one sentence. Called by everything that shows a report to people.

use super::findings::{NO_CPU, STOPPED};
use super::model::{Finding, Report, Severity, Thread};
use super::text::units::duration;
use crate::event::HIDDEN_CALLS;
use crate::profile::Mode;

/// The sentence that goes first: what costs most, who suffers, because of what code.
pub fn verdict(report: &Report) -> String {
    if report.threads.is_empty() {
        return "No thread was seen.".to_owned();
    }
    if !report.deadlocks.is_empty() {
        let stuck: usize = report.deadlocks.iter().map(Vec::len).sum();
        return match stuck {
            1 => "Deadlock: a thread waits for what will never be released.".to_owned(),
            _ => format!("Deadlock: {stuck} threads wait for each other and cannot proceed."),
        };
    }
    // That the machine has too few CPUs is the program's fault, so it goes after that, but no small matter.
    let is_serious = |finding: &&Finding| finding.severity != Severity::Low || finding.id == NO_CPU;
    let serious = report.findings.iter().filter(is_serious).filter(|finding| finding.cost_s > 0.0);
    match serious.max_by(|a, b| (a.id != NO_CPU).cmp(&(b.id != NO_CPU)).then(a.cost_s.total_cmp(&b.cost_s))) {
        Some(worst) => {
            biggest_cost(report, worst) + &mostly_unknown(report).map_or_else(String::new, |part| format!(" {part}"))
        }
        None => mostly_unknown(report).unwrap_or_else(|| hardly_any(report)),
    }
}

fn biggest_cost(report: &Report, worst: &Finding) -> String {
    let time = report.session.duration_s;
    let threads = if time > 0.0 { worst.cost_s / time } else { 0.0 };
    let estimate = if report.session.mode == Mode::Memory { " (estimated)" } else { "" };
    format!(
        "Biggest cost{estimate}: {}. On average {threads:.1} threads were held up ({} of thread time in {}).",
        headline(worst),
        duration(worst.cost_s),
        duration(time),
    )
}

/// Its own, or the first sentence of its message, without the full stop.
fn headline(finding: &Finding) -> &str {
    let first = finding.message.split_once(". ").map_or(finding.message.trim_end_matches('.'), |(first, _)| first);
    if finding.headline.is_empty() { first } else { &finding.headline }
}

/// Above this part of the threads' time of which nothing is known, that nobody was seen waiting says nothing.
const MAX_UNKNOWN: f64 = 0.5;

/// That most of the time is unknown, if it is: then there is no verdict.
fn mostly_unknown(report: &Report) -> Option<String> {
    let sum = |of: fn(&Thread) -> f64| report.threads.iter().map(of).sum::<f64>();
    let (unknown, all) = (sum(|thread| thread.states.unknown_s), sum(|thread| thread.wall_s));
    (unknown > all * MAX_UNKNOWN).then(|| {
        let percent = 100.0 * unknown / all;
        format!("What threads did is unknown for {percent:.0} % of their time: whether they waited cannot be told.")
    })
}

/// That it was stopped, if it was for long.
fn stopped(report: &Report) -> String {
    let stopped = report.threads.iter().map(|thread| thread.states.stopped_s).fold(0.0, f64::max);
    match report.findings.iter().any(|finding| finding.id == STOPPED) {
        true => format!(" The program was stopped from outside for {} of it.", duration(stopped)),
        false => String::new(),
    }
}

/// Whether waits for locks could not be seen.
fn is_blind_for_locks(report: &Report) -> bool {
    report.session.degraded.iter().any(|note| note.contains(HIDDEN_CALLS))
}

fn hardly_any(report: &Report) -> String {
    let time = duration(report.session.duration_s);
    let for_gil: f64 = report.gils.iter().map(|gil| gil.wait.total_s).sum();
    let for_locks: f64 = report.real_locks().map(|lock| lock.wait.total_s).sum();
    let nothing = report.findings.iter().all(|finding| finding.severity == Severity::Low);
    let so = if nothing { "Threads hardly get in each other's way" } else { "Threads hardly wait for each other" };
    let seen = if report.session.mode == Mode::Memory { "were seen to wait" } else { "waited" };
    let blind = is_blind_for_locks(report);
    let waited = match for_gil + for_locks {
        0.0 if blind => {
            format!(
                "No sample found anybody waiting for the GIL in {time}. Waits for locks could not be seen: the system calls \
                 of the threads are hidden."
            )
        }
        _ if blind => {
            format!(
                "In {time} threads {seen} about {} for the GIL. Waits for locks could not be seen: the system calls of the \
                 threads are hidden.",
                duration(for_gil)
            )
        }
        0.0 if report.session.mode == Mode::Memory => {
            format!("{so}: no sample found anybody waiting for the GIL or a lock in {time}.")
        }
        0.0 if !nothing => format!("Nobody waited for the GIL or a lock in {time}."),
        0.0 => format!("{so}: nobody waited for the GIL or a lock in {time}."),
        _ => {
            format!(
                "{so}: in {time} they {seen} {} for the GIL and {} for locks.",
                duration(for_gil),
                duration(for_locks)
            )
        }
    };
    let children = report.unobserved_python().map_or_else(String::new, |(count, _)| match count {
        1 => " A child process that runs Python was not observed.".to_owned(),
        _ if report.children.is_some_and(|children| !children.exact) => {
            format!(" At least {count} child processes that run Python were not observed.")
        }
        _ => format!(" {count} child processes that run Python were not observed."),
    });
    waited + &children + &stopped(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::states::States;

    #[test]
    fn what_costs_most_is_named_with_victim_cause_and_place() {
        let mut report = fixture::report();
        assert_eq!(
            verdict(&report),
            "Biggest cost: client waits 76 % of its time for the GIL, mostly held by cruncher in crunch (app.py:30). On \
             average 1.0 threads were held up (2.01 s of thread time in 2.00 s)."
        );
        let mut other = Finding { cost_s: 3.0, id: NO_CPU.to_owned(), ..report.findings[0].clone() };
        report.findings.push(other.clone());
        assert!(verdict(&report).starts_with("Biggest cost: client waits"), "the program's own fault goes first");
        (other.id, other.headline, other.message) =
            ("x".to_owned(), String::new(), "One thing (a.py:3). Two.".to_owned());
        report.findings.push(other);
        assert!(verdict(&report).starts_with("Biggest cost: One thing (a.py:3). On average 1.5 threads"));
        report.session.mode = Mode::Memory;
        assert!(verdict(&report).starts_with("Biggest cost (estimated): One thing"));
    }

    #[test]
    fn where_nothing_is_wrong_it_is_said_how_little_was_waited() {
        let mut report = fixture::report();
        report.findings.clear();
        report.gils[0].wait.total_s = 0.01;
        assert_eq!(
            verdict(&report),
            "Threads hardly get in each other's way: in 2.00 s they waited 10.0 ms for the GIL and 0 for locks."
        );
        report.gils.clear();
        assert!(verdict(&report).ends_with("nobody waited for the GIL or a lock in 2.00 s."));
        report.session.mode = Mode::Memory;
        assert!(verdict(&report).ends_with("no sample found anybody waiting for the GIL or a lock in 2.00 s."));
        report.threads.clear();
        assert_eq!(verdict(&report), "No thread was seen.");
    }

    #[test]
    fn there_is_no_all_clear_where_waits_could_not_be_seen() {
        let mut report = fixture::report();
        (report.findings, report.gils) = (Vec::new(), Vec::new());
        report.session.degraded = vec![format!("process 7: {HIDDEN_CALLS} (why).")];
        assert_eq!(
            verdict(&report),
            "No sample found anybody waiting for the GIL in 2.00 s. Waits for locks could not be seen: the system calls of \
             the threads are hidden."
        );
        for thread in &mut report.threads {
            thread.states = States { unknown_s: 0.86 * thread.wall_s, ..States::default() };
        }
        assert_eq!(
            verdict(&report),
            "What threads did is unknown for 86 % of their time: whether they waited cannot be told."
        );
        report.session.degraded.clear();
        assert!(verdict(&report).contains("cannot be told"), "for whatever reason");
        report.findings = fixture::report().findings;
        let text = verdict(&report);
        assert!(text.starts_with("Biggest cost: client waits") && text.ends_with("cannot be told."), "{text}");
    }
}
