//! The screen (or the tables that stand in for it) beside a recording: fed by the loop that records, shown in a thread of its
//! own.

use std::io::{PipeReader, pipe};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};

use super::feed::{Ending, Feed, ScreenThread, SnapshotPublisher};
use super::state::choices::UserChoices;
use super::theme::Theme;
use super::{batch, screen};
use crate::report::Attribution;
use crate::session::Observer;
use crate::session::signals::{Received, Signals};
use crate::snapshot::Snapshot;

/// A screen is not to stay empty for long.
const MAX_FIRST_INTERVAL_MS: u64 = 200;

/// Where snapshots are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewTarget {
    /// The terminal, taken over.
    Screen { mouse: bool },
    /// Tables on standard output, at most `count` times.
    Tables { count: Option<u64> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewOptions {
    pub target: ViewTarget,
    pub blame: Attribution,
    pub interval_ms: u64,
    pub color: bool,
    /// Only ASCII characters.
    pub ascii: bool,
}

pub(crate) struct LiveView {
    feed: Arc<Feed>,
    publisher: SnapshotPublisher,
    /// Readable once the screen is closed, however that comes.
    closed: PipeReader,
}

impl LiveView {
    /// # Errors
    /// There are no more file descriptors.
    pub(crate) fn new(options: ViewOptions) -> Result<LiveView> {
        let ViewOptions { target, blame, interval_ms, color, ascii } = options;
        let first_ms = match target {
            ViewTarget::Screen { .. } => interval_ms.min(MAX_FIRST_INTERVAL_MS),
            // A table is of a whole interval.
            ViewTarget::Tables { .. } => interval_ms,
        };
        let feed = Arc::new(Feed::new(interval_ms, first_ms));
        let (choices, theme) = (UserChoices::new(blame, interval_ms), Theme { color, ascii });
        if color {
            crossterm::style::force_color_output(true);
        }
        let (closed, open_end) = pipe().context("cannot make a pipe")?;
        let open = move |feed: Arc<Feed>| {
            thread::spawn(move || {
                let _open = open_end;
                let _closed = CloseOnDrop(feed.clone());
                match target {
                    ViewTarget::Tables { count } => batch::run(&feed, choices, theme, count),
                    ViewTarget::Screen { mouse } => screen::run(&feed, choices, theme, mouse),
                }
            })
        };
        Ok(LiveView { publisher: SnapshotPublisher::new(feed.clone(), Box::new(open)), feed, closed })
    }

    /// What the loop that records shows its progress to.
    pub(crate) fn observer(&mut self) -> &mut impl Observer {
        &mut self.publisher
    }

    /// Closes the screen.
    pub(crate) fn quit(self, signals: &mut Signals) -> Result<()> {
        self.feed.end(None, Ending::Quit);
        self.wait(signals)
    }

    /// Keeps the last snapshot on the screen, with the reason why no more come, until the user or a signal closes it.
    pub(crate) fn stay(self, last: Snapshot, why: String, signals: &mut Signals) -> Result<()> {
        self.feed.end(Some(last), Ending::Over(why));
        self.wait(signals)
    }

    /// Waits until the screen is closed, if there is one.
    fn wait(mut self, signals: &mut Signals) -> Result<()> {
        let Some(screen) = self.publisher.screen.take() else { return Ok(()) };
        while !(self.is_closed(signals) && screen.is_finished()) {}
        join(screen)
    }

    /// Waits for something to happen. Signals close the screen; others are that its window may have a new size.
    fn is_closed(&self, signals: &mut Signals) -> bool {
        match signals.wait(&self.closed) {
            Some(Received::Stop { .. }) => {
                self.feed.end(None, Ending::Quit);
                false
            }
            Some(Received::Child) => false,
            None => true,
        }
    }
}

fn join(screen: ScreenThread) -> Result<()> {
    match screen.join() {
        Ok(result) => result,
        // The panic has printed its message.
        Err(_) => bail!("the screen has failed"),
    }
}

/// Ends the recording when the screen is gone, even by a panic.
struct CloseOnDrop(Arc<Feed>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
