//! The frames one output mentions, as a table with small indices. Called by all formats: two frames are one here
//! when the output cannot distinguish them.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::event::ThreadState;
use crate::profile::Profile;
use crate::stack::{FrameId, StackId};

use super::ExportOptions;
use super::view::{Item, NO_PYTHON_FRAME, STACK_UNREADABLE, leaf};
use crate::stack::label::{FrameDescription, Origin, describe, one_line};

/// One frame, as speedscope wants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Entry<'a> {
    pub name: String,
    /// The whole path; none for markers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip)]
    pub origin: Origin,
}

/// The table. Indices are given out in the order of first use.
pub(super) struct FrameTable<'a> {
    profile: &'a Profile,
    functions: bool,
    entries: Vec<Entry<'a>>,
    by_entry: FxHashMap<Entry<'a>, u32>,
    /// Saves wording a frame again for every stack it is in.
    by_frame: FxHashMap<FrameId, u32>,
}

impl<'a> FrameTable<'a> {
    pub fn new(profile: &'a Profile, options: &ExportOptions) -> Self {
        FrameTable {
            profile,
            functions: options.functions,
            entries: Vec::new(),
            by_entry: FxHashMap::default(),
            by_frame: FxHashMap::default(),
        }
    }

    /// All frames mentioned so far, by index.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The index of a marker.
    pub fn marker(&mut self, name: &str) -> u32 {
        self.insert(Entry { name: one_line(name), file: None, line: None, origin: Origin::Marker })
    }

    /// Appends the frames of a stack, outermost first.
    pub fn push_stack(&mut self, stack: StackId, into: &mut Vec<u32>) {
        let base = into.len();
        let profile = self.profile;
        into.extend(profile.stacks.frames(stack).map(|frame| self.frame(frame)));
        into[base..].reverse();
    }

    /// Appends what a thread did: its frames, or what stands in for them, then the marker of its state.
    ///
    /// A lost sample has that marker too: its state was read, only its stack was not.
    pub fn push_sample(&mut self, state: ThreadState, stack: StackId, lost: bool, into: &mut Vec<u32>) {
        self.push(stack, lost, leaf(self.profile, state).as_deref(), into);
    }

    /// Appends what a view shows.
    pub fn push_item(&mut self, item: &Item, into: &mut Vec<u32>) {
        self.push(item.stack, item.lost, item.leaf.as_deref(), into);
    }

    fn push(&mut self, stack: StackId, lost: bool, leaf: Option<&str>, into: &mut Vec<u32>) {
        if stack == StackId::EMPTY {
            into.push(self.marker(if lost { STACK_UNREADABLE } else { NO_PYTHON_FRAME }));
        } else {
            self.push_stack(stack, into);
        }
        if let Some(leaf) = leaf {
            into.push(self.marker(leaf));
        }
    }

    fn frame(&mut self, id: FrameId) -> u32 {
        if let Some(&index) = self.by_frame.get(&id) {
            return index;
        }
        let FrameDescription { label: name, file, line, origin, .. } =
            describe(&self.profile.stacks, id, self.functions);
        let index = self.insert(Entry { name, file, line, origin });
        self.by_frame.insert(id, index);
        index
    }

    fn insert(&mut self, entry: Entry<'a>) -> u32 {
        *self.by_entry.entry(entry).or_insert_with_key(|entry| {
            self.entries.push(entry.clone());
            self.entries.len() as u32 - 1
        })
    }
}
