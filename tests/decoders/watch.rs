//! Sees how much memory this thread allocates at a time, and how much of the target it reads.

#![allow(unsafe_code)] // An allocator cannot be anything else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use gilscope::process::memory::{Memory, MemoryImage, MemorySpan, ReadError};
use proptest::prelude::ProptestConfig;

/// This number of cases, unless `PROPTEST_CASES` says otherwise; a failing one is printed and not kept in a file.
pub fn cases(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    // A thread that is ending counts no more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: all of it is the system's allocator's doing; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Memory that counts what is asked of it.
pub struct Watched<'a> {
    memory: &'a MemoryImage,
    calls: Cell<u64>,
    bytes: Cell<u64>,
}

impl Memory for Watched<'_> {
    fn read_some(&self, spans: &[MemorySpan], buffer: &mut [u8]) -> Result<usize, ReadError> {
        self.calls.set(self.calls.get() + 1);
        self.bytes.set(self.bytes.get() + spans.iter().map(|span| span.len as u64).sum::<u64>());
        // Here, so that what does not end is seen, too.
        assert!(self.calls.get() < 1_000_000, "{} reads", self.calls.get());
        assert!(self.bytes.get() < 4 << 30, "{} bytes were read", self.bytes.get());
        self.memory.read_some(spans, buffer)
    }
}

/// Runs `work` on `memory`, and checks that it was modest.
pub fn modest<T>(memory: &MemoryImage, work: impl FnOnce(&Watched<'_>) -> T) -> T {
    let memory = Watched { memory, calls: Cell::new(0), bytes: Cell::new(0) };
    let before = LIVE.get();
    PEAK.set(before);
    let started = Instant::now();
    let result = work(&memory);
    let (allocated, took) = (PEAK.get() - before, started.elapsed());
    assert!(allocated < 300 << 20, "{allocated} bytes were allocated");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    result
}
