//! Draws the flame graph: what was called is below what called it, each frame as wide as its share.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::canvas::Canvas;
use super::lines::{paragraph, put, row};
use crate::report::text::units::{cut, duration, percent};
use crate::tui::state::call_tree::CallTree;
use crate::tui::state::flame::{path, root, selected};
use crate::tui::state::hit_areas::HitAreas;

/// A frame to draw: the node, its depth, and its first and last column.
type FrameBox = (u32, u16, f64, f64);

/// Draws the graph between a line with its title and one about the selected frame.
pub(crate) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    canvas: &Canvas<'_>,
    (tree, title): (&CallTree, &str),
    hits: &mut HitAreas,
) {
    let (choices, theme) = (canvas.choices, canvas.theme);
    let all = tree.nodes[0].total;
    put(buffer, area, 0, title, theme.dim(), theme);
    if all == 0 {
        let inside = Rect { y: area.y + 2.min(area.height), height: area.height.saturating_sub(2), ..area };
        paragraph(buffer, inside, "No thread was seen in this view. v chooses another.", Style::new(), theme);
        return;
    }
    let graph = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
    let (top, chosen) = (root(tree, &choices.flame), selected(tree, &choices.flame));
    let depth_of = |node: u32| tree.path(node).len() as u16;
    // The selected frame stays on the screen.
    let below = depth_of(chosen).saturating_sub(depth_of(top));
    let first = (below + 3).saturating_sub(graph.height);
    let wanted = choices.rows().filter.to_lowercase();
    let whole = tree.nodes[top as usize].total as f64;
    let width = f64::from(graph.width);
    let mut boxes: Vec<FrameBox> = vec![(top, 0, 0.0, width)];
    let mut odd = false;
    while let Some((node, depth, left, right)) = boxes.pop() {
        let (from, to) = (left.round() as u16, right.round() as u16);
        let mut x = left;
        for &child in &tree.nodes[node as usize].children {
            let wide = tree.nodes[child as usize].total as f64 / whole * width;
            // Frames narrower than half a column have no room.
            if (x + wide).round() > x.round() {
                boxes.push((child, depth + 1, x, x + wide));
            }
            x += wide;
        }
        if to <= from || depth < first || depth - first >= graph.height {
            continue;
        }
        let place = Rect { x: graph.x + from, width: to - from, ..row(graph, depth - first) };
        let label = tree.label(node);
        let owner = tree.labels[tree.nodes[node as usize].label as usize].1;
        odd = !odd;
        let mut style = theme.frame(owner, odd);
        if !wanted.is_empty() && label.to_lowercase().contains(&wanted) {
            style = style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        if node == chosen {
            style = theme.selected().patch(theme.bold());
        }
        // Without colours an edge marks where a frame begins.
        let edge = if theme.color { "" } else { "|" };
        let room = usize::from(place.width) - edge.len();
        put(buffer, place, 0, &format!("{edge}{:<room$}", cut(label, room)), style, theme);
        hits.frames.push((place, path(tree, node)));
    }
    let node = &tree.nodes[chosen as usize];
    let text = format!(
        "{}: {} of the view, {} in all, {} in itself",
        tree.label(chosen),
        percent(node.total as f64 / all as f64),
        duration(node.total as f64 / 1e9),
        duration(node.own as f64 / 1e9)
    );
    put(buffer, row(area, area.height - 1), 0, &cut(&text, usize::from(area.width)), theme.bold(), theme);
}
