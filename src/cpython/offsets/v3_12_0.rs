//! Offsets of CPython 3.12.0. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: None, interpreters_head: 40, interpreters_main: 48, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: None, id: 8, next: 0, threads_head: 72, modules: 944, gil: Some(384), own_gil: None, gc: None,
        gc_collecting: Some(312), world_stopped: None, stop_requester: None,
    },
    thread: ThreadStateOffsets {
        size: 288, next: 8, interp: 16, frame: None, cframe: Some(56), cframe_current_frame: Some(0),
        current_frame: None, base_frame: None, thread_id: 136, native_thread_id: Some(144),
        datastack_chunk: Some(232), datastack_top: Some(240), status: None, holds_gil: None, state: None,
        critical_section: None,
    },
    frame: FrameOffsets {
        previous: 8, code: 0, instr: 56, locals: 72, owner: Some(70), tlbc_index: None, value_stack: None,
        block_count: None, block_stack: None, block_size: None, block_level: None,
    },
    chunk: Some(ChunkOffsets {
        previous: 0, size: 8, top: 16, data: 24,
    }),
    code: CodeOffsets {
        filename: 112, name: 120, qualname: Some(128), first_line: 68, line_table: 136, local_names: 96,
        cell_names: None, free_names: None, exception_table: Some(40), bytecode: Some(192), tlbc: None,
        tlbc_entries: None,
    },
    object: ObjectOffsets {
        header: 16, ob_type: 8, ob_size: 16, ob_tid: None, ob_mutex: None, ob_gc_bits: None,
        ob_ref_local: None, ob_ref_shared: None, tuple_items: 24, list_items: 24, bytes_data: 32,
        str_length: 16, str_state: 32, str_ascii: 40, str_compact: 56, int_tag: 16, int_digits: 24,
        float_value: 16, set_used: 24, dict_used: 16, dict_keys: 32, dict_values: 40, cell_value: 16,
        func_code: 48, func_closure: 72, func_qualname: 40, method_function: 16, builtin_self: 24,
        builtin_definition: 16, module_dict: 16, module_definition: None, module_gil: None, type_size: 416,
        tp_name: 24, tp_basicsize: 32, tp_flags: 168, tp_members: 240, tp_base: 256, tp_dict: 264,
        tp_dictoffset: 288, cached_keys: 880, member_size: 40, member_name: 0, member_type: 8,
        member_offset: 16,
    },
    keys: Some(KeysOffsets {
        log2_size: 8, log2_index_bytes: 9, kind: 10, usable: 16, entries: 24, indices: 32, mutex: None,
        values: 0,
    }),
    gil: GilOffsets {
        size: 208, enabled: None, interval: 0, last_holder: 8, locked: 16, switch_number: 24, cond: 32,
        switch_cond: 120,
    },
    critical_section: None,
    debug_offsets: None,
    runtime_locks: &[
    ],
    interpreter_locks: &[
    ],
    lock_arrays: &[
    ],
};
