//! A table as it is before it is drawn: columns that can be dropped, rows with a key by which they are found again when
//! the order has changed. Made by the tabs; sorted and filtered here; drawn by `draw::table`.

use super::class::Class;
use super::tabs::List;
use crate::event::{GilId, LockId};

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// A thread.
    Thread(usize),
    /// Threads with similar names.
    Threads(String),
    /// A thread at a GIL.
    Waiter(GilId, usize),
    /// A lock.
    Lock(LockId),
    /// An object, by its address.
    Object(u64),
    /// Somebody in a list of the tab of pauses.
    Pause(List, usize),
    /// A function, or a line of it.
    Function(String),
    /// A finding, by its place in the list.
    Finding(usize),
}

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As everything else.
    #[default]
    Plain,
    /// Matters less.
    Dim,
    /// In the colour of a state.
    Of(Class),
    /// A warning.
    Alarm,
}

/// What is in a cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The text; of a strip only its letters.
    pub text: String,
    /// What to sort by; text is sorted by itself.
    pub order: Option<f64>,
    /// How it looks.
    pub tone: Tone,
    /// What a thread did over time, the newest last: instead of the text.
    pub strip: Vec<Class>,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }

    /// A number, in words.
    pub fn number(value: f64, text: impl Into<String>) -> Cell {
        let tone = if value == 0.0 { Tone::Dim } else { Tone::Plain };
        Cell { text: text.into(), order: Some(value), tone, strip: Vec::new() }
    }

    /// A part of a whole, in percent.
    pub fn share(part: f64, whole: f64) -> Cell {
        if part <= 0.0 || whole <= 0.0 {
            return Cell::number(0.0, "-");
        }
        let percent = part / whole * 100.0;
        Cell::number(percent, if percent >= 99.95 { "100".to_owned() } else { format!("{percent:.1}") })
    }

    /// The same, in another tone unless there is nothing in it.
    pub fn toned(self, tone: Tone) -> Cell {
        if self.tone == Tone::Dim { self } else { Cell { tone, ..self } }
    }
}

/// How wide a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Always so wide.
    Fixed(u16),
    /// At least so wide; what is left is shared out by weight.
    Flexible(u16, u16),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// What it says, for the help.
    pub help: &'static str,
    /// Its width, without the space after it.
    pub width: Width,
    /// Numbers are on the right.
    pub right: bool,
    /// Where there is no room, columns with a higher number go first; those with 0 stay.
    pub priority: u8,
}

impl Column {
    /// A column of text.
    pub const fn text(title: &'static str, least: u16, weight: u16, priority: u8, help: &'static str) -> Column {
        Column { title, help, width: Width::Flexible(least, weight), right: false, priority }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str, width: u16, priority: u8, help: &'static str) -> Column {
        Column { title, help, width: Width::Fixed(width), right: true, priority }
    }

    fn least(&self) -> u16 {
        match self.width {
            Width::Fixed(width) | Width::Flexible(width, _) => width,
        }
    }
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about.
    pub key: RowKey,
    /// As many cells as there are columns.
    pub cells: Vec<Cell>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// What it says above the headings, line by line.
    pub notes: Vec<String>,
    /// What it says if there are no rows.
    pub empty: String,
}

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// By the column with this heading.
    pub column: &'static str,
    /// The least first.
    pub ascending: bool,
}

impl Table {
    /// Puts the rows in order. Equal ones stay as they were.
    pub fn sort(&mut self, order: Order) {
        let Order { column, ascending } = order;
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

    /// Leaves the rows that have a text in one of their cells, in whatever case.
    pub fn filter(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        self.rows.retain(|row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
    }

    /// Which columns there is room for, with where each begins and how wide it is.
    pub fn layout(&self, width: u16) -> Vec<(usize, u16, u16)> {
        let mut kept: Vec<usize> = (0..self.columns.len()).collect();
        let needed = |kept: &[usize]| -> u16 {
            kept.iter().map(|&index| self.columns[index].least() + 1).sum::<u16>().saturating_sub(1)
        };
        while needed(&kept) > width {
            // The last of those that matter least.
            let Some(at) = (0..kept.len()).rev().max_by_key(|&at| (self.columns[kept[at]].priority, at)) else {
                break;
            };
            if self.columns[kept[at]].priority == 0 {
                break;
            }
            kept.remove(at);
        }
        let weight = |index: usize| match self.columns[index].width {
            Width::Fixed(_) => 0,
            Width::Flexible(_, weight) => u32::from(weight),
        };
        let mut left = u32::from(width.saturating_sub(needed(&kept)));
        let mut weights: u32 = kept.iter().map(|&index| weight(index)).sum();
        let mut x = 0;
        let mut places = Vec::new();
        for index in kept {
            let more = (left * weight(index)).checked_div(weights).unwrap_or(0);
            left -= more;
            weights -= weight(index);
            let wide = (self.columns[index].least() + more as u16).min(width.saturating_sub(x));
            places.push((index, x, wide));
            x = (x + wide + 1).min(width);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = vec![
            Column::text("NAME", 10, 1, 0, ""),
            Column::number("A", 6, 1, ""),
            Column::number("B", 6, 2, ""),
            Column::text("WHERE", 12, 3, 3, ""),
        ];
        let row = |index: usize, name: &str, a: f64| Row {
            key: RowKey::Thread(index),
            cells: vec![Cell::text(name), Cell::number(a, a.to_string()), Cell::number(1.0, "1"), Cell::text("here")],
        };
        let rows = vec![row(0, "bob", 3.0), row(1, "Alice", 2.0), row(2, "eve", 10.0)];
        Table { columns, rows, ..Table::default() }
    }

    fn names(table: &Table) -> Vec<&str> {
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
        table.sort(Order { column: "A", ascending: false });
        assert_eq!(names(&table), ["eve", "bob", "Alice"]);
        table.sort(Order { column: "A", ascending: true });
        assert_eq!(names(&table), ["Alice", "bob", "eve"]);
        table.sort(Order { column: "NAME", ascending: false });
        assert_eq!(names(&table), ["Alice", "bob", "eve"]);
        table.filter("LI");
        assert_eq!(names(&table), ["Alice"]);
    }
}
