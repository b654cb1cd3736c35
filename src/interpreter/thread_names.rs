//! Keeps the names of threads (`threading.Thread.name`) up to date. Called by the collectors at every tick; reads the target
//! only when there are new threads, and at long intervals.

use rustc_hash::FxHashMap;

use super::registry::{Registry, Sink};
use super::threads::ObservedThread;
use super::unnamed_threads::by_kernel;
use crate::cpython::layout::Layout;
use crate::cpython::names::ThreadNames;
use crate::event::{Event, Nanos};
use crate::process::memory::Memory;
use crate::process::os_thread::comm;

/// When the names of new threads are read, in nanoseconds: first after this time and then, as long as a thread has none, after
/// twice as long each time. All names are read at the longer interval, in case they change.
const UNNAMED_AFTER: u64 = 20_000_000;
const NAMES_EVERY: u64 = 5_000_000_000;

/// The names of a process's threads.
#[derive(Debug)]
pub struct Naming {
    /// By the address of the interpreter.
    readers: FxHashMap<u64, ThreadNames>,
    /// How many threads had been found at the last update: some may have ended since.
    found: u64,
    /// The kernel's names of the process itself.
    own: Vec<String>,
    /// When names are to be read again.
    at: Nanos,
    /// How long to wait after that, in nanoseconds.
    after: u64,
    /// When all names were last read.
    all_at: Nanos,
}

impl Default for Naming {
    fn default() -> Naming {
        Naming {
            readers: FxHashMap::default(),
            found: 0,
            own: Vec::new(),
            at: Nanos(0),
            after: UNNAMED_AFTER,
            all_at: Nanos(0),
        }
    }
}

impl Naming {
    /// Reads thread names if that is due, and reports those that are new.
    pub fn update(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &mut Registry,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) {
        if registry.found > self.found {
            self.after = UNNAMED_AFTER;
            self.at = self.at.min(Nanos(now.0 + UNNAMED_AFTER));
        }
        self.found = registry.found;
        if now < self.at {
            return;
        }
        let all = now.since(self.all_at) >= NAMES_EVERY;
        if all {
            self.all_at = now;
        }
        for (index, interpreter) in registry.interpreters.iter().enumerate() {
            // A thread that enters a sub-interpreter is that one's MainThread, too: the name is that where it came from.
            let is_here =
                |thread: &ObservedThread| thread.slots.first().is_some_and(|slot| slot.interpreter == index);
            let reader = self.readers.entry(interpreter.addr).or_default();
            // `threading` is not imported yet, or being changed: the next time will do.
            let is_it = |thread: &ObservedThread, ident| thread.ident() == Some(ident) && is_here(thread);
            let unnamed = |ident| registry.threads.iter().any(|thread| is_it(thread, ident) && thread.name.is_none());
            let Ok(found) = reader.read(memory, layout, interpreter.addr, |ident| all || unnamed(ident)) else {
                continue;
            };
            for (ident, name) in found {
                let named =
                    |thread: &&mut ObservedThread| is_it(thread, ident) && thread.name.as_ref() != Some(&name);
                if let Some(thread) = registry.threads.iter_mut().find(named) {
                    thread.name = Some(name.clone());
                    sink.events.push(Event::ThreadNamed { thread: thread.id, name });
                }
            }
        }
        // A thread that has just started may not have told the kernel its name.
        if self.after > UNNAMED_AFTER {
            self.ask_kernel(registry, sink);
        }
        let unnamed = registry.threads.iter().any(|thread| thread.name.is_none());
        self.at = Nanos(now.0 + if unnamed { self.after } else { NAMES_EVERY });
        self.after = (self.after * 2).min(NAMES_EVERY);
    }

    /// Names threads of which Python does not know after what the kernel calls them.
    fn ask_kernel(&mut self, registry: &mut Registry, sink: &mut Sink<'_>) {
        let unnamed = |thread: &&mut ObservedThread| thread.name.is_none() && thread.os.tid() != registry.pid;
        let mut unnamed = registry.threads.iter_mut().filter(unnamed).peekable();
        if unnamed.peek().is_none() {
            return;
        }
        if let Some(own) = comm(registry.pid, registry.pid).filter(|own| !self.own.contains(own)) {
            self.own.push(own);
        }
        for thread in unnamed {
            let Some(name) = thread.os.comm().and_then(|comm| by_kernel(&comm, &self.own)) else { continue };
            thread.name = Some(name.clone());
            sink.events.push(Event::ThreadNamed { thread: thread.id, name });
        }
    }
}
