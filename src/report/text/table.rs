//! Lays out columns of numbers behind a label. Called by the sections of the text.

use std::fmt;

use super::units::cut;

/// The label gets at least this much.
const LEAST_LABEL: usize = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    heading: [&'static str; 2],
    width: usize,
}

impl Column {
    /// The first: what the row is about. It gets what the others leave.
    pub fn label(heading: [&'static str; 2]) -> Column {
        Column { heading, width: 0 }
    }

    /// A number with a heading of two lines. The space before it is part of the width.
    pub fn number(heading: [&'static str; 2], width: usize) -> Column {
        Column { heading, width: width.max(heading[0].len() + 1).max(heading[1].len() + 1) }
    }
}

/// A table that prints at most as wide as it is told.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    lines: Vec<String>,
}

impl Table {
    /// An empty table. The first column is the label.
    pub fn new(mut columns: Vec<Column>, width: usize) -> Table {
        let numbers: usize = columns[1..].iter().map(|column| column.width).sum();
        // A table with few columns would be hard to follow from end to end.
        columns[0].width = width.saturating_sub(numbers).clamp(LEAST_LABEL, 32);
        let mut table = Table { columns, lines: Vec::new() };
        for line in 0..2 {
            let headings: Vec<String> = table.columns.iter().map(|column| column.heading[line].to_owned()).collect();
            if headings.iter().any(|heading| !heading.is_empty()) {
                table.row(&headings[0], &headings[1..]);
            }
        }
        table
    }

    /// How long a label can be.
    pub fn label_width(&self) -> usize {
        self.columns[0].width
    }

    pub fn row(&mut self, label: &str, numbers: &[String]) {
        let width = self.columns[0].width;
        let mut line = format!("{:width$}", cut(label, width));
        for (column, number) in self.columns[1..].iter().zip(numbers) {
            line.push_str(&format!("{number:>width$}", width = column.width));
        }
        self.lines.push(line.trim_end().to_owned());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_on_the_right_and_labels_are_cut() {
        let mut table = Table::new(vec![Column::label(["", "what"]), Column::number(["in", "all"], 6)], 18);
        table.row("a", &["1".to_owned()]);
        table.row("a label that is long", &["22".to_owned()]);
        assert_eq!(table.label_width(), 12);
        assert_eq!(
            table.to_string().lines().collect::<Vec<_>>(),
            ["                in", "what           all", "a                1", "a label th..    22"]
        );
    }
}
