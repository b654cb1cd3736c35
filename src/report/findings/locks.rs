//! What is wrong at locks: one finding for each lock, or for each kind of lock that a line acquires, with its victims, whom
//! they wait for, and what that thread does meanwhile.

use serde_json::json;

use super::sentences::{among, mostly_held_by, named_places, place, waits};
use super::{finding, nanos, part, severity};
use crate::event::LockKind;
use crate::report::causes::WaitVictim;
use crate::report::model::{Blamed, Finding, Lock, LockThread, OffCpuHolder, Report};
use crate::report::text::units::{duration, percent, plural};

/// A lock is hot from this much waiting on, in threads that wait for it on average.
const HOT_WAITERS: f64 = 0.1;

/// A lock is taken for each call of a function if that is where this part of the waiting is done, and caused ...
const PER_CALL: f64 = 0.8;
/// ... by at least this many threads, at this rate per second (or threads spin for it instead) ...
const PER_CALL_THREADS: usize = 2;
const PER_CALL_RATE: f64 = 100.0;
/// ... each time for a moment, in seconds.
const PER_CALL_WAIT: f64 = 0.005;

/// Holders that do not run are what is wrong from this part of the waiting on.
const MOSTLY_OFF_CPU: f64 = 0.5;
/// And worth a word from this one on.
const PARTLY_OFF_CPU: f64 = 0.1;
/// More than this part of the waiting for one cause is "mostly".
const MOST: f64 = 0.5;

/// The line that holds the lock of an object, or of the interpreter, while others wait for it at the same line: its calls go
/// one at a time.
fn per_call<'a>(report: &Report, lock: &'a Lock) -> Option<&'a str> {
    let line = lock.waiters.first()?.own_line()?;
    let at_line = |all: &'a [Blamed]| -> f64 {
        all.iter().filter(|blamed| blamed.own_line() == Some(line)).map(|blamed| blamed.seconds).sum()
    };
    let causes = |thread: &&LockThread| part(thread.caused_s, lock.caused_s) > (1.0 - PER_CALL) / 2.0;
    let is_one = !lock.estimated
        && LockKind::row_named(&lock.kind).is_some_and(|row| row.is_internal)
        && at_line(&lock.waiters) >= PER_CALL * lock.wait.total_s
        && at_line(&lock.holders) >= PER_CALL * lock.caused_s
        && lock.caused_s > 0.0
        && lock.threads.iter().filter(causes).count() >= PER_CALL_THREADS
        && (part(lock.contended as f64, report.session.duration_s) >= PER_CALL_RATE
            || lock.spin_s > lock.wait.total_s)
        && lock.wait.mean_s <= PER_CALL_WAIT;
    is_one.then_some(line)
}

/// What to do about a lock that is taken for each call.
fn instead(type_name: Option<&str>) -> &'static str {
    match type_name {
        Some("functools._lru_cache_wrapper") => " A cache for each thread, or a plain dict, needs no such lock.",
        Some("random.Random") => " Give each thread a random.Random() of its own.",
        Some("list" | "dict" | "set" | "collections.deque" | "collections.Counter" | "collections.defaultdict") => {
            " Give each thread one of its own, and merge them at the end."
        }
        _ => " Let each thread work on an object of its own.",
    }
}

/// Threads wait for one lock.
pub(super) fn contended(report: &Report, lock: &Lock) -> Option<Finding> {
    let cost = lock.wait.total_s + lock.spin_s;
    let held_up = part(cost, report.session.duration_s);
    if held_up < HOT_WAITERS {
        return None;
    }
    let off_cpu = OffCpuShare::of(lock);
    let (id, message) = match per_call(report, lock) {
        Some(line) => ("lock-per-call", serialized(lock, line, held_up)),
        None if off_cpu.as_ref().is_some_and(|off| off.fraction >= MOSTLY_OFF_CPU && off.is_the_holders_own()) => {
            ("lock-held-off-cpu", explained(lock, off_cpu.as_ref()))
        }
        None => ("lock-hot", explained(lock, off_cpu.as_ref())),
    };
    let found = finding(
        id,
        severity(held_up),
        cost,
        message,
        [
            ("address", json!(lock.address)),
            ("lock", json!(lock.label)),
            ("mean_waiters", json!(held_up)),
            ("mean_waiters_threshold", json!(HOT_WAITERS)),
            ("waits", json!(lock.wait.count)),
            ("wait_s", json!(lock.wait.total_s)),
            ("spin_s", json!(lock.spin_s)),
            ("contended_fraction", json!(lock.contended_fraction)),
            ("holder_off_cpu_s", json!(off_cpu.as_ref().map_or(0.0, |off| nanos(off.all_s)))),
            ("syscall", json!(off_cpu.as_ref().and_then(|off| off.syscall))),
        ],
    );
    Some(Finding { headline: headline(lock), ..found })
}

/// What to call what threads wait for.
fn awaited(lock: &Lock) -> String {
    match LockKind::CriticalSection.name() == lock.kind {
        true => format!("the lock of {}", lock.label),
        false => lock.label.clone(),
    }
}

/// `3 threads (w*) wait 74 % of their time for app.lock, mostly held by scanner in scan (app.py:12)`
fn headline(lock: &Lock) -> String {
    let held_by = mostly_held_by(lock.causes.first().filter(|cause| cause.fraction > MOST));
    match lock.victims.first() {
        Some(victim) if lock.wait.total_s >= lock.spin_s => {
            format!("{} for {}{held_by}", waits(victim), awaited(lock))
        }
        _ => format!("threads spin {} for {}{held_by}", duration(lock.spin_s), awaited(lock)),
    }
}

/// `585 waits, 9.76 ms in all, and 3.23 s of spinning`.
fn amounts(lock: &Lock) -> String {
    let spun = match lock.spin_s {
        0.0 => String::new(),
        spun => format!(", and {} of spinning", duration(spun)),
    };
    let longest = if lock.estimated { String::new() } else { format!(", longest {}", duration(lock.wait.max_s)) };
    format!("{}, {} in all{longest}{spun}", plural(lock.wait.count, "wait"), duration(lock.wait.total_s))
}

fn serialized(lock: &Lock, line: &str, held_up: f64) -> String {
    let label = &lock.label;
    let inside = lock.causes.first().and_then(|cause| cause.innermost.as_ref());
    let inside = inside.map_or_else(String::new, |innermost| format!(" (inside: {innermost})"));
    format!(
        "Calls in {line}{inside} are serialized: each acquires the lock of {label}, and {held_up:.1} threads wait for it on \
         average ({}).{}",
        amounts(lock),
        instead(lock.type_name.as_deref())
    )
}

/// Where most of a victim's waiting is done.
fn at(victim: &WaitVictim) -> String {
    victim.place.as_ref().map_or_else(String::new, |place| format!(" in {place}"))
}

fn explained(lock: &Lock, off_cpu: Option<&OffCpuShare<'_>>) -> String {
    let label = awaited(lock);
    let mut message = match lock.victims.as_slice() {
        [victim] => format!("{} for {label}{} ({}).", waits(victim), at(victim), amounts(lock)),
        [victim, ..] => format!(
            "{} for {label}{}: {} (all threads: {}).",
            waits(victim),
            at(victim),
            duration(victim.seconds),
            amounts(lock)
        ),
        [] => format!("Threads wait for {label} ({}).", amounts(lock)),
    };
    match lock.causes.first().filter(|cause| cause.fraction > MOST) {
        Some(cause) => {
            message += &format!(
                " {} of that time it is held by {} in {}.",
                percent(cause.fraction),
                among(cause),
                place(cause)
            );
        }
        None if lock.causes.is_empty() => message += " Who holds it is not known.",
        None => message += &format!(" {}", named_places("It is held in", &lock.causes)),
    }
    let off_cpu = off_cpu.filter(|off| off.fraction >= PARTLY_OFF_CPU);
    message += &off_cpu.map_or_else(String::new, OffCpuShare::sentence);
    message + &advice(lock, off_cpu)
}

/// What to do about it: nothing, where the kind of lock does not tell.
fn advice(lock: &Lock, off_cpu: Option<&OffCpuShare<'_>>) -> String {
    let call = off_cpu.filter(|off| off.fraction >= MOSTLY_OFF_CPU).and_then(|off| off.syscall);
    let is_logging = ["handler of logger", "handler of the root logger"].iter().any(|of| lock.label.contains(of));
    if is_logging {
        return match call {
            Some("write" | "writev" | "sendto" | "sendmsg") => {
                " logging writes with this lock held, and what it writes to is slow: use logging.handlers.QueueHandler."
            }
            _ => {
                " logging formats and writes with this lock held: pass ready strings, or use \
                 logging.handlers.QueueHandler."
            }
        }
        .to_owned();
    }
    if call.is_some() {
        return " Make that call before acquiring the lock, or after.".to_owned();
    }
    let row = LockKind::row_named(&lock.kind);
    match row.and_then(|row| row.advice) {
        Some(advice) => format!(" {advice}"),
        None if row.is_some_and(|row| row.is_internal) => instead(lock.type_name.as_deref()).to_owned(),
        None => String::new(),
    }
}

/// The part of the waiting in which the holder itself did not run.
struct OffCpuShare<'a> {
    all_s: f64,
    fraction: f64,
    /// What it did most of that time, and where.
    syscall: Option<&'a str>,
    state: &'a str,
    line: Option<&'a str>,
}

impl<'a> OffCpuShare<'a> {
    fn of(lock: &'a Lock) -> Option<OffCpuShare<'a>> {
        let all_s: f64 = lock.holder_off_cpu.iter().map(|holder| holder.by.seconds).sum();
        let same = |a: &OffCpuHolder, b: &OffCpuHolder| {
            (&a.syscall, &a.state, a.by.own_line()) == (&b.syscall, &b.state, b.by.own_line())
        };
        let sum = |of: &OffCpuHolder| -> f64 {
            lock.holder_off_cpu.iter().filter(|other| same(of, other)).map(|other| other.by.seconds).sum()
        };
        let top = lock.holder_off_cpu.iter().max_by(|a, b| sum(a).total_cmp(&sum(b)))?;
        Some(OffCpuShare {
            all_s,
            fraction: part(all_s, lock.wait.total_s),
            syscall: top.syscall.as_deref(),
            state: &top.state,
            line: top.by.own_line(),
        })
    }

    /// It is what the holder does, and not what others do to it.
    fn is_the_holders_own(&self) -> bool {
        !["lock wait", "GIL wait"].contains(&self.state)
    }

    /// ` 81 % of the time the holder itself was asleep in clock_nanosleep, in load (app.py:10). Do that before ...`
    fn sentence(&self) -> String {
        let share = percent(self.fraction);
        let line = self.line.map_or_else(String::new, |line| format!(", in {line}"));
        match (self.syscall, self.state) {
            (Some(call), _) => format!(" {share} of the time the holder itself was blocked in {call}{line}."),
            (None, "no CPU" | "GIL held, no CPU") => format!(" {share} of the time the holder itself had no CPU."),
            (None, "lock wait") => format!(" {share} of the time the holder itself waited for another lock{line}."),
            (None, "GIL wait") => format!(" {share} of the time the holder itself waited for the GIL{line}."),
            (None, state) => format!(" {share} of the time the holder itself did not run ({state}){line}."),
        }
    }
}
