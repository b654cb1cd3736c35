//! What people see.

use super::*;
use crate::gil::summary::GilSummary;
use crate::profile::Profile;
use crate::report::fixture::{self, quiet_gil};
use crate::report::model::Blamed;

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn a_fight() {
    let report = fixture::report();
    let text = text(&report, Attribution::Holder, false);
    assert_fits(&text);
    insta::assert_snapshot!(text, @r"
    Biggest cost: client waits 76 % of its time for the GIL, mostly held by cruncher
    in crunch (app.py:30). On average 1.0 threads were held up (2.01 s of thread
    time in 2.00 s).

    Findings
    HIGH: client waits 76 % of its time for the GIL (1.53 s, longest 12.0 ms);
      cruncher 24 %. 75 % of the waiting passes while cruncher is in crunch
      (app.py:30). client releases the GIL often and gets it back after 5.10 ms on
      average, 300 times, for 100 us of work each: CPython lets a holder keep it for
      5.00 ms. On average 2.0 threads have Python to run, and the GIL lets one run
      at a time. Move the work of crunch to another process, use a free-threaded
      Python, or try sys.setswitchinterval(0.001).
    MEDIUM: legacy kept the GIL while blocked in clock_nanosleep in call_native_code
      (app.py:40): 398 ms, 20 % of the time. Others waited up to 380 ms for it
      meanwhile (client waited 76 % of its time): the code that makes the call
      should release the GIL.

    GIL: 97 % held, 1.0 threads wait on average, longest wait 12.0 ms

    Threads: what each did, in % of its time
                                           GIL held,  held,   GIL                 no
    thread                          wall  held block no CPU  wait native block   CPU
    cruncher                      2.00 s  75.0     -    1.0  24.0      -     -     -
    client                        2.00 s   1.0     -      -  76.5    0.5  21.5   0.5
    legacy                        2.00 s   1.0  20.0      -     -      -  79.0     -
    thread 100                    2.00 s     -     -      -     -    0.1  99.9     -
    (held, block: holds the GIL while blocked; held, no CPU: holds the GIL, but
      others have the CPUs; no CPU: ready to run)

    GIL: who waits
    thread                        waits    total     mean      p50      p99      max
    client                          300   1.53 s  5.10 ms  5.10 ms  9.00 ms  12.0 ms
    cruncher                         60   480 ms  8.00 ms  8.00 ms  8.00 ms  8.00 ms
    all                             360   2.01 s  5.58 ms  5.00 ms  9.00 ms  12.0 ms
    held 97 % of the time: 51 % running Python, 25 % in native code, 20 % blocked,
      1.0 % without a CPU
    waited for 95 % of the time; released 360 times: 280 forced (switch interval
      5.00 ms), 80 voluntary
    accounting complete: 2.00 s held by others, 10.1 ms hand-off, 1 ns unknown

    Holders: who held it while others waited
       1.50 s   75 %  cruncher (102)
                       crunch (app.py:30)
                       <module> (app.py:1)
       380 ms   19 %  legacy (103)
                       call_native_code (app.py:40)
                       <module> (app.py:1)
       120 ms  6.0 %  client (101)
                       ask (app.py:20)
                       <module> (app.py:1)

    Waiters: who waited, and where
       1.53 s   76 %  client (101)
                       ask (app.py:20)
                       <module> (app.py:1)
       480 ms   24 %  cruncher (102)
                       crunch (app.py:30)
                       <module> (app.py:1)
    ");
    insta::assert_snapshot!(subject(&report), @r"
    process 100: python app.py (Python 3.12.1)
    recorded in kernel mode for 2.00 s: 153 samples, 0 without a stack, 0 records
      lost
    ");
}

#[test]
fn blame_picks_the_table() {
    let report = fixture::report();
    let of = |blame| text(&report, blame, false);
    let (holder, releaser, waiter) = (of(Attribution::Holder), of(Attribution::Releaser), of(Attribution::Waiter));
    assert!(releaser.contains("Releasers") && !releaser.contains("Holders"));
    assert!(holder.contains("Holders") && !holder.contains("Releasers"));
    assert!(!waiter.contains("Releasers") && !waiter.contains("Holders"));
    for text in [&holder, &releaser, &waiter] {
        assert_fits(text);
        assert!(text.contains("Waiters"));
    }
}

#[test]
fn only_headings_are_bold() {
    let report = fixture::report();
    let (plain, bold) = (text(&report, Attribution::Holder, false), text(&report, Attribution::Holder, true));
    assert!(!plain.contains('\x1b'));
    assert_eq!(bold.replace("\x1b[1m", "").replace("\x1b[0m", ""), plain);
    assert!(
        bold.starts_with("\x1b[1mBiggest cost: client waits") && bold.contains("\x1b[1mGIL: who waits"),
        "{bold}"
    );
}

#[test]
fn a_sum_that_is_not_one_shows() {
    let (profile, mut gil) = fixture::fight();
    gil.contention.gap_ns += 1;
    let text = text(&Report::new(&profile, &[gil], &[], Attribution::Holder), Attribution::Holder, false);
    assert!(text.contains("1.999876543 + 0.010123457 + 0.000000001 != 2.010000000"), "{text}");
}

/// A free-threaded program with this many threads that sleep.
fn sleepers(mode: Mode, count: usize, name: &str) -> Profile {
    let mut profile = fixture::profile(mode, true, &vec![name; count]);
    fixture::finish(&mut profile);
    profile
}

#[test]
fn of_many_threads_those_that_do_most_are_shown() {
    let names: Vec<String> =
        ('a'..='z').map(|letter| format!("{letter} name that is much too long for its table")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(["", "pool_1", "pool_2", "pool_3"]);
    let mut profile = fixture::profile(Mode::Memory, true, &names);
    fixture::finish(&mut profile);
    for index in 0..30 {
        let thread = crate::event::ThreadId(index);
        fixture::samples(&mut profile, thread, 100, crate::event::ThreadState::Blocked(crate::event::Syscall(0)));
        fixture::samples(&mut profile, thread, index, crate::event::ThreadState::Running);
    }
    let report = Report::new(&profile, &[], &[], Attribution::Holder);
    let text = text(&report, Attribution::Holder, false);
    assert_fits(&text);
    assert!(text.contains("\n\nNo GIL: 3.6 threads run at a time on average\nAll times are estimated"), "{text}");
    assert!(text.contains("pool_* (3 threads)"), "of a group all are in one row: {text}");
    assert!(text.contains("... and 8 more"), "{text}");
    assert!(text.contains("\nz name") && text.contains("\ni name") && !text.contains("\nh name"), "{text}");
    assert!(text.find("z name") < text.find("y name"), "the busiest first");
}

#[test]
fn a_gil_that_is_not_used_is_not_shown_and_one_that_is_not_waited_for_is_short() {
    let mut info = (*quiet_gil().info).clone();
    info.enabled = false;
    let off = GilSummary { info: info.into(), ..quiet_gil() };
    let of = |gil| {
        text(
            &Report::new(&sleepers(Mode::Kernel, 1, ""), &[gil], &[], Attribution::Holder),
            Attribution::Holder,
            false,
        )
    };
    assert!(of(off).contains("\n\nNo GIL: 0.0 threads run"));
    let quiet = of(quiet_gil());
    assert!(quiet.contains("\n\nGIL: 0 % held, nobody waits\n"), "{quiet}");
    assert!(!quiet.contains("accounting"), "{quiet}");
}

#[test]
fn several_gils_are_told_apart() {
    let (profile, gil) = fixture::fight();
    let mut info = (*gil.info).clone();
    info.interpreter = 3;
    let second = GilSummary { info: info.into(), ..gil.clone() };
    let report = Report::new(&profile, &[gil, second], &[], Attribution::Holder);
    for which in ["the main interpreter", "interpreter 3 (cruncher)"] {
        let which = format!("client waits 76 % of its time for the GIL of {which}");
        assert!(report.findings.iter().any(|finding| finding.message.contains(&which)), "{:#?}", report.findings);
    }
    let text = text(&report, Attribution::Holder, false);
    assert_fits(&text);
    assert!(text.contains("GIL of interpreter 0: 97 % held") && text.contains("GIL of interpreter 3: who waits"));
}

#[test]
fn nothing_recorded_has_no_text() {
    assert_eq!(
        text(&Report::new(&Profile::default(), &[], &[], Attribution::Holder), Attribution::Holder, false),
        ""
    );
}

#[test]
fn what_is_left_out_of_lists_is_summed_up() {
    let mut report = fixture::report();
    let gil = &mut report.gils[0];
    let (one, thread) = (gil.holders[0].clone(), gil.threads[0].clone());
    let holder =
        |number: i32| Blamed { seconds: f64::from(number), stack: vec![format!("f{number}")], ..one.clone() };
    gil.holders = (1..=8).map(holder).collect();
    gil.threads = (0..13)
        .map(|number| {
            let mut thread = thread.clone();
            thread.tid = 500 + number;
            thread.wait.total_s = f64::from(number + 1);
            thread
        })
        .collect();
    let text = text(&report, Attribution::Holder, false);
    assert!(text.contains("6.00 s         3 more stacks"), "{text}");
    assert!(text.contains("... and 3 more\n"), "{text}");
    let at = |tid: i32| text.find(&format!("client ({tid})  "));
    assert!(at(512) < at(511) && at(503).is_some() && at(502).is_none(), "who waits most comes first: {text}");
}

#[test]
fn where_the_library_waits_the_threads_own_code_is_shown() {
    let lines = |labels: &[&str], own: usize| {
        let mut text = ReportText { out: String::new(), bold: false };
        text.frames(&labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>(), own, 0);
        text.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let [handle, call, log] =
        ["handle (logging/__init__.py:10)", "callHandlers (logging/__init__.py:20)", "_log (logging/__init__.py:30)"];
    assert_eq!(
        lines(&[handle, call, log, "work (app.py:1)", "run (threading.py:2)"], 3),
        [handle, call, "... work (app.py:1)"]
    );
    assert_eq!(
        lines(&[handle, "work (app.py:1)", "main (app.py:2)", "<module> (app.py:3)"], 1),
        [handle, "work (app.py:1)", "main (app.py:2)"]
    );
    assert_eq!(lines(&[handle, call, log, handle], 0), [handle, call, log], "there is none");
    assert_eq!(lines(&[], 0), ["(no Python frame)"]);
}
