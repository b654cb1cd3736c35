//! Keys, and what they change.

use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tui::draw::{Canvas, draw};
use crate::tui::fixture::{Live, convoy, hot_lock};
use crate::tui::theme::Theme;

/// A screen without a terminal.
struct Screen {
    app: App,
    shown: Shown,
    history: History,
    hits: Hits,
}

impl Screen {
    fn new(live: &Live) -> Screen {
        let app = App::new(Attribution::Holder, 500);
        let (shown, history) = live.shown(app.range, app.blame);
        let mut screen = Screen { app, shown, history, hits: Hits::default() };
        screen.draw();
        screen
    }

    fn draw(&mut self) {
        let theme = Theme { color: false, ascii: false };
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        let canvas = Canvas { app: &self.app, shown: &self.shown, history: &self.history, theme };
        let hits = &mut self.hits;
        terminal.draw(|frame| *hits = draw(frame, &canvas)).unwrap();
    }

    fn event(&mut self, event: Event) -> Effect {
        let scene = Scene { shown: &self.shown, history: &self.history, hits: &self.hits };
        let effect = self.app.update(&event, &scene);
        self.draw();
        effect
    }

    fn key(&mut self, code: KeyCode) -> Effect {
        self.event(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn keys(&mut self, keys: &str) -> Effect {
        keys.chars().map(|char| self.key(KeyCode::Char(char))).last().unwrap_or(Effect::None)
    }

    fn click(&mut self, at: Position) -> Effect {
        let kind = MouseEventKind::Down(MouseButton::Left);
        self.event(Event::Mouse(MouseEvent { kind, column: at.x, row: at.y, modifiers: KeyModifiers::NONE }))
    }

    fn table(&self) -> Table {
        table(&self.app, &self.shown, &self.history)
    }

    fn selected(&self) -> Option<RowKey> {
        let table = self.table();
        self.app.selected(&table).map(|at| table.rows[at].key.clone())
    }
}

#[test]
fn every_tab_has_a_key() {
    let mut screen = Screen::new(&convoy());
    for (key, tab) in ('1'..).zip(Tab::ALL) {
        screen.key(KeyCode::Char(key));
        assert_eq!(screen.app.tab, tab);
    }
    screen.key(KeyCode::Tab);
    assert_eq!(screen.app.tab, Tab::Threads);
    screen.key(KeyCode::BackTab);
    assert_eq!(screen.app.tab, Tab::Findings);
}

#[test]
fn what_is_selected_stays_selected_wherever_it_goes() {
    let mut screen = Screen::new(&convoy());
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
    let mut screen = Screen::new(&convoy());
    screen.keys("2");
    screen.key(KeyCode::Enter);
    assert!(matches!(screen.app.detail, Some(RowKey::Waiter(..))));
    assert_eq!(screen.keys("?"), Effect::Draw);
    screen.key(KeyCode::Esc);
    assert!(screen.app.detail.is_some() && !screen.app.help, "first the help goes");
    screen.key(KeyCode::Esc);
    assert_eq!(screen.app.detail, None);
}

#[test]
fn a_filter_leaves_rows_with_a_text_in_them() {
    let mut screen = Screen::new(&hot_lock());
    assert_eq!(screen.table().rows.len(), 4);
    screen.keys("/WORKER-2");
    assert_eq!(screen.table().rows.len(), 1);
    screen.key(KeyCode::Enter);
    // Keys are keys again.
    assert_eq!(screen.keys("q"), Effect::Quit);
    screen.key(KeyCode::Esc);
    assert_eq!(screen.table().rows.len(), 4);
    screen.keys("/x");
    screen.key(KeyCode::Esc);
    assert_eq!(screen.app.list().filter, "");
}

#[test]
fn similar_threads_are_one_row() {
    let mut screen = Screen::new(&hot_lock());
    screen.keys("t");
    let names: Vec<String> = screen.table().rows.iter().map(|row| row.cells[0].text.clone()).collect();
    assert_eq!(names, ["worker-* x3", "MainThread (100)"]);
}

#[test]
fn headings_sort() {
    let mut screen = Screen::new(&convoy());
    let (area, _) = *screen.hits.headings.iter().find(|(_, title)| *title == "WAIT%").unwrap();
    let at = Position { x: area.x + 1, y: area.y };
    screen.click(at);
    assert_eq!(screen.app.list().order, Some(Order { column: "WAIT%", ascending: false }));
    assert_eq!(screen.table().rows[0].key, RowKey::Thread(2));
    screen.click(at);
    assert_eq!(screen.app.list().order, Some(Order { column: "WAIT%", ascending: true }));
    screen.keys(">");
    assert_ne!(screen.app.list().order.map(|order| order.column), Some("WAIT%"));
}

#[test]
fn clicks_do_what_keys_do() {
    let mut screen = Screen::new(&convoy());
    let (row, _) = screen.hits.rows[1];
    screen.click(row.as_position());
    assert_eq!(screen.selected(), Some(screen.table().rows[1].key.clone()));
    screen.click(row.as_position());
    assert!(screen.app.detail.is_some(), "the second click opens");
    let (tab, _) = screen.hits.tabs[6];
    screen.click(tab.as_position());
    assert_eq!(screen.app.tab, Tab::Flame);
    let (frame, path) = screen.hits.frames.iter().find(|(_, path)| path.len() == 2).cloned().unwrap();
    screen.click(frame.as_position());
    screen.click(frame.as_position());
    assert_eq!(screen.app.flame.zoom, path);
    screen.key(KeyCode::Esc);
    assert_eq!(screen.app.flame.zoom.len(), 1);
}

#[test]
fn what_has_to_be_done_comes_back() {
    let mut screen = Screen::new(&convoy());
    assert_eq!(screen.keys("r"), Effect::Reset, "there is not much to lose");
    assert_eq!(screen.keys("w"), Effect::Show);
    assert_eq!(screen.keys("b"), Effect::Show);
    assert_eq!((screen.keys(" "), screen.app.paused), (Effect::Show, true));
    assert_eq!((screen.keys("+"), screen.app.interval_ms), (Effect::Interval, 250));
    assert_eq!((screen.keys("--"), screen.app.interval_ms), (Effect::Interval, 1000));
    assert_eq!(screen.keys("ds"), Effect::Save(Format::SVG));
    assert_eq!(screen.keys("dj"), Effect::Save(Format::REPORT));
    assert!(matches!(screen.keys("y"), Effect::Copy(text) if text.contains("cruncher (101)")));
    let control = |char| Event::Key(KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL));
    assert_eq!(screen.event(control('z')), Effect::Suspend);
    assert_eq!(screen.event(control('c')), Effect::Quit);
}

#[test]
fn frames_are_found_by_name() {
    let mut screen = Screen::new(&convoy());
    screen.keys("7v/PRIME");
    screen.key(KeyCode::Enter);
    assert_eq!(screen.app.flame.selected.last().map(String::as_str), Some("is_prime (app.py:30)"));
    screen.key(KeyCode::Up);
    assert_eq!(screen.app.flame.selected.last().map(String::as_str), Some("crunch (app.py:20)"));
    screen.key(KeyCode::Left);
    assert_eq!(screen.app.flame.selected.last().map(String::as_str), Some("ask (app.py:40)"));
}

/// Keys that take back what another has done.
#[test]
fn there_is_a_way_back() {
    let mut screen = Screen::new(&convoy());
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
        let choice = |screen: &Screen| format!("{:?}", screen.app.choice());
        let before = choice(&screen);
        screen.keys(there);
        assert_ne!(choice(&screen), before, "{there}");
        screen.keys(back);
        assert_eq!(choice(&screen), before, "{back}");
    }
}

#[test]
fn keys_that_choose_come_to_everything_and_round_again() {
    let mut screen = Screen::new(&convoy());
    let mut seen = |key: &str, of: fn(&App) -> String| {
        let mut all = vec![of(&screen.app)];
        loop {
            screen.keys(key);
            match of(&screen.app) {
                again if again == all[0] => return all,
                next => all.push(next),
            }
            assert!(all.len() < 20, "{all:?}");
        }
    };
    assert_eq!(seen("b", |app| format!("{:?}", app.blame)), ["Holder", "Releaser", "Waiter"]);
    assert_eq!(seen("w", |app| format!("{:?}", app.range)), ["Last(10)", "All", "Last(1)", "Last(5)"]);
}

#[test]
fn much_is_not_thrown_away_without_a_question() {
    let mut screen = Screen::new(&convoy());
    screen.shown = Live::shown(&convoy(), Range::All, Attribution::Holder).0;
    let session = &mut screen.shown.part.profile.session;
    session.end = crate::event::Nanos(session.start.0 + 61_000_000_000);
    assert_eq!(screen.keys("r"), Effect::Draw);
    assert_eq!(screen.keys("n"), Effect::Draw, "any other key is a no");
    assert_eq!(screen.keys("r"), Effect::Draw);
    assert_eq!(screen.keys("y"), Effect::Reset);
}

#[test]
fn a_frame_is_zoomed_into_and_a_new_size_is_drawn() {
    let mut screen = Screen::new(&convoy());
    screen.keys("7v");
    screen.key(KeyCode::Down);
    let selected = screen.app.flame.selected.clone();
    assert!(!selected.is_empty());
    screen.key(KeyCode::Enter);
    assert_eq!(screen.app.flame.zoom, selected);
    assert_eq!(screen.event(Event::Resize(80, 24)), Effect::Draw);
    assert_eq!(screen.event(Event::Key(KeyEvent::new(KeyCode::Char('l'), KeyModifiers::CONTROL))), Effect::Clear);
}
