//! What the details of several tabs have in common: stacks with what is attributed to them, and waits in numbers.

use super::labels::thread_label;
use crate::contention::Blame;
use crate::event::{Activity, ThreadId};
use crate::report::columns::{TableColumn, gil};
use crate::report::model::Wait;
use crate::report::text::units::{cut, duration, percent};
use crate::tui::state::detail::{DetailLine, RowDetail};
use crate::tui::state::shown::ShownPart;

pub(crate) const MAX_STACKS: usize = 4;
/// Where a stack begins below what is attributed to it.
const STACK_INDENT: usize = 19;
const RANGE_WIDTH: usize = 18;

/// Stacks with what is attributed to them, of `whole` nanoseconds; those of one thread only, if `only` is one.
pub(crate) fn attributed_stacks(
    detail: &mut RowDetail,
    shown: &ShownPart,
    heading: &str,
    blames: &[Blame],
    whole: u64,
    only: Option<usize>,
) {
    let is_wanted = |blame: &&Blame| only.is_none_or(|thread| blame.thread == ThreadId(thread as u32));
    let found: Vec<Blame> = blames.iter().filter(is_wanted).copied().collect();
    if found.is_empty() {
        return;
    }
    detail.heading(heading);
    for blame in found.iter().take(MAX_STACKS) {
        let fraction = if whole > 0 { blame.ns as f64 / whole as f64 } else { 0.0 };
        let amount = format!("{:>9} {:>6}  ", duration(blame.ns as f64 / 1e9), percent(fraction));
        let thread = thread_label(shown, blame.thread.0 as usize);
        detail.line(DetailLine::plain(amount).and(thread, Activity::GilHeld));
        detail.frames(shown.stack(blame.stack), STACK_INDENT);
    }
    if found.len() > MAX_STACKS {
        let rest: u64 = found[MAX_STACKS..].iter().map(|blame| blame.ns).sum();
        let rest = duration(rest as f64 / 1e9);
        detail.line(DetailLine::dim(format!("{rest:>9}         {} more stacks", found.len() - MAX_STACKS)));
    }
}

/// A column of waits, and what is in it.
type WaitColumn = (TableColumn, fn(&Wait) -> f64);

/// Waits in the part that is shown and, if that is another, since the start.
pub(crate) fn waits(detail: &mut RowDetail, shown: &ShownPart, wait_of: impl Fn(&ShownPart) -> Option<Wait>) {
    const COLUMNS: [WaitColumn; 6] = [
        (gil::WAITS, |wait| wait.count as f64),
        (gil::TOTAL, |wait| wait.total_s),
        (gil::MEAN, |wait| wait.mean_s),
        (gil::P50, |wait| wait.p50_s),
        (gil::P99, |wait| wait.p99_s),
        (gil::MAX, |wait| wait.max_s),
    ];
    let headings = COLUMNS.map(|(column, _)| format!("{:>10}", column.heading_line())).concat();
    detail.line(DetailLine::dim(format!("{:RANGE_WIDTH$}{headings}", "")));
    for part in [Some(shown), shown.all.as_deref()].into_iter().flatten() {
        let Some(wait) = wait_of(part) else { continue };
        let cells = COLUMNS.map(|(column, of)| format!("{:>10}", column.format.text(of(&wait)))).concat();
        detail.line(DetailLine::plain(format!("{:<RANGE_WIDTH$}{cells}", cut(&part.range, RANGE_WIDTH))));
    }
}
