//! Offsets of CPython 3.14.10, free-threaded. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: Some(365624), interpreters_head: 808, interpreters_main: 816, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: Some(249976), id: 7280, next: 7272, threads_head: 7344, modules: 7712, gil: Some(16),
        own_gil: Some(7808), gc: Some(7408), gc_collecting: Some(7600), world_stopped: Some(10850),
        stop_requester: Some(10864),
    },
    thread: ThreadStateOffsets {
        size: 832, next: 8, interp: 16, frame: None, cframe: None, cframe_current_frame: None,
        current_frame: Some(72), base_frame: None, thread_id: 152, native_thread_id: Some(160),
        datastack_chunk: Some(232), datastack_top: Some(240), status: Some(32), holds_gil: Some((36, 1)),
        state: Some(44), critical_section: Some(176),
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
        builtin_definition: 32, module_dict: 32, module_definition: Some(40), module_gil: Some(72),
        type_size: 432, tp_name: 40, tp_basicsize: 48, tp_flags: 184, tp_members: 256, tp_base: 272,
        tp_dict: 280, tp_dictoffset: 304, cached_keys: 896, member_size: 40, member_name: 0, member_type: 8,
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
        thread_base_frame: None, thread_holds_gil: None, frame_tlbc_index: Some(304), code_tlbc: Some(392),
    }),
    runtime_locks: &[
        ("interpreters.mutex", 800), ("xi.registry.mutex", 856), ("tracemalloc.tables_lock", 10432),
        ("allocators.mutex", 872), ("atexit.mutex", 2432), ("imports.extensions.mutex", 2720),
        ("ceval.pending_mainthread.mutex", 2856), ("stoptheworld.mutex", 10552),
        ("stoptheworld.stop_event", 10556), ("audit_hooks.mutex", 10632), ("unicode_state.ids.mutex", 10664),
    ],
    interpreter_locks: &[
        ("ceval.pending.mutex", 40), ("imports.lock", 7760), ("stoptheworld.mutex", 10848),
        ("stoptheworld.stop_event", 10852), ("qsbr.mutex", 10912), ("code_state.mutex", 85592),
        ("mem_free_queue.mutex", 85716), ("types.mutex", 196128), ("xi.registry.mutex", 10696),
        ("warnings.lock", 10784), ("asyncio_tasks_lock", 17320), ("dict_state.watcher_mutex", 85612),
        ("codecs.search_path_mutex", 8056), ("func_state.mutex", 20048), ("memerrors_lock", 85700),
        ("atexit.ll_callbacks_lock", 10824), ("unique_ids.mutex", 17104), ("tlbc_indices.mutex", 17264),
        ("interned strings", 230416), ("gc.mutex", 7688),
    ],
    lock_arrays: &[
        LockArray { name: "brc.table", first: 10936, count: 257, stride: 24 },
        LockArray { name: "weakref_locks", first: 17136, count: 127, stride: 1 },
    ],
};
