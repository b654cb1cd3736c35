//! What threads wait for in one recording and not, or less, in another. Used by `gilscope diff`.

use super::judge::{allowed_change, points};
use super::measure::{CheckedRecording, CheckedThreads, has_lock, noisy_share};
use super::rules::CheckMetric;
use super::{MIN_LOCK_SHARE, TOLERANCE};
use crate::report::Report;
use crate::report::text::units::percent;
use crate::stack::label::one_line;

/// What threads wait for more or less than before, beyond the noise, in sentences; or that there is no such thing.
pub(crate) fn wait_changes(before: &CheckedRecording, after: &CheckedRecording) -> Vec<String> {
    let mut metrics =
        vec![CheckMetric::GilWait, CheckMetric::LockWait(None), CheckMetric::Pause, CheckMetric::Collections];
    let mut names: Vec<&str> = [before, after].into_iter().flat_map(|side| named_locks(&side.report)).collect();
    names.sort_unstable();
    names.dedup();
    metrics.extend(names.into_iter().map(|name| CheckMetric::LockWait(Some(name.to_owned()))));
    let changed: Vec<String> = metrics.iter().filter_map(|metric| wait_change(metric, before, after)).collect();
    match changed.is_empty() {
        true => vec!["waits for the GIL and for locks: no difference beyond noise".to_owned()],
        false => changed,
    }
}

fn named_locks(report: &Report) -> impl Iterator<Item = &str> {
    let worth = MIN_LOCK_SHARE * report.threads.iter().map(|thread| thread.wall_s).sum::<f64>();
    report.real_locks().filter(move |lock| lock.wait.total_s > worth).filter_map(|lock| lock.name.as_deref())
}

fn wait_change(metric: &CheckMetric, before: &CheckedRecording, after: &CheckedRecording) -> Option<String> {
    let share = |side: &CheckedRecording, metric: &CheckMetric| noisy_share(side, metric, &CheckedThreads::default());
    let (was, is) = (share(before, metric), share(after, metric));
    if let CheckMetric::LockWait(Some(name)) = metric {
        // It may be among those whose names did not become known.
        let may_have_it = |side: &CheckedRecording, elsewhere: f64| {
            !has_lock(&side.report, name) && share(side, &CheckMetric::LockWait(None)).value >= elsewhere
        };
        if may_have_it(before, is.value) || may_have_it(after, was.value) {
            return None;
        }
    }
    let change = is.value - was.value;
    let noise = allowed_change(was, is, TOLERANCE);
    let what = match metric {
        CheckMetric::LockWait(Some(name)) => format!("waits for {}", one_line(name)),
        CheckMetric::LockWait(None) => "waits for locks".to_owned(),
        CheckMetric::Pause => "stops of all threads".to_owned(),
        CheckMetric::Collections => "garbage collections".to_owned(),
        _ => "waits for the GIL".to_owned(),
    };
    (change.abs() > noise).then(|| {
        format!(
            "{what}: {} of the time before, {} after: {} points {} (noise ± {})",
            percent(was.value),
            percent(is.value),
            points(change),
            if change > 0.0 { "more" } else { "less" },
            points(noise)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::recording;
    use super::*;

    #[test]
    fn a_change_beyond_noise_is_said_and_no_other() {
        let (less, more) = (recording(&[0.1; 16]), recording(&[0.3; 16]));
        let none = ["waits for the GIL and for locks: no difference beyond noise"];
        assert_eq!(wait_changes(&less, &less), none);
        assert_eq!(wait_changes(&less, &recording(&[0.11; 16])), none);
        let changes = wait_changes(&less, &more);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(
            changes[0].starts_with("waits for the GIL: 10 % of the time before, 30 % after: 20 points more"),
            "{changes:?}"
        );
        assert!(wait_changes(&more, &less)[0].contains("20 points less"));
    }
}
