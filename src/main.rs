//! Parses arguments, runs the command, prints the error and its remedy, and exits: 0 ok, 1 gilscope failed, 2
//! usage, 3 a rule of `check` failed; `record -- command` and `top -- command` pass the command's own exit code on.

use std::process::ExitCode;

use clap::FromArgMatches;
use gilscope::commands::cli::{Cli, Command};
use gilscope::commands::usage::{EXIT_CODE, WHAT_TO_TYPE};
use gilscope::text::{Shown, VisibleWriter, json};

fn main() -> ExitCode {
    let cli = match gilscope::commands::config::command() {
        // Ends here if the arguments are wrong.
        Ok(mut command) => {
            let parsed = command.try_get_matches_from_mut(std::env::args_os());
            parsed.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| refuse(&error))
        }
        Err(error) => return failed(&error),
    };
    let level = ["off", "info", "debug"][usize::from(cli.verbose).min(2)];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(format!("gilscope={level}")))
        .target(env_logger::Target::Pipe(Box::new(VisibleWriter::new(gilscope::tui::ScreenLog))))
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
    gilscope::output::say_error(error);
    ExitCode::from(gilscope::commands::exit_code(error))
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
                    gilscope::output::say(format_args!("{}written to {}", outcome.text, path.shown()));
                    Ok(0)
                }
            }
        }
        Command::Check(args) => gilscope::commands::check::run(args),
        Command::Mcp => gilscope::commands::mcp::run(),
        Command::Doctor(args) => {
            let report = gilscope::commands::doctor::run(args.pid);
            print(&if args.json { json::to_lines(&report)? } else { report.to_string() })?;
            Ok(report.exit_code())
        }
        Command::Completions(args) => print(&gilscope::commands::completions::script(args.shell)),
        Command::Man(args) => gilscope::commands::completions::write_man_pages(&args.folder).map(|()| 0),
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
