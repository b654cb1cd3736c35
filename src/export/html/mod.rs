//! The report as one HTML file that needs nothing else: no network, no server, no other file. Called for `.html` files.
//!
//! `page/` has the page itself: markup, style and script as they are written by hand; there is nothing to be built.
//! This side says what is in it. [`data`] gathers everything as one value, which goes into the page as compressed
//! JSON; the script in `page/` draws it.
//!
//! Names in it come from the observed program and may be hostile. They are base64 in the page, and the script makes
//! text of them, never markup. Should that fail, the content security policy still forbids all scripts but ours (it
//! names them by their hashes) and all network traffic.

use std::io::Write;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::profile::Profile;
use crate::report::{Report, text};

use super::ExportOptions;
use crate::stack::label::one_line;
use crate::text::{json, markup};

mod columns;
mod data;
mod lanes;
mod reduce;
mod stacks;
#[cfg(test)]
mod tests;
mod whom;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = concat!(include_str!("page/style.css"), include_str!("page/print.css"));
/// One scope: each file uses what those before it declare.
const SCRIPT: &str = concat!(
    "(() => {\n\"use strict\";\n",
    include_str!("page/words.js"),
    include_str!("page/data.js"),
    include_str!("page/columns.js"),
    include_str!("page/parts.js"),
    include_str!("page/ledger.js"),
    include_str!("page/contention.js"),
    include_str!("page/gil.js"),
    include_str!("page/locks.js"),
    include_str!("page/pauses.js"),
    include_str!("page/refcounts.js"),
    include_str!("page/flame_tree.js"),
    include_str!("page/flame.js"),
    include_str!("page/lanes.js"),
    include_str!("page/timeline_detail.js"),
    include_str!("page/timeline_input.js"),
    include_str!("page/timeline.js"),
    include_str!("page/main.js"),
    "})();\n",
);

/// Writes the page. Returns what had to be left out, each a sentence.
///
/// Fails when `out` does, or when the recording kept no timeline.
pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut impl Write) -> Result<Vec<String>> {
    let report = Report::of(profile, options.blame);
    let plain = format!("{}\n{}", text::subject(&report), text::text(&report, options.blame, false));
    let data = data::page(profile, report, options)?;
    let notes = data.notes.clone();
    let title = match profile.processes.first() {
        Some(info) => format!("{} - gilscope", one_line(&info.command.join(" "))),
        None => "gilscope".to_owned(),
    };
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    json::to_writer(&mut packed, &data)?;
    let packed = BASE64.encode(packed.finish()?);
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let parts = [
        ("{{policy}}", policy.as_str()),
        ("{{title}}", &markup(&title)),
        ("{{style}}", STYLE),
        ("{{plain}}", &markup(&plain)),
        ("{{data}}", &packed),
        ("{{script}}", SCRIPT),
    ];
    // In the order in which they stand in the template, so that nothing is replaced in what was put in.
    let mut rest = TEMPLATE;
    for (mark, part) in parts {
        let (before, after) = rest.split_once(mark).expect("the template has every part, in this order");
        out.write_all(before.as_bytes())?;
        out.write_all(part.as_bytes())?;
        rest = after;
    }
    out.write_all(rest.as_bytes())?;
    Ok(notes)
}

/// How a content security policy names a script or a style.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(Sha256::digest(text)))
}
