//! Moving about in the flame graph. Pure; called by `app` and by `draw::flame`.

use super::app::Flame;
use super::calls::Calls;

/// The frame that is as wide as the screen: that of the zoom, as far as it is still there.
pub fn root(calls: &Calls, flame: &Flame) -> u32 {
    (0..=flame.zoom.len()).rev().map(|depth| calls.find(&flame.zoom[..depth])).find(|&node| node != 0).unwrap_or(0)
}

/// The selected frame, as far as it is still there; below the one that is as wide as the screen.
pub fn selected(calls: &Calls, flame: &Flame) -> u32 {
    let paths = (0..=flame.selected.len()).rev().map(|depth| calls.find(&flame.selected[..depth]));
    paths.into_iter().find(|&node| node != 0).unwrap_or_else(|| root(calls, flame))
}

/// The path of a node.
pub fn path(calls: &Calls, node: u32) -> Vec<String> {
    calls.path(node).into_iter().map(str::to_owned).collect()
}

/// So many frames further down (to what was called), or up.
pub fn up_or_down(calls: &Calls, flame: &Flame, by: isize) -> Vec<String> {
    let mut at = selected(calls, flame);
    let top = root(calls, flame);
    for _ in 0..by.unsigned_abs().min(1000) {
        let next = if by > 0 {
            calls.nodes[at as usize].children.first().copied()
        } else {
            Some(calls.nodes[at as usize].parent)
        };
        match next {
            Some(next) if at != top || by > 0 => at = next,
            _ => break,
        }
    }
    path(calls, at)
}

/// The frame beside, in the same depth; in another caller if this one has no more.
pub fn sideways(calls: &Calls, flame: &Flame, right: bool) -> Vec<String> {
    let at = selected(calls, flame);
    let mut depth = 0;
    let mut node = at;
    let top = root(calls, flame);
    while node != top && node != 0 {
        node = calls.nodes[node as usize].parent;
        depth += 1;
    }
    let mut row = vec![top];
    for _ in 0..depth {
        row = row.iter().flat_map(|&node| calls.nodes[node as usize].children.iter().copied()).collect();
    }
    let Some(place) = row.iter().position(|&node| node == at) else { return path(calls, at) };
    let next = if right { place + 1 } else { place.wrapping_sub(1) };
    path(calls, row.get(next).copied().unwrap_or(at))
}

/// The next frame with a text in its name, from the selected one on and round.
pub fn find(calls: &Calls, flame: &Flame, text: &str, forward: bool) -> Option<Vec<String>> {
    let wanted = text.to_lowercase();
    let mut order = Vec::new();
    let mut stack = vec![root(calls, flame)];
    while let Some(node) = stack.pop() {
        order.push(node);
        stack.extend(calls.nodes[node as usize].children.iter().rev());
    }
    let has = |&&node: &&u32| node != 0 && calls.label(node).to_lowercase().contains(&wanted);
    let at = selected(calls, flame);
    let place = order.iter().position(|&node| node == at).unwrap_or(0);
    let (before, after) = order.split_at(place);
    let found = match forward {
        true => after.iter().skip(1).find(has).or_else(|| before.iter().find(has)),
        false => before.iter().rev().find(has).or_else(|| after.iter().skip(1).rev().find(has)),
    };
    found.or_else(|| after.first().filter(|node| has(node))).map(|&node| path(calls, node))
}
