//! Rules from a file: the options of `gilscope check` without their dashes, as TOML.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::text::Shown;
use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::report::check::measure::CheckedThreads;
use crate::report::check::rules::{
    CheckLimit, CheckMetric, CheckRule, parse_limit, parse_named_limit, parse_named_time, parse_share, parse_time,
};

/// A longer file is none that somebody wrote, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a file may contain.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RulesFile {
    max_gil_wait: Option<FileLimits>,
    max_lock_wait: Option<FileLimits>,
    max_pause: Option<FileLimits>,
    max_hold: Option<FileLimits>,
    max_gc: Option<FileLimits>,
    thread: Vec<String>,
    tolerance: Option<String>,
    baseline: Vec<PathBuf>,
}

/// `"5%"`, `["5%", "app.lock=2%"]` or `{ "app.lock" = "2%" }`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FileLimits {
    One(String),
    Several(Vec<String>),
    Named(BTreeMap<String, String>),
}

impl FileLimits {
    fn texts(self) -> Vec<String> {
        match self {
            FileLimits::One(limit) => vec![limit],
            FileLimits::Several(limits) => limits,
            FileLimits::Named(limits) => limits.into_iter().map(|(name, limit)| format!("{name}={limit}")).collect(),
        }
    }
}

/// The rules of a file.
#[derive(Debug, Default)]
pub(super) struct ReadRules {
    pub rules: Vec<CheckRule>,
    pub threads: CheckedThreads,
    pub tolerance: Option<f64>,
    /// Relative ones are relative to the file.
    pub baseline: Vec<PathBuf>,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is no list of rules; the text says which line.
pub(super) fn read(path: &Path) -> Result<ReadRules> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot read the rules in {}", path.shown()))?;
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read the rules in {}", path.shown()))?;
    if text.len() as u64 > MAX_FILE {
        bail!("{} is longer than 1 MiB: it is no file of rules", path.shown());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder).with_context(|| format!("the rules in {} cannot be understood", path.shown()))
}

fn parse(text: &str, folder: &Path) -> Result<ReadRules> {
    let file: RulesFile = toml::from_str(text)?;
    let mut rules = Vec::new();
    let mut add = |key: &str, limits: Option<FileLimits>, rule: &dyn Fn(&str) -> Result<CheckRule, String>| {
        for text in limits.map(FileLimits::texts).unwrap_or_default() {
            rules.push(rule(&text).map_err(|error| anyhow!("{key}: {error}"))?);
        }
        anyhow::Ok(())
    };
    let plain = |metric: CheckMetric, limit: CheckLimit| CheckRule { metric, limit };
    add("max-gil-wait", file.max_gil_wait, &|text| Ok(plain(CheckMetric::GilWait, parse_limit(text)?)))?;
    add("max-lock-wait", file.max_lock_wait, &|text| {
        parse_named_limit(text).map(|(name, limit)| plain(CheckMetric::LockWait(name), limit))
    })?;
    add("max-pause", file.max_pause, &|text| Ok(plain(CheckMetric::Pause, parse_time(text)?)))?;
    add("max-hold", file.max_hold, &|text| {
        parse_named_time(text).map(|(name, limit)| plain(CheckMetric::Hold(name), limit))
    })?;
    add("max-gc", file.max_gc, &|text| Ok(plain(CheckMetric::Collections, parse_share(text)?)))?;
    let tolerance = file.tolerance.as_deref().map(parse_share).transpose();
    let tolerance = tolerance.map_err(|error| anyhow!("tolerance: {error}"))?.and_then(|limit| match limit {
        CheckLimit::Share(part) => Some(part),
        CheckLimit::Longest(_) => None,
    });
    let baseline: Vec<PathBuf> = file.baseline.iter().map(|path| folder.join(path)).collect();
    if rules.is_empty() && baseline.is_empty() {
        bail!("there is no rule in it: write a line such as max-gil-wait = \"5%\"");
    }
    Ok(ReadRules { rules, threads: CheckedThreads(file.thread), tolerance, baseline })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_options_say() {
        let text = r#"
            max-gil-wait = ["5%", "20ms"]
            max-pause = "10ms"
            max-gc = "3%"
            thread = ["worker-*"]
            tolerance = "10%"
            baseline = ["main.gscope", "/tmp/other.gscope"]
            [max-lock-wait]
            "app.lock" = "2%"
            [max-hold]
            handler = "5ms"
        "#;
        let read = parse(text, Path::new("ci")).unwrap();
        let words: Vec<String> = read.rules.iter().map(ToString::to_string).collect();
        let expected = [
            "--max-gil-wait 5%",
            "--max-gil-wait 20ms",
            "--max-lock-wait app.lock=2%",
            "--max-pause 10ms",
            "--max-hold handler=5ms",
            "--max-gc 3%",
        ];
        assert_eq!(words, expected);
        assert_eq!(read.baseline, [Path::new("ci/main.gscope"), Path::new("/tmp/other.gscope")]);
        assert_eq!((read.tolerance, read.threads.0), (Some(0.1), vec!["worker-*".to_owned()]));
    }

    #[test]
    fn what_is_no_rule_is_said_with_its_line() {
        let error = |text: &str| format!("{:#}", parse(text, Path::new("")).unwrap_err());
        assert!(error("max-gil-wait = \"5\"").contains("max-gil-wait: \"5\" has no unit"));
        assert!(error("max-pause = \"5%\"").contains("needs a time"));
        assert!(error("\nmax-gil-weight = \"5%\"").contains("max-gil-weight"));
        assert!(error("\nmax-gil-weight = \"5%\"").contains("line 2"));
        assert!(error("").contains("no rule"));
        assert!(error("max-gil-wait = [").contains("line 1"));
    }
}
