//! Flame graph as an SVG that can be zoomed and searched in a browser. Called for `.svg` files; the speedscope
//! export shares its title.

use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, TextTruncateDirection};

use crate::event::ProcessInfo;
use crate::profile::{Profile, short_command};

use super::collapsed::{FoldedView, fold, folded_name};
use super::frames::Entry;
use super::{ExportOptions, ExportSummary, Unit, View};
use crate::stack::label::{Origin, one_line};
use crate::text::markup;

/// Narrower frames are left out, in percent. Invisible until zoomed in far, they would make most of the file.
const MIN_WIDTH: f64 = 0.02;

/// Longer titles would run out of the picture.
const TITLE_CHARS: usize = 70;

/// Writes the view as a flame graph; one that only says so when there are no samples in it.
pub(super) fn write(
    profile: &Profile,
    options: &ExportOptions,
    summary: &ExportSummary,
    out: &mut impl Write,
) -> io::Result<()> {
    if summary.amount == 0 {
        return write_empty(profile, options, out);
    }
    let FoldedView { lines, frames } = fold(profile, options);
    let mut palette = PaletteMap::default();
    for entry in frames.entries() {
        let name = folded_name(&entry.name);
        let color = color(options.view, entry, &name);
        palette.insert(name, color);
    }
    let (title, subtitle) = (title(profile, options), subtitle(profile, options, summary));
    let mut drawing = drawing(title, subtitle, options.unit(profile).name());
    drawing.bgcolors = Some(match options.view {
        View::Cpu => BackgroundColor::Yellow,
        View::Wall | View::OffCpu | View::GilWait | View::LockWait => BackgroundColor::Blue,
        View::GilHold => BackgroundColor::Green,
        View::Refcount => BackgroundColor::Grey,
    });
    drawing.palette_map = Some(&mut palette);
    let lines: Vec<String> = lines.iter().map(|(stack, count)| format!("{stack} {count}")).collect();
    flamegraph::from_lines(&mut drawing, lines.iter().map(String::as_str), out)
}

/// What all flame graphs have in common.
pub(super) fn drawing<'a>(title: String, subtitle: String, count_name: &str) -> flamegraph::Options<'a> {
    let mut drawing = flamegraph::Options::default();
    drawing.title = title;
    drawing.subtitle = Some(subtitle);
    drawing.count_name = count_name.to_owned();
    drawing.name_type = "Frame:".to_owned();
    drawing.min_width = MIN_WIDTH;
    // The function's name begins a label; its left-most part is what distinguishes frames.
    drawing.text_truncate_direction = TextTruncateDirection::Right;
    drawing.deterministic = true;
    drawing
}

/// What a view shows of which program, on one line.
pub(super) fn title(profile: &Profile, options: &ExportOptions) -> String {
    let mut title = view_title(options).to_owned();
    if let [_, others @ ..] = profile.processes.as_slice() {
        let ProcessInfo { command, pid, .. } = profile.processes[0].as_ref();
        let command: String = one_line(&short_command(command).join(" ")).chars().take(TITLE_CHARS).collect();
        title = format!("{title}: {command} [{pid}]");
        if !others.is_empty() {
            title += &format!(" and {} more", others.len());
        }
    }
    title
}

/// What a view shows, in a few words.
pub(super) fn view_title(options: &ExportOptions) -> &'static str {
    match options.view {
        View::Cpu if options.idle => "On CPU and idle",
        View::Cpu => "On CPU",
        View::Wall => "Wall clock",
        View::GilHold => "Holding the GIL",
        View::GilWait => "Waiting for the GIL",
        View::LockWait => "Waiting for locks",
        View::OffCpu => "Off CPU",
        View::Refcount => "Held up by reference counts",
    }
}

fn subtitle(profile: &Profile, options: &ExportOptions, summary: &ExportSummary) -> String {
    let session = &profile.session;
    let seconds = session.end.since(session.start) as f64 / 1e9;
    let mut text = match options.unit(profile) {
        Unit::Samples => {
            let all = profile.samples();
            format!("{} of {all} samples, {} Hz for {seconds:.1} s", summary.amount, session.rate_hz)
        }
        Unit::Micros => format!("{:.3} s of all threads in {seconds:.1} s", summary.amount as f64 / 1e6),
    };
    if summary.lost > 0 {
        text += &match options.unit(profile) {
            Unit::Samples => format!(", {} of them with an unreadable stack", summary.lost),
            Unit::Micros => format!(", {:.3} s of it with an unreadable stack", summary.lost as f64 / 1e6),
        };
    }
    text
}

/// Inferno draws an error for no input.
fn write_empty(profile: &Profile, options: &ExportOptions, out: &mut impl Write) -> io::Result<()> {
    let (view, all) = (view_title(options), profile.samples());
    let why = crate::report::unavailable(profile).filter(|_| options.view == View::Refcount);
    let why = markup(&why.unwrap_or_else(|| format!("The recording has {all} samples in all.")));
    writeln!(
        out,
        r##"<?xml version="1.0" standalone="no"?>
<svg version="1.1" width="1200" height="90" viewBox="0 0 1200 90" xmlns="http://www.w3.org/2000/svg">
<rect width="100%" height="100%" fill="#f8f8f8"/>
<g font-family="monospace" text-anchor="middle">
<text x="600" y="36" font-size="17">{view}: no samples in this view</text>
<text x="600" y="64" font-size="12">{why}</text>
</g>
</svg>"##
    )
}

/// The hue says whose code it is: red to yellow the program's, green installed packages, yellow-grey the standard
/// library, violet native code, blue markers. Where threads wait nothing is hot: then the program's is blue, packages are
/// turquoise, the standard library is blue-grey, and what is waited for stands out. The shade keeps neighbours apart and
/// depends on the name alone, so that two graphs of one program can be compared.
fn color(view: View, entry: &Entry<'_>, name: &str) -> Color {
    // FNV-1a: stable across runs and machines, which the standard hasher does not promise.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let shade = |shift: u32, base: u8, span: u8| base + ((hash >> shift) % u64::from(span)) as u8;
    let waits = matches!(view, View::GilWait | View::LockWait | View::OffCpu);
    let (r, g, b) = match (waits, entry.origin) {
        (false, Origin::Program) => (shade(8, 215, 40), shade(16, 60, 150), shade(24, 30, 40)),
        (false, Origin::Package) => (shade(8, 110, 40), shade(16, 190, 45), shade(24, 110, 40)),
        (false, Origin::StandardLibrary) => (shade(8, 205, 25), shade(16, 200, 25), shade(24, 130, 40)),
        (_, Origin::Native) => (shade(8, 185, 30), shade(16, 165, 30), shade(24, 205, 35)),
        (false, Origin::Marker) => (shade(8, 130, 30), shade(16, 165, 30), shade(24, 215, 35)),
        (true, Origin::Program) => (shade(8, 90, 60), shade(16, 135, 45), shade(24, 225, 30)),
        (true, Origin::Package) => (shade(8, 95, 40), shade(16, 195, 35), shade(24, 190, 35)),
        (true, Origin::StandardLibrary) => (shade(8, 165, 20), shade(16, 178, 20), shade(24, 200, 25)),
        (true, Origin::Marker) => (shade(8, 225, 30), shade(16, 125, 45), shade(24, 85, 35)),
    };
    Color { r, g, b }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn svg(profile: &Profile, options: &ExportOptions) -> String {
        let mut out = Vec::new();
        write(profile, options, &ExportSummary::of(profile, options), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        fixture::assert_well_formed(&text);
        text
    }

    fn titles(svg: &str) -> Vec<&str> {
        svg.split("<title>").skip(1).map(|rest| rest.split("</title>").next().unwrap()).collect()
    }

    #[test]
    fn every_frame_is_drawn_with_its_share() {
        let options = ExportOptions { view: View::Wall, threads: true, ..ExportOptions::default() };
        let svg = svg(&fixture::profile(), &options);
        let titles = titles(&svg);
        for title in [
            "all (14 samples, 100%)",
            "python app.py [100] (12 samples, 85.71%)",
            "MainThread (100) (6 samples, 42.86%)",
            "#w\\n, 1 (200) (2 samples, 14.29%)",
            "work (pkg/core.py:20) (3 samples, 21.43%)",
            "[waiting for GIL] (2 samples, 14.29%)",
            "[blocked: recvfrom] (2 samples, 14.29%)",
            "&lt;a &amp; &quot;b&quot;, c&gt; é\u{4f60} (&lt;string&gt;:1) (1 samples, 7.14%)",
        ] {
            assert!(titles.contains(&title), "{title} is not among {titles:#?}");
        }
        assert!(svg.contains(">Wall clock: python app.py [100] and 1 more<"));
        assert!(svg.contains(">14 of 14 samples, 100 Hz for 0.0 s, 2 of them with an unreadable stack<"));
    }

    #[test]
    fn measured_time_is_called_so() {
        let mut profile = fixture::profile();
        profile.session.mode = crate::profile::Mode::Kernel;
        let svg = svg(&profile, &ExportOptions { view: View::Wall, ..ExportOptions::default() });
        assert!(titles(&svg).contains(&"all (140,000 us, 100%)"), "{:?}", titles(&svg));
    }

    #[test]
    fn the_same_profile_gives_the_same_picture() {
        let options = ExportOptions::default();
        assert_eq!(svg(&fixture::profile(), &options), svg(&fixture::profile(), &options));
    }

    #[test]
    fn hues_say_whose_code_it_is() {
        let entry = |origin| Entry { name: "f".to_owned(), file: None, line: None, origin };
        let hue = |origin| color(View::Cpu, &entry(origin), "f (x.py:1)");
        let program = hue(Origin::Program);
        assert!(program.r > program.g && program.g > program.b, "{program:?}");
        let package = hue(Origin::Package);
        assert!(package.g > package.r && package.g > package.b, "{package:?}");
        let none = hue(Origin::Marker);
        assert!(none.b > none.g && none.g > none.r, "{none:?}");
        assert_ne!(hue(Origin::Program), color(View::Cpu, &entry(Origin::Program), "g (x.py:1)"));
        let waits = color(View::GilWait, &entry(Origin::Program), "f (x.py:1)");
        assert!(waits.b > waits.g && waits.g > waits.r, "where threads wait nothing is hot: {waits:?}");
    }

    #[test]
    fn an_empty_view_says_so() {
        let mut profile = fixture::profile();
        profile.tree = Default::default();
        let svg = svg(&profile, &ExportOptions { view: View::GilHold, ..ExportOptions::default() });
        assert!(svg.contains("Holding the GIL: no samples in this view"));
        assert!(svg.contains("14 samples in all"));
    }

    #[test]
    fn titles_are_one_short_line() {
        let mut profile = fixture::profile();
        let long = std::sync::Arc::make_mut(&mut profile.processes[0]);
        long.command = vec!["python".to_owned(), "-c".to_owned(), "x\n".repeat(500)];
        let title = title(&profile, &ExportOptions { idle: true, ..ExportOptions::default() });
        assert!(title.starts_with("On CPU and idle: python -c x\\nx\\nx"), "{title}");
        assert!(title.len() < 160 && !title.contains('\n'), "{title}");
    }
}
