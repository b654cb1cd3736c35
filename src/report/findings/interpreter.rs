//! What is wrong inside the interpreter: a GIL that is on where there need not be one, stops of all threads, collections,
//! reference counts.

use serde_json::json;

use super::sentences::waits;
use super::{finding, part, severity};
use crate::report::model::{Finding, Gil, Report, Severity};
use crate::report::text::reasons;
use crate::report::text::units::{duration, percent, plural};
use crate::stack::label::one_line;

/// A free-threaded Python runs with a GIL. There is no threshold: it is all or nothing.
pub(super) fn switched_on(report: &Report, gil: &Gil) -> Option<Finding> {
    let free_threaded = report.target.free_threaded || gil.switched_on.is_some();
    if !free_threaded || !gil.enabled && gil.switched_on.is_none() {
        return None;
    }
    let when = match &gil.switched_on {
        Some(on) => {
            let module = on.module.as_deref();
            let module =
                module.map_or("an extension module".to_owned(), |name| format!("the extension module {name}"));
            format!(" was switched on by {module} after {}", duration(on.at_s))
        }
        None => " was on from the start".to_owned(),
    };
    let message = format!(
        "This Python is free-threaded, but its GIL{when}: one thread at a time runs Python. If all modules can do \
         without it, PYTHON_GIL=0 keeps it off."
    );
    let module = gil.switched_on.as_ref().and_then(|on| on.module.clone());
    let at = gil.switched_on.as_ref().map(|on| on.at_s);
    let evidence = [("module", json!(module)), ("at_s", json!(at))];
    Some(finding("gil-switched-on", Severity::High, gil.wait.total_s, message, evidence))
}

/// Stops of all threads matter from this part of the time on.
const PAUSED_PART: f64 = 0.1;

/// The interpreter stops all threads again and again.
pub(super) fn pauses(report: &Report) -> Option<Finding> {
    let worst = report.threads.iter().max_by(|a, b| a.states.paused_s.total_cmp(&b.states.paused_s))?;
    let paused = part(worst.states.paused_s, worst.wall_s);
    (paused >= PAUSED_PART).then(|| {
        let by = report.pauses.requesters.first();
        let by = by.and_then(|by| by.own_line()).map_or_else(String::new, |at| format!(", most of them in {at}"));
        let name = worst.name.clone().unwrap_or_else(|| format!("thread {}", worst.tid));
        let mostly = |is_such: fn(&str) -> bool| {
            let of = report.pauses.reasons.iter().filter(|(reason, _)| is_such(reason));
            2 * of.map(|(_, count)| count).sum::<u64>() >= report.pauses.count
        };
        let advice = if mostly(|reason| reason == "gc") {
            " gc.freeze() after start-up and a higher gc.set_threshold() reduce that."
        } else if mostly(|reason| reason.contains("type")) {
            " Do not assign to __class__ or to attributes of classes while threads run."
        } else {
            ""
        };
        let (who, part_of_time) = (one_line(&name), percent(paused));
        let message = format!(
            "The interpreter stops all threads at least {}, {}{by}. {who} is stopped for {part_of_time} of its time.{advice}",
            plural(report.pauses.count, "time"),
            reasons(&report.pauses),
        );
        let headline = format!("{who} is stopped for {part_of_time} of its time: the interpreter stops all threads{by}");
        let found = finding(
            "paused",
            severity(paused),
            report.pauses.wait.total_s,
            message,
            [
                ("pauses", json!(report.pauses.count)),
                ("tid", json!(worst.tid)),
                ("paused_fraction", json!(paused)),
                ("paused_fraction_threshold", json!(PAUSED_PART)),
            ],
        );
        Finding { headline, ..found }
    })
}

/// What the finding of collections is called.
pub(super) const COLLECTIONS: &str = "gil-held-to-collect";

/// Collections matter from this part of the time for which the GIL is held, and of the recording.
const COLLECTING_PART: f64 = 0.1;

/// The GIL is held to collect garbage.
pub(super) fn collections(report: &Report) -> Option<Finding> {
    let collections = &report.collections;
    let time = part(collections.held_s, report.session.duration_s);
    if collections.held_fraction < COLLECTING_PART || time < COLLECTING_PART {
        return None;
    }
    let by = collections.by.first();
    let place =
        by.and_then(|by| by.own_line()).map_or_else(String::new, |at| format!(", most of it started in {at}"));
    let victim =
        report.gils.iter().filter_map(|gil| gil.victims.first()).max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let victim = victim.filter(|victim| victim.seconds > 0.0);
    let suffers = victim.map_or_else(String::new, |victim| format!(" ({} for the GIL in all)", waits(victim)));
    let message = format!(
        "The GIL is held to collect garbage for {}, {} of the time{place}. Others waited {} for it meanwhile{suffers}. \
         gc.freeze() after start-up and a higher gc.set_threshold() reduce that.",
        duration(collections.held_s),
        percent(time),
        duration(collections.waited_s),
    );
    let found = finding(
        COLLECTIONS,
        severity(time),
        collections.waited_s,
        message,
        [
            ("held_s", json!(collections.held_s)),
            ("held_fraction", json!(collections.held_fraction)),
            ("held_fraction_threshold", json!(COLLECTING_PART)),
            ("waited_s", json!(collections.waited_s)),
        ],
    );
    let headline = victim.map_or_else(String::new, |victim| {
        format!("{} for the GIL, held for {} of the time to collect garbage{place}", waits(victim), percent(time))
    });
    Some(Finding { headline, ..found })
}

/// Reference counts matter from this part of the CPU time on.
const COUNTING_PART: f64 = 0.05;

/// Threads contend for the reference counts of objects that they share.
pub(super) fn refcounts(report: &Report) -> Option<Finding> {
    let refcounts = &report.refcounts;
    let certain = refcounts.cpu_fraction - refcounts.margin;
    let top = refcounts.objects.first().filter(|_| certain >= COUNTING_PART)?;
    let place = refcounts.lines.first().map_or_else(String::new, |line| format!(", most of it in {}", line.line));
    let advice = top.advice.as_ref().map_or_else(String::new, |advice| format!(" {advice}."));
    let message = format!(
        "{} of the CPU time is lost to the reference counts of objects that threads share{place}. The count of {} \
         costs {} (used by {} threads).{advice}",
        percent(refcounts.cpu_fraction),
        top.label,
        percent(top.cpu_fraction),
        top.threads,
    );
    Some(finding(
        "refcount-hot",
        severity(refcounts.cpu_fraction),
        refcounts.cpu_fraction * report.threads.iter().map(|thread| thread.cpu_s).sum::<f64>(),
        message,
        [
            ("cpu_fraction", json!(refcounts.cpu_fraction)),
            ("margin", json!(refcounts.margin)),
            ("cpu_fraction_threshold", json!(COUNTING_PART)),
            ("object", json!(top.label)),
            ("address", json!(top.address)),
            ("object_cpu_fraction", json!(top.cpu_fraction)),
        ],
    ))
}
