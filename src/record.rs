//! `gilscope record`: records a program and writes what was seen. Called by `main`.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::{self, RecordArgs};
use crate::export::{self, Format, Summary, Unit, View};
use crate::output::Output;
use crate::profile::{Mode, Profile};
use crate::report::Report;
use crate::report::text::text;
use crate::report_command::bold;
use crate::sampler::Stopping;
use crate::session::launch::Child;
use crate::session::signals::{Received, Signals};
use crate::session::{self, End};

/// Runs the command. Returns the exit code: that of the launched program, if there is one.
pub fn run(args: &RecordArgs) -> Result<u8> {
    let format = format(args)?;
    // Before the recording rather than after it: a path that cannot be written to costs nothing then.
    let mut output = args.output.as_deref().map(Output::create).transpose()?;
    let options = session::Options {
        rate: args.rate,
        duration: args.duration.map(Duration::from_secs_f64),
        subprocesses: args.subprocesses,
        mode: match args.mode {
            cli::Mode::Auto => None,
            cli::Mode::Kernel => Some(Mode::Kernel),
            cli::Mode::Memory => Some(Mode::Memory),
        },
        min_wait: Duration::from_nanos((args.min_wait * 1e3) as u64),
        stopping: match (args.blocking, args.nonblocking) {
            (true, _) => Stopping::Always,
            (_, true) => Stopping::Never,
            _ => Stopping::WhenNeeded,
        },
        progress: !args.quiet,
        timeline: format.needs_timeline(),
    };
    let signals = || Signals::new().context("cannot set up signal handling");
    // A program to be launched is to have the signal mask it would have had; else there is no reason to wait.
    let early = if args.pid.is_some() { Some(signals()?) } else { None };
    // Before the launch: loading takes longer than a program needs to get going.
    let (kernel, degraded) = match session::collector(&options) {
        Ok(collector) => collector,
        Err(error) => {
            if let Some(output) = output.take() {
                output.discard();
            }
            return Err(error.into());
        }
    };
    let mut child = match args.program.as_slice() {
        [] => None,
        program => Some(Child::launch(program).inspect_err(|_| {
            if let Some(output) = output.take() {
                output.discard();
            }
        })?),
    };
    // After the launch: the program keeps the limits it would have had, too.
    let mut signals = early.map_or_else(signals, Ok)?;
    raise_descriptor_limit();
    let root = match (&child, args.pid) {
        (Some(child), _) => child.pid(),
        (None, Some(pid)) => pid,
        (None, None) => bail!("neither a process nor a command was given"),
    };
    let (mut profile, end) = match session::record(&options, kernel, root, child.as_mut(), &mut signals) {
        Ok(recorded) => recorded,
        Err(error) => {
            if let Some(output) = output {
                output.discard();
            }
            if let Some(mut child) = child {
                // It was only started to be recorded.
                child.signal(nix::sys::signal::Signal::SIGTERM);
            }
            return Err(error.into());
        }
    };
    profile.session.degraded.extend(degraded);
    let name = program_name(&profile);
    let output = match output.take() {
        Some(output) => output,
        None => Output::create(Path::new(&format!("gilscope-{name}-{root}.svg")))?,
    };
    let view = export::Options {
        view: args.view,
        threads: args.threads,
        idle: args.idle,
        functions: args.functions,
        blame: args.blame,
    };
    let mut summary = Summary::default();
    let written = output.write(|out| {
        summary = export::write(&profile, format, &view, out)?;
        Ok(())
    })?;
    if !args.quiet {
        report(args, format, &profile, &view, &summary, &written);
    }
    let Some(mut child) = child else { return Ok(0) };
    if child.try_wait().is_none() && !args.quiet {
        let how = match end {
            End::Duration => {
                "the program goes on; gilscope waits for it to pass on its exit code (Ctrl-C: do not wait)"
            }
            _ => "waiting for the program to end (Ctrl-C again: do not wait)",
        };
        eprintln!("{how}");
    }
    wait(&mut child, &mut signals)
}

/// Waits for the launched program, unless told not to.
fn wait(child: &mut Child, signals: &mut Signals) -> Result<u8> {
    loop {
        // Once it has been waited for, there is no process to open any more.
        if let Some(status) = child.try_wait() {
            return Ok(session::launch::exit_code(status));
        }
        let pidfd = session::launch::pidfd(child.pid()).context("cannot wait for the program")?;
        match signals.wait(&pidfd) {
            Some(Received::Stop { signal, .. }) => return Ok(128 + signal as u8),
            Some(Received::Child) | None => {}
        }
    }
}

/// Says what was recorded, how well, and where it is.
fn report(
    args: &RecordArgs,
    format: Format,
    profile: &Profile,
    view: &export::Options,
    summary: &Summary,
    written: &Path,
) {
    let session = &profile.session;
    let seconds = session.end.since(session.start) as f64 / 1e9;
    let mut lines = String::new();
    let mut line = |words: String| {
        lines.push_str(&words);
        lines.push('\n');
    };
    for info in &profile.processes {
        let flavour = if info.free_threaded { ", free-threaded" } else { "" };
        let command = crate::export::label::one_line(&info.command.join(" "));
        line(format!("process {}: {command} (Python {}{flavour})", info.pid, info.python));
    }
    let (samples, threads) = (profile.samples(), profile.threads.len());
    let used = session.profiler_cpu_ns as f64 / 1e7 / seconds.max(1e-9);
    line(match session.mode {
        Mode::Kernel => format!(
            "kernel mode: {threads} threads for {seconds:.1} s, {samples} samples of them on the CPU at {} Hz, {} of \
             their waits; {} records lost; gilscope used {used:.1} % of a CPU",
            session.rate_hz, session.waits, session.records_lost
        ),
        Mode::Memory => format!(
            "memory mode: {samples} samples of {threads} threads in {seconds:.1} s: {:.1} Hz ({} of {} ticks late); \
             gilscope used {used:.1} % of a CPU",
            session.ticks as f64 / seconds.max(1e-9),
            session.late_ticks,
            session.ticks,
        ),
    });
    if session.stops > 0 {
        line(format!(
            "stacks that moved too fast were read with their thread stopped: {} times, {:.0} us each on average",
            session.stops,
            session.stopped_ns as f64 / 1e3 / session.stops as f64,
        ));
    }
    if profile.lost() > 0 {
        line(format!("{} samples have no stack ([stack unreadable]), those of:", profile.lost()));
        for (index, thread) in profile.threads.iter().enumerate().filter(|(_, thread)| thread.lost > 0).take(10) {
            let label = profile.thread_label(crate::event::ThreadId(index as u32));
            line(format!("  {label}: {} of {}", thread.lost, thread.samples));
        }
    }
    for degraded in &session.degraded {
        line(format!("note: {degraded}"));
    }
    if format.has_all() {
        // They have it all.
    } else if summary.amount == 0 {
        line(match profile.samples() {
            0 => "no samples: the program ended too soon. A higher rate (-r 1000) may help".to_owned(),
            _ if args.view == View::Refcount => {
                let why = crate::report::unavailable(profile);
                why.unwrap_or_else(|| {
                    "no thread was held up by the reference count of an object that others use".to_owned()
                })
            }
            _ => "no samples in this view: no thread was seen in it. Try --view wall".to_owned(),
        });
    } else {
        line(match view.unit(profile) {
            Unit::Samples => format!("{} samples are in the view ({})", summary.amount, view_name(args)),
            Unit::Micros => {
                format!("{:.3} s of thread time are in the view ({})", summary.amount as f64 / 1e6, view_name(args))
            }
        });
    }
    if summary.merged.slices > 0 {
        line(summary.merged.to_string());
    }
    for note in &summary.notes {
        line(format!("note: {note}"));
    }
    line(format!("written to {}", written.display()));
    let tables = text(&Report::of(profile, args.blame), args.blame, bold(args.color, stderr().is_terminal()));
    if !tables.is_empty() {
        lines.push('\n');
        lines.push_str(&tables);
    }
    let _ = stderr().write_all(lines.as_bytes());
}

fn view_name(args: &RecordArgs) -> String {
    use clap::ValueEnum;
    let name = args.view.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    if args.idle { format!("{name}, with idle threads") } else { name }
}

/// The format asked for, by name or by the suffix of the output.
fn format(args: &RecordArgs) -> Result<Format> {
    let Some(path) = &args.output else { return Ok(args.format.unwrap_or(Format::Svg)) };
    match args.format.or_else(|| Format::from_path(path)) {
        Some(format) => Ok(format),
        None if path == Path::new("-") && std::io::stdout().is_terminal() => {
            bail!(
                "say which --format to print (collapsed, speedscope, chrome, perfetto, firefox, pprof, svg, report, html)"
            )
        }
        None if path == Path::new("-") => Ok(Format::Collapsed),
        None => bail!(
            "the name {} does not say which format to write: end it in .html, .svg, .collapsed, .txt, \
             .speedscope.json, .json, .pftrace, .firefox.json, .pb.gz or .report.json, or give --format",
            path.display()
        ),
    }
}

/// A word for the default output's name.
fn program_name(profile: &Profile) -> String {
    let command = profile.processes.first().map(|info| info.command.as_slice()).unwrap_or_default();
    let script = command.iter().skip(1).find(|word| !word.starts_with('-')).or(command.first());
    let stem = script.map(PathBuf::from).and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let name: String =
        stem.unwrap_or_default().chars().filter(|c| c.is_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "python".to_owned() } else { name.chars().take(40).collect() }
}

/// Two files are kept open for every thread.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Without it, files of many threads are opened again for every look.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
