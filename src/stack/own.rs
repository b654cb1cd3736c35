//! The frame of a stack at which its reader would look: the program's own line, and not the library's that it called.

use super::label::{Origin, locate};
use super::{FrameId, FrameKind, Interner, StackId};

/// Where modules are that stand between a thread's own code and what it waits for, as labels have it.
const PLUMBING: [&str; 8] = [
    "threading.py",
    "queue.py",
    "_base.py",
    "concurrent/futures/",
    "logging/",
    "asyncio/",
    "selectors.py",
    "<frozen ",
];

/// How much a frame says about the program, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Interest {
    /// A file of the program.
    Program,
    /// Code without a file: `-c`, a cell of a notebook, what `exec` made.
    Generated,
    /// Something installed, or the script that starts it.
    Package,
    StandardLibrary,
    Plumbing,
    /// Native code and markers.
    Other,
}

/// Makes no label: this is asked of every frame of every stack, each time that a report is made.
fn interest(stacks: &Interner, frame: FrameId) -> Interest {
    let frame = stacks.get_frame(frame);
    let file = stacks.text(frame.file);
    if frame.kind != FrameKind::Python || file.is_empty() {
        return Interest::Other;
    }
    match locate(file) {
        _ if stacks.own.matches(file) => Interest::Program,
        (Origin::Program, _) if file.starts_with('<') => Interest::Generated,
        (Origin::Program, _) if is_script(file) => Interest::Package,
        (Origin::Program, _) => Interest::Program,
        (Origin::Package, _) => Interest::Package,
        (Origin::StandardLibrary, place) if PLUMBING.iter().any(|module| place.starts_with(module)) => {
            Interest::Plumbing
        }
        (Origin::StandardLibrary, _) => Interest::StandardLibrary,
        (Origin::Native | Origin::Marker, _) => Interest::Other,
    }
}

/// What `pip` puts beside the interpreter to start a package: `/venv/bin/gunicorn`.
fn is_script(file: &str) -> bool {
    let mut parts = file.rsplit('/');
    parts.next().is_some_and(|name| !name.contains('.')) && parts.next() == Some("bin")
}

/// Which frame that is, counted from the innermost; 0 for an empty stack.
pub(crate) fn own_index(stacks: &Interner, stack: StackId) -> usize {
    let frames = stacks.frames(stack).enumerate();
    // Of those that are as good, the innermost.
    let Some((index, frame)) = frames.min_by_key(|&(index, frame)| (interest(stacks, frame), index)) else {
        return 0;
    };
    // A comprehension is a part of the function around it, which is in the same file.
    let same_file = |caller: &FrameId| stacks.get_frame(*caller).file == stacks.get_frame(frame).file;
    let around =
        stacks.frames(stack).skip(index).take_while(same_file).position(|frame| !is_comprehension(stacks, frame));
    index + around.unwrap_or(0)
}

/// The innermost frame, if it is not the program's own, nor a comprehension that is a part of that.
pub(crate) fn called(stacks: &Interner, stack: StackId) -> Option<FrameId> {
    let own = own_index(stacks, stack);
    let mut inside = stacks.frames(stack).take(own);
    let innermost = inside.next()?;
    let is_foreign = !is_comprehension(stacks, innermost) || inside.any(|frame| !is_comprehension(stacks, frame));
    is_foreign.then_some(innermost)
}

/// Functions that run an event loop, with the beginning of their files' names.
const EVENT_LOOPS: [(&str, &str); 5] = [
    ("run_forever", "asyncio/"),
    ("_run_once", "asyncio/"),
    ("run_until_complete", "asyncio/"),
    // Where a loop is started that has no frame of its own.
    ("run", "asyncio/runners.py"),
    ("run", "uvloop/"),
];

/// How a stack has to do with an event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventLoop {
    None,
    /// The loop itself waits, or starts or ends.
    Idle,
    /// Code of the program that the loop has called.
    InCallback,
}

pub(crate) fn event_loop(stacks: &Interner, stack: StackId) -> EventLoop {
    let is_loop = |frame: FrameId| {
        let frame = stacks.get_frame(frame);
        let (_, place) = locate(stacks.text(frame.file));
        let name = stacks.text(frame.name).rsplit('.').next();
        EVENT_LOOPS.iter().any(|(function, file)| name == Some(function) && place.starts_with(file))
    };
    let Some(at) = stacks.frames(stack).position(is_loop) else { return EventLoop::None };
    if own_index(stacks, stack) < at { EventLoop::InCallback } else { EventLoop::Idle }
}

fn is_comprehension(stacks: &Interner, frame: FrameId) -> bool {
    let name = stacks.text(stacks.get_frame(frame).name);
    ["<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"].contains(&name)
}

/// That frame; none of an empty stack.
pub(crate) fn own_frame(stacks: &Interner, stack: StackId) -> Option<FrameId> {
    stacks.frames(stack).nth(own_index(stacks, stack))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Frame;

    /// A stack of functions and their files, innermost first.
    fn stack_of(stacks: &mut Interner, names: &[(&str, &str)]) -> StackId {
        names.iter().rev().fold(StackId::EMPTY, |caller, (name, file)| {
            let (name, file) = (stacks.string(name), stacks.string(file));
            let kind = FrameKind::Python;
            let frame = stacks.frame(Frame { kind, function: name, name, file, line: 1, first_line: 1 });
            stacks.push(caller, frame)
        })
    }

    /// The own frame's index in a stack of these files, innermost first.
    fn own(files: &[&str]) -> usize {
        let mut stacks = Interner::default();
        let stack = files.iter().rev().fold(StackId::EMPTY, |caller, file| {
            let frame = match file.strip_prefix('!') {
                Some(marker) => stacks.marker_frame(marker),
                None => {
                    let (function, file) = (stacks.string("f"), stacks.string(file));
                    let kind = FrameKind::Python;
                    stacks.frame(Frame { kind, function, name: function, file, line: 1, first_line: 1 })
                }
            };
            stacks.push(caller, frame)
        });
        own_index(&stacks, stack)
    }

    #[test]
    fn the_innermost_line_of_the_program_is_its_own() {
        const LIBRARY: &str = "/usr/lib/python3.12/json/decoder.py";
        const PLUMBING: &str = "/usr/lib/python3.12/threading.py";
        const PACKAGE: &str = "/v/lib/python3.12/site-packages/django/db.py";
        assert_eq!(own(&[]), 0);
        assert_eq!(own(&["/srv/app.py", "/srv/main.py"]), 0);
        assert_eq!(own(&["!marker", LIBRARY, PACKAGE, "/srv/app.py", "/srv/main.py", PLUMBING]), 3);
        assert_eq!(own(&["<string>", LIBRARY, "/srv/app.py"]), 2, "what a dataclass generates is nobody's line");
        assert_eq!(own(&[LIBRARY, "<string>"]), 1, "python -c");
        assert_eq!(own(&[LIBRARY, PACKAGE, "/v/bin/gunicorn"]), 1, "a script that starts a package");
        assert_eq!(own(&[PLUMBING, LIBRARY, PLUMBING]), 1);
        assert_eq!(own(&[PLUMBING, PLUMBING]), 0);
    }

    #[test]
    fn an_installed_application_can_be_ones_own() {
        let mut stacks = Interner::default();
        let files =
            ["/v/lib/python3.12/site-packages/orm/query.py", "/v/lib/python3.12/site-packages/shop/orders.py"];
        let stack = stack_of(&mut stacks, &files.map(|file| ("f", file)));
        assert_eq!(own_index(&stacks, stack), 0);
        stacks.set_own(&crate::stack::OwnPatterns::new(&["shop".parse().unwrap()]));
        assert_eq!(own_index(&stacks, stack), 1);
        assert_eq!(own_index(&stacks.frozen(), stack), 1, "also what the screen shows");
    }

    #[test]
    fn what_an_event_loop_calls_is_told_from_the_loop_itself() {
        const LOOP: &str = "/usr/lib/python3.12/asyncio/base_events.py";
        let mut stacks = Interner::default();
        let mut of = |names: &[(&str, &str)]| {
            let stack = stack_of(&mut stacks, names);
            event_loop(&stacks, stack)
        };
        let run = ("BaseEventLoop.run_forever", LOOP);
        let (once, main) = (("BaseEventLoop._run_once", LOOP), ("main", "/srv/app.py"));
        let select = ("EpollSelector.select", "/usr/lib/python3.12/selectors.py");
        assert_eq!(of(&[select, once, run, main]), EventLoop::Idle);
        let handle = ("Handle._run", "/usr/lib/python3.12/asyncio/events.py");
        assert_eq!(of(&[("handler", "/srv/app.py"), handle, once, run, main]), EventLoop::InCallback);
        let library = ("get", "/v/lib/python3.12/site-packages/requests/api.py");
        assert_eq!(of(&[library, ("handler", "/srv/app.py"), handle, once, run, main]), EventLoop::InCallback);
        // The names that versions without qualified names have.
        assert_eq!(of(&[("handler", "/srv/app.py"), ("_run_once", LOOP), main]), EventLoop::InCallback);
        assert_eq!(of(&[main]), EventLoop::None);
    }

    #[test]
    fn a_comprehension_is_part_of_the_function_around_it() {
        let mut stacks = Interner::default();
        let mut own = |names: &[(&str, &str)]| {
            let stack = stack_of(&mut stacks, names);
            own_index(&stacks, stack)
        };
        assert_eq!(own(&[("<genexpr>", "/a.py"), ("<listcomp>", "/a.py"), ("crunch", "/a.py")]), 2);
        assert_eq!(own(&[("<genexpr>", "/a.py"), ("call", "/b.py")]), 0);
        assert_eq!(own(&[("<lambda>", "/a.py"), ("call", "/a.py")]), 0, "which is a function of its own");
    }
}
