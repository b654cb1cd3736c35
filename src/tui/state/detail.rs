//! Everything about one row, as blocks that do not depend on the width of the screen, and those as lines of a width.

use std::fmt;

use super::history::{History, Moment};
use super::sparkline::{BARS, sparkline};
use super::table::Tone;
use crate::contention::lengths::WaitLengths;
use crate::event::Activity;
use crate::report::text::units::{cut, duration, wrap};
use crate::stack::label::one_line;

const MAX_FRAMES: usize = 12;
const MIN_WIDTH: usize = 20;
/// All moments that a history keeps.
const ALL_MOMENTS: usize = usize::MAX;

/// A line, and how its parts stand out.
#[derive(Clone, Debug, Default)]
pub(crate) struct DetailLine(Vec<DetailSpan>);

#[derive(Clone, Debug)]
pub(crate) struct DetailSpan {
    pub text: String,
    pub tone: Tone,
    pub bold: bool,
}

impl DetailLine {
    pub(crate) fn plain(text: impl Into<String>) -> DetailLine {
        DetailLine::default().and(text, Tone::Plain)
    }

    pub(crate) fn dim(text: impl Into<String>) -> DetailLine {
        DetailLine::default().and(text, Tone::Dim)
    }

    fn bold(text: impl Into<String>) -> DetailLine {
        DetailLine(vec![DetailSpan { text: text.into(), tone: Tone::Plain, bold: true }])
    }

    pub(crate) fn and(mut self, text: impl Into<String>, tone: impl Into<Tone>) -> DetailLine {
        self.0.push(DetailSpan { text: text.into(), tone: tone.into(), bold: false });
        self
    }

    pub(crate) fn spans(&self) -> &[DetailSpan] {
        &self.0
    }
}

impl fmt::Display for DetailLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|span| f.write_str(&span.text))
    }
}

#[derive(Clone, Debug)]
enum DetailBlock {
    /// After an empty line.
    Heading(String),
    /// Wrapped at the width of the screen.
    Sentence(String),
    /// Cut where the screen ends.
    Line(DetailLine),
    /// The frames of a stack, innermost first.
    Frames { frames: Vec<String>, indent: usize },
    /// How many waits were how long: pairs of the exponent of two of their nanoseconds, and of their number.
    Histogram(Vec<(u32, u64)>),
    /// A value of each moment, oldest first.
    OverTime { heading: String, values: Vec<f64>, unit: &'static str },
    /// What a thread did at each moment, oldest first.
    Strip(Vec<Option<Activity>>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RowDetail(Vec<DetailBlock>);

impl RowDetail {
    pub(crate) fn heading(&mut self, text: impl Into<String>) {
        self.0.push(DetailBlock::Heading(text.into()));
    }

    pub(crate) fn sentence(&mut self, text: impl Into<String>) {
        self.0.push(DetailBlock::Sentence(text.into()));
    }

    pub(crate) fn line(&mut self, line: DetailLine) {
        self.0.push(DetailBlock::Line(line));
    }

    pub(crate) fn frames(&mut self, frames: Vec<String>, indent: usize) {
        self.0.push(DetailBlock::Frames { frames, indent });
    }

    /// How many waits there were of each length, by powers of two.
    pub(crate) fn histogram(&mut self, lengths: &WaitLengths) {
        if lengths.count() == 0 {
            return;
        }
        self.heading("How long the waits were");
        let mut bins: Vec<(u32, u64)> = Vec::new();
        for (ns, count) in lengths.iter() {
            let bin = ns.max(1).ilog2();
            match bins.iter_mut().find(|(known, _)| *known == bin) {
                Some((_, sum)) => *sum += count,
                None => bins.push((bin, count)),
            }
        }
        self.0.push(DetailBlock::Histogram(bins));
    }

    pub(crate) fn over_time(
        &mut self,
        heading: impl Into<String>,
        history: &History,
        of: impl Fn(&Moment) -> f64,
        unit: &'static str,
    ) {
        let values = history.last(ALL_MOMENTS, of);
        self.0.push(DetailBlock::OverTime { heading: heading.into(), values, unit });
    }

    pub(crate) fn strip(&mut self, history: &History, thread: usize) {
        self.heading("Over time: what it did most, refresh by refresh");
        let of = |moment: &Moment| moment.threads.get(thread).copied().flatten();
        self.0.push(DetailBlock::Strip(history.last(ALL_MOMENTS, of)));
    }

    /// The lines, of about `width` columns.
    pub(crate) fn lines(&self, width: u16) -> Vec<DetailLine> {
        let mut layout = DetailLayout { width: usize::from(width).max(MIN_WIDTH), lines: Vec::new() };
        self.0.iter().for_each(|block| layout.block(block));
        layout.lines
    }
}

struct DetailLayout {
    width: usize,
    lines: Vec<DetailLine>,
}

impl DetailLayout {
    fn block(&mut self, block: &DetailBlock) {
        match block {
            DetailBlock::Heading(text) => self.heading(text),
            DetailBlock::Sentence(text) => {
                self.lines.extend(wrap(text, "  ", self.width).lines().map(DetailLine::plain));
            }
            DetailBlock::Line(line) => self.lines.push(line.clone()),
            DetailBlock::Frames { frames, indent } => self.frames(frames, *indent),
            DetailBlock::Histogram(bins) => self.histogram(bins),
            DetailBlock::OverTime { heading, values, unit } => self.over_time(heading, values, unit),
            DetailBlock::Strip(strip) => self.strip(strip),
        }
    }

    fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(DetailLine::default());
        }
        self.lines.push(DetailLine::bold(text));
    }

    fn frames(&mut self, frames: &[String], indent: usize) {
        for frame in frames.iter().take(MAX_FRAMES) {
            let frame = one_line(frame);
            let frame = cut(&frame, self.width.saturating_sub(indent));
            self.lines.push(DetailLine::plain(format!("{:indent$}{frame}", "")));
        }
        if frames.len() > MAX_FRAMES {
            let more = frames.len() - MAX_FRAMES;
            self.lines.push(DetailLine::dim(format!("{:indent$}... {more} more", "")));
        }
        if frames.is_empty() {
            self.lines.push(DetailLine::dim(format!("{:indent$}(no Python frame)", "")));
        }
    }

    fn histogram(&mut self, bins: &[(u32, u64)]) {
        let exponents = bins.iter().map(|&(bin, _)| bin);
        let (Some(first), Some(last)) = (exponents.clone().min(), exponents.max()) else { return };
        let max = bins.iter().map(|&(_, count)| count).max().unwrap_or(1).max(1);
        let room = self.width.saturating_sub(32).clamp(4, 60) as u64;
        for bin in first..=last {
            let count = bins.iter().find(|(known, _)| *known == bin).map_or(0, |&(_, count)| count);
            let limit = |exponent: u32| duration(f64::from(exponent).exp2() / 1e9);
            let length = if count > 0 { (count * room / max).max(1) } else { 0 };
            let words = format!("{:>9} - {:>8} {count:>8} ", limit(bin), limit(bin + 1));
            self.lines.push(DetailLine::plain(words).and("█".repeat(length as usize), Activity::GilWait));
        }
    }

    fn over_time(&mut self, heading: &str, values: &[f64], unit: &str) {
        let values = &values[values.len().saturating_sub(self.width)..];
        let max = values.iter().copied().fold(0.0, f64::max);
        if max <= 0.0 {
            return;
        }
        self.heading(&format!("{heading} (refresh by refresh; the highest bar is {max:.2}{unit})"));
        self.lines.push(DetailLine::default().and(sparkline(values, max, &BARS), Activity::GilWait));
    }

    fn strip(&mut self, strip: &[Option<Activity>]) {
        let mut line = DetailLine::default();
        for activity in &strip[strip.len().saturating_sub(self.width)..] {
            let letter = match activity {
                Some(Activity::Blocked) => '·',
                Some(activity) => activity.row().letter,
                None => ' ',
            };
            line = line.and(letter.to_string(), Tone::Of(*activity));
        }
        self.lines.push(line);
    }
}
