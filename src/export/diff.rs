//! What changed between two profiles, as one flame graph and a table. Called by `gilscope diff`.
//!
//! Frames are as wide as in the second profile; red ones have become more, blue ones less. What is gone altogether has no
//! frame there: the table has it.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::{Result, bail};
use inferno::differential;
use inferno::flamegraph;
use rustc_hash::FxHashMap;

use super::changes::FunctionChanges;
use super::flamegraph::drawing;
use crate::stack::label::one_line;
use crate::text::from_bytes;

/// FoldedStacks stacks, and where they are from.
#[derive(Clone, Debug)]
pub struct FoldedStacks {
    /// What to call them in the title.
    pub name: String,
    /// `outermost;...;innermost AMOUNT`, a line each.
    pub lines: String,
    pub total: u64,
    /// The same of slices of the recording, in order, if there are any.
    pub slices: Vec<String>,
    /// The amounts are samples, each of which is a matter of chance.
    pub is_sampled: bool,
}

/// The sum of all amounts: more nanoseconds than a century has.
const MAX_TOTAL: u64 = 1 << 62;

impl FoldedStacks {
    /// Checks that `lines` are folded stacks.
    ///
    /// # Errors
    /// They are not, or there are none.
    pub fn new(name: &str, lines: String) -> Result<FoldedStacks> {
        let stacks = FoldedStacks::maybe_none(name, lines)?;
        if stacks.total == 0 {
            bail!("{name} has no samples: there is nothing to compare");
        }
        Ok(stacks)
    }

    /// The same for a view of a recording, which may have none: its waits can be compared all the same.
    ///
    /// # Errors
    /// They are no folded stacks.
    pub fn maybe_none(name: &str, lines: String) -> Result<FoldedStacks> {
        let mut total: u64 = 0;
        for (number, line) in (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let amount = line.rsplit_once(' ').filter(|(stack, _)| !stack.trim().is_empty());
            let Some(amount) = amount.and_then(|(_, amount)| amount.parse::<u64>().ok()) else {
                bail!(
                    "{name} has no folded stacks: line {number} does not end in a number; \
                     gilscope record -o NAME.collapsed writes them"
                );
            };
            // What draws the picture adds up without a check.
            total = total.saturating_add(amount);
            if total > MAX_TOTAL {
                bail!(
                    "{name} has amounts that are too great to be compared: up to line {number}, more than {MAX_TOTAL}"
                );
            }
        }
        Ok(FoldedStacks { name: name.to_owned(), lines, total, slices: Vec::new(), is_sampled: true })
    }
}

/// Draws what changed from `before` to `after`. Unless `absolute`, shares of the whole are compared: that one was
/// recorded for longer than the other does not show, nor does what is noise.
///
/// # Errors
/// `out` cannot be written to.
pub fn write(before: &FoldedStacks, after: &FoldedStacks, absolute: bool, out: &mut dyn Write) -> io::Result<()> {
    let options = differential::Options { normalize: !absolute, strip_hex: false };
    let mut lines = Vec::new();
    differential::from_readers(options, before.lines.as_bytes(), after.lines.as_bytes(), &mut lines)?;
    let lines = from_bytes(&lines);
    let changes = (!absolute).then(|| FunctionChanges::new(before, after));
    let lines = lines.lines().map(|line| match &changes {
        Some(changes) => without_noise(line, changes),
        None => line.to_owned(),
    });
    let title = one_line(&format!("From {} to {}", before.name, after.name));
    let compared = if absolute { "amounts" } else { "shares of the whole" };
    let nothing =
        if changes.as_ref().is_some_and(FunctionChanges::is_none) { "no difference beyond noise; " } else { "" };
    let subtitle = format!(
        "{nothing}red: more, blue: less, by {compared}; widths are those of the second ({} before, {} after)",
        before.total, after.total
    );
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    flamegraph::from_lines(&mut drawing(title, subtitle, "after"), lines.iter().map(String::as_str), out)
}

/// A line `STACK BEFORE AFTER`: with what it has after also as what it had before, if that its function changed is noise.
fn without_noise(line: &str, changes: &FunctionChanges) -> String {
    let split = line.rsplit_once(' ').and_then(|(rest, after)| Some((rest.rsplit_once(' ')?.0, after)));
    match split {
        Some((stack, after)) if !changes.has(stack) => format!("{stack} {after} {after}"),
        _ => line.to_owned(),
    }
}

/// The table of amounts has at most this many places.
const MAX_PLACES: usize = 12;

/// The places whose amounts have changed most, without what they call.
pub fn table_of_amounts(before: &FoldedStacks, after: &FoldedStacks) -> String {
    let mut places: FxHashMap<String, [u64; 2]> = FxHashMap::default();
    for (side, folded) in [before, after].into_iter().enumerate() {
        for (stack, amount) in folded.lines.lines().filter_map(|line| line.trim_end().rsplit_once(' ')) {
            places.entry(place(stack)).or_default()[side] += amount.parse::<u64>().unwrap_or(0);
        }
    }
    let mut places: Vec<(u64, u64, String)> = places.into_iter().map(|(place, [b, a])| (b, a, place)).collect();
    places.retain(|(before, after, _)| before != after);
    if places.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    places.sort_unstable_by(|x, y| y.1.abs_diff(y.0).cmp(&x.1.abs_diff(x.0)).then_with(|| x.2.cmp(&y.2)));
    let mut text = format!(
        "{:>9} {:>9} {:>9}  what changed most, without what it calls (amounts)\n",
        "before", "after", "change"
    );
    for (before, after, place) in places.iter().take(MAX_PLACES) {
        let change = i128::from(*after) - i128::from(*before);
        let _ = writeln!(text, "{before:9} {after:9} {change:+9}  {place}");
    }
    if let Some(more @ 1..) = places.len().checked_sub(MAX_PLACES) {
        let _ = writeln!(text, "{:31}and {more} more", "");
    }
    text
}

/// The innermost function of a stack, with what it is said to do there: `serve (app.py:7) [waiting for GIL]`.
fn place(stack: &str) -> String {
    let frames: Vec<&str> = stack.split(';').collect();
    let function = frames.iter().rposition(|frame| !frame.starts_with('[')).unwrap_or(0);
    one_line(&frames[function..].join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn draw(before: &str, after: &str, absolute: bool) -> String {
        let side = |name, lines: &str| FoldedStacks::new(name, lines.to_owned()).unwrap();
        let mut out = Vec::new();
        write(&side("a", before), &side("b", after), absolute, &mut out).unwrap();
        let svg = String::from_utf8(out).unwrap();
        fixture::assert_well_formed(&svg);
        svg
    }

    /// The colour of a frame, by its title.
    fn color(svg: &str, frame: &str) -> (u8, u8, u8) {
        let rest = &svg[svg.find(&format!("<title>{frame} (")).expect(frame)..];
        let rest = rest.split_once("rgb(").unwrap().1.split_once(')').unwrap().0;
        let parts: Vec<u8> = rest.split(',').map(|part| part.trim().parse().unwrap()).collect();
        (parts[0], parts[1], parts[2])
    }

    #[test]
    fn what_became_more_is_red_and_what_became_less_is_blue() {
        let svg = draw("main;work 600\nmain;wait 400\n", "main;work 200\nmain;wait 800\n", false);
        let (r, _, b) = color(&svg, "wait");
        assert!(r > b, "{r} {b}");
        let (r, _, b) = color(&svg, "work");
        assert!(b > r, "{r} {b}");
        assert!(svg.contains(">From a to b<"));
    }

    #[test]
    fn a_longer_recording_is_no_difference_unless_asked_for() {
        let (before, after) = ("main;work 10\nmain;wait 10\n", "main;work 20\nmain;wait 20\n");
        let (r, g, b) = color(&draw(before, after, false), "work");
        assert_eq!((r, g), (g, b), "neither more nor less");
        let (r, _, b) = color(&draw(before, after, true), "work");
        assert!(r > b);
    }

    #[test]
    fn the_table_of_amounts_has_what_is_gone_and_the_greatest_change_first() {
        let side = |name, lines: &str| FoldedStacks::new(name, lines.to_owned()).unwrap();
        let before = side("a", "main;work;[GIL held] 60\nmain;wait 30\nmain;gone 10\n");
        let after = side("b", "main;work;[GIL held] 40\nmain;wait 160\n");
        let text = table_of_amounts(&before, &after);
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines[0], "       30       160      +130  wait");
        assert_eq!(lines[1], "       60        40       -20  work [GIL held]");
        assert_eq!(lines[2], "       10         0       -10  gone");
        assert_eq!(table_of_amounts(&before, &before).lines().count(), 1);
        let many: String = (0..20).map(|number| format!("main;f{number} {}\n", number + 1)).collect();
        let text = table_of_amounts(&before, &side("c", &many));
        assert!(text.lines().count() == 14 && text.ends_with("and 11 more\n"), "{text}");
    }

    #[test]
    fn noise_has_no_colour() {
        let svg = draw("main;work 60\nmain;wait 40\n", "main;work 55\nmain;wait 45\n", false);
        let (r, g, b) = color(&svg, "work");
        assert_eq!((r, g), (g, b), "neither more nor less");
        assert!(svg.contains("no difference beyond noise"));
    }

    #[test]
    fn amounts_that_cannot_be_added_up_are_refused() {
        let error = |lines: &str| FoldedStacks::new("a", lines.to_owned()).unwrap_err().to_string();
        for lines in ["main 18446744073709551615\nmain 1\n", "main 4611686018427387904\nmain;f 1\n"] {
            assert!(error(lines).contains("too great"), "{lines}");
        }
    }

    #[test]
    fn what_is_no_folded_stack_is_said() {
        let error = |text: &str| FoldedStacks::new("x.svg", text.to_owned()).unwrap_err().to_string();
        assert!(error("a;b 10\n<svg>\n").contains("line 2"));
        assert!(error("10\n").contains("line 1"));
        assert!(error("a;b 1.5e\n").contains("no folded stacks"));
        assert!(error("\n").contains("nothing to compare"));
        assert_eq!(FoldedStacks::new("x", "a;b c 3\n\nd 4\n".to_owned()).unwrap().total, 7);
    }
}
