//! What changed between two profiles, as one flame graph. Called by `gilscope diff`.
//!
//! Frames are as wide as in the second profile; red ones have become more, blue ones less.

use std::io::{self, Write};

use anyhow::{Result, bail};
use inferno::differential;
use inferno::flamegraph;

use super::flamegraph::drawing;
use super::label::one_line;

/// Folded stacks, and where they are from.
#[derive(Clone, Debug)]
pub struct Folded {
    /// What to call them in the title.
    pub name: String,
    /// `outermost;...;innermost AMOUNT`, a line each.
    pub lines: String,
    /// All amounts together.
    pub total: u64,
}

impl Folded {
    /// Checks that `lines` are folded stacks.
    ///
    /// # Errors
    /// They are not, or there are none.
    pub fn new(name: &str, lines: String) -> Result<Folded> {
        let mut total: u64 = 0;
        for (number, line) in (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let amount = line.rsplit_once(' ').filter(|(stack, _)| !stack.trim().is_empty());
            let Some(amount) = amount.and_then(|(_, amount)| amount.parse::<u64>().ok()) else {
                bail!(
                    "{name} has no folded stacks: line {number} does not end in a number; \
                     gilscope record -o NAME.collapsed writes them"
                );
            };
            total = total.saturating_add(amount);
        }
        if total == 0 {
            bail!("{name} has no samples: there is nothing to compare");
        }
        Ok(Folded { name: name.to_owned(), lines, total })
    }
}

/// Draws what changed from `before` to `after`. Unless `absolute`, shares of the whole are compared: that one was
/// recorded for longer than the other does not show.
///
/// # Errors
/// `out` cannot be written to.
pub fn write(before: &Folded, after: &Folded, absolute: bool, out: &mut dyn Write) -> io::Result<()> {
    let options = differential::Options { normalize: !absolute, strip_hex: false };
    let mut lines = Vec::new();
    differential::from_readers(options, before.lines.as_bytes(), after.lines.as_bytes(), &mut lines)?;
    let lines = String::from_utf8_lossy(&lines);
    let title = one_line(&format!("From {} to {}", before.name, after.name));
    let compared = if absolute { "amounts" } else { "shares of the whole" };
    let subtitle = format!(
        "red: more, blue: less, by {compared}; widths are those of the second ({} before, {} after)",
        before.total, after.total
    );
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    flamegraph::from_lines(&mut drawing(title, subtitle, "after"), lines, out)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn draw(before: &str, after: &str, absolute: bool) -> String {
        let side = |name, lines: &str| Folded::new(name, lines.to_owned()).unwrap();
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
        let svg = draw("main;work 60\nmain;wait 40\n", "main;work 20\nmain;wait 80\n", false);
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
    fn what_is_no_folded_stack_is_said() {
        let error = |text: &str| Folded::new("x.svg", text.to_owned()).unwrap_err().to_string();
        assert!(error("a;b 10\n<svg>\n").contains("line 2"));
        assert!(error("10\n").contains("line 1"));
        assert!(error("a;b 1.5e\n").contains("no folded stacks"));
        assert!(error("\n").contains("nothing to compare"));
        assert_eq!(Folded::new("x", "a;b c 3\n\nd 4\n".to_owned()).unwrap().total, 7);
    }
}
