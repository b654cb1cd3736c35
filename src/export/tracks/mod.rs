//! All that a trace shows, so that the formats only lay it out: the states of each thread as slices, its frames, who held
//! each GIL and lock, how many waited, and arrows from who released it to who acquired it. Pure; called by the Chrome and
//! the Perfetto trace.

use std::borrow::Cow;
use std::ops::Range;

use rustc_hash::FxHashSet;

use crate::contention::{Handoff, Hold};
use crate::event::{Nanos, ProcessId, ThreadId, Tid};
use crate::profile::{Profile, Span};
use crate::report::text::units::duration;
use crate::stack::{Interner, StackId};

use super::coarse::{MergedSlices, SliceLengths, groups};
use super::contended::{ContendedKind, ContendedTrack, contended, holders, waited_for};
use super::slices::{bounds, lengths, shown, timeline};
use crate::stack::label::one_line;

/// Everything, in the order of [`Profile::threads`] where it is by thread.
pub(super) struct Tracks<'p> {
    profile: &'p Profile,
    timeline: &'p [Vec<Span>],
    /// The GILs and locks to show.
    pub contended: Vec<ContendedTrack<'p>>,
    /// Who held each of them.
    pub holds: Vec<Vec<HeldBy>>,
    /// What each thread did.
    pub states: Vec<Vec<StateSlice>>,
    /// Hand-overs that can be drawn.
    pub arrows: Vec<Arrow>,
    /// What was merged to make it fit.
    pub merged: MergedSlices,
    /// The first moment of all.
    pub origin: Nanos,
}

/// What a thread did for some time.
pub(super) struct StateSlice {
    /// When, what, and where it was at the beginning of it.
    pub span: Span,
    /// What it stands for, if it is made of several.
    pub many: Option<Box<Many>>,
}

/// What was merged into a slice.
pub(super) struct Many {
    pub count: usize,
    /// Time in each state, the longest first.
    pub parts: Vec<(&'static str, u64)>,
}

/// Who held a GIL or a lock for some time.
pub(super) struct HeldBy {
    pub start: Nanos,
    pub end: Nanos,
    pub thread: ThreadId,
    /// How often it was held, and how long in all, in nanoseconds, if the slice stands for several holds by whomever.
    pub many: Option<(u64, u64)>,
}

impl HeldBy {
    pub fn name(&self, profile: &Profile) -> String {
        if self.many.is_some() { "many short holds".to_owned() } else { one_line(&profile.thread_label(self.thread)) }
    }

    /// What a viewer shows of it.
    pub fn details(&self) -> Vec<(&'static str, Detail)> {
        let many = |(count, ns): (u64, u64)| vec![("count", Detail::Number(count)), ("held_ns", Detail::Number(ns))];
        self.many.map_or_else(Vec::new, many)
    }
}

/// A hand-off, from a slice of one thread to a slice of another.
pub(super) struct Arrow {
    /// A GIL, not a lock.
    pub gil: bool,
    pub from: ArrowEnd,
    pub to: ArrowEnd,
}

/// Where an arrow begins or ends.
#[derive(Clone, Copy)]
pub(super) struct ArrowEnd {
    pub thread: ThreadId,
    /// An index into the thread's states.
    pub slice: usize,
    /// A moment within that slice.
    pub at: Nanos,
}

/// A detail of a slice.
pub(super) enum Detail {
    /// One of few: a name.
    Name(String),
    /// Another for each slice.
    Text(String),
    Number(u64),
}

impl StateSlice {
    pub fn name(&self) -> &'static str {
        if self.many.is_some() { "many short states" } else { self.span.state.name() }
    }

    /// Where the thread was, if it was off the CPU and so at one place.
    pub fn stack(&self) -> Option<StackId> {
        let is_known = !self.span.state.on_cpu() && self.many.is_none() && self.span.stack != StackId::EMPTY;
        is_known.then_some(self.span.stack)
    }
}

impl<'p> Tracks<'p> {
    /// Everything, in about `most` slices.
    ///
    /// # Errors
    /// The recording kept no timeline.
    pub fn new(profile: &'p Profile, most: u64) -> anyhow::Result<Self> {
        Self::with(profile, contended(profile), most)
    }

    /// As [`Self::new`], with these GILs and locks.
    pub fn with(profile: &'p Profile, contended: Vec<ContendedTrack<'p>>, most: u64) -> anyhow::Result<Self> {
        let timeline = timeline(profile)?;
        let mut all = SliceLengths::default();
        for one in &contended {
            one.holds().fold(None, |last, hold| {
                all.add(last.map_or(0, |end| hold.start.since(end)), hold.end.since(hold.start));
                Some(hold.end)
            });
        }
        let mut states = Vec::with_capacity(timeline.len());
        for (index, spans) in (0..).zip(timeline) {
            let spans = shown(profile, ThreadId(index), spans);
            lengths(&spans).fold(None, |last: Option<Nanos>, span| {
                all.add(last.map_or(0, |end| span.start.since(end)), span.end.since(span.start));
                Some(span.end)
            });
            states.push(in_states(&spans));
        }
        let grain = all.grain(most);
        let mut merged = MergedSlices { shorter_than_ns: grain, ..MergedSlices::default() };
        let states: Vec<Vec<StateSlice>> =
            states.into_iter().map(|spans| coarse(&spans, grain, &mut merged)).collect();
        let holds = contended.iter().map(|one| holds(one, grain, &mut merged)).collect();
        let mut arrows = Vec::new();
        for one in &contended {
            let gil = matches!(one.what, ContendedKind::Gil(_));
            for (from, to) in one.timeline.handoffs.iter().filter_map(|handoff| ends(handoff, &states)) {
                if [from, to].iter().any(|end| states[end.thread.0 as usize][end.slice].many.is_some()) {
                    merged.arrows += 1;
                } else {
                    arrows.push(Arrow { gil, from, to });
                }
            }
        }
        let (origin, _) = bounds(profile, timeline);
        Ok(Tracks { profile, timeline, contended, holds, states, arrows, merged, origin })
    }

    /// Whether a thread has a track. Without a filter all have, with one those of which there is something to show.
    fn has_track(&self, thread: ThreadId) -> bool {
        self.profile.session.filter.is_none() || !self.states[thread.0 as usize].is_empty()
    }

    /// The processes that have a track.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        let threads = self.threads().map(|(thread, ..)| self.profile.threads[thread.0 as usize].process);
        let used: FxHashSet<_> = threads.chain(self.contended.iter().map(|one| one.process)).collect();
        let all = self.profile.session.filter.is_none();
        (0..self.profile.processes.len() as u32).map(ProcessId).filter(move |process| all || used.contains(process))
    }

    /// The threads that have a track, and whether another has the same tid before.
    pub fn threads(&self) -> impl Iterator<Item = (ThreadId, Tid, bool)> {
        let mut used = FxHashSet::default();
        let profile = self.profile;
        (0..self.timeline.len() as u32).filter(|&index| self.has_track(ThreadId(index))).map(move |index| {
            let info = &profile.threads[index as usize];
            (ThreadId(index), info.tid, !used.insert((info.process, info.tid)))
        })
    }

    /// What a thread did, stack by stack, without anything merged.
    pub fn spans(&self, thread: ThreadId) -> Cow<'p, [Span]> {
        shown(self.profile, thread, &self.timeline[thread.0 as usize])
    }

    /// The stacks of a thread over time. Of neighbours that were merged, what they have in common.
    pub fn stacks(&self, thread: ThreadId) -> Vec<Span> {
        let spans = self.spans(thread);
        let grain = self.merged.shorter_than_ns;
        if grain == 0 {
            return spans.into_owned();
        }
        // Where only the state changes, the stack need not be cut.
        let mut stacks: Vec<Span> = Vec::new();
        for span in lengths(&spans) {
            match stacks.last_mut() {
                Some(last) if last.stack == span.stack && last.end == span.start => last.end = span.end,
                _ => stacks.push(span),
            }
        }
        let groups = groups(stacks.iter().map(|span| (span.start, span.end)), grain);
        let merge = |group: Range<usize>| {
            let group = &stacks[group];
            let all = group.iter().map(|span| span.stack);
            let stack = all.reduce(|a, b| in_common(&self.profile.stacks, a, b)).unwrap_or(StackId::EMPTY);
            Span { end: group[group.len() - 1].end, stack, ..group[0] }
        };
        groups.into_iter().map(merge).collect()
    }

    /// What a viewer shows of a slice of a process's thread.
    pub fn details(&self, process: ProcessId, slice: &StateSlice) -> Vec<(&'static str, Detail)> {
        let mut details = Vec::new();
        if let Some(many) = &slice.many {
            let part = |&(name, ns): &(&str, u64)| format!("{name} {}", duration(ns as f64 / 1e9));
            let parts: Vec<String> = many.parts.iter().map(part).collect();
            details.push(("count", Detail::Number(many.count as u64)));
            details.push(("time", Detail::Text(parts.join(", "))));
            return details;
        }
        let span = &slice.span;
        if let Some(call) = span.state.syscall() {
            details.push(("syscall", Detail::Name(call.to_string())));
        }
        if let Some(lock) = span.state.lock() {
            details.push(("lock", Detail::Name(one_line(&self.profile.locks.info(lock).label()))));
        }
        let waited_for = waited_for(&self.contended, process, span.state);
        if let Some(holders) = waited_for.and_then(|it| holders(self.profile, it, span.start, span.end)) {
            details.push(("holders", Detail::Text(holders)));
        }
        details
    }
}

/// One span as long as the state is the same, whatever happens to the stack.
fn in_states(spans: &[Span]) -> Vec<Span> {
    let mut states: Vec<Span> = Vec::new();
    for span in lengths(spans) {
        match states.last_mut() {
            Some(last) if last.state == span.state && last.end == span.start => last.end = span.end,
            _ => states.push(span),
        }
    }
    states
}

fn coarse(states: &[Span], grain: u64, merged: &mut MergedSlices) -> Vec<StateSlice> {
    let show = |group: Range<usize>| {
        let group = &states[group];
        let span = Span { end: group[group.len() - 1].end, ..group[0] };
        if group.len() == 1 {
            return StateSlice { span, many: None };
        }
        merged.slices += group.len() as u64;
        merged.into += 1;
        let mut parts: Vec<(&'static str, u64)> = Vec::new();
        for span in group {
            let (name, ns) = (span.state.name(), span.end.since(span.start));
            match parts.iter_mut().find(|part| part.0 == name) {
                Some(part) => part.1 += ns,
                None => parts.push((name, ns)),
            }
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.1));
        StateSlice { span, many: Some(Box::new(Many { count: group.len(), parts })) }
    };
    groups(states.iter().map(|span| (span.start, span.end)), grain).into_iter().map(show).collect()
}

fn holds(one: &ContendedTrack<'_>, grain: u64, merged: &mut MergedSlices) -> Vec<HeldBy> {
    let holds: Vec<Hold> = one.holds().collect();
    let show = |group: Range<usize>| {
        let group = &holds[group];
        let (start, end, thread) = (group[0].start, group[group.len() - 1].end, group[0].thread);
        let many = (group.len() > 1).then(|| {
            merged.slices += group.len() as u64;
            merged.into += 1;
            (group.len() as u64, group.iter().map(|hold| hold.end.since(hold.start)).sum())
        });
        HeldBy { start, end, thread, many }
    };
    groups(holds.iter().map(|hold| (hold.start, hold.end)), grain).into_iter().map(show).collect()
}

/// The frames that two stacks share, from the outside in.
fn in_common(stacks: &Interner, a: StackId, b: StackId) -> StackId {
    let depth = |stack| stacks.frames(stack).count();
    let cut =
        |stack, by| (0..by).fold(stack, |stack, _| stacks.pop(stack).map_or(StackId::EMPTY, |(caller, _)| caller));
    let least = depth(a).min(depth(b));
    let (mut a, mut b) = (cut(a, depth(a) - least), cut(b, depth(b) - least));
    while a != b {
        (a, b) = (cut(a, 1), cut(b, 1));
    }
    a
}

/// Where an arrow can begin and end: viewers lose one that does not do so inside a slice. It begins just before the
/// release, because the slice of the thread that held the GIL can end there.
fn ends(handoff: &Handoff, states: &[Vec<StateSlice>]) -> Option<(ArrowEnd, ArrowEnd)> {
    let (released, acquired) = (handoff.released, handoff.acquired);
    let slice = |thread: ThreadId, at: Nanos| {
        let slices = states.get(thread.0 as usize)?;
        let slice = slices.partition_point(|slice| slice.span.end <= at);
        (slices.get(slice)?.span.start <= at).then_some(ArrowEnd { thread, slice, at })
    };
    let before = Nanos(released.0.saturating_sub(1));
    let from = slice(handoff.from, before).or_else(|| slice(handoff.from, released))?;
    let to = slice(handoff.to, acquired)?;
    let last = states[to.thread.0 as usize][to.slice].span.end.0 - 1;
    let to = ArrowEnd { at: Nanos((acquired.0 + 1).min(last)), ..to };
    (from.at <= to.at).then_some((from, to))
}

#[cfg(test)]
mod tests;
