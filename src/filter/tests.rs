//! What comes through a filter is a part of the whole, and all of that part.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::{Event, LockId, OffCpu, Syscall, ThreadState, Tid, Wake};
use crate::profile::Mode;
use crate::recording::tests::{Act, START, THREADS, session, some_act, some_mode};
use crate::stack::StackId;

/// What comes through a window, and how that part of the recording went.
fn cut(events: &[Event], session: &SessionInfo, from: u64, to: u64) -> (Vec<Event>, SessionInfo) {
    let mut window = Window::new(Nanos(from), Nanos(to), session);
    let mut out = Vec::new();
    events.iter().for_each(|event| window.push(event.clone(), &mut out));
    (out, window.session(session.clone()))
}

fn profile(events: &[Event], session: &SessionInfo) -> Profile {
    let mut profile = Profile { session: session.clone(), ..Profile::default() };
    profile.keep_waits();
    events.iter().for_each(|event| profile.push(event));
    profile.finish();
    profile
}

/// What each thread did: how many samples, and how long off the CPU. States, as those are ordered by their words.
fn sums(profile: &Profile) -> BTreeMap<(Tid, String, u32), (u64, u64)> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for (key, weight) in profile.tree.iter() {
        let tid = profile.threads[key.thread.0 as usize].tid;
        let sum = sums.entry((tid, format!("{:?}", key.state), key.stack.index())).or_default();
        (sum.0, sum.1) = (sum.0 + weight.samples, sum.1 + weight.off_cpu_ns);
    }
    // What took no time is in no window.
    sums.retain(|_, sum| *sum != (0, 0));
    sums
}

/// How often each object was accessed, by its address: what a profile says of it, and whose it is.
fn accesses(profile: &Profile) -> Vec<(String, u64)> {
    let stacks = profile.refcounts.stacks().into_iter();
    let mut all: Vec<_> = stacks
        .map(|(thread, _, object, amount)| {
            let owner = object.owner.map(|owner| profile.threads[owner.0 as usize].tid);
            let tid = profile.threads[thread.0 as usize].tid;
            (format!("{tid}: {} of {owner:?}", object.label()), amount)
        })
        .collect();
    all.sort();
    all
}

/// Times off the CPU, by tid.
fn off_cpu(events: &[Event], profile: &Profile) -> Vec<(Tid, OffCpu)> {
    let off = |event: &Event| match event {
        Event::OffCpu(off) => Some((profile.threads[off.thread.0 as usize].tid, *off)),
        _ => None,
    };
    events.iter().filter_map(off).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn two_windows_are_the_whole_and_nothing_is_outside(
        mode in some_mode(),
        acts in prop::collection::vec(some_act(), 1..60),
        which in any::<prop::sample::Index>(),
    ) {
        let (_, events, info) = session(mode, &acts);
        // At a moment at which something happens: that is where mistakes are made.
        let moments: Vec<u64> = events.iter().filter_map(Event::at).map(|at| at.0).collect();
        let at = moments[which.index(moments.len())];
        let whole = profile(&events, &info);
        let mut parts: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        let (mut accessed, mut looks) = (Vec::new(), 0);
        for (from, to) in [(START, at), (at, u64::MAX)] {
            let (part, session) = cut(&events, &info, from, to);
            let (start, end) = (info.start.max(Nanos(from)), info.end.min(Nanos(to)));
            prop_assert_eq!((session.start, session.end), (start, end.max(start)));
            for event in &part {
                let inside = |at: Nanos| from <= at.0 && at.0 <= to;
                prop_assert!(event.at().is_none_or(inside), "{event:?} is not from {from} to {to}");
                if let Event::OffCpu(off) = event {
                    prop_assert!(inside(off.start) && off.start < off.end);
                }
            }
            let profile = profile(&part, &session);
            accessed.extend(accesses(&profile));
            looks += part.iter().filter(|event| matches!(event, Event::Access { .. })).count();
            for (key, (samples, ns)) in sums(&profile) {
                let sum = parts.entry(key).or_default();
                (sum.0, sum.1) = (sum.0 + samples, sum.1 + ns);
            }
            for (index, thread) in profile.threads.iter().enumerate() {
                let original = whole.threads.iter().find(|original| original.tid == thread.tid).unwrap();
                prop_assert_eq!(&thread.name, &original.name);
                // Off the CPU or on it: all of its time there, in kernel mode; periods, in memory mode.
                let there = thread.end.since(thread.start);
                let of_thread = profile.tree.iter().filter(|(key, _)| key.thread.0 as usize == index);
                let of_thread: Vec<_> = of_thread.collect();
                let off: u64 = of_thread.iter().map(|(_, weight)| weight.off_cpu_ns).sum();
                let on = of_thread.iter().filter(|(key, _)| key.state.on_cpu());
                let on: u64 = on.map(|(_, weight)| weight.samples).sum();
                if thread.exited {
                    let used = if mode == Mode::Kernel { there - off } else { there.min(on * 10_000_000) };
                    prop_assert_eq!(thread.cpu_ns, used);
                }
            }
            // One that was cut did not begin or end there, and nobody woke the thread at the edge.
            let originals = off_cpu(&events, &whole);
            for (tid, off) in off_cpu(&part, &profile) {
                let is_it = |(other, original): &&(Tid, OffCpu)| {
                    *other == tid && original.start <= off.start && off.end <= original.end
                };
                let (_, original) = originals.iter().find(is_it).unwrap();
                let is_whole = (off.start, off.end) == (original.start, original.end);
                prop_assert_eq!(off.open, original.open || !is_whole);
                let woken = original.wake.filter(|wake| wake.at.0 <= to);
                prop_assert_eq!(off.wake.is_some(), woken.is_some());
                let by = |wake: Option<Wake>| wake.is_some_and(|wake| wake.by.is_some());
                prop_assert_eq!(by(off.wake), by(woken) && off.end == original.end);
            }
        }
        prop_assert_eq!(parts, sums(&whole));
        let mut sum: BTreeMap<String, u64> = BTreeMap::new();
        accessed.into_iter().for_each(|(what, amount)| *sum.entry(what).or_default() += amount);
        // An object that only one thread used in each part is shared in the whole: there can be more, but nothing else.
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        accesses(&whole).into_iter().for_each(|(what, amount)| *all.entry(what).or_default() += amount);
        for (what, amount) in sum {
            prop_assert!(all.get(&what) >= Some(&amount), "{amount} of {what} in {all:?}");
        }
        let count = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Access { .. })).count();
        prop_assert_eq!(looks, count(&events));
    }
}

fn filter(change: impl FnOnce(&mut FilterArgs)) -> Filter {
    let mut args = FilterArgs::default();
    change(&mut args);
    Filter::new(&args).unwrap()
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Waits of 1 to 6 ms in turn: for the GIL, and for both locks. In memory mode each was seen once.
fn waits(mode: Mode) -> (Profile, Vec<(ThreadId, Arc<str>)>) {
    let act = |number: u64| {
        let why = [0, 4, 5][number as usize % 3];
        (number as u32 % 2, 1000 * (number + 1), Act::Off { depth: 5, why, by: None, holder: None, lost: false })
    };
    let mut acts: Vec<_> = (0..6).map(act).collect();
    acts.push((2, 1, Act::Name { number: 2 }));
    let (table, events, info) = session(mode, &acts);
    let mut profile = profile(&events, &info);
    profile.stacks = table;
    (profile, vec![(ThreadId(2), "worker 2".into()), (ThreadId(3), "worker 3".into())])
}

#[test]
fn threads_are_selected_by_name_and_by_tid() {
    let (profile, names) = waits(Mode::Kernel);
    let threads = |wanted: &[&str]| {
        let filter = filter(|args| args.thread = list(wanted));
        let selection = filter.selection(&profile, &names).map_err(|error| error.to_string())?;
        Ok::<_, String>((0..=THREADS).filter(|&id| selection.has_thread(ThreadId(id))).collect::<Vec<_>>())
    };
    assert_eq!(threads(&["worker 3"]), Ok(vec![3]));
    assert_eq!(threads(&["4001", "worker 2"]), Ok(vec![1, 2]));
    assert_eq!(
        threads(&["worker"]).unwrap_err().find("no thread is called worker: there are thread 4000, "),
        Some(0)
    );
    assert_eq!(threads(&[]), Ok((0..=THREADS).collect()));
}

#[test]
fn a_function_is_selected_with_what_it_calls() {
    let (profile, names) = waits(Mode::Kernel);
    // Stack n has the functions f1 to fn on it.
    for wanted in ["f3", "App.f3"] {
        let filter = filter(|args| args.function = list(&[wanted]));
        assert_eq!(
            filter.selection(&profile, &names).unwrap().stacks.unwrap(),
            [false, false, false, false, true, true, true, true, true, true],
            "the first two are the empty one and a marker"
        );
    }
    let filter = filter(|args| args.function = list(&["f33"]));
    assert!(filter.selection(&profile, &names).unwrap_err().to_string().starts_with("no function is called f33"));
}

#[test]
fn locks_are_selected_by_a_part_of_their_label() {
    let (profile, names) = waits(Mode::Kernel);
    let selection = filter(|args| args.lock = list(&["app.lo"])).selection(&profile, &names).unwrap();
    let has = |state| selection.has(ThreadId(0), StackId::EMPTY, state, Nanos(START));
    assert!(has(ThreadState::LockWait(LockId(1))) && !has(ThreadState::LockWait(LockId(0))));
    assert!(!has(ThreadState::GilWait) && !has(ThreadState::Blocked(Syscall(0))));
}

#[test]
fn waits_are_selected_by_their_length() {
    // In memory mode a wait that was seen once took a period, which is 10 ms.
    for (mode, least, expected) in [
        (Mode::Kernel, 4.0, 3),
        (Mode::Kernel, 4.001, 2),
        (Mode::Kernel, 0.5, 6),
        (Mode::Memory, 9.0, 6),
        (Mode::Memory, 11.0, 0),
    ] {
        let (profile, names) = waits(mode);
        let selection = filter(|args| args.min_wait = Some(least)).selection(&profile, &names).unwrap();
        let selected: usize = selection.waits.unwrap().iter().map(Vec::len).sum();
        assert_eq!(selected, expected, "{mode:?}, {least} ms");
    }
}

#[test]
fn what_is_looked_at_is_said_in_words() {
    let all = filter(|args| {
        (args.from, args.to, args.min_wait) = (Some(1.5), Some(2.0), Some(3.0));
        (args.thread, args.function, args.lock) = (list(&["a", "b"]), list(&["f"]), list(&["l"]));
    });
    assert_eq!(all.words().unwrap(), "from 1.5 s to 2 s; thread a, b; function f; lock l; waits of 3 ms and more");
    assert_eq!(filter(|args| args.from = Some(1.0)).words().unwrap(), "from 1 s on");
    assert_eq!(filter(|args| args.to = Some(1.0)).words().unwrap(), "until 1 s");
    assert_eq!(filter(|_| {}).words(), None);
}

#[test]
fn times_are_seconds_since_the_start() {
    let act = Act::Off { depth: 1, why: 6, by: None, holder: None, lost: false };
    let (_, events, info) = session(Mode::Memory, &[(0, 3_000_000, act)]);
    let inside = |from, to| {
        let mut window = filter(|args| (args.from, args.to) = (from, to)).window(&info).unwrap();
        let mut out = Vec::new();
        events.iter().for_each(|event| window.push(event.clone(), &mut out));
        out.iter().filter(|event| matches!(event, Event::Sample { .. })).count()
    };
    // The sample is 3.001 s after the start.
    assert_eq!([inside(Some(2.9), Some(3.1)), inside(None, Some(2.9)), inside(Some(3.1), None)], [1, 0, 0]);
    let seconds = info.end.since(info.start) as f64 / 1e9;
    let check = |from| filter(|args| args.from = Some(from)).check(&info);
    assert!(check(seconds - 0.001).is_ok());
    let error = check(seconds + 0.001).unwrap_err().to_string();
    assert!(error.contains("the recording is 3.0 s long"), "{error}");
    assert!(Filter::new(&FilterArgs { from: Some(2.0), to: Some(2.0), ..FilterArgs::default() }).is_err());
}
