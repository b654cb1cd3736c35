//! What a finished recording is written as. Called by the session at the end of `gilscope record`.
//!
//! [`write()`] is the only way in. A format never decides what to show: [`View`] selects the samples, [`label`]
//! words the frames, and each format only lays them out. An empty profile gives a valid, empty file.

use std::io::{self, Write};

use anyhow::Result;

use crate::profile::Profile;
use crate::report::Attribution;

pub(crate) mod changes;
mod chrome;
mod coarse;
mod collapsed;
mod contended;
pub mod diff;
mod firefox;
#[cfg(test)]
pub(crate) mod fixture;
mod flamegraph;
mod format;
mod frames;
mod gapless;
mod html;
pub mod kind;
mod perfetto;
mod pprof;
mod slices;
mod speedscope;
mod tracks;
mod view;

pub use coarse::MergedSlices;
pub(crate) use format::FORMATS;
pub use format::Format;
pub(crate) use view::{NO_PYTHON_FRAME, STACK_UNREADABLE, leaf};
pub use view::{Unit, View};

/// What to show of a profile.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// Which samples. Traces always have them all ([`Format::has_all`]).
    pub view: View,
    /// A root frame for each thread. The trace formats keep threads apart anyway.
    pub threads: bool,
    /// Samples off the CPU in [`View::Cpu`] too, each with a leaf that says why.
    pub idle: bool,
    /// One frame per function, named by its first line, instead of one per line.
    pub functions: bool,
    /// To whom the report attributes waiting. It counts everything, whatever the view.
    pub blame: Attribution,
}

/// What was written, in the view's [`Unit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// How much is in the view; 0 when it is empty, which is no error.
    pub amount: u64,
    /// The part of it whose stack could not be read.
    pub lost: u64,
    /// What was merged to keep the file small enough to be opened.
    pub merged: MergedSlices,
    /// What was merged or left out to keep the file small, each a sentence.
    pub notes: Vec<String>,
}

impl ExportSummary {
    fn of(profile: &Profile, options: &ExportOptions) -> ExportSummary {
        let mut summary = ExportSummary::default();
        for item in options.items(profile) {
            summary.amount += item.amount;
            summary.lost += if item.lost { item.amount } else { 0 };
        }
        summary
    }
}

/// Writes `profile` to `out`.
///
/// Fails when `out` does, or when the format needs a timeline and threads were recorded without one.
pub fn write(
    profile: &Profile,
    format: Format,
    options: &ExportOptions,
    out: &mut dyn Write,
) -> Result<ExportSummary> {
    let mut summary = match format.has_all() {
        true => ExportSummary::of(profile, &ExportOptions { view: View::Wall, ..options.clone() }),
        false => ExportSummary::of(profile, options),
    };
    let mut out = io::BufWriter::new(out);
    (format.writer)(profile, options, &mut summary, &mut out)?;
    out.flush()?;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::report::Report;

    fn format(name: &str) -> Format {
        Format::named(name).unwrap()
    }

    #[test]
    fn names_on_the_command_line() {
        let names = ["svg", "collapsed", "speedscope", "chrome", "perfetto", "pprof", "firefox", "report", "html"];
        assert_eq!(FORMATS.map(|format| format.name), names);
        for (name, view) in [("cpu", View::Cpu), ("wall", View::Wall), ("gil-hold", View::GilHold)] {
            assert_eq!(View::from_str(name, false), Ok(view));
        }
    }

    #[test]
    fn a_summary_counts_the_view() {
        let profile = fixture::profile();
        let count = |view, idle| {
            let options = ExportOptions { view, idle, ..ExportOptions::default() };
            let summary = write(&profile, Format::COLLAPSED, &options, &mut io::sink()).unwrap();
            (summary.amount, summary.lost)
        };
        assert_eq!(count(View::Cpu, false), (6, 1));
        assert_eq!(count(View::Cpu, true), (14, 2));
        assert_eq!(count(View::Wall, false), (14, 2));
        assert_eq!(count(View::GilHold, false), (5, 1));
        assert_eq!(profile.samples(), 14);
        // The trace has them all, whatever the view.
        let options = ExportOptions { view: View::GilHold, ..ExportOptions::default() };
        assert_eq!(write(&profile, format("chrome"), &options, &mut io::sink()).unwrap().amount, 14);
    }

    #[test]
    fn an_empty_profile_is_no_error_in_any_format() {
        for format in FORMATS {
            let mut out = Vec::new();
            let summary = write(&Profile::default(), format, &ExportOptions::default(), &mut out).unwrap();
            assert_eq!(summary, ExportSummary::default());
            match format.name {
                "svg" => fixture::assert_well_formed(std::str::from_utf8(&out).unwrap()),
                "collapsed" => assert!(out.is_empty()),
                "html" => assert!(out.starts_with(b"<!doctype html>")),
                "perfetto" | "pprof" => assert!(!out.is_empty()),
                _ => {
                    serde_json::from_slice::<serde_json::Value>(&out).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_report_can_be_read_back() {
        let mut out = Vec::new();
        let options = ExportOptions { blame: Attribution::Releaser, view: View::GilHold, ..ExportOptions::default() };
        assert_eq!(write(&fixture::profile(), Format::REPORT, &options, &mut out).unwrap().amount, 14);
        let report: Report = serde_json::from_slice(&out).unwrap();
        assert_eq!((report.threads.len(), report.session.samples, report.blame), (3, 14, Attribution::Releaser));
        assert!(out.ends_with(b"}\n"));
    }

    #[test]
    fn a_missing_timeline_is_an_error_not_an_empty_trace() {
        let mut profile = fixture::profile();
        profile.timeline = None;
        for format in ["speedscope", "chrome", "perfetto", "firefox", "html"].map(format) {
            let error = write(&profile, format, &ExportOptions::default(), &mut io::sink()).unwrap_err();
            assert!(error.to_string().contains("timeline"), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for format in FORMATS {
            write(&fixture::profile(), format, &ExportOptions::default(), &mut Full).unwrap_err();
        }
    }
}
