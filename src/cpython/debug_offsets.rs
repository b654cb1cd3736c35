//! `_Py_DebugOffsets`: the table of structure offsets that CPython 3.13 and later keep at the start of
//! `_PyRuntime` (`Include/internal/pycore_runtime_structs.h`). Called by [`super::layout`].
//!
//! The table's own shape differs between minor versions: fields are inserted, never only appended. So each minor
//! version has its own list of positions.

use super::layout::LayoutError;
use crate::event::version::Version;
use crate::process::memory::Memory;

/// The table starts with these bytes.
pub const COOKIE: [u8; 8] = *b"xdebugpy";

macro_rules! table {
    (always { $($(#[$doc:meta])* $field:ident: [$p13:expr, $p14:expr, $p15:expr],)* }
     sometimes { $($(#[$odoc:meta])* $ofield:ident: [$o13:expr, $o14:expr, $o15:expr],)* }) => {
        /// The entries gilscope uses. Each is an offset in bytes unless it says otherwise.
        #[derive(Clone, Copy, Debug)]
        pub struct DebugOffsets {
            $($(#[$doc])* pub $field: u64,)*
            $($(#[$odoc])* pub $ofield: Option<u64>,)*
        }

        fn decode(table: &[u8], minor: u8) -> Result<DebugOffsets, LayoutError> {
            let index = usize::from(minor - 13);
            let entry = |field: &'static str, position: usize| {
                let bytes = table[position..position + 8].try_into().expect("eight bytes");
                match u64::from_le_bytes(bytes) {
                    value if value <= MOST => Ok(value),
                    value => Err(LayoutError::Implausible { field, value }),
                }
            };
            Ok(DebugOffsets {
                $($field: entry(stringify!($field), [$p13, $p14, $p15][index])?,)*
                $($ofield: match [$o13, $o14, $o15][index] {
                    0 => None,
                    position => Some(entry(stringify!($ofield), position)?),
                },)*
            })
        }
    };
}

/// No structure of CPython is larger than this; a larger offset is garbage.
const MOST: u64 = 1 << 20;
/// The tables' sizes in 3.13, 3.14 and 3.15.
const SIZES: [usize; 3] = [584, 760, 888];

table! {
    always {
        /// `_PyRuntimeState.interpreters.head`
        interpreters_head: [40, 40, 40],
        /// `PyInterpreterState.id`
        interp_id: [56, 56, 56],
        /// `PyInterpreterState.next`
        interp_next: [64, 64, 64],
        /// `PyInterpreterState.threads.head`
        interp_threads_head: [72, 72, 72],
        /// `PyInterpreterState.gc`
        interp_gc: [80, 88, 88],
        /// `PyInterpreterState.imports.modules`
        interp_modules: [88, 96, 96],
        /// `PyInterpreterState.ceval.gil`
        interp_ceval_gil: [112, 120, 120],
        /// `PyThreadState.next`
        thread_next: [168, 192, 192],
        /// `PyThreadState.interp`
        thread_interp: [176, 200, 200],
        /// `PyThreadState.current_frame`
        thread_current_frame: [184, 208, 208],
        /// `PyThreadState.thread_id`
        thread_id: [192, 216, 240],
        /// `PyThreadState.native_thread_id`
        thread_native_id: [200, 224, 248],
        /// `PyThreadState.datastack_chunk`
        thread_datastack_chunk: [208, 232, 256],
        /// `PyThreadState._status`
        thread_status: [216, 240, 264],
        /// `_PyInterpreterFrame.previous`
        frame_previous: [232, 256, 320],
        /// `_PyInterpreterFrame.f_executable`
        frame_executable: [240, 264, 328],
        /// `_PyInterpreterFrame.instr_ptr`
        frame_instr_ptr: [248, 272, 336],
        /// `_PyInterpreterFrame.localsplus`
        frame_locals: [256, 280, 344],
        /// `_PyInterpreterFrame.owner`
        frame_owner: [264, 288, 352],
        /// `PyCodeObject.co_filename`
        code_filename: [280, 320, 384],
        /// `PyCodeObject.co_name`
        code_name: [288, 328, 392],
        /// `PyCodeObject.co_qualname`
        code_qualname: [296, 336, 400],
        /// `PyCodeObject.co_linetable`
        code_linetable: [304, 344, 408],
        /// `PyCodeObject.co_firstlineno`
        code_firstlineno: [312, 352, 416],
        /// `PyCodeObject.co_localsplusnames`
        code_localsplusnames: [328, 368, 432],
        /// `PyCodeObject.co_code_adaptive`
        code_adaptive: [344, 384, 448],
        /// `sizeof(PyObject)`
        pyobject_size: [352, 400, 464],
        /// `PyObject.ob_type`
        pyobject_type: [360, 408, 472],
        /// `sizeof(PyTypeObject)`
        type_size: [368, 416, 480],
        /// `PyTypeObject.tp_name`
        type_name: [376, 424, 488],
        /// `PyTypeObject.tp_flags`
        type_flags: [392, 440, 504],
        /// `PyDictObject.ma_keys`
        dict_keys: [456, 536, 632],
        /// `PyBytesObject.ob_base.ob_size`
        bytes_ob_size: [520, 600, 696],
        /// `PyBytesObject.ob_sval`
        bytes_sval: [528, 608, 704],
        /// `_gc_runtime_state.collecting`
        gc_collecting: [576, 656, 760],
        /// `PyASCIIObject.state`
        unicode_state: [544, 624, 720],
        /// `PyASCIIObject.length`
        unicode_length: [552, 632, 728],
        /// `sizeof(PyASCIIObject)`
        unicode_ascii_size: [560, 640, 736],
    }
    sometimes {
        /// `PyThreadState.base_frame`
        thread_base_frame: [0, 0, 216],
        /// `_PyInterpreterFrame.tlbc_index`, free-threaded builds
        frame_tlbc_index: [0, 304, 368],
        /// `PyCodeObject.co_tlbc`, free-threaded builds
        code_tlbc: [0, 392, 456],
    }
}

/// Reads and checks the table at the start of `_PyRuntime`.
pub fn read(memory: &impl Memory, runtime: u64, version: Version) -> Result<DebugOffsets, LayoutError> {
    let Some(&size) = version.minor.checked_sub(13).and_then(|index| SIZES.get(usize::from(index))) else {
        return Err(LayoutError::UnknownVersion(version));
    };
    let mut table = [0; SIZES[2]];
    memory.read(runtime, &mut table[..size])?;
    let offsets = decode(&table, version.minor)?;
    check(&offsets)?;
    Ok(offsets)
}

/// Structures are read whole into buffers of this size, so that no offset in them may be beyond it.
pub const MAX_STRUCT: usize = 512;
/// The same for the header of a string.
pub const MAX_STRING_HEADER: usize = 128;

/// Offsets must be within structures that are read in one piece: a table of zeroes or garbage must not be walked
/// with.
fn check(d: &DebugOffsets) -> Result<(), LayoutError> {
    // What follows `_status`, and `datastack_top` behind `datastack_chunk`, have no entry of their own.
    let in_thread = MAX_STRUCT as u64 - 32;
    let in_code = d.code_adaptive.saturating_sub(8);
    let in_string = d.unicode_ascii_size.saturating_sub(8);
    let bounds = [
        ("thread_state.datastack_chunk", d.thread_datastack_chunk, 8, in_thread),
        ("thread_state.native_thread_id", d.thread_native_id, 8, in_thread),
        ("thread_state.thread_id", d.thread_id, 8, in_thread),
        ("thread_state.current_frame", d.thread_current_frame, 8, in_thread),
        ("thread_state.next", d.thread_next, 8, in_thread),
        ("thread_state.interp", d.thread_interp, 8, in_thread),
        ("thread_state.status", d.thread_status, 8, in_thread),
        ("thread_state.base_frame", d.thread_base_frame.unwrap_or(8), 8, in_thread),
        ("interpreter_frame.previous", d.frame_previous, 8, 256),
        ("interpreter_frame.executable", d.frame_executable, 0, 256),
        ("interpreter_frame.instr_ptr", d.frame_instr_ptr, 8, 256),
        ("interpreter_frame.owner", d.frame_owner, 8, 256),
        ("interpreter_frame.tlbc_index", d.frame_tlbc_index.unwrap_or(8), 0, 256),
        ("code_object.co_code_adaptive", d.code_adaptive, 64, MAX_STRUCT as u64),
        ("code_object.linetable", d.code_linetable, 16, in_code),
        ("code_object.filename", d.code_filename, 16, in_code),
        ("code_object.name", d.code_name, 16, in_code),
        ("code_object.qualname", d.code_qualname, 16, in_code),
        ("code_object.firstlineno", d.code_firstlineno, 16, in_code),
        ("pyobject.ob_type", d.pyobject_type, 8, in_code),
        ("bytes_object.ob_size", d.bytes_ob_size, 8, in_code),
        ("bytes_object.ob_sval", d.bytes_sval, 24, 256),
        ("unicode_object.asciiobject_size", d.unicode_ascii_size, 24, MAX_STRING_HEADER as u64 - 16),
        ("unicode_object.length", d.unicode_length, 8, in_string),
        ("unicode_object.state", d.unicode_state, 8, in_string),
    ];
    // The links of an interpreter are read in one piece at every tick.
    let links = [d.interp_next, d.interp_id, d.interp_threads_head];
    let apart = links.iter().max().zip(links.iter().min()).map_or(0, |(last, first)| last - first);
    for (field, value, least, most) in bounds.into_iter().chain([("interpreter_state.threads_head", apart, 16, 240)])
    {
        if !(least..=most).contains(&value) {
            return Err(LayoutError::Implausible { field, value });
        }
    }
    Ok(())
}
