//! Where things are on the screen, for clicks and pages. Filled in by `draw`.

use ratatui::layout::Rect;

use super::choices::Tab;

#[derive(Clone, Debug, Default)]
pub(crate) struct HitAreas {
    pub tabs: Vec<(Rect, Tab)>,
    /// The headings of the columns that have room.
    pub headings: Vec<(Rect, &'static str)>,
    /// Rows, by their index in the table.
    pub rows: Vec<(Rect, usize)>,
    /// Frames of the flame graph, with their paths.
    pub frames: Vec<(Rect, Vec<String>)>,
    /// How many rows fit on the screen.
    pub page: usize,
    /// By how many lines a text can be scrolled.
    pub last_line: usize,
}
