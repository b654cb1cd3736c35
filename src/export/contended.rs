//! GILs and locks over time: which are worth a track, and who a thread waited for. Called by the formats that show
//! time, mostly through [`super::tracks`].

use crate::contention::{Hold, Timeline};
use crate::event::{GilInfo, LockId, Nanos, ProcessId, ThreadId, ThreadState};
use crate::profile::Profile;
use crate::report::text::units::duration;

use crate::stack::label::one_line;

/// How many holders are named of each wait: those who held it for the longest time.
const MAX_HOLDERS: usize = 3;

/// Locks have tracks if threads waited for them for this part of the recording, together: the first
/// of them, in the order of cost.
const WORTH_A_TRACK: f64 = 0.01;
const MAX_LOCKS: usize = 20;

/// A GIL or lock to be shown.
#[derive(Clone)]
pub(super) struct ContendedTrack<'p> {
    pub process: ProcessId,
    pub what: ContendedKind<'p>,
    pub timeline: &'p Timeline,
}

#[derive(Clone)]
pub(super) enum ContendedKind<'p> {
    Gil(&'p GilInfo),
    Lock(LockId, String),
}

/// All GILs and locks of which it was kept what happened when, and that are worth a track.
pub(super) fn contended(profile: &Profile) -> Vec<ContendedTrack<'_>> {
    let gils = profile.gils.iter().filter_map(|gil| {
        let (process, what) = (gil.info.process, ContendedKind::Gil(&gil.info));
        Some(ContendedTrack { process, what, timeline: gil.timeline()? })
    });
    let least = profile.session.end.since(profile.session.start) as f64 * WORTH_A_TRACK;
    let locks = profile.locks.timelines(least as u64).into_iter().take(MAX_LOCKS).map(|(lock, timeline)| {
        let info = profile.locks.info(lock);
        ContendedTrack { process: info.process, what: ContendedKind::Lock(lock, one_line(&info.label())), timeline }
    });
    gils.chain(locks).collect()
}

impl ContendedTrack<'_> {
    /// What to call its track, among all that are shown.
    pub fn name(&self, all: &[ContendedTrack<'_>]) -> String {
        let is_gil =
            |one: &&ContendedTrack<'_>| one.process == self.process && matches!(one.what, ContendedKind::Gil(_));
        match &self.what {
            ContendedKind::Gil(_) if all.iter().filter(is_gil).count() == 1 => "GIL".to_owned(),
            ContendedKind::Gil(info) => format!("GIL (interpreter {})", info.interpreter),
            ContendedKind::Lock(_, label) => label.clone(),
        }
    }

    /// Who held it, in the order of time, without overlaps.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        let mut last_end = Nanos::default();
        self.timeline.holds.iter().filter_map(move |hold| {
            let start = hold.start.max(last_end);
            (start < hold.end).then(|| {
                last_end = hold.end;
                Hold { start, ..*hold }
            })
        })
    }

    /// How many waited from each moment on: only changes.
    pub fn waiters(&self) -> impl Iterator<Item = (Nanos, u32)> {
        let points = &self.timeline.waiters;
        let mut shown = None;
        points.iter().enumerate().filter_map(move |(index, &(at, waiters))| {
            // Of several at one moment the last counts.
            let replaced = points.get(index + 1).is_some_and(|next| next.0 == at);
            (!replaced && shown.replace(waiters) != Some(waiters)).then_some((at, waiters))
        })
    }
}

/// What a thread of a process waits for in a state. None if there are several GILs: a wait does not say for which it is.
pub(super) fn waited_for<'p>(
    all: &[ContendedTrack<'p>],
    process: ProcessId,
    state: ThreadState,
) -> Option<&'p Timeline> {
    let is_it = |one: &&ContendedTrack<'_>| match (&one.what, state) {
        (ContendedKind::Gil(_), ThreadState::GilWait) => one.process == process,
        (ContendedKind::Lock(lock, _), _) => state.lock() == Some(*lock),
        _ => false,
    };
    let mut found = all.iter().filter(is_it);
    let one = found.next()?;
    found.next().is_none().then_some(one.timeline)
}

/// Who held it from `start` to `end`, hold by hold, each with how long that was within, in nanoseconds.
pub(super) fn held(timeline: &Timeline, start: Nanos, end: Nanos) -> impl Iterator<Item = (ThreadId, u64)> {
    let first = timeline.holds.partition_point(|hold| hold.end <= start);
    let within = timeline.holds[first..].iter().take_while(move |hold| hold.start < end);
    within.map(move |hold| (hold.thread, hold.end.min(end).since(hold.start.max(start))))
}

/// The same in words: `cruncher (102) 4.90 ms, ...`.
pub(super) fn holders(profile: &Profile, timeline: &Timeline, start: Nanos, end: Nanos) -> Option<String> {
    let mut sums: Vec<(ThreadId, u64)> = Vec::new();
    for (thread, ns) in held(timeline, start, end) {
        match sums.iter_mut().find(|(known, _)| *known == thread) {
            Some((_, sum)) => *sum += ns,
            None => sums.push((thread, ns)),
        }
    }
    sums.sort_by_key(|&(_, ns)| std::cmp::Reverse(ns));
    let named = sums
        .iter()
        .take(MAX_HOLDERS)
        .map(|&(thread, ns)| format!("{} {}", one_line(&profile.thread_label(thread)), duration(ns as f64 / 1e9)));
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn holders_of_a_wait_are_the_three_who_held_longest() {
        const MS: u64 = 1_000_000;
        let mut profile = Profile::default();
        fixture::start(&mut profile, 7, &[70, 71, 72, 73]);
        let holds = [(0, 0, 10), (1, 10, 13), (2, 13, 14), (3, 14, 16), (0, 16, 17), (3, 18, 30)].map(
            |(thread, from, to)| Hold { start: Nanos(from * MS), end: Nanos(to * MS), thread: ThreadId(thread) },
        );
        let timeline = Timeline { holds: holds.to_vec(), ..Timeline::default() };
        let named = |from, to| holders(&profile, &timeline, Nanos(from * MS), Nanos(to * MS));
        assert_eq!(named(8, 17).unwrap(), "thread 70 3.00 ms, thread 71 3.00 ms, thread 73 2.00 ms");
        assert_eq!(named(20, 21).unwrap(), "thread 73 1.00 ms");
        assert_eq!(named(17, 18), None, "it was free");
    }
}
