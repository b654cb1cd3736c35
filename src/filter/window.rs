//! Cuts a time out of a stream of events.

use std::sync::Arc;

use crate::event::{
    Event, GilId, Ids, LockId, Nanos, ObjectId, ObjectInfo, OffCpu, ProcessId, Renumber, ThreadId, Tid, Wake,
};
use crate::profile::{Mode, SessionInfo};
use crate::stack::StackId;

/// A time, and what is known of those who were there.
#[derive(Debug)]
pub struct Window {
    from: Nanos,
    to: Nanos,
    mode: Mode,
    period_ns: f64,
    ids: Ids,
    threads: Vec<WindowThread>,
    objects: Vec<WindowObject>,
}

/// An object of the recording, which is announced when it is accessed.
#[derive(Debug)]
struct WindowObject {
    info: Arc<ObjectInfo>,
    /// Its id in the window, if it was accessed there.
    id: Option<ObjectId>,
}

/// A thread of the recording, which is announced when it does something.
#[derive(Debug)]
struct WindowThread {
    start: Nanos,
    process: ProcessId,
    tid: Tid,
    name: Option<Arc<str>>,
    /// Its id in the window, if it was there.
    id: Option<ThreadId>,
    /// What it did in the window: off the CPU, in nanoseconds, and on it, in periods.
    off_cpu_ns: u64,
    on_cpu: u64,
}

impl Window {
    /// From a moment to another, of a recording.
    pub fn new(from: Nanos, to: Nanos, session: &SessionInfo) -> Window {
        let (mode, period_ns) = (session.mode, session.period_ns());
        Window { from, to, mode, period_ns, ids: Ids::default(), threads: Vec::new(), objects: Vec::new() }
    }

    /// Puts what is left of an event, and who is met for the first time, into `out`.
    pub fn push(&mut self, event: Event, out: &mut Vec<Event>) {
        match event {
            Event::ThreadStarted { at, process, tid, .. } => {
                self.threads.push(WindowThread {
                    start: at,
                    process,
                    tid,
                    name: None,
                    id: None,
                    off_cpu_ns: 0,
                    on_cpu: 0,
                });
            }
            Event::ThreadNamed { thread, name } => {
                let known = &mut self.threads[thread.0 as usize];
                known.name = Some(name.clone());
                out.extend(known.id.map(|thread| Event::ThreadNamed { thread, name }));
            }
            Event::ThreadExited { at, thread, .. } => {
                // What it used of the CPU before and after cannot be told from what it used meanwhile.
                let known = &self.threads[thread.0 as usize];
                let Some(id) = known.id else { return };
                let at = self.clamp(at);
                let there = at.since(self.clamp(known.start));
                let cpu_ns = match self.mode {
                    Mode::Kernel => there.saturating_sub(known.off_cpu_ns),
                    Mode::Memory => there.min((known.on_cpu as f64 * self.period_ns) as u64),
                };
                out.push(Event::ThreadExited { at, thread: id, cpu_ns });
            }
            Event::Account { .. } => {}
            Event::Gil { at, gil, info, switched_on_by } => {
                out.push(Event::Gil { at: self.clamp(at), gil, info, switched_on_by });
            }
            Event::OffCpu(off) => {
                let Some(off) = self.cut(off) else { return };
                self.keep(Event::OffCpu(off), out);
            }
            Event::Process { .. } | Event::ProcessTitled { .. } | Event::Lock { .. } => out.push(event),
            Event::Object { object, info } => match self.objects.get_mut(object.0 as usize) {
                None => self.objects.push(WindowObject { info, id: None }),
                Some(known) => {
                    known.info = info.clone();
                    if known.id.is_some() {
                        self.keep(Event::Object { object, info }, out);
                    }
                }
            },
            event => {
                if event.at().is_some_and(|at| self.from <= at && at < self.to) {
                    self.keep(event, out);
                }
            }
        }
    }

    /// How the recording went, of which that is a part.
    pub fn session(&self, session: SessionInfo) -> SessionInfo {
        SessionInfo { start: self.clamp(session.start), end: self.clamp(session.end), ..session }
    }

    fn clamp(&self, at: Nanos) -> Nanos {
        at.clamp(self.from, self.to)
    }

    /// What of a time off the CPU is in the window.
    fn cut(&self, off: OffCpu) -> Option<OffCpu> {
        let (start, end) = (self.clamp(off.start), self.clamp(off.end));
        if start >= end {
            return None;
        }
        let open = off.open || (start, end) != (off.start, off.end);
        let wake = off.wake.filter(|wake| wake.at <= self.to);
        // What the thread went on to do is not in the window: all that counts is that it was ready.
        let wake = match end == off.end {
            true => wake,
            false => wake.map(|wake| Wake { by: None, stack: StackId::EMPTY, switches: None, ..wake }),
        };
        Some(OffCpu { start, end, open, wake, ..off })
    }

    /// Lets an event through.
    fn keep(&mut self, mut event: Event, out: &mut Vec<Event>) {
        match &event {
            Event::OffCpu(off) => self.threads[off.thread.0 as usize].off_cpu_ns += off.end.since(off.start),
            Event::Sample { thread, state, periods, .. } | Event::Lost { thread, state, periods, .. }
                if state.on_cpu() =>
            {
                self.threads[thread.0 as usize].on_cpu += u64::from(*periods);
            }
            _ => {}
        }
        event.renumber(&mut WindowIds { window: self, out });
        out.push(event);
    }
}

/// Gives ids to threads and objects as they are met.
struct WindowIds<'a> {
    window: &'a mut Window,
    out: &'a mut Vec<Event>,
}

impl Renumber for WindowIds<'_> {
    fn process(&mut self, id: ProcessId) -> ProcessId {
        id
    }

    fn thread(&mut self, id: ThreadId) -> ThreadId {
        let Window { threads, ids, from, to, .. } = self.window;
        let known = &mut threads[id.0 as usize];
        *known.id.get_or_insert_with(|| {
            let thread = ids.thread();
            let (at, process, tid) = (known.start.clamp(*from, *to), known.process, known.tid);
            self.out.push(Event::ThreadStarted { at, thread, process, tid });
            self.out.extend(known.name.clone().map(|name| Event::ThreadNamed { thread, name }));
            thread
        })
    }

    fn gil(&mut self, id: GilId) -> GilId {
        id
    }

    fn lock(&mut self, id: LockId) -> LockId {
        id
    }

    fn object(&mut self, id: ObjectId) -> ObjectId {
        let index = id.0 as usize;
        if let Some(known) = self.window.objects[index].id {
            return known;
        }
        let object = self.window.ids.object();
        self.window.objects[index].id = Some(object);
        let mut info = self.window.objects[index].info.clone();
        if let Some(owner) = info.owner {
            Arc::make_mut(&mut info).owner = Some(self.thread(owner));
        }
        self.out.push(Event::Object { object, info });
        object
    }
}
