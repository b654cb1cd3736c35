//! The one table of formats. A new format is a file or folder beside this one, and a row here: suffixes, `--format`, help
//! and error messages come from the table.

use std::fmt;
use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::profile::Profile;
use crate::report::Report;

use super::{
    ExportOptions, ExportSummary, chrome, collapsed, firefox, flamegraph, html, perfetto, pprof, speedscope,
};
use crate::text::json;

/// Writes a profile. The summary has how much is in the view; the writer adds what it merged or left out.
type FormatWriter = fn(&Profile, &ExportOptions, &mut ExportSummary, &mut dyn Write) -> Result<()>;

/// A file format: a row of [`FORMATS`].
#[derive(Clone, Copy)]
pub struct Format {
    /// As after `--format`.
    pub(crate) name: &'static str,
    /// What names of files end in, the usual one first.
    suffixes: &'static [&'static str],
    /// What is in such a file, for lists of suffixes.
    contents: &'static str,
    /// For the help of `--format`.
    pub(crate) help: &'static str,
    /// Shows everything, whatever the view.
    has_all: bool,
    /// Shows when things happened, so the profile must keep its timeline ([`Profile::keep_timeline`]).
    needs_timeline: bool,
    pub(super) writer: FormatWriter,
}

/// All formats that are written.
pub(crate) const FORMATS: [Format; 9] = [
    Format {
        name: "svg",
        suffixes: &[".svg"],
        contents: "flame graph",
        help: "Interactive flame graph (SVG)",
        has_all: false,
        needs_timeline: false,
        writer: |profile, options, summary, mut out| Ok(flamegraph::write(profile, options, summary, &mut out)?),
    },
    Format {
        name: "collapsed",
        suffixes: &[".collapsed", ".txt", ".folded"],
        contents: "folded stacks",
        help: "Folded stacks, one line each with its count",
        has_all: false,
        needs_timeline: false,
        writer: |profile, options, _, mut out| Ok(collapsed::write(profile, options, &mut out)?),
    },
    Format {
        name: "speedscope",
        suffixes: &[".speedscope.json"],
        contents: "speedscope",
        help: "JSON for speedscope.app, one profile per thread",
        has_all: false,
        needs_timeline: true,
        writer: |profile, options, _, mut out| speedscope::write(profile, options, &mut out),
    },
    Format {
        name: "chrome",
        suffixes: &[".json"],
        contents: "Chrome trace",
        help: "JSON trace events for Perfetto and chrome://tracing",
        has_all: true,
        needs_timeline: true,
        writer: |profile, options, summary, mut out| {
            summary.merged = chrome::write(profile, options, &mut out)?;
            Ok(())
        },
    },
    Format {
        name: "perfetto",
        suffixes: &[".pftrace", ".perfetto-trace"],
        contents: "Perfetto trace",
        help: "Perfetto's own format, with stacks of waits",
        has_all: true,
        needs_timeline: true,
        writer: |profile, options, summary, mut out| {
            summary.merged = perfetto::write(profile, options, &mut out)?;
            Ok(())
        },
    },
    Format {
        name: "pprof",
        suffixes: &[".pb.gz", ".pprof"],
        contents: "pprof",
        help: "pprof, gzipped, of one view",
        has_all: false,
        needs_timeline: false,
        writer: |profile, options, _, mut out| Ok(pprof::write(profile, options, &mut out)?),
    },
    Format {
        name: "firefox",
        suffixes: &[".firefox.json"],
        contents: "Firefox Profiler",
        help: "Firefox Profiler",
        has_all: true,
        needs_timeline: true,
        writer: |profile, options, summary, mut out| {
            summary.merged = firefox::write(profile, options, &mut out)?;
            Ok(())
        },
    },
    Format {
        name: "report",
        suffixes: &[".report.json"],
        contents: "report as JSON",
        help: "The report as JSON, for programs and for gilscope report",
        has_all: true,
        needs_timeline: false,
        writer: |profile, options, _, mut out| {
            json::to_writer_pretty(&mut out, &Report::of(profile, options.blame))?;
            Ok(out.write_all(b"\n")?)
        },
    },
    Format {
        name: "html",
        suffixes: &[".html", ".htm"],
        contents: "report with everything",
        help: "The report with flame graphs and a timeline, one file for a browser",
        has_all: true,
        needs_timeline: true,
        writer: |profile, options, summary, mut out| {
            summary.notes = html::write(profile, options, &mut out)?;
            Ok(())
        },
    },
];

impl Format {
    /// For pipes, and for `gilscope diff`.
    pub(crate) const COLLAPSED: Format = Format::known("collapsed");
    pub(crate) const REPORT: Format = Format::known("report");
    pub(crate) const SVG: Format = Format::known("svg");

    /// The row of this name. That there is one is checked at compile time.
    const fn known(name: &str) -> Format {
        let mut index = 0;
        while !is_same(FORMATS[index].name.as_bytes(), name.as_bytes()) {
            index += 1;
        }
        FORMATS[index]
    }

    /// The format that is called this after `--format`.
    pub(crate) fn named(name: &str) -> Option<Format> {
        FORMATS.into_iter().find(|format| format.name == name)
    }

    /// The format a file name asks for by its suffix; `None` when it asks for none that is written here.
    pub(crate) fn from_path(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let length = |format: &Format| {
            let suffixes = format.suffixes.iter().filter(|suffix| name.ends_with(**suffix));
            suffixes.map(|suffix| suffix.len()).max().unwrap_or(0)
        };
        // Some suffixes end in another.
        FORMATS.into_iter().max_by_key(length).filter(|format| length(format) > 0)
    }

    /// Shows everything, whatever the view.
    pub(crate) fn has_all(self) -> bool {
        self.has_all
    }

    /// Needs a profile that kept its timeline.
    pub(crate) fn needs_timeline(self) -> bool {
        self.needs_timeline
    }

    /// Its suffixes and what they stand for: `.collapsed, .txt or .folded (folded stacks)`.
    pub(crate) fn suffix_help(self) -> String {
        let suffixes = match self.suffixes {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [first @ .., last] => format!("{} or {last}", first.join(", ")),
        };
        format!("{suffixes} ({})", self.contents)
    }

    /// The suffix to recommend.
    pub(crate) fn usual_suffix(self) -> &'static str {
        self.suffixes.first().copied().unwrap_or_default()
    }
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

impl PartialEq for Format {
    fn eq(&self, other: &Format) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_pick_formats() {
        let pick = |name: &str| Format::from_path(Path::new(name)).map(|format| format.name);
        assert_eq!(pick("a/b.svg"), Some("svg"));
        assert_eq!(pick("b.SVG"), Some("svg"));
        for name in ["b.collapsed", "b.txt", "b.folded"] {
            assert_eq!(pick(name), Some("collapsed"), "{name}");
        }
        assert_eq!(pick("b.speedscope.json"), Some("speedscope"));
        assert_eq!(pick("b.json"), Some("chrome"));
        assert_eq!(pick("b.report.json"), Some("report"));
        assert_eq!(pick("b.firefox.json"), Some("firefox"));
        assert_eq!(pick("b.pftrace"), Some("perfetto"));
        assert_eq!(pick("b.pb.gz"), Some("pprof"));
        for name in ["b.html", "B.HTM"] {
            assert_eq!(pick(name), Some("html"), "{name}");
        }
        for name in ["b.gscope", "b", "json", "x.svg/b"] {
            assert_eq!(pick(name), None, "{name}");
        }
    }

    #[test]
    fn rows_have_names_and_suffixes_of_their_own() {
        for (index, format) in FORMATS.iter().enumerate() {
            assert_eq!(Format::named(format.name), Some(*format));
            for suffix in format.suffixes {
                assert!(suffix.starts_with('.') && suffix.to_ascii_lowercase() == *suffix, "{suffix}");
                let others = FORMATS[..index].iter().flat_map(|other| other.suffixes);
                assert!(!others.clone().any(|other| other == suffix), "{suffix}");
            }
        }
        assert_eq!(Format::named("gscope"), None);
        assert_eq!(Format::COLLAPSED.suffix_help(), ".collapsed, .txt or .folded (folded stacks)");
    }
}
