//! Which stacks are part of a garbage collection.

use super::{FrameKind, Interner, StackId};

/// The frame that stands for a collection.
pub(crate) const FRAME: &str = "[garbage collection]";

/// Whether the innermost frame of a stack, as a report has it, stands for a collection.
pub(crate) fn is_collecting(stack: &[String]) -> bool {
    stack.first().is_some_and(|frame| frame == FRAME)
}

/// Which stacks are of a collection that the program made. The one at the end of an interpreter is in no Python code.
#[derive(Clone, Debug, Default)]
pub(crate) struct CollectionStacks {
    /// By [`StackId::index`].
    all: Vec<StackOfCollection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StackOfCollection {
    No,
    Yes,
    AtTheEnd,
}

impl CollectionStacks {
    /// Whether a stack is one. Looks at the stacks that are new since the last time.
    pub(crate) fn has(&mut self, stacks: &Interner, stack: StackId) -> bool {
        if self.all.is_empty() {
            self.all.push(StackOfCollection::No);
        }
        for &(caller, frame) in &stacks.stacks()[self.all.len() - 1..] {
            let (of_caller, frame) = (self.all[caller.index() as usize], stacks.get_frame(frame));
            let is_collection = frame.kind == FrameKind::Marker && stacks.text(frame.name) == FRAME;
            self.all.push(match of_caller {
                StackOfCollection::No if is_collection && caller == StackId::EMPTY => StackOfCollection::AtTheEnd,
                StackOfCollection::No if is_collection => StackOfCollection::Yes,
                of_caller => of_caller,
            });
        }
        self.all.get(stack.index() as usize) == Some(&StackOfCollection::Yes)
    }
}
