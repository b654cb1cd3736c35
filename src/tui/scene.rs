//! What is on the screen: made once for each refresh, and again only when a choice changes it. Drawn by `draw`; keys and clicks
//! refer to it.

use super::state::call_tree::CallTree;
use super::state::choices::{ContentChoices, Tab, UserChoices};
use super::state::detail::RowDetail;
use super::state::history::History;
use super::state::hit_areas::HitAreas;
use super::state::shown::ShownPart;
use super::state::table::ScreenTable;
use super::tabs;

/// What is below the line of tabs.
#[derive(Debug)]
pub(crate) enum SceneContent {
    Table(ScreenTable),
    Flame {
        tree: CallTree,
        /// What the tree is of.
        title: String,
    },
    Detail(RowDetail),
}

#[derive(Debug)]
pub(crate) struct Scene {
    pub shown: ShownPart,
    pub history: History,
    pub content: SceneContent,
    /// Where everything was drawn last.
    pub hits: HitAreas,
    /// What `content` was made for.
    made_for: ContentChoices,
}

impl Scene {
    pub(crate) fn new(choices: &UserChoices, shown: ShownPart, history: History) -> Scene {
        let made_for = choices.content();
        let content = content(&made_for, &shown, &history);
        Scene { shown, history, content, hits: HitAreas::default(), made_for }
    }

    /// Shows another part of the recording, or a newer one.
    pub(crate) fn show(&mut self, choices: &UserChoices, shown: ShownPart) {
        self.shown = shown;
        self.made_for = choices.content();
        self.content = content(&self.made_for, &self.shown, &self.history);
    }

    /// Follows the choices, if they are others than before.
    pub(crate) fn follow(&mut self, choices: &UserChoices) {
        let wanted = choices.content();
        if wanted != self.made_for {
            self.content = content(&wanted, &self.shown, &self.history);
            self.made_for = wanted;
        }
    }
}

fn content(choices: &ContentChoices, shown: &ShownPart, history: &History) -> SceneContent {
    match (&choices.detail, choices.tab) {
        (Some(key), _) => SceneContent::Detail(tabs::detail(key, choices, shown, history)),
        (None, Tab::Flame) => {
            let (tree, title) = tabs::flame_graph(choices, shown);
            SceneContent::Flame { tree, title }
        }
        (None, _) => SceneContent::Table(tabs::table(choices, shown, history)),
    }
}
