//! The frame around the records: a header, then blocks that are compressed and checked one by one. Whatever happens to
//! the end of a file, the blocks before it can be read.

use std::io::{self, Read, Write};

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// The first bytes of every recording. Not text, and damaged by whatever changes line ends.
pub const MAGIC: [u8; 8] = *b"\x93gscope\n";
/// The version of the format that is written, and the newest that is read. All older ones are read, too.
pub const VERSION: u32 = 4;
/// The last version whose markers are frames like those of Python.
pub const LAST_WITHOUT_FRAME_KINDS: u32 = 1;
/// Before the blocks: the magic and the version.
pub const HEADER: usize = 12;
/// Before each block: its length in the file, its length unpacked, and the checksum of what is in the file.
pub const FRAME: usize = 12;
/// No block is longer than this, packed or not, in bytes. A command line, the longest text there is, fits in several times.
pub const MAX_BLOCK: usize = 16 << 20;

/// The header of a file.
pub fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// A block of records as it is in the file.
pub fn pack(records: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(vec![0; FRAME], Compression::fast());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(records);
    let mut block = encoder.finish().unwrap_or_default();
    let packed = (block.len() - FRAME) as u32;
    let sum = checksum(&block[FRAME..]);
    block[..4].copy_from_slice(&packed.to_le_bytes());
    block[4..8].copy_from_slice(&(records.len() as u32).to_le_bytes());
    block[8..12].copy_from_slice(&sum.to_le_bytes());
    block
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum NextBlock {
    /// The records of a block.
    Records(Vec<u8>),
    /// The file ends here, after a block.
    End,
    /// The file ends within a block, or goes on with something that is none.
    Broken { at_end: bool },
}

/// Reads the next block. Returns how many bytes of the file that took, too.
///
/// # Errors
/// The file cannot be read.
pub fn next(file: &mut impl Read) -> io::Result<(NextBlock, u64)> {
    let mut read = 0;
    let block = next_of(file, &mut read)?;
    Ok((block, read))
}

fn next_of(file: &mut impl Read, read: &mut u64) -> io::Result<NextBlock> {
    let mut frame = Vec::with_capacity(FRAME);
    file.take(FRAME as u64).read_to_end(&mut frame)?;
    if frame.is_empty() {
        return Ok(NextBlock::End);
    }
    let Ok(frame) = <[u8; FRAME]>::try_from(frame) else { return Ok(NextBlock::Broken { at_end: true }) };
    let word = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let (packed, unpacked) = (word(0) as usize, word(4) as usize);
    let broken = NextBlock::Broken { at_end: false };
    if packed == 0 || packed > MAX_BLOCK || unpacked > MAX_BLOCK {
        return Ok(broken);
    }
    // No more is taken from the memory than there is in the file.
    let mut block = Vec::new();
    file.take(packed as u64).read_to_end(&mut block)?;
    *read = (FRAME + block.len()) as u64;
    if block.len() < packed {
        return Ok(NextBlock::Broken { at_end: true });
    }
    if checksum(&block) != word(8) {
        return Ok(broken);
    }
    let mut records = Vec::new();
    let unpacking = DeflateDecoder::new(&*block).take(unpacked as u64 + 1).read_to_end(&mut records);
    Ok(if unpacking.is_ok_and(|length| length == unpacked) { NextBlock::Records(records) } else { broken })
}

/// CRC-32 as in gzip.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_up_to_where_the_file_was_cut() {
        let blocks: [&[u8]; 3] = [b"one", &[7; 100_000], b""];
        let file: Vec<u8> = blocks.iter().flat_map(|records| pack(records)).collect();
        let first = pack(blocks[0]).len();
        for length in 0..=file.len() {
            let mut rest = &file[..length];
            let mut whole = 0;
            let last = loop {
                match next(&mut rest).unwrap().0 {
                    NextBlock::Records(records) => assert_eq!(records, blocks[whole]),
                    other => break other,
                }
                whole += 1;
            };
            assert_eq!(whole >= 1, length >= first);
            let at_an_end = [0, first, first + pack(blocks[1]).len(), file.len()].contains(&length);
            assert_eq!(last, if at_an_end { NextBlock::End } else { NextBlock::Broken { at_end: true } }, "{length}");
        }
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let good = pack(b"some records, some records, some records");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(next(&mut &*bad).unwrap().0, NextBlock::Broken { .. }), "bit {bit}");
        }
    }

    #[test]
    fn a_block_does_not_unpack_to_more_than_it_says() {
        let mut block = pack(&[0; 1 << 20]);
        block[4..8].copy_from_slice(&100u32.to_le_bytes());
        assert_eq!(next(&mut &*block).unwrap().0, NextBlock::Broken { at_end: false });
    }
}
