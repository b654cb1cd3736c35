//! Which stacks are part of a garbage collection.

use super::{FrameKind, Interner};

/// The frame that stands for a collection.
pub(crate) const FRAME: &str = "[garbage collection]";

/// Whether the innermost frame of a stack, as a report has it, stands for a collection.
pub(crate) fn is_collecting(stack: &[String]) -> bool {
    stack.first().is_some_and(|frame| frame == FRAME)
}

/// Which stacks are of a collection: by [`StackId::index`].
pub(crate) fn stacks_of_collections(stacks: &Interner) -> Vec<bool> {
    stacks.stacks_with(|frame| {
        let frame = stacks.get_frame(frame);
        frame.kind == FrameKind::Marker && stacks.text(frame.name) == FRAME
    })
}
