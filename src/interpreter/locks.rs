//! The locks of one process that threads have waited for: which address is which lock, and their names. Owned by the
//! collectors. What a lock is and who holds it is resolved by [`super::waits`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::name_search::{MAX_SEARCHES, NameSearch, at_the_end};
use super::native_callers::NativeCaller;
use super::registry::Sink;
use super::view::InterpreterView;
use super::waits::{
    Awaited, FutexWait, LockWaitSite, ThreadWait, WaitedLock, classify, found_for, is_pointed_to, named, native_code,
    place_of, want,
};
use crate::cpython::locks::{FutexSite, Lock, PARKING_LOT, is_buffered, lock_kind, lock_place, may_be_of_module};
use crate::cpython::variables::{FoundVariable, Wanted};
use crate::event::{Event, LockId, LockInfo, LockKind, Nanos, ProcessId, ThreadState};
use crate::process::memory::Memory;
use crate::stack::{FrameId, StackId};

/// How many addresses are cached. Conditions make a new lock for each wait: when there are more, addresses at which no thread
/// waited for a lock are forgotten; and if these are not many, those at which none has waited for some time, in nanoseconds.
const MAX_KNOWN: usize = 1 << 16;
const FORGOTTEN_AFTER: u64 = 10_000_000_000;
/// How long an address stays cached, in nanoseconds: the object may be freed, and another one take its place.
const CHECK_AFTER: u64 = 100_000_000;

/// The cached state of an address.
#[derive(Debug)]
struct KnownLock {
    /// None as long as only threads without work have waited for it.
    id: Option<LockId>,
    info: Arc<LockInfo>,
    /// The frame of the import that waits for it, if it is a module's.
    import: Option<FrameId>,
    /// The name is only that of the library whose code waits: a variable that leads to the lock says more.
    by_library: bool,
    checked: Nanos,
    /// How many searches for a variable there have been.
    searches: u8,
}

/// Locks by the address that threads wait at: of a mutex, or of a semaphore.
#[derive(Debug)]
pub struct KnownLocks {
    process: ProcessId,
    known: FxHashMap<u64, KnownLock>,
    /// Stops of all threads by their reasons: each thread waits at an address of its own.
    pauses: FxHashMap<Option<&'static str>, LockId>,
    /// What is no lock and has no address, by its name.
    awaited: FxHashMap<(LockKind, Option<Arc<str>>), LockId>,
    /// Whether addresses at which native code waits are those of variables.
    statics: FxHashMap<u64, bool>,
    search: NameSearch,
}

impl KnownLocks {
    pub fn new(process: ProcessId) -> KnownLocks {
        KnownLocks {
            process,
            known: FxHashMap::default(),
            pauses: FxHashMap::default(),
            awaited: FxHashMap::default(),
            statics: FxHashMap::default(),
            search: NameSearch::default(),
        }
    }

    /// The state of a thread that sleeps in `futex`, but not for the GIL: for which lock it waits, or which pause. None if it
    /// waits for work, or for something unknown. `stack` is its Python stack.
    pub fn wait(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        site: &LockWaitSite<'_>,
        stack: StackId,
        sink: &mut Sink<'_>,
    ) -> Option<ThreadState> {
        let (work, import) = match classify(site.how, stack, sink.stacks) {
            FutexWait::Lock { work, import } => (work, import),
            FutexWait::ThreadEnd => return Some(self.awaits(LockKind::ThreadEnd, None, sink)),
            FutexWait::Native | FutexWait::Idle(_) => return None,
        };
        if let (FutexSite::Other, None, None) = (site.how, work, import)
            && let Some(library) = native_code(site.caller, view.layout)
            && !self.is_static(view, site.address)
        {
            return Some(self.awaits(LockKind::NativeCode, library, sink));
        }
        if !self.known.get_mut(&site.address).is_some_and(|known| known.is_current(view, site, import)) {
            if self.known.len() >= MAX_KNOWN {
                self.known.retain(|_, known| known.id.is_some());
                // Programs can make a lock for each request. One that is waited for again is another lock then.
                if self.known.len() >= MAX_KNOWN / 2 {
                    self.known.retain(|_, known| site.now.since(known.checked) < FORGOTTEN_AFTER);
                }
                if self.known.len() >= MAX_KNOWN {
                    self.known.clear();
                }
            }
            let module = |frame| site.module.map_or_else(|| place_of(sink.stacks, frame), str::to_owned);
            let mut lock = view.identify(site.how, site.address, import.map(module));
            let mut by_library = false;
            if let (LockKind::Native, None, Some(NativeCaller::Library(library))) =
                (lock.kind, &lock.name, site.caller)
            {
                (lock.name, by_library) = (Some(library.to_string()), true);
            }
            let info = Arc::new(info_of(self.process, lock));
            let known = KnownLock { id: None, info, import, by_library, checked: site.now, searches: 0 };
            self.known.insert(site.address, known);
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
        if known.searches == 0 && known.may_have_variable() {
            self.search.want(site.now);
        }
        Some(state(id))
    }

    /// Whether an address is that of a variable of a library: a lock, such as a `pthread_rwlock_t`. What code waits for that
    /// is no lock is on a stack or a heap.
    fn is_static(&mut self, view: InterpreterView<'_, impl Memory>, address: u64) -> bool {
        if self.statics.len() >= MAX_KNOWN {
            self.statics.clear();
        }
        *self.statics.entry(address).or_insert_with(|| view.identify(FutexSite::Other, address, None).name.is_some())
    }

    /// The state of a thread that waits for something that is no lock, and has no address.
    fn awaits(&mut self, kind: LockKind, name: Option<Arc<str>>, sink: &mut Sink<'_>) -> ThreadState {
        let process = self.process;
        let id = self.awaited.entry((kind, name)).or_insert_with_key(|(kind, name)| {
            let info = LockInfo { process, address: 0, kind: *kind, type_name: None, name: name.clone() };
            announce(Arc::new(info), sink)
        });
        ThreadState::Awaits(*id)
    }

    /// The lock at an address at which threads were seen to wait. What a register holds is seldom an address: then it is none,
    /// also if it is what stands for the locks of the parking lot, which threads do not spin for.
    pub fn at(&self, address: u64) -> Option<LockId> {
        self.known.get(&address).filter(|_| address != PARKING_LOT)?.id
    }

    /// What threads wait for at an address.
    pub fn waited_at(&self, address: u64) -> Option<WaitedLock<'_>> {
        self.known.get(&address).map(|known| WaitedLock::new(&known.info, address))
    }

    /// Takes over the name of a lock that was found out while a thread waited for it.
    pub fn note(&mut self, wait: &ThreadWait, sink: &mut Sink<'_>) {
        let Awaited::Lock(lock) = &wait.awaited else { return };
        let Some(known) = self.known.get_mut(&wait.waited_at) else { return };
        // Which module is being imported shows only while it is.
        let is_better = match known.info.kind {
            LockKind::ModuleLock => {
                lock.kind == LockKind::ModuleLock && lock.name.as_deref() != known.info.name.as_deref()
            }
            _ => known.is_nameless() && lock.name.is_some() && lock.name.as_deref() != known.info.name.as_deref(),
        };
        if is_better {
            known.info = Arc::new(info_of(self.process, lock.clone()));
            if let Some(id) = known.id {
                sink.events.push(Event::Lock { lock: id, info: known.info.clone() });
            }
        }
    }

    /// Continues the search for variables that hold unnamed locks, if it is due.
    pub fn name(&mut self, view: InterpreterView<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        let known = &mut self.known;
        if let Some(found) = self.search.advance(view, now, || wanted(known)) {
            self.found(&found, sink);
            self.search.want(now);
        }
    }

    /// Searches once more at the end of the recording, for locks that were met only then.
    pub fn name_at_the_end(&mut self, view: InterpreterView<'_, impl Memory>, sink: &mut Sink<'_>) {
        let found = at_the_end(view, wanted(&mut self.known));
        self.found(&found, sink);
    }

    /// Names locks by the variables that were found.
    fn found(&mut self, found: &FxHashMap<u64, FoundVariable>, sink: &mut Sink<'_>) {
        for (&address, known) in self.known.iter_mut().filter(|(_, known)| known.is_nameless()) {
            let Some(found) = found_for(found, &WaitedLock::new(&known.info, address)) else { continue };
            known.info = Arc::new(info_of(self.process, named(found, known.info.kind)));
            known.by_library = false;
            if let Some(lock) = known.id {
                sink.events.push(Event::Lock { lock, info: known.info.clone() });
            }
        }
    }
}

impl KnownLock {
    fn is_nameless(&self) -> bool {
        self.by_library || self.info.name.is_none()
    }

    /// Whether a variable can lead to it: most locks of the interpreter have names of their own.
    fn may_have_variable(&self) -> bool {
        let kind = self.info.kind;
        let in_object =
            matches!(kind, LockKind::CriticalSection | LockKind::Lock | LockKind::RLock | LockKind::Native);
        (in_object || is_pointed_to(kind)) && self.is_nameless()
    }

    /// Whether the cached lock is still what a thread waits for at this site, perhaps in an `import`.
    fn is_current(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        site: &LockWaitSite<'_>,
        import: Option<FrameId>,
    ) -> bool {
        // The semaphores of module locks are short-lived.
        let kind = self.info.kind;
        let same_import = import == self.import
            || import.is_some() && site.module.is_some_and(|module| self.info.name.as_deref() == Some(module));
        if may_be_of_module(kind) && (import.is_some() || kind == LockKind::ModuleLock) && !same_import {
            return false;
        }
        if site.now.since(self.checked) < CHECK_AFTER {
            return true;
        }
        self.checked = site.now;
        is_same(view, site, &self.info)
    }
}

/// The locks to look for variables of.
fn wanted(known: &mut FxHashMap<u64, KnownLock>) -> Wanted {
    let mut wanted = Wanted::default();
    let nameless =
        |known: &KnownLock| known.id.is_some() && known.searches < MAX_SEARCHES && known.may_have_variable();
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

/// Reports a lock for the first time, which gives it its id.
fn announce(info: Arc<LockInfo>, sink: &mut Sink<'_>) -> LockId {
    let lock = sink.ids.lock();
    sink.events.push(Event::Lock { lock, info });
    lock
}

/// The state of a thread that waits for this; none if no other thread blocks it.
fn state(info: &LockInfo, waits_for_work: bool) -> Option<fn(LockId) -> ThreadState> {
    match info.kind {
        LockKind::Pause => Some(ThreadState::Paused),
        // A thread that was notified acquires the condition's own lock again, within `Condition.wait`.
        LockKind::RLock => Some(ThreadState::LockWait),
        // The profile counts this as waiting for work.
        LockKind::Queue => Some(ThreadState::LockWait),
        // Another thread has yet to start or to end.
        LockKind::Event if info.name.is_none() => None,
        _ if waits_for_work => None,
        _ => Some(ThreadState::LockWait),
    }
}

/// Whether the object at which a thread waits still has the same type, and the same semaphore if it is one. An object that
/// cannot be read any more counts as the same: the process has ended, and these are its last waits.
fn is_same(view: InterpreterView<'_, impl Memory>, site: &LockWaitSite<'_>, info: &LockInfo) -> bool {
    let Some(name) = &info.type_name else { return true };
    let has_place = lock_kind(name).is_some() || is_buffered(name) || info.kind == LockKind::CriticalSection;
    let Ok(lock) = view.memory.u64(info.address.wrapping_add(lock_place(view.layout, name))) else { return true };
    (!has_place || site.how != FutexSite::Other && !is_pointed_to(info.kind) || lock == site.address)
        && view.objects().type_name_of(info.address).as_deref() == Some(&**name)
}
