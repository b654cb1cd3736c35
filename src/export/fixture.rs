//! A small recording with everything that can go wrong in an output. Called by the tests of all formats.

use std::sync::Arc;

use crate::event::{Event, Loss, Nanos, ProcessId, ProcessInfo, Syscall, ThreadId, ThreadState, Tid};
use crate::profile::Profile;
use crate::stack::{Frame, FrameKind, StackId};

const START: u64 = 1_000_000_000;
const TICK: u64 = 1_000_000;

/// A stack of `(function, file, line, first line)`, outermost first.
fn stack(profile: &mut Profile, frames: &[(&str, &str, u32, u32)]) -> StackId {
    let table = &mut profile.stacks;
    frames.iter().fold(StackId::EMPTY, |stack, &(function, file, line, first_line)| {
        let (function, file) = (table.string(function), table.string(file));
        let frame = table.frame(Frame { kind: FrameKind::Python, function, name: function, file, line, first_line });
        table.push(stack, frame)
    })
}

/// A stack of three frames.
pub fn deep(profile: &mut Profile) -> StackId {
    stack(profile, &[("a", "a.py", 1, 1), ("b", "a.py", 2, 2), ("c", "a.py", 3, 3)])
}

/// One tick of a thread.
pub fn sample(thread: u32, at: u64, state: ThreadState, stack: StackId) -> Event {
    Event::Sample { at: Nanos(at), periods: 1, thread: ThreadId(thread), state, stack, gil: None }
}

/// Announces a process and its threads.
pub fn start(profile: &mut Profile, pid: i32, tids: &[Tid]) {
    let process = ProcessId(profile.processes.len() as u32);
    let command = if pid == 200 { ["python;", "x"] } else { ["python", "app.py"] }.map(str::to_owned).to_vec();
    let info = Arc::new(ProcessInfo { pid, command, python: "3.12.1".to_owned(), free_threaded: false });
    profile.push(&Event::Process { process, info });
    for &tid in tids {
        let thread = ThreadId(profile.threads.len() as u32);
        profile.push(&Event::ThreadStarted { at: Nanos(START), thread, process, tid });
    }
}

/// Two processes, three threads, 14 samples, two of them lost. The ticks of a thread are a millisecond apart.
pub fn profile() -> Profile {
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.start = Nanos(START);
    profile.session.end = Nanos(START + 10 * TICK);
    profile.session.rate_hz = 100.0;
    start(&mut profile, 100, &[100, 101]);
    start(&mut profile, 200, &[200]);
    profile.push(&Event::ThreadNamed { thread: ThreadId(0), name: "MainThread".into() });
    profile.push(&Event::ThreadNamed { thread: ThreadId(2), name: "# w\n; 1".into() });

    let sleep = Syscall(syscalls::Sysno::clock_nanosleep as i16);
    let receive = Syscall(syscalls::Sysno::recvfrom as i16);
    let main = ("main", "/srv/app.py", 10, 1);
    let package = "/v/lib/python3.12/site-packages/pkg/core.py";
    let outer = stack(&mut profile, &[main]);
    let first = stack(&mut profile, &[main, ("work", package, 20, 20)]);
    let second = stack(&mut profile, &[main, ("work", package, 21, 20)]);
    let odd = stack(&mut profile, &[("<a & \"b\"; c> é\u{4f60}", "<string>", 1, 1)]);

    use ThreadState::{Blocked, GilHeld, GilHeldOffCpu, GilWait, Native, Running, Stopped, Unknown};
    let samples: [&[(ThreadState, Option<StackId>)]; 3] = [
        &[
            (GilHeld, Some(first)),
            (GilHeld, Some(first)),
            (GilHeld, Some(second)),
            (Native, Some(second)),
            (GilHeldOffCpu(sleep), Some(first)),
            (GilHeld, None),
        ],
        &[
            (GilWait, Some(outer)),
            (GilWait, Some(outer)),
            (Blocked(receive), Some(outer)),
            (Blocked(receive), Some(outer)),
            (GilWait, None),
            (Unknown, Some(StackId::EMPTY)),
        ],
        &[(Running, Some(odd)), (Stopped, Some(StackId::EMPTY))],
    ];
    for (thread, samples) in (0..).zip(samples) {
        let mut at = START;
        for &(state, stack) in samples {
            profile.push(&match stack {
                Some(stack) => sample(thread, at, state, stack),
                None => Event::Lost {
                    at: Nanos(at),
                    periods: 1,
                    thread: ThreadId(thread),
                    state,
                    gil: None,
                    loss: Loss::Torn,
                },
            });
            at += TICK;
        }
        // The last thread ends late, which makes it the one seen for the longest time.
        let at = if thread == 2 { START + 9 * TICK } else { at };
        profile.push(&Event::ThreadExited { at: Nanos(at), thread: ThreadId(thread), cpu_ns: 0 });
    }
    profile
}

/// Fails unless tags are balanced, attributes quoted and text escaped, as in well-formed XML with one root.
pub fn assert_well_formed(text: &str) {
    let (mut rest, mut open, mut roots) = (text, Vec::new(), 0);
    while let Some(at) = rest.find('<') {
        let plain = &rest[..at];
        assert!(!open.is_empty() || plain.trim().is_empty(), "text outside the root: {plain:?}");
        assert_escaped(plain);
        rest = &rest[at..];
        let special = [("<?", "?>"), ("<!--", "-->"), ("<![CDATA[", "]]>"), ("<!", ">")];
        let end = special.iter().find(|(begin, _)| rest.starts_with(begin)).map_or(">", |(_, end)| end);
        let (tag, after) = rest.split_at(rest.find(end).expect("an unfinished tag") + end.len());
        rest = after;
        if tag.starts_with("<?") || tag.starts_with("<!") {
            continue;
        }
        if let Some(name) = tag.strip_prefix("</") {
            assert_eq!(open.pop(), Some(name.trim_end_matches('>')));
            continue;
        }
        let inner = tag[1..].trim_end_matches('>').trim_end_matches('/');
        let (name, attributes) = inner.split_once(' ').unwrap_or((inner, ""));
        assert_eq!(attributes.matches('"').count(), 2 * attributes.matches("=\"").count(), "{tag}");
        assert_escaped(attributes);
        roots += usize::from(open.is_empty());
        if !tag.ends_with("/>") {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    assert_eq!((rest.trim(), roots), ("", 1), "one root and nothing after it");
}

fn assert_escaped(text: &str) {
    for entity in text.split('&').skip(1) {
        let name = entity.split_once(';').map_or(entity, |(name, _)| name);
        assert!(["lt", "gt", "amp", "quot", "apos"].contains(&name), "bare & in {text:?}");
    }
    assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "control character in {text:?}");
}
