//! Where each thread's time went: exclusive states that add up to the time it was observed. Called by
//! [`super::Report::new`].

use crate::event::{Account, ThreadId, ThreadState};
use crate::gil::summary::GilSummary;
use crate::profile::tree::Weight;
use crate::profile::{Mode, Profile, ThreadInfo};

use super::model::{States, Thread};
use super::seconds;

/// The ledgers of all threads, indexed by [`ThreadId`].
pub fn ledgers(profile: &Profile, gils: &[GilSummary]) -> Vec<Thread> {
    let mut seen = vec![Seen::default(); profile.threads.len()];
    for (key, weight) in profile.whole().iter() {
        seen[key.thread.0 as usize].add(key.state, weight);
    }
    let threads = (0..).map(ThreadId).zip(&profile.threads).zip(&seen);
    threads.map(|((id, info), seen)| ledger(profile, gils, id, info, seen)).collect()
}

fn ledger(profile: &Profile, gils: &[GilSummary], id: ThreadId, info: &ThreadInfo, seen: &Seen) -> Thread {
    let observed = info.end.since(info.start);
    let (parts, wall, cpu) = match profile.session.mode {
        Mode::Memory => (seen.samples.scaled_to(observed), observed, info.cpu_ns),
        Mode::Kernel => {
            let account = info.account.unwrap_or_else(|| seen.account(profile, info));
            let (parts, wall) = exact(&account, observed, seen, runs_as(profile, gils, id, &account));
            (parts, wall, account.on_cpu_ns)
        }
    };
    Thread {
        pid: profile.process_of(id).pid,
        tid: info.tid,
        name: info.name.as_deref().map(str::to_owned),
        wall_s: seconds(wall),
        cpu_s: seconds(cpu),
        states: parts.states(),
    }
}

/// What the kernel accounted, its time on the CPU divided by what the samples saw, and the wall time it adds up to.
///
/// The last account can be a little older than the last sight of a thread: what it does not cover is unknown.
fn exact(account: &Account, observed: u64, seen: &Seen, unseen: Runs) -> (Parts, u64) {
    let mut parts = seen.samples.on_cpu().or(unseen).scaled_to(account.on_cpu_ns);
    parts.gil_held_off_cpu = account.gil_held_off_cpu_ns + account.gil_held_runnable_ns;
    parts.gil_wait = account.gil_wait_ns;
    // The account knows sleep in `futex`, and being ready after that; the records know which of it was for a lock.
    (parts.lock_wait, parts.paused) = (seen.off_cpu_ns.lock_wait, seen.off_cpu_ns.paused);
    let for_locks = parts.lock_wait + parts.paused;
    let asleep = for_locks.min(account.futex_ns);
    parts.blocked = account.blocked_ns + account.futex_ns - asleep;
    parts.runnable = account.runnable_ns.saturating_sub(for_locks - asleep);
    parts.unknown = account.unknown_ns;
    let known = parts.total();
    parts.unknown += observed.saturating_sub(known);
    (parts, observed.max(known))
}

/// What a thread does on the CPU if no sample ever found it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Running,
    GilHeld,
    Native,
}

fn runs_as(profile: &Profile, gils: &[GilSummary], id: ThreadId, account: &Account) -> Runs {
    let process = profile.threads[id.0 as usize].process;
    let mut of_process = gils.iter().filter(|gil| gil.info.process == process);
    if profile.process_of(id).free_threaded && !of_process.clone().any(|gil| gil.info.enabled) {
        return Runs::Running;
    }
    let held_at = account.gil_held_off_cpu_ns + account.gil_held_runnable_ns > 0 || account.gil_waits > 0;
    let mut held =
        || of_process.any(|gil| gil.threads.iter().any(|share| share.thread == id && share.held.total_ns() > 0));
    if held_at || held() { Runs::GilHeld } else { Runs::Native }
}

/// Something per state: samples or nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    running: u64,
    gil_held: u64,
    gil_held_off_cpu: u64,
    gil_wait: u64,
    lock_wait: u64,
    paused: u64,
    native: u64,
    blocked: u64,
    runnable: u64,
    unknown: u64,
}

impl Parts {
    fn add(&mut self, state: ThreadState, amount: u64) {
        *match state {
            ThreadState::Running => &mut self.running,
            ThreadState::GilHeld | ThreadState::GilHeldNative => &mut self.gil_held,
            ThreadState::GilHeldRunnable | ThreadState::GilHeldOffCpu(_) => &mut self.gil_held_off_cpu,
            ThreadState::GilWait => &mut self.gil_wait,
            ThreadState::LockWait(_) => &mut self.lock_wait,
            ThreadState::Paused(_) => &mut self.paused,
            ThreadState::Native => &mut self.native,
            ThreadState::Blocked(_) => &mut self.blocked,
            ThreadState::Runnable => &mut self.runnable,
            ThreadState::Stopped | ThreadState::Unknown => &mut self.unknown,
        } += amount;
    }

    fn all(&mut self) -> [&mut u64; 10] {
        let Parts {
            running,
            gil_held,
            gil_held_off_cpu,
            gil_wait,
            lock_wait,
            paused,
            native,
            blocked,
            runnable,
            unknown,
        } = self;
        // The last takes what rounding leaves.
        [running, gil_held, gil_held_off_cpu, gil_wait, lock_wait, paused, native, blocked, runnable, unknown]
    }

    fn total(mut self) -> u64 {
        self.all().into_iter().map(|part| *part).sum()
    }

    fn on_cpu(self) -> Parts {
        Parts { running: self.running, gil_held: self.gil_held, native: self.native, ..Parts::default() }
    }

    /// Itself, or, if there is nothing in it, all of it in one state.
    fn or(mut self, runs: Runs) -> Parts {
        if self.total() == 0 {
            *match runs {
                Runs::Running => &mut self.running,
                Runs::GilHeld => &mut self.gil_held,
                Runs::Native => &mut self.native,
            } = 1;
        }
        self
    }

    /// The same proportions with another total. Without any, all is unknown.
    fn scaled_to(mut self, total: u64) -> Parts {
        let (mut of, mut left) = (self.total(), total);
        if of == 0 {
            return Parts { unknown: total, ..Parts::default() };
        }
        for part in self.all() {
            // Of what is left, so that rounding leaves nothing in the end.
            let scaled = if of == 0 { 0 } else { (u128::from(left) * u128::from(*part) / u128::from(of)) as u64 };
            of -= *part;
            left -= scaled;
            *part = scaled;
        }
        self
    }

    fn states(self) -> States {
        States {
            running_s: seconds(self.running),
            gil_held_s: seconds(self.gil_held),
            gil_held_off_cpu_s: seconds(self.gil_held_off_cpu),
            gil_wait_s: seconds(self.gil_wait),
            lock_wait_s: seconds(self.lock_wait),
            native_s: seconds(self.native),
            paused_s: seconds(self.paused),
            blocked_s: seconds(self.blocked),
            runnable_s: seconds(self.runnable),
            unknown_s: seconds(self.unknown),
        }
    }
}

/// What was seen of one thread.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    samples: Parts,
    off_cpu_ns: Parts,
}

impl Seen {
    fn add(&mut self, state: ThreadState, weight: Weight) {
        self.samples.add(state, weight.samples);
        self.off_cpu_ns.add(state, weight.off_cpu_ns);
    }

    /// Stands in for the account of a thread that was gone before the kernel's was read.
    fn account(&self, profile: &Profile, info: &ThreadInfo) -> Account {
        let off = self.off_cpu_ns;
        let left = info.end.since(info.start).saturating_sub(off.total());
        let sampled = (self.samples.on_cpu().total() as f64 * profile.session.period_ns()) as u64;
        Account {
            at: info.end,
            on_cpu_ns: if info.cpu_ns > 0 { info.cpu_ns } else { sampled }.min(left),
            runnable_ns: off.runnable,
            gil_held_off_cpu_ns: off.gil_held_off_cpu,
            gil_wait_ns: off.gil_wait,
            gil_waits: u64::from(off.gil_wait > 0),
            futex_ns: off.lock_wait + off.paused,
            blocked_ns: off.blocked,
            unknown_ns: off.unknown,
            ..Account::default()
        }
    }
}

#[cfg(test)]
mod tests;
