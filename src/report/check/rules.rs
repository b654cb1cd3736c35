//! What a recording is checked for: the rules, as options and files write them.

use std::fmt;

use crate::report::text::units::{duration, percent};

/// What a rule limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckMetric {
    /// Waiting for any GIL.
    GilWait,
    /// Waiting for the locks with this in their label; for all of them without it.
    LockWait(Option<String>),
    /// The interpreter kept the program from running: a stop of all threads, or a collection that holds the GIL.
    Pause,
    /// A thread held the GIL or a lock, in this function if one is named, while others waited.
    Hold(Option<String>),
    /// The time of garbage collections.
    Collections,
}

/// How much of it is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CheckLimit {
    /// A part of the threads' time; of the recording for collections.
    Share(f64),
    /// The longest one, in seconds.
    Longest(f64),
}

/// A metric with its limit, as one option writes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckRule {
    pub metric: CheckMetric,
    pub limit: CheckLimit,
}

impl CheckMetric {
    /// The option that limits it.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            CheckMetric::GilWait => "--max-gil-wait",
            CheckMetric::LockWait(_) => "--max-lock-wait",
            CheckMetric::Pause => "--max-pause",
            CheckMetric::Hold(_) => "--max-hold",
            CheckMetric::Collections => "--max-gc",
        }
    }

    /// The lock or function that it is about, if it is about one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            CheckMetric::LockWait(name) | CheckMetric::Hold(name) => name.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for CheckRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.metric.option())?;
        if let Some(name) = self.metric.name() {
            write!(f, "{name}=")?;
        }
        write!(f, "{}", self.limit.words().replace(' ', ""))
    }
}

impl CheckLimit {
    /// In as few digits as it was written in: `5 %`, `2.5 ms`.
    pub(crate) fn words(self) -> String {
        let words = match self {
            CheckLimit::Share(part) => percent(part),
            CheckLimit::Longest(seconds) => duration(seconds),
        };
        match words.split_once(' ') {
            Some((number, unit)) if number.contains('.') => {
                format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => words,
        }
    }
}

/// Units of time, in seconds; the longer name first where one ends like another.
const UNITS: [(&str, f64); 6] = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("min", 60.0), ("s", 1.0)];
/// The longest time that a rule may allow, in seconds.
const MAX_SECONDS: f64 = 1e9;

/// Reads `5%` or `10ms`.
///
/// # Errors
/// It is neither; the text says what it should be.
pub(crate) fn parse_limit(text: &str) -> Result<CheckLimit, String> {
    let text = text.trim();
    let number = |number: &str, most: f64| {
        let value = number.trim().parse::<f64>().map_err(|_| format!("{text:?} does not begin with a number"))?;
        if (0.0..=most).contains(&value) { Ok(value) } else { Err(format!("{text:?} is not between 0 and {most}")) }
    };
    if let Some(share) = text.strip_suffix('%') {
        return Ok(CheckLimit::Share(number(share, 100.0)? / 100.0));
    }
    for (unit, seconds) in UNITS {
        if let Some(time) = text.strip_suffix(unit) {
            return Ok(CheckLimit::Longest(number(time, MAX_SECONDS)? * seconds));
        }
    }
    Err(format!("{text:?} has no unit: a share is written 5%, a time 10ms"))
}

/// Reads `NAME=LIMIT`, or `LIMIT` alone.
///
/// # Errors
/// Those of [`parse_limit`], and that the name is empty.
pub(crate) fn parse_named_limit(text: &str) -> Result<(Option<String>, CheckLimit), String> {
    let Some((name, limit)) = text.rsplit_once('=') else { return Ok((None, parse_limit(text)?)) };
    match name.trim() {
        "" => Err(format!("{text:?} has nothing before the =")),
        name => Ok((Some(name.to_owned()), parse_limit(limit)?)),
    }
}

/// Reads a limit of time.
///
/// # Errors
/// Those of [`parse_limit`], and that it is a share.
pub(crate) fn parse_time(text: &str) -> Result<CheckLimit, String> {
    match parse_limit(text)? {
        limit @ CheckLimit::Longest(_) => Ok(limit),
        CheckLimit::Share(_) => Err(format!("{text:?} is a share: this rule needs a time, such as 10ms")),
    }
}

/// Reads `NAME=TIME`, or `TIME` alone.
///
/// # Errors
/// Those of [`parse_named_limit`], and that it is a share.
pub(crate) fn parse_named_time(text: &str) -> Result<(Option<String>, CheckLimit), String> {
    match parse_named_limit(text)? {
        limit @ (_, CheckLimit::Longest(_)) => Ok(limit),
        _ => Err(format!("{text:?} is a share: this rule needs a time, such as 10ms")),
    }
}

/// Reads a limit of a share.
///
/// # Errors
/// Those of [`parse_limit`], and that it is a time.
pub(crate) fn parse_share(text: &str) -> Result<CheckLimit, String> {
    match parse_limit(text)? {
        limit @ CheckLimit::Share(_) => Ok(limit),
        CheckLimit::Longest(_) => Err(format!("{text:?} is a time: this rule needs a share, such as 5%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shares_or_times() {
        assert_eq!(parse_limit("5%"), Ok(CheckLimit::Share(0.05)));
        assert_eq!(parse_limit(" 2.5 % "), Ok(CheckLimit::Share(0.025)));
        for (text, seconds) in
            [("10ms", 0.01), ("1.5 s", 1.5), ("20us", 20e-6), ("3µs", 3e-6), ("7ns", 7e-9), ("2min", 120.0)]
        {
            let Ok(CheckLimit::Longest(read)) = parse_limit(text) else { panic!("{text}") };
            assert!((read - seconds).abs() < 1e-12, "{text}: {read}");
        }
        for text in ["5", "", "%", "ms", "-1%", "101%", "nan%", "inf s", "5 percent", "1e99s"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_what_is_before_the_last_equals_sign() {
        assert_eq!(parse_named_limit("app.lock=2%"), Ok((Some("app.lock".to_owned()), CheckLimit::Share(0.02))));
        assert_eq!(parse_named_limit("a=b=2%"), Ok((Some("a=b".to_owned()), CheckLimit::Share(0.02))));
        assert_eq!(parse_named_limit("2%"), Ok((None, CheckLimit::Share(0.02))));
        assert!(parse_named_limit("=2%").is_err() && parse_named_limit("x=").is_err());
        assert!(parse_named_time("f=5%").is_err() && parse_time("5%").is_err() && parse_share("5ms").is_err());
    }

    #[test]
    fn a_rule_is_printed_as_it_is_written() {
        let rule = |metric, limit| CheckRule { metric, limit }.to_string();
        assert_eq!(rule(CheckMetric::GilWait, CheckLimit::Share(0.05)), "--max-gil-wait 5%");
        let named = CheckMetric::LockWait(Some("app.lock".to_owned()));
        assert_eq!(rule(named, CheckLimit::Share(0.2)), "--max-lock-wait app.lock=20%");
        assert_eq!(rule(CheckMetric::Hold(Some("f".to_owned())), CheckLimit::Longest(0.005)), "--max-hold f=5ms");
    }
}
