//! The frames and stacks that a page mentions, as two tables. Called by [`super::data`] and [`super::lanes`].

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::event::ThreadState;
use crate::export::view::{NO_PYTHON_FRAME, STACK_UNREADABLE, leaf};
use crate::profile::Profile;
use crate::stack::label::{FrameDescription, Origin, describe};
use crate::stack::{FrameId, StackId};

/// What the page gets. Columns, because these compress better than rows.
#[derive(Debug, Serialize)]
pub(super) struct PageTables {
    strings: Vec<String>,
    /// Of each frame: its label with the line, and that with the function's first line; both are indices of strings.
    lines: Vec<u32>,
    functions: Vec<u32>,
    /// Of each frame: the path of its file, an index of strings; 0 for frames that are none.
    files: Vec<u32>,
    /// Of each frame: whose code it is; see [`owner`].
    owners: Vec<u8>,
    /// Of each stack: the caller's stack, and the innermost frame. Stack 0 is the empty one.
    callers: Vec<u32>,
    frames: Vec<u32>,
}

/// Builds the tables. A stack in them is what a thread did: its frames, or what stands in for them, and the marker
/// of its state.
pub(super) struct PageStacks<'p> {
    profile: &'p Profile,
    tables: PageTables,
    by_string: FxHashMap<String, u32>,
    by_frame: FxHashMap<FrameId, u32>,
    by_name: FxHashMap<String, u32>,
    by_stack: FxHashMap<(u32, u32), u32>,
    /// Saves walking up a stack again.
    known: FxHashMap<StackId, u32>,
    of_states: FxHashMap<(ThreadState, StackId, bool), u32>,
}

impl<'p> PageStacks<'p> {
    pub fn new(profile: &'p Profile) -> Self {
        let tables = PageTables {
            strings: vec![String::new()],
            lines: Vec::new(),
            functions: Vec::new(),
            files: Vec::new(),
            owners: Vec::new(),
            callers: vec![0],
            frames: vec![0],
        };
        PageStacks {
            profile,
            tables,
            by_string: FxHashMap::default(),
            by_frame: FxHashMap::default(),
            by_name: FxHashMap::default(),
            by_stack: FxHashMap::default(),
            known: FxHashMap::default(),
            of_states: FxHashMap::default(),
        }
    }

    pub fn finish(self) -> PageTables {
        self.tables
    }

    /// The stack of a thread in a state.
    pub fn of_state(&mut self, state: ThreadState, stack: StackId, lost: bool) -> u32 {
        if let Some(&index) = self.of_states.get(&(state, stack, lost)) {
            return index;
        }
        let index = self.index(stack, lost, leaf(self.profile, state).as_deref());
        self.of_states.insert((state, stack, lost), index);
        index
    }

    /// A stack with a marker on top.
    pub fn index(&mut self, stack: StackId, lost: bool, leaf: Option<&str>) -> u32 {
        let index = match (stack, lost) {
            (StackId::EMPTY, true) => self.marker(0, STACK_UNREADABLE),
            (StackId::EMPTY, false) => self.marker(0, NO_PYTHON_FRAME),
            _ => self.stack(stack),
        };
        leaf.map_or(index, |leaf| self.marker(index, leaf))
    }

    fn stack(&mut self, stack: StackId) -> u32 {
        let mut above = Vec::new();
        let mut at = stack;
        let mut index = loop {
            if let Some(&index) = self.known.get(&at) {
                break index;
            }
            let Some((caller, frame)) = self.profile.stacks.pop(at) else { break 0 };
            above.push((at, frame));
            at = caller;
        };
        for (id, frame) in above.into_iter().rev() {
            let frame = self.frame(frame);
            index = self.push(index, frame);
            self.known.insert(id, index);
        }
        index
    }

    fn frame(&mut self, id: FrameId) -> u32 {
        if let Some(&index) = self.by_frame.get(&id) {
            return index;
        }
        let stacks = &self.profile.stacks;
        let FrameDescription { label, file, origin, .. } = describe(stacks, id, false);
        let row = [label, describe(stacks, id, true).label, file.unwrap_or_default().into_owned()];
        let index = self.row(row, owner(origin));
        self.by_frame.insert(id, index);
        index
    }

    fn marker(&mut self, caller: u32, name: &str) -> u32 {
        let frame = match self.by_name.get(name) {
            Some(&frame) => frame,
            None => {
                let frame = self.row([name.to_owned(), name.to_owned(), String::new()], owner(Origin::Marker));
                self.by_name.insert(name.to_owned(), frame);
                frame
            }
        };
        self.push(caller, frame)
    }

    fn row(&mut self, row: [String; 3], owner: u8) -> u32 {
        let [line, function, file] = row.map(|text| self.string(text));
        let tables = &mut self.tables;
        tables.lines.push(line);
        tables.functions.push(function);
        tables.files.push(file);
        tables.owners.push(owner);
        tables.lines.len() as u32 - 1
    }

    fn string(&mut self, text: String) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let strings = &mut self.tables.strings;
        *self.by_string.entry(text).or_insert_with_key(|text| {
            strings.push(text.clone());
            strings.len() as u32 - 1
        })
    }

    fn push(&mut self, caller: u32, frame: u32) -> u32 {
        let tables = &mut self.tables;
        *self.by_stack.entry((caller, frame)).or_insert_with(|| {
            tables.callers.push(caller);
            tables.frames.push(frame);
            tables.callers.len() as u32 - 1
        })
    }
}

/// Whose code a frame runs, by the numbers that `page/flame.js` knows.
fn owner(origin: Origin) -> u8 {
    match origin {
        Origin::Marker => 0,
        Origin::Program => 1,
        Origin::Package => 2,
        Origin::StandardLibrary => 3,
        Origin::Native => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Syscall;
    use crate::export::fixture;

    fn labels(tables: &PageTables, mut stack: u32) -> Vec<&str> {
        let mut labels = Vec::new();
        while stack != 0 {
            let frame = tables.frames[stack as usize] as usize;
            labels.push(tables.strings[tables.lines[frame] as usize].as_str());
            stack = tables.callers[stack as usize];
        }
        labels
    }

    #[test]
    fn stacks_share_their_callers_and_end_in_what_the_thread_did() {
        let mut profile = fixture::profile();
        let deep = fixture::deep(&mut profile);
        let mut stacks = PageStacks::new(&profile);
        let call = Syscall(syscalls::Sysno::read as i16);
        let running = stacks.of_state(ThreadState::GilHeld, deep, false);
        let blocked = stacks.of_state(ThreadState::Blocked(call), deep, false);
        let lost = stacks.of_state(ThreadState::GilWait, StackId::EMPTY, true);
        assert_eq!(stacks.of_state(ThreadState::Blocked(call), deep, false), blocked);
        let tables = stacks.finish();
        assert_eq!(labels(&tables, running), ["c (a.py:3)", "b (a.py:2)", "a (a.py:1)"]);
        assert_eq!(tables.callers[blocked as usize], running);
        assert_eq!(labels(&tables, blocked)[0], "[blocked: read]");
        assert_eq!(labels(&tables, lost), ["[waiting for GIL]", "[stack unreadable]"]);
        assert_eq!((tables.callers.len(), tables.lines.len()), (7, 6));
        assert_eq!(tables.owners, [1, 1, 1, 0, 0, 0]);
    }
}
