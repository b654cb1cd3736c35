//! Offsets of CPython 3.9.0. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: None, interpreters_head: 32, interpreters_main: 40, gil: Some(352), gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: None, id: 24, next: 0, threads_head: 8, modules: 856, gil: None, own_gil: None, gc: None,
        gc_collecting: Some(816), world_stopped: None, stop_requester: None,
    },
    thread: ThreadStateOffsets {
        size: 264, next: 8, interp: 16, frame: Some(24), cframe: None, cframe_current_frame: None,
        current_frame: None, base_frame: None, thread_id: 176, native_thread_id: None, datastack_chunk: None,
        datastack_top: None, status: None, holds_gil: None, state: None, critical_section: None,
    },
    frame: FrameOffsets {
        previous: 24, code: 32, instr: 104, locals: 360, owner: None, tlbc_index: None, value_stack: Some(64),
        block_count: Some(112), block_stack: Some(120), block_size: Some(12), block_level: Some(8),
    },
    chunk: None,
    code: CodeOffsets {
        filename: 104, name: 112, qualname: None, first_line: 40, line_table: 120, local_names: 72,
        cell_names: Some(88), free_names: Some(80), exception_table: None, bytecode: None, tlbc: None,
        tlbc_entries: None,
    },
    object: ObjectOffsets {
        header: 16, ob_type: 8, ob_size: 16, ob_tid: None, ob_mutex: None, ob_gc_bits: None,
        ob_ref_local: None, ob_ref_shared: None, tuple_items: 24, list_items: 24, bytes_data: 32,
        str_length: 16, str_state: 32, str_ascii: 48, str_compact: 72, int_tag: 16, int_digits: 24,
        float_value: 16, set_used: 24, dict_used: 16, dict_keys: 32, dict_values: 40, cell_value: 16,
        func_code: 16, func_closure: 48, func_qualname: 104, method_function: 16, builtin_self: 24,
        builtin_definition: 16, module_dict: 16, module_definition: None, module_gil: None, type_size: 408,
        tp_name: 24, tp_basicsize: 32, tp_flags: 168, tp_members: 240, tp_base: 256, tp_dict: 264,
        tp_dictoffset: 288, cached_keys: 864, member_size: 40, member_name: 0, member_type: 8,
        member_offset: 16,
    },
    keys: None,
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
