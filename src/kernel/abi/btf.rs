//! A reader of BTF, as far as the tests need it: what the compiler says of the structures and enumerations of a BPF object.
//! The format is in the kernel's Documentation/bpf/btf.rst.

use std::collections::BTreeMap;

use object::{Object, ObjectSection};

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// A field: its name, and where it is, and how long, in bytes.
pub(super) type BtfField = (String, usize, usize);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct BtfStructure {
    pub(super) size: usize,
    pub(super) fields: Vec<BtfField>,
}

#[derive(Debug)]
struct BtfType {
    name: String,
    kind: u32,
    /// A size, or the number of another type.
    size_or_type: u32,
    /// What follows: members, enumerators, the description of an array.
    words: Vec<u32>,
}

/// All types of an object. Type 0 is `void`.
#[derive(Debug)]
pub(super) struct Btf {
    types: Vec<BtfType>,
    strings: Vec<u8>,
}

impl Btf {
    /// Reads the section `.BTF` of an object.
    pub(super) fn of_object(object: &[u8]) -> Btf {
        let file = object::File::parse(object).unwrap();
        let data = file.section_by_name(".BTF").unwrap().data().unwrap();
        let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
        let [header_len, type_at, type_len, string_at, string_len] = [4, 8, 12, 16, 20].map(|at| word(at) as usize);
        let section = |at: usize, len: usize| &data[header_len + at..][..len];
        let words: Vec<u32> = section(type_at, type_len)
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let strings = section(string_at, string_len).to_vec();
        let void = BtfType { name: String::new(), kind: 0, size_or_type: 0, words: Vec::new() };
        let mut btf = Btf { types: vec![void], strings };
        let mut rest = &words[..];
        while let [name, info, size_or_type, following @ ..] = rest {
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let (words, after) = following.split_at(match kind {
                INT | VAR | DECL_TAG => 1,
                ARRAY => 3,
                STRUCT | UNION | DATASEC | ENUM64 => 3 * count,
                ENUM | FUNC_PROTO => 2 * count,
                _ => 0,
            });
            let name = btf.string(*name);
            btf.types.push(BtfType { name, kind, size_or_type: *size_or_type, words: words.to_vec() });
            rest = after;
        }
        btf
    }

    fn string(&self, at: u32) -> String {
        let bytes = &self.strings[at as usize..];
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    fn named(&self, kind: u32, name: &str) -> &BtfType {
        let mut found = self.types.iter().filter(|found| found.kind == kind && found.name == name);
        let only = found.next().unwrap_or_else(|| panic!("no BTF of {name}"));
        assert!(found.next().is_none(), "two types are called {name}");
        only
    }

    fn size(&self, number: u32) -> usize {
        let found = &self.types[number as usize];
        match found.kind {
            INT | STRUCT | UNION | ENUM | ENUM64 => found.size_or_type as usize,
            PTR => 8,
            ARRAY => found.words[2] as usize * self.size(found.words[0]),
            // typedef, const, volatile
            _ => self.size(found.size_or_type),
        }
    }

    /// A structure by name.
    pub(super) fn structure(&self, name: &str) -> BtfStructure {
        let found = self.named(STRUCT, name);
        let fields = found.words.chunks_exact(3).map(|member| {
            let [name, kind, bits] = member else { unreachable!("three words each") };
            (self.string(*name), *bits as usize / 8, self.size(*kind))
        });
        BtfStructure { size: found.size_or_type as usize, fields: fields.collect() }
    }

    /// An enumeration by name: its enumerators, with their values.
    pub(super) fn enumeration(&self, name: &str) -> BTreeMap<String, u32> {
        let enumerators = self.named(ENUM, name).words.chunks_exact(2);
        enumerators.map(|enumerator| (self.string(enumerator[0]), enumerator[1])).collect()
    }
}
