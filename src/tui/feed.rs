//! What the recording loop and the screen share: the newest snapshot, and what the screen asks for. Neither waits for
//! the other.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::event::Nanos;
use crate::session::{Observer, RecordingView};
use crate::snapshot::Snapshot;

/// How often to check whether the screen was closed.
const CHECK_INTERVAL_NS: u64 = 50_000_000;

#[derive(Debug)]
pub(crate) struct Feed {
    newest: Mutex<NewestSnapshot>,
    changed: Condvar,
    interval_ns: AtomicU64,
    /// The interval after the first snapshot, which shows nothing yet.
    first_ns: u64,
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct NewestSnapshot {
    number: u64,
    snapshot: Option<Arc<Snapshot>>,
    end: Option<Ending>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// No more snapshots come, for this reason; the last one can still be viewed.
    Over(String),
    /// The screen is to be closed.
    Quit,
}

#[derive(Clone, Debug)]
pub(crate) struct FeedNews {
    pub number: u64,
    pub snapshot: Arc<Snapshot>,
    /// Why no more come, if so.
    pub end: Option<Ending>,
}

impl Feed {
    /// A feed of a snapshot each `interval_ms`, the second one `first_ms` after the first.
    pub(crate) fn new(interval_ms: u64, first_ms: u64) -> Feed {
        Feed {
            newest: Mutex::default(),
            changed: Condvar::new(),
            interval_ns: AtomicU64::new(interval_ms * 1_000_000),
            first_ns: first_ms * 1_000_000,
            is_closed: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, NewestSnapshot> {
        // A panic leaves a complete snapshot.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest snapshot, if there is one.
    pub(crate) fn news(&self) -> Option<FeedNews> {
        let newest = self.lock();
        Some(FeedNews { number: newest.number, snapshot: newest.snapshot.clone()?, end: newest.end.clone() })
    }

    /// Waits for a newer snapshot than this, or for the end.
    pub(crate) fn wait(&self, number: u64) -> Option<FeedNews> {
        let newest = self.lock();
        let old = |newest: &mut NewestSnapshot| newest.number == number && newest.end.is_none();
        drop(self.changed.wait_while(newest, old));
        self.news()
    }

    pub(crate) fn set_interval(&self, interval_ms: u64) {
        self.interval_ns.store(interval_ms * 1_000_000, Ordering::Relaxed);
    }

    /// The screen needs no more snapshots.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    fn publish(&self, snapshot: Snapshot) {
        let mut newest = self.lock();
        newest.number += 1;
        newest.snapshot = Some(Arc::new(snapshot));
        self.changed.notify_all();
    }

    /// No more snapshots come after `last`.
    pub(crate) fn end(&self, last: Option<Snapshot>, ending: Ending) {
        if let Some(last) = last {
            self.publish(last);
        }
        self.lock().end = Some(ending);
        self.changed.notify_all();
    }
}

/// Opens the screen, in a thread of its own.
type OpenScreen = Box<dyn FnOnce(Arc<Feed>) -> ScreenThread>;
pub(crate) type ScreenThread = JoinHandle<anyhow::Result<()>>;

/// Makes snapshots while recording goes on. The screen is opened with the first: errors before that are printed as always.
pub(crate) struct SnapshotPublisher {
    feed: Arc<Feed>,
    open: Option<OpenScreen>,
    /// The thread of the screen, once there is one.
    pub screen: Option<ScreenThread>,
    next: Nanos,
    next_check: Nanos,
}

impl SnapshotPublisher {
    pub(crate) fn new(feed: Arc<Feed>, open: OpenScreen) -> SnapshotPublisher {
        SnapshotPublisher { feed, open: Some(open), screen: None, next: Nanos(0), next_check: Nanos(0) }
    }
}

impl Observer for SnapshotPublisher {
    fn next(&self) -> Nanos {
        self.next.min(self.next_check)
    }

    fn needs_under_way(&self, at: Nanos) -> bool {
        self.next <= at
    }

    fn observe(&mut self, view: &RecordingView<'_>) -> ControlFlow<()> {
        let at = view.at;
        self.next_check = Nanos(at.0 + CHECK_INTERVAL_NS);
        if self.feed.is_closed.load(Ordering::Relaxed) {
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
