//! Which locks threads hold by `with`: a `threading.Lock` records no owner, but a thread that has entered a `with` keeps on
//! the value stack of its frame what will be called to leave it. Read by the sampler when a thread waits for such a lock, and
//! by an inspection.
//!
//! Only values below the depth to which the innermost exception handler unwinds the value stack are read: they stay for as
//! long as the handler is active, and only `with` statements and loops put values there.

use rustc_hash::FxHashMap;

use super::threads::ObservedThread;
use crate::cpython::code::{copy_start, unit_from};
use crate::cpython::debug_offsets::MAX_STRUCT;
use crate::cpython::frames::{RawFrame, TAG_BITS, u64_at};
use crate::cpython::layout::Layout;
use crate::cpython::locks::LOCK;
use crate::cpython::objects::Objects;
use crate::cpython::offsets::private::LOCK_IN_OBJECT;
use crate::event::{Nanos, Tid};
use crate::process::memory::Memory;

/// A frame with more values than this on its stack is garbage.
const MAX_LIVE: u64 = 1 << 8;
/// `CO_MAXBLOCKS` (3.8 to 3.10).
const MAX_BLOCKS: u64 = 20;

/// How long code objects and types stay cached, in nanoseconds: others may take their addresses.
const KNOWN_FOR: u64 = 1_000_000_000;

/// A `threading.Lock` that a thread has entered by `with` and not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithLock {
    pub tid: Tid,
    pub lock: u64,
    /// Its first field: up to 3.13.0 the address of its semaphore.
    pub semaphore: u64,
}

/// Who holds a lock, by the address of the object or of its semaphore. None if several threads have entered it: then some have
/// released it inside their `with`.
pub fn holder(held: &[WithLock], addresses: [u64; 2]) -> Option<&WithLock> {
    let is_it = |held: &&WithLock| addresses.contains(&held.lock) || addresses.contains(&held.semaphore);
    let mut found = held.iter().filter(is_it);
    let first = found.next()?;
    found.all(|other| other.tid == first.tid).then_some(first)
}

/// What an object on a value stack means for a `with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EnterableKind {
    Lock,
    Condition,
    Bound,
    Other,
}

/// The part of a code object that describes the value stacks of its frames (3.11 and later).
#[derive(Debug)]
struct CodeOutline {
    name_is_wait: bool,
    /// The number of variables, which precede the value stack.
    locals: u64,
    /// Code units (instructions and inline caches) of two bytes each.
    units: u64,
    handlers: Vec<u8>,
}

/// Finds the locks that threads have entered by `with`.
#[derive(Debug, Default)]
pub struct WithLocks {
    codes: FxHashMap<u64, Option<CodeOutline>>,
    types: FxHashMap<u64, EnterableKind>,
    since: Nanos,
}

impl WithLocks {
    /// All locks that threads hold in this way. No thread is stopped: a `with` that was left since its thread's stack was read
    /// is not reported.
    pub fn held(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        threads: &[ObservedThread],
        now: Nanos,
    ) -> Vec<WithLock> {
        if now.since(self.since) > KNOWN_FOR {
            *self = WithLocks { since: now, ..WithLocks::default() };
        }
        let mut search = WithLockSearch { objects: Objects { memory, layout }, known: self };
        threads.iter().filter(|thread| thread.loss.is_none()).flat_map(|thread| search.held(thread)).collect()
    }
}

struct WithLockSearch<'a, M> {
    objects: Objects<'a, M>,
    known: &'a mut WithLocks,
}

impl<M: Memory> WithLockSearch<'_, M> {
    fn word(&self, addr: u64) -> Option<u64> {
        self.objects.memory.u64(addr).ok()
    }

    fn held(&mut self, thread: &ObservedThread) -> Vec<WithLock> {
        let frames = || thread.slots.iter().flat_map(|slot| slot.reader.frames());
        let mut held = Vec::new();
        for frame in frames() {
            let entered = self.entered(frame).unwrap_or_default();
            held.extend(entered.into_iter().filter_map(|object| self.lock_of(object)));
        }
        if !held.is_empty() {
            // `Condition.wait` releases the lock that was entered around it.
            let released: Vec<u64> = frames().filter_map(|frame| self.released(frame)).collect();
            held.retain(|lock| !released.contains(lock));
        }
        let first_field = self.objects.layout.object.header + LOCK_IN_OBJECT;
        let tid = thread.os.tid();
        let held = held.into_iter();
        held.filter_map(|lock| Some(WithLock { tid, lock, semaphore: self.word(lock.wrapping_add(first_field))? }))
            .collect()
    }

    fn kind(&mut self, object: u64) -> Option<EnterableKind> {
        let type_addr = self.objects.type_of(object).ok()?;
        if let Some(&kind) = self.known.types.get(&type_addr) {
            return Some(kind);
        }
        let kind = match self.objects.type_name_of(object).as_deref() {
            Some(LOCK) => EnterableKind::Lock,
            Some("threading.Condition") => EnterableKind::Condition,
            Some("builtin_function_or_method" | "method") => EnterableKind::Bound,
            _ => EnterableKind::Other,
        };
        self.known.types.insert(type_addr, kind);
        Some(kind)
    }

    /// The `threading.Lock` behind an object that a `with` has entered: itself, or that of a condition.
    fn lock_of(&mut self, object: u64) -> Option<u64> {
        match self.kind(object)? {
            EnterableKind::Lock => Some(object),
            EnterableKind::Condition => {
                let lock = self.objects.attribute(object, "_lock").ok()??;
                (self.kind(lock)? == EnterableKind::Lock).then_some(lock)
            }
            _ => None,
        }
    }

    /// The lock that the frame of a `Condition.wait` has released.
    fn released(&mut self, frame: &RawFrame) -> Option<u64> {
        let Objects { layout, .. } = self.objects;
        if !self.code(frame.code)?.name_is_wait {
            return None;
        }
        let first = self.word(frame.addr.wrapping_add(layout.frame.locals))? & !TAG_BITS;
        self.lock_of(first).filter(|&lock| lock != first)
    }

    fn code(&mut self, addr: u64) -> Option<&CodeOutline> {
        if !self.known.codes.contains_key(&addr) {
            let code = self.read_code(addr);
            self.known.codes.insert(addr, code);
        }
        self.known.codes[&addr].as_ref()
    }

    fn read_code(&self, addr: u64) -> Option<CodeOutline> {
        let Objects { layout, .. } = self.objects;
        let field = |offset: u64| self.word(addr.wrapping_add(offset));
        let name_is_wait = self.objects.string(field(layout.code.name)?).ok()? == "wait";
        if layout.code.bytecode.is_none() {
            return Some(CodeOutline { name_is_wait, locals: 0, units: 0, handlers: Vec::new() });
        }
        Some(CodeOutline {
            name_is_wait,
            locals: self.word(field(layout.code.local_names)?.wrapping_add(layout.object.ob_size))?,
            units: field(layout.object.ob_size)?,
            handlers: self.objects.bytes(field(layout.code.exception_table?)?).ok()?,
        })
    }

    /// The objects that a frame has entered and not left, among others that its statements keep.
    fn entered(&mut self, frame: &RawFrame) -> Option<Vec<u64>> {
        let Objects { layout, .. } = self.objects;
        let live = self.live(frame).filter(|live| (1..=MAX_LIVE).contains(live))?;
        let start = match layout.code.bytecode {
            Some(_) => {
                let locals = self.code(frame.code)?.locals;
                frame.addr.wrapping_add(layout.frame.locals).wrapping_add(locals.wrapping_mul(8))
            }
            None => self.word(frame.addr.wrapping_add(layout.frame.blocks?.value_stack))?,
        };
        let mut values = vec![0; 8 * live as usize];
        self.objects.memory.read(start, &mut values).ok()?;
        // Is it still the same frame, and in the same statement?
        let (at_code, at_instr) = (layout.frame.code, layout.frame.instr);
        let first = at_code.min(at_instr);
        let mut fields = [0; MAX_STRUCT];
        let fields = &mut fields[..(at_code.max(at_instr) - first) as usize + 8];
        self.objects.memory.read(frame.addr.wrapping_add(first), fields).ok()?;
        let now = RawFrame { instr: u64_at(fields, at_instr - first), ..*frame };
        if u64_at(fields, at_code - first) & !TAG_BITS != frame.code || self.live(&now).is_none_or(|now| now < live) {
            return None;
        }
        let values = values.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let values = values.map(|value| value & !TAG_BITS).filter(|&value| value != 0);
        // From 3.14 on there are a function and the object; before, there is one that is bound to it.
        if layout.version.minor >= 14 {
            return Some(values.collect());
        }
        let bound_to = layout.object.builtin_self;
        let mut entered = Vec::new();
        for value in values {
            if self.kind(value) == Some(EnterableKind::Bound) {
                entered.extend(self.word(value.wrapping_add(bound_to)));
            }
        }
        Some(entered)
    }

    /// The number of values that stay on a frame's stack while it is in its current statement.
    fn live(&mut self, frame: &RawFrame) -> Option<u64> {
        if self.objects.layout.code.bytecode.is_none() {
            return block_level(&self.objects, frame);
        }
        let Objects { memory, layout } = self.objects;
        let start = frame.code.wrapping_add(layout.code.bytecode?);
        let code = self.code(frame.code)?;
        let unit = |start: u64| unit_from(start, frame.instr, code.units);
        let unit = unit(start).or_else(|| unit(copy_start(memory, layout, frame)?))?;
        handler_depth(&code.handlers, u64::try_from(unit).ok()?)
    }
}

/// The depth to which the innermost block of a frame unwinds the value stack (3.8 to 3.10).
fn block_level<M: Memory>(objects: &Objects<'_, M>, frame: &RawFrame) -> Option<u64> {
    let blocks = objects.layout.frame.blocks?;
    let int = |offset: u64| {
        let field = frame.addr.wrapping_add(offset);
        objects.memory.u64(field).ok().map(|word| u64::from(word as u32))
    };
    let last = int(blocks.count).filter(|&count| count <= MAX_BLOCKS)?.checked_sub(1)?;
    int(blocks.stack + last * blocks.size + blocks.level)
}

/// The depth to which the exception handler of an instruction unwinds the value stack, if there is a handler. The table is
/// `co_exceptiontable` (3.11 and later): start, length, handler and depth of each entry, as numbers of six bits a byte.
pub(crate) fn handler_depth(table: &[u8], unit: u64) -> Option<u64> {
    let mut bytes = table.iter();
    let mut number = || {
        let mut value = 0_u64;
        loop {
            let byte = *bytes.next()?;
            value = value << 6 | u64::from(byte & 0x3f);
            if byte & 0x40 == 0 {
                return Some(value);
            }
        }
    };
    loop {
        let [start, length, _, depth] = [number()?, number()?, number()?, number()?];
        if start > unit {
            return None;
        }
        if unit - start < length {
            // The lowest bit says whether the instruction offset is pushed as well.
            return Some(depth >> 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_holds_a_lock() {
        let held = |tid, lock, semaphore| WithLock { tid, lock, semaphore };
        let all = [held(1, 0x10, 0x11), held(2, 0x20, 0x21), held(2, 0x20, 0x21), held(3, 0x30, 1), held(4, 0x30, 1)];
        let by = |addresses| holder(&all, addresses).map(|held| held.tid);
        assert_eq!([by([0x10, 9]), by([9, 0x11]), by([0x21, 0x20]), by([9, 9])], [Some(1), Some(1), Some(2), None]);
        assert_eq!(by([0x30, 9]), None, "one of them has released it");
    }

    #[test]
    fn the_depth_is_that_of_the_innermost_handler() {
        // Made by the compiler of 3.12 of two nested `with`, up to the end of the inner one.
        let table = [0x87, 0x07, 0x36, 0x03, 0x8e, 0x0b, 0x2a, 0x05, 0x99, 0x08, 0x36, 0x03];
        let depths = [6, 7, 13, 14, 24, 25, 32, 33].map(|unit| handler_depth(&table, unit));
        assert_eq!(depths, [None, Some(1), Some(1), Some(2), Some(2), Some(1), Some(1), None]);
        // Of two bytes each: 5 << 6 | 2 and 1 << 6.
        assert_eq!(handler_depth(&[0xc5, 0x02, 0x41, 0x00, 0x10, 0x05], 322), Some(2));
        assert_eq!(handler_depth(&[0xc5, 0x02, 0x41], 322), None, "cut off");
    }
}
