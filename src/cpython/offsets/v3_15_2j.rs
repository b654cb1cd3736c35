//! Offsets of CPython 3.15.2, with a JIT compiler. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: Some(346568), interpreters_head: 936, interpreters_main: 944, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: Some(226240), id: 7272, next: 7264, threads_head: 7336, modules: 7592, gil: Some(16),
        own_gil: Some(7736), gc: Some(7400), gc_collecting: Some(7512), world_stopped: None,
        stop_requester: None,
    },
    thread: ThreadStateOffsets {
        size: 888, next: 8, interp: 16, frame: None, cframe: None, cframe_current_frame: None,
        current_frame: Some(72), base_frame: Some(80), thread_id: 176, native_thread_id: Some(184),
        datastack_chunk: Some(256), datastack_top: Some(264), status: Some(32), holds_gil: Some((36, 1)),
        state: Some(48), critical_section: None,
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
        builtin_definition: 16, module_dict: 16, module_definition: None, module_gil: None, type_size: 424,
        tp_name: 24, tp_basicsize: 32, tp_flags: 168, tp_members: 240, tp_base: 256, tp_dict: 264,
        tp_dictoffset: 288, cached_keys: 888, member_size: 40, member_name: 0, member_type: 8,
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
        size: 888, runtime_size: 24, interpreters_head: 40, interp_size: 48, interp_id: 56, interp_next: 64,
        interp_threads_head: 72, interp_gc: 88, interp_modules: 96, interp_ceval_gil: 120,
        interp_own_gil: 128, interp_gil_locked: 144, interp_gil_holder: 152, thread_size: 176,
        thread_next: 192, thread_interp: 200, thread_current_frame: 208, thread_id: 240,
        thread_native_id: 248, thread_datastack_chunk: 256, thread_status: 264, frame_previous: 320,
        frame_executable: 328, frame_instr_ptr: 336, frame_locals: 344, frame_owner: 352, code_filename: 384,
        code_name: 392, code_qualname: 400, code_linetable: 408, code_firstlineno: 416,
        code_localsplusnames: 432, code_adaptive: 448, pyobject_size: 464, pyobject_type: 472, type_size: 480,
        type_name: 488, type_flags: 504, tuple_items: 552, list_items: 576, dict_keys: 632, dict_values: 640,
        float_value: 656, int_tag: 672, int_digits: 680, bytes_ob_size: 696, bytes_sval: 704,
        unicode_state: 720, unicode_length: 728, unicode_ascii_size: 736, gc_collecting: 760,
        type_basicsize: Some(512), type_dictoffset: Some(520), type_cached_keys: Some(536),
        unicode_compact_size: Some(744), thread_base_frame: Some(216), thread_holds_gil: Some(272),
        frame_tlbc_index: None, code_tlbc: None,
    }),
    runtime_locks: &[
        ("interpreters.mutex", 928), ("xi.registry.mutex", 984), ("tracemalloc.tables_lock", 10568),
        ("allocators.mutex", 1000), ("atexit.mutex", 2552), ("imports.extensions.mutex", 2840),
        ("ceval.pending_mainthread.mutex", 2984), ("stoptheworld.mutex", 10672),
        ("stoptheworld.stop_event", 10676), ("audit_hooks.mutex", 10752), ("unicode_state.ids.mutex", 10776),
    ],
    interpreter_locks: &[
        ("ceval.pending.mutex", 40), ("imports.lock", 7688), ("stoptheworld.mutex", 10776),
        ("stoptheworld.stop_event", 10780), ("qsbr.mutex", 10840), ("code_state.mutex", 79808),
        ("mem_free_queue.mutex", 79932), ("types.mutex", 190504), ("xi.registry.mutex", 10616),
        ("warnings.lock", 10720), ("asyncio_tasks_lock", 10872), ("dict_state.watcher_mutex", 79828),
    ],
    lock_arrays: &[
    ],
};
