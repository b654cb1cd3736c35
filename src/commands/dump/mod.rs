//! `gilscope dump`: what every thread of a process is doing now, and what it waits for. Called by `main`.

mod text;

use anyhow::Result;
use serde::Serialize;

use crate::cpython::attach::{AttachedProcess, attach};
use crate::cpython::locks::Lock;
use crate::event::{HIDDEN_CALLS, LEFT_AT_FORK, LEFT_BY_ENDED, LockKind, Loss, Pid, ProcessId, ThreadState, Tid};
use crate::interpreter::PythonProcess;
use crate::interpreter::threads::ObservedThread;
use crate::interpreter::waits::{Awaited, ThreadWait};
use crate::process::access::hidden_calls;
use crate::process::stopped::{StopCause, stop_cause};
use crate::process::{Process, access::HiddenCalls};
use crate::sampler::Stopping;
use crate::sampler::inspection::Inspection;
use crate::session::children::python_children;
use crate::stack::idle_wait::Work;
use crate::stack::label::{frame_label, one_line};
use crate::stack::own::own_index;
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
    /// Why the system calls of its threads are hidden, if they are: then waiters may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_calls: Option<String>,
    /// What has stopped the process, if something has.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<StoppedDump>,
    /// Tids of threads that wait for each other in a circle: each for the next, the last for the first.
    deadlocks: Vec<Vec<Tid>>,
    /// Processes that it, or one that it started, has started and that run Python: they are not part of this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    python_children: Vec<Pid>,
}

/// What has stopped a process.
#[derive(Debug, Serialize)]
struct StoppedDump {
    /// `signal`, `debugger` or `freezer`.
    by: &'static str,
    /// The pid of the debugger.
    #[serde(skip_serializing_if = "Option::is_none")]
    debugger: Option<Pid>,
    #[serde(skip)]
    words: String,
}

impl StoppedDump {
    fn of(pid: Pid) -> Option<StoppedDump> {
        let of = |by, debugger, words| Some(StoppedDump { by, debugger, words });
        match stop_cause(pid)? {
            StopCause::Signal => of(
                "signal",
                None,
                format!("by a signal (SIGSTOP, SIGTSTP, Ctrl-Z) until it is sent SIGCONT: kill -CONT {pid}"),
            ),
            StopCause::Tracer(debugger) => {
                let name = Process::open(debugger).map(|process| process.comm()).unwrap_or_default();
                of("debugger", Some(debugger), format!("by the debugger {name} (process {debugger})"))
            }
            StopCause::Freezer => {
                of("freezer", None, "because its control group is frozen, as by `docker pause`".to_owned())
            }
        }
    }
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
    /// Which frame of the stack is the program's own.
    #[serde(skip)]
    own: usize,
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
    /// As in the report's JSON: `threading.RLock`; `join` for the end of a thread, `gil` for the GIL.
    kind: &'static str,
    /// The type of the object.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    /// A variable that holds it, or the interpreter's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: u64,
    /// Tid of the thread that blocks this one, if it is known.
    held_by: Option<Tid>,
    /// Why nobody will ever release it, in words that follow its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    never_released: Option<&'static str>,
    #[serde(skip)]
    label: String,
}

impl WaitsFor {
    fn new(wait: &ThreadWait) -> WaitsFor {
        let (kind, type_name, name, address) = match &wait.awaited {
            Awaited::Lock(Lock { address, kind, type_name, name }) => {
                (kind.name(), type_name.clone(), name.clone(), *address)
            }
            Awaited::ThreadEnd(address) => (Work::Join.name(), None, None, *address),
            Awaited::NativeThreadEnd(_) => (LockKind::ThreadEnd.name(), None, None, 0),
            Awaited::NativeCode(library) => {
                (LockKind::NativeCode.name(), None, library.as_deref().map(str::to_owned), 0)
            }
            Awaited::Gil => ("gil", None, None, 0),
        };
        WaitsFor {
            kind,
            type_name,
            name,
            address,
            held_by: wait.held_by,
            never_released: None,
            label: one_line(&wait.label()),
        }
    }

    /// It waits for the end of a thread.
    fn is_end(&self) -> bool {
        [Work::Join.name(), LockKind::ThreadEnd.name()].contains(&self.kind)
    }

    /// It waits for something that a thread can hold, other than a GIL.
    fn is_lock(&self) -> bool {
        !self.is_end() && self.address != 0
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
    let stopped = StoppedDump::of(pid);
    let blocked = inspection.blocked();
    let mut dump = describe(&target, &inspection);
    dump.stopped = stopped;
    dump.hidden_calls = hidden_calls(pid).map(|HiddenCalls { reason, remedy }| {
        format!(
            "{HIDDEN_CALLS} ({reason}). Who waits for the GIL is concluded from how often threads wake up, and who waits for \
             a lock is not known. {remedy}"
        )
    });
    for thread in &mut dump.threads {
        thread.waits_for = blocked.waits.get(&thread.tid).map(WaitsFor::new);
        if let Some(waits) = thread.waits_for.as_mut().filter(|_| blocked.orphans.contains(&thread.tid)) {
            waits.never_released = Some(if blocked.forked { LEFT_AT_FORK } else { LEFT_BY_ENDED });
        }
    }
    dump.deadlocks = blocked.deadlocks;
    dump.python_children = python_children(pid);
    Ok(dump)
}

fn describe(target: &AttachedProcess, inspection: &Inspection) -> Dump {
    let registry = inspection.registry();
    let interpreters = registry.interpreters.iter().enumerate().map(|(index, interpreter)| {
        let of = |wanted: fn(&ObservedThread) -> bool| {
            // A thread that has entered a sub-interpreter has a state in the main one, too.
            let gil = registry.interpreters[index].gil.addr;
            let concerned = registry
                .threads
                .iter()
                .filter(move |thread| wanted(thread) && thread.gil(&registry.interpreters) == Some(gil));
            concerned.map(|thread| thread.os.tid()).collect::<Vec<Tid>>()
        };
        InterpreterDump {
            id: interpreter.id,
            gil: GilDump {
                address: format!("{:#x}", interpreter.gil.addr),
                enabled: interpreter.gil.enabled,
                holder: of(ObservedThread::holds_gil).first().copied(),
                waiters: of(|thread| thread.state_unless_stopped() == ThreadState::GilWait),
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
        hidden_calls: None,
        stopped: None,
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
        holds_gil: thread.holds_gil(),
        waits_for: None,
        error: thread.loss.map(|loss| match loss {
            Loss::Torn => "the stack moved during every attempt to read it",
            Loss::Unreadable => "the memory holds no plausible stack",
        }),
        stack: stacks.frames(stack).map(frame).collect(),
        describes: thread.state().to_string(),
        own: own_index(stacks, stack),
    }
}
