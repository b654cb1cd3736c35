//! What can be said about objects and their reference counts (free-threaded builds).

use std::sync::Arc;

use super::{ObjectId, ProcessId, ThreadId};
use crate::text::short;

/// What an access to a reference count is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountOp {
    Incref,
    /// The end of one.
    Decref,
    /// A new reference, unless the object is going away: of what was found in a container without taking its lock.
    TryIncref,
    Unknown,
}

impl CountOp {
    /// As in the report's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incref => "incref",
            Self::Decref => "decref",
            Self::TryIncref => "try-incref",
            Self::Unknown => "unknown",
        }
    }
}

/// Memory whose access delayed a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accessed {
    /// An object's reference count: its owner, its local or its shared half.
    Count {
        object: ObjectId,
        op: CountOp,
        /// By an atomic operation.
        atomic: bool,
    },
    /// Something else in an object's header, in the cache line of its count.
    Header { object: ObjectId },
    /// By an atomic operation, something else.
    Elsewhere(MemoryPlace),
    /// Which memory is not known: the instruction overwrote its own address.
    Unknown,
    /// None that explains a delay: it was computing, in the kernel, or at memory without atomic operations.
    Nothing,
}

/// Memory that is no reference count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryPlace {
    /// The lock of an object that critical sections take.
    ObjectMutex,
    /// The data of the runtime, an interpreter or a thread: the cache of methods, queues, states.
    Interpreter,
    /// The keys of a dict, which all instances of a class share: their count or their lock.
    DictKeys,
    /// An object, behind its header.
    Content,
    Memory,
}

/// How an object's references are counted (free-threaded builds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counting {
    /// Those of the owner without, those of others with atomic operations.
    Biased,
    /// All with atomic operations: its owner has given up ownership, or has ended.
    Merged,
    /// Not those of the interpreter's own stack.
    Deferred,
    Immortal,
}

impl Counting {
    /// As in the report's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Biased => "biased",
            Self::Merged => "merged",
            Self::Deferred => "deferred",
            Self::Immortal => "immortal",
        }
    }
}

/// Facts about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The process it is in.
    pub process: ProcessId,
    pub address: u64,
    pub type_name: Arc<str>,
    /// Its own name or value, or a variable or attribute that holds it.
    pub name: Option<Arc<str>>,
    /// How many items it has, if it is a container.
    pub len: Option<u64>,
    /// How its references are counted.
    pub counting: Counting,
    /// The thread that counts without atomic operations.
    pub owner: Option<ThreadId>,
}

impl ObjectInfo {
    /// What to call it: `list (app.inventory)`.
    pub fn label(&self) -> String {
        object_label(&self.type_name, self.name.as_deref(), self.address)
    }
}

/// What comes before the name of a module where that stands for its dict.
pub const MODULE: &str = "module ";

/// What to call an object: `list (app.inventory)`, `random.Random instance (random._inst)`, `dict of module app`,
/// `lru_cache wrapper of app.slow_square`.
pub fn object_label(type_name: &str, name: Option<&str>, address: u64) -> String {
    let (type_name, name) = (&*short(type_name), name.map(short));
    let name = name.as_deref();
    let is_builtin = !type_name.contains('.') && type_name.starts_with(|first: char| first.is_lowercase());
    match (type_name, name) {
        ("functools._lru_cache_wrapper", Some(name)) => format!("lru_cache wrapper of {name}"),
        ("dict", Some(name)) if name.starts_with(MODULE) => format!("dict of {name}"),
        (_, Some(name)) if is_builtin => format!("{type_name} ({name})"),
        (_, Some(name)) => format!("{type_name} instance ({name})"),
        (_, None) => format!("{type_name} at {address:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_called_what_people_call_them() {
        let label = |type_name, name| object_label(type_name, name, 0x7f10);
        assert_eq!(label("list", Some("app.inventory")), "list (app.inventory)");
        assert_eq!(label("random.Random", Some("random._inst")), "random.Random instance (random._inst)");
        assert_eq!(label("Account", Some("app.account")), "Account instance (app.account)");
        assert_eq!(label("dict", Some("module app")), "dict of module app");
        assert_eq!(label("dict", Some("app.account.__dict__")), "dict (app.account.__dict__)");
        let cache = "functools._lru_cache_wrapper";
        assert_eq!(label(cache, Some("app.slow_square")), "lru_cache wrapper of app.slow_square");
        assert_eq!(label(cache, None), "functools._lru_cache_wrapper at 0x7f10");
    }
}
