//! A recording in memory. Called by [`crate::fuzzing`], whose bytes would hardly ever have the right checksum.

use super::block;

/// The file of one block with these records.
pub(crate) fn file_of(records: &[u8]) -> Vec<u8> {
    [&block::header()[..], &block::pack(records)].concat()
}
