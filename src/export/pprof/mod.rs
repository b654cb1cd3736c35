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
use crate::intern::{FrameId, StackId};
use crate::profile::{Mode, Profile};
use crate::sampler::tree::{Key, Weight};

use self::proto::{Function, Label, Line, Location, Mapping, Sample, ValueType};
use super::label::one_line;
use super::view::{NO_PYTHON_FRAME, STACK_UNREADABLE, leaf};
use super::{Options, View};

pub(super) mod proto;

/// All code is in one mapping, which says that there is nothing to look up in it.
const MAPPING: u64 = 1;

/// Writes the view.
pub(super) fn write(profile: &Profile, options: &Options, out: &mut impl Write) -> std::io::Result<()> {
    let mut out = GzEncoder::new(out, Compression::default());
    out.write_all(&of(profile, options).encode_to_vec())?;
    out.finish()?;
    Ok(())
}

fn of(profile: &Profile, options: &Options) -> proto::Profile {
    let mut builder = Builder::new(profile, options);
    for (key, weight) in profile.tree.sorted() {
        if options.shows(key.state) {
            builder.sample(key, weight);
        }
    }
    builder.finish()
}

/// What is counted in a view, and what the time in it is.
fn words(profile: &Profile, options: &Options) -> (&'static str, &'static str) {
    let waits = match profile.session.mode {
        Mode::Kernel => "contentions",
        // How many there were is not known.
        Mode::Memory => "samples",
    };
    match options.view {
        View::Cpu if !options.idle => ("samples", "cpu"),
        View::Cpu | View::Wall => ("samples", "wall"),
        View::GilHold => ("samples", "hold"),
        View::GilWait | View::LockWait => (waits, "delay"),
        View::OffCpu => (if waits == "samples" { waits } else { "waits" }, "delay"),
    }
}

struct Builder<'a> {
    profile: &'a Profile,
    options: &'a Options,
    strings: FxHashMap<String, i64>,
    functions: FxHashMap<(String, String), u64>,
    /// By frame: saves wording it again for every stack it is in.
    frames: FxHashMap<FrameId, u64>,
    /// By function and line.
    locations: FxHashMap<(u64, i64), u64>,
    out: proto::Profile,
}

impl<'a> Builder<'a> {
    fn new(profile: &'a Profile, options: &'a Options) -> Self {
        let mut builder = Builder {
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
        let types = [(count, "count"), (time, "nanoseconds")];
        builder.out.sample_type = types.map(|(r#type, unit)| builder.value_type(r#type, unit)).to_vec();
        builder.out.default_sample_type = builder.string(time);
        builder
    }

    fn string(&mut self, text: &str) -> i64 {
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

    fn sample(&mut self, key: Key, weight: Weight) {
        let ns = (weight.samples as f64 * self.profile.session.period_ns()).round() as u64 + weight.off_cpu_ns;
        let value = vec![(weight.samples + weight.waits) as i64, ns as i64];
        let mut location_id = Vec::new();
        if let Some(leaf) = leaf(self.profile, key.state) {
            location_id.push(self.pseudo(&leaf));
        }
        if key.stack == StackId::EMPTY {
            location_id.push(self.pseudo(if key.lost { STACK_UNREADABLE } else { NO_PYTHON_FRAME }));
        }
        let profile = self.profile;
        location_id.extend(profile.stacks.frames(key.stack).map(|frame| self.frame(frame)));
        let mut roots = Vec::new();
        if self.options.threads {
            roots.push(profile.thread_label(key.thread));
        }
        if profile.processes.len() > 1 {
            roots.push(profile.process_label(profile.threads[key.thread.0 as usize].process));
        }
        location_id.extend(roots.into_iter().map(|root| self.pseudo(&one_line(&root))));
        let label = self.labels(key);
        self.out.sample.push(Sample { location_id, value, label });
    }

    /// Who it was and what for, under the keys that others use, too.
    fn labels(&mut self, key: Key) -> Vec<Label> {
        let profile = self.profile;
        let thread = &profile.threads[key.thread.0 as usize];
        let tid = Label { key: self.string("thread id"), str: 0, num: i64::from(thread.tid) };
        let mut labels = vec![tid];
        let mut text = |builder: &mut Self, name: &str, value: &str| {
            let label = Label { key: builder.string(name), str: builder.string(&one_line(value)), num: 0 };
            labels.push(label);
        };
        let name = thread.name.as_deref().filter(|name| !name.is_empty());
        text(self, "thread name", name.unwrap_or(&profile.thread_label(key.thread)));
        if profile.processes.len() > 1 {
            text(self, "process", &profile.process_label(thread.process));
        }
        text(self, "state", key.state.name());
        if let Some(call) = key.state.syscall() {
            text(self, "system call", &call.to_string());
        }
        match key.state.lock().map(|lock| profile.locks.info(lock)) {
            Some(info) => {
                text(self, "lock name", &info.label());
                text(self, "lock kind", info.kind.name());
            }
            None if key.state == ThreadState::GilWait => {
                text(self, "lock name", "GIL");
                text(self, "lock kind", "gil");
            }
            None => {}
        }
        labels
    }

    fn pseudo(&mut self, name: &str) -> u64 {
        let function = self.function(name, "", 0);
        self.location(function, 0)
    }

    fn frame(&mut self, id: FrameId) -> u64 {
        if let Some(&location) = self.frames.get(&id) {
            return location;
        }
        let stacks = &self.profile.stacks;
        let frame = stacks.get_frame(id);
        let name = one_line(stacks.text(frame.function));
        let function = self.function(&name, stacks.text(frame.file), frame.first_line.into());
        let line = if self.options.functions { frame.first_line } else { frame.line };
        let location = self.location(function, line.into());
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
        let known = Mapping {
            id: MAPPING,
            filename,
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
        };
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
