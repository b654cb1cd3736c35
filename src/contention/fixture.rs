//! Stacks for tests.

use crate::stack::{Frame, FrameKind, Interner, StackId};

/// The stack number `number`, another for each.
pub fn stack(number: u32) -> StackId {
    stacks(number).last().copied().unwrap_or(StackId::EMPTY)
}

/// As many stacks, all different.
pub fn stacks(number: u32) -> Vec<StackId> {
    let mut stacks = Interner::default();
    let name = stacks.string("f");
    let ids = (1..=number).map(|line| {
        let frame =
            stacks.frame(Frame { kind: FrameKind::Python, function: name, name, file: name, line, first_line: 1 });
        stacks.push(StackId::EMPTY, frame)
    });
    ids.collect()
}
