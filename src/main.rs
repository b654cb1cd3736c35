//! Parses arguments, runs the command, prints the error and its remedy, and exits: 0 ok, 1 gilscope failed, 2
//! usage; `record -- command` and `top -- command` pass the command's own exit code on.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use gilscope::commands::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = ["off", "info", "debug"][usize::from(cli.verbose).min(2)];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(format!("gilscope={level}")))
        .target(env_logger::Target::Pipe(Box::new(gilscope::tui::ScreenLog)))
        .init();
    match run(&cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            gilscope::output::say(format_args!("gilscope: {error:#}"));
            ExitCode::from(gilscope::commands::exit_code(&error))
        }
    }
}

fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Record(args) => gilscope::commands::record::run(args),
        Command::Top(args) => gilscope::commands::top::run(args),
        Command::Dump(args) => {
            let dump = gilscope::commands::dump::dump(args.pid)?;
            print(&if args.json { json(&dump)? } else { dump.text() })
        }
        Command::Export(args) => gilscope::commands::export::run(args),
        Command::Merge(args) => gilscope::commands::merge::run(args),
        Command::Report(args) => print(&gilscope::commands::report::run(args)?),
        Command::Diff(args) => {
            let (written, table) = gilscope::commands::diff::run(args)?;
            gilscope::output::say(format_args!("{table}written to {}", written.display()));
            Ok(0)
        }
        Command::Doctor(args) => {
            let report = gilscope::commands::doctor::run(args.pid);
            print(&if args.json { json(&report)? } else { report.to_string() })?;
            Ok(report.exit_code())
        }
    }
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn print(text: &str) -> anyhow::Result<u8> {
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(0)
}

/// `gilscope dump | head`: whoever reads has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
