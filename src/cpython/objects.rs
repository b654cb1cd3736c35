//! CPython objects read from outside: strings, bytes, dicts, attributes. For names, on cold paths only (the code
//! cache, thread names); every length and pointer is taken as possibly garbage.

use super::debug_offsets::MAX_STRING_HEADER;
use super::layout::Layout;
use super::offsets::private::{OLD_KEYS_ENTRIES, OLD_KEYS_INDICES, OLD_KEYS_SIZE};
use crate::process::memory::{Memory, MemorySpan, ReadError};

/// Why an object could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Its memory is not there.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not what it should be.
    #[error("no valid {what} at {addr:#x}")]
    Invalid { what: &'static str, addr: u64 },
}

/// Of longer strings only the start is read, in characters: no name is shown in such a length.
const MAX_STRING: u64 = 4096;
/// No string is longer than this, in characters: what says so is none.
const MAX_STRING_LENGTH: u64 = 1 << 40;
/// Longest bytes object taken for a line table.
const MAX_BYTES: u64 = 1 << 22;
/// `Py_TPFLAGS_MANAGED_DICT` (3.11 and later): the `__dict__` is found in front of the instance.
const MANAGED_DICT: u64 = 1 << 4;
/// `Py_TPFLAGS_HEAPTYPE`: made at run time, by a `class` statement for example.
const HEAP_TYPE: u64 = 1 << 9;
/// `Py_TPFLAGS_LIST_SUBCLASS`: instances are lists.
pub const LIST_SUBCLASS: u64 = 1 << 25;
/// `Py_TPFLAGS_TUPLE_SUBCLASS`: instances are tuples.
pub const TUPLE_SUBCLASS: u64 = 1 << 26;
/// `Py_TPFLAGS_DICT_SUBCLASS`: instances are dicts.
pub const DICT_SUBCLASS: u64 = 1 << 29;
/// `Py_TPFLAGS_TYPE_SUBCLASS`: instances are types.
const TYPE_SUBCLASS: u64 = 1 << 31;
/// Most entries of a dict that are looked at.
const MAX_DICT: u64 = 1 << 17;
/// Most slots of a class, and most of its bases, that are looked at.
const MAX_SLOTS: usize = 64;
/// A `PyMemberDef` is longer than this: name, type and offset are in it.
const MEMBER_FIELDS: usize = 24;
/// `PyMemberDef.type` of objects: `T_OBJECT` and `T_OBJECT_EX`.
const OBJECT_MEMBERS: [i32; 2] = [6, 16];

/// Reads objects of one target.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a, M> {
    pub memory: &'a M,
    pub layout: &'a Layout,
}

/// One entry of a dict; `hash` is the value itself for small integer keys.
#[derive(Clone, Copy, Debug)]
pub struct DictEntry {
    /// The key's hash; 0 in tables of string keys, which store none.
    pub hash: u64,
    pub key: u64,
    pub value: u64,
}

/// A place for a value in each instance of a class: what `__slots__` makes.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Its name, for [`Objects::text`].
    pub name: u64,
    /// Where the value is in the instance.
    pub offset: u64,
}

impl<M: Memory> Objects<'_, M> {
    /// The text of a `str`. Mirrors `PyASCIIObject`/`PyCompactUnicodeObject`; legacy (non-compact) strings of
    /// 3.11 and older do not occur as names. One that is longer than [`MAX_STRING`] ends in an ellipsis.
    pub fn string(&self, addr: u64) -> Result<String, ObjectError> {
        let invalid = ObjectError::Invalid { what: "str", addr };
        let o = &self.layout.object;
        let mut header = [0; MAX_STRING_HEADER];
        self.memory.read(addr, &mut header[..o.str_compact as usize])?;
        let length = u64_at(&header, o.str_length);
        let state = u64_at(&header, o.str_state) as u32;
        // interned:2 kind:3 compact:1 ascii:1; free-threaded 3.14 and later widened `interned` to a byte. Only
        // one of the two readings can have a valid kind.
        let (kind, compact, ascii) = [2, 8]
            .into_iter()
            .map(|shift| (state >> shift & 7, state >> (shift + 3) & 1 == 1, state >> (shift + 4) & 1 == 1))
            .find(|&(kind, compact, _)| matches!(kind, 1 | 2 | 4) && compact)
            .ok_or(invalid)?;
        if !compact || length > MAX_STRING_LENGTH {
            return Err(invalid);
        }
        let is_cut = length > MAX_STRING;
        let length = length.min(MAX_STRING);
        let start = addr.wrapping_add(if ascii { o.str_ascii } else { o.str_compact });
        let mut data = vec![0; (length * u64::from(kind)) as usize];
        if !data.is_empty() {
            self.memory.read(start, &mut data)?;
        }
        let char_of = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut text: String = match kind {
            1 => data.iter().map(|&byte| char::from(byte)).collect(),
            2 => data.chunks_exact(2).map(|c| char_of(u32::from(u16::from_le_bytes([c[0], c[1]])))).collect(),
            _ => data.chunks_exact(4).map(|c| char_of(u32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect(),
        };
        if is_cut {
            text.push('\u{2026}');
        }
        Ok(text)
    }

    /// The contents of a `bytes` object.
    pub fn bytes(&self, addr: u64) -> Result<Vec<u8>, ObjectError> {
        let size = self.memory.u64(addr.wrapping_add(self.layout.object.ob_size))?;
        if size > MAX_BYTES {
            return Err(ObjectError::Invalid { what: "bytes", addr });
        }
        let mut data = vec![0; size as usize];
        if !data.is_empty() {
            self.memory.read(addr.wrapping_add(self.layout.object.bytes_data), &mut data)?;
        }
        Ok(data)
    }

    /// An object's type object.
    pub fn type_of(&self, addr: u64) -> Result<u64, ObjectError> {
        Ok(self.memory.u64(addr.wrapping_add(self.layout.object.ob_type))?)
    }

    /// `tp_name` of a type object.
    pub fn type_name(&self, type_addr: u64) -> Result<String, ObjectError> {
        let name = self.memory.u64(type_addr.wrapping_add(self.layout.object.tp_name))?;
        self.text(name).ok_or(ObjectError::Invalid { what: "type", addr: type_addr })
    }

    /// A name of C, of up to 64 bytes; none if there is no text.
    pub fn text(&self, addr: u64) -> Option<String> {
        let mut text = [0; 64];
        // It may end just before an unmapped page: read what there is.
        let to_page_end = 4096 - (addr % 4096) as usize;
        let len = text.len().min(to_page_end);
        self.memory.read(addr, &mut text[..len]).ok()?;
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        let text = std::str::from_utf8(&text[..end]).ok()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The type of the object at `addr`, if there is one: it has a type, and that has a type that is one.
    pub fn valid_type_of(&self, addr: u64) -> Option<u64> {
        let type_addr = self.type_of(addr).ok()?;
        let meta = self.type_of(type_addr).ok()?;
        (self.type_flags(meta).ok()? & TYPE_SUBCLASS != 0).then_some(type_addr)
    }

    /// The name of the type of the object at `addr`, if there is one: `list`, `collections.deque`, `random.Random`.
    pub fn type_name_of(&self, addr: u64) -> Option<String> {
        let type_addr = self.valid_type_of(addr)?;
        let name = self.type_name(type_addr).ok()?;
        // Types written in C have that of their module in theirs.
        if name.contains('.') || self.type_flags(type_addr).ok()? & HEAP_TYPE == 0 {
            return Some(name);
        }
        match self.module_of_class(type_addr) {
            Ok(Some(module)) if module != "__main__" => Some(format!("{module}.{name}")),
            _ => Some(name),
        }
    }

    /// The name, without its module, of the class of an instance, or of a class itself; none if that is not made by a `class`
    /// statement.
    pub fn class_of_program(&self, addr: u64) -> Option<String> {
        let type_addr = self.valid_type_of(addr)?;
        let is_class = self.type_flags(type_addr).ok()? & TYPE_SUBCLASS != 0;
        let class = if is_class { addr } else { type_addr };
        if self.type_flags(class).ok()? & HEAP_TYPE == 0 {
            return None;
        }
        // Types written in C have their module in their names.
        self.type_name(class).ok().filter(|name| !name.contains('.'))
    }

    /// `__module__` of a class.
    fn module_of_class(&self, type_addr: u64) -> Result<Option<String>, ObjectError> {
        let dict = self.memory.u64(type_addr.wrapping_add(self.layout.object.tp_dict))?;
        self.lookup(&self.dict(dict)?, "__module__")?.map(|module| self.string(module)).transpose()
    }

    /// The live entries of a dict, in insertion order. Mirrors `PyDictObject` and `PyDictKeysObject`.
    pub fn dict(&self, addr: u64) -> Result<Vec<DictEntry>, ObjectError> {
        let o = &self.layout.object;
        let keys = self.memory.u64(addr.wrapping_add(o.dict_keys))?;
        let values = self.memory.u64(addr.wrapping_add(o.dict_values))?;
        // `_dictvalues` has a header from 3.13 on.
        let first = self.layout.keys.map_or(0, |keys| keys.values);
        self.dict_entries(keys, (values != 0).then(|| values.wrapping_add(first)))
    }

    /// The entries of a keys table; `values` is where the values of a split table are.
    fn dict_entries(&self, keys: u64, values: Option<u64>) -> Result<Vec<DictEntry>, ObjectError> {
        let invalid = ObjectError::Invalid { what: "dict", addr: keys };
        let mut header = [0; 40];
        self.memory.read(keys, &mut header)?;
        let (entries, indices, unicode) = if let Some(k) = self.layout.keys {
            let log2 = header[k.log2_index_bytes as usize];
            if log2 > 24 {
                return Err(invalid);
            }
            (u64_at(&header, k.entries), k.indices + (1u64 << log2), header[k.kind as usize] != 0)
        } else {
            // The indices have as many bytes as the size needs.
            let size = u64_at(&header, OLD_KEYS_SIZE);
            let width = match size {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                _ => 4,
            };
            (u64_at(&header, OLD_KEYS_ENTRIES), OLD_KEYS_INDICES.wrapping_add(size.wrapping_mul(width)), false)
        };
        if entries > MAX_DICT {
            return Err(invalid);
        }
        let stride = if unicode { 16 } else { 24 };
        let mut table = vec![0; entries as usize * stride];
        if !table.is_empty() {
            self.memory.read(keys.wrapping_add(indices), &mut table)?;
        }
        let mut split = vec![0; if values.is_some() { entries as usize * 8 } else { 0 }];
        if let Some(values) = values.filter(|_| !split.is_empty()) {
            self.memory.read(values, &mut split)?;
        }
        let found = table.chunks_exact(stride).enumerate().map(|(index, entry)| {
            let words = if unicode { 0 } else { 8 };
            DictEntry {
                hash: if unicode { 0 } else { u64_at(entry, 0) },
                key: u64_at(entry, words),
                value: if values.is_some() { u64_at(&split, index as u64 * 8) } else { u64_at(entry, words + 8) },
            }
        });
        Ok(found.filter(|entry| entry.key != 0 && entry.value != 0).collect())
    }

    /// Whether there is a table of keys at `addr` (3.11 and later). Mirrors `PyDictKeysObject`.
    pub fn is_dict_keys(&self, addr: u64) -> bool {
        let Some(k) = self.layout.keys else { return false };
        let mut header = [0; 32];
        if self.memory.read(addr, &mut header).is_err() {
            return false;
        }
        let byte = |offset: u64| header[offset as usize];
        let (log2_size, log2_index_bytes) = (byte(k.log2_size), byte(k.log2_index_bytes));
        let (usable, entries) = (u64_at(&header, k.usable), u64_at(&header, k.entries));
        (3..=24).contains(&log2_size)
            && byte(k.kind) <= 2
            && log2_index_bytes >= log2_size
            && usable.saturating_add(entries) <= 1 << log2_size
    }

    /// The value under a string key. All keys are compared by one batch of reads.
    pub fn lookup(&self, entries: &[DictEntry], name: &str) -> Result<Option<u64>, ObjectError> {
        let o = &self.layout.object;
        let len = o.str_ascii as usize + name.len();
        let spans: Vec<MemorySpan> = entries.iter().map(|entry| MemorySpan { addr: entry.key, len }).collect();
        let mut buffer = vec![0; len * spans.len()];
        let mut arrived = Vec::new();
        self.memory.read_spans(&spans, &mut buffer, &mut arrived)?;
        let matches = |key: &[u8]| {
            u64_at(key, o.str_length) == name.len() as u64 && &key[o.str_ascii as usize..] == name.as_bytes()
        };
        Ok(entries
            .iter()
            .zip(buffer.chunks_exact(len.max(1)))
            .zip(&arrived)
            .find(|((_, key), arrived)| **arrived && matches(key))
            .map(|((entry, _), _)| entry.value))
    }

    pub fn module_variable(&self, module: u64, name: &str) -> Result<Option<u64>, ObjectError> {
        let dict = self.memory.u64(module.wrapping_add(self.layout.object.module_dict))?;
        self.lookup(&self.dict(dict)?, name)
    }

    /// An attribute in an instance's own `__dict__`, materialised or not, of a class written in Python.
    pub fn attribute(&self, object: u64, name: &str) -> Result<Option<u64>, ObjectError> {
        self.lookup(&self.attributes(object)?, name)
    }

    /// `tp_flags` of a type object.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn type_flags(&self, type_addr: u64) -> Result<u64, ReadError> {
        self.memory.u64(type_addr.wrapping_add(self.layout.object.tp_flags))
    }

    /// Whether instances of a type have a `__dict__` that [`Self::attributes`] can read. Modules, functions and types have,
    /// too.
    ///
    /// # Errors
    /// The type cannot be read.
    pub fn has_attributes(&self, type_addr: u64) -> Result<bool, ReadError> {
        Ok(self.is_managed(type_addr)? || self.dict_offset(type_addr)?.is_some())
    }

    /// The interpreter itself keeps the attributes of instances.
    fn is_managed(&self, type_addr: u64) -> Result<bool, ReadError> {
        Ok(self.layout.version.minor >= 11 && self.type_flags(type_addr)? & MANAGED_DICT != 0)
    }

    /// `tp_dictoffset`, if it counts from the beginning of an instance.
    fn dict_offset(&self, type_addr: u64) -> Result<Option<u64>, ReadError> {
        let offset = self.memory.u64(type_addr.wrapping_add(self.layout.object.tp_dictoffset))?;
        Ok(Some(offset).filter(|offset| (1..1 << 16).contains(offset)))
    }

    /// The dict that an instance keeps them in. None if it keeps them otherwise: from 3.11 on, as long as nothing asks for
    /// its `__dict__`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn attribute_dict(&self, object: u64) -> Result<Option<u64>, ObjectError> {
        let word = |offset: u64| self.memory.u64(object.wrapping_sub(offset));
        let type_addr = self.type_of(object)?;
        let dict = match self.layout.version.minor {
            _ if !self.is_managed(type_addr)? => match self.dict_offset(type_addr)? {
                Some(offset) => self.memory.u64(object.wrapping_add(offset))?,
                None => 0,
            },
            11 => word(24)?,
            // One tagged word: odd if it leads to the values.
            12 => Some(word(24)?).filter(|word| word & 1 == 0).unwrap_or(0),
            _ => word(if self.layout.free_threaded { 8 } else { 24 })?,
        };
        Ok((dict != 0).then_some(dict))
    }

    /// All of these.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn attributes(&self, object: u64) -> Result<Vec<DictEntry>, ObjectError> {
        if let Some(dict) = self.attribute_dict(object)? {
            return self.dict(dict);
        }
        let word = |offset: u64| self.memory.u64(object.wrapping_sub(offset));
        match self.layout.version.minor {
            _ if !self.is_managed(self.type_of(object)?)? => Ok(Vec::new()),
            11 => self.inline_attributes(object, word(32)?),
            // The values are one byte further.
            12 => self.inline_attributes(object, word(24)?.wrapping_add(1)),
            // Values inside the object behind its basic size.
            _ => {
                let type_addr = self.type_of(object)?;
                let size = self.memory.u64(type_addr.wrapping_add(self.layout.object.tp_basicsize))?;
                // In a `_dictvalues`.
                let first = self.layout.keys.map_or(0, |keys| keys.values);
                self.inline_attributes(object, object.wrapping_add(size).wrapping_add(first))
            }
        }
    }

    /// The slots of a type's instances, its bases' too. Mirrors `PyTypeObject.tp_members` and `PyMemberDef`; the type's size is
    /// how many it has of its own.
    ///
    /// # Errors
    /// The type cannot be read.
    pub fn slots(&self, type_addr: u64) -> Result<Vec<Slot>, ReadError> {
        let o = &self.layout.object;
        let (mut slots, mut next) = (Vec::new(), type_addr);
        for _ in 0..MAX_SLOTS {
            let word = |offset: u64| self.memory.u64(next.wrapping_add(offset));
            if next == 0 || self.type_flags(next)? & HEAP_TYPE == 0 {
                break;
            }
            let size = (o.member_size as usize).max(MEMBER_FIELDS);
            let mut members = vec![0; size * (word(o.ob_size)? as usize).min(MAX_SLOTS)];
            if !members.is_empty() {
                self.memory.read(word(o.tp_members)?, &mut members)?;
            }
            let objects =
                members.chunks_exact(size).filter(|it| OBJECT_MEMBERS.contains(&(u64_at(it, o.member_type) as i32)));
            slots.extend(
                objects.map(|it| Slot { name: u64_at(it, o.member_name), offset: u64_at(it, o.member_offset) }),
            );
            next = word(o.tp_base)?;
        }
        Ok(slots)
    }

    /// The attributes of an instance whose values stand in an array of their own, named by the type's shared keys.
    fn inline_attributes(&self, object: u64, values: u64) -> Result<Vec<DictEntry>, ObjectError> {
        let type_addr = self.type_of(object)?;
        let keys = self.memory.u64(type_addr.wrapping_add(self.layout.object.cached_keys))?;
        self.dict_entries(keys, Some(values))
    }
}

/// The little-endian u64 at `offset`, which must be inside.
fn u64_at(bytes: &[u8], offset: u64) -> u64 {
    let offset = offset as usize;
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}
