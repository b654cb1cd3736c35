//! Raw records and a memory image in, events out: what kernel mode makes of each kind of record. No kernel is needed, and
//! no privilege.

mod holders;
mod image;
mod records;
mod stacks;
mod words;

use zerocopy::{FromZeros, IntoBytes};

use self::image::{FakeCode, FakeInterpreter, SharedImage};
use super::abi::wire::{
    KernelThread, WireExit, WireFrame, WireHeader, WireOff, WireRegisters, WireResume, WireSample,
    WireSampleWithRegisters, WireSite, WireStackHead,
};
use super::abi::{
    KernelRecord, OffFlags, OffKind, REC_EXIT, REC_OFF, REC_RESUME, REC_SAMPLE, REC_SITE, REC_STACK, SampleFlags,
};
use super::traced::{InterpreterUpdate, Traced};
use crate::event::{Event, Ids, Nanos, Syscall, Tid};
use crate::interpreter::registry::Sink;
use crate::stack::Interner;

/// A process under observation, with two threads and two functions.
struct Fixture {
    fake: FakeInterpreter,
    traced: Traced<SharedImage>,
    names: Interner,
    ids: Ids,
    /// What the programs have of threads.
    kernel: Vec<(Tid, KernelThread)>,
    /// Stacks that the programs were asked to send again.
    forgotten: Vec<u64>,
    main: Tid,
    worker: Tid,
    run: FakeCode,
    step: FakeCode,
}

/// Stacks that [`Fixture::new`] sends: one of each thread.
const MAIN_STACK: u64 = 11;
const WORKER_STACK: u64 = 12;

impl Fixture {
    fn with_gil() -> Fixture {
        Fixture::new(FakeInterpreter::with_gil())
    }

    fn free_threaded() -> Fixture {
        Fixture::new(FakeInterpreter::free_threaded())
    }

    /// The threads have been announced, and their stacks have arrived and been named.
    fn new(mut fake: FakeInterpreter) -> Fixture {
        let (main, worker) = (fake.thread(), fake.thread());
        let (run, step) = (fake.code("run", 10), fake.code("step", 20));
        let traced = Traced::new(&fake.process(), fake.memory.clone());
        let mut fixture = Fixture {
            fake,
            traced,
            names: Interner::default(),
            ids: Ids::default(),
            kernel: Vec::new(),
            forgotten: Vec::new(),
            main,
            worker,
            run,
            step,
        };
        fixture.refresh(1);
        fixture.send(&stack_record(MAIN_STACK, false, &[fixture.run.at(1)]));
        fixture.send(&stack_record(WORKER_STACK, false, &[fixture.step.at(2), fixture.run.at(3)]));
        assert_eq!(fixture.look(2), "");
        fixture
    }

    /// Has the registry brought up to date. Returns what the programs are to know, and what is announced.
    fn refresh(&mut self, now: u64) -> (Option<InterpreterUpdate>, String) {
        let mut events = Vec::new();
        let mut sink = Sink { stacks: &mut self.names, events: &mut events, ids: &mut self.ids };
        let update = self.traced.refresh(Nanos(now), &mut sink).unwrap();
        (update, self.words(&events))
    }

    /// Passes on a record as the ring does. False if it is none.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let Some((pid, record)) = KernelRecord::decode(bytes) else { return false };
        assert_eq!(pid, PID);
        self.traced.record(record, Nanos(0));
        true
    }

    /// The events of the records that were sent, one per line.
    fn look(&mut self, now: u64) -> String {
        let events =
            self.events(|traced, peek, sink, forget| traced.resolve_records(Nanos(now), peek, sink, forget)).1;
        self.words(&events)
    }

    /// What threads off the CPU have been doing up to now.
    fn under_way(&mut self, now: u64) -> String {
        let (off, mut events) =
            self.events(|traced, peek, sink, forget| traced.all_under_way(Nanos(now), peek, sink, forget));
        events.extend(off.into_iter().map(Event::OffCpu));
        self.words(&events)
    }

    /// The end of the recording.
    fn finish(&mut self, now: u64) -> String {
        let events = self.events(|traced, peek, sink, forget| traced.finish(Nanos(now), peek, sink, forget)).1;
        self.words(&events)
    }

    fn events<T>(
        &mut self,
        call: impl FnOnce(
            &mut Traced<SharedImage>,
            &dyn Fn(Tid) -> Option<KernelThread>,
            &mut Sink<'_>,
            &mut Vec<u64>,
        ) -> T,
    ) -> (T, Vec<Event>) {
        let mut events = Vec::new();
        let mut sink = Sink { stacks: &mut self.names, events: &mut events, ids: &mut self.ids };
        let kernel = &self.kernel;
        let peek = |tid| kernel.iter().find(|known| known.0 == tid).map(|known| known.1);
        let result = call(&mut self.traced, &peek, &mut sink, &mut self.forgotten);
        (result, events)
    }

    fn words(&self, events: &[Event]) -> String {
        words::lines(events, &self.names)
    }
}

/// The process that all records are of.
const PID: i32 = 5;

fn header(kind: u8, tid: Tid) -> WireHeader {
    WireHeader { kind, tid: tid as u32, tgid: PID as u32, ..WireHeader::default() }
}

fn stack_record(id: u64, truncated: bool, frames: &[WireFrame]) -> Vec<u8> {
    let head =
        WireStackHead { header: header(REC_STACK, 0), id, frames: frames.len() as u32, truncated: truncated.into() };
    [head.as_bytes(), frames.as_bytes()].concat()
}

/// A time off the CPU from 1000 to 3000, with the thread's own stack.
fn off_record(tid: Tid, kind: OffKind, call: Syscall, flags: OffFlags, stack: u64) -> WireOff {
    WireOff {
        header: WireHeader { flags: flags.0, syscall: call.0, off_kind: kind as u32, ..header(REC_OFF, tid) },
        start: 1000,
        end: 3000,
        stack,
        ..WireOff::default()
    }
}

/// A sample at 1000.
fn sample_record(tid: Tid, flags: SampleFlags, gil: u64, stack: u64) -> WireSample {
    let header = WireHeader { flags: flags.0, syscall: -1, ..header(REC_SAMPLE, tid) };
    WireSample { header, at: 1000, stack, gil, ip: 0 }
}

fn resume_record(tid: Tid, at: u64) -> WireResume {
    let mut record = WireResume::new_zeroed();
    (record.header, record.at) = (header(REC_RESUME, tid), at);
    record
}
