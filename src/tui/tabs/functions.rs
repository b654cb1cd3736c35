//! The tab of functions: where the time of the chosen view goes, and what threads do there.

use std::cmp::Reverse;

use super::labels::short_thread_label;
use crate::export::View;
use crate::report::columns::functions;
use crate::report::text::units::{duration, percent};
use crate::tui::state::call_tree::{CallTree, CallTreeChoice, function_times};
use crate::tui::state::detail::{DetailLine, RowDetail};
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{RowKey, ScreenColumn, ScreenTable, TableCell, TableRow};

/// Callers and callees of a function that are listed.
const MAX_CALLS: usize = 12;

pub(super) const COLUMNS: [ScreenColumn; 11] = [
    ScreenColumn::text(&functions::FUNCTION, 20, 4, 0),
    ScreenColumn::number(&functions::OWN_SHARE, 6, 0),
    ScreenColumn::number(&functions::TOTAL_SHARE, 6, 0),
    ScreenColumn::number(&functions::OWN, 8, 2),
    ScreenColumn::number(&functions::TOTAL, 8, 3),
    ScreenColumn::number(&functions::CPU, 8, 1),
    ScreenColumn::number(&functions::GIL_WAIT, 8, 1),
    ScreenColumn::number(&functions::LOCK_WAIT, 9, 2),
    ScreenColumn::number(&functions::HELD_BLOCKED, 9, 4),
    ScreenColumn::number(&functions::BLOCKED, 8, 3),
    ScreenColumn::number(&functions::NO_CPU, 8, 4),
];

pub(super) fn table(choice: &CallTreeChoice, shown: &ShownPart) -> ScreenTable {
    let (functions, all) = function_times(&shown.part.profile, choice);
    let rows = functions.into_iter().map(|function| {
        let share = |column, ns: u64| TableCell::share(column, ns as f64, all as f64);
        let time = |column, ns: u64| TableCell::value(column, ns as f64 / 1e9);
        let cells = vec![
            TableCell::text(function.label.clone()),
            share(&functions::OWN_SHARE, function.own),
            share(&functions::TOTAL_SHARE, function.total),
            time(&functions::OWN, function.own),
            time(&functions::TOTAL, function.total),
            time(&functions::CPU, function.cpu),
            time(&functions::GIL_WAIT, function.gil_wait),
            time(&functions::LOCK_WAIT, function.lock_wait),
            time(&functions::HELD_BLOCKED, function.held_blocked),
            time(&functions::BLOCKED, function.blocked),
            time(&functions::NO_CPU, function.no_cpu),
        ];
        TableRow { key: RowKey::Function(function.label), cells }
    });
    ScreenTable {
        columns: COLUMNS.to_vec(),
        rows: rows.collect(),
        notes: vec![title(choice, shown, all)],
        empty: "No thread was seen in a Python function yet.".to_owned(),
    }
}

/// `view gil-wait: threads that wait for the GIL; 3.21 s of thread time; all threads; by functions`, of `all` nanoseconds.
pub(super) fn title(choice: &CallTreeChoice, shown: &ShownPart, all: u64) -> String {
    let view = match choice.view {
        View::Cpu => "cpu: threads that run",
        View::Wall => "wall: all threads all the time",
        View::GilHold => "gil-hold: threads that hold the GIL",
        View::GilWait => "gil-wait: threads that wait for the GIL",
        View::LockWait => "lock-wait: threads that wait for locks",
        View::OffCpu => "offcpu: threads that do not run",
        View::Refcount => "refcount: threads held up by reference counts",
    };
    let thread = choice.thread.map(|thread| short_thread_label(shown, thread.0 as usize));
    let who = thread.unwrap_or_else(|| "all threads".to_owned());
    let lines = if choice.functions { "functions" } else { "lines" };
    format!("view {view}; {} of thread time; {who}; by {lines}", duration(all as f64 / 1e9))
}

/// A function in the call tree of a view: times in nanoseconds, callers and callees by their labels.
#[derive(Default)]
struct FunctionCalls {
    own: u64,
    total: u64,
    callers: Vec<(u64, u32)>,
    callees: Vec<(u64, u32)>,
}

impl FunctionCalls {
    fn of(tree: &CallTree, name: &str) -> FunctionCalls {
        let mut calls = FunctionCalls::default();
        let mut stack: Vec<(u32, bool)> = vec![(0, false)];
        while let Some((at, inside)) = stack.pop() {
            let node = &tree.nodes[at as usize];
            let is_it = tree.label(at) == name;
            if is_it {
                calls.own += node.own;
                // A function that calls itself is in it once.
                calls.total += if inside { 0 } else { node.total };
                calls.callers.push((node.total, tree.nodes[node.parent as usize].label));
                calls.callees.extend(node.children.iter().map(|&child| {
                    let child = &tree.nodes[child as usize];
                    (child.total, child.label)
                }));
            }
            stack.extend(node.children.iter().map(|&child| (child, inside || is_it)));
        }
        calls
    }
}

/// One entry for each label, the most costly first.
fn sum_by_label(mut calls: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
    calls.sort_unstable_by_key(|&(_, label)| label);
    let mut merged: Vec<(u64, u32)> = Vec::new();
    for (ns, label) in calls {
        match merged.last_mut() {
            Some(last) if last.1 == label => last.0 += ns,
            _ => merged.push((ns, label)),
        }
    }
    merged.sort_unstable_by_key(|&(ns, label)| (Reverse(ns), label));
    merged
}

pub(super) fn detail(choice: &CallTreeChoice, shown: &ShownPart, name: &str) -> RowDetail {
    let mut detail = RowDetail::default();
    detail.heading(name);
    let tree = CallTree::of(&shown.part.profile, choice);
    let whole = tree.nodes[0].total.max(1);
    let calls = FunctionCalls::of(&tree, name);
    let share = |ns: u64| percent(ns as f64 / whole as f64);
    let seconds = |ns: u64| duration(ns as f64 / 1e9);
    detail.sentence(format!(
        "{} ({}) in itself, {} ({}) with what it called, of {} in the view",
        seconds(calls.own),
        share(calls.own),
        seconds(calls.total),
        share(calls.total),
        seconds(whole)
    ));
    for (heading, list) in [("Called by", calls.callers), ("Calls", calls.callees)] {
        let merged = sum_by_label(list);
        if merged.is_empty() {
            continue;
        }
        detail.heading(heading);
        for (ns, label) in merged.into_iter().take(MAX_CALLS) {
            let text = tree.labels[label as usize].0.as_str();
            let text = if label == 0 { "(none: the thread begins here)" } else { text };
            detail.line(DetailLine::plain(format!("{:>9} {:>6}  {text}", seconds(ns), share(ns))));
        }
    }
    detail
}
