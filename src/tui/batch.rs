//! `gilscope top` without a screen: tables at each interval, as plain text. For pipes, logs, and terminals that can only
//! print lines.

use std::sync::Arc;

use anyhow::Result;

use super::feed::{Ending, Feed};
use super::state::choices::{Tab, UserChoices};
use super::state::history::History;
use super::state::shown::{PastSnapshots, Range, ShownPart};
use super::state::table::ScreenTable;
use super::tabs;
use super::theme::Theme;
use crate::output::print;
use crate::report::columns::threads::OVER_TIME;
use crate::report::text::units::cut;
use crate::snapshot::Snapshot;
use crate::text::padded;

const MAX_WIDTH: u16 = 140;
const MAX_THREADS: usize = 30;
const MAX_LOCKS: usize = 5;

/// Prints until the other side has ended, or `count` tables were printed.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn run(feed: &Feed, mut choices: UserChoices, theme: Theme, count: Option<u64>) -> Result<()> {
    let (mut number, mut printed) = (0, 0);
    let mut before: Option<Arc<Snapshot>> = None;
    while let Some(news) = feed.wait(number) {
        if news.number != number
            && let Some(before) = &before
        {
            let text = text(&mut choices, &news.snapshot, before, theme);
            print(&text)?;
            printed += 1;
        }
        if news.end.is_some() || Some(printed) == count {
            if let Some(Ending::Over(why)) = news.end {
                print(&format!("{why}\n"))?;
            }
            return Ok(());
        }
        number = news.number;
        before = Some(news.snapshot);
    }
    Ok(())
}

/// What happened between two snapshots.
fn text(choices: &mut UserChoices, now: &Arc<Snapshot>, before: &Arc<Snapshot>, theme: Theme) -> String {
    let mut past = PastSnapshots::default();
    past.reset(before);
    let shown = ShownPart::new(now, &past, Range::All, choices.blame);
    let since_start = now.at.since(now.profile.session.start) as f64 / 1e9;
    let mut out = format!("[{since_start:.1} s] {}\n", shown.verdict());
    for (tab, max_rows) in [(Tab::Threads, MAX_THREADS), (Tab::Locks, MAX_LOCKS)] {
        choices.tab = tab;
        let mut table = tabs::table(&choices.content(), &shown, &History::default());
        if !table.rows.is_empty() {
            // There is no room for time from left to right: it goes from table to table.
            if let Some(strip) = table.columns.iter().position(|column| column.title == OVER_TIME.screen_heading) {
                table.columns.remove(strip);
                table.rows.iter_mut().for_each(|row| drop(row.cells.remove(strip)));
            }
            out.push_str(&plain(&table, max_rows));
        }
    }
    out.push('\n');
    theme.text(&out).into_owned()
}

/// A table as text.
fn plain(table: &ScreenTable, max_rows: usize) -> String {
    let layout = table.layout(MAX_WIDTH);
    let mut out = String::new();
    let mut line = |cells: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for &(index, _, width) in &layout {
            let (cell, width) = (cells(index), usize::from(width));
            let cell = cut(&cell, width);
            text += &if table.columns[index].right { format!("{cell:>width$} ") } else { padded(&cell, width) + " " };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&|index| table.columns[index].title.to_owned());
    for row in table.rows.iter().take(max_rows) {
        line(&|index| row.cells[index].text.clone());
    }
    if table.rows.len() > max_rows {
        out.push_str(&format!("... and {} more\n", table.rows.len() - max_rows));
    }
    out
}
