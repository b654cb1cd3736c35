//! What a page knows: everything that `page/data.js` reads. Called by [`super::write`].

use anyhow::Result;
use clap::ValueEnum;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::event::{ACTIVITIES, ACTIVITY_COUNT, Pid, ProcessId, ThreadState, Tid};
use crate::export::contended::{ContendedKind, ContendedTrack, contended};
use crate::export::flamegraph::view_title;
use crate::export::{ExportOptions, Unit, View};
use crate::profile::{Profile, ThreadInfo};
use crate::report::text::headlines;
use crate::report::{Report, verdict};
use crate::stack::label::one_line;

use super::columns::{PageColumns, page_columns};
use super::lanes::{Lanes, lanes};
use super::stacks::{PageStacks, PageTables};
use super::whom::{Pair, whom};

#[derive(Debug, Serialize)]
pub(super) struct HtmlPage<'p> {
    generator: &'static str,
    /// The report as a sentence or two.
    verdicts: Vec<String>,
    report: Report,
    /// All threads by their ids; the report may have some of them only.
    threads: Vec<PageThread<'p>>,
    /// What to call each process.
    processes: Vec<String>,
    activities: [ActivityWords; ACTIVITY_COUNT],
    columns: PageColumns,
    states: Vec<PageState>,
    stacks: PageTables,
    views: Vec<PageView>,
    /// The first to be shown; threads as roots, and functions instead of lines.
    view: usize,
    by_thread: bool,
    by_function: bool,
    /// What a sample stands for, in microseconds.
    period: f64,
    whom: Vec<PageWaits>,
    timeline: Lanes,
    /// What was left out, each a sentence.
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PageThread<'p> {
    pid: Pid,
    tid: Tid,
    name: Option<&'p str>,
    process: u32,
}

/// What threads do, in the order of the report's `States`, with a letter and words, because colour is not enough.
#[derive(Debug, Serialize)]
struct ActivityWords {
    /// The field of the report's `States`, after which the style names its colour.
    key: &'static str,
    letter: char,
    words: &'static str,
}

/// A state that threads were in.
#[derive(Debug, Serialize)]
struct PageState {
    /// The field of the report's `States` that it is part of.
    class: &'static str,
    /// For people: `waits for list (app.inventory)`.
    words: String,
    /// The lock that is waited for, by its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
}

/// A view of the flame graph, and what it shows, as columns.
#[derive(Debug, Serialize)]
struct PageView {
    /// As after `--view`.
    name: String,
    title: &'static str,
    /// The amounts are microseconds, not samples.
    timed: bool,
    threads: Vec<u32>,
    stacks: Vec<u32>,
    amounts: Vec<u64>,
}

/// PageContended GIL or lock something is about.
#[derive(Debug, Serialize)]
pub(super) struct PageContended {
    pid: Pid,
    /// The interpreter that owns the GIL; none for a lock.
    interpreter: Option<i64>,
    /// What to call the lock; none for a GIL.
    label: Option<String>,
}

impl PageContended {
    pub fn of(profile: &Profile, one: &ContendedTrack<'_>) -> PageContended {
        let (interpreter, label) = match &one.what {
            ContendedKind::Gil(info) => (Some(info.interpreter), None),
            ContendedKind::Lock(_, label) => (None, Some(label.clone())),
        };
        PageContended { pid: profile.processes[one.process.0 as usize].pid, interpreter, label }
    }
}

/// Who waited for whom at one GIL or lock.
#[derive(Debug, Serialize)]
struct PageWaits {
    #[serde(flatten)]
    which: PageContended,
    pairs: Vec<Pair>,
}

/// Gathers it. Fails when the recording kept no timeline.
pub(super) fn page<'p>(profile: &'p Profile, report: Report, options: &ExportOptions) -> Result<HtmlPage<'p>> {
    let mut states = PageStates::default();
    let mut stacks = PageStacks::new(profile);
    let contended = contended(profile);
    let whom = contended.iter().zip(whom(profile, &contended));
    let whom = whom.map(|(one, pairs)| PageWaits { which: PageContended::of(profile, one), pairs }).collect();
    let (timeline, notes) = lanes(profile, &contended, &mut states, &mut stacks)?;
    let views = View::value_variants();
    let flames = views.iter().map(|&view| flames(profile, view, &mut stacks)).collect();
    Ok(HtmlPage {
        generator: concat!("gilscope ", env!("CARGO_PKG_VERSION")),
        verdicts: verdicts(&report),
        report,
        threads: profile.threads.iter().map(|thread| self::thread(profile, thread)).collect(),
        processes: (0..profile.processes.len() as u32)
            .map(|index| one_line(&profile.process_label(ProcessId(index))))
            .collect(),
        activities: ACTIVITIES.map(|row| ActivityWords { key: row.key, letter: row.letter, words: row.words }),
        columns: page_columns(),
        states: states.states,
        stacks: stacks.finish(),
        views: flames,
        view: views.iter().position(|&view| view == options.view).unwrap_or(0),
        by_thread: options.threads,
        by_function: options.functions,
        period: profile.session.period_ns() / 1e3,
        whom,
        timeline,
        notes,
    })
}

fn thread<'p>(profile: &Profile, info: &'p ThreadInfo) -> PageThread<'p> {
    let pid = profile.processes[info.process.0 as usize].pid;
    PageThread { pid, tid: info.tid, name: info.name.as_deref(), process: info.process.0 }
}

fn flames(profile: &Profile, view: View, stacks: &mut PageStacks<'_>) -> PageView {
    let options = ExportOptions { view, ..ExportOptions::default() };
    let items = options.items(profile);
    PageView {
        name: view.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
        title: view_title(&options),
        timed: options.unit(profile) == Unit::Micros,
        threads: items.iter().map(|item| item.thread.0).collect(),
        stacks: items.iter().map(|item| stacks.index(item.stack, item.lost, item.leaf.as_deref())).collect(),
        amounts: items.iter().map(|item| item.amount).collect(),
    }
}

/// The states mentioned so far.
#[derive(Debug, Default)]
pub(super) struct PageStates {
    states: Vec<PageState>,
    by_state: FxHashMap<ThreadState, u32>,
}

impl PageStates {
    pub fn index(&mut self, profile: &Profile, state: ThreadState) -> u32 {
        if let Some(&index) = self.by_state.get(&state) {
            return index;
        }
        let lock = state.lock().map(|lock| one_line(&profile.locks.info(lock).label()));
        let words = match (state, &lock) {
            (ThreadState::LockWait(_), Some(lock)) => format!("waits for {lock}"),
            (ThreadState::Awaits(awaited), _) => {
                format!("waits for {}", one_line(&profile.locks.info(awaited).label()))
            }
            _ => state.to_string(),
        };
        self.states.push(PageState { class: state.activity().row().key, words, lock });
        let index = self.states.len() as u32 - 1;
        self.by_state.insert(state, index);
        index
    }
}

/// The sentences that go first; none if nothing was recorded.
fn verdicts(report: &Report) -> Vec<String> {
    match report.threads.is_empty() {
        true => Vec::new(),
        false => std::iter::once(verdict(report)).chain(headlines(report)).collect(),
    }
}
