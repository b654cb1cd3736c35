//! The tabs: what each is called, and its table. Pure functions of what is shown and of what the user has chosen; called by
//! `draw`, `batch`, and by `app` to find out what is selected.

mod findings;
mod functions;
mod gil;
mod locks;
mod pauses;
mod refcounts;
mod threads;

use super::app::App;
use super::history::History;
use super::shown::Shown;
use super::table::{Column, Order, Table};
use crate::event::ThreadId;
use crate::report::text::units::short_label;

pub use self::pauses::List;
pub use self::threads::{holder, waits_for};

/// What the flame graph is of.
pub fn flame_title(app: &App, shown: &Shown, all: u64) -> String {
    functions::title(shown, &app.choice(), all)
}

/// A tab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// What each thread does.
    #[default]
    Threads,
    /// Who waits for the GIL.
    Gil,
    /// Which locks are waited for.
    Locks,
    /// Reference counts that threads share.
    Refcounts,
    /// Stops of all threads.
    Pauses,
    /// Where the time goes, as a table.
    Functions,
    /// And as a picture.
    Flame,
    /// What is wrong.
    Findings,
}

impl Tab {
    /// All of them, in the order of their keys.
    pub const ALL: [Tab; 8] =
        [Tab::Threads, Tab::Gil, Tab::Locks, Tab::Refcounts, Tab::Pauses, Tab::Functions, Tab::Flame, Tab::Findings];

    /// Its name.
    pub fn name(self) -> &'static str {
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

    /// By which column its table is sorted at first.
    pub fn order(self) -> Order {
        let column = match self {
            Tab::Threads => threads::BUSY,
            Tab::Gil => gil::TOTAL,
            Tab::Locks => locks::TOTAL,
            Tab::Refcounts => refcounts::OF_CPU,
            Tab::Pauses => pauses::TIME,
            Tab::Functions => functions::OWN,
            Tab::Flame | Tab::Findings => "",
        };
        Order { column, ascending: false }
    }
}

/// The table of the tab that is chosen, sorted and filtered. The flame graph has none.
pub fn table(app: &App, shown: &Shown, history: &History) -> Table {
    let mut table = match app.tab {
        Tab::Threads => threads::table(app, shown, history),
        Tab::Gil => gil::table(app, shown),
        Tab::Locks => locks::table(app, shown),
        Tab::Refcounts => refcounts::table(shown),
        Tab::Pauses => pauses::table(shown),
        Tab::Functions => functions::table(app, shown),
        Tab::Flame => Table::default(),
        Tab::Findings => findings::table(shown),
    };
    if !app.list().filter.is_empty() {
        table.filter(&app.list().filter);
        if table.rows.is_empty() {
            table.empty = format!("Nothing here has \"{}\" in it. Esc shows all again.", app.list().filter);
        }
    }
    if app.tab != Tab::Findings {
        table.sort(app.list().order.unwrap_or(app.tab.order()));
    }
    table
}

/// All columns of a tab, for the help.
pub fn columns(tab: Tab) -> &'static [Column] {
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

/// `worker (4711)`.
fn thread_label(shown: &Shown, thread: usize) -> String {
    short_label(&shown.name(thread), shown.part.profile.threads[thread].tid, 40)
}

/// The first place in a list of blame that this thread is in, or (without one) that anybody is in.
fn place_of(shown: &Shown, blames: &[crate::contention::Blame], thread: Option<ThreadId>) -> String {
    let found = blames.iter().find(|blame| thread.is_none_or(|thread| thread == blame.thread));
    found.map_or_else(String::new, |blame| shown.place(blame.stack))
}
