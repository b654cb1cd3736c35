//! The tab of reference counts: the objects whose counts hold threads up.

use crate::report::model::CountedObject;
use crate::report::text::units::percent;
use crate::stack::label::one_line;
use crate::tui::class::Class;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone};

/// The column of [`COLUMNS`] that it is sorted by.
pub const OF_CPU: &str = "CPU%";

/// All columns.
pub const COLUMNS: [Column; 8] = [
    Column::text("OBJECT", 18, 3, 0, "the variable that leads to it, and its type; else its address"),
    Column::number("CPU%", 6, 0, "part of the CPU time that threads are held up by its count (estimated)"),
    Column::number("SAMPLES", 7, 3, "samples that found a thread held up by it"),
    Column::number("THREADS", 7, 1, "how many threads were found at it"),
    Column::number("ATOMIC%", 7, 3, "part of its samples at an atomic operation; the others wait for one"),
    Column::text("COUNTED", 9, 0, 4, "biased: its owner counts without atomic operations; merged: all with them"),
    Column::text("OWNER", 10, 1, 5, "the thread that counts it without atomic operations"),
    Column::text("WHERE", 14, 4, 2, "where threads are held up most"),
];

/// The table.
pub fn table(shown: &Shown) -> Table {
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
        Some(why) => format!("Nothing is known of reference counts: {}.", one_line(why)),
        None => format!("None of {} samples found threads that fight for a reference count.", refcounts.samples),
    };
    Table { columns: COLUMNS.to_vec(), rows: refcounts.objects.iter().map(row).collect(), notes, empty }
}

fn row(object: &CountedObject) -> Row {
    let count = |number: u64| Cell::number(number as f64, number.to_string());
    let all: u64 = object.operations.values().sum();
    let place = object.stacks.first().and_then(|sampled| sampled.stack.first());
    let cells = vec![
        Cell::text(one_line(&object.name_first())),
        Cell::share(object.cpu_fraction, 1.0).toned(Tone::Of(Class::LockWait)),
        count(object.samples),
        count(object.threads as u64),
        Cell::share(object.atomic as f64, all as f64),
        Cell::text(object.counting.clone()),
        Cell::text(one_line(object.owner.as_deref().unwrap_or("-"))),
        Cell::text(place.map_or_else(String::new, |place| one_line(place))),
    ];
    Row { key: RowKey::Object(object.address), cells }
}
