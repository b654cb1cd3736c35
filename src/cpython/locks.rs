//! What a thread waits for that sleeps in the interpreter's parking lot or at a semaphore: the lock in an object, a
//! `threading.Lock`, a lock of the interpreter by its name. Called by `sampler/locks.rs` for addresses
//! it has not met before, and by `dump`.

use super::layout::Layout;
use super::object_header::header;
use super::objects::Objects;
use super::offsets::private::{
    BUFFERED_LOCK, BUFFERED_OWNER_AFTER_LOCK, IMPORT_LOCK_OWNER, LOCK_IN_OBJECT, PARK_ARGUMENT_BEFORE,
    PARKED_ADDRESS_BEFORE, RLOCK_DEPTH_AFTER_OWNER, RLOCK_OWNER,
};
use super::offsets::{CRITICAL_SECTION, LockArray};
use crate::arch::{PTHREAD_JOIN_OFFSETS, PTHREAD_SELF_OFFSET, PTHREAD_TID_OFFSETS};
use crate::event::{LockKind, OTHER_INTERNAL, Pid};
use crate::process::memory::Memory;
use crate::process::os_thread::Futex;
use crate::process::statics;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Of the object that it is part of; else its own.
    pub address: u64,
    pub kind: LockKind,
    /// The type of the object.
    pub type_name: Option<String>,
    /// The interpreter's name for it.
    pub name: Option<String>,
}

impl Lock {
    /// One of which only the address is known.
    pub fn new(address: u64, kind: LockKind) -> Lock {
        Lock { address, kind, type_name: None, name: None }
    }

    /// Itself; or, if it can be one that the import system has made for a module, and is waited for by an `import`, that one:
    /// `import` says in words which.
    pub fn or_of_module(self, import: Option<String>) -> Lock {
        match import.filter(|_| may_be_of_module(self.kind)) {
            Some(import) => Lock { kind: LockKind::ModuleLock, name: Some(import), ..self },
            None => self,
        }
    }
}

/// Whether the import system can have made a lock of this kind for a module: other than those of the interpreter itself.
pub fn may_be_of_module(kind: LockKind) -> bool {
    matches!(kind, LockKind::Semaphore | LockKind::Lock | LockKind::RLock | LockKind::ModuleLock)
}

/// Objects and keys of dicts begin at multiples of this, and so does what `malloc` returns.
const ALIGNMENT: u64 = 16;
/// No interpreter's state is larger.
const MAX_STATE: u64 = 8 << 20;

/// The import lock, which is recursive: a mutex with its owner behind it.
const IMPORT_LOCK: &str = "imports.lock";
/// What a thread waits for that stops all others.
const STOP_EVENT: &str = "stoptheworld.stop_event";
/// The lock of all types.
const TYPE_LOCK: &str = "types.mutex";

#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub pid: Pid,
    /// `_PyRuntime`.
    pub runtime: u64,
    /// All `PyInterpreterState`s.
    pub interpreters: &'a [u64],
    /// All `PyThreadState`s.
    pub tstates: &'a [u64],
}

/// What is at `address`, for which a thread is parked in the parking lot; `mutex` if that is a `PyMutex`. 3.13 and later.
pub fn parked_for(memory: &impl Memory, layout: &Layout, place: Place<'_>, address: u64, mutex: bool) -> Lock {
    let none = |kind, name: Option<String>| Lock { address, kind, type_name: None, name };
    if address == PARKING_LOT {
        return Lock { name: Some("parking lot".to_owned()), ..Lock::new(0, LockKind::Mutex) };
    }
    if let Some(state) = layout.thread.state
        && place.tstates.contains(&address.wrapping_sub(state))
    {
        return none(LockKind::Pause, None);
    }
    if let Some(lock) = in_object(memory, layout, address) {
        return lock;
    }
    let within = |start: u64, size: u64| {
        let size = size.min(MAX_STATE);
        (start..start.wrapping_add(size)).contains(&address).then(|| address.wrapping_sub(start))
    };
    let kind = |name: &str| match name {
        STOP_EVENT => LockKind::StopRequest,
        IMPORT_LOCK => LockKind::ImportLock,
        TYPE_LOCK => LockKind::TypeLock,
        _ if mutex => LockKind::Mutex,
        _ => LockKind::Event,
    };
    let found = |locks: &[(&str, u64)], arrays: &[LockArray], offset: u64| {
        let known = locks.iter().find(|(_, at)| *at == offset);
        match known {
            Some((name, _)) => none(kind(name), Some((*name).to_owned())),
            None => none(kind(""), Some(in_array(arrays, offset).unwrap_or(OTHER_INTERNAL.to_owned()))),
        }
    };
    let locks = &layout.locks;
    // The main one is part of the runtime.
    for &interpreter in place.interpreters {
        if let Some(offset) = within(interpreter, locks.interpreter_size) {
            return found(locks.interpreter, locks.arrays, offset);
        }
    }
    if let Some(offset) = within(place.runtime, locks.runtime_size) {
        return found(locks.runtime, &[], offset);
    }
    none(if mutex { LockKind::Mutex } else { LockKind::Event }, None)
}

/// A limit on the critical sections of one thread: a chain that is longer is garbage.
const MAX_SECTIONS: usize = 256;
/// A thread in the parking lot sleeps at a semaphore on its own stack, not further from the end of it than this.
pub const PARKED_WITHIN: u64 = 4096;
/// What a thread is said to be parked for that waits for a lock of the parking lot itself.
pub(crate) const PARKING_LOT: u64 = 1;

/// FutexSite a thread sleeps in `futex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FutexSite {
    /// In the interpreter's parking lot, for a `PyMutex` (3.13 and later).
    ParkedMutex,
    /// There for something else.
    Parked,
    /// At a mutex of the C library.
    NativeMutex,
    /// In `pthread_join` of the C library: the address is the tid of the thread for whose end it waits.
    Join,
    /// At a semaphore, a condition, or anything else.
    Other,
}

impl FutexSite {
    /// FutexSite a thread sleeps at a futex that is not the GIL's, and what it is parked for, else the futex. Mirrors `struct
    /// wait_entry` (`Python/parking_lot.c`, 3.13 and later) and `struct raw_mutex_entry` (`Python/lock.c`), as the programs of
    /// kernel mode do.
    pub fn of(memory: &impl Memory, layout: &Layout, futex: &Futex) -> (FutexSite, u64) {
        const FUTEX_WAIT: u32 = 0;
        const COMMAND: u32 = 0x7f;
        // What a mutex of the C library is while threads wait for it (glibc).
        const CONTENDED: u32 = 2;
        let word = |before: u64| memory.u64(futex.address.wrapping_sub(before)).ok();
        if layout.has_parking_lot() && futex.address.wrapping_sub(futex.stack) < PARKED_WITHIN {
            match (word(PARK_ARGUMENT_BEFORE), word(PARKED_ADDRESS_BEFORE)) {
                (_, Some(0)) => return (FutexSite::ParkedMutex, PARKING_LOT),
                (Some(argument), Some(address @ 4096..)) => {
                    return (if argument != 0 { FutexSite::ParkedMutex } else { FutexSite::Parked }, address);
                }
                _ => {}
            }
        }
        if let Some(tid) = joined(memory, futex) {
            return (FutexSite::Join, tid);
        }
        let native = futex.operation & COMMAND == FUTEX_WAIT && futex.value == CONTENDED;
        (if native { FutexSite::NativeMutex } else { FutexSite::Other }, futex.address)
    }
}

/// The tid of the thread for whose end another waits, in `pthread_join` of glibc: the kernel changes the futex, which is in that
/// thread's descriptor. That has its own address in it.
fn joined(memory: &impl Memory, futex: &Futex) -> Option<u64> {
    const PRIVATE: u32 = 0x80;
    if futex.operation & PRIVATE != 0 {
        return None;
    }
    let descriptors = PTHREAD_JOIN_OFFSETS.into_iter().map(|offset| futex.address.wrapping_sub(offset));
    let own = |descriptor: u64| memory.u64(descriptor.wrapping_add(PTHREAD_SELF_OFFSET)).ok();
    let descriptor = descriptors.into_iter().find(|&descriptor| own(descriptor) == Some(descriptor))?;
    let tid = memory.i32(descriptor.wrapping_add(PTHREAD_TID_OFFSETS[0])).ok()?;
    u64::try_from(tid).ok().filter(|&tid| tid != 0)
}

/// The lock at which a thread sleeps.
pub fn identify(memory: &impl Memory, layout: &Layout, place: Place<'_>, how: FutexSite, address: u64) -> Lock {
    match how {
        FutexSite::ParkedMutex | FutexSite::Parked => {
            parked_for(memory, layout, place, address, how == FutexSite::ParkedMutex)
        }
        // Whether it is the semaphore of a `threading.Lock` shows when that is found: it would be where `malloc` puts things.
        FutexSite::Other => {
            let name = if address.is_multiple_of(ALIGNMENT) { None } else { statics::name(place.pid, address) };
            Lock { name, ..Lock::new(address, LockKind::Semaphore) }
        }
        // Only for completeness: it is no lock.
        FutexSite::Join => Lock::new(0, LockKind::ThreadEnd),
        FutexSite::NativeMutex => {
            Lock { name: statics::name(place.pid, address), ..Lock::new(address, LockKind::Native) }
        }
    }
}

/// `threading.get_ident()` of the thread that holds a lock, of those kinds that say so. Mirrors `rlockobject`: a lock, the
/// owner, the depth; `_PyRecursiveMutex`; and `buffered`, with its owner behind its lock.
pub fn owner(
    memory: &impl Memory,
    layout: &Layout,
    kind: LockKind,
    address: u64,
    type_name: Option<&str>,
) -> Option<u64> {
    if type_name.is_some_and(is_buffered) {
        let owner =
            memory.u64(address.wrapping_add(layout.object.header + BUFFERED_LOCK + BUFFERED_OWNER_AFTER_LOCK));
        return owner.ok().filter(|&ident| ident != 0);
    }
    let owner = match kind {
        LockKind::RLock => address.wrapping_add(layout.object.header + RLOCK_OWNER),
        LockKind::ImportLock => address.wrapping_add(IMPORT_LOCK_OWNER),
        _ => return None,
    };
    let [ident, depth] =
        [0, RLOCK_DEPTH_AFTER_OWNER].map(|offset| memory.u64(owner.wrapping_add(offset)).unwrap_or(0));
    // The depth of those that are a `_PyRecursiveMutex` counts from 0.
    let recursive = kind == LockKind::ImportLock || layout.version.minor >= 14;
    (ident != 0 && (recursive || depth != 0)).then_some(ident)
}

/// Whether a thread is in a critical section of the object with this mutex. Mirrors `PyCriticalSection` and
/// `PyCriticalSection2`: the one before, tagged (1: suspended, 2: of two objects), and one or two mutexes.
pub fn in_critical_section(memory: &impl Memory, layout: &Layout, tstate: u64, mutex: u64) -> bool {
    let Some(offset) = layout.thread.critical_section else { return false };
    let read = |addr: u64| memory.u64(addr).unwrap_or(0);
    let mut section = read(tstate.wrapping_add(offset));
    for _ in 0..MAX_SECTIONS {
        let (entry, tags) = (section & !3, section & 3);
        if entry == 0 {
            break;
        }
        let second = if tags & 2 != 0 { read(entry.wrapping_add(CRITICAL_SECTION.second_mutex)) } else { 0 };
        if tags & 1 == 0
            && mutex != 0
            && (read(entry.wrapping_add(CRITICAL_SECTION.mutex)) == mutex || second == mutex)
        {
            return true;
        }
        section = read(entry.wrapping_add(CRITICAL_SECTION.previous));
    }
    false
}

/// What people call the arrays whose field names say little.
const ARRAY_NAMES: [(&str, &str); 1] = [("weakref_locks", "weakrefs")];

/// The lock of an array that is at an offset: `brc.table[3]`.
fn in_array(arrays: &[LockArray], offset: u64) -> Option<String> {
    arrays.iter().find_map(|array| {
        let index = offset.checked_sub(array.first)? / array.stride;
        let plain = ARRAY_NAMES.iter().find(|(name, _)| *name == array.name).map(|(_, plain)| (*plain).to_owned());
        (index < array.count).then(|| plain.unwrap_or_else(|| format!("{}[{index}]", array.name)))
    })
}

/// The object that a mutex is part of.
fn in_object(memory: &impl Memory, layout: &Layout, mutex: u64) -> Option<Lock> {
    let objects = Objects { memory, layout };
    let address = mutex.wrapping_sub(layout.object.header + LOCK_IN_OBJECT);
    if address.is_multiple_of(ALIGNMENT)
        && let Some(type_name) = objects.type_name_of(address)
        && let Some(kind) = lock_kind(&type_name)
    {
        return Some(Lock { address, kind, type_name: Some(type_name), name: None });
    }
    if !layout.free_threaded {
        return None;
    }
    let kind = LockKind::CriticalSection;
    match mutex % ALIGNMENT {
        header::MUTEX => {
            let address = mutex - header::MUTEX;
            let type_name = objects.type_name_of(address)?;
            Some(Lock { address, kind, type_name: Some(type_name), name: None })
        }
        // Keys that instances of a class share.
        place if layout.keys?.mutex == Some(place) => Some(Lock {
            address: mutex - place,
            kind: LockKind::Mutex,
            type_name: None,
            name: Some("keys of a dict".to_owned()),
        }),
        _ => None,
    }
}

/// Whether objects of this type are files that only one thread at a time can read or write.
pub fn is_buffered(type_name: &str) -> bool {
    matches!(type_name, "_io.BufferedReader" | "_io.BufferedWriter" | "_io.BufferedRandom")
}

/// The type of a `threading.Lock`.
pub const LOCK: &str = "_thread.lock";

/// Where objects of this type keep the lock that threads wait at, or what leads to it: a semaphore, from 3.15 on a `PyMutex`.
pub fn lock_place(layout: &Layout, type_name: &str) -> u64 {
    layout.object.header + if is_buffered(type_name) { BUFFERED_LOCK } else { LOCK_IN_OBJECT }
}

/// What an object of this type is, if it is a lock or is waited for like one.
pub fn lock_kind(type_name: &str) -> Option<LockKind> {
    match type_name {
        LOCK => Some(LockKind::Lock),
        "_thread.RLock" => Some(LockKind::RLock),
        // Its `lock` (up to 3.12) or `has_threads_waiting` comes first, too.
        "_queue.SimpleQueue" => Some(LockKind::Queue),
        _ => None,
    }
}
