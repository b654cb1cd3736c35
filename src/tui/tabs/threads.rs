//! The tab of threads: what each does, over time and now, and for whom it waits.

use std::collections::BTreeMap;

use super::thread_label;
use crate::contention;
use crate::event::{ThreadId, ThreadState};
use crate::report::model::{States, Thread};
use crate::snapshot::Now;
use crate::stack::label::one_line;
use crate::tui::app::App;
use crate::tui::class::Class;
use crate::tui::history::History;
use crate::tui::shown::Shown;
use crate::tui::table::{Cell, Column, Row, RowKey, Table, Tone, Width};

/// The column of [`COLUMNS`] that it is sorted by.
pub const BUSY: &str = "BUSY%";
/// So many moments fit into a strip.
const STRIP: usize = 200;

type Share = fn(&States) -> f64;

/// Shares of a thread's time: what of it, and the colour.
const SHARES: [(Share, Tone); 8] = [
    (|states| states.running_s, Tone::Of(Class::Running)),
    (|states| states.gil_held_s, Tone::Of(Class::Held)),
    (|states| states.gil_held_off_cpu_s, Tone::Of(Class::HeldIdle)),
    (|states| states.gil_wait_s, Tone::Of(Class::GilWait)),
    (|states| states.lock_wait_s, Tone::Of(Class::LockWait)),
    (|states| states.native_s, Tone::Of(Class::Native)),
    (|states| states.paused_s, Tone::Of(Class::Paused)),
    (|states| states.runnable_s, Tone::Of(Class::NoCpu)),
];
/// Where they are among the columns.
const FIRST_SHARE: usize = 5;

/// All columns.
pub const COLUMNS: [Column; 15] = [
    Column::text("THREAD", 16, 2, 0, "name and thread id"),
    Column {
        title: "S",
        help: "what it does now, as a letter (see below)",
        width: Width::Fixed(1),
        right: false,
        priority: 0,
    },
    Column::text("OVER TIME", 8, 3, 3, "what it did most, refresh by refresh, the newest on the right"),
    Column::number("BUSY%", 6, 1, "part of its time that it was not idle: it ran, or waited to"),
    Column::number("CPU%", 6, 3, "part of its time on a CPU"),
    Column::number("RUN%", 6, 3, "ran Python (builds without a GIL)"),
    Column::number("HELD%", 6, 2, "held the GIL and ran"),
    Column::number("HIDLE%", 6, 4, "held the GIL, but was blocked or had no CPU: nobody could run Python"),
    Column::number("WAIT%", 6, 1, "waited for the GIL"),
    Column::number("LOCK%", 6, 2, "waited for a lock"),
    Column::number("NATIVE%", 7, 6, "ran native code without the GIL"),
    Column::number("PAUSE%", 6, 5, "stopped with all others by the interpreter"),
    Column::number("NOCPU%", 6, 6, "ready to run, but others had the CPUs"),
    Column::text("WAITS FOR", 12, 4, 4, "what it waits for now, and who holds it (~: usually)"),
    Column::text("DOING", 14, 5, 2, "the innermost Python function now"),
];

/// The table.
pub fn table(app: &App, shown: &Shown, history: &History) -> Table {
    let threads = shown.report.threads.iter().enumerate();
    let is_there = |index: usize, thread: &Thread| !shown.part.profile.threads[index].exited || thread.wall_s > 0.0;
    let threads: Vec<_> = threads.filter(|(index, thread)| is_there(*index, thread)).collect();
    let mut rows: Vec<Row> = match app.merged {
        true => merged(shown, &threads),
        false => threads.iter().map(|(index, thread)| row(shown, history, *index, thread)).collect(),
    };
    // A state that nobody has been in since the start has no column.
    let since_start = shown.all.as_deref().unwrap_or(shown);
    let all = &since_start.report.threads;
    let used = |share: Share| all.iter().any(|thread| share(&thread.states) > 0.0);
    let dropped: Vec<usize> =
        (FIRST_SHARE..).zip(SHARES).filter(|(_, (share, _))| !used(*share)).map(|(index, _)| index).collect();
    let mut columns = COLUMNS.to_vec();
    for &index in dropped.iter().rev() {
        columns.remove(index);
        rows.iter_mut().for_each(|row| drop(row.cells.remove(index)));
    }
    Table { columns, rows, notes: Vec::new(), empty: "No thread has been seen yet.".to_owned() }
}

fn shares(cells: &mut Vec<Cell>, states: &States, cpu: f64, wall: f64) {
    let idle = states.blocked_s + states.unknown_s;
    cells.push(Cell::share(wall - idle, wall));
    cells.push(Cell::share(cpu, wall));
    cells.extend(SHARES.iter().map(|(share, tone)| Cell::share(share(states), wall).toned(*tone)));
}

/// Time on the CPU: as accounted, or as sampled.
fn cpu(thread: &Thread) -> f64 {
    let states = &thread.states;
    thread.cpu_s.max(states.running_s + states.gil_held_s + states.native_s).min(thread.wall_s)
}

fn row(shown: &Shown, history: &History, index: usize, thread: &Thread) -> Row {
    let now = shown.now(index);
    let exited = shown.part.profile.threads[index].exited;
    let class = now.map_or(Class::Absent, |now| Class::of(now.state));
    let tone = if exited { Tone::Dim } else { Tone::Plain };
    let mut cells = vec![
        Cell { tone, ..Cell::text(thread_label(shown, index)) },
        Cell { tone: Tone::Of(class), ..Cell::text(class.letter().to_string()) },
        Cell {
            strip: history.last(STRIP, |moment| moment.threads.get(index).copied().unwrap_or_default()),
            ..Cell::default()
        },
    ];
    shares(&mut cells, &thread.states, cpu(thread), thread.wall_s);
    let doing =
        now.map_or_else(|| if exited { "(gone)".to_owned() } else { String::new() }, |now| place(shown, &now));
    let waits = now.map_or_else(String::new, |now| waits_for(shown, index, &now));
    cells.push(Cell { tone: Tone::Of(class), ..Cell::text(waits) });
    cells.push(Cell { tone, ..Cell::text(doing) });
    Row { key: RowKey::Thread(index), cells }
}

fn place(shown: &Shown, now: &Now) -> String {
    match shown.place(now.stack) {
        empty if empty.is_empty() => "(no Python frame)".to_owned(),
        place => place,
    }
}

/// Threads whose names differ in their numbers only, as one.
fn merged(shown: &Shown, threads: &[(usize, &Thread)]) -> Vec<Row> {
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
            add(&mut states, &thread.states);
            wall += thread.wall_s;
            used += cpu(thread);
        }
        let busiest = group.iter().max_by(|a, b| {
            let busy = |thread: &Thread| thread.wall_s - thread.states.blocked_s - thread.states.unknown_s;
            busy(a.1).total_cmp(&busy(b.1))
        });
        let now = busiest.and_then(|(index, _)| Some((*index, shown.now(*index)?)));
        let class = Class::most(&states);
        let label =
            if group.len() == 1 { thread_label(shown, group[0].0) } else { format!("{name} x{}", group.len()) };
        let mut cells = vec![
            Cell::text(label),
            Cell { tone: Tone::Of(class), ..Cell::text(class.letter().to_string()) },
            Cell { strip: one_each(shown, &group), ..Cell::default() },
        ];
        shares(&mut cells, &states, used, wall);
        cells.push(Cell::text(now.map_or_else(String::new, |(index, now)| waits_for(shown, index, &now))));
        cells.push(Cell::text(now.map_or_else(String::new, |(_, now)| place(shown, &now))));
        Row { key: RowKey::Threads(name), cells }
    };
    groups.into_iter().map(row).collect()
}

/// What each thread of a group does now.
fn one_each(shown: &Shown, group: &[(usize, &Thread)]) -> Vec<Class> {
    group.iter().map(|(index, _)| shown.now(*index).map_or(Class::Absent, |now| Class::of(now.state))).collect()
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

fn add(sum: &mut States, states: &States) {
    sum.running_s += states.running_s;
    sum.gil_held_s += states.gil_held_s;
    sum.gil_held_off_cpu_s += states.gil_held_off_cpu_s;
    sum.gil_wait_s += states.gil_wait_s;
    sum.lock_wait_s += states.lock_wait_s;
    sum.native_s += states.native_s;
    sum.paused_s += states.paused_s;
    sum.blocked_s += states.blocked_s;
    sum.runnable_s += states.runnable_s;
    sum.unknown_s += states.unknown_s;
}

/// What a thread waits for, and who holds it: known, or usually.
pub fn waits_for(shown: &Shown, thread: usize, now: &Now) -> String {
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
        ThreadState::Paused(_) => "a stop of all threads".to_owned(),
        ThreadState::Blocked(call) => match shown.part.profile.work(now.stack) {
            Some(work) if work.is_limited() => format!("a {} to be free", work.name()),
            Some(work) => format!("work ({})", work.name()),
            None => call.to_string(),
        },
        ThreadState::GilHeldOffCpu(call) => format!("{call}, with the GIL"),
        ThreadState::Runnable | ThreadState::GilHeldRunnable => "a CPU".to_owned(),
        _ => String::new(),
    }
}

/// Who holds the GIL that a thread waits for: who is seen to, or who did when the thread began to wait.
pub fn holder(shown: &Shown, thread: usize, now: &Now) -> Option<usize> {
    let threads = &shown.part.profile.threads;
    let holds = |other: &usize| {
        threads[*other].process == threads[thread].process
            && shown.now(*other).is_some_and(|other| other.state.holds_gil())
    };
    let seen = now.holder.filter(|holder| holder.0 as usize != thread).map(|ThreadId(holder)| holder as usize);
    seen.or_else(|| (0..threads.len()).filter(|other| *other != thread).find(holds))
}
