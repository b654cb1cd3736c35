//! Offsets of CPython 3.14.5. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: Some(316616), interpreters_head: 808, interpreters_main: 816, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: Some(225864), id: 7280, next: 7272, threads_head: 7344, modules: 7688, gil: Some(16),
        own_gil: Some(7784), gc: Some(7408), gc_collecting: Some(7600), world_stopped: None,
        stop_requester: None,
    },
    thread: ThreadStateOffsets {
        size: 832, next: 8, interp: 16, frame: None, cframe: None, cframe_current_frame: None,
        current_frame: Some(72), base_frame: None, thread_id: 152, native_thread_id: Some(160),
        datastack_chunk: Some(232), datastack_top: Some(240), status: Some(32), holds_gil: Some((36, 1)),
        state: Some(44), critical_section: None,
    },
    frame: FrameOffsets {
        previous: 8, code: 0, instr: 56, locals: 80, owner: Some(74), tlbc_index: None, value_stack: None,
        block_count: None, block_stack: None, block_size: None, block_level: None,
    },
    chunk: Some(ChunkOffsets {
        previous: 0, size: 8, top: 16, data: 24,
    }),
    code: CodeOffsets {
        filename: 112, name: 120, qualname: Some(128), first_line: 68, line_table: 136, local_names: 96,
        cell_names: None, free_names: None, exception_table: Some(40), bytecode: Some(208), tlbc: None,
        tlbc_entries: None,
    },
    object: ObjectOffsets {
        header: 16, ob_type: 8, ob_size: 16, ob_tid: None, ob_mutex: None, ob_gc_bits: None,
        ob_ref_local: None, ob_ref_shared: None, tuple_items: 32, list_items: 24, bytes_data: 32,
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
        size: 760, runtime_size: 24, interpreters_head: 40, interp_size: 48, interp_id: 56, interp_next: 64,
        interp_threads_head: 72, interp_gc: 88, interp_modules: 96, interp_ceval_gil: 120,
        interp_own_gil: 128, interp_gil_locked: 144, interp_gil_holder: 152, thread_size: 176,
        thread_next: 192, thread_interp: 200, thread_current_frame: 208, thread_id: 216,
        thread_native_id: 224, thread_datastack_chunk: 232, thread_status: 240, frame_previous: 256,
        frame_executable: 264, frame_instr_ptr: 272, frame_locals: 280, frame_owner: 288, code_filename: 320,
        code_name: 328, code_qualname: 336, code_linetable: 344, code_firstlineno: 352,
        code_localsplusnames: 368, code_adaptive: 384, pyobject_size: 400, pyobject_type: 408, type_size: 416,
        type_name: 424, type_flags: 440, tuple_items: 456, list_items: 480, dict_keys: 536, dict_values: 544,
        float_value: 560, int_tag: 576, int_digits: 584, bytes_ob_size: 600, bytes_sval: 608,
        unicode_state: 624, unicode_length: 632, unicode_ascii_size: 640, gc_collecting: 656,
        type_basicsize: None, type_dictoffset: None, type_cached_keys: None, unicode_compact_size: None,
        thread_base_frame: None, thread_holds_gil: None, frame_tlbc_index: None, code_tlbc: None,
    }),
    runtime_locks: &[
        ("interpreters.mutex", 800), ("xi.registry.mutex", 856), ("tracemalloc.tables_lock", 10432),
        ("allocators.mutex", 872), ("atexit.mutex", 2432), ("imports.extensions.mutex", 2720),
        ("ceval.pending_mainthread.mutex", 2856), ("stoptheworld.mutex", 10552),
        ("stoptheworld.stop_event", 10556), ("audit_hooks.mutex", 10632), ("unicode_state.ids.mutex", 10664),
    ],
    interpreter_locks: &[
        ("ceval.pending.mutex", 40), ("imports.lock", 7736), ("stoptheworld.mutex", 10800),
        ("stoptheworld.stop_event", 10804), ("qsbr.mutex", 10864), ("code_state.mutex", 79800),
        ("mem_free_queue.mutex", 79924), ("types.mutex", 190336), ("xi.registry.mutex", 10656),
        ("warnings.lock", 10744), ("asyncio_tasks_lock", 10896),
    ],
    lock_arrays: &[
    ],
};
