//! Threads that wait for each other, or for what nobody will release.

use serde_json::json;

use super::finding;
use crate::event::{LEFT_AT_FORK, LEFT_BY_ENDED, Tid};
use crate::report::model::{BrokenCircle, Finding, Lock, Report, Severity, Stuck};
use crate::report::text::units::{duration, label, plural};

/// What findings of threads that never go on are called.
pub(super) const DEADLOCK: &str = "deadlock";
/// And of those that went on in the end.
const BROKEN_CIRCLE: &str = "circular-wait";

/// A circle that lasted for less, in seconds, was seen only for a moment.
const WORTH_SAYING: f64 = 0.1;

/// How what a thread waits for begins if that is the end of a thread.
const END: &str = "the end of a thread";
const GIL: &str = "the GIL";

/// All of them, the lasting ones first.
pub(super) fn stuck(report: &Report) -> Vec<Finding> {
    let lasting = report.deadlocks.iter().map(|circle| deadlock(circle));
    lasting.chain(report.broken_circles.iter().map(broken_circle)).collect()
}

/// All who wait for a lock are in a circle: that says more than how long they have waited.
pub(super) fn is_part_of_deadlock(report: &Report, lock: &Lock) -> bool {
    let stuck = |tid: Tid| report.deadlocks.iter().flatten().any(|stuck| stuck.tid == tid);
    let mut waiters = lock.threads.iter().filter(|thread| thread.wait.count > 0).peekable();
    waiters.peek().is_some() && waiters.all(|thread| stuck(thread.tid))
}

fn tids(circle: &[Stuck]) -> Vec<Tid> {
    circle.iter().map(|stuck| stuck.tid).collect()
}

fn deadlock(circle: &[Stuck]) -> Finding {
    let message = match circle {
        [stuck] => alone(stuck),
        _ => {
            let (edges, advice) = (edges(circle, false), advice(circle));
            format!("DEADLOCK: {} threads wait for each other: {edges}. {advice}", circle.len())
        }
    };
    finding(DEADLOCK, Severity::High, 0.0, message, [("tids", json!(tids(circle)))])
}

/// A thread that waits for itself, or for a thread that is gone.
fn alone(stuck: &Stuck) -> String {
    let who = label(&stuck.thread, stuck.tid);
    let awaited = &stuck.waits_for;
    if awaited.ends_with(LEFT_AT_FORK) {
        return format!(
            "DEADLOCK: {who} waits for {awaited}; nobody will release it. Fork before threads are started, use the start \
             method \"spawn\", or make the lock anew in os.register_at_fork()."
        );
    }
    if awaited.ends_with(LEFT_BY_ENDED) {
        return format!(
            "DEADLOCK: {who} waits for {awaited}; nobody will release it. Acquire it by `with`, so that it is always \
             released."
        );
    }
    format!(
        "DEADLOCK: {who} waits for itself: it has {awaited} already, which cannot be acquired twice. Use a \
         threading.RLock, or release it before."
    )
}

fn broken_circle(circle: &BrokenCircle) -> Finding {
    let BrokenCircle { threads, times, longest_s } = circle;
    // How long a short one lasted is not known well enough.
    let after = match *longest_s >= WORTH_SAYING {
        true => format!(", after {} and more", duration(*longest_s)),
        false => String::new(),
    };
    let message = format!(
        "{} threads waited for each other, seen {}: {}. A time limit or a signal broke the circle{after}. {}",
        threads.len(),
        plural(*times, "time"),
        edges(threads, true),
        advice(threads),
    );
    finding(
        BROKEN_CIRCLE,
        Severity::High,
        longest_s * threads.len() as f64 * *times as f64,
        message,
        [("tids", json!(tids(threads))), ("times", json!(times)), ("longest_s", json!(longest_s))],
    )
}

/// Who waits for what, and who has it.
fn edges(circle: &[Stuck], is_past: bool) -> String {
    let verb = if is_past { "waited" } else { "waits" };
    let next = circle.iter().cycle().skip(1);
    let edge = |(stuck, next): (&Stuck, &Stuck)| {
        let [who, whom] = [stuck, next].map(|stuck| label(&stuck.thread, stuck.tid));
        match stuck.waits_for.strip_prefix(END) {
            Some(place) => format!("{who} {verb} for the end of {whom}{place}"),
            None => format!("{who} {verb} for {}, held by {whom}", stuck.waits_for),
        }
    };
    circle.iter().zip(next).map(edge).collect::<Vec<_>>().join("; ")
}

/// What to do about a circle.
fn advice(circle: &[Stuck]) -> &'static str {
    let waits_for = |what: &str| circle.iter().any(|stuck| stuck.waits_for.starts_with(what));
    if waits_for(GIL) {
        "The native code that waits has to release the GIL first (Py_BEGIN_ALLOW_THREADS)."
    } else if waits_for("import lock") {
        "Import the module before the lock is acquired, best when the program starts."
    } else if waits_for(END) {
        "Release the lock before joining the thread."
    } else {
        "Acquire the locks in the same order everywhere."
    }
}
