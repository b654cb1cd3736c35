//! What an object is: how its references are counted, what it is called, how much is in it. Called by
//! `sampler/accesses.rs` for objects whose reference counts threads access (free-threaded builds: 3.13 and later), and
//! by `sampler/code.rs`.

use super::objects::Objects;
use crate::event::Counting;
use crate::process::memory::Memory;

/// The offsets of an object's header in free-threaded builds (`struct _object`).
pub mod header {
    use crate::cpython::offsets::FREE_THREADED_HEADER;

    /// `ob_tid`, of 8 bytes: `threading.get_ident()` of the owner.
    pub const TID: u64 = FREE_THREADED_HEADER[0];
    /// `ob_mutex`, of 1 byte.
    pub const MUTEX: u64 = FREE_THREADED_HEADER[1];
    /// `ob_gc_bits`, of 1 byte.
    pub const GC_BITS: u64 = FREE_THREADED_HEADER[2];
    /// `ob_ref_local`, of 4 bytes.
    pub const LOCAL: u64 = FREE_THREADED_HEADER[3];
    /// `ob_ref_shared`, of 8 bytes: four times the count, and two flags.
    pub const SHARED: u64 = FREE_THREADED_HEADER[4];
    /// `ob_type`, of 8 bytes.
    pub const TYPE: u64 = FREE_THREADED_HEADER[5];
}
/// `_Py_REF_MERGED`: both flags of `ob_ref_shared`.
const MERGED: u64 = 3;
/// `_PyGC_BITS_DEFERRED`.
const DEFERRED: u8 = 64;
/// Nothing is referred to more often: what would be a count beyond it is an address.
const MAX_REFERENCES: u64 = 1 << 32;
/// `_Py_LOCKED` and `_Py_HAS_PARKED`: a `PyMutex` has no other bits.
const MUTEX_BITS: u8 = 3;
/// Longer texts are cut, in characters.
const MAX_TEXT: usize = 40;

/// Whether an object is referred to by anybody, by the first bytes of it: what was freed may keep all of its fields but
/// its count, in place of which the allocator has a link then (`ob_refcnt`, from 3.14 on the lower half of it).
pub fn is_alive(free_threaded: bool, object: &[u8]) -> bool {
    let word = |at: u64| u64::from_le_bytes(object[at as usize..][..8].try_into().expect("eight bytes"));
    match free_threaded {
        true => word(header::LOCAL - 4) >> 32 != 0 || (word(header::SHARED) as i64) >> 2 > 0,
        // A count is small or that of immortal objects; an address has some of the next 16 bits.
        false => word(0) as u32 != 0 && (word(0) >> 32) as u16 == 0,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// `threading.get_ident()` of its owner; 0 if it has none.
    pub owner: u64,
    /// How its references are counted.
    pub counting: Counting,
    /// The address of its type.
    pub type_addr: u64,
}

impl ObjectHeader {
    /// The header of what is at `addr`; none if that is no object. That there is a type where an object has its own does
    /// not make it one: before the entry of a class in a dict there is one, too.
    pub fn read(memory: &impl Memory, addr: u64) -> Option<ObjectHeader> {
        let mut bytes = [0; 32];
        memory.read(addr, &mut bytes).ok()?;
        let word = |at: u64| u64::from_le_bytes(bytes[at as usize..][..8].try_into().expect("eight bytes"));
        let local = (word(header::LOCAL - 4) >> 32) as u32;
        let shared = (word(header::SHARED) as i64) >> 2;
        if bytes[header::MUTEX as usize] & !MUTEX_BITS != 0 || shared.unsigned_abs() > MAX_REFERENCES {
            return None;
        }
        let counting = if local == u32::MAX {
            Counting::Immortal
        } else if bytes[header::GC_BITS as usize] & DEFERRED != 0 {
            Counting::Deferred
        } else if word(header::SHARED) & MERGED == MERGED {
            Counting::Merged
        } else {
            Counting::Biased
        };
        Some(ObjectHeader { owner: word(header::TID), counting, type_addr: word(header::TYPE) })
    }
}

impl<M: Memory> Objects<'_, M> {
    /// What an object calls itself, or its value: of functions, classes, modules, code objects, strings and numbers.
    pub fn own_name(&self, addr: u64, type_name: &str) -> Option<String> {
        let o = &self.layout.object;
        let word = |offset: u64| self.memory.u64(addr.wrapping_add(offset)).ok();
        match type_name {
            "function" => self.string(word(o.func_qualname)?).ok(),
            "method" => {
                // Of a method only of a function: what is read may be a circle.
                let function = word(o.method_function)?;
                self.type_name_of(function).filter(|name| name == "function")?;
                self.own_name(function, "function")
            }
            // `PyMethodDef` begins with `ml_name`.
            "builtin_function_or_method" | "builtin_method" => {
                self.text(self.memory.u64(word(o.builtin_definition)?).ok()?)
            }
            "code" => self.string(word(self.layout.code.qualname?)?).ok(),
            "module" => self.string(self.module_variable(addr, "__name__").ok()??).ok(),
            "type" => self.type_name(addr).ok(),
            "str" => {
                let text = self.string(addr).ok()?;
                let short: String = text.chars().take(MAX_TEXT).collect();
                Some(if short == text { format!("{short:?}") } else { format!("{short:?}...") })
            }
            "int" => self.integer(addr).map(|value| value.to_string()),
            "float" => word(o.float_value).map(|bits| f64::from_bits(bits).to_string()),
            _ => None,
        }
    }

    /// The value of an `int` that is not too large. Mirrors `_PyLongValue`; up to 3.11 the size of the object tells the
    /// number of digits and the sign.
    pub fn integer(&self, addr: u64) -> Option<i64> {
        let o = &self.layout.object;
        let [first, digits] = [o.int_tag, o.int_digits].map(|offset| self.memory.u64(addr.wrapping_add(offset)).ok());
        let (first, digits) = (first?, digits?);
        let tag = match (self.layout.version.minor, first as i64) {
            (12.., _) => first,
            (_, 0) => 1,
            (_, size) => size.unsigned_abs() << 3 | if size < 0 { 2 } else { 0 },
        };
        integer(tag, digits)
    }

    /// How many items are in a container; none if it is none.
    pub fn len(&self, addr: u64, type_name: &str) -> Option<u64> {
        let o = &self.layout.object;
        let at = match type_name {
            "list" | "tuple" | "bytes" | "bytearray" | "collections.deque" => o.ob_size,
            "dict" | "collections.OrderedDict" | "collections.defaultdict" => o.dict_used,
            "set" | "frozenset" => o.set_used,
            _ => return None,
        };
        self.memory.u64(addr.wrapping_add(at)).ok()
    }
}

/// The value of a small `int`: `_PyLongValue` of 3.12 and later has the number of digits of 30 bits times 8, with the
/// sign in the lowest two bits, then the digits.
fn integer(tag: u64, digits: u64) -> Option<i64> {
    let (low, high) = ((digits & 0x3fff_ffff) as i64, (digits >> 32 & 0x3fff_ffff) as i64);
    let value = match tag >> 3 {
        0 | 1 => low,
        2 => low | high << 30,
        _ => return None,
    };
    match tag & 3 {
        0 => Some(value),
        1 => Some(0),
        2 => Some(-value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::memory::MemoryImage;

    #[test]
    fn how_references_are_counted() {
        let counting = |local: u64, bits: u64, shared: u64| {
            let words = [0x7f00, local << 32 | bits << 24, shared, 0x2000];
            let mut memory = MemoryImage::default();
            memory.insert(0x1000, words.iter().flat_map(|word| word.to_le_bytes()).collect());
            let header = ObjectHeader::read(&memory, 0x1000).unwrap();
            assert_eq!((header.owner, header.type_addr), (0x7f00, 0x2000));
            header.counting
        };
        assert_eq!(counting(1, 1, 0), Counting::Biased);
        assert_eq!(counting(0, 1, 4 << 2 | 3), Counting::Merged);
        assert_eq!(counting(2, 65, 0), Counting::Deferred);
        assert_eq!(counting(0xffff_ffff, 64, 0), Counting::Immortal);
    }

    #[test]
    fn entries_of_a_dict_are_no_object() {
        let (key, value) = (0x0200_1234_5670_u64, 0x0200_2234_5680);
        let read = |words: [u64; 4]| {
            let mut memory = MemoryImage::default();
            memory.insert(0x1000, words.iter().flat_map(|word| word.to_le_bytes()).collect());
            ObjectHeader::read(&memory, 0x1000)
        };
        assert_eq!(read([key, value, key, 0x2000]), None);
        assert_eq!(read([key, value, 0x8a_1230, 0x2000]), None, "a key in the interpreter's own data");
        assert_eq!(read([key, 1 << 32, key, 0x2000]), None, "only the count shows it");
        assert!(read([key, 1 << 32 | 3 << 16, (-5_i64 << 2 | 3) as u64, 0x2000]).is_some());
    }

    #[test]
    fn what_was_freed_has_an_address_for_a_count() {
        let bytes = |words: [u64; 4]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let standard = |count: u64| is_alive(false, &bytes([count, 0x2000, 0, 0]));
        assert!(standard(1) && standard(0xffff_ffff), "immortal");
        assert!(standard(5 << 48 | 0xc000_0000), "with the flags of 3.14");
        assert!(!standard(0) && !standard(0x7f3c_0012_3450), "last and another of the allocator's list");
        let free_threaded = |local: u64, shared: i64| is_alive(true, &bytes([0, local << 32, shared as u64, 0x2000]));
        assert!(free_threaded(1, 0) && free_threaded(0xffff_ffff, 0) && free_threaded(0, 1 << 2 | 3));
        assert!(free_threaded(2, -1 << 2) && !free_threaded(0, 3) && !free_threaded(0, 0));
    }

    #[test]
    fn numbers() {
        assert_eq!(integer(8, 1000), Some(1000));
        assert_eq!(integer(8 | 2, 1000), Some(-1000));
        assert_eq!(integer(1, 0), Some(0));
        assert_eq!(integer(16, 1 << 32 | 5), Some(1_073_741_829));
        assert_eq!(integer(80, 5), None);
    }
}
