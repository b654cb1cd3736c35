//! Events in words, one per line, for expectations that can be read.

use crate::event::{Account, Event, GilGlimpse, OffCpu, ThreadId, ThreadState, Wake};
use crate::stack::{Interner, StackId};

/// One line for each event. Threads are called A, B, C in the order of their ids.
pub(super) fn lines(events: &[Event], names: &Interner) -> String {
    events.iter().map(|event| line(event, names)).collect::<Vec<_>>().join("\n")
}

fn line(event: &Event, names: &Interner) -> String {
    let who = |thread: ThreadId| thread_name(thread);
    let at_stack = |stack: StackId| stack_words(stack, names);
    match event {
        Event::ThreadStarted { at, thread, .. } => format!("{} starts at {}", who(*thread), at.0),
        Event::ThreadExited { at, thread, cpu_ns } => {
            format!("{} ends at {}, {cpu_ns} ns on the CPU", who(*thread), at.0)
        }
        Event::Gil { gil, info, .. } => {
            format!("GIL {} of interpreter {}, enabled: {}", gil.0, info.interpreter, info.enabled)
        }
        Event::Lock { lock, info } => {
            let name = info.name.as_deref().unwrap_or("no name");
            format!("lock {}: {:?}, {name}", lock.0, info.kind)
        }
        Event::LockHeld { at, lock, thread, stack } => {
            format!("lock {} held at {} by {}, in {}", lock.0, at.0, who(*thread), at_stack(*stack))
        }
        Event::OffCpu(off) => off_cpu(off, names),
        Event::Account { thread, account } => format!("{} account: {}", who(*thread), account_words(account)),
        Event::Sample { at, thread, state, stack, gil, .. } => {
            let gil = gil.map_or(String::new(), |gil| format!(", GIL {}", gil.0));
            format!("{} at {}: {}, in {}{gil}", who(*thread), at.0, state_words(*state), at_stack(*stack))
        }
        Event::Lost { at, thread, state, loss, .. } => {
            format!("{} at {}: {}, no stack: {loss:?}", who(*thread), at.0, state_words(*state))
        }
        Event::Spin { at, thread, stack, lock } => {
            let lock = lock.map_or("a lock".to_owned(), |lock| format!("lock {}", lock.0));
            format!("{} at {}: spins for {lock}, in {}", who(*thread), at.0, at_stack(*stack))
        }
        Event::HeldInNative { at, thread, function, .. } => {
            format!("{} at {}: in {}", who(*thread), at.0, crate::stack::label::frame_label(names, *function, false))
        }
        Event::Access { at, thread, accessed, .. } => format!("{} at {}: accesses {accessed:?}", who(*thread), at.0),
        other => format!("{other:?}"),
    }
}

fn thread_name(thread: ThreadId) -> String {
    char::from(b'A' + thread.0 as u8).to_string()
}

fn state_words(state: ThreadState) -> String {
    match state {
        ThreadState::LockWait(lock) => format!("waits for lock {}", lock.0),
        ThreadState::Awaits(awaited) => format!("awaits lock {}", awaited.0),
        ThreadState::Paused(lock) => format!("paused by lock {}", lock.0),
        state => state.to_string(),
    }
}

/// The frames of a stack, innermost first.
fn stack_words(stack: StackId, names: &Interner) -> String {
    let frames = names.frames(stack).map(|frame| {
        let frame = names.get_frame(frame);
        match frame.line {
            0 => names.text(frame.name).to_owned(),
            line => format!("{}:{line}", names.text(frame.name)),
        }
    });
    let frames: Vec<String> = frames.collect();
    if frames.is_empty() { "no Python code".to_owned() } else { frames.join(" < ") }
}

fn off_cpu(off: &OffCpu, names: &Interner) -> String {
    let stack = match off.lost {
        true => "no stack".to_owned(),
        false => format!("in {}", stack_words(off.stack, names)),
    };
    let mut words = format!(
        "{} off the CPU {}..{}: {}, {stack}",
        thread_name(off.thread),
        off.start.0,
        off.end.0,
        state_words(off.state)
    );
    if let Some(Wake { at, by, stack, switches }) = off.wake {
        let by = by.map_or("nobody known".to_owned(), thread_name);
        words += &format!("; woken at {} by {by}, in {}", at.0, stack_words(stack, names));
        if let Some(switches) = switches {
            words += &format!(", switch {switches}");
        }
    }
    if let Some(GilGlimpse { gil, holder, locked, switches }) = off.gil {
        let holder = holder.map_or("nobody known".to_owned(), thread_name);
        let locked = if locked { "locked" } else { "free" };
        words += &format!("; GIL {} {locked}, {holder}, switch {switches}", gil.0);
    }
    if let Some(asked) = off.asked {
        words += &format!("; asked at {}", asked.0);
    }
    if off.open {
        words += "; open";
    }
    words
}

fn account_words(account: &Account) -> String {
    let numbers = [
        ("on CPU", account.on_cpu_ns),
        ("runnable", account.runnable_ns),
        ("GIL held, runnable", account.gil_held_runnable_ns),
        ("GIL held, off CPU", account.gil_held_off_cpu_ns),
        ("GIL wait", account.gil_wait_ns),
        ("futex", account.futex_ns),
        ("blocked", account.blocked_ns),
        ("unknown", account.unknown_ns),
        ("GIL waits", account.gil_waits),
        ("blocks", account.blocks),
    ];
    let numbers = numbers.into_iter().filter(|(_, number)| *number != 0);
    numbers.map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join(", ")
}
