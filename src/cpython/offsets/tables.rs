//! What a generated table of offsets consists of. All numbers are bytes from the start of the structure that the comment names;
//! `None` where a build does not have the field.

// Fields that are called as in CPython need no other words.
#![allow(missing_docs)]

/// The offsets of the builds of one or several releases of CPython.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BuildOffsets {
    pub runtime: RuntimeOffsets,
    pub interpreter: InterpreterOffsets,
    pub thread: ThreadStateOffsets,
    pub frame: FrameOffsets,
    pub chunk: Option<ChunkOffsets>,
    pub code: CodeOffsets,
    pub object: ObjectOffsets,
    pub keys: Option<KeysOffsets>,
    pub gil: GilOffsets,
    pub critical_section: Option<CriticalSectionOffsets>,
    /// Where `_Py_DebugOffsets` has its entries (3.13 and later).
    pub debug_offsets: Option<DebugOffsets>,
    /// Locks in `_PyRuntimeState` by their names (3.13 and later).
    pub runtime_locks: &'static [(&'static str, u64)],
    /// Locks in `PyInterpreterState`, likewise.
    pub interpreter_locks: &'static [(&'static str, u64)],
    /// Arrays of locks in `PyInterpreterState`.
    pub lock_arrays: &'static [LockArray],
}

/// An array of structures that have a lock each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LockArray {
    pub name: &'static str,
    /// Where the first lock is.
    pub first: u64,
    pub count: u64,
    /// From one lock to the next.
    pub stride: u64,
}

/// `_PyRuntimeState`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuntimeOffsets {
    /// 3.13 and later.
    pub size: Option<u64>,
    pub interpreters_head: u64,
    pub interpreters_main: u64,
    /// `ceval.gil`, the GIL itself (up to 3.11).
    pub gil: Option<u64>,
    /// `gc.collecting` (3.8).
    pub gc_collecting: Option<u64>,
}

/// `PyInterpreterState`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InterpreterOffsets {
    /// 3.13 and later.
    pub size: Option<u64>,
    pub id: u64,
    pub next: u64,
    /// `tstate_head` or `threads.head`.
    pub threads_head: u64,
    /// `modules` or `imports.modules`: `sys.modules`.
    pub modules: u64,
    /// `ceval.gil`, which points to the GIL (3.12 and later).
    pub gil: Option<u64>,
    /// `_gil`, the interpreter's own GIL (3.13 and later).
    pub own_gil: Option<u64>,
    /// `gc` (3.13 and later).
    pub gc: Option<u64>,
    /// `gc.collecting` (3.9 and later).
    pub gc_collecting: Option<u64>,
    /// `stoptheworld.world_stopped` and `.requester` (free-threaded builds).
    pub world_stopped: Option<u64>,
    pub stop_requester: Option<u64>,
}

/// `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThreadStateOffsets {
    pub size: u64,
    pub next: u64,
    pub interp: u64,
    /// Up to 3.10.
    pub frame: Option<u64>,
    /// 3.10 to 3.12.
    pub cframe: Option<u64>,
    /// `_PyCFrame.current_frame` (3.11, 3.12).
    pub cframe_current_frame: Option<u64>,
    /// 3.13 and later.
    pub current_frame: Option<u64>,
    /// 3.15 and later.
    pub base_frame: Option<u64>,
    pub thread_id: u64,
    /// 3.11 and later.
    pub native_thread_id: Option<u64>,
    pub datastack_chunk: Option<u64>,
    pub datastack_top: Option<u64>,
    /// `_status` (3.13 and later).
    pub status: Option<u64>,
    /// A word and the bit of it that says that the thread holds its GIL (3.13 and later).
    pub holds_gil: Option<(u64, u32)>,
    /// 3.13 and later.
    pub state: Option<u64>,
    pub critical_section: Option<u64>,
}

/// `PyFrameObject` (up to 3.10) or `_PyInterpreterFrame`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameOffsets {
    /// `f_back` or `previous`.
    pub previous: u64,
    /// `f_code` or `f_executable`.
    pub code: u64,
    /// `f_lasti`, `prev_instr` or `instr_ptr`.
    pub instr: u64,
    /// `f_localsplus` or `localsplus`.
    pub locals: u64,
    /// 3.11 and later.
    pub owner: Option<u64>,
    /// Free-threaded 3.14 and later.
    pub tlbc_index: Option<u64>,
    /// `f_valuestack`, `f_iblock` and `f_blockstack` (up to 3.10).
    pub value_stack: Option<u64>,
    pub block_count: Option<u64>,
    pub block_stack: Option<u64>,
    /// `sizeof(PyTryBlock)`, and its `b_level`.
    pub block_size: Option<u64>,
    pub block_level: Option<u64>,
}

/// `_PyStackChunk` (3.11 and later).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkOffsets {
    pub previous: u64,
    pub size: u64,
    pub top: u64,
    pub data: u64,
}

/// `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeOffsets {
    pub filename: u64,
    pub name: u64,
    /// 3.11 and later.
    pub qualname: Option<u64>,
    pub first_line: u64,
    /// `co_lnotab` or `co_linetable`.
    pub line_table: u64,
    /// `co_varnames` or `co_localsplusnames`.
    pub local_names: u64,
    /// `co_cellvars` and `co_freevars` (up to 3.10).
    pub cell_names: Option<u64>,
    pub free_names: Option<u64>,
    /// 3.11 and later.
    pub exception_table: Option<u64>,
    /// `co_code_adaptive` (3.11 and later).
    pub bytecode: Option<u64>,
    /// `co_tlbc`, and `_PyCodeArray.entries` (free-threaded 3.14 and later).
    pub tlbc: Option<u64>,
    pub tlbc_entries: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectOffsets {
    /// `sizeof(PyObject)`: where the fields of an object of fixed size begin.
    pub header: u64,
    pub ob_type: u64,
    pub ob_size: u64,
    /// `ob_tid` to `ob_ref_shared`: free-threaded builds.
    pub ob_tid: Option<u64>,
    pub ob_mutex: Option<u64>,
    pub ob_gc_bits: Option<u64>,
    pub ob_ref_local: Option<u64>,
    pub ob_ref_shared: Option<u64>,
    /// `PyTupleObject.ob_item`.
    pub tuple_items: u64,
    /// `PyListObject.ob_item`.
    pub list_items: u64,
    /// `PyBytesObject.ob_sval`.
    pub bytes_data: u64,
    /// `PyASCIIObject.length` and `.state`.
    pub str_length: u64,
    pub str_state: u64,
    /// `sizeof(PyASCIIObject)`: where the characters of an ASCII string are.
    pub str_ascii: u64,
    /// `sizeof(PyCompactUnicodeObject)`: where the characters of any other string are.
    pub str_compact: u64,
    /// `PyLongObject.long_value.lv_tag` (3.12 and later) or `ob_size`.
    pub int_tag: u64,
    pub int_digits: u64,
    /// `PyFloatObject.ob_fval`.
    pub float_value: u64,
    /// `PySetObject.used`.
    pub set_used: u64,
    /// `PyDictObject.ma_used`, `.ma_keys` and `.ma_values`.
    pub dict_used: u64,
    pub dict_keys: u64,
    pub dict_values: u64,
    /// `PyCellObject.ob_ref`.
    pub cell_value: u64,
    pub func_code: u64,
    pub func_closure: u64,
    pub func_qualname: u64,
    /// `PyMethodObject.im_func`.
    pub method_function: u64,
    /// `PyCFunctionObject.m_self` and `.m_ml`.
    pub builtin_self: u64,
    pub builtin_definition: u64,
    /// `PyModuleObject.md_dict`.
    pub module_dict: u64,
    /// `md_def` or `md_token`, and `md_gil` or `md_requires_gil` (free-threaded builds).
    pub module_definition: Option<u64>,
    pub module_gil: Option<u64>,
    /// `sizeof(PyTypeObject)`.
    pub type_size: u64,
    pub tp_name: u64,
    pub tp_basicsize: u64,
    pub tp_flags: u64,
    pub tp_members: u64,
    pub tp_base: u64,
    pub tp_dict: u64,
    pub tp_dictoffset: u64,
    /// `PyHeapTypeObject.ht_cached_keys`.
    pub cached_keys: u64,
    /// `sizeof(PyMemberDef)`, and its fields.
    pub member_size: u64,
    pub member_name: u64,
    pub member_type: u64,
    pub member_offset: u64,
}

/// `PyDictKeysObject`, and `_dictvalues.values` (3.11 and later).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeysOffsets {
    pub log2_size: u64,
    pub log2_index_bytes: u64,
    pub kind: u64,
    pub usable: u64,
    pub entries: u64,
    pub indices: u64,
    /// `dk_mutex` (free-threaded builds).
    pub mutex: Option<u64>,
    pub values: u64,
}

/// `struct _gil_runtime_state`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GilOffsets {
    pub size: u64,
    pub enabled: Option<u64>,
    pub interval: u64,
    pub last_holder: u64,
    pub locked: u64,
    pub switch_number: u64,
    pub cond: u64,
    pub switch_cond: u64,
}

/// `PyCriticalSection` and `PyCriticalSection2` (free-threaded builds).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CriticalSectionOffsets {
    pub previous: u64,
    pub mutex: u64,
    pub second_mutex: u64,
}

macro_rules! debug_offsets {
    (always { $($field:ident)* } sometimes { $($optional:ident)* }) => {
        /// `_Py_DebugOffsets`. In a generated table: where it has each entry; read from an interpreter: what the entries say.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct DebugOffsets {
            /// Of the table itself.
            pub size: u64,
            $(pub $field: u64,)*
            $(pub $optional: Option<u64>,)*
        }

        impl DebugOffsets {
            /// Replaces each entry by what `decode` makes of its name and position.
            pub fn decode<E>(&self, mut decode: impl FnMut(&'static str, u64) -> Result<u64, E>) -> Result<Self, E> {
                Ok(DebugOffsets {
                    size: self.size,
                    $($field: decode(stringify!($field), self.$field)?,)*
                    $($optional: self.$optional.map(|at| decode(stringify!($optional), at)).transpose()?,)*
                })
            }
        }
    };
}

debug_offsets! {
    always {
        runtime_size interpreters_head
        interp_size interp_id interp_next interp_threads_head interp_gc interp_modules interp_ceval_gil interp_own_gil
        interp_gil_locked interp_gil_holder
        thread_size thread_next thread_interp thread_current_frame thread_id thread_native_id thread_datastack_chunk thread_status
        frame_previous frame_executable frame_instr_ptr frame_locals frame_owner
        code_filename code_name code_qualname code_linetable code_firstlineno code_localsplusnames code_adaptive
        pyobject_size pyobject_type type_size type_name type_flags
        tuple_items list_items dict_keys dict_values float_value int_tag int_digits
        bytes_ob_size bytes_sval unicode_state unicode_length unicode_ascii_size
        gc_collecting
    }
    sometimes {
        type_basicsize type_dictoffset type_cached_keys unicode_compact_size
        thread_base_frame thread_holds_gil frame_tlbc_index code_tlbc
    }
}
