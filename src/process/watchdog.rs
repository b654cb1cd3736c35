//! Ends gilscope when a read of another process never returns. Memory that userfaultfd or FUSE does not supply, and files of a
//! server that is gone, block whoever reads them, and signals do not help: they are taken by the thread that is blocked.
//!
//! Whoever reads holds a [`ReadGuard`]. A thread of its own looks now and then whether the one with the guard has not run
//! at all since the last look. Nothing is added to the reads themselves.

use std::cell::Cell;
use std::fs;
use std::process::exit;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::event::{Pid, Tid};
use crate::text::{from_bytes, lines};

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After how many looks without any progress a read is given up, and after how many if gilscope is asked to end.
const PATIENCE: u32 = 50;
const PATIENCE_WHEN_ASKED: u32 = 5;
/// The signals that ask gilscope to end.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// How many guards there are, and how many there have been.
static HELD: AtomicU32 = AtomicU32::new(0);
static ENTERED: AtomicU64 = AtomicU64::new(0);
static PAUSED: AtomicU32 = AtomicU32::new(0);
/// The process that is read by the last one, and the thread that reads.
static TARGET: AtomicI32 = AtomicI32::new(0);
static READER: AtomicI32 = AtomicI32::new(0);

/// What to do before gilscope ends in the middle of a read. May return a sentence for the user.
type LastAct = Box<dyn FnOnce() -> Option<String> + Send>;
static LAST_ACTS: Mutex<Vec<LastAct>> = Mutex::new(Vec::new());

thread_local! {
    static OWN_TID: Cell<Tid> = const { Cell::new(0) };
}

/// Memory or files of a process are read while this exists, and nothing is waited for otherwise.
#[derive(Debug)]
pub struct ReadGuard(());

impl ReadGuard {
    /// Has it noticed, and gilscope ended with an error, if a read of process `pid` blocks from now on.
    pub fn new(pid: Pid) -> ReadGuard {
        static START: Once = Once::new();
        START.call_once(start);
        TARGET.store(pid, SeqCst);
        READER.store(own_tid(), SeqCst);
        ENTERED.fetch_add(1, SeqCst);
        HELD.fetch_add(1, SeqCst);
        ReadGuard(())
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        HELD.fetch_sub(1, SeqCst);
    }
}

/// Something else than a process is waited for while this exists: a disk, a terminal.
#[derive(Debug)]
pub struct ReadPause(());

impl ReadPause {
    /// As long as this exists, nothing is given up.
    #[allow(clippy::new_without_default)]
    pub fn new() -> ReadPause {
        PAUSED.fetch_add(1, SeqCst);
        ReadPause(())
    }
}

impl Drop for ReadPause {
    fn drop(&mut self) {
        // Another read, as far as patience is concerned.
        ENTERED.fetch_add(1, SeqCst);
        PAUSED.fetch_sub(1, SeqCst);
    }
}

/// Has something done before gilscope ends in the middle of a read: the terminal restored, a file completed.
pub fn before_giving_up(act: impl FnOnce() -> Option<String> + Send + 'static) {
    LAST_ACTS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(act));
}

fn own_tid() -> Tid {
    if OWN_TID.get() == 0 {
        OWN_TID.set(rustix::thread::gettid().as_raw_nonzero().get());
    }
    OWN_TID.get()
}

/// Starts the watchdog. It takes no signals: they are for the threads that handle them.
fn start() {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(watch) {
        log::debug!("cannot start a thread that notices reads which block: {error}");
    }
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}

fn watch() {
    let mut patience = WatchdogPatience::default();
    loop {
        thread::sleep(LOOK_EVERY);
        let entered = ENTERED.load(SeqCst);
        if HELD.load(SeqCst) == 0 || PAUSED.load(SeqCst) > 0 || patience.is_other(entered) {
            patience = WatchdogPatience { entered, ..WatchdogPatience::default() };
            continue;
        }
        let Some(look) = ReaderLook::now(READER.load(SeqCst)) else { continue };
        if patience.is_over(&look) {
            give_up(TARGET.load(SeqCst));
        }
    }
}

/// What the kernel says of the thread that reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ReaderLook {
    /// It sleeps, in whatever way.
    sleeps: bool,
    /// How often it has left a CPU.
    switches: u64,
    /// gilscope has been asked to end, and nobody has taken the signal.
    is_asked_to_end: bool,
}

impl ReaderLook {
    fn now(tid: Tid) -> Option<ReaderLook> {
        Some(Self::parse(&from_bytes(&fs::read(format!("/proc/self/task/{tid}/status")).ok()?)))
    }

    fn parse(status: &str) -> ReaderLook {
        let mut look = ReaderLook::default();
        for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name {
                "State" => look.sleeps = value.starts_with(['S', 'D']),
                "voluntary_ctxt_switches" | "nonvoluntary_ctxt_switches" => {
                    look.switches += value.parse().unwrap_or(0);
                }
                "SigPnd" | "ShdPnd" => {
                    let pending = u64::from_str_radix(value, 16).unwrap_or(0);
                    look.is_asked_to_end |= ENDING.iter().any(|&signal| pending >> (signal as i32 - 1) & 1 != 0);
                }
                _ => {}
            }
        }
        look
    }
}

/// For how many looks the same read has not come any further.
#[derive(Clone, Copy, Debug, Default)]
struct WatchdogPatience {
    entered: u64,
    switches: u64,
    looks: u32,
}

impl WatchdogPatience {
    fn is_other(&self, entered: u64) -> bool {
        self.entered != entered
    }

    fn is_over(&mut self, look: &ReaderLook) -> bool {
        self.looks = if look.sleeps && look.switches == self.switches { self.looks + 1 } else { 0 };
        self.switches = look.switches;
        self.looks >= if look.is_asked_to_end { PATIENCE_WHEN_ASKED } else { PATIENCE }
    }
}

fn give_up(pid: Pid) {
    let acts = std::mem::take(&mut *LAST_ACTS.lock().unwrap_or_else(PoisonError::into_inner));
    let sentences: Vec<String> = acts.into_iter().filter_map(|act| act()).collect();
    eprintln!(
        "gilscope: process {pid} cannot be read: a read of its memory or of one of its files has been blocked for some \
         seconds. Something that it is mapped from does not answer: userfaultfd, FUSE, or a network file system (see \
         /proc/{pid}/maps). Try again when that answers"
    );
    sentences.iter().for_each(|sentence| eprintln!("{}", lines(sentence)));
    exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(status: &str) -> ReaderLook {
        ReaderLook::parse(status)
    }

    const STATUS: &str = "Name:\tgilscope\nState:\tD (disk sleep)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000010000\n\
                          voluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";

    #[test]
    fn a_thread_that_does_not_run_is_blocked_and_one_that_does_is_not() {
        let blocked = look(STATUS);
        assert_eq!(blocked, ReaderLook { sleeps: true, switches: 42, is_asked_to_end: false });
        let mut patience = WatchdogPatience::default();
        let looks = |patience: &mut WatchdogPatience, look: &ReaderLook| (1..).find(|_| patience.is_over(look));
        // The first look is only what the others are compared with.
        assert_eq!(looks(&mut patience, &blocked), Some(PATIENCE + 1));
        let mut patience = WatchdogPatience::default();
        assert!(!patience.is_over(&blocked) && !patience.is_over(&blocked));
        let moves = look(&STATUS.replace("40", "41"));
        assert_eq!(looks(&mut patience, &moves), Some(PATIENCE + 1), "begins anew");
        let runs = look(&STATUS.replace("D (disk sleep)", "R (running)"));
        assert!((0..2 * PATIENCE).all(|_| !patience.is_over(&runs)));
    }

    #[test]
    fn who_asks_gilscope_to_end_waits_less() {
        for pending in ["SigPnd:\t0000000000000002", "SigPnd:\t0000000000004000"] {
            let asked = look(&STATUS.replace("SigPnd:\t0000000000000000", pending));
            assert!(asked.is_asked_to_end, "{pending}");
            let mut patience = WatchdogPatience::default();
            assert_eq!((1..).find(|_| patience.is_over(&asked)), Some(PATIENCE_WHEN_ASKED + 1));
        }
    }
}
