//! What the loop that collects and the screen have in common: the newest snapshot, and what the screen wants. Neither waits
//! for the other.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event::Nanos;
use crate::session::{Observer, RecordingView};
use crate::snapshot::Snapshot;

/// How often to look whether the screen wants an end, in nanoseconds.
const ATTENTION: u64 = 50_000_000;

/// Both sides have one.
#[derive(Debug)]
pub struct Feed {
    newest: Mutex<Newest>,
    changed: Condvar,
    interval_ns: AtomicU64,
    /// The interval after the first snapshot, in which there is nothing to be seen.
    first_ns: u64,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Newest {
    /// Counts snapshots.
    number: u64,
    snapshot: Option<Arc<Snapshot>>,
    end: Option<Ending>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing new comes, for this reason; what there is can still be looked at.
    Over(String),
    /// The screen is to go away.
    Quit,
}

/// What there is to be had.
#[derive(Clone, Debug)]
pub struct News {
    /// The number of the newest snapshot.
    pub number: u64,
    /// That.
    pub snapshot: Arc<Snapshot>,
    /// No more come.
    pub end: Option<Ending>,
}

impl Feed {
    /// A feed of snapshots at so many milliseconds, the second so many after the first.
    pub fn new(interval_ms: u64, first_ms: u64) -> Feed {
        Feed {
            newest: Mutex::default(),
            changed: Condvar::new(),
            interval_ns: AtomicU64::new(interval_ms * 1_000_000),
            first_ns: first_ms * 1_000_000,
            stop: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        // Whoever panicked has left a snapshot that is whole.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest snapshot, if there is one.
    pub fn news(&self) -> Option<News> {
        let newest = self.lock();
        Some(News { number: newest.number, snapshot: newest.snapshot.clone()?, end: newest.end.clone() })
    }

    /// Waits for a newer snapshot than this, or for the end.
    pub fn wait(&self, number: u64) -> Option<News> {
        let newest = self.lock();
        let old = |newest: &mut Newest| newest.number == number && newest.end.is_none();
        drop(self.changed.wait_while(newest, old));
        self.news()
    }

    /// Refreshes at another interval from now on.
    pub fn every(&self, interval_ms: u64) {
        self.interval_ns.store(interval_ms * 1_000_000, Ordering::Relaxed);
    }

    /// Nobody looks any more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn publish(&self, snapshot: Snapshot) {
        let mut newest = self.lock();
        newest.number += 1;
        newest.snapshot = Some(Arc::new(snapshot));
        self.changed.notify_all();
    }

    /// Nothing new comes after this snapshot.
    pub fn end(&self, last: Option<Snapshot>, ending: Ending) {
        if let Some(last) = last {
            self.publish(last);
        }
        self.lock().end = Some(ending);
        self.changed.notify_all();
    }
}

/// Makes snapshots while recording goes on. The screen is opened with the first: errors before that are printed as always.
pub struct Live<F> {
    feed: Arc<Feed>,
    open: Option<F>,
    /// The thread of the screen.
    pub screen: Option<JoinHandle<anyhow::Result<()>>>,
    next: Nanos,
    attention: Nanos,
}

impl<F: FnOnce(Arc<Feed>) -> JoinHandle<anyhow::Result<()>>> Live<F> {
    /// `open` opens the screen.
    pub fn new(feed: Arc<Feed>, open: F) -> Live<F> {
        Live { feed, open: Some(open), screen: None, next: Nanos(0), attention: Nanos(0) }
    }
}

impl<F: FnOnce(Arc<Feed>) -> JoinHandle<anyhow::Result<()>>> Observer for Live<F> {
    fn next(&self) -> Nanos {
        self.next.min(self.attention)
    }

    fn needs_under_way(&self, at: Nanos) -> bool {
        self.next <= at
    }

    fn observe(&mut self, view: &RecordingView<'_>) -> ControlFlow<()> {
        let at = view.at;
        self.attention = Nanos(at.0 + ATTENTION);
        if self.feed.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let interval = self.feed.interval_ns.load(Ordering::Relaxed);
        // A shorter interval does not wait for the longer one to be over.
        self.next = self.next.min(Nanos(at.0 + interval));
        if self.next <= at {
            self.next = Nanos(at.0 + if self.open.is_some() { self.feed.first_ns } else { interval });
            self.feed.publish(Snapshot::of(at, view.profile, view.under_way));
            if let Some(open) = self.open.take() {
                self.screen = Some(open(self.feed.clone()));
            }
        }
        ControlFlow::Continue(())
    }
}

/// How long the screen waits for a key before it looks for news.
pub const GLANCE: Duration = Duration::from_millis(50);
