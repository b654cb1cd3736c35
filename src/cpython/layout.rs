//! Where CPython keeps what: byte offsets of the fields gilscope reads, for every version from 3.8 on, and what they mean there.
//!
//! They come from a generated table ([`super::offsets`]): up to 3.12 that of the release, from 3.13 on one that says the same as
//! the interpreter itself (`_Py_DebugOffsets`, at the start of `_PyRuntime`; decoded by [`super::debug_offsets`]). Where none
//! does, what the interpreter says has to do. Called once per target; everything that reads the target takes a [`Layout`].

use super::debug_offsets;
use super::offsets::{self, BuildOffsets, KeysOffsets, LockArray, ObjectOffsets, ThreadStateOffsets};
use crate::event::version::Version;
use crate::process::memory::{Memory, MemorySpan, ReadError};

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
    Implausible { field: &'static str, value: u64 },
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
    /// `datastack_chunk` (3.11 and later).
    pub datastack_chunk: Option<u64>,
    /// `datastack_top` (3.11 and later).
    pub datastack_top: Option<u64>,
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
    /// It points into the structure itself while nothing runs, which is this long (3.10 to 3.12).
    pub root_cframe_within: Option<u64>,
    /// Bytes from the start of the structure that hold all of these.
    pub len: usize,
}

/// `PyFrameObject` (up to 3.10) or `_PyInterpreterFrame`.
#[derive(Clone, Copy, Debug)]
pub struct FrameLayout {
    pub previous: u64,
    /// The code object; from 3.14 on with tag bits.
    pub code: u64,
    pub instr: u64,
    /// What `instr` means.
    pub position: Position,
    /// `owner`, u8 (3.11 and later). Values of 3 and more mark entry frames without Python code (3.12 and later).
    pub owner: Option<u64>,
    /// `tlbc_index`, i32 (free-threaded 3.14 and later).
    pub tlbc_index: Option<u64>,
    /// `f_localsplus` or `localsplus`: the values of local variables. Behind the rest.
    pub locals: u64,
    /// What `with` and `try` have put up (up to 3.10).
    pub blocks: Option<BlockLayout>,
    /// Bytes from the start of the structure that hold all but locals and blocks.
    pub len: usize,
}

/// The value stack and the blocks of a `PyFrameObject` (up to 3.10).
#[derive(Clone, Copy, Debug)]
pub struct BlockLayout {
    /// `f_valuestack`, which points to the stack.
    pub value_stack: u64,
    /// `f_iblock`, i32: how many blocks there are.
    pub count: u64,
    /// `f_blockstack`, an array of `PyTryBlock`s.
    pub stack: u64,
    /// `sizeof(PyTryBlock)`.
    pub size: u64,
    /// `PyTryBlock.b_level`, i32.
    pub level: u64,
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
    /// `co_localsplusnames` (3.11 and later) or `co_varnames`: a tuple of the names of local variables.
    pub local_names: u64,
    /// `co_cellvars` and `co_freevars`, in the order in which their values follow (up to 3.10).
    pub more_names: [Option<u64>; 2],
    /// `co_exceptiontable` (3.11 and later).
    pub exception_table: Option<u64>,
    /// `co_code_adaptive`: the bytecode itself, at the end of the object (3.11 and later).
    pub bytecode: Option<u64>,
    /// `co_tlbc`: copies of the bytecode, one per thread (free-threaded 3.14 and later).
    pub tlbc: Option<u64>,
    /// `_PyCodeArray.entries`: where these are in the array.
    pub tlbc_entries: u64,
    /// Bytes from the start of the structure that hold all fields (not the bytecode).
    pub len: usize,
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
    /// From `cond` to the end of the struct: two condition variables and mutexes of the C library. A futex call with an
    /// address in there is a wait for the GIL.
    pub wait_size: u64,
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

/// The length of `_gc_runtime_state.generation_stats`, up to 3.14.
pub const GC_STATS_LEN: u64 = 3 * 24;

/// The garbage collector: `struct _gc_runtime_state`.
#[derive(Clone, Copy, Debug)]
pub struct GcLayout {
    /// Part of `_PyRuntime` (3.8), not of the interpreter.
    pub in_runtime: bool,
    /// `collecting`, int: 1 while garbage is being collected. An offset in the runtime or the interpreter.
    pub collecting: u64,
    /// `generation_stats`: three of `struct gc_generation_stats`, each three Py_ssize_t: `collections`, `collected` and
    /// `uncollectable`. They are in front of `collecting` from 3.8 to 3.14, where an offset as that; 3.15 has another structure.
    pub stats: Option<u64>,
    /// `PyInterpreterState.stoptheworld.world_stopped`, bool (free-threaded builds): all other threads stand still.
    pub world_stopped: Option<u64>,
    /// `PyInterpreterState.stoptheworld.requester`: the thread state that has stopped them.
    pub stop_requester: Option<u64>,
}

impl GcLayout {
    /// Where an interpreter's flags are: `collecting` and, if there is one, `world_stopped`.
    pub fn spans(&self, runtime: u64, interp: u64) -> impl Iterator<Item = MemorySpan> {
        let base = if self.in_runtime { runtime } else { interp };
        let collecting = MemorySpan { addr: base.wrapping_add(self.collecting), len: 4 };
        let stopped = self.world_stopped.map(|offset| MemorySpan { addr: interp.wrapping_add(offset), len: 1 });
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
    pub frame: FrameLayout,
    pub code: CodeLayout,
    pub object: ObjectOffsets,
    /// Tables of the keys of dicts (3.11 and later).
    pub keys: Option<KeysOffsets>,
    /// Locks that are not part of an object.
    pub locks: LockTables,
    /// The file of the table that all of this is from; none if what the interpreter itself says had to do.
    pub table: Option<&'static str>,
}

/// Where the interpreter has locks of its own (3.13 and later).
#[derive(Clone, Copy, Debug)]
pub struct LockTables {
    /// Names and offsets in `_PyRuntime`.
    pub runtime: &'static [(&'static str, u64)],
    /// Names and offsets in a `PyInterpreterState`.
    pub interpreter: &'static [(&'static str, u64)],
    /// Arrays of locks in a `PyInterpreterState`.
    pub arrays: &'static [LockArray],
    /// `sizeof(_PyRuntimeState)`.
    pub runtime_size: u64,
    /// `sizeof(PyInterpreterState)`.
    pub interpreter_size: u64,
}

impl Layout {
    /// Whether threads that wait for a lock of the interpreter sleep in its parking lot (`Python/parking_lot.c`).
    pub fn has_parking_lot(&self) -> bool {
        self.version.minor >= 13
    }

    /// The offsets of the interpreter whose `_PyRuntime` is at `runtime`. Reads `_Py_DebugOffsets` from 3.13 on.
    ///
    /// # Errors
    /// No offsets are known for the version, or what the interpreter says of itself makes no sense.
    pub fn of(
        memory: &impl Memory,
        runtime: u64,
        version: Version,
        free_threaded: bool,
    ) -> Result<Layout, LayoutError> {
        let unknown = LayoutError::UnknownVersion(version);
        if !version.may_be_read() {
            return Err(unknown);
        }
        let nearest = offsets::nearest(version, free_threaded).ok_or(unknown)?;
        let Some(positions) = nearest.offsets.debug_offsets else {
            return Ok(Self::from_offsets(nearest.offsets, Some(nearest.file), version, free_threaded));
        };
        let values = debug_offsets::read(memory, runtime, &positions)?;
        if let Some(build) = offsets::confirmed_by(&values, version, free_threaded) {
            let mut layout = Self::from_offsets(build.offsets, Some(build.file), version, free_threaded);
            if layout.locks.runtime_size != values.runtime_size {
                layout.locks = LockTables { runtime: &[], runtime_size: values.runtime_size, ..layout.locks };
            }
            return Ok(layout);
        }
        debug_offsets::check(&values)?;
        Ok(Self::from_offsets(&nearest.offsets.adapted_to(&values), None, version, free_threaded))
    }

    /// What gilscope cannot tell of this interpreter and why, in a sentence; none if its table is known.
    pub fn unknowns(&self) -> Option<String> {
        if self.table.is_some() {
            return None;
        }
        let build = if self.free_threaded { " (free-threaded)" } else { "" };
        let why = match self.version.is_newer() {
            true => format!("is newer than the versions this gilscope knows (up to 3.{})", Version::NEWEST_MINOR),
            false => "has structures that no release known to this gilscope has".to_owned(),
        };
        let mut unknown = vec!["names of the interpreter's own locks"];
        if self.free_threaded {
            unknown.push("which thread pauses all others");
        }
        if self.free_threaded && self.thread.critical_section.is_none() {
            unknown.push("which thread holds an object's lock");
        }
        if self.thread.state.is_none() {
            unknown.push("which threads are attached to the interpreter");
        }
        Some(format!(
            "Python {}{build} {why}. Stacks are read by the offsets that it exports; not available: {}",
            self.version,
            unknown.join(", ")
        ))
    }

    /// What the offsets mean in a version.
    fn from_offsets(
        build: &BuildOffsets,
        table: Option<&'static str>,
        version: Version,
        free_threaded: bool,
    ) -> Layout {
        let BuildOffsets { runtime, interpreter, thread, .. } = build;
        let gc_place = runtime.gc_collecting.or(interpreter.gc_collecting);
        Layout {
            version,
            free_threaded,
            interpreters_head: runtime.interpreters_head,
            interp_next: interpreter.next,
            interp_id: interpreter.id,
            interp_threads: interpreter.threads_head,
            interp_modules: interpreter.modules,
            gc: GcLayout {
                in_runtime: runtime.gc_collecting.is_some(),
                collecting: gc_place.unwrap_or(0),
                stats: gc_place.filter(|_| version.minor <= 14).map(|place| place.wrapping_sub(GC_STATS_LEN)),
                world_stopped: interpreter.world_stopped,
                stop_requester: interpreter.stop_requester,
            },
            gil_place: match interpreter.gil {
                Some(offset) => GilPlace::Interpreter(offset),
                None => GilPlace::Runtime(runtime.gil.unwrap_or(0)),
            },
            gil: gil_layout(build),
            thread: thread_layout(thread),
            frame: frame_layout(build, version),
            code: code_layout(build, version),
            object: build.object,
            keys: build.keys,
            locks: LockTables {
                runtime: build.runtime_locks,
                runtime_size: runtime.size.unwrap_or(0),
                interpreter: build.interpreter_locks,
                interpreter_size: interpreter.size.unwrap_or(0),
                arrays: build.lock_arrays,
            },
            table,
        }
    }
}

/// How many bytes from the start of a structure hold these fields of eight bytes.
fn len_of(fields: &[Option<u64>]) -> usize {
    fields.iter().flatten().max().map_or(0, |last| *last as usize + 8)
}

fn gil_layout(build: &BuildOffsets) -> GilLayout {
    let gil = &build.gil;
    GilLayout {
        enabled: gil.enabled,
        interval: gil.interval,
        last_holder: gil.last_holder,
        locked: gil.locked,
        switches: gil.switch_number,
        cond: gil.cond,
        wait_size: gil.size.saturating_sub(gil.cond),
        len: len_of(&[
            gil.enabled,
            Some(gil.interval),
            Some(gil.last_holder),
            Some(gil.locked),
            Some(gil.switch_number),
        ]),
    }
}

fn thread_layout(thread: &ThreadStateOffsets) -> ThreadStateLayout {
    let head = match (thread.frame, thread.cframe, thread.cframe_current_frame) {
        (None, Some(cframe), Some(current)) => FrameHead::CFrame { cframe, current },
        (frame, ..) => FrameHead::Direct(thread.current_frame.or(frame).unwrap_or(0)),
    };
    ThreadStateLayout {
        next: thread.next,
        interp: thread.interp,
        head,
        thread_id: thread.thread_id,
        native_thread_id: thread.native_thread_id,
        datastack_chunk: thread.datastack_chunk,
        datastack_top: thread.datastack_top,
        holds_gil: thread.holds_gil,
        state: thread.state,
        critical_section: thread.critical_section,
        base_frame: thread.base_frame,
        c_stack: thread.cframe,
        root_cframe_within: thread.cframe.map(|_| thread.size),
        len: len_of(&[
            Some(thread.next),
            Some(thread.interp),
            Some(thread.thread_id),
            thread.frame,
            thread.cframe,
            thread.current_frame,
            thread.native_thread_id,
            thread.datastack_top,
            thread.holds_gil.map(|(word, _)| word),
            thread.state,
            thread.base_frame,
        ]),
    }
}

fn frame_layout(build: &BuildOffsets, version: Version) -> FrameLayout {
    let frame = &build.frame;
    let blocks = || {
        Some(BlockLayout {
            value_stack: frame.value_stack?,
            count: frame.block_count?,
            stack: frame.block_stack?,
            size: frame.block_size?,
            level: frame.block_level?,
        })
    };
    let after = |field: Option<u64>, size: usize| field.map_or(0, |offset| offset as usize + size);
    let instr_size = if version.minor >= 11 { 8 } else { 4 };
    FrameLayout {
        previous: frame.previous,
        code: frame.code,
        instr: frame.instr,
        position: match version.minor {
            ..=9 => Position::LastiBytes,
            10 => Position::LastiUnits,
            _ => Position::Pointer,
        },
        owner: frame.owner,
        tlbc_index: frame.tlbc_index,
        locals: frame.locals,
        blocks: blocks(),
        len: len_of(&[Some(frame.previous), Some(frame.code)])
            .max(after(Some(frame.instr), instr_size))
            .max(after(frame.owner, 1))
            .max(after(frame.tlbc_index, 4)),
    }
}

fn code_layout(build: &BuildOffsets, version: Version) -> CodeLayout {
    let code = &build.code;
    // The header of the object, too, and that is four words in free-threaded builds.
    let header = [build.object.ob_type, build.object.ob_size, 24];
    let fields = [code.filename, code.name, code.qualname.unwrap_or(0), code.first_line, code.line_table];
    CodeLayout {
        filename: code.filename,
        name: code.name,
        qualname: code.qualname,
        first_line: code.first_line,
        line_table: code.line_table,
        line_format: match version.minor {
            ..=9 => LineTable::Lnotab,
            10 => LineTable::Pep626,
            _ => LineTable::Locations,
        },
        local_names: code.local_names,
        more_names: [code.cell_names, code.free_names],
        exception_table: code.exception_table,
        bytecode: code.bytecode,
        tlbc: code.tlbc,
        tlbc_entries: code.tlbc_entries.unwrap_or(0),
        len: len_of(&fields.map(Some)).max(len_of(&header.map(Some))),
    }
}
