//! What the targets have in common: the program ends, with the input kept, when a decoder has more than 256 MB, or uses the CPU
//! for more than a second. (libFuzzer's own limits of allocations need a sanitizer, and its time is that of the clock: on a busy
//! machine, a second passes without any fault of the decoder.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

pub use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};

/// Bytes that one execution may have allocated at one time.
const MAX_ALLOCATED: isize = 256 << 20;

/// The CPU time of one execution, in milliseconds.
const MAX_MS: i64 = 1000;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static ALLOWED: AtomicIsize = AtomicIsize::new(isize::MAX);

struct LimitedAllocator;

// SAFETY: all of it is the system's allocator's doing; the counters do not allocate.
unsafe impl GlobalAlloc for LimitedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size() as isize;
        if LIVE.fetch_add(size, Ordering::Relaxed) + size > ALLOWED.load(Ordering::Relaxed) {
            // What is allocated for the message counts no more.
            ALLOWED.store(isize::MAX, Ordering::Relaxed);
            panic!("more than {MAX_ALLOCATED} bytes are allocated");
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static LIMITED: LimitedAllocator = LimitedAllocator;

/// The CPU time of this thread, in milliseconds.
fn cpu_time_ms() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Runs a decoder with the limits.
pub fn limited(decoder: fn(&[u8]), bytes: &[u8]) {
    let started = cpu_time_ms();
    ALLOWED.store(LIVE.load(Ordering::Relaxed) + MAX_ALLOCATED, Ordering::Relaxed);
    decoder(bytes);
    ALLOWED.store(isize::MAX, Ordering::Relaxed);
    let took = cpu_time_ms() - started;
    assert!(took < MAX_MS, "it took {took} ms");
}

/// The target of a decoder.
#[macro_export]
macro_rules! fuzz {
    ($decoder:path) => {
        $crate::fuzz_target!(|bytes: &[u8]| $crate::limited($decoder, bytes));
    };
}
