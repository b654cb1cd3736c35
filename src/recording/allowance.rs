//! How much a file may cost to read. Used by [`super::reader`] and [`super::decode`].
//!
//! Deflate packs a thousand equal bytes into one, and a record of two bytes can make a table longer by hundreds. So that no
//! small file costs minutes or gigabytes, everything that reading one takes is limited by a multiple of the bytes that were
//! read of it. What recordings need in fact is several times less than each of these.

use super::wire::Malformed;

/// What is limited, as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadingCost {
    /// Bytes of records.
    Unpacked,
    /// Bytes of memory in tables that grow.
    Memory,
    /// Events, each of which takes about as long as any other.
    Events,
    /// Frames of all stacks in which something was seen: views write them out.
    Frames,
}

/// A limit: so much for any file, and so much more for each byte of it.
const LIMITS: [(u64, u64); 4] = [
    // 2000 idle threads, sampled for hours, pack to 1 %.
    (1 << 20, 256),
    (64 << 20, 64),
    (1 << 20, 128),
    (1 << 26, 1 << 12),
];

/// Memory that a thing of a kind takes about, in bytes, without its texts.
pub(super) mod memory {
    pub const TEXT: u64 = 64;
    pub const FRAME: u64 = 96;
    pub const STACK: u64 = 40;
    pub const PROCESS: u64 = 256;
    pub const THREAD: u64 = 256;
    /// Threads that have ended share rows; their ids do not.
    pub const ENDED_THREAD: u64 = 32;
    pub const GIL: u64 = 4096;
    pub const LOCK: u64 = 640;
    pub const OBJECT: u64 = 256;
    pub const CONTEXT: u64 = 96;
    pub const WAIT_CONTEXT: u64 = 256;
    pub const STUCK_THREAD: u64 = 64;
}

/// What was read of a file, and what it has cost so far.
#[derive(Debug, Default)]
pub(super) struct ReadingAllowance {
    read: u64,
    spent: [u64; LIMITS.len()],
    /// It costs more than a file of its size may.
    pub exceeded: bool,
}

impl ReadingAllowance {
    /// More bytes of the file were read.
    pub fn read(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// # Errors
    /// The file costs more than one of its size may.
    pub fn spend(&mut self, cost: ReadingCost, amount: u64) -> Result<(), Malformed> {
        let spent = &mut self.spent[cost as usize];
        *spent = spent.saturating_add(amount);
        let (free, per_byte) = LIMITS[cost as usize];
        self.exceeded |= *spent > free.saturating_add(per_byte.saturating_mul(self.read));
        if self.exceeded { Err(Malformed) } else { Ok(()) }
    }

    /// As [`ReadingAllowance::spend`], of memory: for a thing and its texts.
    pub fn keep(&mut self, thing: u64, texts: usize) -> Result<(), Malformed> {
        self.spend(ReadingCost::Memory, thing + texts as u64)
    }

    /// Less memory is taken than before.
    pub fn free(&mut self, bytes: u64) {
        let spent = &mut self.spent[ReadingCost::Memory as usize];
        *spent = spent.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_cost_a_multiple_of_its_bytes() {
        let mut allowance = ReadingAllowance::default();
        assert_eq!(allowance.spend(ReadingCost::Unpacked, 1 << 20), Ok(()));
        allowance.read(1);
        assert_eq!(allowance.spend(ReadingCost::Unpacked, 256), Ok(()));
        assert_eq!(allowance.keep(64 << 20, 63), Ok(()));
        allowance.free(100);
        assert_eq!(allowance.keep(0, 101), Ok(()));
        assert_eq!(allowance.keep(0, 1), Err(Malformed));
        assert_eq!(allowance.spend(ReadingCost::Events, 0), Err(Malformed), "once too much, always too much");
    }
}
