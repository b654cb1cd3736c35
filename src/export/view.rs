//! Which samples a view shows, and the leaf that says what a thread did when it did not run Python. Called by
//! every format that aggregates; the Chrome trace shows states as a track of their own.

use std::borrow::Cow;

use clap::ValueEnum;

use crate::event::ThreadState;

use super::Options;

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
}

impl Options {
    /// Whether samples in `state` are part of the view.
    pub(super) fn shows(&self, state: ThreadState) -> bool {
        match self.view {
            View::Cpu => self.idle || state.on_cpu(),
            View::Wall => true,
            View::GilHold => state.holds_gil(),
        }
    }
}

/// Stands in for the frames of a stack that could not be read.
pub(super) const STACK_UNREADABLE: &str = "[stack unreadable]";
/// Stands in for the frames of a thread that had none.
pub(super) const NO_PYTHON_FRAME: &str = "[no Python frame]";

/// The pseudo-frame on top of a stack that was not running Python; `None` for one that was.
///
/// It depends on the state alone, so that the same sample has the same leaf in every view.
pub(super) fn leaf(state: ThreadState) -> Option<Cow<'static, str>> {
    Some(match state {
        ThreadState::GilHeld | ThreadState::Running => return None,
        ThreadState::Native => "[native]".into(),
        ThreadState::GilWait => "[waiting for GIL]".into(),
        ThreadState::GilHeldOffCpu(call) => format!("[GIL held off CPU: {call}]").into(),
        ThreadState::Blocked(call) => format!("[blocked: {call}]").into(),
        ThreadState::Stopped => "[stopped]".into(),
        ThreadState::Unknown => "[state unknown]".into(),
    })
}
