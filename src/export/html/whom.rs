//! Who waited for whom, for each GIL and lock: the waits of each thread, over those who held it meanwhile. Called by
//! [`super::data`].

use rustc_hash::FxHashMap;

use crate::event::ThreadId;
use crate::export::contended::{Contended, waited_for};
use crate::export::slices::{lengths, shown, timeline};
use crate::profile::Profile;

/// A thread, who held what it waited for, and for how long, in nanoseconds.
pub(super) type Pair = (u32, u32, u64);

/// Of each of `contended`: the pairs, the most costly first. Empty if the recording kept no timeline.
pub(super) fn whom(profile: &Profile, contended: &[Contended<'_>]) -> Vec<Vec<Pair>> {
    let mut sums: Vec<FxHashMap<(u32, u32), u64>> = vec![FxHashMap::default(); contended.len()];
    for (waiter, spans) in (0..).zip(timeline(profile).unwrap_or_default()) {
        let process = profile.threads[waiter as usize].process;
        for span in lengths(&shown(profile, ThreadId(waiter), spans)) {
            let Some(waited) = waited_for(contended, process, span.state) else { continue };
            let Some(index) = contended.iter().position(|one| std::ptr::eq(one.timeline, waited)) else { continue };
            let first = waited.holds.partition_point(|hold| hold.end <= span.start);
            for hold in waited.holds[first..].iter().take_while(|hold| hold.start < span.end) {
                // In memory mode, waiters and holders are seen at the same ticks: a thread may seem to be both.
                if hold.thread.0 != waiter {
                    let ns = hold.end.min(span.end).since(hold.start.max(span.start));
                    *sums[index].entry((waiter, hold.thread.0)).or_default() += ns;
                }
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
