//! Records as events. Used by [`super::reader`]; [`super::encode`] is its mirror.
//!
//! Ids of processes, threads, GILs and locks are those of the file; strings, frames and stacks become those of the table
//! that is given, which several recordings can share.
//!
//! Nothing in a file is believed: every number is checked against what came before it, so that no event can name a
//! thread, a stack or a lock that there is not, and no sum of times can be too great for a number.

mod rare;

use std::sync::Arc;

use super::RecordingOrigin;
use super::allowance::{ReadingAllowance, ReadingCost, memory};
use super::block::LAST_WITHOUT_FRAME_KINDS;
use super::records::{
    AccessContext, COUNT_OPS, COUNTINGS, GilContext, LastValues, MAX_CONTEXTS, NativeContext, OTHER_FRAME_KINDS,
    PLACES, RecordContext, SampleContext, SpinContext, WaitContext, WakeContext, state, tag,
};
use super::wire::{Bytes, Malformed};
use crate::event::{
    Accessed, Account, CollectionTotals, Event, GilGlimpse, GilId, GilInfo, LOCK_KINDS, LockId, LockInfo, Loss,
    Nanos, ObjectId, ObjectInfo, OffCpu, ProcessId, ProcessInfo, ThreadId, Wake,
};
use crate::profile::{BusyProcess, ChildCounts, MachineUse, Mode, SessionInfo, UnobservedChild};
use crate::stack::{Frame, FrameId, FrameKind, Interner, StackId, Sym};

/// No machine's clock is later than this, in nanoseconds: a century.
const MAX_MOMENT: u64 = 100 * 366 * 24 * 3600 * 1_000_000_000;
/// The sum of all times must stay below this, in nanoseconds, so that no sum of them can overflow.
const MAX_TIME: u64 = 1 << 61;

/// How many events are made of records before they are handed out: more than any block has that gilscope writes.
const MAX_EVENTS: usize = 1 << 16;

/// Makes events of records.
#[derive(Debug)]
pub struct Decoder {
    version: u32,
    /// Where the recording comes from, if that has been read.
    pub origin: Option<RecordingOrigin>,
    session: Option<SessionInfo>,
    /// The recording is complete.
    pub ended: bool,
    /// What the file may cost.
    pub allowance: ReadingAllowance,
    notes: Vec<String>,
    children: Vec<UnobservedChild>,
    child_counts: Option<ChildCounts>,
    machine: Option<MachineUse>,
    strings: Vec<Sym>,
    frames: Vec<FrameId>,
    stacks: Vec<StackId>,
    /// How many frames each stack has.
    depths: Vec<u32>,
    // How many there are so far.
    processes: u32,
    threads: u32,
    gils: u32,
    locks: u32,
    objects: u32,
    contexts: Vec<RecordContext>,
    last: LastValues,
    /// The sum of all times.
    time: u64,
}

impl Decoder {
    /// For a recording of this version.
    pub fn new(version: u32) -> Decoder {
        Decoder {
            version,
            origin: None,
            session: None,
            ended: false,
            allowance: ReadingAllowance::default(),
            notes: Vec::new(),
            children: Vec::new(),
            child_counts: None,
            machine: None,
            strings: Vec::new(),
            frames: Vec::new(),
            stacks: vec![StackId::EMPTY],
            depths: vec![0],
            processes: 0,
            threads: 0,
            gils: 0,
            locks: 0,
            objects: 0,
            contexts: Vec::new(),
            last: LastValues::default(),
            time: 0,
        }
    }
}

/// What a number in the file stands for.
fn known<T: Copy>(table: &[T], number: u64) -> Result<T, Malformed> {
    usize::try_from(number).ok().and_then(|index| table.get(index)).copied().ok_or(Malformed)
}

/// An id of which there are `count` so far.
fn id(count: u32, number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).ok().filter(|&id| id < count).ok_or(Malformed)
}

/// An id, or the one after all that there are.
fn id_or_new(count: &mut u32, number: u64) -> Result<u32, Malformed> {
    if number == u64::from(*count) {
        return new(count);
    }
    id(*count, number)
}

/// The one after all that there are.
fn new(count: &mut u32) -> Result<u32, Malformed> {
    let id = *count;
    *count = count.checked_add(1).ok_or(Malformed)?;
    Ok(id)
}

/// An id that may be missing.
fn optional(count: u32, bytes: &mut Bytes<'_>) -> Result<Option<u32>, Malformed> {
    match bytes.number()? {
        0 => Ok(None),
        number => id(count, number - 1).map(Some),
    }
}

/// By how much a number of switches has changed.
fn difference(bytes: &mut Bytes<'_>) -> Result<i32, Malformed> {
    i32::try_from(bytes.signed()?).map_err(|_| Malformed)
}

impl Decoder {
    /// Appends the events of a block, or of the first part of one that has more than any that gilscope writes. What is left
    /// are the bytes that were not read.
    ///
    /// # Errors
    /// It makes no sense, or costs too much; the events before that are there.
    pub fn block(
        &mut self,
        bytes: &mut Bytes<'_>,
        table: &mut Interner,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        let before = bytes.0.len();
        let decoded = self.records(bytes, table, events);
        let unpacked = before - bytes.0.len();
        decoded.and_then(|()| self.allowance.spend(ReadingCost::Unpacked, unpacked as u64))
    }

    fn records(
        &mut self,
        bytes: &mut Bytes<'_>,
        table: &mut Interner,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        while !bytes.0.is_empty() && events.len() < MAX_EVENTS {
            let event = self.record(bytes, table)?;
            self.allowance.spend(ReadingCost::Events, 1)?;
            events.extend(event);
        }
        Ok(())
    }

    /// A text of a record, which is kept.
    fn text<'a>(&mut self, bytes: &mut Bytes<'a>) -> Result<&'a str, Malformed> {
        let text = bytes.text()?;
        self.allowance.keep(memory::TEXT, text.len())?;
        Ok(text)
    }

    fn optional_text<'a>(&mut self, bytes: &mut Bytes<'a>) -> Result<Option<&'a str>, Malformed> {
        let text = bytes.optional()?;
        self.allowance.keep(memory::TEXT, text.map_or(0, str::len))?;
        Ok(text)
    }

    /// A stack in which something was seen.
    fn seen_stack(&mut self, bytes: &mut Bytes<'_>) -> Result<StackId, Malformed> {
        let number = bytes.number()?;
        let depth = known(&self.depths, number)?;
        self.allowance.spend(ReadingCost::Frames, depth.into())?;
        known(&self.stacks, number)
    }

    /// What a `FRAME` is: up to version 1, markers were written as frames without a file.
    fn kind_of_frame(&self, function: &str, file: &str) -> FrameKind {
        let is_marker = file.is_empty() && function.starts_with('[') && function.ends_with(']');
        match is_marker && self.version <= LAST_WITHOUT_FRAME_KINDS {
            true => FrameKind::Marker,
            false => FrameKind::Python,
        }
    }

    fn record(&mut self, bytes: &mut Bytes<'_>, table: &mut Interner) -> Result<Option<Event>, Malformed> {
        match bytes.number()? {
            tag::ORIGIN => {
                let (gilscope, boot) = (bytes.text()?.to_owned(), bytes.text()?.to_owned());
                let (clock_offset_ns, min_wait_ns) = (bytes.signed()?, bytes.number()?);
                self.origin = Some(RecordingOrigin { gilscope, boot, clock_offset_ns, min_wait_ns });
            }
            tag::STRING => {
                let text = self.text(bytes)?;
                self.strings.push(table.string(text));
            }
            tag::FRAME => {
                let mut text = || known(&self.strings, bytes.number()?);
                let (function, name, file) = (text()?, text()?, text()?);
                let first_line: u32 = bytes.small()?;
                let line = i64::from(first_line).checked_add(bytes.signed()?).ok_or(Malformed)?;
                let line = u32::try_from(line).map_err(|_| Malformed)?;
                let kind = self.kind_of_frame(table.text(function), table.text(file));
                self.allowance.keep(memory::FRAME, 0)?;
                self.frames.push(table.frame(Frame { kind, function, name, file, line, first_line }));
            }
            tag::OTHER_FRAME => {
                let kind = known(&OTHER_FRAME_KINDS, bytes.byte()?.into())?;
                let function = known(&self.strings, bytes.number()?)?;
                let file = known(&self.strings, bytes.number()?)?;
                let frame = Frame { kind, function, name: function, file, line: 0, first_line: 0 };
                self.allowance.keep(memory::FRAME, 0)?;
                self.frames.push(table.frame(frame));
            }
            tag::STACK => {
                let caller = bytes.number()?;
                let frame = known(&self.frames, bytes.number()?)?;
                self.allowance.keep(memory::STACK, 0)?;
                self.depths.push(known(&self.depths, caller)?.saturating_add(1));
                self.stacks.push(table.push(known(&self.stacks, caller)?, frame));
            }
            tag::SESSION => self.session = Some(self.session(bytes)?),
            tag::CHILD_COUNTS => self.child_counts = Some(child_counts(bytes)?),
            tag::CHILDREN => self.children = self.children(bytes)?,
            tag::NOTE => {
                let note = self.text(bytes)?.to_owned();
                self.notes.push(note);
            }
            tag::MACHINE => self.machine = Some(self.machine(bytes)?),
            tag::END => self.ended = true,
            tag::SAMPLE_CONTEXT => {
                let context = self.sample_context(bytes)?;
                self.add(RecordContext::Sample(context))?;
            }
            tag::WAIT_CONTEXT => {
                let context = self.wait_context(bytes)?;
                self.add(RecordContext::Wait(context))?;
            }
            tag::ACCESS_CONTEXT => {
                let context = self.access_context(bytes)?;
                self.add(RecordContext::Access(context))?;
            }
            tag::SPIN_CONTEXT => {
                let (thread, stack) = (self.thread(bytes)?, self.seen_stack(bytes)?);
                let lock = optional(self.locks, bytes)?.map(LockId);
                self.add(RecordContext::Spin(SpinContext { thread, stack, lock }))?;
            }
            tag::NATIVE_CONTEXT => {
                let (thread, stack) = (self.thread(bytes)?, self.seen_stack(bytes)?);
                let function = known(&self.frames, bytes.number()?)?;
                self.add(RecordContext::Native(NativeContext { thread, stack, function }))?;
            }
            tag::FORGET_CONTEXTS => self.contexts.clear(),
            number @ tag::FIRST_CONTEXT.. => {
                return Ok(Some(match known(&self.contexts, number - tag::FIRST_CONTEXT)? {
                    RecordContext::Sample(context) => self.sample(bytes, &context)?,
                    RecordContext::Wait(context) => Event::OffCpu(self.off_cpu(bytes, &context)?),
                    RecordContext::Access(AccessContext { thread, stack, accessed }) => {
                        Event::Access { at: self.at(bytes)?, thread, stack, accessed }
                    }
                    RecordContext::Spin(SpinContext { thread, stack, lock }) => {
                        Event::Spin { at: self.at(bytes)?, thread, stack, lock }
                    }
                    RecordContext::Native(NativeContext { thread, stack, function }) => {
                        Event::HeldInNative { at: self.at(bytes)?, thread, stack, function }
                    }
                }));
            }
            rare => return self.rare(rare, bytes).map(Some),
        }
        Ok(None)
    }

    /// How the recording went, up to here; without what is counted from events.
    pub fn session_so_far(&self) -> SessionInfo {
        let session = self.session.clone().unwrap_or_default();
        SessionInfo {
            degraded: self.notes.clone(),
            unobserved: self.children.clone(),
            machine: self.machine.clone(),
            ..session
        }
    }

    fn session(&mut self, bytes: &mut Bytes<'_>) -> Result<SessionInfo, Malformed> {
        let mode = if bytes.flag()? { Mode::Kernel } else { Mode::Memory };
        let mut rate = [0; 8];
        for byte in &mut rate {
            *byte = bytes.byte()?;
        }
        let rate_hz = f64::from_le_bytes(rate);
        if !(0.001..=1e6).contains(&rate_hz) {
            return Err(Malformed);
        }
        let start = self.moment(bytes.number()?)?;
        let end = self.moment(start.0.checked_add(bytes.number()?).ok_or(Malformed)?)?;
        let mut number = || bytes.number().and_then(|number| self.moment(number)).map(|number| number.0);
        Ok(SessionInfo {
            start,
            end,
            mode,
            rate_hz,
            ticks: number()?,
            looks: number()?,
            late_ticks: number()?,
            stops: number()?,
            stopped_ns: number()?,
            profiler_cpu_ns: number()?,
            waits: 0,
            records_lost: 0,
            // Those are added when they are asked for: there may be many of each.
            degraded: Vec::new(),
            filter: None,
            unobserved: Vec::new(),
            children: self.child_counts,
            machine: None,
            started_unix_ns: 0,
        })
    }

    fn children(&self, bytes: &mut Bytes<'_>) -> Result<Vec<UnobservedChild>, Malformed> {
        let mut children = Vec::new();
        for _ in 0..bytes.number()? {
            let pid = bytes.small()?;
            let mut command = Vec::new();
            for _ in 0..bytes.number()? {
                command.push(bytes.text()?.to_owned());
            }
            let is_python = bytes.flag()?;
            let cpu_ns = self.moment(bytes.number()?)?.0;
            children.push(UnobservedChild { pid, command, is_python, cpu_ns });
        }
        Ok(children)
    }

    fn machine(&self, bytes: &mut Bytes<'_>) -> Result<MachineUse, Malformed> {
        let time = |bytes: &mut Bytes<'_>| bytes.number().and_then(|number| self.moment(number)).map(|time| time.0);
        let mut machine = MachineUse {
            span_ns: time(bytes)?,
            cpus: bytes.small()?,
            limit_percent: optional(u32::MAX, bytes)?,
            throttled_ns: time(bytes)?,
            others_ns: time(bytes)?,
            others: Vec::new(),
        };
        for _ in 0..bytes.number()? {
            let (pid, name) = (bytes.small()?, bytes.text()?.to_owned());
            machine.others.push(BusyProcess { pid, name, cpu_ns: time(bytes)? });
        }
        Ok(machine)
    }

    fn add(&mut self, context: RecordContext) -> Result<(), Malformed> {
        if self.contexts.len() == MAX_CONTEXTS {
            return Err(Malformed);
        }
        self.allowance.keep(
            match context {
                RecordContext::Wait(_) => memory::WAIT_CONTEXT,
                _ => memory::CONTEXT,
            },
            0,
        )?;
        self.contexts.push(context);
        Ok(())
    }

    /// A moment, or another number that is not greater than those are.
    fn moment(&self, nanos: u64) -> Result<Nanos, Malformed> {
        (nanos <= MAX_MOMENT).then_some(Nanos(nanos)).ok_or(Malformed)
    }

    fn at(&mut self, bytes: &mut Bytes<'_>) -> Result<Nanos, Malformed> {
        self.last.at = self.moment(self.last.at.0.wrapping_add_signed(bytes.signed()?))?;
        Ok(self.last.at)
    }

    /// Counts time that will be summed up.
    fn spend(&mut self, nanos: u64) -> Result<(), Malformed> {
        self.time = self.time.checked_add(nanos).filter(|&time| time <= MAX_TIME).ok_or(Malformed)?;
        Ok(())
    }

    fn thread(&self, bytes: &mut Bytes<'_>) -> Result<ThreadId, Malformed> {
        id(self.threads, bytes.number()?).map(ThreadId)
    }

    fn state(&self, bytes: &mut Bytes<'_>) -> Result<crate::event::ThreadState, Malformed> {
        state(bytes, |number| id(self.locks, number).map(LockId))
    }

    fn sample_context(&mut self, bytes: &mut Bytes<'_>) -> Result<SampleContext, Malformed> {
        Ok(SampleContext {
            thread: self.thread(bytes)?,
            state: self.state(bytes)?,
            stack: self.seen_stack(bytes)?,
            gil: optional(self.gils, bytes)?.map(GilId),
            periods: bytes.small()?,
            loss: match bytes.byte()? {
                0 => None,
                1 => Some(Loss::Torn),
                2 => Some(Loss::Unreadable),
                _ => return Err(Malformed),
            },
        })
    }

    fn wait_context(&mut self, bytes: &mut Bytes<'_>) -> Result<WaitContext, Malformed> {
        let (thread, state) = (self.thread(bytes)?, self.state(bytes)?);
        let stack = self.seen_stack(bytes)?;
        let flags = bytes.byte()?;
        let has = |bit: u8| flags & 1 << bit != 0;
        let wake = has(2).then(|| {
            let by = optional(self.threads, bytes)?.map(ThreadId);
            Ok(WakeContext { by, stack: self.seen_stack(bytes)?, switches: has(3) })
        });
        let wake = wake.transpose()?;
        let gil = has(4).then(|| {
            let gil = GilId(id(self.gils, bytes.number()?)?);
            Ok(GilContext { gil, holder: optional(self.threads, bytes)?.map(ThreadId), locked: has(5) })
        });
        Ok(WaitContext {
            thread,
            state,
            stack,
            lost: has(0),
            open: has(1),
            asked: has(6),
            wake,
            gil: gil.transpose()?,
        })
    }

    fn access_context(&mut self, bytes: &mut Bytes<'_>) -> Result<AccessContext, Malformed> {
        let (thread, stack) = (self.thread(bytes)?, self.seen_stack(bytes)?);
        let object = |bytes: &mut Bytes<'_>| id(self.objects, bytes.number()?).map(ObjectId);
        let accessed = match bytes.byte()? {
            0 => {
                let object = object(bytes)?;
                Accessed::Count { object, op: known(&COUNT_OPS, bytes.byte()?.into())?, atomic: bytes.flag()? }
            }
            1 => Accessed::Header { object: object(bytes)? },
            2 => Accessed::Elsewhere(known(&PLACES, bytes.byte()?.into())?),
            3 => Accessed::Unknown,
            4 => Accessed::Nothing,
            _ => return Err(Malformed),
        };
        Ok(AccessContext { thread, stack, accessed })
    }

    fn sample(&mut self, bytes: &mut Bytes<'_>, context: &SampleContext) -> Result<Event, Malformed> {
        let &SampleContext { thread, state, stack, gil, periods, loss } = context;
        let at = self.at(bytes)?;
        let period = self.session.as_ref().map_or(1e9, SessionInfo::period_ns);
        self.spend((f64::from(periods) * period) as u64)?;
        Ok(match loss {
            None => Event::Sample { at, periods, thread, state, stack, gil },
            Some(loss) => Event::Lost { at, periods, thread, state, gil, loss },
        })
    }

    fn off_cpu(&mut self, bytes: &mut Bytes<'_>, context: &WaitContext) -> Result<OffCpu, Malformed> {
        let &WaitContext { thread, state, stack, lost, open, .. } = context;
        let back = LastValues::of(&mut self.last.back, thread.0).0;
        let start = self.moment(back.wrapping_add_signed(bytes.signed()?))?;
        let length = bytes.number()?;
        self.spend(length)?;
        let end = self.moment(start.0.checked_add(length).ok_or(Malformed)?)?;
        *LastValues::of(&mut self.last.back, thread.0) = end;
        let mut base = 0;
        let gil = match context.gil {
            Some(GilContext { gil, holder, locked }) => {
                let switches = LastValues::of(&mut self.last.switches, gil.0);
                *switches = switches.wrapping_add_signed(difference(bytes)?);
                base = *switches;
                Some(GilGlimpse { gil, holder, locked, switches: base })
            }
            None => None,
        };
        let wake = match context.wake {
            Some(WakeContext { by, stack, switches }) => {
                let at = self.moment(end.0.wrapping_sub(bytes.signed()? as u64))?;
                let switches = if switches { Some(base.wrapping_add_signed(difference(bytes)?)) } else { None };
                Some(Wake { at, by, stack, switches })
            }
            None => None,
        };
        let asked = match context.asked {
            true => Some(self.moment(start.0.wrapping_sub(bytes.signed()? as u64))?),
            false => None,
        };
        Ok(OffCpu { thread, start, end, state, stack, lost, wake, gil, asked, open })
    }
}

/// How many processes were started.
fn child_counts(bytes: &mut Bytes<'_>) -> Result<ChildCounts, Malformed> {
    Ok(ChildCounts {
        started: bytes.number()?,
        unobserved: bytes.number()?,
        unobserved_python: bytes.number()?,
        exact: bytes.flag()?,
        followed: bytes.flag()?,
        ended_cpu_ns: bytes.number()?,
    })
}
