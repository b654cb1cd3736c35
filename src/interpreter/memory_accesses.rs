//! What memory the threads of a free-threaded build are held up by: for each sample the instruction before it, the
//! address that it accessed, and the object that this is the header of. Owned by the collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::contended_objects::{CountSample, KnownObjects};
use super::registry::Sink;
use super::view::InterpreterView;
use crate::arch::{DecodedFunction, Operand, Registers};
use crate::cpython::object_header::header;
use crate::event::{Accessed, Event, Nanos, Pid, Place, ProcessId, ThreadId};
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

/// When a sample was taken, whose, and where that was.
#[derive(Clone, Copy, Debug)]
pub struct AccessSite {
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
    functions: Functions,
    decoded: Vec<DecodedFunction>,
    /// What the instruction before an address accesses.
    operands: FxHashMap<u64, Arc<[Operand]>>,
    objects: KnownObjects,
}

impl Accesses {
    /// Nothing is known yet.
    pub fn new(pid: Pid, process: ProcessId) -> Accesses {
        Accesses {
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

    /// What was accessed; none if that is a reference count, of which [`KnownObjects`] tells when it knows who else is there.
    fn accessed(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        sample: AccessSite,
        registers: &Registers,
        sink: &mut Sink<'_>,
    ) -> Option<Accessed> {
        let operands = self.operands(view.memory, registers.ip, sample.at);
        // Of several that may have been the last, the one that is an access to an object's header was it.
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
                            return Some(Accessed::Elsewhere(Place::ObjectMutex));
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

    /// What an access is that is not one to the header of an object.
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
        let is_object = |base: u64| within(base, MOST_CONTENT) && objects.valid_type_of(base).is_some();
        Accessed::Elsewhere(
            if states.any(|start| within(start, MOST_STATE))
                || view.slots().map(|slot| slot.reader.tstate()).any(|start| within(start, MOST_THREAD_STATE))
            {
                Place::Interpreter
            } else if keys.is_multiple_of(ALIGNMENT) && objects.is_dict_keys(keys) {
                Place::DictKeys
            } else if operand.base(registers).is_some_and(is_object) {
                Place::Content
            } else {
                Place::Memory
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
            self.decoded.push(DecodedFunction::decode(range.start, code));
            Some(self.decoded.len() - 1)
        });
        let Some(index) = index else { return Arc::new([]) };
        let operands: Arc<[Operand]> = self.decoded[index].before(ip).into();
        self.operands.insert(ip, operands.clone());
        operands
    }

    /// Looks for variables that hold objects without a name, if it is time to.
    pub fn name(&mut self, view: InterpreterView<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        self.objects.name(view, now, sink);
    }

    /// No more samples come.
    pub fn finish(&mut self, sink: &mut Sink<'_>) {
        self.objects.finish(sink);
    }
}

/// A field of an object's header.
#[derive(Clone, Copy, PartialEq)]
enum HeaderField {
    /// Of the reference count: the owner, the local or the shared half.
    Count,
    Mutex,
    Other,
}

/// The fields of headers that an access of so many bytes to an address can be to, and where they are in the header.
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
