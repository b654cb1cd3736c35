//! A profile for <https://profiler.firefox.com>. Called for `.firefox.json` files.
//!
//! The Firefox Profiler wants samples at a steady rate, so that is what it gets: at every period, what each thread was
//! doing, on the CPU or off it, and how much CPU time it had since the last one. What samples miss, markers show: every
//! wait for the GIL or a lock and every stop, with its stack and who held it meanwhile.

use std::io::Write;
use std::time::Duration;

use fxprof_processed_profile as fx;
use fxprof_processed_profile::{CategoryColor, CategoryHandle, CpuDelta, StackHandle, ThreadHandle, Timestamp};
use rustc_hash::FxHashMap;

use crate::event::{ACTIVITIES, ACTIVITY_COUNT, Activity, ActivityColor, Nanos, ProcessId, ThreadState};
use crate::profile::{Profile, Span};
use crate::stack::StackId;

use self::markers::WaitMarker;
use super::coarse::MergedSlices;
use super::flamegraph::title;
use super::frames::FrameTable;
use super::slices::lengths;
use super::tracks::{Detail, StateSlice, Tracks};
use super::{ExportOptions, View};
use crate::stack::label::one_line;
use crate::text::json;

mod markers;

/// More markers are merged.
const MAX_MARKERS: u64 = 500_000;
/// Longer recordings have this many samples, further apart.
const MAX_SAMPLES: u64 = 2_000_000;

/// Writes all of the timeline.
pub(super) fn write(
    profile: &Profile,
    options: &ExportOptions,
    out: &mut impl Write,
) -> anyhow::Result<MergedSlices> {
    let tracks = Tracks::new(profile, MAX_MARKERS)?;
    json::to_writer(out, &build(profile, &tracks, options, MAX_SAMPLES))?;
    Ok(tracks.merged)
}

fn build(profile: &Profile, tracks: &Tracks<'_>, options: &ExportOptions, most: u64) -> fx::Profile {
    let session = &profile.session;
    let threads = profile.threads.iter();
    let observed: u64 = threads.map(|thread| thread.end.since(thread.start)).sum();
    let interval = (session.period_ns() as u64).max(observed / most).max(1);
    let started =
        fx::ReferenceTimestamp::from_duration_since_unix_epoch(Duration::from_nanos(session.started_unix_ns));
    // It has all threads all the time, whatever the view.
    let title = title(profile, &ExportOptions { view: View::Wall, ..options.clone() });
    let mut file = fx::Profile::new(&title, started, fx::SamplingInterval::from_nanos(interval));
    file.set_os_name("Linux");
    // Frames have their names; there is nothing to be looked up.
    file.set_symbolicated(true);
    let categories = Categories::new(&mut file);
    let processes: Vec<fx::ProcessHandle> = profile
        .processes
        .iter()
        .enumerate()
        .map(|(index, info)| {
            let name = one_line(&profile.process_label(ProcessId(index as u32)));
            file.add_process(&name, info.pid as u32, Timestamp::from_nanos_since_reference(0))
        })
        .collect();
    let mut frames = FrameTable::new(profile, options);
    for (thread, tid, _) in tracks.threads() {
        let info = &profile.threads[thread.0 as usize];
        let start = Timestamp::from_nanos_since_reference(info.start.since(tracks.origin));
        let is_main = tid == profile.process_of(thread).pid;
        let handle = file.add_thread(processes[info.process.0 as usize], tid as u32, start, is_main);
        file.set_thread_name(
            handle,
            &one_line(&info.name.as_deref().map_or_else(|| format!("thread {tid}"), str::to_owned)),
        );
        file.set_thread_end_time(handle, Timestamp::from_nanos_since_reference(info.end.since(tracks.origin)));
        file.set_thread_show_markers_in_timeline(handle, true);
        let mut writer = ThreadWriter {
            file: &mut file,
            handle,
            categories: &categories,
            frames: &mut frames,
            stacks: FxHashMap::default(),
            origin: tracks.origin,
        };
        writer.samples(&tracks.spans(thread), interval);
        for slice in tracks.states[thread.0 as usize].iter().filter(|slice| has_marker(slice)) {
            writer.marker(slice, tracks.details(info.process, slice));
        }
    }
    file
}

/// Whether a slice is worth a marker: others are in the samples.
fn has_marker(slice: &StateSlice) -> bool {
    use ThreadState::{GilHeldOffCpu, GilWait, LockWait, Paused};
    slice.many.is_some() || matches!(slice.span.state, GilWait | LockWait(_) | Paused(_) | GilHeldOffCpu(_))
}

/// A category for each activity: what colours say.
struct Categories([CategoryHandle; ACTIVITY_COUNT]);

impl Categories {
    fn new(file: &mut fx::Profile) -> Categories {
        let mut handles = [CategoryHandle::OTHER; ACTIVITY_COUNT];
        let known = ACTIVITIES.iter().filter(|row| row.activity != Activity::Unknown);
        for row in known {
            let same_name = ACTIVITIES[..row.activity as usize].iter().find(|other| other.name == row.name);
            handles[row.activity as usize] = match same_name {
                Some(other) => handles[other.activity as usize],
                None => file.add_category(row.name, category_color(row.color)),
            };
        }
        Categories(handles)
    }

    fn of(&self, activity: Activity) -> CategoryHandle {
        self.0[activity as usize]
    }
}

fn category_color(color: ActivityColor) -> CategoryColor {
    match color {
        ActivityColor::Green => CategoryColor::Green,
        ActivityColor::Magenta => CategoryColor::Magenta,
        ActivityColor::Red => CategoryColor::Red,
        ActivityColor::Orange => CategoryColor::Orange,
        ActivityColor::Blue => CategoryColor::Blue,
        ActivityColor::Purple => CategoryColor::Purple,
        ActivityColor::Brown => CategoryColor::Brown,
        // Idle threads take no ink.
        ActivityColor::Grey => CategoryColor::Transparent,
    }
}

/// Adds what one thread did.
struct ThreadWriter<'w, 'a> {
    file: &'w mut fx::Profile,
    handle: ThreadHandle,
    categories: &'w Categories,
    frames: &'w mut FrameTable<'a>,
    stacks: FxHashMap<(StackId, ThreadState, bool), Option<StackHandle>>,
    origin: Nanos,
}

impl ThreadWriter<'_, '_> {
    fn time(&self, at: Nanos) -> Timestamp {
        Timestamp::from_nanos_since_reference(at.since(self.origin))
    }

    /// What it did at every multiple of `interval`, in nanoseconds.
    fn samples(&mut self, spans: &[Span], interval: u64) {
        let (mut last_end, mut cpu) = (Nanos::default(), 0);
        for span in lengths(spans) {
            if span.start > last_end {
                cpu = 0;
            }
            let mut from = span.start;
            let ticks = span.start.since(self.origin).div_ceil(interval);
            let next = self.origin.0.saturating_add(ticks.saturating_mul(interval));
            for at in (next..span.end.0).step_by(interval as usize).map(Nanos) {
                cpu += if span.state.on_cpu() { at.since(from) } else { 0 };
                let stack = self.stack(&span);
                self.file.add_sample(self.handle, self.time(at), stack, CpuDelta::from_nanos(cpu.min(interval)), 1);
                (from, cpu) = (at, 0);
            }
            cpu += if span.state.on_cpu() { span.end.since(from) } else { 0 };
            last_end = span.end;
        }
    }

    fn marker(&mut self, slice: &StateSlice, details: Vec<(&'static str, Detail)>) {
        let name = self.file.intern_string(slice.name());
        let mut wait =
            WaitMarker::new(name, self.categories.of(slice.span.state.activity()), self.file.intern_string(""));
        for (key, detail) in details {
            let text = match detail {
                Detail::Name(text) | Detail::Text(text) => text,
                Detail::Number(number) => number.to_string(),
            };
            wait.set(key, self.file.intern_string(&text));
        }
        let timing = fx::MarkerTiming::Interval(self.time(slice.span.start), self.time(slice.span.end));
        let marker = self.file.add_marker(self.handle, timing, wait);
        if slice.stack().is_some() {
            let stack = self.stack(&slice.span);
            self.file.set_marker_stack(self.handle, marker, stack);
        }
    }

    fn stack(&mut self, span: &Span) -> Option<StackHandle> {
        let key = (span.stack, span.state, span.lost);
        if let Some(&stack) = self.stacks.get(&key) {
            return stack;
        }
        let mut frames = Vec::new();
        self.frames.push_sample(span.state, span.stack, span.lost, &mut frames);
        let python = self.categories.of(Activity::GilHeld);
        let mut handle = None;
        for (index, &frame) in frames.iter().enumerate() {
            let entry = &self.frames.entries()[frame as usize];
            let is_leaf = index + 1 == frames.len();
            let category = if is_leaf { self.categories.of(span.state.activity()) } else { python };
            let label = self.file.intern_string(&entry.name);
            let info = fx::FrameInfo {
                frame: fx::Frame::Label(label),
                category_pair: category.into(),
                flags: fx::FrameFlags::empty(),
            };
            let frame = self.file.intern_frame(self.handle, info);
            handle = Some(self.file.intern_stack(self.handle, handle, frame));
        }
        self.stacks.insert(key, handle);
        handle
    }
}

#[cfg(test)]
mod tests;
