//! What memory the threads of a free-threaded build are held up by: for each sample the instruction before it, the
//! address that it accessed, and the object that this is the header of. Owned by the collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::registry::{Registry, Sink};
use super::search::{MOST_SEARCHES, Search};
use crate::event::{
    Accessed, Counting, Event, HeaderPart, Nanos, ObjectId, ObjectInfo, Pid, Place, ProcessId, ThreadId,
};
use crate::intern::StackId;
use crate::refcount::access::{Function, Operand, Registers};
use crate::target::functions::Functions;
use crate::target::identity::{Header, header};
use crate::target::layout::Layout;
use crate::target::memory::Memory;
use crate::target::objects::Objects;
use crate::target::variables::Wanted;

/// An address is looked at again after so long, in nanoseconds: the object may have been freed, and another be there.
const CHECK_AFTER: u64 = 100_000_000;
/// Programs access many places: when so many addresses are known, those at which no object is are forgotten.
const MOST_KNOWN: usize = 1 << 16;
/// Functions of which the code is kept.
const MOST_FUNCTIONS: usize = 1 << 12;
/// A variable is looked for of objects that were met so often: those are the ones that a report names.
const WORTH_A_NAME: u32 = 3;
/// Objects begin at multiples of this.
const ALIGNMENT: u64 = 16;
/// No state of a runtime or an interpreter is larger, no state of a thread, and no object with fields of its own.
const MOST_STATE: u64 = 1 << 20;
const MOST_THREAD_STATE: u64 = 4096;
const MOST_CONTENT: u64 = 1024;

/// A sample's registers, and whose they are.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// When it was taken.
    pub at: Nanos,
    /// Whose.
    pub thread: ThreadId,
    /// Its Python stack.
    pub stack: StackId,
}

/// What is known of an address.
#[derive(Debug)]
struct Known {
    /// The object there, if there is one.
    object: Option<Object>,
    checked: Nanos,
}

#[derive(Debug)]
struct Object {
    id: ObjectId,
    type_addr: u64,
    info: Arc<ObjectInfo>,
    met: u32,
    /// How often a variable has been looked for.
    searches: u8,
}

/// The accesses of one process.
#[derive(Debug)]
pub struct Accesses {
    process: ProcessId,
    runtime: u64,
    functions: Functions,
    decoded: Vec<Function>,
    /// What the instruction before an address accesses.
    operands: FxHashMap<u64, Arc<[Operand]>>,
    known: FxHashMap<u64, Known>,
    search: Search,
}

impl Accesses {
    /// Nothing is known yet.
    pub fn new(pid: Pid, process: ProcessId, runtime: u64) -> Accesses {
        Accesses {
            process,
            runtime,
            functions: Functions::new(pid),
            decoded: Vec::new(),
            operands: FxHashMap::default(),
            known: FxHashMap::default(),
            search: Search::default(),
        }
    }

    /// Says what a thread was held up by that was found on a CPU. `registers` are those of its own code; none if it was in
    /// the kernel.
    pub fn sample(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        sample: At,
        registers: Option<&Registers>,
        sink: &mut Sink<'_>,
    ) {
        let At { at, thread, stack } = sample;
        let accessed = registers.map_or(Accessed::Nothing, |registers| {
            let operands = self.operands(memory, registers.ip, at);
            // Of several that may have been the last, the one that is an access to an object's header was it.
            let header = operands.iter().find_map(|operand| {
                let address = operand.address(registers)?;
                self.header(memory, layout, registry, address, operand, at, sink)
            });
            header.unwrap_or_else(|| match operands.first() {
                Some(operand) => self.elsewhere(memory, layout, registry, operand, registers),
                None => Accessed::Nothing,
            })
        });
        sink.events.push(Event::Access { at, thread, stack, accessed });
    }

    /// What an access is that is not one to the header of an object.
    fn elsewhere(
        &self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        operand: &Operand,
        registers: &Registers,
    ) -> Accessed {
        let Some(address) = operand.address(registers) else { return Accessed::Unknown };
        if !operand.atomic {
            return Accessed::Nothing;
        }
        let objects = Objects { memory, layout };
        let slots = registry.threads.iter().flat_map(|thread| &thread.slots);
        let mut states = registry.interpreters.iter().map(|interpreter| interpreter.addr).chain([self.runtime]);
        let within = |start: u64, len: u64| address.wrapping_sub(start) < len;
        let keys = if operand.size == 1 { address.wrapping_sub(header::GC_BITS) } else { address };
        let is_object = |base: u64| within(base, MOST_CONTENT) && objects.type_name_of(base).is_some();
        Accessed::Elsewhere(
            if states.any(|start| within(start, MOST_STATE))
                || slots.map(|slot| slot.reader.tstate()).any(|start| within(start, MOST_THREAD_STATE))
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
            self.decoded.push(Function::decode(range.start, code));
            Some(self.decoded.len() - 1)
        });
        let Some(index) = index else { return Arc::new([]) };
        let operands: Arc<[Operand]> = self.decoded[index].before(ip).into();
        self.operands.insert(ip, operands.clone());
        operands
    }

    /// What an access to `address` is, if it is one to the header of an object.
    #[expect(clippy::too_many_arguments, reason = "what is read from, and what was accessed")]
    fn header(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        address: u64,
        operand: &Operand,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Option<Accessed> {
        let Operand { size, op, atomic, .. } = *operand;
        for &(offset, field) in fields(address, size) {
            let Some(base) = address.checked_sub(offset).filter(|base| *base >= 4096) else { continue };
            let Some(object) = self.object(memory, layout, registry, base, now, sink) else { continue };
            return Some(match field {
                Field::Count => Accessed::Count { object, op, atomic },
                Field::Other(part) => Accessed::Header { object, part },
            });
        }
        None
    }

    /// The object at an address.
    fn object(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        address: u64,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Option<ObjectId> {
        let known = self.known.get(&address);
        if known.is_none_or(|known| now.since(known.checked) >= CHECK_AFTER) {
            if self.known.len() >= MOST_KNOWN {
                self.known.retain(|_, known| known.object.is_some());
            }
            let before = self.known.remove(&address).and_then(|known| known.object);
            let object = self.look(memory, layout, registry, address, before, sink);
            self.known.insert(address, Known { object, checked: now });
        }
        let object = self.known.get_mut(&address)?.object.as_mut()?;
        object.met += 1;
        if object.met == WORTH_A_NAME && object.info.name.is_none() {
            self.search.want(now);
        }
        Some(object.id)
    }

    /// Finds out what is at an address, where the object `before` was when last looked at.
    fn look(
        &self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        address: u64,
        before: Option<Object>,
        sink: &mut Sink<'_>,
    ) -> Option<Object> {
        let objects = Objects { memory, layout };
        let header = Header::read(memory, address)?;
        let same = before.filter(|before| before.type_addr == header.type_addr);
        let owned = |thread: &&super::thread::Thread| thread.slots.iter().any(|slot| slot.ident() == header.owner);
        let owner = Some(header.owner).filter(|&owner| owner != 0);
        let owner = owner.and_then(|_| registry.threads.iter().find(owned)).map(|thread| thread.id);
        if let Some(mut same) = same {
            let info = ObjectInfo {
                counting: header.counting,
                owner,
                len: objects.len(address, &same.info.type_name),
                ..(*same.info).clone()
            };
            // How much is in it changes all the time.
            if (info.counting, info.owner) != (same.info.counting, same.info.owner) {
                same.info = Arc::new(info);
                sink.events.push(Event::Object { object: same.id, info: same.info.clone() });
            }
            return Some(same);
        }
        let type_name = objects.type_name_of(address)?;
        let info = Arc::new(ObjectInfo {
            process: self.process,
            address,
            name: objects.own_name(address, &type_name).map(Into::into),
            len: objects.len(address, &type_name),
            type_name: type_name.into(),
            counting: header.counting,
            owner,
        });
        let id = sink.ids.object();
        sink.events.push(Event::Object { object: id, info: info.clone() });
        Some(Object { id, type_addr: header.type_addr, info, met: 0, searches: 0 })
    }

    /// Looks for variables that hold objects without a name, if it is time to.
    pub fn name(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        registry: &Registry,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) {
        if !self.search.is_due(now) {
            return;
        }
        let nameless = |object: &Object| {
            let counted = object.info.counting != Counting::Immortal;
            object.met >= WORTH_A_NAME && object.info.name.is_none() && object.searches < MOST_SEARCHES && counted
        };
        let mut wanted = Wanted::default();
        for object in self.known.values_mut().filter_map(|known| known.object.as_mut()).filter(|o| nameless(o)) {
            wanted.objects.insert(object.info.address);
            object.searches += 1;
        }
        if wanted.is_empty() {
            return;
        }
        let found = self.search.run(memory, layout, registry, now, &wanted);
        for object in self.known.values_mut().filter_map(|known| known.object.as_mut()) {
            let Some(found) = found.get(&object.info.address).filter(|_| object.info.name.is_none()) else {
                continue;
            };
            if *found.type_name != *object.info.type_name {
                continue;
            }
            object.info = Arc::new(ObjectInfo { name: Some(found.name.as_str().into()), ..(*object.info).clone() });
            sink.events.push(Event::Object { object: object.id, info: object.info.clone() });
        }
        self.search.want(now);
    }
}

/// A field of an object's header.
#[derive(Clone, Copy)]
enum Field {
    Count,
    Other(HeaderPart),
}

/// The fields of headers that an access of so many bytes to an address can be to, and where they are in the header.
fn fields(address: u64, size: usize) -> &'static [(u64, Field)] {
    match (address % ALIGNMENT, size) {
        (0, 8) => &[(header::SHARED, Field::Count), (header::TID, Field::Count)],
        (header::LOCAL, 4) => &[(header::LOCAL, Field::Count)],
        (8, 8) => &[(header::TYPE, Field::Other(HeaderPart::Other))],
        (header::MUTEX, 1) => &[(header::MUTEX, Field::Other(HeaderPart::Mutex))],
        (header::GC_BITS, 1) => &[(header::GC_BITS, Field::Other(HeaderPart::Other))],
        _ => &[],
    }
}
