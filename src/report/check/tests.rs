//! Rules against reports that were made by hand.

use super::measure::{CheckedRecording, LongestHold};
use super::outcome::{CheckOutcome, CheckStatus};
use super::rules::{CheckLimit, CheckMetric, CheckRule};
use super::*;
use crate::profile::Mode;
use crate::report::{Report, fixture};

/// The fight, with that part of the threads' time waited for the GIL.
fn report(share: f64) -> Report {
    let mut report = fixture::report();
    let wall: f64 = report.threads.iter().map(|thread| thread.wall_s).sum();
    for thread in &mut report.gils[0].threads {
        thread.wait.total_s = 0.0;
    }
    report.gils[0].threads[0].wait.total_s = share * wall;
    report
}

/// A recording whose slices have these shares.
pub(super) fn recording(shares: &[f64]) -> CheckedRecording {
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    CheckedRecording {
        name: "app.gscope".to_owned(),
        report: report(mean),
        slices: shares.iter().map(|share| report(*share)).collect(),
        waits: 1000,
        holds: Vec::new(),
        unseen_functions: Vec::new(),
    }
}

fn in_memory_mode(mut recording: CheckedRecording) -> CheckedRecording {
    recording.report.session.mode = Mode::Memory;
    recording.report.session.samples = 1000;
    recording
}

fn rules(metric: CheckMetric, limit: CheckLimit) -> CheckRules {
    CheckRules { rules: vec![CheckRule { metric, limit }], ..CheckRules::default() }
}

#[track_caller]
fn first(rules: &CheckRules, recordings: &[CheckedRecording], baseline: &[CheckedRecording]) -> CheckOutcome {
    rules.check(recordings, baseline).unwrap().rules.remove(0)
}

#[test]
fn a_limit_is_broken_only_beyond_the_noise() {
    let limit = rules(CheckMetric::GilWait, CheckLimit::Share(0.05));
    let outcome = first(&limit, &[recording(&[0.1; 16])], &[]);
    assert_eq!(outcome.status, CheckStatus::Failed);
    assert_eq!(
        outcome.sentence,
        "waits for the GIL: 10 % of the threads' time, limit 5 %: 5.0 points too much; mostly held in crunch \
         (app.py:30)"
    );
    let noisy: Vec<f64> = (0..16).map(|slice| if slice % 4 == 0 { 0.24 } else { 0.0 }).collect();
    let outcome = first(&limit, &[recording(&noisy)], &[]);
    assert_eq!(outcome.status, CheckStatus::Passed, "{}", outcome.sentence);
    assert!(outcome.sentence.ends_with("1.0 points more, but that is within the noise"), "{}", outcome.sentence);
    assert_eq!(first(&limit, &[recording(&[0.01; 16])], &[]).status, CheckStatus::Passed);
}

#[test]
fn a_recording_that_cannot_say_does_not_pass() {
    let limit = rules(CheckMetric::GilWait, CheckLimit::Share(0.05));
    let mut few = in_memory_mode(recording(&[0.0; 16]));
    few.report.session.samples = 3;
    let outcome = first(&limit, &[few], &[]);
    assert_eq!(outcome.status, CheckStatus::Unknown);
    assert!(outcome.sentence.contains("only 3 samples"), "{}", outcome.sentence);
    let mut lost = recording(&[0.01; 16]);
    lost.report.session.lost_events = 500;
    assert_eq!(first(&limit, &[lost.clone()], &[]).status, CheckStatus::Unknown);
    // What is lost can only add to what is too much.
    lost = CheckedRecording { report: lost.report, ..recording(&[0.2; 16]) };
    lost.report.gils[0].threads[0].wait.total_s *= 20.0;
    assert_eq!(first(&limit, &[lost], &[]).status, CheckStatus::Failed);
    let nobody = CheckRules { threads: CheckedThreads(vec!["nobody".to_owned()]), ..limit };
    assert!(first(&nobody, &[recording(&[0.0; 16])], &[]).sentence.contains("no thread of that name"));
}

#[test]
fn the_longest_is_known_as_well_as_it_was_measured() {
    let hold = |seconds: f64| {
        let hold = LongestHold { seconds, words: "app.lock by worker (7) in handler (app.py:31)".to_owned() };
        let mut recording = recording(&[0.0; 16]);
        recording.holds = vec![(Some("handler".to_owned()), vec![None, Some(hold)])];
        recording
    };
    let limit = rules(CheckMetric::Hold(Some("handler".to_owned())), CheckLimit::Longest(0.005));
    let outcome = first(&limit, &[hold(0.02)], &[]);
    assert_eq!(outcome.status, CheckStatus::Failed);
    assert_eq!(
        outcome.sentence,
        "longest hold in handler while others waited: 20.0 ms, limit 5 ms: 15.0 ms too long; app.lock by worker (7) \
         in handler (app.py:31)"
    );
    assert_eq!(first(&limit, &[hold(0.004)], &[]).status, CheckStatus::Passed);
    // Samples are 10 ms apart, and do not tell one hold from the next.
    let status = |seconds| first(&limit, &[in_memory_mode(hold(seconds))], &[]).status;
    assert_eq!([0.0, 0.01, 0.02].map(status), [CheckStatus::Passed, CheckStatus::Unknown, CheckStatus::Unknown]);
    let long = rules(CheckMetric::Hold(Some("handler".to_owned())), CheckLimit::Longest(0.05));
    assert_eq!(first(&long, &[in_memory_mode(hold(0.02))], &[]).status, CheckStatus::Passed);
    // An outlier of one of two recordings.
    assert_eq!(first(&limit, &[hold(0.02), hold(0.004)], &[]).status, CheckStatus::Passed);
    assert_eq!(first(&limit, &[hold(0.02), hold(0.01)], &[]).status, CheckStatus::Failed);
}

#[test]
fn a_lock_that_nobody_waited_for_passes_and_that_is_said() {
    let limit = rules(CheckMetric::LockWait(Some("no.lock".to_owned())), CheckLimit::Share(0.02));
    let outcome = first(&limit, &[recording(&[0.0; 16])], &[]);
    assert_eq!(outcome.status, CheckStatus::Passed);
    assert!(outcome.sentence.ends_with("(no lock with this in its name was waited for)"), "{}", outcome.sentence);
}

#[test]
fn a_change_counts_only_beyond_the_noise_of_both() {
    let none = CheckRules::default();
    let steady = [recording(&[0.1; 16])];
    assert_eq!(first(&none, &steady, &steady).status, CheckStatus::Passed);
    let outcome = first(&none, &[recording(&[0.2; 16])], &steady);
    assert_eq!(outcome.status, CheckStatus::Failed);
    assert!(
        outcome.sentence.contains("20 % of the threads' time, 10 % in the baseline: 10 points more"),
        "{}",
        outcome.sentence
    );
    // A fifth more is tolerated, unless it is not.
    assert_eq!(first(&none, &[recording(&[0.115; 16])], &steady).status, CheckStatus::Passed);
    let strict = CheckRules { tolerance: Some(0.0), ..CheckRules::default() };
    assert_eq!(first(&strict, &[recording(&[0.115; 16])], &steady).status, CheckStatus::Failed);
    let less = first(&none, &steady, &[recording(&[0.2; 16])]);
    assert!(less.status == CheckStatus::Passed && less.sentence.ends_with("10 points less"), "{}", less.sentence);
    // The same difference in a program that has phases.
    let phases: Vec<f64> = (0..16).map(|slice| if slice / 4 % 2 == 0 { 0.0 } else { 0.4 }).collect();
    assert_eq!(first(&none, &[recording(&phases)], &steady).status, CheckStatus::Passed);
    // Others had the CPUs.
    let mut busy = recording(&[0.2; 16]);
    busy.report.threads.iter_mut().for_each(|thread| thread.states.runnable_s += 0.2 * thread.wall_s);
    assert_eq!(first(&none, &[busy], &steady).status, CheckStatus::Passed);
}

#[test]
fn recordings_of_different_modes_are_not_compared() {
    let error =
        CheckRules::default().check(&[recording(&[0.1; 16])], &[in_memory_mode(recording(&[0.1; 16]))]).unwrap_err();
    assert!(error.contains("the same --mode"), "{error}");
}

#[test]
fn longer_holds_count_if_they_are_usual() {
    let holds = |seconds: &[f64]| {
        let hold = |seconds: &f64| Some(LongestHold { seconds: *seconds, words: "the GIL".to_owned() });
        let mut recording = recording(&[0.0; 16]);
        recording.holds = vec![(None, seconds.iter().map(hold).collect())];
        [recording]
    };
    let limit = rules(CheckMetric::Hold(None), CheckLimit::Longest(1.0));
    let status = |after: &[f64], before: &[f64]| {
        let result = limit.check(&holds(after), &holds(before)).unwrap();
        result.rules.last().unwrap().status
    };
    let before = [0.005, 0.006, 0.007, 0.005, 0.009];
    assert_eq!(status(&before, &before), CheckStatus::Passed);
    assert_eq!(status(&[0.005, 0.5, 0.006, 0.007, 0.005], &before), CheckStatus::Passed, "one outlier");
    assert_eq!(status(&[0.02, 0.03, 0.02, 0.02, 0.02], &before), CheckStatus::Failed);
}
