//! What a key or a click changes of what the user chose. Pure: what is to be done outside comes back as a
//! [`ScreenEffect`], and the loop of the screen does it.

use clap::ValueEnum;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind};
use ratatui::layout::Position;

use super::scene::{Scene, SceneContent};
use super::state::choices::{Prompt, Tab, UserChoices};
use super::state::flame::{self, FlamePosition};
use super::state::table::{ScreenTable, SortOrder};
use crate::event::ThreadId;
use crate::export::{Format, View};
use crate::report::Attribution;

/// The intervals between two refreshes to choose from.
const INTERVALS_MS: [u64; 7] = [100, 250, 500, 1000, 2000, 3000, 5000];
/// A reset that discards more than this needs a confirmation.
const MAX_UNCONFIRMED_RESET_S: f64 = 60.0;
/// The width of a detail that is copied.
const COPY_WIDTH: u16 = 100;
const WHEEL_ROWS: isize = 3;

/// What is to be done after a key or a click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScreenEffect {
    None,
    Draw,
    /// Draw all of it, whatever the terminal has made of it.
    Clear,
    /// What is shown has to be made anew and drawn: another part, another attribution.
    Show,
    Quit,
    /// To the shell, until `fg`.
    Suspend,
    /// Count from now on.
    Reset,
    /// Refresh at another interval.
    Interval,
    /// Save what is on the screen.
    Save(Format),
    /// Into the clipboard.
    Copy(String),
}

/// Applies a key or a click to the choices. `scene` must follow them.
pub(crate) fn apply(event: &Event, choices: &mut UserChoices, scene: &Scene) -> ScreenEffect {
    InputHandler { choices, scene }.apply(event)
}

struct InputHandler<'a> {
    choices: &'a mut UserChoices,
    scene: &'a Scene,
}

impl<'a> InputHandler<'a> {
    fn apply(&mut self, event: &Event) -> ScreenEffect {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                self.choices.message.clear();
                self.key(key)
            }
            Event::Mouse(mouse) => match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => self.click(Position { x: mouse.column, y: mouse.row }),
                MouseEventKind::ScrollDown => self.go(WHEEL_ROWS),
                MouseEventKind::ScrollUp => self.go(-WHEEL_ROWS),
                _ => ScreenEffect::None,
            },
            Event::Resize(..) => ScreenEffect::Draw,
            _ => ScreenEffect::None,
        }
    }

    fn key(&mut self, key: &KeyEvent) -> ScreenEffect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => ScreenEffect::Quit,
                KeyCode::Char('z') => ScreenEffect::Suspend,
                KeyCode::Char('l') => ScreenEffect::Clear,
                KeyCode::Char('d') => self.go(self.scene.hits.page as isize / 2),
                KeyCode::Char('u') => self.go(-(self.scene.hits.page as isize / 2)),
                _ => ScreenEffect::None,
            };
        }
        if let Some(prompt) = self.choices.prompt.clone() {
            return self.answer(prompt, key.code);
        }
        match key.code {
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            KeyCode::Char('q') if self.choices.help => self.back(),
            KeyCode::Char('q') | KeyCode::F(10) => ScreenEffect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                self.choices.help = !self.choices.help;
                self.choices.scroll = 0;
                ScreenEffect::Draw
            }
            KeyCode::Char(digit @ '1'..='8') => self.switch(Tab::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab => self.switch(Tab::ALL[(self.choices.tab as usize + 1) % Tab::ALL.len()]),
            KeyCode::BackTab => {
                self.switch(Tab::ALL[(self.choices.tab as usize + Tab::ALL.len() - 1) % Tab::ALL.len()])
            }
            KeyCode::Char(' ') => {
                self.choices.paused = !self.choices.paused;
                ScreenEffect::Show
            }
            KeyCode::Char('w') => {
                self.choices.range = self.choices.range.next();
                ScreenEffect::Show
            }
            KeyCode::Char('b') => {
                self.choices.blame = match self.choices.blame {
                    Attribution::Holder => Attribution::Releaser,
                    Attribution::Releaser => Attribution::Waiter,
                    Attribution::Waiter => Attribution::Holder,
                };
                ScreenEffect::Show
            }
            KeyCode::Char('r') => {
                let all = self.scene.shown.all.as_deref().unwrap_or(&self.scene.shown);
                if all.part.seconds() <= MAX_UNCONFIRMED_RESET_S {
                    return ScreenEffect::Reset;
                }
                self.choices.prompt = Some(Prompt::Reset);
                ScreenEffect::Draw
            }
            KeyCode::Char('d') => {
                self.choices.prompt = Some(Prompt::Save);
                ScreenEffect::Draw
            }
            KeyCode::Char('+' | '=') => {
                self.refresh_every(INTERVALS_MS.into_iter().rev().find(|&ms| ms < self.choices.interval_ms))
            }
            KeyCode::Char('-') => {
                self.refresh_every(INTERVALS_MS.into_iter().find(|&ms| ms > self.choices.interval_ms))
            }
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.go(self.scene.hits.page as isize),
            KeyCode::PageUp => self.go(-(self.scene.hits.page as isize)),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX / 2),
            _ if self.choices.help => ScreenEffect::None,
            KeyCode::Char('y') => self.copy(),
            _ if self.choices.detail.is_some() => ScreenEffect::None,
            code => self.tab_key(code),
        }
    }

    /// Keys of the tabs themselves.
    fn tab_key(&mut self, code: KeyCode) -> ScreenEffect {
        let is_calls = matches!(self.choices.tab, Tab::Functions | Tab::Flame);
        match code {
            KeyCode::Char('v') if is_calls => self.change_view(1),
            KeyCode::Char('V') if is_calls => self.change_view(-1),
            KeyCode::Char('L') if is_calls => {
                self.choices.calls.functions = !self.choices.calls.functions;
                self.choices.flame = FlamePosition::default();
                ScreenEffect::Draw
            }
            KeyCode::Char(']') if is_calls => self.next_thread(1),
            KeyCode::Char('[') if is_calls => self.next_thread(-1),
            KeyCode::Right if self.choices.tab == Tab::Functions => self.next_thread(1),
            KeyCode::Left if self.choices.tab == Tab::Functions => self.next_thread(-1),
            KeyCode::Char('/') => {
                self.choices.prompt = Some(Prompt::Filter(self.choices.rows().filter.clone()));
                ScreenEffect::Draw
            }
            KeyCode::Char('n') => self.find(1),
            KeyCode::Char('N') => self.find(-1),
            KeyCode::Left | KeyCode::Right if self.choices.tab == Tab::Flame => {
                let SceneContent::Flame { tree, .. } = &self.scene.content else { return ScreenEffect::None };
                self.choices.flame.selected = flame::sideways(tree, &self.choices.flame, code == KeyCode::Right);
                ScreenEffect::Draw
            }
            KeyCode::Enter if self.choices.tab == Tab::Flame => {
                self.choices.flame.zoom.clone_from(&self.choices.flame.selected);
                ScreenEffect::Draw
            }
            KeyCode::Char('t') if self.choices.tab == Tab::Threads => {
                self.choices.merged = !self.choices.merged;
                ScreenEffect::Draw
            }
            KeyCode::Char('<' | ',') => self.sort_by(-1),
            KeyCode::Char('>' | '.' | 's') => self.sort_by(1),
            KeyCode::Char('S') => {
                let order = self.choices.order();
                self.choices.rows_mut().order = Some(SortOrder { ascending: !order.ascending, ..order });
                ScreenEffect::Draw
            }
            KeyCode::Enter => self.open(),
            _ => ScreenEffect::None,
        }
    }

    /// Opens the detail of the selected row.
    fn open(&mut self) -> ScreenEffect {
        let Some((table, at)) = self.selected() else { return ScreenEffect::None };
        self.choices.detail = Some(table.rows[at].key.clone());
        self.select(table, at);
        self.choices.scroll = 0;
        ScreenEffect::Draw
    }

    /// A key for a question.
    fn answer(&mut self, prompt: Prompt, code: KeyCode) -> ScreenEffect {
        match (prompt, code) {
            (Prompt::Filter(before), KeyCode::Esc) => {
                self.choices.rows_mut().filter = before;
                self.choices.prompt = None;
            }
            (Prompt::Filter(_), KeyCode::Enter) => {
                self.choices.prompt = None;
                if self.choices.tab == Tab::Flame {
                    return self.find(1);
                }
            }
            (Prompt::Filter(_), KeyCode::Backspace) => drop(self.choices.rows_mut().filter.pop()),
            (Prompt::Filter(_), KeyCode::Char(char)) => self.choices.rows_mut().filter.push(char),
            (Prompt::Filter(_), _) => {}
            (Prompt::Reset, KeyCode::Char('y' | 'r') | KeyCode::Enter) => {
                self.choices.prompt = None;
                return ScreenEffect::Reset;
            }
            (Prompt::Save, KeyCode::Char('s' | 'd')) => {
                self.choices.prompt = None;
                return ScreenEffect::Save(Format::SVG);
            }
            (Prompt::Save, KeyCode::Char('j' | 'r')) => {
                self.choices.prompt = None;
                return ScreenEffect::Save(Format::REPORT);
            }
            (Prompt::Reset | Prompt::Save, _) => self.choices.prompt = None,
        }
        ScreenEffect::Draw
    }

    fn back(&mut self) -> ScreenEffect {
        self.choices.scroll = 0;
        if self.choices.help {
            self.choices.help = false;
        } else if self.choices.detail.is_some() {
            self.choices.detail = None;
        } else if self.choices.tab == Tab::Flame && !self.choices.flame.zoom.is_empty() {
            self.choices.flame.zoom.pop();
        } else {
            self.choices.rows_mut().filter.clear();
        }
        ScreenEffect::Draw
    }

    fn switch(&mut self, tab: Tab) -> ScreenEffect {
        self.choices.tab = tab;
        self.choices.detail = None;
        self.choices.help = false;
        self.choices.scroll = 0;
        ScreenEffect::Draw
    }

    fn refresh_every(&mut self, interval_ms: Option<u64>) -> ScreenEffect {
        self.choices.interval_ms = interval_ms.unwrap_or(self.choices.interval_ms);
        self.choices.message = format!("refreshes every {} s", self.choices.interval_ms as f64 / 1e3);
        ScreenEffect::Interval
    }

    fn change_view(&mut self, by: isize) -> ScreenEffect {
        let views = View::value_variants();
        let at = views.iter().position(|view| *view == self.choices.calls.view).unwrap_or(0);
        self.choices.calls.view = views[(at as isize + by).rem_euclid(views.len() as isize) as usize];
        self.choices.flame = FlamePosition::default();
        ScreenEffect::Draw
    }

    /// The thread that functions and the flame graph are of: all, or one of those that are there.
    fn next_thread(&mut self, by: isize) -> ScreenEffect {
        let threads = &self.scene.shown.report.threads;
        let observed = (0..).zip(threads).filter(|(_, thread)| thread.wall_s > 0.0).map(|(id, _)| Some(ThreadId(id)));
        let all: Vec<Option<ThreadId>> = std::iter::once(None).chain(observed).collect();
        let at = all.iter().position(|choice| *choice == self.choices.calls.thread).unwrap_or(0);
        self.choices.calls.thread = all[(at as isize + by).rem_euclid(all.len() as isize) as usize];
        self.choices.flame = FlamePosition::default();
        ScreenEffect::Draw
    }

    fn sort_by(&mut self, by: isize) -> ScreenEffect {
        let columns = &self.scene.hits.headings;
        let order = self.choices.order();
        if columns.is_empty() {
            return ScreenEffect::None;
        }
        let at = columns.iter().position(|(_, title)| *title == order.column).unwrap_or(0);
        let (_, column) = columns[(at as isize + by).rem_euclid(columns.len() as isize) as usize];
        self.choices.rows_mut().order = Some(SortOrder { column, ascending: false });
        ScreenEffect::Draw
    }

    /// Moves what is selected, or scrolls what has no selection.
    fn go(&mut self, by: isize) -> ScreenEffect {
        if self.choices.help || self.choices.detail.is_some() {
            self.choices.scroll = self.choices.scroll.saturating_add_signed(by).min(self.scene.hits.last_line);
            return ScreenEffect::Draw;
        }
        if let SceneContent::Flame { tree, .. } = &self.scene.content {
            self.choices.flame.selected = flame::up_or_down(tree, &self.choices.flame, by);
            return ScreenEffect::Draw;
        }
        let Some((table, at)) = self.selected() else { return ScreenEffect::None };
        self.select(table, at.saturating_add_signed(by).min(table.rows.len() - 1));
        ScreenEffect::Draw
    }

    /// The table that is shown, if it is one, and the index of its selected row.
    fn selected(&self) -> Option<(&'a ScreenTable, usize)> {
        let scene: &'a Scene = self.scene;
        let SceneContent::Table(table) = &scene.content else { return None };
        Some((table, self.choices.selected(table)?))
    }

    fn select(&mut self, table: &ScreenTable, at: usize) {
        let rows = self.choices.rows_mut();
        rows.index = at;
        rows.selected = table.rows.get(at).map(|row| row.key.clone());
    }

    /// The next row, or the next frame with the text in its name.
    fn find(&mut self, by: isize) -> ScreenEffect {
        if let SceneContent::Flame { tree, .. } = &self.scene.content {
            let filter = self.choices.rows().filter.clone();
            match flame::find(tree, &self.choices.flame, &filter, by > 0) {
                Some(found) => self.choices.flame.selected = found,
                None => self.choices.message = format!("no frame contains \"{filter}\""),
            }
            return ScreenEffect::Draw;
        }
        let Some((table, at)) = self.selected() else { return ScreenEffect::None };
        self.select(table, (at as isize + by).rem_euclid(table.rows.len() as isize) as usize);
        ScreenEffect::Draw
    }

    fn click(&mut self, at: Position) -> ScreenEffect {
        let hits = &self.scene.hits;
        if let Some((_, tab)) = hits.tabs.iter().find(|(area, _)| area.contains(at)) {
            return self.switch(*tab);
        }
        if self.choices.help || self.choices.detail.is_some() {
            return ScreenEffect::None;
        }
        if let Some((_, column)) = hits.headings.iter().find(|(area, _)| area.contains(at)) {
            let order = self.choices.order();
            let ascending = order.column == *column && !order.ascending;
            self.choices.rows_mut().order = Some(SortOrder { column, ascending });
            return ScreenEffect::Draw;
        }
        if let Some((_, path)) = hits.frames.iter().find(|(area, _)| area.contains(at)) {
            // The second click is on what is selected.
            if self.choices.flame.selected == *path {
                self.choices.flame.zoom.clone_from(path);
            }
            self.choices.flame.selected.clone_from(path);
            return ScreenEffect::Draw;
        }
        if let Some((_, row)) = hits.rows.iter().find(|(area, _)| area.contains(at)) {
            let Some((table, selected)) = self.selected() else { return ScreenEffect::None };
            // The second click is on what is selected.
            if self.choices.rows().selected.is_some() && selected == *row {
                return self.open();
            }
            self.select(table, *row);
            return ScreenEffect::Draw;
        }
        ScreenEffect::None
    }

    /// What is selected, as text.
    fn copy(&mut self) -> ScreenEffect {
        let text = match &self.scene.content {
            SceneContent::Flame { .. } => self.choices.flame.selected.join(";"),
            SceneContent::Detail(detail) => {
                detail.lines(COPY_WIDTH).iter().map(|line| line.to_string().trim_end().to_owned() + "\n").collect()
            }
            SceneContent::Table(table) => {
                let Some(at) = self.choices.selected(table) else { return ScreenEffect::None };
                let cells = table.rows[at].cells.iter().filter(|cell| cell.strip.is_empty() && !cell.text.is_empty());
                cells.map(|cell| cell.text.as_str()).collect::<Vec<_>>().join("\t")
            }
        };
        self.choices.message = "copied (if the terminal supports it)".to_owned();
        ScreenEffect::Copy(text)
    }
}

#[cfg(test)]
mod tests;
