//! What memory the threads of a free-threaded build are held up by: for each sample the instruction before it, the
//! address that it accessed, and the object that this is the header of. Owned by the collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::contended_objects::{Counted, KnownObjects};
use super::registry::{Registry, Sink};
use crate::arch::x86_64::{Function, Operand, Registers};
use crate::cpython::layout::Layout;
use crate::cpython::object_header::header;
use crate::cpython::objects::Objects;
use crate::event::{Accessed, Event, MemoryPlace, Nanos, Pid, ProcessId, ThreadId};
use crate::process::functions::Functions;
use crate::process::memory::Memory;
use crate::stack::StackId;

/// Functions of which the code is kept.
const MOST_FUNCTIONS: usize = 1 << 12;
/// Objects begin at multiples of this.
const ALIGNMENT: u64 = 16;
/// No object is below this address.
const LOWEST: u64 = 4096;
/// No state of a runtime or an interpreter is larger, no state of a thread, and no object with fields of its own.
const MOST_STATE: u64 = 1 << 20;
const MOST_THREAD_STATE: u64 = 4096;
const MOST_CONTENT: u64 = 1024;

/// What the process can be looked at with.
#[derive(Debug)]
pub struct Eyes<'a, M> {
    /// Its memory.
    pub memory: &'a M,
    /// Its structures.
    pub layout: &'a Layout,
    /// Its threads.
    pub registry: &'a Registry,
}

// Derived, they would ask the same of the memory.
impl<M> Clone for Eyes<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<M> Copy for Eyes<'_, M> {}

impl<M> Eyes<'_, M> {
    /// The thread with this `threading.get_ident()`.
    pub fn thread(&self, ident: u64) -> Option<ThreadId> {
        let is_it = |thread: &&super::threads::Thread| thread.slots.iter().any(|slot| slot.ident() == ident);
        self.registry.threads.iter().filter(|_| ident != 0).find(is_it).map(|thread| thread.id)
    }
}

/// When a sample was taken, whose, and where that was.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// When.
    pub at: Nanos,
    /// Whose.
    pub thread: ThreadId,
    /// Its Python stack.
    pub stack: StackId,
}

/// The accesses of one process.
#[derive(Debug)]
pub struct Accesses {
    runtime: u64,
    functions: Functions,
    decoded: Vec<Function>,
    /// What the instruction before an address accesses.
    operands: FxHashMap<u64, Arc<[Operand]>>,
    objects: KnownObjects,
}

impl Accesses {
    /// Nothing is known yet.
    pub fn new(pid: Pid, process: ProcessId, runtime: u64) -> Accesses {
        Accesses {
            runtime,
            functions: Functions::new(pid),
            decoded: Vec::new(),
            operands: FxHashMap::default(),
            objects: KnownObjects::new(process),
        }
    }

    /// Says what a thread was held up by that was found on a CPU. `registers` are those of its own code; none if it was in
    /// the kernel.
    pub fn sample(
        &mut self,
        eyes: Eyes<'_, impl Memory>,
        sample: At,
        registers: Option<&Registers>,
        sink: &mut Sink<'_>,
    ) {
        let accessed = match registers {
            Some(registers) => self.accessed(eyes, sample, registers, sink),
            None => Some(Accessed::Nothing),
        };
        let At { at, thread, stack } = sample;
        sink.events.extend(accessed.map(|accessed| Event::Access { at, thread, stack, accessed }));
    }

    /// What was accessed; none if that is a reference count, of which [`KnownObjects`] tells when it knows who else is there.
    fn accessed(
        &mut self,
        eyes: Eyes<'_, impl Memory>,
        sample: At,
        registers: &Registers,
        sink: &mut Sink<'_>,
    ) -> Option<Accessed> {
        let operands = self.operands(eyes.memory, registers.ip, sample.at);
        // Of several that may have been the last, the one that is an access to an object's header was it.
        for operand in operands.iter() {
            let Some(address) = operand.address(registers) else { continue };
            let &Operand { op, atomic, size, .. } = operand;
            for &(offset, field) in fields(address, size) {
                let Some(base) = address.checked_sub(offset).filter(|&base| base >= LOWEST) else { continue };
                match field {
                    Field::Count => {
                        if self.objects.count(eyes, base, Counted { at: sample, op, atomic }, sink) {
                            return None;
                        }
                    }
                    Field::Mutex | Field::Other => match self.objects.at(eyes, base, sample.at, sink) {
                        Some(_) if field == Field::Mutex => {
                            return Some(Accessed::Elsewhere(MemoryPlace::ObjectMutex));
                        }
                        Some(Some(object)) => return Some(Accessed::Header { object }),
                        Some(None) => return Some(Accessed::Nothing),
                        None => {}
                    },
                }
            }
        }
        Some(operands.first().map_or(Accessed::Nothing, |operand| self.elsewhere(eyes, operand, registers)))
    }

    /// What an access is that is not one to the header of an object.
    fn elsewhere(&self, eyes: Eyes<'_, impl Memory>, operand: &Operand, registers: &Registers) -> Accessed {
        let Some(address) = operand.address(registers) else { return Accessed::Unknown };
        if !operand.atomic {
            return Accessed::Nothing;
        }
        let Eyes { memory, layout, registry } = eyes;
        let objects = Objects { memory, layout };
        let slots = registry.threads.iter().flat_map(|thread| &thread.slots);
        let mut states = registry.interpreters.iter().map(|interpreter| interpreter.addr).chain([self.runtime]);
        let within = |start: u64, len: u64| address.wrapping_sub(start) < len;
        // `PyDictKeysObject.dk_mutex` is where objects have their GC bits.
        let keys = if operand.size == 1 { address.wrapping_sub(header::GC_BITS) } else { address };
        let is_object = |base: u64| within(base, MOST_CONTENT) && objects.valid_type_of(base).is_some();
        Accessed::Elsewhere(
            if states.any(|start| within(start, MOST_STATE))
                || slots.map(|slot| slot.reader.tstate()).any(|start| within(start, MOST_THREAD_STATE))
            {
                MemoryPlace::Interpreter
            } else if keys.is_multiple_of(ALIGNMENT) && objects.is_dict_keys(keys) {
                MemoryPlace::DictKeys
            } else if operand.base(registers).is_some_and(is_object) {
                MemoryPlace::Content
            } else {
                MemoryPlace::Memory
            },
        )
    }

    /// What the instructions access that may have been the last before `ip`.
    fn operands(&mut self, memory: &impl Memory, ip: u64, now: Nanos) -> Arc<[Operand]> {
        if let Some(known) = self.operands.get(&ip) {
            return known.clone();
        }
        let index = self.decoded.iter().position(|function| function.contains(ip)).or_else(|| {
            let range = self.functions.around(ip, now)?;
            let mut code = vec![0; (range.end - range.start) as usize];
            memory.read(range.start, &mut code).ok()?;
            if self.decoded.len() >= MOST_FUNCTIONS {
                self.decoded.clear();
                self.operands.clear();
            }
            self.decoded.push(Function::decode(range.start, code));
            Some(self.decoded.len() - 1)
        });
        let Some(index) = index else { return Arc::new([]) };
        let operands: Arc<[Operand]> = self.decoded[index].before(ip).into();
        self.operands.insert(ip, operands.clone());
        operands
    }

    /// Looks for variables that hold objects without a name, if it is time to.
    pub fn name(&mut self, eyes: Eyes<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        self.objects.name(eyes, now, sink);
    }

    /// No more samples come.
    pub fn finish(&mut self, sink: &mut Sink<'_>) {
        self.objects.finish(sink);
    }
}

/// A field of an object's header.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    /// Of the reference count: the owner, the local or the shared half.
    Count,
    Mutex,
    Other,
}

/// The fields of headers that an access of so many bytes to an address can be to, and where they are in the header.
fn fields(address: u64, size: usize) -> &'static [(u64, Field)] {
    match (address % ALIGNMENT, size) {
        (0, 8) => &[(header::SHARED, Field::Count), (header::TID, Field::Count)],
        (header::LOCAL, 4) => &[(header::LOCAL, Field::Count)],
        (8, 8) => &[(header::TYPE, Field::Other)],
        (header::MUTEX, 1) => &[(header::MUTEX, Field::Mutex)],
        (header::GC_BITS, 1) => &[(header::GC_BITS, Field::Other)],
        _ => &[],
    }
}
