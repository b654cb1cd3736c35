//! Reference counts that threads contend for. Called by [`super::text`].

use crate::stack::label::one_line;

use super::table::{TextColumn, TextTable};
use super::units::{cut, percent, short_label, wrap};
use super::{ReportText, WIDTH, by_stack};
use crate::report::columns::refcounts as columns;
use crate::report::model::{CountedObject, Report, ReportedCounts};

/// How many objects are in the table, and how many are described in full.
const MAX_OBJECTS: usize = 12;
const MAX_DETAILS: usize = 3;
/// Objects are described in full from this part of the CPU time on; less than that is hardly worth a change.
const WORTH_DETAILS: f64 = 0.01;
/// Nothing is said of less than this part.
const WORTH_A_TABLE: f64 = 0.002;
/// How many stacks are shown of an object.
const MAX_STACKS: usize = 3;

/// The section, if there is something to say.
pub(super) fn section(report: &Report, text: &mut ReportText) {
    let refcounts = &report.refcounts;
    if refcounts.cpu_fraction >= WORTH_A_TABLE {
        table(refcounts, text);
        for object in refcounts.objects.iter().take(MAX_DETAILS) {
            if object.cpu_fraction >= WORTH_DETAILS {
                details(object, text);
            }
        }
    }
    elsewhere(refcounts, text);
}

fn table(refcounts: &ReportedCounts, text: &mut ReportText) {
    let (part, margin) = (percent(refcounts.cpu_fraction), percent(refcounts.margin));
    text.heading(&format!("Reference counts: {part} of the CPU time (+/- {margin}, estimated from samples)"));
    let numbers = [
        (columns::CPU_SHARE, 7),
        (columns::SAMPLES, 9),
        (columns::THREADS, 8),
        (columns::BY_INCREF, 7),
        (columns::ATOMIC, 7),
    ];
    let mut columns = vec![TextColumn::label(columns::OBJECT)];
    columns.extend(numbers.map(|(column, width)| TextColumn::number(column, width)));
    let mut table = TextTable::new(columns, WIDTH);
    for object in refcounts.objects.iter().take(MAX_OBJECTS) {
        let all: u64 = object.operations.values().sum();
        let of_all = |part: u64| if all > 0 { part as f64 / all as f64 } else { 0.0 };
        let up = object.operations.iter().filter(|(name, _)| name.ends_with("incref")).map(|(_, samples)| samples);
        let values = [
            object.cpu_fraction,
            object.samples as f64,
            object.threads as f64,
            of_all(up.sum()),
            of_all(object.atomic),
        ];
        table.row(&one_line(&object.name_first()), &values);
    }
    text.line(table.to_string());
    if refcounts.objects.len() > MAX_OBJECTS {
        let rest: f64 = refcounts.objects[MAX_OBJECTS..].iter().map(|object| object.cpu_fraction).sum();
        text.line(format!("... and {} more, {} in all", refcounts.objects.len() - MAX_OBJECTS, percent(rest)));
    }
}

fn details(object: &CountedObject, text: &mut ReportText) {
    text.heading(&cut(&one_line(&object.label), WIDTH));
    let owner = match &object.owner {
        Some(owner) => format!("owned by {}", one_line(owner)),
        None => "without an owner".to_owned(),
    };
    let length = object.length.map_or_else(String::new, |length| format!(", {length} items"));
    text.line(wrap(&format!("at {:#x}{length}, {owner}, counted: {}", object.address, object.counting), "  ", WIDTH));
    let all: u64 = object.stacks.iter().map(|sampled| sampled.samples).sum();
    let places = by_stack(&object.stacks, |sampled| &sampled.stack, |sampled| sampled.samples as f64);
    for (samples, by) in places.iter().take(MAX_STACKS) {
        let part = percent(if all > 0 { samples / all as f64 } else { 0.0 });
        let others = match by.len() {
            1 => String::new(),
            many => format!(" and {} more", many - 1),
        };
        let label = short_label(&by[0].thread, by[0].tid, WIDTH - 10 - others.len());
        text.line(format!("  {part:>6}  {label}{others}"));
        text.frames(&by[0].stack, by[0].own, 11);
    }
    if places.len() > MAX_STACKS {
        text.line(format!("          {} more stacks", places.len() - MAX_STACKS));
    }
    if let Some(advice) = &object.advice {
        text.line(wrap(&format!("{advice}."), "  ", WIDTH));
    }
}

/// What else takes time in the same way.
fn elsewhere(refcounts: &ReportedCounts, text: &mut ReportText) {
    let parts = refcounts.elsewhere.parts().into_iter().filter(|(_, part)| *part >= WORTH_A_TABLE);
    let parts: Vec<String> = parts.map(|(name, part)| format!("{name} {}", percent(part))).collect();
    if !parts.is_empty() {
        text.heading("Other atomic operations, in % of the CPU time, whether shared or not");
        text.line(wrap(&parts.join("; "), "  ", WIDTH));
    }
}
