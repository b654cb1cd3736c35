//! Parses arguments, runs the command, prints the error and its remedy, and exits: 0 ok, 1 gilscope failed, 2
//! usage, 3 a rule of `check` failed; `record -- command` and `top -- command` pass the command's own exit code on.

use std::io::Write;
use std::process::ExitCode;

use clap::FromArgMatches;
use gilscope::commands::cli::{Cli, Command};
use gilscope::commands::usage::{EXIT_CODE, WHAT_TO_TYPE};

fn main() -> ExitCode {
    let cli = match gilscope::commands::config::command() {
        // Ends here if the arguments are wrong.
        Ok(command) => Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()),
        Err(error) => return failed(&error),
    };
    let level = ["off", "info", "debug"][usize::from(cli.verbose).min(2)];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(format!("gilscope={level}")))
        .target(env_logger::Target::Pipe(Box::new(gilscope::tui::ScreenLog)))
        .init();
    let Some(command) = &cli.command else {
        gilscope::output::say(WHAT_TO_TYPE.trim_end());
        return ExitCode::from(EXIT_CODE);
    };
    match run(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    gilscope::output::say(format_args!("gilscope: {error:#}"));
    ExitCode::from(gilscope::commands::exit_code(error))
}

fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Record(args) => gilscope::commands::record::run(args),
        Command::Top(args) => gilscope::commands::top::run(args),
        Command::Dump(args) => {
            let text = gilscope::commands::dump::run(args)?;
            gilscope::commands::pager::print(&text, !args.no_pager && !args.json)?;
            Ok(0)
        }
        Command::Export(args) => gilscope::commands::export::run(args),
        Command::Merge(args) => gilscope::commands::merge::run(args),
        Command::Ps(args) => print(&gilscope::commands::processes::run(args.json)?),
        Command::Report(args) => {
            let text = gilscope::commands::report::run(args)?;
            gilscope::commands::pager::print(&text, !args.no_pager && !args.json)?;
            Ok(0)
        }
        Command::Diff(args) => {
            let outcome = gilscope::commands::diff::run(args)?;
            match outcome.written {
                None => print(&outcome.text),
                Some(path) => {
                    gilscope::output::say(format_args!("{}written to {}", outcome.text, path.display()));
                    Ok(0)
                }
            }
        }
        Command::Check(args) => gilscope::commands::check::run(args),
        Command::Mcp => gilscope::commands::mcp::run(),
        Command::Doctor(args) => {
            let report = gilscope::commands::doctor::run(args.pid);
            print(&if args.json { json(&report)? } else { report.to_string() })?;
            Ok(report.exit_code())
        }
        Command::Completions(args) => print(&gilscope::commands::completions::script(args.shell)),
        Command::Man(args) => gilscope::commands::completions::write_man_pages(&args.folder).map(|()| 0),
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
