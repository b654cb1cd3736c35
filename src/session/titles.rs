//! What processes call themselves: servers give their workers titles (`setproctitle`) only after these have started.

use super::Session;
use crate::event::{Event, Nanos};
use crate::process;

/// How often titles are read, in nanoseconds.
const INTERVAL: u64 = 1_000_000_000;

/// When to read them next.
#[derive(Debug, Default)]
pub(super) struct TitleWatch {
    next: Nanos,
}

impl Session<'_> {
    /// Reports titles that have changed, if it is time to look.
    pub(super) fn look_at_titles(&mut self, at: Nanos) {
        if at < self.titles.next {
            return;
        }
        self.titles.next = Nanos(at.0 + INTERVAL);
        for process in &self.observed {
            let command = process::command(process.pid);
            let is_new =
                self.profile.processes.get(process.id.0 as usize).is_some_and(|info| info.command != command);
            if is_new && !command.is_empty() {
                self.events.push(Event::ProcessTitled { process: process.id, command: command.into() });
            }
        }
    }
}
