//! Flags of records: a type for each kind of record that has some.

/// Flags of a time off the CPU: `enum gil_flag` and `enum off_flag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffFlags(pub(crate) u8);

impl OffFlags {
    /// The thread held the GIL.
    pub(crate) const HELD: OffFlags = OffFlags(1);
    /// Some thread held the GIL.
    pub(crate) const LOCKED: OffFlags = OffFlags(2);
    /// The GIL was read.
    pub(crate) const HAS_GIL: OffFlags = OffFlags(4);
    /// The thread was seen to be made ready.
    pub(crate) const WOKEN: OffFlags = OffFlags(8);
    /// It was made ready by a thread that is known.
    pub(crate) const WAKER: OffFlags = OffFlags(16);
    /// The GIL was read at that moment.
    pub(crate) const WAKER_GIL: OffFlags = OffFlags(32);
    /// Off the CPU since before it was observed.
    pub(crate) const OPEN: OffFlags = OffFlags(64);
    /// The interpreter was collecting garbage. Unless the thread was parked, it was this thread that did.
    pub(crate) const COLLECTING: OffFlags = OffFlags(128);

    pub(crate) fn has(self, flag: OffFlags) -> bool {
        self.0 & flag.0 == flag.0
    }

    pub(crate) fn with(self, flag: OffFlags) -> OffFlags {
        OffFlags(self.0 | flag.0)
    }

    pub(crate) fn without(self, flag: OffFlags) -> OffFlags {
        OffFlags(self.0 & !flag.0)
    }
}

/// Flags of a sample: `enum gil_flag` and `enum sample_flag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SampleFlags(pub(crate) u8);

impl SampleFlags {
    /// The thread held the GIL.
    pub(crate) const HELD: SampleFlags = SampleFlags(1);
    /// The GIL was read.
    pub(crate) const HAS_GIL: SampleFlags = SampleFlags(4);
    /// The thread ran its own code, not the kernel's.
    pub(crate) const IN_USER: SampleFlags = SampleFlags(8);
    /// It was collecting garbage.
    pub(crate) const COLLECTS: SampleFlags = SampleFlags(16);
    /// It was attached to an interpreter without a GIL.
    pub(crate) const ATTACHED: SampleFlags = SampleFlags(32);
    /// It ran code that is neither the interpreter's nor the C library's.
    pub(crate) const NATIVE: SampleFlags = SampleFlags(128);

    pub(crate) fn has(self, flag: SampleFlags) -> bool {
        self.0 & flag.0 == flag.0
    }
}
