//! Says what gilscope is busy with, once that takes longer than a second: reading or writing a large recording.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::output::rewrite_line;

/// When to say so first, and how often then.
const FIRST: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(500);

/// A line on the terminal for as long as this lives; nothing where standard error is none.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WaitingLine {
    /// Begins to wait for what the text says: `reading app.gscope`.
    pub fn new(what: String) -> WaitingLine {
        if !stderr().is_terminal() {
            return WaitingLine { done: None, thread: None };
        }
        let (done, ended) = channel::<()>();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut wait = FIRST;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                rewrite_line(&format!("{what}: {} s", begun.elapsed().as_secs()));
                wait = EVERY;
            }
            if wait == EVERY {
                rewrite_line("");
            }
        });
        WaitingLine { done: Some(done), thread: Some(thread) }
    }
}

impl Drop for WaitingLine {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
