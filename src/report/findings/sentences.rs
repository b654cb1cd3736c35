//! Parts of the sentences that findings are made of.

use crate::event::Tid;
use crate::report::causes::{WaitCause, WaitVictim};
use crate::report::groups::words_of;
use crate::report::model::{Blamed, Report};
use crate::report::text::units::percent;

/// How many places are named where none has most of the time.
const MAX_PLACES: usize = 3;
/// A line with less of its function's time than this is only its costliest.
const ONE_LINE: f64 = 0.5;

/// Who it was, in words, and whether it was one thread.
pub(super) fn who<'a>(report: &Report, by: impl Iterator<Item = &'a Blamed>) -> (String, bool) {
    let threads: Vec<(Tid, &str)> = by.map(|blamed| (blamed.tid, blamed.thread.as_str())).collect();
    let words = words_of(report, &threads);
    (words.words, words.count == 1)
}

/// `MainThread, an event loop,`: who it is, as the subject of a sentence.
pub(super) fn subject(victim: &WaitVictim) -> String {
    match (victim.is_event_loop, victim.count) {
        (true, 1) => format!("{}, an event loop,", victim.threads),
        _ => victim.threads.clone(),
    }
}

/// `76 % of its time`.
pub(super) fn their_time(victim: &WaitVictim) -> String {
    format!("{} of {} time", percent(victim.fraction), if victim.count == 1 { "its" } else { "their" })
}

/// `MainThread waits 76 % of its time`.
pub(super) fn waits(victim: &WaitVictim) -> String {
    let verb = if victim.count == 1 { "waits" } else { "wait" };
    format!("{} {verb} {}", subject(victim), their_time(victim))
}

/// Who it was; of those who suffer themselves, another one each time.
pub(super) fn among(cause: &WaitCause) -> String {
    if cause.among_victims { "another of them".to_owned() } else { cause.threads.clone() }
}

/// `, mostly held by cruncher in crunch (app.py:30)`, for a headline.
pub(super) fn mostly_held_by(main: Option<&WaitCause>) -> String {
    main.map_or_else(String::new, |cause| match cause.among_victims {
        true => format!(", mostly for each other in {}", place(cause)),
        false => format!(", mostly held by {} in {}", cause.threads, place(cause)),
    })
}

/// `crunch (app.py:30), calling dumps (json/__init__.py:231)`.
pub(super) fn place(cause: &WaitCause) -> String {
    let line = match cause.line_fraction >= ONE_LINE {
        true => cause.place.clone(),
        false => format!("{} and other lines of it", cause.place),
    };
    let innermost = cause.innermost.as_ref();
    line + &innermost.map_or_else(String::new, |innermost| format!(", calling {innermost}"))
}

/// `The GIL is held meanwhile in a (app.py:1) for 31 %, b (app.py:2) for 12 %.`
pub(super) fn named_places(beginning: &str, causes: &[WaitCause]) -> String {
    if causes.is_empty() {
        return "Who held it meanwhile is not known.".to_owned();
    }
    let places = causes.iter().take(MAX_PLACES).map(|cause| format!("{} ({})", cause.place, percent(cause.fraction)));
    let more = if causes.len() > MAX_PLACES { " and others" } else { "" };
    format!("{beginning} {}{more}.", places.collect::<Vec<_>>().join(", "))
}
