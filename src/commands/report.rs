//! `gilscope report`: prints the report of a recording, or one that was saved. Called by `main`.

use std::io::{IsTerminal, stdout};

use anyhow::{Result, bail};

use crate::commands::cli::ReportArgs;
use crate::commands::text_style::bold;
use crate::commands::waiting::WaitingLine;
use crate::filter::Filter;
use crate::report::text::{subject, text};
use crate::text::{Shown, from_os, json};
use crate::{recording, report};

/// What is to be printed on standard output.
///
/// # Errors
/// The file is no report, or none that can be read.
pub fn run(args: &ReportArgs) -> Result<String> {
    let filter = Filter::new(&args.filter)?;
    let _waiting = WaitingLine::new(format!("reading {}", args.file.shown()));
    let report = if recording::is_recording(&args.file) {
        let mut profile = recording::load(&args.file, false, &filter)?;
        profile.stacks.set_own(&args.own.patterns());
        report::Report::of(&profile, args.blame.unwrap_or_default())
    } else {
        if !filter.is_none() {
            bail!("{} is a report: filters need a recording (.gscope)", args.file.shown());
        }
        report::read(&args.file)?
    };
    if args.json {
        return Ok(json::to_lines(&report)?);
    }
    if args.brief {
        return Ok(report::agent_brief(&report, &from_os(args.file.as_os_str())));
    }
    let bold = bold(args.style.color, stdout().is_terminal());
    Ok(format!("{}\n{}", subject(&report), text(&report, args.blame.unwrap_or(report.blame), bold)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_report_is_printed_as_text_or_as_it_was() {
        use clap::Parser;
        let report = report::Report::new(&Default::default(), &[], &[], report::Attribution::Holder);
        let file = tempfile::NamedTempFile::new().unwrap();
        let json = serde_json::to_string_pretty(&report).unwrap() + "\n";
        std::fs::write(&file, &json).unwrap();
        let run = |option: Option<&str>| {
            let words = ["gilscope", "report"].into_iter().chain(option).chain(file.path().to_str());
            let Some(crate::commands::cli::Command::Report(args)) =
                crate::commands::cli::Cli::parse_from(words).command
            else {
                panic!()
            };
            super::run(&args)
        };
        assert_eq!(run(Some("--json")).unwrap(), json);
        assert!(run(None).unwrap().contains("recorded in memory mode"), "{:?}", run(None));
        std::fs::write(&file, &json[..json.len() / 2]).unwrap();
        assert!(run(None).is_err());
    }
}
