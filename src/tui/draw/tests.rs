//! Every tab at several sizes, as text. Colours are not part of it: nothing may be said by a colour alone.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::fixture::{Live, convoy, hot_lock};
use super::super::shown::Range;
use super::super::table::RowKey;
use super::*;
use crate::event::{GilId, LockId};

const PLAIN: Theme = Theme { color: false, ascii: false };

fn app(tab: Tab) -> App {
    let mut app = App::new(crate::report::Blame::Holder, 500);
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
