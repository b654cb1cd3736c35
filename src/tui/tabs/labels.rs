//! Names and places in words, for all tabs.

use crate::contention::Blame;
use crate::event::ThreadId;
use crate::report::text::units::{label, short_label};
use crate::tui::state::shown::ShownPart;

/// What threads without a Python frame are at.
pub(crate) const NO_FRAME: &str = "(no Python frame)";
const MAX_THREAD_LABEL: usize = 40;

/// `worker (4711)`, cut to what a table has room for.
pub(crate) fn short_thread_label(shown: &ShownPart, thread: usize) -> String {
    short_label(&shown.name(thread), shown.part.profile.threads[thread].tid, MAX_THREAD_LABEL)
}

/// `worker (4711)`.
pub(crate) fn thread_label(shown: &ShownPart, thread: usize) -> String {
    label(&shown.name(thread), shown.part.profile.threads[thread].tid)
}

/// The first place of a thread in a list; empty if it is not in there.
pub(crate) fn place_of(shown: &ShownPart, blames: &[Blame], thread: ThreadId) -> String {
    let found = blames.iter().find(|blame| thread == blame.thread);
    found.map_or_else(String::new, |blame| shown.place(blame.stack))
}
