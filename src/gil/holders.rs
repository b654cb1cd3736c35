//! Who held the GIL when: one function of time, put together from facts. Used by [`super::exact`].
//!
//! It is made of *spans*, each of which begins where the one before ends: two threads can never hold the GIL at once.
//! Facts come in the order of time; one that comes late counts if nothing newer is known.

use std::collections::VecDeque;

use super::facts::{GilFact, GilFactKind, Holder};
use crate::contention::by_thread::ByThread;
use crate::contention::folding::FoldedRows;
use crate::contention::{Hold, TimeRange};
use crate::event::{Nanos, ThreadId};
use crate::stack::StackId;

/// How many spans are remembered. A part of a wait that is older than them all has unknown holders.
const MAX_REMEMBERED: usize = 1 << 15;
/// How many spans are attributed to of one part of a wait: while it lasts, a thread that waits is back every switch interval.
const MAX_SPANS_OF_WAIT: usize = 1 << 12;
/// How many of the last spans are searched for the one that matters for a new fact.
const MAX_LOOK_BACK: usize = 64;

/// A stretch of time with one holder. It ends where the next begins.
#[derive(Clone, Copy, Debug)]
pub struct HolderSpan {
    pub start: Nanos,
    pub holder: Holder,
    /// Where the holder acquired the GIL, if it had waited for it.
    pub acquired: Option<StackId>,
    /// Where it released the GIL, if that was seen.
    pub released: Option<StackId>,
    /// The last moment for which this is known.
    confirmed: Nanos,
    /// `switch_number`, if known.
    switches: Option<u32>,
    /// When a waiting thread first asked the holder to release it, if one has.
    pub asked: Option<Nanos>,
    /// The holder was woken and is presumed to have acquired the GIL, until it turns out to sleep again.
    presumed: bool,
}

impl HolderSpan {
    pub fn new(start: Nanos, holder: Holder) -> HolderSpan {
        HolderSpan {
            start,
            holder,
            acquired: None,
            released: None,
            confirmed: start,
            switches: None,
            asked: None,
            presumed: false,
        }
    }
}

/// The holders of one GIL, in the order of time.
#[derive(Debug)]
pub struct Holders {
    /// Never empty; the last one is still going on.
    spans: VecDeque<HolderSpan>,
    /// When a thread was last seen to return to the CPU.
    back: ByThread<Nanos>,
    /// Releases that a waiting thread had asked for.
    pub forced: u64,
    /// Other releases while somebody waited.
    pub voluntary: u64,
    /// Holds before those remembered, if they are to be kept.
    kept: Option<Vec<Hold>>,
}

impl Holders {
    /// Nothing is known; `keep` all holds for a timeline.
    pub fn new(keep: bool) -> Holders {
        let spans = VecDeque::from([HolderSpan::new(Nanos(0), Holder::Unknown)]);
        Holders { spans, back: ByThread::default(), forced: 0, voluntary: 0, kept: keep.then(Vec::new) }
    }

    /// From when on the last span goes. All before is final, but for what [`GilFactKind::NotYet`] takes back.
    pub fn current_start(&self) -> Nanos {
        self.current().start
    }

    /// The spans that overlap `[start, end)`, with the part of it that they cover; the last comes first. What they do
    /// not cover is forgotten.
    pub fn between(&self, start: Nanos, end: Nanos) -> impl Iterator<Item = (&HolderSpan, Nanos, TimeRange)> {
        let after = self.spans.partition_point(|span| span.start < end);
        let mut span_end = self.spans.get(after).map_or(Nanos(u64::MAX), |next| next.start);
        self.spans
            .range(..after)
            .rev()
            .map(move |span| {
                let to = span_end;
                // What was taken back may leave one that begins before the one that it follows: no moment counts twice.
                span_end = to.min(span.start);
                (span, to)
            })
            .take_while(move |&(_, span_end)| span_end > start)
            .take(MAX_SPANS_OF_WAIT)
            .map(move |(span, to)| (span, to, TimeRange { start: span.start.max(start), end: to.min(end) }))
            .filter(|(_, _, part)| part.start < part.end)
    }

    /// All holds up to `end`. Empty unless they were to be kept.
    pub fn take_holds(&mut self, end: Nanos) -> Vec<Hold> {
        let Some(mut holds) = self.kept.take() else { return Vec::new() };
        for (index, span) in self.spans.iter().enumerate() {
            let until = self.spans.get(index + 1).map_or(end, |next| next.start);
            keep(&mut holds, span, until);
        }
        holds
    }

    pub fn fold(&mut self, rows: &FoldedRows) {
        self.spans.iter_mut().for_each(|span| span.holder.fold(rows));
        self.back.fold(rows, |at, other| *at = other.max(*at));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Facts must come in the order of time as far as possible.
    pub fn learn(&mut self, fact: &GilFact) {
        let at = fact.at;
        match fact.what {
            GilFactKind::NotYet { thread, since } => self.take_back(thread, since),
            GilFactKind::Released { by, stack, switches } => self.released(at, by, stack, switches),
            GilFactKind::Took { by } => self.held(at, by, None),
            GilFactKind::Woken { thread, stack } => {
                self.is_back(thread, at);
                self.presume(at, thread, stack);
            }
            GilFactKind::TimedOut { thread, stack, over, since } => {
                self.is_back(thread, at);
                if self.current().holder == Holder::Free {
                    self.presume(at, thread, stack);
                } else if over.is_some_and(|over| self.kept_by(over, since)) {
                    self.current_mut().asked.get_or_insert(at);
                }
            }
            GilFactKind::Seen { holder, switches } => match holder {
                Holder::Held(thread) => self.held(at, thread, switches),
                other => self.change(at, other, switches),
            },
            GilFactKind::LeftFree { thread, stack, switches } => self.left_free(at, thread, stack, switches),
            GilFactKind::HeldOffCpu { thread, since, .. } => {
                self.is_back(thread, at);
                self.held(since, thread, None);
                self.held(at, thread, None);
            }
            GilFactKind::Back { thread } => self.is_back(thread, at),
            GilFactKind::Sampled { thread, holds: true, .. } => self.held(at, thread, None),
            GilFactKind::Sampled { thread, holds: false, .. } => {
                if self.current().holder == Holder::Held(thread) {
                    self.change(at, Holder::Unknown, None);
                }
            }
        }
    }

    fn current(&self) -> &HolderSpan {
        self.spans.back().expect("never empty")
    }

    fn current_mut(&mut self) -> &mut HolderSpan {
        self.spans.back_mut().expect("never empty")
    }

    /// A thread holds it and no other has had it since `since`, although it may have been free.
    fn kept_by(&self, thread: ThreadId, since: Nanos) -> bool {
        let of_thread = |span: &HolderSpan| span.holder == Holder::Held(thread);
        let spans = self.spans.iter().rev().take(MAX_LOOK_BACK);
        let first = spans.clone().position(|span| span.start <= since);
        let nobody_else = |span: &HolderSpan| of_thread(span) || span.holder == Holder::Free;
        of_thread(self.current()) && first.is_some_and(|first| spans.take(first + 1).all(nobody_else))
    }

    fn is_back(&mut self, thread: ThreadId, at: Nanos) {
        let back = self.back.of(thread);
        *back = at.max(*back);
    }

    fn back(&self, thread: ThreadId) -> Nanos {
        self.back.get(thread).copied().unwrap_or_default()
    }

    /// The earliest moment from `after` to `at` at which the thread was on the CPU to acquire the GIL.
    fn earliest(&self, thread: ThreadId, after: Nanos, at: Nanos) -> Nanos {
        let back = self.back(thread);
        if back <= at { back.max(after) } else { at }
    }

    /// It is so from `at` on, or known to be still so then.
    fn change(&mut self, at: Nanos, holder: Holder, switches: Option<u32>) {
        let current = self.current_mut();
        if at < current.confirmed {
            return;
        }
        if current.holder == holder {
            current.confirmed = at;
            current.switches = switches.or(current.switches);
            return;
        }
        // The thread that had asked was still on the CPU, so none was woken and nobody reported the release.
        let forced = current.asked.is_some() && current.released.is_none();
        let span = HolderSpan { switches, ..HolderSpan::new(at, holder) };
        if at == current.start {
            *current = span;
        } else {
            self.push(span);
        }
        self.forced += u64::from(forced);
    }

    /// A thread holds it at `at`. If it was free before, the thread acquired it as soon as it could.
    fn held(&mut self, at: Nanos, thread: ThreadId, switches: Option<u32>) {
        let current = self.current();
        if at < current.confirmed {
            return;
        }
        let from = match current.holder {
            Holder::Free => self.earliest(thread, current.start, at),
            _ => at,
        };
        self.change_from(from, Holder::Held(thread));
        self.change(at, Holder::Held(thread), switches);
    }

    /// As [`Holders::change`], where `from` may be before the last confirmation, but not before the span.
    fn change_from(&mut self, from: Nanos, holder: Holder) {
        let current = self.current_mut();
        current.confirmed = current.confirmed.min(from);
        self.change(from, holder, None);
    }

    /// A thread that waited is presumed to hold it from `at` on.
    fn presume(&mut self, at: Nanos, thread: ThreadId, stack: StackId) {
        let current = self.current();
        if at < current.confirmed || current.holder == Holder::Held(thread) {
            return;
        }
        self.push(HolderSpan { acquired: Some(stack), presumed: true, ..HolderSpan::new(at, Holder::Held(thread)) });
    }

    /// A thread presumed to hold it since `since` did not: the one before it did, or nobody.
    fn take_back(&mut self, thread: ThreadId, since: Nanos) {
        let wrong = |span: &HolderSpan| span.presumed && span.start == since && span.holder == Holder::Held(thread);
        let Some(back) = self.spans.iter().rev().take(MAX_LOOK_BACK).position(wrong) else { return };
        let index = self.spans.len() - 1 - back;
        let Some(before) = index.checked_sub(1).map(|before| self.spans[before]) else { return };
        if back > 0 {
            let start = self.spans[index].start;
            self.spans[index] = HolderSpan { start, presumed: false, ..before };
        } else if self.current().confirmed == since {
            self.spans.pop_back();
        }
    }

    /// A thread released it. If another is thought to hold it, one of these is so:
    ///
    /// - the numbers of switches then and now are equal: it has not changed hands, and the thread has woken the
    ///   other for another reason (the mutex that guards the GIL's fields);
    /// - the thread acquired the GIL unseen: when it came back to the CPU, if that was since; else it is not known when,
    ///   and the time before counts as the other's.
    fn released(&mut self, at: Nanos, by: ThreadId, stack: StackId, switches: Option<u32>) {
        let current = *self.current();
        if at < current.confirmed {
            self.voluntary += 1;
            return;
        }
        if current.holder != Holder::Held(by) {
            let unchanged = switches.is_some() && switches == current.switches;
            let retaken = current.holder == Holder::Free && self.last_to_hold() == Some(by);
            if unchanged && !retaken && current.holder != Holder::Unknown {
                return;
            }
            let from = match current.holder {
                Holder::Free => self.earliest(by, current.start, at),
                Holder::Held(_) => {
                    Some(self.back(by)).filter(|back| (current.confirmed..at).contains(back)).unwrap_or(at)
                }
                Holder::Unknown => at,
            };
            self.change_from(from, Holder::Held(by));
        }
        let current = self.current_mut();
        current.released = Some(stack);
        match current.asked {
            Some(_) => self.forced += 1,
            None => self.voluntary += 1,
        }
        self.change_from(at, Holder::Free);
        self.current_mut().switches = switches;
    }

    /// A thread left it free and went to sleep for something else. If it was free before, and somebody has had it
    /// since (`switches` has changed, or this thread is the last that had it and has been back since), that was this
    /// thread: it released it just now, when nobody was left to be woken.
    fn left_free(&mut self, at: Nanos, thread: ThreadId, stack: StackId, switches: u32) {
        let current = *self.current();
        if current.holder == Holder::Free && at >= current.confirmed {
            let from = self.earliest(thread, current.start, at);
            let taken = current.switches.is_some_and(|before| before != switches);
            let retaken = from > current.start && self.last_to_hold() == Some(thread);
            if (taken || retaken) && from < at {
                self.change_from(from, Holder::Held(thread));
            }
        }
        let current = self.current_mut();
        if current.holder == Holder::Held(thread) && at >= current.confirmed {
            current.released = Some(stack);
        }
        self.change(at, Holder::Free, Some(switches));
    }

    /// Who held it before the current span.
    fn last_to_hold(&self) -> Option<ThreadId> {
        match self.spans.iter().rev().nth(1)?.holder {
            Holder::Held(thread) => Some(thread),
            _ => None,
        }
    }

    fn push(&mut self, span: HolderSpan) {
        self.spans.push_back(span);
        if self.spans.len() > MAX_REMEMBERED {
            let forgotten = self.spans.pop_front().expect("not empty");
            if let Some(holds) = &mut self.kept {
                keep(holds, &forgotten, self.spans[0].start);
            }
        }
    }
}

/// Adds a span to the holds, if it is one; adjacent ones of one thread are one.
fn keep(holds: &mut Vec<Hold>, span: &HolderSpan, end: Nanos) {
    let Holder::Held(thread) = span.holder else { return };
    if end <= span.start {
        return;
    }
    match holds.last_mut() {
        Some(last) if last.thread == thread && last.end == span.start => last.end = end,
        _ => holds.push(Hold { start: span.start, end, thread }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::fixture::stack;

    const A: ThreadId = ThreadId(1);
    const B: ThreadId = ThreadId(2);
    const C: ThreadId = ThreadId(3);

    fn learn(facts: impl IntoIterator<Item = (u64, GilFactKind)>) -> Holders {
        let mut holders = Holders::new(true);
        facts.into_iter().for_each(|(at, what)| holders.learn(&GilFact { at: Nanos(at), what }));
        holders
    }

    fn seen(holder: Holder, switches: u32) -> GilFactKind {
        GilFactKind::Seen { holder, switches: Some(switches) }
    }

    fn released(by: ThreadId, switches: u32) -> GilFactKind {
        GilFactKind::Released { by, stack: stack(1), switches: Some(switches) }
    }

    fn timed_out(thread: ThreadId, over: ThreadId, since: u64) -> GilFactKind {
        GilFactKind::TimedOut { thread, stack: stack(2), over: Some(over), since: Nanos(since) }
    }

    fn woken(thread: ThreadId) -> GilFactKind {
        GilFactKind::Woken { thread, stack: stack(2) }
    }

    /// The holds up to 1000, as (start, end, thread).
    fn holds(facts: impl IntoIterator<Item = (u64, GilFactKind)>) -> Vec<(u64, u64, u32)> {
        let holds = learn(facts).take_holds(Nanos(1000));
        holds.iter().map(|hold| (hold.start.0, hold.end.0, hold.thread.0)).collect()
    }

    fn drops(facts: impl IntoIterator<Item = (u64, GilFactKind)>) -> (u64, u64) {
        let holders = learn(facts);
        (holders.forced, holders.voluntary)
    }

    #[test]
    fn no_moment_counts_twice_where_spans_are_out_of_order() {
        let mut holders = Holders::new(false);
        for (start, thread) in [(50, 1), (100, 2), (90, 3), (95, 1)] {
            holders.push(HolderSpan::new(Nanos(start), Holder::Held(ThreadId(thread))));
        }
        let parts: Vec<(u64, u64)> =
            holders.between(Nanos(60), Nanos(120)).map(|(_, _, part)| (part.start.0, part.end.0)).collect();
        assert_eq!(parts, [(95, 120), (90, 95), (60, 90)]);
    }

    #[test]
    fn from_hand_to_hand_with_a_gap() {
        let facts = [(10, seen(Holder::Held(A), 5)), (100, released(A, 5)), (130, woken(B))];
        assert_eq!(holds(facts), [(10, 100, 1), (130, 1000, 2)]);
    }

    #[test]
    fn who_sleeps_again_had_not_got_it() {
        let not_yet = GilFactKind::NotYet { thread: B, since: Nanos(130) };
        let lost = [(10, seen(Holder::Held(A), 5)), (100, released(A, 5)), (130, woken(B)), (133, not_yet)];
        assert_eq!(holds(lost), [(10, 100, 1)]);
        let to_c = lost.into_iter().chain([(133, seen(Holder::Held(C), 6))]);
        assert_eq!(holds(to_c), [(10, 100, 1), (100, 1000, 3)], "C was on the CPU all the time");
        let back = lost.into_iter().chain([(133, seen(Holder::Held(A), 5))]);
        assert_eq!(holds(back), [(10, 1000, 1)], "A took it again at once");
    }

    #[test]
    fn one_taken_back_late_leaves_the_later_ones() {
        let facts = [
            (10, seen(Holder::Held(A), 5)),
            (100, released(A, 5)),
            (130, woken(B)),
            (140, woken(C)),
            (150, GilFactKind::NotYet { thread: B, since: Nanos(130) }),
        ];
        assert_eq!(holds(facts), [(10, 100, 1), (140, 1000, 3)]);
    }

    #[test]
    fn who_took_it_while_it_was_free_took_it_as_soon_as_it_was_back() {
        let free = [(10, seen(Holder::Held(A), 5)), (100, released(A, 5))];
        let back = (110, GilFactKind::Back { thread: C });
        let facts = free.into_iter().chain([back, (140, seen(Holder::Held(C), 6))]);
        assert_eq!(holds(facts), [(10, 100, 1), (110, 1000, 3)]);
        let facts = free.into_iter().chain([back, (140, released(C, 6))]);
        assert_eq!(holds(facts), [(10, 100, 1), (110, 140, 3)], "also if only its release is seen");
        let left = GilFactKind::LeftFree { thread: C, stack: stack(3), switches: 6 };
        assert_eq!(holds(free.into_iter().chain([back, (140, left)])), [(10, 100, 1), (110, 140, 3)]);
        let left = GilFactKind::LeftFree { thread: C, stack: stack(3), switches: 5 };
        assert_eq!(holds(free.into_iter().chain([back, (140, left)])), [(10, 100, 1)], "nobody has had it");
    }

    #[test]
    fn a_wake_by_one_that_cannot_hold_it_is_no_release() {
        let facts = [(10, seen(Holder::Held(A), 5)), (50, released(C, 5))];
        assert_eq!(holds(facts), [(10, 1000, 1)]);
        assert_eq!(drops(facts), (0, 0));
        let facts = [(10, seen(Holder::Held(A), 5)), (50, released(C, 6))];
        assert_eq!(holds(facts), [(10, 50, 1)], "it has changed hands, when is not known");
        let facts = [(10, seen(Holder::Held(A), 5)), (30, GilFactKind::Back { thread: C }), (50, released(C, 6))];
        assert_eq!(holds(facts), [(10, 30, 1), (30, 50, 3)]);
    }

    #[test]
    fn a_drop_is_forced_if_a_waiter_had_timed_out_over_the_same_holder() {
        let held = (10, seen(Holder::Held(A), 5));
        assert_eq!(drops([held, (200, released(A, 5))]), (0, 1));
        assert_eq!(drops([held, (150, timed_out(B, A, 20)), (200, released(A, 5))]), (1, 0));
        let handed =
            [held, (100, released(A, 5)), (110, woken(C)), (150, timed_out(B, A, 20)), (200, released(C, 6))];
        assert_eq!(drops(handed), (0, 2), "it did not ask C");
        let again = [held, (100, released(A, 5)), (110, seen(Holder::Held(A), 5)), (150, timed_out(B, A, 20))];
        assert_eq!(drops(again.into_iter().chain([(200, released(A, 5))])), (1, 1), "A took it again, and was asked");
        let other = [held, (100, released(A, 5)), (110, woken(C)), (120, released(C, 6)), (130, woken(A))];
        let to_a = other.into_iter().chain([(150, timed_out(B, A, 20)), (200, released(A, 7))]);
        assert_eq!(drops(to_a), (0, 3), "C has had it since B fell asleep, so B does not ask");
        let unseen = [held, (150, timed_out(B, A, 20)), (152, seen(Holder::Held(B), 6))];
        assert_eq!(drops(unseen), (1, 0), "the one that asked got it without sleeping again");
    }

    #[test]
    fn who_times_out_takes_it_only_if_it_is_free() {
        let held = (10, seen(Holder::Held(A), 5));
        assert_eq!(holds([held, (150, timed_out(B, A, 20))]), [(10, 1000, 1)]);
        assert_eq!(holds([held, (100, released(A, 5)), (150, timed_out(B, A, 20))]), [(10, 100, 1), (150, 1000, 2)]);
    }

    #[test]
    fn what_comes_late_counts_if_nothing_newer_is_known() {
        let facts = [(10, seen(Holder::Held(A), 5)), (100, seen(Holder::Held(B), 6))];
        let late = facts.into_iter().chain([(50, seen(Holder::Free, 5))]);
        assert_eq!(holds(late), [(10, 100, 1), (100, 1000, 2)]);
        let late = facts.into_iter().chain([(900, seen(Holder::Free, 6)), (500, seen(Holder::Held(C), 7))]);
        assert_eq!(holds(late), [(10, 100, 1), (100, 900, 2)]);
    }

    #[test]
    fn a_thread_sampled_without_it_does_not_hold_it() {
        let sampled = |thread, holds| GilFactKind::Sampled { thread, stack: stack(1), holds };
        let facts = [(10, seen(Holder::Held(A), 5)), (50, sampled(B, false)), (60, sampled(A, false))];
        assert_eq!(holds(facts), [(10, 60, 1)]);
        assert_eq!(holds([(10, seen(Holder::Held(A), 5)), (50, sampled(B, true))]), [(10, 50, 1), (50, 1000, 2)]);
    }

    #[test]
    fn what_is_forgotten_is_bounded_but_stays_in_the_timeline() {
        let rounds = 2 * MAX_REMEMBERED as u64;
        let mut holders =
            learn((1..=rounds).map(|i| (10 * i, seen(Holder::Held(if i % 2 == 0 { A } else { B }), 0))));
        assert_eq!(holders.len(), MAX_REMEMBERED);
        assert_eq!(holders.between(Nanos(0), Nanos(5)).count(), 0);
        assert_eq!(holders.take_holds(Nanos(u64::MAX)).len() as u64, rounds);
    }
}
