//! What the screen shows: a part of the recording, as a snapshot and as the report of it. Made anew for each refresh, and
//! when another part or another blame is asked for; read by everything that draws.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{GilId, LockId};
use crate::gil::summary::GilSummary;
use crate::lockstats::summary::LockSummary;
use crate::report::model::{Gil, Lock};
use crate::report::text::units::duration;
use crate::report::{Attribution, Report};
use crate::snapshot::{Now, Snapshot};
use crate::stack::StackId;
use crate::stack::label::{frame_label, one_line, stack_labels};

/// Which part of the recording is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// The last so many seconds.
    Last(u64),
    /// Everything since the start, or since the last reset.
    #[default]
    All,
}

impl Range {
    /// The next one to choose.
    pub fn next(self) -> Range {
        match self {
            Range::Last(10) => Range::All,
            Range::All => Range::Last(1),
            Range::Last(1) => Range::Last(5),
            Range::Last(_) => Range::Last(10),
        }
    }

    /// What to call it, if that much has been recorded.
    pub fn name(self, seconds: f64, was_reset: bool) -> String {
        match self {
            Range::Last(wanted) if seconds >= wanted as f64 - 0.5 => format!("last {wanted} s"),
            Range::Last(_) => format!("last {}", duration(seconds)),
            Range::All => {
                format!("{} since {}", duration(seconds), if was_reset { "reset" } else { "start" })
            }
        }
    }
}

/// Old snapshots: where parts can begin. About one a second, up to the longest part.
#[derive(Debug, Default)]
pub struct Past {
    reset: Option<Arc<Snapshot>>,
    recent: VecDeque<Arc<Snapshot>>,
}

impl Past {
    /// Keeps a snapshot.
    pub fn push(&mut self, snapshot: &Arc<Snapshot>) {
        let second = 1_000_000_000;
        if self.recent.back().is_none_or(|last| snapshot.at.since(last.at) >= second * 9 / 10) {
            self.recent.push_back(snapshot.clone());
        }
        while self.recent.get(1).is_some_and(|next| snapshot.at.since(next.at) >= 10 * second) {
            self.recent.pop_front();
        }
    }

    /// From now on everything counts from this snapshot.
    pub fn reset(&mut self, snapshot: &Arc<Snapshot>) {
        self.reset = Some(snapshot.clone());
        self.recent.clear();
        self.recent.push_back(snapshot.clone());
    }

    /// Whether there has been a reset.
    pub fn was_reset(&self) -> bool {
        self.reset.is_some()
    }

    /// The snapshot that a part which ends with `now` begins with; none for the start of the recording.
    fn begin(&self, range: Range, now: &Snapshot) -> Option<&Arc<Snapshot>> {
        let Range::Last(seconds) = range else { return self.reset.as_ref() };
        let wanted = seconds * 1_000_000_000;
        let long_enough = |old: &&Arc<Snapshot>| now.at.since(old.at) + 100_000_000 >= wanted;
        self.recent.iter().rev().find(long_enough).or(self.reset.as_ref())
    }
}

/// What the screen shows.
#[derive(Debug)]
pub struct Shown {
    /// The part of the recording that the tables are of.
    pub part: Snapshot,
    /// What it amounts to.
    pub report: Report,
    /// What to call the part.
    pub range: String,
    /// All since the start or the reset, if the part is less than that.
    pub all: Option<Box<Shown>>,
}

impl Shown {
    /// What is to be shown of a snapshot.
    pub fn new(now: &Arc<Snapshot>, past: &Past, range: Range, blame: Attribution) -> Shown {
        let mut shown = Shown::part(now, past, range, blame);
        if range != Range::All {
            shown.all = Some(Box::new(Shown::part(now, past, Range::All, blame)));
        }
        shown
    }

    fn part(now: &Arc<Snapshot>, past: &Past, range: Range, blame: Attribution) -> Shown {
        let nothing = Snapshot::default();
        let part = now.since(past.begin(range, now).map_or(&nothing, |begin| begin));
        let report = part.report(blame);
        let range = range.name(part.seconds(), past.was_reset());
        Shown { part, report, range, all: None }
    }

    /// What a thread is doing.
    pub fn now(&self, thread: usize) -> Option<Now> {
        self.part.now.get(thread).copied().flatten()
    }

    /// A thread's name; its tid if it has none.
    pub fn name(&self, thread: usize) -> String {
        let info = &self.part.profile.threads[thread];
        info.name.as_deref().map_or_else(|| format!("thread {}", info.tid), one_line)
    }

    /// The innermost frame of a stack that is the program's own, in words; empty if there is none at all.
    pub fn place(&self, stack: StackId) -> String {
        let stacks = &self.part.profile.stacks;
        stacks.frames(stack).next().map_or_else(String::new, |frame| frame_label(stacks, frame, false))
    }

    /// The frames of a stack in words, innermost first.
    pub fn stack(&self, stack: StackId) -> Vec<String> {
        stack_labels(&self.part.profile.stacks, stack)
    }

    /// GILs that there is something to say of.
    pub fn gils(&self) -> impl Iterator<Item = (GilId, &GilSummary, &Gil)> {
        let all = (0..).map(GilId).zip(&self.part.gils).zip(&self.report.gils);
        all.map(|((id, summary), gil)| (id, summary, gil))
            .filter(|(_, _, gil)| gil.enabled || gil.wait.count > 0 || gil.held.total_s() > 0.0)
    }

    /// Locks that were waited for.
    pub fn locks(&self) -> impl Iterator<Item = (&LockSummary, &Lock)> {
        self.part.locks.iter().filter(|lock| lock.info.kind.is_lock()).zip(&self.report.locks)
    }

    /// A lock by its id.
    pub fn lock(&self, id: LockId) -> Option<(&LockSummary, &Lock)> {
        self.locks().find(|(summary, _)| summary.id == id)
    }
}
