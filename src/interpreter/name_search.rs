//! When to search for the variables that lead to objects: soon, but only for a small part of the time, and step by step,
//! because nothing is observed meanwhile. Used by [`super::locks`] and [`super::contended_objects`].

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::stacks::{Scratch, StackReader};
use super::view::InterpreterView;
use crate::cpython::variables::{self, FoundVariable, FrameAddr, Wanted, merge_found};
use crate::event::Nanos;
use crate::process::memory::Memory;

/// How long after the first unnamed object a search begins.
const DELAY: Duration = Duration::from_millis(50);
/// Later searches are further apart, in the end by this many times what a search takes.
const MAX_SPACING: u32 = 100;
/// A search takes one fifth of the time while it is under way, in steps that are not longer than this.
const STEP_FRACTION: u64 = 5;
const MAX_STEP: Duration = Duration::from_millis(20);
/// How long the search at the end of a recording may take.
const MAX_LAST_SEARCH: Duration = Duration::from_millis(500);
/// How often an object is searched for: a variable can be out of reach during a search.
pub const MAX_SEARCHES: u8 = 4;

/// The searches of one process.
#[derive(Debug, Default)]
pub struct NameSearch {
    /// There are objects for which no search was made yet.
    wanted: bool,
    /// When the next search may begin.
    at: Nanos,
    /// Searches made so far.
    made: u32,
    current: Option<SearchUnderWay>,
    /// When the last step was made.
    advanced_at: Nanos,
}

/// A search under way, in one interpreter after the other.
#[derive(Debug)]
struct SearchUnderWay {
    wanted: Wanted,
    frames: Vec<FrameAddr>,
    /// Interpreters that are still to be searched, the last one first.
    interpreters: Vec<u64>,
    inside: Option<variables::Search>,
    found: FxHashMap<u64, FoundVariable>,
    took: Duration,
}

impl NameSearch {
    /// An unnamed object was met.
    pub fn want(&mut self, now: Nanos) {
        if !self.wanted {
            self.wanted = true;
            self.at = self.at.max(Nanos(now.0 + DELAY.as_nanos() as u64));
        }
    }

    /// Makes one step of the search under way or, if one is due, begins a search for what is `wanted` now. Returns what was
    /// found when the search is complete; what is still unnamed has to be wanted again.
    pub fn advance(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        now: Nanos,
        wanted: impl FnOnce() -> Wanted,
    ) -> Option<FxHashMap<u64, FoundVariable>> {
        let started = Instant::now();
        let step = Duration::from_nanos(now.since(self.advanced_at) / STEP_FRACTION).min(MAX_STEP);
        self.advanced_at = now;
        if self.current.is_none() && self.wanted && now >= self.at {
            self.wanted = false;
            self.current = SearchUnderWay::new(view, wanted());
        }
        let current = self.current.as_mut()?;
        let is_complete = current.advance(view, || started.elapsed() < step);
        current.took += started.elapsed();
        if !is_complete {
            return None;
        }
        self.made += 1;
        let delay = DELAY.max(current.took * (4 * self.made).min(MAX_SPACING));
        self.at = Nanos(now.0 + delay.as_nanos() as u64);
        self.current.take().map(|current| current.found)
    }
}

/// Makes one whole search, within a time limit: recording is over, but the process is still there.
pub fn at_the_end(view: InterpreterView<'_, impl Memory>, wanted: Wanted) -> FxHashMap<u64, FoundVariable> {
    let Some(mut search) = SearchUnderWay::new(view, wanted) else { return FxHashMap::default() };
    let started = Instant::now();
    search.advance(view, || started.elapsed() < MAX_LAST_SEARCH);
    // What the limit has cut off counts, too.
    let unfinished = search.inside.take().map(variables::Search::found).unwrap_or_default();
    merge_found(&mut search.found, unfinished);
    search.found
}

impl SearchUnderWay {
    /// None if nothing is wanted.
    fn new(view: InterpreterView<'_, impl Memory>, wanted: Wanted) -> Option<SearchUnderWay> {
        if wanted.is_empty() {
            return None;
        }
        let (frames, interpreters) = (frames(view), view.interpreters());
        Some(SearchUnderWay {
            wanted,
            frames,
            interpreters,
            inside: None,
            found: FxHashMap::default(),
            took: Duration::ZERO,
        })
    }

    /// Returns whether it is complete.
    fn advance(&mut self, view: InterpreterView<'_, impl Memory>, may_go_on: impl Fn() -> bool) -> bool {
        let InterpreterView { memory, layout, .. } = view;
        loop {
            if let Some(inside) = &mut self.inside {
                if !inside.go_on(memory, layout, &self.wanted, &may_go_on) {
                    return false;
                }
                let found = self.inside.take().map(variables::Search::found).unwrap_or_default();
                merge_found(&mut self.found, found);
            }
            let Some(interpreter) = self.interpreters.pop() else { return true };
            // This may fail while modules are being imported; the next unnamed object starts another search.
            self.inside = variables::Search::new(memory, layout, interpreter, &self.frames, &self.wanted).ok();
        }
    }
}

/// The frames of all threads. They may change meanwhile: a variable is believed only if it holds an object that was wanted.
fn frames(view: InterpreterView<'_, impl Memory>) -> Vec<FrameAddr> {
    let mut scratch = Scratch::default();
    let mut frames = Vec::new();
    for slot in view.slots() {
        let mut reader = StackReader::new(slot.reader.tstate());
        if reader.follow(view.memory, view.layout, true, &mut scratch).is_ok() {
            frames.extend(reader.frames().iter().map(|frame| (frame.addr, frame.code)));
        }
    }
    frames
}
