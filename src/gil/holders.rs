//! Who held the GIL when: one function of time, put together from facts. Used by [`super::exact`].
//!
//! It is made of *spans*, each of which begins where the one before ends: two threads can never hold the GIL at once.
//! Facts come in the order of time; one that comes late counts if nothing newer is known.

use std::collections::VecDeque;

use super::by_thread::ByThread;
use super::facts::{Fact, Holder, What};
use super::summary::Hold;
use crate::event::{Nanos, ThreadId};
use crate::intern::StackId;

/// So many spans are remembered. A slice of a wait that is older than them all has unknown holders.
pub const REMEMBERED: usize = 1 << 15;
/// Among so many of the last spans one is looked for that matters for a new fact.
const LOOK_BACK: usize = 64;

/// A stretch of time with one holder. It ends where the next begins.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From.
    pub start: Nanos,
    /// Who.
    pub holder: Holder,
    /// Where it got the GIL, if it had waited for it.
    pub acquired: Option<StackId>,
    /// Where it let go of it, if that was seen.
    pub released: Option<StackId>,
    /// The last moment for which this is known.
    confirmed: Nanos,
    /// The number of switches, if known.
    switches: Option<u32>,
    /// A waiting thread has asked the holder to let go.
    asked: bool,
    /// The holder was woken and is taken to have got the GIL, until it turns out to sleep again.
    presumed: bool,
}

impl Span {
    fn new(start: Nanos, holder: Holder) -> Span {
        Span {
            start,
            holder,
            acquired: None,
            released: None,
            confirmed: start,
            switches: None,
            asked: false,
            presumed: false,
        }
    }
}

/// The function.
#[derive(Debug)]
pub struct Holders {
    /// Never empty; the last one is still going on.
    spans: VecDeque<Span>,
    /// When a thread was last seen to return to the CPU.
    back: ByThread<Nanos>,
    /// Drops a waiter had asked for.
    pub forced: u64,
    /// Other drops while somebody waited.
    pub voluntary: u64,
    /// Holds before those remembered, if they are to be kept.
    kept: Option<Vec<Hold>>,
}

impl Holders {
    /// Nothing is known; `keep` all holds for a timeline.
    pub fn new(keep: bool) -> Holders {
        let spans = VecDeque::from([Span::new(Nanos(0), Holder::Unknown)]);
        Holders { spans, back: ByThread::default(), forced: 0, voluntary: 0, kept: keep.then(Vec::new) }
    }

    /// From when on the last span goes. All before is final, but for what [`What::NotYet`] takes back.
    pub fn current_start(&self) -> Nanos {
        self.current().start
    }

    /// The spans that overlap `[start, end)`, with the part of it that they cover; the last comes first. What they do
    /// not cover is forgotten.
    pub fn between(&self, start: Nanos, end: Nanos) -> impl Iterator<Item = (&Span, Nanos, Part)> {
        let mut span_end = Nanos(u64::MAX);
        self.spans
            .iter()
            .rev()
            .map(move |span| (span, std::mem::replace(&mut span_end, span.start)))
            .skip_while(move |(span, _)| span.start >= end)
            .take_while(move |&(_, span_end)| span_end > start)
            .map(move |(span, to)| (span, to, Part { start: span.start.max(start), end: to.min(end) }))
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

    /// How many spans are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Takes in a fact.
    pub fn learn(&mut self, fact: &Fact) {
        let at = fact.at;
        match fact.what {
            What::NotYet { thread, since } => self.take_back(thread, since),
            What::Released { by, stack, switches } => self.released(at, by, stack, switches),
            What::Took { by } => self.held(at, by, None),
            What::Woken { thread, stack } => {
                self.is_back(thread, at);
                self.presume(at, thread, stack);
            }
            What::TimedOut { thread, stack, over, since } => {
                self.is_back(thread, at);
                if self.current().holder == Holder::Free {
                    self.presume(at, thread, stack);
                } else if over.is_some_and(|over| self.kept_by(over, since)) {
                    self.current_mut().asked = true;
                }
            }
            What::Seen { holder, switches } => match holder {
                Holder::Held(thread) => self.held(at, thread, switches),
                other => self.change(at, other, switches),
            },
            What::LeftFree { thread, stack, switches } => self.left_free(at, thread, stack, switches),
            What::HeldOffCpu { thread, since, .. } => {
                self.is_back(thread, at);
                self.held(since, thread, None);
                self.held(at, thread, None);
            }
            What::Back { thread } => self.is_back(thread, at),
            What::Sampled { thread, holds: true, .. } => self.held(at, thread, None),
            What::Sampled { thread, holds: false, .. } => {
                if self.current().holder == Holder::Held(thread) {
                    self.change(at, Holder::Unknown, None);
                }
            }
        }
    }

    fn current(&self) -> &Span {
        self.spans.back().expect("never empty")
    }

    fn current_mut(&mut self) -> &mut Span {
        self.spans.back_mut().expect("never empty")
    }

    /// A thread holds it and no other has had it since `since`, although it may have been free.
    fn kept_by(&self, thread: ThreadId, since: Nanos) -> bool {
        let of_thread = |span: &Span| span.holder == Holder::Held(thread);
        let spans = self.spans.iter().rev().take(LOOK_BACK);
        let first = spans.clone().position(|span| span.start <= since);
        let nobody_else = |span: &Span| of_thread(span) || span.holder == Holder::Free;
        of_thread(self.current()) && first.is_some_and(|first| spans.take(first + 1).all(nobody_else))
    }

    fn is_back(&mut self, thread: ThreadId, at: Nanos) {
        let back = self.back.of(thread);
        *back = at.max(*back);
    }

    /// The earliest moment from `after` to `at` at which the thread was on the CPU to take the GIL.
    fn earliest(&self, thread: ThreadId, after: Nanos, at: Nanos) -> Nanos {
        let back = self.back.get(thread).copied().unwrap_or_default();
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
        // The thread that had asked was still on the CPU, so none was woken and nobody told of the release.
        let forced = current.asked && current.released.is_none();
        let span = Span { switches, ..Span::new(at, holder) };
        if at == current.start {
            *current = span;
        } else {
            self.push(span);
        }
        self.forced += u64::from(forced);
    }

    /// A thread holds it at `at`. If it was free before, the thread took it as soon as it could.
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

    /// A thread that waited is taken to hold it from `at` on.
    fn presume(&mut self, at: Nanos, thread: ThreadId, stack: StackId) {
        let current = self.current();
        if at < current.confirmed || current.holder == Holder::Held(thread) {
            return;
        }
        self.push(Span { acquired: Some(stack), presumed: true, ..Span::new(at, Holder::Held(thread)) });
    }

    /// A thread presumed to hold it since `since` did not: the one before it did, or nobody.
    fn take_back(&mut self, thread: ThreadId, since: Nanos) {
        let wrong = |span: &Span| span.presumed && span.start == since && span.holder == Holder::Held(thread);
        let Some(back) = self.spans.iter().rev().take(LOOK_BACK).position(wrong) else { return };
        let index = self.spans.len() - 1 - back;
        let Some(before) = index.checked_sub(1).map(|before| self.spans[before]) else { return };
        if back > 0 {
            let start = self.spans[index].start;
            self.spans[index] = Span { start, presumed: false, ..before };
        } else if self.current().confirmed == since {
            self.spans.pop_back();
        }
    }

    /// A thread let go of it. If another is thought to hold it, one of these is so:
    ///
    /// - the numbers of switches then and now are equal: it has not changed hands, and the thread has woken the
    ///   other for another reason (the mutex that guards the GIL's fields);
    /// - the GIL went to the thread unseen. It took it as soon as it could after the last that is known.
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
            let after = if current.holder == Holder::Free { current.start } else { current.confirmed };
            let from = if current.holder == Holder::Unknown { at } else { self.earliest(by, after, at) };
            self.change_from(from, Holder::Held(by));
        }
        let current = self.current_mut();
        current.released = Some(stack);
        match current.asked {
            true => self.forced += 1,
            false => self.voluntary += 1,
        }
        self.change_from(at, Holder::Free);
        self.current_mut().switches = switches;
    }

    /// A thread left it free and went to sleep for something else. If it was free before, and somebody has had it
    /// since (`switches` has changed, or this thread is the last that had it and has been back since), that was this
    /// thread: it let go of it just now, when nobody was left to be woken.
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

    fn push(&mut self, span: Span) {
        self.spans.push_back(span);
        if self.spans.len() > REMEMBERED {
            let forgotten = self.spans.pop_front().expect("not empty");
            if let Some(holds) = &mut self.kept {
                keep(holds, &forgotten, self.spans[0].start);
            }
        }
    }
}

/// A part of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From.
    pub start: Nanos,
    /// Until.
    pub end: Nanos,
}

impl Part {
    /// How long.
    pub fn len(&self) -> u64 {
        self.end.since(self.start)
    }
}

/// Adds a span to the holds, if it is one; adjacent ones of one thread are one.
fn keep(holds: &mut Vec<Hold>, span: &Span, end: Nanos) {
    let Holder::Held(thread) = span.holder else { return };
    if end <= span.start {
        return;
    }
    match holds.last_mut() {
        Some(last) if last.thread == thread && last.end == span.start => last.end = end,
        _ => holds.push(Hold { start: span.start, end, thread }),
    }
}
