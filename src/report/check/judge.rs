//! Whether recordings keep rules, and whether they are worse than a baseline: with the sentence that says why.

use super::measure::{CheckedRecording, CheckedThreads, LongestTime, NoisyShare};
use super::measure::{has_lock, longest, main_cause, noisy_share, without_cpu};
use super::outcome::{CheckOutcome, CheckStatus};
use super::rules::{CheckLimit, CheckMetric, CheckRule};
use crate::profile::Mode;
use crate::report::text::units::{duration, percent};
use crate::stack::label::one_line;

/// A change of less than that part of the threads' time is nothing to act on, noise or not.
const MIN_CHANGE: f64 = 0.01;
/// A longest time that is longer by less than that, in seconds, is nothing to act on either.
const MIN_LONGER: f64 = 1e-3;
/// Shares that rest on fewer samples say nothing.
const MIN_SAMPLES: u64 = 30;
/// More lost records than that part of all, and what is not there may have been lost.
const MAX_LOST: f64 = 0.05;
/// Where other programs had the CPUs for some more of the threads' time, those who wait for who has none wait, too: how many
/// there are for each is not known.
const WAITERS_PER_HOLDER: f64 = 2.0;

/// Recordings of one program, and what to look at in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedSide<'a> {
    pub recordings: &'a [CheckedRecording],
    pub threads: &'a CheckedThreads,
}

/// A share in the words of a sentence: `3.1 % (± 0.2)`.
fn words(share: NoisyShare) -> String {
    match points(share.margin) {
        zero if zero == "0" => percent(share.value),
        margin => format!("{} (± {margin})", percent(share.value)),
    }
}

/// Percentage points in few digits.
pub(crate) fn points(part: f64) -> String {
    match part.abs() * 100.0 {
        tiny if tiny < 0.005 => "0".to_owned(),
        few if few < 0.995 => format!("{few:.2}"),
        some if some < 9.95 => format!("{some:.1}"),
        many => format!("{many:.0}"),
    }
}

/// What a share is called, and of what it is one.
fn share_words(metric: &CheckMetric) -> (String, &'static str) {
    let of_threads = "of the threads' time";
    match metric {
        CheckMetric::GilWait => ("waits for the GIL".to_owned(), of_threads),
        CheckMetric::LockWait(None) => ("waits for locks".to_owned(), of_threads),
        CheckMetric::LockWait(Some(name)) => (format!("waits for {}", one_line(name)), of_threads),
        CheckMetric::Pause => ("stops of all threads".to_owned(), of_threads),
        CheckMetric::Hold(_) => ("holds".to_owned(), of_threads),
        CheckMetric::Collections => ("garbage collections".to_owned(), "of the recording"),
    }
}

fn longest_words(metric: &CheckMetric) -> String {
    match metric {
        CheckMetric::GilWait => "longest wait for the GIL".to_owned(),
        CheckMetric::LockWait(None) => "longest wait for a lock".to_owned(),
        CheckMetric::LockWait(Some(name)) => format!("longest wait for {}", one_line(name)),
        CheckMetric::Pause => "longest pause".to_owned(),
        CheckMetric::Hold(None) => "longest hold while others waited".to_owned(),
        CheckMetric::Hold(Some(function)) => format!("longest hold in {} while others waited", one_line(function)),
        CheckMetric::Collections => "longest garbage collection".to_owned(),
    }
}

impl CheckedSide<'_> {
    fn share(&self, metric: &CheckMetric) -> NoisyShare {
        let shares = self.recordings.iter().map(|recording| noisy_share(recording, metric, self.threads));
        NoisyShare::together(&shares.collect::<Vec<_>>())
    }

    fn longest(&self, metric: &CheckMetric) -> Vec<LongestTime> {
        self.recordings.iter().map(|recording| longest(recording, metric, self.threads)).collect()
    }

    /// `; mostly held in handler (app.py:31)`, as the costliest of the recordings says.
    fn cause(&self, metric: &CheckMetric) -> String {
        let share = |recording: &&CheckedRecording| noisy_share(recording, metric, self.threads).value;
        let worst = self.recordings.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
        let cause = worst.and_then(|recording| main_cause(&recording.report, metric));
        cause.map_or_else(String::new, |cause| format!("; {cause}"))
    }

    fn without_cpu(&self) -> f64 {
        let all: f64 = self.recordings.iter().map(|recording| without_cpu(&recording.report)).sum();
        all / self.recordings.len().max(1) as f64
    }

    fn has_lock(&self, name: &str) -> bool {
        self.recordings.iter().any(|recording| has_lock(&recording.report, name))
    }

    /// Why the recordings cannot say that something was not there, if they cannot.
    fn is_incomplete(&self, metric: &CheckMetric, needs_samples: bool) -> Option<String> {
        self.recordings.iter().find_map(|recording| {
            let session = &recording.report.session;
            let name = one_line(&recording.name);
            let records = session.lost_events as f64 / (session.lost_events + recording.waits).max(1) as f64;
            if recording.report.threads.is_empty() {
                return Some(format!("{name} has no thread in it: record for longer"));
            }
            if self.threads.has_none_of(&recording.report) {
                return Some(format!("{name} has no thread of that name (--thread)"));
            }
            if records > MAX_LOST && !matches!(metric, CheckMetric::Collections) {
                let lost = percent(records);
                return Some(format!("{lost} of the records of {name} were lost: record with --min-wait 50"));
            }
            let few = session.mode == Mode::Memory && session.samples < MIN_SAMPLES && needs_samples;
            few.then(|| {
                format!("{name} has only {} samples: record for longer, or with a higher rate (-r)", session.samples)
            })
        })
    }
}

/// Says whether the recordings keep a rule.
pub(crate) fn judge(rule: &CheckRule, side: CheckedSide<'_>) -> CheckOutcome {
    let mut outcome = match rule.limit {
        CheckLimit::Share(limit) => judge_share(rule, limit, side),
        CheckLimit::Longest(limit) => judge_longest(rule, limit, side),
    };
    if outcome.status == CheckStatus::Passed
        && let CheckMetric::LockWait(Some(name)) = &rule.metric
        && !side.has_lock(name)
    {
        outcome.sentence.push_str(" (no lock with this in its name was waited for)");
    }
    if outcome.status == CheckStatus::Passed
        && let CheckMetric::Hold(Some(function)) = &rule.metric
        && side.recordings.iter().all(|recording| recording.unseen_functions.contains(function))
    {
        outcome.sentence.push_str(" (no function of this name was seen)");
    }
    // What was lost can only add to what is too much already.
    if outcome.status == CheckStatus::Passed {
        let is_share = matches!(rule.limit, CheckLimit::Share(_));
        if let Some(why) = side.is_incomplete(&rule.metric, is_share) {
            outcome.sentence = format!("{}: {why}", subject(rule));
            outcome.status = CheckStatus::Unknown;
        }
    }
    outcome
}

fn subject(rule: &CheckRule) -> String {
    match rule.limit {
        CheckLimit::Share(_) => share_words(&rule.metric).0,
        CheckLimit::Longest(_) => longest_words(&rule.metric),
    }
}

fn judge_share(rule: &CheckRule, limit: f64, side: CheckedSide<'_>) -> CheckOutcome {
    let share = side.share(&rule.metric);
    let (what, of) = share_words(&rule.metric);
    let is = format!("{what}: {} {of}, limit {}", words(share), CheckLimit::Share(limit).words());
    let over = share.value - limit;
    let (status, sentence) = if over > share.margin && over > 0.0 {
        let cause = side.cause(&rule.metric);
        (CheckStatus::Failed, format!("{is}: {} points too much{cause}", points(over)))
    } else if over > 0.0 {
        (CheckStatus::Passed, format!("{is}: {} points more, but that is within the noise", points(over)))
    } else {
        (CheckStatus::Passed, is)
    };
    CheckOutcome {
        rule: rule.to_string(),
        status,
        sentence,
        value: share.value,
        margin: share.margin,
        limit: Some(limit),
        baseline: None,
        baseline_margin: None,
        is_share: true,
    }
}

fn judge_longest(rule: &CheckRule, limit: f64, side: CheckedSide<'_>) -> CheckOutcome {
    let all = side.longest(&rule.metric);
    // An outlier of one recording of several is not the program's.
    let least = all.iter().min_by(|a, b| a.value.total_cmp(&b.value));
    let (value, resolution) = least.map_or((0.0, 0.0), |longest| (longest.value, longest.resolution));
    let what = longest_words(&rule.metric);
    let several = if all.len() > 1 { " or more in each recording" } else { "" };
    let measured = match value {
        0.0 => "none was seen".to_owned(),
        _ if resolution > 0.0 => format!("{} (± {}){several}", duration(value), duration(resolution)),
        _ => format!("{}{several}", duration(value)),
    };
    let is = format!("{what}: {measured}, limit {}", CheckLimit::Longest(limit).words());
    let may_be_several = least.is_some_and(|longest| longest.may_be_several);
    let (status, sentence) = if value > 0.0 && value - resolution > limit && !may_be_several {
        let words = least.and_then(|longest| longest.words.clone()).map(|words| format!("; {words}"));
        let words = words.unwrap_or_else(|| side.cause(&rule.metric));
        (CheckStatus::Failed, format!("{is}: {} too long{words}", duration(value - limit)))
    } else if value > 0.0 && value + resolution > limit && resolution > 0.0 {
        let why = match may_be_several {
            true => "samples do not tell one from the next, so it cannot be said: record in kernel mode".to_owned(),
            false => format!(
                "samples are {} apart, so it cannot be said: record in kernel mode, or with a higher rate (-r)",
                duration(resolution)
            ),
        };
        (CheckStatus::Unknown, format!("{is}: {why}"))
    } else if all.iter().any(|longest| longest.is_incomplete) {
        let why = "how long locks were held is not known from samples: record in kernel mode";
        (CheckStatus::Unknown, format!("{is}, but {why}"))
    } else {
        (CheckStatus::Passed, is)
    };
    CheckOutcome {
        rule: rule.to_string(),
        status,
        sentence,
        value,
        margin: resolution,
        limit: Some(limit),
        baseline: None,
        baseline_margin: None,
        is_share: false,
    }
}

/// Whether the recordings are worse than a baseline. `tolerance` is which part of what the baseline has may be added.
pub(crate) fn judge_change(
    metric: &CheckMetric,
    side: CheckedSide<'_>,
    baseline: CheckedSide<'_>,
    tolerance: f64,
) -> CheckOutcome {
    let mut outcome = match metric {
        CheckMetric::Hold(_) | CheckMetric::Pause => longer(metric, side, baseline, tolerance),
        _ => more(metric, side, baseline, tolerance),
    };
    let unclear = || {
        let is_unclear =
            |longest: &LongestTime| longest.is_incomplete || longest.may_be_several && longest.value > 0.0;
        let is_hold = matches!(metric, CheckMetric::Hold(_));
        let is_unclear = is_hold && [side, baseline].iter().any(|side| side.longest(metric).iter().any(is_unclear));
        is_unclear.then(|| "samples do not tell one hold from the next: record in kernel mode".to_owned())
    };
    let missing = [side, baseline].into_iter().find_map(|side| side.is_incomplete(metric, true)).or_else(unclear);
    if let Some(why) = missing {
        outcome.sentence = format!("{}: {why}", share_words(metric).0);
        outcome.status = CheckStatus::Unknown;
    }
    outcome
}

fn change_name(metric: &CheckMetric) -> String {
    let name = metric.name().map_or_else(String::new, |name| format!(" {name}"));
    format!("--baseline: {}{name}", metric.option().trim_start_matches("--max-"))
}

/// What of a difference is noise, or nothing to act on.
pub(crate) fn allowed_change(before: NoisyShare, after: NoisyShare, tolerance: f64) -> f64 {
    before.margin.hypot(after.margin) + MIN_CHANGE.max(tolerance * before.value)
}

fn more(metric: &CheckMetric, side: CheckedSide<'_>, baseline: CheckedSide<'_>, tolerance: f64) -> CheckOutcome {
    let (before, after) = (baseline.share(metric), side.share(metric));
    let busier = (side.without_cpu() - baseline.without_cpu()).max(0.0);
    let allowed = allowed_change(before, after, tolerance) + WAITERS_PER_HOLDER * busier;
    let (what, of) = share_words(metric);
    let is = format!("{what}: {} {of}, {} in the baseline", words(after), words(before));
    let change = after.value - before.value;
    let (mut status, mut sentence) = if change > allowed {
        let cause = side.cause(metric);
        let by = points(change);
        (CheckStatus::Failed, format!("{is}: {by} points more, {} are allowed as noise{cause}", points(allowed)))
    } else if change < -allowed {
        (CheckStatus::Passed, format!("{is}: {} points less", points(change)))
    } else {
        (CheckStatus::Passed, format!("{is}: no difference beyond noise ({} points)", points(allowed)))
    };
    if let CheckMetric::LockWait(Some(name)) = metric
        && status == CheckStatus::Failed
        && !baseline.has_lock(name)
        && baseline.share(&CheckMetric::LockWait(None)).value >= after.value
    {
        status = CheckStatus::Unknown;
        sentence = format!("{is}: the baseline has no lock of that name, but others whose name may not be known");
    }
    CheckOutcome {
        rule: change_name(metric),
        status,
        sentence,
        value: after.value,
        margin: after.margin,
        limit: None,
        baseline: Some(before.value),
        baseline_margin: Some(before.margin),
        is_share: true,
    }
}

/// The longest of all is a matter of chance. That it is longer in more than half of all slices than it ever was is none.
fn longer(metric: &CheckMetric, side: CheckedSide<'_>, baseline: CheckedSide<'_>, tolerance: f64) -> CheckOutcome {
    let (before, after) = (baseline.longest(metric), side.longest(metric));
    let ever = before.iter().map(|longest| longest.value).fold(0.0, f64::max);
    let mut slices: Vec<f64> = after.iter().flat_map(|longest| longest.slices.iter().copied()).collect();
    slices.sort_by(f64::total_cmp);
    // Below the middle: two of five slices may be outliers.
    let usual = slices.get(slices.len() * 2 / 5).copied().unwrap_or(0.0);
    let resolution = before.iter().chain(&after).map(|longest| longest.resolution).fold(0.0, f64::max);
    let allowed = ever + (tolerance * ever).max(MIN_LONGER) + 2.0 * resolution;
    let what = longest_words(metric);
    let words = |seconds: f64| if seconds > 0.0 { duration(seconds) } else { "none seen".to_owned() };
    let is = format!("{what}: usually {}, at most {} in the baseline", words(usual), words(ever));
    let (status, sentence) = if usual > allowed {
        let words = after.iter().find_map(|longest| longest.words.clone()).map(|words| format!("; {words}"));
        let words = words.unwrap_or_else(|| side.cause(metric));
        (CheckStatus::Failed, format!("{is}: {} longer{words}", duration(usual - ever)))
    } else {
        (CheckStatus::Passed, format!("{is}: no difference beyond noise"))
    };
    CheckOutcome {
        rule: change_name(metric),
        status,
        sentence,
        value: usual,
        margin: resolution,
        limit: None,
        baseline: Some(ever),
        baseline_margin: Some(resolution),
        is_share: false,
    }
}

/// Why two sides cannot be compared at all, if they cannot.
pub(crate) fn incomparable(side: CheckedSide<'_>, baseline: CheckedSide<'_>) -> Option<String> {
    let mode = |side: CheckedSide<'_>| side.recordings.first().map(|recording| recording.report.session.mode);
    let all = || side.recordings.iter().chain(baseline.recordings);
    let first = mode(side)?;
    let other = all().find(|recording| recording.report.session.mode != first)?;
    let name = |mode| if mode == Mode::Kernel { "kernel" } else { "memory" };
    let session = &other.report.session;
    Some(format!(
        "{} was recorded in {} mode, others in {} mode, which estimate waits differently: record all with the same --mode",
        one_line(&other.name),
        name(session.mode),
        name(first)
    ))
}
