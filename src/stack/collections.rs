//! Which stacks are part of a garbage collection.

use super::Interner;

/// The frame that stands for a collection.
pub const FRAME: &str = "[garbage collection]";

/// Which stacks are of a collection: by [`StackId::index`].
pub fn stacks_of_collections(stacks: &Interner) -> Vec<bool> {
    stacks.stacks_with(|frame| {
        let frame = stacks.get_frame(frame);
        stacks.text(frame.name) == FRAME && stacks.text(frame.file).is_empty()
    })
}
