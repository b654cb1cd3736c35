//! Versions of CPython. Used by everything that must know a structure's shape.

use std::fmt;

/// A released (or pre-release) CPython version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 3 for everything gilscope can read.
    pub major: u8,
    /// 8 to 15.
    pub minor: u8,
    pub patch: u8,
}

impl Version {
    /// The oldest version whose structures are known.
    pub const OLDEST: Version = Version { major: 3, minor: 8, patch: 0 };
    /// The newest minor version whose structures are known.
    pub const NEWEST_MINOR: u8 = 15;

    /// Decodes `PY_VERSION_HEX`: one byte each of major, minor, patch; release level and serial are ignored.
    pub fn from_hex(hex: u64) -> Version {
        Version { major: (hex >> 24) as u8, minor: (hex >> 16) as u8, patch: (hex >> 8) as u8 }
    }

    /// Whether it is newer than the versions whose structures are known.
    pub fn is_newer(self) -> bool {
        self.minor > Self::NEWEST_MINOR
    }

    /// Whether gilscope may be able to read it: its structures are known, or it is newer and says itself where they are.
    pub fn may_be_read(self) -> bool {
        self.major == 3 && self.minor >= Self::OLDEST.minor
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
