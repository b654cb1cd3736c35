//! An interpreter made of bytes, as far as kernel mode looks at it: interpreter state, GIL, thread states, code objects. Its
//! threads are sleeping threads of this process, because what /proc says of a thread is not part of the image.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};

use crate::cpython::code::CodeWords;
use crate::cpython::layout::{GilPlace, Layout};
use crate::event::version::Version;
use crate::event::{ProcessId, Tid};
use crate::interpreter::PythonProcess;
use crate::kernel::abi::code_key;
use crate::kernel::abi::wire::WireFrame;
use crate::process::memory::{Memory, MemoryImage, MemorySpan, ReadError};

/// Where `_PyRuntime` is.
pub(super) const RUNTIME: u64 = 0x5500_0000_0000;
const HEAP: u64 = 0x7f00_0000_0000;
const HEAP_LEN: usize = 1 << 17;

/// Memory that a test changes while it is being observed.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedImage(Rc<RefCell<MemoryImage>>);

impl SharedImage {
    pub(super) fn put(&self, addr: u64, bytes: &[u8]) {
        for (&start, region) in self.0.borrow_mut().regions_mut() {
            let at = addr.wrapping_sub(start) as usize;
            if let Some(to) = region.get_mut(at..at.wrapping_add(bytes.len())) {
                return to.copy_from_slice(bytes);
            }
        }
        panic!("nothing is mapped at {addr:#x}");
    }

    pub(super) fn word(&self, addr: u64, value: u64) {
        self.put(addr, &value.to_le_bytes());
    }

    pub(super) fn u64_at(&self, addr: u64) -> u64 {
        self.u64(addr).unwrap()
    }

    fn int(&self, addr: u64, value: i32) {
        self.put(addr, &value.to_le_bytes());
    }
}

impl Memory for SharedImage {
    fn read_some(&self, spans: &[MemorySpan], buffer: &mut [u8]) -> Result<usize, ReadError> {
        self.0.borrow().read_some(spans, buffer)
    }
}

/// A function whose frames can be in stacks. Each of its eight code units is on a line of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct FakeCode {
    pub(super) addr: u64,
    bytecode: u64,
    key: u64,
}

impl FakeCode {
    /// A frame of it that is `line` lines after the first.
    pub(super) fn at(&self, line: u64) -> WireFrame {
        WireFrame { code: self.addr, instr: self.addr + self.bytecode + 2 * line, key: self.key }
    }
}

/// A thread with a thread state.
#[derive(Debug)]
pub(super) struct FakeThread {
    pub(super) tid: Tid,
    pub(super) tstate: u64,
    /// The thread sleeps as long as this exists.
    _end: Sender<()>,
}

#[derive(Debug)]
pub(super) struct FakeInterpreter {
    pub(super) memory: SharedImage,
    pub(super) layout: Layout,
    pub(super) interp: u64,
    /// The address of its GIL.
    pub(super) gil: u64,
    pub(super) threads: Vec<FakeThread>,
    top: u64,
    type_code: u64,
    type_str: u64,
}

impl FakeInterpreter {
    /// Python 3.12, with a GIL.
    pub(super) fn with_gil() -> FakeInterpreter {
        FakeInterpreter::new(12, false, "")
    }

    /// Python 3.13t, without a GIL.
    pub(super) fn free_threaded() -> FakeInterpreter {
        FakeInterpreter::new(13, true, include_str!("../../../tests/data/debug_offsets_3.13t.txt"))
    }

    fn new(minor: u8, free_threaded: bool, debug_offsets: &str) -> FakeInterpreter {
        let mut image = MemoryImage::default();
        let mut runtime: Vec<u8> =
            debug_offsets.split_whitespace().flat_map(|text| number(text).to_le_bytes()).collect();
        runtime.resize(1 << 14, 0);
        image.insert(RUNTIME, runtime);
        image.insert(HEAP, vec![0; HEAP_LEN]);
        let version = Version { major: 3, minor, patch: 1 };
        let layout = Layout::of(&image, RUNTIME, version, free_threaded).unwrap();
        let memory = SharedImage(Rc::new(RefCell::new(image)));
        let mut fake = FakeInterpreter {
            memory,
            layout,
            interp: 0,
            gil: 0,
            threads: Vec::new(),
            top: HEAP,
            type_code: 0,
            type_str: 0,
        };
        fake.type_code = fake.type_object("code");
        fake.type_str = fake.type_object("str");
        let GilPlace::Interpreter(gil_place) = layout.gil_place else { panic!("of 3.12 and later") };
        fake.interp = fake.alloc(1 << 14);
        fake.gil = fake.alloc(256);
        fake.memory.word(RUNTIME + layout.interpreters_head, fake.interp);
        fake.memory.word(fake.interp + gil_place, fake.gil);
        fake
    }

    /// What kernel mode has to know of it.
    pub(super) fn process(&self) -> PythonProcess {
        PythonProcess {
            pid: std::process::id() as i32,
            id: ProcessId(0),
            runtime: RUNTIME,
            layout: self.layout,
            foreign_tids: false,
        }
    }

    pub(super) fn alloc(&mut self, len: u64) -> u64 {
        let addr = self.top;
        self.top = (self.top + len).next_multiple_of(16);
        assert!(self.top <= HEAP + HEAP_LEN as u64);
        addr
    }

    /// Starts a thread, with a thread state at the head of the interpreter's list.
    pub(super) fn thread(&mut self) -> Tid {
        let ((tid_sender, tid_receiver), (end, ended)) = (channel(), channel::<()>());
        std::thread::spawn(move || {
            let _ = tid_sender.send(rustix::thread::gettid().as_raw_nonzero().get());
            let _ = ended.recv();
        });
        let tid = tid_receiver.recv().unwrap();
        let tstate = self.alloc(self.layout.thread.len as u64);
        let ident = self.alloc(1024);
        let (memory, thread) = (&self.memory, &self.layout.thread);
        memory.word(tstate + thread.next, self.threads.last().map_or(0, |thread| thread.tstate));
        memory.word(tstate + thread.interp, self.interp);
        memory.word(tstate + thread.thread_id, ident);
        memory.word(tstate + thread.native_thread_id.unwrap(), tid as u64);
        memory.word(self.interp + self.layout.interp_threads, tstate);
        self.threads.push(FakeThread { tid, tstate, _end: end });
        tid
    }

    pub(super) fn code(&mut self, name: &str, first_line: i32) -> FakeCode {
        let (c, o) = (self.layout.code, self.layout.object);
        let bytecode = c.bytecode.unwrap();
        let addr = self.alloc(bytecode + 16);
        let (name, filename) = (self.string(name), self.string("app.py"));
        // Kind 10: on the same line; kind 11: on the next. Of one unit each, followed by two columns.
        let lines = [[0x80 | 10 << 3, 0, 0]].into_iter().chain([[0x80 | 11 << 3, 0, 0]; 7]).flatten();
        let line_table = self.bytes(&lines.collect::<Vec<u8>>());
        self.head(addr, self.type_code);
        let memory = &self.memory;
        memory.word(addr + o.ob_size, 8);
        memory.word(addr + c.filename, filename);
        memory.word(addr + c.name, name);
        memory.word(addr + c.qualname.unwrap(), name);
        memory.word(addr + c.line_table, line_table);
        memory.int(addr + c.first_line, first_line);
        let key = code_key(addr, &CodeWords { name, filename, line_table, first_line });
        FakeCode { addr, bytecode, key }
    }

    /// Frees a code object: nobody refers to it, and there is another name where it had its own.
    pub(super) fn free(&mut self, code: FakeCode) {
        let name = self.string("another");
        self.memory.word(code.addr + self.layout.code.name, name);
        self.memory.put(code.addr, &[0; 24]);
    }

    /// The head of an object that is referred to once.
    fn head(&self, addr: u64, type_addr: u64) {
        self.memory.int(addr + if self.layout.free_threaded { 12 } else { 0 }, 1);
        self.memory.word(addr + self.layout.object.ob_type, type_addr);
    }

    fn type_object(&mut self, name: &str) -> u64 {
        let addr = self.alloc(1024);
        let text = self.alloc(64);
        self.memory.put(text, name.as_bytes());
        self.memory.word(addr + self.layout.object.tp_name, text);
        addr
    }

    fn string(&mut self, text: &str) -> u64 {
        let o = self.layout.object;
        let addr = self.alloc(o.str_compact + text.len() as u64 + 1);
        self.head(addr, self.type_str);
        self.memory.word(addr + o.str_length, text.len() as u64);
        // Compact ASCII, of one byte each.
        self.memory.int(addr + o.str_state, 1 << 2 | 1 << 5 | 1 << 6);
        self.memory.put(addr + o.str_ascii, text.as_bytes());
        addr
    }

    fn bytes(&mut self, data: &[u8]) -> u64 {
        let o = self.layout.object;
        let addr = self.alloc(o.bytes_data + data.len() as u64 + 1);
        self.memory.word(addr + o.ob_size, data.len() as u64);
        self.memory.put(addr + o.bytes_data, data);
        addr
    }
}

fn number(text: &str) -> u64 {
    let hexadecimal = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
    hexadecimal.unwrap_or_else(|| text.parse()).unwrap()
}
