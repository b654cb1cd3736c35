//! The command line: what can be asked for. No behaviour; `main` runs what was parsed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::event::Pid;
use crate::export::{Format, View};
use crate::report::Blame;

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
    /// Record a program: write a flame graph, a trace or a report.
    Record(RecordArgs),
    /// Print what every thread of a process is doing right now.
    Dump(DumpArgs),
    /// Print what a saved report says: who waited for the GIL, who held it meanwhile, and what is wrong.
    Report(ReportArgs),
    /// Draw what changed between two recordings: a flame graph, red where there is more, blue where there is less.
    Diff(DiffArgs),
    /// Say what can be measured on this machine, what cannot, and what to do about it.
    Doctor(DoctorArgs),
}

/// Arguments of `record`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    gilscope record -o profile.svg -- python app.py\n  \
    gilscope record -o report.html -- python app.py\n  \
    gilscope record -o profile.svg --pid 1234 -d 10\n  \
    gilscope record -o trace.json --subprocesses -- python -m pool_app")]
pub struct RecordArgs {
    /// The process to record.
    #[arg(short, long, conflicts_with = "program", required_unless_present = "program")]
    pub pid: Option<Pid>,
    /// Where to write; `-` is standard output. Its suffix picks the format: .html report with everything, .svg
    /// flame graph, .collapsed or .txt folded stacks, .speedscope.json, .json Chrome trace, .pftrace Perfetto, .firefox.json Firefox Profiler, .pb.gz
    /// pprof, .report.json report [default: gilscope-NAME-PID.svg].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The format, if the suffix does not say.
    #[arg(short, long, value_enum)]
    pub format: Option<Format>,
    /// Stop recording after so many seconds; a launched program goes on [default: until it ends, or Ctrl-C].
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Samples a second.
    #[arg(short, long, value_name = "HZ", default_value = "100", value_parser = rate)]
    pub rate: f64,
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
    /// Follow child processes, too.
    #[arg(short, long)]
    pub subprocesses: bool,
    /// Stop the running threads for every sample (slows the program down; never needed for correct stacks).
    #[arg(long, conflicts_with = "nonblocking")]
    pub blocking: bool,
    /// Never stop a thread, not even one whose stack moves too fast to be read; such samples are lost.
    #[arg(long)]
    pub nonblocking: bool,
    /// To whom the report puts down the waiting for the GIL.
    #[arg(long, value_enum, default_value = "holder")]
    pub blame: Blame,
    /// Whether headings are bold: where there is a terminal (auto), always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub color: ColorChoice,
    /// How to look.
    #[arg(long, value_enum, default_value = "auto", env = "GILSCOPE_MODE")]
    pub mode: Mode,
    /// In kernel mode, keep no record of waits shorter than this, in microseconds. The threads' totals stay exact; the
    /// table of the GIL lacks them.
    #[arg(long, value_name = "US", default_value = "0", value_parser = microseconds)]
    pub min_wait: f64,
    /// Print errors only.
    #[arg(short, long)]
    pub quiet: bool,
    /// The program to run and record, with its arguments.
    #[arg(last = false, trailing_var_arg = true, value_name = "COMMAND")]
    pub program: Vec<OsString>,
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
    /// A report that `record` wrote: NAME.report.json.
    pub file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// To whom to put down the waiting for the GIL [default: as when it was recorded].
    #[arg(long, value_enum)]
    pub blame: Option<Blame>,
    /// Whether headings are bold: where there is a terminal (auto), always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    pub color: ColorChoice,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Before: folded stacks (record -o NAME.collapsed).
    pub before: PathBuf,
    /// After: the same, of the same view.
    pub after: PathBuf,
    /// Where to write; `-` is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "gilscope-diff.svg")]
    pub output: PathBuf,
    /// Compare amounts instead of shares of the whole.
    #[arg(long)]
    pub absolute: bool,
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

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("must be between {least} and {most}")) }
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1e9)
}

fn microseconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e12)
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
            Command::Record(args) => Some(args.blame),
            _ => None,
        };
        assert_eq!(parse("gilscope report x.report.json"), None);
        assert_eq!(parse("gilscope report --blame waiter x.report.json"), Some(Blame::Waiter));
        assert_eq!(parse("gilscope record python"), Some(Blame::Holder));
        assert!(Cli::try_parse_from(["gilscope", "report"]).is_err());
    }

    #[test]
    fn a_command_is_taken_with_and_without_dashes() {
        for line in ["gilscope record -r 250 -- python -c pass -d 1", "gilscope record -r 250 python -c pass -d 1"] {
            let cli = Cli::parse_from(line.split(' '));
            let Command::Record(args) = cli.command else { panic!("not record") };
            assert_eq!(args.rate, 250.0);
            assert_eq!(args.program, ["python", "-c", "pass", "-d", "1"]);
            assert_eq!(args.duration, None);
        }
        assert!(Cli::try_parse_from(["gilscope", "record"]).is_err());
        assert!(Cli::try_parse_from(["gilscope", "record", "--pid", "1", "python"]).is_err());
        assert!(Cli::try_parse_from(["gilscope", "record", "--pid", "1", "-r", "0"]).is_err());
    }
}
