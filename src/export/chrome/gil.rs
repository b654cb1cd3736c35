//! The tracks of a GIL: who held it, how many waited, and arrows from who let go of it to who got it. Called by
//! [`super::write`].

use std::io::{self, Write};

use crate::event::{GilInfo, Nanos, Pid, ProcessId, ThreadId};
use crate::export::label::one_line;
use crate::gil::summary::{GilTimeline, Handoff};
use crate::profile::{Profile, Span};
use crate::report::text::units::duration;

use super::{Event, GIL_TRACKS, Trace};

/// So many holders are named of each wait: those who held it for the longest time.
const MOST_HOLDERS: usize = 3;

/// A GIL to be shown.
#[derive(Clone, Copy)]
pub(super) struct Gil<'p> {
    pub info: &'p GilInfo,
    pub timeline: &'p GilTimeline,
}

/// All GILs of which it was kept what happened when.
pub(super) fn gils(profile: &Profile) -> Vec<Gil<'_>> {
    let gils = profile.gils.iter();
    gils.filter_map(|gil| Some(Gil { info: &gil.info, timeline: gil.timeline()? })).collect()
}

/// The GIL that the threads of a process wait for. None if there are several: a wait does not say for which it is.
pub(super) fn only_gil<'p>(gils: &[Gil<'p>], process: ProcessId) -> Option<&'p GilTimeline> {
    let mut of_process = gils.iter().filter(|gil| gil.info.process == process);
    let gil = of_process.next()?;
    of_process.next().is_none().then_some(gil.timeline)
}

/// Who held the GIL from `start` to `end`: `cruncher (102) 4.90 ms, ...`.
pub(super) fn holders(profile: &Profile, timeline: &GilTimeline, start: Nanos, end: Nanos) -> Option<String> {
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
    /// The track and the counter of one GIL, the `index`th of all.
    pub(super) fn gil(&mut self, profile: &Profile, gils: &[Gil<'_>], index: usize) -> io::Result<()> {
        let Gil { info, timeline } = gils[index];
        let pid = profile.processes[info.process.0 as usize].pid;
        let track = GIL_TRACKS + index as u32;
        let alone = gils.iter().filter(|gil| gil.info.process == info.process).count() == 1;
        let which = if alone { String::new() } else { format!(" (interpreter {})", info.interpreter) };
        // Before the threads.
        let order = index as i64 - gils.len() as i64;
        self.describe(pid, Some(track), &format!("GIL{which}"), order)?;
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
        self.waiters(pid, &format!("GIL waiters{which}"), &timeline.waiters)
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
    pub(super) fn arrows(&mut self, profile: &Profile, gils: &[Gil<'_>], states: &[Vec<Span>]) -> io::Result<()> {
        let mut id = 0;
        for handoff in gils.iter().flat_map(|gil| &gil.timeline.handoffs) {
            let Some((begin, end)) = ends(handoff, states) else { continue };
            id += 1;
            let place = |thread: ThreadId| (profile.process_of(thread).pid, super::STATE_TRACKS + thread.0);
            let (name, cat) = ("GIL handed over", "gil");
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
