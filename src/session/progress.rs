//! The line that says how a recording is going: rewritten in place on a terminal, else once in a while.

use std::io::{IsTerminal, Write, stderr};

use super::clock::Ticks;
use crate::event::Nanos;
use crate::profile::{Mode, Profile};

const ON_TERMINAL: u64 = 250_000_000;
const ELSEWHERE: u64 = 10_000_000_000;

/// Prints progress to standard error.
#[derive(Debug)]
pub struct Progress {
    every: Option<u64>,
    in_place: bool,
    next: Nanos,
}

impl Progress {
    /// Progress of a recording; none if not `wanted`.
    pub fn new(wanted: bool, now: Nanos) -> Progress {
        let in_place = stderr().is_terminal();
        let every = if in_place { ON_TERMINAL } else { ELSEWHERE };
        Progress { every: wanted.then_some(every), in_place, next: Nanos(now.0 + every) }
    }

    /// Prints the line, if it is time.
    pub fn show(&mut self, now: Nanos, profile: &Profile, ticks: &Ticks, processes: usize) {
        let Some(every) = self.every.filter(|_| self.next <= now) else { return };
        self.next = Nanos(now.0 + every);
        let seconds = now.since(profile.session.start) as f64 / 1e9;
        let several = if processes > 1 { format!(", {processes} processes") } else { String::new() };
        let (samples, threads) = (profile.samples(), profile.threads.len());
        let how = match profile.session.mode {
            Mode::Memory => {
                let (rate, late) = (ticks.made() as f64 / seconds, ticks.late());
                format!("{rate:.1} Hz, {late} late, {} torn", profile.lost())
            }
            Mode::Kernel => {
                format!("{} of their waits, {} lost", profile.session.waits, profile.session.records_lost)
            }
        };
        let line = format!("recording {seconds:.1} s: {samples} samples of {threads} threads{several}, {how}");
        // A standard error that is gone is no reason to stop.
        let _ = match self.in_place {
            true => write!(stderr(), "\r{line}\x1b[K").and_then(|()| stderr().flush()),
            false => writeln!(stderr(), "{line}"),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.in_place && self.every.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
