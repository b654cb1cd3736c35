//! Keys, and what they change.

use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tui::draw::{Canvas, draw};
use crate::tui::fixture::{RecordingUnderWay, convoy, hot_lock};
use crate::tui::state::shown::Range;
use crate::tui::state::table::RowKey;
use crate::tui::tabs;
use crate::tui::theme::Theme;

/// A screen without a terminal.
struct TestScreen {
    choices: UserChoices,
    scene: Scene,
}

impl TestScreen {
    fn new(recording: &RecordingUnderWay) -> TestScreen {
        let choices = UserChoices::new(Attribution::Holder, 500);
        let (shown, history) = recording.shown(choices.range, choices.blame);
        let scene = Scene::new(&choices, shown, history);
        let mut screen = TestScreen { choices, scene };
        screen.draw();
        screen
    }

    fn draw(&mut self) {
        let theme = Theme { color: false, ascii: false };
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        let canvas = Canvas { choices: &self.choices, scene: &self.scene, theme };
        let mut hits = None;
        terminal.draw(|frame| hits = Some(draw(frame, &canvas))).unwrap();
        self.scene.hits = hits.unwrap();
    }

    fn event(&mut self, event: Event) -> ScreenEffect {
        let effect = apply(&event, &mut self.choices, &self.scene);
        self.scene.follow(&self.choices);
        self.draw();
        effect
    }

    fn key(&mut self, code: KeyCode) -> ScreenEffect {
        self.event(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn keys(&mut self, keys: &str) -> ScreenEffect {
        keys.chars().map(|char| self.key(KeyCode::Char(char))).last().unwrap_or(ScreenEffect::None)
    }

    fn click(&mut self, at: Position) -> ScreenEffect {
        let kind = MouseEventKind::Down(MouseButton::Left);
        self.event(Event::Mouse(MouseEvent { kind, column: at.x, row: at.y, modifiers: KeyModifiers::NONE }))
    }

    /// The table of the tab, even if a detail hides it.
    fn table(&self) -> ScreenTable {
        tabs::table(&self.choices.content(), &self.scene.shown, &self.scene.history)
    }

    fn selected(&self) -> Option<RowKey> {
        let table = self.table();
        self.choices.selected(&table).map(|at| table.rows[at].key.clone())
    }
}

#[test]
fn every_tab_has_a_key() {
    let mut screen = TestScreen::new(&convoy());
    for (key, tab) in ('1'..).zip(Tab::ALL) {
        screen.key(KeyCode::Char(key));
        assert_eq!(screen.choices.tab, tab);
    }
    screen.key(KeyCode::Tab);
    assert_eq!(screen.choices.tab, Tab::Threads);
    screen.key(KeyCode::BackTab);
    assert_eq!(screen.choices.tab, Tab::Findings);
}

#[test]
fn what_is_selected_stays_selected_wherever_it_goes() {
    let mut screen = TestScreen::new(&convoy());
    let second = screen.table().rows[1].key.clone();
    screen.keys("j");
    assert_eq!(screen.selected(), Some(second.clone()));
    screen.keys("S");
    assert_ne!(screen.table().rows[1].key, screen.table().rows[2].key);
    assert_eq!(screen.selected(), Some(second));
    screen.keys("G");
    assert_eq!(screen.selected(), screen.table().rows.last().map(|row| row.key.clone()));
    screen.keys("g");
    assert_eq!(screen.selected(), screen.table().rows.first().map(|row| row.key.clone()));
}

#[test]
fn enter_opens_and_esc_closes() {
    let mut screen = TestScreen::new(&convoy());
    screen.keys("2");
    screen.key(KeyCode::Enter);
    assert!(matches!(screen.choices.detail, Some(RowKey::Waiter(..))));
    assert_eq!(screen.keys("?"), ScreenEffect::Draw);
    screen.key(KeyCode::Esc);
    assert!(screen.choices.detail.is_some() && !screen.choices.help, "first the help goes");
    screen.key(KeyCode::Esc);
    assert_eq!(screen.choices.detail, None);
}

#[test]
fn a_filter_leaves_rows_with_a_text_in_them() {
    let mut screen = TestScreen::new(&hot_lock());
    assert_eq!(screen.table().rows.len(), 4);
    screen.keys("/WORKER-2");
    assert_eq!(screen.table().rows.len(), 1);
    screen.key(KeyCode::Enter);
    // Keys are keys again.
    assert_eq!(screen.keys("q"), ScreenEffect::Quit);
    screen.key(KeyCode::Esc);
    assert_eq!(screen.table().rows.len(), 4);
    screen.keys("/x");
    screen.key(KeyCode::Esc);
    assert_eq!(screen.choices.rows().filter, "");
}

#[test]
fn similar_threads_are_one_row() {
    let mut screen = TestScreen::new(&hot_lock());
    screen.keys("t");
    let names: Vec<String> = screen.table().rows.iter().map(|row| row.cells[0].text.clone()).collect();
    assert_eq!(names, ["worker-* x3", "MainThread (100)"]);
}

#[test]
fn headings_sort() {
    let mut screen = TestScreen::new(&convoy());
    let (area, _) = *screen.scene.hits.headings.iter().find(|(_, title)| *title == "WAIT%").unwrap();
    let at = Position { x: area.x + 1, y: area.y };
    screen.click(at);
    assert_eq!(screen.choices.rows().order, Some(SortOrder { column: "WAIT%", ascending: false }));
    assert_eq!(screen.table().rows[0].key, RowKey::Thread(2));
    screen.click(at);
    assert_eq!(screen.choices.rows().order, Some(SortOrder { column: "WAIT%", ascending: true }));
    screen.keys(">");
    assert_ne!(screen.choices.rows().order.map(|order| order.column), Some("WAIT%"));
}

#[test]
fn clicks_do_what_keys_do() {
    let mut screen = TestScreen::new(&convoy());
    let (row, _) = screen.scene.hits.rows[1];
    screen.click(row.as_position());
    assert_eq!(screen.selected(), Some(screen.table().rows[1].key.clone()));
    screen.click(row.as_position());
    assert!(screen.choices.detail.is_some(), "the second click opens");
    let (tab, _) = screen.scene.hits.tabs[6];
    screen.click(tab.as_position());
    assert_eq!(screen.choices.tab, Tab::Flame);
    let (frame, path) = screen.scene.hits.frames.iter().find(|(_, path)| path.len() == 2).cloned().unwrap();
    screen.click(frame.as_position());
    screen.click(frame.as_position());
    assert_eq!(screen.choices.flame.zoom, path);
    screen.key(KeyCode::Esc);
    assert_eq!(screen.choices.flame.zoom.len(), 1);
}

#[test]
fn what_has_to_be_done_comes_back() {
    let mut screen = TestScreen::new(&convoy());
    assert_eq!(screen.keys("r"), ScreenEffect::Reset, "there is not much to lose");
    assert_eq!(screen.keys("w"), ScreenEffect::Show);
    assert_eq!(screen.keys("b"), ScreenEffect::Show);
    assert_eq!((screen.keys(" "), screen.choices.paused), (ScreenEffect::Show, true));
    assert_eq!((screen.keys("+"), screen.choices.interval_ms), (ScreenEffect::Interval, 250));
    assert_eq!((screen.keys("--"), screen.choices.interval_ms), (ScreenEffect::Interval, 1000));
    assert_eq!(screen.keys("ds"), ScreenEffect::Save(Format::SVG));
    assert_eq!(screen.keys("dj"), ScreenEffect::Save(Format::REPORT));
    assert!(matches!(screen.keys("y"), ScreenEffect::Copy(text) if text.contains("cruncher (101)")));
    let control = |char| Event::Key(KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL));
    assert_eq!(screen.event(control('z')), ScreenEffect::Suspend);
    assert_eq!(screen.event(control('c')), ScreenEffect::Quit);
}

#[test]
fn frames_are_found_by_name() {
    let mut screen = TestScreen::new(&convoy());
    screen.keys("7v/PRIME");
    screen.key(KeyCode::Enter);
    assert_eq!(screen.choices.flame.selected.last().map(String::as_str), Some("is_prime (app.py:30)"));
    screen.key(KeyCode::Up);
    assert_eq!(screen.choices.flame.selected.last().map(String::as_str), Some("crunch (app.py:20)"));
    screen.key(KeyCode::Left);
    assert_eq!(screen.choices.flame.selected.last().map(String::as_str), Some("ask (app.py:40)"));
}

/// Keys that take back what another has done.
#[test]
fn there_is_a_way_back() {
    let mut screen = TestScreen::new(&convoy());
    // There are three rows: with two, the next would be the one before, too.
    assert_eq!(screen.table().rows.len(), 3);
    let start = screen.selected();
    let wheel = |kind| Event::Mouse(MouseEvent { kind, column: 1, row: 1, modifiers: KeyModifiers::NONE });
    let control = |char| Event::Key(KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL));
    let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    let char = |char| key(KeyCode::Char(char));
    for (there, back) in [
        (char('j'), char('k')),
        (char('n'), char('N')),
        (key(KeyCode::Down), key(KeyCode::Up)),
        (key(KeyCode::PageDown), key(KeyCode::PageUp)),
        (key(KeyCode::End), key(KeyCode::Home)),
        (control('d'), control('u')),
        (wheel(MouseEventKind::ScrollDown), wheel(MouseEventKind::ScrollUp)),
    ] {
        screen.event(there.clone());
        assert_ne!(screen.selected(), start, "{there:?}");
        screen.event(back.clone());
        assert_eq!(screen.selected(), start, "{back:?}");
    }
    screen.keys("6");
    for (there, back) in [("v", "V"), ("]", "["), ("L", "L")] {
        let choice = |screen: &TestScreen| format!("{:?}", screen.choices.calls);
        let before = choice(&screen);
        screen.keys(there);
        assert_ne!(choice(&screen), before, "{there}");
        screen.keys(back);
        assert_eq!(choice(&screen), before, "{back}");
    }
}

#[test]
fn keys_that_choose_come_to_everything_and_round_again() {
    let mut screen = TestScreen::new(&convoy());
    let mut seen = |key: &str, of: fn(&UserChoices) -> String| {
        let mut all = vec![of(&screen.choices)];
        loop {
            screen.keys(key);
            match of(&screen.choices) {
                again if again == all[0] => return all,
                next => all.push(next),
            }
            assert!(all.len() < 20, "{all:?}");
        }
    };
    assert_eq!(seen("b", |choices| format!("{:?}", choices.blame)), ["Holder", "Releaser", "Waiter"]);
    assert_eq!(seen("w", |choices| format!("{:?}", choices.range)), ["Last(10)", "All", "Last(1)", "Last(5)"]);
}

#[test]
fn much_is_not_thrown_away_without_a_question() {
    let mut screen = TestScreen::new(&convoy());
    screen.scene.shown = convoy().shown(Range::All, Attribution::Holder).0;
    let session = &mut screen.scene.shown.part.profile.session;
    session.end = crate::event::Nanos(session.start.0 + 61_000_000_000);
    assert_eq!(screen.keys("r"), ScreenEffect::Draw);
    assert_eq!(screen.keys("n"), ScreenEffect::Draw, "any other key is a no");
    assert_eq!(screen.keys("r"), ScreenEffect::Draw);
    assert_eq!(screen.keys("y"), ScreenEffect::Reset);
}

#[test]
fn a_frame_is_zoomed_into_and_a_new_size_is_drawn() {
    let mut screen = TestScreen::new(&convoy());
    screen.keys("7v");
    screen.key(KeyCode::Down);
    let selected = screen.choices.flame.selected.clone();
    assert!(!selected.is_empty());
    screen.key(KeyCode::Enter);
    assert_eq!(screen.choices.flame.zoom, selected);
    assert_eq!(screen.event(Event::Resize(80, 24)), ScreenEffect::Draw);
    assert_eq!(
        screen.event(Event::Key(KeyEvent::new(KeyCode::Char('l'), KeyModifiers::CONTROL))),
        ScreenEffect::Clear
    );
}

/// What the screen draws once for many keys is what each of them refers to.
#[test]
fn a_key_refers_to_what_the_keys_before_it_have_changed() {
    let mut screen = TestScreen::new(&convoy());
    for code in [KeyCode::Char('2'), KeyCode::Char('S'), KeyCode::Enter] {
        let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        apply(&event, &mut screen.choices, &screen.scene);
        screen.scene.follow(&screen.choices);
    }
    let SceneContent::Detail(_) = &screen.scene.content else { panic!("no detail") };
    assert_eq!(screen.choices.detail, screen.table().rows.first().map(|row| row.key.clone()));
}
