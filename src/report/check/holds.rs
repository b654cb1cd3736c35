//! The longest holds of the GIL and of locks, by function, from the timeline of a recording.

use rustc_hash::FxHashMap;

use super::measure::LongestHold;
use crate::contention::{Hold, TimeRange, Timeline};
use crate::event::{Event, Nanos, ThreadId, ThreadState};
use crate::profile::{Profile, Span};
use crate::report::text::units::duration;
use crate::stack::label::{frame_label, one_line};
use crate::stack::own::own_frame;
use crate::stack::{FrameId, Interner, StackId};

/// Where threads were as they woke one that waited: that ends a hold, and a short one is seldom sampled.
#[derive(Debug, Default)]
pub(crate) struct ReleaseStacks(FxHashMap<(ThreadId, Nanos), StackId>);

impl ReleaseStacks {
    pub(crate) fn event(&mut self, event: &Event) {
        if let Event::OffCpu(off) = event
            && let Some(wake) = off.wake
            && let Some(by) = wake.by
            && wake.stack != StackId::EMPTY
            && (off.state == ThreadState::GilWait || off.state.lock().is_some())
        {
            self.0.insert((by, wake.at), wake.stack);
        }
    }
}

/// For each of these functions, or for all of them together, the longest hold that ended in each slice. The profile has a
/// timeline.
pub(crate) fn longest_holds(
    profile: &Profile,
    releases: &ReleaseStacks,
    slices: usize,
    functions: &[Option<String>],
) -> Vec<Vec<Option<LongestHold>>> {
    let mut search = HoldSearch {
        profile,
        releases,
        functions,
        matching: FxHashMap::default(),
        found: vec![vec![None; slices]; functions.len()],
        spans: profile.timeline.iter().flatten().map(|spans| sorted(spans)).collect(),
    };
    for gil in &profile.gils {
        if let Some(timeline) = gil.timeline() {
            search.resource("the GIL", timeline);
        }
    }
    for (lock, timeline) in profile.locks.timelines(0) {
        let info = profile.locks.info(lock);
        if info.kind.is_lock() {
            search.resource(&one_line(&info.label()), timeline);
        }
    }
    search.found
}

fn sorted(spans: &[Span]) -> Vec<Span> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.start);
    spans
}

struct HoldSearch<'a> {
    profile: &'a Profile,
    releases: &'a ReleaseStacks,
    functions: &'a [Option<String>],
    /// Which of the functions are on a stack.
    matching: FxHashMap<StackId, Vec<bool>>,
    found: Vec<Vec<Option<LongestHold>>>,
    /// What each thread did, in the order of time.
    spans: Vec<Vec<Span>>,
}

impl HoldSearch<'_> {
    fn resource(&mut self, what: &str, timeline: &Timeline) {
        let mut waiters = timeline.waiters.iter().peekable();
        let mut waiting = None;
        for hold in &timeline.holds {
            let mut longest: Option<TimeRange> = None;
            let mut keep = |start: Nanos, end: Nanos| {
                let part = TimeRange { start: start.max(hold.start), end };
                if part.ns() > longest.map_or(0, |longest| longest.ns()) {
                    longest = Some(part);
                }
            };
            while let Some(&(at, count)) = waiters.next_if(|(at, _)| *at < hold.end) {
                match (waiting, count) {
                    (None, 1..) => waiting = Some(at),
                    (Some(since), 0) => {
                        keep(since, at);
                        waiting = None;
                    }
                    _ => {}
                }
            }
            if let Some(since) = waiting {
                keep(since, hold.end);
            }
            if let Some(part) = longest {
                self.hold(what, hold, part);
            }
        }
    }

    /// A thread held it while others waited, for this part of the hold at a stretch.
    fn hold(&mut self, what: &str, hold: &Hold, part: TimeRange) {
        let session = &self.profile.session;
        let slices = self.found.first().map_or(0, Vec::len) as u64;
        let length = (session.end.since(session.start) / slices.max(1)).max(1);
        let slice = (hold.end.since(session.start) / length).min(slices.saturating_sub(1)) as usize;
        let is_longer = |found: &Vec<Option<LongestHold>>, ns: u64| {
            found.get(slice).is_some_and(|found| found.as_ref().is_none_or(|known| known.seconds < ns as f64 / 1e9))
        };
        if !self.found.iter().any(|found| is_longer(found, part.ns())) {
            return;
        }
        let spans = self.spans_within(hold.thread, part);
        let without_cpu = |span: &&Span| matches!(span.state, ThreadState::GilHeldRunnable | ThreadState::Runnable);
        let overlap = |span: &Span| span.end.min(part.end).since(span.start.max(part.start));
        let lost: u64 = spans.iter().filter(without_cpu).map(overlap).sum();
        let ns = part.ns().saturating_sub(lost);
        // Where the thread released it says more than where it was sampled.
        let released = self.releases.0.get(&(hold.thread, hold.end)).copied();
        let seen = spans.iter().filter(|span| !span.lost).map(|span| span.stack);
        let stacks: Vec<StackId> = released.into_iter().chain(seen).collect();
        for index in 0..self.functions.len() {
            if !is_longer(&self.found[index], ns) {
                continue;
            }
            let stack = stacks.iter().copied().find(|&stack| self.has_function(stack, index));
            if stack.is_none() && self.functions[index].is_some() {
                continue;
            }
            let words = self.words(what, hold, stack.or(stacks.first().copied()));
            self.found[index][slice] = Some(LongestHold { seconds: ns as f64 / 1e9, words });
        }
    }

    /// What a thread did in a part of a hold. Samples that stand for more than that part are of it if they were taken in it.
    fn spans_within(&self, thread: ThreadId, part: TimeRange) -> Vec<Span> {
        let Some(spans) = self.spans.get(thread.0 as usize) else { return Vec::new() };
        let period = self.profile.session.period_ns() as u64;
        let after = spans.partition_point(|span| span.start < part.end);
        let within = |span: &&Span| {
            let seen_until =
                if span.exact { span.end } else { Nanos(span.end.0.saturating_sub(period).max(span.start.0)) };
            seen_until >= part.start && (span.exact || seen_until > part.start || span.start >= part.start)
        };
        // Spans hardly overlap: behind some that are too early there is none that matters.
        let mut too_early = 0;
        let mut found = Vec::new();
        for span in spans[..after].iter().rev() {
            if within(&span) {
                found.push(*span);
            } else if span.end <= part.start {
                too_early += 1;
                if too_early == MAX_OVERLAPPING {
                    break;
                }
            }
        }
        found
    }

    fn has_function(&mut self, stack: StackId, function: usize) -> bool {
        let (stacks, functions) = (&self.profile.stacks, self.functions);
        let matching = self.matching.entry(stack).or_insert_with(|| {
            functions.iter().map(|function| function.as_ref().is_none_or(|name| is_on(stacks, stack, name))).collect()
        });
        matching[function]
    }

    fn words(&self, what: &str, hold: &Hold, stack: Option<StackId>) -> String {
        let thread = one_line(&self.profile.thread_label(hold.thread));
        let at = duration(hold.start.since(self.profile.session.start) as f64 / 1e9);
        let label = |frame: FrameId| one_line(&frame_label(&self.profile.stacks, frame, false));
        let place = stack.and_then(|stack| own_frame(&self.profile.stacks, stack)).map(label);
        let place = place.map_or_else(String::new, |place| format!(" in {place}"));
        format!("{what} by {thread}{place}, {at} after the start")
    }
}

/// How many spans of a thread can begin after one that has not ended yet.
const MAX_OVERLAPPING: usize = 8;

fn is_on(stacks: &Interner, stack: StackId, name: &str) -> bool {
    stacks.frames(stack).any(|frame| {
        let frame = stacks.get_frame(frame);
        stacks.text(frame.function) == name || stacks.text(frame.name) == name
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{LockId, LockInfo, LockKind, OffCpu, ProcessId, Wake};
    use crate::profile::Mode;
    use crate::report::fixture::{END, MS, profile, stack};

    #[test]
    fn the_longest_hold_of_a_function_is_where_it_was_released() {
        let mut profile = profile(Mode::Kernel, true, &["", "one", "other"]);
        profile.keep_timeline();
        let (handler, elsewhere) = (stack(&mut profile, "handler", 7), stack(&mut profile, "elsewhere", 9));
        let info = LockInfo {
            process: ProcessId(0),
            address: 64,
            kind: LockKind::Lock,
            type_name: None,
            name: Some("app.lock".into()),
        };
        profile.push(&Event::Lock { lock: LockId(0), info: Arc::new(info) });
        let start = profile.session.start.0;
        let mut releases = ReleaseStacks::default();
        // Who holds it is known from the first hand-off on: the one for 20 ms in the handler, then the other for 5 ms elsewhere.
        for (thread, by, from, to, stack) in
            [(1, 2, 100, 105, elsewhere), (2, 1, 120, 140, handler), (1, 2, 150, 155, elsewhere)]
        {
            let (from, to) = (Nanos(start + from * MS), Nanos(start + to * MS));
            let wake = Wake { at: to, by: Some(ThreadId(by)), stack, switches: None };
            let state = ThreadState::LockWait(LockId(0));
            let end = Nanos(to.0 + MS / 10);
            let off = OffCpu::new(ThreadId(thread), from, end, state, StackId::EMPTY);
            let event = Event::OffCpu(OffCpu { wake: Some(wake), ..off });
            releases.event(&event);
            profile.push(&event);
        }
        profile.session.end = END;
        profile.finish();
        let functions =
            [None, Some("handler"), Some("elsewhere"), Some("nowhere")].map(|name| name.map(str::to_owned));
        let found = longest_holds(&profile, &releases, 5, &functions);
        let ms: Vec<Option<u64>> =
            found.iter().map(|found| found[0].as_ref().map(|hold| (hold.seconds * 1e3).round() as u64)).collect();
        assert_eq!(ms, [Some(20), Some(20), Some(5), None]);
        assert!(found.iter().all(|found| found[1..].iter().all(Option::is_none)));
        let words = &found[1][0].as_ref().unwrap().words;
        assert!(words.contains("app.lock") && words.contains("by one (101) in handler (app.py:7)"), "{words}");
    }
}
