//! What happened from refresh to refresh: the sparklines of the first lines, and the strips of threads and locks. One moment
//! for each snapshot.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::activity::prevailing_activity;
use crate::event::{Activity, LockId};
use crate::profile::Mode;
use crate::report;
use crate::snapshot::Snapshot;

/// More than the widest screen has columns.
const MAX_MOMENTS: usize = 600;

/// One refresh: what happened since the one before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// The fraction of it for which the GIL was held; of several GILs, the one held most. On builds without a GIL, how many
    /// threads ran.
    pub held: f64,
    /// How many threads waited for a GIL or a lock, on average.
    pub waiting: f64,
    /// How many CPUs the threads used.
    pub cpus: f64,
    /// Records and stacks that were lost.
    pub lost: u64,
    /// What each thread did most of the time, by [`crate::event::ThreadId`].
    pub threads: Vec<Option<Activity>>,
    /// The fraction of it for which each thread waited for the GIL or a lock, by [`crate::event::ThreadId`].
    pub waited: Vec<f64>,
    /// How many threads waited for each lock, on average.
    pub locks: FxHashMap<LockId, f64>,
    /// How many threads were held up by stops of all threads, on average.
    pub paused: f64,
}

/// The last moments, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(VecDeque<Moment>);

impl History {
    /// Adds what happened between two snapshots.
    pub(crate) fn push(&mut self, now: &Snapshot, before: &Snapshot) {
        if self.0.len() == MAX_MOMENTS {
            self.0.pop_front();
        }
        self.0.push_back(moment(&now.since(before)));
    }

    /// The newest `count` values of something, oldest first.
    pub(crate) fn last<T>(&self, count: usize, of: impl Fn(&Moment) -> T) -> Vec<T> {
        self.0.iter().skip(self.0.len().saturating_sub(count)).map(of).collect()
    }

    pub(crate) fn newest(&self) -> Option<&Moment> {
        self.0.back()
    }
}

/// What a part of a recording comes to.
fn moment(part: &Snapshot) -> Moment {
    let seconds = part.seconds();
    let mean = |sum: f64| if seconds > 0.0 { sum / seconds } else { 0.0 };
    let ledgers = report::ledgers(&part.profile, &part.gils);
    let sum = |of: fn(&report::model::States) -> f64| ledgers.iter().map(|thread| of(&thread.states)).sum::<f64>();
    let has_gil = part.gils.iter().any(|gil| gil.info.enabled);
    let held = part.gils.iter().map(|gil| gil.held.total_ns() as f64 / gil.observed_ns.max(1) as f64);
    let cpus = match part.profile.session.mode {
        Mode::Kernel => ledgers.iter().map(|thread| thread.cpu_s).sum(),
        Mode::Memory => sum(|states| states.running_s + states.gil_held_s + states.native_s),
    };
    let locks = part.locks.iter().filter(|lock| lock.info.kind.is_lock());
    let locks = locks.map(|lock| (lock.id, mean(lock.contention.waits.total_ns as f64 / 1e9))).collect();
    let waits = |states: &report::model::States| states.gil_wait_s + states.lock_wait_s + states.paused_s;
    Moment {
        held: if has_gil { held.fold(0.0, f64::max).min(1.0) } else { mean(sum(|states| states.running_s)) },
        waiting: mean(sum(|states| states.gil_wait_s + states.lock_wait_s)),
        cpus: mean(cpus),
        lost: part.profile.session.records_lost + part.profile.lost(),
        threads: ledgers.iter().map(|thread| prevailing_activity(&thread.states)).collect(),
        waited: ledgers.iter().map(|thread| waits(&thread.states) / thread.wall_s.max(1e-9)).collect(),
        locks,
        paused: mean(sum(|states| states.paused_s)),
    }
}
