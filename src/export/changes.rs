//! Which functions take another part of the whole in one profile than in another, beyond the noise of both. Pure; called by
//! `gilscope diff`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rustc_hash::{FxHashMap, FxHashSet};

use super::diff::FoldedStacks;
use crate::report::check::judge::points;
use crate::report::check::measure::NoisyShare;
use crate::report::text::WIDTH;
use crate::report::text::units::cut;
use crate::stack::label::one_line;

/// The table has at most this many functions.
const MAX_FUNCTIONS: usize = 12;
/// A function that changed by less, as a part of the whole, is nothing to act on ...
const MIN_CHANGE: f64 = 0.01;
/// ... nor one that changed by less than that part of what it had: two runs of one program differ by that.
const MIN_RELATIVE: f64 = 0.1;

/// How markers begin that depend on whether the machine had a CPU for the thread.
const MACHINE_MARKERS: [&str; 4] = ["[native]", "[blocked:", "[no CPU]", "[GIL held, no CPU]"];

/// A function whose part of the whole has changed beyond the noise.
#[derive(Clone, Debug, PartialEq)]
struct ChangedFunction {
    function: String,
    before: NoisyShare,
    after: NoisyShare,
    /// What of the change may be noise.
    noise: f64,
}

/// All changes from one profile to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FunctionChanges {
    /// The greatest change first.
    functions: Vec<ChangedFunction>,
    names: FxHashSet<String>,
}

/// The innermost function of a stack without its line, with what it waits for or holds there: `serve (app.py) [waiting for GIL]`.
/// A program that was edited has other lines. Whether a lock is known by its name is a matter of chance, and whether a call
/// that has come back is still blocked, or ready without a CPU, one of the machine.
fn function(stack: &str) -> String {
    let frames: Vec<&str> = stack.split(';').collect();
    let at = frames.iter().rposition(|frame| !frame.starts_with('[')).unwrap_or(0);
    let mut words = without_line(frames[at]).into_owned();
    for marker in &frames[at + 1..] {
        let marker = match *marker {
            "[waiting for GIL]" => "[waiting for GIL]",
            lock if lock.starts_with("[waiting for ") => "[waiting for a lock]",
            other if MACHINE_MARKERS.iter().any(|start| other.starts_with(start)) => continue,
            other => other,
        };
        words.push(' ');
        words.push_str(marker);
    }
    one_line(&words)
}

fn without_line(frame: &str) -> std::borrow::Cow<'_, str> {
    let cut = frame.strip_suffix(')').and_then(|frame| frame.rsplit_once(':'));
    match cut {
        Some((name, line)) if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{name})").into()
        }
        _ => frame.into(),
    }
}

/// What each function has of folded stacks, and what all have.
fn by_function(lines: &str) -> (FxHashMap<String, u64>, u64) {
    let (mut amounts, mut total) = (FxHashMap::default(), 0_u64);
    for (stack, amount) in lines.lines().filter_map(|line| line.trim_end().rsplit_once(' ')) {
        let amount = amount.parse::<u64>().unwrap_or(0);
        let sum: &mut u64 = amounts.entry(function(stack)).or_default();
        *sum = sum.saturating_add(amount);
        total = total.saturating_add(amount);
    }
    (amounts, total)
}

/// One profile by function, and the same of its slices.
struct FunctionShares {
    whole: (FxHashMap<String, u64>, u64),
    slices: Vec<(FxHashMap<String, u64>, u64)>,
    samples: Option<u64>,
}

impl FunctionShares {
    fn new(folded: &FoldedStacks) -> FunctionShares {
        let slices: Vec<_> = folded.slices.iter().map(|lines| by_function(lines)).collect();
        let samples = folded.is_sampled.then_some(folded.total);
        // A slice in which nothing was seen has no shares.
        FunctionShares {
            whole: by_function(&folded.lines),
            slices: slices.into_iter().filter(|slice| slice.1 > 0).collect(),
            samples,
        }
    }

    fn of(&self, function: &str) -> NoisyShare {
        let share = |(amounts, total): &(FxHashMap<String, u64>, u64)| {
            amounts.get(function).copied().unwrap_or(0) as f64 / (*total).max(1) as f64
        };
        let parts: Vec<f64> = self.slices.iter().map(share).collect();
        NoisyShare::new(share(&self.whole), &parts, self.samples)
    }
}

impl FunctionChanges {
    pub(crate) fn new(before: &FoldedStacks, after: &FoldedStacks) -> FunctionChanges {
        let (before, after) = (FunctionShares::new(before), FunctionShares::new(after));
        let all: BTreeMap<&String, ()> =
            before.whole.0.keys().chain(after.whole.0.keys()).map(|name| (name, ())).collect();
        let change = |function: &String| {
            let (was, is) = (before.of(function), after.of(function));
            let noise = was.margin.hypot(is.margin) + MIN_CHANGE.max(MIN_RELATIVE * was.value.max(is.value));
            let beyond = (is.value - was.value).abs() > noise;
            beyond.then(|| ChangedFunction { function: function.clone(), before: was, after: is, noise })
        };
        let mut functions: Vec<ChangedFunction> = all.into_keys().filter_map(change).collect();
        let size = |change: &ChangedFunction| (change.after.value - change.before.value).abs();
        functions.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.function.cmp(&b.function)));
        let names = functions.iter().map(|change| change.function.clone()).collect();
        FunctionChanges { functions, names }
    }

    /// No function has changed beyond the noise.
    pub(crate) fn is_none(&self) -> bool {
        self.functions.is_empty()
    }

    /// Whether the innermost function of a stack has changed.
    pub(crate) fn has(&self, stack: &str) -> bool {
        self.names.contains(&function(stack))
    }

    /// As text for the terminal.
    pub(crate) fn table(&self) -> String {
        if self.is_none() {
            return "functions: no difference beyond noise\n".to_owned();
        }
        let mut text = format!(
            "{:>8} {:>8} {:>8} {:>7}  function, without what it calls (% of the whole)\n",
            "before", "after", "change", "noise"
        );
        for change in self.functions.iter().take(MAX_FUNCTIONS) {
            let percent = |part: f64| 100.0 * part;
            let (before, after) = (percent(change.before.value), percent(change.after.value));
            let noise = format!("± {}", points(change.noise));
            let name = cut(&change.function, WIDTH - 37);
            let _ = writeln!(text, "{before:8.1} {after:8.1} {:+8.1} {noise:>7}  {name}", after - before);
        }
        if let Some(more @ 1..) = self.functions.len().checked_sub(MAX_FUNCTIONS) {
            let _ = writeln!(text, "{:37}and {more} more", "");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(lines: &str) -> FoldedStacks {
        FoldedStacks::new("x", lines.to_owned()).unwrap()
    }

    #[test]
    fn what_changed_beyond_the_noise_is_listed_the_greatest_first() {
        let before = folded("main;work (a.py:1);[GIL held] 600\nmain;wait (a.py:3) 300\nmain;gone (a.py:9) 100\n");
        let after = folded("main;work (a.py:2);[GIL held] 400\nmain;wait (a.py:5) 1600\n");
        let text = FunctionChanges::new(&before, &after).table();
        let lines: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[0][..3], ["30.0", "80.0", "+50.0"]);
        assert_eq!(lines[0][5..], ["wait", "(a.py)"]);
        assert_eq!(lines[1][5..], ["work", "(a.py)", "[GIL", "held]"]);
        assert_eq!((lines[2][..3].to_vec(), lines.len()), (vec!["10.0", "0.0", "-10.0"], 3));
        let many: String = (0..20).map(|number| format!("main;f{number} {}\n", 100 * (number + 5))).collect();
        let text = FunctionChanges::new(&before, &folded(&many)).table();
        assert!(text.lines().count() == 14 && text.trim_end().ends_with("more"), "{text}");
    }

    #[test]
    fn what_may_be_chance_is_no_change() {
        let none = |before: &str, after: &str| FunctionChanges::new(&folded(before), &folded(after)).is_none();
        assert!(none("main;work 10\nmain;wait 10\n", "main;work 13\nmain;wait 7\n"), "20 samples say little");
        assert!(!none("main;work 1000\nmain;wait 1000\n", "main;work 1300\nmain;wait 700\n"));
        assert!(none("main;a 100000\nmain;b 100000\n", "main;a 101000\nmain;b 99000\n"), "half a point");
        assert!(
            none("f;[blocked: read] 500\nf;[native] 5\n", "f;[blocked: read] 250\nf;[native] 250\n"),
            "a loaded machine"
        );
        assert!(none("f;[waiting for threading.Lock] 500\n", "f;[waiting for threading.Lock (app.lock)] 500\n"));
        assert!(!none("f;[native] 500\n", "f;[waiting for GIL] 500\n"));
        // Edited lines are no change.
        assert!(none("f (a.py:1) 500\n", "f (a.py:7) 500\n"));
    }

    #[test]
    fn slices_show_how_much_a_function_varies() {
        let slices = |shares: &[u64]| {
            let lines = |a: &u64| format!("a {}\nb {}\n", a, 1000 - a);
            let mean = shares.iter().sum::<u64>() / shares.len() as u64;
            let slices = shares.iter().map(lines).collect();
            FoldedStacks { slices, is_sampled: false, ..folded(&lines(&mean)) }
        };
        let (steady, other) = (slices(&[500; 16]), slices(&[600; 16]));
        assert!(!FunctionChanges::new(&steady, &other).is_none());
        let varies: Vec<u64> = (0..16).map(|slice| if slice % 2 == 0 { 200 } else { 1000 }).collect();
        assert!(FunctionChanges::new(&steady, &slices(&varies)).is_none());
    }
}
