//! What is wrong, as sentences with their evidence. Called by [`super::Report::new`].
//!
//! Each rule is a function of the report, with its thresholds as constants above it. A threshold is there so that a
//! program with nothing worth changing gets no finding at all.

mod cpus;
mod not_released;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{Blamed, BlockedHolder, Finding, Gil, GilThread, Lock, LockThread, Report, Severity, Stuck};
use super::text::units::{duration, label, percent, plural};
use super::text::{own_frame, reasons};
use crate::event::{LockKind, Tid};

/// All findings, the worst first.
pub(super) fn findings(report: &Report) -> Vec<Finding> {
    let mut found: Vec<Finding> = report.deadlocks.iter().map(|circle| deadlock(circle)).collect();
    for gil in &report.gils {
        found.extend(switched_on(report, gil));
        found.extend(saturated(gil));
        found.extend(gil.threads.iter().filter_map(|thread| convoy(gil, thread)));
        found.extend(hog(gil));
        found.extend(not_released::not_released(report, gil));
        found.extend(held_while_blocked(gil));
    }
    let locks = || report.real_locks();
    found.extend(locks().filter_map(|lock| hot_lock(report, lock)));
    found.extend(locks().filter_map(|lock| held_off_cpu(report, lock)));
    found.extend(no_connection(report));
    found.extend(pauses(report));
    found.extend(collections(report));
    found.extend(refcounts(report));
    found.extend(cpus::no_cpu(report));
    found.extend(records_lost(report));
    // Nothing is worse than threads that never go on, whatever else costs time.
    let order = |finding: &Finding| (finding.severity, finding.id != DEADLOCK);
    found.sort_by(|a, b| order(a).cmp(&order(b)).then(b.cost_s.total_cmp(&a.cost_s)));
    found
}

fn finding<const N: usize>(
    id: &str,
    severity: Severity,
    cost_s: f64,
    message: String,
    evidence: [(&str, Value); N],
) -> Finding {
    let evidence = BTreeMap::from(evidence.map(|(name, value)| (name.to_owned(), value)));
    Finding { id: id.to_owned(), severity, cost_s: nanos(cost_s), message, evidence }
}

/// Without the digits that arithmetic added: they would not come back from JSON as they went in.
fn nanos(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e9
}

/// What such a finding is called.
const DEADLOCK: &str = "deadlock";

/// Threads wait for each other, for ever.
fn deadlock(circle: &[Stuck]) -> Finding {
    let next = circle.iter().cycle().skip(1);
    let edges: Vec<String> = circle
        .iter()
        .zip(next)
        .map(|(stuck, next)| {
            let [who, whom] = [stuck, next].map(|stuck| label(&stuck.thread, stuck.tid));
            match stuck.waits_for.starts_with("the end of") {
                true => format!("{who} waits for the end of {whom}"),
                false => format!("{who} waits for {}, held by {whom}", stuck.waits_for),
            }
        })
        .collect();
    let tids: Vec<Tid> = circle.iter().map(|stuck| stuck.tid).collect();
    let message = format!("DEADLOCK: {} threads wait for each other: {}.", circle.len(), edges.join("; "));
    finding(DEADLOCK, Severity::High, 0.0, message, [("tids", json!(tids))])
}

/// A part of a thread's time from which on what takes it is severe.
const SEVERE: f64 = 0.25;

fn severity(part: f64) -> Severity {
    if part >= SEVERE { Severity::High } else { Severity::Medium }
}

fn part(seconds: f64, whole: f64) -> f64 {
    if whole > 0.0 { (seconds / whole * 1e6).round() / 1e6 } else { 0.0 }
}

/// The GIL counts as always held from this part of the time on.
const SATURATED_HELD: f64 = 0.95;
/// And as contended from this many waiting threads on.
const SATURATED_WAITERS: f64 = 0.5;
/// Which is severe from this many on.
const SATURATED_HIGH: f64 = 1.0;

/// There is more to do than one thread at a time can.
fn saturated(gil: &Gil) -> Option<Finding> {
    let waiters = gil.mean_waiters;
    (gil.held_fraction >= SATURATED_HELD && waiters >= SATURATED_WAITERS).then(|| {
        let message = format!(
            "The GIL is held {} of the time, and {waiters:.1} threads wait for it on average: {:.1} \
             threads had Python to run, but only one can at a time. Processes or a free-threaded Python can help.",
            percent(gil.held_fraction),
            waiters + gil.held_fraction,
        );
        finding(
            "gil-saturated",
            if waiters >= SATURATED_HIGH { Severity::High } else { Severity::Medium },
            gil.wait.total_s,
            message,
            [
                ("held_fraction", json!(gil.held_fraction)),
                ("held_fraction_threshold", json!(SATURATED_HELD)),
                ("mean_waiters", json!(waiters)),
                ("mean_waiters_threshold", json!(SATURATED_WAITERS)),
            ],
        )
    })
}

/// Fewer waits than this say nothing about the next.
const CONVOY_WAITS: u64 = 20;
/// A wait of this part of the switch interval ends because the interval is over, not because the holder was done.
const CONVOY_MEAN: f64 = 0.5;
/// A thread that releases the GIL after this part of the switch interval does so to wait for something else: a
/// thread that computes keeps it for all of the interval.
const CONVOY_TURN: f64 = 0.2;
/// What such a finding is called.
pub(super) const CONVOY: &str = "gil-convoy";
/// A part of a thread's time that is worth having.
const CONVOY_PART: f64 = 0.05;

/// A thread needs the GIL for moments and pays a switch interval each time. How long one wait took is not known
/// where waits were sampled.
fn convoy(gil: &Gil, thread: &GilThread) -> Option<Finding> {
    let (wait, interval) = (&thread.wait, gil.switch_interval_s);
    if gil.estimated || wait.count < CONVOY_WAITS || interval <= 0.0 {
        return None;
    }
    let turn = thread.cpu_s / wait.count as f64;
    let waited = part(wait.total_s, thread.wall_s);
    if wait.mean_s < CONVOY_MEAN * interval || turn > CONVOY_TURN * interval || waited < CONVOY_PART {
        return None;
    }
    // Most of it is not the interval, but what the holder does after it is asked.
    if gil.parts.is_some_and(|parts| parts.until_released_s > parts.until_asked_s) {
        return None;
    }
    let message = format!(
        "{} releases the GIL often and waits {} to acquire it again, {} times, {} of its time, for {} of work each. \
         CPython lets the holder keep it for {}. Try a smaller sys.setswitchinterval(), or move the holder's work to \
         another process.",
        label(&thread.thread, thread.tid),
        duration(wait.mean_s),
        wait.count,
        percent(waited),
        duration(turn),
        duration(interval),
    );
    Some(finding(
        CONVOY,
        severity(waited),
        wait.total_s,
        message,
        [
            ("tid", json!(thread.tid)),
            ("waits", json!(wait.count)),
            ("waits_threshold", json!(CONVOY_WAITS)),
            ("mean_wait_s", json!(wait.mean_s)),
            ("mean_wait_threshold_s", json!(nanos(CONVOY_MEAN * interval))),
            ("cpu_per_wait_s", json!(nanos(turn))),
            ("cpu_per_wait_threshold_s", json!(nanos(CONVOY_TURN * interval))),
            ("wait_fraction", json!(waited)),
            ("wait_fraction_threshold", json!(CONVOY_PART)),
        ],
    ))
}

/// One thread that causes this part of all waiting is to blame for it.
const HOG_CAUSED: f64 = 0.6;
/// Waiting matters from this part of a thread's time on.
const HOG_WAITED: f64 = 0.05;

/// One thread has the others wait.
fn hog(gil: &Gil) -> Option<Finding> {
    let hog = gil.threads.iter().max_by(|a, b| a.caused_s.total_cmp(&b.caused_s))?;
    let caused = part(hog.caused_s, gil.wait.total_s);
    let waited = |thread: &GilThread| part(thread.wait.total_s, thread.wall_s);
    let others = gil.threads.iter().filter(|thread| !std::ptr::eq(*thread, hog));
    let victim = others.max_by(|a, b| waited(a).total_cmp(&waited(b)))?;
    if caused < HOG_CAUSED || waited(victim) < HOG_WAITED {
        return None;
    }
    let top = gil.holders.iter().find(|blamed| blamed.tid == hog.tid);
    let place =
        top.and_then(|blamed| blamed.stack.first()).map_or_else(String::new, |at| format!(", most of it in {at}"));
    let message = format!(
        "{} causes {} of the waiting for the GIL ({} of {}){place}. {} waits for {} of its time. \
         Another process, or code that releases the GIL, could do this work.",
        label(&hog.thread, hog.tid),
        percent(caused),
        duration(hog.caused_s),
        duration(gil.wait.total_s),
        label(&victim.thread, victim.tid),
        percent(waited(victim)),
    );
    Some(finding(
        "gil-hog",
        severity(waited(victim)),
        hog.caused_s,
        message,
        [
            ("tid", json!(hog.tid)),
            ("caused_s", json!(hog.caused_s)),
            ("caused_fraction", json!(caused)),
            ("caused_fraction_threshold", json!(HOG_CAUSED)),
            ("victim_tid", json!(victim.tid)),
            ("victim_wait_fraction", json!(waited(victim))),
            ("victim_wait_fraction_threshold", json!(HOG_WAITED)),
        ],
    ))
}

/// Blocked holders matter from this part of the time on: ten milliseconds a second.
const BLOCKED_PART: f64 = 0.01;

/// Calls that block without releasing the GIL: nobody can run, although a CPU is free. One finding for each call
/// and stack, whichever threads come by.
fn held_while_blocked(gil: &Gil) -> Vec<Finding> {
    let mut places: BTreeMap<(&str, &[String]), Vec<&BlockedHolder>> = BTreeMap::new();
    for held in &gil.held_off_cpu {
        places.entry((&held.syscall, &held.by.stack)).or_default().push(held);
    }
    let mut found = Vec::new();
    for ((call, stack), mut by) in places {
        let total: f64 = by.iter().map(|held| held.by.seconds).sum();
        if part(total, gil.observed_s) < BLOCKED_PART {
            continue;
        }
        by.sort_by(|a, b| b.by.seconds.total_cmp(&a.by.seconds));
        // Waiting is attributed to stacks whatever the holder does there: this is an upper bound.
        let here = gil
            .holders
            .iter()
            .filter(|blamed| blamed.stack == stack && by.iter().any(|held| held.by.tid == blamed.tid));
        let caused: f64 = here.map(|blamed| blamed.seconds).sum();
        let who = label(&by[0].by.thread, by[0].by.tid);
        let others = if by.len() > 1 { format!(" and {} more threads", by.len() - 1) } else { String::new() };
        let place = stack.first().map_or_else(String::new, |at| format!(" in {at}"));
        let message = format!(
            "{who}{others} kept the GIL while blocked in {call}{place}: {}, {} of the time. {}",
            duration(total),
            percent(part(total, gil.observed_s)),
            match caused > 0.0 {
                true => format!(
                    "Others waited up to {} for it meanwhile: the code that makes the call should release the GIL.",
                    duration(caused)
                ),
                false => "Nobody waited for it meanwhile.".to_owned(),
            },
        );
        let harm = part(caused, gil.observed_s);
        let finding = finding(
            "gil-held-while-blocked",
            if harm < BLOCKED_PART { Severity::Low } else { severity(harm) },
            caused,
            message,
            [
                ("syscall", json!(call)),
                ("stack", json!(stack)),
                ("tids", json!(by.iter().map(|held| held.by.tid).collect::<Vec<_>>())),
                ("held_s", json!(nanos(total))),
                ("held_fraction", json!(part(total, gil.observed_s))),
                ("held_fraction_threshold", json!(BLOCKED_PART)),
                ("caused_s", json!(nanos(caused))),
            ],
        );
        found.push((total, finding));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, finding)| finding).collect()
}

/// A free-threaded Python runs with a GIL. There is no threshold: it is all or nothing.
fn switched_on(report: &Report, gil: &Gil) -> Option<Finding> {
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

/// A lock is hot from this much waiting on, in threads that wait for it on average.
const HOT_WAITERS: f64 = 0.1;

/// A lock is taken for each call of a function if that is where this part of the waiting is done, and caused ...
const PER_CALL: f64 = 0.8;
/// ... by at least this many threads, at this rate per second (or threads spin for it instead) ...
const PER_CALL_THREADS: usize = 2;
const PER_CALL_RATE: f64 = 100.0;
/// ... each time for a moment, in seconds.
const PER_CALL_WAIT: f64 = 0.005;

/// The line that holds the lock of an object, or of the interpreter, while others wait for it at the same line: its calls go
/// one at a time.
fn per_call<'a>(report: &Report, lock: &'a Lock) -> Option<&'a str> {
    let leaf = |blamed: &'a Blamed| blamed.stack.first().map(String::as_str);
    let line = leaf(lock.waiters.first()?)?;
    let at_line = |all: &'a [Blamed]| -> f64 {
        all.iter().filter(|blamed| leaf(blamed) == Some(line)).map(|blamed| blamed.seconds).sum()
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
            " Let each thread fill its own, and merge them at the end."
        }
        _ => "",
    }
}

/// Threads wait for one lock most of the time.
fn hot_lock(report: &Report, lock: &Lock) -> Option<Finding> {
    let cost = lock.wait.total_s + lock.spin_s;
    let waiters = part(cost, report.session.duration_s);
    if waiters < HOT_WAITERS {
        return None;
    }
    let holder = lock.holders.first().map_or_else(String::new, |holder| {
        let place = holder.stack.first().map_or_else(String::new, |at| format!(" in {at}"));
        format!(" It is held most by {}{place}.", label(&holder.thread, holder.tid))
    });
    let waiter = lock.waiters.first().and_then(|waiter| own_frame(&waiter.stack));
    let place = waiter.map_or_else(String::new, |at| format!(", most of it in {at}"));
    let spun = match lock.spin_s {
        0.0 => String::new(),
        spun => format!(", and {} of spinning", duration(spun)),
    };
    let waits = format!("{}, {} in all{spun}", plural(lock.wait.count, "wait"), duration(lock.wait.total_s));
    let (id, message) = match per_call(report, lock) {
        Some(line) => {
            let (label, instead) = (&lock.label, instead(lock.type_name.as_deref()));
            let message = format!(
                "Calls in {line} are serialized: each acquires the lock of {label}, and {waiters:.1} threads wait for \
                 it on average ({waits}).{instead}"
            );
            ("lock-per-call", message)
        }
        None => {
            let label = &lock.label;
            let advice = LockKind::row_named(&lock.kind).and_then(|row| row.advice);
            let advice = advice.map_or_else(String::new, |advice| format!(" {advice}"));
            let message =
                format!("{waiters:.1} threads wait for {label} on average: {waits}{place}.{holder}{advice}");
            ("lock-hot", message)
        }
    };
    Some(finding(
        id,
        severity(waiters),
        cost,
        message,
        [
            ("address", json!(lock.address)),
            ("lock", json!(lock.label)),
            ("mean_waiters", json!(waiters)),
            ("mean_waiters_threshold", json!(HOT_WAITERS)),
            ("waits", json!(lock.wait.count)),
            ("wait_s", json!(lock.wait.total_s)),
            ("spin_s", json!(lock.spin_s)),
            ("contended_fraction", json!(lock.contended_fraction)),
        ],
    ))
}

/// Waiting for a lock whose holder does not run matters from this part of the time on.
const IDLE_HOLDER: f64 = 0.05;

/// A lock is held by a thread that sleeps, waits for a device, or has no CPU.
fn held_off_cpu(report: &Report, lock: &Lock) -> Option<Finding> {
    let total: f64 = lock.holder_off_cpu.iter().map(|holder| holder.by.seconds).sum();
    let waiters = part(total, report.session.duration_s);
    let top = lock.holder_off_cpu.first().filter(|_| waiters >= IDLE_HOLDER)?;
    let doing = match (&top.syscall, top.state.as_str()) {
        (Some(call), _) => format!("was blocked in {call}"),
        (None, "no CPU" | "GIL held, no CPU") => "had no CPU".to_owned(),
        (None, "lock wait") => "waited for a lock itself".to_owned(),
        (None, "GIL wait") => "waited for the GIL".to_owned(),
        (None, state) => format!("did not run ({state})"),
    };
    let advice = if top.syscall.is_some() { " Make such calls before acquiring the lock, or after." } else { "" };
    let place = top.by.stack.first().map_or_else(String::new, |at| format!(" in {at}"));
    let message = format!(
        "{} of the waiting for {} passed while its holder was off the CPU. Most of that time {} {doing}{place}.{advice}",
        duration(total),
        lock.label,
        label(&top.by.thread, top.by.tid),
    );
    Some(finding(
        "lock-held-off-cpu",
        severity(waiters),
        total,
        message,
        [
            ("address", json!(lock.address)),
            ("lock", json!(lock.label)),
            ("wait_s", json!(nanos(total))),
            ("mean_waiters", json!(waiters)),
            ("mean_waiters_threshold", json!(IDLE_HOLDER)),
            ("state", json!(top.state)),
            ("syscall", json!(top.syscall)),
        ],
    ))
}

/// Waiting for a free connection matters from this many threads on, on average.
const CONNECTION_WAITERS: f64 = 0.1;

/// All connections of a pool are in use.
fn no_connection(report: &Report) -> Option<Finding> {
    let total = report.waiting_for_connections_s();
    let waiters = part(total, report.session.duration_s);
    let top = report.waiting_for_connections().next().filter(|_| waiters >= CONNECTION_WAITERS)?;
    let place = own_frame(&top.by.stack);
    let place = place.map_or_else(String::new, |at| format!(", most of it in {at}"));
    let message = format!(
        "{waiters:.1} threads wait for a free connection of a pool on average, {} in all{place}. The pool is too small \
         for its threads, or they keep connections too long.",
        duration(total),
    );
    Some(finding(
        "no-free-connection",
        severity(waiters),
        total,
        message,
        [
            ("wait_s", json!(nanos(total))),
            ("mean_waiters", json!(waiters)),
            ("mean_waiters_threshold", json!(CONNECTION_WAITERS)),
        ],
    ))
}

/// Stops of all threads matter from this part of the time on.
const PAUSED_PART: f64 = 0.1;

/// The interpreter stops all threads again and again.
fn pauses(report: &Report) -> Option<Finding> {
    let worst = report.threads.iter().max_by(|a, b| a.states.paused_s.total_cmp(&b.states.paused_s))?;
    let paused = part(worst.states.paused_s, worst.wall_s);
    (paused >= PAUSED_PART).then(|| {
        let by = report.pauses.requesters.first();
        let by = by.and_then(|by| by.stack.first()).map_or_else(String::new, |at| format!(", most of them in {at}"));
        let name = worst.name.clone().unwrap_or_else(|| format!("thread {}", worst.tid));
        let for_gc = report.pauses.reasons.get("gc").is_some_and(|&count| 2 * count >= report.pauses.count);
        let advice =
            if for_gc { " gc.freeze() after start-up and a higher gc.set_threshold() reduce that." } else { "" };
        let message = format!(
            "The interpreter stops all threads at least {}, {}{by}. {} is stopped for {} of its time.{advice}",
            plural(report.pauses.count, "time"),
            reasons(&report.pauses),
            label(&name, worst.tid),
            percent(paused),
        );
        finding(
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
        )
    })
}

/// Collections matter from this part of the time for which the GIL is held, and of the recording.
const COLLECTING_PART: f64 = 0.1;

/// The GIL is held to collect garbage.
fn collections(report: &Report) -> Option<Finding> {
    let collections = &report.collections;
    let time = part(collections.held_s, report.session.duration_s);
    if collections.held_fraction < COLLECTING_PART || time < COLLECTING_PART {
        return None;
    }
    let by = collections.by.first();
    let place =
        by.and_then(|by| by.stack.first()).map_or_else(String::new, |at| format!(", most of it started in {at}"));
    let message = format!(
        "The GIL is held to collect garbage for {}, {} of the time{place}. Others waited {} for it meanwhile. \
         gc.freeze() after start-up and a higher gc.set_threshold() reduce that.",
        duration(collections.held_s),
        percent(time),
        duration(collections.waited_s),
    );
    Some(finding(
        "gil-held-to-collect",
        severity(time),
        collections.waited_s,
        message,
        [
            ("held_s", json!(collections.held_s)),
            ("held_fraction", json!(collections.held_fraction)),
            ("held_fraction_threshold", json!(COLLECTING_PART)),
            ("waited_s", json!(collections.waited_s)),
        ],
    ))
}

/// Reference counts matter from this part of the CPU time on.
const COUNTING_PART: f64 = 0.05;

/// Threads contend for the reference counts of objects that they share.
fn refcounts(report: &Report) -> Option<Finding> {
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

/// Lost records are one too many from the first on: what is missing is not known.
fn records_lost(report: &Report) -> Option<Finding> {
    let lost = report.session.lost_events;
    (lost > 0).then(|| {
        let message = format!(
            "{lost} records were lost on their way from the kernel: waits are missing. The threads' totals are exact \
             all the same. A --min-wait keeps fewer records."
        );
        finding("records-lost", Severity::Medium, 0.0, message, [("lost_events", json!(lost))])
    })
}

#[cfg(test)]
mod tests;
