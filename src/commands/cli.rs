//! The command line: what can be asked for. No behaviour; `main` runs what was parsed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::event::Pid;
use crate::export::View;
use crate::export::kind::{OutputKind, output_help};
use crate::filter::args::{FilterArgs, number};
use crate::report::Attribution;
use crate::sampler::Stopping;
use crate::{profile, session};

/// See from outside where the threads of a Python program spend their time, who holds the GIL and who waits.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more about what gilscope does, on standard error (-vv: even more).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a program: keep all that is seen, print a report of it.
    Record(RecordArgs),
    /// Watch a program live: who holds the GIL and the locks, who waits for them, and where.
    Top(TopArgs),
    /// Print what every thread of a process is doing right now.
    Dump(DumpArgs),
    /// Print what a recording shows: who waited for what, who held it meanwhile, and what is wrong.
    Report(ReportArgs),
    /// Write a recording as a flame graph, a trace or the like.
    Export(ExportArgs),
    /// Join recordings of several processes of a machine.
    Merge(MergeArgs),
    /// Draw what changed between two recordings: a flame graph, red where there is more, blue where there is less.
    Diff(DiffArgs),
    /// Say what can be measured on this machine, what cannot, and what to do about it.
    Doctor(DoctorArgs),
}

/// Arguments of `record`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope record -- python app.py\n  \
    gilscope record -o profile.svg -- python app.py\n  \
    gilscope record -o report.html -- python app.py\n  \
    gilscope record -o profile.svg --pid 1234 -d 10\n  \
    gilscope record -o trace.json --subprocesses -- python -m pool_app")]
pub struct RecordArgs {
    /// Which process to record, and how.
    #[command(flatten)]
    pub collect: CollectArgs,
    /// The file to write; its suffix picks the format.
    #[arg(short, long, value_name = "FILE", help = output_help())]
    pub output: Option<PathBuf>,
    /// The format, if the suffix does not say.
    #[arg(short, long, value_parser = OutputKind::parser())]
    pub format: Option<OutputKind>,
    /// Stop recording after so many seconds; a launched program goes on [default: until it ends, or Ctrl-C].
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    pub duration: Option<f64>,
    /// What to show of it.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Whether headings are bold: where there is a terminal (auto), always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub color: ColorChoice,
    /// Print errors only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What `record` and `top` have in common: whom to observe, and how.
#[derive(Debug, Args)]
pub struct CollectArgs {
    /// The process to look at.
    #[arg(short, long, conflicts_with = "program", required_unless_present = "program")]
    pub pid: Option<Pid>,
    /// Samples a second.
    #[arg(short, long, value_name = "HZ", default_value = "100", value_parser = rate)]
    pub rate: f64,
    /// Follow child processes, too.
    #[arg(short, long)]
    pub subprocesses: bool,
    /// How to look.
    #[arg(long, value_enum, default_value = "auto", env = "GILSCOPE_MODE")]
    pub mode: Mode,
    /// In kernel mode, keep no record of waits shorter than this, in microseconds. The threads' totals stay exact; the
    /// tables of the GIL and of locks lack them.
    #[arg(long, value_name = "US", default_value = "0", value_parser = microseconds)]
    pub min_wait: Duration,
    /// Stop the running threads for every sample (slows the program down; never needed for correct stacks).
    #[arg(long, conflicts_with = "nonblocking")]
    pub blocking: bool,
    /// Never stop a thread, not even one whose stack moves too fast to be read; such samples are lost.
    #[arg(long)]
    pub nonblocking: bool,
    /// The program to run and look at, with its arguments.
    #[arg(last = false, trailing_var_arg = true, value_name = "COMMAND")]
    pub program: Vec<OsString>,
}

impl CollectArgs {
    /// How to collect; until something else ends it, and without a timeline.
    pub fn options(&self) -> session::Options {
        session::Options {
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
        }
    }
}

/// What an export shows.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// What to show: time on the CPU, all time, time holding the GIL, waiting for it, or off the CPU.
    #[arg(long, value_enum, default_value = "cpu")]
    pub view: View,
    /// Put each thread's name at the root of its stacks.
    #[arg(short, long)]
    pub threads: bool,
    /// Show threads that are off the CPU, too, with what they wait for.
    #[arg(short, long)]
    pub idle: bool,
    /// Label frames with their function's first line, so that its lines are counted together.
    #[arg(short = 'F', long)]
    pub functions: bool,
    /// To whom the report puts down the waiting for the GIL.
    #[arg(long, value_enum, default_value = "holder")]
    pub blame: Attribution,
}

/// Collectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Kernel mode where it can be had, else memory mode
    Auto,
    /// BPF programs see every wait, exactly (needs CAP_BPF and CAP_PERFMON)
    Kernel,
    /// Samples of the program's memory; waits are estimated (needs no privilege for one's own programs)
    Memory,
}

impl Mode {
    /// The collector it asks for; none: the best there is.
    pub fn collector(self) -> Option<profile::Mode> {
        match self {
            Mode::Auto => None,
            Mode::Kernel => Some(profile::Mode::Kernel),
            Mode::Memory => Some(profile::Mode::Memory),
        }
    }
}

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope top --pid 1234\n  \
    gilscope top -- python app.py\n  \
    gilscope top -b -n 3 --pid 1234 > top.txt\n\n\
    The output of COMMAND goes to a file (--log); if it ends by itself, its exit code is passed on.\n\
    Press ? for the keys and for what each column means.")]
pub struct TopArgs {
    /// Which process to watch, and how.
    #[command(flatten)]
    pub collect: CollectArgs,
    /// Seconds between two refreshes (+ and - change it) [default: 0.5; in batch mode 2].
    #[arg(short = 'i', long, value_name = "SECS", value_parser = interval)]
    pub interval: Option<f64>,
    /// Print a table at each interval instead of taking over the terminal; so it is where output is no terminal.
    #[arg(short, long)]
    pub batch: bool,
    /// Batch mode: end after so many tables.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// To whom waiting is put down (b changes it).
    #[arg(long, value_enum, default_value = "holder")]
    pub blame: Attribution,
    /// Whether to use colours: where the terminal has them (auto), always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub color: ColorChoice,
    /// Use ASCII characters only.
    #[arg(long)]
    pub ascii: bool,
    /// Leave the mouse to the terminal, so that text can be selected with it.
    #[arg(long)]
    pub no_mouse: bool,
    /// Where the output of COMMAND goes [default: gilscope-COMMAND-PID.log in the directory for temporary files].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The process.
    #[arg(short, long)]
    pub pid: Pid,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// What `record` wrote: NAME.gscope, or NAME.report.json.
    pub file: PathBuf,
    /// What of it.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// To whom to put down the waiting for the GIL [default: as when it was recorded].
    #[arg(long, value_enum)]
    pub blame: Option<Attribution>,
    /// Whether headings are bold: where there is a terminal (auto), always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub color: ColorChoice,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope export app.gscope -o waits.svg --view gil-wait\n  \
    gilscope export app.gscope -o trace.json --from 2 --to 5\n  \
    gilscope export app.gscope -o part.gscope --from 2 --to 5")]
pub struct ExportArgs {
    /// What `record` wrote: NAME.gscope.
    pub file: PathBuf,
    /// Where to write; `-` is standard output. Its suffix picks the format, as with record.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The format, if the suffix does not say.
    #[arg(short, long, value_parser = OutputKind::parser())]
    pub format: Option<OutputKind>,
    /// What to show of it.
    #[command(flatten)]
    pub view: ViewArgs,
    /// What of it.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Print errors only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Recordings: NAME.gscope.
    #[arg(required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to write the whole of them.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Before: a recording, or folded stacks (NAME.collapsed).
    pub before: PathBuf,
    /// After: the same.
    pub after: PathBuf,
    /// Where to write; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "gilscope-diff.svg")]
    pub output: PathBuf,
    /// Compare amounts instead of shares of the whole.
    #[arg(long)]
    pub absolute: bool,
    /// What to compare of recordings.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A process that one would like to look at.
    #[arg(short, long)]
    pub pid: Option<Pid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1e9)
}

fn interval(text: &str) -> Result<f64, String> {
    number(text, 0.1, 3600.0)
}

fn microseconds(text: &str) -> Result<Duration, String> {
    number(text, 0.0, 1e12).map(|us| Duration::from_nanos((us * 1e3) as u64))
}

fn rate(text: &str) -> Result<f64, String> {
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
    fn a_report_is_blamed_as_it_was_recorded_unless_told_otherwise() {
        let parse = |line: &str| match Cli::parse_from(line.split(' ')).command {
            Command::Report(args) => args.blame,
            Command::Record(args) => Some(args.view.blame),
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
            let Command::Record(args) = cli.command else { panic!("not record") };
            assert_eq!(args.collect.rate, 250.0);
            assert_eq!(args.collect.program, ["python", "-c", "pass", "-d", "1"]);
            assert_eq!(args.duration, None);
        }
        assert!(Cli::try_parse_from(["gilscope", "record"]).is_err());
        assert!(Cli::try_parse_from(["gilscope", "record", "--pid", "1", "python"]).is_err());
        assert!(Cli::try_parse_from(["gilscope", "record", "--pid", "1", "-r", "0"]).is_err());
    }
}
