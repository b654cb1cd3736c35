//! Work that waits for a thread, and threads that wait for a connection.

use serde_json::json;

use super::{finding, nanos, part, severity};
use crate::report::model::{ConnectionUser, Connections, Finding, PoolWork, Report, Severity, ThreadPool};
use crate::report::text::units::{duration, percent};

/// A pool is full if all of its threads have work for this part of the time in which something waits for them.
const SATURATED: f64 = 0.8;
/// The number of calls that wait for a thread, on average, from which on that matters.
const MIN_QUEUED: f64 = 0.5;
/// The limit of AnyIO's worker threads, unless the program says otherwise.
const ANYIO_LIMIT: usize = 40;
/// Threads that mostly run, or wait for the GIL, for locks or for a CPU, are not what the pool has too few of: more of them would
/// only wait, too. This part of the work must be waiting for something else.
const BLOCKED: f64 = 0.5;
/// Other lines are not mentioned beside one that takes this part.
const MOSTLY: f64 = 0.8;

/// Pools whose threads all have work while more of it waits.
pub(super) fn full(report: &Report) -> impl Iterator<Item = Finding> + '_ {
    report.pools.iter().filter_map(|pool| full_pool(report, pool))
}

fn full_pool(report: &Report, pool: &ThreadPool) -> Option<Finding> {
    // Threads of AnyIO get their work one by one: it waits for one of them inside the event loop.
    let is_at_limit = pool.kind == "anyio" && pool.size >= ANYIO_LIMIT;
    let queued = pool.queued_mean.unwrap_or(0.0);
    if pool.saturated_fraction < SATURATED || !is_at_limit && queued < MIN_QUEUED {
        return None;
    }
    let total: f64 = pool.work.iter().map(|work| work.by.seconds).sum();
    let blocked: f64 = pool.work.iter().map(|work| work.by.seconds * work.blocked_fraction).sum();
    let top = pool.work.first().filter(|_| blocked >= BLOCKED * total)?;
    let waiting = match (is_at_limit, pool.queued_max) {
        (true, _) => "further calls wait until one of them is free".to_owned(),
        (false, max) => format!("{queued:.1} calls wait in its queue on average, at most {}", max.unwrap_or(0)),
    };
    let share = part(top.by.seconds, total);
    let rest = if share < MOSTLY { other_lines(&pool.work[1..], total) } else { String::new() };
    let who = match pool.size {
        1 => format!("The only thread of {} is", name(pool)),
        size => format!("All {size} threads of {} are", name(pool)),
    };
    let when = if is_at_limit { "" } else { " in which calls wait for one" };
    let message = format!(
        "{who} busy for {} of the time{when}: {waiting}. {} of their time is spent in {}{}{rest}. \
         Make the pool larger, or give {} a pool of its own.",
        percent(pool.saturated_fraction),
        percent(share),
        top.line,
        doing(top),
        top.line,
    );
    let cost_s = report.session.duration_s * pool.saturated_fraction;
    let headline = format!(
        "calls of {} wait for a free thread: {} busy, mostly in {}{}",
        name(pool),
        if pool.size == 1 { "its only one is".to_owned() } else { format!("all {} are", pool.size) },
        top.line,
        doing(top)
    );
    let found = finding(
        "pool-full",
        Severity::Medium,
        if is_at_limit { cost_s } else { cost_s * queued.min(1.0) },
        message,
        [
            ("pool", json!(pool.name)),
            ("kind", json!(pool.kind)),
            ("size", json!(pool.size)),
            ("busy_mean", json!(pool.busy_mean)),
            ("saturated_fraction", json!(pool.saturated_fraction)),
            ("saturated_fraction_threshold", json!(SATURATED)),
            ("queued_mean", json!(pool.queued_mean)),
            ("queued_max", json!(pool.queued_max)),
            ("line", json!(top.line)),
            ("line_fraction", json!(share)),
        ],
    );
    Some(Finding { headline, ..found })
}

/// What to call a pool.
fn name(pool: &ThreadPool) -> String {
    match pool.kind.as_str() {
        "executor" if pool.name == "asyncio" => "asyncio's executor".to_owned(),
        "executor" => format!("the executor {}", pool.name),
        "anyio" => "AnyIO's pool, which is at its limit,".to_owned(),
        "queue" => format!("the queue of {}", pool.name),
        "thread-pool" => "multiprocessing.pool.ThreadPool".to_owned(),
        kind => format!("{kind}'s pool"),
    }
}

/// What threads mostly do at a line.
fn doing(work: &PoolWork) -> String {
    work.syscall.as_ref().map_or_else(String::new, |call| format!(", blocked in {call}"))
}

fn other_lines(work: &[PoolWork], total: f64) -> String {
    work.first().map_or_else(String::new, |next| {
        format!(" and for {} in {}", percent(part(next.by.seconds, total)), next.line)
    })
}

/// Waiting for a free connection matters from this many threads on, on average.
const CONNECTION_WAITERS: f64 = 0.1;
/// A thread that waits for this part of its time gets none, one that waits for no more than that part gets what it wants.
const STARVED: f64 = 0.95;
const SERVED: f64 = 0.5;

/// All connections of a pool are in use.
pub(super) fn no_connection(report: &Report) -> Option<Finding> {
    let total = report.waiting_for_connections_s();
    let waiters = part(total, report.session.duration_s);
    if waiters < CONNECTION_WAITERS {
        return None;
    }
    let place = report.connections.as_ref().and_then(|connections| connections.waits.first());
    let place = place.map_or_else(String::new, |top| format!(" in {}", top.line));
    let users = report.connections.as_ref().map_or(&[][..], |connections| &connections.users);
    let starved = users.iter().filter(|user| waited(user) >= STARVED).count();
    let served: Vec<&ConnectionUser> = users.iter().filter(|user| waited(user) <= SERVED).collect();
    let who_has = report.connections.as_ref().map_or_else(String::new, who_has);
    let message = match !served.is_empty() && starved > 0 {
        true => format!(
            "{starved} of {} threads never get a connection of the pool: they wait{place} all the time ({} in all), while {} \
             {} whenever {}.{who_has} That is unfair, the pool need not be too small: who gives a connection \
             back and asks again gets it before those that wait. Keep a connection for several pieces of work, or have \
             as many as there are threads.",
            users.len(),
            duration(total),
            names(&served),
            if served.len() == 1 { "gets one" } else { "get one" },
            if served.len() == 1 { "it asks" } else { "they ask" },
        ),
        false => format!(
            "{waiters:.1} threads wait for a free connection of a pool on average, {} in all, most of it{place}.{who_has} \
             Keep connections for a shorter time, or have more of them.",
            duration(total),
        ),
    };
    Some(finding(
        "no-free-connection",
        severity(waiters),
        total,
        message,
        [
            ("wait_s", json!(nanos(total))),
            ("mean_waiters", json!(waiters)),
            ("mean_waiters_threshold", json!(CONNECTION_WAITERS)),
            ("users", json!(users.len())),
            ("starved", json!(starved)),
            ("starved_threshold", json!(STARVED)),
        ],
    ))
}

/// The part of a thread's time for which it waited.
fn waited(user: &ConnectionUser) -> f64 {
    part(user.waited_s, user.wall_s)
}

/// What those do that have the connections.
fn who_has(connections: &Connections) -> String {
    let total: f64 = connections.work.iter().map(|work| work.by.seconds).sum();
    connections.work.first().map_or_else(String::new, |top| {
        let share = percent(part(top.by.seconds, total));
        format!(" Who has one spends {share} of that time in {}{}.", top.line, doing(top))
    })
}

/// The names of threads, if there are few.
fn names(users: &[&ConnectionUser]) -> String {
    match users {
        [one] => one.thread.clone(),
        [one, other] => format!("{} and {}", one.thread, other.thread),
        [one, other, rest @ ..] => format!("{}, {} and {} more", one.thread, other.thread, rest.len()),
        [] => "none".to_owned(),
    }
}
