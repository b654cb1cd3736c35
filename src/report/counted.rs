//! What a report says of reference counts that threads contend for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::is_innermost;
use crate::event::{Pid, Tid};

/// Reference counts that hold threads up: an estimate, from samples of threads on a CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReportedCounts {
    /// Why nothing could be measured, if that is so.
    pub unavailable: Option<String>,
    /// Samples that were looked at.
    pub samples: u64,
    /// The part of the CPU time in which threads were held up by the counts of objects that others use.
    pub cpu_fraction: f64,
    /// With 95 % confidence it is not further from the truth than this, because of the number of samples.
    pub margin: f64,
    /// Those objects, the most costly first.
    pub objects: Vec<CountedObject>,
    /// The same by type.
    pub types: Vec<CountedType>,
    /// The same by line.
    pub lines: Vec<CountedLine>,
    /// What is not a reference count, but holds threads up in the same way.
    pub elsewhere: Elsewhere,
}

/// An object whose reference count threads contend for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedObject {
    /// The process it is in.
    pub pid: Pid,
    pub address: u64,
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its own name or value, or a variable that holds it.
    pub name: Option<String>,
    /// What to call it.
    pub label: String,
    /// How many items it has, if it is a container.
    pub length: Option<u64>,
    /// The part of the CPU time that its count takes.
    pub cpu_fraction: f64,
    /// The samples that this is.
    pub samples: u64,
    /// Samples at an atomic operation; the others wait for the cache line that one of those has.
    pub atomic: u64,
    /// Samples by operation: `incref`, `decref`, `try-incref`, `unknown`.
    pub operations: BTreeMap<String, u64>,
    /// How many threads were found at it.
    pub threads: usize,
    /// The thread that counts without atomic operations, if it has one.
    pub owner: Option<String>,
    /// `biased`, `merged`, `deferred`, `immortal`.
    pub counting: String,
    /// It is not counted at all.
    pub immortal: bool,
    /// It is counted only in part.
    pub deferred: bool,
    pub advice: Option<String>,
    /// Who was where, the most first; at most [`super::MAX_ATTRIBUTED`].
    pub stacks: Vec<Sampled>,
}

impl CountedObject {
    /// What to call it where it may be cut: the name before the type, so that it is the type that is lost.
    pub fn name_first(&self) -> String {
        match &self.name {
            Some(name) => format!("{name}: {}", self.type_name),
            None => self.label.clone(),
        }
    }
}

/// Samples attributed to a thread's stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sampled {
    pub tid: Tid,
    pub thread: String,
    pub samples: u64,
    /// Where, `func (file.py:LINE)`, innermost first.
    pub stack: Vec<String>,
    /// Which of these frames is the program's own.
    #[serde(default, skip_serializing_if = "is_innermost")]
    pub own: usize,
}

/// Objects of one type, as [`CountedObject`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedType {
    #[serde(rename = "type")]
    pub type_name: String,
    /// The part of the CPU time that their counts take.
    pub cpu_fraction: f64,
    /// The samples that this is.
    pub samples: u64,
    pub objects: usize,
}

/// A line of the program at which threads are held up by reference counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedLine {
    /// `func (file.py:LINE)`
    pub line: String,
    /// The part of the CPU time that is lost there.
    pub cpu_fraction: f64,
    /// The samples that this is.
    pub samples: u64,
    /// By the counts of these objects, the most costly first.
    pub objects: Vec<String>,
}

/// Parts of the CPU time that other atomic operations take. Whether others use that memory, too, is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Elsewhere {
    /// By the locks in objects that critical sections take.
    pub object_mutex: f64,
    /// By the rest of the headers of objects whose counts are fought for.
    pub header: f64,
    /// By atomic operations on the interpreter's own data: its cache of methods, its queues, states of threads.
    pub interpreter: f64,
    /// By atomic operations on the keys of dicts, which instances of a class share.
    pub dict_keys: f64,
    /// By atomic operations on objects, behind their headers.
    pub content: f64,
    /// By other atomic operations.
    pub memory: f64,
    /// By an access to memory that is not known.
    pub unknown: f64,
}

impl Elsewhere {
    /// All but what is not known, in words.
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("objects' own locks", self.object_mutex),
            ("the rest of those objects' headers", self.header),
            ("the interpreter's own data", self.interpreter),
            ("keys of dicts", self.dict_keys),
            ("objects behind their headers", self.content),
            ("other memory", self.memory),
        ]
    }
}
