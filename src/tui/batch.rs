//! `gilscope top` without a screen: a table at each interval, as plain text. For pipes, logs, and terminals that can do
//! nothing else.

use std::io::{Write, stdout};
use std::sync::Arc;

use anyhow::Result;

use super::app::App;
use super::draw::verdict;
use super::feed::{Ending, Feed};
use super::history::History;
use super::shown::{Past, Range, Shown};
use super::table::Table;
use super::tabs::{Tab, table};
use super::theme::Theme;
use crate::report::text::units::cut;
use crate::snapshot::Snapshot;

/// Lines are at most so wide.
const WIDTH: u16 = 140;
/// So many threads are told of, and so many locks.
const MOST_THREADS: usize = 30;
const MOST_LOCKS: usize = 5;

/// Prints until the other side has ended, or `count` tables were printed.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(feed: &Feed, mut app: App, theme: Theme, count: Option<u64>) -> Result<()> {
    let (mut number, mut printed) = (0, 0);
    let mut before: Option<Arc<Snapshot>> = None;
    while let Some(news) = feed.wait(number) {
        if news.number != number
            && let Some(before) = &before
        {
            let text = text(&mut app, &news.snapshot, before, theme);
            let mut out = stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
            printed += 1;
        }
        if news.end.is_some() || Some(printed) == count {
            if let Some(Ending::Over(why)) = news.end {
                writeln!(stdout().lock(), "{why}")?;
            }
            return Ok(());
        }
        number = news.number;
        before = Some(news.snapshot);
    }
    Ok(())
}

/// What happened between two snapshots.
fn text(app: &mut App, now: &Arc<Snapshot>, before: &Arc<Snapshot>, theme: Theme) -> String {
    let mut past = Past::default();
    past.reset(before);
    let shown = Shown::new(now, &past, Range::All, app.blame);
    let since_start = now.at.since(now.profile.session.start) as f64 / 1e9;
    let mut out = format!("[{since_start:.1} s] {}\n", verdict(&shown));
    for (tab, most) in [(Tab::Threads, MOST_THREADS), (Tab::Locks, MOST_LOCKS)] {
        app.tab = tab;
        let mut table = table(app, &shown, &History::default());
        if !table.rows.is_empty() {
            // There is no room for time from left to right: it goes from table to table.
            if let Some(strip) = table.columns.iter().position(|column| column.title == "OVER TIME") {
                table.columns.remove(strip);
                table.rows.iter_mut().for_each(|row| drop(row.cells.remove(strip)));
            }
            out.push_str(&plain(&table, most));
        }
    }
    out.push('\n');
    theme.text(&out).into_owned()
}

/// A table as text.
fn plain(table: &Table, most: usize) -> String {
    let layout = table.layout(WIDTH);
    let mut out = String::new();
    let mut line = |cells: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for &(index, _, width) in &layout {
            let (cell, width) = (cells(index), usize::from(width));
            let cell = cut(&cell, width);
            text += &if table.columns[index].right { format!("{cell:>width$} ") } else { format!("{cell:<width$} ") };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&|index| table.columns[index].title.to_owned());
    for row in table.rows.iter().take(most) {
        line(&|index| row.cells[index].text.clone());
    }
    if table.rows.len() > most {
        out.push_str(&format!("... and {} more\n", table.rows.len() - most));
    }
    out
}
