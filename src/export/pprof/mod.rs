//! A view as a pprof profile, gzipped, for `go tool pprof`, Pyroscope, Parca and the like. Called for `.pb.gz` files.
//!
//! Two values for each stack, first how often, then how long. Where waits were measured these are Go's `contentions`
//! and `delay`, so that what knows Go's mutex profiles knows these.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use rustc_hash::FxHashMap;

use crate::event::ThreadState;
use crate::profile::tree::Weight;
use crate::profile::{Mode, Profile};
use crate::stack::{FrameId, StackId};

use self::proto::{Function, Label, Line, Location, Mapping, Sample, ValueType};
use super::view::{Item, NO_PYTHON_FRAME, STACK_UNREADABLE};
use super::{ExportOptions, View};
use crate::stack::label::{describe, one_line};
use crate::text::shown;

pub(super) mod proto;

/// All code is in one mapping, which says that there is nothing to look up in it.
const MAPPING: u64 = 1;

pub(super) fn write(profile: &Profile, options: &ExportOptions, out: &mut impl Write) -> std::io::Result<()> {
    let mut out = GzEncoder::new(out, Compression::default());
    out.write_all(&of(profile, options).encode_to_vec())?;
    out.finish()?;
    Ok(())
}

fn of(profile: &Profile, options: &ExportOptions) -> proto::Profile {
    let mut builder = PprofBuilder::new(profile, options);
    for item in options.items(profile) {
        builder.sample(&item);
    }
    builder.finish()
}

/// What is counted in a view, and what the time in it is.
fn words(profile: &Profile, options: &ExportOptions) -> (&'static str, Option<&'static str>) {
    let (count, time) = match options.view {
        View::Cpu if !options.idle => ("samples", "cpu"),
        View::Cpu | View::Wall => ("samples", "wall"),
        View::GilHold => ("samples", "hold"),
        View::GilWait | View::LockWait => ("contentions", "delay"),
        View::OffCpu => ("waits", "delay"),
        // They are not of one rate.
        View::Refcount => return ("samples", None),
    };
    // How many waits there were is known where each was measured.
    (if profile.session.mode == Mode::Memory { "samples" } else { count }, Some(time))
}

struct PprofBuilder<'a> {
    profile: &'a Profile,
    options: &'a ExportOptions,
    strings: FxHashMap<String, i64>,
    functions: FxHashMap<(String, String), u64>,
    /// By frame: saves wording it again for every stack it is in.
    frames: FxHashMap<FrameId, u64>,
    /// By function and line.
    locations: FxHashMap<(u64, i64), u64>,
    out: proto::Profile,
}

impl<'a> PprofBuilder<'a> {
    fn new(profile: &'a Profile, options: &'a ExportOptions) -> Self {
        let mut builder = PprofBuilder {
            profile,
            options,
            strings: FxHashMap::default(),
            functions: FxHashMap::default(),
            frames: FxHashMap::default(),
            locations: FxHashMap::default(),
            out: proto::Profile::default(),
        };
        builder.string("");
        let (count, time) = words(profile, options);
        let types = [Some((count, "count")), time.map(|time| (time, "nanoseconds"))];
        builder.out.sample_type =
            types.into_iter().flatten().map(|(r#type, unit)| builder.value_type(r#type, unit)).collect();
        builder.out.default_sample_type = builder.string(time.unwrap_or(count));
        builder
    }

    fn string(&mut self, text: &str) -> i64 {
        let text = &*shown(text);
        if let Some(&index) = self.strings.get(text) {
            return index;
        }
        let index = self.out.string_table.len() as i64;
        self.out.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    fn value_type(&mut self, r#type: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.string(r#type), unit: self.string(unit) }
    }

    fn sample(&mut self, item: &Item) {
        let Weight { samples, off_cpu_ns, waits } = item.weight;
        let mut value = vec![(samples + waits) as i64];
        if self.out.sample_type.len() > 1 {
            value.push((samples as f64 * self.profile.session.period_ns()).round() as i64 + off_cpu_ns as i64);
        }
        let mut location_id: Vec<u64> = item.leaf.iter().map(|leaf| self.marker(leaf)).collect();
        if item.stack == StackId::EMPTY {
            location_id.push(self.marker(if item.lost { STACK_UNREADABLE } else { NO_PYTHON_FRAME }));
        }
        let profile = self.profile;
        location_id.extend(profile.stacks.frames(item.stack).map(|frame| self.frame(frame)));
        let mut roots = Vec::new();
        if self.options.threads {
            roots.push(profile.thread_label(item.thread));
        }
        if profile.processes.len() > 1 {
            roots.push(profile.process_label(profile.threads[item.thread.0 as usize].process));
        }
        location_id.extend(roots.into_iter().map(|root| self.marker(&one_line(&root))));
        let label = self.labels(item);
        self.out.sample.push(Sample { location_id, value, label });
    }

    /// Who it was and what for, under the keys that others use, too.
    fn labels(&mut self, item: &Item) -> Vec<Label> {
        let profile = self.profile;
        let thread = &profile.threads[item.thread.0 as usize];
        let tid = Label { key: self.string("thread id"), str: 0, num: i64::from(thread.tid) };
        let mut labels = vec![tid];
        let mut text = |builder: &mut Self, name: &str, value: &str| {
            let label = Label { key: builder.string(name), str: builder.string(&one_line(value)), num: 0 };
            labels.push(label);
        };
        let name = thread.name.as_deref().filter(|name| !name.is_empty());
        text(self, "thread name", name.unwrap_or(&profile.thread_label(item.thread)));
        if profile.processes.len() > 1 {
            text(self, "process", &profile.process_label(thread.process));
        }
        if let Some(state) = item.state {
            text(self, "state", state.name());
            if let Some(call) = state.syscall() {
                text(self, "system call", &call.to_string());
            }
            if let Some(info) = state.lock().map(|lock| profile.locks.info(lock)) {
                text(self, "lock name", &info.label());
                text(self, "lock kind", info.kind.name());
            }
            if state == ThreadState::GilWait {
                text(self, "lock name", "GIL");
                text(self, "lock kind", "gil");
            }
        }
        labels
    }

    fn marker(&mut self, name: &str) -> u64 {
        let function = self.function(name, "", 0);
        self.location(function, 0)
    }

    fn frame(&mut self, id: FrameId) -> u64 {
        if let Some(&location) = self.frames.get(&id) {
            return location;
        }
        let frame = describe(&self.profile.stacks, id, self.options.functions);
        let first_line = frame.first_line.unwrap_or(0);
        let function = self.function(&frame.function, frame.file.as_deref().unwrap_or(""), first_line.into());
        let location = self.location(function, frame.line.unwrap_or(0).into());
        self.frames.insert(id, location);
        location
    }

    fn function(&mut self, name: &str, file: &str, start_line: i64) -> u64 {
        let next = self.functions.len() as u64 + 1;
        // Two functions of a file can have one name.
        let id = *self.functions.entry((name.to_owned(), format!("{file}:{start_line}"))).or_insert(next);
        if id == next {
            let (name, filename) = (self.string(name), self.string(file));
            self.out.function.push(Function { id, name, system_name: name, filename, start_line });
        }
        id
    }

    fn location(&mut self, function_id: u64, line: i64) -> u64 {
        let next = self.locations.len() as u64 + 1;
        let id = *self.locations.entry((function_id, line)).or_insert(next);
        if id == next {
            let line = vec![Line { function_id, line }];
            self.out.location.push(Location { id, mapping_id: MAPPING, line });
        }
        id
    }

    fn finish(mut self) -> proto::Profile {
        let session = &self.profile.session;
        let command = self.profile.processes.first().map(|info| one_line(&info.command.join(" ")));
        let filename = self.string(&command.unwrap_or_default());
        let known =
            Mapping { id: MAPPING, filename, has_functions: true, has_filenames: true, has_line_numbers: true };
        self.out.mapping.push(known);
        self.out.time_nanos = session.started_unix_ns as i64;
        self.out.duration_nanos = session.end.since(session.start) as i64;
        // Of what was sampled; waits were all seen.
        self.out.period = session.period_ns() as i64;
        self.out.period_type = Some(match session.mode {
            Mode::Kernel => self.value_type("cpu", "nanoseconds"),
            Mode::Memory => self.value_type("wall", "nanoseconds"),
        });
        let mut comments = vec![format!("gilscope {}", env!("CARGO_PKG_VERSION"))];
        comments.extend(session.degraded.iter().cloned());
        self.out.comment = comments.iter().map(|comment| self.string(comment)).collect();
        self.out
    }
}

#[cfg(test)]
mod tests;
