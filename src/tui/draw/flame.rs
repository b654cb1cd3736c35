//! Draws the flame graph: what was called is below what called it, each frame as wide as its share.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::lines::{paragraph, put, row};
use super::{Canvas, Hits};
use crate::report::text::units::{cut, duration, percent};
use crate::tui::calls::Calls;
use crate::tui::flame::{path, root, selected};
use crate::tui::tabs::flame_title;

/// A frame to draw: the node, its depth, from which column to which.
type Box = (u32, u16, f64, f64);

/// Draws the graph, with a line above it that says what it is of, and one below about the selected frame.
pub fn draw(buffer: &mut Buffer, area: Rect, canvas: &Canvas<'_>, hits: &mut Hits) {
    let (app, theme) = (canvas.app, canvas.theme);
    let calls = Calls::of(&canvas.shown.part.profile, &app.choice());
    let all = calls.nodes[0].total;
    put(buffer, area, 0, &flame_title(app, canvas.shown, all), theme.dim(), theme);
    if all == 0 {
        let inside = Rect { y: area.y + 2.min(area.height), height: area.height.saturating_sub(2), ..area };
        paragraph(buffer, inside, "No thread was seen in this view. v chooses another.", Style::new(), theme);
        return;
    }
    let graph = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
    let (top, chosen) = (root(&calls, &app.flame), selected(&calls, &app.flame));
    let depth_of = |node: u32| calls.path(node).len() as u16;
    // The selected frame stays on the screen.
    let below = depth_of(chosen).saturating_sub(depth_of(top));
    let first = (below + 3).saturating_sub(graph.height);
    let wanted = app.list().filter.to_lowercase();
    let whole = calls.nodes[top as usize].total as f64;
    let width = f64::from(graph.width);
    let mut boxes: Vec<Box> = vec![(top, 0, 0.0, width)];
    let mut odd = false;
    while let Some((node, depth, left, right)) = boxes.pop() {
        let (from, to) = (left.round() as u16, right.round() as u16);
        let mut x = left;
        for &child in &calls.nodes[node as usize].children {
            let wide = calls.nodes[child as usize].total as f64 / whole * width;
            // What is narrower than half a column is not seen.
            if (x + wide).round() > x.round() {
                boxes.push((child, depth + 1, x, x + wide));
            }
            x += wide;
        }
        if to <= from || depth < first || depth - first >= graph.height {
            continue;
        }
        let place = Rect { x: graph.x + from, width: to - from, ..row(graph, depth - first) };
        let label = calls.label(node);
        let whose = calls.labels[calls.nodes[node as usize].label as usize].1;
        odd = !odd;
        let mut style = theme.frame(whose, odd);
        if !wanted.is_empty() && label.to_lowercase().contains(&wanted) {
            style = style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        if node == chosen {
            style = theme.selected().patch(theme.bold());
        }
        // Without colours something else has to say where a frame begins.
        let edge = if theme.color { "" } else { "|" };
        let room = usize::from(place.width) - edge.len();
        put(buffer, place, 0, &format!("{edge}{:<room$}", cut(label, room)), style, theme);
        hits.frames.push((place, path(&calls, node)));
    }
    let node = &calls.nodes[chosen as usize];
    let text = format!(
        "{}: {} of the view, {} in all, {} in itself",
        calls.label(chosen),
        percent(node.total as f64 / all as f64),
        duration(node.total as f64 / 1e9),
        duration(node.own as f64 / 1e9)
    );
    put(buffer, row(area, area.height - 1), 0, &cut(&text, usize::from(area.width)), theme.bold(), theme);
}
