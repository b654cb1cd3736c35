//! Numbers and names in words that fit a line. Called by everything in the report that is read by people.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::event::Tid;
use crate::stack::label::one_line;
use crate::text;

/// A duration with three digits: `850 ns`, `12.3 us`, `5.07 ms`, `1.23 s`.
pub fn duration(seconds: f64) -> String {
    // Up to what rounds to 1000 of a unit, which is 1 of the next.
    let (value, unit) = match seconds * 1e9 {
        nanos if nanos <= 0.0 => return "0".to_owned(),
        nanos if nanos < 999.5 => return format!("{nanos:.0} ns"),
        nanos if nanos < 999.5e3 => (nanos / 1e3, "us"),
        nanos if nanos < 999.5e6 => (nanos / 1e6, "ms"),
        nanos => (nanos / 1e9, "s"),
    };
    match value {
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A fraction: `98 %`, `7.1 %`, `0.42 %`.
pub fn percent(fraction: f64) -> String {
    match fraction * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.995 => format!("{percent:.2} %"),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        // Only all of it is 100 %.
        percent if percent < 100.0 => format!("{:.0} %", percent.min(99.0)),
        percent => format!("{percent:.0} %"),
    }
}

/// A count with its noun: `1 wait`, `2 waits`.
pub fn plural(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A thread's name and tid: `worker (4711)`. One without a name has the tid in what stands for it.
pub fn label(name: &str, tid: Tid) -> String {
    // A row of several threads has no tid.
    if tid == 0 || name == format!("thread {tid}") { one_line(name) } else { one_line(&format!("{name} ({tid})")) }
}

/// `text` in at most `width` cells of a terminal.
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text::width(text) <= width {
        return text.into();
    }
    format!("{}..", text::start(text, width.saturating_sub(2)).trim_end()).into()
}

/// `text` in at most `width` cells, its middle left out: the names of a pool's threads differ at the end.
pub fn cut_middle(text: &str, width: usize) -> Cow<'_, str> {
    if text::width(text) <= width {
        return text.into();
    }
    let kept = width.saturating_sub(2);
    let end = kept * 3 / 8;
    format!("{}..{}", text::start(text, kept - end).trim_end(), text::end(text, end).trim_start()).into()
}

/// Labels of the threads in one table, in at most `width` characters: those with a name of their own do without their tid.
/// What has no tid is a group of threads.
pub fn table_labels(threads: &[(&str, Option<Tid>)], width: usize) -> Vec<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in threads {
        *count.entry(name).or_default() += 1;
    }
    let label = |&(name, tid): &(&str, Option<Tid>)| match tid {
        None => cut_label(name, width),
        Some(_) if count[name] == 1 => cut_middle(&one_line(name), width).into_owned(),
        Some(tid) => short_label(name, tid, width),
    };
    threads.iter().map(label).collect()
}

/// A label whose end, in brackets, is kept: the part before it gives way.
pub fn cut_label(label: &str, width: usize) -> String {
    if text::width(label) <= width {
        return label.to_owned();
    }
    let (name, end) = label.rfind(" (").map_or((label, ""), |at| label.split_at(at));
    match width.checked_sub(text::width(end)).filter(|&left| left >= 4) {
        Some(left) => format!("{}{end}", cut_middle(name, left)),
        None => cut_middle(label, width).into_owned(),
    }
}

/// A label with its tid, in at most `width` characters: the name gives way, not the tid.
pub fn short_label(name: &str, tid: Tid, width: usize) -> String {
    cut_label(&label(name, tid), width)
}

const UNITS: [&str; 5] = ["ns", "us", "ms", "s", "%"];

/// Lines of words of at most `width` characters. All but the first begin with `indent`; a word that is too long has a
/// line of its own.
pub fn wrap(text: &str, indent: &str, width: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    let mut words = text.split(' ').filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        // A number stays with its unit.
        let unit = words.next_if(|next| UNITS.contains(&next.trim_end_matches(['.', ',', ';', ':', ')'])));
        let word = unit.map_or_else(|| word.to_owned(), |unit| format!("{word} {unit}"));
        let length = text::width(&word);
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(indent);
            column = indent.len();
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (seconds, text) in [
            (0.0, "0"),
            (850e-9, "850 ns"),
            (999.6e-9, "1.00 us"),
            (12.34e-6, "12.3 us"),
            (0.9996e-3, "1.00 ms"),
            (5.07e-3, "5.07 ms"),
            (9.996e-3, "10.0 ms"),
            (0.41, "410 ms"),
            (0.9997, "1.00 s"),
            (99.96, "100 s"),
            (12345.6, "12346 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|number| plural(number, "wait")), ["0 waits", "1 wait", "2 waits"]);
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        for (fraction, text) in
            [(0.0, "0 %"), (0.0042, "0.42 %"), (0.071, "7.1 %"), (0.0999, "10 %"), (0.9996, "99 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(fraction), text);
        }
    }

    #[test]
    fn a_long_name_gives_way_to_the_tid() {
        assert_eq!(label("thread 7", 7), "thread 7");
        assert_eq!(label("a\nb", 7), "a\\nb (7)");
        assert_eq!(short_label("worker", 4711, 13), "worker (4711)");
        assert_eq!(short_label("ThreadPoolExecutor-0_1", 4711, 20), "ThreadP..-0_1 (4711)");
        assert_eq!(short_label("worker", 4711, 8), "work..1)");
    }

    #[test]
    fn names_are_cut_where_they_do_not_differ() {
        assert_eq!(cut_middle("ThreadPoolExecutor-0_15", 16), "ThreadPoo..-0_15");
        assert_eq!(cut_middle("worker", 6), "worker");
        assert_eq!(cut_middle("worker", 2), "..");
    }

    #[test]
    fn only_threads_that_share_a_name_need_their_tids_in_a_table() {
        let threads = [("worker", Some(7)), ("MainThread", Some(5)), ("worker", Some(8))];
        assert_eq!(table_labels(&threads, 20), ["worker (7)", "MainThread", "worker (8)"]);
        assert_eq!(table_labels(&[("ThreadPoolExecutor-0_15", Some(7))], 16), ["ThreadPoo..-0_15"]);
        assert_eq!(table_labels(&[("ThreadPoolExecutor-0_* (9 threads)", None)], 20), ["Thre.._* (9 threads)"]);
    }

    #[test]
    fn words_wrap() {
        assert_eq!(wrap("one two  three four", "  ", 9), "one two\n  three\n  four");
        assert_eq!(wrap("took 12 ms, or so", " ", 9), "took\n 12 ms,\n or so");
        assert_eq!(wrap("overlongword a", " ", 5), "overlongword\n a");
    }
}
