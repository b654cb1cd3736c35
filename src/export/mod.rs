//! What a finished recording is written as. Called by the session at the end of `gilscope record`.
//!
//! [`write()`] is the only way in. A format never decides what to show: [`View`] selects the samples, [`label`]
//! words the frames, and each format only lays them out. An empty profile gives a valid, empty file.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;

use crate::profile::Profile;
use crate::report::{Blame, Report};

mod chrome;
mod coarse;
mod collapsed;
mod contended;
pub mod diff;
mod firefox;
#[cfg(test)]
mod fixture;
mod flamegraph;
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

pub use coarse::Merged;
pub(crate) use view::{NO_PYTHON_FRAME, STACK_UNREADABLE, leaf};
pub use view::{Unit, View};

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Interactive flame graph (SVG)
    Svg,
    /// Folded stacks, one line each with its count
    Collapsed,
    /// JSON for speedscope.app, one profile per thread
    Speedscope,
    /// JSON trace events for Perfetto and chrome://tracing
    Chrome,
    /// Perfetto's own format, with stacks of waits
    Perfetto,
    /// pprof, gzipped, of one view
    Pprof,
    /// Firefox Profiler
    Firefox,
    /// The report as JSON, for programs and for gilscope report
    Report,
    /// The report with flame graphs and a timeline, one file for a browser
    Html,
}

impl Format {
    /// The format a file name asks for by its suffix; `None` when it asks for none that is written here.
    pub fn from_path(path: &Path) -> Option<Format> {
        // The longer suffix first.
        const SUFFIXES: [(&str, Format); 14] = [
            (".html", Format::Html),
            (".htm", Format::Html),
            (".svg", Format::Svg),
            (".collapsed", Format::Collapsed),
            (".folded", Format::Collapsed),
            (".txt", Format::Collapsed),
            (".speedscope.json", Format::Speedscope),
            (".report.json", Format::Report),
            (".pftrace", Format::Perfetto),
            (".perfetto-trace", Format::Perfetto),
            (".pb.gz", Format::Pprof),
            (".pprof", Format::Pprof),
            (".firefox.json", Format::Firefox),
            (".json", Format::Chrome),
        ];
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|&(_, format)| format)
    }

    /// Shows everything, whatever the view.
    pub fn has_all(self) -> bool {
        matches!(self, Format::Chrome | Format::Perfetto | Format::Firefox | Format::Report | Format::Html)
    }

    /// Shows when things happened, so the profile must keep its timeline ([`Profile::keep_timeline`]).
    pub fn needs_timeline(self) -> bool {
        matches!(self, Format::Speedscope | Format::Chrome | Format::Perfetto | Format::Firefox | Format::Html)
    }
}

/// What to show of a profile.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which samples. Traces always have them all ([`Format::has_all`]).
    pub view: View,
    /// A root frame for each thread. The trace formats keep threads apart anyway.
    pub threads: bool,
    /// Samples off the CPU in [`View::Cpu`] too, each with a leaf that says why.
    pub idle: bool,
    /// One frame per function, named by its first line, instead of one per line.
    pub functions: bool,
    /// To whom the report puts down waiting. It counts everything, whatever the view.
    pub blame: Blame,
}

/// What was written, in the view's [`Unit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How much is in the view; 0 when it is empty, which is no error.
    pub amount: u64,
    /// The part of it whose stack could not be read.
    pub lost: u64,
    /// What was merged to keep the file small enough to be opened.
    pub merged: Merged,
    /// What was merged or left out to keep the file small, each a sentence.
    pub notes: Vec<String>,
}

impl Summary {
    fn of(profile: &Profile, options: &Options) -> Summary {
        let mut summary = Summary::default();
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
pub fn write(profile: &Profile, format: Format, options: &Options, out: &mut dyn Write) -> Result<Summary> {
    let mut options = options.clone();
    // The page begins with the view asked for, but it has them all.
    let first = options.view;
    if format.has_all() {
        options.view = View::Wall;
    }
    let mut summary = Summary::of(profile, &options);
    let mut out = io::BufWriter::new(out);
    match format {
        Format::Svg => flamegraph::write(profile, &options, &summary, &mut out)?,
        Format::Collapsed => collapsed::write(profile, &options, &mut out)?,
        Format::Speedscope => speedscope::write(profile, &options, &mut out)?,
        Format::Chrome => summary.merged = chrome::write(profile, &options, &mut out)?,
        Format::Perfetto => summary.merged = perfetto::write(profile, &options, &mut out)?,
        Format::Pprof => pprof::write(profile, &options, &mut out)?,
        Format::Firefox => summary.merged = firefox::write(profile, &options, &mut out)?,
        Format::Report => report(profile, &options, &mut out)?,
        Format::Html => {
            summary.notes = html::write(profile, &Options { view: first, ..options }, &mut out)?;
        }
    }
    out.flush()?;
    Ok(summary)
}

fn report(profile: &Profile, options: &Options, out: &mut impl Write) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Report::of(profile, options.blame))?;
    Ok(out.write_all(b"\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_pick_formats() {
        let pick = |name: &str| Format::from_path(Path::new(name));
        assert_eq!(pick("a/b.svg"), Some(Format::Svg));
        assert_eq!(pick("b.SVG"), Some(Format::Svg));
        for name in ["b.collapsed", "b.txt", "b.folded"] {
            assert_eq!(pick(name), Some(Format::Collapsed), "{name}");
        }
        assert_eq!(pick("b.speedscope.json"), Some(Format::Speedscope));
        assert_eq!(pick("b.json"), Some(Format::Chrome));
        assert_eq!(pick("b.report.json"), Some(Format::Report));
        assert_eq!(pick("b.firefox.json"), Some(Format::Firefox));
        assert_eq!(pick("b.pftrace"), Some(Format::Perfetto));
        assert_eq!(pick("b.pb.gz"), Some(Format::Pprof));
        for name in ["b.html", "B.HTM"] {
            assert_eq!(pick(name), Some(Format::Html), "{name}");
        }
        for name in ["b.gscope", "b", "json", "x.svg/b"] {
            assert_eq!(pick(name), None, "{name}");
        }
    }

    #[test]
    fn names_on_the_command_line() {
        for (name, format) in [
            ("svg", Format::Svg),
            ("collapsed", Format::Collapsed),
            ("speedscope", Format::Speedscope),
            ("chrome", Format::Chrome),
            ("perfetto", Format::Perfetto),
            ("pprof", Format::Pprof),
            ("firefox", Format::Firefox),
            ("report", Format::Report),
            ("html", Format::Html),
        ] {
            assert_eq!(Format::from_str(name, false), Ok(format));
        }
        for (name, view) in [("cpu", View::Cpu), ("wall", View::Wall), ("gil-hold", View::GilHold)] {
            assert_eq!(View::from_str(name, false), Ok(view));
        }
    }

    #[test]
    fn a_summary_counts_the_view() {
        let profile = fixture::profile();
        let count = |view, idle| {
            let options = Options { view, idle, ..Options::default() };
            let summary = write(&profile, Format::Collapsed, &options, &mut io::sink()).unwrap();
            (summary.amount, summary.lost)
        };
        assert_eq!(count(View::Cpu, false), (6, 1));
        assert_eq!(count(View::Cpu, true), (14, 2));
        assert_eq!(count(View::Wall, false), (14, 2));
        assert_eq!(count(View::GilHold, false), (5, 1));
        assert_eq!(profile.samples(), 14);
        // The trace has them all, whatever the view.
        let options = Options { view: View::GilHold, ..Options::default() };
        assert_eq!(write(&profile, Format::Chrome, &options, &mut io::sink()).unwrap().amount, 14);
    }

    #[test]
    fn an_empty_profile_is_no_error_in_any_format() {
        for format in Format::value_variants() {
            let mut out = Vec::new();
            let summary = write(&Profile::default(), *format, &Options::default(), &mut out).unwrap();
            assert_eq!(summary, Summary::default());
            match format {
                Format::Svg => fixture::assert_well_formed(std::str::from_utf8(&out).unwrap()),
                Format::Collapsed => assert!(out.is_empty()),
                Format::Html => assert!(out.starts_with(b"<!doctype html>")),
                Format::Perfetto | Format::Pprof => assert!(!out.is_empty()),
                Format::Speedscope | Format::Chrome | Format::Firefox | Format::Report => {
                    serde_json::from_slice::<serde_json::Value>(&out).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_report_can_be_read_back() {
        let mut out = Vec::new();
        let options = Options { blame: Blame::Releaser, view: View::GilHold, ..Options::default() };
        assert_eq!(write(&fixture::profile(), Format::Report, &options, &mut out).unwrap().amount, 14);
        let report: Report = serde_json::from_slice(&out).unwrap();
        assert_eq!((report.threads.len(), report.session.samples, report.blame), (3, 14, Blame::Releaser));
        assert!(out.ends_with(b"}\n"));
    }

    #[test]
    fn a_missing_timeline_is_an_error_not_an_empty_trace() {
        let mut profile = fixture::profile();
        profile.timeline = None;
        for format in [Format::Speedscope, Format::Chrome, Format::Perfetto, Format::Firefox, Format::Html] {
            let error = write(&profile, format, &Options::default(), &mut io::sink()).unwrap_err();
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
        for format in Format::value_variants() {
            write(&fixture::profile(), *format, &Options::default(), &mut Full).unwrap_err();
        }
    }
}
