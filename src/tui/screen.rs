//! The loop of the screen, in a thread of its own: snapshots and keys in, drawings out.

use std::fs::File;
use std::io::{self, IsTerminal, stdin};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use crossterm::event::{poll, read};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::draw::{Canvas, draw};
use super::feed::{Ending, Feed};
use super::keys::{self, ScreenEffect};
use super::save;
use super::scene::Scene;
use super::state::choices::UserChoices;
use super::state::history::History;
use super::state::shown::{PastSnapshots, ShownPart};
use super::terminal::Screen;
use super::theme::Theme;
use crate::snapshot::Snapshot;
use crate::text::Shown;

/// Where keys come from: the library reads them from standard input or, if that is no terminal, from the controlling one.
enum KeySource {
    Stdin,
    Terminal(File),
}

impl KeySource {
    /// Call this once: a terminal that is gone is none any more.
    fn new() -> io::Result<KeySource> {
        if stdin().is_terminal() { Ok(KeySource::Stdin) } else { Ok(KeySource::Terminal(File::open("/dev/tty")?)) }
    }

    /// Waits until there is something to read, but not longer than this.
    ///
    /// # Errors
    /// The terminal is gone. The library would read nothing from it again and again, and never return.
    fn wait(&self, limit: Duration) -> io::Result<()> {
        let stdin = stdin();
        let fd = match self {
            KeySource::Stdin => stdin.as_fd(),
            KeySource::Terminal(file) => file.as_fd(),
        };
        let timeout = Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        // A signal ends the waiting, too: the window may have another size.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        match fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            true => Err(io::Error::other("the terminal is gone")),
            false => Ok(()),
        }
    }
}

/// How long the screen waits for a key before it asks for a new snapshot.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

struct ScreenLoop<'a> {
    feed: &'a Feed,
    keys: KeySource,
    screen: Screen,
    theme: Theme,
    choices: UserChoices,
    past: PastSnapshots,
    /// The number of the newest snapshot that was taken from the feed.
    number: u64,
    newest: Arc<Snapshot>,
    scene: Scene,
}

/// Shows snapshots until the user quits or the feed ends.
///
/// # Errors
/// The terminal cannot be used, or is gone.
pub(crate) fn run(feed: &Feed, choices: UserChoices, theme: Theme, mouse: bool) -> Result<()> {
    let (keys, screen) = (KeySource::new()?, Screen::open(mouse)?);
    let (newest, past) = (Arc::new(Snapshot::default()), PastSnapshots::default());
    let shown = ShownPart::new(&newest, &past, choices.range, choices.blame);
    let scene = Scene::new(&choices, shown, History::default());
    let mut state = ScreenLoop { feed, keys, screen, theme, choices, past, number: 0, newest, scene };
    Ok(state.run()?)
}

impl ScreenLoop<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let mut todo = self.receive();
            if todo == ScreenEffect::Quit {
                return Ok(());
            }
            if self.screen.is_to_stop() {
                let left = self.react(ScreenEffect::Suspend)?;
                todo = if todo == ScreenEffect::Show { todo } else { left };
            }
            self.keys.wait(if todo == ScreenEffect::None { POLL_INTERVAL } else { Duration::ZERO })?;
            while poll(Duration::ZERO)? {
                match keys::apply(&read()?, &mut self.choices, &self.scene) {
                    ScreenEffect::None => {}
                    ScreenEffect::Quit => return Ok(()),
                    ScreenEffect::Draw | ScreenEffect::Show if todo == ScreenEffect::Show => {}
                    ScreenEffect::Draw => todo = ScreenEffect::Draw,
                    effect => {
                        let left = self.react(effect)?;
                        todo = if todo == ScreenEffect::Show { todo } else { left };
                    }
                }
                // The next key refers to what this one has changed.
                self.scene.follow(&self.choices);
            }
            if todo == ScreenEffect::Show {
                let shown = ShownPart::new(&self.newest, &self.past, self.choices.range, self.choices.blame);
                self.scene.show(&self.choices, shown);
            }
            if todo != ScreenEffect::None {
                self.draw()?;
            }
        }
    }

    /// Takes a new snapshot from the feed, unless the screen is paused.
    fn receive(&mut self) -> ScreenEffect {
        let Some(news) = self.feed.news() else { return ScreenEffect::None };
        let mut todo = ScreenEffect::None;
        match news.end {
            Some(Ending::Quit) => return ScreenEffect::Quit,
            Some(Ending::Over(why)) if self.choices.ended.is_none() => {
                self.choices.ended = Some(why);
                self.choices.paused = false;
                todo = ScreenEffect::Draw;
            }
            _ => {}
        }
        if news.number == self.number || self.choices.paused {
            return todo;
        }
        if self.number > 0 {
            self.scene.history.push(&news.snapshot, &self.newest);
        }
        self.number = news.number;
        self.newest = news.snapshot;
        self.past.push(&self.newest);
        ScreenEffect::Show
    }

    /// Does what a key asks for. Returns what is left to do.
    fn react(&mut self, effect: ScreenEffect) -> io::Result<ScreenEffect> {
        match effect {
            ScreenEffect::Reset => {
                self.past.reset(&self.newest);
                self.choices.message = "counts from now on".to_owned();
                return Ok(ScreenEffect::Show);
            }
            ScreenEffect::Suspend => self.screen.suspend()?,
            ScreenEffect::Interval => self.feed.set_interval(self.choices.interval_ms),
            ScreenEffect::Save(format) => {
                self.choices.message = match save::save(&self.choices, &self.scene.shown, format) {
                    Ok(path) => format!("saved to {}", path.shown()),
                    Err(error) => format!("not saved: {error:#}"),
                };
            }
            ScreenEffect::Copy(text) => self.screen.copy(&text)?,
            ScreenEffect::Clear => self.screen.clear()?,
            ScreenEffect::Show => return Ok(ScreenEffect::Show),
            ScreenEffect::None | ScreenEffect::Draw | ScreenEffect::Quit => {}
        }
        Ok(ScreenEffect::Draw)
    }

    fn draw(&mut self) -> io::Result<()> {
        let canvas = Canvas { choices: &self.choices, scene: &self.scene, theme: self.theme };
        let mut hits = None;
        self.screen.draw(|frame| hits = Some(draw(frame, &canvas)))?;
        if let Some(hits) = hits {
            self.scene.hits = hits;
        }
        Ok(())
    }
}
