//! `gilscope check`: whether recordings keep rules, and whether they are worse than a baseline. Pure.
//!
//! Two recordings of one program are never alike. How much they differ by chance is estimated from each: it is divided into
//! slices, and what these differ by says how far the whole may be off ([`measure`]). [`judge`] compares, [`outcome`] prints.

pub(crate) mod holds;
pub(crate) mod judge;
pub(crate) mod measure;
pub(crate) mod outcome;
pub(crate) mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod waits;

use self::judge::{CheckedSide, incomparable, judge, judge_change};
use self::measure::{CheckedRecording, CheckedThreads};
use self::outcome::CheckResult;
use self::rules::{CheckMetric, CheckRule};
use crate::report::text::units::percent;
use crate::stack::label::one_line;

/// Into how many slices a recording is divided at most, and how long they are at least, in nanoseconds.
pub(crate) const MAX_SLICES: usize = 16;
pub(crate) const MIN_SLICE_NS: u64 = 200_000_000;
/// Fewer say nothing of how much they differ.
pub(crate) const MIN_SLICES: usize = 5;

/// Which part of what a baseline has may be added before a recording is worse, beyond the noise.
pub(crate) const TOLERANCE: f64 = 0.2;

/// Locks that are waited for for less than that part of the threads' time are not compared by name.
pub(crate) const MIN_LOCK_SHARE: f64 = 0.01;

/// Into how many slices a recording of that length is divided.
pub(crate) fn slice_count(duration_ns: u64) -> usize {
    usize::try_from(duration_ns / MIN_SLICE_NS).unwrap_or(MAX_SLICES).clamp(MIN_SLICES, MAX_SLICES)
}

/// What recordings are checked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CheckRules {
    pub rules: Vec<CheckRule>,
    /// Whose waits are looked at.
    pub threads: CheckedThreads,
    /// [`TOLERANCE`] unless another is asked for.
    pub tolerance: Option<f64>,
}

impl CheckRules {
    /// The functions whose holds must be known; all together is one of them. Empty if no rule is about holds.
    pub(crate) fn hold_functions(&self) -> Vec<Option<String>> {
        let mut functions: Vec<Option<String>> = Vec::new();
        for rule in &self.rules {
            if let CheckMetric::Hold(function) = &rule.metric
                && !functions.contains(function)
            {
                functions.push(function.clone());
            }
        }
        functions
    }

    /// What is compared with a baseline: waits, collections and pauses, and whatever there is a rule for.
    fn compared(&self) -> Vec<CheckMetric> {
        let mut metrics =
            vec![CheckMetric::GilWait, CheckMetric::LockWait(None), CheckMetric::Collections, CheckMetric::Pause];
        for rule in &self.rules {
            if !metrics.contains(&rule.metric) {
                metrics.push(rule.metric.clone());
            }
        }
        metrics
    }

    /// Checks recordings of one program, and compares them with those of a baseline if there are any.
    ///
    /// # Errors
    /// The two cannot be compared; the text says why.
    pub(crate) fn check(
        &self,
        recordings: &[CheckedRecording],
        baseline: &[CheckedRecording],
    ) -> Result<CheckResult, String> {
        let side = CheckedSide { recordings, threads: &self.threads };
        let before = CheckedSide { recordings: baseline, threads: &self.threads };
        let mut outcomes: Vec<_> = self.rules.iter().map(|rule| judge(rule, side)).collect();
        if !baseline.is_empty() {
            if let Some(why) = incomparable(side, before) {
                return Err(why);
            }
            let tolerance = self.tolerance.unwrap_or(TOLERANCE);
            let compared = self.compared();
            outcomes.extend(compared.iter().map(|metric| judge_change(metric, side, before, tolerance)));
        }
        let names = |side: &[CheckedRecording]| side.iter().map(|recording| recording.name.clone()).collect();
        Ok(CheckResult::new(names(recordings), names(baseline), notes(recordings, baseline), outcomes))
    }
}

/// What makes recordings different that is not the program's doing, in sentences.
fn notes(recordings: &[CheckedRecording], baseline: &[CheckedRecording]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let all = || recordings.iter().chain(baseline);
    for recording in all() {
        let about = |note: &String| format!("{}: {}", one_line(&recording.name), one_line(note));
        notes.extend(recording.report.session.degraded.iter().map(about));
        let session = &recording.report.session;
        let torn = session.torn_samples as f64 / session.samples.max(1) as f64;
        if torn > 0.1 {
            notes.push(format!("{}: {} of the samples have no stack", one_line(&recording.name), percent(torn)));
        }
    }
    if let (Some(one), Some(other)) = (recordings.first(), baseline.first()) {
        notes.extend(super::difference::differences(&other.report, &one.report));
    }
    notes
}
