//! Threads of a pool: which loop a thread runs that takes work from a queue, and whether it has any. Where in a library the
//! thread is tells, as for [`super::idle_wait`]. Called by the profile.

use crate::stack::idle_wait::{Work, work};
use crate::stack::{FrameId, FrameKind, Interner, StackId};

/// Whose threads take work from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolKind {
    /// `concurrent.futures.ThreadPoolExecutor`
    Executor,
    /// `multiprocessing.pool.ThreadPool`
    ThreadPool,
    /// The worker threads of AnyIO: Starlette, FastAPI.
    AnyIo,
    Trio,
    Waitress,
    Cheroot,
    /// Threads that call `get` of a `queue.Queue` in a loop of the program's own.
    Queue,
}

impl PoolKind {
    /// Its threads take their work from one queue; else each is given its own.
    pub fn has_one_queue(self) -> bool {
        !matches!(self, PoolKind::AnyIo | PoolKind::Trio)
    }

    /// As in the report's JSON.
    pub fn name(self) -> &'static str {
        match self {
            PoolKind::Executor => "executor",
            PoolKind::ThreadPool => "thread-pool",
            PoolKind::AnyIo => "anyio",
            PoolKind::Trio => "trio",
            PoolKind::Waitress => "waitress",
            PoolKind::Cheroot => "cheroot",
            PoolKind::Queue => "queue",
        }
    }
}

/// The functions in which such threads are all the time, and the ends of the names of their files.
const LOOPS: [(&str, &str, PoolKind); 7] = [
    ("_worker", "concurrent/futures/thread.py", PoolKind::Executor),
    ("_worker", "distributed/threadpoolexecutor.py", PoolKind::Executor),
    ("worker", "multiprocessing/pool.py", PoolKind::ThreadPool),
    ("run", "anyio/_backends/_asyncio.py", PoolKind::AnyIo),
    ("_work", "trio/_core/_thread_cache.py", PoolKind::Trio),
    ("handler_thread", "waitress/task.py", PoolKind::Waitress),
    ("run", "cheroot/workers/threadpool.py", PoolKind::Cheroot),
];

/// Modules in which a thread waits for work, or that start it.
const LIBRARY: [&str; 4] =
    ["/threading.py", "/queue.py", "concurrent/futures/thread.py", "distributed/threadpoolexecutor.py"];

/// A stack as that of a pool's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStack {
    pub kind: PoolKind,
    /// It has no work, if it is off the CPU.
    pub is_idle: bool,
}

/// The loop in which a frame is, if it is one of [`LOOPS`].
fn known_loop(stacks: &Interner, frame: FrameId) -> Option<PoolKind> {
    let frame = stacks.get_frame(frame);
    let (name, file) = (stacks.text(frame.name), stacks.text(frame.file));
    let is_it = |(function, end, _): &&(&str, &str, PoolKind)| name == *function && file.ends_with(end);
    // Up to 3.10 the name of the class is not known.
    let qualified = stacks.text(frame.function);
    let is_other = |kind: PoolKind| kind == PoolKind::AnyIo && qualified != name && qualified != "WorkerThread.run";
    LOOPS.iter().find(is_it).map(|&(_, _, kind)| kind).filter(|&kind| !is_other(kind))
}

fn is_library(stacks: &Interner, frame: FrameId) -> bool {
    let file = stacks.text(stacks.get_frame(frame).file);
    LIBRARY.iter().any(|end| file.ends_with(end))
}

/// What a stack says of a thread of a pool; `None` if it is none, as far as that shows.
pub fn pool_stack(stacks: &Interner, stack: StackId) -> Option<PoolStack> {
    let is_python = |frame: &FrameId| stacks.get_frame(*frame).kind == FrameKind::Python;
    let frames: Vec<FrameId> = stacks.frames(stack).filter(is_python).collect();
    let name = |frame: FrameId| stacks.text(stacks.get_frame(frame).name);
    // The outermost one: what a pool's thread calls may run a pool of its own.
    let found = frames.iter().enumerate().rev().find_map(|(index, &frame)| Some((index, known_loop(stacks, frame)?)));
    // The main thread is in no such loop, even if it calls a function of the same name.
    if let Some((index, kind)) = found.filter(|_| frames.last().is_some_and(|&frame| name(frame) != "<module>")) {
        let is_idle = frames[..index].iter().all(|&frame| is_library(stacks, frame));
        // In the executor's file is also what runs the work.
        let runs = frames[..index].iter().any(|&frame| name(frame) == "run");
        return Some(PoolStack { kind, is_idle: is_idle && !runs });
    }
    // A loop of the program's own, directly around `get`, in a thread that has no other call to make.
    let around = frames.iter().position(|&frame| !is_library(stacks, frame))?;
    let is_loop = around > 0
        && name(frames[around - 1]) == "get"
        && name(frames[around]) != "<module>"
        && frames[around + 1..].iter().all(|&frame| is_library(stacks, frame));
    (is_loop && work(stacks, stack) == Some(Work::Queue))
        .then_some(PoolStack { kind: PoolKind::Queue, is_idle: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Frame;

    fn stack(stacks: &mut Interner, frames: &[(&str, &str)]) -> StackId {
        frames.iter().fold(StackId::EMPTY, |caller, (function, file)| {
            let (name, file) = (stacks.string(function), stacks.string(file));
            let kind = FrameKind::Python;
            let frame = stacks.frame(Frame { kind, function: name, name, file, line: 1, first_line: 1 });
            stacks.push(caller, frame)
        })
    }

    #[test]
    fn a_worker_is_idle_where_nothing_of_the_program_is_in_its_loop() {
        const T: &str = "/usr/lib/python3.12/threading.py";
        const Q: &str = "/usr/lib/python3.12/queue.py";
        const E: &str = "/usr/lib/python3.12/concurrent/futures/thread.py";
        const P: &str = "/usr/lib/python3.12/multiprocessing/pool.py";
        const A: &str = "/v/lib/python3.12/site-packages/anyio/_backends/_asyncio.py";
        let of = |frames: &[(&str, &str)]| {
            let mut stacks = Interner::default();
            let id = stack(&mut stacks, frames);
            pool_stack(&stacks, id).map(|found| (found.kind, found.is_idle))
        };
        use PoolKind::{AnyIo, Executor, Queue, ThreadPool};
        assert_eq!(of(&[("_bootstrap", T), ("run", T), ("_worker", E)]), Some((Executor, true)));
        assert_eq!(of(&[("run", T), ("_worker", E), ("run", E)]), Some((Executor, false)), "a call of C code");
        assert_eq!(of(&[("run", T), ("_worker", E), ("run", E), ("job", "app.py")]), Some((Executor, false)));
        assert_eq!(of(&[("run", T), ("worker", P)]), Some((ThreadPool, true)));
        assert_eq!(of(&[("run", T), ("worker", P), ("mapstar", P), ("job", "app.py")]), Some((ThreadPool, false)));
        assert_eq!(of(&[("run", A), ("get", Q), ("wait", T)]), Some((AnyIo, true)));
        assert_eq!(of(&[("run", A), ("endpoint", "app.py")]), Some((AnyIo, false)));
        assert_eq!(of(&[("<module>", "app.py"), ("run", A), ("endpoint", "app.py")]), None, "the event loop");
        assert_eq!(of(&[("run", T), ("loop", "app.py"), ("get", Q), ("wait", T)]), Some((Queue, true)));
        assert_eq!(of(&[("run", T), ("loop", "app.py"), ("job", "app.py")]), None, "nobody knows that it takes work");
        assert_eq!(of(&[("main", "app.py"), ("f", "app.py"), ("get", Q), ("wait", T)]), None, "it has other work");
        assert_eq!(of(&[("run", T), ("loop", "app.py"), ("join", Q), ("wait", T)]), None, "it waits for others");
        assert_eq!(of(&[("<module>", "app.py"), ("get", Q), ("wait", T)]), None);
        assert_eq!(of(&[("main", "app.py")]), None);
        assert_eq!(of(&[]), None);
    }
}
