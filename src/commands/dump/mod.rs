//! `gilscope dump`: what every thread of a process is doing now, and what it waits for. Called by `main`.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Serialize, Serializer};

use crate::cpython::attach::{AttachedProcess, attach};
use crate::cpython::locks::Lock;
use crate::event::{LockKind, Loss, Pid, ProcessId, ThreadState, Tid};
use crate::interpreter::PythonProcess;
use crate::interpreter::threads::ObservedThread;
use crate::interpreter::waits::{Awaited, ThreadWait};
use crate::sampler::Stopping;
use crate::sampler::inspection::Inspection;
use crate::session::children::python_children;
use crate::stack::idle_wait::Work;
use crate::stack::label::{frame_label, one_line};
use crate::stack::{Interner, StackId};

/// The threads of a process at one moment, as in JSON.
#[derive(Debug, Serialize)]
pub struct Dump {
    pid: Pid,
    command: Vec<String>,
    python: String,
    free_threaded: bool,
    executable: String,
    interpreters: Vec<InterpreterDump>,
    threads: Vec<ThreadDump>,
    /// What gilscope cannot name in this Python.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Tids of threads that wait for each other in a circle: each for the next, the last for the first.
    deadlocks: Vec<Vec<Tid>>,
    /// Processes that it, or one that it started, has started and that run Python: they are not part of this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    python_children: Vec<Pid>,
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
    /// See [`ThreadState::name`].
    state: &'static str,
    /// The system call in which it is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<String>,
    holds_gil: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<WaitsFor>,
    /// Why there is no stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    stack: Vec<FrameDump>,
    #[serde(skip)]
    describes: String,
}

#[derive(Debug, Serialize)]
struct FrameDump {
    /// The qualified name, where the version has it.
    function: String,
    name: String,
    file: String,
    line: u32,
    #[serde(skip)]
    label: String,
}

/// The lock or thread that a thread waits for.
#[derive(Debug, Serialize)]
struct WaitsFor {
    /// None for the end of a thread. In JSON as in the report's: `threading.RLock`; `join` for the end of a thread.
    #[serde(rename = "kind", serialize_with = "kind")]
    lock: Option<LockKind>,
    /// The type of the object.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    /// A variable that holds it, or the interpreter's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: u64,
    /// Tid of the thread that blocks this one, if it is known.
    held_by: Option<Tid>,
    #[serde(skip)]
    label: String,
}

fn kind<S: Serializer>(lock: &Option<LockKind>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(lock.map_or(Work::Join.name(), LockKind::name))
}

impl WaitsFor {
    fn new(wait: &ThreadWait) -> WaitsFor {
        let (lock, type_name, name, address) = match &wait.awaited {
            Awaited::Lock(Lock { address, kind, type_name, name }) => {
                (Some(*kind), type_name.clone(), name.clone(), *address)
            }
            Awaited::ThreadEnd(address) => (None, None, None, *address),
        };
        WaitsFor { lock, type_name, name, address, held_by: wait.held_by, label: one_line(&wait.label()) }
    }
}

/// Takes a dump of a process.
///
/// # Errors
/// It cannot be read, or is no supported Python.
pub fn dump(pid: Pid) -> Result<Dump> {
    let target = attach(pid)?;
    let process = PythonProcess::new(ProcessId(0), &target);
    let mut inspection = Inspection::of(&process, Stopping::WhenNeeded)?;
    let blocked = inspection.blocked();
    let mut dump = describe(&target, &inspection);
    for thread in &mut dump.threads {
        thread.waits_for = blocked.waits.get(&thread.tid).map(WaitsFor::new);
    }
    dump.deadlocks = blocked.deadlocks;
    dump.python_children = python_children(pid);
    Ok(dump)
}

fn describe(target: &AttachedProcess, inspection: &Inspection) -> Dump {
    let registry = inspection.registry();
    let interpreters = registry.interpreters.iter().enumerate().map(|(index, interpreter)| {
        let of = |wanted: fn(ThreadState) -> bool| {
            // A thread that has entered a sub-interpreter has a state in the main one, too.
            let gil = registry.interpreters[index].gil.addr;
            let concerned = registry
                .threads
                .iter()
                .filter(move |thread| wanted(thread.state()) && thread.gil(&registry.interpreters) == Some(gil));
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
        threads: registry.threads.iter().map(|thread| describe_thread(thread, &inspection.stacks)).collect(),
        note: target.layout.unknowns(),
        deadlocks: Vec::new(),
        python_children: Vec::new(),
    }
}

fn describe_thread(thread: &ObservedThread, stacks: &Interner) -> ThreadDump {
    let stack = if thread.loss.is_some() { StackId::EMPTY } else { thread.shown_stack };
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
    /// The dump as text for the terminal.
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
        if !self.python_children.is_empty() {
            let pids: Vec<String> = self.python_children.iter().map(Pid::to_string).collect();
            let pids = pids.join(", ");
            line(format_args!("note: its child processes run Python, too; gilscope dump them by their pids: {pids}"));
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
        let of = if waits.lock.is_none() { ": " } else { ", held by " };
        let by = waits.held_by.map_or_else(String::new, |tid| format!("{of}{}", self.name_of(tid)));
        format!("{}{by}", waits.label)
    }

    fn name_of(&self, tid: Tid) -> String {
        let name = self.threads.iter().find(|thread| thread.tid == tid).and_then(|thread| thread.name.as_deref());
        name.map_or_else(|| tid.to_string(), |name| format!("{tid} \"{}\"", one_line(name)))
    }
}
