//! Folded stacks, and the labels that they are made of.

/// Folded stacks: labels from the outermost, and how many samples.
#[derive(Debug, Default)]
pub struct Folded(pub Vec<(Vec<String>, u64)>);

impl Folded {
    /// Every line must be one.
    #[track_caller]
    pub fn parse(text: &str) -> Folded {
        let line = |line: &str| {
            let (stack, count) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a folded stack: {line}"));
            let count: u64 = count.parse().unwrap_or_else(|_| panic!("no count: {line}"));
            assert!(count > 0 && !stack.is_empty(), "empty: {line}");
            (stack.split(';').map(str::to_owned).collect(), count)
        };
        Folded(text.lines().map(line).collect())
    }

    /// Samples whose stack is one of those.
    pub fn count(&self, which: impl Fn(&[String]) -> bool) -> u64 {
        self.0.iter().filter(|(stack, _)| which(stack)).map(|(_, count)| count).sum()
    }

    pub fn total(&self) -> u64 {
        self.count(|_| true)
    }

    /// Only those.
    pub fn only(&self, which: impl Fn(&[String]) -> bool) -> Folded {
        Folded(self.0.iter().filter(|(stack, _)| which(stack)).cloned().collect())
    }

    /// Samples with a frame of this function.
    pub fn with(&self, function: &str) -> u64 {
        self.count(|stack| has(stack, function))
    }

    /// The share of samples that are such.
    #[track_caller]
    pub fn share(&self, which: impl Fn(&[String]) -> bool) -> f64 {
        let total = self.total();
        assert!(total > 0, "no samples");
        self.count(which) as f64 / total as f64
    }
}

/// Whether a stack has a frame of this function.
pub fn has(stack: &[String], function: &str) -> bool {
    stack.iter().any(|label| name(label) == function)
}

/// The function of a label, without what it is in: `run` of `Worker.run (app.py:3)`.
pub fn name(label: &str) -> &str {
    let name = label.rsplit_once(" (").map_or(label, |(name, _)| name);
    if name.starts_with('[') { name } else { name.rsplit('.').next().unwrap_or(name) }
}

/// The line of a label: 3 of `main (app.py:3)`.
pub fn line(label: &str) -> u32 {
    let number = label.rsplit_once(':').and_then(|(_, rest)| rest.strip_suffix(')')?.parse().ok());
    number.unwrap_or(0)
}
