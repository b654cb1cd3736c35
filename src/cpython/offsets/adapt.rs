//! The offsets of an interpreter that no table was made of: a newer version, or a build with other options. What its own
//! `_Py_DebugOffsets` says is taken from there. Called by [`crate::cpython::layout`].

use super::tables::*;

impl BuildOffsets {
    /// The offsets of the interpreter that says `values` of itself, where `self` is the table that comes nearest. Objects are taken
    /// to be as they are in `self` where they do not say otherwise. Unknown are the interpreter's own locks, and stops of all
    /// threads.
    pub fn adapted_to(&self, values: &DebugOffsets) -> BuildOffsets {
        BuildOffsets {
            runtime: RuntimeOffsets {
                size: Some(values.runtime_size),
                interpreters_head: values.interpreters_head,
                interpreters_main: values.interpreters_head + 8,
                ..self.runtime
            },
            interpreter: interpreter(values),
            thread: thread(&self.thread, values),
            frame: FrameOffsets {
                previous: values.frame_previous,
                code: values.frame_executable,
                instr: values.frame_instr_ptr,
                locals: values.frame_locals,
                owner: Some(values.frame_owner),
                tlbc_index: values.frame_tlbc_index,
                ..self.frame
            },
            code: code(&self.code, values),
            object: object(&self.object, values),
            gil: gil(&self.gil, values),
            runtime_locks: &[],
            interpreter_locks: &[],
            lock_arrays: &[],
            ..*self
        }
    }
}

fn interpreter(values: &DebugOffsets) -> InterpreterOffsets {
    InterpreterOffsets {
        size: Some(values.interp_size),
        id: values.interp_id,
        next: values.interp_next,
        threads_head: values.interp_threads_head,
        modules: values.interp_modules,
        gil: Some(values.interp_ceval_gil),
        own_gil: Some(values.interp_own_gil),
        gc: Some(values.interp_gc),
        gc_collecting: Some(values.interp_gc + values.gc_collecting),
        world_stopped: None,
        stop_requester: None,
    }
}

fn thread(nearest: &ThreadStateOffsets, values: &DebugOffsets) -> ThreadStateOffsets {
    let told = ThreadStateOffsets {
        size: values.thread_size,
        next: values.thread_next,
        interp: values.thread_interp,
        current_frame: Some(values.thread_current_frame),
        base_frame: values.thread_base_frame,
        thread_id: values.thread_id,
        native_thread_id: Some(values.thread_native_id),
        datastack_chunk: Some(values.thread_datastack_chunk),
        datastack_top: Some(values.thread_datastack_chunk + 8),
        status: Some(values.thread_status),
        holds_gil: values.thread_holds_gil.map(|word| (word, 1)).or(nearest.holds_gil),
        ..*nearest
    };
    // Fields that are between others which have not moved have not moved either.
    if (ThreadStateOffsets { size: nearest.size, ..told }) == *nearest {
        return told;
    }
    ThreadStateOffsets {
        holds_gil: values.thread_holds_gil.map(|word| (word, 1)),
        state: None,
        critical_section: None,
        ..told
    }
}

fn code(nearest: &CodeOffsets, values: &DebugOffsets) -> CodeOffsets {
    // The exception table is among the first fields, in front of all that is told.
    let unmoved = (nearest.first_line, nearest.local_names) == (values.code_firstlineno, values.code_localsplusnames);
    CodeOffsets {
        filename: values.code_filename,
        name: values.code_name,
        qualname: Some(values.code_qualname),
        first_line: values.code_firstlineno,
        line_table: values.code_linetable,
        local_names: values.code_localsplusnames,
        exception_table: nearest.exception_table.filter(|_| unmoved),
        bytecode: Some(values.code_adaptive),
        tlbc: values.code_tlbc,
        ..*nearest
    }
}

fn object(nearest: &ObjectOffsets, values: &DebugOffsets) -> ObjectOffsets {
    let dictoffset = values.type_dictoffset.unwrap_or(nearest.tp_dictoffset);
    let before_dictoffset = |field: u64| dictoffset.saturating_sub(nearest.tp_dictoffset - field);
    ObjectOffsets {
        header: values.pyobject_size,
        ob_type: values.pyobject_type,
        ob_size: values.bytes_ob_size,
        tuple_items: values.tuple_items,
        list_items: values.list_items,
        bytes_data: values.bytes_sval,
        str_length: values.unicode_length,
        str_state: values.unicode_state,
        str_ascii: values.unicode_ascii_size,
        str_compact: values.unicode_compact_size.unwrap_or(values.unicode_ascii_size + 16),
        int_tag: values.int_tag,
        int_digits: values.int_digits,
        float_value: values.float_value,
        dict_keys: values.dict_keys,
        dict_values: values.dict_values,
        type_size: values.type_size,
        tp_name: values.type_name,
        tp_basicsize: values.type_basicsize.unwrap_or(values.type_name + 8),
        tp_flags: values.type_flags,
        tp_members: before_dictoffset(nearest.tp_members),
        tp_base: before_dictoffset(nearest.tp_base),
        tp_dict: before_dictoffset(nearest.tp_dict),
        tp_dictoffset: dictoffset,
        cached_keys: values.type_cached_keys.unwrap_or(values.type_size + nearest.cached_keys - nearest.type_size),
        ..*nearest
    }
}

fn gil(nearest: &GilOffsets, values: &DebugOffsets) -> GilOffsets {
    let last_holder = values.interp_gil_holder.saturating_sub(values.interp_own_gil);
    let locked = values.interp_gil_locked.saturating_sub(values.interp_own_gil);
    // What follows these two, as far behind them as before.
    let behind = |field: u64| locked + (field - nearest.locked);
    GilOffsets {
        last_holder,
        locked,
        switch_number: behind(nearest.switch_number),
        cond: behind(nearest.cond),
        switch_cond: behind(nearest.switch_cond),
        size: behind(nearest.size),
        ..*nearest
    }
}
