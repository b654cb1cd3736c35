//! When to look for the variables that lead to objects: soon, but never for more than a small part of the time, and little
//! by little, because nothing else is looked at meanwhile. Used by [`super::locks`] and [`super::memory_accesses`].

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::stacks::{Scratch, StackReader};
use super::view::InterpreterView;
use crate::cpython::variables::{self, Found, FrameAddr, Wanted};
use crate::event::Nanos;
use crate::process::memory::Memory;

/// So soon after the first object without a name, and the more seldom the more often that was done: in the end not for
/// more than a hundredth of the time.
const AFTER: Duration = Duration::from_millis(50);
const PART: u32 = 100;
/// For this part of the time while it goes on, and not for longer at a time.
const PART_AT_A_TIME: u64 = 5;
const MOST_AT_A_TIME: Duration = Duration::from_millis(20);
/// For so long when nothing else is to be done any more.
const AT_THE_END: Duration = Duration::from_millis(500);
/// An object is looked for in vain so often at most: a variable can be out of sight just when it is looked for.
pub const MOST_SEARCHES: u8 = 4;

/// The searches of one process.
#[derive(Debug, Default)]
pub struct NameSearch {
    /// There are objects for which no variable has been looked for.
    wanted: bool,
    /// Not before this.
    at: Nanos,
    made: u32,
    current: Option<SearchUnderWay>,
    /// When it was last gone on with.
    gone_on: Nanos,
}

/// A search that is being made, in one interpreter after the other.
#[derive(Debug)]
struct SearchUnderWay {
    wanted: Wanted,
    frames: Vec<FrameAddr>,
    /// Those that are to come; the last one first.
    interpreters: Vec<u64>,
    inside: Option<variables::Search>,
    found: FxHashMap<u64, Found>,
    took: Duration,
}

impl NameSearch {
    /// An object without a name was met.
    pub fn want(&mut self, now: Nanos) {
        if !self.wanted {
            self.wanted = true;
            self.at = self.at.max(Nanos(now.0 + AFTER.as_nanos() as u64));
        }
    }

    /// Looks for variables in all interpreters, for a moment: goes on with what was begun, or begins if it is time to, with
    /// what is `wanted` then. Returns what is found, when all is done; what is still without a name has to be wanted again.
    pub fn go_on(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        now: Nanos,
        wanted: impl FnOnce() -> Wanted,
    ) -> Option<FxHashMap<u64, Found>> {
        let started = Instant::now();
        let part = Duration::from_nanos(now.since(self.gone_on) / PART_AT_A_TIME).min(MOST_AT_A_TIME);
        self.gone_on = now;
        if self.current.is_none() && self.wanted && now >= self.at {
            self.wanted = false;
            self.current = SearchUnderWay::new(view, wanted());
        }
        let current = self.current.as_mut()?;
        let is_over = current.go_on(view, || started.elapsed() < part);
        current.took += started.elapsed();
        if !is_over {
            return None;
        }
        self.made += 1;
        let after = AFTER.max(current.took * (4 * self.made).min(PART));
        self.at = Nanos(now.0 + after.as_nanos() as u64);
        self.current.take().map(|current| current.found)
    }
}

/// Looks for variables once, for as long as it takes, within reason: recording is over, but the process is still there.
pub fn at_the_end(view: InterpreterView<'_, impl Memory>, wanted: Wanted) -> FxHashMap<u64, Found> {
    let Some(mut search) = SearchUnderWay::new(view, wanted) else { return FxHashMap::default() };
    let started = Instant::now();
    search.go_on(view, || started.elapsed() < AT_THE_END);
    search.found
}

impl SearchUnderWay {
    /// None if there is nothing to look for.
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

    /// Returns whether it is over.
    fn go_on(&mut self, view: InterpreterView<'_, impl Memory>, may_go_on: impl Fn() -> bool) -> bool {
        let InterpreterView { memory, layout, .. } = view;
        loop {
            if let Some(inside) = &mut self.inside {
                if !inside.go_on(memory, layout, &self.wanted, &may_go_on) {
                    return false;
                }
                for (key, found) in self.inside.take().map(variables::Search::found).unwrap_or_default() {
                    self.found.entry(key).or_insert(found);
                }
            }
            let Some(interpreter) = self.interpreters.pop() else { return true };
            // While modules are being imported it may fail; the next object gives another chance.
            self.inside = variables::Search::new(memory, layout, interpreter, &self.frames, &self.wanted).ok();
        }
    }
}

/// The frames of all threads. They may change meanwhile: what is found in them is believed only if it is an object that
/// was wanted.
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
