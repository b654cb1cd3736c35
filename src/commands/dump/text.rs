//! A dump as text for the terminal: who holds what and who waits for it first, then the stacks, equal ones together.

use std::fmt::Write as _;

use super::{Dump, InterpreterDump, ThreadDump, WaitsFor};
use crate::event::{Pid, ThreadState, Tid};
use crate::report::thread_group;
use crate::stack::label::one_line;
use crate::text::short;

/// Up to this many names are listed; of more threads only what their names have in common.
const MAX_NAMES: usize = 3;

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
        line(format_args!("Python {}{flavour} ({})", self.python, one_line(&self.executable)));
        if let Some(note) = &self.note {
            line(format_args!("note: {}", one_line(note)));
        }
        if let Some(stopped) = &self.stopped {
            line(format_args!("STOPPED {}", one_line(&stopped.words)));
        }
        if let Some(note) = &self.hidden_calls {
            line(format_args!("note: {note}"));
        }
        if !self.python_children.is_empty() {
            let pids: Vec<String> = self.python_children.iter().map(Pid::to_string).collect();
            let pids = pids.join(", ");
            line(format_args!("note: its child processes run Python, too; gilscope dump them by their pids: {pids}"));
        }
        for circle in &self.deadlocks {
            match circle.as_slice() {
                [_] => line(format_args!("DEADLOCK: a thread waits for itself")),
                circle => line(format_args!("DEADLOCK: {} threads wait for each other", circle.len())),
            }
            for thread in circle.iter().filter_map(|&tid| self.thread(tid)) {
                let waits = thread.waits_for.as_ref().map(|waits| self.wait(waits)).unwrap_or_default();
                let place = own_line(thread).map_or_else(String::new, |place| format!(" in {place}"));
                line(format_args!("    {} waits for {waits}{place}", self.name_of(thread.tid)));
            }
        }
        for thread in &self.threads {
            if let Some(waits) = thread.waits_for.as_ref().filter(|waits| waits.never_released.is_some()) {
                let (who, what) = (self.name_of(thread.tid), self.wait(waits));
                line(format_args!("DEADLOCK: {who} waits for {what}; nobody will release it"));
            }
        }
        for interpreter in &self.interpreters {
            line(format_args!("{}", self.gil(interpreter)));
        }
        for (waits, waiters) in self.locks() {
            let holder = waits.held_by.map_or_else(
                || "holder not known".to_owned(),
                |tid| format!("held by {}{}", self.name_of(tid), self.place_of(tid)),
            );
            line(format_args!("{}: {holder}; {}", waits.label, self.waiting(&waiters)));
        }
        for threads in self.folded() {
            line(format_args!("\n{}", self.heading(&threads)));
            let thread = threads[0];
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

    fn thread(&self, tid: Tid) -> Option<&ThreadDump> {
        self.threads.iter().find(|thread| thread.tid == tid)
    }

    /// `GIL: held by 12 "MainThread" in work (app.py:3); 2 threads wait (worker-1, worker-2)`
    fn gil(&self, InterpreterDump { id, gil }: &InterpreterDump) -> String {
        let which = if self.interpreters.len() > 1 { format!(" of interpreter {id}") } else { String::new() };
        if !gil.enabled {
            return format!("GIL{which}: not enabled");
        }
        let holder = gil
            .holder
            .map_or_else(|| "free".to_owned(), |tid| format!("held by {}{}", self.name_of(tid), self.place_of(tid)));
        let waiters: Vec<&ThreadDump> = gil.waiters.iter().filter_map(|&tid| self.thread(tid)).collect();
        format!("GIL{which}: {holder}; {}", self.waiting(&waiters))
    }

    fn waiting(&self, waiters: &[&ThreadDump]) -> String {
        let unknown = self.threads.iter().filter(|thread| thread.state == ThreadState::Unknown.name()).count();
        match (waiters, &self.hidden_calls, unknown) {
            ([], Some(_), _) => "no waiter seen".to_owned(),
            ([], None, 1..) => format!("no waiter seen, but what {unknown} of the threads do is unknown"),
            _ => waiting(waiters),
        }
    }

    /// What threads wait for, other than GILs and each other's ends, with all who wait for it; the most wanted first.
    fn locks(&self) -> Vec<(&WaitsFor, Vec<&ThreadDump>)> {
        let mut locks: Vec<(&WaitsFor, Vec<&ThreadDump>)> = Vec::new();
        for thread in &self.threads {
            let Some(waits) = thread.waits_for.as_ref().filter(|waits| waits.is_lock()) else { continue };
            match locks.iter_mut().find(|(lock, _)| lock.address == waits.address) {
                Some((_, waiters)) => waiters.push(thread),
                None => locks.push((waits, vec![thread])),
            }
        }
        locks.sort_by_key(|(_, waiters)| std::cmp::Reverse(waiters.len()));
        locks
    }

    /// Threads that do the same at the same place are together. The main thread is first, then as they were found.
    fn folded(&self) -> Vec<Vec<&ThreadDump>> {
        let mut groups: Vec<Vec<&ThreadDump>> = Vec::new();
        for thread in &self.threads {
            let known = groups.iter_mut().find(|group| is_same(group[0], thread));
            match known {
                Some(group) => group.push(thread),
                None => groups.push(vec![thread]),
            }
        }
        groups.sort_by_key(|group| !group.iter().any(|thread| thread.tid == self.pid));
        groups
    }

    fn heading(&self, threads: &[&ThreadDump]) -> String {
        let first = threads[0];
        let others: Vec<String> =
            first.interpreters.iter().filter(|&&id| id != 0).map(|id| format!(" in interpreter {id}")).collect();
        let who = match threads {
            [one] => format!("Thread {}", self.name_of(one.tid)),
            many => format!("{} threads{}", many.len(), names(many)),
        };
        format!("{who}: {}{}", first.describes, others.concat())
    }

    fn wait(&self, waits: &WaitsFor) -> String {
        let of = if waits.is_end() { ": " } else { ", held by " };
        let by = waits.held_by.map_or_else(String::new, |tid| format!("{of}{}", self.name_of(tid)));
        format!("{}{by}{}", waits.label, waits.never_released.unwrap_or_default())
    }

    fn name_of(&self, tid: Tid) -> String {
        let name = self.thread(tid).and_then(|thread| thread.name.as_deref());
        name.map_or_else(|| tid.to_string(), |name| format!("{tid} \"{}\"", one_line(&short(name))))
    }

    /// ` in work (app.py:3)`
    fn place_of(&self, tid: Tid) -> String {
        let place = self.thread(tid).and_then(own_line);
        place.map_or_else(String::new, |place| format!(" in {place}"))
    }
}

/// The program's own line.
fn own_line(thread: &ThreadDump) -> Option<&str> {
    thread.stack.get(thread.own).map(|frame| frame.label.as_str())
}

fn is_same(a: &ThreadDump, b: &ThreadDump) -> bool {
    let awaited = |thread: &ThreadDump| thread.waits_for.as_ref().map(|waits| (waits.address, waits.held_by));
    a.describes == b.describes
        && a.error == b.error
        && awaited(a) == awaited(b)
        && a.interpreters == b.interpreters
        && a.stack.iter().map(|frame| &frame.label).eq(b.stack.iter().map(|frame| &frame.label))
}

/// `2 threads wait (worker-1, worker-2)`
fn waiting(threads: &[&ThreadDump]) -> String {
    match threads.len() {
        0 => "nobody waits".to_owned(),
        1 => format!("1 thread waits{}", names(threads)),
        many => format!("{many} threads wait{}", names(threads)),
    }
}

/// ` (worker-1, worker-2)`, ` (ThreadPoolExecutor-0_*)`
fn names(threads: &[&ThreadDump]) -> String {
    let known = || {
        threads.iter().map(|thread| {
            thread.name.as_deref().map_or_else(|| thread.tid.to_string(), |name| one_line(&short(name)))
        })
    };
    let mut names: Vec<String> = match threads.len() <= MAX_NAMES {
        true => known().collect(),
        false => known().map(|name| thread_group(&name)).collect(),
    };
    if threads.len() > MAX_NAMES {
        names.sort();
        names.dedup();
    }
    let more = if names.len() > MAX_NAMES { ", ..." } else { "" };
    names.truncate(MAX_NAMES);
    format!(" ({}{more})", names.join(", "))
}
