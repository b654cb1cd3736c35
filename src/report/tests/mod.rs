//! The report as a whole: the JSON that others rely on.

mod locks;
mod pools;
mod refcounts;
mod twins;

use serde_json::json;

use super::{fixture, *};
use crate::event::Nanos;
use crate::profile::Mode;

#[test]
fn the_json_is_what_was_promised() {
    let json = serde_json::to_value(fixture::report()).unwrap();
    assert_eq!(json["schema"], "gilscope-report/1");
    assert_eq!(
        json["target"],
        json!({"pid": 100, "command": ["python", "app.py"], "python": "3.12.1", "free_threaded": false,
               "gil_enabled": true})
    );
    assert_eq!(
        json["session"],
        json!({"mode": "kernel", "duration_s": 2.0, "rate_hz": 100.0, "samples": 153, "torn_samples": 0,
               "lost_events": 0, "profiler_cpu_s": 0.0, "degraded": []})
    );
    assert_eq!(
        json["threads"][1],
        json!({"pid": 100, "tid": 101, "name": "client", "wall_s": 2.0, "cpu_s": 0.03, "states": {
               "running_s": 0.0, "gil_held_s": 0.02, "gil_held_off_cpu_s": 0.0, "gil_held_no_cpu_s": 0.0, "gil_wait_s": 1.53,
               "lock_wait_s": 0.0, "native_s": 0.01, "paused_s": 0.0, "blocked_s": 0.43, "runnable_s": 0.01,
               "stopped_s": 0.0, "unknown_s": 0.0}})
    );
    let gil = &json["gils"][0];
    assert_eq!((&gil["interpreter"], &gil["enabled"]), (&json!(0), &json!(true)));
    assert_eq!((&gil["switch_interval_s"], &gil["held_fraction"]), (&json!(0.005), &json!(0.97)));
    assert_eq!((&gil["contended_fraction"], &gil["mean_waiters"]), (&json!(0.95), &json!(1.005)));
    let wait = json!({"count": 360, "total_s": 2.01, "mean_s": 0.005583333, "p50_s": 0.005, "p99_s": 0.009,
                      "max_s": 0.012});
    assert_eq!((&gil["wait"], &gil["forced_drops"]), (&wait, &json!(280)));
    let crunch = json!(["crunch (app.py:30)", "<module> (app.py:1)"]);
    assert_eq!(gil["holders"][0], json!({"tid": 102, "thread": "cruncher", "seconds": 1.5, "stack": crunch}));
    assert_eq!(gil["waiters"][1], json!({"tid": 102, "thread": "cruncher", "seconds": 0.48, "stack": crunch}));
    let released: Vec<_> =
        gil["releasers"].as_array().unwrap().iter().map(|by| by["seconds"].as_f64().unwrap()).collect();
    assert_eq!(released, [1.5, 0.3]);
    assert_eq!(gil["held_off_cpu"][0]["syscall"], "clock_nanosleep");
    assert_eq!(gil["held_off_cpu"][0]["tid"], 103);
    assert_eq!(json["locks"], json!([]));
    assert_eq!(json["findings"][0]["severity"], "high");
}

#[test]
fn parts_of_the_waits_keep_their_nanoseconds() {
    let gil = &fixture::report().gils[0];
    let nanos = |seconds: f64| (seconds * 1e9).round() as u64;
    assert_eq!(nanos(gil.caused_s) + nanos(gil.gap_s) + nanos(gil.unknown_s), nanos(gil.wait.total_s));
    assert_eq!((nanos(gil.caused_s), nanos(gil.unknown_s)), (1_999_876_543, 1));
}

#[test]
fn nothing_recorded_is_a_report_too() {
    let report = Report::new(&Profile::default(), &[], &[], Attribution::Holder);
    let back: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(back, report);
    assert!(report.findings.is_empty());
}

#[test]
fn a_free_threaded_python_has_no_gil_unless_it_is_on() {
    let mut profile = fixture::profile(Mode::Kernel, true, &[""]);
    fixture::finish(&mut profile);
    let mut gil = fixture::quiet_gil();
    assert!(Report::new(&profile, std::slice::from_ref(&gil), &[], Attribution::Holder).target.gil_enabled);
    let mut info = (*gil.info).clone();
    info.enabled = false;
    gil.info = info.into();
    assert!(!Report::new(&profile, &[gil], &[], Attribution::Holder).target.gil_enabled);
    assert!(!Report::new(&profile, &[], &[], Attribution::Holder).target.gil_enabled);
}

#[test]
fn what_was_lost_left_out_and_stuck_is_told() {
    use crate::event::{Event, Loss, ThreadState};
    let mut profile = fixture::profile(Mode::Memory, false, &["", "a", "b"]);
    profile.session.filter = Some("thread a".to_owned());
    let (at, thread, state) = (Nanos(1), ThreadId(1), ThreadState::Native);
    profile.push(&Event::Lost { at, periods: 2, thread, state, gil: None, loss: Loss::Torn });
    profile.push(&Event::RecordsLost { at, count: 5 });
    let threads = vec![(ThreadId(1), "one lock".into()), (ThreadId(2), "another".into())];
    profile.push(&Event::Deadlock { at, threads });
    let json = serde_json::to_value(Report::of(&profile, Attribution::Holder)).unwrap();
    let session = &json["session"];
    assert_eq!((&session["torn_samples"], &session["lost_events"]), (&json!(2), &json!(5)));
    assert_eq!(session["filter"], "thread a");
    let stuck = |tid, thread, waits_for| json!({"tid": tid, "thread": thread, "waits_for": waits_for});
    assert_eq!(json["deadlocks"], json!([[stuck(101, "a", "one lock"), stuck(102, "b", "another")]]));
}

/// Threads a and b wait for each other from 1 s on.
fn circle(waits_for: [&str; 2]) -> Profile {
    let mut profile = fixture::profile(Mode::Kernel, false, &["", "a", "b"]);
    let threads = vec![(ThreadId(1), waits_for[0].into()), (ThreadId(2), waits_for[1].into())];
    profile.push(&crate::event::Event::Deadlock { at: Nanos(1_000_000_000), threads });
    profile
}

#[test]
fn a_circle_that_something_has_broken_is_no_deadlock() {
    use crate::event::{Event, OffCpu, ThreadState};
    use crate::stack::StackId;
    let sleep = |profile: &mut Profile, start, end| {
        let (start, end) = (Nanos(start), Nanos(end));
        profile.push(&Event::OffCpu(OffCpu::new(ThreadId(1), start, end, ThreadState::Runnable, StackId::EMPTY)));
    };
    let report = |profile: &Profile| Report::of(profile, Attribution::Holder);
    let mut profile = circle(["the end of a thread in run (a.py:3)", "the GIL in compute (a.py:9)"]);
    sleep(&mut profile, 500_000_000, 21_000_000_000);
    assert_eq!(report(&profile).deadlocks.len(), 1, "that is the wait itself");
    assert_eq!(
        report(&profile).findings[0].message,
        "DEADLOCK: 2 threads wait for each other: a (101) waits for the end of b (102) in run (a.py:3); b (102) waits for \
         the GIL in compute (a.py:9), held by a (101). The native code that waits has to release the GIL first \
         (Py_BEGIN_ALLOW_THREADS)."
    );
    sleep(&mut profile, 21_000_000_000, 21_050_000_000);
    assert_eq!(report(&profile).deadlocks.len(), 1, "as a thread does that is killed");
    sleep(&mut profile, 21_400_000_000, 21_500_000_000);
    let report = report(&profile);
    assert!(report.deadlocks.is_empty());
    let circle = &report.broken_circles[0];
    assert_eq!((circle.times, circle.longest_s), (1, 20.0));
    let message = &report.findings[0].message;
    assert!(
        message.starts_with("2 threads waited for each other, seen 1 time: a (101) waited for the end of"),
        "{message}"
    );
    assert!(message.contains("broke the circle, after 20.0 s and more"), "{message}");
}

#[test]
fn a_lock_that_nobody_will_release_says_why() {
    use crate::event::{Event, LEFT_AT_FORK};
    let alone = |waits_for: String| {
        let mut profile = fixture::profile(Mode::Kernel, false, &["", "a"]);
        profile.push(&Event::Deadlock { at: Nanos(1), threads: vec![(ThreadId(1), waits_for.into())] });
        let report = Report::of(&profile, Attribution::Holder);
        report.findings[0].message.clone()
    };
    let message = alone(format!("threading.Lock (app.lock) in work (app.py:3){LEFT_AT_FORK}"));
    assert!(
        message.starts_with(
            "DEADLOCK: a (101) waits for threading.Lock (app.lock) in work (app.py:3), which was held by a thread that did \
             not survive fork(); nobody will release it."
        ),
        "{message}"
    );
    let message = alone("threading.Lock (app.lock) in work (app.py:3)".to_owned());
    assert!(message.starts_with("DEADLOCK: a (101) waits for itself: it has threading.Lock (app.lock)"), "{message}");
}

#[test]
fn how_a_thread_lives_with_the_gil_is_not_told_from_some_of_its_waits() {
    use crate::contention::selection::Selection;
    let convoys = |selection: Option<Selection>| {
        let (mut profile, gil) = fixture::fight();
        // What was counted before is all of it.
        profile.whole = profile.tree.clone();
        selection.into_iter().for_each(|selection| profile.select(selection));
        let report = Report::new(&profile, &[gil], &[], Attribution::Holder);
        report.findings.iter().filter(|finding| finding.id == findings::CONVOY).count()
    };
    assert_eq!(convoys(None), 1);
    assert_eq!(convoys(Some(Selection { threads: Some(vec![true; 4]), ..Selection::default() })), 1);
    assert_eq!(convoys(Some(Selection { waits: Some(vec![Vec::new(); 4]), ..Selection::default() })), 0);
}
