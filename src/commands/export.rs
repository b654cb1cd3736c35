//! `gilscope export`: writes a recording in another format. Called by `main`; `record -o` shares how.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::commands::cli::{ExportArgs, ViewArgs};
use crate::commands::waiting::WaitingLine;
use crate::export::kind::OutputKind;
use crate::export::{self, ExportSummary, Format, Unit, View};
use crate::filter::Filter;
use crate::output::{Output, say};
use crate::profile::Profile;
use crate::recording;
use crate::report::text::WIDTH;
use crate::report::text::units::wrap;
use crate::text::Shown;

/// Runs the command.
///
/// # Errors
/// There is no recording, or nothing can be written.
pub fn run(args: &ExportArgs) -> Result<u8> {
    let kind = OutputKind::of(&args.output, args.format)?;
    let filter = Filter::new(&args.filter)?;
    let waiting = WaitingLine::new(format!("exporting {}", args.file.shown()));
    let inputs = [&*args.file];
    let (path, session, amount) = match kind {
        OutputKind::Recording if filter.selects() => {
            bail!("a recording has all threads and waits: only --from and --to make a smaller one")
        }
        OutputKind::Recording => {
            let (path, session) = recording::copy(&args.file, Output::create(&args.output, &inputs)?, &filter)?;
            (path, session, Vec::new())
        }
        OutputKind::Export(format) => {
            let output = Output::create(&args.output, &inputs)?;
            let mut profile = match recording::load(&args.file, format.needs_timeline(), &filter) {
                Ok(profile) => profile,
                Err(error) => {
                    output.discard();
                    return Err(error);
                }
            };
            profile.stacks.set_own(&args.own.patterns());
            let (path, summary) = write(output, &profile, format, &args.view.options())?;
            let amount = amount(&profile, format, &args.view, &summary);
            (path, profile.session, amount)
        }
    };
    drop(waiting);
    if !args.quiet {
        let filter = session.filter.map(|filter| format!("only a part of it: {filter}"));
        let notes = session.degraded.iter().map(|note| format!("note: {note}"));
        for line in filter.into_iter().chain(notes).chain(amount) {
            say(wrap(&line, "  ", WIDTH));
        }
        say(format_args!("written to {}", path.shown()));
    }
    Ok(0)
}

/// Writes a profile. Returns where it is, and what is in it.
///
/// # Errors
/// As with [`Output::write`].
pub fn write(
    output: Output,
    profile: &Profile,
    format: Format,
    view: &export::ExportOptions,
) -> Result<(PathBuf, ExportSummary)> {
    summarized(profile, format, view, |write| output.write(write))
}

/// Writes what has just been recorded, wherever there is room for it.
///
/// # Errors
/// As with [`Output::write_or_save`].
pub fn write_or_save(
    output: Output,
    profile: &Profile,
    format: Format,
    view: &export::ExportOptions,
) -> Result<(PathBuf, ExportSummary)> {
    summarized(profile, format, view, |write| output.write_or_save(write))
}

/// Has a profile written by `to`, and says where, and what is in it.
fn summarized(
    profile: &Profile,
    format: Format,
    view: &export::ExportOptions,
    to: impl FnOnce(&mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<PathBuf>,
) -> Result<(PathBuf, ExportSummary)> {
    let mut summary = ExportSummary::default();
    let path = to(&mut |out| {
        summary = export::write(profile, format, view, out)?;
        Ok(())
    })?;
    Ok((path, summary))
}

/// Says how much of a profile was written.
pub fn amount(profile: &Profile, format: Format, args: &ViewArgs, summary: &ExportSummary) -> Vec<String> {
    let mut lines = Vec::new();
    let view = view_name(args);
    if !format.has_all() {
        lines.push(match (summary.amount, args.options().unit(profile)) {
            (0, _) if profile.samples() == 0 && profile.session.waits == 0 => {
                "nothing was recorded: there is nothing to show".to_owned()
            }
            (0, _) if args.view == View::Refcount => crate::report::unavailable(profile).unwrap_or_else(|| {
                "no thread was held up by the reference count of an object that others use".to_owned()
            }),
            (0, _) => format!("no samples in this view ({view}): no thread was seen in it. Try --view wall"),
            (samples, Unit::Samples) => format!("{samples} samples are in the view ({view})"),
            (micros, Unit::Micros) => {
                format!("{:.3} s of thread time are in the view ({view})", micros as f64 / 1e6)
            }
        });
    }
    if summary.merged.slices > 0 {
        lines.push(summary.merged.to_string());
    }
    lines.extend(summary.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn view_name(args: &ViewArgs) -> String {
    let name = args.view.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    if args.idle { format!("{name}, with idle threads") } else { name }
}

impl ViewArgs {
    /// The same, for the formats.
    pub fn options(&self) -> export::ExportOptions {
        export::ExportOptions {
            view: self.view,
            threads: self.threads,
            idle: self.idle,
            functions: self.functions,
            blame: self.blame,
        }
    }
}
