//! Line tables: what CPython's compiler writes is read back; anything else is read to its end.

use gilscope::cpython::layout::LineTable;
use gilscope::cpython::line_table::{decode, line_at};
use proptest::prelude::*;

use crate::watch::cases;

pub const FORMATS: [LineTable; 3] = [LineTable::Lnotab, LineTable::Pep626, LineTable::Locations];

/// The line table of a function with these lines, one per code unit (0 for none).
pub fn encode(format: LineTable, lines: &[u32], first_line: i32) -> Vec<u8> {
    let mut table = Vec::new();
    let mut line = first_line;
    let mut pending = 0;
    for run in lines.chunk_by(|a, b| a == b) {
        let units = run.len();
        let real = run[0] != 0;
        // Without a line, the old format goes on with the last one.
        let delta = if real { run[0] as i32 - line } else { 0 };
        line += delta;
        match format {
            LineTable::Lnotab => lnotab(&mut table, pending, delta),
            LineTable::Pep626 => pep626(&mut table, 2 * units, real, delta),
            LineTable::Locations => locations(&mut table, units, real, delta),
        }
        pending = 2 * units;
    }
    table
}

/// `assemble_lnotab` of 3.8: the line changes after `bytes`.
fn lnotab(table: &mut Vec<u8>, mut bytes: usize, mut delta: i32) {
    while bytes > 255 {
        table.extend([255, 0]);
        bytes -= 255;
    }
    while !(-128..=127).contains(&delta) {
        let step = delta.clamp(-128, 127);
        table.extend([bytes as u8, step as i8 as u8]);
        (bytes, delta) = (0, delta - step);
    }
    table.extend([bytes as u8, delta as i8 as u8]);
}

/// `assemble_line_range` of 3.10: the line changes before `bytes`.
fn pep626(table: &mut Vec<u8>, mut bytes: usize, real: bool, mut delta: i32) {
    while !(-127..=127).contains(&delta) {
        let step = delta.clamp(-127, 127);
        table.extend([0, step as i8 as u8]);
        delta -= step;
    }
    let mut change = if real { delta as i8 } else { -128 };
    while bytes > 254 {
        table.extend([254, change as u8]);
        change = if real { 0 } else { -128 };
        bytes -= 254;
    }
    table.extend([bytes as u8, change as u8]);
}

/// `write_location_info_entry` of 3.11, with each kind of entry in its turn.
fn locations(table: &mut Vec<u8>, mut units: usize, real: bool, mut delta: i32) {
    while units > 0 {
        let part = units.min(8);
        units -= part;
        let head = |kind: u8| 0x80 | kind << 3 | (part - 1) as u8;
        match (real, delta, table.len() % 4) {
            (false, ..) => table.push(head(15)),
            (_, 0, 0 | 1) => table.extend([head((table.len() % 10) as u8), 0x35]),
            (_, 0..=2, 0..=2) => table.extend([head(10 + delta as u8), 5, 127]),
            (_, _, 3) => {
                table.push(head(13));
                signed(table, delta);
            }
            _ => {
                table.push(head(14));
                signed(table, delta);
                // End line, columns.
                [1, 70, 5000].into_iter().for_each(|value| unsigned(table, value));
            }
        }
        delta = 0;
    }
}

fn signed(table: &mut Vec<u8>, value: i32) {
    unsigned(table, if value < 0 { (value.unsigned_abs() << 1) | 1 } else { (value as u32) << 1 });
}

fn unsigned(table: &mut Vec<u8>, mut value: u32) {
    while value >= 64 {
        table.push(0x40 | (value & 63) as u8);
        value >>= 6;
    }
    table.push(value as u8);
}

/// Lines of a function, unit by unit: near one another mostly, sometimes far.
pub fn some_lines(first_line: i32) -> impl Strategy<Value = Vec<u32>> {
    let line = prop_oneof![
        6 => -3..20i32,
        2 => -300..5000i32,
        1 => Just(i32::MIN),
    ];
    let run = (line, prop_oneof![4 => 1..12usize, 1 => 100..400usize]);
    prop::collection::vec(run, 1..12).prop_map(move |runs| {
        let line = |offset: i32| if offset == i32::MIN { 0 } else { (first_line + offset).max(1) as u32 };
        runs.into_iter().flat_map(|(offset, units)| std::iter::repeat_n(line(offset), units)).collect()
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn every_unit_has_the_line_that_was_written(lines in some_lines(500)) {
        for format in FORMATS {
            let runs = decode(format, &encode(format, &lines, 500), 500);
            let mut last = 500;
            for (unit, &line) in lines.iter().enumerate() {
                // lnotab cannot say that there is none.
                last = if line == 0 && format == LineTable::Lnotab { last } else { line };
                prop_assert_eq!(line_at(&runs, unit as i64, 500), last, "unit {} in {:?}", unit, format);
            }
            prop_assert_eq!(line_at(&runs, -1, 500), 500);
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(
        table in prop::collection::vec(any::<u8>(), 0..2000),
        first_line in any::<i32>(),
        unit in any::<i64>(),
    ) {
        for format in FORMATS {
            let runs = decode(format, &table, first_line);
            prop_assert!(runs.len() <= table.len() + 1);
            prop_assert!(runs.is_sorted_by_key(|run| run.end));
            line_at(&runs, unit, first_line);
            line_at(&runs, 3, first_line);
        }
    }
}

#[test]
fn the_largest_line_table_is_read_quickly() {
    for byte in [0, 1, 0x7f, 0x80, 0xff] {
        for format in FORMATS {
            let runs = decode(format, &vec![byte; 4 << 20], i32::MAX);
            line_at(&runs, i64::MAX, i32::MIN);
        }
    }
}
