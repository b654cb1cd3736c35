//! The part of the recording that the screen shows, as a snapshot and as the report of it. Made for each refresh, and when
//! another part or another attribution is chosen.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{GilId, LockId};
use crate::gil::summary::GilSummary;
use crate::lockstats::summary::LockSummary;
use crate::report::model::{Gil, Lock};
use crate::report::text::headlines;
use crate::report::text::units::duration;
use crate::report::{Attribution, Report, verdict};
use crate::snapshot::{Now, Snapshot};
use crate::stack::StackId;
use crate::stack::label::{frame_label, one_line, stack_labels};

/// Which part of the recording is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Range {
    /// The last seconds, this many.
    Last(u64),
    /// Everything since the start, or since the last reset.
    #[default]
    All,
}

impl Range {
    pub(crate) fn next(self) -> Range {
        match self {
            Range::Last(10) => Range::All,
            Range::All => Range::Last(1),
            Range::Last(1) => Range::Last(5),
            Range::Last(_) => Range::Last(10),
        }
    }

    /// What to call it, if `seconds` have been recorded.
    pub(crate) fn name(self, seconds: f64, was_reset: bool) -> String {
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
pub(crate) struct PastSnapshots {
    reset: Option<Arc<Snapshot>>,
    recent: VecDeque<Arc<Snapshot>>,
}

impl PastSnapshots {
    pub(crate) fn push(&mut self, snapshot: &Arc<Snapshot>) {
        let second = 1_000_000_000;
        if self.recent.back().is_none_or(|last| snapshot.at.since(last.at) >= second * 9 / 10) {
            self.recent.push_back(snapshot.clone());
        }
        while self.recent.get(1).is_some_and(|next| snapshot.at.since(next.at) >= 10 * second) {
            self.recent.pop_front();
        }
    }

    /// From now on everything counts from this snapshot.
    pub(crate) fn reset(&mut self, snapshot: &Arc<Snapshot>) {
        self.reset = Some(snapshot.clone());
        self.recent.clear();
        self.recent.push_back(snapshot.clone());
    }

    pub(crate) fn was_reset(&self) -> bool {
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

#[derive(Debug)]
pub(crate) struct ShownPart {
    /// The part of the recording that the tables are of.
    pub part: Snapshot,
    /// The report of `part`.
    pub report: Report,
    /// The name of the time range: `last 10 s`.
    pub range: String,
    /// All since the start or the reset, if the part is less than that.
    pub all: Option<Box<ShownPart>>,
}

impl ShownPart {
    pub(crate) fn new(now: &Arc<Snapshot>, past: &PastSnapshots, range: Range, blame: Attribution) -> ShownPart {
        let mut shown = ShownPart::part(now, past, range, blame);
        if range != Range::All {
            shown.all = Some(Box::new(ShownPart::part(now, past, Range::All, blame)));
        }
        shown
    }

    fn part(now: &Arc<Snapshot>, past: &PastSnapshots, range: Range, blame: Attribution) -> ShownPart {
        let nothing = Snapshot::default();
        let part = now.since(past.begin(range, now).map_or(&nothing, |begin| begin));
        let report = part.report(blame);
        let range = range.name(part.seconds(), past.was_reset());
        ShownPart { part, report, range, all: None }
    }

    /// What costs most, and the numbers that matter most.
    pub(crate) fn verdict(&self) -> String {
        if self.report.threads.is_empty() {
            return "No data on its threads yet".to_owned();
        }
        let verdict = verdict(&self.report).trim_end_matches('.').to_owned();
        std::iter::once(verdict).chain(headlines(&self.report)).collect::<Vec<_>>().join(". ")
    }

    /// What a thread is doing.
    pub(crate) fn now(&self, thread: usize) -> Option<Now> {
        self.part.now.get(thread).copied().flatten()
    }

    /// A thread's name; its tid if it has none.
    pub(crate) fn name(&self, thread: usize) -> String {
        let info = &self.part.profile.threads[thread];
        info.shown_name().map_or_else(|| format!("thread {}", info.tid), |name| one_line(&name))
    }

    /// The innermost frame of a stack that is the program's own, in words; empty if there is none at all.
    pub(crate) fn place(&self, stack: StackId) -> String {
        let stacks = &self.part.profile.stacks;
        stacks.frames(stack).next().map_or_else(String::new, |frame| frame_label(stacks, frame, false))
    }

    /// The frames of a stack in words, innermost first.
    pub(crate) fn stack(&self, stack: StackId) -> Vec<String> {
        stack_labels(&self.part.profile.stacks, stack)
    }

    /// GILs that are in use.
    pub(crate) fn gils(&self) -> impl Iterator<Item = (GilId, &GilSummary, &Gil)> {
        let all = (0..).map(GilId).zip(&self.part.gils).zip(&self.report.gils);
        all.map(|((id, summary), gil)| (id, summary, gil))
            .filter(|(_, _, gil)| gil.enabled || gil.wait.count > 0 || gil.held.total_s() > 0.0)
    }

    /// Locks that were waited for.
    pub(crate) fn locks(&self) -> impl Iterator<Item = (&LockSummary, &Lock)> {
        self.part.locks.iter().filter(|lock| lock.info.kind.is_lock()).zip(&self.report.locks)
    }

    pub(crate) fn lock(&self, id: LockId) -> Option<(&LockSummary, &Lock)> {
        self.locks().find(|(summary, _)| summary.id == id)
    }
}
