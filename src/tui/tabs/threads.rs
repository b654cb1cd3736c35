//! The tab of threads: what each does, over time and now, and what it waits for.

use std::collections::BTreeMap;

use super::detail_parts::attributed_stacks;
use super::labels::{NO_FRAME, short_thread_label, thread_label};
use crate::contention;
use crate::event::{ACTIVITIES, Activity, ThreadId, ThreadState};
use crate::report::columns::{TableColumn, threads as columns};
use crate::report::model::{States, Thread};
use crate::report::text::units::{cut, duration, percent};
use crate::snapshot::Now;
use crate::stack::label::one_line;
use crate::tui::state::activity::prevailing_activity;
use crate::tui::state::detail::{DetailLine, RowDetail};
use crate::tui::state::history::History;
use crate::tui::state::shown::ShownPart;
use crate::tui::state::table::{RowKey, ScreenColumn, ScreenTable, TableCell, TableRow, Tone};

/// Moments that a strip keeps: as many as the widest screen has room for.
const MAX_STRIP: usize = 200;

const fn share_column(activity: Activity, width: u16, priority: u8) -> ScreenColumn {
    ScreenColumn::number(&columns::BY_ACTIVITY[activity as usize], width, priority)
}

pub(super) const COLUMNS: [ScreenColumn; 16] = [
    ScreenColumn::text(&columns::THREAD, 16, 2, 0),
    ScreenColumn::fixed(&columns::NOW, 1, 0),
    ScreenColumn::text(&columns::OVER_TIME, 8, 3, 3),
    ScreenColumn::number(&columns::BUSY, 6, 1),
    ScreenColumn::number(&columns::CPU_SHARE, 6, 3),
    share_column(Activity::Running, 6, 3),
    share_column(Activity::GilHeld, 6, 2),
    share_column(Activity::GilHeldBlocked, 6, 4),
    share_column(Activity::GilHeldNoCpu, 6, 5),
    share_column(Activity::GilWait, 6, 1),
    share_column(Activity::LockWait, 6, 2),
    share_column(Activity::Native, 7, 6),
    share_column(Activity::Paused, 6, 5),
    share_column(Activity::NoCpu, 6, 6),
    ScreenColumn::text(&columns::WAITS_FOR, 12, 4, 4),
    ScreenColumn::text(&columns::DOING, 14, 5, 2),
];
/// The columns of activities among [`COLUMNS`]. Idleness has none: it is what is missing from `BUSY%`.
const SHARES: [Activity; 9] = [
    Activity::Running,
    Activity::GilHeld,
    Activity::GilHeldBlocked,
    Activity::GilHeldNoCpu,
    Activity::GilWait,
    Activity::LockWait,
    Activity::Native,
    Activity::Paused,
    Activity::NoCpu,
];
const FIRST_SHARE: usize = 5;

/// Threads with similar names are one row if they are to be `merged`.
pub(super) fn table(merged: bool, shown: &ShownPart, history: &History) -> ScreenTable {
    let threads = shown.report.threads.iter().enumerate();
    let is_there = |index: usize, thread: &Thread| !shown.part.profile.threads[index].exited || thread.wall_s > 0.0;
    let threads: Vec<_> = threads.filter(|(index, thread)| is_there(*index, thread)).collect();
    let mut rows: Vec<TableRow> = match merged {
        true => merged_rows(shown, &threads),
        false => threads.iter().map(|(index, thread)| row(shown, history, *index, thread)).collect(),
    };
    // An activity that no thread has had since the start has no column.
    let since_start = shown.all.as_deref().unwrap_or(shown);
    let all = &since_start.report.threads;
    let is_used = |activity: Activity| all.iter().any(|thread| thread.states.of(activity) > 0.0);
    let unused = (FIRST_SHARE..).zip(SHARES).filter(|(_, activity)| !is_used(*activity));
    let dropped: Vec<usize> = unused.map(|(index, _)| index).collect();
    let mut columns = COLUMNS.to_vec();
    for &index in dropped.iter().rev() {
        columns.remove(index);
        rows.iter_mut().for_each(|row| drop(row.cells.remove(index)));
    }
    ScreenTable { columns, rows, notes: Vec::new(), empty: "No thread has been seen yet.".to_owned() }
}

fn shares(cells: &mut Vec<TableCell>, states: &States, cpu: f64, wall: f64) {
    let idle = states.blocked_s + states.stopped_s + states.unknown_s;
    cells.push(TableCell::share(&columns::BUSY, wall - idle, wall));
    cells.push(TableCell::share(&columns::CPU_SHARE, cpu, wall));
    let share =
        |activity: Activity| TableCell::share(&columns::BY_ACTIVITY[activity as usize], states.of(activity), wall);
    cells.extend(SHARES.map(share));
}

/// Time on the CPU: as accounted, or as sampled.
fn cpu(thread: &Thread) -> f64 {
    let states = &thread.states;
    thread.cpu_s.max(states.running_s + states.gil_held_s + states.native_s).min(thread.wall_s)
}

fn row(shown: &ShownPart, history: &History, index: usize, thread: &Thread) -> TableRow {
    let now = shown.now(index);
    let exited = shown.part.profile.threads[index].exited;
    let activity = now.map(|now| now.state.activity());
    let tone = if exited { Tone::Dim } else { Tone::Plain };
    let mut cells = vec![
        TableCell { tone, ..TableCell::text(short_thread_label(shown, index)) },
        letter(activity),
        TableCell {
            strip: history.last(MAX_STRIP, |moment| moment.threads.get(index).copied().flatten()),
            ..TableCell::default()
        },
    ];
    shares(&mut cells, &thread.states, cpu(thread), thread.wall_s);
    let doing =
        now.map_or_else(|| if exited { "(gone)".to_owned() } else { String::new() }, |now| place(shown, &now));
    let waits = now.map_or_else(String::new, |now| waits_for(shown, index, &now));
    cells.push(TableCell { tone: Tone::Of(activity), ..TableCell::text(waits) });
    cells.push(TableCell { tone, ..TableCell::text(doing) });
    TableRow { key: RowKey::Thread(index), cells }
}

fn place(shown: &ShownPart, now: &Now) -> String {
    match shown.place(now.stack) {
        empty if empty.is_empty() => NO_FRAME.to_owned(),
        place => place,
    }
}

/// Threads whose names differ in their numbers only, as one.
fn merged_rows(shown: &ShownPart, threads: &[(usize, &Thread)]) -> Vec<TableRow> {
    let mut groups: BTreeMap<String, Vec<(usize, &Thread)>> = BTreeMap::new();
    for &(index, thread) in threads {
        let named = shown.part.profile.threads[index].name.is_some();
        let name = if named { similar(&shown.name(index)) } else { "(no name)".to_owned() };
        groups.entry(name).or_default().push((index, thread));
    }
    let row = |(name, group): (String, Vec<(usize, &Thread)>)| {
        let mut states = States::default();
        let (mut wall, mut used) = (0.0, 0.0);
        for (_, thread) in &group {
            states = States::from_activities(|activity| states.of(activity) + thread.states.of(activity));
            wall += thread.wall_s;
            used += cpu(thread);
        }
        let busiest = group.iter().max_by(|a, b| {
            let busy = |Thread { wall_s, states, .. }: &Thread| {
                wall_s - states.blocked_s - states.stopped_s - states.unknown_s
            };
            busy(a.1).total_cmp(&busy(b.1))
        });
        let now = busiest.and_then(|(index, _)| Some((*index, shown.now(*index)?)));
        let activity = prevailing_activity(&states);
        let label =
            if group.len() == 1 { short_thread_label(shown, group[0].0) } else { format!("{name} x{}", group.len()) };
        let mut cells = vec![
            TableCell::text(label),
            letter(activity),
            TableCell { strip: one_each(shown, &group), ..TableCell::default() },
        ];
        shares(&mut cells, &states, used, wall);
        cells.push(TableCell::text(now.map_or_else(String::new, |(index, now)| waits_for(shown, index, &now))));
        cells.push(TableCell::text(now.map_or_else(String::new, |(_, now)| place(shown, &now))));
        TableRow { key: RowKey::Threads(name), cells }
    };
    groups.into_iter().map(row).collect()
}

/// What each thread of a group does now.
fn one_each(shown: &ShownPart, group: &[(usize, &Thread)]) -> Vec<Option<Activity>> {
    group.iter().map(|(index, _)| shown.now(*index).map(|now| now.state.activity())).collect()
}

/// What a thread does now, as a letter.
fn letter(activity: Option<Activity>) -> TableCell {
    let letter = activity.map_or(' ', |activity| activity.row().letter);
    TableCell { tone: Tone::Of(activity), ..TableCell::text(letter.to_string()) }
}

/// `worker-12` is like `worker-3`.
fn similar(name: &str) -> String {
    let mut out = String::new();
    for char in name.chars() {
        match char {
            digit if digit.is_ascii_digit() => {
                if !out.ends_with('*') {
                    out.push('*');
                }
            }
            char => out.push(char),
        }
    }
    out
}

/// What a thread waits for, and who holds it: known, or usually.
fn waits_for(shown: &ShownPart, thread: usize, now: &Now) -> String {
    match now.state {
        ThreadState::GilWait => match holder(shown, thread, now) {
            Some(holder) => format!("GIL < {}", shown.name(holder)),
            None => "GIL".to_owned(),
        },
        ThreadState::LockWait(id) => {
            let info = shown.part.profile.locks.info(id);
            let label = one_line(info.name.as_deref().unwrap_or(&info.label()));
            let other = |blame: &&contention::Blame| blame.thread.0 as usize != thread;
            match shown.lock(id).and_then(|(summary, _)| summary.contention.by_holder.iter().find(other)) {
                Some(usual) => format!("{label} <~ {}", shown.name(usual.thread.0 as usize)),
                None => label,
            }
        }
        ThreadState::Awaits(id) => one_line(&shown.part.profile.locks.info(id).label()),
        ThreadState::Paused(_) => "a stop of all threads".to_owned(),
        ThreadState::Blocked(call) => match shown.part.profile.work(now.stack) {
            Some(work) if work.is_limited() => format!("a free {}", work.name()),
            Some(work) => format!("work ({})", work.name()),
            None => call.to_string(),
        },
        ThreadState::GilHeldOffCpu(call) => format!("{call}, with the GIL"),
        ThreadState::Runnable | ThreadState::GilHeldRunnable => "a CPU".to_owned(),
        _ => String::new(),
    }
}

/// Who holds the GIL that a thread waits for: who is seen to, or who did when the thread began to wait.
fn holder(shown: &ShownPart, thread: usize, now: &Now) -> Option<usize> {
    let threads = &shown.part.profile.threads;
    let holds = |other: &usize| {
        threads[*other].process == threads[thread].process
            && shown.now(*other).is_some_and(|other| other.state.holds_gil())
    };
    let seen = now.holder.filter(|holder| holder.0 as usize != thread).map(|ThreadId(holder)| holder as usize);
    seen.or_else(|| (0..threads.len()).filter(|other| *other != thread).find(holds))
}

pub(super) fn detail(shown: &ShownPart, history: &History, thread: usize) -> RowDetail {
    let mut detail = RowDetail::default();
    let info = &shown.part.profile.threads[thread];
    let process = shown.part.profile.process_label(info.process);
    detail.heading(format!("{} of {process}", thread_label(shown, thread)));
    match shown.now(thread) {
        Some(now) => {
            let seconds = now.since.map_or(0.0, |since| shown.part.at.since(since) as f64 / 1e9);
            let since = if seconds > 0.0 { format!(", for {}", duration(seconds)) } else { String::new() };
            let state = format!("{}{since}", now.state);
            detail.line(DetailLine::plain("now: ").and(state, now.state.activity()));
            let waits = waits_for(shown, thread, &now);
            if !waits.is_empty() {
                detail.sentence(format!("waits for: {waits}"));
            }
            detail.frames(shown.stack(now.stack), 4);
            holder_detail(&mut detail, shown, thread, &now);
        }
        None => detail.sentence("It has exited."),
    }
    detail.strip(history, thread);
    ledger(&mut detail, shown, thread);
    for gil in &shown.part.gils {
        if let Some(share) = gil.threads.iter().find(|share| share.thread == ThreadId(thread as u32)) {
            detail.histogram(&share.lengths);
            let (waits, heading) = (&gil.contention.by_waiter, "Where it waited for the GIL");
            attributed_stacks(&mut detail, shown, heading, waits, share.waits.total_ns, Some(thread));
            let (holds, heading) = (&gil.contention.by_holder, "Where it held the GIL while others waited");
            attributed_stacks(&mut detail, shown, heading, holds, share.caused_ns, Some(thread));
        }
    }
    detail
}

pub(super) fn merged_detail(name: &str) -> RowDetail {
    let mut detail = RowDetail::default();
    detail.sentence(format!("{name}: press t to show its threads separately."));
    detail
}

/// The stack of the thread that this one waits for.
fn holder_detail(detail: &mut RowDetail, shown: &ShownPart, thread: usize, now: &Now) {
    if now.state == ThreadState::GilWait {
        let Some(holder) = holder(shown, thread, now) else { return };
        detail.heading(format!("The GIL is held by {}", thread_label(shown, holder)));
        if let Some(now) = shown.now(holder) {
            detail.line(DetailLine::plain("now: ").and(now.state.to_string(), now.state.activity()));
            detail.frames(shown.stack(now.stack), 4);
        }
    }
    if let Some((summary, lock)) = now.state.lock().and_then(|lock| shown.lock(lock)) {
        let heading = format!("{} was held by", one_line(&lock.label));
        let contention = &summary.contention;
        attributed_stacks(detail, shown, &heading, &contention.by_holder, contention.waits.total_ns, None);
    }
}

/// Where a thread's time went, in the part that is shown and since the start.
fn ledger(detail: &mut RowDetail, shown: &ShownPart, thread: usize) {
    detail.heading("Where its time went");
    let parts: Vec<&ShownPart> = [Some(shown), shown.all.as_deref()].into_iter().flatten().collect();
    let headings: String = parts.iter().map(|part| format!("{:>28}", cut(&part.range, 26))).collect();
    detail.line(DetailLine::dim(format!("{:<24}{headings}", "")));
    for (row, column) in ACTIVITIES.iter().zip(&columns::BY_ACTIVITY) {
        let threads = parts.iter().map(|part| &part.report.threads[thread]);
        let values: Vec<(f64, f64)> = threads.map(|thread| (thread.states.of(row.activity), thread.wall_s)).collect();
        if values.iter().any(|(part, _)| *part > 0.0) {
            detail.line(ledger_line(row.activity, column, &values));
        }
    }
}

/// Pairs of the seconds of an activity and of the seconds that the thread was observed.
fn ledger_line(activity: Activity, column: &TableColumn, values: &[(f64, f64)]) -> DetailLine {
    let cell = |(part, whole): &(f64, f64)| {
        let fraction = if *whole > 0.0 { part / whole } else { 0.0 };
        format!("{:>19} {:>8}", duration(*part), percent(fraction))
    };
    let cells: String = values.iter().map(cell).collect();
    DetailLine::default().and(format!("{:<24}", column.heading_line()), activity).and(cells, Tone::Plain)
}
