//! Parses arguments, runs the command, prints the error and its remedy, and exits: 0 ok, 1 gilscope failed, 2
//! usage; `record -- command` and `top -- command` pass the command's own exit code on.

use std::process::ExitCode;

use clap::Parser;
use gilscope::commands::cli::{Cli, Command};
use gilscope::text::{Shown, VisibleWriter, json};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => refuse(&error),
    };
    let level = ["off", "info", "debug"][usize::from(cli.verbose).min(2)];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(format!("gilscope={level}")))
        .target(env_logger::Target::Pipe(Box::new(VisibleWriter::new(gilscope::tui::ScreenLog))))
        .init();
    match run(&cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            gilscope::output::say_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the arguments, or the help that they ask for, and exits.
fn refuse(error: &clap::Error) -> ! {
    let words = error.render().to_string();
    if !error.use_stderr() || words.chars().all(|char| char == '\n' || !char.is_control() && char.is_ascii()) {
        error.exit();
    }
    // It quotes an argument, which can come from the name of a file.
    gilscope::output::say(words.trim_end());
    std::process::exit(error.exit_code());
}

fn run(command: &Command) -> anyhow::Result<u8> {
    if !matches!(command, Command::Record(_) | Command::Top(_)) {
        // These two launch programs before.
        gilscope::output::survive_size_limit();
    }
    match command {
        Command::Record(args) => gilscope::commands::record::run(args),
        Command::Top(args) => gilscope::commands::top::run(args),
        Command::Dump(args) => {
            let dump = gilscope::commands::dump::dump(args.pid)?;
            print(&if args.json { json::to_lines(&dump)? } else { dump.text() })
        }
        Command::Export(args) => gilscope::commands::export::run(args),
        Command::Merge(args) => gilscope::commands::merge::run(args),
        Command::Report(args) => print(&gilscope::commands::report::run(args)?),
        Command::Diff(args) => {
            let (written, table) = gilscope::commands::diff::run(args)?;
            gilscope::output::say(format_args!("{table}written to {}", written.shown()));
            Ok(0)
        }
        Command::Doctor(args) => {
            let report = gilscope::commands::doctor::run(args.pid);
            print(&if args.json { json::to_lines(&report)? } else { report.to_string() })?;
            Ok(report.exit_code())
        }
    }
}

fn print(text: &str) -> anyhow::Result<u8> {
    gilscope::output::print(text)?;
    Ok(0)
}

/// `gilscope dump | head`: whoever reads has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
