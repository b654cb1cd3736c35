//! What is known of garbage collections, in the words of the report. Called by [`super::Report::new`].

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::contention::Blame;
use crate::event::ThreadId;
use crate::gil::summary::GilSummary;
use crate::profile::Profile;
use crate::stack::StackId;
use crate::stack::collections::{FRAME, stacks_of_collections};

use super::gils::blamed;
use super::model::{Blamed, Collections};
use super::{MAX_ATTRIBUTED, ratio, seconds};

/// All of them, in all processes together.
pub(super) fn collections(profile: &Profile, gils: &[GilSummary]) -> Collections {
    let of_collection = stacks_of_collections(&profile.stacks);
    let is_one = |stack: StackId| of_collection[stack.index() as usize];
    let period = profile.session.period_ns();
    let mut by: FxHashMap<(ThreadId, StackId), u64> = FxHashMap::default();
    let mut held_ns = 0;
    for (key, weight) in profile.tree.iter().filter(|(key, _)| is_one(key.stack)) {
        let ns = weight.ns(period);
        *by.entry((key.thread, key.stack)).or_default() += ns;
        held_ns += if key.state.holds_gil() { ns } else { 0 };
    }
    let mut by: Vec<Blame> = by.into_iter().map(|((thread, stack), ns)| Blame { thread, stack, ns }).collect();
    by.sort_unstable_by_key(|blame| (Reverse(blame.ns), blame.thread, blame.stack));
    let holders = gils.iter().flat_map(|gil| &gil.contention.by_holder);
    let all_held: u64 = gils.iter().map(|gil| gil.held.total_ns()).sum();
    Collections {
        total_s: seconds(by.iter().map(|blame| blame.ns).sum()),
        held_s: seconds(held_ns),
        held_fraction: ratio(held_ns, all_held).min(1.0),
        waited_s: seconds(holders.filter(|blame| is_one(blame.stack)).map(|blame| blame.ns).sum()),
        by: by.iter().take(MAX_ATTRIBUTED).map(|blame| started(blamed(profile, blame))).collect(),
    }
}

/// Where it was started, if it calls no Python code: that it is a collection goes without saying.
fn started(mut by: Blamed) -> Blamed {
    if by.stack.first().is_some_and(|frame| frame == FRAME) {
        by.stack.remove(0);
        by.own = by.own.saturating_sub(1);
    }
    by
}
