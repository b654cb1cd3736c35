//! A report for the terminal, in 80 columns. Called at the end of `gilscope record` and by `gilscope report`.
//!
//! First a sentence, then what is wrong, then the numbers.

mod blocked;
mod gil;
mod locks;
mod refcounts;
mod table;
pub mod units;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::event::{ACTIVITIES, Activity, ActivityRow, Pid, Tid};
use crate::profile::Mode;

pub use self::locks::reasons;
use self::table::{TextColumn, TextTable};
use self::units::{duration, percent, plural, short_label, table_labels, wrap};
use super::columns::threads as columns;
use super::groups::pattern;
use super::model::{Attribution, Blamed, Gil, Report, Severity, States, Thread};
use super::verdict;
use crate::text::{BOLD, NOT_BOLD};

/// Everything fits in this many columns.
pub const WIDTH: usize = 80;
/// Locks are worth a line from this many waiting threads on, on average.
const MIN_WAITERS: f64 = 0.05;
/// Reference counts are worth a line from this part of the CPU time on.
const MIN_COUNTING: f64 = 0.02;
/// How many frames are shown of a stack.
const MAX_FRAMES: usize = 3;
/// How many threads are shown; the rest is only counted.
const MAX_THREADS: usize = 20;

/// The text being written. Writing to a string cannot fail.
struct ReportText {
    out: String,
    bold: bool,
}

impl ReportText {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref().trim_end());
        self.out.push('\n');
    }

    /// The innermost frames of a stack, so far to the right. The last one is the program's own, which has this index, if
    /// those are all a library's.
    fn frames(&mut self, stack: &[String], own: usize, indent: usize) {
        let own = Some(own).filter(|&own| own >= MAX_FRAMES && own < stack.len());
        let innermost = stack.iter().take(MAX_FRAMES - usize::from(own.is_some()));
        let own = own.map(|own| format!("... {}", stack[own]));
        for frame in innermost.chain(&own) {
            let frame = crate::stack::label::one_line(frame);
            self.line(format!("{:indent$}{}", "", units::cut(&frame, WIDTH - indent)));
        }
        if stack.is_empty() {
            self.line(format!("{:indent$}(no Python frame)", ""));
        }
    }

    /// Time attributed to stacks, with its part of a whole and up to this many stacks, so far to the right.
    fn attributed(&mut self, all: &[Blamed], whole: f64, max_stacks: usize, indent: usize) {
        let places = by_stack(all, |blamed| &blamed.stack, |blamed| blamed.seconds);
        for (seconds, by) in places.iter().take(max_stacks) {
            let part = percent(if whole > 0.0 { seconds / whole } else { 0.0 });
            let others = match by.len() {
                1 => String::new(),
                many => format!(" and {} more", many - 1),
            };
            let label = short_label(&by[0].thread, by[0].tid, WIDTH - 18 - indent - others.len());
            self.line(format!("{:indent$}{:>9} {part:>6}  {label}{others}", "", duration(*seconds)));
            self.frames(&by[0].stack, by[0].own, 19 + indent);
        }
        if places.len() > max_stacks {
            let rest: f64 = places[max_stacks..].iter().map(|(seconds, _)| seconds).sum();
            let more = places.len() - max_stacks;
            self.line(format!("{:indent$}{:>9}         {more} more stacks", "", duration(rest)));
        }
    }

    /// A line that stands out, after an empty one.
    fn heading(&mut self, text: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let (on, off) = if self.bold { (BOLD, NOT_BOLD) } else { ("", "") };
        let _ = writeln!(self.out, "{on}{text}{off}");
    }
}

/// What is attributed to stacks, with the amount of each stack, the largest first. Threads that do the same are together:
/// those of a pool are like each other.
fn by_stack<'a, T>(
    all: &'a [T],
    stack: impl Fn(&'a T) -> &'a [String],
    amount: impl Fn(&T) -> f64,
) -> Vec<(f64, Vec<&'a T>)> {
    let mut places: BTreeMap<&[String], Vec<&T>> = BTreeMap::new();
    for item in all {
        places.entry(stack(item)).or_default().push(item);
    }
    let sum = |by: &[&T]| by.iter().map(|item| amount(item)).sum::<f64>();
    let mut places: Vec<_> = places.into_values().map(|by| (sum(&by), by)).collect();
    places.sort_by(|a, b| b.0.total_cmp(&a.0));
    places
}

/// The verdict, the findings and the tables. `bold` headings need a terminal.
pub fn text(report: &Report, blame: Attribution, bold: bool) -> String {
    let mut text = ReportText { out: String::new(), bold };
    if report.threads.is_empty() {
        return text.out;
    }
    answer(report, &mut text);
    ledger(report, &mut text);
    for gil in report.gils.iter().filter(|gil| is_used(gil)) {
        gil::section(report, gil, blame, &mut text);
    }
    locks::sections(report, blame, &mut text);
    blocked::section(report, &mut text);
    refcounts::section(report, &mut text);
    text.out
}

/// The verdict and the findings: what fits on a screen.
pub fn brief(report: &Report, bold: bool) -> String {
    let mut text = ReportText { out: String::new(), bold };
    if !report.threads.is_empty() {
        answer(report, &mut text);
    }
    text.out
}

/// What was recorded, the verdict and the findings.
pub fn summary(report: &Report, bold: bool) -> String {
    let mut text = ReportText { out: subject(report), bold };
    answer(report, &mut text);
    text.out
}

fn answer(report: &Report, text: &mut ReportText) {
    text.heading(&wrap(&verdict(report), "", WIDTH));
    findings(report, text);
    let numbers = headlines(report);
    if !numbers.is_empty() {
        text.line("");
    }
    numbers.iter().for_each(|line| text.line(wrap(line, "  ", WIDTH)));
    if report.session.mode == Mode::Memory {
        text.line("All times are estimated from samples.");
    }
}

fn findings(report: &Report, text: &mut ReportText) {
    if !report.findings.is_empty() {
        text.heading("Findings");
    }
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::High => "HIGH",
            Severity::Medium => "MEDIUM",
            Severity::Low => "LOW",
        };
        text.line(wrap(&format!("{severity}: {}", crate::stack::label::one_line(&finding.message)), "  ", WIDTH));
    }
}

/// What was recorded: a saved report does not have it on the screen already.
pub fn subject(report: &Report) -> String {
    let (target, session) = (&report.target, &report.session);
    let flavour = if target.free_threaded { ", free-threaded" } else { "" };
    let mode = match session.mode {
        Mode::Kernel => "kernel",
        Mode::Memory => "memory",
    };
    let command = units::cut(&crate::stack::label::one_line(&target.command.join(" ")), WIDTH * 2).into_owned();
    let what = format!(
        "process {}: {command} (Python {}{flavour})",
        target.pid,
        crate::stack::label::one_line(&target.python)
    );
    let how = format!(
        "recorded in {mode} mode for {}: {} samples, {} without a stack, {} records lost",
        duration(session.duration_s),
        session.samples,
        session.torn_samples,
        session.lost_events
    );
    let notes = session.degraded.iter().map(|note| format!("note: {}", crate::stack::label::one_line(note)));
    let filter =
        session.filter.iter().map(|filter| format!("only a part of it: {}", crate::stack::label::one_line(filter)));
    [what, how].into_iter().chain(filter).chain(notes).map(|line| wrap(&line, "  ", WIDTH) + "\n").collect()
}

/// There is something to say of it.
fn is_used(gil: &Gil) -> bool {
    gil.enabled || gil.wait.count > 0 || gil.switched_on.is_some()
}

/// How many GILs have a line of their own.
const MAX_GILS: usize = 2;

/// The most important numbers, a line each: `GIL: 98 % held, 3.4 threads wait on average, longest wait 41 ms`.
pub fn headlines(report: &Report) -> Vec<String> {
    let mut gils: Vec<&Gil> = report.gils.iter().filter(|gil| is_used(gil)).collect();
    gils.sort_by(|a, b| b.wait.total_s.total_cmp(&a.wait.total_s));
    let mut lines: Vec<String> = gils.iter().take(MAX_GILS).map(|gil| headline(report, gil)).collect();
    if gils.len() > MAX_GILS {
        let waited: f64 = gils[MAX_GILS..].iter().map(|gil| gil.wait.total_s).sum();
        if waited > 0.0 {
            lines.push(format!(
                "{} more: threads waited {}",
                plural((gils.len() - MAX_GILS) as u64, "GIL"),
                duration(waited)
            ));
        }
    }
    if lines.is_empty() && report.target.free_threaded {
        let running: f64 = report.threads.iter().map(|thread| thread.states.running_s).sum();
        let mean = if report.session.duration_s > 0.0 { running / report.session.duration_s } else { 0.0 };
        lines.push(format!("No GIL: {mean:.1} threads run at a time on average"));
    }
    let waited: f64 = report.real_locks().map(|lock| lock.wait.total_s).sum();
    if let Some(worst) = report.real_locks().next().filter(|_| waited >= MIN_WAITERS * report.session.duration_s) {
        let mean = waited / report.session.duration_s;
        let label = crate::stack::label::one_line(&worst.label);
        let label = units::cut(&label, WIDTH - 10);
        lines.push(format!("Locks: {mean:.1} threads wait on average, most for {label}"));
    }
    let refcounts = &report.refcounts;
    if let Some(worst) = refcounts.objects.first().filter(|_| refcounts.cpu_fraction >= MIN_COUNTING) {
        let label = crate::stack::label::one_line(&worst.label);
        let part = percent(refcounts.cpu_fraction);
        let line = format!("Reference counts: {part} of the CPU time, most for {label}");
        lines.push(units::cut(&line, WIDTH).into_owned());
    }
    lines
}

fn headline(report: &Report, gil: &Gil) -> String {
    let name = gil::name(report, gil);
    let held = percent(gil.held_fraction);
    if gil.wait.count == 0 {
        return format!("{name}: {held} held, {}", if gil.estimated { "no waiting seen" } else { "nobody waits" });
    }
    let waiters = match gil.mean_waiters {
        few if few < 0.095 => format!("{few:.2}"),
        many => format!("{many:.1}"),
    };
    // How long a wait took is not known where waits were sampled.
    let longest = if gil.estimated { String::new() } else { format!(", longest wait {}", duration(gil.wait.max_s)) };
    format!("{name}: {held} held, {waiters} threads wait on average{longest}")
}

/// A row of the table of threads: one of them, or a group.
struct LedgerRow {
    name: String,
    /// None of a group.
    tid: Option<Tid>,
    wall_s: f64,
    states: States,
}

/// The rows, the busiest first. Where threads are too many for a row each, those of a group share one.
fn ledger_rows(report: &Report) -> Vec<LedgerRow> {
    let name = |thread: &Thread| thread.name.clone().unwrap_or_else(|| format!("thread {}", thread.tid));
    let mut groups: BTreeMap<(Pid, String), Vec<&Thread>> = BTreeMap::new();
    for thread in &report.threads {
        let key = match report.threads.len() > MAX_THREADS {
            true => thread.name.as_deref().map_or_else(|| "unnamed".to_owned(), pattern),
            false => thread.tid.to_string(),
        };
        groups.entry((thread.pid, key)).or_default().push(thread);
    }
    let sum = |threads: &[&Thread], activity| threads.iter().map(|thread| thread.states.of(activity)).sum();
    let row = |((_, pattern), threads): ((Pid, String), Vec<&Thread>)| LedgerRow {
        name: match *threads {
            [only] => name(only),
            _ => format!("{pattern} ({} threads)", threads.len()),
        },
        tid: if let [only] = *threads { Some(only.tid) } else { None },
        wall_s: threads.iter().map(|thread| thread.wall_s).sum(),
        states: States::from_activities(|activity| sum(&threads, activity)),
    };
    let mut rows: Vec<LedgerRow> = groups.into_iter().map(row).collect();
    let busy = |row: &LedgerRow| row.wall_s - row.states.blocked_s;
    rows.sort_by(|a, b| busy(b).total_cmp(&busy(a)));
    rows
}

fn ledger(report: &Report, text: &mut ReportText) {
    let mut rows = ledger_rows(report);
    let hidden = rows.len().saturating_sub(MAX_THREADS);
    rows.truncate(MAX_THREADS);
    // States that nobody was in say nothing.
    let used = |row: &&ActivityRow| rows.iter().any(|thread| thread.states.of(row.activity) > 0.0);
    let shown: Vec<&ActivityRow> = ACTIVITIES.iter().filter(used).collect();
    let mut columns = vec![TextColumn::label(columns::THREAD), TextColumn::number(columns::WALL, 8)];
    columns.extend(shown.iter().map(|row| TextColumn::number(columns::BY_ACTIVITY[row.activity as usize], 6)));
    let mut table = TextTable::new(columns, WIDTH);
    let threads: Vec<(&str, Option<Tid>)> = rows.iter().map(|row| (row.name.as_str(), row.tid)).collect();
    for (thread, label) in rows.iter().zip(table_labels(&threads, table.label_width())) {
        let mut values = vec![thread.wall_s];
        let share = |row: &&ActivityRow| {
            if thread.wall_s > 0.0 { thread.states.of(row.activity) / thread.wall_s } else { 0.0 }
        };
        values.extend(shown.iter().map(share));
        table.row(&label, &values);
    }
    text.heading("Threads: what each did, in % of its time");
    text.line(table.to_string());
    if hidden > 0 {
        text.line(format!("... and {hidden} more"));
    }
    let notes = [
        (Activity::GilHeldBlocked, "held, block: holds the GIL while blocked"),
        (Activity::GilHeldNoCpu, "held, no CPU: holds the GIL, but others have the CPUs"),
        (Activity::NoCpu, "no CPU: ready to run"),
    ];
    let is_shown = |activity| shown.iter().any(|row| row.activity == activity);
    let notes: Vec<&str> = notes.iter().filter(|(of, _)| is_shown(*of)).map(|(_, note)| *note).collect();
    if !notes.is_empty() {
        text.line(wrap(&format!("({})", notes.join("; ")), "  ", WIDTH));
    }
}

#[cfg(test)]
mod tests;
