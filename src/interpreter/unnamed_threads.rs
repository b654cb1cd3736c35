//! Names for threads to which Python gives none, or that were gone before it could be asked: the kernel's name for the thread,
//! where its program has given it one (`polars-0`), else the function that it ran. Used by both collectors.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::{Nanos, Tid};
use crate::stack::label::{Origin, describe};
use crate::stack::{Interner, StackId};

/// What Python calls the first thread.
pub const MAIN_THREAD: &str = "MainThread";
/// Names that threads have from the program that was started, in whatever version.
const LAUNCHER: &str = "python";
/// From 3.14 on, Python tells the kernel its own names, of which the first 15 bytes fit.
const NUMBERED: &str = "Thread-";
/// When the names of living threads are read, in nanoseconds after they were first seen: most get them as they start.
const READ_AFTER: [u64; 3] = [20_000_000, 500_000_000, 5_000_000_000];

/// The kernel's name for a thread as the thread's name; none if it has that from the thread that started it. `own` are those
/// that the process itself has had.
pub fn by_kernel(comm: &str, own: &[String]) -> Option<Arc<str>> {
    let inherited = comm.is_empty() || comm.starts_with(LAUNCHER) || own.iter().any(|own| own == comm);
    (!inherited).then(|| comm.into())
}

/// `Thread (compute)`: after the outermost function of the program's own that it ran, or else of a package.
pub fn by_function(stacks: &Interner, stack: StackId) -> Option<Arc<str>> {
    let outermost =
        |of: Origin| stacks.frames(stack).filter(|&frame| describe(stacks, frame, false).origin == of).last();
    let outermost = outermost(Origin::Program).or_else(|| outermost(Origin::Package))?;
    Some(format!("Thread ({})", stacks.text(stacks.get_frame(outermost).name)).into())
}

#[derive(Clone, Copy, Debug)]
struct UnnamedThread {
    seen: Nanos,
    /// Where it was last seen in Python.
    stack: StackId,
    /// How often the kernel was asked.
    reads: usize,
}

/// The threads of a process that have no name yet.
#[derive(Debug, Default)]
pub struct UnnamedThreads {
    /// Kernel's names of the process itself.
    own: Vec<String>,
    threads: FxHashMap<Tid, UnnamedThread>,
}

impl UnnamedThreads {
    /// Those of a process with this name of the kernel's.
    pub fn of_process(comm: Option<String>) -> UnnamedThreads {
        UnnamedThreads { own: comm.into_iter().collect(), threads: FxHashMap::default() }
    }

    pub fn started(&mut self, tid: Tid, at: Nanos) {
        self.threads.insert(tid, UnnamedThread { seen: at, stack: StackId::EMPTY, reads: 0 });
    }

    /// Python has named it.
    pub fn named(&mut self, tid: Tid) {
        self.threads.remove(&tid);
    }

    /// Where a thread was seen, which may not have a name.
    pub fn seen_at(&mut self, tid: Tid, stack: StackId) {
        if stack != StackId::EMPTY
            && let Some(thread) = self.threads.get_mut(&tid)
        {
            thread.stack = stack;
        }
    }

    /// Asks the kernel for names that are due. `read` returns that of a thread; that of the process is that of thread `pid`.
    pub fn read(&mut self, pid: Tid, now: Nanos, read: impl Fn(Tid) -> Option<String>) -> Vec<(Tid, Arc<str>)> {
        let is_due = |thread: &UnnamedThread| {
            READ_AFTER.get(thread.reads).is_some_and(|&after| now.since(thread.seen) >= after)
        };
        let due: Vec<Tid> = self.threads.iter().filter(|(_, thread)| is_due(thread)).map(|(&tid, _)| tid).collect();
        if due.is_empty() {
            return Vec::new();
        }
        if let Some(own) = read(pid).filter(|own| !self.own.contains(own)) {
            self.own.push(own);
        }
        let mut named = Vec::new();
        for tid in due {
            if let Some(thread) = self.threads.get_mut(&tid) {
                thread.reads += 1;
            }
            let name = read(tid).and_then(|comm| by_kernel(&comm, &self.own)).filter(|_| tid != pid);
            if let Some(name) = name.filter(|name| !name.starts_with(NUMBERED)) {
                named.push((tid, name));
            }
        }
        named.iter().for_each(|(tid, _)| self.named(*tid));
        named
    }

    /// The name of a thread that ends, or that is no longer observed, and never had one. `comm` is the kernel's.
    pub fn ended(&mut self, pid: Tid, tid: Tid, comm: Option<&str>, stacks: &Interner) -> Option<Arc<str>> {
        let thread = self.threads.remove(&tid)?;
        if tid == pid {
            return Some(MAIN_THREAD.into());
        }
        let by_kernel = comm.and_then(|comm| by_kernel(comm, &self.own));
        let is_whole = |name: &Arc<str>| !name.starts_with(NUMBERED);
        let whole = by_kernel.clone().filter(is_whole);
        whole.or_else(|| by_function(stacks, thread.stack)).or(by_kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{Frame, FrameKind};

    fn stack(stacks: &mut Interner, frames: &[(&str, &str)]) -> StackId {
        frames.iter().fold(StackId::EMPTY, |stack, (name, file)| {
            let (name, file) = (stacks.string(name), stacks.string(file));
            let frame = Frame { kind: FrameKind::Python, function: name, name, file, line: 1, first_line: 1 };
            let frame = stacks.frame(frame);
            stacks.push(stack, frame)
        })
    }

    #[test]
    fn threads_without_a_name_are_called_by_what_they_are_or_do() {
        let mut stacks = Interner::default();
        let lib = "/usr/lib/python3.12/threading.py";
        let fibonacci = stack(&mut stacks, &[("run", lib), ("fibonacci", "/srv/app.py"), ("helper", "/srv/app.py")]);
        let mut threads = UnnamedThreads::default();
        (1..=6).for_each(|tid| threads.started(tid, Nanos(0)));
        for tid in [2, 4, 5] {
            threads.seen_at(tid, fibonacci);
        }
        let comm = |tid: Tid| {
            Some(["", "app", "app", "polars-0", "worker", "Thread-12 (fibo", "python3"][tid as usize].to_owned())
        };
        assert_eq!(threads.read(1, Nanos(1), comm), []);
        let mut named = threads.read(1, Nanos(READ_AFTER[0]), comm);
        named.sort();
        assert_eq!(named, [(3, "polars-0".into()), (4, "worker".into())]);
        let mut ended = |tid| threads.ended(1, tid, comm(tid).as_deref(), &stacks).map(|name| name.to_string());
        assert_eq!(ended(1).as_deref(), Some(MAIN_THREAD));
        assert_eq!(ended(2).as_deref(), Some("Thread (fibonacci)"));
        assert_eq!(ended(3), None, "it has a name");
        assert_eq!(ended(5).as_deref(), Some("Thread (fibonacci)"), "the kernel's is cut off");
        assert_eq!(ended(6), None);
    }
}
