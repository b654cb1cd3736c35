//! An interpreter as it can be examined: the memory of its process, the layout of its structures, and the registry of its
//! threads as last refreshed.

use super::registry::Registry;
use super::threads::{ObservedThread, ThreadStateSlot};
use crate::cpython::layout::Layout;
use crate::cpython::objects::Objects;

#[derive(Debug)]
pub struct InterpreterView<'a, M> {
    pub memory: &'a M,
    pub layout: &'a Layout,
    pub registry: &'a Registry,
}

// Derived, they would require the memory to be `Copy`.
impl<M> Clone for InterpreterView<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<M> Copy for InterpreterView<'_, M> {}

impl<'a, M> InterpreterView<'a, M> {
    pub(crate) fn objects(self) -> Objects<'a, M> {
        Objects { memory: self.memory, layout: self.layout }
    }

    pub(crate) fn slots(self) -> impl Iterator<Item = &'a ThreadStateSlot> {
        self.registry.threads.iter().flat_map(|thread| &thread.slots)
    }

    /// The first thread that has a thread state for which `is_it` holds.
    pub(crate) fn thread_where(self, is_it: impl Fn(&ThreadStateSlot) -> bool) -> Option<&'a ObservedThread> {
        self.registry.threads.iter().find(|thread| thread.slots.iter().any(&is_it))
    }

    /// The thread with this `threading.get_ident()`.
    pub(crate) fn thread_by_ident(self, ident: u64) -> Option<&'a ObservedThread> {
        self.thread_where(|slot| ident != 0 && slot.ident() == ident)
    }

    pub(crate) fn interpreters(self) -> Vec<u64> {
        self.registry.interpreters.iter().map(|interpreter| interpreter.addr).collect()
    }
}
