//! Where CPython keeps what: byte offsets of the fields gilscope reads, for every version from 3.8 on.
//!
//! Up to 3.12 they are constants of the minor version. From 3.13 on the interpreter exports most of them itself
//! (`_Py_DebugOffsets`, at the start of `_PyRuntime`; decoded by [`super::debug_offsets`]) and only the few that
//! it leaves out are constants. Called once per target; everything that reads the target takes a [`Layout`].

use super::debug_offsets::{self, DebugOffsets};
use crate::event::version::Version;
use crate::process::memory::{Memory, ReadError, Span};

/// A structure or table of the target that cannot be what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No offsets are known for this version.
    #[error("no structure offsets are known for Python {0}")]
    UnknownVersion(Version),
    /// `_Py_DebugOffsets` holds a value that no build has.
    #[error("the interpreter's table of offsets (_Py_DebugOffsets) has the implausible value {value} for {field}")]
    Implausible {
        /// The entry.
        field: &'static str,
        /// What stood there.
        value: u64,
    },
}

/// How the head of a thread's frame chain is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameHead {
    /// `PyThreadState.frame` (3.8 to 3.10) or `.current_frame` (3.13 and later) at this offset.
    Direct(u64),
    /// `PyThreadState.cframe` at `cframe`, then `_PyCFrame.current_frame` at `current` (3.11, 3.12).
    CFrame {
        /// Offset of the pointer in the thread state.
        cframe: u64,
        /// Offset in what it points to.
        current: u64,
    },
}

/// How a frame says which instruction it executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// `f_lasti` in bytes (3.8, 3.9).
    LastiBytes,
    /// `f_lasti` in code units (3.10).
    LastiUnits,
    /// `prev_instr` or `instr_ptr`, an address in the bytecode (3.11 and later).
    Pointer,
}

/// How a code object maps instructions to lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTable {
    /// `co_lnotab` (3.8, 3.9).
    Lnotab,
    /// `co_linetable` of PEP 626 (3.10).
    Pep626,
    /// `co_linetable` with columns, PEP 657 (3.11 and later).
    Locations,
}

/// `PyThreadState`.
#[derive(Clone, Copy, Debug)]
pub struct ThreadStateLayout {
    /// Next thread state of the interpreter.
    pub next: u64,
    /// Its `PyInterpreterState`.
    pub interp: u64,
    /// Where the frame chain starts.
    pub head: FrameHead,
    /// `thread_id`: what `pthread_self()` returned in the thread.
    pub thread_id: u64,
    /// `native_thread_id`: the kernel's tid (3.11 and later).
    pub native_thread_id: Option<u64>,
    /// `datastack_chunk`, followed by `datastack_top` (3.11 and later).
    pub datastack_chunk: Option<u64>,
    /// Word and bit that are set while the thread holds its GIL (3.13 and later, builds with a GIL).
    pub holds_gil: Option<(u64, u32)>,
    /// `state`: 0 detached, 1 attached, 2 suspended ... (3.13 and later).
    pub state: Option<u64>,
    /// `critical_section`: what the thread has locked (free-threaded 3.13 and later).
    pub critical_section: Option<u64>,
    /// `base_frame`: the frame that ends every chain (3.15 and later).
    pub base_frame: Option<u64>,
    /// `cframe`, which points to the C stack of the thread that runs it (3.10 to 3.12).
    pub c_stack: Option<u64>,
    /// It points into the structure itself while nothing runs; this is more than that is long (3.10 to 3.12).
    pub root_cframe_within: Option<u64>,
    /// Bytes from the start of the structure that hold all of these.
    pub len: usize,
}

/// `PyFrameObject` (up to 3.10) or `_PyInterpreterFrame`.
#[derive(Clone, Copy, Debug)]
pub struct FrameLayout {
    /// The caller's frame.
    pub previous: u64,
    /// The code object; from 3.14 on with tag bits.
    pub code: u64,
    /// The instruction.
    pub instr: u64,
    /// What `instr` means.
    pub position: Position,
    /// `owner`, u8 (3.11 and later). Values of 3 and more mark entry frames without Python code (3.12 and later).
    pub owner: Option<u64>,
    /// `tlbc_index`, i32 (free-threaded 3.14 and later).
    pub tlbc_index: Option<u64>,
    /// `f_localsplus` or `localsplus`: the values of local variables. Behind the rest.
    pub locals: u64,
    /// Bytes from the start of the structure that hold all others.
    pub len: usize,
}

/// `PyCodeObject`.
#[derive(Clone, Copy, Debug)]
pub struct CodeLayout {
    /// `co_filename`.
    pub filename: u64,
    /// `co_name`.
    pub name: u64,
    /// `co_qualname` (3.11 and later).
    pub qualname: Option<u64>,
    /// `co_firstlineno`, i32.
    pub first_line: u64,
    /// `co_lnotab` or `co_linetable`.
    pub line_table: u64,
    /// Format of the line table.
    pub line_format: LineTable,
    /// `co_localsplusnames` (3.11 and later) or `co_varnames`: a tuple of the names of local variables. Before 3.11
    /// `co_freevars` and `co_cellvars` follow.
    pub local_names: u64,
    /// `co_code_adaptive`: the bytecode itself, at the end of the object (3.11 and later).
    pub bytecode: Option<u64>,
    /// `co_tlbc`: copies of the bytecode, one per thread (free-threaded 3.14 and later).
    pub tlbc: Option<u64>,
    /// Bytes from the start of the structure that hold all fields (not the bytecode).
    pub len: usize,
}

/// The objects that names are made of.
#[derive(Clone, Copy, Debug)]
pub struct ObjectLayout {
    /// `ob_type`.
    pub ob_type: u64,
    /// `ob_size` of variable-size objects.
    pub ob_size: u64,
    /// `PyTupleObject.ob_item`.
    pub tuple_items: u64,
    /// `PyBytesObject.ob_sval`.
    pub bytes_data: u64,
    /// `PyASCIIObject.length`.
    pub str_length: u64,
    /// `PyASCIIObject.state`.
    pub str_state: u64,
    /// `sizeof(PyASCIIObject)`: where the characters of an ASCII string are.
    pub str_ascii: u64,
    /// `sizeof(PyCompactUnicodeObject)`: where the characters of any other string are.
    pub str_compact: u64,
    /// `PyTypeObject.tp_name`.
    pub tp_name: u64,
    /// `PyTypeObject.tp_basicsize`.
    pub tp_basicsize: u64,
    /// `PyTypeObject.tp_flags`.
    pub tp_flags: u64,
    /// `PyTypeObject.tp_dictoffset`.
    pub tp_dictoffset: u64,
    /// `PyHeapTypeObject.ht_cached_keys` (3.11 and later).
    pub cached_keys: u64,
    /// `PyModuleObject.md_dict`.
    pub module_dict: u64,
    /// `PyFunctionObject.func_code`.
    pub func_code: u64,
    /// `PyFunctionObject.func_closure`.
    pub func_closure: u64,
    /// `PyDictObject.ma_keys`, followed by `ma_values`.
    pub dict_keys: u64,
}

impl ObjectLayout {
    /// `sizeof(PyObject)`: where the fields of an object of fixed size begin.
    pub fn header(&self) -> u64 {
        self.ob_type + 8
    }

    /// `PyTypeObject.tp_members`: `tp_getset`, `tp_base`, `tp_dict`, `tp_descr_get` and `tp_descr_set` are between it and
    /// `tp_dictoffset`.
    pub fn tp_members(&self) -> u64 {
        self.tp_dictoffset - 48
    }

    /// `PyTypeObject.tp_base`, likewise.
    pub fn tp_base(&self) -> u64 {
        self.tp_dictoffset - 32
    }

    /// `PyTypeObject.tp_dict`, likewise.
    pub fn tp_dict(&self) -> u64 {
        self.tp_dictoffset - 24
    }
}

/// `_gil_runtime_state`.
#[derive(Clone, Copy, Debug)]
pub struct GilLayout {
    /// `enabled`, i32 (free-threaded builds).
    pub enabled: Option<u64>,
    /// `interval`: the switch interval in microseconds, unsigned long.
    pub interval: u64,
    /// `last_holder`: the thread state that holds or held it.
    pub last_holder: u64,
    /// `locked`, i32.
    pub locked: u64,
    /// `switch_number`, unsigned long.
    pub switches: u64,
    /// `cond`, which waiters block on; 48 bytes.
    pub cond: u64,
    /// Bytes from the start that hold holder and lock.
    pub len: usize,
}

/// How the GIL of an interpreter is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilPlace {
    /// One per process, at this offset in `_PyRuntime` (up to 3.11).
    Runtime(u64),
    /// Pointed to by this field of the interpreter (3.12 and later).
    Interpreter(u64),
}

/// The garbage collector: `struct _gc_runtime_state`.
#[derive(Clone, Copy, Debug)]
pub struct GcLayout {
    /// Part of `_PyRuntime` (3.8), not of the interpreter.
    pub in_runtime: bool,
    /// `collecting`, int: 1 while garbage is being collected. An offset in the runtime or the interpreter.
    pub collecting: u64,
    /// `PyInterpreterState.stoptheworld.world_stopped`, bool (free-threaded builds): all other threads stand still.
    pub world_stopped: Option<u64>,
}

impl GcLayout {
    /// Where an interpreter's flags are: `collecting` and, if there is one, `world_stopped`.
    pub fn spans(&self, runtime: u64, interp: u64) -> impl Iterator<Item = Span> {
        let base = if self.in_runtime { runtime } else { interp };
        let collecting = Span { addr: base.wrapping_add(self.collecting), len: 4 };
        let stopped = self.world_stopped.map(|offset| Span { addr: interp.wrapping_add(offset), len: 1 });
        std::iter::once(collecting).chain(stopped)
    }

    /// How many bytes and spans these are.
    pub fn size(&self) -> (usize, usize) {
        let stopped = usize::from(self.world_stopped.is_some());
        (4 + stopped, 1 + stopped)
    }
}

/// All offsets of one target.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The interpreter's version.
    pub version: Version,
    /// Built without a GIL.
    pub free_threaded: bool,
    /// `_PyRuntime.interpreters.head`.
    pub interpreters_head: u64,
    /// `PyInterpreterState.next`.
    pub interp_next: u64,
    /// `PyInterpreterState.id`, i64.
    pub interp_id: u64,
    /// Head of the list of thread states.
    pub interp_threads: u64,
    /// `sys.modules`.
    pub interp_modules: u64,
    /// What tells that garbage is being collected.
    pub gc: GcLayout,
    /// Where the GIL is.
    pub gil_place: GilPlace,
    /// What it looks like.
    pub gil: GilLayout,
    /// `PyThreadState`.
    pub thread: ThreadStateLayout,
    /// Frames.
    pub frame: FrameLayout,
    /// Code objects.
    pub code: CodeLayout,
    /// Other objects.
    pub object: ObjectLayout,
}

impl Layout {
    /// Whether threads that wait for a lock of the interpreter sleep in its parking lot (`Python/parking_lot.c`).
    pub fn has_parking_lot(&self) -> bool {
        self.version.minor >= 13
    }

    /// The offsets of the interpreter whose `_PyRuntime` is at `runtime`. Reads `_Py_DebugOffsets` from 3.13 on.
    pub fn of(
        memory: &impl Memory,
        runtime: u64,
        version: Version,
        free_threaded: bool,
    ) -> Result<Layout, LayoutError> {
        match version.minor {
            _ if !version.supported() => Err(LayoutError::UnknownVersion(version)),
            8..=12 => Ok(Self::fixed(version)),
            _ => Self::from_debug_offsets(&debug_offsets::read(memory, runtime, version)?, version, free_threaded),
        }
    }

    /// 3.8 to 3.12, which export no offsets.
    fn fixed(version: Version) -> Layout {
        let minor = version.minor;
        // One value per version, in the order 3.8, 3.9, 3.10, 3.11, 3.12.
        let by = |values: [u64; 5]| values[usize::from(minor - 8)];
        let from_310 = |value: u64| (minor >= 10).then_some(value);
        let from_311 = |value: u64| (minor >= 11).then_some(value);
        let thread = ThreadStateLayout {
            next: 8,
            interp: 16,
            head: match minor {
                8..=10 => FrameHead::Direct(24),
                11 => FrameHead::CFrame { cframe: 56, current: 8 },
                _ => FrameHead::CFrame { cframe: 56, current: 0 },
            },
            thread_id: by([176, 176, 176, 152, 136]),
            native_thread_id: from_311(by([0, 0, 0, 160, 144])),
            datastack_chunk: from_311(by([0, 0, 0, 296, 232])),
            holds_gil: None,
            state: None,
            critical_section: None,
            base_frame: None,
            c_stack: from_310(by([0, 0, 48, 56, 56])),
            root_cframe_within: from_310(512),
            len: by([184, 184, 184, 312, 248]) as usize,
        };
        let frame = FrameLayout {
            previous: by([24, 24, 24, 48, 8]),
            code: by([32, 32, 32, 32, 0]),
            instr: by([104, 104, 96, 56, 56]),
            position: match minor {
                8 | 9 => Position::LastiBytes,
                10 => Position::LastiUnits,
                _ => Position::Pointer,
            },
            owner: from_311(by([0, 0, 0, 69, 70])),
            tlbc_index: None,
            locals: by([360, 360, 352, 72, 72]),
            len: by([108, 108, 100, 72, 72]) as usize,
        };
        let code = CodeLayout {
            filename: by([104, 104, 104, 112, 112]),
            name: by([112, 112, 112, 120, 120]),
            qualname: from_311(128),
            first_line: by([40, 40, 40, 72, 68]),
            line_table: by([120, 120, 120, 136, 136]),
            line_format: match minor {
                8 | 9 => LineTable::Lnotab,
                10 => LineTable::Pep626,
                _ => LineTable::Locations,
            },
            local_names: by([72, 72, 72, 96, 96]),
            bytecode: from_311(by([0, 0, 0, 184, 192])),
            tlbc: None,
            len: 144,
        };
        let (ascii, compact) = if minor < 12 { (48, 72) } else { (40, 56) };
        let object = ObjectLayout {
            ob_type: 8,
            ob_size: 16,
            tuple_items: 24,
            bytes_data: 32,
            str_length: 16,
            str_state: 32,
            str_ascii: ascii,
            str_compact: compact,
            tp_name: 24,
            tp_basicsize: 32,
            tp_flags: 168,
            tp_dictoffset: 288,
            cached_keys: by([0, 0, 0, 408, 416]) + CACHED_KEYS_AFTER_TYPE,
            module_dict: 16,
            // The globals are before them; from 3.10 on the builtins and two names, too.
            func_code: by([16, 16, 48, 48, 48]),
            func_closure: by([48, 48, 72, 72, 72]),
            dict_keys: 32,
        };
        Layout {
            version,
            free_threaded: false,
            interpreters_head: by([32, 32, 32, 40, 40]),
            interp_next: 0,
            interp_id: by([16, 24, 24, 48, 8]),
            interp_threads: by([8, 8, 8, 16, 72]),
            interp_modules: by([56, 856, 856, 888, 944]),
            gc: GcLayout { in_runtime: minor == 8, collecting: by([544, 816, 816, 848, 312]), world_stopped: None },
            gil_place: match minor {
                12 => GilPlace::Interpreter(384),
                _ => GilPlace::Runtime(by([1152, 352, 352, 360, 0])),
            },
            gil: GilLayout {
                enabled: None,
                interval: 0,
                last_holder: 8,
                locked: 16,
                switches: 24,
                cond: 32,
                len: 32,
            },
            thread,
            frame,
            code,
            object,
        }
    }

    /// 3.13 and later.
    fn from_debug_offsets(d: &DebugOffsets, version: Version, free_threaded: bool) -> Result<Layout, LayoutError> {
        let minor = version.minor;
        let tlbc = free_threaded && minor >= 14;
        let header = d.pyobject_size;
        // `_status` is a word of bits; 3.13 keeps holds_gil in bit 5 of it, later versions in an int of its own.
        let holds_gil = match minor {
            13 => (d.thread_status, 1 << 5),
            _ => (d.thread_status + 4, 1),
        };
        let state = d.thread_status + [8, 12, 16][usize::from(minor - 13)];
        let thread = ThreadStateLayout {
            next: d.thread_next,
            interp: d.thread_interp,
            head: FrameHead::Direct(d.thread_current_frame),
            thread_id: d.thread_id,
            native_thread_id: Some(d.thread_native_id),
            datastack_chunk: Some(d.thread_datastack_chunk),
            holds_gil: Some(holds_gil),
            state: Some(state),
            critical_section: free_threaded.then_some([176, 176, 200][usize::from(minor - 13)]),
            base_frame: d.thread_base_frame,
            c_stack: None,
            root_cframe_within: None,
            len: [
                d.thread_datastack_chunk + 8,
                d.thread_native_id,
                d.thread_id,
                d.thread_current_frame,
                d.thread_next,
                d.thread_interp,
                d.thread_base_frame.unwrap_or(0),
                state,
            ]
            .into_iter()
            .max()
            .map_or(0, |last| last as usize + 8),
        };
        let tlbc_index = d.frame_tlbc_index.filter(|_| tlbc);
        let frame = FrameLayout {
            previous: d.frame_previous,
            code: d.frame_executable,
            instr: d.frame_instr_ptr,
            position: Position::Pointer,
            owner: Some(d.frame_owner),
            tlbc_index,
            locals: d.frame_locals,
            len: [d.frame_previous, d.frame_executable, d.frame_instr_ptr, d.frame_owner, tlbc_index.unwrap_or(0)]
                .into_iter()
                .max()
                .map_or(88, |last| last as usize + 8),
        };
        let code = CodeLayout {
            filename: d.code_filename,
            name: d.code_name,
            qualname: Some(d.code_qualname),
            first_line: d.code_firstlineno,
            line_table: d.code_linetable,
            line_format: LineTable::Locations,
            local_names: d.code_localsplusnames,
            bytecode: Some(d.code_adaptive),
            tlbc: d.code_tlbc.filter(|_| tlbc),
            len: d.code_adaptive as usize,
        };
        let object = ObjectLayout {
            ob_type: d.pyobject_type,
            ob_size: d.bytes_ob_size,
            // Tuples remember their hash from 3.14 on.
            tuple_items: d.bytes_ob_size + if minor >= 14 { 16 } else { 8 },
            bytes_data: d.bytes_sval,
            str_length: d.unicode_length,
            str_state: d.unicode_state,
            str_ascii: d.unicode_ascii_size,
            str_compact: d.unicode_ascii_size + 16,
            tp_name: d.type_name,
            tp_basicsize: d.type_name + 8,
            tp_flags: d.type_flags,
            tp_dictoffset: d.type_flags + 120,
            cached_keys: d.type_size + CACHED_KEYS_AFTER_TYPE,
            module_dict: header,
            func_code: header + 32,
            func_closure: header + 56,
            dict_keys: d.dict_keys,
        };
        let gil = match free_threaded {
            false => {
                GilLayout { enabled: None, interval: 0, last_holder: 8, locked: 16, switches: 24, cond: 32, len: 32 }
            }
            true => GilLayout {
                enabled: Some(0),
                interval: 8,
                last_holder: 16,
                locked: 24,
                switches: 32,
                cond: 40,
                len: 40,
            },
        };
        Ok(Layout {
            version,
            free_threaded,
            interpreters_head: d.interpreters_head,
            interp_next: d.interp_next,
            interp_id: d.interp_id,
            interp_threads: d.interp_threads_head,
            interp_modules: d.interp_modules,
            gc: GcLayout {
                in_runtime: false,
                collecting: d.interp_gc + d.gc_collecting,
                world_stopped: free_threaded.then_some([10746, 10850, 10802][usize::from(minor - 13)]),
            },
            gil_place: GilPlace::Interpreter(d.interp_ceval_gil),
            gil,
            thread,
            frame,
            code,
            object,
        })
    }
}

/// From the end of `ht_type` to `ht_cached_keys` in `PyHeapTypeObject`: the async, number, mapping, sequence and
/// buffer method tables, then `ht_name`, `ht_slots` and `ht_qualname` (3.10 and later).
const CACHED_KEYS_AFTER_TYPE: u64 = 464;
