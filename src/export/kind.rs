//! What kind of file a command writes: a recording, or an export of one. Told by `--format` or by the name of the file.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::{FORMATS, Format};
use crate::text::Shown;

/// What was asked for does not say which kind of file to write: an error of usage, as of an unknown option.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnknownOutputKind(String);

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Everything that was seen: `.gscope`.
    Recording,
    /// Something made of it, for another program.
    Export(Format),
}

impl OutputKind {
    /// The kind that was asked for, or that the name of a file says.
    ///
    /// # Errors
    /// The name does not say.
    pub fn of(path: &Path, asked: Option<OutputKind>) -> Result<OutputKind> {
        let is_recording = path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("gscope"));
        let by_name = || match is_recording {
            true => Some(OutputKind::Recording),
            false => Format::from_path(path).map(OutputKind::Export),
        };
        match asked.or_else(by_name) {
            Some(kind) => Ok(kind),
            None if path == Path::new("-") && io::stdout().is_terminal() => {
                let formats = FORMATS.map(|format| format.name).join(", ");
                Err(UnknownOutputKind(format!("say which --format to print ({formats})")).into())
            }
            None if path == Path::new("-") => Ok(OutputKind::Export(Format::COLLAPSED)),
            None => Err(UnknownOutputKind(format!(
                "the name {} does not say which format to write: end it in .gscope, {}, or give --format",
                path.shown(),
                FORMATS.map(|format| format.usual_suffix()).join(", ")
            ))
            .into()),
        }
    }

    /// What `--format` can say: `gscope`, or a format of exports.
    pub fn parser() -> impl TypedValueParser<Value = OutputKind> {
        let recording = PossibleValue::new(RECORDING).help("Everything, for report, export and merge");
        let exports = FORMATS.map(|format| PossibleValue::new(format.name).help(format.help));
        PossibleValuesParser::new([recording].into_iter().chain(exports)).try_map(|name: String| match &*name {
            RECORDING => Ok(OutputKind::Recording),
            name => Format::named(name).map(OutputKind::Export).ok_or_else(|| format!("there is no format {name}")),
        })
    }
}

/// The help of `--output` of a command that writes recordings, too.
pub(crate) fn output_help() -> String {
    let suffixes = FORMATS.map(Format::suffix_help).join(", ");
    format!(
        "Where to write; `-` is standard output. The suffix picks the format: .gscope (the recording itself, for \
         gilscope report and export), {suffixes} [default: gilscope-NAME-PID.gscope]"
    )
}

/// The name of the format of recordings.
const RECORDING: &str = "gscope";
