//! What is wrong at a GIL: one finding for the fight over it, with its victims and the code that they wait for, and one for
//! each call that keeps it while it blocks.

use std::collections::BTreeMap;

use serde_json::json;

use super::sentences::{among, mostly_held_by, named_places, place, their_time, waits, who};
use super::{finding, part, severity};
use crate::report::causes::{WaitCause, WaitVictim};
use crate::report::model::{BlockedHolder, Finding, Gil, Report, Severity};
use crate::report::text::units::{duration, percent};

/// Waiting matters from this part of a group's time on ...
const MIN_WAITED: f64 = 0.05;
/// ... if it is this much, in threads held up on average.
const MIN_HELD_UP: f64 = 0.02;
/// How many groups are named as victims.
const MAX_VICTIMS: usize = 2;

/// More than this part of the waiting while one thing runs is "mostly".
const MOST: f64 = 0.5;
/// What else explains this part of the waiting leaves nothing to be said about the fight itself.
const EXPLAINED: f64 = 0.6;

/// It is said how many threads have Python to run if there are this many on average.
const MIN_WANTED: f64 = 1.5;

/// Fewer waits than this say nothing about the next.
const CONVOY_WAITS: u64 = 20;
/// A wait of this part of the switch interval ends because the interval is over, not because the holder was done.
const CONVOY_MEAN: f64 = 0.5;
/// A thread that releases the GIL after this part of the switch interval does so to wait for something else: a
/// thread that computes keeps it for all of the interval.
const CONVOY_TURN: f64 = 0.2;
/// What such a finding is called.
pub(in crate::report) const CONVOY: &str = "gil-convoy";

/// Those who lose a part of their time that matters.
fn victims(gil: &Gil) -> impl Iterator<Item = &WaitVictim> {
    let least = MIN_HELD_UP * gil.observed_s;
    gil.victims.iter().filter(move |victim| victim.fraction >= MIN_WAITED && victim.seconds >= least)
}

/// The group needs the GIL for moments and pays a switch interval each time. How long one wait took is not known where
/// waits were sampled.
fn is_convoy(gil: &Gil, victim: &WaitVictim) -> bool {
    let interval = gil.switch_interval_s;
    let (mean, turn) = (victim.seconds / victim.waits.max(1) as f64, victim.cpu_s / victim.waits.max(1) as f64);
    !gil.estimated
        && interval > 0.0
        && victim.waits >= CONVOY_WAITS
        && mean >= CONVOY_MEAN * interval
        && turn <= CONVOY_TURN * interval
}

/// Threads wait for the GIL. `explained_s` is the part of their waiting for which other findings say the reason.
pub(super) fn contended(gil: &Gil, explained_s: f64) -> Option<Finding> {
    let first = victims(gil).next()?;
    let waited = gil.wait.total_s;
    if part(explained_s, waited) >= EXPLAINED {
        return None;
    }
    let top = gil.causes.first();
    let main = top.filter(|cause| cause.fraction > MOST);
    let is_convoy = is_convoy(gil, first) && !main.is_some_and(|cause| cause.among_victims && gil.victims.len() == 1);
    let id = match (is_convoy, main) {
        (true, _) => CONVOY,
        (false, Some(cause)) if !cause.among_victims => "gil-hog",
        _ => "gil-saturated",
    };
    let mut message = sufferers(gil);
    message += &match main {
        Some(cause) => format!(" {}", mostly(cause)),
        None => format!(" {}", named_places("The GIL is held meanwhile in", &gil.causes)),
    };
    message += &advice(gil, id, first, main);
    let headline = format!("{} for {}{}", waits(first), gil.words, mostly_held_by(main));
    let found = finding(
        id,
        severity(part(waited, gil.observed_s)),
        waited,
        message,
        [
            ("victims", json!(victims(gil).map(|victim| &victim.threads).collect::<Vec<_>>())),
            ("wait_fraction", json!(first.fraction)),
            ("wait_fraction_threshold", json!(MIN_WAITED)),
            ("held_fraction", json!(gil.held_fraction)),
            ("mean_waiters", json!(gil.mean_waiters)),
            ("place", json!(top.map(|cause| &cause.place))),
            ("place_fraction", json!(top.map(|cause| cause.fraction))),
            ("place_threads", json!(top.map(|cause| &cause.threads))),
        ],
    );
    Some(Finding { headline, ..found })
}

/// `client waits 76 % of its time for the GIL (1.53 s, longest 12.0 ms), cruncher 24 %.`
fn sufferers(gil: &Gil) -> String {
    let mut words = String::new();
    for (index, victim) in victims(gil).take(MAX_VICTIMS).enumerate() {
        words += &match index {
            0 => {
                let longest =
                    if gil.estimated { String::new() } else { format!(", longest {}", duration(victim.max_s)) };
                format!("{} for {} ({}{longest})", waits(victim), gil.words, duration(victim.seconds))
            }
            _ => format!("; {} {}", victim.threads, percent(victim.fraction)),
        };
    }
    words + "."
}

/// `75 % of all waiting is for cruncher in crunch (app.py:30).`
fn mostly(cause: &WaitCause) -> String {
    let share = percent(cause.fraction);
    format!(
        "{share} of the waiting passes while {} {} in {}.",
        among(cause),
        if is_one(cause) { "is" } else { "are" },
        place(cause)
    )
}

fn is_one(cause: &WaitCause) -> bool {
    cause.count == 1 || cause.among_victims
}

fn advice(gil: &Gil, id: &str, victim: &WaitVictim, main: Option<&WaitCause>) -> String {
    let work = main.map_or_else(|| "that work".to_owned(), |cause| format!("the work of {}", function(&cause.place)));
    let wanted = gil.mean_waiters + gil.held_fraction;
    let wanted = match wanted >= MIN_WANTED {
        true => format!(" On average {wanted:.1} threads have Python to run, and the GIL lets one run at a time."),
        false => String::new(),
    };
    match id {
        CONVOY => {
            let mean = victim.seconds / victim.waits.max(1) as f64;
            let turn = victim.cpu_s / victim.waits.max(1) as f64;
            let (releases, gets) = if victim.count == 1 { ("releases", "gets") } else { ("release", "get") };
            format!(
                " {} {releases} the GIL often and {gets} it back after {} on average, {} times, for {} of work each: \
                 CPython lets a holder keep it for {}.{wanted} Move {work} to another process, use a free-threaded \
                 Python, or try sys.setswitchinterval(0.001).",
                victim.threads,
                duration(mean),
                victim.waits,
                duration(turn),
                duration(gil.switch_interval_s),
            )
        }
        "gil-hog" => format!("{wanted} Move {work} to another process, or use code that releases the GIL."),
        _ => format!("{wanted} Processes or a free-threaded Python can help."),
    }
}

/// The function of `function (file.py:12)`.
fn function(place: &str) -> &str {
    place.rsplit_once(" (").map_or(place, |(function, _)| function)
}

/// Blocked holders matter from this part of the time on: ten milliseconds a second.
const BLOCKED_PART: f64 = 0.01;

/// Calls that block without releasing the GIL: nobody can run, although a CPU is free. One finding for each call
/// and line of the program, whichever threads come by.
pub(super) fn held_while_blocked(report: &Report, gil: &Gil) -> Vec<Finding> {
    let mut places: BTreeMap<(&str, &str), Vec<&BlockedHolder>> = BTreeMap::new();
    for held in &gil.held_off_cpu {
        places.entry((&held.syscall, held.by.own_line().unwrap_or_default())).or_default().push(held);
    }
    let mut found = Vec::new();
    for ((call, line), mut by) in places {
        let total: f64 = by.iter().map(|held| held.by.seconds).sum();
        if part(total, gil.observed_s) < BLOCKED_PART {
            continue;
        }
        by.sort_by(|a, b| b.by.seconds.total_cmp(&a.by.seconds));
        let stacks: Vec<&[String]> = by.iter().map(|held| &*held.by.stack).collect();
        // Waiting is attributed to stacks whatever the holder does there: this is an upper bound.
        let here = gil.holders.iter().filter(|blamed| stacks.contains(&&*blamed.stack));
        let caused: f64 = here.map(|blamed| blamed.seconds).sum();
        let mut tids: Vec<_> = by.iter().map(|held| held.by.tid).collect();
        tids.sort_unstable();
        tids.dedup();
        let (who, is_one) = who(report, by.iter().map(|held| &held.by));
        let innermost = by[0].by.stack.first().filter(|innermost| *innermost != line);
        let calling = innermost.map_or_else(String::new, |innermost| format!(", calling {innermost}"));
        let place = if line.is_empty() { String::new() } else { format!(" in {line}{calling}") };
        let message = format!(
            "{who} kept {} while blocked in {call}{place}: {}, {} of the time. {}",
            gil.words,
            duration(total),
            percent(part(total, gil.observed_s)),
            match caused {
                0.0 if gil.unknown_s > 0.0 => "For whom others waited meanwhile is not known.".to_owned(),
                0.0 if gil.estimated => "No sample found anybody waiting for it meanwhile.".to_owned(),
                0.0 => "Nobody waited for it meanwhile.".to_owned(),
                _ => format!(
                    "Others waited up to {} for it meanwhile{}: the code that makes the call should release the GIL.",
                    duration(caused),
                    victims(gil).next().map_or_else(String::new, |victim| format!(
                        " ({} waited {})",
                        victim.threads,
                        their_time(victim)
                    )),
                ),
            },
        );
        let harm = part(caused, gil.observed_s);
        let found_here = finding(
            "gil-held-while-blocked",
            if harm < BLOCKED_PART { Severity::Low } else { severity(harm) },
            caused,
            message,
            [
                ("syscall", json!(call)),
                ("stack", json!(by[0].by.stack)),
                ("tids", json!(tids)),
                ("held_s", json!(super::nanos(total))),
                ("held_fraction", json!(part(total, gil.observed_s))),
                ("held_fraction_threshold", json!(BLOCKED_PART)),
                ("caused_s", json!(super::nanos(caused))),
            ],
        );
        let keeps = if is_one { "keeps" } else { "keep" };
        let headline = match victims(gil).next() {
            Some(victim) => {
                format!("{} for {}, which {who} {keeps} while blocked in {call}{place}", waits(victim), gil.words)
            }
            None => format!("{who} {keeps} {} while blocked in {call}{place}", gil.words),
        };
        found.push(Finding { headline, ..found_here });
    }
    found
}
