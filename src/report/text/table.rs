//! Lays out columns of numbers behind a label.

use std::fmt;

use super::units::cut;
use crate::report::columns::{ColumnFormat, TableColumn};
use crate::text::{padded, shown};

const MIN_LABEL: usize = 10;
/// A table with few columns would be hard to follow from end to end.
const MAX_LABEL: usize = 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct TextColumn {
    heading: [&'static str; 2],
    format: ColumnFormat,
    /// With the space before it.
    width: usize,
}

impl TextColumn {
    /// The first: what the row is about. It gets what the others leave.
    pub fn label(column: TableColumn) -> TextColumn {
        TextColumn { heading: column.heading, format: column.format, width: 0 }
    }

    /// A column of numbers, at least `width` wide.
    pub fn number(column: TableColumn, width: usize) -> TextColumn {
        let heading = column.heading;
        let width = width.max(heading[0].len() + 1).max(heading[1].len() + 1);
        TextColumn { heading, format: column.format, width }
    }
}

/// A table of a width.
#[derive(Debug)]
pub(super) struct TextTable {
    columns: Vec<TextColumn>,
    /// Before the heading of the label.
    indent: &'static str,
    lines: Vec<String>,
}

impl TextTable {
    /// The first column is the label.
    pub fn new(columns: Vec<TextColumn>, width: usize) -> TextTable {
        TextTable::indented("", columns, width)
    }

    /// The same, with labels that begin with `indent`.
    pub fn indented(indent: &'static str, mut columns: Vec<TextColumn>, width: usize) -> TextTable {
        let numbers: usize = columns[1..].iter().map(|column| column.width).sum();
        columns[0].width = width.saturating_sub(numbers).clamp(MIN_LABEL, MAX_LABEL);
        let mut table = TextTable { columns, indent, lines: Vec::new() };
        for line in 0..2 {
            let headings: Vec<String> = table.columns.iter().map(|column| column.heading[line].to_owned()).collect();
            if headings.iter().any(|heading| !heading.is_empty()) {
                table.cells(&headings[0], &headings[1..]);
            }
        }
        table
    }

    /// How long a label can be.
    pub fn label_width(&self) -> usize {
        self.columns[0].width
    }

    /// Adds a row with the values of the columns after the label, each in its column's format.
    pub fn row(&mut self, label: &str, values: &[f64]) {
        let formats = self.columns[1..].iter().map(|column| column.format);
        let cells: Vec<String> = formats.zip(values).map(|(format, value)| format.text(*value)).collect();
        self.cells(label, &cells);
    }

    fn cells(&mut self, label: &str, cells: &[String]) {
        let width = self.columns[0].width;
        let mut line = padded(&cut(&format!("{}{}", self.indent, shown(label)), width), width);
        for (column, cell) in self.columns[1..].iter().zip(cells) {
            line.push_str(&format!("{cell:>width$}", width = column.width));
        }
        self.lines.push(line.trim_end().to_owned());
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::columns::{gil, locks};

    #[test]
    fn numbers_are_on_the_right_and_labels_are_cut() {
        let what = TableColumn { heading: ["", "what"], ..locks::LOCK };
        let number = TableColumn { heading: ["in", "all"], ..gil::WAITS };
        let mut table = TextTable::new(vec![TextColumn::label(what), TextColumn::number(number, 6)], 18);
        table.row("a", &[1.0]);
        table.row("a label that is long", &[22.0]);
        assert_eq!(table.label_width(), 12);
        assert_eq!(
            table.to_string().lines().collect::<Vec<_>>(),
            ["                in", "what           all", "a                1", "a label th..    22"]
        );
    }
}
