//! Where threads are blocked: in which system call, and at which line of the program. Called by [`super::Report::new`].

use std::cmp::Reverse;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use crate::event::{Syscall, ThreadId, ThreadState};
use crate::profile::Profile;
use crate::stack::label::{frame_label, one_line};
use crate::stack::own::{EventLoop, called, event_loop, own_frame};
use crate::stack::{FrameId, StackId};

use super::groups::{GroupKey, ThreadGroups};
use super::seconds;

/// How many places are listed.
const MAX_PLACES: usize = 50;

/// A line of the program that blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockedPlace {
    /// The call, or what native code waits for: `threads of libpolars.so`.
    pub syscall: String,
    /// Who was blocked there, in words.
    pub threads: String,
    pub count: usize,
    pub seconds: f64,
    /// The program's own line.
    pub place: String,
    /// The innermost frame, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub innermost: Option<String>,
    /// An event loop called it, and stands still meanwhile.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_event_loop: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// All of them. Threads of a group that are blocked at the same line are one.
pub(super) fn blocked(profile: &Profile, groups: &ThreadGroups<'_>) -> Vec<BlockedPlace> {
    let period = profile.session.period_ns();
    type BlockedKey = (String, GroupKey, Option<FrameId>, Option<FrameId>, bool);
    let mut places: FxHashMap<BlockedKey, (u64, FxHashSet<ThreadId>)> = FxHashMap::default();
    for (key, weight) in profile.tree.iter() {
        let call = match key.state {
            ThreadState::Blocked(Syscall::FUTEX) if profile.work(key.stack).is_some() => continue,
            // Threads of libraries that wait for work of their own say nothing about the program.
            ThreadState::Blocked(Syscall::FUTEX) if key.stack == StackId::EMPTY => continue,
            ThreadState::Blocked(call) => call.to_string(),
            ThreadState::Awaits(awaited) => one_line(&profile.locks.info(awaited).label()),
            _ => continue,
        };
        let own = own_frame(&profile.stacks, key.stack);
        let in_event_loop = event_loop(&profile.stacks, key.stack) == EventLoop::InCallback;
        let innermost = called(&profile.stacks, key.stack);
        let (ns, threads) = places.entry((call, groups.key(key.thread), own, innermost, in_event_loop)).or_default();
        *ns += weight.ns(period);
        threads.insert(key.thread);
    }
    let mut places: Vec<_> = places.into_iter().filter(|(_, (ns, _))| *ns > 0).collect();
    places.sort_by(|a, b| (Reverse(a.1.0), &a.0).cmp(&(Reverse(b.1.0), &b.0)));
    places.truncate(MAX_PLACES);
    let label = |frame: FrameId| one_line(&frame_label(&profile.stacks, frame, false));
    let place =
        |((call, _, own, innermost, in_event_loop), (ns, threads)): (BlockedKey, (u64, FxHashSet<ThreadId>))| {
            let mut threads: Vec<ThreadId> = threads.into_iter().collect();
            threads.sort_unstable();
            let words = groups.words(&threads);
            BlockedPlace {
                syscall: call,
                threads: words.words,
                count: words.count,
                seconds: seconds(ns),
                place: own.map_or_else(|| "(no Python frame)".to_owned(), label),
                innermost: innermost.map(label),
                in_event_loop,
            }
        };
    places.into_iter().map(place).collect()
}
