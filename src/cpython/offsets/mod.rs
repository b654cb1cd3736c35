//! Where CPython keeps what, for each release whose structures differ from those of the one before it: tables that `generate`
//! makes of the interpreter's own headers. [`super::layout`] chooses one by the version, and from 3.13 on by what the interpreter
//! itself says of its structures (`_Py_DebugOffsets`). `tests/suite/offsets.rs` makes the tables anew from the headers of every
//! interpreter that it finds.
//!
//! What is private to a `.c` file of CPython, and so in no header, is in [`private`].

mod adapt;
pub(crate) mod private;
mod tables;

use crate::event::version::Version;
pub use tables::*;

/// A table, and the first release that it was made of. It holds until the next one of the same kind.
#[derive(Debug)]
pub struct Build {
    /// The name of its file in this folder.
    pub file: &'static str,
    minor: u8,
    first_patch: u8,
    free_threaded: bool,
    pub(crate) offsets: &'static BuildOffsets,
}

macro_rules! builds {
    ($($module:ident: $minor:literal, $patch:literal, $free_threaded:literal;)*) => {
        $(
            #[rustfmt::skip]
            mod $module;
        )*
        /// Oldest first; of one release that with a JIT compiler (`j`) first.
        const BUILDS: &[Build] = &[$(Build {
            file: concat!(stringify!($module), ".rs"),
            minor: $minor,
            first_patch: $patch,
            free_threaded: $free_threaded,
            offsets: &$module::OFFSETS,
        },)*];
    };
}

builds! {
    v3_8_0: 8, 0, false;
    v3_9_0: 9, 0, false;
    v3_10_0: 10, 0, false;
    v3_11_0: 11, 0, false;
    v3_12_0: 12, 0, false;
    v3_13_0: 13, 0, false;
    v3_13_1: 13, 1, false;
    v3_13_12: 13, 12, false;
    v3_13_13: 13, 13, false;
    v3_13_0t: 13, 0, true;
    v3_13_1t: 13, 1, true;
    v3_13_3t: 13, 3, true;
    v3_13_12t: 13, 12, true;
    v3_13_13t: 13, 13, true;
    v3_14_0: 14, 0, false;
    v3_14_1: 14, 1, false;
    v3_14_3: 14, 3, false;
    v3_14_4: 14, 4, false;
    v3_14_5: 14, 5, false;
    v3_14_6: 14, 6, false;
    v3_14_0t: 14, 0, true;
    v3_14_3t: 14, 3, true;
    v3_14_4t: 14, 4, true;
    v3_14_6t: 14, 6, true;
    v3_14_10t: 14, 10, true;
    v3_15_0j: 15, 0, false;
    v3_15_0: 15, 0, false;
    v3_15_2j: 15, 2, false;
    v3_15_2: 15, 2, false;
    v3_15_0t: 15, 0, true;
    v3_15_2tj: 15, 2, true;
    v3_15_2t: 15, 2, true;
}

/// Structures that have been the same in all builds: `_PyStackChunk` (3.11 and later), `PyCriticalSection`, and the header of an
/// object of a free-threaded build: `ob_tid`, `ob_mutex`, `ob_gc_bits`, `ob_ref_local`, `ob_ref_shared` and `ob_type`.
pub(crate) const CHUNK: ChunkOffsets = NEWEST_FREE_THREADED.chunk.expect("there since 3.11");
pub(crate) const CRITICAL_SECTION: CriticalSectionOffsets =
    NEWEST_FREE_THREADED.critical_section.expect("of free-threaded builds");
pub(crate) const FREE_THREADED_HEADER: [u64; 6] = header_of(&NEWEST_FREE_THREADED.object);
const NEWEST_FREE_THREADED: &BuildOffsets = &v3_15_2t::OFFSETS;

const fn header_of(object: &ObjectOffsets) -> [u64; 6] {
    const OF: &str = "of free-threaded builds";
    [
        object.ob_tid.expect(OF),
        object.ob_mutex.expect(OF),
        object.ob_gc_bits.expect(OF),
        object.ob_ref_local.expect(OF),
        object.ob_ref_shared.expect(OF),
        object.ob_type,
    ]
}

/// The table of a release, without a JIT compiler.
pub fn of_release(version: Version, free_threaded: bool) -> Option<&'static Build> {
    let of_kind = |build: &&Build| build.minor == version.minor && build.free_threaded == free_threaded;
    BUILDS.iter().filter(of_kind).rfind(|build| build.first_patch <= version.patch)
}

/// The table of the interpreter whose `_Py_DebugOffsets` says `values` (3.13 and later): that of its release, else another of
/// the same minor version. Releases between those whose headers were available have the structures of either, and
/// pre-releases have those of any.
pub(crate) fn confirmed_by(values: &DebugOffsets, version: Version, free_threaded: bool) -> Option<&'static Build> {
    let of_kind = |build: &&Build| build.minor == version.minor && build.free_threaded == free_threaded;
    let by_version = of_release(version, free_threaded);
    let candidates = || by_version.into_iter().chain(BUILDS.iter().filter(of_kind));
    let confirms = |build: &Build, told: &DebugOffsets| build.offsets.debug_values() == Some(*told);
    // How long the runtime's state is depends on what the platform has (`PY_HAVE_PERF_TRAMPOLINE`), too.
    let but_for_runtime = |build: &Build| {
        let known = build.offsets.debug_values();
        known.is_some_and(|known| DebugOffsets { runtime_size: values.runtime_size, ..known } == *values)
    };
    candidates().find(|build| confirms(build, values)).or_else(|| candidates().find(|build| but_for_runtime(build)))
}

/// The table to begin with for an interpreter that none is made of: the newest one of the same kind that is not newer.
pub(crate) fn nearest(version: Version, free_threaded: bool) -> Option<&'static Build> {
    let of_kind = |build: &&Build| build.minor <= version.minor && build.free_threaded == free_threaded;
    of_release(version, free_threaded).or_else(|| BUILDS.iter().rfind(of_kind))
}

impl BuildOffsets {
    /// What `_Py_DebugOffsets` of such a build says (3.13 and later).
    pub fn debug_values(&self) -> Option<DebugOffsets> {
        let BuildOffsets { runtime, interpreter, thread, frame, code, object, gil, .. } = self;
        let positions = self.debug_offsets.as_ref()?;
        let own_gil = interpreter.own_gil?;
        let gc = interpreter.gc?;
        let exported = |position: Option<u64>, value: u64| position.map(|_| value);
        Some(DebugOffsets {
            size: positions.size,
            runtime_size: runtime.size?,
            interpreters_head: runtime.interpreters_head,
            interp_size: interpreter.size?,
            interp_id: interpreter.id,
            interp_next: interpreter.next,
            interp_threads_head: interpreter.threads_head,
            interp_gc: gc,
            interp_modules: interpreter.modules,
            interp_ceval_gil: interpreter.gil?,
            interp_own_gil: own_gil,
            interp_gil_locked: own_gil + gil.locked,
            interp_gil_holder: own_gil + gil.last_holder,
            thread_size: thread.size,
            thread_next: thread.next,
            thread_interp: thread.interp,
            thread_current_frame: thread.current_frame?,
            thread_id: thread.thread_id,
            thread_native_id: thread.native_thread_id?,
            thread_datastack_chunk: thread.datastack_chunk?,
            thread_status: thread.status?,
            frame_previous: frame.previous,
            frame_executable: frame.code,
            frame_instr_ptr: frame.instr,
            frame_locals: frame.locals,
            frame_owner: frame.owner?,
            code_filename: code.filename,
            code_name: code.name,
            code_qualname: code.qualname?,
            code_linetable: code.line_table,
            code_firstlineno: code.first_line,
            code_localsplusnames: code.local_names,
            code_adaptive: code.bytecode?,
            pyobject_size: object.header,
            pyobject_type: object.ob_type,
            type_size: object.type_size,
            type_name: object.tp_name,
            type_flags: object.tp_flags,
            tuple_items: object.tuple_items,
            list_items: object.list_items,
            dict_keys: object.dict_keys,
            dict_values: object.dict_values,
            float_value: object.float_value,
            int_tag: object.int_tag,
            int_digits: object.int_digits,
            bytes_ob_size: object.ob_size,
            bytes_sval: object.bytes_data,
            unicode_state: object.str_state,
            unicode_length: object.str_length,
            unicode_ascii_size: object.str_ascii,
            gc_collecting: interpreter.gc_collecting? - gc,
            type_basicsize: exported(positions.type_basicsize, object.tp_basicsize),
            type_dictoffset: exported(positions.type_dictoffset, object.tp_dictoffset),
            type_cached_keys: exported(positions.type_cached_keys, object.cached_keys),
            unicode_compact_size: exported(positions.unicode_compact_size, object.str_compact),
            thread_base_frame: thread.base_frame,
            thread_holds_gil: positions.thread_holds_gil.and(thread.holds_gil).map(|(word, _)| word),
            frame_tlbc_index: frame.tlbc_index,
            code_tlbc: code.tlbc,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_that_are_taken_to_be_the_same_are() {
        for build in BUILDS {
            let BuildOffsets { chunk, critical_section, object, .. } = build.offsets;
            assert!(chunk.is_none_or(|chunk| chunk == CHUNK), "{}", build.file);
            assert_eq!(chunk.is_some(), build.minor >= 11, "{}", build.file);
            assert!(critical_section.is_none_or(|section| section == CRITICAL_SECTION), "{}", build.file);
            if build.free_threaded {
                assert_eq!(header_of(object), FREE_THREADED_HEADER, "{}", build.file);
            }
            // A bound method has its object where a function of C has its own.
            assert_eq!(object.builtin_self, object.header + 8, "{}", build.file);
        }
    }

    #[test]
    fn a_release_has_the_last_table_before_it() {
        let file = |minor, patch, free_threaded| {
            of_release(Version { major: 3, minor, patch }, free_threaded).map(|build| build.file)
        };
        assert_eq!(file(8, 20, false), Some("v3_8_0.rs"));
        assert_eq!(file(13, 5, true), Some("v3_13_3t.rs"));
        assert_eq!(file(14, 4, false), Some("v3_14_4.rs"));
        assert_eq!(file(14, 5, false), Some("v3_14_5.rs"));
        assert_eq!(file(15, 99, true), Some("v3_15_2t.rs"));
        assert_eq!(file(12, 1, true), None);
        assert_eq!(file(16, 0, false), None);
    }

    #[test]
    fn a_table_is_told_by_what_the_interpreter_says() {
        for build in BUILDS.iter().filter(|build| build.minor >= 13) {
            let values = build.offsets.debug_values().unwrap();
            let version = Version { major: 3, minor: build.minor, patch: build.first_patch };
            assert_eq!(confirmed_by(&values, version, build.free_threaded).unwrap().file, build.file);
            // A build whose release is between two that are known says which of them it is like.
            let later = Version { patch: 99, ..version };
            let found = confirmed_by(&values, later, build.free_threaded).unwrap();
            assert_eq!(found.offsets.debug_values(), Some(values));
            // Without support for perf, as on musl.
            let smaller = DebugOffsets { runtime_size: values.runtime_size - 96, ..values };
            assert!(confirmed_by(&smaller, version, build.free_threaded).is_some());
            let other = DebugOffsets { interp_size: values.interp_size + 4096, ..values };
            assert!(confirmed_by(&other, version, build.free_threaded).is_none());
            crate::cpython::debug_offsets::check(&values).unwrap();
        }
    }
}
