//! Everything the user chose. Keys and clicks change it; what is on the screen follows from it and the snapshot.

use super::call_tree::CallTreeChoice;
use super::flame::FlamePosition;
use super::shown::Range;
use super::table::{RowKey, ScreenTable, SortOrder};
use crate::event::ThreadId;
use crate::export::View;
use crate::report::Attribution;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tab {
    /// What each thread does.
    #[default]
    Threads,
    /// Who waits for the GIL.
    Gil,
    /// Which locks are waited for.
    Locks,
    /// Reference counts that threads share.
    Refcounts,
    /// Stops of all threads, and garbage collections.
    Pauses,
    /// Where the time goes, as a table.
    Functions,
    /// The same as a flame graph.
    Flame,
    /// What is wrong.
    Findings,
}

impl Tab {
    /// In the order of their keys.
    pub(crate) const ALL: [Tab; 8] =
        [Tab::Threads, Tab::Gil, Tab::Locks, Tab::Refcounts, Tab::Pauses, Tab::Functions, Tab::Flame, Tab::Findings];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Tab::Threads => "Threads",
            Tab::Gil => "GIL",
            Tab::Locks => "Locks",
            Tab::Refcounts => "Refcounts",
            Tab::Pauses => "Pauses",
            Tab::Functions => "Functions",
            Tab::Flame => "Flame",
            Tab::Findings => "Findings",
        }
    }

    /// The order of its rows until the user chooses another: by this column, the greatest first.
    pub(crate) fn default_order(self) -> SortOrder {
        let column = match self {
            Tab::Threads => "BUSY%",
            Tab::Gil | Tab::Locks => "TOTAL",
            Tab::Refcounts => "CPU%",
            Tab::Pauses => "TIME",
            Tab::Functions => "OWN%",
            Tab::Flame | Tab::Findings => "",
        };
        SortOrder { column, ascending: false }
    }
}

/// How the rows of one tab are selected and ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSelection {
    /// The selected row. It stays selected wherever it moves to.
    pub selected: Option<RowKey>,
    /// Where it was last: the row at this index is selected if it is gone.
    pub index: usize,
    /// If it is not the tab's own.
    pub order: Option<SortOrder>,
    /// Only rows that contain this text.
    pub filter: String,
}

/// What keys go to, instead of to the tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// A text to look for is being typed; this was the text before.
    Filter(String),
    /// Whether to reset.
    Reset,
    /// What to save.
    Save,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct UserChoices {
    pub tab: Tab,
    rows: [RowSelection; Tab::ALL.len()],
    /// The row whose detail is shown, in its tab.
    pub detail: Option<RowKey>,
    /// The help is shown.
    pub help: bool,
    /// By how many lines the detail or the help is scrolled.
    pub scroll: usize,
    pub prompt: Option<Prompt>,
    /// The screen stays as it is while recording goes on.
    pub paused: bool,
    /// Which part of the recording is shown.
    pub range: Range,
    /// To whom waiting is attributed.
    pub blame: Attribution,
    /// Threads with similar names are one row.
    pub merged: bool,
    /// What functions and the flame graph are of.
    pub calls: CallTreeChoice,
    /// The time between two refreshes.
    pub interval_ms: u64,
    pub flame: FlamePosition,
    /// Shown once, in the last line.
    pub message: String,
    /// Why no more snapshots come, if so.
    pub ended: Option<String>,
}

/// The choices that what is in a tab follows from. As long as they and the snapshot are equal, so is the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentChoices {
    pub tab: Tab,
    pub detail: Option<RowKey>,
    pub order: SortOrder,
    pub filter: String,
    pub blame: Attribution,
    pub merged: bool,
    pub calls: CallTreeChoice,
}

impl UserChoices {
    pub(crate) fn new(blame: Attribution, interval_ms: u64) -> UserChoices {
        let calls = CallTreeChoice { functions: true, view: View::Cpu, thread: None };
        UserChoices { blame, interval_ms, range: Range::Last(10), calls, ..UserChoices::default() }
    }

    /// Those of the tab.
    pub(crate) fn rows(&self) -> &RowSelection {
        &self.rows[self.tab as usize]
    }

    pub(crate) fn rows_mut(&mut self) -> &mut RowSelection {
        &mut self.rows[self.tab as usize]
    }

    /// The order of the tab's rows.
    pub(crate) fn order(&self) -> SortOrder {
        self.rows().order.unwrap_or(self.tab.default_order())
    }

    pub(crate) fn content(&self) -> ContentChoices {
        ContentChoices {
            tab: self.tab,
            detail: self.detail.clone(),
            order: self.order(),
            filter: self.rows().filter.clone(),
            blame: self.blame,
            merged: self.merged,
            calls: self.calls.clone(),
        }
    }

    /// The thread that the content of the tab is of; all if `None`.
    pub(crate) fn shown_thread(&self) -> Option<ThreadId> {
        self.calls.thread.filter(|_| matches!(self.tab, Tab::Functions | Tab::Flame))
    }

    /// The index of the selected row in a table.
    pub(crate) fn selected(&self, table: &ScreenTable) -> Option<usize> {
        let rows = self.rows();
        let known = rows.selected.as_ref().and_then(|key| table.rows.iter().position(|row| row.key == *key));
        known.or_else(|| table.rows.len().checked_sub(1).map(|last| rows.index.min(last)))
    }
}
