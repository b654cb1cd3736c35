//! What is merged when there is too much to show.

use super::*;
use crate::contention::Timeline;
use crate::contention::selection::Selection;
use crate::event::{Event, OffCpu, Syscall, ThreadState};
use crate::export::fixture;
use crate::profile::Mode;

const READ: ThreadState = ThreadState::Blocked(Syscall(0));

/// One thread that is off the CPU for `ns` at a time, waiting and blocked in turn, and then once for long.
fn restless(ns: u64, times: u64) -> Profile {
    let mut profile = Profile::default();
    profile.keep_timeline();
    profile.session.mode = Mode::Kernel;
    fixture::start(&mut profile, 7, &[70, 71]);
    profile.threads.iter_mut().for_each(|thread| (thread.start, thread.end) = (Nanos(0), Nanos(0)));
    let stack = fixture::deep(&mut profile);
    let caller = profile.stacks.pop(stack).unwrap().0;
    let mut off = |start, end, state, stack| {
        let (thread, start, end) = (ThreadId(0), Nanos(start), Nanos(end));
        let off = OffCpu::new(thread, start, end, state, stack);
        profile.push(&Event::OffCpu(off));
    };
    for index in 0..times {
        let (state, stack) = if index % 2 == 0 { (ThreadState::GilWait, stack) } else { (READ, caller) };
        off(index * ns, (index + 1) * ns, state, stack);
    }
    off(times * ns, times * ns + 1_000_000, ThreadState::Runnable, stack);
    profile
}

fn length(slice: &StateSlice) -> u64 {
    slice.span.end.since(slice.span.start)
}

#[test]
fn all_is_shown_where_there_is_room() {
    let profile = restless(1_000, 100);
    let tracks = Tracks::with(&profile, Vec::new(), 1_000).unwrap();
    assert_eq!((tracks.states[0].len(), tracks.merged), (101, MergedSlices::default()));
    assert_eq!(tracks.stacks(ThreadId(0)).len(), 101);
}

#[test]
fn short_states_become_one_and_their_times_are_kept() {
    let profile = restless(1_000, 100);
    let tracks = Tracks::with(&profile, Vec::new(), 20).unwrap();
    let states = &tracks.states[0];
    assert!((5..=20).contains(&states.len()), "{}", states.len());
    let MergedSlices { shorter_than_ns, slices, into, arrows } = tracks.merged;
    // One can be left over before a long one.
    assert!((99..=100).contains(&slices) && into < states.len() as u64 && arrows == 0, "{:?}", tracks.merged);
    assert!(shorter_than_ns > 1_000);
    let sum = |name| -> u64 {
        let merged = states.iter().flat_map(|slice| &slice.many).flat_map(|many| many.parts.clone());
        let alone = states.iter().filter(|slice| slice.many.is_none()).map(|slice| (slice.name(), length(slice)));
        merged.chain(alone).filter(|part| part.0 == name).map(|part| part.1).sum()
    };
    assert_eq!((sum("GIL wait"), sum("blocked")), (50_000, 50_000));
    let (last, first) = (&states[states.len() - 1], &states[0]);
    assert_eq!((last.name(), length(last)), ("no CPU", 1_000_000), "what is long stays");
    assert_eq!(first.name(), "many short states");
    assert_eq!(first.stack(), None, "it was at several places");
    let details = tracks.details(ProcessId(0), first);
    let [("count", Detail::Number(count)), ("time", Detail::Text(time))] = &*details else { panic!() };
    assert_eq!(*count, first.many.as_ref().unwrap().count as u64);
    assert!(time.contains("GIL wait") && time.contains("blocked"), "{time}");
    // Frames go the same way, and keep what they have in common.
    let stacks = tracks.stacks(ThreadId(0));
    assert!(stacks.len() <= states.len(), "{} stacks", stacks.len());
    let depth = |span: &Span| profile.stacks.frames(span.stack).count();
    assert_eq!((depth(&stacks[0]), depth(&stacks[stacks.len() - 1])), (2, 3));
}

#[test]
fn short_holds_become_one_and_their_arrows_are_counted() {
    let profile = restless(1_000, 100);
    let info = crate::event::GilInfo { process: ProcessId(0), interpreter: 0, enabled: true, switch_interval_ns: 1 };
    let hold = |index: u64| Hold {
        start: Nanos(index * 1_000),
        end: Nanos(index * 1_000 + 700),
        thread: ThreadId((index % 2) as u32),
    };
    let handoff = |(at, acquired)| Handoff {
        from: ThreadId(0),
        released: Nanos(at),
        to: ThreadId(0),
        acquired: Nanos(acquired),
    };
    let timeline = Timeline {
        holds: (0..100).map(hold).collect(),
        waiters: Vec::new(),
        // The last goes back in time, and is none.
        handoffs: [(5_500, 9_500), (200_000, 300_000), (300_000, 200_000)].map(handoff).to_vec(),
    };
    let gil = || ContendedTrack { process: ProcessId(0), what: ContendedKind::Gil(&info), timeline: &timeline };
    let whole = Tracks::with(&profile, vec![gil()], 1_000).unwrap();
    assert_eq!((whole.holds[0].len(), whole.arrows.len()), (100, 2));
    let tracks = Tracks::with(&profile, vec![gil()], 30).unwrap();
    assert!(tracks.holds[0].len() < 30);
    let sums = tracks.holds[0].iter().map(|held| held.many.unwrap_or((1, held.end.since(held.start))));
    assert_eq!(sums.fold((0, 0), |sum, many| (sum.0 + many.0, sum.1 + many.1)), (100, 70_000));
    assert_eq!(tracks.holds[0][0].name(&profile), "many short holds");
    assert_eq!((tracks.arrows.len(), tracks.merged.arrows), (1, 1));
}

#[test]
fn what_a_filter_leaves_is_a_part_of_the_whole_and_nothing_else_has_a_track() {
    let mut profile = restless(1_000_000, 10);
    fixture::start(&mut profile, 8, &[80]);
    // What the thread did between, on the CPU, nobody saw.
    let off = |start: u64, stack| {
        OffCpu::new(ThreadId(0), Nanos(start), Nanos(start + 500_000), ThreadState::GilWait, stack)
    };
    let stack = fixture::deep(&mut profile);
    profile.push(&Event::OffCpu(off(20_000_000, stack)));
    let shown = |profile: &Profile| {
        let tracks = Tracks::with(profile, Vec::new(), u64::MAX).unwrap();
        let slices = tracks.states[0].iter().map(|slice| (slice.span.start, slice.span.end, slice.name()));
        let (slices, threads) = (slices.collect::<Vec<_>>(), tracks.threads().map(|(thread, ..)| thread.0).collect());
        (slices, threads, tracks.processes().map(|process| process.0).collect())
    };
    let (whole, threads, processes): (Vec<_>, Vec<_>, Vec<_>) = shown(&profile);
    assert_eq!((threads, processes), (vec![0, 1, 2], vec![0, 1]));
    // Waits in the innermost function only, as `--function c` says.
    let mut stacks = vec![false; profile.stacks.stacks().len() + 1];
    stacks[stack.index() as usize] = true;
    let only = |profile: &mut Profile, selection| {
        profile.select(selection);
        profile.session.filter = Some("a part".to_owned());
    };
    only(&mut profile, Selection { stacks: Some(stacks), ..Selection::default() });
    let (part, threads, processes): (Vec<_>, Vec<_>, Vec<_>) = shown(&profile);
    assert!(part.iter().all(|slice| whole.contains(slice)), "{part:?} is not in {whole:?}");
    let waits = |slices: &[(Nanos, Nanos, &str)]| slices.iter().filter(|slice| slice.2 == "GIL wait").count();
    assert_eq!((waits(&part), waits(&whole)), (6, 6));
    assert!(part.iter().all(|slice| slice.2 != "blocked"), "that was elsewhere: {part:?}");
    assert_eq!((threads, processes), (vec![0], vec![0]));
    only(&mut profile, Selection { threads: Some(vec![false, false, true]), ..Selection::default() });
    let (part, threads, processes): (Vec<_>, Vec<u32>, Vec<u32>) = shown(&profile);
    assert!(part.is_empty() && threads.is_empty() && processes.is_empty(), "nothing is known of it");
}

#[test]
fn locks_that_were_waited_for_much_have_a_track() {
    use crate::event::{LockId, LockInfo, LockKind, Wake};
    const MS: u64 = 1_000_000;
    let mut profile = restless(1, 1);
    profile.session.end = Nanos(1_000 * MS);
    for (id, ms) in [(0, 50), (1, 5)] {
        let (process, kind) = (ProcessId(0), LockKind::Lock);
        let info = LockInfo { process, address: id.into(), kind, type_name: None, name: None };
        profile.push(&Event::Lock { lock: LockId(id), info: info.into() });
        let (start, end) = (Nanos(100 * MS), Nanos((100 + ms) * MS));
        let (state, stack) = (ThreadState::LockWait(LockId(id)), StackId::EMPTY);
        let wake = Some(Wake { at: end, by: Some(ThreadId(1)), stack, switches: None });
        let off = OffCpu { wake, ..OffCpu::new(ThreadId(0), start, end, state, stack) };
        profile.push(&Event::OffCpu(off));
    }
    profile.finish();
    let shown = contended(&profile);
    let shown: Vec<LockId> = shown
        .iter()
        .filter_map(|one| if let ContendedKind::Lock(id, _) = one.what { Some(id) } else { None })
        .collect();
    assert_eq!(shown, [LockId(0)], "5 % of the time is much, 0.5 % is not");
}
