//! The line that shows the progress of a recording: rewritten in place on a terminal, else printed at intervals.

use std::io::{IsTerminal, Write, stderr};
use std::ops::ControlFlow;

use crate::event::Nanos;
use crate::profile::{Mode, Profile};
use crate::session::{Observer, RecordingView};

/// How often, in nanoseconds.
const ON_TERMINAL: u64 = 250_000_000;
const ELSEWHERE: u64 = 10_000_000_000;

/// Prints progress to standard error.
#[derive(Debug)]
pub struct ProgressLine {
    every: Option<u64>,
    in_place: bool,
    /// When to print next; none before the recording has started.
    next: Option<Nanos>,
}

impl ProgressLine {
    /// Prints nothing if not `wanted`.
    pub fn new(wanted: bool) -> ProgressLine {
        let in_place = stderr().is_terminal();
        let every = if in_place { ON_TERMINAL } else { ELSEWHERE };
        ProgressLine { every: wanted.then_some(every), in_place, next: None }
    }
}

impl Observer for ProgressLine {
    fn next(&self) -> Nanos {
        if self.every.is_none() { Nanos(u64::MAX) } else { self.next.unwrap_or_default() }
    }

    fn needs_under_way(&self, _: Nanos) -> bool {
        false
    }

    fn observe(&mut self, view: &RecordingView<'_>) -> ControlFlow<()> {
        let Some(every) = self.every else { return ControlFlow::Continue(()) };
        let is_first = self.next.replace(Nanos(view.at.0 + every)).is_none();
        if !is_first {
            let line = line(view.at, view.profile, view.processes);
            // The recording goes on even if standard error is closed.
            let _ = match self.in_place {
                true => write!(stderr(), "\r{line}\x1b[K").and_then(|()| stderr().flush()),
                false => writeln!(stderr(), "{line}"),
            };
        }
        ControlFlow::Continue(())
    }
}

fn line(now: Nanos, profile: &Profile, processes: usize) -> String {
    let session = &profile.session;
    let seconds = now.since(session.start) as f64 / 1e9;
    let several = if processes > 1 { format!(", {processes} processes") } else { String::new() };
    let (samples, threads) = (profile.samples(), profile.thread_count());
    let how = match session.mode {
        Mode::Memory => {
            let (rate, late) = (session.looks as f64 / seconds, session.late_ticks);
            format!("{rate:.1} Hz, {late} late, {} torn", profile.lost())
        }
        Mode::Kernel => format!("{} of their waits, {} lost", session.waits, session.records_lost),
    };
    format!("recording {seconds:.1} s: {samples} samples of {threads} threads{several}, {how}")
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.in_place && self.every.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
