//! An interpreter made of bytes: `_PyRuntime`, interpreter state, thread states, frames, code objects, names. As far
//! as gilscope looks at them, they are as CPython lays them out.

use std::collections::BTreeMap;

use gilscope::cpython::layout::{FrameHead, GilPlace, Layout, Position};
use gilscope::event::version::Version;
use gilscope::process::memory::MemoryImage;

use crate::lines;

/// Where `_PyRuntime` is.
pub const RUNTIME: u64 = 0x5500_0000_1000;
/// Where everything else is, one thing after the other.
const HEAP: u64 = 0x7f00_0000_0000;
/// Frames of a chunk of the data stack, so that a stack has several.
const FRAMES_PER_CHUNK: usize = 40;
/// Room for one frame and its variables.
pub const FRAME_ROOM: u64 = 160;

/// A kind of CPython.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub minor: u8,
    pub free_threaded: bool,
    /// `_Py_DebugOffsets` of a real one, in words.
    table: &'static str,
}

const fn kind(minor: u8, free_threaded: bool, table: &'static str) -> Kind {
    Kind { minor, free_threaded, table }
}

/// All that differ.
pub const KINDS: [Kind; 11] = [
    kind(8, false, ""),
    kind(9, false, ""),
    kind(10, false, ""),
    kind(11, false, ""),
    kind(12, false, ""),
    kind(13, false, include_str!("../data/debug_offsets_3.13.txt")),
    kind(13, true, include_str!("../data/debug_offsets_3.13t.txt")),
    kind(14, false, include_str!("../data/debug_offsets_3.14.txt")),
    kind(14, true, include_str!("../data/debug_offsets_3.14t.txt")),
    kind(15, false, include_str!("../data/debug_offsets_3.15.txt")),
    // A newer one than is known, before its release.
    kind(16, false, include_str!("../data/debug_offsets_3.16.txt")),
];

impl Kind {
    pub fn version(&self) -> Version {
        Version { major: 3, minor: self.minor, patch: 1 }
    }

    /// The bytes at the start of `_PyRuntime`.
    pub fn table(&self) -> Vec<u8> {
        let word = |word: &str| match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
            None => word.parse().unwrap(),
        };
        self.table.split_whitespace().map(word).flat_map(u64::to_le_bytes).collect()
    }

    /// Its layout, as gilscope decodes it.
    pub fn layout(&self) -> Layout {
        let mut image = MemoryImage::default();
        image.insert(RUNTIME, self.table());
        Layout::of(&image, RUNTIME, self.version(), self.free_threaded).unwrap()
    }
}

/// A frame to be made: function, file, first line, and for each code unit its line; at one of the units.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: String,
    pub file: String,
    pub first_line: i32,
    /// 0 for none.
    pub lines: Vec<u32>,
    pub at: usize,
    /// Called from C.
    pub entry: bool,
    /// Not on the data stack (a generator).
    pub apart: bool,
}

/// A thread to be made, outermost frame first.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub stack: Vec<Call>,
}

/// Memory: pieces that were asked for, in pages, as all memory is.
#[derive(Clone, Default)]
pub struct Heap {
    start: u64,
    bytes: Vec<u8>,
    /// Address and length of each piece.
    pub pieces: Vec<(u64, u64)>,
    /// Pages that have been unmapped.
    pub holes: Vec<u64>,
}

impl Heap {
    /// Zeroed memory.
    pub fn alloc(&mut self, len: u64) -> u64 {
        let addr = (self.start + self.bytes.len() as u64).next_multiple_of(16);
        self.bytes.resize((addr - self.start + len) as usize, 0);
        self.pieces.push((addr, len));
        addr
    }

    /// Writes what fits.
    pub fn put(&mut self, addr: u64, bytes: &[u8]) {
        let at = (addr - self.start) as usize;
        self.bytes.iter_mut().skip(at).zip(bytes).for_each(|(byte, &new)| *byte = new);
    }

    fn map(&self, image: &mut MemoryImage) {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        let mut start = self.start;
        let mut holes = self.holes.clone();
        holes.sort();
        for hole in holes.into_iter().chain([self.start + bytes.len() as u64]) {
            if start < hole {
                image.insert(start, bytes[(start - self.start) as usize..(hole - self.start) as usize].to_vec());
            }
            start = hole + 4096;
        }
    }
}

/// The result.
pub struct Interpreter {
    pub kind: Kind,
    pub layout: Layout,
    pub runtime: Heap,
    pub heap: Heap,
    /// Address of the interpreter state.
    pub interp: u64,
    /// Addresses of the thread states.
    pub threads: Vec<u64>,
    /// `threading.get_ident()` of each.
    pub idents: Vec<u64>,
    /// The first thread's `threading.Thread`.
    pub first_thread: u64,
    /// Some objects, for who wants to look at them alone: a str, a bytes, a dict, a `Thread`.
    pub objects: Vec<u64>,
}

/// Puts things next to one another.
pub struct Builder {
    pub layout: Layout,
    kind: Kind,
    heap: Heap,
    /// Addresses by content, as CPython interns names.
    strings: BTreeMap<String, u64>,
    type_code: u64,
    type_thread: u64,
    type_dict: u64,
    type_str: u64,
    type_module: u64,
    type_type: u64,
    pub objects: Vec<u64>,
}

impl Builder {
    pub fn new(kind: Kind) -> Builder {
        let mut builder = Builder {
            layout: kind.layout(),
            kind,
            heap: Heap { start: HEAP, ..Heap::default() },
            strings: BTreeMap::new(),
            type_code: 0,
            type_thread: 0,
            type_dict: 0,
            type_str: 0,
            type_module: 0,
            type_type: 0,
            objects: Vec::new(),
        };
        builder.type_type = builder.type_object("type");
        // `Py_TPFLAGS_TYPE_SUBCLASS`
        builder.word(builder.type_type + builder.layout.object.tp_flags, 1 << 31);
        builder.head(builder.type_type, builder.type_type);
        builder.type_code = builder.type_object("code");
        builder.type_dict = builder.type_object("dict");
        // `Py_TPFLAGS_DICT_SUBCLASS`
        builder.word(builder.type_dict + builder.layout.object.tp_flags, 1 << 29);
        builder.type_str = builder.type_object("str");
        builder.type_module = builder.type_object("module");
        builder.word(builder.type_module + builder.layout.object.tp_dictoffset, builder.layout.object.module_dict);
        builder.type_thread = builder.type_object("Thread");
        // `Py_TPFLAGS_MANAGED_DICT`
        builder.word(builder.type_thread + builder.layout.object.tp_flags, 1 << 4);
        builder
    }

    pub fn finish(self) -> MemoryImage {
        let mut image = MemoryImage::default();
        self.heap.map(&mut image);
        image
    }

    /// Zeroed memory of its own.
    pub fn alloc(&mut self, len: u64) -> u64 {
        self.heap.alloc(len)
    }

    pub fn put(&mut self, addr: u64, bytes: &[u8]) {
        self.heap.put(addr, bytes);
    }

    pub fn word(&mut self, addr: u64, value: u64) {
        self.put(addr, &value.to_le_bytes());
    }

    pub fn int(&mut self, addr: u64, value: i32) {
        self.put(addr, &value.to_le_bytes());
    }

    /// The head of an object that somebody refers to.
    fn head(&mut self, addr: u64, type_addr: u64) {
        // `ob_ref_local` or `ob_refcnt`
        self.int(addr + if self.kind.free_threaded { 12 } else { 0 }, 1);
        self.word(addr + self.layout.object.ob_type, type_addr);
    }

    fn type_object(&mut self, name: &str) -> u64 {
        let o = self.layout.object;
        let len = o.tp_dictoffset.max(o.cached_keys) + 8;
        let addr = self.alloc(len);
        let text = self.alloc(name.len() as u64 + 64);
        self.put(text, name.as_bytes());
        self.word(addr + o.tp_name, text);
        self.head(addr, self.type_type);
        addr
    }

    /// A compact `str` of the narrowest kind.
    pub fn string(&mut self, text: &str) -> u64 {
        if let Some(&addr) = self.strings.get(text) {
            return addr;
        }
        let o = self.layout.object;
        let widest = text.chars().map(u32::from).max().unwrap_or(0);
        let kind = if widest < 0x100 {
            1
        } else if widest < 0x1_0000 {
            2
        } else {
            4
        };
        let ascii = widest < 0x80;
        let start = if ascii { o.str_ascii } else { o.str_compact };
        let data: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes().into_iter().take(kind)).collect();
        // A header may be read that is longer than that of an ASCII string.
        let addr = self.alloc((start + data.len() as u64 + kind as u64).max(o.str_compact));
        self.head(addr, self.type_str);
        self.word(addr + o.str_length, text.chars().count() as u64);
        let wide = self.kind.free_threaded && self.kind.minor >= 14;
        let shift = if wide { 8 } else { 2 };
        let state = 1 | (kind as u32) << shift | 1 << (shift + 3) | u32::from(ascii) << (shift + 4);
        self.put(addr + o.str_state, &state.to_le_bytes());
        self.put(addr + start, &data);
        self.strings.insert(text.to_owned(), addr);
        addr
    }

    pub fn bytes(&mut self, data: &[u8]) -> u64 {
        let o = self.layout.object;
        let addr = self.alloc(o.bytes_data + data.len() as u64 + 1);
        self.word(addr + o.ob_size, data.len() as u64);
        self.put(addr + o.bytes_data, data);
        addr
    }

    /// A code object. Its bytecode is nothing but room.
    fn code(&mut self, call: &Call) -> u64 {
        let c = self.layout.code;
        let units = call.lines.len() as u64;
        let name = self.string(call.function.rsplit('.').next().unwrap());
        let qualified = self.string(&call.function);
        let file = self.string(&call.file);
        let table = lines::encode(c.line_format, &call.lines, call.first_line);
        let table = self.bytes(&table);
        let addr = self.alloc(c.len as u64 + c.bytecode.map_or(0, |start| start - c.len as u64 + 2 * units) + 8);
        let o = self.layout.object;
        self.head(addr, self.type_code);
        if c.bytecode.is_some() {
            self.word(addr + o.ob_size, units);
        }
        self.word(addr + c.filename, file);
        self.word(addr + c.name, name);
        if let Some(offset) = c.qualname {
            self.word(addr + offset, qualified);
        }
        self.word(addr + c.line_table, table);
        self.int(addr + c.first_line, call.first_line);
        addr
    }

    /// A frame at `addr`, which has room for it.
    fn frame(&mut self, addr: u64, call: &Call, previous: u64) {
        let f = self.layout.frame;
        let code = self.code(call);
        // From 3.14 on code pointers are tagged.
        self.word(addr + f.code, code | u64::from(self.kind.minor >= 14));
        self.word(addr + f.previous, previous);
        match f.position {
            Position::LastiBytes => self.int(addr + f.instr, 2 * call.at as i32),
            Position::LastiUnits => self.int(addr + f.instr, call.at as i32),
            Position::Pointer => {
                let mut start = code + self.layout.code.bytecode.unwrap();
                if let (Some(index), Some(copies)) = (f.tlbc_index, self.layout.code.tlbc) {
                    // The third of three copies of the bytecode.
                    start = self.alloc(2 * call.lines.len() as u64);
                    let array = self.alloc(32);
                    [3, code, code, start]
                        .into_iter()
                        .zip((array..).step_by(8))
                        .for_each(|(word, at)| self.word(at, word));
                    self.word(code + copies, array);
                    self.int(addr + index, 2);
                }
                self.word(addr + f.instr, start + 2 * call.at as u64);
            }
        }
    }

    /// A frame that marks a call from C.
    fn entry_frame(&mut self, addr: u64, previous: u64) {
        let f = self.layout.frame;
        self.word(addr + f.previous, previous);
        let owner = if self.kind.minor >= 14 { 4 } else { 3 };
        self.put(addr + f.owner.unwrap(), &[owner]);
    }

    /// A thread state with its frames.
    fn thread(&mut self, interp: u64, next: u64, tid: i32, plan: &Plan) -> (u64, u64) {
        let t = self.layout.thread;
        let tstate = self.alloc(t.len as u64);
        let descriptor = self.alloc(1024);
        self.int(descriptor + 720, tid);
        self.word(tstate + t.next, next);
        self.word(tstate + t.interp, interp);
        self.word(tstate + t.thread_id, descriptor);
        if let Some(offset) = t.native_thread_id {
            self.word(tstate + offset, tid as u64);
        }
        let mut previous = 0;
        if let Some(offset) = t.base_frame {
            previous = self.alloc(FRAME_ROOM);
            self.entry_frame(previous, 0);
            self.word(tstate + offset, previous);
        }
        // The newest chunk, and where in it the next frame goes.
        let (mut chunk, mut top) = (0, 0);
        let chunk_size = 24 + FRAMES_PER_CHUNK as u64 * FRAME_ROOM;
        for call in &plan.stack {
            if call.entry && self.kind.minor >= 12 {
                let entry = self.alloc(FRAME_ROOM);
                self.entry_frame(entry, previous);
                previous = entry;
            }
            let addr = if t.datastack_chunk.is_none() || call.apart {
                self.alloc(FRAME_ROOM)
            } else {
                if chunk == 0 || top + FRAME_ROOM > chunk + chunk_size {
                    if chunk != 0 {
                        self.word(chunk + 16, (top - chunk - 24) / 8);
                    }
                    let newer = self.alloc(chunk_size);
                    self.word(newer, chunk);
                    self.word(newer + 8, chunk_size);
                    (chunk, top) = (newer, newer + 24);
                }
                top += FRAME_ROOM;
                top - FRAME_ROOM
            };
            self.frame(addr, call, previous);
            previous = addr;
        }
        if let Some(offset) = t.datastack_chunk {
            self.word(tstate + offset, chunk);
            self.word(tstate + offset + 8, top);
        }
        match t.head {
            FrameHead::Direct(offset) => self.word(tstate + offset, previous),
            FrameHead::CFrame { cframe, current } => {
                let place = self.alloc(24);
                self.word(place + current, previous);
                self.word(tstate + cframe, place);
            }
        }
        (tstate, descriptor)
    }

    /// A dict with combined keys and values.
    pub fn dict(&mut self, entries: &[(u64, u64, u64)]) -> u64 {
        let keys = self.keys(entries);
        let addr = self.alloc(self.layout.object.dict_keys + 16);
        self.word(addr + self.layout.object.dict_keys, keys);
        self.head(addr, self.type_dict);
        self.objects.push(addr);
        addr
    }

    /// A keys table of entries (hash, key, value): for string keys (hash 0) from 3.11 on without hashes.
    fn keys(&mut self, entries: &[(u64, u64, u64)]) -> u64 {
        let log2 = (entries.len() as u64 * 3 / 2).next_power_of_two().max(8).ilog2() as u64;
        let unicode = entries.iter().all(|&(hash, ..)| hash == 0);
        // An index has one byte in a table of less than 256.
        let log2_bytes = log2 + u64::from(log2 >= 8);
        let (indices, stride) = match self.kind.minor {
            ..11 => (40 + (1 << log2_bytes), 24),
            _ => (32 + (1 << log2_bytes), if unicode { 16 } else { 24 }),
        };
        let addr = self.alloc(indices + entries.len() as u64 * stride);
        if self.kind.minor < 11 {
            self.word(addr + 8, 1 << log2);
            self.word(addr + 32, entries.len() as u64);
        } else {
            self.put(addr + 8, &[log2 as u8, log2_bytes as u8, u8::from(unicode)]);
            self.word(addr + 24, entries.len() as u64);
        }
        for (index, &(hash, key, value)) in (0..).zip(entries) {
            let mut at = addr + indices + index * stride;
            if stride == 24 {
                self.word(at, hash);
                at += 8;
            }
            self.word(at, key);
            self.word(at + 8, value);
        }
        addr
    }

    /// A `threading.Thread` with its attributes in the way that the version prefers.
    fn thread_object(&mut self, name: &str) -> u64 {
        let o = self.layout.object;
        let (other, key, value) = (self.string("_target"), self.string("_name"), self.string(name));
        let nothing = self.bytes(b"");
        let attributes = [(0, other, nothing), (0, key, value)];
        let (kind, type_thread) = (self.kind, self.type_thread);
        let block = self.alloc(512);
        let addr = block + 64;
        self.head(addr, type_thread);
        if kind.minor >= 11 {
            // The values of a shared-key table are not in it.
            let shared = self.keys(&attributes.map(|(hash, key, _)| (hash, key, 0)));
            self.word(type_thread + o.cached_keys, shared);
        }
        match kind.minor {
            8..=10 => {
                self.word(type_thread + o.tp_dictoffset, 48);
                let dict = self.dict(&attributes);
                self.word(addr + 48, dict);
            }
            11 => {
                let values = self.alloc(16);
                self.word(values, nothing);
                self.word(values + 8, value);
                self.word(addr - 32, values);
            }
            12 => {
                let values = self.alloc(16);
                self.word(values, nothing);
                self.word(values + 8, value);
                self.word(addr - 24, values - 1);
            }
            _ => {
                let size = 48;
                self.word(type_thread + o.tp_basicsize, size);
                self.put(addr + size, &[2, 2, 1, 1]);
                self.word(addr + size + 8, nothing);
                self.word(addr + size + 16, value);
            }
        }
        self.objects.push(addr);
        addr
    }
}

impl Interpreter {
    /// One interpreter with these threads, all of which are OS thread `tid`; the first one holds the GIL.
    pub fn new(kind: Kind, tid: i32, plans: &[Plan]) -> Interpreter {
        let mut b = Builder::new(kind);
        let l = b.layout;
        let fields = [l.interp_next, l.interp_id, l.interp_threads, l.interp_modules];
        let gil_field = if let GilPlace::Interpreter(offset) = l.gil_place { offset } else { 0 };
        let len = fields.into_iter().chain([gil_field]).max().unwrap() + 8;
        let interp = b.alloc(len);

        let mut runtime = Heap { start: RUNTIME, ..Heap::default() };
        runtime.alloc(4096);
        runtime.put(RUNTIME, &kind.table());
        runtime.put(RUNTIME + l.interpreters_head, &interp.to_le_bytes());
        let gil = match l.gil_place {
            GilPlace::Runtime(offset) => RUNTIME + offset,
            GilPlace::Interpreter(offset) => {
                let gil = b.alloc(256);
                b.word(interp + offset, gil);
                gil
            }
        };

        let (mut threads, mut idents, mut active) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for plan in plans {
            let (tstate, ident) = b.thread(interp, next, tid, plan);
            next = tstate;
            threads.push(tstate);
            idents.push(ident);
            // The key is an int; its hash is what is looked at.
            let (key, thread) = (b.bytes(b""), b.thread_object(&plan.name));
            active.push((ident, key, thread));
        }
        b.word(interp + l.interp_threads, next);
        let place = if gil < HEAP { &mut runtime } else { &mut b.heap };
        if let Some(offset) = l.gil.enabled {
            place.put(gil + offset, &1i32.to_le_bytes());
        }
        place.put(gil + l.gil.last_holder, &threads.first().copied().unwrap_or(0).to_le_bytes());
        place.put(gil + l.gil.locked, &1i32.to_le_bytes());

        let first_thread = active.first().map_or(0, |&(_, _, thread)| thread);
        let active = b.dict(&active);
        let (key, other) = (b.string("_active"), b.string("__name__"));
        let variables = b.dict(&[(0, other, active), (0, key, active)]);
        let module = b.alloc(l.object.module_dict + 8);
        b.word(module + l.object.module_dict, variables);
        b.head(module, b.type_module);
        let (key, other) = (b.string("threading"), b.string("sys"));
        let modules = b.dict(&[(0, other, variables), (0, key, module)]);
        b.word(interp + l.interp_modules, modules);

        let objects = std::mem::take(&mut b.objects).into_iter().chain(b.strings.values().copied()).collect();
        Interpreter { kind, layout: l, runtime, heap: b.heap, interp, threads, idents, first_thread, objects }
    }

    /// Its memory as gilscope reads it.
    pub fn image(&self) -> MemoryImage {
        let mut image = MemoryImage::default();
        self.runtime.map(&mut image);
        self.heap.map(&mut image);
        image
    }
}
