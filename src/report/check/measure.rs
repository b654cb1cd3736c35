//! The numbers that rules limit, from reports: of whole recordings, and of slices of them, whose differences are the noise.

use super::rules::CheckMetric;
use crate::profile::Mode;
use crate::report::Report;
use crate::report::model::{Lock, Wait, WaitCause};

/// The longest time for which the GIL or a lock was held while others waited.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LongestHold {
    /// Without the time for which the holder had no CPU.
    pub seconds: f64,
    /// What was held, by whom, and where.
    pub words: String,
}

/// One recording, as far as rules need it.
#[derive(Clone, Debug)]
pub(crate) struct CheckedRecording {
    /// What to call it.
    pub name: String,
    pub report: Report,
    /// The parts that it was divided into, of equal length and in order.
    pub slices: Vec<Report>,
    /// Times off the CPU that were recorded (kernel mode).
    pub waits: u64,
    /// For each function that a rule names, and for all together: the longest hold of each slice.
    pub holds: Vec<(Option<String>, Vec<Option<LongestHold>>)>,
    /// Those of these functions that are on no stack.
    pub unseen_functions: Vec<String>,
}

/// The threads that are looked at: those with one of these names or tids, `*` standing for any end of a name. All if there
/// are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckedThreads(pub Vec<String>);

impl CheckedThreads {
    fn has(&self, name: Option<&str>, tid: i32) -> bool {
        let matches = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => name.is_some_and(|name| name.starts_with(start)),
            None => name == Some(wanted) || *wanted == tid.to_string(),
        };
        self.0.is_empty() || self.0.iter().any(matches)
    }

    /// None of a recording's threads is meant.
    pub(crate) fn has_none_of(&self, report: &Report) -> bool {
        !report.threads.iter().any(|thread| self.has(thread.name.as_deref(), thread.tid))
    }
}

/// The locks that a rule is about.
fn locks<'r>(report: &'r Report, name: Option<&'r str>) -> impl Iterator<Item = &'r Lock> {
    report.real_locks().filter(move |lock| name.is_none_or(|name| lock.label.contains(name)))
}

/// Whether a recording has locks of that name.
pub(crate) fn has_lock(report: &Report, name: &str) -> bool {
    locks(report, Some(name)).next().is_some()
}

/// The waits of the threads that are looked at.
fn waits<'r>(report: &'r Report, metric: &'r CheckMetric, threads: &'r CheckedThreads) -> Vec<Wait> {
    let by_thread = |name: &str, tid: i32, wait: Wait| threads.has(Some(name), tid).then_some(wait);
    match metric {
        CheckMetric::GilWait => {
            let all = report.gils.iter().flat_map(|gil| &gil.threads);
            all.filter_map(|thread| by_thread(&thread.thread, thread.tid, thread.wait)).collect()
        }
        CheckMetric::LockWait(name) => {
            let all = locks(report, name.as_deref()).flat_map(|lock| &lock.threads);
            all.filter_map(|thread| by_thread(&thread.thread, thread.tid, thread.wait)).collect()
        }
        _ => Vec::new(),
    }
}

/// The part of the threads' time that a metric takes; for collections, of the recording.
pub(crate) fn share(report: &Report, metric: &CheckMetric, threads: &CheckedThreads) -> f64 {
    let part = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let duration = report.session.duration_s;
    match metric {
        CheckMetric::Collections => part(report.collections.total_s, duration),
        CheckMetric::Pause => part(report.pauses.wait.total_s, wall(report, threads)),
        _ => {
            let waited: f64 = waits(report, metric, threads).iter().map(|wait| wait.total_s).sum();
            part(waited, wall(report, threads))
        }
    }
}

fn wall(report: &Report, threads: &CheckedThreads) -> f64 {
    let selected = report.threads.iter().filter(|thread| threads.has(thread.name.as_deref(), thread.tid));
    selected.map(|thread| thread.wall_s).sum()
}

/// The part of the threads' time for which they were ready to run, but had no CPU.
pub(crate) fn without_cpu(report: &Report) -> f64 {
    let whole: f64 = report.threads.iter().map(|thread| thread.wall_s).sum();
    let states = report.threads.iter().map(|thread| thread.states);
    let without: f64 = states.map(|states| states.runnable_s + states.gil_held_no_cpu_s).sum();
    if whole > 0.0 { without / whole } else { 0.0 }
}

/// The longest time of a metric in seconds, other than of a hold.
fn longest_of(report: &Report, metric: &CheckMetric, threads: &CheckedThreads) -> f64 {
    match metric {
        CheckMetric::Pause => {
            // Without a GIL other threads run while one collects.
            let collection = if report.target.gil_enabled { report.collections.longest_s } else { 0.0 };
            report.pauses.wait.max_s.max(collection)
        }
        CheckMetric::Collections => report.collections.longest_s,
        _ => waits(report, metric, threads).iter().map(|wait| wait.max_s).fold(0.0, f64::max),
    }
}

/// How far a share of a recording may be off: three standard errors of what its slices differ by.
const ERRORS: f64 = 3.0;

/// A share with its margin: as likely as not to be anywhere in it, and hardly ever outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NoisyShare {
    pub value: f64,
    pub margin: f64,
}

impl NoisyShare {
    /// That of a whole whose parts, of equal length, had these. `samples` is how many samples it rests on, if it does.
    pub(crate) fn new(value: f64, parts: &[f64], samples: Option<u64>) -> NoisyShare {
        let mut error = standard_error(parts);
        if let Some(samples) = samples {
            let samples = samples.max(1) as f64;
            let part = value.clamp(0.0, 1.0);
            error = error.max((part * (1.0 - part) / samples).sqrt()).max(1.0 / samples);
        }
        NoisyShare { value, margin: ERRORS * error }
    }

    /// That of several recordings of one program. Their differences are part of the noise.
    pub(crate) fn together(all: &[NoisyShare]) -> NoisyShare {
        let count = all.len().max(1) as f64;
        let value = all.iter().map(|share| share.value).sum::<f64>() / count;
        let margin = all.iter().map(|share| share.margin.powi(2)).sum::<f64>().sqrt() / count;
        let values = || all.iter().map(|share| share.value);
        let spread = values().fold(0.0, f64::max) - values().fold(f64::INFINITY, f64::min);
        NoisyShare { value, margin: if all.len() > 1 { margin.max(spread) } else { margin } }
    }
}

/// The standard error of the mean of consecutive parts. What lasts longer than a part makes neighbours alike: parts are joined
/// by twos and fours, too, and the largest error counts.
fn standard_error(parts: &[f64]) -> f64 {
    let of = |size: usize| {
        let blocks: Vec<f64> =
            parts.chunks_exact(size).map(|block| block.iter().sum::<f64>() / size as f64).collect();
        let count = blocks.len() as f64;
        if blocks.len() < 3 {
            return 0.0;
        }
        let mean = blocks.iter().sum::<f64>() / count;
        let variance = blocks.iter().map(|block| (block - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (variance / count).sqrt()
    };
    [1, 2, 4].into_iter().map(of).fold(0.0, f64::max)
}

/// The share of one recording.
pub(crate) fn noisy_share(
    recording: &CheckedRecording,
    metric: &CheckMetric,
    threads: &CheckedThreads,
) -> NoisyShare {
    let parts: Vec<f64> = recording.slices.iter().map(|slice| share(slice, metric, threads)).collect();
    let session = &recording.report.session;
    let samples = (session.mode == Mode::Memory).then_some(session.samples);
    NoisyShare::new(share(&recording.report, metric, threads), &parts, samples)
}

/// The longest time of something in one recording, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LongestTime {
    pub value: f64,
    /// The longest of each slice.
    pub slices: Vec<f64>,
    /// By how much it may be off: samples are so far apart. 0 where times are measured.
    pub resolution: f64,
    /// It may be several in a row: between two samples a thread can release what it holds, and acquire it again.
    pub may_be_several: bool,
    /// There may have been others of which nothing is known.
    pub is_incomplete: bool,
    /// What it was, if that is known.
    pub words: Option<String>,
}

/// The longest time of a metric in one recording.
pub(crate) fn longest(recording: &CheckedRecording, metric: &CheckMetric, threads: &CheckedThreads) -> LongestTime {
    let session = &recording.report.session;
    let resolution = match session.mode {
        Mode::Memory if session.rate_hz > 0.0 => 1.0 / session.rate_hz,
        _ => 0.0,
    };
    let CheckMetric::Hold(function) = metric else {
        let slices = recording.slices.iter().map(|slice| longest_of(slice, metric, threads)).collect();
        let value = longest_of(&recording.report, metric, threads);
        let may_be_several = resolution > 0.0 && matches!(metric, CheckMetric::GilWait | CheckMetric::LockWait(_));
        return LongestTime { value, slices, resolution, may_be_several, is_incomplete: false, words: None };
    };
    let found = recording.holds.iter().find(|(of, _)| of == function);
    let holds = found.map_or(&[][..], |(_, holds)| holds);
    let seconds = |hold: &Option<LongestHold>| hold.as_ref().map_or(0.0, |hold| hold.seconds);
    let worst = holds.iter().flatten().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    LongestTime {
        value: worst.map_or(0.0, |hold| hold.seconds),
        slices: holds.iter().map(seconds).collect(),
        resolution,
        may_be_several: resolution > 0.0,
        // Who held a lock for how long is not known from samples.
        is_incomplete: resolution > 0.0 && recording.report.real_locks().any(|lock| lock.wait.count > 0),
        words: worst.map(|hold| hold.words.clone()),
    }
}

/// The code that most of the waiting of a metric is attributed to.
pub(crate) fn main_cause(report: &Report, metric: &CheckMetric) -> Option<String> {
    let worst = |causes: Vec<&WaitCause>| {
        let worst = causes.into_iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
        Some(format!("mostly held in {}", worst.place))
    };
    match metric {
        CheckMetric::GilWait => worst(report.gils.iter().flat_map(|gil| &gil.causes).collect()),
        CheckMetric::LockWait(name) => worst(locks(report, name.as_deref()).flat_map(|lock| &lock.causes).collect()),
        CheckMetric::Collections | CheckMetric::Pause => {
            let by = report.collections.by.first().or(report.pauses.requesters.first())?;
            Some(format!("mostly started in {}", by.own_line()?))
        }
        CheckMetric::Hold(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn shares_are_of_the_time_of_the_threads_that_are_looked_at() {
        let report = fixture::report();
        let all = share(&report, &CheckMetric::GilWait, &CheckedThreads::default());
        let waited: f64 = report.gils[0].wait.total_s;
        let wall: f64 = report.threads.iter().map(|thread| thread.wall_s).sum();
        assert!((all - waited / wall).abs() < 1e-9, "{all}");
        let client = share(&report, &CheckMetric::GilWait, &CheckedThreads(vec!["cli*".to_owned()]));
        assert!((client - 0.76).abs() < 0.01, "{client}");
        assert_eq!(client, share(&report, &CheckMetric::GilWait, &CheckedThreads(vec!["101".to_owned()])));
        assert!(CheckedThreads(vec!["nobody".to_owned()]).has_none_of(&report));
        assert_eq!(share(&report, &CheckMetric::LockWait(None), &CheckedThreads::default()), 0.0);
    }

    #[test]
    fn what_lasts_longer_than_a_slice_is_noise_too() {
        let steady = [0.2; 16];
        assert!(NoisyShare::new(0.2, &steady, None).margin < 1e-9);
        let alternating: Vec<f64> = (0..16).map(|slice| f64::from(slice % 2)).collect();
        let phases: Vec<f64> = (0..16).map(|slice| f64::from(slice / 4 % 2)).collect();
        let margin = |parts: &[f64]| NoisyShare::new(0.5, parts, None).margin;
        assert!(margin(&phases) > 1.5 * margin(&alternating), "{} {}", margin(&phases), margin(&alternating));
        // Nothing seen in few samples is not nothing.
        assert!(NoisyShare::new(0.0, &[0.0; 16], Some(100)).margin > 0.02);
    }

    #[test]
    fn recordings_that_differ_make_the_margin_wider() {
        let one = |value| NoisyShare { value, margin: 0.02 };
        let alike = NoisyShare::together(&[one(0.2), one(0.2), one(0.2), one(0.2)]);
        assert!((alike.value - 0.2).abs() < 1e-12 && (alike.margin - 0.01).abs() < 1e-12, "{alike:?}");
        let apart = NoisyShare::together(&[one(0.1), one(0.3)]);
        assert!((apart.margin - 0.2).abs() < 1e-12, "{apart:?}");
    }
}
