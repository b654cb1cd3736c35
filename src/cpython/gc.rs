//! The flags that an interpreter has while it collects garbage.

use crate::cpython::layout::GcLayout;
use crate::process::memory::Memory;

/// What an interpreter says of garbage collections: one reading of the flags that [`GcLayout`] leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcFlags {
    /// Garbage is being collected.
    pub collecting: bool,
    /// All threads but one are stopped (free-threaded builds).
    pub world_stopped: bool,
}

impl GcFlags {
    /// Decodes what was read of [`GcLayout::spans`]; what could not be read is zeros.
    pub fn decode(bytes: &[u8]) -> GcFlags {
        let (collecting, world_stopped) = bytes.split_at(4);
        GcFlags {
            collecting: collecting == 1i32.to_ne_bytes(),
            world_stopped: world_stopped.first().is_some_and(|&flag| flag != 0),
        }
    }

    /// Reads those of an interpreter.
    pub fn read(memory: &impl Memory, layout: &GcLayout, runtime: u64, interpreter: u64) -> GcFlags {
        let mut bytes = [0; 5];
        let mut rest = &mut bytes[..layout.size().0];
        for span in layout.spans(runtime, interpreter) {
            let (flag, others) = rest.split_at_mut(span.len);
            if memory.read(span.addr, flag).is_err() {
                flag.fill(0);
            }
            rest = others;
        }
        GcFlags::decode(&bytes[..layout.size().0])
    }
}
