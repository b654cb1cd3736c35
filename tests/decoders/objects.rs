//! Single objects: strings, bytes, dicts and attributes, whole and as any bytes whatsoever.

use gilscope::cpython::object_header::ObjectHeader;
use gilscope::cpython::objects::Objects;
use gilscope::process::memory::{Memory, MemoryImage};
use proptest::prelude::*;

use crate::interpreter::{Builder, KINDS, Kind};
use crate::watch::{cases, modest};
use crate::whole::some_kind;

/// Looks at an address as if it were each kind of object.
pub fn look_at(memory: &impl Memory, kind: Kind, layout: &gilscope::cpython::layout::Layout, addr: u64) {
    let objects = Objects { memory, layout };
    let _ = objects.string(addr);
    let _ = objects.bytes(addr);
    let _ = objects.type_of(addr).and_then(|type_addr| objects.type_name(type_addr));
    let _ = objects.type_name(addr);
    let _ = objects.module_variable(addr, "_active");
    let _ = objects.attribute(addr, "_name");
    let _ = ObjectHeader::read(memory, addr);
    let _ = objects.is_dict_keys(addr);
    for type_name in ["function", "method", "builtin_method", "code", "module", "type", "str", "int", "float", "set"]
    {
        let _ = objects.own_name(addr, type_name);
        let _ = objects.len(addr, type_name);
    }
    if let Ok(entries) = objects.dict(addr) {
        assert!(entries.len() <= 1 << 17, "{kind:?}");
        let _ = objects.lookup(&entries, "threading");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn strings_of_every_width_come_out(kind in some_kind(), text in "\\PC{0,40}|[a-z]{0,300}|[ä-ÿ]{1,9}|[\u{4e00}-\u{4fff}]{1,9}") {
        let mut builder = Builder::new(kind);
        let (string, bytes) = (builder.string(&text), builder.bytes(text.as_bytes()));
        let layout = builder.layout;
        let image = builder.finish();
        let objects = Objects { memory: &image, layout: &layout };
        prop_assert_eq!(objects.string(string).unwrap(), text.clone());
        prop_assert_eq!(objects.bytes(bytes).unwrap(), text.as_bytes());
    }

    #[test]
    fn dicts_of_every_size_come_out(kind in some_kind(), count in 0..300u64, by_name in any::<bool>()) {
        let mut builder = Builder::new(kind);
        let entry = |number: u64| match by_name {
            true => (0, builder.string(&format!("key{number}")), 0x1000 + number),
            false => (number + 1, 0x2000 + number, 0x1000 + number),
        };
        let entries: Vec<_> = (0..count).map(entry).collect();
        let dict = builder.dict(&entries);
        let layout = builder.layout;
        let image = builder.finish();
        let objects = Objects { memory: &image, layout: &layout };
        let found = objects.dict(dict).unwrap();
        prop_assert_eq!(found.iter().map(|entry| (entry.key, entry.value)).collect::<Vec<_>>(),
            entries.iter().map(|&(_, key, value)| (key, value)).collect::<Vec<_>>());
        if by_name && count > 0 {
            let name = format!("key{}", count / 2);
            prop_assert_eq!(objects.lookup(&found, &name).unwrap(), Some(0x1000 + count / 2));
            prop_assert_eq!(objects.lookup(&found, "another").unwrap(), None);
        }
    }

    #[test]
    fn any_bytes_can_be_looked_at(
        kind in some_kind(),
        words in prop::collection::vec(prop_oneof![
            Just(0u64), 0..64u64, any::<u64>(), 0x10000..0x10800u64, Just(u64::MAX), Just(1 << 62),
        ], 256),
        offset in 0..2048u64,
    ) {
        let mut image = MemoryImage::default();
        image.insert(0x10000, words.into_iter().flat_map(u64::to_le_bytes).collect());
        let layout = kind.layout();
        modest(&image, |memory| look_at(memory, kind, &layout, 0x10000 + offset));
    }
}

#[test]
fn addresses_at_the_ends_of_memory_are_no_objects() {
    for kind in KINDS {
        let layout = kind.layout();
        let mut image = MemoryImage::default();
        image.insert(0, vec![0xff; 4096]);
        image.insert(u64::MAX - 4095, vec![0xff; 4096]);
        for addr in [0, 1, 8, 24, 4090, u64::MAX, u64::MAX - 7, u64::MAX - 64, u64::MAX - 4095] {
            modest(&image, |memory| look_at(memory, kind, &layout, addr));
        }
    }
}
