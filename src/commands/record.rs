//! `gilscope record`: records a program into a file. Called by `main`.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::commands::check::Checks;
use crate::commands::cli::RecordArgs;
use crate::commands::launch::{self, PreparedRecording};
use crate::commands::progress::ProgressLine;
use crate::commands::text_style::bold;
use crate::commands::waiting::WaitingLine;
use crate::export::kind::OutputKind;
use crate::export::{self, ExportSummary, Format};
use crate::output::{Output, remove_unfinished, say, say_error};
use crate::process::watchdog::before_giving_up;
use crate::profile::{Mode, Profile};
use crate::recording::{Recorder, RecordingOrigin};
use crate::report::Report;
use crate::report::text::{brief, text};
use crate::session::launch::Child;
use crate::session::signals::{Received, Signals};
use crate::session::{self, RecordingEnd};
use crate::text::Shown;

/// Runs the command. Returns the exit code: that of the launched program, if there is one.
pub fn run(args: &RecordArgs) -> Result<u8> {
    let running = launch::running("record", &args.collect)?;
    let signals = launch::signals()?;
    let unnamed = PathBuf::from(format!("gilscope-{}.gscope", std::process::id()));
    let path = args.output.as_ref().unwrap_or(&unnamed);
    let kind = OutputKind::of(path, args.format)?;
    let checks = args.check.as_deref().map(Checks::read).transpose()?;
    if checks.is_some() && !matches!(kind, OutputKind::Recording) {
        bail!("--check needs a recording: let -o name a file that ends in .gscope, and export that later");
    }
    // Before the recording, so that a path that cannot be written to costs no recording.
    let output = match kind {
        OutputKind::Recording => Output::create_live(path)?,
        OutputKind::Export(_) => Output::create(path, &[])?,
    };
    if let Some(part) = output.until_complete().filter(|_| !args.quiet) {
        say(format_args!(
            "{} is replaced when the recording is complete; until then it is in {}",
            path.shown(),
            part.shown()
        ));
    }
    let options = options(args, kind);
    if let (OutputKind::Export(_), Some(unfinished)) = (kind, output.unfinished()) {
        before_giving_up(move || remove_unfinished(&unfinished).err().map(|error| error.to_string()));
    }
    let prepared = match launch::prepare(&args.collect, &options, running, signals, Child::launch) {
        Ok(prepared) => prepared,
        Err(error) => {
            output.discard();
            return Err(error);
        }
    };
    let PreparedRecording { collector, mut child, roots, mut signals } = prepared;
    let mut destination = match kind {
        OutputKind::Recording => {
            RecordingOutput::Stream(Box::new(Recorder::new(output, args.output.is_some(), &origin(args))?))
        }
        OutputKind::Export(format) => RecordingOutput::AtTheEnd(output, format),
    };
    let recorder = match &mut destination {
        RecordingOutput::Stream(recorder) => Some(&mut **recorder),
        RecordingOutput::AtTheEnd(..) => None,
    };
    let mut progress = ProgressLine::new(!args.quiet);
    let recorded =
        session::record(&options, collector, recorder, &roots, child.as_mut(), &mut signals, &mut progress);
    // Removes its line from the terminal.
    drop(progress);
    let (profile, end) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            destination.discard();
            if let Some(mut child) = child {
                // It was started only for the recording.
                child.signal(nix::sys::signal::Signal::SIGTERM);
            }
            return Err(error.into());
        }
    };
    let waiting = (!args.quiet).then(|| WaitingLine::new("writing what was recorded".to_owned()));
    let written = destination.finish(&profile, &args.view.options());
    drop(waiting);
    if !args.quiet {
        report(args, &profile, written.as_ref().ok());
    }
    let file = written.as_ref().ok().map(|written| written.path.clone());
    let check = |code| match (&checks, &file) {
        (Some(checks), Some(path)) => checked(checks, path, code, args.quiet),
        _ => code,
    };
    let written = match written {
        Ok(_) => None,
        // The program continues, even if the recording is lost.
        Err(error) if child.is_some() => {
            say_error(&error);
            Some(1)
        }
        Err(error) => return Err(error),
    };
    let Some(mut child) = child else { return Ok(check(0)) };
    if child.try_wait().is_none() && !args.quiet {
        let how = match end {
            RecordingEnd::Duration | RecordingEnd::Unwritable => {
                "the program continues; gilscope waits for its exit code (Ctrl-C: do not wait)"
            }
            _ => "waiting for the program to exit (Ctrl-C again: do not wait)",
        };
        say(how);
    }
    let code = wait(&mut child, &mut signals)?;
    Ok(check(written.unwrap_or(code)))
}

/// Checks what was recorded. Returns the exit code: that of the program, unless it succeeded.
fn checked(checks: &Checks, path: &Path, code: u8, quiet: bool) -> u8 {
    let checked = match checks.run(&[path.to_owned()]) {
        Ok(result) => {
            let checked = result.exit_code();
            if !quiet || checked != 0 {
                say(format_args!("\n{}", result.text().trim_end()));
            }
            checked
        }
        Err(error) => {
            say(format_args!("gilscope: {error:#}"));
            1
        }
    };
    if code == 0 { checked } else { code }
}

fn options(args: &RecordArgs, kind: OutputKind) -> session::RecordingOptions {
    session::RecordingOptions {
        duration: args.duration.map(Duration::from_secs_f64),
        // A recording contains all events; the profile beside it is only for the report.
        timeline: matches!(kind, OutputKind::Export(format) if format.needs_timeline()),
        ..args.collect.options()
    }
}

fn origin(args: &RecordArgs) -> RecordingOrigin {
    RecordingOrigin {
        gilscope: env!("CARGO_PKG_VERSION").to_owned(),
        boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        clock_offset_ns: session::clock_offset_ns(),
        min_wait_ns: args.collect.min_wait.as_nanos() as u64,
    }
}

/// The destination of what is recorded.
enum RecordingOutput {
    /// As a recording, event by event.
    Stream(Box<Recorder>),
    /// As an export, at the end.
    AtTheEnd(Output, Format),
}

struct WrittenOutput {
    path: PathBuf,
    /// What an export contains.
    exported: Option<(Format, ExportSummary)>,
}

impl RecordingOutput {
    fn finish(self, profile: &Profile, view: &export::ExportOptions) -> Result<WrittenOutput> {
        match self {
            RecordingOutput::Stream(recorder) => {
                Ok(WrittenOutput { path: recorder.finish(&profile.session)?, exported: None })
            }
            RecordingOutput::AtTheEnd(output, format) => {
                let (path, summary) = crate::commands::export::write_or_save(output, profile, format, view)?;
                Ok(WrittenOutput { path, exported: Some((format, summary)) })
            }
        }
    }

    fn discard(self) {
        match self {
            RecordingOutput::Stream(recorder) => recorder.discard(),
            RecordingOutput::AtTheEnd(output, _) => output.discard(),
        }
    }
}

/// Waits until the launched program exits, or a signal ends the waiting.
fn wait(child: &mut Child, signals: &mut Signals) -> Result<u8> {
    loop {
        // A process that has been waited for cannot be opened any more.
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

/// Prints what was recorded, with what losses, and where it is.
fn report(args: &RecordArgs, profile: &Profile, written: Option<&WrittenOutput>) {
    let session = &profile.session;
    let seconds = session.end.since(session.start) as f64 / 1e9;
    let mut lines = String::new();
    let mut line = |words: String| {
        lines.push_str(&words);
        lines.push('\n');
    };
    for info in &profile.processes {
        let flavour = if info.free_threaded { ", free-threaded" } else { "" };
        let command = crate::stack::label::one_line(&info.command.join(" "));
        line(format!("process {}: {command} (Python {}{flavour})", info.pid, info.python));
    }
    let (samples, threads) = (profile.samples(), profile.thread_count());
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
            "stacks that changed too fast were read with their thread stopped: {} times, {:.0} us each on average, {:.3} s in all",
            session.stops,
            session.stopped_ns as f64 / 1e3 / session.stops as f64,
            session.stopped_ns as f64 / 1e9,
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
    let nothing = profile.samples() == 0 && session.waits == 0;
    if nothing {
        line("no samples: the program ended too soon. A higher rate (-r 1000) may help".to_owned());
    }
    if let Some(WrittenOutput { path, exported }) = written {
        if let Some((format, summary)) = exported.as_ref().filter(|_| !nothing) {
            crate::commands::export::amount(profile, *format, &args.view, summary).into_iter().for_each(&mut line);
        }
        line(format!("written to {}", path.shown()));
    }
    let report = Report::of(profile, args.view.blame);
    let bold = bold(args.style.color, stderr().is_terminal());
    // Nothing is lost if nothing could be written.
    let answer = if written.is_some() { brief(&report, bold) } else { text(&report, args.view.blame, bold) };
    if !answer.is_empty() {
        lines.push('\n');
        lines.push_str(&answer);
        lines.push_str(&where_the_rest_is(written));
    }
    say(lines.trim_end_matches('\n'));
}

/// How to see the tables of what was recorded.
fn where_the_rest_is(written: Option<&WrittenOutput>) -> String {
    match written {
        Some(WrittenOutput { path, exported: None }) => format!(
            "\nTables of threads, GIL and locks: gilscope report {0}\nAs a page: gilscope export {0} -o {1}\n",
            path.shown(),
            path.with_extension("html").shown(),
        ),
        Some(WrittenOutput { path, exported: Some((format, _)) }) if *format == Format::REPORT => {
            format!("\nTables of threads, GIL and locks: gilscope report {}\n", path.shown())
        }
        Some(WrittenOutput { exported: Some((format, _)), .. }) if format.has_all() => String::new(),
        Some(_) => {
            "\nFor tables of threads, GIL and locks record into a .gscope file: it can be exported later, too.\n"
                .to_owned()
        }
        None => String::new(),
    }
}
