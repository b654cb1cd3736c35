//! `gilscope export`: writes a recording in another format. Called by `main`; `record -o` shares how.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::cli::{ExportArgs, ViewArgs};
use crate::export::{self, Format, Summary, Unit};
use crate::output::{Kind, Output};
use crate::profile::Profile;
use crate::recording;
use crate::report::text::WIDTH;
use crate::report::text::units::wrap;

/// Runs the command.
///
/// # Errors
/// There is no recording, or nothing can be written.
pub fn run(args: &ExportArgs) -> Result<u8> {
    let kind = Kind::of(&args.output, args.format)?;
    let Kind::Export(format) = kind else { todo!() };
    let loaded = recording::load(&args.file, format.needs_timeline())?;
    let profile = &loaded.profile;
    let (path, summary) = write(Output::create(&args.output)?, profile, format, &args.view.options())?;
    if !args.quiet {
        for note in &profile.session.degraded {
            eprintln!("{}", wrap(&format!("note: {note}"), "  ", WIDTH));
        }
        amount(profile, format, &args.view, summary).into_iter().for_each(|line| eprintln!("{line}"));
        eprintln!("written to {}", path.display());
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
    view: &export::Options,
) -> Result<(PathBuf, Summary)> {
    let mut summary = Summary::default();
    let path = output.write(|out| {
        summary = export::write(profile, format, view, out)?;
        Ok(())
    })?;
    Ok((path, summary))
}

/// Says how much of a profile was written.
pub fn amount(profile: &Profile, format: Format, args: &ViewArgs, summary: Summary) -> Option<String> {
    if matches!(format, Format::Report | Format::Chrome) {
        // They have it all.
        return None;
    }
    let view = view_name(args);
    Some(match (summary.amount, args.options().unit(profile)) {
        (0, _) if profile.samples() == 0 => return None,
        (0, _) => format!("no samples in this view ({view}): no thread was seen in it. Try --view wall"),
        (samples, Unit::Samples) => format!("{samples} samples are in the view ({view})"),
        (micros, Unit::Micros) => format!("{:.3} s of thread time are in the view ({view})", micros as f64 / 1e6),
    })
}

fn view_name(args: &ViewArgs) -> String {
    let name = args.view.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    if args.idle { format!("{name}, with idle threads") } else { name }
}

impl ViewArgs {
    /// The same, for the formats.
    pub fn options(&self) -> export::Options {
        export::Options {
            view: self.view,
            threads: self.threads,
            idle: self.idle,
            functions: self.functions,
            blame: self.blame,
        }
    }
}
