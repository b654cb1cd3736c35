//! The loop of the screen, in a thread of its own: news in, keys in, drawings out.

use std::fs::File;
use std::io::{self, IsTerminal, stdin};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use crossterm::event::{poll, read};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::app::{App, Effect, Scene};
use super::draw::{Canvas, Hits, draw};
use super::feed::{Ending, Feed, GLANCE};
use super::history::History;
use super::save;
use super::shown::{Past, Shown};
use super::terminal::Screen;
use super::theme::Theme;
use crate::snapshot::Snapshot;

/// Where keys come from: the library reads them from standard input or, if that is no terminal, from the controlling one.
enum Keys {
    Stdin,
    Terminal(File),
}

impl Keys {
    /// To be asked once: a terminal that is gone is none any more.
    fn new() -> io::Result<Keys> {
        if stdin().is_terminal() { Ok(Keys::Stdin) } else { Ok(Keys::Terminal(File::open("/dev/tty")?)) }
    }

    /// Waits until there is something to read, but not longer than this.
    ///
    /// # Errors
    /// The terminal is gone. The library would read nothing from it again and again, and never return.
    fn wait(&self, most: Duration) -> io::Result<()> {
        let stdin = stdin();
        let fd = match self {
            Keys::Stdin => stdin.as_fd(),
            Keys::Terminal(file) => file.as_fd(),
        };
        let timeout = Timespec { tv_sec: most.as_secs() as _, tv_nsec: most.subsec_nanos() as _ };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        // A signal ends the waiting, too: the window may have another size.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        match fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            true => Err(io::Error::other("the terminal is gone")),
            false => Ok(()),
        }
    }
}

/// Everything that the screen remembers.
struct Loop<'a> {
    feed: &'a Feed,
    keys: Keys,
    screen: Screen,
    theme: Theme,
    app: App,
    history: History,
    past: Past,
    /// The number of the newest snapshot that was taken in.
    number: u64,
    newest: Arc<Snapshot>,
    shown: Shown,
    hits: Hits,
}

/// Shows what comes until the user or the other side has enough.
///
/// # Errors
/// The terminal cannot be used, or is gone.
pub fn run(feed: &Feed, app: App, theme: Theme, mouse: bool) -> Result<()> {
    let (keys, screen) = (Keys::new()?, Screen::open(mouse)?);
    let newest = Arc::new(Snapshot::default());
    let shown = Shown::new(&newest, &Past::default(), app.range, app.blame);
    let (history, past, hits) = (History::default(), Past::default(), Hits::default());
    let mut state = Loop { feed, keys, screen, theme, app, history, past, number: 0, newest, shown, hits };
    Ok(state.run()?)
}

impl Loop<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let mut todo = self.take_in();
            if todo == Effect::Quit {
                return Ok(());
            }
            if self.screen.is_to_stop() {
                let left = self.react(Effect::Suspend)?;
                todo = if todo == Effect::Show { todo } else { left };
            }
            self.keys.wait(if todo == Effect::None { GLANCE } else { Duration::ZERO })?;
            let mut more = poll(Duration::ZERO)?;
            while more {
                let event = read()?;
                let scene = Scene { shown: &self.shown, history: &self.history, hits: &self.hits };
                let effect = self.app.update(&event, &scene);
                match effect {
                    Effect::None => {}
                    Effect::Quit => return Ok(()),
                    Effect::Draw | Effect::Show if todo == Effect::Show => {}
                    Effect::Draw => todo = Effect::Draw,
                    effect => {
                        let left = self.react(effect)?;
                        todo = if todo == Effect::Show { todo } else { left };
                    }
                }
                more = poll(Duration::ZERO)?;
            }
            if todo == Effect::Show {
                self.shown = Shown::new(&self.newest, &self.past, self.app.range, self.app.blame);
            }
            if todo != Effect::None {
                self.draw()?;
            }
        }
    }

    /// Takes in what is new, unless the screen is to stand still.
    fn take_in(&mut self) -> Effect {
        let Some(news) = self.feed.news() else { return Effect::None };
        let mut todo = Effect::None;
        match news.end {
            Some(Ending::Quit) => return Effect::Quit,
            Some(Ending::Over(why)) if self.app.ended.is_none() => {
                self.app.ended = Some(why);
                self.app.paused = false;
                todo = Effect::Draw;
            }
            _ => {}
        }
        if news.number == self.number || self.app.paused {
            return todo;
        }
        if self.number > 0 {
            self.history.push(&news.snapshot, &self.newest);
        }
        self.number = news.number;
        self.newest = news.snapshot;
        self.past.push(&self.newest);
        Effect::Show
    }

    /// Does what a key asks for. Returns what is left to do.
    fn react(&mut self, effect: Effect) -> io::Result<Effect> {
        match effect {
            Effect::Reset => {
                self.past.reset(&self.newest);
                self.app.message = "counts from now on".to_owned();
                return Ok(Effect::Show);
            }
            Effect::Suspend => self.screen.suspend()?,
            Effect::Interval => self.feed.every(self.app.interval_ms),
            Effect::Save(format) => {
                self.app.message = match save::save(&self.app, &self.shown, format) {
                    Ok(path) => format!("saved to {}", path.display()),
                    Err(error) => format!("not saved: {error:#}"),
                };
            }
            Effect::Copy(text) => self.screen.copy(&text)?,
            Effect::Clear => self.screen.clear()?,
            Effect::Show => return Ok(Effect::Show),
            Effect::None | Effect::Draw | Effect::Quit => {}
        }
        Ok(Effect::Draw)
    }

    fn draw(&mut self) -> io::Result<()> {
        let canvas = Canvas { app: &self.app, shown: &self.shown, history: &self.history, theme: self.theme };
        let hits = &mut self.hits;
        self.screen.draw(|frame| *hits = draw(frame, &canvas))
    }
}
