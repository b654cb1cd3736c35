//! An undamaged interpreter: the stacks, names and the GIL that were put in come out.

use std::cell::Cell;

use gilscope::cpython::code::CodeCache;
use gilscope::cpython::gil::Gil;
use gilscope::cpython::layout::{Layout, LineTable};
use gilscope::cpython::names::ThreadNames;
use gilscope::cpython::objects::Objects;
use gilscope::cpython::variables::{self, Wanted};
use gilscope::event::Ids;
use gilscope::event::{Event, Nanos, ProcessId};
use gilscope::interpreter::registry::{Registry, Sink};
use gilscope::interpreter::stacks::{Reading, Scratch, StackReader};
use gilscope::process::memory::{Memory, MemoryImage, MemorySpan};
use gilscope::stack::Interner;
use proptest::prelude::*;

use crate::interpreter::{Call, Interpreter, KINDS, Kind, Plan, RUNTIME};
use crate::lines::some_lines;
use crate::watch::{cases, modest};

/// A frame as it comes out: function, file, line.
pub type Seen = (String, String, u32);

pub fn some_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&KINDS[..])
}

fn some_call() -> impl Strategy<Value = Call> {
    let name =
        prop_oneof!["[a-z]{1,12}", "[a-z]{1,4}\\.<locals>\\.[a-z]{1,4}", "[äöü]{1,4}", "[\u{4e00}-\u{4e20}𠀀]{1,4}"];
    let first_line = 1..3000i32;
    (
        name,
        "(/[a-z]{1,6}){1,4}\\.py",
        first_line,
        any::<prop::sample::Index>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    )
        .prop_flat_map(|(function, file, first_line, at, entry, apart)| {
            some_lines(first_line).prop_map(move |lines| {
                let at = at.index(lines.len());
                Call { function: function.clone(), file: file.clone(), first_line, lines, at, entry, apart }
            })
        })
}

pub fn some_plan() -> impl Strategy<Value = Plan> {
    let depth = prop_oneof![3 => 0..8usize, 1 => 30..130usize];
    let stack = (prop::collection::vec(some_call(), 1..6), depth).prop_map(|(calls, depth)| {
        // Few functions, many frames.
        calls.iter().cycle().take(depth).cloned().collect::<Vec<_>>()
    });
    ("[a-z ]{1,20}|[äé\u{4e00}]{1,5}", stack).prop_map(|(name, stack)| Plan { name, stack })
}

/// What must come out, innermost first.
fn expected(layout: &Layout, stack: &[Call]) -> Vec<Seen> {
    let line = |call: &Call| {
        let upto = &call.lines[..=call.at];
        match layout.code.line_format {
            LineTable::Lnotab => upto.iter().rev().copied().find(|&line| line != 0).unwrap_or(call.first_line as u32),
            _ => call.lines[call.at],
        }
    };
    let function = |call: &Call| match layout.code.qualname {
        Some(_) => call.function.clone(),
        None => call.function.rsplit('.').next().unwrap().to_owned(),
    };
    stack.iter().rev().map(|call| (function(call), call.file.clone(), line(call))).collect()
}

/// One vectored read of what a reader plans, and its verdict.
fn read(
    reader: &mut StackReader,
    memory: &impl Memory,
    layout: &Layout,
    double: bool,
    scratch: &mut Scratch,
) -> Reading {
    let mut spans: Vec<MemorySpan> = Vec::new();
    match double {
        true => reader.plan_double(layout, &mut spans),
        false => reader.plan_single(layout, &mut spans),
    }
    let (bytes, count) = if double { reader.double_size(layout) } else { reader.single_size(layout) };
    assert_eq!((bytes, count), (spans.iter().map(|span| span.len).sum(), spans.len()));
    let (mut buffer, mut arrived) = (vec![0; bytes], Vec::new());
    memory.read_spans(&spans, &mut buffer, &mut arrived).unwrap();
    match double {
        true => reader.judge_double(layout, &buffer, &arrived, scratch),
        false => reader.judge_single(layout, &buffer, &arrived, scratch),
    }
}

/// Everything the sampler does with one thread state, in every order it has; the last stack believed, if any.
pub fn look(memory: &impl Memory, layout: &Layout, tstate: u64) -> Option<Vec<Seen>> {
    let mut scratch = Scratch::default();
    let mut names = Interner::default();
    let mut codes = CodeCache::default();
    let mut stacks = Vec::new();
    for still in [false, true] {
        let mut reader = StackReader::new(tstate);
        let mut believed = false;
        believed |= read(&mut reader, memory, layout, false, &mut scratch) == Reading::Believed;
        believed |= matches!(reader.follow(memory, layout, still, &mut scratch), Ok((Reading::Believed, _)));
        for double in [true, false, true] {
            believed |= read(&mut reader, memory, layout, double, &mut scratch) == Reading::Believed;
        }
        assert!(reader.frames().len() <= 1 << 17);
        if !believed {
            return None;
        }
        for now in [1, 2, 1_000_000_000] {
            codes.check(memory, layout, Nanos(now), std::iter::once(reader.frames()), &mut names);
        }
        let frames = reader.frames().iter().map(|raw| {
            let frame = codes.frame(memory, layout, raw, &mut names)?;
            let frame = *names.get_frame(frame);
            Some((names.text(frame.function).to_owned(), names.text(frame.file).to_owned(), frame.line))
        });
        stacks.push(frames.collect::<Option<Vec<_>>>()?);
    }
    assert_eq!(stacks[0], stacks[1], "standing still or not, the same memory shows the same stack");
    stacks.pop()
}

/// Everything the sampler does to find the threads; what it has announced.
pub fn scan(memory: &impl Memory, layout: &Layout) -> Vec<Event> {
    let pid = std::process::id() as i32;
    let mut registry = Registry::new(pid, ProcessId(0), RUNTIME, false);
    let (mut stacks, mut events, mut ids) = (Interner::default(), Vec::new(), Ids::default());
    for now in [1, 2, 1_000_000_000] {
        let mut sink = Sink { stacks: &mut stacks, events: &mut events, ids: &mut ids };
        let _ = registry.refresh(memory, layout, Nanos(now), &mut sink);
    }
    events
}

/// This thread's tid: the threads of the images are all this one, so that they exist.
pub fn own_tid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_was_put_in_comes_out(kind in some_kind(), plans in prop::collection::vec(some_plan(), 1..4)) {
        let made = Interpreter::new(kind, own_tid(), &plans);
        let layout = &made.layout;
        modest(&made.image(), |memory| {
            for (&tstate, plan) in made.threads.iter().zip(&plans) {
                prop_assert_eq!(look(memory, layout, tstate), Some(expected(layout, &plan.stack)), "{:?}", kind);
            }
            let mut names = ThreadNames::default();
            for _ in 0..2 {
                let mut found = names.read(memory, layout, made.interp, |_| true).unwrap();
                found.sort();
                let real = made.idents.iter().zip(&plans).map(|(&ident, plan)| (ident, plan.name.as_str().into()));
                prop_assert_eq!(found, real.collect::<Vec<_>>());
            }
            // The first thread's name is the value of an attribute of a value of a module's variable.
            let name = Objects { memory, layout }.attribute(made.first_thread, "_name").unwrap().unwrap();
            let wanted = Wanted { objects: [made.first_thread, name].into_iter().collect(), ..Wanted::default() };
            let found = variables::find(memory, layout, made.interp, &[], &wanted).unwrap();
            let name_of = |object| found.get(&object).map(|found| found.name.as_str());
            let named = |object, end| name_of(object).is_some_and(|name| name.ends_with(end));
            prop_assert!(named(made.first_thread, "[...]") && named(name, "[...]._name"), "{:?}", found);
            let events = scan(memory, layout);
            let tid = own_tid();
            let started = |event: &&Event| matches!(event, Event::ThreadStarted { tid: seen, .. } if *seen == tid);
            prop_assert_eq!(events.iter().filter(started).count(), 1, "all thread states are of one OS thread");
            let gil = match layout.gil_place {
                gilscope::cpython::layout::GilPlace::Runtime(offset) => RUNTIME + offset,
                gilscope::cpython::layout::GilPlace::Interpreter(offset) => memory.u64(made.interp + offset).unwrap(),
            };
            let gil = Gil::read(memory, &layout.gil, gil);
            prop_assert_eq!((gil.holder, gil.enabled), (made.threads[0], true));
            Ok(())
        })?;
    }
}

/// What was read of a way before is not believed when the object at its end is found.
#[test]
fn a_way_that_is_cut_while_the_search_goes_on_gives_no_name() {
    let plan = Plan { name: "worker".to_owned(), stack: Vec::new() };
    for kind in KINDS {
        let made = Interpreter::new(kind, own_tid(), std::slice::from_ref(&plan));
        let (layout, whole) = (&made.layout, made.image());
        let mut cut = whole.clone();
        let words = cut.regions_mut().flat_map(|(_, bytes)| bytes.chunks_exact_mut(8));
        words.filter(|word| **word == made.first_thread.to_le_bytes()).for_each(|word| word.fill(0));
        let name = Objects { memory: &whole, layout }.attribute(made.first_thread, "_name").unwrap().unwrap();
        let wanted = Wanted { objects: [name].into_iter().collect(), ..Wanted::default() };
        // Whether it is found by that many steps in the whole memory, and what comes after them in another.
        let is_found = |steps: usize, after: &MemoryImage| {
            let mut search = variables::Search::new(&whole, layout, made.interp, &[], &wanted).unwrap();
            let taken = Cell::new(0);
            let has_steps = || taken.replace(taken.get() + 1) < steps;
            if !search.go_on(&whole, layout, &wanted, has_steps) {
                search.go_on(after, layout, &wanted, || true);
            }
            search.found().contains_key(&name)
        };
        let (never, all) = (MemoryImage::default(), 20);
        assert!(is_found(all, &never), "{kind:?}");
        for steps in 0..all {
            assert!(is_found(steps, &whole), "{kind:?}: it goes on after {steps}");
            assert_eq!(is_found(steps, &cut), is_found(steps, &never), "{kind:?}: cut after {steps}");
        }
    }
}

/// The deepest recursion a test of a real program has, on every kind.
#[test]
fn five_thousand_frames_come_out() {
    let call = |number: usize| Call {
        function: format!("level{}", number % 10),
        file: "/deep.py".to_owned(),
        first_line: 10,
        lines: vec![10, 11, 11, 12],
        at: number % 4,
        entry: number.is_multiple_of(100),
        apart: number.is_multiple_of(50),
    };
    for kind in KINDS {
        let plan = Plan { name: "deep".to_owned(), stack: (0..5000).map(call).collect() };
        let made = Interpreter::new(kind, own_tid(), std::slice::from_ref(&plan));
        let seen = modest(&made.image(), |memory| look(memory, &made.layout, made.threads[0]));
        assert_eq!(seen, Some(expected(&made.layout, &plan.stack)), "{kind:?}");
    }
}
