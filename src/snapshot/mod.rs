//! What is known at one moment, as a thing of its own: it can be looked at while recording goes on. Made by
//! [`crate::tui`] from what the session shows its observers; all times are nanoseconds.
//!
//! Pure. A snapshot counts from the start of the recording; [`Snapshot::since`] takes two of them and says what came in
//! between, as a snapshot again. So the last ten seconds, or all since a reset, are shown by the same code as all of it.

mod rows;
mod since;

use crate::contention::Blame;
use crate::event::{LockId, Nanos, OffCpu, ThreadId, ThreadState};
use crate::gil::summary::GilSummary;
use crate::lockstats::summary::{LockShare, LockSummary};
use crate::profile::tree::{Key, Weight};
use crate::profile::{Mode, Profile, SessionInfo};
use crate::report::{self, Report};
use crate::stack::StackId;

/// All there is to see at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub at: Nanos,
    /// Threads, stacks and samples. It knows the locks by name only: what happened at them, and at the GILs, is summed up
    /// beside it.
    pub profile: Profile,
    /// What happened at each GIL, by [`crate::event::GilId`].
    pub gils: Vec<GilSummary>,
    /// What happened at locks, the most costly first.
    pub locks: Vec<LockSummary>,
    /// What each thread was doing at that moment, by [`ThreadId`]; none if it was gone or never seen.
    pub now: Vec<Option<Now>>,
}

/// What a thread is doing at the moment of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub state: ThreadState,
    pub stack: StackId,
    /// Since when, if that is known.
    pub since: Option<Nanos>,
    /// The thread that held the GIL when it began to wait for it, if that is known.
    pub holder: Option<ThreadId>,
}

impl Snapshot {
    /// What a profile has at a moment. `under_way` is what threads off the CPU have been doing up to then, if that is not
    /// part of it yet.
    pub fn of(at: Nanos, profile: &Profile, under_way: &[OffCpu]) -> Snapshot {
        let period = profile.session.period_ns();
        let mut snapshot = Snapshot {
            at,
            profile: Profile {
                stacks: profile.stacks.frozen(),
                processes: profile.processes.clone(),
                threads: profile.threads.clone(),
                tree: profile.tree.clone(),
                rows: profile.rows.clone(),
                locks: profile.locks.infos_only(),
                refcounts: profile.refcounts.clone(),
                collections: profile.collections.clone(),
                held_in_native: profile.held_in_native.clone(),
                queue_waits: profile.queue_waits.clone(),
                pools: profile.pools.clone(),
                deadlocks: profile.deadlocks.clone(),
                session: SessionInfo { end: at, ..profile.session.clone() },
                ..Profile::default()
            },
            gils: profile.gils.iter().map(|gil| gil.summary(period)).collect(),
            locks: profile.locks.summaries(period),
            now: Vec::new(),
        };
        snapshot.now = profile
            .threads
            .iter()
            .map(|info| {
                let (_, state, stack) = info.last_sample.filter(|_| !info.exited)?;
                Some(Now { state, stack, since: None, holder: None })
            })
            .collect();
        if profile.session.mode == Mode::Kernel {
            let alive = snapshot.profile.threads.iter_mut().filter(|info| !info.exited);
            alive.for_each(|info| info.end = info.end.max(at));
        }
        let queue_waits = &mut snapshot.profile.queue_waits;
        let classified = |off: &OffCpu| OffCpu { state: queue_waits.classify(off.state, off.stack), ..*off };
        let under_way: Vec<OffCpu> = under_way.iter().map(classified).collect();
        under_way.iter().for_each(|off| snapshot.goes_on(off));
        // Waits for the GIL are cut into pieces of the switch interval, which are reported one by one. Waits for locks can be
        // long.
        for off in &under_way {
            if let ThreadState::LockWait(id) = off.state {
                let waiter = Blame { thread: off.thread, stack: off.stack, ns: off.end.since(off.start) };
                snapshot.waits_still(id, waiter, profile.locks.holder(id, off.end));
            }
        }
        snapshot
    }

    /// A thread has been off the CPU up to now.
    fn goes_on(&mut self, off: &OffCpu) {
        let &OffCpu { thread, start, end, state, stack, lost, .. } = off;
        let ns = end.since(start);
        self.profile.pools.was_at(&self.profile.stacks, thread, stack, (start, end), true);
        self.profile.tree.add(Key { thread, state, stack, lost }, Weight { samples: 0, off_cpu_ns: ns, waits: 1 });
        if let Some(now) = self.now.get_mut(thread.0 as usize) {
            let holder = off.gil.and_then(|gil| gil.held_by());
            *now = Some(Now { state, stack, since: Some(start), holder });
        }
    }

    /// A thread waits for a lock, and has for some time. For few locks it is known who holds them now; for the others that is
    /// known only when the wait is over.
    fn waits_still(&mut self, id: LockId, waiter: Blame, holder: Option<ThreadId>) {
        let at = match self.locks.iter().position(|lock| lock.id == id) {
            Some(at) => at,
            None => {
                let info = self.profile.locks.info(id).clone();
                self.locks.push(LockSummary::nothing_yet(id, info));
                self.locks.len() - 1
            }
        };
        let lock = &mut self.locks[at];
        lock.parks += 1;
        lock.contention.waits.add(waiter.ns);
        add(&mut lock.contention.by_waiter, waiter);
        share(&mut lock.threads, waiter.thread).waits.add(waiter.ns);
        match holder {
            Some(thread) => {
                let now = self.now.get(thread.0 as usize).copied().flatten();
                let stack = now.map_or(StackId::EMPTY, |now| now.stack);
                lock.contention.caused_ns += waiter.ns;
                add(&mut lock.contention.by_holder, Blame { thread, stack, ns: waiter.ns });
                let pairs = &mut lock.contention.by_pair;
                let is_it = |(by, blame): &&mut (ThreadId, Blame)| {
                    (*by, blame.thread, blame.stack) == (waiter.thread, thread, stack)
                };
                match pairs.iter_mut().find(is_it) {
                    Some((_, known)) => known.ns += waiter.ns,
                    None => pairs.push((waiter.thread, Blame { thread, stack, ns: waiter.ns })),
                }
                share(&mut lock.threads, thread).caused_ns += waiter.ns;
            }
            None => lock.contention.unknown_ns += waiter.ns,
        }
    }

    pub fn report(&self, blame: report::Attribution) -> Report {
        Report::new(&self.profile, &self.gils, &self.locks, blame)
    }

    /// How long it covers, in seconds.
    pub fn seconds(&self) -> f64 {
        self.profile.session.end.since(self.profile.session.start) as f64 / 1e9
    }
}

fn add(all: &mut Vec<Blame>, blame: Blame) {
    match all.iter_mut().find(|known| (known.thread, known.stack) == (blame.thread, blame.stack)) {
        Some(known) => known.ns += blame.ns,
        None => all.push(blame),
    }
}

/// The part of a thread in what happened at a lock.
fn share(shares: &mut Vec<LockShare>, thread: ThreadId) -> &mut LockShare {
    let at = shares.iter().position(|share| share.thread == thread).unwrap_or_else(|| {
        shares.push(LockShare { thread, waits: Default::default(), caused_ns: 0 });
        shares.len() - 1
    });
    &mut shares[at]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contention::fixture::stack;
    use crate::event::{Event, LockInfo, LockKind, ProcessId, Syscall};

    const HOLDER: ThreadId = ThreadId(0);
    const WAITER: ThreadId = ThreadId(1);
    const LOCK: LockId = LockId(0);

    /// A thread has waited for 100 ns of 1000, and waits again, for 300 now; it is known who holds the lock or not.
    fn waits_again(is_known: bool) -> LockSummary {
        let mut profile = Profile::default();
        profile.session.mode = Mode::Kernel;
        let (process, kind) = (ProcessId(0), LockKind::RLock);
        for thread in [HOLDER, WAITER] {
            profile.push(&Event::ThreadStarted { at: Nanos(0), thread, process, tid: 1 + thread.0 as i32 });
        }
        let info = Arc::new(LockInfo { process, address: 0x10, kind, type_name: None, name: None });
        profile.push(&Event::Lock { lock: LOCK, info });
        let off =
            |thread, start, end, state, number| OffCpu::new(thread, Nanos(start), Nanos(end), state, stack(number));
        profile.push(&Event::OffCpu(off(WAITER, 100, 200, ThreadState::LockWait(LOCK), 1)));
        profile.finish();
        if is_known {
            profile.push(&Event::LockHeld { at: Nanos(1000), lock: LOCK, thread: HOLDER, stack: StackId::EMPTY });
        }
        let under_way = [
            off(WAITER, 700, 1000, ThreadState::LockWait(LOCK), 1),
            off(HOLDER, 500, 1000, ThreadState::Blocked(Syscall(0)), 2),
        ];
        Snapshot::of(Nanos(1000), &profile, &under_way).locks.remove(0)
    }

    #[test]
    fn a_wait_that_goes_on_is_attributed_to_who_holds_the_lock_now() {
        let lock = waits_again(true);
        assert_eq!(
            (lock.contention.waits.total_ns, lock.contention.caused_ns, lock.contention.unknown_ns),
            (400, 300, 100)
        );
        let held = Blame { thread: HOLDER, stack: stack(2), ns: 300 };
        assert_eq!((lock.contention.by_holder, lock.contention.by_pair), (vec![held], vec![(WAITER, held)]));
        let caused: u64 = lock.threads.iter().map(|share| share.caused_ns).sum();
        assert_eq!((lock.contention.by_waiter.len(), lock.contention.by_waiter[0].ns, caused), (1, 400, 300));
        let lock = waits_again(false);
        assert_eq!(
            (lock.contention.waits.total_ns, lock.contention.caused_ns, lock.contention.unknown_ns),
            (400, 0, 400)
        );
        assert!(lock.contention.by_holder.is_empty());
    }
}
