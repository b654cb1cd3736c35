//! Selects a part of a recording. Used by `report` and `export`, as events are read.
//!
//! There are two kinds of filters.
//!
//! Time (`--from`, `--to`) is cut out of the stream of events: what comes out is what would have been recorded if
//! gilscope had recorded only then. Samples are in or out. A time off the CPU is cut at the edges, and then counts as one
//! that was going on when recording began or ended. Threads that did not live then are left out ([`Window`]). What a
//! thread did before the window is not known then: who held a lock at its beginning may be unknown.
//!
//! The others select what is counted, but not what is known ([`Selection`]): who held the GIL while a selected thread
//! waited is reported whether that one is selected or not.
//!
//! | filter       | views and traces show                                  | tables of GILs and locks have          | ledgers |
//! |--------------|--------------------------------------------------------|----------------------------------------|---------|
//! | `--thread`   | what these threads did                                 | waits of these threads                 | of these threads |
//! | `--function` | what was done with a function of that name on the stack| waits in it, or in what it calls       | of all threads |
//! | `--lock`     | waiting for these locks                                | waits for these locks, none for GILs   | of all threads |
//! | `--min-wait` | everything but shorter waits                           | waits that are as long                 | of all threads |
//!
//! A thread's ledger always has all of its time in the window: its parts add up.

pub mod args;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use anyhow::{Result, bail};

use self::args::FilterArgs;
use crate::contention::TimeRange;
use crate::contention::selection::Selection;
use crate::event::{Nanos, ThreadId};
use crate::profile::{Profile, SessionInfo};
use crate::stack::Interner;

pub use self::window::Window;

/// Which part of a recording to look at.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    args: FilterArgs,
}

/// How many names an error lists.
const MAX_NAMES: usize = 10;

impl Filter {
    /// What was asked for.
    ///
    /// # Errors
    /// The arguments leave nothing at all.
    pub fn new(args: &FilterArgs) -> Result<Filter> {
        if let (Some(from), Some(to)) = (args.from, args.to)
            && from >= to
        {
            bail!("there is nothing between --from {from} and --to {to}");
        }
        Ok(Filter { args: args.clone() })
    }

    /// Everything is looked at.
    pub fn is_none(&self) -> bool {
        self.args == FilterArgs::default()
    }

    /// Some threads, stacks or waits are selected, not only a time.
    pub fn selects(&self) -> bool {
        let FilterArgs { from: _, to: _, thread, function, lock, min_wait } = &self.args;
        !(thread.is_empty() && function.is_empty() && lock.is_empty() && min_wait.is_none())
    }

    /// The time to look at in a recording; none if that is all.
    pub fn window(&self, session: &SessionInfo) -> Option<Window> {
        let FilterArgs { from, to, .. } = self.args;
        let moment = |seconds: f64| Nanos(session.start.0.saturating_add((seconds * 1e9) as u64));
        (from.is_some() || to.is_some())
            .then(|| Window::new(from.map_or(session.start, moment), to.map_or(Nanos(u64::MAX), moment), session))
    }

    /// Whether a recording has anything of the time to look at.
    ///
    /// # Errors
    /// It has nothing.
    pub fn check(&self, session: &SessionInfo) -> Result<()> {
        let seconds = session.end.since(session.start) as f64 / 1e9;
        match self.args.from {
            Some(from) if from >= seconds => {
                bail!("there is nothing after --from {from}: the recording is {seconds:.1} s long")
            }
            _ => Ok(()),
        }
    }

    /// What is selected in a recording that was read once, with its waits kept. `names` are the names that threads had.
    ///
    /// # Errors
    /// There is nothing of that name; the error says what there is.
    pub fn selection(&self, profile: &Profile, names: &[(ThreadId, Arc<str>)]) -> Result<Selection> {
        Ok(Selection {
            threads: self.threads(profile, names)?,
            stacks: self.stacks(&profile.stacks)?,
            locks: self.locks(profile)?,
            waits: self.waits(profile),
        })
    }

    fn threads(&self, profile: &Profile, names: &[(ThreadId, Arc<str>)]) -> Result<Option<Vec<bool>>> {
        if self.args.thread.is_empty() {
            return Ok(None);
        }
        let mut selected = vec![false; profile.threads.len()];
        for wanted in &self.args.thread {
            let of_name = names.iter().filter(|(_, name)| **name == **wanted).map(|(id, _)| *id);
            let of_tid =
                (0..).map(ThreadId).zip(&profile.threads).filter(|(_, info)| info.tid.to_string() == *wanted);
            let found: Vec<ThreadId> = of_name.chain(of_tid.map(|(id, _)| id)).collect();
            if found.is_empty() {
                let labels = (0..profile.threads.len() as u32).map(|id| profile.thread_label(ThreadId(id)));
                bail!("no thread is called {wanted}: there are {}", list(labels));
            }
            found.into_iter().for_each(|id| selected[id.0 as usize] = true);
        }
        Ok(Some(selected))
    }

    fn stacks(&self, table: &Interner) -> Result<Option<Vec<bool>>> {
        if self.args.function.is_empty() {
            return Ok(None);
        }
        let named = |text: &str| self.args.function.iter().any(|wanted| wanted == text);
        let frames: Vec<bool> = table
            .all_frames()
            .iter()
            .map(|frame| named(table.text(frame.function)) || named(table.text(frame.name)))
            .collect();
        if !frames.contains(&true) {
            bail!("no function is called {}: none of that name is on any stack", self.args.function.join(" or "));
        }
        Ok(Some(table.stacks_with(|frame| frames[frame.index() as usize])))
    }

    fn locks(&self, profile: &Profile) -> Result<Option<Vec<bool>>> {
        if self.args.lock.is_empty() {
            return Ok(None);
        }
        let labels: Vec<String> = profile.locks.infos().iter().map(|info| info.label()).collect();
        let selected: Vec<bool> =
            labels.iter().map(|label| self.args.lock.iter().any(|wanted| label.contains(&**wanted))).collect();
        if !selected.contains(&true) {
            let there = if labels.is_empty() { "none was".to_owned() } else { list(labels.into_iter()) };
            bail!("no lock that was waited for is called {}: {there}", self.args.lock.join(" or "));
        }
        Ok(Some(selected))
    }

    fn waits(&self, profile: &Profile) -> Option<Vec<Vec<TimeRange>>> {
        let least = self.args.min_wait? * 1e6;
        let mut selected = vec![Vec::new(); profile.threads.len()];
        for wait in profile.past_waits() {
            let unit = if wait.sampled { profile.session.period_ns() } else { 1.0 };
            if wait.length as f64 * unit >= least {
                selected[wait.thread.0 as usize].push(wait.part);
            }
        }
        selected.iter_mut().for_each(|parts: &mut Vec<TimeRange>| parts.sort_by_key(|part| part.start));
        Some(selected)
    }

    /// What is selected, in words; none if that is everything.
    pub fn words(&self) -> Option<String> {
        let FilterArgs { from, to, thread, function, lock, min_wait } = &self.args;
        let names =
            |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
        let parts = [
            match (from, to) {
                (Some(from), Some(to)) => Some(format!("from {from} s to {to} s")),
                (Some(from), None) => Some(format!("from {from} s on")),
                (None, Some(to)) => Some(format!("until {to} s")),
                (None, None) => None,
            },
            names("thread", thread),
            names("function", function),
            names("lock", lock),
            min_wait.map(|least| format!("waits of {least} ms and more")),
        ];
        let words: Vec<String> = parts.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// `a, b and 3 more`.
fn list(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}
