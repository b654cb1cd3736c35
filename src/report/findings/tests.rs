//! Each finding where it belongs, and not where one number is short of its threshold.

use super::*;
use crate::contention::Blame;
use crate::event::{Event, Nanos, Syscall, ThreadState};
use crate::gil::summary::{GilSummary, HoldClasses, ThreadShare};
use crate::profile::{Mode, Profile};
use crate::report::fixture::{self, CLIENT, CRUNCHER, LEGACY, MS, quiet_gil, waits};

fn of(profile: &Profile, gil: GilSummary) -> Vec<Finding> {
    Report::new(profile, &[gil], &[], Default::default()).findings
}

fn ids(found: &[Finding]) -> Vec<&str> {
    found.iter().map(|finding| finding.id.as_str()).collect()
}

/// The finding of this kind in the fight after `change`.
fn after(id: &str, change: impl FnOnce(&mut Profile, &mut GilSummary)) -> Option<Finding> {
    let (mut profile, mut gil) = fixture::fight();
    change(&mut profile, &mut gil);
    of(&profile, gil).into_iter().find(|finding| finding.id == id)
}

#[test]
fn all_is_well_with_an_idle_program() {
    let (profile, _) = fixture::fight();
    assert_eq!(of(&profile, quiet_gil()), []);
}

#[test]
fn the_worst_comes_first() {
    let (profile, gil) = fixture::fight();
    let found = of(&profile, gil);
    assert_eq!(ids(&found), ["gil-saturated", "gil-convoy", "gil-hog", "gil-held-while-blocked"]);
    assert!(found.is_sorted_by_key(|finding| finding.severity));
}

#[test]
fn a_saturated_gil_needs_both_a_holder_and_waiters() {
    let found = after("gil-saturated", |_, _| {}).unwrap();
    assert_eq!(
        found.message,
        "The GIL is held 97 % of the time, and 1.0 threads wait for it on average: 2.0 threads had Python to run, but \
         only one can at a time. Processes or a free-threaded Python can help."
    );
    assert_eq!(found.evidence["held_fraction"], 0.97);
    assert!(after("gil-saturated", |_, gil| gil.held.python_ns -= 50 * MS).is_none(), "94.5 %");
    assert!(after("gil-saturated", |_, gil| gil.contention.waits.total_ns = 990 * MS).is_none(), "0.495 waiters");
    let mild = after("gil-saturated", |_, gil| gil.contention.waits.total_ns = 1010 * MS).unwrap();
    assert_eq!(mild.severity, Severity::Medium);
}

#[test]
fn a_convoy_is_many_long_waits_for_short_turns() {
    let found = after("gil-convoy", |_, _| {}).unwrap();
    assert_eq!(
        found.message,
        "client (101) releases the GIL often and waits 5.10 ms to acquire it again, 300 times, 76 % of its time, for \
         100 us of work each. CPython lets the holder keep it for 5.00 ms. Try a smaller sys.setswitchinterval(), or \
         move the holder's work to another process."
    );
    assert_eq!((found.severity, found.evidence["tid"].as_i64()), (Severity::High, Some(101)));
    let waiting =
        |count, each| move |_: &mut Profile, gil: &mut GilSummary| gil.threads[0].waits = waits(count, each);
    assert!(after("gil-convoy", waiting(300, 2_400_000)).is_none(), "half of an interval is 2.5 ms");
    assert!(after("gil-convoy", waiting(19, 5 * MS)).is_none(), "too few");
    assert!(after("gil-convoy", waiting(20, 4 * MS)).is_none(), "4 % of its time, and turns of 1.5 ms");
    assert!(after("gil-convoy", |_, gil| gil.estimated = true).is_none(), "single waits are not known");
    let computes = |profile: &mut Profile, _: &mut GilSummary| {
        let account = profile.threads[CLIENT.0 as usize].account.as_mut().unwrap();
        (account.on_cpu_ns, account.blocked_ns) = (330 * MS, 130 * MS);
    };
    assert!(after("gil-convoy", computes).is_none(), "it computes for 1.1 ms at a time");
}

#[test]
fn a_hog_causes_most_of_the_waiting() {
    let found = after("gil-hog", |_, _| {}).unwrap();
    assert_eq!(
        found.message,
        "cruncher (102) causes 75 % of the waiting for the GIL (1.50 s of 2.01 s), most of it in crunch (app.py:30). \
         client (101) waits for 76 % of its time. Another process, or code that releases the GIL, could do this work."
    );
    assert!(after("gil-hog", |_, gil| gil.threads[1].caused_ns = 1200 * MS).is_none(), "59.7 %");
    let little = |_: &mut Profile, gil: &mut GilSummary| {
        gil.threads[0].waits = waits(30, 3 * MS);
        gil.contention.waits = waits(30, 3 * MS);
        gil.threads[1].waits = waits(0, 0);
    };
    assert!(after("gil-hog", little).is_none(), "4.5 % of the client's time");
    let alone = after("gil-hog", |_, gil| {
        gil.threads.remove(0);
    });
    assert!(alone.is_none(), "the other thread waits for nothing");
}

#[test]
fn a_call_that_keeps_the_gil_is_named() {
    let found = after("gil-held-while-blocked", |_, _| {}).unwrap();
    assert_eq!(
        found.message,
        "legacy (103) kept the GIL while blocked in clock_nanosleep in call_native_code (app.py:40): 398 ms, 20 % of \
         the time. Others waited up to 380 ms for it meanwhile: the code that makes the call should release the GIL."
    );
    assert_eq!(found.severity, Severity::Medium);
    // Two threads at one place are one finding; 19 ms of two seconds are none.
    let held = |by: &[(crate::event::ThreadId, u64)], caused: bool| {
        after("gil-held-while-blocked", |_, gil| {
            let stack = gil.contention.by_holder[1].stack;
            let blamed = by.iter().map(|&(thread, ms)| (Syscall(0), Blame { thread, stack, ns: ms * MS }));
            gil.held_off_cpu = blamed.collect();
            gil.contention.by_holder.retain(|_| caused);
        })
    };
    assert!(held(&[(LEGACY, 19)], true).is_none());
    let found = held(&[(LEGACY, 9), (CRUNCHER, 12)], false).unwrap();
    assert!(found.message.starts_with("cruncher (102) and 1 more threads kept"), "{}", found.message);
    assert!(found.message.contains("blocked in read"), "{}", found.message);
    assert_eq!((found.severity, found.evidence["caused_s"].as_f64()), (Severity::Low, Some(0.0)));
}

#[test]
fn a_gil_that_was_switched_on_is_no_surprise_to_others() {
    let message = |free_threaded, change: &dyn Fn(&mut GilSummary)| {
        let profile = fixture::profile(Mode::Kernel, free_threaded, &[""]);
        let mut gil = quiet_gil();
        change(&mut gil);
        of(&profile, gil).pop().map(|finding| finding.message)
    };
    let at = Nanos(fixture::END.0 - 500 * MS);
    let by = message(true, &|gil| gil.switched_on = Some((at, Some("legacy_ext".into())))).unwrap();
    assert!(by.contains("switched on by the extension module legacy_ext after 1.50 s"), "{by}");
    assert!(message(true, &|_| {}).unwrap().contains("GIL was on from the start"));
    assert_eq!(message(false, &|_| {}), None);
    let off = |gil: &mut GilSummary| {
        let mut info = (*gil.info).clone();
        info.enabled = false;
        gil.info = info.into();
    };
    assert_eq!(message(true, &off), None);
}

#[test]
fn lost_records_are_told() {
    let (mut profile, _) = fixture::fight();
    profile.session.records_lost = 7;
    let found = of(&profile, quiet_gil());
    assert_eq!(ids(&found), ["records-lost"]);
    assert_eq!(found[0].evidence["lost_events"], 7);
    assert!(found[0].message.starts_with("7 records were lost"));
    // And what is there is not judged by what is not.
    profile.session.records_lost = 0;
    let held = HoldClasses { python_ns: 1999 * MS, ..HoldClasses::default() };
    let share = ThreadShare { thread: CRUNCHER, waits: waits(0, 0), lengths: Default::default(), held, caused_ns: 0 };
    assert_eq!(of(&profile, GilSummary { held, threads: vec![share], ..quiet_gil() }), []);
}

#[test]
fn a_gil_that_is_held_to_collect_is_told_with_who_waits() {
    let collecting = |ms: u32, waited: u64| {
        after("gil-held-to-collect", |profile, gil| {
            let stack = fixture::stack(profile, "build", 50);
            let frame = profile.stacks.marker_frame(crate::stack::collections::FRAME);
            let stack = profile.stacks.push(stack, frame);
            let sample = |periods, state| Event::Sample {
                at: Nanos(fixture::END.0 - 1),
                periods,
                thread: CRUNCHER,
                state,
                stack,
                gil: None,
            };
            profile.push(&sample(ms / 10, ThreadState::GilHeld));
            profile.push(&sample(1, ThreadState::Native));
            gil.contention.by_holder.push(Blame { thread: CRUNCHER, stack, ns: waited * MS });
        })
    };
    let found = collecting(300, 250).unwrap();
    assert_eq!(
        found.message,
        "The GIL is held to collect garbage for 300 ms, 15 % of the time, most of it started in build (app.py:50). \
         Others waited 250 ms for it meanwhile. gc.freeze() after start-up and a higher gc.set_threshold() reduce that."
    );
    assert_eq!((found.severity, found.cost_s), (Severity::Medium, 0.25));
    assert!(collecting(190, 100).is_none(), "9.5 % of the time");
    assert_eq!(collecting(600, 0).unwrap().severity, Severity::High);
}
