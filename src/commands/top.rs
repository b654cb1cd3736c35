//! `gilscope top`: shows a program's threads, GIL and locks while it runs. Called by `main`.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};
use nix::sys::signal::{SigSet, Signal};

use crate::commands::cli::TopArgs;
use crate::commands::launch::{self, PreparedRecording};
use crate::commands::text_style::bold;
use crate::output::{ProgramLog, print, say};
use crate::profile::Profile;
use crate::report::Report;
use crate::report::text::summary;
use crate::session::launch::{Child, exit_code};
use crate::session::{self, RecordingEnd};
use crate::snapshot::Snapshot;
use crate::text::Shown;
use crate::tui::{self, LiveView, ViewOptions, ViewTarget};

const SCREEN_INTERVAL_S: f64 = 0.5;
const TABLES_INTERVAL_S: f64 = 2.0;

/// Runs the command. Returns the exit code: that of the launched program if it has ended by itself, else 0.
///
/// # Errors
/// As those of `record`: there is nothing to observe, or no way to; and the terminal may be gone.
pub fn run(args: &TopArgs) -> Result<u8> {
    let view = view_options(args);
    let is_screen = matches!(view.target, ViewTarget::Screen { .. });
    let options = args.collect.options();
    let mut log = None;
    let launch = |program: &[OsString], mask: SigSet| {
        let (child, path) = launch_with_log(program, mask, args.log.as_deref())?;
        log = Some(path);
        Ok(child)
    };
    let running = launch::running("top", &args.collect)?;
    let signals = launch::signals()?;
    let prepared = launch::prepare(&args.collect, &options, running, signals, launch)?;
    let PreparedRecording { collector, mut child, roots, mut signals } = prepared;
    if is_screen {
        // Before there is a second thread: one that does not hold them back would stop them all.
        tui::hold_stops().context("cannot set up signal handling")?;
    }
    let mut view = LiveView::new(view)?;
    let recorded = session::record(&options, collector, None, &roots, child.as_mut(), &mut signals, view.observer());
    let (profile, end) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            // The error of the recording matters more than one of the screen.
            let _ = view.quit(&mut signals);
            if let Some(child) = &mut child {
                child.signal(Signal::SIGTERM);
            }
            if let Some(log) = &log {
                say(format_args!("the output of the program is in {}", log.shown()));
            }
            return Err(error.into());
        }
    };
    let (closed, code) = match end {
        RecordingEnd::TargetExited => {
            let last = Snapshot::of(profile.session.end, &profile, &[]);
            let code = child.as_mut().and_then(Child::try_wait).map(exit_code);
            (view.stay(last, farewell(&profile, code), &mut signals), code.unwrap_or(0))
        }
        RecordingEnd::Duration | RecordingEnd::Signal | RecordingEnd::Observer | RecordingEnd::Unwritable => {
            (view.quit(&mut signals), 0)
        }
    };
    if is_screen && closed.is_ok() {
        let report = Report::of(&profile, args.blame);
        print(&summary(&report, bold(args.color, stdout().is_terminal())))?;
    }
    if let (Some(child), Some(log)) = (&mut child, &log) {
        leave(child, log);
    }
    closed.map(|()| code)
}

fn view_options(args: &TopArgs) -> ViewOptions {
    let (target, default_interval_s) = match args.batch || args.count.is_some() || !can_show_screen() {
        true => (ViewTarget::Tables { count: args.count }, TABLES_INTERVAL_S),
        false => (ViewTarget::Screen { mouse: !args.no_mouse }, SCREEN_INTERVAL_S),
    };
    ViewOptions {
        target,
        blame: args.blame,
        interval_ms: (args.interval.unwrap_or(default_interval_s) * 1e3) as u64,
        color: bold(args.color, stdout().is_terminal()),
        ascii: args.ascii || !has_unicode(),
    }
}

/// Runs the program, its output in a file. Returns the path of that, too.
fn launch_with_log(program: &[OsString], mask: SigSet, path: Option<&Path>) -> Result<(Child, PathBuf)> {
    let name = program.first().map_or(OsStr::new(""), OsString::as_os_str);
    let log = ProgramLog::create(name, path)?;
    let launched = log.file().map_err(Error::from).and_then(|file| Child::launch_into(program, mask, file));
    match launched {
        Ok(child) => Ok((child, log.keep()?)),
        Err(error) => {
            log.discard();
            Err(error)
        }
    }
}

/// Ends the launched program, if it still runs: without its screen it has no output that anybody sees.
fn leave(child: &mut Child, log: &Path) {
    if child.try_wait().is_none() {
        child.signal(Signal::SIGTERM);
        say("the program was still running: it was sent SIGTERM");
    }
    say(format_args!("the output of the program is in {}", log.shown()));
}

/// The line on the screen of a program that has ended, with this exit code if that is known.
fn farewell(profile: &Profile, code: Option<u8>) -> String {
    let pid = profile.processes.first().map_or(0, |info| info.pid);
    let how = code.map_or_else(String::new, |code| format!(" with exit code {code}"));
    format!("PROCESS {pid} EXITED{how}: this is its last state. q quits.")
}

/// There is a terminal that can do more than print lines.
fn can_show_screen() -> bool {
    let term = std::env::var_os("TERM");
    stdout().is_terminal() && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// The locale says that the terminal shows more than ASCII.
fn has_unicode() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
