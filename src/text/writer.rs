//! Text as it leaves for a file that is read by lines, or a log.

use std::io::{self, Write};

use super::visible;

/// Makes visible what is unsafe in the text that goes through it, but for ends of lines. What is no UTF-8 is replaced.
#[derive(Debug)]
pub struct VisibleWriter<W> {
    out: W,
    /// The start of a character whose rest has not come yet.
    pending: Vec<u8>,
}

impl<W: Write> VisibleWriter<W> {
    pub fn new(out: W) -> VisibleWriter<W> {
        VisibleWriter { out, pending: Vec::new() }
    }
}

/// How many bytes at the end are the start of a character that is not complete.
fn incomplete(bytes: &[u8]) -> usize {
    let last = |back: &usize| bytes[bytes.len() - back];
    let start = (1..=bytes.len().min(3)).find(|back| last(back) & 0xc0 != 0x80);
    let length = |lead: u8| match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    start.filter(|back| length(last(back)) > *back).unwrap_or(0)
}

impl<W: Write> Write for VisibleWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        let whole = self.pending.len() - incomplete(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..whole]);
        let plain = text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~'));
        match plain {
            true => self.out.write_all(text.as_bytes())?,
            false => self.out.write_all(visible(&text, |char| char == '\n').as_bytes())?,
        }
        self.pending.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_come_in_parts_are_whole_again() {
        let text = "a\u{202e}\u{7ebf}\u{e0041}\x1b\nz";
        for size in 1..=text.len() {
            let mut writer = VisibleWriter::new(Vec::new());
            for part in text.as_bytes().chunks(size) {
                writer.write_all(part).unwrap();
            }
            assert_eq!(super::super::from_bytes(&writer.out), "a\\u{202e}\u{7ebf}\\u{e0041}\\x1b\nz", "{size}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut writer = VisibleWriter::new(Vec::new());
        writer.write_all(b"a\xff\xc2").unwrap();
        writer.write_all(b"\x9bb").unwrap();
        assert_eq!(super::super::from_bytes(&writer.out), "a\u{fffd}\\x9bb");
    }
}
