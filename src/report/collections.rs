//! What is known of garbage collections, in the words of the report. Called by [`super::Report::new`].

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::contention::Blame;
use crate::event::ThreadId;
use crate::gil::summary::GilSummary;
use crate::profile::Profile;
use crate::stack::StackId;
use crate::stack::collections::{CollectionStacks, FRAME};

use super::gils::blamed;
use super::model::{Blamed, Collections};
use super::{MAX_ATTRIBUTED, ratio, seconds};

/// All of them, in all processes together.
pub(super) fn collections(profile: &Profile, gils: &[GilSummary]) -> Collections {
    let mut of_collection = CollectionStacks::default();
    let mut is_one = |stack: StackId| of_collection.has(&profile.stacks, stack);
    let period = profile.session.period_ns();
    let mut by: FxHashMap<(ThreadId, StackId), u64> = FxHashMap::default();
    let mut held_ns = 0;
    for (key, weight) in profile.tree.iter() {
        if !is_one(key.stack) {
            continue;
        }
        let ns = weight.ns(period);
        *by.entry((key.thread, key.stack)).or_default() += ns;
        held_ns += if key.state.holds_gil() { ns } else { 0 };
    }
    let mut by: Vec<Blame> = by.into_iter().map(|((thread, stack), ns)| Blame { thread, stack, ns }).collect();
    by.sort_unstable_by_key(|blame| (Reverse(blame.ns), blame.thread, blame.stack));
    let holders = gils.iter().flat_map(|gil| &gil.contention.by_holder);
    let all_held: u64 = gils.iter().map(|gil| gil.held.total_ns()).sum();
    let totals = profile.collections.totals;
    Collections {
        number: totals.map(|totals| totals.number),
        full: totals.map(|totals| totals.full),
        freed: totals.map(|totals| totals.freed),
        longest_s: seconds(profile.collections.longest_ns()),
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
