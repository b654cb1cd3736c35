//! The locks of one process: which address is which, and what they are called. Owned by the collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::name_search::{MOST_SEARCHES, Search, at_the_end};
use super::registry::{Registry, Sink};
use super::threads::{Slot, Thread};
use crate::cpython::layout::Layout;
use crate::cpython::locks::{
    How, Place, identify, in_critical_section, lock_kind, lock_place, may_be_of_module, owner,
};
use crate::cpython::objects::Objects;
use crate::cpython::variables::{Found, Wanted};
use crate::event::{Event, LockId, LockInfo, LockKind, Nanos, Pid, ProcessId, ThreadState};
use crate::interpreter::PythonProcess;
use crate::process::memory::Memory;
use crate::process::os_thread::Futex;
use crate::stack::idle_wait::{import_site, work};
use crate::stack::{FrameId, Interner, StackId};

/// Conditions make a new lock for each wait: of so many addresses, those that no wait for a lock was at are forgotten.
const MOST_KNOWN: usize = 1 << 16;
/// After so long an address is looked at again: the object may have been freed, and another be there.
const CHECK_AFTER: u64 = 100_000_000;

/// A thread's sleep in `futex`.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// How it sleeps.
    pub how: How,
    /// What it is parked for, or the futex.
    pub address: u64,
    /// When it was seen.
    pub now: Nanos,
    /// Why, if the interpreter has stopped all threads.
    pub pause: Option<&'static str>,
}

impl At {
    /// A thread that sleeps at a futex now, of an interpreter that is `collecting` garbage or not.
    pub fn of(memory: &impl Memory, layout: &Layout, futex: &Futex, now: Nanos, collecting: bool) -> At {
        let (how, address) = How::of(memory, layout, futex);
        At { how, address, now, pause: collecting.then_some(LockInfo::COLLECTION) }
    }
}

/// What is known of an address.
#[derive(Debug)]
struct Known {
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
    pid: Pid,
    process: ProcessId,
    runtime: u64,
    known: FxHashMap<u64, Known>,
    /// Stops of all threads by their reasons: each thread waits at an address of its own.
    pauses: FxHashMap<Option<&'static str>, LockId>,
    search: Search,
}

impl KnownLocks {
    /// None yet.
    pub fn new(process: &PythonProcess) -> KnownLocks {
        let PythonProcess { pid, id: process, runtime, .. } = *process;
        KnownLocks {
            pid,
            process,
            runtime,
            known: FxHashMap::default(),
            pauses: FxHashMap::default(),
            search: Search::default(),
        }
    }

    /// What a thread waits for that sleeps in `futex`, not for the GIL; none if that is work, or cannot be told. `stack` is
    /// its Python stack.
    pub fn wait(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        at: &At,
        stack: StackId,
        sink: &mut Sink<'_>,
    ) -> Option<ThreadState> {
        let waits_for_work = work(sink.stacks, stack).is_some();
        // A thread without Python frames is in code that has its own conditions.
        if at.how == How::Other && (waits_for_work || stack == StackId::EMPTY) {
            return None;
        }
        let import = import_site(sink.stacks, stack);
        let mut is_current = |known: &mut Known| {
            // Semaphores of modules are there for a moment.
            let kind = known.info.kind;
            if may_be_of_module(kind) && (kind == LockKind::ModuleLock) != import.is_some() {
                return false;
            }
            if at.now.since(known.checked) < CHECK_AFTER {
                return true;
            }
            known.checked = at.now;
            is_same(memory, layout, at, &known.info)
        };
        if !self.known.get_mut(&at.address).is_some_and(&mut is_current) {
            if self.known.len() >= MOST_KNOWN {
                self.known.retain(|_, known| known.id.is_some());
            }
            let import = import.map(|frame| place_of(sink.stacks, frame));
            let info = Arc::new(self.identify(memory, layout, registry, at, import));
            self.known.insert(at.address, Known { id: None, info, checked: at.now, searches: 0 });
        }
        let known = self.known.get_mut(&at.address)?;
        let state = state(&known.info, waits_for_work)?;
        if known.info.kind == LockKind::Pause {
            let process = self.process;
            let id = self.pauses.entry(at.pause).or_insert_with(|| {
                let name = at.pause.map(Into::into);
                let info = LockInfo { process, address: 0, kind: LockKind::Pause, type_name: None, name };
                announce(Arc::new(info), sink)
            });
            return Some(state(*id));
        }
        let id = *known.id.get_or_insert_with(|| announce(known.info.clone(), sink));
        if known.searches == 0 && may_have_variable(&known.info) {
            self.search.want(at.now);
        }
        Some(state(id))
    }

    /// The lock at an address at which threads were seen to wait.
    pub fn at(&self, address: u64) -> Option<LockId> {
        self.known.get(&address)?.id
    }

    /// What is at an address at which threads wait.
    pub fn info(&self, address: u64) -> Option<&LockInfo> {
        self.known.get(&address).map(|known| &*known.info)
    }

    fn identify(
        &self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        at: &At,
        import: Option<String>,
    ) -> LockInfo {
        let interpreters: Vec<u64> = registry.interpreters.iter().map(|interpreter| interpreter.addr).collect();
        let slots = registry.threads.iter().flat_map(|thread| &thread.slots);
        let tstates: Vec<u64> = slots.map(|slot| slot.reader.tstate()).collect();
        let place = Place { pid: self.pid, runtime: self.runtime, interpreters: &interpreters, tstates: &tstates };
        let lock = identify(memory, layout, place, at.how, at.address).or_of_module(import);
        LockInfo {
            process: self.process,
            address: lock.address,
            kind: lock.kind,
            type_name: lock.type_name.map(Into::into),
            name: lock.name.map(Into::into),
        }
    }

    /// Looks for variables that hold locks without a name, if it is time to, for a moment.
    pub fn name(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) {
        let known = &mut self.known;
        if let Some(found) = self.search.go_on(memory, layout, registry, now, || wanted(known)) {
            self.found(&found, sink);
            self.search.want(now);
        }
    }

    /// The same at the end, for what was met only then.
    pub fn name_at_the_end(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        sink: &mut Sink<'_>,
    ) {
        let found = at_the_end(memory, layout, registry, wanted(&mut self.known));
        self.found(&found, sink);
    }

    /// Gives names to locks by the variables that were found.
    fn found(&mut self, found: &FxHashMap<u64, Found>, sink: &mut Sink<'_>) {
        for (&address, known) in &mut self.known {
            let key = if is_pointed_to(known.info.kind) { address } else { known.info.address };
            let Some(found) = found.get(&key).filter(|_| known.info.name.is_none()) else { continue };
            let info = LockInfo {
                address: found.object,
                kind: lock_kind(&found.type_name).unwrap_or(known.info.kind),
                type_name: Some(found.type_name.as_str().into()),
                name: Some(found.name.as_str().into()),
                ..*known.info
            };
            known.info = Arc::new(info);
            if let Some(lock) = known.id {
                sink.events.push(Event::Lock { lock, info: known.info.clone() });
            }
        }
    }
}

/// Those for which a variable has to be looked for.
fn wanted(known: &mut FxHashMap<u64, Known>) -> Wanted {
    let mut wanted = Wanted::default();
    let nameless =
        |known: &Known| known.id.is_some() && known.searches < MOST_SEARCHES && may_have_variable(&known.info);
    for (&address, known) in known.iter_mut().filter(|(_, known)| nameless(known)) {
        match is_pointed_to(known.info.kind) {
            true => wanted.semaphores.insert(address),
            false => wanted.objects.insert(known.info.address),
        };
        known.searches += 1;
    }
    wanted
}

/// The thread that holds a lock, if that can be told: by the lock itself or, of those of objects, by the thread's critical
/// sections; or the one that has stopped all others. `address` is where others wait for it.
pub fn holder<'a>(
    memory: &impl Memory,
    layout: &Layout,
    registry: &'a Registry,
    info: &LockInfo,
    address: u64,
) -> Option<&'a Thread> {
    let find = |holds: &dyn Fn(&Slot) -> bool| registry.threads.iter().find(|thread| thread.slots.iter().any(holds));
    match info.kind {
        LockKind::CriticalSection => find(&|slot| in_critical_section(memory, layout, slot.reader.tstate(), address)),
        LockKind::Pause => {
            let requester = layout.gc.stop_requester?;
            let requester =
                |interp: u64| memory.u64(interp.wrapping_add(requester)).ok().filter(|&tstate| tstate != 0);
            let requester = registry.interpreters.iter().find_map(|interpreter| requester(interpreter.addr))?;
            find(&|slot| slot.reader.tstate() == requester)
        }
        kind => {
            let ident = owner(memory, layout, kind, info.address, info.type_name.as_deref())?;
            find(&|slot| slot.ident() == ident)
        }
    }
}

/// Where a frame is: `app.py:3`.
pub fn place_of(stacks: &Interner, frame: FrameId) -> String {
    let frame = stacks.get_frame(frame);
    let file = stacks.text(frame.file);
    format!("{}:{}", file.rsplit('/').next().unwrap_or(file), frame.line)
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
/// it cannot be read any more: the process has ended, and these are its last waits.
fn is_same(memory: &impl Memory, layout: &Layout, at: &At, info: &LockInfo) -> bool {
    let Some(name) = &info.type_name else { return true };
    let Ok(lock) = memory.u64(info.address.wrapping_add(lock_place(layout, name))) else { return true };
    (at.how != How::Other && !is_pointed_to(info.kind) || lock == at.address)
        && Objects { memory, layout }.type_name_of(info.address).as_deref() == Some(&**name)
}

/// Most locks of the interpreter have names of their own.
fn may_have_variable(info: &LockInfo) -> bool {
    let in_object = matches!(info.kind, LockKind::CriticalSection | LockKind::Lock | LockKind::RLock);
    (in_object || is_pointed_to(info.kind)) && info.name.is_none()
}

/// Objects that have such a lock lead to it, other than objects that it is part of.
fn is_pointed_to(kind: LockKind) -> bool {
    matches!(kind, LockKind::Semaphore | LockKind::Mutex)
}
