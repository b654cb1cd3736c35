//! Writes a recording as it goes on. Called by the session for every event.
//!
//! The session only appends records to a block. A thread of its own compresses blocks and writes them, so that a slow
//! disk delays nothing, until [`MAX_WAITING`] blocks wait for it: memory is bounded, events are not dropped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::encode::Encoder;
use super::{RecordingOrigin, block};
use crate::event::{Event, Nanos, ProcessInfo};
use crate::output::{Output, remove_unfinished, survive_size_limit};
use crate::process::stop::JOB_CONTROL;
use crate::process::watchdog::{ReadPause, before_giving_up};
use crate::profile::SessionInfo;
use crate::stack::Interner;
use crate::text::Shown;

/// A block of records is complete with this many bytes ...
const FULL: usize = 64 << 10;
/// ... or at this age, in nanoseconds.
const OLD: u64 = 1_000_000_000;
/// How many blocks can wait to be written.
const MAX_WAITING: usize = 64;
/// How long it may take to write what waits, if gilscope has to end.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// How often the file is synced.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What the session sends to the writing thread.
#[derive(Debug)]
enum WriterMessage {
    /// There is something to record: the file appears, under a name that is known only now if there is one.
    Appear(Option<PathBuf>),
    /// The records of a block.
    Records(Vec<u8>),
    /// Nothing more will come.
    Complete,
}

/// Takes events, and has them written.
#[derive(Debug)]
pub struct Recorder {
    encoder: Box<Encoder>,
    /// None after a failure.
    messages: Option<SyncSender<WriterMessage>>,
    worker: JoinHandle<Result<PathBuf>>,
    state: Arc<WriterState>,
    named: bool,
    appeared: bool,
    sent: Nanos,
}

/// What the writing thread still has to do, for a gilscope that has to end in the middle of a read.
#[derive(Debug, Default)]
struct WriterState {
    /// How many messages wait for it.
    waiting: AtomicUsize,
    /// The recording, once it has appeared.
    path: Mutex<Option<PathBuf>>,
}

impl WriterState {
    /// Waits until all is written that was handed to the writer. Says where. If nothing has been recorded, removes the
    /// `unfinished` file.
    fn settle(&self, unfinished: Option<&Path>) -> Option<String> {
        let until = Instant::now() + SETTLES_WITHIN;
        while self.waiting.load(SeqCst) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner).take();
        if path.is_none() {
            unfinished.map(remove_unfinished);
        }
        let path = path?;
        Some(format!("the recording ends here; gilscope report {} shows what it has", path.shown()))
    }
}

impl Recorder {
    /// Writes to `output`. If it is not `named`, it is named after the first process. Begin it after signals are
    /// blocked: its thread is not the one to get them.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn new(output: Output, named: bool, origin: &RecordingOrigin) -> Result<Recorder> {
        let (messages, inbox) = sync_channel(MAX_WAITING);
        let state = Arc::new(WriterState::default());
        let (shared, settling) = (state.clone(), state.clone());
        let unfinished = output.unfinished();
        before_giving_up(move || settling.settle(unfinished.as_deref()));
        let worker = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || work(output, &inbox, &shared))
            .context("cannot start a thread that writes the recording")?;
        let mut encoder = Box::<Encoder>::default();
        encoder.origin(origin);
        Ok(Recorder { encoder, messages: Some(messages), worker, state, named, appeared: false, sent: Nanos(0) })
    }

    /// What has happened. `stacks` must know every stack of the event.
    pub fn event(&mut self, event: &Event, stacks: &Interner, session: &SessionInfo) {
        if let Event::Process { info, .. } = event
            && !self.appeared
        {
            self.appeared = true;
            self.send(WriterMessage::Appear((!self.named).then(|| default_name(info))));
            // What follows is understood only with the rate.
            self.encoder.session(session);
        }
        self.encoder.event(event, stacks);
        if self.encoder.records.len() >= 4 * FULL {
            self.block();
        }
    }

    /// Hands a block to the writer if it is due. `session` is how the recording has gone up to `now`.
    pub fn tick(&mut self, now: Nanos, session: &SessionInfo) {
        let due = self.encoder.records.len() >= FULL || now.since(self.sent) >= OLD;
        if self.appeared && due && !self.encoder.records.is_empty() {
            self.sent = now;
            self.encoder.session(&SessionInfo { end: now, ..session.clone() });
            self.block();
        }
    }

    /// Nothing more can be written. [`Recorder::finish`] returns the error.
    pub fn has_failed(&self) -> bool {
        self.messages.is_none()
    }

    /// Completes the recording. Returns where it is.
    ///
    /// # Errors
    /// It could not be written, or not all of it: the error says what is there.
    pub fn finish(mut self, session: &SessionInfo) -> Result<PathBuf> {
        self.encoder.session(session);
        self.encoder.end();
        self.block();
        self.send(WriterMessage::Complete);
        self.join()
    }

    /// Ends a recording that cannot be completed. Nothing is left behind, unless it is live and has begun.
    pub fn discard(self) {
        let _ = self.join();
    }

    fn block(&mut self) {
        let records = std::mem::take(&mut self.encoder.records);
        self.send(WriterMessage::Records(records));
    }

    fn send(&mut self, message: WriterMessage) {
        self.state.waiting.fetch_add(1, SeqCst);
        // A slow disk is not to be taken for a process that cannot be read.
        let _pause = ReadPause::new();
        self.messages.take_if(|messages| messages.send(message).is_err());
    }

    fn join(self) -> Result<PathBuf> {
        drop(self.messages);
        self.worker.join().unwrap_or_else(|_| Err(anyhow!("the thread that writes the recording has failed")))
    }
}

/// `gilscope-NAME-PID.gscope`.
fn default_name(info: &ProcessInfo) -> PathBuf {
    format!("gilscope-{}-{}.gscope", info.short_name(), info.pid).into()
}

fn work(mut output: Output, inbox: &Receiver<WriterMessage>, state: &WriterState) -> Result<PathBuf> {
    survive_size_limit();
    // Ctrl-Z stops gilscope only when the thread that stops others lets it.
    let _ = JOB_CONTROL.into_iter().collect::<nix::sys::signal::SigSet>().thread_block();
    let mut appeared = false;
    let mut written = 0;
    let mut synced = Instant::now();
    for message in inbox {
        let result = match &message {
            WriterMessage::Appear(name) => {
                appeared = true;
                let appeared = output.appear(name.as_deref());
                *state.path.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(output.until_complete().unwrap_or_else(|| output.path()));
                appeared.and_then(|()| append(&mut output, &block::header(), &mut written))
            }
            WriterMessage::Records(_) if !appeared => Ok(()),
            WriterMessage::Records(records) => append(&mut output, &block::pack(records), &mut written),
            WriterMessage::Complete => return output.finish(),
        };
        if let Err(error) = result {
            let path = output.path();
            // A file that ends in the middle of a block is as good; this one is tidy.
            output.cut(written);
            let kept = output.abandon(written > block::HEADER as u64);
            return Err(error.context(format!("cannot write to {}: {kept}", path.shown())));
        }
        state.waiting.fetch_sub(1, SeqCst);
        if synced.elapsed() >= SYNC_EVERY {
            output.sync();
            synced = Instant::now();
        }
    }
    let path = output.path();
    match appeared {
        true => drop(output.abandon(true)),
        false => output.discard(),
    }
    Ok(path)
}

fn append(output: &mut Output, bytes: &[u8], written: &mut u64) -> Result<()> {
    output.write_all(bytes)?;
    output.flush()?;
    *written += bytes.len() as u64;
    Ok(())
}
