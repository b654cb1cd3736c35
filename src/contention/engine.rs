//! One engine for everything that threads wait for: it makes waits of the times off the CPU, and attributes each part of
//! them to whoever had the resource meanwhile. [`crate::gil`] runs one for each GIL, [`crate::lockstats`] one for all locks.
//!
//! A wait is one or more *sleeps*, between which the thread was on a CPU and did not get the resource. Each sleep makes
//! the wait longer by a *segment*. Who had the resource during a segment is decided later, when everybody who can know has
//! told; a segment for which that takes longer is *parked*. So at any moment
//! `caused + gap + unknown + undecided = waited` holds in the [`Ledger`], to the nanosecond.
//!
//! What differs from one kind of resource to the next, a [`Resource`] says: whether a sleep goes on with the thread's last
//! wait, and who can have had it when.

use std::collections::VecDeque;
use std::fmt::Debug;

use super::by_thread::ByThread;
use super::cover::Cover;
use super::evidence::{AttributedHold, Evidence, HeldPart};
use super::folding::FoldedRows;
use super::ledger::Ledger;
use super::selection::{PastWait, Retention};
use super::{Handoff, Hold, TimeRange, Timeline, count};
use crate::event::{LockId, Nanos, OffCpu, ThreadId, ThreadState};
use crate::stack::StackId;

/// A thread that was on the CPU for less, in nanoseconds, cannot have done more than look at what it waits for and sleep
/// again.
const MAX_LOOK_NS: u64 = 20_000;

/// What threads wait for and only one of them has at a time: a GIL or a lock.
pub trait Resource {
    /// What a sleep says of the resource that helps to tell whether the thread's next sleep is part of the same wait.
    type Mark: Copy + Debug;

    /// Whoever is woken by a release has the resource next, as far as a timeline shows it. Otherwise only the release that
    /// ended a wait handed it over.
    const EVERY_RELEASE_HANDS_OVER: bool;

    /// What a sleep says of the resource.
    fn mark(off: &OffCpu) -> Self::Mark;

    /// The release that ended a sleep, if one did.
    fn release(off: &OffCpu) -> Option<WakingRelease>;

    /// Whether a sleep goes on with the thread's last wait: it has not had the resource in between.
    fn continues(wait: &ResourceWait<Self::Mark>, off: &OffCpu, between: &BetweenSleeps) -> bool;

    /// Says who had the resource during a part of a wait, in full and without overlaps.
    fn owners(&self, waiter: ThreadId, range: TimeRange, owners: &mut Vec<(Owner, TimeRange)>);

    /// As [`Resource::owners`], for what was parked up to the end of the recording.
    fn owners_at_end(&self, waiter: ThreadId, range: TimeRange, owners: &mut Vec<(Owner, TimeRange)>);

    /// Puts a segment that cannot be decided yet with the others. Returns one that is given up, if there are too many.
    fn park(parked: &mut VecDeque<WaitSegment>, segment: WaitSegment) -> Option<WaitSegment>;

    /// Moves those that can be decided by now from `parked` to `ready`. `contended` is when threads waited.
    fn unpark(&mut self, parked: &mut VecDeque<WaitSegment>, contended: &Cover, ready: &mut Vec<UnparkedSegment>);

    /// A thread waited for a part of a hold.
    fn waited_for(&mut self, _hold: &AttributedHold, _part: TimeRange, _evidence: &Evidence) {}

    /// A holder has caused waiting while it was off the CPU.
    fn caused_off_cpu(&mut self, _holder: ThreadId, _state: ThreadState, _stack: StackId, _ns: u64) {}

    /// Threads become part of other rows.
    fn fold(&mut self, rows: &FoldedRows);

    /// Who held it when, for a timeline up to `end`. `handoffs` are in the order of time.
    fn holds(&mut self, end: Nanos, handoffs: &[Handoff]) -> Vec<Hold>;
}

/// A thread released the resource and woke one that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakingRelease {
    pub at: Nanos,
    pub by: ThreadId,
    /// That of the releasing thread.
    pub stack: StackId,
}

/// A wait, complete or going on: from the start of its first sleep to the end of its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceWait<M> {
    pub start: Nanos,
    pub end: Nanos,
    /// Where the thread waited, as its first sleep says.
    pub stack: StackId,
    /// That stack could not be read.
    pub stack_lost: bool,
    /// The release that ended its last sleep.
    pub release: Option<WakingRelease>,
    /// What its last sleep says of the resource.
    pub mark: M,
    /// [`ThreadHistory::suspended_ns`] when its last sleep ended.
    suspended_ns: u64,
}

/// What a thread did between two sleeps for the same resource.
#[derive(Clone, Copy, Debug)]
pub struct BetweenSleeps {
    /// For how long it was on a CPU.
    on_cpu_ns: u64,
    /// When it last woke another thread that waited.
    pub woke_another: Nanos,
    /// It has slept for another resource.
    pub slept_elsewhere: bool,
}

impl BetweenSleeps {
    /// There was only time to look whether the resource is free.
    pub fn is_a_look(&self) -> bool {
        self.on_cpu_ns < MAX_LOOK_NS
    }
}

/// What a thread has done so far that matters for its waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadHistory {
    /// For how long it could not go on although nothing that it waits for kept it: it had no CPU, for example.
    pub suspended_ns: u64,
    /// When it last woke another thread that waited.
    pub woke_another: Nanos,
    /// The resource for which it last slept, if that is noted.
    pub slept_for: Option<usize>,
}

impl ThreadHistory {
    fn since<M>(&self, wait: &ResourceWait<M>, off: &OffCpu, resource: usize) -> BetweenSleeps {
        let suspended_ns = self.suspended_ns.saturating_sub(wait.suspended_ns);
        BetweenSleeps {
            on_cpu_ns: off.start.since(wait.end).saturating_sub(suspended_ns),
            woke_another: self.woke_another,
            slept_elsewhere: self.slept_for.is_some_and(|last| last != resource),
        }
    }
}

/// Who had the resource for some time.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    Held(AttributedHold),
    Nobody,
    Unknown,
    /// That will be known later.
    Undecided,
}

/// A part of a wait, up to the end of one of its sleeps, for which it is to be decided who had the resource.
#[derive(Clone, Copy, Debug)]
pub struct WaitSegment {
    resource: u32,
    pub waiter: ThreadId,
    pub range: TimeRange,
}

/// A segment that was parked and is decided now.
#[derive(Clone, Copy, Debug)]
pub struct UnparkedSegment {
    pub segment: WaitSegment,
    /// If false, it will never be known who had the resource.
    pub has_owners: bool,
}

/// What [`Engine::sleep`] made of a sleep.
#[derive(Clone, Copy, Debug)]
pub struct SleepOfWait {
    /// From when on the thread waited: if the sleep goes on with a wait, since that one's last sleep.
    pub from: Nanos,
    /// The first sleep of a wait.
    pub is_first: bool,
    /// Where the thread waits.
    pub stack: StackId,
    /// It is selected: it comes into the ledger.
    pub counts: bool,
}

/// Waits for resources of one kind that are decided together.
#[derive(Debug)]
pub struct Engine<R: Resource> {
    /// Shows where holders were.
    pub evidence: Evidence,
    resources: Vec<Contended<R>>,
    threads: ByThread<ThreadHistory>,
    /// In the order of their ends.
    undecided: VecDeque<WaitSegment>,
    retention: Retention,
    past: Vec<PastWait>,
    /// Used again and again, so that deciding allocates nothing.
    owners: Vec<(Owner, TimeRange)>,
    ready: Vec<UnparkedSegment>,
}

/// One resource and what happened at it.
#[derive(Debug)]
pub struct Contended<R: Resource> {
    pub resource: R,
    pub ledger: Ledger,
    /// When at least one thread waited.
    pub contended: Cover,
    /// What happened when, if that is kept; its holds and waiters only in the end.
    pub timeline: Option<Timeline>,
    lock: Option<LockId>,
    waits: ByThread<Option<ResourceWait<R::Mark>>>,
    parked: VecDeque<WaitSegment>,
    /// Beginnings (+1) and ends (-1) of waits, if a timeline is kept.
    changes: Vec<(Nanos, i32)>,
}

impl<R: Resource> Default for Engine<R> {
    fn default() -> Self {
        Engine::new(Retention::default())
    }
}

impl<R: Resource> Engine<R> {
    pub fn new(retention: Retention) -> Engine<R> {
        Engine {
            evidence: Evidence::default(),
            resources: Vec::new(),
            threads: ByThread::default(),
            undecided: VecDeque::new(),
            retention,
            past: Vec::new(),
            owners: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// What to keep from now on.
    pub fn retain(&mut self, retention: Retention) {
        self.retention = retention;
    }

    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Adds a resource, which gets the next index. `lock` says which lock it is, if it is one.
    pub fn add(&mut self, resource: R, lock: Option<LockId>) {
        self.resources.push(Contended {
            resource,
            ledger: Ledger::default(),
            contended: Cover::default(),
            timeline: self.retention.timeline.then(Timeline::default),
            lock,
            waits: ByThread::default(),
            parked: VecDeque::new(),
            changes: Vec::new(),
        });
    }

    pub fn get(&self, resource: usize) -> &Contended<R> {
        &self.resources[resource]
    }

    pub fn get_mut(&mut self, resource: usize) -> &mut Contended<R> {
        &mut self.resources[resource]
    }

    pub fn all(&self) -> &[Contended<R>] {
        &self.resources
    }

    pub fn thread(&mut self, thread: ThreadId) -> &mut ThreadHistory {
        self.threads.of(thread)
    }

    /// All waits that are over, if these are kept.
    pub fn past_waits(&self) -> &[PastWait] {
        &self.past
    }

    /// A wait is over that was not made of sleeps.
    pub fn keep_past(&mut self, wait: PastWait) {
        if self.retention.waits {
            self.past.push(wait);
        }
    }

    /// A thread has slept for a resource. Sleeps must come in the order of their ends.
    pub fn sleep(&mut self, resource: usize, off: &OffCpu) -> SleepOfWait {
        let history = *self.threads.of(off.thread);
        let contended = &mut self.resources[resource];
        let last_wait = contended.waits.of(off.thread);
        let (before, goes_on) = match *last_wait {
            Some(wait) if R::continues(&wait, off, &history.since(&wait, off, resource)) => (None, Some(wait)),
            over => (over, None),
        };
        let is_first = goes_on.is_none();
        let from = goes_on.map_or(off.start, |wait| wait.end);
        let wait = ResourceWait {
            start: goes_on.map_or(off.start, |wait| wait.start),
            end: off.end,
            stack: goes_on.map_or(off.stack, |wait| wait.stack),
            stack_lost: goes_on.map_or(off.lost, |wait| wait.stack_lost),
            release: R::release(off),
            mark: R::mark(off),
            suspended_ns: history.suspended_ns,
        };
        *last_wait = Some(wait);
        if let Some(before) = before {
            contended.end(off.thread, &before, &self.retention, &mut self.past);
        }
        let counts = self.retention.counts(off.thread, wait.stack, contended.lock, off.start);
        if counts {
            contended.waited(off, from, wait.stack, is_first);
            let range = TimeRange { start: from, end: off.end };
            self.undecided.push_back(WaitSegment { resource: resource as u32, waiter: off.thread, range });
        }
        if let (Some(timeline), Some(release), true) =
            (&mut contended.timeline, wait.release, R::EVERY_RELEASE_HANDS_OVER)
        {
            timeline.handoffs.push(release.hands_over(off.thread, off.end));
        }
        SleepOfWait { from, is_first, stack: wait.stack, counts }
    }

    /// A thread did something at `at` that it cannot do while it waits.
    pub fn wait_is_over(&mut self, resource: usize, thread: ThreadId, at: Nanos) {
        let contended = &mut self.resources[resource];
        if let Some(wait) = contended.waits.of(thread).take_if(|wait| wait.end <= at) {
            contended.end(thread, &wait, &self.retention, &mut self.past);
        }
    }

    /// Decides all segments up to `until`, of which everything is known by now that will be.
    pub fn decide(&mut self, until: Nanos) {
        while let Some(&segment) = self.undecided.front().filter(|segment| segment.range.end <= until) {
            self.undecided.pop_front();
            let contended = &mut self.resources[segment.resource as usize];
            let rest = contended.attribute(&segment, &self.evidence, &mut self.owners);
            contended.attribute_parked(&self.evidence, &mut self.owners, &mut self.ready);
            if let Some(range) = rest {
                contended.park(WaitSegment { range, ..segment });
            }
        }
    }

    /// Decides those parked segments of a resource that can be decided by now.
    pub fn decide_parked(&mut self, resource: usize) {
        self.resources[resource].attribute_parked(&self.evidence, &mut self.owners, &mut self.ready);
    }

    /// Nothing more comes: what is going on ends at `end`.
    pub fn finish(&mut self, end: Nanos) {
        self.decide(Nanos(u64::MAX));
        for contended in &mut self.resources {
            let waits = contended.waits.iter_mut();
            let over: Vec<_> = waits.filter_map(|(thread, wait)| Some((thread, wait.take()?))).collect();
            over.iter().for_each(|(thread, wait)| contended.end(*thread, wait, &self.retention, &mut self.past));
            contended.attribute_rest(&self.evidence, &mut self.owners);
            contended.finish_timeline(end);
        }
    }

    /// Threads that have ended become part of other rows. So do their waits, which are over.
    pub fn fold(&mut self, rows: &FoldedRows) {
        self.evidence.fold(rows);
        self.threads.forget(rows);
        self.undecided.iter_mut().for_each(|segment| rows.put(&mut segment.waiter));
        for contended in &mut self.resources {
            contended.fold(rows, &self.retention, &mut self.past);
        }
    }

    /// How many segments are not decided yet.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.undecided.len() + self.resources.iter().map(|contended| contended.parked.len()).sum::<usize>()
    }
}

impl<R: Resource> Contended<R> {
    /// The thread's wait that goes on, or was the last.
    #[cfg(test)]
    pub fn wait(&self, thread: ThreadId) -> Option<&ResourceWait<R::Mark>> {
        self.waits.get(thread)?.as_ref()
    }

    fn fold(&mut self, rows: &FoldedRows, retention: &Retention, past: &mut Vec<PastWait>) {
        let waits = self.waits.iter_mut().filter(|(thread, _)| rows.is_folded(*thread));
        let over: Vec<_> = waits.filter_map(|(thread, wait)| Some((thread, wait.take()?))).collect();
        over.iter().for_each(|(thread, wait)| self.end(*thread, wait, retention, past));
        self.waits.forget(rows);
        // Who released what a thread still waits for.
        let going_on = self.waits.iter_mut().filter_map(|(_, wait)| wait.as_mut()?.release.as_mut());
        going_on.for_each(|release| rows.put(&mut release.by));
        self.parked.iter_mut().for_each(|segment| rows.put(&mut segment.waiter));
        self.ledger.fold(rows);
        self.resource.fold(rows);
    }

    fn waited(&mut self, off: &OffCpu, from: Nanos, stack: StackId, is_first: bool) {
        if is_first {
            self.ledger.wait_begins(off.thread);
        }
        self.ledger.waited(off.thread, stack, off.end.since(from));
        self.contended.add(from, off.end);
    }

    fn end(
        &mut self,
        thread: ThreadId,
        wait: &ResourceWait<R::Mark>,
        retention: &Retention,
        past: &mut Vec<PastWait>,
    ) {
        let part = TimeRange { start: wait.start, end: wait.end };
        if retention.waits {
            past.push(PastWait { thread, part, length: part.ns(), sampled: false });
        }
        if !retention.counts(thread, wait.stack, self.lock, wait.start) {
            return;
        }
        self.ledger.wait_ends(thread, part.ns());
        if let Some(release) = wait.release {
            self.ledger.by_releaser.add(release.by, release.stack, part.ns());
        }
        let Some(timeline) = &mut self.timeline else { return };
        self.changes.extend([(wait.start, 1), (wait.end, -1)]);
        if let Some(release) = wait.release.filter(|_| !R::EVERY_RELEASE_HANDS_OVER) {
            timeline.handoffs.push(release.hands_over(thread, wait.end));
        }
    }

    /// Attributes a segment to those who had the resource. Returns the part of it that cannot be decided yet.
    fn attribute(
        &mut self,
        segment: &WaitSegment,
        evidence: &Evidence,
        owners: &mut Vec<(Owner, TimeRange)>,
    ) -> Option<TimeRange> {
        self.resource.owners(segment.waiter, segment.range, owners);
        self.book(segment.waiter, evidence, owners)
    }

    fn attribute_parked(
        &mut self,
        evidence: &Evidence,
        owners: &mut Vec<(Owner, TimeRange)>,
        ready: &mut Vec<UnparkedSegment>,
    ) {
        self.resource.unpark(&mut self.parked, &self.contended, ready);
        for UnparkedSegment { segment, has_owners } in ready.drain(..) {
            let unknown = match has_owners {
                true => self.attribute(&segment, evidence, owners),
                false => Some(segment.range),
            };
            self.ledger.is_unknown(unknown.map_or(0, |range| range.ns()));
        }
    }

    /// Attributes what is parked still at the end of the recording.
    fn attribute_rest(&mut self, evidence: &Evidence, owners: &mut Vec<(Owner, TimeRange)>) {
        for segment in std::mem::take(&mut self.parked) {
            self.resource.owners_at_end(segment.waiter, segment.range, owners);
            let unknown = self.book(segment.waiter, evidence, owners);
            self.ledger.is_unknown(unknown.map_or(0, |range| range.ns()));
        }
    }

    /// Enters owners into the ledger. Returns the undecided part, if there is one.
    fn book(
        &mut self,
        waiter: ThreadId,
        evidence: &Evidence,
        owners: &mut Vec<(Owner, TimeRange)>,
    ) -> Option<TimeRange> {
        let Contended { resource, ledger, .. } = self;
        let mut undecided = None;
        for (owner, range) in owners.drain(..) {
            match owner {
                Owner::Nobody => ledger.was_free(range.ns()),
                Owner::Unknown => ledger.is_unknown(range.ns()),
                Owner::Undecided => undecided = (range.start < range.end).then_some(range),
                Owner::Held(hold) => {
                    resource.waited_for(&hold, range, evidence);
                    evidence.attribute(&hold, range, |part| match part {
                        HeldPart::OffCpu(state, stack, ns) => {
                            ledger.caused_by(waiter, hold.by, stack, ns);
                            resource.caused_off_cpu(hold.by, state, stack, ns);
                        }
                        HeldPart::Sampled(stack, ns) => ledger.caused_by_sampled(waiter, hold.by, stack, ns),
                        HeldPart::Unsampled(ns) => ledger.caused_by_unsampled(waiter, hold.by, hold.place(), ns),
                        HeldPart::Sample(sample) => ledger.hold_sampled(&sample),
                    });
                }
            }
        }
        undecided
    }

    fn park(&mut self, segment: WaitSegment) {
        if let Some(given_up) = R::park(&mut self.parked, segment) {
            self.ledger.is_unknown(given_up.range.ns());
        }
    }

    fn finish_timeline(&mut self, end: Nanos) {
        let Some(timeline) = &mut self.timeline else { return };
        timeline.waiters = count(std::mem::take(&mut self.changes));
        timeline.handoffs.sort_unstable_by_key(|handoff| (handoff.released, handoff.acquired));
        timeline.holds = self.resource.holds(end, &timeline.handoffs);
    }
}

impl WakingRelease {
    fn hands_over(self, to: ThreadId, acquired: Nanos) -> Handoff {
        Handoff { from: self.by, released: self.at, to, acquired }
    }
}
