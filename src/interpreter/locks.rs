//! The locks of one process: which address is which, and what they are called. Owned by the collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::name_search::{MOST_SEARCHES, NameSearch, at_the_end};
use super::registry::Sink;
use super::view::InterpreterView;
use super::waits::{FutexWait, LockWaitSite, WaitedLock, classify, found_for, is_pointed_to, named, place_of, want};
use crate::cpython::locks::{How, Lock, lock_place, may_be_of_module};
use crate::cpython::variables::{Found, Wanted};
use crate::event::{Event, LockId, LockInfo, LockKind, Nanos, ProcessId, ThreadState};
use crate::process::memory::Memory;
use crate::stack::StackId;

/// Conditions make a new lock for each wait: of so many addresses, those that no wait for a lock was at are forgotten.
const MOST_KNOWN: usize = 1 << 16;
/// After so long an address is looked at again: the object may have been freed, and another be there.
const CHECK_AFTER: u64 = 100_000_000;

/// What is known of an address.
#[derive(Debug)]
struct KnownLock {
    /// None as long as nobody but threads without work has waited for it.
    id: Option<LockId>,
    info: Arc<LockInfo>,
    checked: Nanos,
    /// How often a variable has been looked for.
    searches: u8,
}

/// Locks by the address that threads wait at: of a mutex, or of a semaphore.
#[derive(Debug)]
pub struct KnownLocks {
    process: ProcessId,
    known: FxHashMap<u64, KnownLock>,
    /// Stops of all threads by their reasons: each thread waits at an address of its own.
    pauses: FxHashMap<Option<&'static str>, LockId>,
    search: NameSearch,
}

impl KnownLocks {
    /// None yet.
    pub fn new(process: ProcessId) -> KnownLocks {
        KnownLocks {
            process,
            known: FxHashMap::default(),
            pauses: FxHashMap::default(),
            search: NameSearch::default(),
        }
    }

    /// What a thread waits for that sleeps in `futex`, not for the GIL; none if that is work, or cannot be told. `stack` is
    /// its Python stack.
    pub fn wait(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        site: &LockWaitSite,
        stack: StackId,
        sink: &mut Sink<'_>,
    ) -> Option<ThreadState> {
        let FutexWait::Lock { work, import } = classify(site.how, stack, sink.stacks) else { return None };
        if !self.known.get_mut(&site.address).is_some_and(|known| known.is_current(view, site, import.is_some())) {
            if self.known.len() >= MOST_KNOWN {
                self.known.retain(|_, known| known.id.is_some());
            }
            let import = import.map(|frame| place_of(sink.stacks, frame));
            let info = Arc::new(info_of(self.process, view.identify(site.how, site.address, import)));
            self.known.insert(site.address, KnownLock { id: None, info, checked: site.now, searches: 0 });
        }
        let known = self.known.get_mut(&site.address)?;
        let state = state(&known.info, work.is_some())?;
        if known.info.kind == LockKind::Pause {
            let process = self.process;
            let id = self.pauses.entry(site.pause).or_insert_with(|| {
                let name = site.pause.map(Into::into);
                let info = LockInfo { process, address: 0, kind: LockKind::Pause, type_name: None, name };
                announce(Arc::new(info), sink)
            });
            return Some(state(*id));
        }
        let id = *known.id.get_or_insert_with(|| announce(known.info.clone(), sink));
        if known.searches == 0 && may_have_variable(&known.info) {
            self.search.want(site.now);
        }
        Some(state(id))
    }

    /// The lock at an address at which threads were seen to wait.
    pub fn at(&self, address: u64) -> Option<LockId> {
        self.known.get(&address)?.id
    }

    /// What is at an address at which threads wait.
    pub fn waited_at(&self, address: u64) -> Option<WaitedLock<'_>> {
        self.known.get(&address).map(|known| WaitedLock::new(&known.info, address))
    }

    /// Looks for variables that hold locks without a name, if it is time to, for a moment.
    pub fn name(&mut self, view: InterpreterView<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        let known = &mut self.known;
        if let Some(found) = self.search.go_on(view, now, || wanted(known)) {
            self.found(&found, sink);
            self.search.want(now);
        }
    }

    /// The same at the end, for what was met only then.
    pub fn name_at_the_end(&mut self, view: InterpreterView<'_, impl Memory>, sink: &mut Sink<'_>) {
        let found = at_the_end(view, wanted(&mut self.known));
        self.found(&found, sink);
    }

    /// Gives names to locks by the variables that were found.
    fn found(&mut self, found: &FxHashMap<u64, Found>, sink: &mut Sink<'_>) {
        for (&address, known) in self.known.iter_mut().filter(|(_, known)| known.info.name.is_none()) {
            let Some(found) = found_for(found, &WaitedLock::new(&known.info, address)) else { continue };
            known.info = Arc::new(info_of(self.process, named(found, known.info.kind)));
            if let Some(lock) = known.id {
                sink.events.push(Event::Lock { lock, info: known.info.clone() });
            }
        }
    }
}

impl KnownLock {
    /// Whether what is known still is what a thread waits for at this site, which may be `in_import`. If the object cannot be
    /// read any more it is: the process has ended, and these are its last waits.
    fn is_current(&mut self, view: InterpreterView<'_, impl Memory>, site: &LockWaitSite, in_import: bool) -> bool {
        // Semaphores of modules are there for a moment.
        let kind = self.info.kind;
        if may_be_of_module(kind) && (kind == LockKind::ModuleLock) != in_import {
            return false;
        }
        if site.now.since(self.checked) < CHECK_AFTER {
            return true;
        }
        self.checked = site.now;
        is_same(view, site, &self.info)
    }
}

/// Those for which a variable has to be looked for.
fn wanted(known: &mut FxHashMap<u64, KnownLock>) -> Wanted {
    let mut wanted = Wanted::default();
    let nameless =
        |known: &KnownLock| known.id.is_some() && known.searches < MOST_SEARCHES && may_have_variable(&known.info);
    for (&address, known) in known.iter_mut().filter(|(_, known)| nameless(known)) {
        want(&mut wanted, &WaitedLock::new(&known.info, address));
        known.searches += 1;
    }
    wanted
}

fn info_of(process: ProcessId, lock: Lock) -> LockInfo {
    LockInfo {
        process,
        address: lock.address,
        kind: lock.kind,
        type_name: lock.type_name.map(Into::into),
        name: lock.name.map(Into::into),
    }
}

/// Gives a lock its id.
fn announce(info: Arc<LockInfo>, sink: &mut Sink<'_>) -> LockId {
    let lock = sink.ids.lock();
    sink.events.push(Event::Lock { lock, info });
    lock
}

/// What a thread does that waits for this; none if nobody keeps it from going on.
fn state(info: &LockInfo, waits_for_work: bool) -> Option<fn(LockId) -> ThreadState> {
    match info.kind {
        LockKind::Pause => Some(ThreadState::Paused),
        // In `Condition.wait` a thread that was notified takes the condition's own lock again.
        LockKind::RLock => Some(ThreadState::LockWait),
        // Which is work, as the profile knows.
        LockKind::Queue => Some(ThreadState::LockWait),
        // Another thread has yet to start or to end.
        LockKind::Event if info.name.is_none() => None,
        _ if waits_for_work => None,
        _ => Some(ThreadState::LockWait),
    }
}

/// Whether the object at which a thread waits is of the same type still; and has the same semaphore, if it is one. It is if
/// it cannot be read any more.
fn is_same(view: InterpreterView<'_, impl Memory>, site: &LockWaitSite, info: &LockInfo) -> bool {
    let Some(name) = &info.type_name else { return true };
    let Ok(lock) = view.memory.u64(info.address.wrapping_add(lock_place(view.layout, name))) else { return true };
    (site.how != How::Other && !is_pointed_to(info.kind) || lock == site.address)
        && view.objects().type_name_of(info.address).as_deref() == Some(&**name)
}

/// Most locks of the interpreter have names of their own.
fn may_have_variable(info: &LockInfo) -> bool {
    let in_object = matches!(info.kind, LockKind::CriticalSection | LockKind::Lock | LockKind::RLock);
    (in_object || is_pointed_to(info.kind)) && info.name.is_none()
}
