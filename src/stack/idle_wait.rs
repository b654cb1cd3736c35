//! Waiting for work: a thread that sleeps in `Condition.wait`, `Queue.get` or `Thread.join` sleeps at a lock, too, but
//! it is not contended: there is nothing to do. Where in the standard library the thread is distinguishes this from a wait
//! for a lock. Some of these waits are for what other threads have and keep, such as a connection of a pool: see
//! [`Work::is_limited`]. And a thread can wait in an `import` for another that imports the same module. Called by the
//! collectors, before they report a state, and by the report.

use crate::stack::{FrameId, FrameKind, Interner, StackId};

/// What a thread waits for that is not a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// `threading.Condition`
    Condition,
    /// `threading.Event`
    Event,
    /// `threading.Semaphore`
    Semaphore,
    /// A free connection of a pool.
    Connection,
    /// Room in a `queue.Queue` that is full.
    Room,
    /// `threading.Barrier`
    Barrier,
    /// `queue.Queue`, and the work queue of a thread pool.
    Queue,
    /// `concurrent.futures.Future`
    Future,
    /// The end of a thread.
    Join,
}

impl Work {
    /// As in the report's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Work::Condition => "condition",
            Work::Event => "event",
            Work::Semaphore => "semaphore",
            Work::Connection => "connection",
            Work::Room => "room",
            Work::Barrier => "barrier",
            Work::Queue => "queue",
            Work::Future => "future",
            Work::Join => "join",
        }
    }

    /// The thread has something to do, and cannot: it waits for something there is a limited number of, until another
    /// thread gives it back.
    pub fn is_limited(self) -> bool {
        matches!(self, Work::Semaphore | Work::Connection | Work::Room)
    }
}

/// Functions that take a connection from a pool, wherever the pool is. `_get_conn` is urllib3's.
const GET_CONNECTION: [&str; 5] = ["_get_conn", "get_conn", "getconn", "get_connection", "_get_connection"];

/// How many frames of a pool are searched for such a function, from the one that waits outwards: psycopg's needs three.
const MAX_POOL_FRAMES: usize = 4;

/// Whether a function waits for work, or one that calls it and is next to it in a pool's package, only to return a
/// connection. `frames` are those that come after it, innermost first.
fn is_for_connection(stacks: &Interner, frame: FrameId, frames: impl Iterator<Item = FrameId>) -> bool {
    let folder = |frame| stacks.text(stacks.get_frame(frame).file).rsplit_once('/').map(|(folder, _)| folder);
    let callers = frames.take_while(|&caller| folder(caller) == folder(frame)).take(MAX_POOL_FRAMES - 1);
    std::iter::once(frame).chain(callers).any(|frame| gets_connection(stacks, frame))
}

fn gets_connection(stacks: &Interner, frame: FrameId) -> bool {
    let frame = stacks.get_frame(frame);
    let (name, file) = (stacks.text(frame.name), stacks.text(frame.file));
    // SQLAlchemy's name says little.
    GET_CONNECTION.contains(&name) || name == "_do_get" && file.ends_with("pool/impl.py")
}

/// Modules whose frames are between the thread's own code and the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Threading,
    Copy,
    Queue,
    Futures,
    /// `multiprocessing.synchronize` and `multiprocessing.queues`.
    Processes,
    /// `multiprocessing.pool`, of threads too.
    Pool,
}

fn library(stacks: &Interner, frame: FrameId) -> Option<Library> {
    let file = stacks.text(stacks.get_frame(frame).file);
    let inside = |folder: &str, name: &str| file.strip_suffix(name).is_some_and(|before| before.ends_with(folder));
    match file.rsplit('/').next()? {
        "threading.py" => Some(Library::Threading),
        // Copies of it that packages have for threads that nothing may be patched in (gevent), with a queue.
        "_threading.py" => Some(Library::Copy),
        "queue.py" => Some(Library::Queue),
        "_base.py" if inside("concurrent/futures/", "_base.py") => Some(Library::Futures),
        "thread.py" if inside("concurrent/futures/", "thread.py") => Some(Library::Futures),
        "synchronize.py" if inside("multiprocessing/", "synchronize.py") => Some(Library::Processes),
        "queues.py" if inside("multiprocessing/", "queues.py") => Some(Library::Processes),
        "pool.py" if inside("multiprocessing/", "pool.py") => Some(Library::Pool),
        _ => None,
    }
}

/// The frames of a stack but those of libraries, innermost first: the last one sleeps, whatever it waits for.
fn without_native(stacks: &Interner, stack: StackId) -> impl Iterator<Item = FrameId> + '_ {
    stacks.frames(stack).filter(|&frame| stacks.get_frame(frame).kind != FrameKind::Native)
}

/// What a thread waits for that sleeps at a lock with this stack; none if it is the lock.
pub fn work(stacks: &Interner, stack: StackId) -> Option<Work> {
    let mut frames = without_native(stacks, stack);
    let mut leaf = frames.next()?;
    let name = |frame| stacks.text(stacks.get_frame(frame).name);
    // A copy may call the lock by a function of its own.
    if library(stacks, leaf) == Some(Library::Copy) && name(leaf) != "wait" {
        leaf = frames.next()?;
    }
    match (library(stacks, leaf)?, name(leaf)) {
        (Library::Processes, "wait") => return Some(Work::Condition),
        // One of the workers reads from the pipe, and the others wait for that.
        (Library::Processes, "__enter__" | "get") => {
            let frame = if name(leaf) == "get" { Some(leaf) } else { frames.next() };
            let gets = |frame| library(stacks, frame) == Some(Library::Processes) && name(frame) == "get";
            return frame.is_some_and(gets).then_some(Work::Queue);
        }
        (Library::Threading | Library::Copy, "wait") => {}
        (Library::Threading, "join" | "_wait_for_tstate_lock" | "_shutdown" | "_join_thread") => {
            return Some(Work::Join);
        }
        // Their queues are not written in Python.
        (Library::Futures, "_worker") | (Library::Pool, "worker" | "_handle_tasks" | "_handle_results") => {
            return Some(Work::Queue);
        }
        _ => return None,
    }
    // Of the classes built upon the condition, the outermost one is what the thread called.
    let mut found = Work::Condition;
    while let Some(frame) = frames.next() {
        found = match (library(stacks, frame), name(frame)) {
            (Some(Library::Threading), "wait") if found == Work::Condition => Work::Event,
            (Some(Library::Threading), "acquire" | "__enter__") => Work::Semaphore,
            (Some(Library::Threading), "_wait" | "_enter") => Work::Barrier,
            (Some(Library::Threading), "wait_for" | "wait") => found,
            (Some(Library::Queue | Library::Copy), "put") => Work::Room,
            (Some(Library::Queue | Library::Copy), "get" | "join") => Work::Queue,
            (Some(Library::Futures), "result" | "exception" | "wait" | "as_completed" | "result_iterator") => {
                Work::Future
            }
            (Some(Library::Futures), "_worker") => Work::Queue,
            _ if is_for_connection(stacks, frame, &mut frames) => return Some(Work::Connection),
            _ => break,
        };
    }
    Some(found)
}

/// Where the import is that a thread with this stack waits in, for another thread that is importing the same module.
pub fn import_site(stacks: &Interner, stack: StackId) -> Option<FrameId> {
    let file = |frame| stacks.text(stacks.get_frame(frame).file);
    let mut frames = without_native(stacks, stack);
    let leaf = frames.next()?;
    if file(leaf) != "<frozen importlib._bootstrap>" {
        return None;
    }
    // `importlib.import_module` is where many modules are imported.
    let is_machinery =
        |file: &str| file.starts_with("<frozen importlib.") || file.ends_with("/importlib/__init__.py");
    Some(frames.find(|&frame| !is_machinery(file(frame))).unwrap_or(leaf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Frame;

    /// A stack of functions, outermost first, each `function (file)`.
    fn stack(stacks: &mut Interner, frames: &[(&str, &str)]) -> StackId {
        let mut stack = StackId::EMPTY;
        for (function, file) in frames {
            let (name, file) = (stacks.string(function), stacks.string(file));
            let frame =
                stacks.frame(Frame { kind: FrameKind::Python, function: name, name, file, line: 1, first_line: 1 });
            stack = stacks.push(stack, frame);
        }
        stack
    }

    #[test]
    fn what_is_waited_for_is_what_the_thread_called() {
        const T: &str = "/usr/lib/python3.12/threading.py";
        const Q: &str = "/usr/lib/python3.12/queue.py";
        const F: &str = "/usr/lib/python3.12/concurrent/futures/_base.py";
        const P: &str = "/usr/lib/python3.12/concurrent/futures/thread.py";
        const U: &str = "/site-packages/urllib3/connectionpool.py";
        const A: &str = "/site-packages/sqlalchemy/pool/impl.py";
        const G: &str = "/site-packages/psycopg_pool/pool.py";
        type Case = (&'static [(&'static str, &'static str)], Option<Work>);
        const C: &str = "/site-packages/gevent/_threading.py";
        const M: &str = "/usr/lib/python3.12/multiprocessing/queues.py";
        const S: &str = "/usr/lib/python3.12/multiprocessing/synchronize.py";
        let cases: [Case; 25] = [
            (&[("worker", "app.py"), ("get", M), ("__enter__", S)], Some(Work::Queue)),
            (&[("worker", "app.py"), ("__enter__", S)], None),
            (
                &[
                    ("run", "/site-packages/gevent/threadpool.py"),
                    ("get", C),
                    ("wait", C),
                    ("acquire_with_timeout", C),
                ],
                Some(Work::Queue),
            ),
            (&[("main", "app.py"), ("acquire_with_timeout", C)], None),
            (&[("main", "app.py")], None),
            (&[("main", "app.py"), ("wait", T)], Some(Work::Condition)),
            (&[("main", "app.py"), ("wait", T), ("wait", T)], Some(Work::Event)),
            (&[("main", "app.py"), ("wait_for", T), ("wait", T)], Some(Work::Condition)),
            (&[("main", "app.py"), ("acquire", T), ("wait", T)], Some(Work::Semaphore)),
            (&[("main", "app.py"), ("wait", T), ("_wait", T), ("wait_for", T), ("wait", T)], Some(Work::Barrier)),
            (&[("main", "app.py"), ("get", Q), ("wait", T)], Some(Work::Queue)),
            (&[("main", "app.py"), ("result", F), ("wait", T)], Some(Work::Future)),
            (&[("run", T), ("_worker", P)], Some(Work::Queue)),
            (&[("main", "app.py"), ("join", T), ("_wait_for_tstate_lock", T)], Some(Work::Join)),
            (&[("main", "app.py"), ("put", Q), ("wait", T)], Some(Work::Room)),
            (&[("urlopen", U), ("_get_conn", U), ("get", Q), ("wait", T)], Some(Work::Connection)),
            (&[("_do_get", A), ("get", "/sqlalchemy/util/queue.py"), ("wait", T)], Some(Work::Connection)),
            (
                &[("getconn", G), ("_getconn_loop", G), ("_getconn", G), ("wait", G), ("wait", T)],
                Some(Work::Connection),
            ),
            (&[("getconn", "/app/a.py"), ("compute", "/lib/b.py"), ("get", Q), ("wait", T)], Some(Work::Queue)),
            (&[("_do_get", "app.py"), ("get", Q), ("wait", T)], Some(Work::Queue)),
            (&[("_process_connections", "threadpool.py"), ("get", Q), ("wait", T)], Some(Work::Queue)),
            (&[("run", T), ("worker", "/usr/lib/python3.12/multiprocessing/pool.py")], Some(Work::Queue)),
            (&[("run", T), ("worker", "/usr/lib/python3.12/app/pool.py")], None),
            (&[("main", "app.py"), ("get", Q)], None),
            (&[("main", "app.py"), ("get", Q), ("__enter__", T)], None),
        ];
        for (frames, expected) in cases {
            let mut stacks = Interner::default();
            let id = stack(&mut stacks, frames);
            assert_eq!(work(&stacks, id), expected, "{frames:?}");
        }
    }

    #[test]
    fn who_waits_in_an_import_waits_for_another_that_makes_it() {
        const B: &str = "<frozen importlib._bootstrap>";
        const E: &str = "<frozen importlib._bootstrap_external>";
        let site = |frames: &[(&str, &str)]| {
            let mut stacks = Interner::default();
            let id = stack(&mut stacks, frames);
            import_site(&stacks, id).map(|frame| stacks.text(stacks.get_frame(frame).name).to_owned())
        };
        let waits = [("main", "app.py"), ("<module>", "b.py"), ("_find_and_load", B), ("acquire", B)];
        assert_eq!(site(&waits).as_deref(), Some("<module>"));
        let by_name =
            [("main", "app.py"), ("import_module", "/lib/python3.12/importlib/__init__.py"), ("acquire", B)];
        assert_eq!(site(&by_name).as_deref(), Some("main"));
        assert_eq!(site(&[("main", "app.py"), ("exec_module", E), ("<module>", "b.py")]), None);
        assert_eq!(site(&[("_find_and_load", B)]).as_deref(), Some("_find_and_load"));
        assert_eq!(site(&[]), None);
    }
}
