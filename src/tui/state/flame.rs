//! Moving about in the flame graph.

use super::call_tree::CallTree;

/// Frames are kept by their names, so that they are found again in the next tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlamePosition {
    /// The frame that is as wide as the screen; empty for all.
    pub zoom: Vec<String>,
    pub selected: Vec<String>,
}

/// The frame that is as wide as the screen: that of the zoom, as far as it is still there.
pub(crate) fn root(tree: &CallTree, flame: &FlamePosition) -> u32 {
    (0..=flame.zoom.len()).rev().map(|depth| tree.find(&flame.zoom[..depth])).find(|&node| node != 0).unwrap_or(0)
}

/// The selected frame, as far as it is still there; below the one that is as wide as the screen.
pub(crate) fn selected(tree: &CallTree, flame: &FlamePosition) -> u32 {
    let paths = (0..=flame.selected.len()).rev().map(|depth| tree.find(&flame.selected[..depth]));
    paths.into_iter().find(|&node| node != 0).unwrap_or_else(|| root(tree, flame))
}

pub(crate) fn path(tree: &CallTree, node: u32) -> Vec<String> {
    tree.path(node).into_iter().map(str::to_owned).collect()
}

/// `by` frames further down (to what was called), or up.
pub(crate) fn up_or_down(tree: &CallTree, flame: &FlamePosition, by: isize) -> Vec<String> {
    let mut at = selected(tree, flame);
    let top = root(tree, flame);
    for _ in 0..by.unsigned_abs().min(1000) {
        let next = if by > 0 {
            tree.nodes[at as usize].children.first().copied()
        } else {
            Some(tree.nodes[at as usize].parent)
        };
        match next {
            Some(next) if at != top || by > 0 => at = next,
            _ => break,
        }
    }
    path(tree, at)
}

/// The frame beside, in the same depth; in another caller if this one has no more.
pub(crate) fn sideways(tree: &CallTree, flame: &FlamePosition, right: bool) -> Vec<String> {
    let at = selected(tree, flame);
    let mut depth = 0;
    let mut node = at;
    let top = root(tree, flame);
    while node != top && node != 0 {
        node = tree.nodes[node as usize].parent;
        depth += 1;
    }
    let mut row = vec![top];
    for _ in 0..depth {
        row = row.iter().flat_map(|&node| tree.nodes[node as usize].children.iter().copied()).collect();
    }
    let Some(place) = row.iter().position(|&node| node == at) else { return path(tree, at) };
    let next = if right { place + 1 } else { place.wrapping_sub(1) };
    path(tree, row.get(next).copied().unwrap_or(at))
}

/// The next frame with a text in its name, from the selected one on and round.
pub(crate) fn find(tree: &CallTree, flame: &FlamePosition, text: &str, forward: bool) -> Option<Vec<String>> {
    let wanted = text.to_lowercase();
    let mut order = Vec::new();
    let mut stack = vec![root(tree, flame)];
    while let Some(node) = stack.pop() {
        order.push(node);
        stack.extend(tree.nodes[node as usize].children.iter().rev());
    }
    let has = |&&node: &&u32| node != 0 && tree.label(node).to_lowercase().contains(&wanted);
    let at = selected(tree, flame);
    let place = order.iter().position(|&node| node == at).unwrap_or(0);
    let (before, after) = order.split_at(place);
    let found = match forward {
        true => after.iter().skip(1).find(has).or_else(|| before.iter().find(has)),
        false => before.iter().rev().find(has).or_else(|| after.iter().skip(1).rev().find(has)),
    };
    found.or_else(|| after.first().filter(|node| has(node))).map(|&node| path(tree, node))
}
