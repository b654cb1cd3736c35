//! The arguments of `gilscope check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::report::check::rules::{
    CheckLimit, CheckMetric, CheckRule, parse_limit, parse_named_limit, parse_named_time, parse_share, parse_time,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope check app.gscope --max-gil-wait 5% --max-lock-wait app.lock=2% --max-pause 10ms\n  \
    gilscope check app.gscope --rules rules.toml --format junit -o check.xml\n  \
    gilscope check new.gscope --baseline main.gscope\n  \
    gilscope check new1.gscope new2.gscope --baseline old1.gscope old2.gscope\n\n\
    Exit codes: 0 all rules passed, 3 a rule failed, 1 a file cannot be read or a rule cannot be answered, 2 wrong usage.")]
pub struct CheckArgs {
    /// Recordings (NAME.gscope); several are repeated recordings of one program.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Look only at waits of threads of this name or tid; `worker-*` is any name with this beginning (can be given several
    /// times).
    #[arg(long, value_name = "NAME|TID")]
    pub thread: Vec<String>,
    /// How much more than the baseline is allowed beyond the noise, as a part of what the baseline has [default: 20%].
    #[arg(long, value_name = "PCT", value_parser = tolerance)]
    pub tolerance: Option<f64>,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    pub format: CheckFormat,
    /// Print JSON: short for --format json.
    #[arg(long)]
    pub json: bool,
    /// Write the result to a file in that format, and print it as text.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What is checked; at least one of them is needed.
#[derive(Debug, Default, Args)]
#[group(required = true, multiple = true)]
pub struct RuleArgs {
    /// Waiting for the GIL may take this part of the threads' time (5%), or one wait this long (20ms).
    #[arg(long, value_name = "PCT|TIME", value_parser = parse_limit)]
    pub(crate) max_gil_wait: Vec<CheckLimit>,
    /// Waiting for locks with NAME in what the report calls them, or for all together, may take this part of the threads'
    /// time, or one wait this long (can be given several times).
    #[arg(long, value_name = "[NAME=]PCT|TIME", value_parser = parse_named_limit)]
    pub(crate) max_lock_wait: Vec<(Option<String>, CheckLimit)>,
    /// A stop of all threads by the interpreter, or with a GIL a garbage collection, may take this long.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) max_pause: Vec<CheckLimit>,
    /// A thread may hold the GIL or a lock for this long while others wait: in FUNCTION and what it calls, or anywhere (can be
    /// given several times).
    #[arg(long, value_name = "[FUNCTION=]TIME", value_parser = parse_named_time)]
    pub(crate) max_hold: Vec<(Option<String>, CheckLimit)>,
    /// Garbage collections may take this part of the recording.
    #[arg(long, value_name = "PCT", value_parser = parse_share)]
    pub(crate) max_gc: Vec<CheckLimit>,
    /// File with rules (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Recordings of the program before the change: waits, pauses and collections must not have become worse by more than the
    /// noise.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) baseline: Vec<PathBuf>,
}

impl RuleArgs {
    /// The rules that are given as options.
    pub(crate) fn list(&self) -> Vec<CheckRule> {
        let rule = |metric, &limit: &CheckLimit| CheckRule { metric, limit };
        let gil = self.max_gil_wait.iter().map(|limit| rule(CheckMetric::GilWait, limit));
        let locks = self.max_lock_wait.iter().map(|(name, limit)| rule(CheckMetric::LockWait(name.clone()), limit));
        let pauses = self.max_pause.iter().map(|limit| rule(CheckMetric::Pause, limit));
        let holds = self.max_hold.iter().map(|(name, limit)| rule(CheckMetric::Hold(name.clone()), limit));
        let collections = self.max_gc.iter().map(|limit| rule(CheckMetric::Collections, limit));
        gil.chain(locks).chain(pauses).chain(holds).chain(collections).collect()
    }
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people who read it on a terminal
    #[default]
    Text,
    /// For programs: gilscope-check/1
    Json,
    /// For the summary of a job or a comment
    Markdown,
    /// For what collects results of tests
    Junit,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match parse_share(text)? {
        CheckLimit::Share(part) => Ok(part),
        CheckLimit::Longest(_) => Err("not a share".to_owned()),
    }
}
