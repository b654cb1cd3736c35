//! Strings, frames and stacks that a trace mentions, each written once, with the packet that first needs it. Called by
//! [`super`].

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::export::frames::FrameTable;
use crate::stack::StackId;
use crate::text::one_line;

use super::proto::{Callstack, Frame, InternedBytes, InternedData, InternedName, Mapping};

/// Stands for the interpreter: readers drop frames that belong to no file.
const MAPPING: u64 = 1;

/// InternedIds by what they stand for, and what of it is still to be written.
#[derive(Default)]
pub(super) struct Interned {
    names: InternedIds<String>,
    keys: InternedIds<&'static str>,
    texts: InternedIds<String>,
    files: InternedIds<String>,
    /// By index into the table of frames.
    frames: InternedIds<u32>,
    stacks: InternedIds<StackId>,
    pending: InternedData,
}

/// Gives out numbers from 1 on.
struct InternedIds<K>(FxHashMap<K, u64>);

impl<K> Default for InternedIds<K> {
    fn default() -> Self {
        InternedIds(FxHashMap::default())
    }
}

impl<K: Hash + Eq> InternedIds<K> {
    /// The number, and whether it is new.
    fn of(&mut self, key: K) -> (u64, bool) {
        let next = self.0.len() as u64 + 1;
        let iid = *self.0.entry(key).or_insert(next);
        (iid, iid == next)
    }
}

impl Interned {
    /// What was mentioned for the first time since the last call.
    pub fn take(&mut self) -> Option<InternedData> {
        let pending = std::mem::take(&mut self.pending);
        (pending != InternedData::default()).then_some(pending)
    }

    /// The name of an event.
    pub fn name(&mut self, name: &str) -> u64 {
        if let Some(&iid) = self.names.0.get(name) {
            return iid;
        }
        let (iid, _) = self.names.of(name.to_owned());
        self.pending.event_names.push(InternedName { iid, name: one_line(name) });
        iid
    }

    /// The name of a detail.
    pub fn key(&mut self, key: &'static str) -> u64 {
        let (iid, new) = self.keys.of(key);
        if new {
            self.pending.debug_annotation_names.push(InternedName { iid, name: key.to_owned() });
        }
        iid
    }

    /// The text of a detail.
    pub fn text(&mut self, text: String) -> u64 {
        let text = one_line(&text);
        let (iid, new) = self.texts.of(text.clone());
        if new {
            self.pending.debug_annotation_string_values.push(InternedBytes { iid, str: text });
        }
        iid
    }

    /// A stack, whose frames are in `table`.
    pub fn stack(&mut self, stack: StackId, table: &mut FrameTable<'_>) -> u64 {
        let (iid, new) = self.stacks.of(stack);
        if new {
            let mut frames = Vec::new();
            table.push_stack(stack, &mut frames);
            let frame_ids = frames.into_iter().map(|frame| self.frame(frame, table)).collect();
            self.pending.callstacks.push(Callstack { iid, frame_ids });
        }
        iid
    }

    fn frame(&mut self, index: u32, table: &FrameTable<'_>) -> u64 {
        let (iid, new) = self.frames.of(index);
        if new {
            if iid == 1 {
                self.pending.mapping_paths.push(InternedBytes { iid: MAPPING, str: "python".to_owned() });
                self.pending.mappings.push(Mapping { iid: MAPPING, path_string_ids: vec![MAPPING] });
            }
            let entry = &table.entries()[index as usize];
            let source_path_iid = entry.file.as_deref().map(|file| {
                let (iid, new) = self.files.of(file.to_owned());
                if new {
                    self.pending.source_paths.push(InternedBytes { iid, str: file.to_owned() });
                }
                iid
            });
            // Each frame has a name of its own, which tells its line, too: they share a number.
            self.pending.function_names.push(InternedBytes { iid, str: entry.name.clone() });
            self.pending.frames.push(Frame {
                iid,
                function_name_id: iid,
                mapping_id: MAPPING,
                source_path_iid,
                line_number: entry.line,
            });
        }
        iid
    }
}
