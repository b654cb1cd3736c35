//! What happened at the locks of all observed processes. Fed by [`crate::profile::Profile`].

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::releases::{Owner, Release, Releases};
use super::summary::{LockShare, LockSummary};
use super::trend::Trend;
use crate::contention::by_thread::ByThread;
use crate::contention::cover::Cover;
use crate::contention::evidence::Evidence;
use crate::contention::in_order::{DISORDER_NS, InOrder};
use crate::contention::ledger::Ledger;
use crate::contention::selection::{Keep, PastWait};
use crate::contention::{A_LOOK_NS, Blame, Handoff, Hold, Part, Timeline, count};
use crate::event::{LockId, LockInfo, LockKind, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;

/// A release is known only when the thread it woke is back on a CPU. So long is waited for that.
const SETTLING_NS: u64 = 20_000_000;

/// So many parts of waits for one lock are kept until it is let go of.
const MOST_LEFT: usize = 1 << 10;

/// All locks.
#[derive(Debug, Default)]
pub struct Locks {
    infos: Vec<Arc<LockInfo>>,
    locks: Vec<Lock>,
    evidence: Evidence,
    events: InOrder<OffCpu>,
    newest: Nanos,
    threads: ByThread<Seen>,
    /// In the order of their ends.
    undecided: VecDeque<Segment>,
    /// Where each thread was last seen to wait, and for how many periods it has (memory mode).
    sampled: ByThread<Option<SampledWait>>,
    pauses: Trend,
    keep: Keep,
    past: Vec<PastWait>,
}

/// What a thread was last seen to do.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// For how long it has been ready, but without a CPU.
    ready: u64,
    /// When it last let go of a lock for which another waited.
    let_go: Nanos,
    /// For which it last slept.
    slept_for: Option<LockId>,
}

/// A part of a wait, up to the end of one of its sleeps, for which it is to be decided who held the lock.
#[derive(Clone, Copy, Debug)]
struct Segment {
    lock: LockId,
    waiter: ThreadId,
    part: Part,
}

/// One lock.
#[derive(Debug, Default)]
struct Lock {
    ledger: Ledger,
    parks: u64,
    /// Samples of threads that spun for it.
    spun: u64,
    contended: Cover,
    releases: Releases,
    /// Parts of waits that timed out, in the order of their ends: the lock was not let go of yet.
    left: VecDeque<(ThreadId, Part)>,
    waits: ByThread<Option<Wait>>,
    holder_off_cpu: FxHashMap<(ThreadState, ThreadId, StackId), u64>,
    /// All of it comes from samples, and counts periods of the sampling rate.
    estimated: bool,
    /// When somebody was last seen to wait, and for how many periods in all (memory mode).
    waited_at: Option<Nanos>,
    waited_for: u64,
    /// Who was last seen to hold it, when and where.
    held: Option<(Nanos, ThreadId, StackId)>,
    /// What happened when, if that is kept; its waiters only in the end.
    timeline: Option<Timeline>,
    /// Beginnings (+1) and ends (-1) of waits, if it is.
    changes: Vec<(Nanos, i32)>,
}

/// A wait, from the start of its first sleep to the end of its last.
#[derive(Clone, Copy, Debug)]
struct Wait {
    start: Nanos,
    end: Nanos,
    stack: StackId,
    /// When the thread asked for the lock, if that is known.
    asked: Option<Nanos>,
    /// The thread's time without a CPU when the last sleep ended.
    ready: u64,
    release: Option<(ThreadId, StackId)>,
}

/// A wait in memory mode: a run of ticks.
#[derive(Clone, Copy, Debug)]
struct SampledWait {
    lock: LockId,
    stack: StackId,
    part: Part,
    /// Periods.
    length: u64,
}

impl Locks {
    /// Keeps this from now on.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// All waits that are over, if these were to be kept.
    pub fn past_waits(&self) -> &[PastWait] {
        &self.past
    }

    /// What is known of all of them, by [`LockId`].
    pub fn infos(&self) -> &[Arc<LockInfo>] {
        &self.infos
    }

    /// What happened when at locks that were waited for at least so long, the most costly first. Complete after
    /// [`Locks::finish`].
    pub fn timelines(&self, least_ns: u64) -> Vec<(LockId, &Timeline)> {
        let waited = |lock: &Lock| lock.ledger.total();
        let mut found: Vec<_> =
            (0..).map(LockId).zip(&self.locks).filter(|(_, lock)| waited(lock) >= least_ns).collect();
        found.retain(|(id, _)| self.info(*id).kind != LockKind::Queue);
        found.sort_by_key(|(_, lock)| Reverse(waited(lock)));
        found.into_iter().filter_map(|(id, lock)| Some((id, lock.timeline.as_ref()?))).collect()
    }

    /// A lock has been found, or more is known of it.
    pub fn found(&mut self, lock: LockId, info: &Arc<LockInfo>) {
        match self.infos.get_mut(lock.0 as usize) {
            Some(known) => *known = info.clone(),
            None => {
                debug_assert_eq!(lock.0 as usize, self.infos.len());
                self.infos.push(info.clone());
                let timeline = self.keep.timeline.then(Timeline::default);
                self.locks.push(Lock { timeline, ..Lock::default() });
            }
        }
    }

    /// A thread was found spinning for a lock.
    pub fn spin(&mut self, at: Nanos, thread: ThreadId, stack: StackId, lock: Option<LockId>) {
        if !self.keep.counts(thread, stack, lock, at) {
            return;
        }
        if let Some(lock) = lock {
            self.locks[lock.0 as usize].spun += 1;
        }
    }

    /// How stops of all threads have changed in the course of time.
    pub fn pauses(&self) -> &Trend {
        &self.pauses
    }

    /// What all locks are, without what happened at them but for stops of all threads.
    pub fn infos_only(&self) -> Locks {
        Locks { infos: self.infos.clone(), pauses: self.pauses.clone(), ..Locks::default() }
    }

    /// What is known of a lock.
    pub fn info(&self, lock: LockId) -> &Arc<LockInfo> {
        &self.infos[lock.0 as usize]
    }

    /// A thread was off the CPU, for whatever reason: it may have held a lock.
    pub fn off_cpu(&mut self, off: &OffCpu) {
        if self.locks.is_empty() {
            return;
        }
        self.newest = self.newest.max(off.end);
        self.events.push(*off);
        let complete = Nanos(self.newest.0.saturating_sub(DISORDER_NS));
        while let Some(off) = self.events.pop_until(complete) {
            self.take_in(&off);
        }
        self.decide(Nanos(complete.0.saturating_sub(SETTLING_NS)));
    }

    /// A thread was sampled: on the CPU, or (memory mode) wherever it was.
    pub fn sample(&mut self, at: Nanos, periods: u32, thread: ThreadId, state: ThreadState, stack: StackId) {
        if self.locks.is_empty() {
            return;
        }
        if state.on_cpu() {
            self.evidence.sample(at, thread, stack);
        }
        self.sampled_wait(at, u64::from(periods), thread, state.lock(), stack);
    }

    /// A thread held a lock while others waited.
    pub fn held(&mut self, at: Nanos, lock: LockId, thread: ThreadId, stack: StackId) {
        let lock = &mut self.locks[lock.0 as usize];
        lock.held = Some((at, thread, stack));
        lock.releases.add(Release { at, by: thread, stack, to: None, of_all: None });
    }

    /// The thread that was seen to hold a lock at that moment.
    pub fn holder(&self, lock: LockId, at: Nanos) -> Option<ThreadId> {
        self.locks[lock.0 as usize].held.filter(|held| held.0 == at).map(|held| held.1)
    }

    /// A thread waits for a lock, or not, at a tick. A wait is a run of ticks with one stack.
    fn sampled_wait(&mut self, at: Nanos, periods: u64, thread: ThreadId, id: Option<LockId>, stack: StackId) {
        let last = self.sampled.of(thread);
        let goes_on = last.filter(|wait| Some(wait.lock) == id && wait.stack == stack);
        if let Some(wait) = last.take_if(|_| goes_on.is_none()) {
            self.sampled_wait_ends(thread, &wait);
        }
        let Some(id) = id else { return };
        let (start, before) = goes_on.map_or((at, 0), |wait| (wait.part.start, wait.length));
        let wait = SampledWait { lock: id, stack, part: Part { start, end: at }, length: before + periods };
        *self.sampled.of(thread) = Some(wait);
        if !self.keep.counts(thread, stack, Some(id), at) {
            return;
        }
        let lock = &mut self.locks[id.0 as usize];
        lock.estimated = true;
        if goes_on.is_none() {
            lock.parks += 1;
            lock.ledger.wait_begins(thread);
        }
        lock.ledger.waited(thread, stack, periods);
        if lock.waited_at != Some(at) {
            (lock.waited_at, lock.waited_for) = (Some(at), lock.waited_for + periods);
        }
        match lock.held {
            Some((held_at, holder, place)) if held_at == at && holder != thread => {
                lock.ledger.caused_by(holder, place, periods);
            }
            _ => lock.ledger.is_unknown(periods),
        }
    }

    fn sampled_wait_ends(&mut self, thread: ThreadId, wait: &SampledWait) {
        let &SampledWait { lock, stack, part, length } = wait;
        if self.keep.waits {
            self.past.push(PastWait { thread, part, length, sampled: true });
        }
        if self.keep.counts(thread, stack, Some(lock), part.start) {
            self.locks[lock.0 as usize].ledger.wait_ends(thread, length);
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        while let Some(off) = self.events.pop_until(Nanos(u64::MAX)) {
            self.take_in(&off);
        }
        self.decide(Nanos(u64::MAX));
        let sampled: Vec<_> =
            self.sampled.iter_mut().filter_map(|(thread, wait)| Some((thread, wait.take()?))).collect();
        sampled.iter().for_each(|(thread, wait)| self.sampled_wait_ends(*thread, wait));
        let Locks { locks, keep, past, .. } = self;
        for (id, lock) in (0..).map(LockId).zip(locks) {
            let left = std::mem::take(&mut lock.left);
            left.iter().for_each(|(_, part)| lock.ledger.is_unknown(part.ns()));
            let over: Vec<_> =
                lock.waits.iter_mut().filter_map(|(thread, wait)| Some((thread, wait.take()?))).collect();
            over.into_iter().for_each(|(thread, wait)| lock.over(id, thread, &wait, keep, past));
            if let Some(timeline) = &mut lock.timeline {
                timeline.waiters = count(std::mem::take(&mut lock.changes));
                timeline.handoffs.sort_unstable_by_key(|handoff| (handoff.released, handoff.acquired));
                timeline.holds = holds(&timeline.handoffs);
            }
        }
    }

    fn take_in(&mut self, off: &OffCpu) {
        let &OffCpu { thread, start, end, stack, state, .. } = off;
        self.evidence.off_cpu(Part { start, end }, thread, stack, state);
        match (state, state.lock()) {
            (ThreadState::Runnable | ThreadState::GilHeldRunnable, _) => {
                self.threads.of(thread).ready += end.since(start);
            }
            (_, Some(id)) => {
                let seen = *self.threads.of(thread);
                if let ThreadState::LockWait(_) = state {
                    self.threads.of(thread).slept_for = Some(id);
                    if let Some((at, by)) = off.wake.and_then(|wake| Some((wake.at, wake.by?))) {
                        let by = self.threads.of(by);
                        by.let_go = by.let_go.max(at);
                    }
                }
                let Locks { locks, keep, past, pauses, .. } = self;
                let lock = &mut locks[id.0 as usize];
                let releases = lock.releases.times;
                let from = lock.sleep(id, off, &seen, keep, past);
                if keep.counts(thread, stack, Some(id), start) {
                    if let ThreadState::Paused(_) = state {
                        pauses.stopped(end, lock.releases.times - releases);
                        pauses.held_up(end, end.since(from));
                    }
                    self.undecided.push_back(Segment { lock: id, waiter: thread, part: Part { start: from, end } });
                }
            }
            _ => (),
        }
    }

    /// All releases up to `until` are known.
    fn decide(&mut self, until: Nanos) {
        while let Some(&segment) = self.undecided.front().filter(|segment| segment.part.end <= until) {
            self.undecided.pop_front();
            let Locks { locks, evidence, .. } = self;
            locks[segment.lock.0 as usize].decide(segment.waiter, segment.part, evidence);
        }
    }

    /// What is known so far of the locks that were waited for, the most costly first. `period_ns` is what a sample stands
    /// for.
    pub fn summaries(&self, period_ns: f64) -> Vec<LockSummary> {
        let all = (0..).map(LockId).zip(&self.locks).filter(|(_, lock)| lock.parks > 0);
        let mut summaries: Vec<_> = all.map(|(id, lock)| lock.summary(id, self.info(id), period_ns)).collect();
        summaries.sort_by_key(|lock| Reverse(lock.contention.waits.total_ns));
        summaries
    }
}

impl Lock {
    /// A thread has slept for it. Returns from when on it waited: since its last sleep, if this is the same wait. It is if the
    /// thread has not asked for the lock again. Where that is not known, it is if the thread can only have found that another
    /// was faster: there was no time for more, nothing that only who has a lock does, and no other lock.
    fn sleep(&mut self, id: LockId, off: &OffCpu, seen: &Seen, keep: &Keep, past: &mut Vec<PastWait>) -> Nanos {
        let &OffCpu { thread, start, end, stack, .. } = off;
        let counts = keep.counts(thread, stack, Some(id), start);
        self.parks += u64::from(counts);
        let wake = off.wake.and_then(|wake| Some((wake, wake.by?)));
        if let Some((wake, by)) = wake {
            let of_all = matches!(off.state, ThreadState::Paused(_)).then_some(start);
            self.releases.add(Release { at: wake.at, by, stack: wake.stack, to: Some((thread, end)), of_all });
            if let Some(timeline) = &mut self.timeline {
                timeline.handoffs.push(Handoff { from: by, released: wake.at, to: thread, acquired: end });
            }
        }
        let release = wake.map(|(wake, by)| (by, wake.stack));
        let last = *self.waits.of(thread);
        let goes_on = |wait: &Wait| {
            if let (Some(asked), Some(before)) = (off.asked, wait.asked) {
                return asked == before;
            }
            let on_cpu = start.since(wait.end).saturating_sub(seen.ready - wait.ready);
            let only_looked = on_cpu < A_LOOK_NS && seen.let_go < wait.end;
            let had_gil = off.gil.is_some_and(|gil| gil.was_last_held_by(thread));
            wait.stack == stack && only_looked && !had_gil && seen.slept_for.is_none_or(|last| last == id)
        };
        let ready = seen.ready;
        let (from, wait) = match last.filter(goes_on) {
            Some(wait) => (wait.end, Wait { end, ready, release, ..wait }),
            None => {
                if let Some(wait) = last {
                    self.over(id, thread, &wait, keep, past);
                }
                if counts {
                    self.ledger.wait_begins(thread);
                }
                (start, Wait { start, end, stack, asked: off.asked, ready, release })
            }
        };
        *self.waits.of(thread) = Some(wait);
        if counts {
            self.ledger.waited(thread, stack, end.since(from));
            self.contended.add(from, end);
        }
        from
    }

    /// Decides who held it for a part of a wait, and for what was left of those before.
    fn decide(&mut self, waiter: ThreadId, part: Part, evidence: &Evidence) {
        let mut next = None;
        self.share_out(waiter, part, evidence, |part| next = (part.start < part.end).then_some(part));
        self.decide_left(evidence);
        if let Some(part) = next {
            if self.left.len() == MOST_LEFT
                && let Some((_, oldest)) = self.left.pop_front()
            {
                self.ledger.is_unknown(oldest.ns());
            }
            self.left.push_back((waiter, part));
        }
    }

    /// Whoever lets go of it has held it for what was left, if it was watched closely enough in between: as long as a thread
    /// sleeps for it, nobody lets go of it unnoticed.
    fn decide_left(&mut self, evidence: &Evidence) {
        let Some(release) = self.left.back().and_then(|(_, last)| self.releases.next(last.end)) else { return };
        let (mut from, mut watched) = (release, 0);
        for (waiter, part) in std::mem::take(&mut self.left).into_iter().rev() {
            watched += self.contended.within(Part { start: part.end, end: from });
            from = part.end;
            if 2 * watched >= release.since(part.end) {
                let mut unknown = 0;
                self.share_out(waiter, part, evidence, |part| unknown += part.ns());
                self.ledger.is_unknown(unknown);
            } else {
                self.ledger.is_unknown(part.ns());
            }
        }
    }

    /// Puts down a part of a wait to those who held it meanwhile. What belongs to whoever lets go of it next is left to `next`.
    fn share_out(&mut self, waiter: ThreadId, part: Part, evidence: &Evidence, mut next: impl FnMut(Part)) {
        let Lock { ledger, releases, holder_off_cpu, .. } = self;
        releases.split(waiter, part, |owner, time| match owner {
            Owner::Nobody => ledger.was_free(time),
            Owner::Unknown => ledger.is_unknown(time),
            Owner::Next => next(Part { start: Nanos(part.end.0 - time), ..part }),
            Owner::Held(held) => {
                // The last `time` of the hold, as far as it is in the part.
                let end = held.end.min(part.end);
                evidence.split(&held, Part { start: Nanos(end.0 - time), end }, |place, time| {
                    ledger.caused_by(held.by, place.stack, time);
                    if let Some(state) = place.off_cpu {
                        *holder_off_cpu.entry((state, held.by, place.stack)).or_default() += time;
                    }
                });
            }
        });
    }

    fn over(&mut self, id: LockId, thread: ThreadId, wait: &Wait, keep: &Keep, past: &mut Vec<PastWait>) {
        let length = wait.end.since(wait.start);
        if keep.waits {
            past.push(PastWait { thread, part: Part { start: wait.start, end: wait.end }, length, sampled: false });
        }
        if !keep.counts(thread, wait.stack, Some(id), wait.start) {
            return;
        }
        self.ledger.wait_ends(thread, length);
        if self.timeline.is_some() {
            self.changes.extend([(wait.start, 1), (wait.end, -1)]);
        }
        if let Some((by, stack)) = wait.release {
            self.ledger.by_releaser.add(by, stack, length);
        }
    }

    fn summary(&self, id: LockId, info: &Arc<LockInfo>, period_ns: f64) -> LockSummary {
        let ledger = &self.ledger;
        let unit = if self.estimated { period_ns.round() as u64 } else { 1 };
        let contended = if self.estimated { self.waited_for } else { self.contended.total() };
        let off_cpu = self.holder_off_cpu.iter();
        let mut holder_off_cpu: Vec<_> =
            off_cpu.map(|(&(state, thread, stack), &ns)| (state, Blame { thread, stack, ns })).collect();
        holder_off_cpu.sort_unstable_by_key(|(state, blame)| (Reverse(blame.ns), *state, blame.thread, blame.stack));
        let shares = ledger.shares.iter();
        LockSummary {
            id,
            info: info.clone(),
            estimated: self.estimated,
            contention: ledger.contention(contended, unit),
            parks: self.parks,
            spun: self.spun,
            owner_changes: self.releases.changes,
            releases: self.releases.times,
            holder_off_cpu,
            threads: shares
                .map(|(thread, share)| LockShare { thread, waits: share.waits(unit), caused_ns: share.caused * unit })
                .collect(),
        }
    }
}

/// Who held a lock, as far as somebody waited: whoever let go of it had it since the time before, or since it was back
/// from its own wait.
fn holds(handoffs: &[Handoff]) -> Vec<Hold> {
    let mut holds: Vec<Hold> = Vec::new();
    for pair in handoffs.windows(2) {
        let [before, after] = pair else { continue };
        let start = if before.to == after.from { before.acquired } else { before.released };
        let (start, end) = (start.min(after.released), after.released);
        // Threads woken together were woken by one that held it once.
        if start < end {
            holds.push(Hold { start, end, thread: after.from });
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contention::fixture::stack;
    use crate::event::{GilGlimpse, GilId, ProcessId, Syscall, Wake};

    const HOLDER: ThreadId = ThreadId(1);
    const WAITER: ThreadId = ThreadId(2);
    const OTHER: ThreadId = ThreadId(3);
    const LOCK: LockId = LockId(0);
    const US: u64 = 1000;

    fn locks(events: &[OffCpu]) -> Locks {
        let mut locks = Locks::default();
        let (process, kind) = (ProcessId(0), LockKind::Lock);
        let info = LockInfo { process, address: 0x1000, kind, type_name: None, name: None };
        locks.found(LOCK, &Arc::new(info));
        events.iter().for_each(|off| locks.off_cpu(off));
        locks
    }

    fn summary(mut locks: Locks) -> LockSummary {
        locks.finish();
        let summary = locks.summaries(1.0).remove(0);
        assert_eq!(
            summary.contention.caused_ns + summary.contention.gap_ns + summary.contention.unknown_ns,
            summary.contention.waits.total_ns
        );
        assert_eq!(
            summary.contention.by_holder.iter().map(|blame| blame.ns).sum::<u64>(),
            summary.contention.caused_ns
        );
        assert_eq!(
            summary.contention.by_waiter.iter().map(|blame| blame.ns).sum::<u64>(),
            summary.contention.waits.total_ns
        );
        summary
    }

    /// Times in microseconds.
    fn off(thread: ThreadId, start: u64, end: u64, state: ThreadState, number: u32) -> OffCpu {
        let (start, end) = (Nanos(start * US), Nanos(end * US));
        OffCpu::new(thread, start, end, state, stack(number))
    }

    /// A sleep for the lock, ended by a release.
    fn sleep(thread: ThreadId, start: u64, end: u64, woken: u64, by: ThreadId) -> OffCpu {
        let wake = Wake { at: Nanos(woken * US), by: Some(by), stack: stack(9), switches: None };
        OffCpu { wake: Some(wake), ..off(thread, start, end, ThreadState::LockWait(LOCK), thread.0) }
    }

    #[test]
    fn a_wait_is_put_down_to_where_the_holder_was() {
        let blocked = ThreadState::Blocked(Syscall(0));
        let mut locks = locks(&[off(HOLDER, 100, 400, blocked, 5), sleep(WAITER, 200, 1010, 1000, HOLDER)]);
        locks.sample(Nanos(700 * US), 1, HOLDER, ThreadState::GilHeld, stack(6));
        let summary = summary(locks);
        assert_eq!(
            (summary.contention.waits.count, summary.contention.waits.total_ns, summary.parks),
            (1, 810 * US, 1)
        );
        assert_eq!((summary.contention.gap_ns, summary.contention.unknown_ns), (10 * US, 0));
        let by: Vec<_> =
            summary.contention.by_holder.iter().map(|blame| (blame.thread, blame.stack, blame.ns / US)).collect();
        assert_eq!(by, [(HOLDER, stack(6), 600), (HOLDER, stack(5), 200)]);
        let held = Blame { thread: HOLDER, stack: stack(5), ns: 200 * US };
        assert_eq!(summary.holder_off_cpu, [(blocked, held)]);
        assert_eq!(summary.contention.by_releaser, [Blame { thread: HOLDER, stack: stack(9), ns: 810 * US }]);
    }

    #[test]
    fn sleeps_are_one_wait_if_the_lock_was_asked_for_once() {
        let asked = |at: u64, off: OffCpu| OffCpu { asked: Some(Nanos(at * US)), ..off };
        let waits = |first: u64, second: u64, between: u64| {
            let [one, two] = [asked(first, sleep(WAITER, 100, 200, 199, HOLDER)), {
                let start = 200 + between;
                asked(second, sleep(WAITER, start, start + 100, start + 99, HOLDER))
            }];
            let summary = summary(locks(&[one, two]));
            (summary.contention.waits.count, summary.contention.waits.total_ns / US, summary.parks)
        };
        assert_eq!(waits(90, 90, 1), (1, 201, 2), "it was woken in vain");
        assert_eq!(waits(90, 90, 5000), (1, 5200, 2), "however long it spun");
        assert_eq!(waits(90, 201, 1), (2, 200, 2), "it has had it in between, however short that was");
    }

    #[test]
    fn who_is_woken_in_vain_goes_on_with_the_same_wait() {
        let runnable = off(WAITER, 112, 152, ThreadState::Runnable, 2);
        let summary = summary(locks(&[
            sleep(WAITER, 0, 110, 100, HOLDER),
            runnable,
            sleep(WAITER, 160, 310, 300, OTHER),
            sleep(WAITER, 400, 510, 500, HOLDER),
        ]));
        assert_eq!((summary.contention.waits.count, summary.parks, summary.owner_changes), (2, 3, 2));
        assert_eq!(summary.contention.waits.max_ns, 310 * US);
        assert_eq!(summary.threads.iter().map(|share| share.caused_ns).sum::<u64>(), summary.contention.caused_ns);
    }

    #[test]
    fn who_has_let_go_of_it_meanwhile_waits_anew() {
        let events = [
            sleep(WAITER, 0, 110, 100, HOLDER),
            sleep(HOLDER, 105, 114, 113, WAITER),
            sleep(WAITER, 115, 210, 200, HOLDER),
        ];
        assert_eq!(summary(locks(&events)).contention.waits.count, 3);
    }

    #[test]
    fn who_has_had_another_lock_meanwhile_waits_anew() {
        let other = LockId(1);
        let for_other = |off: OffCpu| OffCpu { state: ThreadState::LockWait(other), ..off };
        let count = |meanwhile: OffCpu| {
            let mut locks = locks(&[]);
            let info = locks.info(LOCK).clone();
            locks.found(other, &info);
            let events = [sleep(WAITER, 0, 110, 100, HOLDER), meanwhile, sleep(WAITER, 120, 210, 200, HOLDER)];
            events.iter().for_each(|off| locks.off_cpu(off));
            locks.finish();
            locks.summaries(1.0).iter().find(|lock| lock.id == LOCK).unwrap().contention.waits.count
        };
        assert_eq!(count(for_other(sleep(OTHER, 50, 119, 115, HOLDER))), 1);
        assert_eq!(count(for_other(sleep(OTHER, 50, 119, 115, WAITER))), 2, "it let go of the other");
        assert_eq!(count(for_other(sleep(WAITER, 111, 118, 115, HOLDER))), 2, "it waited for the other");
        assert_eq!(count(off(WAITER, 111, 118, ThreadState::GilWait, 1)), 1, "to look it may need the GIL");
    }

    #[test]
    fn who_has_had_the_gil_meanwhile_waits_anew() {
        let count = |holder, locked| {
            let gil = Some(GilGlimpse { gil: GilId(0), holder: Some(holder), locked, switches: 1 });
            let events = [sleep(WAITER, 0, 110, 100, HOLDER), OffCpu { gil, ..sleep(WAITER, 120, 210, 200, HOLDER) }];
            summary(locks(&events)).contention.waits.count
        };
        assert_eq!([count(WAITER, false), count(HOLDER, true), count(HOLDER, false)], [2, 1, 1]);
    }

    #[test]
    fn a_wait_without_an_end_is_of_an_unknown_holder() {
        let open = OffCpu { open: true, ..off(WAITER, 0, 500, ThreadState::LockWait(LOCK), 2) };
        let summary = summary(locks(&[open]));
        assert_eq!((summary.contention.waits.total_ns, summary.contention.unknown_ns), (500 * US, 500 * US));
    }

    #[test]
    fn who_lets_go_of_it_had_it_while_others_gave_up() {
        let timed_out = |start: u64, end: u64| off(WAITER, start, end, ThreadState::LockWait(LOCK), 2);
        let caused = |events: &[OffCpu]| {
            let summary = summary(locks(events));
            assert!(summary.contention.by_holder.iter().all(|blame| blame.thread == HOLDER));
            (summary.contention.caused_ns / US, summary.contention.unknown_ns / US)
        };
        const S: u64 = 1_000_000;
        let looks = [timed_out(S, 2 * S), timed_out(3 * S, 4 * S)];
        assert_eq!(caused(&looks), (0, 2 * S));
        let [first, second] = looks;
        assert_eq!(caused(&[first, second, sleep(WAITER, 4 * S, 5 * S, 5 * S, HOLDER)]), (3 * S, 0));
        assert_eq!(
            caused(&[first, second, sleep(OTHER, 4 * S, 5 * S, 5 * S, HOLDER)]),
            (3 * S, 0),
            "whoever is woken"
        );
        assert_eq!(
            caused(&[first, second, sleep(WAITER, 9 * S, 11 * S, 11 * S, HOLDER)]),
            (2 * S, 2 * S),
            "not watched"
        );
        let all_along = sleep(OTHER, S, 11 * S, 11 * S, HOLDER);
        assert_eq!(caused(&[first, second, all_along]), (12 * S, 0));
    }

    #[test]
    fn waits_that_were_sampled_are_runs_of_ticks() {
        let mut locks = locks(&[]);
        let waits = ThreadState::LockWait(LOCK);
        for tick in 0..10 {
            let at = Nanos(tick);
            if tick < 4 {
                locks.held(at, LOCK, HOLDER, stack(7));
            }
            let state = if tick == 5 { ThreadState::GilHeld } else { waits };
            locks.sample(at, 1, WAITER, state, stack(1));
            locks.sample(at, 1, OTHER, ThreadState::GilHeld, stack(2));
        }
        locks.finish();
        let summary = locks.summaries(1000.0).remove(0);
        assert!(summary.estimated);
        assert_eq!(
            (summary.contention.waits.count, summary.contention.waits.total_ns, summary.contention.waits.max_ns),
            (2, 9000, 5000)
        );
        assert_eq!(
            (summary.contention.caused_ns, summary.contention.unknown_ns, summary.contention.contended_ns),
            (4000, 5000, 9000)
        );
        assert_eq!(summary.contention.by_holder, [Blame { thread: HOLDER, stack: stack(7), ns: 4000 }]);
    }

    #[test]
    fn nothing_is_remembered_where_there_are_no_locks() {
        let mut none = Locks::default();
        none.off_cpu(&off(HOLDER, 0, 10, ThreadState::Runnable, 1));
        none.sample(Nanos(5), 1, HOLDER, ThreadState::GilHeld, stack(1));
        none.finish();
        assert!(none.summaries(1.0).is_empty());
    }
}
