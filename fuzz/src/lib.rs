//! What the targets have in common: an allocator that ends the program, with the input kept, when a decoder has more than
//! 256 MB. (libFuzzer's own limits of single allocations need a sanitizer.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

pub use libfuzzer_sys::fuzz_target;

/// Bytes that one execution may have allocated at one time.
const MAX_ALLOCATED: isize = 256 << 20;

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

/// Runs a decoder with the limit.
pub fn limited(decoder: fn(&[u8]), bytes: &[u8]) {
    ALLOWED.store(LIVE.load(Ordering::Relaxed) + MAX_ALLOCATED, Ordering::Relaxed);
    decoder(bytes);
    ALLOWED.store(isize::MAX, Ordering::Relaxed);
}

/// The target of a decoder.
#[macro_export]
macro_rules! fuzz {
    ($decoder:path) => {
        $crate::fuzz_target!(|bytes: &[u8]| $crate::limited($decoder, bytes));
    };
}
