//! The tracks of GILs and locks: who held each, how many waited, and arrows from who let go of it to who got it. Called
//! by [`super::write`].

use std::io::{self, Write};

use crate::contention::{Handoff, Timeline};
use crate::event::{GilInfo, LockId, Nanos, Pid, ProcessId, ThreadId, ThreadState};
use crate::export::label::one_line;
use crate::profile::{Profile, Span};
use crate::report::text::units::duration;

use super::{CONTENDED_TRACKS, Event, Trace};

/// So many holders are named of each wait: those who held it for the longest time.
const MOST_HOLDERS: usize = 3;

/// Locks have tracks if threads waited for them for this part of the recording, together; so many at most.
const WORTH_A_TRACK: f64 = 0.01;
const MOST_LOCKS: usize = 20;

/// A GIL or lock to be shown.
#[derive(Clone)]
pub(super) struct Contended<'p> {
    pub process: ProcessId,
    pub what: What<'p>,
    pub timeline: &'p Timeline,
}

/// Which it is.
#[derive(Clone)]
pub(super) enum What<'p> {
    Gil(&'p GilInfo),
    Lock(LockId, String),
}

/// All GILs and locks of which it was kept what happened when, and that are worth a track.
pub(super) fn contended(profile: &Profile) -> Vec<Contended<'_>> {
    let gils = profile.gils.iter().filter_map(|gil| {
        let (process, what) = (gil.info.process, What::Gil(&gil.info));
        Some(Contended { process, what, timeline: gil.timeline()? })
    });
    let least = profile.session.end.since(profile.session.start) as f64 * WORTH_A_TRACK;
    let locks = profile.locks.timelines(least as u64).into_iter().take(MOST_LOCKS).map(|(lock, timeline)| {
        let info = profile.locks.info(lock);
        Contended { process: info.process, what: What::Lock(lock, one_line(&info.label())), timeline }
    });
    gils.chain(locks).collect()
}

/// What a thread of a process waits for in a state. None if there are several GILs: a wait does not say for which it is.
pub(super) fn waited_for<'p>(all: &[Contended<'p>], process: ProcessId, state: ThreadState) -> Option<&'p Timeline> {
    let is_it = |one: &&Contended<'_>| match (&one.what, state) {
        (What::Gil(_), ThreadState::GilWait) => one.process == process,
        (What::Lock(lock, _), _) => state.lock() == Some(*lock),
        _ => false,
    };
    let mut found = all.iter().filter(is_it);
    let one = found.next()?;
    found.next().is_none().then_some(one.timeline)
}

/// Who held it from `start` to `end`: `cruncher (102) 4.90 ms, ...`.
pub(super) fn holders(profile: &Profile, timeline: &Timeline, start: Nanos, end: Nanos) -> Option<String> {
    let first = timeline.holds.partition_point(|hold| hold.end <= start);
    let mut held: Vec<(ThreadId, u64)> = Vec::new();
    for hold in timeline.holds[first..].iter().take_while(|hold| hold.start < end) {
        let ns = hold.end.min(end).since(hold.start.max(start));
        match held.iter_mut().find(|(thread, _)| *thread == hold.thread) {
            Some((_, sum)) => *sum += ns,
            None => held.push((hold.thread, ns)),
        }
    }
    held.sort_by_key(|&(_, ns)| std::cmp::Reverse(ns));
    let named = held
        .iter()
        .take(MOST_HOLDERS)
        .map(|&(thread, ns)| format!("{} {}", one_line(&profile.thread_label(thread)), duration(ns as f64 / 1e9)));
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join(", "))
}

impl<W: Write> Trace<W> {
    /// The track and the counter of one, the `index`th of all.
    pub(super) fn contended(&mut self, profile: &Profile, all: &[Contended<'_>], index: usize) -> io::Result<()> {
        let Contended { process, ref what, timeline } = all[index];
        let pid = profile.processes[process.0 as usize].pid;
        let track = CONTENDED_TRACKS + index as u32;
        let is_gil = |one: &&Contended<'_>| one.process == process && matches!(one.what, What::Gil(_));
        let (name, waiters) = match what {
            What::Gil(_) if all.iter().filter(is_gil).count() == 1 => ("GIL".to_owned(), "GIL waiters".to_owned()),
            What::Gil(info) => {
                let which = format!("(interpreter {})", info.interpreter);
                (format!("GIL {which}"), format!("GIL waiters {which}"))
            }
            What::Lock(_, label) => (label.clone(), format!("{label} waiters")),
        };
        // Before the threads.
        let order = index as i64 - all.len() as i64;
        self.describe(pid, Some(track), &name, order)?;
        let mut last_end = Nanos::default();
        for hold in &timeline.holds {
            let start = hold.start.max(last_end);
            if start < hold.end {
                last_end = hold.end;
                let name = one_line(&profile.thread_label(hold.thread));
                let (ts, dur) = (self.micros(start), hold.end.since(start) as f64 / 1e3);
                self.event(&Event::Hold { name: &name, pid, tid: track, ts, dur })?;
            }
        }
        self.waiters(pid, &waiters, &timeline.waiters)
    }

    fn waiters(&mut self, pid: Pid, name: &str, points: &[(Nanos, u32)]) -> io::Result<()> {
        let mut shown = None;
        for (index, &(at, waiters)) in points.iter().enumerate() {
            // Of several at one moment the last counts.
            let replaced = points.get(index + 1).is_some_and(|next| next.0 == at);
            if !replaced && shown != Some(waiters) {
                shown = Some(waiters);
                let ts = self.micros(at);
                self.event(&Event::Counter { name, pid, ts, args: super::Waiters { waiters } })?;
            }
        }
        Ok(())
    }

    /// An arrow for each hand-over that has slices to begin and to end in. `states` are the slices of all threads.
    pub(super) fn arrows(
        &mut self,
        profile: &Profile,
        all: &[Contended<'_>],
        states: &[Vec<Span>],
    ) -> io::Result<()> {
        let mut id = 0;
        let handoffs =
            all.iter().flat_map(|one| one.timeline.handoffs.iter().map(move |handoff| (&one.what, handoff)));
        for (what, handoff) in handoffs {
            let Some((begin, end)) = ends(handoff, states) else { continue };
            id += 1;
            let place = |thread: ThreadId| (profile.process_of(thread).pid, super::STATE_TRACKS + thread.0);
            let (name, cat) = match what {
                What::Gil(_) => ("GIL handed over", "gil"),
                What::Lock(..) => ("lock handed over", "lock"),
            };
            let (pid, tid) = place(handoff.from);
            self.event(&Event::FlowBegin { name, cat, id, pid, tid, ts: self.micros(begin) })?;
            let (pid, tid) = place(handoff.to);
            self.event(&Event::FlowEnd { name, cat, id, bp: "e", pid, tid, ts: self.micros(end) })?;
        }
        Ok(())
    }
}

/// Where an arrow can begin and end: viewers lose one that does not do so inside a slice. It begins just before the
/// release, because the slice of the thread that held the GIL can end there.
fn ends(handoff: &Handoff, states: &[Vec<Span>]) -> Option<(Nanos, Nanos)> {
    let (released, acquired) = (handoff.released, handoff.acquired);
    let slice = |thread: ThreadId, at: Nanos| {
        let slices = states.get(thread.0 as usize)?;
        let slice = slices.get(slices.partition_point(|slice| slice.end <= at))?;
        (slice.start <= at).then_some(slice)
    };
    let before = Nanos(released.0.saturating_sub(1));
    let begin = slice(handoff.from, before).map(|_| before).or(slice(handoff.from, released).map(|_| released))?;
    let to = slice(handoff.to, acquired)?;
    let end = Nanos((acquired.0 + 1).min(to.end.0 - 1));
    (begin <= end).then_some((begin, end))
}
