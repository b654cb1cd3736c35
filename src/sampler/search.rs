//! When to look for the variables that lead to objects: soon, but never for more than a small part of the time. Used by
//! [`super::locks`] and [`super::accesses`].

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::registry::Registry;
use super::stack::{Scratch, StackReader};
use crate::event::Nanos;
use crate::target::layout::Layout;
use crate::target::memory::Memory;
use crate::target::variables::{Found, FrameAddr, Wanted, find};

/// So soon after the first object without a name, and the more seldom the more often that was done: in the end not for
/// more than a hundredth of the time.
const AFTER: Duration = Duration::from_millis(50);
const PART: u32 = 100;
/// An object is looked for in vain so often at most: a variable can be out of sight just when it is looked for.
pub const MOST_SEARCHES: u8 = 4;

/// The searches of one process.
#[derive(Debug, Default)]
pub struct Search {
    /// There are objects for which no variable has been looked for.
    wanted: bool,
    /// Not before this.
    at: Nanos,
    made: u32,
}

impl Search {
    /// An object without a name was met.
    pub fn want(&mut self, now: Nanos) {
        if !self.wanted {
            self.wanted = true;
            self.at = self.at.max(Nanos(now.0 + AFTER.as_nanos() as u64));
        }
    }

    /// It is time to look. What is still without a name afterwards has to be wanted again.
    pub fn is_due(&mut self, now: Nanos) -> bool {
        let due = self.wanted && now >= self.at;
        self.wanted &= !due;
        due
    }

    /// Looks for variables in all interpreters.
    pub fn run(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        now: Nanos,
        wanted: &Wanted,
    ) -> FxHashMap<u64, Found> {
        let started = Instant::now();
        let frames = frames(memory, layout, registry);
        let mut all = FxHashMap::default();
        for interpreter in registry.interpreters.iter().rev() {
            // While modules are being imported it may fail; the next object gives another chance.
            let Ok(found) = find(memory, layout, interpreter.addr, &frames, wanted) else { continue };
            for (key, found) in found {
                all.entry(key).or_insert(found);
            }
        }
        self.made += 1;
        let after = AFTER.max(started.elapsed() * (4 * self.made).min(PART));
        self.at = Nanos(now.0 + after.as_nanos() as u64);
        all
    }
}

/// The frames of all threads. They may change meanwhile: what is found in them is believed only if it is an object that
/// was wanted.
fn frames(memory: &impl Memory, layout: &Layout, registry: &Registry) -> Vec<FrameAddr> {
    let mut scratch = Scratch::default();
    let mut frames = Vec::new();
    for slot in registry.threads.iter().flat_map(|thread| &thread.slots) {
        let mut reader = StackReader::new(slot.reader.tstate());
        if reader.follow(memory, layout, true, &mut scratch).is_ok() {
            frames.extend(reader.frames().iter().map(|frame| (frame.addr, frame.code)));
        }
    }
    frames
}
