//! `gilscope dump`: what every thread of a process is doing right now. Called by `main`.

mod waits;

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::cpython::attach::{Target, attach};
use crate::event::{Event, Ids, Loss, Pid, ProcessId, ThreadState, Tid};
use crate::interpreter::PythonProcess;
use crate::interpreter::registry::Sink;
use crate::interpreter::threads::Thread;
use crate::interpreter::with_locks::Held;
use crate::process::memory::Live;
use crate::sampler::{Sampler, Stopping};
use crate::session::now;
use crate::stack::label::{frame_label, one_line};
use crate::stack::{Interner, StackId};

use self::waits::{WaitsFor, circles, waits};

/// Looks at a process until it has a stack of every thread, or at most so often.
const LOOKS: u32 = 20;

/// What a process was doing.
#[derive(Debug, Serialize)]
pub struct Dump {
    pid: Pid,
    command: Vec<String>,
    python: String,
    free_threaded: bool,
    executable: String,
    interpreters: Vec<InterpreterDump>,
    threads: Vec<ThreadDump>,
    /// What cannot be told of this Python.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Tids of threads that wait for each other in a circle: each for the next, the last for the first.
    deadlocks: Vec<Vec<Tid>>,
    /// Locks that do not tell their owner, by who has entered them.
    #[serde(skip)]
    held: Vec<Held>,
}

/// One interpreter and its GIL.
#[derive(Debug, Serialize)]
struct InterpreterDump {
    id: i64,
    gil: GilDump,
}

#[derive(Debug, Serialize)]
struct GilDump {
    address: String,
    enabled: bool,
    /// Tid of the thread that holds it.
    holder: Option<Tid>,
    /// Tids of the threads that wait for it.
    waiters: Vec<Tid>,
}

#[derive(Debug, Serialize)]
struct ThreadDump {
    tid: Tid,
    name: Option<String>,
    interpreters: Vec<i64>,
    /// One of the names of [`ThreadState::name`].
    state: &'static str,
    /// The system call it is blocked in.
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<String>,
    holds_gil: bool,
    /// The lock or thread that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<WaitsFor>,
    /// Why there is no stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// Innermost first.
    stack: Vec<FrameDump>,
    #[serde(skip)]
    describes: String,
}

#[derive(Debug, Serialize)]
struct FrameDump {
    /// Qualified name, where the version has it.
    function: String,
    name: String,
    file: String,
    line: u32,
    #[serde(skip)]
    label: String,
}

/// One of the threads that wait for each other: for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The thread.
    pub tid: Tid,
    /// `threading.RLock (app.lock)`
    pub waits_for: String,
}

/// What keeps threads of a process from going on.
#[derive(Debug, Default)]
pub struct Blocked {
    /// Threads that wait for each other: each for the next, the last for the first.
    pub circles: Vec<Vec<Stuck>>,
    /// Locks without an owner, by who has entered them by `with`.
    pub held: Vec<Held>,
}

/// Looks for what keeps threads of a process from going on, without stopping any.
///
/// # Errors
/// It cannot be read, or is no supported Python.
pub fn blocked(pid: Pid) -> Result<Blocked> {
    let dump = look(pid, Stopping::Never)?;
    let waits_for = |tid: Tid| dump.threads.iter().find(|thread| thread.tid == tid)?.waits_for.as_ref();
    let stuck = |&tid: &Tid| Some(Stuck { tid, waits_for: one_line(&waits_for(tid)?.label()) });
    let circles = dump.deadlocks.iter().map(|circle| circle.iter().filter_map(stuck).collect()).collect();
    Ok(Blocked { circles, held: dump.held })
}

/// Takes a dump of a process.
///
/// # Errors
/// It cannot be read, or is no supported Python.
pub fn dump(pid: Pid) -> Result<Dump> {
    look(pid, Stopping::WhenNeeded)
}

fn look(pid: Pid, stopping: Stopping) -> Result<Dump> {
    let target = attach(pid)?;
    let process = PythonProcess {
        pid,
        id: ProcessId(0),
        runtime: target.located.runtime,
        layout: target.layout,
        foreign_tids: target.foreign_tids,
    };
    let mut sampler = Sampler::new(&process, stopping);
    let (mut stacks, mut events, mut ids) = (Interner::default(), Vec::new(), Ids::default());
    for look in 0..LOOKS {
        events.clear();
        let mut sink = Sink { stacks: &mut stacks, events: &mut events, ids: &mut ids };
        sampler.tick(now(), 1, &mut sink)?;
        // The first look finds the threads; one more sees the GIL and them at once.
        if look > 0 && !events.iter().any(|event| matches!(event, Event::Lost { .. })) {
            break;
        }
    }
    let mut dump = describe(&target, &sampler, &stacks);
    dump.held = sampler.held(now());
    let waits = |sampler: &Sampler, held: &[Held]| {
        waits(&Live(pid), &target.layout, target.located.runtime, sampler, held, &stacks)
    };
    let found = waits(&sampler, &dump.held);
    dump.deadlocks = circles(&found);
    if !dump.deadlocks.is_empty() {
        let held = sampler.held(now());
        let again = circles(&waits(&sampler, &held));
        dump.deadlocks.retain(|circle| again.contains(circle));
    }
    for thread in &mut dump.threads {
        thread.waits_for = found.get(&thread.tid).cloned();
    }
    Ok(dump)
}

fn describe(target: &Target, sampler: &Sampler, stacks: &Interner) -> Dump {
    let threads: Vec<ThreadDump> = sampler.threads().iter().map(|thread| describe_thread(thread, stacks)).collect();
    let interpreters = sampler.interpreters().iter().enumerate().map(|(index, interpreter)| {
        let of = |wanted: fn(ThreadState) -> bool| {
            let concerned = sampler.threads().iter().filter(move |thread| {
                wanted(thread.state()) && thread.slots.iter().any(|slot| slot.interpreter == index)
            });
            concerned.map(|thread| thread.os.tid()).collect::<Vec<Tid>>()
        };
        InterpreterDump {
            id: interpreter.id,
            gil: GilDump {
                address: format!("{:#x}", interpreter.gil.addr),
                enabled: interpreter.gil.enabled,
                holder: of(ThreadState::holds_gil).first().copied(),
                waiters: of(|state| state == ThreadState::GilWait),
            },
        }
    });
    Dump {
        pid: target.info.pid,
        command: target.info.command.clone(),
        python: target.info.python.clone(),
        free_threaded: target.info.free_threaded,
        executable: target.located.binary.display().to_string(),
        interpreters: interpreters.collect(),
        threads,
        note: target.layout.unknowns(),
        deadlocks: Vec::new(),
        held: Vec::new(),
    }
}

fn describe_thread(thread: &Thread, stacks: &Interner) -> ThreadDump {
    let stack = if thread.loss.is_some() { StackId::EMPTY } else { thread.shown };
    let frame = |id| {
        let frame = stacks.get_frame(id);
        FrameDump {
            function: stacks.text(frame.function).to_owned(),
            name: stacks.text(frame.name).to_owned(),
            file: stacks.text(frame.file).to_owned(),
            line: frame.line,
            label: frame_label(stacks, id, false),
        }
    };
    ThreadDump {
        tid: thread.os.tid(),
        name: thread.name.as_deref().map(str::to_owned),
        interpreters: thread.slots.iter().map(|slot| slot.interpreter_id).collect(),
        state: thread.state().name(),
        syscall: thread.state().syscall().map(|call| call.to_string()),
        holds_gil: thread.state().holds_gil(),
        waits_for: None,
        error: thread.loss.map(|loss| match loss {
            Loss::Torn => "the stack moved during every attempt to read it",
            Loss::Unreadable => "the memory holds no plausible stack",
        }),
        stack: stacks.frames(stack).map(frame).collect(),
        describes: thread.state().to_string(),
    }
}

impl Dump {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _ = writeln!(out, "{text}");
        };
        let flavour = if self.free_threaded { ", free-threaded" } else { "" };
        line(format_args!("Process {}: {}", self.pid, one_line(&self.command.join(" "))));
        line(format_args!("Python {}{flavour} ({})", self.python, self.executable));
        if let Some(note) = &self.note {
            line(format_args!("note: {note}"));
        }
        for InterpreterDump { id, gil } in &self.interpreters {
            let which = if self.interpreters.len() > 1 { format!(" of interpreter {id}") } else { String::new() };
            let holder = gil.holder.map_or_else(|| "free".to_owned(), |tid| format!("held by {}", self.name_of(tid)));
            match gil.enabled {
                true => line(format_args!("GIL{which}: {holder}, {} waiting", gil.waiters.len())),
                false => line(format_args!("GIL{which}: not enabled")),
            }
        }
        for circle in &self.deadlocks {
            line(format_args!("DEADLOCK: {} threads wait for each other", circle.len()));
            for thread in circle.iter().filter_map(|&tid| self.threads.iter().find(|thread| thread.tid == tid)) {
                let waits = thread.waits_for.as_ref().map(|waits| self.wait(waits)).unwrap_or_default();
                line(format_args!("    {} waits for {waits}", self.name_of(thread.tid)));
            }
        }
        for thread in &self.threads {
            let others: Vec<String> =
                thread.interpreters.iter().filter(|&&id| id != 0).map(|id| format!(" in interpreter {id}")).collect();
            line(format_args!("\nThread {}: {}{}", self.name_of(thread.tid), thread.describes, others.concat()));
            if let Some(waits) = &thread.waits_for {
                line(format_args!("    (waits for {})", self.wait(waits)));
            }
            if let Some(error) = thread.error {
                line(format_args!("    ({error})"));
            } else if thread.stack.is_empty() {
                line(format_args!("    (no Python frame)"));
            }
            for frame in &thread.stack {
                line(format_args!("    {}", frame.label));
            }
        }
        out
    }

    fn wait(&self, waits: &WaitsFor) -> String {
        let of = if waits.is_join() { ": " } else { ", held by " };
        let by = waits.held_by.map_or_else(String::new, |tid| format!("{of}{}", self.name_of(tid)));
        format!("{}{by}", one_line(&waits.label()))
    }

    fn name_of(&self, tid: Tid) -> String {
        let name = self.threads.iter().find(|thread| thread.tid == tid).and_then(|thread| thread.name.as_deref());
        name.map_or_else(|| tid.to_string(), |name| format!("{tid} \"{}\"", one_line(name)))
    }
}
