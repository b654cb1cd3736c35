//! Code objects as the sampler knows them: what they are called, and which line an instruction is on. Read once,
//! but checked whenever a stack is read, because a code object can be freed and its address be given to another.

use rustc_hash::{FxHashMap, FxHashSet};

use super::frames::RawFrame;
use super::line_table::{self, LineRun};
use crate::cpython::debug_offsets::MAX_STRUCT;
use crate::cpython::layout::{Layout, Position};
use crate::cpython::object_header::is_alive;
use crate::cpython::objects::{ObjectError, Objects};
use crate::event::Nanos;
use crate::process::memory::{Memory, MemorySpan};
use crate::stack::{Frame, FrameId, FrameKind, Interner, Sym};

/// Most code units a code object can have to be taken for one.
const MAX_UNITS: u64 = 1 << 26;

/// How many code objects of a process are cached: more than the largest programs run in a minute. Programs can make new ones
/// without end (`exec`); then those that were not used since the cache was last full are forgotten.
const MAX_CODES: usize = 1 << 16;
/// The runs of lines of all of them together: beyond that, the same is forgotten; and if the stacks alone have more, the rest of
/// their code objects have only first lines.
const MAX_RUNS: usize = 1 << 22;

/// The fields that tell one code object from another at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    ob_type: u64,
    units: u64,
    filename: u64,
    name: u64,
    qualname: u64,
    line_table: u64,
    first_line: i32,
}

/// The part of that which kernel mode sees at the moment a stack is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeWords {
    /// `co_name`
    pub name: u64,
    /// `co_filename`
    pub filename: u64,
    /// `co_linetable` or `co_lnotab`
    pub line_table: u64,
    /// `co_firstlineno`
    pub first_line: i32,
}

#[derive(Debug)]
struct Code {
    identity: Identity,
    checked: Nanos,
    /// Distinguishes code objects that followed one another at one address.
    version: u32,
    function: Sym,
    name: Sym,
    file: Sym,
    lines: Vec<LineRun>,
    /// Where copies of the bytecode start, by thread-local index (free-threaded 3.14 and later).
    copies: FxHashMap<i32, u64>,
    /// Frames by code unit.
    frames: FxHashMap<i64, FrameId>,
}

/// The code objects of one process.
#[derive(Debug, Default)]
pub struct CodeCache {
    codes: FxHashMap<u64, Code>,
    /// Changes when a code object that was known has gone.
    generation: u32,
    /// Runs of lines of all of them.
    runs: usize,
    /// The type object `code`, learned from the first code object.
    code_type: Option<u64>,
    /// When the cache was last full.
    full_at: Nanos,
    versions: u32,
    /// Code objects that the last check found to be new, or others than before.
    news: FxHashSet<u64>,
    wanted: Vec<MemorySpan>,
    /// The new ones among those wanted.
    asked: FxHashSet<u64>,
    buffer: Vec<u8>,
    arrived: Vec<bool>,
}

impl CodeCache {
    /// Makes sure that the code objects of `stacks` are known and are still what they were. One vectored read,
    /// unless there are new ones.
    pub fn check<'f>(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        now: Nanos,
        stacks: impl Iterator<Item = &'f [RawFrame]>,
        names: &mut Interner,
    ) {
        self.wanted.clear();
        self.asked.clear();
        self.news.clear();
        for frame in stacks.flatten() {
            match self.codes.get_mut(&frame.code) {
                Some(code) if code.checked == now => continue,
                // Marked now, so that a recursive function is asked for once.
                Some(code) => code.checked = now,
                None if !self.asked.insert(frame.code) => continue,
                None => {}
            }
            self.wanted.push(MemorySpan { addr: frame.code, len: layout.code.len });
        }
        if self.wanted.is_empty() {
            return;
        }
        self.make_room(now);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut arrived = std::mem::take(&mut self.arrived);
        buffer.resize(self.wanted.len() * layout.code.len, 0);
        // A process that has just ended has no memory: what was known of it stays known.
        let read = memory.read_spans(&self.wanted, &mut buffer, &mut arrived).is_ok();
        if read && arrived.contains(&true) {
            for index in 0..self.wanted.len() {
                let addr = self.wanted[index].addr;
                let bytes = &buffer[index * layout.code.len..][..layout.code.len];
                let identity = arrived[index].then(|| Identity::decode(layout, bytes));
                if self.codes.get(&addr).is_some_and(|code| Some(code.identity) == identity) {
                    continue;
                }
                self.news.insert(addr);
                if let Some(code) = self.codes.remove(&addr) {
                    self.runs -= code.lines.len();
                    self.generation += 1;
                }
                if let Some(identity) = identity
                    && let Ok(code) = self.read(memory, layout, now, addr, identity, names)
                {
                    self.runs += code.lines.len();
                    self.codes.insert(addr, code);
                }
            }
        }
        self.buffer = buffer;
        self.arrived = arrived;
    }

    /// Forgets code objects that have not been used for long, if there are too many.
    fn make_room(&mut self, now: Nanos) {
        if self.codes.len() < MAX_CODES && self.runs < MAX_RUNS {
            return;
        }
        let before = self.codes.len();
        let full_at = std::mem::replace(&mut self.full_at, now);
        self.codes.retain(|_, code| code.checked >= full_at);
        if self.codes.len() >= MAX_CODES / 2 || self.count_runs() >= MAX_RUNS / 2 {
            self.codes.retain(|_, code| code.checked == now);
        }
        self.runs = self.count_runs();
        self.generation += u32::from(self.codes.len() < before);
    }

    fn count_runs(&self) -> usize {
        self.codes.values().map(|code| code.lines.len()).sum()
    }

    /// Whether the last check found one of these frames' code objects to be new. It was looked at after the
    /// stack, and may have come to its address only then: the stack has to be looked at once more.
    pub fn is_news(&self, frames: &[RawFrame]) -> bool {
        !self.news.is_empty() && frames.iter().any(|frame| self.news.contains(&frame.code))
    }

    /// What the code object at `addr` was at the last check; `None` if there was none.
    pub fn words(&self, addr: u64) -> Option<CodeWords> {
        let identity = &self.codes.get(&addr)?.identity;
        let &Identity { name, filename, line_table, first_line, .. } = identity;
        Some(CodeWords { name, filename, line_table, first_line })
    }

    /// A number that changes when any code object has turned out to be another than it was.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// A number that changes when another code object comes to stand at `addr`; `None` if there is none.
    pub fn version(&self, addr: u64) -> Option<u32> {
        self.codes.get(&addr).map(|code| code.version)
    }

    /// The place in the program where a frame is. `None` if its code object is none, or the instruction is not in
    /// it: the frame was not one.
    pub fn frame(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        raw: &RawFrame,
        names: &mut Interner,
    ) -> Option<FrameId> {
        let code = self.codes.get_mut(&raw.code)?;
        let unit = code.unit(memory, layout, raw)?;
        Some(*code.frames.entry(unit).or_insert_with(|| {
            let first_line = code.identity.first_line;
            names.frame(Frame {
                kind: FrameKind::Python,
                function: code.function,
                name: code.name,
                file: code.file,
                line: line_table::line_at(&code.lines, unit, first_line),
                first_line: first_line.max(0) as u32,
            })
        }))
    }

    fn read(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        now: Nanos,
        addr: u64,
        identity: Identity,
        names: &mut Interner,
    ) -> Result<Code, ObjectError> {
        let objects = Objects { memory, layout };
        let invalid = ObjectError::Invalid { what: "code object", addr };
        match self.code_type {
            Some(code_type) if code_type == identity.ob_type => {}
            Some(_) => return Err(invalid),
            None if objects.type_name(identity.ob_type)? == "code" => self.code_type = Some(identity.ob_type),
            None => return Err(invalid),
        }
        if identity.units > MAX_UNITS {
            return Err(invalid);
        }
        let name = objects.string(identity.name)?;
        let function = match identity.qualname {
            0 => name.clone(),
            qualname => objects.string(qualname)?,
        };
        let file = objects.string(identity.filename)?;
        let table = match self.runs {
            0..MAX_RUNS => objects.bytes(identity.line_table)?,
            _ => Vec::new(),
        };
        // All of this took several reads: was it one and the same code object throughout?
        let mut bytes = [0; MAX_STRUCT];
        let bytes = &mut bytes[..layout.code.len];
        memory.read(addr, bytes)?;
        // And not one that has been freed, what it points to in use for something else?
        if Identity::decode(layout, bytes) != identity || !is_alive(layout.free_threaded, bytes) {
            return Err(invalid);
        }
        self.versions += 1;
        Ok(Code {
            identity,
            checked: now,
            version: self.versions,
            function: names.string(&function),
            name: names.string(&name),
            file: names.string(&file),
            lines: line_table::decode(layout.code.line_format, &table, identity.first_line),
            copies: FxHashMap::default(),
            frames: FxHashMap::default(),
        })
    }
}

impl Identity {
    fn decode(layout: &Layout, bytes: &[u8]) -> Identity {
        let u64_at = |offset: u64| super::frames::u64_at(bytes, offset);
        let c = &layout.code;
        let first_line = c.first_line as usize;
        Identity {
            ob_type: u64_at(layout.object.ob_type),
            // Up to 3.10 a code object has no size of its own: its bytecode is another object.
            units: if c.bytecode.is_some() { u64_at(layout.object.ob_size) } else { 0 },
            filename: u64_at(c.filename),
            name: u64_at(c.name),
            qualname: c.qualname.map_or(0, u64_at),
            line_table: u64_at(c.line_table),
            first_line: i32::from_le_bytes(bytes[first_line..first_line + 4].try_into().expect("four bytes")),
        }
    }
}

impl Code {
    /// The index of the code unit (two bytes) that a frame is at; -1 before the first.
    fn unit(&mut self, memory: &impl Memory, layout: &Layout, raw: &RawFrame) -> Option<i64> {
        match layout.frame.position {
            Position::LastiBytes => Some(raw.instr as i64 / 2),
            Position::LastiUnits => Some(raw.instr as i64),
            Position::Pointer => {
                let start = raw.code.wrapping_add(layout.code.bytecode?);
                let unit = |start: u64| unit_from(start, raw.instr, self.identity.units);
                unit(start).or_else(|| {
                    let known = self.copies.get(&raw.tlbc_index).copied().and_then(unit);
                    // The array, and the copy of an index that was given to another thread, may have been replaced.
                    known.or_else(|| {
                        let start = copy_start(memory, layout, raw)?;
                        self.copies.insert(raw.tlbc_index, start);
                        unit(start)
                    })
                })
            }
        }
    }
}

/// The index of the code unit that an instruction is, in bytecode of that length which begins at `start`; none if it is in
/// none of them. -1: a frame that has not executed anything yet (3.11, 3.12).
pub(crate) fn unit_from(start: u64, instr: u64, units: u64) -> Option<i64> {
    let distance = instr.wrapping_sub(start) as i64;
    let unit = distance.div_euclid(2);
    (distance % 2 == 0 && (-1..units as i64).contains(&unit)).then_some(unit)
}

/// Where the thread-local copy of the bytecode with `raw`'s index starts: `co_tlbc->entries[index]` (free-threaded 3.14 and
/// later).
pub(crate) fn copy_start(memory: &impl Memory, layout: &Layout, raw: &RawFrame) -> Option<u64> {
    let index = u64::try_from(raw.tlbc_index).ok()?;
    let array = memory.u64(raw.code.wrapping_add(layout.code.tlbc?)).ok()?;
    if index >= memory.u64(array).ok()? {
        return None;
    }
    memory.u64(array.wrapping_add(layout.code.tlbc_entries + index * 8)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::version::Version;
    use crate::process::memory::MemoryImage;

    const CODE: u64 = 0x1000;
    const NAME: u64 = 0x2000;
    const TABLE: u64 = 0x3000;
    const TYPE: u64 = 0x4000;
    const LISTED: u64 = 0x7f3c_0012_3450;

    /// A function `f` of Python 3.10 in line 671, of whose memory so much is still as it was; its count is `count`.
    fn memory(count: u64, table: &[u8]) -> (MemoryImage, Layout) {
        let layout =
            Layout::of(&MemoryImage::default(), 0, Version { major: 3, minor: 10, patch: 13 }, false).unwrap();
        let mut bytes = vec![0; 0x4000];
        let mut put = |addr: u64, value: &[u8]| bytes[(addr - CODE) as usize..][..value.len()].copy_from_slice(value);
        let (c, o) = (&layout.code, &layout.object);
        for (addr, word) in [
            (CODE, count),
            (CODE + o.ob_type, TYPE),
            (CODE + c.name, NAME),
            (CODE + c.filename, NAME),
            (CODE + c.line_table, TABLE),
            (CODE + c.first_line, 671),
            (TYPE + o.tp_name, TYPE + 0x800),
            (NAME + o.str_length, 1),
            // Compact ASCII, of one byte each.
            (NAME + o.str_state, 1 << 2 | 1 << 5 | 1 << 6),
            (TABLE + o.ob_size, table.len() as u64),
        ] {
            put(addr, &word.to_le_bytes());
        }
        put(TYPE + 0x800, b"code");
        put(NAME + o.str_ascii, b"f");
        put(TABLE + o.bytes_data, table);
        let mut memory = MemoryImage::default();
        memory.insert(CODE, bytes);
        (memory, layout)
    }

    /// The line of the first instruction as told, in the one memory and then in the other.
    fn lines(memories: [&MemoryImage; 2], layout: &Layout) -> [Option<u32>; 2] {
        let (mut codes, mut names) = (CodeCache::default(), Interner::default());
        let frames = [RawFrame { addr: 0, code: CODE, instr: 0, tlbc_index: 0 }];
        let mut now = 0;
        memories.map(|memory| {
            now += 1;
            codes.check(memory, layout, Nanos(now), [&frames[..]].into_iter(), &mut names);
            let frame = codes.frame(memory, layout, &frames[0], &mut names)?;
            Some(names.get_frame(frame).line)
        })
    }

    #[test]
    fn line_tables_without_an_end_in_sight_are_forgotten() {
        // Each byte of the table is a run: four of these tables are more than is kept.
        let table = vec![1; MAX_RUNS / 2];
        let (mut memory, layout) = memory(1, &table[..0]);
        let bytes: Vec<u8> = memory.regions_mut().next().map(|(_, bytes)| bytes.clone()).unwrap();
        let place = |index: u64| 0x1000_0000 * (index + 1);
        for index in 0..8 {
            let mut own = bytes.clone();
            let pointer = (layout.code.line_table) as usize;
            own[pointer..pointer + 8].copy_from_slice(&(place(index) + 0x8000).to_le_bytes());
            memory.insert(place(index), own);
            let header = &bytes[(TABLE - CODE) as usize..][..layout.object.bytes_data as usize];
            let mut object = [header, &table].concat();
            let size = layout.object.ob_size as usize;
            object[size..size + 8].copy_from_slice(&(table.len() as u64).to_le_bytes());
            memory.insert(place(index) + 0x8000, object);
        }
        let (mut codes, mut names) = (CodeCache::default(), Interner::default());
        for index in 0..8 {
            let frames = [RawFrame { addr: 0, code: place(index), instr: 0, tlbc_index: 0 }];
            codes.check(&memory, &layout, Nanos(index), [&frames[..]].into_iter(), &mut names);
            assert!(codes.frame(&memory, &layout, &frames[0], &mut names).is_some());
            assert!(codes.runs <= 2 * MAX_RUNS, "{}", codes.runs);
        }
        assert!(codes.codes.len() < 8, "none was forgotten");
        let deep: Vec<RawFrame> =
            (0..8).map(|index| RawFrame { addr: index, code: place(index), instr: 0, tlbc_index: 0 }).collect();
        codes.check(&memory, &layout, Nanos(9), [&deep[..]].into_iter(), &mut names);
        assert!(deep.iter().all(|frame| codes.frame(&memory, &layout, frame, &mut names).is_some()));
        assert!(codes.runs <= 2 * MAX_RUNS, "{}", codes.runs);
    }

    #[test]
    fn of_what_was_freed_only_what_is_known_already_is_told() {
        let (alive, layout) = memory(1, &[4, 1]);
        // Its line table is another's.
        let (freed, _) = memory(LISTED, &[4, 100]);
        assert_eq!(lines([&alive, &freed], &layout), [Some(672); 2]);
        assert_eq!(lines([&freed, &alive], &layout), [None, Some(672)]);
    }
}
