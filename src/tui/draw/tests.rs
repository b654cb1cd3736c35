//! Every tab at several sizes, as text. Colours are not part of it: nothing may be said by a colour alone.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::event::{ACTIVITIES, Activity, GilId, LockId};
use crate::tui::fixture::{RecordingUnderWay, convoy, hot_lock};
use crate::tui::scene::Scene;
use crate::tui::state::activity::prevailing_activity;
use crate::tui::state::choices::UserChoices;
use crate::tui::state::shown::Range;
use crate::tui::state::table::RowKey;

const PLAIN: Theme = Theme { color: false, ascii: false };

fn choices(tab: Tab) -> UserChoices {
    let mut choices = UserChoices::new(crate::report::Attribution::Holder, 500);
    choices.tab = tab;
    choices
}

fn screen(live: &RecordingUnderWay, choices: &UserChoices, (width, height): (u16, u16), theme: Theme) -> String {
    let (shown, history) = live.shown(choices.range, choices.blame);
    let scene = Scene::new(choices, shown, history);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let canvas = Canvas { choices, scene: &scene, theme };
    terminal.draw(|frame| drop(draw(frame, &canvas))).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn threads_of_a_convoy() {
    insta::assert_snapshot!(screen(&convoy(), &choices(Tab::Threads), (120, 14), PLAIN));
}

#[test]
fn the_gil_of_a_convoy() {
    insta::assert_snapshot!(screen(&convoy(), &choices(Tab::Gil), (120, 14), PLAIN));
}

#[test]
fn the_detail_of_a_waiter_has_both_stacks() {
    let mut choices = choices(Tab::Gil);
    choices.detail = Some(RowKey::Waiter(GilId(0), 2));
    let text = screen(&convoy(), &choices, (80, 44), PLAIN);
    assert!(text.contains("ask (app.py:41)") && text.contains("is_prime (app.py:31)"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn locks() {
    insta::assert_snapshot!(screen(&hot_lock(), &choices(Tab::Locks), (160, 12), PLAIN));
}

#[test]
fn the_detail_of_a_lock() {
    let mut choices = choices(Tab::Locks);
    choices.detail = Some(RowKey::Lock(LockId(0)));
    insta::assert_snapshot!(screen(&hot_lock(), &choices, (80, 48), PLAIN));
}

#[test]
fn pauses() {
    insta::assert_snapshot!(screen(&hot_lock(), &choices(Tab::Pauses), (100, 12), PLAIN));
}

#[test]
fn functions() {
    insta::assert_snapshot!(screen(&convoy(), &choices(Tab::Functions), (120, 14), PLAIN));
}

#[test]
fn the_flame_graph() {
    let mut choices = choices(Tab::Flame);
    choices.calls.view = crate::export::View::Wall;
    choices.flame.selected = ["run (app.py:1)".to_owned(), "crunch (app.py:20)".to_owned()].to_vec();
    insta::assert_snapshot!(screen(&convoy(), &choices, (100, 14), PLAIN));
}

#[test]
fn findings_are_whole_sentences() {
    insta::assert_snapshot!(screen(&convoy(), &choices(Tab::Findings), (80, 20), PLAIN));
}

#[test]
fn tabs_that_have_nothing_say_why() {
    let refcounts = screen(&convoy(), &choices(Tab::Refcounts), (80, 12), PLAIN);
    assert!(refcounts.contains("has a GIL"), "{refcounts}");
    let gil = screen(&hot_lock(), &choices(Tab::Gil), (80, 12), PLAIN);
    assert!(gil.contains("This Python runs without a GIL"), "{gil}");
    let locks = screen(&convoy(), &choices(Tab::Locks), (80, 12), PLAIN);
    assert!(locks.contains("No thread has had to sleep for a lock"), "{locks}");
}

#[test]
fn a_small_screen_drops_what_matters_less() {
    insta::assert_snapshot!(screen(&convoy(), &choices(Tab::Threads), (40, 10), PLAIN));
}

#[test]
fn a_tiny_screen_has_the_verdict_only() {
    insta::assert_snapshot!(screen(&convoy(), &choices(Tab::Threads), (30, 5), PLAIN), @r"
    Biggest cost: client waits
      80 % of its time for the
      GIL, mostly held by cruncher
      in is_prime (app.py:31). On
      average 0.8 threads were
    ");
}

#[test]
fn ascii_is_ascii_everywhere() {
    let theme = Theme { color: true, ascii: true };
    for tab in Tab::ALL {
        for live in [convoy(), hot_lock()] {
            let text = screen(&live, &choices(tab), (140, 40), theme);
            assert!(text.is_ascii(), "{tab:?}: {text}");
        }
    }
    let mut waiter = choices(Tab::Gil);
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
                let mut choices = choices(tab);
                screen(live, &choices, size, PLAIN);
                choices.help = true;
                screen(live, &choices, size, PLAIN);
            }
        }
    }
}

#[test]
fn what_is_paused_or_over_says_so() {
    let mut choices = choices(Tab::Threads);
    choices.paused = true;
    assert!(screen(&convoy(), &choices, (80, 14), PLAIN).starts_with("PAUSED"));
    choices.ended = Some("PROCESS 100 EXITED: this is its last state. q quits.".to_owned());
    assert!(screen(&convoy(), &choices, (80, 14), PLAIN).starts_with("PROCESS 100 EXITED"));
}

#[test]
fn the_part_that_is_shown_is_named() {
    let mut choices = choices(Tab::Threads);
    for (range, name) in
        [(Range::Last(10), "last 10 s"), (Range::Last(1), "last 1 s"), (Range::All, "12.0 s since start")]
    {
        choices.range = range;
        let text = screen(&convoy(), &choices, (100, 14), PLAIN);
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn colours_and_letters_say_the_same() {
    let theme = Theme { color: true, ascii: true };
    let activities = ACTIVITIES.map(|row| Some(row.activity));
    for activity in activities {
        // A strip has the colour behind its letters, everything else in them.
        let (text, strip) = (theme.activity(activity), theme.strip(activity));
        let background = strip.bg.or(strip.fg);
        assert_eq!(text.fg, background, "{activity:?}");
        for other in activities.into_iter().filter(|other| *other != activity) {
            assert_ne!(theme.letter(activity), theme.letter(other));
        }
    }
    // As everywhere in gilscope: red waits for the GIL, yellow for a lock, green runs.
    let of = |activity| theme.activity(Some(activity)).fg;
    use ratatui::style::Color;
    assert_eq!(
        [Activity::GilWait, Activity::LockWait, Activity::GilHeld].map(of),
        [Color::Red, Color::Yellow, Color::Green].map(Some)
    );
}

#[test]
fn what_a_thread_does_now_is_what_it_does_most_if_it_does_nothing_else() {
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
        let idle = |activity| if activity == Activity::Unknown { Activity::Blocked } else { activity };
        assert_eq!(Some(idle(state.activity())), prevailing_activity(&ledger.states).map(idle), "{state:?}");
    }
}

#[test]
fn who_released_is_shown_where_that_was_asked_for() {
    let heading = |tab, blame| {
        let mut choices = choices(tab);
        choices.blame = blame;
        screen(&hot_lock(), &choices, (160, 12), PLAIN) + &screen(&convoy(), &choices, (160, 12), PLAIN)
    };
    use crate::report::Attribution;
    for (blame, wanted) in [
        (Attribution::Holder, "HOLDS IT IN"),
        (Attribution::Releaser, "RELEASES IT IN"),
        (Attribution::Waiter, "WAITS IN"),
    ] {
        let text = heading(Tab::Gil, blame);
        let others = ["HOLDS IT IN", "RELEASES IT IN", "WAITS IN"].into_iter().filter(|other| *other != wanted);
        assert!(text.contains(wanted) && !others.clone().any(|other| text.contains(other)), "{text}");
    }
}
