//! Waiting by its causes: who suffers, and because of what code. Threads that do the same are together, whichever of them it
//! was: in a pool of equal workers no thread is to blame, but a line is. Called by what fills the report of GILs and locks.

use std::cmp::Reverse;
use std::hash::Hash;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::contention::{Blame, Contention, WaitStats};
use crate::event::ThreadId;
use crate::profile::Profile;
use crate::stack::label::{frame_label, one_line};
use crate::stack::own::{EventLoop, called, event_loop, own_frame};
use crate::stack::{FrameId, StackId, Sym};

use super::groups::{GroupKey, ThreadGroups};
use super::model::Thread;
use super::{nanos, seconds};

/// How many victims and causes are listed.
const MAX_LISTED: usize = 20;

/// A thread with less than this part of what the first of its group has, as a divisor, is not spoken of.
const MINOR_MEMBER: u64 = 100;

/// Threads of a group that waited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WaitVictim {
    /// Who they are, in words: `MainThread`, `8 threads (ThreadPoolExecutor-0_*)`.
    pub threads: String,
    pub count: usize,
    pub seconds: f64,
    /// The part of their time for which they waited.
    pub fraction: f64,
    pub waits: u64,
    /// The length of their longest wait.
    pub max_s: f64,
    pub cpu_s: f64,
    /// Where they waited most: the program's own line.
    pub place: Option<String>,
    /// One of them runs an event loop.
    #[serde(default)]
    pub is_event_loop: bool,
}

/// Code that ran while others waited for what it held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WaitCause {
    /// The program's own function and its costliest line, `func (file.py:LINE)`.
    pub place: String,
    /// The part of the function's time that this line has.
    pub line_fraction: f64,
    /// The innermost frame, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub innermost: Option<String>,
    /// Who ran it, in words.
    pub threads: String,
    pub count: usize,
    /// How long others waited meanwhile.
    pub seconds: f64,
    /// The part of all waiting for the same thing.
    pub fraction: f64,
    /// Those who ran it are those who suffer most: they contend among themselves.
    #[serde(default)]
    pub among_victims: bool,
}

struct Sums<K>(FxHashMap<K, u64>);

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Sums(FxHashMap::default())
    }
}

impl<K: Eq + Hash + Ord + Clone> Sums<K> {
    fn add(&mut self, key: K, ns: u64) {
        *self.0.entry(key).or_default() += ns;
    }

    /// Of equal ones the smaller key first.
    fn sorted(&self) -> Vec<(K, u64)> {
        let mut all: Vec<(K, u64)> = self.0.iter().map(|(key, ns)| (key.clone(), *ns)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    fn largest(&self) -> Option<(K, u64)> {
        self.sorted().into_iter().next()
    }
}

/// To six decimals: more would only pretend to be known.
fn rounded(fraction: f64) -> f64 {
    (fraction.min(1.0) * 1e6).round() / 1e6
}

/// The program's own function of a stack; of one without frames nothing.
type FunctionKey = Option<(Sym, Sym)>;

fn own_function(profile: &Profile, stack: StackId) -> (FunctionKey, Option<FrameId>) {
    let own = own_frame(&profile.stacks, stack);
    let key = own.map(|frame| {
        let frame = profile.stacks.get_frame(frame);
        (frame.function, frame.file)
    });
    (key, own)
}

/// Who suffers and because of what, at one GIL or lock. `threads` are the ledgers of all threads.
pub(super) fn victims_and_causes(
    profile: &Profile,
    groups: &ThreadGroups<'_>,
    threads: &[Thread],
    waits: impl Iterator<Item = (ThreadId, WaitStats)>,
    contention: &Contention,
) -> (Vec<WaitVictim>, Vec<WaitCause>) {
    let (victims, first) = victims(profile, groups, threads, waits, &contention.by_waiter);
    let causes = causes(profile, groups, &contention.by_pair, contention.waits.total_ns, first.as_ref());
    (victims, causes)
}

/// Groups with less than this part of all waiting go to the end, whatever part of their own time it is.
const MIN_SHARE: f64 = 0.1;

/// Who waited, the group that lost the greatest part of its time first, and which group that is.
fn victims(
    profile: &Profile,
    groups: &ThreadGroups<'_>,
    threads: &[Thread],
    waits: impl Iterator<Item = (ThreadId, WaitStats)>,
    by_waiter: &[Blame],
) -> (Vec<WaitVictim>, Option<GroupKey>) {
    let mut by_group: FxHashMap<GroupKey, Vec<(ThreadId, WaitStats)>> = FxHashMap::default();
    for (thread, stats) in waits.filter(|(_, stats)| stats.total_ns > 0) {
        by_group.entry(groups.key(thread)).or_default().push((thread, stats));
    }
    let mut places: FxHashMap<GroupKey, Sums<FunctionKey>> = FxHashMap::default();
    let mut lines: FxHashMap<FunctionKey, Sums<Option<FrameId>>> = FxHashMap::default();
    let mut loops: Vec<GroupKey> = Vec::new();
    let mut is_loop: FxHashMap<StackId, bool> = FxHashMap::default();
    for blame in by_waiter {
        let (function, own) = own_function(profile, blame.stack);
        let key = groups.key(blame.thread);
        if *is_loop.entry(blame.stack).or_insert_with(|| event_loop(&profile.stacks, blame.stack) != EventLoop::None)
            && !loops.contains(&key)
        {
            loops.push(key.clone());
        }
        places.entry(key).or_default().add(function, blame.ns);
        lines.entry(function).or_default().add(own, blame.ns);
    }
    let victim = |(key, mut members): (GroupKey, Vec<(ThreadId, WaitStats)>)| {
        members.sort_by_key(|(thread, stats)| (Reverse(stats.total_ns), *thread));
        let worth = members[0].1.total_ns / MINOR_MEMBER;
        members.retain(|(_, stats)| stats.total_ns >= worth);
        let ids: Vec<ThreadId> = members.iter().map(|(thread, _)| *thread).collect();
        let ledgers = || ids.iter().filter_map(|id| threads.get(id.0 as usize));
        let wall: f64 = ledgers().map(|ledger| ledger.wall_s).sum();
        let total = seconds(members.iter().map(|(_, stats)| stats.total_ns).sum());
        let function = places.get(&key).and_then(Sums::largest).map(|(function, _)| function);
        let line = function.and_then(|function| lines.get(&function)?.largest()?.0);
        let words = groups.words(&ids);
        let is_event_loop = loops.contains(&key);
        let victim = WaitVictim {
            threads: words.words,
            count: words.count,
            seconds: total,
            fraction: if wall > 0.0 { rounded(total / wall) } else { 0.0 },
            waits: members.iter().map(|(_, stats)| stats.count).sum(),
            max_s: seconds(members.iter().map(|(_, stats)| stats.max_ns).max().unwrap_or(0)),
            cpu_s: nanos(ledgers().map(|ledger| ledger.cpu_s).sum()),
            place: line.map(|frame| one_line(&frame_label(&profile.stacks, frame, false))),
            is_event_loop,
        };
        (victim, key)
    };
    let mut victims: Vec<(WaitVictim, GroupKey)> = by_group.into_iter().map(victim).collect();
    let all: f64 = victims.iter().map(|(victim, _)| victim.seconds).sum();
    let is_minor = |victim: &WaitVictim| victim.seconds < MIN_SHARE * all;
    victims.sort_by(|(a, _), (b, _)| {
        let by_loss = b.fraction.total_cmp(&a.fraction).then_with(|| a.threads.cmp(&b.threads));
        is_minor(a).cmp(&is_minor(b)).then(by_loss)
    });
    victims.truncate(MAX_LISTED);
    let first = victims.first().map(|(_, key)| key.clone());
    (victims.into_iter().map(|(victim, _)| victim).collect(), first)
}

/// One function of the program that ran while others waited.
#[derive(Default)]
struct CauseSums {
    ns: u64,
    lines: Sums<Option<FrameId>>,
    innermost: Sums<FrameId>,
    threads: Sums<ThreadId>,
}

/// What ran while others waited for something, the costliest function first. `whole_ns` is all that was waited for it,
/// `sufferers` the group that is named first.
fn causes(
    profile: &Profile,
    groups: &ThreadGroups<'_>,
    by_pair: &[(ThreadId, Blame)],
    whole_ns: u64,
    sufferers: Option<&GroupKey>,
) -> Vec<WaitCause> {
    let mut functions: FxHashMap<FunctionKey, CauseSums> = FxHashMap::default();
    let mut known: FxHashMap<StackId, (FunctionKey, Option<FrameId>)> = FxHashMap::default();
    for (_, blame) in by_pair {
        let (function, own) = *known.entry(blame.stack).or_insert_with(|| own_function(profile, blame.stack));
        let sums = functions.entry(function).or_default();
        sums.ns += blame.ns;
        sums.lines.add(own, blame.ns);
        sums.threads.add(blame.thread, blame.ns);
        if let Some(innermost) = called(&profile.stacks, blame.stack) {
            sums.innermost.add(innermost, blame.ns);
        }
    }
    let label = |frame: FrameId| one_line(&frame_label(&profile.stacks, frame, false));
    let cause = |sums: CauseSums| {
        let (line, line_ns) = sums.lines.largest().unwrap_or((None, 0));
        let threads = sums.threads.sorted();
        let worth = threads.first().map_or(0, |(_, ns)| ns / MINOR_MEMBER);
        let threads = threads.into_iter().filter(|(_, ns)| *ns >= worth);
        let threads: Vec<ThreadId> = threads.map(|(thread, _)| thread).collect();
        let words = groups.words(&threads);
        let whole = whole_ns.max(1) as f64;
        WaitCause {
            place: line.map_or_else(|| "code without a Python frame".to_owned(), label),
            line_fraction: rounded(line_ns as f64 / sums.ns.max(1) as f64),
            innermost: sums.innermost.largest().filter(|(_, ns)| 2 * ns > sums.ns).map(|(frame, _)| label(frame)),
            threads: words.words,
            count: words.count,
            seconds: seconds(sums.ns),
            fraction: rounded(sums.ns as f64 / whole),
            among_victims: words.count > 1 && threads.iter().all(|thread| Some(&groups.key(*thread)) == sufferers),
        }
    };
    let mut causes: Vec<WaitCause> = functions.into_values().map(cause).collect();
    causes.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.place.cmp(&b.place)));
    causes.truncate(MAX_LISTED);
    causes
}
