//! Who waited for whom, for each GIL and lock: the waits of each thread, over those who held it meanwhile. Called by
//! [`super::data`].

use rustc_hash::FxHashMap;

use crate::event::ThreadId;
use crate::export::contended::{ContendedTrack, held, waited_for};
use crate::export::slices::{lengths, shown, timeline};
use crate::profile::Profile;

/// A thread, who held what it waited for, and for how long, in nanoseconds.
pub(super) type Pair = (u32, u32, u64);

/// Of each of `contended`: the pairs, the most costly first. Empty if the recording kept no timeline.
pub(super) fn whom(profile: &Profile, contended: &[ContendedTrack<'_>]) -> Vec<Vec<Pair>> {
    let mut sums: Vec<FxHashMap<(u32, u32), u64>> = vec![FxHashMap::default(); contended.len()];
    for (waiter, spans) in (0..).zip(timeline(profile).unwrap_or_default()) {
        let process = profile.threads[waiter as usize].process;
        for span in lengths(&shown(profile, ThreadId(waiter), spans)) {
            let Some(waited) = waited_for(contended, process, span.state) else { continue };
            let Some(index) = contended.iter().position(|one| std::ptr::eq(one.timeline, waited)) else { continue };
            // In memory mode, waiters and holders are seen at the same ticks: a thread may seem to be both.
            for (ThreadId(holder), ns) in held(waited, span.start, span.end).filter(|held| held.0.0 != waiter) {
                *sums[index].entry((waiter, holder)).or_default() += ns;
            }
        }
    }
    sums.into_iter().map(sorted).collect()
}

fn sorted(sums: FxHashMap<(u32, u32), u64>) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = sums.into_iter().map(|((waiter, holder), ns)| (waiter, holder, ns)).collect();
    pairs.sort_unstable_by_key(|&(waiter, holder, ns)| (std::cmp::Reverse(ns), waiter, holder));
    pairs
}
