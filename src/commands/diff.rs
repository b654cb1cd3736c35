//! `gilscope diff`: what changed between two recordings, beyond noise. Called by `main`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::commands::check::sliced;
use crate::commands::cli::{DiffArgs, ViewArgs};
use crate::export::changes::FunctionChanges;
use crate::export::diff::{self, FoldedStacks};
use crate::export::{self, Format, Unit};
use crate::output::Output;
use crate::profile::Profile;
use crate::recording::{input, is_recording};
use crate::report::check::measure::CheckedRecording;
use crate::report::check::waits::wait_changes;
use crate::report::difference::differences;
use crate::report::text::WIDTH;
use crate::report::text::units::wrap;
use crate::text::{Shown, from_bytes, visible_lines};

/// Folded stacks are no longer, in bytes.
const MAX_FOLDED: u64 = 256 << 20;

/// What has changed from one to the other.
#[derive(Debug)]
pub struct DiffOutcome {
    /// For people, with the line end.
    pub text: String,
    /// Where the picture is, if one was asked for.
    pub written: Option<PathBuf>,
}

/// One of the two files.
struct DiffSide {
    folded: FoldedStacks,
    /// Folded stacks are of no recording.
    recording: Option<CheckedRecording>,
}

/// Compares two files, and draws the difference if that is asked for.
///
/// # Errors
/// One of the two cannot be read, or the picture cannot be written.
pub fn run(args: &DiffArgs) -> Result<DiffOutcome> {
    let (before, after) = (read(&args.before, &args.view)?, read(&args.after, &args.view)?);
    let written = match &args.output {
        Some(path) => {
            if let Some(side) = [&before, &after].into_iter().find(|side| side.folded.total == 0) {
                bail!("{} has no samples in this view: there is nothing to draw. Try --view wall", side.folded.name);
            }
            let output = Output::create(path, &[&args.before, &args.after])?;
            let draw =
                |out: &mut dyn std::io::Write| Ok(diff::write(&before.folded, &after.folded, args.absolute, out)?);
            Some(output.write(draw)?)
        }
        None => None,
    };
    Ok(DiffOutcome { text: text(&before, &after, args.absolute), written })
}

fn text(before: &DiffSide, after: &DiffSide, absolute: bool) -> String {
    let mut lines = Vec::new();
    let recordings = before.recording.as_ref().zip(after.recording.as_ref());
    if let Some((before, after)) = recordings {
        let differences = differences(&before.report, &after.report);
        lines.extend(differences.into_iter().map(|difference| format!("note: {difference}")));
    }
    for side in [before, after].into_iter().filter(|side| side.folded.total == 0) {
        lines.push(format!("note: {} has no samples in this view. --view wall has them", side.folded.name));
    }
    let table = match absolute {
        true => diff::table_of_amounts(&before.folded, &after.folded),
        false => FunctionChanges::new(&before.folded, &after.folded).table(),
    };
    if let Some((before, after)) = recordings {
        lines.extend(wait_changes(before, after));
    }
    let lines: String = lines.iter().map(|line| wrap(line, "  ", WIDTH) + "\n").collect();
    format!("{lines}{table}")
}

/// The stacks to compare in a file: those of a view of a recording, or folded ones.
fn read(path: &Path, view: &ViewArgs) -> Result<DiffSide> {
    if !is_recording(path) {
        let bytes = input::read(path, MAX_FOLDED).with_context(|| format!("cannot read {}", path.shown()))?;
        let folded = FoldedStacks::new(&name(path), visible_lines(&from_bytes(&bytes)))?;
        return Ok(DiffSide { folded, recording: None });
    }
    let options = view.options();
    let fold = |profile: &Profile| {
        let mut lines = Vec::new();
        let written = export::write(profile, Format::COLLAPSED, &options, &mut lines);
        written.map(|_| from_bytes(&lines))
    };
    let mut is_sampled = true;
    let mut seen = Vec::new();
    let recording = sliced(path, &[], |profile| {
        is_sampled = options.unit(profile) == Unit::Samples;
        seen.push(fold(profile));
    })?;
    let mut seen = seen.into_iter().collect::<Result<Vec<String>>>()?.into_iter();
    // The whole comes first.
    let whole = FoldedStacks::maybe_none(&name(path), seen.next().unwrap_or_default())?;
    let folded = FoldedStacks { slices: seen.collect(), is_sampled, ..whole };
    Ok(DiffSide { folded, recording: Some(recording) })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).shown().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::commands::cli::{Cli, Command};

    #[test]
    fn two_files_become_a_table_and_if_asked_for_a_picture() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.collapsed"), "main;work 1000\n").unwrap();
        fs::write(path("b.collapsed"), "main;wait 1000\n").unwrap();
        let run = |before: &str, out: Option<&str>| {
            let words = [Path::new("gilscope"), Path::new("diff"), &path(before), &path("b.collapsed")];
            let rest = out.map(|out| [PathBuf::from("-o"), path(out)]);
            let cli = Cli::parse_from(words.map(Path::to_owned).into_iter().chain(rest.into_iter().flatten()));
            let Some(Command::Diff(args)) = cli.command else { panic!() };
            super::run(&args)
        };
        let outcome = run("a.collapsed", Some("d.svg")).unwrap();
        assert_eq!(outcome.written, Some(path("d.svg")));
        assert!(outcome.text.contains("100.0      0.0   -100.0"), "{}", outcome.text);
        assert!(fs::read_to_string(path("d.svg")).unwrap().contains("From a.collapsed to b.collapsed"));
        let outcome = run("b.collapsed", None).unwrap();
        assert_eq!((outcome.text.as_str(), outcome.written), ("functions: no difference beyond noise\n", None));
        fs::write(path("evil.collapsed"), "main;\x1b[1m\u{202e}work 10000\r\n").unwrap();
        let outcome = run("evil.collapsed", Some("evil.svg")).unwrap();
        let drawn = fs::read_to_string(path("evil.svg")).unwrap();
        assert!(outcome.text.contains("\\x1b[1m\\u{202e}work"), "{}", outcome.text);
        assert!(!drawn.contains(['\x1b', '\u{202e}']));
        let error = format!("{:#}", run("missing.collapsed", Some("e.svg")).unwrap_err());
        assert!(error.contains("cannot read") && error.contains("missing.collapsed"), "{error}");
        assert!(!path("e.svg").exists());
    }
}
