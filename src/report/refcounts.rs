//! What is known of reference counts, in the words of the report. Called by [`super::Report::new`].

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::event::{Counting, MemoryPlace};
use crate::profile::{Mode, Profile};
use crate::refcount::analysis::{ObjectSummary, RefcountSummary};
use crate::stack::StackId;
use crate::stack::label::{frame_label, stack_labels};
use crate::stack::own::own_index;

use super::model::{CountedLine, CountedObject, CountedType, Elsewhere, ReportedCounts, Sampled};
use super::{MAX_ATTRIBUTED, ratio, thread_name};

/// How many objects a report has at most.
const MAX_OBJECTS: usize = 200;
/// This many standard deviations to each side hold 95 of 100 values.
const DEVIATIONS: f64 = 1.96;

/// All that is known of reference counts.
pub(super) fn refcounts(profile: &Profile) -> ReportedCounts {
    let summary = profile.refcounts.summary();
    let fraction = |samples: u64| ratio(samples, summary.samples);
    let elsewhere = |place| fraction(summary.elsewhere.get(&place).copied().unwrap_or(0));
    let cpu_fraction = fraction(summary.held_up);
    let spread = match summary.samples {
        0 => 0.0,
        samples => DEVIATIONS * (cpu_fraction * (1.0 - cpu_fraction) / samples as f64).sqrt(),
    };
    ReportedCounts {
        unavailable: unavailable(profile),
        samples: summary.samples,
        cpu_fraction,
        margin: (spread * 1e6).round() / 1e6,
        objects: summary.objects.iter().take(MAX_OBJECTS).map(|of| object(profile, of, &summary)).collect(),
        types: types(&summary),
        lines: lines(profile, &summary),
        elsewhere: Elsewhere {
            object_mutex: elsewhere(MemoryPlace::ObjectMutex),
            header: fraction(summary.header),
            interpreter: elsewhere(MemoryPlace::Interpreter),
            dict_keys: elsewhere(MemoryPlace::DictKeys),
            content: elsewhere(MemoryPlace::Content),
            memory: elsewhere(MemoryPlace::Memory),
            unknown: fraction(summary.unknown),
        },
    }
}

/// Why nothing is known of reference counts, if that is so.
pub fn unavailable(profile: &Profile) -> Option<String> {
    let info = profile.processes.first().filter(|_| profile.refcounts.samples() == 0)?;
    Some(if !profile.processes.iter().any(|info| info.free_threaded) {
        format!(
            "Python {} has a GIL: one thread at a time changes reference counts, without atomic operations. Only \
             free-threaded builds (3.13t and later) contend for them",
            info.python
        )
    } else if profile.session.mode == Mode::Memory {
        "in memory mode on this machine: perf events of the target's threads are not permitted \
         (/proc/sys/kernel/perf_event_paranoid must be 2 or less, or gilscope needs CAP_PERFMON)"
            .to_owned()
    } else {
        "no thread was found on a CPU".to_owned()
    })
}

fn object(profile: &Profile, of: &ObjectSummary, summary: &RefcountSummary) -> CountedObject {
    let info = &of.info;
    CountedObject {
        pid: profile.processes[info.process.0 as usize].pid,
        address: info.address,
        type_name: info.type_name.to_string(),
        name: info.name.as_deref().map(str::to_owned),
        label: info.label(),
        length: info.len,
        cpu_fraction: ratio(of.samples, summary.samples),
        samples: of.samples,
        atomic: of.atomic,
        operations: of.ops.iter().map(|&(op, samples)| (op.name().to_owned(), samples)).collect(),
        threads: of.threads.len(),
        owner: info.owner.map(|owner| thread_name(profile, owner)),
        counting: info.counting.name().to_owned(),
        immortal: info.counting == Counting::Immortal,
        deferred: info.counting == Counting::Deferred,
        advice: advice(profile, of),
        stacks: of
            .stacks
            .iter()
            .take(MAX_ATTRIBUTED)
            .map(|&(thread, at, samples)| Sampled {
                tid: profile.threads[thread.0 as usize].tid,
                thread: thread_name(profile, thread),
                samples,
                stack: stack_labels(&profile.stacks, at),
                own: own_index(&profile.stacks, at),
            })
            .collect(),
    }
}

/// What would help, if the evidence says.
fn advice(profile: &Profile, of: &ObjectSummary) -> Option<String> {
    let minor = profile.processes[of.info.process.0 as usize].python.split('.').nth(1)?.parse::<u8>().ok()?;
    let advice = match &*of.info.type_name {
        "function" => {
            "It is made while threads run, by a def or lambda inside of a function: one at module level, made before \
             the threads start, is not counted"
        }
        "type" if minor <= 13 => "Every instance counts its class; 3.14 does so for each thread on its own",
        "method" | "builtin_function_or_method" | "builtin_method" => {
            "It is a bound method that threads share: let each thread bind its own from an object of its own"
        }
        "cell" => "Threads share a variable of an enclosing function: pass its value as an argument instead",
        "str" | "int" | "float" | "bytes" | "tuple" | "complex" | "frozenset" => {
            "It does not change: a copy for each thread would be as good"
        }
        // Up to there, every use of a local variable counts.
        _ if minor <= 13 => "Give each thread an object of its own; 3.14 counts fewer uses of local variables",
        _ => "Give each thread an object of its own, or take it into a local variable once, outside of the loop",
    };
    Some(advice.to_owned())
}

fn types(summary: &RefcountSummary) -> Vec<CountedType> {
    let mut types: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for of in &summary.objects {
        let sum = types.entry(&of.info.type_name).or_default();
        sum.0 += of.samples;
        sum.1 += 1;
    }
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|&(name, (samples, _))| (Reverse(samples), name));
    types
        .into_iter()
        .map(|(name, (samples, objects))| CountedType {
            type_name: name.to_owned(),
            cpu_fraction: ratio(samples, summary.samples),
            samples,
            objects,
        })
        .collect()
}

/// Where: the line that the thread was in, whatever called it.
fn lines(profile: &Profile, summary: &RefcountSummary) -> Vec<CountedLine> {
    let mut lines: BTreeMap<String, (u64, BTreeMap<String, u64>)> = BTreeMap::new();
    for (_, at, info, samples) in profile.refcounts.stacks() {
        let frame = (at != StackId::EMPTY).then(|| profile.stacks.pop(at)).flatten();
        let line = frame
            .map_or_else(|| "(no Python frame)".to_owned(), |(_, frame)| frame_label(&profile.stacks, frame, false));
        let sum = lines.entry(line).or_default();
        sum.0 += samples;
        *sum.1.entry(info.label()).or_default() += samples;
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|(_, (samples, _))| Reverse(*samples));
    lines.truncate(MAX_ATTRIBUTED);
    lines
        .into_iter()
        .map(|(line, (samples, objects))| {
            let mut objects: Vec<_> = objects.into_iter().collect();
            objects.sort_by_key(|(_, samples)| Reverse(*samples));
            CountedLine {
                line,
                cpu_fraction: ratio(samples, summary.samples),
                samples,
                objects: objects.into_iter().map(|(label, _)| label).collect(),
            }
        })
        .collect()
}
