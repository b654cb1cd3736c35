//! The command line: commands and their options. No behaviour; `main` runs what was parsed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::commands::check::args::CheckArgs;
use crate::commands::processes::ProcessSelectors;
use crate::event::Pid;
use crate::export::View;
use crate::export::kind::{OutputKind, output_help};
use crate::filter::args::{FilterArgs, number};
use crate::report::Attribution;
use crate::sampler::Stopping;
use crate::stack::{OwnPattern, OwnPatterns};
use crate::{profile, session};

#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// None: `gilscope` alone says what to type.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Log what gilscope does to standard error (-vv: in detail).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a program into a file, and print a report.
    Record(RecordArgs),
    /// Watch a program live: who holds the GIL and locks, who waits for them, and where.
    Top(TopArgs),
    /// List the Python processes of this machine.
    Ps(PsArgs),
    /// Print what each thread of a process is doing now.
    Dump(DumpArgs),
    /// Print the report of a recording: who waited for what, who held it, and what is wrong.
    Report(ReportArgs),
    /// Convert a recording to a flame graph, a trace, or another format.
    Export(ExportArgs),
    /// Merge recordings of several processes of one machine.
    Merge(MergeArgs),
    /// Compare two recordings: what changed beyond noise, as a table and a flame graph.
    Diff(DiffArgs),
    /// Check recordings against limits and a baseline: a gate for CI.
    Check(CheckArgs),
    /// Serve an assistant over the Model Context Protocol, on standard input: list, dump, record, report, diff.
    Mcp,
    /// Check what can be measured on this machine, and how to enable the rest.
    Doctor(DoctorArgs),
    /// Print the script that completes gilscope's commands and options in a shell.
    Completions(CompletionsArgs),
    /// Write the man pages of gilscope and its commands into a folder.
    Man(ManArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope record -- python app.py\n  \
    gilscope record -o profile.svg -- python app.py\n  \
    gilscope record -o report.html -- python app.py\n  \
    gilscope record -o profile.svg --pid 1234 -d 10\n  \
    gilscope record -o trace.json --subprocesses -- python -m pool_app")]
pub struct RecordArgs {
    #[command(flatten)]
    pub collect: CollectArgs,
    /// Output file; its suffix selects the format.
    #[arg(short, long, value_name = "FILE", help = output_help())]
    pub output: Option<PathBuf>,
    /// Output format, if it does not follow from the suffix.
    #[arg(short, long, value_parser = OutputKind::parser())]
    pub format: Option<OutputKind>,
    /// Stop recording after this many seconds; a launched program continues [default: until it exits, or Ctrl-C].
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    pub duration: Option<f64>,
    #[command(flatten)]
    pub view: ViewArgs,
    /// Check the recording against the rules of a file in the end, as `gilscope check --rules` does: exit with 3 if one fails.
    #[arg(long, value_name = "RULES")]
    pub check: Option<PathBuf>,
    #[command(flatten)]
    pub style: StyleArgs,
    /// Print only errors.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What `record` and `top` have in common: the program, and how to observe it.
#[derive(Debug, Args)]
pub struct CollectArgs {
    /// Process to observe: its pid, or a part of its command line (can be given several times); without it, choose from
    /// a list.
    #[arg(short, long, value_name = "PID|NAME", conflicts_with = "program")]
    pub pid: Vec<ProcessSelectors>,
    /// Samples per second.
    #[arg(short, long, value_name = "HZ", default_value = "100", value_parser = rate, env = "GILSCOPE_RATE")]
    pub rate: f64,
    /// Observe child processes, too.
    #[arg(short, long)]
    pub subprocesses: bool,
    /// How to observe.
    #[arg(long, value_enum, default_value = "auto", env = "GILSCOPE_MODE")]
    pub mode: CollectorChoice,
    /// In kernel mode, ignore waits shorter than this, in microseconds. The totals of threads stay exact, but the tables of
    /// the GIL and locks do not contain these waits.
    #[arg(long, value_name = "US", default_value = "0", value_parser = microseconds)]
    pub min_wait: Duration,
    /// Stop the running threads for each sample (slows the program down; not needed for correct stacks).
    #[arg(long, conflicts_with = "nonblocking")]
    pub blocking: bool,
    /// Never stop a thread, not even to read a stack that changes too fast; such samples are lost.
    #[arg(long)]
    pub nonblocking: bool,
    #[command(flatten)]
    pub own: OwnArgs,
    /// Program to run and observe, with its arguments. Before a script (app.py) or -m MODULE, Python can be left out.
    #[arg(last = false, trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub program: Vec<OsString>,
}

impl CollectArgs {
    /// Without an end and without a timeline.
    pub fn options(&self) -> session::RecordingOptions {
        session::RecordingOptions {
            rate: self.rate,
            duration: None,
            subprocesses: self.subprocesses,
            mode: self.mode.collector(),
            min_wait: self.min_wait,
            stopping: match (self.blocking, self.nonblocking) {
                (true, _) => Stopping::Always,
                (_, true) => Stopping::Never,
                _ => Stopping::WhenNeeded,
            },
            timeline: false,
            own: self.own.patterns(),
        }
    }
}

/// How text is printed.
#[derive(Debug, Args)]
pub struct StyleArgs {
    /// Print headings in bold: on a terminal (auto), always, or never.
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        env = "GILSCOPE_COLOR"
    )]
    pub color: ColorChoice,
}

/// Which lines are the program's own, in what is said first.
#[derive(Debug, Args)]
pub struct OwnArgs {
    /// Count a package, module or path as the program's own, although it is installed: `shop`, `/opt/company/*` (can be
    /// given several times).
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', env = "GILSCOPE_OWN")]
    pub own: Vec<OwnPattern>,
}

impl OwnArgs {
    pub fn patterns(&self) -> OwnPatterns {
        OwnPatterns::new(&self.own)
    }
}

/// What flame graphs and traces show.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// Which time to show: on the CPU, all, holding the GIL, waiting for it, or off the CPU.
    #[arg(long, value_enum, default_value = "cpu")]
    pub view: View,
    /// Begin each stack with the name of its thread.
    #[arg(short, long)]
    pub threads: bool,
    /// Include threads that are off the CPU, with what they wait for.
    #[arg(short, long)]
    pub idle: bool,
    /// Count the lines of a function together, under its first line.
    #[arg(short = 'F', long)]
    pub functions: bool,
    /// To whom the report attributes waiting for the GIL.
    #[arg(long, value_enum, default_value = "holder")]
    pub blame: Attribution,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CollectorChoice {
    /// Kernel mode if available, else memory mode
    Auto,
    /// Trace every wait with BPF programs: exact (needs CAP_BPF and CAP_PERFMON)
    Kernel,
    /// Sample the memory of the program: waits are estimated (needs no privileges for your own programs)
    Memory,
}

impl CollectorChoice {
    /// `None` for the best one that is available.
    pub fn collector(self) -> Option<profile::Mode> {
        match self {
            CollectorChoice::Auto => None,
            CollectorChoice::Kernel => Some(profile::Mode::Kernel),
            CollectorChoice::Memory => Some(profile::Mode::Memory),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope top --pid 1234\n  \
    gilscope top -- python app.py\n  \
    gilscope top -b -n 3 --pid 1234 > top.txt\n\n\
    The output of COMMAND goes to a file (--log). If COMMAND exits by itself, its exit code is passed on.\n\
    Press ? for the keys and the meaning of each column.")]
pub struct TopArgs {
    #[command(flatten)]
    pub collect: CollectArgs,
    /// Seconds between refreshes; + and - change it [default: 0.5; in batch mode 2].
    #[arg(short = 'i', long, value_name = "SECS", value_parser = interval)]
    pub interval: Option<f64>,
    /// Batch mode: print tables at each interval instead of a full-screen view; the default if the output is no terminal.
    #[arg(short, long)]
    pub batch: bool,
    /// Batch mode: exit after this many intervals.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// To whom waiting is attributed; b changes it.
    #[arg(long, value_enum, default_value = "holder")]
    pub blame: Attribution,
    /// Use colours: if the terminal supports them (auto), always, or never.
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        env = "GILSCOPE_COLOR"
    )]
    pub color: ColorChoice,
    /// Use only ASCII characters.
    #[arg(long)]
    pub ascii: bool,
    /// Ignore the mouse, so that the terminal can select text with it.
    #[arg(long)]
    pub no_mouse: bool,
    /// File for the output of COMMAND [default: gilscope-COMMAND-PID.log in ~/.local/state/gilscope].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Process to dump: its pid, or a part of its command line (can be given several times); without it, choose from a
    /// list.
    #[arg(short, long, value_name = "PID|NAME")]
    pub pid: Vec<ProcessSelectors>,
    /// Print JSON; an array, if several processes were asked for.
    #[arg(long)]
    pub json: bool,
    /// Do not show long text in a pager.
    #[arg(long)]
    pub no_pager: bool,
    #[command(flatten)]
    pub own: OwnArgs,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Recording (NAME.gscope), or saved report (NAME.report.json).
    pub file: PathBuf,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print at most 2 kB of Markdown, for assistants: the verdict, findings, the most costly stacks and what to do next.
    #[arg(long, conflicts_with = "json")]
    pub brief: bool,
    /// To whom waiting for the GIL is attributed [default: as when it was recorded].
    #[arg(long, value_enum)]
    pub blame: Option<Attribution>,
    #[command(flatten)]
    pub style: StyleArgs,
    /// Do not show long text in a pager.
    #[arg(long)]
    pub no_pager: bool,
    #[command(flatten)]
    pub own: OwnArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope export app.gscope -o waits.svg --view gil-wait\n  \
    gilscope export app.gscope -o trace.json --from 2 --to 5\n  \
    gilscope export app.gscope -o part.gscope --from 2 --to 5")]
pub struct ExportArgs {
    /// Recording: NAME.gscope.
    pub file: PathBuf,
    /// Output file; `-` is standard output. The suffix selects the format, as for record.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Output format, if it does not follow from the suffix.
    #[arg(short, long, value_parser = OutputKind::parser())]
    pub format: Option<OutputKind>,
    #[command(flatten)]
    pub view: ViewArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub own: OwnArgs,
    /// Print only errors.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Recordings: NAME.gscope.
    #[arg(required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Output file.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Recording, or folded stacks (NAME.collapsed), of before.
    pub before: PathBuf,
    /// The same of after.
    pub after: PathBuf,
    /// Draw the difference as a flame graph into this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Compare amounts instead of fractions of the total.
    #[arg(long)]
    pub absolute: bool,
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Process to check.
    #[arg(short, long)]
    pub pid: Option<Pid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope completions bash > ~/.local/share/bash-completion/completions/gilscope\n  \
    gilscope completions zsh > ~/.zfunc/_gilscope\n  \
    gilscope completions fish > ~/.config/fish/completions/gilscope.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages, such as /usr/local/share/man/man1.
    pub folder: PathBuf,
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1e9)
}

pub(crate) fn interval(text: &str) -> Result<f64, String> {
    number(text, 0.1, 3600.0)
}

fn microseconds(text: &str) -> Result<Duration, String> {
    number(text, 0.0, 1e12).map(|us| Duration::from_nanos((us * 1e3) as u64))
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.01, 20_000.0)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_report_attributes_as_it_was_recorded_unless_asked_otherwise() {
        let parse = |line: &str| match Cli::parse_from(line.split(' ')).command {
            Some(Command::Report(args)) => args.blame,
            Some(Command::Record(args)) => Some(args.view.blame),
            _ => None,
        };
        assert_eq!(parse("gilscope report x.report.json"), None);
        assert_eq!(parse("gilscope report --blame waiter x.report.json"), Some(Attribution::Waiter));
        assert_eq!(parse("gilscope record python"), Some(Attribution::Holder));
        assert!(Cli::try_parse_from(["gilscope", "report"]).is_err());
    }

    #[test]
    fn a_command_is_taken_with_and_without_dashes() {
        for line in ["gilscope record -r 250 -- python -c pass -d 1", "gilscope record -r 250 python -c pass -d 1"] {
            let cli = Cli::parse_from(line.split(' '));
            let Some(Command::Record(args)) = cli.command else { panic!("not record") };
            assert_eq!(args.collect.rate, 250.0);
            assert_eq!(args.collect.program, ["python", "-c", "pass", "-d", "1"]);
            assert_eq!(args.duration, None);
        }
        assert!(Cli::try_parse_from(["gilscope", "record", "--pid", "1", "python"]).is_err());
        assert!(Cli::try_parse_from(["gilscope", "record", "--pid", "1", "-r", "0"]).is_err());
    }
}
