//! Values over time as a row of bars.

/// From nothing to all. A theme has others where a terminal cannot show these.
pub(crate) const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One of `bars` for each value; the highest stands for `max`.
pub(crate) fn sparkline(values: &[f64], max: f64, bars: &[char]) -> String {
    let top = (bars.len() - 1) as f64;
    let bar = |value: &f64| {
        let fraction = if max > 0.0 { (value / max).clamp(0.0, 1.0) } else { 0.0 };
        // Anything is more than nothing.
        let height = if *value > 0.0 { (fraction * top).round().max(1.0) } else { 0.0 };
        bars[height as usize]
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_is_more_than_nothing() {
        let bars = |values: &[f64]| sparkline(values, 100.0, &BARS);
        assert_eq!(bars(&[0.0, 0.1, 50.0, 100.0, 200.0]), " ▁▄██");
    }
}
