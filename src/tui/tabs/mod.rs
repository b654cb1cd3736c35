//! What is in each tab, a file each: its table, and the detail of a row. Pure functions of the part of the recording that is
//! shown and of what the user chose.

mod detail_parts;
mod findings;
mod functions;
mod gil;
mod labels;
mod locks;
mod pauses;
mod refcounts;
mod threads;

use super::state::call_tree::CallTree;
use super::state::choices::{ContentChoices, Tab};
use super::state::detail::RowDetail;
use super::state::history::History;
use super::state::shown::ShownPart;
use super::state::table::{RowKey, ScreenColumn, ScreenTable};

/// The table of the chosen tab, sorted and filtered. The flame graph has none.
pub(crate) fn table(choices: &ContentChoices, shown: &ShownPart, history: &History) -> ScreenTable {
    let mut table = match choices.tab {
        Tab::Threads => threads::table(choices.merged, shown, history),
        Tab::Gil => gil::table(choices.blame, shown),
        Tab::Locks => locks::table(choices.blame, shown),
        Tab::Refcounts => refcounts::table(shown),
        Tab::Pauses => pauses::table(shown),
        Tab::Functions => functions::table(&choices.calls, shown),
        Tab::Flame => ScreenTable::default(),
        Tab::Findings => findings::table(shown),
    };
    if !choices.filter.is_empty() {
        table.filter(&choices.filter);
        if table.rows.is_empty() {
            table.empty = format!("Nothing here contains \"{}\". Esc shows all rows again.", choices.filter);
        }
    }
    if choices.tab != Tab::Findings {
        table.sort(choices.order);
    }
    table
}

/// Everything about one row.
pub(crate) fn detail(key: &RowKey, choices: &ContentChoices, shown: &ShownPart, history: &History) -> RowDetail {
    match key {
        RowKey::Thread(thread) => threads::detail(shown, history, *thread),
        RowKey::Threads(name) => threads::merged_detail(name),
        RowKey::Waiter(gil, thread) => gil::detail(shown, history, *gil, *thread),
        RowKey::Lock(lock) => locks::detail(shown, history, *lock),
        RowKey::Object(address) => refcounts::detail(shown, *address),
        RowKey::Pause(list, index) => pauses::detail(shown, history, *list, *index),
        RowKey::Function(name) => functions::detail(&choices.calls, shown, name),
        RowKey::Finding(index) => findings::detail(shown, *index),
    }
}

/// The flame graph of what the user chose, and what it is of.
pub(crate) fn flame_graph(choices: &ContentChoices, shown: &ShownPart) -> (CallTree, String) {
    let tree = CallTree::of(&shown.part.profile, &choices.calls);
    let title = functions::title(&choices.calls, shown, tree.nodes[0].total);
    (tree, title)
}

/// All columns of a tab, for the help.
pub(crate) fn columns(tab: Tab) -> &'static [ScreenColumn] {
    match tab {
        Tab::Threads => &threads::COLUMNS,
        Tab::Gil => &gil::COLUMNS,
        Tab::Locks => &locks::COLUMNS,
        Tab::Refcounts => &refcounts::COLUMNS,
        Tab::Pauses => &pauses::COLUMNS,
        Tab::Functions => &functions::COLUMNS,
        Tab::Flame | Tab::Findings => &[],
    }
}
