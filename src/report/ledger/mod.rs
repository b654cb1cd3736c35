//! Where each thread's time went: exclusive states that add up to the time it was observed. Called by
//! [`super::Report::new`].

use std::ops::{Index, IndexMut};

use rustc_hash::FxHashSet;

use crate::event::{ACTIVITIES, ACTIVITY_COUNT, Account, Activity, ProcessId, ThreadId, ThreadState};
use crate::gil::summary::GilSummary;
use crate::profile::tree::Weight;
use crate::profile::{Mode, Profile, ThreadInfo};

use super::model::{States, Thread};
use super::seconds;

/// In which order amounts are scaled to another total: each gets what rounding leaves of those before it.
const SCALING_ORDER: [Activity; ACTIVITY_COUNT] = [
    Activity::Running,
    Activity::GilHeld,
    Activity::GilHeldBlocked,
    Activity::GilHeldNoCpu,
    Activity::GilWait,
    Activity::LockWait,
    Activity::Paused,
    Activity::Native,
    Activity::Blocked,
    Activity::NoCpu,
    Activity::Stopped,
    Activity::Unknown,
];

/// The ledgers of all threads, indexed by [`ThreadId`].
pub fn ledgers(profile: &Profile, gils: &[GilSummary]) -> Vec<Thread> {
    let mut seen = vec![ObservedActivities::default(); profile.threads.len()];
    for (key, weight) in profile.whole().iter() {
        seen[key.thread.0 as usize].add(key.state, weight);
    }
    let holders = GilHolders::new(gils);
    let threads = (0..).map(ThreadId).zip(&profile.threads).zip(&seen);
    threads.map(|((id, info), seen)| ledger(profile, &holders, id, info, seen)).collect()
}

/// Which threads have held the GIL, and where there is one.
struct GilHolders {
    enabled: FxHashSet<ProcessId>,
    held: FxHashSet<(ProcessId, ThreadId)>,
}

impl GilHolders {
    fn new(gils: &[GilSummary]) -> GilHolders {
        let enabled = gils.iter().filter(|gil| gil.info.enabled).map(|gil| gil.info.process).collect();
        let held = gils.iter().flat_map(|gil| {
            let held = gil.threads.iter().filter(|share| share.held.total_ns() > 0);
            held.map(|share| (gil.info.process, share.thread))
        });
        GilHolders { enabled, held: held.collect() }
    }
}

fn ledger(
    profile: &Profile,
    holders: &GilHolders,
    id: ThreadId,
    info: &ThreadInfo,
    seen: &ObservedActivities,
) -> Thread {
    let observed = info.lived_ns();
    let (parts, wall, cpu) = match profile.session.mode {
        Mode::Memory => (seen.samples.scaled_to(observed), observed, info.cpu_ns),
        Mode::Kernel => {
            let account = info.account.unwrap_or_else(|| seen.account(profile, info));
            let (parts, wall) = exact(&account, observed, seen, runs_as(profile, holders, id, &account));
            (parts, wall, account.on_cpu_ns)
        }
    };
    Thread {
        pid: profile.process_of(id).pid,
        tid: info.tid,
        name: info.shown_name(),
        count: info.count(),
        wall_s: seconds(wall),
        cpu_s: seconds(cpu),
        states: parts.states(),
    }
}

/// What the kernel accounted, its time on the CPU divided by what the samples saw, and the wall time it adds up to.
///
/// The last account can be a little older than the last sight of a thread: what it does not cover is unknown.
fn exact(account: &Account, observed: u64, seen: &ObservedActivities, unseen: Activity) -> (ActivityParts, u64) {
    let mut parts = seen.samples.on_cpu().or(unseen).scaled_to(account.on_cpu_ns);
    parts[Activity::GilHeldBlocked] = account.gil_held_off_cpu_ns;
    parts[Activity::GilHeldNoCpu] = account.gil_held_runnable_ns;
    parts[Activity::GilWait] = account.gil_wait_ns;
    // The account knows sleep in `futex`, and being ready after that; the records know which of it was for a lock.
    (parts[Activity::LockWait], parts[Activity::Paused]) =
        (seen.off_cpu_ns[Activity::LockWait], seen.off_cpu_ns[Activity::Paused]);
    let for_locks = parts[Activity::LockWait] + parts[Activity::Paused];
    let asleep = for_locks.min(account.futex_ns);
    parts[Activity::Blocked] = account.blocked_ns + account.futex_ns - asleep;
    parts[Activity::NoCpu] = account.runnable_ns.saturating_sub(for_locks - asleep);
    // The account does not tell being stopped from what it does not know.
    parts[Activity::Stopped] = seen.off_cpu_ns[Activity::Stopped].min(account.unknown_ns);
    parts[Activity::Unknown] = account.unknown_ns - parts[Activity::Stopped];
    let known = parts.total();
    parts[Activity::Unknown] += observed.saturating_sub(known);
    (parts, observed.max(known))
}

/// What a thread does on the CPU if no sample ever found it there.
fn runs_as(profile: &Profile, holders: &GilHolders, id: ThreadId, account: &Account) -> Activity {
    let process = profile.threads[id.0 as usize].process;
    if profile.process_of(id).free_threaded && !holders.enabled.contains(&process) {
        return Activity::Running;
    }
    let held_at = account.gil_held_off_cpu_ns + account.gil_held_runnable_ns > 0 || account.gil_waits > 0;
    let held = || holders.held.contains(&(process, id));
    if held_at || held() { Activity::GilHeld } else { Activity::Native }
}

/// An amount per activity: samples or nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ActivityParts([u64; ACTIVITY_COUNT]);

impl ActivityParts {
    fn total(self) -> u64 {
        self.0.iter().sum()
    }

    fn on_cpu(mut self) -> ActivityParts {
        ACTIVITIES.iter().filter(|row| !row.activity.on_cpu()).for_each(|row| self[row.activity] = 0);
        self
    }

    /// Itself, or, if there is nothing in it, all of it in one activity.
    fn or(mut self, activity: Activity) -> ActivityParts {
        if self.total() == 0 {
            self[activity] = 1;
        }
        self
    }

    /// The same proportions with another total. Without any, all is unknown.
    fn scaled_to(mut self, total: u64) -> ActivityParts {
        let (mut of, mut left) = (self.total(), total);
        if of == 0 {
            let mut parts = ActivityParts::default();
            parts[Activity::Unknown] = total;
            return parts;
        }
        for activity in SCALING_ORDER {
            let part = &mut self[activity];
            // Of what is left, so that rounding leaves nothing in the end.
            let scaled = if of == 0 { 0 } else { (u128::from(left) * u128::from(*part) / u128::from(of)) as u64 };
            of -= *part;
            left -= scaled;
            *part = scaled;
        }
        self
    }

    fn states(self) -> States {
        States::from_activities(|activity| seconds(self[activity]))
    }
}

impl Index<Activity> for ActivityParts {
    type Output = u64;

    fn index(&self, activity: Activity) -> &u64 {
        &self.0[activity as usize]
    }
}

impl IndexMut<Activity> for ActivityParts {
    fn index_mut(&mut self, activity: Activity) -> &mut u64 {
        &mut self.0[activity as usize]
    }
}

/// What was seen of one thread.
#[derive(Clone, Copy, Debug, Default)]
struct ObservedActivities {
    samples: ActivityParts,
    off_cpu_ns: ActivityParts,
}

impl ObservedActivities {
    fn add(&mut self, state: ThreadState, weight: Weight) {
        self.samples[state.activity()] += weight.samples;
        self.off_cpu_ns[state.activity()] += weight.off_cpu_ns;
    }

    /// Stands in for the account of a thread that was gone before the kernel's was read.
    fn account(&self, profile: &Profile, info: &ThreadInfo) -> Account {
        let off = self.off_cpu_ns;
        let left = info.lived_ns().saturating_sub(off.total());
        let sampled = (self.samples.on_cpu().total() as f64 * profile.session.period_ns()) as u64;
        Account {
            at: info.end,
            on_cpu_ns: if info.cpu_ns > 0 { info.cpu_ns } else { sampled }.min(left),
            runnable_ns: off[Activity::NoCpu],
            gil_held_off_cpu_ns: off[Activity::GilHeldBlocked],
            gil_held_runnable_ns: off[Activity::GilHeldNoCpu],
            gil_wait_ns: off[Activity::GilWait],
            gil_waits: u64::from(off[Activity::GilWait] > 0),
            futex_ns: off[Activity::LockWait] + off[Activity::Paused],
            blocked_ns: off[Activity::Blocked],
            unknown_ns: off[Activity::Unknown] + off[Activity::Stopped],
            ..Account::default()
        }
    }
}

#[cfg(test)]
mod tests;
