//! Holders of the GIL that do not release it when they are asked.

use std::collections::BTreeMap;

use serde_json::json;

use super::sentences::{waits, who};
use super::{finding, interpreter, nanos, part, severity};
use crate::report::model::{Finding, Gil, NotReleased, Report};
use crate::report::text::units::{duration, plural};
use crate::stack::collections::is_collecting;

/// Waiting for such holders matters from this many threads on, on average.
const WAITERS: f64 = 0.05;
/// A holder that releases it sooner than that after it was asked, on average, in seconds, is no longer than many.
const MIN_MEAN_S: f64 = 0.002;

/// It is the main reason for the waiting from this part of it on.
const MAIN: f64 = 0.5;

/// All threads that did not release the GIL at one line, in one function.
struct NotReleasedAt<'a> {
    own: &'a str,
    innermost: &'a str,
    /// The most costly first.
    by: Vec<&'a NotReleased>,
}

impl NotReleasedAt<'_> {
    fn waited_s(&self) -> f64 {
        self.by.iter().map(|one| one.by.seconds).sum()
    }

    fn times(&self) -> u64 {
        self.by.iter().map(|one| one.times).sum()
    }

    fn mean_s(&self) -> f64 {
        self.by.iter().map(|one| one.mean_s * one.times as f64).sum::<f64>() / self.times().max(1) as f64
    }

    fn max_s(&self) -> f64 {
        self.by.iter().map(|one| one.max_s).fold(0.0, f64::max)
    }

    fn threads(&self) -> Vec<i32> {
        let mut tids: Vec<i32> = self.by.iter().map(|one| one.by.tid).collect();
        tids.sort_unstable();
        tids.dedup();
        tids
    }

    /// Where, and in what.
    fn place(&self) -> String {
        let own = self.own;
        if is_collecting(&self.by[0].by.stack) {
            return format!("in a garbage collection started in {own}");
        }
        let innermost = if self.innermost == own { String::new() } else { format!(", calling {}", self.innermost) };
        match self.by.iter().find_map(|one| one.function.as_ref()) {
            Some(function) => format!("in {own}{innermost}: {function}, native code"),
            None => format!("in {own}{innermost}: one operation that does not check for the request"),
        }
    }
}

/// One finding for each line of the program at which holders of a GIL kept it although they had been asked to release it.
pub(super) fn not_released(report: &Report, gil: &Gil) -> Vec<Finding> {
    // Those have a finding of their own, if they matter.
    let has_collections = interpreter::collections(report).is_some();
    let mut places: BTreeMap<(&str, &str), Vec<&NotReleased>> = BTreeMap::new();
    for one in gil.not_released.iter().filter(|one| !(has_collections && is_collecting(&one.by.stack))) {
        let (Some(innermost), Some(own)) = (one.by.stack.first(), one.by.own_line()) else { continue };
        places.entry((own, innermost)).or_default().push(one);
    }
    let places = places.into_iter().map(|((own, innermost), by)| NotReleasedAt { own, innermost, by });
    let waiters = |at: &NotReleasedAt<'_>| part(at.waited_s(), gil.observed_s);
    let mut places: Vec<_> = places.filter(|at| waiters(at) >= WAITERS && at.mean_s() >= MIN_MEAN_S).collect();
    places.sort_by(|a, b| b.waited_s().total_cmp(&a.waited_s()));
    places.iter().map(|at| at_place(report, gil, at)).collect()
}

fn at_place(report: &Report, gil: &Gil, at: &NotReleasedAt<'_>) -> Finding {
    let (waited, threads) = (at.waited_s(), at.threads());
    let first = at.by[0];
    let (who, is_one) = who(report, at.by.iter().map(|one| &one.by));
    let advice = match (is_collecting(&first.by.stack), at.mean_s() >= gil.switch_interval_s) {
        (true, _) => "gc.freeze() after start-up and a higher gc.set_threshold() make collections rarer.",
        (false, true) => "A shorter switch interval cannot help: work on smaller pieces, or in another process.",
        (false, false) => "Work on smaller pieces, or in another process.",
    };
    // Who suffers is said where that is the main reason.
    let is_main = waited >= MAIN * gil.wait.total_s;
    let victim = gil.victims.first().filter(|_| is_main).map(|victim| format!("{} for {}", waits(victim), gil.words));
    let message = format!(
        "{}{who} {} {} only {} after being asked (at most {}), {}, {}. Others waited {} meanwhile. {advice}",
        victim.as_ref().map_or_else(String::new, |victim| format!("{victim}. ")),
        if is_one { "releases" } else { "release" },
        if is_main { "it" } else { &gil.words },
        duration(at.mean_s()),
        duration(at.max_s()),
        plural(at.times(), "time"),
        at.place(),
        duration(waited),
    );
    let found = finding(
        "gil-not-released",
        severity(part(waited, gil.observed_s)),
        waited,
        message,
        [
            ("tids", json!(threads)),
            ("line", json!(at.own)),
            ("function", json!(at.by.iter().find_map(|one| one.function.as_ref()))),
            ("times", json!(at.times())),
            ("mean_s", json!(nanos(at.mean_s()))),
            ("max_s", json!(at.max_s())),
            ("waited_s", json!(nanos(waited))),
            ("waiters_threshold", json!(WAITERS)),
        ],
    );
    let headline = victim.map_or_else(String::new, |victim| {
        format!(
            "{victim}, which {who} {} for {} at a time {}",
            if is_one { "keeps" } else { "keep" },
            duration(at.mean_s()),
            at.place()
        )
    });
    Finding { headline, ..found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::model::{Blamed, Severity};
    use crate::stack::collections::FRAME;

    fn kept(thread: &str, tid: i32, stack: &[&str], seconds: f64) -> NotReleased {
        let own = stack.iter().position(|frame| frame.contains("(app.py")).unwrap_or(0);
        let stack = stack.iter().map(|frame| (*frame).to_owned()).collect();
        let by = Blamed { tid, thread: thread.to_owned(), seconds, own, stack };
        NotReleased { times: 10, mean_s: 0.05, max_s: 0.08, function: None, by }
    }

    /// What is found in the fight, with that.
    fn found(not_released: Vec<NotReleased>) -> Vec<Finding> {
        let mut report = fixture::report();
        report.gils[0].not_released = not_released;
        super::not_released(&report, &report.gils[0])
    }

    #[test]
    fn who_does_not_release_it_is_named_with_the_line_and_the_function() {
        let mut one = kept("cruncher", 102, &["match (re.py:5)", "search (app.py:9)", "run (threading.py:3)"], 0.8);
        one.function = Some("sre_ucs1_match (libpython3.12.so)".to_owned());
        let finding = found(vec![one]).remove(0);
        assert_eq!(
            finding.message,
            "cruncher releases the GIL only 50.0 ms after being asked \
             (at most 80.0 ms), 10 times, in search (app.py:9), calling match (re.py:5): sre_ucs1_match \
             (libpython3.12.so), native code. Others waited 800 ms meanwhile. A shorter switch interval cannot help: work \
             on smaller pieces, or in another process."
        );
        assert_eq!((finding.severity, finding.cost_s), (Severity::High, 0.8));
    }

    #[test]
    fn threads_at_one_line_are_one_finding() {
        let stack = ["score (app.py:9)"];
        let all = found(vec![kept("pool_0", 7, &stack, 0.1), kept("pool_1", 8, &stack, 0.05)]);
        assert_eq!(all.len(), 1);
        assert!(
            all[0].message.starts_with("2 threads (pool_*) release the GIL only 50.0 ms after being asked"),
            "{}",
            all[0].message
        );
        assert_eq!((all[0].severity, all[0].cost_s), (Severity::Medium, 0.15));
    }

    #[test]
    fn what_is_short_or_costs_nothing_is_no_finding() {
        let stack = ["score (app.py:9)"];
        assert_eq!(found(vec![kept("pool_0", 7, &stack, 0.09)]), []);
        assert_eq!(found(vec![NotReleased { mean_s: 0.001, ..kept("pool_0", 7, &stack, 0.9) }]), []);
        let collects = found(vec![kept("pool_0", 7, &[FRAME, "build (app.py:3)"], 0.2)]).remove(0);
        assert!(
            collects.message.contains("in a garbage collection started in build (app.py:3)"),
            "{}",
            collects.message
        );
    }
}
