//! Offsets of CPython 3.13.12, free-threaded. Made by `generate` of its headers: do not edit.

use super::tables::*;

pub(super) const OFFSETS: BuildOffsets = BuildOffsets {
    runtime: RuntimeOffsets {
        size: Some(328384), interpreters_head: 632, interpreters_main: 640, gil: None, gc_collecting: None,
    },
    interpreter: InterpreterOffsets {
        size: Some(215616), id: 7272, next: 7264, threads_head: 7344, modules: 7664, gil: Some(16),
        own_gil: Some(7760), gc: Some(7400), gc_collecting: Some(7600), world_stopped: Some(10746),
        stop_requester: Some(10760),
    },
    thread: ThreadStateOffsets {
        size: 304, next: 8, interp: 16, frame: None, cframe: None, cframe_current_frame: None,
        current_frame: Some(72), base_frame: None, thread_id: 152, native_thread_id: Some(160),
        datastack_chunk: Some(232), datastack_top: Some(240), status: Some(32), holds_gil: Some((32, 32)),
        state: Some(40), critical_section: Some(176),
    },
    frame: FrameOffsets {
        previous: 8, code: 0, instr: 56, locals: 72, owner: Some(70), tlbc_index: None, value_stack: None,
        block_count: None, block_stack: None, block_size: None, block_level: None,
    },
    chunk: Some(ChunkOffsets {
        previous: 0, size: 8, top: 16, data: 24,
    }),
    code: CodeOffsets {
        filename: 128, name: 136, qualname: Some(144), first_line: 84, line_table: 152, local_names: 112,
        cell_names: None, free_names: None, exception_table: Some(56), bytecode: Some(216), tlbc: None,
        tlbc_entries: None,
    },
    object: ObjectOffsets {
        header: 32, ob_type: 24, ob_size: 32, ob_tid: Some(0), ob_mutex: Some(10), ob_gc_bits: Some(11),
        ob_ref_local: Some(12), ob_ref_shared: Some(16), tuple_items: 40, list_items: 40, bytes_data: 48,
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
        ("interpreters.mutex", 624), ("xi.registry.mutex", 680), ("ceval.sys_trace_profile_mutex", 9896),
        ("allocators.mutex", 696), ("atexit.mutex", 2248), ("imports.extensions.mutex", 2536),
        ("ceval.pending_mainthread.mutex", 2672), ("stoptheworld.mutex", 10360),
        ("stoptheworld.stop_event", 10364), ("audit_hooks.mutex", 10440), ("unicode_state.ids.mutex", 10472),
    ],
    interpreter_locks: &[
        ("ceval.pending.mutex", 40), ("imports.lock", 7712), ("stoptheworld.mutex", 10744),
        ("stoptheworld.stop_event", 10748), ("qsbr.mutex", 10800), ("code_state.mutex", 85632),
        ("mem_free_queue.mutex", 85764), ("types.mutex", 196152), ("xi.registry.mutex", 10624),
        ("warnings.lock", 10696), ("codecs.search_path_mutex", 8000), ("func_state.mutex", 20088),
        ("memerrors_lock", 85748),
    ],
    lock_arrays: &[
        LockArray { name: "brc.table", first: 11136, count: 257, stride: 24 },
        LockArray { name: "weakref_locks", first: 17304, count: 127, stride: 1 },
    ],
};
