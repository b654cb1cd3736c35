//! What a thread that sleeps in `futex` waits for, and who holds it: the one place that resolves this, for both collectors and
//! for `dump`. Waits for the GIL are recognized before, by the address of its condition variable.
//!
//! - [`classify`]: from how a thread sleeps and its stack, whether a lock can be what it waits for;
//! - [`InterpreterView::identify`]: which lock;
//! - [`InterpreterView::holder`]: who holds a lock;
//! - [`waits`]: all of this for the threads that are blocked now, and [`deadlocks`] among them.
//!
//! No thread is stopped for this, so a wait that ends meanwhile can be missed or outdated.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::import_waits::{first_local, imported_module};
use super::native_callers::{NativeCaller, NativeCallers};
use super::threads::ObservedThread;
use super::view::InterpreterView;
use super::with_locks::{self, WithLock};
use crate::arch::PTHREAD_TID_OFFSETS;
use crate::cpython::layout::Layout;
use crate::cpython::locks::{FutexSite, LOCK, Lock, Place, identify, in_critical_section, lock_kind, owner};
use crate::cpython::names::active;
use crate::cpython::variables::{self, FoundVariable, FrameAddr, Wanted, merge_found};
use crate::event::{LockInfo, LockKind, Nanos, Syscall, ThreadState, Tid};
use crate::process::clock::now;
use crate::process::memory::Memory;
use crate::process::os_thread::Futex;
use crate::process::threads;
use crate::stack::idle_wait::{Work, import_site, work};
use crate::stack::{FrameId, Interner, StackId};

/// A thread's sleep in `futex`, not at a GIL.
#[derive(Clone, Copy, Debug)]
pub struct LockWaitSite<'a> {
    pub how: FutexSite,
    /// What it is parked for, or the futex.
    pub address: u64,
    /// When it was seen.
    pub now: Nanos,
    /// The reason, if the interpreter has stopped all threads.
    pub pause: Option<&'static str>,
    /// Whose code it is that sleeps, if that is known.
    pub caller: Option<&'a NativeCaller>,
    /// The module that another thread is importing, if it is known that the thread waits for that: `module app`.
    pub module: Option<&'a str>,
}

impl LockWaitSite<'_> {
    /// The site of a thread that sleeps at a futex now, of an interpreter that is `collecting` garbage or not.
    pub fn of(memory: &impl Memory, layout: &Layout, futex: &Futex, now: Nanos, collecting: bool) -> Self {
        let (how, address) = FutexSite::of(memory, layout, futex);
        LockWaitSite {
            how,
            address,
            now,
            pause: collecting.then_some(LockInfo::COLLECTION),
            caller: None,
            module: None,
        }
    }
}

/// What a thread waits for, as far as its sleep and its stack show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FutexWait {
    /// A condition variable of native code.
    Native,
    /// Work, or the end of a thread.
    Idle(Work),
    /// The end of a thread, in native code.
    ThreadEnd,
    Lock {
        /// What it may wait for instead, since a thread without work also sleeps at a lock. The kind of the lock decides.
        work: Option<Work>,
        /// The frame of the import, if it waits for another thread to finish importing the same module.
        import: Option<FrameId>,
    },
}

impl FutexWait {
    /// What it waits for, if that is not a lock.
    pub fn work(self) -> Option<Work> {
        match self {
            FutexWait::Native | FutexWait::ThreadEnd => None,
            FutexWait::Idle(work) => Some(work),
            FutexWait::Lock { work, .. } => work,
        }
    }
}

/// Classifies the wait of a thread with this Python stack.
pub fn classify(how: FutexSite, stack: StackId, stacks: &Interner) -> FutexWait {
    match (how, work(stacks, stack)) {
        // A thread without Python frames is in native code, which has condition variables of its own.
        (FutexSite::Other, None) if stack == StackId::EMPTY => FutexWait::Native,
        (FutexSite::Other | FutexSite::Join, Some(work)) => FutexWait::Idle(work),
        (FutexSite::Join, None) => FutexWait::ThreadEnd,
        (_, work) => FutexWait::Lock { work, import: import_site(stacks, stack) },
    }
}

/// Whether a thread that sleeps in `futex` with this Python stack may do so until another thread releases something or ends,
/// and not for work.
pub fn may_wait_for_thread(stacks: &Interner, stack: StackId) -> bool {
    stack != StackId::EMPTY && work(stacks, stack).is_none_or(|work| work == Work::Join)
}

/// The native library for whose threads a sleep is that no structure of the interpreter tells; none for a lock of the interpreter.
/// Where it is not known who sleeps, it is a lock if the interpreter still has locks that are semaphores.
pub fn native_code(caller: Option<&NativeCaller>, layout: &Layout) -> Option<Option<Arc<str>>> {
    match caller {
        Some(NativeCaller::Interpreter) => None,
        Some(NativeCaller::Library(library)) => Some(Some(library.clone())),
        Some(NativeCaller::Unnamed) => Some(None),
        None => (layout.version.minor >= 14).then_some(None),
    }
}

/// A lock that threads wait for.
#[derive(Clone, Copy, Debug)]
pub struct WaitedLock<'a> {
    /// The address at which they wait: of a mutex, or of a semaphore.
    pub waited_at: u64,
    /// The address of the object that it is part of, or else its own.
    pub address: u64,
    pub kind: LockKind,
    pub type_name: Option<&'a str>,
}

impl<'a> WaitedLock<'a> {
    pub fn new(info: &'a LockInfo, waited_at: u64) -> WaitedLock<'a> {
        WaitedLock { waited_at, address: info.address, kind: info.kind, type_name: info.type_name.as_deref() }
    }

    fn of(lock: &'a Lock, waited_at: u64) -> WaitedLock<'a> {
        WaitedLock { waited_at, address: lock.address, kind: lock.kind, type_name: lock.type_name.as_deref() }
    }
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    pub tid: Tid,
    /// The `threading.Lock` object, if it was found in the frame of the holder's `with`.
    pub with_lock: Option<u64>,
}

impl<'a, M: Memory> InterpreterView<'a, M> {
    /// The lock at which a thread sleeps. `import` describes the import that waits, if one does.
    pub fn identify(self, how: FutexSite, address: u64, import: Option<String>) -> Lock {
        let interpreters = self.interpreters();
        let tstates: Vec<u64> = self.slots().map(|slot| slot.reader.tstate()).collect();
        let (pid, runtime) = (self.registry.pid, self.registry.runtime);
        let place = Place { pid, runtime, interpreters: &interpreters, tstates: &tstates };
        identify(self.memory, self.layout, place, how, address).or_of_module(import)
    }

    /// The thread that holds a lock: the owner that the lock records; for the lock of an object, the thread in a critical
    /// section of it; for a stop of all threads, the one that requested it. A `threading.Lock` records no owner: for this,
    /// `with_locks` returns the locks that threads have entered by `with`. It is called only when needed.
    pub fn holder<'w>(
        self,
        lock: &WaitedLock<'_>,
        with_locks: impl FnOnce() -> &'w [WithLock],
    ) -> Option<LockHolder> {
        let thread = match lock.kind {
            LockKind::CriticalSection => self.in_critical_section(lock.waited_at),
            LockKind::Pause => self.requester(),
            LockKind::Native => self.mutex_owner(lock.waited_at),
            kind => owner(self.memory, self.layout, kind, lock.address, lock.type_name)
                .and_then(|ident| self.thread_by_ident(ident)),
        };
        if let Some(thread) = thread {
            return Some(LockHolder { tid: thread.os.tid(), with_lock: None });
        }
        let with_locks = if lock.kind.has_no_owner() { with_locks() } else { return None };
        let held = with_locks::holder(with_locks, [lock.waited_at, lock.address])?;
        Some(LockHolder { tid: held.tid, with_lock: Some(held.lock) })
    }

    fn in_critical_section(self, mutex: u64) -> Option<&'a ObservedThread> {
        self.thread_where(|slot| in_critical_section(self.memory, self.layout, slot.reader.tstate(), mutex))
    }

    /// The thread that holds a mutex of glibc, which keeps its tid after the lock itself and a count.
    fn mutex_owner(self, mutex: u64) -> Option<&'a ObservedThread> {
        let owner = self.memory.u64(mutex.wrapping_add(8)).ok()? as u32 as Tid;
        self.registry.threads.iter().find(|thread| !self.registry.foreign_tids && thread.os.tid() == owner)
    }

    /// The thread that has stopped all others.
    fn requester(self) -> Option<&'a ObservedThread> {
        let requester = self.layout.gc.stop_requester?;
        let tstate = |interp: u64| self.memory.u64(interp.wrapping_add(requester)).ok();
        let tstate =
            self.interpreters().into_iter().find_map(|interp| tstate(interp).filter(|&tstate| tstate != 0))?;
        self.thread_where(|slot| slot.reader.tstate() == tstate)
    }
}

/// The lock that a variable leads to, which was of this `kind` so far. Only now is it known whether a semaphore belongs to a
/// `threading.Lock`; that of a buffered file keeps its kind.
pub fn named(found: &FoundVariable, kind: LockKind) -> Lock {
    Lock {
        address: found.object,
        kind: lock_kind(&found.type_name).unwrap_or(kind),
        type_name: Some(found.type_name.clone()),
        name: Some(found.name.clone()),
    }
}

/// Adds a lock to those for which a variable is searched.
pub fn want(wanted: &mut Wanted, lock: &WaitedLock<'_>) {
    match lock.kind {
        LockKind::Native => drop(wanted.embedded.insert(lock.waited_at)),
        // An object can have a pointer to it, or contain it.
        LockKind::Mutex => {
            wanted.semaphores.insert(lock.waited_at);
            wanted.embedded.insert(lock.waited_at);
        }
        kind if is_pointed_to(kind) => drop(wanted.semaphores.insert(lock.waited_at)),
        _ => drop(wanted.objects.insert(lock.address)),
    }
}

/// The variable that was found for a lock.
pub fn found_for<'f>(found: &'f FxHashMap<u64, FoundVariable>, lock: &WaitedLock<'_>) -> Option<&'f FoundVariable> {
    let by_wait = lock.kind == LockKind::Native || is_pointed_to(lock.kind);
    found.get(if by_wait { &lock.waited_at } else { &lock.address })
}

/// Whether objects have a pointer to a lock of this kind, instead of containing it.
pub fn is_pointed_to(kind: LockKind) -> bool {
    matches!(kind, LockKind::Semaphore | LockKind::Mutex)
}

/// Where a frame is: `app.py:3`.
pub fn place_of(stacks: &Interner, frame: FrameId) -> String {
    let frame = stacks.get_frame(frame);
    let file = stacks.text(frame.file);
    format!("{}:{}", file.rsplit('/').next().unwrap_or(file), frame.line)
}

/// What keeps threads from going on.
#[derive(Debug, Default)]
pub struct BlockedThreads {
    /// What each thread that waits for a lock or a thread waits for.
    pub waits: BTreeMap<Tid, ThreadWait>,
    /// Threads that wait for each other: each for the next, the last for the first.
    pub deadlocks: Vec<Vec<Tid>>,
    /// Threads that wait for locks that nobody will release.
    pub orphans: Vec<Tid>,
    /// The process was forked and runs the same program as its parent.
    pub forked: bool,
    /// Locks without an owner, by who has entered them by `with`.
    pub with_locks: Vec<WithLock>,
}

/// What a blocked thread waits for, and the thread that blocks it, if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadWait {
    pub awaited: Awaited,
    /// The address it sleeps at, or of what it is parked for.
    pub waited_at: u64,
    pub held_by: Option<Tid>,
    /// The lock says who holds it, and there is no such thread.
    pub owner_gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    Lock(Lock),
    /// The end of the thread of this `threading.Thread` object.
    ThreadEnd(u64),
    /// The end of the thread with this tid, in native code.
    NativeThreadEnd(Tid),
    /// What threads of a native library have to do, if the library is known.
    NativeCode(Option<Arc<str>>),
    Gil,
}

impl ThreadWait {
    pub fn new(awaited: Awaited, waited_at: u64, held_by: Option<Tid>) -> ThreadWait {
        ThreadWait { awaited, waited_at, held_by, owner_gone: false }
    }

    /// What it waits for: `threading.RLock (app.lock)`.
    pub fn label(&self) -> String {
        match &self.awaited {
            Awaited::Lock(Lock { address, kind, type_name, name }) => {
                kind.label(type_name.as_deref(), name.as_deref(), *address)
            }
            Awaited::ThreadEnd(_) => END_OF_THREAD.to_owned(),
            Awaited::NativeThreadEnd(_) => LockKind::ThreadEnd.label(None, None, 0),
            Awaited::NativeCode(library) => LockKind::NativeCode.label(None, library.as_deref(), 0),
            Awaited::Gil => "the GIL".to_owned(),
        }
    }
}

/// What a thread waits for in `Thread.join`.
const END_OF_THREAD: &str = "the end of a thread";

/// What every thread waits for that waits for a lock or a thread. `with_locks` are those that threads have entered by `with`.
pub fn waits(
    view: InterpreterView<'_, impl Memory>,
    with_locks: &[WithLock],
    stacks: &Interner,
) -> BTreeMap<Tid, ThreadWait> {
    let blocked = |thread: &&ObservedThread| thread.state().syscall() == Some(Syscall::FUTEX);
    let mut callers = NativeCallers::new(view.registry.pid, view.registry.runtime);
    let resolver = WaitResolver { view, with_locks, stacks };
    let mut waits = Vec::new();
    for thread in view.registry.threads.iter().filter(blocked) {
        waits.extend(resolver.wait(thread, &mut callers));
    }
    resolver.name(&mut waits);
    waits.iter_mut().for_each(ResolvedWait::name_by_library);
    let mut waits: BTreeMap<Tid, ThreadWait> =
        waits.into_iter().map(|resolved| (resolved.tid, resolved.wait)).collect();
    add_gil_waits(&view.registry.threads, &mut waits);
    waits
}

/// Adds those who wait for the GIL while its holder waits for something else: perhaps for them.
fn add_gil_waits(threads: &[ObservedThread], waits: &mut BTreeMap<Tid, ThreadWait>) {
    let holds_gil = |thread: &&ObservedThread| thread.state().holds_gil() && waits.contains_key(&thread.os.tid());
    let holders: Vec<&ObservedThread> = threads.iter().filter(holds_gil).collect();
    let interpreter = |thread: &ObservedThread| thread.slots.last().map(|slot| slot.interpreter);
    for thread in threads.iter().filter(|thread| thread.state() == ThreadState::GilWait) {
        let holder = holders.iter().find(|holder| {
            holder.slots.iter().any(|slot| slot.holds_gil && Some(slot.interpreter) == interpreter(thread))
        });
        if let Some(holder) = holder {
            let wait = ThreadWait::new(Awaited::Gil, 0, Some(holder.os.tid()));
            waits.insert(thread.os.tid(), wait);
        }
    }
}

/// The waits of all threads at one moment.
struct WaitResolver<'a, M> {
    view: InterpreterView<'a, M>,
    with_locks: &'a [WithLock],
    stacks: &'a Interner,
}

struct ResolvedWait {
    tid: Tid,
    wait: ThreadWait,
    /// Whose code waits, if that is not the interpreter's.
    library: Option<Arc<str>>,
}

impl<M: Memory> WaitResolver<'_, M> {
    fn wait(&self, thread: &ObservedThread, callers: &mut NativeCallers) -> Option<ResolvedWait> {
        let futex = thread.futex()?;
        let (how, waited_at) = FutexSite::of(self.view.memory, self.view.layout, &futex);
        let caller = matches!(how, FutexSite::Other | FutexSite::NativeMutex)
            .then(|| callers.caller_of(self.view.memory, &futex, now()))
            .flatten();
        let wait = match classify(how, thread.stack, self.stacks) {
            FutexWait::ThreadEnd => {
                let tid = waited_at as Tid;
                ThreadWait::new(Awaited::NativeThreadEnd(tid), waited_at, Some(tid))
            }
            FutexWait::Lock { work: None, import: None } if how == FutexSite::Other => {
                let is_static = || self.view.identify(how, waited_at, None).name.is_some();
                match native_code(caller.as_ref(), self.view.layout).filter(|_| !is_static()) {
                    Some(library) => ThreadWait::new(Awaited::NativeCode(library), waited_at, None),
                    None => self.lock_wait(thread, how, waited_at, None),
                }
            }
            FutexWait::Lock { work: None, import } => self.lock_wait(thread, how, waited_at, import),
            wait if wait.work() == Some(Work::Join) => self.join(thread, waited_at)?,
            _ => return None,
        };
        let library = match caller {
            Some(NativeCaller::Library(library)) => Some(library),
            _ => None,
        };
        Some(ResolvedWait { tid: thread.os.tid(), wait, library })
    }

    fn lock_wait(
        &self,
        thread: &ObservedThread,
        how: FutexSite,
        waited_at: u64,
        import: Option<FrameId>,
    ) -> ThreadWait {
        let view = self.view;
        let module = import.and_then(|_| imported_module(view, thread)).unwrap_or_default();
        let import = import.map(|frame| module.name.unwrap_or_else(|| place_of(self.stacks, frame)));
        let mut lock = view.identify(how, waited_at, import);
        if let Some(importer) = module.importer {
            let held_by = view.thread_by_ident(importer).map(|thread| thread.os.tid());
            let wait = ThreadWait::new(Awaited::Lock(lock), waited_at, held_by);
            return ThreadWait { owner_gone: held_by.is_none() && self.is_gone(importer), ..wait };
        }
        let holder = self.holder(&lock, waited_at);
        if let Some(object) = holder.and_then(|holder| holder.with_lock) {
            lock = Lock { type_name: Some(LOCK.to_owned()), ..Lock::new(object, LockKind::Lock) };
        }
        let owner_gone = holder.is_none() && self.has_lost_owner(&lock);
        let wait = ThreadWait::new(Awaited::Lock(lock), waited_at, holder.map(|holder| holder.tid));
        ThreadWait { owner_gone, ..wait }
    }

    fn holder(&self, lock: &Lock, waited_at: u64) -> Option<LockHolder> {
        let holder = self.view.holder(&WaitedLock::of(lock, waited_at), || self.with_locks);
        // Critical sections also acquire locks of the interpreter, such as the type lock. The collectors do not ask for
        // those, since that takes a read of every thread.
        let takes_section = matches!(lock.kind, LockKind::Mutex | LockKind::TypeLock);
        holder.or_else(|| {
            let thread = self.view.in_critical_section(waited_at).filter(|_| takes_section)?;
            Some(LockHolder { tid: thread.os.tid(), with_lock: None })
        })
    }

    /// Whether a lock says who holds it, and there is no such thread.
    fn has_lost_owner(&self, lock: &Lock) -> bool {
        let InterpreterView { memory, layout, .. } = self.view;
        let of_thread = matches!(lock.kind, LockKind::RLock | LockKind::ImportLock);
        let ident = owner(memory, layout, lock.kind, lock.address, lock.type_name.as_deref()).filter(|_| of_thread);
        ident.is_some_and(|ident| self.view.thread_by_ident(ident).is_none() && self.is_gone(ident))
    }

    /// Whether a thread that is not known by its ident has ended: its descriptor has the tid of none that lives.
    fn is_gone(&self, ident: u64) -> bool {
        let tid = self.view.memory.i32(ident.wrapping_add(PTHREAD_TID_OFFSETS[0]));
        tid.map_or(true, |tid| !threads(self.view.registry.pid).contains(&tid))
    }

    /// The thread whose end another waits for: `self` in the frame of `Thread.join`.
    fn join(&self, thread: &ObservedThread, waited_at: u64) -> Option<ThreadWait> {
        let InterpreterView { memory, layout, .. } = self.view;
        let interpreters = self.view.interpreters().into_iter();
        let known: Vec<_> =
            interpreters.flat_map(|interp| active(memory, layout, interp).unwrap_or_default()).collect();
        let frames = thread.slots.iter().flat_map(|slot| slot.reader.frames());
        // In 3.8 to 3.12 `join` has called a function that waits; both have `self` as their first variable.
        let &(ident, object) = frames.take(2).find_map(|frame| {
            let first = first_local(self.view, frame)?;
            known.iter().find(|(_, object)| *object == first)
        })?;
        let joined = self.view.thread_by_ident(ident).map(|thread| thread.os.tid());
        let joined = joined.filter(|&tid| tid != thread.os.tid());
        Some(ThreadWait::new(Awaited::ThreadEnd(object), waited_at, joined))
    }

    /// Names the locks that a variable leads to. Only then is a semaphore known to be a `threading.Lock`, and its holder.
    fn name(&self, waits: &mut [ResolvedWait]) {
        let InterpreterView { memory, layout, .. } = self.view;
        let mut wanted = Wanted::default();
        for (lock, waited_at) in waits.iter().filter_map(ResolvedWait::nameless_lock) {
            want(&mut wanted, &WaitedLock::of(lock, waited_at));
        }
        if wanted.is_empty() {
            return;
        }
        let frames: Vec<FrameAddr> =
            self.view.slots().flat_map(|slot| slot.reader.frames()).map(|frame| (frame.addr, frame.code)).collect();
        let mut found = FxHashMap::default();
        for interpreter in self.view.interpreters() {
            let more = variables::find(memory, layout, interpreter, &frames, &wanted);
            merge_found(&mut found, more.unwrap_or_default());
        }
        for resolved in waits.iter_mut() {
            let Some((lock, waited_at)) = resolved.nameless_lock() else { continue };
            let Some(found) = found_for(&found, &WaitedLock::of(lock, waited_at)) else { continue };
            let lock = named(found, lock.kind);
            let ThreadWait { awaited, held_by, .. } = &mut resolved.wait;
            *held_by = held_by.or_else(|| Some(self.holder(&lock, waited_at)?.tid));
            *awaited = Awaited::Lock(lock);
        }
    }
}

impl ResolvedWait {
    /// A lock of the C library that no object has is called by the library that waits for it.
    fn name_by_library(&mut self) {
        if let (Awaited::Lock(lock), Some(library)) = (&mut self.wait.awaited, &self.library)
            && lock.kind == LockKind::Native
            && lock.name.is_none()
        {
            lock.name = Some(library.to_string());
        }
    }

    fn nameless_lock(&self) -> Option<(&Lock, u64)> {
        match &self.wait.awaited {
            Awaited::Lock(lock) if lock.name.is_none() => Some((lock, self.wait.waited_at)),
            _ => None,
        }
    }
}

/// The threads that wait for locks that nobody will release. Some locks say that their holder is gone. Of others that shows only in a
/// process that was `forked`, if all its threads (`tids`) wait: none of them can have it.
pub fn orphans(waits: &BTreeMap<Tid, ThreadWait>, forked: bool, tids: &[Tid]) -> Vec<Tid> {
    let waits_for_lock = |tid: &Tid| {
        let awaited = waits.get(tid).map(|wait| &wait.awaited);
        awaited.is_some_and(|awaited| matches!(awaited, Awaited::Lock(_) | Awaited::ThreadEnd(_)))
    };
    let all_wait = forked && tids.iter().all(waits_for_lock);
    let is_orphan = |wait: &ThreadWait| match &wait.awaited {
        Awaited::Lock(lock) => {
            let may_be_held = matches!(lock.kind, LockKind::Lock | LockKind::RLock | LockKind::ModuleLock);
            wait.owner_gone || all_wait && wait.held_by.is_none() && may_be_held
        }
        _ => false,
    };
    waits.iter().filter(|(_, wait)| is_orphan(wait)).map(|(&tid, _)| tid).collect()
}

/// Circles of threads: each waits for the next, and the last for the first.
pub fn deadlocks(waits: &BTreeMap<Tid, ThreadWait>) -> Vec<Vec<Tid>> {
    let next = |tid: Tid| waits.get(&tid).and_then(|wait| wait.held_by);
    let mut circles: Vec<Vec<Tid>> = Vec::new();
    for &start in waits.keys() {
        let mut path = vec![start];
        while let Some(tid) = path.last().and_then(|&tid| next(tid)) {
            if tid == start {
                // Each circle is found from each of its threads, and kept for the one with the smallest tid.
                if path.iter().all(|&other| other >= start) {
                    circles.push(path);
                }
                break;
            }
            if path.contains(&tid) {
                break;
            }
            path.push(tid);
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{Frame, FrameKind};

    fn edges(edges: &[(Tid, Tid)]) -> BTreeMap<Tid, ThreadWait> {
        let wait = |held_by| ThreadWait::new(Awaited::Lock(Lock::new(0x10, LockKind::RLock)), 0x10, Some(held_by));
        edges.iter().map(|&(from, to)| (from, wait(to))).collect()
    }

    #[test]
    fn circles_are_found_once_without_threads_that_wait_for_them() {
        assert_eq!(deadlocks(&edges(&[(1, 2), (2, 3)])), [] as [Vec<Tid>; 0]);
        assert_eq!(deadlocks(&edges(&[(7, 5), (5, 6), (6, 7)])), [vec![5, 6, 7]]);
        assert_eq!(deadlocks(&edges(&[(1, 5), (5, 6), (6, 5), (9, 9)])), [vec![5, 6], vec![9]]);
    }

    #[test]
    fn nobody_releases_a_lock_whose_holder_is_gone() {
        let lock = |kind| Awaited::Lock(Lock::new(0x10, kind));
        let wait = |kind| ThreadWait::new(lock(kind), 0x10, None);
        let gone = ThreadWait { owner_gone: true, ..wait(LockKind::RLock) };
        assert_eq!(orphans(&BTreeMap::from([(1, wait(LockKind::RLock)), (2, gone)]), false, &[1, 2, 3]), [2]);
        // In a child, all of whose threads wait.
        let join = ThreadWait::new(Awaited::ThreadEnd(0), 0, Some(2));
        let child = BTreeMap::from([(1, join), (2, wait(LockKind::Lock)), (3, wait(LockKind::Semaphore))]);
        assert_eq!(orphans(&child, true, &[1, 2, 3]), [2]);
        assert_eq!(orphans(&child, true, &[1, 2, 3, 4]), [] as [Tid; 0], "another may have it");
        assert_eq!(orphans(&child, false, &[1, 2, 3]), [] as [Tid; 0]);
    }

    #[test]
    fn waits_are_classified_by_the_sleep_and_the_stack() {
        let mut stacks = Interner::default();
        let mut stack = |file: &str, name: &str| {
            let (name, file) = (stacks.string(name), stacks.string(file));
            let frame =
                stacks.frame(Frame { kind: FrameKind::Python, function: name, name, file, line: 1, first_line: 1 });
            stacks.push(StackId::EMPTY, frame)
        };
        let [condition, own] = [stack("/lib/threading.py", "wait"), stack("app.py", "main")];
        let import = stack("<frozen importlib._bootstrap>", "acquire");
        let is = |how, stack| classify(how, stack, &stacks);
        let (no_work, at_work) = (None, Some(Work::Condition));
        assert_eq!(is(FutexSite::Other, StackId::EMPTY), FutexWait::Native);
        assert_eq!(is(FutexSite::NativeMutex, StackId::EMPTY), FutexWait::Lock { work: no_work, import: None });
        assert_eq!(is(FutexSite::Other, own), FutexWait::Lock { work: no_work, import: None });
        assert_eq!(is(FutexSite::Other, condition), FutexWait::Idle(Work::Condition));
        // The kind of the lock tells whether it takes the condition's own lock again.
        assert_eq!(is(FutexSite::ParkedMutex, condition), FutexWait::Lock { work: at_work, import: None });
        let importer = stacks.frames(import).next();
        assert_eq!(is(FutexSite::Other, import), FutexWait::Lock { work: no_work, import: importer });
    }
}
