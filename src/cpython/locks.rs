//! What a thread waits for that sleeps in the interpreter's parking lot or at a semaphore: the lock in an object, a
//! `threading.Lock`, a lock of the interpreter by its name. Called by `sampler/locks.rs` for addresses
//! it has not met before, and by `dump`.

use super::layout::Layout;
use super::objects::Objects;
use crate::event::{LockKind, Pid};
use crate::process::memory::Memory;
use crate::process::os_thread::Futex;
use crate::process::statics;

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Of the object that it is part of; else its own.
    pub address: u64,
    /// What it is.
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

/// Where in an object of a free-threaded build `PyObject.ob_mutex` is.
const OB_MUTEX: u64 = 10;
/// From `PyDictKeysObject` to its `dk_mutex` (free-threaded builds).
const DK_MUTEX: u64 = 11;
/// Objects and keys of dicts begin at multiples of this, and so does what `malloc` returns.
const ALIGNMENT: u64 = 16;
/// No interpreter's state is larger.
const MOST_STATE: u64 = 8 << 20;

/// From the end of an object's header to `buffered.lock` (`Modules/_io/bufferedio.c`, 3.8 to 3.15).
const BUFFERED_LOCK: u64 = 88;

/// What the runtime's state is called.
const RUNTIME_NAME: &str = "_PyRuntime";
/// Where `_Py_DebugOffsets` (3.13 and later) has the sizes of the runtime's and the interpreters' states.
const RUNTIME_SIZE: u64 = 24;
const INTERPRETER_SIZE: u64 = 48;

/// A lock in `_PyRuntimeState` or `PyInterpreterState` of free-threaded builds: its name and where it is in 3.13, 3.14
/// and 3.15; 0 where it does not exist.
type Field = (&'static str, [u64; 3]);

const RUNTIME: [Field; 12] = [
    ("interpreters.mutex", [624, 800, 928]),
    ("xi.registry.mutex", [680, 856, 984]),
    ("allocators.mutex", [696, 872, 1000]),
    ("atexit.mutex", [2248, 2432, 2552]),
    ("imports.extensions.mutex", [2536, 2720, 2840]),
    ("ceval.pending_mainthread.mutex", [2672, 2856, 2984]),
    ("ceval.sys_trace_profile_mutex", [9896, 0, 0]),
    ("tracemalloc.tables_lock", [0, 10432, 10568]),
    ("stoptheworld.mutex", [10360, 10552, 10672]),
    (STOP_EVENT, [10364, 10556, 10676]),
    ("audit_hooks.mutex", [10440, 10632, 10752]),
    ("unicode_state.ids.mutex", [10472, 10664, 10776]),
];

/// The import lock, which is recursive: a mutex with its owner behind it.
const IMPORT_LOCK: &str = "imports.lock";
/// What a thread waits for that stops all others.
const STOP_EVENT: &str = "stoptheworld.stop_event";
/// The lock of all types.
const TYPE_LOCK: &str = "types.mutex";

const INTERPRETER: [Field; 22] = [
    ("ceval.pending.mutex", [40, 40, 40]),
    ("gc.mutex", [0, 7688, 0]),
    (IMPORT_LOCK, [7712, 7760, 7688]),
    ("codecs.search_path_mutex", [8000, 8056, 7984]),
    ("xi.registry.mutex", [10624, 10696, 10632]),
    ("warnings.lock", [10696, 10784, 10736]),
    ("atexit.ll_callbacks_lock", [0, 10824, 10776]),
    ("stoptheworld.mutex", [10744, 10848, 10800]),
    ("qsbr.mutex", [10800, 10912, 10864]),
    ("unique_ids.mutex", [0, 17104, 17056]),
    ("tlbc_indices.mutex", [0, 17264, 17216]),
    ("asyncio_tasks_lock", [0, 17320, 17272]),
    ("func_state.mutex", [20088, 20048, 20000]),
    ("code_state.mutex", [85632, 85592, 85544]),
    ("dict_state.watcher_mutex", [0, 85612, 85564]),
    ("memerrors_lock", [85748, 85700, 85652]),
    ("mem_free_queue.mutex", [85764, 85716, 85668]),
    (TYPE_LOCK, [196_152, 196_128, 196_240]),
    ("interned strings", [0, 230_416, 230_632]),
    ("descriptor_mutex", [0, 0, 230_712]),
    (STOP_EVENT, [10748, 10852, 10804]),
    ("imports.lazy_mutex", [0, 0, 7684]),
];

/// Arrays of locks: name, first, number and stride.
const TABLES: [(&str, [u64; 3], u64, u64); 2] =
    [("brc.table", [11136, 10936, 10888], 257, 24), ("weakref_locks", [17304, 17136, 17088], 127, 1)];

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The process.
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
    let index = usize::from(layout.version.minor.clamp(13, 15) - 13);
    let within = |start: u64, size_at: u64| {
        let size = memory.u64(place.runtime.wrapping_add(size_at)).unwrap_or(0).min(MOST_STATE);
        (start..start.wrapping_add(size)).contains(&address).then(|| address - start)
    };
    let kind = |name: &str| match name {
        STOP_EVENT => LockKind::StopRequest,
        IMPORT_LOCK => LockKind::ImportLock,
        TYPE_LOCK => LockKind::TypeLock,
        _ if mutex => LockKind::Mutex,
        _ => LockKind::Event,
    };
    let found = |fields: &[Field], offset: u64, owner: &str| {
        // The offsets are those of free-threaded builds.
        let at = |field: u64| field != 0 && (field == offset || (moved(layout, owner) && field == offset + 24));
        let known = fields.iter().find(|(_, fields)| layout.free_threaded && at(fields[index]));
        match known {
            Some((name, _)) => none(kind(name), Some((*name).to_owned())),
            None => none(kind(""), Some(table(layout, index, offset).unwrap_or(format!("{owner}+{offset}")))),
        }
    };
    // The main one is part of the runtime.
    for &interpreter in place.interpreters {
        if let Some(offset) = within(interpreter, INTERPRETER_SIZE) {
            return found(&INTERPRETER, offset, "PyInterpreterState");
        }
    }
    if let Some(offset) = within(place.runtime, RUNTIME_SIZE) {
        return found(&RUNTIME, offset, RUNTIME_NAME);
    }
    none(if mutex { LockKind::Mutex } else { LockKind::Event }, None)
}

/// No thread is in so many critical sections at once.
const MOST_SECTIONS: usize = 256;
/// A thread in the parking lot sleeps at a semaphore on its own stack, not further from the end of it than this.
pub const PARKED_WITHIN: u64 = 4096;
/// What a thread is said to be parked for that waits for a lock of the parking lot itself.
pub(crate) const PARKING_LOT: u64 = 1;

/// How a thread sleeps in `futex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In the interpreter's parking lot, for a `PyMutex` (3.13 and later).
    ParkedMutex,
    /// There for something else.
    Parked,
    /// At a mutex of the C library.
    NativeMutex,
    /// At a semaphore, a condition, or anything else.
    Other,
}

impl How {
    /// How a thread sleeps at a futex that is not the GIL's, and what it is parked for, else the futex. Mirrors `struct
    /// wait_entry` (`Python/parking_lot.c`, 3.13 and later) and `struct raw_mutex_entry` (`Python/lock.c`), as the programs of
    /// kernel mode do.
    pub fn of(memory: &impl Memory, layout: &Layout, futex: &Futex) -> (How, u64) {
        const FUTEX_WAIT: u32 = 0;
        const COMMAND: u32 = 0x7f;
        // What a mutex of the C library is while threads wait for it (glibc).
        const CONTENDED: u32 = 2;
        let word = |below: u64| memory.u64(futex.address.wrapping_sub(below)).ok();
        if layout.has_parking_lot() && futex.address.wrapping_sub(futex.stack) < PARKED_WITHIN {
            match (word(16), word(8)) {
                (_, Some(0)) => return (How::ParkedMutex, PARKING_LOT),
                (Some(argument), Some(address @ 4096..)) => {
                    return (if argument != 0 { How::ParkedMutex } else { How::Parked }, address);
                }
                _ => {}
            }
        }
        let native = futex.operation & COMMAND == FUTEX_WAIT && futex.value == CONTENDED;
        (if native { How::NativeMutex } else { How::Other }, futex.address)
    }
}

/// The lock at which a thread sleeps.
pub fn identify(memory: &impl Memory, layout: &Layout, place: Place<'_>, how: How, address: u64) -> Lock {
    match how {
        How::ParkedMutex | How::Parked => parked_for(memory, layout, place, address, how == How::ParkedMutex),
        // Whether it is the semaphore of a `threading.Lock` shows when that is found: it would be where `malloc` puts things.
        How::Other => {
            let name = if address.is_multiple_of(ALIGNMENT) { None } else { statics::name(place.pid, address) };
            Lock { name, ..Lock::new(address, LockKind::Semaphore) }
        }
        How::NativeMutex => Lock { name: statics::name(place.pid, address), ..Lock::new(address, LockKind::Native) },
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
        let owner = memory.u64(address.wrapping_add(layout.object.header() + BUFFERED_LOCK + 8));
        return owner.ok().filter(|&ident| ident != 0);
    }
    let owner = match kind {
        LockKind::RLock => address.wrapping_add(layout.object.header() + 8),
        LockKind::ImportLock => address.wrapping_add(8),
        _ => return None,
    };
    let [ident, depth] = [0, 8].map(|offset| memory.u64(owner.wrapping_add(offset)).unwrap_or(0));
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
    for _ in 0..MOST_SECTIONS {
        let (entry, tags) = (section & !3, section & 3);
        if entry == 0 {
            break;
        }
        let second = if tags & 2 != 0 { read(entry + 16) } else { 0 };
        if tags & 1 == 0 && mutex != 0 && (read(entry + 8) == mutex || second == mutex) {
            return true;
        }
        section = read(entry);
    }
    false
}

/// Whether fields can be 24 bytes further in front: the later patch releases of 3.13 have more in front of most of the
/// runtime's.
fn moved(layout: &Layout, owner: &str) -> bool {
    layout.version.minor == 13 && owner == RUNTIME_NAME
}

fn table(layout: &Layout, index: usize, offset: u64) -> Option<String> {
    let inside = |&&(_, first, count, stride): &&(&str, [u64; 3], u64, u64)| {
        layout.free_threaded && (first[index]..first[index] + count * stride).contains(&offset)
    };
    let (name, first, _, stride) = TABLES.iter().find(inside)?;
    Some(format!("{name}[{}]", (offset - first[index]) / stride))
}

/// The object that a mutex is part of.
fn in_object(memory: &impl Memory, layout: &Layout, mutex: u64) -> Option<Lock> {
    let objects = Objects { memory, layout };
    let header = layout.object.header();
    // `lockobject.lock` and `rlockobject.lock` are the first field.
    let address = mutex.wrapping_sub(header);
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
        OB_MUTEX => {
            let address = mutex - OB_MUTEX;
            let type_name = objects.type_name_of(address)?;
            Some(Lock { address, kind, type_name: Some(type_name), name: None })
        }
        // Keys that instances of a class share.
        DK_MUTEX => Some(Lock {
            address: mutex - DK_MUTEX,
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
    layout.object.header() + if is_buffered(type_name) { BUFFERED_LOCK } else { 0 }
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
