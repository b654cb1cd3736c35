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
fn the_costliest_comes_first() {
    let (profile, gil) = fixture::fight();
    let found = of(&profile, gil);
    assert_eq!(ids(&found), ["gil-convoy", "gil-held-while-blocked"]);
    assert!(found.is_sorted_by_key(|finding| finding.severity));
}

/// The one finding of the fight for the GIL after `change`.
fn fight_after(change: impl FnOnce(&mut Profile, &mut GilSummary)) -> Option<Finding> {
    let (mut profile, mut gil) = fixture::fight();
    change(&mut profile, &mut gil);
    let is_fight = |finding: &Finding| ["gil-convoy", "gil-hog", "gil-saturated"].contains(&finding.id.as_str());
    let mut found: Vec<Finding> = of(&profile, gil).into_iter().filter(is_fight).collect();
    assert!(found.len() <= 1, "{found:#?}");
    found.pop()
}

#[test]
fn the_fight_has_its_victims_their_cause_and_what_to_do() {
    let found = fight_after(|_, _| {}).unwrap();
    assert_eq!(
        found.message,
        "client waits 76 % of its time for the GIL (1.53 s, longest 12.0 ms); cruncher 24 %. 75 % of the waiting passes \
         while cruncher is in crunch (app.py:30). client releases the GIL often and gets it back after 5.10 ms on \
         average, 300 times, for 100 us of work each: CPython lets a holder keep it for 5.00 ms. On average 2.0 threads \
         have Python to run, and the GIL lets one run at a time. Move the work of crunch to another process, use a \
         free-threaded Python, or try sys.setswitchinterval(0.001)."
    );
    assert_eq!(
        found.headline,
        "client waits 76 % of its time for the GIL, mostly held by cruncher in crunch (app.py:30)"
    );
    assert_eq!((found.severity, found.cost_s), (Severity::High, 2.01));
    assert_eq!(found.evidence["place_fraction"], 0.746269);
    let little = |profile: &mut Profile, gil: &mut GilSummary| {
        gil.threads[0].waits = waits(30, 3 * MS);
        gil.threads[1].waits = waits(0, 0);
        profile.session.end = fixture::END;
    };
    assert!(fight_after(little).is_none(), "4.5 % of the client's time");
    let brief = fight_after(|_, gil| {
        gil.threads[0].waits = waits(30, MS);
        gil.threads[1].waits = waits(0, 0);
        gil.observed_ns = 2000 * MS;
    });
    assert!(brief.is_none(), "30 ms of two seconds");
}

#[test]
fn a_convoy_is_many_long_waits_for_short_turns() {
    let id = |change: &dyn Fn(&mut Profile, &mut GilSummary)| fight_after(change).unwrap().id;
    assert_eq!(id(&|_, _| {}), "gil-convoy");
    let waiting =
        |count, each| move |_: &mut Profile, gil: &mut GilSummary| gil.threads[0].waits = waits(count, each);
    assert_eq!(id(&waiting(300, 2_400_000)), "gil-hog", "half of an interval is 2.5 ms");
    assert_eq!(id(&waiting(19, 50 * MS)), "gil-hog", "too few");
    assert_eq!(id(&|_, gil| gil.estimated = true), "gil-hog", "single waits are not known");
    let computes = |profile: &mut Profile, _: &mut GilSummary| {
        let account = profile.threads[CLIENT.0 as usize].account.as_mut().unwrap();
        (account.on_cpu_ns, account.blocked_ns) = (330 * MS, 130 * MS);
    };
    assert_eq!(id(&computes), "gil-hog", "it computes for 1.1 ms at a time");
}

#[test]
fn without_one_cause_the_costliest_are_named() {
    let found = fight_after(|_, gil| {
        gil.estimated = true;
        gil.contention.by_pair[0].1.ns = 900 * MS;
    })
    .unwrap();
    assert_eq!(found.id, "gil-saturated");
    assert!(
        found.message.contains(
            ". The GIL is held meanwhile in crunch (app.py:30) (45 %), call_native_code (app.py:40) (19 %), ask \
             (app.py:20) (6.0 %). On average"
        ),
        "{}",
        found.message
    );
}

#[test]
fn a_pool_of_equal_workers_contends_with_itself() {
    let profile = |names: &[&str]| {
        let mut profile = fixture::profile(Mode::Kernel, false, names);
        let work = fixture::stack(&mut profile, "score", 12);
        let blame = |thread, ns| Blame { thread: crate::event::ThreadId(thread), stack: work, ns };
        fixture::finish(&mut profile);
        let threads = (1..=4).map(crate::event::ThreadId);
        let pair = |waiter: crate::event::ThreadId| (waiter, blame(waiter.0 % 4 + 1, 1000 * MS));
        let contention = crate::contention::Contention {
            waits: waits(400, 10 * MS),
            caused_ns: 4000 * MS,
            by_waiter: threads.clone().map(|thread| blame(thread.0, 1000 * MS)).collect(),
            by_pair: threads.clone().map(pair).collect(),
            ..Default::default()
        };
        let share = |thread| ThreadShare {
            thread,
            waits: waits(100, 10 * MS),
            lengths: Default::default(),
            held: HoldClasses { python_ns: 500 * MS, ..HoldClasses::default() },
            caused_ns: 1000 * MS,
        };
        let gil = GilSummary { contention, threads: threads.map(share).collect(), ..quiet_gil() };
        of(&profile, gil).remove(0)
    };
    let found = profile(&["", "pool_0", "pool_1", "pool_2", "pool_3"]);
    assert_eq!(
        found.headline,
        "4 threads (pool_*) wait 50 % of their time for the GIL, mostly for each other in score (app.py:12)"
    );
    assert!(found.message.contains("100 % of the waiting passes while another of them is in score (app.py:12)"));
    let found = profile(&["", "a", "b", "c", "d"]);
    assert!(
        found.headline.starts_with("a waits 50 % of its time for the GIL, mostly held by 4 threads (a, b, c"),
        "{}",
        found.headline
    );
}

#[test]
fn a_call_that_keeps_the_gil_is_named() {
    let found = after("gil-held-while-blocked", |_, _| {}).unwrap();
    assert_eq!(
        found.message,
        "legacy kept the GIL while blocked in clock_nanosleep in call_native_code (app.py:40): 398 ms, 20 % of \
         the time. Others waited up to 380 ms for it meanwhile (client waited 76 % of its time): the code that makes the call \
         should release the GIL."
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
    assert!(found.message.starts_with("cruncher and legacy kept"), "{}", found.message);
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
         Others waited 250 ms for it meanwhile (client waits 76 % of its time for the GIL in all). gc.freeze() after start-up and a higher gc.set_threshold() reduce that."
    );
    assert_eq!((found.severity, found.cost_s), (Severity::Medium, 0.25));
    assert!(collecting(190, 100).is_none(), "9.5 % of the time");
    assert_eq!(collecting(600, 0).unwrap().severity, Severity::High);
}
