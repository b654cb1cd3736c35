//! A table as it is before it is drawn: columns that can be dropped, rows with a key by which they are found again when
//! the order has changed. Made by the tabs; sorted and filtered here.

use crate::event::{Activity, GilId, LockId};
use crate::report::columns::{ColumnFormat, TableColumn};

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RowKey {
    /// By its index in the profile.
    Thread(usize),
    /// Threads with similar names, by what their names have in common.
    Threads(String),
    /// A thread at a GIL.
    Waiter(GilId, usize),
    Lock(LockId),
    /// An object, by its address.
    Object(u64),
    /// By its index in one of the lists of the tab of pauses.
    Pause(PauseList, usize),
    /// A function, or a line of it, by its label.
    Function(String),
    /// By its index in the report.
    Finding(usize),
}

/// The lists that the table of pauses consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PauseList {
    /// Who stopped the others.
    Stopped,
    /// Who was the last to stop.
    LastToStop,
    /// Who collected garbage.
    Collected,
}

/// How a text stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Matters less.
    Dim,
    /// In the colour of an activity; dim where there is none.
    Of(Option<Activity>),
    /// A warning.
    Alarm,
}

impl From<Activity> for Tone {
    fn from(activity: Activity) -> Tone {
        Tone::Of(Some(activity))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TableCell {
    pub text: String,
    /// What to sort by; text is sorted by itself.
    pub order: Option<f64>,
    pub tone: Tone,
    /// What a thread did over time, the newest last: instead of the text. `None` where it was not there.
    pub strip: Vec<Option<Activity>>,
}

impl TableCell {
    pub(crate) fn text(text: impl Into<String>) -> TableCell {
        TableCell { text: text.into(), ..TableCell::default() }
    }

    /// A value in the format and the colour of its column; zero is dim.
    pub(crate) fn value(column: &TableColumn, value: f64) -> TableCell {
        // Headings on the screen have the sign of shares.
        let format = match column.format {
            ColumnFormat::Percent if column.screen_heading.ends_with('%') => ColumnFormat::Share,
            format => format,
        };
        let text = match format {
            ColumnFormat::Time if value <= 0.0 => "-".to_owned(),
            format => format.text(value),
        };
        let tone = match column.activity {
            _ if value <= 0.0 => Tone::Dim,
            Some(activity) => activity.into(),
            None => Tone::Plain,
        };
        TableCell { text, order: Some(value.max(0.0)), tone, strip: Vec::new() }
    }

    /// `part` of `whole`, as a share.
    pub(crate) fn share(column: &TableColumn, part: f64, whole: f64) -> TableCell {
        TableCell::value(column, if whole > 0.0 { part / whole } else { 0.0 })
    }
}

/// In columns of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnWidth {
    Fixed(u16),
    /// The minimum; what is left is divided by weight.
    Flexible {
        min: u16,
        weight: u16,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ScreenColumn {
    /// Differs from that of the definition where it depends on what was chosen.
    pub title: &'static str,
    pub help: &'static str,
    /// Without the space after it.
    pub width: ColumnWidth,
    /// Numbers are on the right.
    pub right: bool,
    /// Where there is no room, columns with a higher number go first; those with 0 stay.
    pub priority: u8,
}

impl ScreenColumn {
    pub(crate) const fn text(column: &TableColumn, min: u16, weight: u16, priority: u8) -> ScreenColumn {
        let width = ColumnWidth::Flexible { min, weight };
        ScreenColumn { title: column.screen_heading, help: column.help, width, right: false, priority }
    }

    /// A column of letters or words of about one length.
    pub(crate) const fn fixed(column: &TableColumn, width: u16, priority: u8) -> ScreenColumn {
        let width = ColumnWidth::Fixed(width);
        ScreenColumn { title: column.screen_heading, help: column.help, width, right: false, priority }
    }

    pub(crate) const fn number(column: &TableColumn, width: u16, priority: u8) -> ScreenColumn {
        ScreenColumn { right: true, ..ScreenColumn::fixed(column, width, priority) }
    }

    fn min(&self) -> u16 {
        match self.width {
            ColumnWidth::Fixed(width) | ColumnWidth::Flexible { min: width, .. } => width,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TableRow {
    pub key: RowKey,
    /// As many as there are columns.
    pub cells: Vec<TableCell>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ScreenTable {
    pub columns: Vec<ScreenColumn>,
    pub rows: Vec<TableRow>,
    /// What it says above the headings, line by line.
    pub notes: Vec<String>,
    /// What it says if there are no rows.
    pub empty: String,
}

/// In which order rows come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SortOrder {
    /// By the column with this heading.
    pub column: &'static str,
    /// The least first.
    pub ascending: bool,
}

impl ScreenTable {
    /// Puts the rows in order. Equal ones stay as they were.
    pub(crate) fn sort(&mut self, order: SortOrder) {
        let SortOrder { column, ascending } = order;
        let Some(column) = self.columns.iter().position(|known| known.title == column) else { return };
        self.rows.sort_by(|a, b| {
            let (a, b) = (&a.cells[column], &b.cells[column]);
            let ordering = match (a.order, b.order) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                // Text is read from A to Z, numbers from the greatest.
                _ => b.text.to_lowercase().cmp(&a.text.to_lowercase()),
            };
            if ascending { ordering } else { ordering.reverse() }
        });
    }

    /// Keeps the rows that have a text in one of their cells, in upper or lower case.
    pub(crate) fn filter(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        self.rows.retain(|row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
    }

    /// Which columns there is room for, with where each begins and how wide it is.
    pub(crate) fn layout(&self, width: u16) -> Vec<(usize, u16, u16)> {
        let mut kept: Vec<usize> = (0..self.columns.len()).collect();
        let needed = |kept: &[usize]| -> u16 {
            kept.iter().map(|&index| self.columns[index].min() + 1).sum::<u16>().saturating_sub(1)
        };
        while needed(&kept) > width {
            // The last of those of the lowest priority.
            let Some(at) = (0..kept.len()).rev().max_by_key(|&at| (self.columns[kept[at]].priority, at)) else {
                break;
            };
            if self.columns[kept[at]].priority == 0 {
                break;
            }
            kept.remove(at);
        }
        let weight = |index: usize| match self.columns[index].width {
            ColumnWidth::Fixed(_) => 0,
            ColumnWidth::Flexible { weight, .. } => u32::from(weight),
        };
        let mut left = u32::from(width.saturating_sub(needed(&kept)));
        let mut weights: u32 = kept.iter().map(|&index| weight(index)).sum();
        let mut x = 0;
        let mut places = Vec::new();
        for index in kept {
            let more = (left * weight(index)).checked_div(weights).unwrap_or(0);
            left -= more;
            weights -= weight(index);
            let wide = (self.columns[index].min() + more as u16).min(width.saturating_sub(x));
            places.push((index, x, wide));
            x = (x + wide + 1).min(width);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::columns::gil;

    fn table() -> ScreenTable {
        let named = |title| TableColumn { screen_heading: title, ..gil::WAITS };
        let (a, b) = (named("A"), named("B"));
        let columns = vec![
            ScreenColumn::text(&named("NAME"), 10, 1, 0),
            ScreenColumn::number(&a, 6, 1),
            ScreenColumn::number(&b, 6, 2),
            ScreenColumn::text(&gil::WHERE, 12, 3, 3),
        ];
        let row = |index: usize, name: &str, number: f64| TableRow {
            key: RowKey::Thread(index),
            cells: vec![
                TableCell::text(name),
                TableCell::value(&a, number),
                TableCell::value(&b, 1.0),
                TableCell::text("here"),
            ],
        };
        let rows = vec![row(0, "bob", 3.0), row(1, "Alice", 2.0), row(2, "eve", 10.0)];
        ScreenTable { columns, rows, ..ScreenTable::default() }
    }

    fn names(table: &ScreenTable) -> Vec<&str> {
        table.rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    }

    #[test]
    fn columns_that_matter_less_go_first() {
        let kept = |width| table().layout(width).iter().map(|(index, ..)| *index).collect::<Vec<_>>();
        assert_eq!(kept(37), [0, 1, 2, 3]);
        assert_eq!(kept(36), [0, 1, 2]);
        assert_eq!(kept(20), [0, 1]);
        assert_eq!(kept(8), [0]);
        // What is left goes to those that can use it.
        assert_eq!(table().layout(41), [(0, 0, 11), (1, 12, 6), (2, 19, 6), (3, 26, 15)]);
        assert_eq!(table().layout(5), [(0, 0, 5)]);
    }

    #[test]
    fn numbers_are_sorted_from_the_greatest_and_text_from_a() {
        let mut table = table();
        table.sort(SortOrder { column: "A", ascending: false });
        assert_eq!(names(&table), ["eve", "bob", "Alice"]);
        table.sort(SortOrder { column: "A", ascending: true });
        assert_eq!(names(&table), ["Alice", "bob", "eve"]);
        table.sort(SortOrder { column: "NAME", ascending: false });
        assert_eq!(names(&table), ["Alice", "bob", "eve"]);
        table.filter("LI");
        assert_eq!(names(&table), ["Alice"]);
    }
}
