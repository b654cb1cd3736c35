//! A thread's timeline as properly nested slices. Called by the formats that show time.

use std::borrow::Cow;

use anyhow::{Result, bail};

use crate::event::{Nanos, ThreadId};
use crate::gil::analysis::GilAnalysis;
use crate::profile::{Mode, Profile, Span};

use super::gapless::gapless;

/// A frame begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// The frame with this index is entered, in the frame opened last.
    Open(u32),
    /// The frame opened last is left.
    Close(u32),
}

/// The spans of every thread, in the order of [`Profile::threads`].
pub(super) fn timeline(profile: &Profile) -> Result<&[Vec<Span>]> {
    match &profile.timeline {
        Some(timeline) => Ok(timeline),
        None if profile.threads.is_empty() => Ok(&[]),
        None => bail!("this format shows when things happened, but the recording kept no timeline"),
    }
}

/// The spans of a thread as they are shown: what was only seen now and then, between what was measured, is filled in; of
/// that, what is selected.
pub(super) fn shown<'p>(profile: &Profile, thread: ThreadId, spans: &'p [Span]) -> Cow<'p, [Span]> {
    let mut shown: Cow<'p, [Span]> = match profile.session.mode {
        Mode::Memory => spans.into(),
        Mode::Kernel => {
            let info = &profile.threads[thread.0 as usize];
            let of_process = |gil: &&GilAnalysis| gil.info.process == info.process;
            let has_gil = profile.gils.iter().filter(of_process).any(|gil| gil.info.enabled);
            gapless(spans, info.start.max(profile.session.start), info.end, has_gil).into()
        }
    };
    // Not before: what is not selected was no gap.
    if let Some(selection) = profile.selection() {
        shown.to_mut().retain(|span| selection.has(thread, span.stack, span.state, span.start));
    }
    shown
}

/// The first and the last moment of a recording: the session's, or the spans' where they reach further.
pub(super) fn bounds(profile: &Profile, timeline: &[Vec<Span>]) -> (Nanos, Nanos) {
    let spans = || timeline.iter().flatten();
    let start = spans().map(|span| span.start).chain([profile.session.start]).min().unwrap_or_default();
    let end = spans().map(|span| span.end).chain([profile.session.end]).max().unwrap_or_default();
    (start, end.max(start))
}

/// The spans that have a length, cut so that none begins before the one before it has ended.
pub(super) fn lengths(spans: &[Span]) -> impl Iterator<Item = Span> {
    let mut last_end = Nanos::default();
    spans.iter().filter_map(move |span| {
        let start = span.start.max(last_end);
        (start < span.end).then(|| {
            last_end = span.end;
            Span { start, ..*span }
        })
    })
}

/// What an output makes of a timeline.
pub(super) trait Visitor {
    type Error;
    /// Appends the frames to show for a span, outermost first.
    fn fill(&mut self, span: &Span, into: &mut Vec<u32>);
    /// Takes the next edge.
    fn edge(&mut self, at: Nanos, edge: Edge) -> Result<(), Self::Error>;
}

/// Turns spans into edges in the order of time, balanced at the end. Frames that consecutive spans share from the
/// outside in stay open.
pub(super) fn walk<V: Visitor>(spans: &[Span], visitor: &mut V) -> Result<(), V::Error> {
    let (mut open, mut next): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut last_end = Nanos::default();
    for span in lengths(spans) {
        if span.start > last_end {
            close(&mut open, 0, last_end, visitor)?;
        }
        next.clear();
        visitor.fill(&span, &mut next);
        let shared = open.iter().zip(&next).take_while(|(before, now)| before == now).count();
        close(&mut open, shared, span.start, visitor)?;
        for &frame in &next[shared..] {
            visitor.edge(span.start, Edge::Open(frame))?;
            open.push(frame);
        }
        last_end = span.end;
    }
    close(&mut open, 0, last_end, visitor)
}

fn close<V: Visitor>(open: &mut Vec<u32>, keep: usize, at: Nanos, visitor: &mut V) -> Result<(), V::Error> {
    open.drain(keep..).rev().try_for_each(|frame| visitor.edge(at, Edge::Close(frame)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::event::{ACTIVITIES, Account, Event, OffCpu, ProcessId, ProcessInfo, Syscall, ThreadState, Wake};
    use crate::report::ledgers;
    use crate::stack::StackId;

    /// Gives each span the stack beside it and keeps the edges. The state of a span is its place in the script.
    struct Script<'a> {
        script: &'a [(u64, u64, &'a [u32])],
        edges: Vec<(u64, Edge)>,
    }

    impl Visitor for Script<'_> {
        type Error = std::convert::Infallible;
        fn fill(&mut self, span: &Span, into: &mut Vec<u32>) {
            into.extend(self.script[span.state.syscall().unwrap().0 as usize].2);
        }
        fn edge(&mut self, at: Nanos, edge: Edge) -> Result<(), Self::Error> {
            self.edges.push((at.0, edge));
            Ok(())
        }
    }

    fn edges(script: &[(u64, u64, &[u32])]) -> Vec<(u64, Edge)> {
        let spans: Vec<Span> = (0..)
            .zip(script)
            .map(|(place, &(start, end, _))| Span {
                start: Nanos(start),
                end: Nanos(end),
                state: ThreadState::Blocked(Syscall(place)),
                stack: StackId::EMPTY,
                lost: false,
                exact: false,
            })
            .collect();
        let mut visitor = Script { script, edges: Vec::new() };
        let Ok(()) = walk(&spans, &mut visitor);
        visitor.edges
    }

    #[test]
    fn shared_frames_stay_open() {
        use Edge::{Close, Open};
        assert_eq!(
            edges(&[(1, 2, &[7, 8]), (2, 4, &[7, 9, 9]), (4, 4, &[1]), (4, 5, &[7, 9])]),
            [
                (1, Open(7)),
                (1, Open(8)),
                (2, Close(8)),
                (2, Open(9)),
                (2, Open(9)),
                (4, Close(9)),
                (5, Close(9)),
                (5, Close(7)),
            ]
        );
    }

    #[test]
    fn gaps_close_and_overlaps_are_cut() {
        use Edge::{Close, Open};
        assert_eq!(
            edges(&[(1, 3, &[7]), (5, 8, &[7]), (6, 9, &[8])]),
            [(1, Open(7)), (3, Close(7)), (5, Open(7)), (8, Close(7)), (8, Open(8)), (9, Close(8))]
        );
    }

    /// A thread off the CPU, woken by a timer in the middle of it or by nobody.
    fn off(start: u64, end: u64, state: ThreadState, woken: Option<u64>) -> OffCpu {
        let wake = woken.map(|at| Wake { at: Nanos(at), by: None, stack: StackId::EMPTY, switches: None });
        OffCpu { wake, ..OffCpu::new(ThreadId(0), Nanos(start), Nanos(end), state, StackId::EMPTY) }
    }

    #[test]
    fn slices_by_state_add_up_to_the_ledger() {
        let mut profile = Profile::default();
        profile.session.mode = Mode::Kernel;
        (profile.session.end, profile.session.rate_hz) = (Nanos(100), 100.0);
        profile.keep_timeline();
        let (process, thread, call) = (ProcessId(0), ThreadId(0), Syscall(0));
        let info = ProcessInfo { pid: 1, command: Vec::new(), python: String::new(), free_threaded: false };
        profile.push(&Event::Process { process, info: Arc::new(info) });
        profile.push(&Event::ThreadStarted { at: Nanos(0), thread, process, tid: 1 });
        for off in [
            off(0, 30, ThreadState::Blocked(call), Some(20)),
            off(40, 60, ThreadState::GilHeldOffCpu(call), Some(55)),
            off(60, 68, ThreadState::GilHeldRunnable, None),
            off(70, 80, ThreadState::GilWait, Some(75)),
            off(82, 100, ThreadState::Blocked(call), None),
        ] {
            profile.push(&Event::OffCpu(off));
        }
        let account = Account {
            at: Nanos(100),
            on_cpu_ns: 14,
            runnable_ns: 10,
            gil_held_runnable_ns: 13,
            gil_held_off_cpu_ns: 15,
            gil_wait_ns: 10,
            blocked_ns: 38,
            ..Account::default()
        };
        profile.push(&Event::Account { thread, account });
        profile.push(&Event::ThreadExited { at: Nanos(100), thread, cpu_ns: 14 });
        profile.finish();
        let states = ledgers(&profile, &[])[0].states;
        let spans = shown(&profile, thread, &timeline(&profile).unwrap()[0]);
        for row in ACTIVITIES.iter().filter(|row| !row.activity.on_cpu()) {
            let of_activity = spans.iter().filter(|span| span.state.activity() == row.activity);
            let sum: u64 = of_activity.map(|span| span.end.since(span.start)).sum();
            assert_eq!(sum, (states.of(row.activity) * 1e9).round() as u64, "{}", row.name);
        }
    }
}
