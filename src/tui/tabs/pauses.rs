//! The tab of pauses: stops of all threads by the interpreter, and garbage collections.

use super::detail_parts::waits;
use super::labels::NO_FRAME;
use crate::report::Report;
use crate::report::columns::pauses;
use crate::report::model::Blamed;
use crate::report::text::reasons;
use crate::report::text::units::{duration, label, percent, short_label};
use crate::tui::state::detail::RowDetail;
use crate::tui::state::history::History;
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{PauseList, RowKey, ScreenColumn, ScreenTable, TableCell, TableRow};

pub(super) const COLUMNS: [ScreenColumn; 5] = [
    ScreenColumn::text(&pauses::THREAD, 12, 2, 0),
    ScreenColumn::text(&pauses::WHAT, 12, 0, 1),
    ScreenColumn::number(&pauses::TIME, 8, 0),
    ScreenColumn::number(&pauses::SHARE, 6, 2),
    ScreenColumn::text(&pauses::WHERE, 14, 4, 0),
];

const LISTS: [PauseList; 3] = [PauseList::Stopped, PauseList::LastToStop, PauseList::Collected];

fn entries(list: PauseList, report: &Report) -> &[Blamed] {
    match list {
        PauseList::Stopped => &report.pauses.requesters,
        PauseList::LastToStop => &report.pauses.last_to_stop,
        PauseList::Collected => &report.collections.by,
    }
}

pub(super) fn table(shown: &ShownPart) -> ScreenTable {
    let mut rows = Vec::new();
    for list in LISTS {
        let entries = entries(list, &shown.report);
        let all: f64 = entries.iter().map(|blamed| blamed.seconds).sum();
        rows.extend(entries.iter().enumerate().map(|(index, blamed)| row(list, index, blamed, all)));
    }
    let empty = match shown.report.target.free_threaded {
        true => {
            "The interpreter has not stopped all threads while one of them wanted to run (for a garbage collection, a \
                 change of a type, a fork)."
        }
        false => {
            "No thread was seen to collect garbage. (Only free-threaded Pythons stop all threads: with a GIL, holding \
                  it is enough to run alone.)"
        }
    };
    ScreenTable { columns: COLUMNS.to_vec(), rows, notes: notes(shown), empty: empty.to_owned() }
}

fn row(list: PauseList, index: usize, blamed: &Blamed, all: f64) -> TableRow {
    let what = match list {
        PauseList::Stopped => "stopped them",
        PauseList::LastToStop => "last to stop",
        PauseList::Collected => "collected",
    };
    let cells = vec![
        TableCell::text(short_label(&blamed.thread, blamed.tid, 40)),
        TableCell::text(what),
        TableCell::value(&pauses::TIME, blamed.seconds),
        TableCell::share(&pauses::SHARE, blamed.seconds, all),
        TableCell::text(blamed.stack.first().map_or(NO_FRAME, String::as_str)),
    ];
    TableRow { key: RowKey::Pause(list, index), cells }
}

fn notes(shown: &ShownPart) -> Vec<String> {
    let pauses = &shown.report.pauses;
    let mut notes = Vec::new();
    if pauses.count > 0 {
        let (wait, stop) = (&pauses.wait, &pauses.time_to_stop);
        let seconds = shown.part.seconds().max(1e-9);
        notes.push(format!(
            "{} stops of all threads ({:.1} a second), {}; threads were held up for {} in all, p99 {}, at most {}",
            pauses.count,
            pauses.count as f64 / seconds,
            reasons(pauses),
            duration(wait.total_s),
            duration(wait.p99_s),
            duration(wait.max_s)
        ));
        if stop.count > 0 {
            notes.push(format!(
                "until all had stopped: {} in all, p99 {}, at most {}",
                duration(stop.total_s),
                duration(stop.p99_s),
                duration(stop.max_s)
            ));
        }
    }
    let collections = &shown.report.collections;
    if collections.held_s > 0.0 {
        notes.push(format!(
            "the GIL was held to collect garbage for {}, {} of the time for which it was held; others waited {} for that",
            duration(collections.held_s),
            percent(collections.held_fraction),
            duration(collections.waited_s)
        ));
    }
    notes
}

pub(super) fn detail(shown: &ShownPart, history: &History, list: PauseList, index: usize) -> RowDetail {
    let mut detail = RowDetail::default();
    let Some(Blamed { tid, thread, seconds, stack, .. }) = entries(list, &shown.report).get(index) else {
        detail.sentence("There was none in this time range.");
        return detail;
    };
    let what = match list {
        PauseList::Stopped => "stopped the others",
        PauseList::LastToStop => "was the last to stop",
        PauseList::Collected => "collected garbage, started here",
    };
    detail.heading(format!("{} {what}: {}", label(thread, *tid), duration(*seconds)));
    detail.frames(stack.clone(), 4);
    if shown.report.pauses.count > 0 {
        detail.heading("How long threads were held up");
        waits(&mut detail, shown, |part| Some(part.report.pauses.wait));
        detail.over_time("Threads that were held up", history, |moment| moment.paused, "");
    }
    detail
}
