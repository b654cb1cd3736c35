//! Which memory the threads of a free-threaded build are slowed down by: for each sample the instruction before it, the
//! address that it accessed, and the object whose header is there. Owned by the collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::contended_objects::{CountSample, KnownObjects};
use super::registry::Sink;
use super::view::InterpreterView;
use crate::arch::{DecodedFunction, Operand, Registers};
use crate::cpython::object_header::header;
use crate::event::{Accessed, Event, MemoryPlace, Nanos, Pid, ProcessId, ThreadId};
use crate::process::functions::Functions;
use crate::process::memory::Memory;
use crate::stack::StackId;

/// How many decoded functions are cached.
const MAX_FUNCTIONS: usize = 1 << 12;
/// Objects begin at multiples of this.
const ALIGNMENT: u64 = 16;
/// No object is below this address.
const LOWEST: u64 = 4096;
/// No state of a runtime or an interpreter is larger, no state of a thread, and no object with fields of its own.
const MAX_STATE: u64 = 1 << 20;
const MAX_THREAD_STATE: u64 = 4096;
const MAX_CONTENT: u64 = 1024;

/// When, by which thread and where memory was accessed.
#[derive(Clone, Copy, Debug)]
pub struct AccessSite {
    pub at: Nanos,
    pub thread: ThreadId,
    /// The thread's Python stack.
    pub stack: StackId,
}

/// Attributes the samples of one process to the memory that they accessed.
#[derive(Debug)]
pub struct Accesses {
    functions: Functions,
    decoded: Vec<DecodedFunction>,
    /// What the instruction before an address accesses.
    operands: FxHashMap<u64, Arc<[Operand]>>,
    objects: KnownObjects,
}

impl Accesses {
    pub fn new(pid: Pid, process: ProcessId) -> Accesses {
        Accesses {
            functions: Functions::new(pid),
            decoded: Vec::new(),
            operands: FxHashMap::default(),
            objects: KnownObjects::new(process),
        }
    }

    /// Reports what a thread accessed that was found on a CPU. `registers` are those of its user-space code; none if it was in
    /// the kernel.
    pub fn sample(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        sample: AccessSite,
        registers: Option<&Registers>,
        sink: &mut Sink<'_>,
    ) {
        let accessed = match registers {
            Some(registers) => self.accessed(view, sample, registers, sink),
            None => Some(Accessed::Nothing),
        };
        let AccessSite { at, thread, stack } = sample;
        sink.events.extend(accessed.map(|accessed| Event::Access { at, thread, stack, accessed }));
    }

    /// What was accessed; none if it was a reference count, which [`KnownObjects`] reports once it knows which threads share
    /// it.
    fn accessed(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        sample: AccessSite,
        registers: &Registers,
        sink: &mut Sink<'_>,
    ) -> Option<Accessed> {
        let operands = self.operands(view.memory, registers.ip, sample.at);
        // Of several instructions that may have run last, it was the one that accesses an object's header.
        for operand in operands.iter() {
            let Some(address) = operand.address(registers) else { continue };
            let &Operand { op, atomic, size, .. } = operand;
            for &(offset, field) in fields(address, size) {
                let Some(base) = address.checked_sub(offset).filter(|&base| base >= LOWEST) else { continue };
                match field {
                    HeaderField::Count => {
                        if self.objects.count(view, base, CountSample { at: sample, op, atomic }, sink) {
                            return None;
                        }
                    }
                    HeaderField::Mutex | HeaderField::Other => match self.objects.at(view, base, sample.at, sink) {
                        Some(_) if field == HeaderField::Mutex => {
                            return Some(Accessed::Elsewhere(MemoryPlace::ObjectMutex));
                        }
                        Some(Some(object)) => return Some(Accessed::Header { object }),
                        Some(None) => return Some(Accessed::Nothing),
                        None => {}
                    },
                }
            }
        }
        Some(operands.first().map_or(Accessed::Nothing, |operand| self.elsewhere(view, operand, registers)))
    }

    /// Classifies an access that is not to an object's header.
    fn elsewhere(
        &self,
        view: InterpreterView<'_, impl Memory>,
        operand: &Operand,
        registers: &Registers,
    ) -> Accessed {
        let Some(address) = operand.address(registers) else { return Accessed::Unknown };
        if !operand.atomic {
            return Accessed::Nothing;
        }
        let objects = view.objects();
        let mut states = view.interpreters().into_iter().chain([view.registry.runtime]);
        let within = |start: u64, len: u64| address.wrapping_sub(start) < len;
        // `PyDictKeysObject.dk_mutex` is where objects have their GC bits.
        let keys = if operand.size == 1 { address.wrapping_sub(header::GC_BITS) } else { address };
        let is_object = |base: u64| within(base, MAX_CONTENT) && objects.valid_type_of(base).is_some();
        Accessed::Elsewhere(
            if states.any(|start| within(start, MAX_STATE))
                || view.slots().map(|slot| slot.reader.tstate()).any(|start| within(start, MAX_THREAD_STATE))
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

    /// The memory operands of the instructions that may have run last before `ip`.
    fn operands(&mut self, memory: &impl Memory, ip: u64, now: Nanos) -> Arc<[Operand]> {
        if let Some(known) = self.operands.get(&ip) {
            return known.clone();
        }
        let index = self.decoded.iter().position(|function| function.contains(ip)).or_else(|| {
            let range = self.functions.around(ip, now)?;
            let mut code = vec![0; (range.end - range.start) as usize];
            memory.read(range.start, &mut code).ok()?;
            if self.decoded.len() >= MAX_FUNCTIONS {
                self.decoded.clear();
                self.operands.clear();
            }
            self.decoded.push(DecodedFunction::decode(range.start, code));
            Some(self.decoded.len() - 1)
        });
        let Some(index) = index else { return Arc::new([]) };
        let operands: Arc<[Operand]> = self.decoded[index].before(ip).into();
        self.operands.insert(ip, operands.clone());
        operands
    }

    /// Continues the search for variables that hold unnamed objects, if it is due.
    pub fn name(&mut self, view: InterpreterView<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        self.objects.name(view, now, sink);
    }

    /// Reports what is still pending: no more samples come.
    pub fn finish(&mut self, sink: &mut Sink<'_>) {
        self.objects.finish(sink);
    }
}

/// A field of an object's header.
#[derive(Clone, Copy, PartialEq)]
enum HeaderField {
    /// A part of the reference count: owner, local or shared.
    Count,
    Mutex,
    Other,
}

/// The header fields that an access of `size` bytes to an address can be to, with their offsets.
fn fields(address: u64, size: usize) -> &'static [(u64, HeaderField)] {
    match (address % ALIGNMENT, size) {
        (0, 8) => &[(header::SHARED, HeaderField::Count), (header::TID, HeaderField::Count)],
        (header::LOCAL, 4) => &[(header::LOCAL, HeaderField::Count)],
        (8, 8) => &[(header::TYPE, HeaderField::Other)],
        (header::MUTEX, 1) => &[(header::MUTEX, HeaderField::Mutex)],
        (header::GC_BITS, 1) => &[(header::GC_BITS, HeaderField::Other)],
        _ => &[],
    }
}
