//! What there is to draw, and how.

use crate::tui::scene::Scene;
use crate::tui::state::choices::UserChoices;
use crate::tui::theme::Theme;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Canvas<'a> {
    pub choices: &'a UserChoices,
    pub scene: &'a Scene,
    pub theme: Theme,
}
