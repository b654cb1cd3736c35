//! Locks, and the one table of their kinds. A new kind is a variant and a row here, and whatever recognizes it in the
//! memory of the interpreter (`cpython/locks.rs`).

use std::sync::Arc;

use super::{MODULE, ProcessId, object_label};
use crate::text::short;

/// What a thread can wait for, other than the GIL. The order is that of [`LOCK_KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockKind {
    /// The lock in an object, acquired by a critical section (free-threaded builds).
    CriticalSection,
    /// `threading.Lock`.
    Lock,
    /// `threading.RLock`.
    RLock,
    /// A `PyMutex` of the interpreter.
    Mutex,
    /// The one that guards all types (`interp->types.mutex`).
    TypeLock,
    /// The global import lock.
    ImportLock,
    /// A read-write lock, an event or a once flag of the interpreter.
    Event,
    /// None: a thread has asked all others to stop, and waits until they have.
    StopRequest,
    /// A lock of the interpreter that is a semaphore (`PyThread_type_lock`): of a file's buffer, of a database
    /// connection.
    Semaphore,
    /// Of the C library: a mutex or condition of an extension module.
    Native,
    /// None: the interpreter has stopped its threads.
    Pause,
    /// None: a `queue.SimpleQueue` that is empty. Up to 3.12 it is taken for a lock until a variable leads to it.
    Queue,
    /// One that the import system has made for a module, for the time that it is being imported.
    ModuleLock,
    /// None: the end of a thread, for which native code waits (`pthread_join`).
    ThreadEnd,
    /// None: whatever threads of a native library have to do.
    NativeCode,
}

/// What the type of an object means for the label of a lock in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectLabel {
    /// The lock is called what the object is called.
    Object,
    /// `lock of` the object.
    LockOf,
    /// The type says nothing: the lock is the object.
    Ignored,
}

/// What is true of all locks of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockKindRow {
    pub kind: LockKind,
    /// A short constant name, as in the report's JSON.
    pub name: &'static str,
    label: &'static str,
    in_object: ObjectLabel,
    /// Its address distinguishes it from others of its kind.
    has_address: bool,
    /// Threads that wait for it wait for a lock, and not for something else.
    is_lock: bool,
    /// It may be a `threading.Lock`, which does not record its holder.
    has_no_owner: bool,
    /// It guards an object or the interpreter during one operation; Python code cannot acquire it by itself.
    pub is_internal: bool,
    /// What to do if many wait for it. A whole sentence.
    pub advice: Option<&'static str>,
}

/// Most kinds differ from this in a few fields.
const PLAIN: LockKindRow = LockKindRow {
    kind: LockKind::Native,
    name: "",
    label: "",
    in_object: ObjectLabel::Ignored,
    has_address: true,
    is_lock: true,
    has_no_owner: false,
    is_internal: false,
    advice: None,
};

/// The name of a lock of the interpreter of which nothing else is known.
pub const OTHER_INTERNAL: &str = "other";

/// What the names of the locks of `logging` begin with: the logger follows.
pub const HANDLER: &str = "the handler of ";

const HOLD_IT_LESS: Option<&str> = Some("Hold it for less time, or give threads locks of their own.");
const IMPORT_EARLY: Option<&str> = Some("Import modules before the threads start.");

/// All kinds. Recordings number them in this order: new ones go to the end.
pub(crate) const LOCK_KINDS: [LockKindRow; 15] = [
    LockKindRow {
        kind: LockKind::CriticalSection,
        name: "critical_section",
        label: "object",
        in_object: ObjectLabel::Object,
        is_internal: true,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::Lock,
        name: "threading.Lock",
        label: "threading.Lock",
        has_no_owner: true,
        advice: HOLD_IT_LESS,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::RLock,
        name: "threading.RLock",
        label: "threading.RLock",
        advice: HOLD_IT_LESS,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::Mutex,
        name: "pymutex",
        label: "mutex of the interpreter",
        in_object: ObjectLabel::LockOf,
        is_internal: true,
        ..PLAIN
    },
    LockKindRow { kind: LockKind::TypeLock, name: "type_lock", label: "type lock", is_internal: true, ..PLAIN },
    LockKindRow {
        kind: LockKind::ImportLock,
        name: "import_lock",
        label: "import lock",
        advice: IMPORT_EARLY,
        ..PLAIN
    },
    LockKindRow { kind: LockKind::Event, name: "event", label: "event of the interpreter", ..PLAIN },
    LockKindRow {
        kind: LockKind::StopRequest,
        name: "stop_request",
        label: "stop of all threads",
        is_lock: false,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::Semaphore,
        name: "semaphore",
        label: "semaphore",
        in_object: ObjectLabel::LockOf,
        has_no_owner: true,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::Native,
        name: "native",
        label: "native lock",
        in_object: ObjectLabel::LockOf,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::Pause,
        name: "pause",
        label: "stop of all threads",
        // Each thread is stopped at an address of its own.
        has_address: false,
        is_lock: false,
        ..PLAIN
    },
    LockKindRow { kind: LockKind::Queue, name: "queue", label: "queue", is_lock: false, ..PLAIN },
    LockKindRow {
        kind: LockKind::ModuleLock,
        name: "import_lock",
        label: "import lock",
        advice: IMPORT_EARLY,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::ThreadEnd,
        name: "thread_end",
        label: "the end of a thread",
        has_address: false,
        is_lock: false,
        ..PLAIN
    },
    LockKindRow {
        kind: LockKind::NativeCode,
        name: "native_code",
        label: "native code",
        has_address: false,
        is_lock: false,
        ..PLAIN
    },
];

impl LockKind {
    fn row(self) -> &'static LockKindRow {
        &LOCK_KINDS[self as usize]
    }

    /// The row of the first kind with this name: two kinds can share one.
    pub(crate) fn row_named(name: &str) -> Option<&'static LockKindRow> {
        LOCK_KINDS.iter().find(|row| row.name == name)
    }

    /// Threads that wait for it wait for a lock, and not for something else.
    pub fn is_lock(self) -> bool {
        self.row().is_lock
    }

    /// It may be a `threading.Lock`, which does not record its holder.
    pub fn has_no_owner(self) -> bool {
        self.row().has_no_owner
    }

    /// A short constant name, as in the report's JSON.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What to call a lock of this kind, for people: `list (app.inventory)`, `threading.Lock at 0x7f10`.
    pub fn label(self, type_name: Option<&str>, name: Option<&str>, address: u64) -> String {
        let row = self.row();
        let (type_name, name) = (type_name.map(short), name.map(short));
        let (type_name, name) = (type_name.as_deref(), name.as_deref());
        match (row.in_object, type_name) {
            (ObjectLabel::Object, type_name) => return object_label(type_name.unwrap_or(row.label), name, address),
            (ObjectLabel::LockOf, Some(type_name)) => {
                return format!("lock of {}", object_label(type_name, name, address));
            }
            (ObjectLabel::LockOf, None) | (ObjectLabel::Ignored, _) => {}
        }
        match name.map(|name| (name, name.strip_prefix(MODULE))) {
            Some((_, Some(module))) if self == LockKind::ModuleLock => format!("{} of {module}", row.label),
            Some((name, _)) if name.starts_with(HANDLER) => format!("{} of {name}", row.label),
            Some((OTHER_INTERNAL, _)) if self == LockKind::Mutex => "a lock of the interpreter".to_owned(),
            Some((OTHER_INTERNAL, _)) if self == LockKind::Event => "an event of the interpreter".to_owned(),
            // Of the library only the name is known.
            Some((name, _)) if self == LockKind::Native && !name.contains(" in ") => {
                format!("{} in {name}", row.label)
            }
            Some((name, _)) if self == LockKind::NativeCode => format!("threads of {name}"),
            Some((name, _)) => format!("{} ({name})", row.label),
            None if row.has_address => format!("{} at {address:#x}", row.label),
            None => row.label.to_owned(),
        }
    }
}

/// Facts about a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    pub process: ProcessId,
    /// Its address; of the object that it is part of, if it is part of one.
    pub address: u64,
    pub kind: LockKind,
    /// The type of the object, if it is part of one.
    pub type_name: Option<Arc<str>>,
    /// A variable or attribute that holds the object, or the interpreter's own name for the lock.
    pub name: Option<Arc<str>>,
}

impl LockInfo {
    /// The name of a pause that is made to collect garbage.
    pub const COLLECTION: &str = "garbage collection";

    /// What to call it: `list (app.inventory)`.
    pub fn label(&self) -> String {
        self.kind.label(self.type_name.as_deref(), self.name.as_deref(), self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row() {
        for (index, row) in LOCK_KINDS.iter().enumerate() {
            assert_eq!(row.kind as usize, index, "{:?}", row.kind);
            assert_eq!(LockKind::row_named(row.name).unwrap().label, row.label);
        }
    }

    #[test]
    fn locks_are_called_what_people_call_them() {
        let label = |kind: LockKind, type_name, name| kind.label(type_name, name, 0x7f10);
        assert_eq!(label(LockKind::CriticalSection, Some("list"), Some("app.inventory")), "list (app.inventory)");
        assert_eq!(label(LockKind::CriticalSection, None, None), "object at 0x7f10");
        assert_eq!(label(LockKind::Lock, Some("_thread.lock"), Some("app.lock")), "threading.Lock (app.lock)");
        assert_eq!(label(LockKind::Semaphore, None, None), "semaphore at 0x7f10");
        assert_eq!(label(LockKind::Mutex, Some("Journal"), None), "lock of Journal at 0x7f10");
        assert_eq!(label(LockKind::ModuleLock, None, Some("module numpy")), "import lock of numpy");
        assert_eq!(label(LockKind::ModuleLock, None, Some("app.py:3")), "import lock (app.py:3)");
        assert_eq!(label(LockKind::Pause, None, Some("fork")), "stop of all threads (fork)");
        assert_eq!(label(LockKind::Pause, None, None), "stop of all threads");
        assert_eq!(label(LockKind::NativeCode, None, Some("libpolars.so")), "threads of libpolars.so");
        assert_eq!(label(LockKind::NativeCode, None, None), "native code");
        assert_eq!(label(LockKind::Native, None, Some("libsqlite3.so")), "native lock in libsqlite3.so");
        assert_eq!(
            label(LockKind::Native, None, Some("blas_lock in libblas.so")),
            "native lock (blas_lock in libblas.so)"
        );
        assert_eq!(label(LockKind::Native, Some("h5.File"), Some("app.file")), "lock of h5.File instance (app.file)");
        assert_eq!(label(LockKind::Mutex, None, Some(OTHER_INTERNAL)), "a lock of the interpreter");
        let handler = Some("the handler of logger \"app\"");
        assert_eq!(
            label(LockKind::RLock, Some("_thread.RLock"), handler),
            "threading.RLock of the handler of logger \"app\""
        );
        assert_eq!(label(LockKind::ThreadEnd, None, None), "the end of a thread");
    }
}
