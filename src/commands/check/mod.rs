//! `gilscope check`: fails where recordings break rules, or are worse than a baseline. Called by `main`, and by `record --check`.

pub mod args;
mod rules_file;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::args::{CheckArgs, CheckFormat};
use crate::commands::waiting::WaitingLine;
use crate::event::Event;
use crate::filter::Filter;
use crate::output::{Output, print};
use crate::profile::Profile;
use crate::recording;
use crate::report::check::holds::{ReleaseStacks, longest_holds};
use crate::report::check::measure::{CheckedRecording, CheckedThreads};
use crate::report::check::outcome::CheckResult;
use crate::report::check::{CheckRules, slice_count};
use crate::report::{Attribution, Report};
use crate::text::{Shown, from_os, json};

/// What is checked, and against what.
#[derive(Debug)]
pub(crate) struct Checks {
    rules: CheckRules,
    baseline: Vec<PathBuf>,
}

impl Checks {
    /// Those of a file.
    ///
    /// # Errors
    /// It cannot be read, or has none.
    pub(crate) fn read(path: &Path) -> Result<Checks> {
        let read = rules_file::read(path)?;
        let rules = CheckRules { rules: read.rules, threads: read.threads, tolerance: read.tolerance };
        Ok(Checks { rules, baseline: read.baseline })
    }

    fn of(args: &CheckArgs) -> Result<Checks> {
        let mut checks = match &args.rules.rules {
            Some(file) => Checks::read(file)?,
            None => Checks { rules: CheckRules::default(), baseline: Vec::new() },
        };
        checks.rules.rules.extend(args.rules.list());
        if !args.thread.is_empty() {
            checks.rules.threads = CheckedThreads(args.thread.clone());
        }
        checks.rules.tolerance = args.tolerance.or(checks.rules.tolerance);
        if !args.rules.baseline.is_empty() {
            checks.baseline.clone_from(&args.rules.baseline);
        }
        Ok(checks)
    }

    /// Checks recordings of one program.
    ///
    /// # Errors
    /// One of them cannot be read, or they cannot be compared with the baseline.
    pub(crate) fn run(&self, files: &[PathBuf]) -> Result<CheckResult> {
        let functions = self.rules.hold_functions();
        let read = |files: &[PathBuf]| files.iter().map(|file| checked(file, &functions)).collect::<Result<Vec<_>>>();
        let (recordings, baseline) = (read(files)?, read(&self.baseline)?);
        self.rules.check(&recordings, &baseline).map_err(anyhow::Error::msg)
    }
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// A file cannot be read or written, or the recordings cannot be compared with the baseline.
pub fn run(args: &CheckArgs) -> Result<u8> {
    let result = Checks::of(args)?.run(&args.files)?;
    let format = if args.json { CheckFormat::Json } else { args.format };
    let formatted = match format {
        CheckFormat::Text => result.text(),
        CheckFormat::Json => json::to_lines(&result)?,
        CheckFormat::Markdown => result.markdown(),
        CheckFormat::Junit => result.junit(),
    };
    let printed = match &args.output {
        Some(path) => {
            Output::create(path, &args.files.iter().map(PathBuf::as_path).collect::<Vec<_>>())?
                .write(|out| Ok(out.write_all(formatted.as_bytes())?))?;
            if path == Path::new("-") { String::new() } else { result.text() }
        }
        None => formatted,
    };
    print(&printed)?;
    Ok(result.exit_code())
}

fn checked(path: &Path, functions: &[Option<String>]) -> Result<CheckedRecording> {
    if !recording::is_recording(path) && path.exists() {
        bail!("{} is no recording: a check needs what gilscope record writes as NAME.gscope", path.shown());
    }
    sliced(path, functions, |_| {})
}

/// Reads a recording twice: as a whole, and in slices. `see` gets the whole first, and then each of the slices in order. The
/// longest holds of functions are searched for.
///
/// # Errors
/// It cannot be read.
pub(crate) fn sliced(
    path: &Path,
    functions: &[Option<String>],
    mut see: impl FnMut(&Profile),
) -> Result<CheckedRecording> {
    let wants_holds = !functions.is_empty();
    let _waiting = WaitingLine::new(format!("reading {}", path.shown()));
    let profile = recording::load(path, wants_holds, &Filter::default())?;
    see(&profile);
    let session = &profile.session;
    let count = slice_count(session.end.since(session.start));
    let mut releases = ReleaseStacks::default();
    let event = |event: &Event| {
        if wants_holds {
            releases.event(event);
        }
    };
    let slice = |profile: &Profile| {
        see(profile);
        Report::of(profile, Attribution::Holder)
    };
    let slices = recording::slices(path, session, count, event, slice).with_context(|| path.shown().to_string())?;
    let holds = longest_holds(&profile, &releases, count, functions);
    Ok(CheckedRecording {
        name: from_os(path.file_name().unwrap_or(path.as_os_str())),
        report: Report::of(&profile, Attribution::Holder),
        slices,
        waits: session.waits,
        holds: functions.iter().cloned().zip(holds).collect(),
        unseen_functions: unseen(&profile, functions),
    })
}

/// Those of some functions that are on no stack.
fn unseen(profile: &Profile, functions: &[Option<String>]) -> Vec<String> {
    let stacks = &profile.stacks;
    let is_seen = |name: &str| {
        stacks.all_frames().iter().any(|frame| stacks.text(frame.function) == name || stacks.text(frame.name) == name)
    };
    functions.iter().flatten().filter(|name| !is_seen(name)).cloned().collect()
}
