//! Stacks for tests.

use crate::stack::{Frame, FrameKind, Interner, StackId};

/// The stack number `number`, another for each.
pub fn stack(number: u32) -> StackId {
    let mut stacks = Interner::default();
    let name = stacks.string("f");
    let ids = (1..=number).map(|line| {
        let frame =
            stacks.frame(Frame { kind: FrameKind::Python, function: name, name, file: name, line, first_line: 1 });
        stacks.push(StackId::EMPTY, frame)
    });
    ids.last().unwrap_or(StackId::EMPTY)
}
