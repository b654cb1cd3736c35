//! Offsets of CPython 3.13.0. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: Some(283320), interpreters_head: 632, interpreters_main: 640, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: Some(194968), id: 7272, next: 7264, threads_head: 7344, modules: 7656, gil: Some(16),
        own_gil: Some(7752), gc: Some(7400), gc_collecting: Some(7600), world_stopped: None,
        stop_requester: None,
    },
    thread: ThreadStateOffsets {
        size: 304, next: 8, interp: 16, frame: None, cframe: None, cframe_current_frame: None,
        current_frame: Some(72), base_frame: None, thread_id: 152, native_thread_id: Some(160),
        datastack_chunk: Some(232), datastack_top: Some(240), status: Some(32), holds_gil: Some((32, 32)),
        state: Some(40), critical_section: None,
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
        cell_names: None, free_names: None, exception_table: Some(40), bytecode: Some(200), tlbc: None,
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
        values: 8,
    }),
    gil: GilOffsets {
        size: 208, enabled: None, interval: 0, last_holder: 8, locked: 16, switch_number: 24, cond: 32,
        switch_cond: 120,
    },
    critical_section: None,
    debug_offsets: Some(DebugOffsets {
        size: 584, runtime_size: 24, interpreters_head: 40, interp_size: 48, interp_id: 56, interp_next: 64,
        interp_threads_head: 72, interp_gc: 80, interp_modules: 88, interp_ceval_gil: 112,
        interp_own_gil: 120, interp_gil_locked: 136, interp_gil_holder: 144, thread_size: 152,
        thread_next: 168, thread_interp: 176, thread_current_frame: 184, thread_id: 192,
        thread_native_id: 200, thread_datastack_chunk: 208, thread_status: 216, frame_previous: 232,
        frame_executable: 240, frame_instr_ptr: 248, frame_locals: 256, frame_owner: 264, code_filename: 280,
        code_name: 288, code_qualname: 296, code_linetable: 304, code_firstlineno: 312,
        code_localsplusnames: 328, code_adaptive: 344, pyobject_size: 352, pyobject_type: 360, type_size: 368,
        type_name: 376, type_flags: 392, tuple_items: 408, list_items: 432, dict_keys: 456, dict_values: 464,
        float_value: 480, int_tag: 496, int_digits: 504, bytes_ob_size: 520, bytes_sval: 528,
        unicode_state: 544, unicode_length: 552, unicode_ascii_size: 560, gc_collecting: 576,
        type_basicsize: None, type_dictoffset: None, type_cached_keys: None, unicode_compact_size: None,
        thread_base_frame: None, thread_holds_gil: None, frame_tlbc_index: None, code_tlbc: None,
    }),
    runtime_locks: &[
        ("interpreters.mutex", 624), ("xi.registry.mutex", 680), ("ceval.sys_trace_profile_mutex", 9872),
        ("allocators.mutex", 696), ("atexit.mutex", 2248), ("imports.extensions.mutex", 2536),
        ("ceval.pending_mainthread.mutex", 2648), ("stoptheworld.mutex", 10336),
        ("stoptheworld.stop_event", 10340), ("audit_hooks.mutex", 10416), ("unicode_state.ids.mutex", 10448),
    ],
    interpreter_locks: &[
        ("ceval.pending.mutex", 40), ("imports.lock", 7704), ("stoptheworld.mutex", 10728),
        ("stoptheworld.stop_event", 10732), ("qsbr.mutex", 10784), ("code_state.mutex", 82544),
        ("mem_free_queue.mutex", 82676), ("types.mutex", 193064), ("xi.registry.mutex", 10608),
        ("warnings.lock", 10680),
    ],
    lock_arrays: &[
    ],
};
