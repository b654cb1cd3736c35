//! From instruction to line: decoders for CPython's three line table formats. Pure; called by the code cache,
//! once per code object.

use crate::cpython::layout::LineTable;

/// A run of code units (two bytes each) of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRun {
    /// The first code unit after the run.
    pub end: u32,
    /// The line; 0 for none.
    pub line: u32,
}

/// Decodes a line table into runs in ascending order. Garbage gives garbage lines, but always ends.
pub fn decode(format: LineTable, table: &[u8], first_line: i32) -> Vec<LineRun> {
    match format {
        LineTable::Lnotab => lnotab(table, first_line),
        LineTable::Pep626 => pep626(table, first_line),
        LineTable::Locations => locations(table, first_line),
    }
}

/// The line of a code unit. Units before the first are those of a frame that has not started: its first line.
pub fn line_at(runs: &[LineRun], unit: i64, first_line: i32) -> u32 {
    let Ok(unit) = u32::try_from(unit) else { return first_line.max(0) as u32 };
    let index = runs.partition_point(|run| run.end <= unit);
    runs.get(index).or(runs.last()).map_or(first_line.max(0) as u32, |run| run.line)
}

fn positive(line: i32) -> u32 {
    line.max(0) as u32
}

/// 3.8, 3.9: pairs (bytes u8, lines i8); a pair's line starts after its bytes. The last line has no end.
fn lnotab(table: &[u8], first_line: i32) -> Vec<LineRun> {
    let mut runs = Vec::with_capacity(table.len() / 2 + 1);
    let (mut address, mut line) = (0u32, first_line);
    for pair in table.chunks_exact(2) {
        if pair[0] != 0 {
            address += u32::from(pair[0]);
            runs.push(LineRun { end: address.div_ceil(2), line: positive(line) });
        }
        line = line.wrapping_add(i32::from(pair[1] as i8));
    }
    runs.push(LineRun { end: u32::MAX, line: positive(line) });
    runs
}

/// 3.10: pairs (bytes u8, lines i8); the line changes before its bytes, -128 means that they have none.
fn pep626(table: &[u8], first_line: i32) -> Vec<LineRun> {
    let mut runs = Vec::with_capacity(table.len() / 2);
    let (mut address, mut line) = (0u32, first_line);
    for pair in table.chunks_exact(2) {
        address += u32::from(pair[0]);
        let delta = pair[1] as i8;
        if delta != -128 {
            line = line.wrapping_add(i32::from(delta));
        }
        if pair[0] != 0 {
            runs.push(LineRun { end: address / 2, line: if delta == -128 { 0 } else { positive(line) } });
        }
    }
    runs
}

/// 3.11 and later: entries that start with a byte 1kkkklll (kind k, l+1 code units) and go on with bytes below
/// 128. Columns are skipped.
fn locations(table: &[u8], first_line: i32) -> Vec<LineRun> {
    let mut runs = Vec::new();
    let (mut unit, mut line) = (0u32, first_line);
    let mut rest = table.iter().copied().peekable();
    while let Some(head) = rest.next() {
        unit += u32::from(head & 7) + 1;
        let kind = head >> 3 & 15;
        let delta = match kind {
            10..=12 => i32::from(kind) - 10,
            13 | 14 => {
                let mut value = 0u32;
                let mut shift = 0;
                while let Some(&byte) = rest.peek().filter(|&&byte| byte & 0x80 == 0) {
                    rest.next();
                    value |= u32::from(byte & 0x3f).checked_shl(shift).unwrap_or(0);
                    shift += 6;
                    if byte & 0x40 == 0 {
                        break;
                    }
                }
                let size = (value >> 1) as i32;
                if value & 1 == 1 { -size } else { size }
            }
            _ => 0,
        };
        line = line.wrapping_add(delta);
        // What is left of the entry says columns: every byte up to the next head.
        while rest.next_if(|byte| byte & 0x80 == 0).is_some() {}
        runs.push(LineRun { end: unit, line: if kind == 15 { 0 } else { positive(line) } });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lnotab_lines_start_after_their_bytes() {
        // def f():        line 10
        //     a = 1       line 11, bytes 0..4
        //     b = 2       line 12, bytes 4..
        let runs = lnotab(&[0, 1, 4, 1], 10);
        assert_eq!(line_at(&runs, 0, 10), 11);
        assert_eq!(line_at(&runs, 1, 10), 11);
        assert_eq!(line_at(&runs, 2, 10), 12);
        assert_eq!(line_at(&runs, 100, 10), 12);
        assert_eq!(line_at(&runs, -1, 10), 10);
    }

    #[test]
    fn pep626_marks_bytes_without_a_line() {
        let runs = pep626(&[4, 1, 2, 0x80, 4, 2], 10);
        assert_eq!([0, 1, 2, 3, 4].map(|unit| line_at(&runs, unit, 10)), [11, 11, 0, 13, 13]);
    }

    #[test]
    fn locations_skip_columns_and_take_signed_lines() {
        let one_line = 0x80 | 11 << 3 | 1; // two units, line + 1, two bytes of columns
        let long = 0x80 | 14 << 3; // one unit, line - 5 (varint 0b1011), then three varints
        let none = 0x80 | 15 << 3;
        let short = 0x80 | 3 << 3;
        let table = [one_line, 4, 9, long, 11, 0, 1, 0x41, 2, none, short, 0x7f];
        let runs = locations(&table, 20);
        assert_eq!([0, 1, 2, 3, 4].map(|unit| line_at(&runs, unit, 20)), [21, 21, 16, 0, 16]);
    }
}
