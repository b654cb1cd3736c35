//! The tab of findings: what is wrong, the worst first.

use crate::report::columns::findings;
use crate::report::model::{Finding, Severity};
use crate::stack::label::one_line;
use crate::tui::state::detail::RowDetail;
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{RowKey, ScreenColumn, ScreenTable, TableCell, TableRow, Tone};

const COLUMNS: [ScreenColumn; 2] =
    [ScreenColumn::text(&findings::SEVERITY, 7, 0, 0), ScreenColumn::text(&findings::MESSAGE, 20, 1, 0)];

pub(super) fn table(shown: &ShownPart) -> ScreenTable {
    let row = |(index, finding): (usize, &Finding)| {
        let (word, tone) = match finding.severity {
            Severity::High => ("HIGH", Tone::Alarm),
            Severity::Medium => ("MEDIUM", Tone::Plain),
            Severity::Low => ("LOW", Tone::Dim),
        };
        let cells = vec![TableCell { tone, ..TableCell::text(word) }, TableCell::text(one_line(&finding.message))];
        TableRow { key: RowKey::Finding(index), cells }
    };
    ScreenTable {
        columns: COLUMNS.to_vec(),
        rows: shown.report.findings.iter().enumerate().map(row).collect(),
        notes: shown.report.session.degraded.iter().map(|note| one_line(note)).collect(),
        empty: "gilscope has found no problem.".to_owned(),
    }
}

pub(super) fn detail(shown: &ShownPart, index: usize) -> RowDetail {
    let mut detail = RowDetail::default();
    let Some(finding) = shown.report.findings.get(index) else {
        detail.sentence("This finding no longer applies.");
        return detail;
    };
    detail.heading(finding.id.clone());
    detail.sentence(one_line(&finding.message));
    detail.heading("Evidence");
    for (name, value) in &finding.evidence {
        detail.sentence(format!("{name:<36} {}", one_line(&value.to_string())));
    }
    detail
}
