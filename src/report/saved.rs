//! Reads a report back. Called by `gilscope report`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::model::{Report, SCHEMA, VERSION};
use crate::recording::input;
use crate::text::Shown;

/// No report is longer, in bytes: its lists have limits.
const MAX_BYTES: u64 = 256 << 20;

/// What is looked at before all else.
#[derive(Deserialize)]
struct SavedReportHeader {
    schema: Option<String>,
}

/// Reads the report in `path`.
///
/// # Errors
/// There is none: no such file, no report, one that was cut off, or one of a later gilscope.
pub fn read(path: &Path) -> Result<Report> {
    let bytes = input::read(path, MAX_BYTES).with_context(|| format!("cannot read {}", path.shown()))?;
    parse(&bytes).with_context(|| format!("{} cannot be shown", path.shown()))
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Report> {
    let header: SavedReportHeader = match serde_json::from_slice(bytes) {
        Ok(header) => header,
        Err(error) if error.is_eof() && !bytes.trim_ascii().is_empty() => {
            bail!("the file is cut off: it ends in the middle of line {}", error.line())
        }
        Err(_) => bail!(
            "it is neither a recording nor a report: gilscope record writes NAME.gscope, or what -o NAME.report.json says"
        ),
    };
    let version = header.schema.as_deref().and_then(|schema| schema.strip_prefix(SCHEMA)?.strip_prefix('/'));
    match version.map(str::parse::<u32>) {
        Some(Ok(VERSION)) => {}
        Some(Ok(newer)) if newer > VERSION => bail!(
            "it was written by a newer gilscope ({SCHEMA}/{newer}; this one reads {SCHEMA}/{VERSION}): \
             update gilscope"
        ),
        _ => bail!("it is no report of gilscope: it lacks \"schema\": \"{SCHEMA}/{VERSION}\""),
    }
    serde_json::from_slice(bytes).context("it is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Attribution, fixture};

    #[test]
    fn a_report_comes_back_as_it_was() {
        let report = fixture::report();
        let json = serde_json::to_vec_pretty(&report).unwrap();
        let back = parse(&json).unwrap();
        assert_eq!(back, report);
        assert_eq!(back.blame, Attribution::Holder);
        assert!(!back.findings.is_empty() && !back.gils.is_empty());
    }

    #[test]
    fn what_is_added_later_does_no_harm() {
        let mut json = serde_json::to_value(fixture::report()).unwrap();
        json["weather"] = serde_json::json!({ "rain": 3 });
        json["threads"][0]["mood"] = "good".into();
        json.as_object_mut().unwrap().remove("blame");
        assert_eq!(parse(json.to_string().as_bytes()).unwrap(), fixture::report());
    }

    #[test]
    fn what_is_no_report_is_told_apart() {
        let json = serde_json::to_vec_pretty(&fixture::report()).unwrap();
        let error = |bytes: &[u8]| format!("{:#}", parse(bytes).unwrap_err());
        for text in ["", "\n", "main;work 12\n", "[]", "{}", "{\"schema\": 1}", "{\"schema\": \"other/1\"}"] {
            let error = error(text.as_bytes());
            assert!(error.starts_with("it is n") && error.contains("report"), "{text}: {error}");
        }
        for length in [1, 20, json.len() / 2, json.len() - 2] {
            assert!(error(&json[..length]).contains("cut off"), "{length}: {}", error(&json[..length]));
        }
        let newer = String::from_utf8(json).unwrap().replace("gilscope-report/1", "gilscope-report/2");
        assert!(error(newer.as_bytes()).contains("newer gilscope (gilscope-report/2"), "{}", error(newer.as_bytes()));
        assert!(error(br#"{"schema": "gilscope-report/1"}"#).contains("missing field"));
        let error = read(Path::new("/nonexistent/x.report.json")).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/x.report.json: No such file"), "{error:#}");
    }
}
