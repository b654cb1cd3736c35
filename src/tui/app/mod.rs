//! What the user has chosen, and what a key or a click changes of it. Pure: what is to be done outside comes back as an
//! [`Effect`], and the loop of the screen does it.

use clap::ValueEnum;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind};
use ratatui::layout::Position;

use super::calls::{Calls, Choice};
use super::draw::Hits;
use super::flame;
use super::history::History;
use super::shown::{Range, Shown};
use super::table::{Order, RowKey, Table};
use super::tabs::{Tab, table};
use crate::event::ThreadId;
use crate::export::{Format, View};
use crate::report::Attribution;

/// How long there can be between two refreshes, in milliseconds.
const INTERVALS_MS: [u64; 7] = [100, 250, 500, 1000, 2000, 3000, 5000];
/// A reset that throws away more than this is asked about, in seconds.
const WORTH_ASKING: f64 = 60.0;

/// A tab's list: what is selected in it, and in which order it is.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The selected row. It stays selected wherever it moves to.
    pub selected: Option<RowKey>,
    /// Where it was last: what is selected if it is gone.
    pub index: usize,
    /// The order, if it is not the tab's own.
    pub order: Option<Order>,
    /// Only rows that have this in them.
    pub filter: String,
}

/// The flame graph: frames by their names, so that they are found again in the next one.
#[derive(Clone, Debug, Default)]
pub struct Flame {
    /// The frame that is as wide as the screen; none for all.
    pub zoom: Vec<String>,
    /// The selected frame.
    pub selected: Vec<String>,
}

/// What keys go to, other than the tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A text to look for is being typed; what was there before.
    Filter(String),
    /// Whether to reset.
    Reset,
    /// What to save.
    Save,
}

/// All that was chosen.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// The tab.
    pub tab: Tab,
    lists: [List; 8],
    /// The row whose detail is shown, in its tab.
    pub detail: Option<RowKey>,
    /// The help is shown.
    pub help: bool,
    /// By how many lines the detail or the help is scrolled.
    pub scroll: usize,
    /// What keys go to.
    pub prompt: Option<Prompt>,
    /// The screen stays as it is while recording goes on.
    pub paused: bool,
    /// Which part of the recording is shown.
    pub range: Range,
    /// To whom waiting is put down.
    pub blame: Attribution,
    /// Threads with similar names are one row.
    pub merged: bool,
    /// Lines of a function are counted together.
    pub functions: bool,
    /// What functions and the flame graph show.
    pub view: View,
    /// Of which thread; all if none.
    pub thread: Option<ThreadId>,
    /// The time between two refreshes, in milliseconds.
    pub interval_ms: u64,
    /// The flame graph.
    pub flame: Flame,
    /// Something to be said once.
    pub message: String,
    /// Why nothing new comes, if so.
    pub ended: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The screen has to be drawn again.
    Draw,
    /// All of it, whatever the terminal has made of it.
    Clear,
    /// What is shown has to be made anew, too: another part, another blame.
    Show,
    /// The end.
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

/// What keys and clicks refer to: what is on the screen.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What is shown.
    pub shown: &'a Shown,
    /// What was before.
    pub history: &'a History,
    /// Where it is.
    pub hits: &'a Hits,
}

impl App {
    /// At first.
    pub fn new(blame: Attribution, interval_ms: u64) -> App {
        App { blame, interval_ms, range: Range::Last(10), functions: true, view: View::Cpu, ..App::default() }
    }

    /// The list of the tab.
    pub fn list(&self) -> &List {
        &self.lists[self.tab as usize]
    }

    fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.tab as usize]
    }

    /// What functions and the flame graph are of.
    pub fn choice(&self) -> Choice {
        Choice { view: self.view, functions: self.functions, thread: self.thread }
    }

    /// The place of the selected row in a table.
    pub fn selected(&self, table: &Table) -> Option<usize> {
        let list = self.list();
        let known = list.selected.as_ref().and_then(|key| table.rows.iter().position(|row| row.key == *key));
        known.or_else(|| table.rows.len().checked_sub(1).map(|last| list.index.min(last)))
    }

    /// Takes in a key or a click.
    pub fn update(&mut self, event: &Event, scene: &Scene<'_>) -> Effect {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                self.message.clear();
                self.key(key, scene)
            }
            Event::Mouse(mouse) => match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => {
                    self.click(Position { x: mouse.column, y: mouse.row }, scene)
                }
                MouseEventKind::ScrollDown => self.go(3, scene),
                MouseEventKind::ScrollUp => self.go(-3, scene),
                _ => Effect::None,
            },
            Event::Resize(..) => Effect::Draw,
            _ => Effect::None,
        }
    }

    fn key(&mut self, key: &KeyEvent, scene: &Scene<'_>) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Effect::Quit,
                KeyCode::Char('z') => Effect::Suspend,
                KeyCode::Char('l') => Effect::Clear,
                KeyCode::Char('d') => self.go(scene.hits.page as isize / 2, scene),
                KeyCode::Char('u') => self.go(-(scene.hits.page as isize / 2), scene),
                _ => Effect::None,
            };
        }
        if let Some(prompt) = self.prompt.clone() {
            return self.answer(prompt, key.code, scene);
        }
        match key.code {
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            KeyCode::Char('q') if self.help => self.back(),
            KeyCode::Char('q') | KeyCode::F(10) => Effect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                self.help = !self.help;
                self.scroll = 0;
                Effect::Draw
            }
            KeyCode::Char(digit @ '1'..='8') => self.switch(Tab::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab => self.switch(Tab::ALL[(self.tab as usize + 1) % 8]),
            KeyCode::BackTab => self.switch(Tab::ALL[(self.tab as usize + 7) % 8]),
            KeyCode::Char(' ') => {
                self.paused = !self.paused;
                Effect::Show
            }
            KeyCode::Char('w') => {
                self.range = self.range.next();
                Effect::Show
            }
            KeyCode::Char('b') => {
                self.blame = match self.blame {
                    Attribution::Holder => Attribution::Releaser,
                    Attribution::Releaser => Attribution::Waiter,
                    Attribution::Waiter => Attribution::Holder,
                };
                Effect::Show
            }
            KeyCode::Char('r') => {
                let all = scene.shown.all.as_deref().unwrap_or(scene.shown);
                if all.part.seconds() <= WORTH_ASKING {
                    return Effect::Reset;
                }
                self.prompt = Some(Prompt::Reset);
                Effect::Draw
            }
            KeyCode::Char('d') => {
                self.prompt = Some(Prompt::Save);
                Effect::Draw
            }
            KeyCode::Char('+' | '=') => self.pace(INTERVALS_MS.into_iter().rev().find(|&ms| ms < self.interval_ms)),
            KeyCode::Char('-') => self.pace(INTERVALS_MS.into_iter().find(|&ms| ms > self.interval_ms)),
            KeyCode::Down | KeyCode::Char('j') => self.go(1, scene),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1, scene),
            KeyCode::PageDown => self.go(scene.hits.page as isize, scene),
            KeyCode::PageUp => self.go(-(scene.hits.page as isize), scene),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN / 2, scene),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX / 2, scene),
            _ if self.help => Effect::None,
            KeyCode::Char('y') => self.copy(scene),
            _ if self.detail.is_some() => Effect::None,
            code => self.tab_key(code, scene),
        }
    }

    /// Keys of the tabs themselves.
    fn tab_key(&mut self, code: KeyCode, scene: &Scene<'_>) -> Effect {
        let is_calls = matches!(self.tab, Tab::Functions | Tab::Flame);
        match code {
            KeyCode::Char('v') if is_calls => self.look_at(1),
            KeyCode::Char('V') if is_calls => self.look_at(-1),
            KeyCode::Char('L') if is_calls => {
                self.functions = !self.functions;
                self.flame = Flame::default();
                Effect::Draw
            }
            KeyCode::Char(']') if is_calls => self.next_thread(1, scene),
            KeyCode::Char('[') if is_calls => self.next_thread(-1, scene),
            KeyCode::Right if self.tab == Tab::Functions => self.next_thread(1, scene),
            KeyCode::Left if self.tab == Tab::Functions => self.next_thread(-1, scene),
            KeyCode::Char('/') => {
                self.prompt = Some(Prompt::Filter(self.list().filter.clone()));
                Effect::Draw
            }
            KeyCode::Char('n') => self.find(1, scene),
            KeyCode::Char('N') => self.find(-1, scene),
            KeyCode::Left | KeyCode::Right if self.tab == Tab::Flame => {
                let calls = Calls::of(&scene.shown.part.profile, &self.choice());
                self.flame.selected = flame::sideways(&calls, &self.flame, code == KeyCode::Right);
                Effect::Draw
            }
            KeyCode::Enter if self.tab == Tab::Flame => {
                self.flame.zoom.clone_from(&self.flame.selected);
                Effect::Draw
            }
            KeyCode::Char('t') if self.tab == Tab::Threads => {
                self.merged = !self.merged;
                Effect::Draw
            }
            KeyCode::Char('<' | ',') => self.sort_by(-1, scene),
            KeyCode::Char('>' | '.' | 's') => self.sort_by(1, scene),
            KeyCode::Char('S') => {
                let order = self.list().order.unwrap_or(self.tab.order());
                self.list_mut().order = Some(Order { ascending: !order.ascending, ..order });
                Effect::Draw
            }
            KeyCode::Enter => {
                let table = table(self, scene.shown, scene.history);
                let Some(row) = self.selected(&table).map(|at| &table.rows[at]) else { return Effect::None };
                self.detail = Some(row.key.clone());
                self.list_mut().selected = Some(row.key.clone());
                self.scroll = 0;
                Effect::Draw
            }
            _ => Effect::None,
        }
    }

    /// A key for a question.
    fn answer(&mut self, prompt: Prompt, code: KeyCode, scene: &Scene<'_>) -> Effect {
        match (prompt, code) {
            (Prompt::Filter(before), KeyCode::Esc) => {
                self.list_mut().filter = before;
                self.prompt = None;
            }
            (Prompt::Filter(_), KeyCode::Enter) => {
                self.prompt = None;
                if self.tab == Tab::Flame {
                    return self.find(1, scene);
                }
            }
            (Prompt::Filter(_), KeyCode::Backspace) => drop(self.list_mut().filter.pop()),
            (Prompt::Filter(_), KeyCode::Char(char)) => self.list_mut().filter.push(char),
            (Prompt::Filter(_), _) => {}
            (Prompt::Reset, KeyCode::Char('y' | 'r') | KeyCode::Enter) => {
                self.prompt = None;
                return Effect::Reset;
            }
            (Prompt::Save, KeyCode::Char('s' | 'd')) => {
                self.prompt = None;
                return Effect::Save(Format::SVG);
            }
            (Prompt::Save, KeyCode::Char('j' | 'r')) => {
                self.prompt = None;
                return Effect::Save(Format::REPORT);
            }
            (Prompt::Reset | Prompt::Save, _) => self.prompt = None,
        }
        Effect::Draw
    }

    fn back(&mut self) -> Effect {
        self.scroll = 0;
        if self.help {
            self.help = false;
        } else if self.detail.is_some() {
            self.detail = None;
        } else if self.tab == Tab::Flame && !self.flame.zoom.is_empty() {
            self.flame.zoom.pop();
        } else {
            self.list_mut().filter.clear();
        }
        Effect::Draw
    }

    fn switch(&mut self, tab: Tab) -> Effect {
        self.tab = tab;
        self.detail = None;
        self.help = false;
        self.scroll = 0;
        Effect::Draw
    }

    fn pace(&mut self, interval_ms: Option<u64>) -> Effect {
        self.interval_ms = interval_ms.unwrap_or(self.interval_ms);
        self.message = format!("refreshes every {} s", self.interval_ms as f64 / 1e3);
        Effect::Interval
    }

    fn look_at(&mut self, by: isize) -> Effect {
        let views = View::value_variants();
        let at = views.iter().position(|view| *view == self.view).unwrap_or(0);
        self.view = views[(at as isize + by).rem_euclid(views.len() as isize) as usize];
        self.flame = Flame::default();
        Effect::Draw
    }

    /// The thread that functions and the flame graph are of: all, or one of those that are there.
    fn next_thread(&mut self, by: isize, scene: &Scene<'_>) -> Effect {
        let threads = &scene.shown.report.threads;
        let mut choices = vec![None];
        choices
            .extend((0..).zip(threads).filter(|(_, thread)| thread.wall_s > 0.0).map(|(id, _)| Some(ThreadId(id))));
        let at = choices.iter().position(|choice| *choice == self.thread).unwrap_or(0);
        self.thread = choices[(at as isize + by).rem_euclid(choices.len() as isize) as usize];
        self.flame = Flame::default();
        Effect::Draw
    }

    fn sort_by(&mut self, by: isize, scene: &Scene<'_>) -> Effect {
        let columns = &scene.hits.headings;
        let order = self.list().order.unwrap_or(self.tab.order());
        let Some(at) = columns.iter().position(|(_, title)| *title == order.column).or(Some(0)) else {
            return Effect::None;
        };
        if columns.is_empty() {
            return Effect::None;
        }
        let (_, column) = columns[(at as isize + by).rem_euclid(columns.len() as isize) as usize];
        self.list_mut().order = Some(Order { column, ascending: false });
        Effect::Draw
    }

    /// Moves what is selected, or scrolls what has no selection.
    fn go(&mut self, by: isize, scene: &Scene<'_>) -> Effect {
        if self.help || self.detail.is_some() {
            self.scroll = self.scroll.saturating_add_signed(by).min(scene.hits.last_line);
            return Effect::Draw;
        }
        if self.tab == Tab::Flame {
            let calls = Calls::of(&scene.shown.part.profile, &self.choice());
            self.flame.selected = flame::up_or_down(&calls, &self.flame, by);
            return Effect::Draw;
        }
        let table = table(self, scene.shown, scene.history);
        let Some(at) = self.selected(&table) else { return Effect::None };
        self.select(&table, at.saturating_add_signed(by).min(table.rows.len() - 1));
        Effect::Draw
    }

    fn select(&mut self, table: &Table, at: usize) {
        let list = self.list_mut();
        list.index = at;
        list.selected = table.rows.get(at).map(|row| row.key.clone());
    }

    /// The next row, or the next frame with the text in its name.
    fn find(&mut self, by: isize, scene: &Scene<'_>) -> Effect {
        if self.tab == Tab::Flame {
            let calls = Calls::of(&scene.shown.part.profile, &self.choice());
            let filter = self.list().filter.clone();
            match flame::find(&calls, &self.flame, &filter, by > 0) {
                Some(found) => self.flame.selected = found,
                None => self.message = format!("no frame has \"{filter}\" in its name"),
            }
            return Effect::Draw;
        }
        let table = table(self, scene.shown, scene.history);
        let Some(at) = self.selected(&table) else { return Effect::None };
        self.select(&table, (at as isize + by).rem_euclid(table.rows.len() as isize) as usize);
        Effect::Draw
    }

    fn click(&mut self, at: Position, scene: &Scene<'_>) -> Effect {
        let hits = scene.hits;
        if let Some((_, tab)) = hits.tabs.iter().find(|(area, _)| area.contains(at)) {
            return self.switch(*tab);
        }
        if self.help || self.detail.is_some() {
            return Effect::None;
        }
        if let Some((_, column)) = hits.headings.iter().find(|(area, _)| area.contains(at)) {
            let order = self.list().order.unwrap_or(self.tab.order());
            let ascending = order.column == *column && !order.ascending;
            self.list_mut().order = Some(Order { column, ascending });
            return Effect::Draw;
        }
        if let Some((_, path)) = hits.frames.iter().find(|(area, _)| area.contains(at)) {
            // The second click is on what is selected.
            if self.flame.selected == *path {
                self.flame.zoom.clone_from(path);
            }
            self.flame.selected.clone_from(path);
            return Effect::Draw;
        }
        if let Some((_, row)) = hits.rows.iter().find(|(area, _)| area.contains(at)) {
            let table = table(self, scene.shown, scene.history);
            if self.list().selected.is_some() && self.selected(&table) == Some(*row) {
                return self.tab_key(KeyCode::Enter, scene);
            }
            self.select(&table, *row);
            return Effect::Draw;
        }
        Effect::None
    }

    /// What is selected, as text.
    fn copy(&mut self, scene: &Scene<'_>) -> Effect {
        let text = match (&self.detail, self.tab) {
            (None, Tab::Flame) => self.flame.selected.join(";"),
            (Some(_), _) => super::detail::lines(self, scene.shown, scene.history, 100)
                .iter()
                .map(|line| line.to_string().trim_end().to_owned() + "\n")
                .collect(),
            (None, _) => {
                let table = table(self, scene.shown, scene.history);
                let Some(at) = self.selected(&table) else { return Effect::None };
                let cells = table.rows[at].cells.iter().filter(|cell| cell.strip.is_empty() && !cell.text.is_empty());
                cells.map(|cell| cell.text.as_str()).collect::<Vec<_>>().join("\t")
            }
        };
        self.message = "copied (if the terminal takes it)".to_owned();
        Effect::Copy(text)
    }
}

#[cfg(test)]
mod tests;
