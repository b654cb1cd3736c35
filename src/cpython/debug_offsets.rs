//! `_Py_DebugOffsets`: the table of structure offsets that CPython 3.13 and later keep at the start of
//! `_PyRuntime` (`Include/internal/pycore_debug_offsets.h`). Called by [`super::layout`].
//!
//! The table's own shape differs between minor versions: fields are inserted, never only appended. Where its entries are is
//! generated ([`super::offsets`]).

use super::layout::LayoutError;
use super::offsets::DebugOffsets;
use crate::process::memory::Memory;

/// The largest table that is read.
const MAX_TABLE: usize = 4096;
/// No structure of CPython is larger than this; a larger offset is garbage.
const MAX_OFFSET: u64 = 1 << 20;

/// Reads the table at the start of `_PyRuntime`, of which `positions` says where its entries are.
///
/// # Errors
/// It cannot be read, or an entry is larger than any structure.
pub fn read(memory: &impl Memory, runtime: u64, positions: &DebugOffsets) -> Result<DebugOffsets, LayoutError> {
    let mut table = [0; MAX_TABLE];
    let table = &mut table[..(positions.size as usize).min(MAX_TABLE)];
    memory.read(runtime, table)?;
    positions.decode(|field, position| {
        let word = table.get(position as usize..).and_then(|rest| rest.first_chunk());
        match word.map_or(u64::MAX, |word| u64::from_le_bytes(*word)) {
            value if value <= MAX_OFFSET => Ok(value),
            value => Err(LayoutError::Implausible { field, value }),
        }
    })
}

/// Structures are read whole into buffers of this size, so that no offset in them may be beyond it.
pub const MAX_STRUCT: usize = 512;
/// The same for the header of a string.
pub const MAX_STRING_HEADER: usize = 128;

/// Offsets must be within structures that are read in one piece, and within the sizes that the table itself gives for them: a table
/// of zeroes or garbage must not be walked with, nor one whose entries are elsewhere in a newer version.
///
/// # Errors
/// An entry has a value that no build has.
pub fn check(values: &DebugOffsets) -> Result<(), LayoutError> {
    let d = values;
    // What follows `_status`, and `datastack_top` behind `datastack_chunk`, have no entry of their own.
    let in_thread = (MAX_STRUCT as u64 - 32).min(d.thread_size.saturating_sub(8));
    let in_code = d.code_adaptive.saturating_sub(8);
    let in_string = d.unicode_ascii_size.saturating_sub(8);
    let in_interpreter = d.interp_size.saturating_sub(8);
    let in_type = d.type_size.saturating_sub(8);
    let in_header = d.pyobject_size.saturating_sub(8);
    let in_gil = (d.interp_own_gil.saturating_add(8), d.interp_own_gil.saturating_add(64));
    let bounds = [
        ("runtime_state.interpreters_head", d.interpreters_head, d.size, d.runtime_size.saturating_sub(16)),
        ("interpreter_state.id", d.interp_id, 0, in_interpreter),
        ("interpreter_state.next", d.interp_next, 0, in_interpreter),
        ("interpreter_state.threads_head", d.interp_threads_head, 0, in_interpreter),
        ("interpreter_state.imports_modules", d.interp_modules, 8, in_interpreter),
        ("interpreter_state.ceval_gil", d.interp_ceval_gil, 0, in_interpreter),
        ("interpreter_state.gc", d.interp_gc, 8, in_interpreter),
        ("interpreter_state.gil_runtime_state", d.interp_own_gil, 8, in_interpreter),
        ("interpreter_state.gil_runtime_state_holder", d.interp_gil_holder, in_gil.0, in_gil.1),
        ("interpreter_state.gil_runtime_state_locked", d.interp_gil_locked, in_gil.0, in_gil.1),
        ("gc.collecting", d.gc_collecting, 0, 1024),
        ("thread_state.datastack_chunk", d.thread_datastack_chunk, 8, in_thread),
        ("thread_state.native_thread_id", d.thread_native_id, 8, in_thread),
        ("thread_state.thread_id", d.thread_id, 8, in_thread),
        ("thread_state.current_frame", d.thread_current_frame, 8, in_thread),
        ("thread_state.next", d.thread_next, 8, in_thread),
        ("thread_state.interp", d.thread_interp, 8, in_thread),
        ("thread_state.status", d.thread_status, 8, in_thread),
        ("thread_state.base_frame", d.thread_base_frame.unwrap_or(8), 8, in_thread),
        ("thread_state.holds_gil", d.thread_holds_gil.unwrap_or(8), 8, in_thread),
        ("interpreter_frame.previous", d.frame_previous, 8, 256),
        ("interpreter_frame.executable", d.frame_executable, 0, 256),
        ("interpreter_frame.instr_ptr", d.frame_instr_ptr, 8, 256),
        ("interpreter_frame.localsplus", d.frame_locals, 8, 256),
        ("interpreter_frame.owner", d.frame_owner, 8, 256),
        ("interpreter_frame.tlbc_index", d.frame_tlbc_index.unwrap_or(8), 0, 256),
        ("code_object.co_code_adaptive", d.code_adaptive, 64, MAX_STRUCT as u64),
        ("code_object.linetable", d.code_linetable, 16, in_code),
        ("code_object.filename", d.code_filename, 16, in_code),
        ("code_object.name", d.code_name, 16, in_code),
        ("code_object.qualname", d.code_qualname, 16, in_code),
        ("code_object.firstlineno", d.code_firstlineno, 16, in_code),
        ("code_object.localsplusnames", d.code_localsplusnames, 16, in_code),
        ("code_object.co_tlbc", d.code_tlbc.unwrap_or(16), 16, in_code),
        ("pyobject.size", d.pyobject_size, 16, 64),
        ("pyobject.ob_type", d.pyobject_type, 8, in_header),
        ("type_object.size", d.type_size, 64, 4096),
        ("type_object.tp_name", d.type_name, d.pyobject_size, in_type),
        ("type_object.tp_basicsize", d.type_basicsize.unwrap_or(d.type_name), d.type_name, in_type),
        ("type_object.tp_flags", d.type_flags, d.type_name, in_type),
        ("type_object.tp_dictoffset", d.type_dictoffset.unwrap_or(d.type_flags), d.type_flags, in_type),
        ("heap_type_object.ht_cached_keys", d.type_cached_keys.unwrap_or(d.type_size), d.type_size, 8192),
        ("tuple_object.ob_item", d.tuple_items, d.pyobject_size, 256),
        ("list_object.ob_item", d.list_items, d.pyobject_size, 256),
        ("dict_object.ma_keys", d.dict_keys, d.pyobject_size, 256),
        ("dict_object.ma_values", d.dict_values, d.pyobject_size, 256),
        ("float_object.ob_fval", d.float_value, d.pyobject_size, 256),
        ("long_object.lv_tag", d.int_tag, d.pyobject_size, 256),
        ("long_object.ob_digit", d.int_digits, d.pyobject_size, 256),
        ("bytes_object.ob_size", d.bytes_ob_size, 8, in_code),
        ("bytes_object.ob_sval", d.bytes_sval, 24, 256),
        ("unicode_object.asciiobject_size", d.unicode_ascii_size, 24, MAX_STRING_HEADER as u64 - 16),
        (
            "unicode_object.compactunicodeobject_size",
            d.unicode_compact_size.unwrap_or(24),
            24,
            MAX_STRING_HEADER as u64,
        ),
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
