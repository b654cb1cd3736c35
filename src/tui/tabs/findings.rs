//! The tab of findings: what is wrong, the worst first.

use crate::report::model::Severity;
use crate::stack::label::one_line;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone};

const COLUMNS: [Column; 2] = [Column::text("HOW BAD", 7, 0, 0, ""), Column::text("WHAT", 20, 1, 0, "")];

/// The table.
pub fn table(shown: &Shown) -> Table {
    let row = |(index, finding): (usize, &crate::report::model::Finding)| {
        let (word, tone) = match finding.severity {
            Severity::High => ("HIGH", Tone::Alarm),
            Severity::Medium => ("MEDIUM", Tone::Plain),
            Severity::Low => ("LOW", Tone::Dim),
        };
        let cells = vec![Cell { tone, ..Cell::text(word) }, Cell::text(one_line(&finding.message))];
        Row { key: RowKey::Finding(index), cells }
    };
    Table {
        columns: COLUMNS.to_vec(),
        rows: shown.report.findings.iter().enumerate().map(row).collect(),
        notes: shown.report.session.degraded.iter().map(|note| one_line(note)).collect(),
        empty: "Nothing is wrong that gilscope could see.".to_owned(),
    }
}
