//! Every tab at several sizes, as text. Colours are not part of it: nothing may be said by a colour alone.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::event::{GilId, LockId};
use crate::tui::fixture::{Live, convoy, hot_lock};
use crate::tui::shown::Range;
use crate::tui::table::RowKey;

const PLAIN: Theme = Theme { color: false, ascii: false };

fn app(tab: Tab) -> App {
    let mut app = App::new(crate::report::Attribution::Holder, 500);
    app.tab = tab;
    app
}

fn screen(live: &Live, app: &App, (width, height): (u16, u16), theme: Theme) -> String {
    let (shown, history) = live.shown(app.range, app.blame);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let canvas = Canvas { app, shown: &shown, history: &history, theme };
    terminal.draw(|frame| drop(draw(frame, &canvas))).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn threads_of_a_convoy() {
    insta::assert_snapshot!(screen(&convoy(), &app(Tab::Threads), (120, 14), PLAIN));
}

#[test]
fn the_gil_of_a_convoy() {
    insta::assert_snapshot!(screen(&convoy(), &app(Tab::Gil), (120, 14), PLAIN));
}

#[test]
fn the_detail_of_a_waiter_has_both_stacks() {
    let mut app = app(Tab::Gil);
    app.detail = Some(RowKey::Waiter(GilId(0), 2));
    let text = screen(&convoy(), &app, (80, 44), PLAIN);
    assert!(text.contains("ask (app.py:41)") && text.contains("is_prime (app.py:31)"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn locks() {
    insta::assert_snapshot!(screen(&hot_lock(), &app(Tab::Locks), (160, 12), PLAIN));
}

#[test]
fn the_detail_of_a_lock() {
    let mut app = app(Tab::Locks);
    app.detail = Some(RowKey::Lock(LockId(0)));
    insta::assert_snapshot!(screen(&hot_lock(), &app, (80, 48), PLAIN));
}

#[test]
fn pauses() {
    insta::assert_snapshot!(screen(&hot_lock(), &app(Tab::Pauses), (100, 12), PLAIN));
}

#[test]
fn functions() {
    insta::assert_snapshot!(screen(&convoy(), &app(Tab::Functions), (120, 14), PLAIN));
}

#[test]
fn the_flame_graph() {
    let mut app = app(Tab::Flame);
    app.view = crate::export::View::Wall;
    app.flame.selected = ["run (app.py:1)".to_owned(), "crunch (app.py:20)".to_owned()].to_vec();
    insta::assert_snapshot!(screen(&convoy(), &app, (100, 14), PLAIN));
}

#[test]
fn findings_are_whole_sentences() {
    insta::assert_snapshot!(screen(&convoy(), &app(Tab::Findings), (80, 20), PLAIN));
}

#[test]
fn tabs_that_have_nothing_say_why() {
    let refcounts = screen(&convoy(), &app(Tab::Refcounts), (80, 12), PLAIN);
    assert!(refcounts.contains("has a GIL"), "{refcounts}");
    let gil = screen(&hot_lock(), &app(Tab::Gil), (80, 12), PLAIN);
    assert!(gil.contains("This Python runs without a GIL"), "{gil}");
    let locks = screen(&convoy(), &app(Tab::Locks), (80, 12), PLAIN);
    assert!(locks.contains("No thread has had to sleep for a lock"), "{locks}");
}

#[test]
fn a_small_screen_drops_what_matters_less() {
    insta::assert_snapshot!(screen(&convoy(), &app(Tab::Threads), (40, 10), PLAIN));
}

#[test]
fn a_tiny_screen_has_the_verdict_only() {
    insta::assert_snapshot!(screen(&convoy(), &app(Tab::Threads), (30, 5), PLAIN), @r"
    GIL: 100 % held, 0.8 threads
      wait on average, worst
      waiter client p99 8.00 ms
    ");
}

#[test]
fn ascii_is_ascii_everywhere() {
    let theme = Theme { color: true, ascii: true };
    for tab in Tab::ALL {
        for live in [convoy(), hot_lock()] {
            let text = screen(&live, &app(tab), (140, 40), theme);
            assert!(text.is_ascii(), "{tab:?}: {text}");
        }
    }
    let mut waiter = app(Tab::Gil);
    waiter.detail = Some(RowKey::Waiter(GilId(0), 2));
    let text = screen(&convoy(), &waiter, (140, 80), theme);
    assert!(text.is_ascii() && text.contains("####"), "{text}");
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let (convoy, hot_lock) = (convoy(), hot_lock());
    for size in [(1, 1), (39, 9), (40, 10), (41, 11), (60, 12), (80, 24), (300, 90)] {
        for tab in Tab::ALL {
            for live in [&convoy, &hot_lock] {
                let mut app = app(tab);
                screen(live, &app, size, PLAIN);
                app.help = true;
                screen(live, &app, size, PLAIN);
            }
        }
    }
}

#[test]
fn what_is_paused_or_over_says_so() {
    let mut app = app(Tab::Threads);
    app.paused = true;
    assert!(screen(&convoy(), &app, (80, 14), PLAIN).starts_with("PAUSED"));
    app.ended = Some("PROCESS 100 EXITED: this is its last state. q quits.".to_owned());
    assert!(screen(&convoy(), &app, (80, 14), PLAIN).starts_with("PROCESS 100 EXITED"));
}

#[test]
fn the_part_that_is_shown_is_named() {
    let mut app = app(Tab::Threads);
    for (range, name) in
        [(Range::Last(10), "last 10 s"), (Range::Last(1), "last 1 s"), (Range::All, "12.0 s since start")]
    {
        app.range = range;
        let text = screen(&convoy(), &app, (100, 14), PLAIN);
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn colours_and_letters_say_the_same() {
    use super::super::class::Class;
    let theme = Theme { color: true, ascii: true };
    for (class, _) in Class::LEGEND {
        // A strip has the colour behind its letters, everything else in them.
        let (text, strip) = (theme.class(class), theme.strip(class));
        let background = strip.bg.or(strip.fg);
        assert_eq!(text.fg, background, "{class:?}");
        for (other, _) in Class::LEGEND.into_iter().filter(|(other, _)| *other != class) {
            assert_ne!(theme.letter(class), theme.letter(other));
        }
    }
    // As everywhere in gilscope: red waits for the GIL, yellow for a lock, green runs.
    let of = |class| theme.class(class).fg;
    use ratatui::style::Color;
    assert_eq!(
        [Class::GilWait, Class::LockWait, Class::Held].map(of),
        [Color::Red, Color::Yellow, Color::Green].map(Some)
    );
}

#[test]
fn what_a_thread_does_now_is_what_it_does_most_if_it_does_nothing_else() {
    use super::super::class::Class;
    use crate::event::{Event, LockId, Nanos, ProcessId, ProcessInfo, Syscall, ThreadId, ThreadState};
    use crate::profile::Profile;
    use crate::stack::StackId;
    use ThreadState::{
        Blocked, GilHeld, GilHeldNative, GilHeldOffCpu, GilHeldRunnable, GilWait, LockWait, Native, Paused, Runnable,
        Running, Stopped, Unknown,
    };
    let (call, lock) = (Syscall(0), LockId(0));
    let held = [GilHeld, GilHeldNative, GilHeldRunnable, GilHeldOffCpu(call), GilWait, LockWait(lock), Paused(lock)];
    for state in held.into_iter().chain([Running, Native, Runnable, Blocked(call), Stopped, Unknown]) {
        let mut profile = Profile::default();
        profile.session.rate_hz = 100.0;
        let info = ProcessInfo { pid: 1, command: Vec::new(), python: String::new(), free_threaded: false };
        profile.push(&Event::Process { process: ProcessId(0), info: info.into() });
        let (thread, process) = (ThreadId(0), ProcessId(0));
        profile.push(&Event::ThreadStarted { at: Nanos(0), thread, process, tid: 1 });
        let (at, stack) = (Nanos(10_000_000), StackId::EMPTY);
        profile.push(&Event::Sample { at, periods: 1, thread, state, stack, gil: None });
        let ledger = &crate::report::ledgers(&profile, &[])[0];
        // Both are no activity.
        let idle = |class| if class == Class::Unknown { Class::Idle } else { class };
        assert_eq!(idle(Class::of(state)), idle(Class::most(&ledger.states)), "{state:?}");
    }
}

#[test]
fn who_let_go_is_told_where_that_was_asked_for() {
    let heading = |tab, blame| {
        let mut app = app(tab);
        app.blame = blame;
        screen(&hot_lock(), &app, (160, 12), PLAIN) + &screen(&convoy(), &app, (160, 12), PLAIN)
    };
    use crate::report::Attribution;
    for (blame, wanted) in [
        (Attribution::Holder, "HOLDS IT IN"),
        (Attribution::Releaser, "LETS GO IN"),
        (Attribution::Waiter, "WAITS IN"),
    ] {
        let text = heading(Tab::Gil, blame);
        let others = ["HOLDS IT IN", "LETS GO IN", "WAITS IN"].into_iter().filter(|other| *other != wanted);
        assert!(text.contains(wanted) && !others.clone().any(|other| text.contains(other)), "{text}");
    }
}

#[test]
fn anything_is_more_than_nothing() {
    let bars = |values: &[f64]| header::bars(values, 100.0, PLAIN.bars());
    assert_eq!(bars(&[0.0, 0.1, 50.0, 100.0, 200.0]), " ▁▄██");
}
