//! Offsets of CPython 3.15.0rc1, free-threaded. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: Some(405760), interpreters_head: 936, interpreters_main: 944, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: Some(247104), id: 7272, next: 7264, threads_head: 7336, modules: 7592, gil: Some(16),
        own_gil: Some(7744), gc: Some(7400), gc_collecting: Some(7512), world_stopped: Some(10810),
        stop_requester: Some(10824),
    },
    thread: ThreadStateOffsets {
        size: 888, next: 8, interp: 16, frame: None, cframe: None, cframe_current_frame: None,
        current_frame: Some(72), base_frame: Some(80), thread_id: 176, native_thread_id: Some(184),
        datastack_chunk: Some(256), datastack_top: Some(264), status: Some(32), holds_gil: Some((36, 1)),
        state: Some(48), critical_section: Some(200),
    },
    frame: FrameOffsets {
        previous: 8, code: 0, instr: 56, locals: 80, owner: Some(78), tlbc_index: Some(72), value_stack: None,
        block_count: None, block_stack: None, block_size: None, block_level: None,
    },
    chunk: Some(ChunkOffsets {
        previous: 0, size: 8, top: 16, data: 24,
    }),
    code: CodeOffsets {
        filename: 128, name: 136, qualname: Some(144), first_line: 84, line_table: 152, local_names: 112,
        cell_names: None, free_names: None, exception_table: Some(56), bytecode: Some(232), tlbc: Some(224),
        tlbc_entries: Some(8),
    },
    object: ObjectOffsets {
        header: 32, ob_type: 24, ob_size: 32, ob_tid: Some(0), ob_mutex: Some(10), ob_gc_bits: Some(11),
        ob_ref_local: Some(12), ob_ref_shared: Some(16), tuple_items: 48, list_items: 40, bytes_data: 48,
        str_length: 32, str_state: 48, str_ascii: 56, str_compact: 72, int_tag: 32, int_digits: 40,
        float_value: 32, set_used: 40, dict_used: 32, dict_keys: 48, dict_values: 56, cell_value: 32,
        func_code: 64, func_closure: 88, func_qualname: 56, method_function: 32, builtin_self: 40,
        builtin_definition: 32, module_dict: 32, module_definition: Some(104), module_gil: Some(65),
        type_size: 440, tp_name: 40, tp_basicsize: 48, tp_flags: 184, tp_members: 256, tp_base: 272,
        tp_dict: 280, tp_dictoffset: 304, cached_keys: 904, member_size: 40, member_name: 0, member_type: 8,
        member_offset: 16,
    },
    keys: Some(KeysOffsets {
        log2_size: 8, log2_index_bytes: 9, kind: 10, usable: 16, entries: 24, indices: 32, mutex: Some(11),
        values: 8,
    }),
    gil: GilOffsets {
        size: 216, enabled: Some(0), interval: 8, last_holder: 16, locked: 24, switch_number: 32, cond: 40,
        switch_cond: 128,
    },
    critical_section: Some(CriticalSectionOffsets {
        previous: 0, mutex: 8, second_mutex: 16,
    }),
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
        frame_tlbc_index: Some(368), code_tlbc: Some(456),
    }),
    runtime_locks: &[
        ("interpreters.mutex", 928), ("xi.registry.mutex", 984), ("tracemalloc.tables_lock", 10568),
        ("allocators.mutex", 1000), ("atexit.mutex", 2552), ("imports.extensions.mutex", 2840),
        ("ceval.pending_mainthread.mutex", 2984), ("stoptheworld.mutex", 10672),
        ("stoptheworld.stop_event", 10676), ("audit_hooks.mutex", 10752), ("unicode_state.ids.mutex", 10776),
    ],
    interpreter_locks: &[
        ("ceval.pending.mutex", 40), ("imports.lock", 7696), ("stoptheworld.mutex", 10808),
        ("stoptheworld.stop_event", 10812), ("qsbr.mutex", 10872), ("code_state.mutex", 85920),
        ("mem_free_queue.mutex", 86044), ("types.mutex", 196616), ("xi.registry.mutex", 10640),
        ("warnings.lock", 10744), ("asyncio_tasks_lock", 17648), ("dict_state.watcher_mutex", 85940),
        ("codecs.search_path_mutex", 7992), ("func_state.mutex", 20376), ("memerrors_lock", 86028),
        ("atexit.ll_callbacks_lock", 10784), ("unique_ids.mutex", 17432), ("tlbc_indices.mutex", 17592),
        ("interned strings", 231008), ("imports.lazy_mutex", 7688), ("descriptor_mutex", 231088),
    ],
    lock_arrays: &[
        LockArray { name: "brc.table", first: 11264, count: 257, stride: 24 },
        LockArray { name: "weakref_locks", first: 17464, count: 127, stride: 1 },
    ],
};
