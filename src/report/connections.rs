//! Who waited for connections of pools, and what those did that had them. Called by [`super::Report::new`].

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::{Syscall, ThreadId, ThreadState};
use crate::profile::Profile;
use crate::profile::tree::Key;
use crate::stack::idle_wait::Work;
use crate::stack::own::own_frame;
use crate::stack::{FrameId, Sym};

use super::model::{ConnectionUser, Connections};
use super::pools::{WorkPart, work_lines};
use super::{seconds, thread_name};

/// A function: its name, its file and its first line.
type FunctionPlace = (Sym, Sym, u32);

fn function(profile: &Profile, frame: FrameId) -> FunctionPlace {
    let frame = profile.stacks.get_frame(frame);
    (frame.function, frame.file, frame.first_line)
}

fn waits_for_connection(profile: &Profile, key: &Key) -> bool {
    key.state == ThreadState::Blocked(Syscall::FUTEX) && profile.work(key.stack) == Some(Work::Connection)
}

/// None if nobody waited for one. A thread that never waits has a connection, too, if it is in a function of the program in which
/// others wait for one.
pub(super) fn connections(profile: &Profile) -> Option<Connections> {
    let period = profile.session.period_ns();
    let weights = profile.tree.sorted();
    let (mut waited, mut waits): (FxHashMap<ThreadId, u64>, Vec<WorkPart>) = Default::default();
    let mut functions: FxHashSet<FunctionPlace> = FxHashSet::default();
    for (key, weight) in weights.iter().filter(|(key, _)| waits_for_connection(profile, key)) {
        let ns = weight.ns(period);
        *waited.entry(key.thread).or_default() += ns;
        waits.push(WorkPart { thread: key.thread, stack: key.stack, state: key.state, ns });
        functions.extend(own_frame(&profile.stacks, key.stack).map(|frame| function(profile, frame)));
    }
    if waited.is_empty() {
        return None;
    }
    let is_inside = profile.stacks.stacks_with(|frame| functions.contains(&function(profile, frame)));
    let is_user = |key: &Key| is_inside.get(key.stack.index() as usize).copied().unwrap_or(false);
    let mut work = Vec::new();
    for (key, weight) in weights.iter().filter(|(key, _)| is_user(key)) {
        waited.entry(key.thread).or_default();
        if profile.work(key.stack) != Some(Work::Connection) {
            work.push(WorkPart { thread: key.thread, stack: key.stack, state: key.state, ns: weight.ns(period) });
        }
    }
    let mut users: Vec<ConnectionUser> = waited.into_iter().map(|(thread, ns)| user(profile, thread, ns)).collect();
    users.sort_by(|a, b| b.waited_s.total_cmp(&a.waited_s).then(a.tid.cmp(&b.tid)));
    let [waits, work] = [waits, work].map(|parts| work_lines(profile, parts.into_iter()));
    Some(Connections { users, waits, work })
}

fn user(profile: &Profile, thread: ThreadId, waited_ns: u64) -> ConnectionUser {
    let info = &profile.threads[thread.0 as usize];
    ConnectionUser {
        tid: info.tid,
        thread: thread_name(profile, thread),
        wall_s: seconds(info.lived_ns()),
        waited_s: seconds(waited_ns),
    }
}
