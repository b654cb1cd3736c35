//! What is known of a GIL, in the words of the report. Called by [`super::Report::new`].

use crate::contention::lengths::WaitLengths;
use crate::contention::{self, WaitStats};
use crate::gil::delays::HolderDelays;
use crate::gil::summary::{GilSummary, HoldClasses, ThreadShare};
use crate::profile::Profile;
use crate::stack::StackId;
use crate::stack::label::{frame_label, stack_labels};
use crate::stack::own::own_index;

use super::causes::victims_and_causes;
use super::groups::ThreadGroups;
use super::model::{
    Bar, Blamed, BlockedHolder, Gil, GilThread, Held, NotReleased, SwitchedOn, Thread, Wait, WaitParts,
};
use super::{MAX_ATTRIBUTED, fraction, ratio, seconds, thread_name};

/// One of all GILs. `threads` are the ledgers, indexed by thread.
pub(super) fn gil(
    profile: &Profile,
    (gil, all): (&GilSummary, &[GilSummary]),
    threads: &[Thread],
    groups: &ThreadGroups<'_>,
) -> Gil {
    let waits = gil.threads.iter().map(|share| (share.thread, share.waits));
    let (victims, causes) = victims_and_causes(profile, groups, threads, waits, &gil.contention);
    Gil {
        pid: profile.processes[gil.info.process.0 as usize].pid,
        interpreter: gil.info.interpreter,
        words: words(gil, all, groups),
        enabled: gil.info.enabled,
        switched_on: gil.switched_on.as_ref().map(|(at, module)| SwitchedOn {
            at_s: seconds(at.since(profile.session.start)),
            module: module.as_deref().map(str::to_owned),
        }),
        estimated: gil.estimated,
        observed_s: seconds(gil.observed_ns),
        switch_interval_s: seconds(gil.info.switch_interval_ns),
        held_fraction: fraction(gil.held.total_ns(), gil.observed_ns),
        contended_fraction: fraction(gil.contention.contended_ns, gil.observed_ns),
        mean_waiters: ratio(gil.contention.waits.total_ns, gil.observed_ns),
        held: held(gil.held),
        wait: wait(gil.contention.waits),
        lengths: bars(&gil.contention.lengths),
        caused_s: seconds(gil.contention.caused_ns),
        gap_s: seconds(gil.contention.gap_ns),
        unknown_s: seconds(gil.contention.unknown_ns),
        forced_drops: gil.forced_drops,
        voluntary_drops: gil.voluntary_drops,
        holders: all_blamed(profile, &gil.contention.by_holder),
        holders_margin: gil.contention.margin(),
        releasers: all_blamed(profile, &gil.contention.by_releaser),
        waiters: all_blamed(profile, &gil.contention.by_waiter),
        held_off_cpu: held_off_cpu(profile, gil),
        parts: gil.delays.map(|delays| parts(delays, gil.contention.gap_ns)),
        not_released: not_released(profile, gil),
        threads: gil.threads.iter().map(|share| thread(profile, share, threads)).collect(),
        victims,
        causes,
    }
}

/// What sentences call a GIL: with the interpreter that owns it and the thread that holds it most, if a process has several.
fn words(gil: &GilSummary, all: &[GilSummary], groups: &ThreadGroups<'_>) -> String {
    let of_process = all.iter().filter(|other| other.info.process == gil.info.process).count();
    let user = gil.threads.iter().max_by_key(|share| share.held.total_ns());
    match (of_process, gil.info.interpreter, user) {
        (1, ..) => "the GIL".to_owned(),
        (_, 0, _) => "the GIL of the main interpreter".to_owned(),
        (_, id, None) => format!("the GIL of interpreter {id}"),
        (_, id, Some(user)) => format!("the GIL of interpreter {id} ({})", groups.words(&[user.thread]).words),
    }
}

fn held_off_cpu(profile: &Profile, gil: &GilSummary) -> Vec<BlockedHolder> {
    let all = gil.held_off_cpu.iter().take(MAX_ATTRIBUTED);
    all.map(|(call, blame)| BlockedHolder { syscall: call.to_string(), by: blamed(profile, blame) }).collect()
}

fn parts(delays: HolderDelays, gap_ns: u64) -> WaitParts {
    WaitParts {
        until_asked_s: seconds(delays.until_asked_ns),
        until_released_s: seconds(delays.until_released_ns),
        until_running_s: seconds(gap_ns),
        holder_no_cpu_s: seconds(delays.no_cpu_ns),
        holder_blocked_s: seconds(delays.blocked_ns),
    }
}

fn not_released(profile: &Profile, gil: &GilSummary) -> Vec<NotReleased> {
    let all = gil.not_released.iter().take(MAX_ATTRIBUTED);
    all.map(|&(thread, stack, delays)| NotReleased {
        times: delays.times,
        mean_s: seconds(delays.delay_ns.checked_div(delays.times).unwrap_or(0)),
        max_s: seconds(delays.max_ns),
        function: native_function(profile, stack),
        by: blamed(profile, &contention::Blame { thread, stack, ns: delays.waited_ns }),
    })
    .collect()
}

/// The function in which most of the samples with a stack were.
fn native_function(profile: &Profile, stack: StackId) -> Option<String> {
    let functions = profile.held_in_native.get(&stack)?;
    let all: u64 = functions.values().sum();
    let (&function, &count) = functions.iter().max_by_key(|&(function, &count)| (count, *function))?;
    (2 * count > all).then(|| frame_label(&profile.stacks, function, false))
}

/// The costliest of them.
pub(super) fn all_blamed(profile: &Profile, all: &[contention::Blame]) -> Vec<Blamed> {
    all.iter().take(MAX_ATTRIBUTED).map(|blame| blamed(profile, blame)).collect()
}

pub(super) fn blamed(profile: &Profile, blame: &contention::Blame) -> Blamed {
    Blamed {
        tid: profile.threads[blame.thread.0 as usize].tid,
        thread: thread_name(profile, blame.thread),
        seconds: seconds(blame.ns),
        stack: stack_labels(&profile.stacks, blame.stack),
        own: own_index(&profile.stacks, blame.stack),
    }
}

fn thread(profile: &Profile, share: &ThreadShare, threads: &[Thread]) -> GilThread {
    let ledger = &threads[share.thread.0 as usize];
    GilThread {
        tid: ledger.tid,
        thread: thread_name(profile, share.thread),
        wall_s: ledger.wall_s,
        cpu_s: ledger.cpu_s,
        wait: wait(share.waits),
        held: held(share.held),
        caused_s: seconds(share.caused_ns),
    }
}

pub(super) fn bars(lengths: &WaitLengths) -> Vec<Bar> {
    lengths.bars().into_iter().map(|(upto, count)| Bar { upto_s: seconds(upto), count }).collect()
}

pub(super) fn wait(waits: WaitStats) -> Wait {
    Wait {
        count: waits.count,
        total_s: seconds(waits.total_ns),
        mean_s: seconds(waits.mean_ns()),
        p50_s: seconds(waits.p50_ns),
        p99_s: seconds(waits.p99_ns),
        max_s: seconds(waits.max_ns),
    }
}

fn held(held: HoldClasses) -> Held {
    Held {
        python_s: seconds(held.python_ns),
        native_s: seconds(held.native_ns),
        off_cpu_s: seconds(held.off_cpu_ns),
        runnable_s: seconds(held.runnable_ns),
    }
}
