//! Which samples a view shows, and the leaf that says what a thread did when it did not run Python. Called by
//! every format that aggregates; the Chrome trace shows states as a track of their own.

use std::borrow::Cow;

use clap::ValueEnum;

use crate::event::{Activity, ThreadId, ThreadState};
use crate::profile::tree::Weight;
use crate::profile::{Mode, Profile};
use crate::stack::StackId;

use super::ExportOptions;

/// Which samples to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Threads that run: where the CPU time goes
    #[default]
    Cpu,
    /// All threads all the time, with why they do not run
    Wall,
    /// Threads that hold the GIL, running or not: what the others wait for
    GilHold,
    /// Threads that wait for the GIL, and where
    GilWait,
    /// Threads that wait for locks, and for which
    LockWait,
    /// Threads that are held up by reference counts of objects that others use (free-threaded builds)
    Refcount,
    /// Threads that are off the CPU for whatever reason
    #[value(name = "offcpu")]
    OffCpu,
}

/// Something that a view shows.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub thread: ThreadId,
    pub stack: StackId,
    /// The stack could not be read.
    pub lost: bool,
    /// A marker on top of the stack.
    pub leaf: Option<Cow<'static, str>>,
    /// What the thread was doing, if that is what is shown.
    pub state: Option<ThreadState>,
    /// How much, in the unit of the view.
    pub amount: u64,
    /// How much was seen of it.
    pub weight: Weight,
}

/// What the numbers of a view count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Samples, each of which stands for a period of the sampling rate.
    Samples,
    /// Time, in microseconds.
    Micros,
}

impl Unit {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Samples => "samples",
            Unit::Micros => "us",
        }
    }
}

impl ExportOptions {
    /// Whether samples in `state` are part of the view.
    pub(crate) fn shows(&self, state: ThreadState) -> bool {
        match self.view {
            View::Cpu => self.idle || state.on_cpu(),
            View::Wall => true,
            View::GilHold => state.holds_gil(),
            View::GilWait => state.activity() == Activity::GilWait,
            View::LockWait => matches!(state.activity(), Activity::LockWait | Activity::Paused),
            View::OffCpu => !state.on_cpu(),
            // These samples say why a thread was where it was on the CPU.
            View::Refcount => false,
        }
    }

    /// What is in the view, in its unit: in a stable order.
    pub(super) fn items(&self, profile: &Profile) -> Vec<Item> {
        if self.view == View::Refcount {
            let stacks = profile.refcounts.stacks().into_iter();
            return stacks
                .map(|(thread, stack, object, amount)| Item {
                    thread,
                    stack,
                    lost: false,
                    leaf: Some(format!("[reference count of {}]", object.label()).into()),
                    state: None,
                    amount,
                    weight: Weight { samples: amount, ..Weight::default() },
                })
                .collect();
        }
        let shown = profile.tree.sorted().into_iter().filter(|(key, _)| self.shows(key.state));
        let items = shown.map(|(key, weight)| Item {
            thread: key.thread,
            stack: key.stack,
            lost: key.lost,
            leaf: leaf(profile, key.state),
            state: Some(key.state),
            amount: self.amount(profile, weight),
            weight,
        });
        items.filter(|item| item.amount > 0).collect()
    }

    /// What the numbers of the view count. Where time off the CPU was measured, it is not sampled.
    pub fn unit(&self, profile: &Profile) -> Unit {
        match (profile.session.mode, self.view) {
            (_, View::Refcount) => Unit::Samples,
            (Mode::Kernel, View::Cpu) if !self.idle => Unit::Samples,
            (Mode::Kernel, _) => Unit::Micros,
            (Mode::Memory, _) => Unit::Samples,
        }
    }

    /// A weight in the unit of the view.
    pub(super) fn amount(&self, profile: &Profile, weight: Weight) -> u64 {
        match self.unit(profile) {
            Unit::Samples => weight.samples,
            Unit::Micros => {
                let sampled = weight.samples as f64 * profile.session.period_ns();
                ((sampled + weight.off_cpu_ns as f64) / 1e3).round() as u64
            }
        }
    }
}

/// Stands in for the frames of a stack that could not be read.
pub(crate) const STACK_UNREADABLE: &str = "[stack unreadable]";
/// Stands in for the frames of a thread that had none.
pub(crate) const NO_PYTHON_FRAME: &str = "[no Python frame]";

/// The marker frame on top of a stack that was not running Python; `None` for one that was.
pub(crate) fn leaf(profile: &Profile, state: ThreadState) -> Option<Cow<'static, str>> {
    state.marker(|lock| profile.locks.info(lock).label())
}
