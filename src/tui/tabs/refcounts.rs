//! The tab of reference counts: the objects whose counts threads contend for.

use super::detail_parts::MAX_STACKS;
use crate::report::columns::refcounts;
use crate::report::model::CountedObject;
use crate::report::text::units::{label, percent, plural};
use crate::stack::label::one_line;
use crate::tui::state::detail::{DetailLine, RowDetail};
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{RowKey, ScreenColumn, ScreenTable, TableCell, TableRow};

/// Where a stack begins below its share.
const STACK_INDENT: usize = 12;

pub(super) const COLUMNS: [ScreenColumn; 8] = [
    ScreenColumn::text(&refcounts::OBJECT, 18, 3, 0),
    ScreenColumn::number(&refcounts::CPU_SHARE, 6, 0),
    ScreenColumn::number(&refcounts::SAMPLES, 7, 3),
    ScreenColumn::number(&refcounts::THREADS, 7, 1),
    ScreenColumn::number(&refcounts::ATOMIC, 7, 3),
    ScreenColumn::text(&refcounts::COUNTED, 9, 0, 4),
    ScreenColumn::text(&refcounts::OWNER, 10, 1, 5),
    ScreenColumn::text(&refcounts::WHERE, 14, 4, 2),
];

pub(super) fn table(shown: &ShownPart) -> ScreenTable {
    let refcounts = &shown.report.refcounts;
    let mut notes = Vec::new();
    if !refcounts.objects.is_empty() {
        let parts = refcounts.elsewhere.parts().into_iter().filter(|(_, part)| *part > 0.0);
        let parts: Vec<String> = parts.map(|(name, part)| format!("{name} {}", percent(part))).collect();
        notes.push(format!(
            "{} of the CPU time (+/- {}, estimated from {} samples); other atomic operations: {}",
            percent(refcounts.cpu_fraction),
            percent(refcounts.margin),
            refcounts.samples,
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") },
        ));
    }
    let empty = match &refcounts.unavailable {
        Some(why) => format!("Reference counts are not measured: {}.", one_line(why)),
        None => format!("None of {} samples found threads that contend for a reference count.", refcounts.samples),
    };
    ScreenTable { columns: COLUMNS.to_vec(), rows: refcounts.objects.iter().map(row).collect(), notes, empty }
}

fn row(object: &CountedObject) -> TableRow {
    let all: u64 = object.operations.values().sum();
    let place = object.stacks.first().and_then(|sampled| sampled.stack.first());
    let cells = vec![
        TableCell::text(one_line(&object.name_first())),
        TableCell::value(&refcounts::CPU_SHARE, object.cpu_fraction),
        TableCell::value(&refcounts::SAMPLES, object.samples as f64),
        TableCell::value(&refcounts::THREADS, object.threads as f64),
        TableCell::share(&refcounts::ATOMIC, object.atomic as f64, all as f64),
        TableCell::text(object.counting.clone()),
        TableCell::text(one_line(object.owner.as_deref().unwrap_or("-"))),
        TableCell::text(place.map_or_else(String::new, |place| one_line(place))),
    ];
    TableRow { key: RowKey::Object(object.address), cells }
}

pub(super) fn detail(shown: &ShownPart, address: u64) -> RowDetail {
    let mut detail = RowDetail::default();
    let refcounts = &shown.report.refcounts;
    let Some(object) = refcounts.objects.iter().find(|object| object.address == address) else {
        detail.sentence("No thread was held up by its count in this time range.");
        return detail;
    };
    let length = object.length.map_or_else(String::new, |length| format!(", {length} items"));
    detail.heading(format!("{} at {address:#x}{length}", one_line(&object.label)));
    let owner = object.owner.as_ref().map_or_else(|| "nobody".to_owned(), |owner| one_line(owner));
    detail.sentence(format!(
        "its count takes {} of the CPU time (estimated from {} samples, {} of them at atomic operations); {}; \
         owned by {owner}; counted: {}",
        percent(object.cpu_fraction),
        object.samples,
        object.atomic,
        plural(object.threads as u64, "thread"),
        object.counting
    ));
    if let Some(advice) = &object.advice {
        detail.sentence(format!("{advice}."));
    }
    let all: u64 = object.stacks.iter().map(|sampled| sampled.samples).sum();
    detail.heading("Who is held up, and where");
    for sampled in object.stacks.iter().take(MAX_STACKS * 2) {
        let part = percent(sampled.samples as f64 / all.max(1) as f64);
        detail.line(DetailLine::plain(format!("{part:>9}  {}", label(&sampled.thread, sampled.tid))));
        detail.frames(sampled.stack.clone(), STACK_INDENT);
    }
    detail
}
