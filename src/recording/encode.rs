//! Events as records. Used by [`super::writer`]; [`super::decode`] is its mirror.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::RecordingOrigin;
use super::records::{
    AccessContext, COUNTINGS, LastValues, MAX_CONTEXTS, NativeContext, OTHER_FRAME_KINDS, RecordContext,
    SampleContext, SpinContext, WaitContext, number, put_id, tag,
};
use super::wire::{put, put_optional, put_signed, put_text};
use crate::event::{Event, Nanos, OffCpu, ThreadId};
use crate::profile::{ChildCounts, MachineUse, Mode, SessionInfo, UnobservedChild};
use crate::stack::{FrameKind, Interner, StackId};

/// Of how many threads that have ended it is known when they were last on a CPU: what they did may be reported late.
const MAX_ENDED: usize = 1 << 12;

/// Makes records of events. What it has written once it refers to by number.
#[derive(Debug, Default)]
pub struct Encoder {
    /// Records that are not in a block yet.
    pub records: Vec<u8>,
    strings: usize,
    frames: usize,
    stacks: usize,
    contexts: FxHashMap<RecordContext, u64>,
    last: LastValues,
    /// By thread, when it was last back on a CPU: of all that live, and the last that have ended.
    back: FxHashMap<ThreadId, Nanos>,
    ended: VecDeque<ThreadId>,
    notes: Vec<String>,
    children: Vec<UnobservedChild>,
    child_counts: Option<Box<ChildCounts>>,
    machine: Option<MachineUse>,
}

impl Encoder {
    /// Where the recording comes from: the first record.
    pub fn origin(&mut self, origin: &RecordingOrigin) {
        let out = &mut self.records;
        put(out, tag::ORIGIN);
        put_text(out, &origin.gilscope);
        put_text(out, &origin.boot);
        put_signed(out, origin.clock_offset_ns);
        put(out, origin.min_wait_ns);
    }

    /// What has happened. `stacks` must know every stack of the event.
    pub fn event(&mut self, event: &Event, stacks: &Interner) {
        self.tables(stacks);
        match event {
            &Event::Sample { at, periods, thread, state, stack, gil } => {
                self.sample(at, SampleContext { thread, state, stack, gil, periods, loss: None });
            }
            &Event::Lost { at, periods, thread, state, gil, loss } => {
                let (stack, loss) = (StackId::EMPTY, Some(loss));
                self.sample(at, SampleContext { thread, state, stack, gil, periods, loss });
            }
            // One of a thread that ended long ago cannot be written any more.
            Event::OffCpu(off) if !self.back.contains_key(&off.thread) => {}
            Event::OffCpu(off) => self.off_cpu(off),
            &Event::Access { at, thread, stack, accessed } => {
                self.context(RecordContext::Access(AccessContext { thread, stack, accessed }));
                self.at(at);
            }
            &Event::Spin { at, thread, stack, lock } => {
                self.context(RecordContext::Spin(SpinContext { thread, stack, lock }));
                self.at(at);
            }
            &Event::HeldInNative { at, thread, stack, function } => {
                self.context(RecordContext::Native(NativeContext { thread, stack, function }));
                self.at(at);
            }
            rare => self.rare(rare),
        }
    }

    /// How the recording goes. Comes with every block, so that one that is cut off has it, too.
    pub fn session(&mut self, session: &SessionInfo) {
        for note in &session.degraded {
            if !self.notes.contains(note) {
                put(&mut self.records, tag::NOTE);
                put_text(&mut self.records, note);
                self.notes.push(note.clone());
            }
        }
        if session.unobserved != self.children {
            self.children(&session.unobserved);
        }
        if let Some(counts) = session.children.filter(|counts| self.child_counts.as_deref() != Some(counts)) {
            self.child_counts(counts);
        }
        if session.machine != self.machine {
            self.machine(session.machine.as_ref());
        }
        let out = &mut self.records;
        put(out, tag::SESSION);
        out.push(u8::from(session.mode == Mode::Kernel));
        out.extend_from_slice(&session.rate_hz.to_le_bytes());
        put(out, session.start.0);
        put(out, session.end.since(session.start));
        for number in [
            session.ticks,
            session.looks,
            session.late_ticks,
            session.stops,
            session.stopped_ns,
            session.profiler_cpu_ns,
        ] {
            put(out, number);
        }
    }

    /// The processes that are not observed, all anew.
    fn children(&mut self, children: &[UnobservedChild]) {
        let out = &mut self.records;
        put(out, tag::CHILDREN);
        put(out, children.len() as u64);
        for child in children {
            put(out, child.pid as u64);
            put(out, child.command.len() as u64);
            child.command.iter().for_each(|word| put_text(out, word));
            out.push(child.is_python.into());
            put(out, child.cpu_ns);
        }
        self.children = children.to_vec();
    }

    /// How many processes were started, anew.
    fn child_counts(&mut self, counts: ChildCounts) {
        self.child_counts = Some(Box::new(counts));
        let out = &mut self.records;
        put(out, tag::CHILD_COUNTS);
        put(out, counts.started);
        put(out, counts.unobserved);
        put(out, counts.unobserved_python);
        out.extend([u8::from(counts.exact), u8::from(counts.followed)]);
        put(out, counts.ended_cpu_ns);
    }

    /// Who else had the CPUs, all anew.
    fn machine(&mut self, machine: Option<&MachineUse>) {
        self.machine = machine.cloned();
        let Some(machine) = machine else { return };
        let out = &mut self.records;
        put(out, tag::MACHINE);
        put(out, machine.span_ns);
        put(out, machine.cpus.into());
        put_id(out, machine.limit_percent);
        put(out, machine.throttled_ns);
        put(out, machine.others_ns);
        put(out, machine.others.len() as u64);
        for process in &machine.others {
            put(out, process.pid as u64);
            put_text(out, &process.name);
            put(out, process.cpu_ns);
        }
    }

    /// The recording is complete.
    pub fn end(&mut self) {
        put(&mut self.records, tag::END);
    }

    /// Strings, frames and stacks that are new.
    fn tables(&mut self, table: &Interner) {
        let out = &mut self.records;
        for text in &table.strings()[self.strings..] {
            put(out, tag::STRING);
            put_text(out, text);
        }
        self.strings = table.strings().len();
        for frame in &table.all_frames()[self.frames..] {
            match frame.kind {
                FrameKind::Python => {
                    put(out, tag::FRAME);
                    put(out, frame.function.index().into());
                    put(out, frame.name.index().into());
                    put(out, frame.file.index().into());
                    put(out, frame.first_line.into());
                    put_signed(out, i64::from(frame.line) - i64::from(frame.first_line));
                }
                FrameKind::Native | FrameKind::Marker => {
                    put(out, tag::OTHER_FRAME);
                    out.push(number(&OTHER_FRAME_KINDS, &frame.kind));
                    put(out, frame.function.index().into());
                    put(out, frame.file.index().into());
                }
            }
        }
        self.frames = table.all_frames().len();
        for (caller, frame) in &table.stacks()[self.stacks..] {
            put(out, tag::STACK);
            put(out, caller.index().into());
            put(out, frame.index().into());
        }
        self.stacks = table.stacks().len();
    }

    fn context(&mut self, context: RecordContext) {
        if !self.contexts.contains_key(&context) {
            if self.contexts.len() == MAX_CONTEXTS {
                self.contexts.clear();
                put(&mut self.records, tag::FORGET_CONTEXTS);
            }
            context.put(&mut self.records);
            self.contexts.insert(context, self.contexts.len() as u64);
        }
        put(&mut self.records, tag::FIRST_CONTEXT + self.contexts[&context]);
    }

    fn at(&mut self, at: Nanos) {
        put_signed(&mut self.records, at.0.wrapping_sub(self.last.at.0) as i64);
        self.last.at = at;
    }

    fn sample(&mut self, at: Nanos, context: SampleContext) {
        self.context(RecordContext::Sample(context));
        self.at(at);
    }

    fn off_cpu(&mut self, off: &OffCpu) {
        self.context(RecordContext::Wait(WaitContext::of(off)));
        let Encoder { records: out, last, back, .. } = self;
        let back = back.entry(off.thread).or_default();
        put_signed(out, off.start.0.wrapping_sub(back.0) as i64);
        put(out, off.end.since(off.start));
        *back = off.end;
        let mut base = 0;
        if let Some(glimpse) = &off.gil {
            let switches = LastValues::of(&mut last.switches, glimpse.gil.0);
            put_signed(out, i64::from(glimpse.switches.wrapping_sub(*switches) as i32));
            *switches = glimpse.switches;
            base = glimpse.switches;
        }
        if let Some(wake) = &off.wake {
            put_signed(out, off.end.0.wrapping_sub(wake.at.0) as i64);
            if let Some(switches) = wake.switches {
                put_signed(out, i64::from(switches.wrapping_sub(base) as i32));
            }
        }
        if let Some(asked) = off.asked {
            put_signed(out, off.start.0.wrapping_sub(asked.0) as i64);
        }
    }

    fn rare(&mut self, event: &Event) {
        let tag = |out: &mut Vec<u8>, tag| put(out, tag);
        match event {
            Event::Process { info, .. } => {
                let out = &mut self.records;
                tag(out, tag::PROCESS);
                put(out, info.pid as u64);
                put(out, info.command.len() as u64);
                info.command.iter().for_each(|word| put_text(out, word));
                put_text(out, &info.python);
                out.push(info.free_threaded.into());
            }
            Event::ProcessTitled { process, command } => {
                let out = &mut self.records;
                tag(out, tag::PROCESS_TITLED);
                put(out, process.0.into());
                put(out, command.len() as u64);
                command.iter().for_each(|word| put_text(out, word));
            }
            Event::ThreadStarted { at, thread, process, tid } => {
                self.back.insert(*thread, Nanos(0));
                tag(&mut self.records, tag::THREAD_STARTED);
                self.at(*at);
                put(&mut self.records, process.0.into());
                put(&mut self.records, *tid as u64);
            }
            Event::ThreadNamed { thread, name } => {
                let out = &mut self.records;
                tag(out, tag::THREAD_NAMED);
                put(out, thread.0.into());
                put_text(out, name);
            }
            Event::ThreadExited { at, thread, cpu_ns } => {
                self.ended.push_back(*thread);
                if self.ended.len() > MAX_ENDED {
                    self.ended.pop_front().map(|oldest| self.back.remove(&oldest));
                }
                tag(&mut self.records, tag::THREAD_EXITED);
                self.at(*at);
                put(&mut self.records, thread.0.into());
                put(&mut self.records, *cpu_ns);
            }
            Event::Gil { at, gil, info, switched_on_by } => {
                tag(&mut self.records, tag::GIL);
                self.at(*at);
                let out = &mut self.records;
                put(out, gil.0.into());
                put(out, info.process.0.into());
                put_signed(out, info.interpreter);
                out.push(info.enabled.into());
                put(out, info.switch_interval_ns);
                put_optional(out, switched_on_by.as_deref());
            }
            Event::Lock { lock, info } => {
                let out = &mut self.records;
                tag(out, tag::LOCK);
                put(out, lock.0.into());
                put(out, info.process.0.into());
                put(out, info.address);
                out.push(info.kind as u8);
                put_optional(out, info.type_name.as_deref());
                put_optional(out, info.name.as_deref());
            }
            Event::LockHeld { at, lock, thread, stack } => {
                tag(&mut self.records, tag::LOCK_HELD);
                self.at(*at);
                put(&mut self.records, lock.0.into());
                put(&mut self.records, thread.0.into());
                put(&mut self.records, stack.index().into());
            }
            Event::RecordsLost { at, count } => {
                tag(&mut self.records, tag::RECORDS_LOST);
                self.at(*at);
                put(&mut self.records, *count);
            }
            Event::Account { thread, account } => {
                tag(&mut self.records, tag::ACCOUNT);
                self.at(account.at);
                let out = &mut self.records;
                put(out, thread.0.into());
                for number in account.numbers() {
                    put(out, number);
                }
            }
            Event::Object { object, info } => {
                let out = &mut self.records;
                tag(out, tag::OBJECT);
                put(out, object.0.into());
                put(out, info.process.0.into());
                put(out, info.address);
                put_text(out, &info.type_name);
                put_optional(out, info.name.as_deref());
                out.push(info.len.is_some().into());
                if let Some(len) = info.len {
                    put(out, len);
                }
                out.push(number(&COUNTINGS, &info.counting));
                put_id(out, info.owner.map(|owner| owner.0));
            }
            Event::QueueLength { at, thread, queue, length } => {
                tag(&mut self.records, tag::QUEUE_LENGTH);
                self.at(*at);
                put(&mut self.records, thread.0.into());
                put(&mut self.records, *queue);
                put(&mut self.records, *length);
            }
            Event::Collected { at, process, totals } => {
                tag(&mut self.records, tag::COLLECTED);
                self.at(*at);
                let out = &mut self.records;
                put(out, process.0.into());
                [totals.number, totals.full, totals.freed].iter().for_each(|&number| put(out, number));
            }
            Event::Deadlock { at, threads } => {
                tag(&mut self.records, tag::DEADLOCK);
                self.at(*at);
                let out = &mut self.records;
                put(out, threads.len() as u64);
                for (thread, waits_for) in threads {
                    put(out, thread.0.into());
                    put_text(out, waits_for);
                }
            }
            Event::Sample { .. }
            | Event::Lost { .. }
            | Event::OffCpu(_)
            | Event::Access { .. }
            | Event::Spin { .. }
            | Event::HeldInNative { .. } => {}
        }
    }
}
