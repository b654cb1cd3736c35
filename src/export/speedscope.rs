//! JSON for <https://www.speedscope.app>: one evented profile per thread. Called for `.speedscope.json` files.
//!
//! EventedProfile, not sampled, profiles: they can have gaps where a thread is not part of the view. speedscope counts
//! each profile from its own `startValue`, so all have the bounds of the recording and their time axes agree.
//! Threads that the view shows nothing of are left out. All of it is built in memory before it is written: what
//! speedscope can open at all is smaller than the timeline it comes from.

use std::convert::Infallible;
use std::io::Write;

use serde::Serialize;

use crate::event::{Nanos, ThreadId};
use crate::profile::{Profile, Span};

use super::ExportOptions;
use super::flamegraph::title;
use super::frames::{Entry, FrameTable};
use super::slices::{Edge, Visitor, bounds, shown, timeline, walk};
use crate::stack::label::one_line;
use crate::text::json;

/// A file, after `file-format-spec.ts` of speedscope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpeedscopeFile<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: String,
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<EventedProfile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: &'a [Entry<'a>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventedProfile {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    events: Vec<SpeedscopeEvent>,
}

#[derive(Serialize)]
struct SpeedscopeEvent {
    r#type: char,
    frame: u32,
    at: u64,
}

/// Writes the view as a speedscope file.
pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut impl Write) -> anyhow::Result<()> {
    let timeline = timeline(profile)?;
    let bounds = bounds(profile, timeline);
    let mut frames = FrameTable::new(profile, options);
    let mut profiles = Vec::new();
    let (mut longest, mut active_profile_index) = (0, 0);
    for (index, spans) in timeline.iter().enumerate() {
        let thread = ThreadId(index as u32);
        let mut visitor = Events { options, frames: &mut frames, events: Vec::new() };
        let spans = shown(profile, thread, spans);
        let Ok(()) = walk(&spans, &mut visitor);
        let events = visitor.events;
        if events.is_empty() {
            continue;
        }
        let length: u64 = spans.iter().filter(|span| options.shows(span.state)).map(|s| s.end.since(s.start)).sum();
        if length > longest {
            (longest, active_profile_index) = (length, profiles.len());
        }
        profiles.push(evented(name(profile, thread), bounds, events));
    }
    if profiles.is_empty() {
        // speedscope refuses a file without profiles.
        profiles.push(evented("no samples in this view".to_owned(), bounds, Vec::new()));
    }
    let file = SpeedscopeFile {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: concat!("gilscope ", env!("CARGO_PKG_VERSION")),
        name: title(profile, options),
        active_profile_index,
        shared: Shared { frames: frames.entries() },
        profiles,
    };
    Ok(json::to_writer(out, &file)?)
}

fn evented(name: String, (start, end): (Nanos, Nanos), events: Vec<SpeedscopeEvent>) -> EventedProfile {
    EventedProfile { r#type: "evented", name, unit: "nanoseconds", start_value: start.0, end_value: end.0, events }
}

fn name(profile: &Profile, thread: ThreadId) -> String {
    let label = profile.thread_label(thread);
    one_line(&if profile.processes.len() > 1 {
        format!("{label}, {}", profile.process_label(profile.threads[thread.0 as usize].process))
    } else {
        label
    })
}

/// Collects the events of one thread.
struct Events<'t, 'a> {
    options: &'t ExportOptions,
    frames: &'t mut FrameTable<'a>,
    events: Vec<SpeedscopeEvent>,
}

impl Visitor for Events<'_, '_> {
    type Error = Infallible;

    fn fill(&mut self, span: &Span, into: &mut Vec<u32>) {
        if self.options.shows(span.state) {
            self.frames.push_sample(span.state, span.stack, span.lost, into);
        }
    }

    fn edge(&mut self, at: Nanos, edge: Edge) -> Result<(), Infallible> {
        let (r#type, frame) = match edge {
            Edge::Open(frame) => ('O', frame),
            Edge::Close(frame) => ('C', frame),
        };
        self.events.push(SpeedscopeEvent { r#type, frame, at: at.0 });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{View, fixture};
    use super::*;

    fn file(profile: &Profile, options: ExportOptions) -> Value {
        let mut out = Vec::new();
        write(profile, &options, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    /// What speedscope's importer insists on; returns (frame name, opened at, closed at) of every call.
    fn calls(file: &Value, profile: &Value) -> Vec<(String, u64, u64)> {
        let frames = file["shared"]["frames"].as_array().unwrap();
        assert_eq!(profile["type"], "evented");
        assert_eq!(profile["unit"], "nanoseconds");
        let end = profile["endValue"].as_u64().unwrap();
        let (mut last, mut open, mut calls) = (profile["startValue"].as_u64().unwrap(), Vec::new(), Vec::new());
        for event in profile["events"].as_array().unwrap() {
            let (at, frame) = (event["at"].as_u64().unwrap(), event["frame"].as_u64().unwrap() as usize);
            assert!(last <= at && at <= end, "{event}");
            assert!(frame < frames.len(), "{event}");
            last = at;
            if event["type"] == "O" {
                open.push((frame, at));
            } else {
                assert_eq!(event["type"], "C");
                let (opened, since) = open.pop().expect("nothing to close");
                assert_eq!(opened, frame, "closed another frame than the one opened last");
                calls.push((frames[frame]["name"].as_str().unwrap().to_owned(), since, at));
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
        calls
    }

    fn named<'a>(file: &'a Value, name: &str) -> &'a Value {
        let profiles = file["profiles"].as_array().unwrap();
        profiles.iter().find(|profile| profile["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn the_wall_view_is_whole_and_aligned() {
        let file = file(&fixture::profile(), ExportOptions { view: View::Wall, ..ExportOptions::default() });
        assert_eq!(file["profiles"].as_array().unwrap().len(), 3);
        for profile in file["profiles"].as_array().unwrap() {
            assert_eq!(profile["startValue"], 1_000_000_000_u64);
            assert_eq!(profile["endValue"], 1_010_000_000_u64);
            assert!(!calls(&file, profile).is_empty());
        }
        let main = calls(&file, named(&file, "MainThread (100), python app.py [100]"));
        let call = |name: &str, from: u64, to: u64| {
            (name.to_owned(), 1_000_000_000 + from * 1_000_000, 1_000_000_000 + to * 1_000_000)
        };
        assert_eq!(
            main,
            [
                call("work (pkg/core.py:20)", 0, 2),
                call("[native]", 3, 4),
                call("work (pkg/core.py:21)", 2, 4),
                call("[GIL held off CPU: clock_nanosleep]", 4, 5),
                call("work (pkg/core.py:20)", 4, 5),
                call("main (app.py:10)", 0, 5),
                call("[stack unreadable]", 5, 6),
            ]
        );
    }

    #[test]
    fn what_the_view_leaves_out_is_a_gap() {
        let options = ExportOptions { view: View::GilHold, functions: true, ..ExportOptions::default() };
        let file = file(&fixture::profile(), options);
        assert_eq!(file["profiles"].as_array().unwrap().len(), 1, "only one thread held the GIL");
        let main = calls(&file, &file["profiles"][0]);
        let outer: Vec<(u64, u64)> =
            main.iter().filter(|call| call.0.starts_with("main")).map(|call| (call.1, call.2)).collect();
        assert_eq!(outer, [(1_000_000_000, 1_003_000_000), (1_004_000_000, 1_005_000_000)]);
        let work: Vec<&str> = main.iter().map(|call| call.0.as_str()).filter(|name| name.contains("work")).collect();
        assert_eq!(work, ["work (pkg/core.py:20)"; 2], "one frame per function");
    }

    #[test]
    fn frames_say_where_they_are_and_the_busiest_thread_comes_first() {
        let file = file(&fixture::profile(), ExportOptions { view: View::Wall, ..ExportOptions::default() });
        let frames = file["shared"]["frames"].as_array().unwrap();
        let frame = |name: &str| frames.iter().find(|frame| frame["name"] == name).unwrap();
        let work = frame("work (pkg/core.py:21)");
        assert_eq!(work["file"], "/v/lib/python3.12/site-packages/pkg/core.py");
        assert_eq!(work["line"], 21);
        assert_eq!(frame("[waiting for GIL]").as_object().unwrap().len(), 1);
        assert_eq!(frame("<a & \"b\"; c> é\u{4f60} (<string>:1)")["line"], 1);
        let active = file["activeProfileIndex"].as_u64().unwrap() as usize;
        assert_eq!(file["profiles"][active]["name"], "# w\\n; 1 (200), python; x [200]");
    }

    #[test]
    fn a_view_without_samples_is_still_a_file() {
        let file = file(&Profile::default(), ExportOptions::default());
        assert!(calls(&file, &file["profiles"][0]).is_empty());
        assert_eq!(file["profiles"][0]["name"], "no samples in this view");
    }
}
