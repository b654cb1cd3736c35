//! `gilscope top`: a program's threads, GIL and locks, live. Called by `main`.
//!
//! Three parts that do not wait for each other: the session collects, and now and then makes a [`crate::snapshot`] of what
//! it knows (`feed`); the screen, in a thread of its own, takes the newest one, works out what came since an older one
//! (`shown`), and draws that (`draw`, from the tables of `tabs` and `detail`); keys change what was chosen (`app`). All of
//! that but `feed`, `terminal` and `screen` is pure. Where there is no terminal, `batch` prints tables instead.

mod app;
mod batch;
mod calls;
mod class;
mod detail;
mod draw;
mod feed;
#[cfg(test)]
mod fixture;
mod flame;
mod history;
mod save;
mod screen;
mod shown;
mod table;
mod tabs;
mod terminal;
mod theme;

use std::fs::File;
use std::io::{IsTerminal, PipeReader, Write, pipe, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use self::app::App;
use self::feed::{Ending, Feed, Live};
use self::theme::Theme;
use crate::commands::cli::TopArgs;
use crate::commands::report::bold;
use crate::output::say;
use crate::profile::Profile;
use crate::report::Report;
use crate::report::text::summary;
use crate::session::launch::{Child, exit_code};
use crate::session::signals::{Received, Signals};
use crate::session::{self, RecordingEnd};
use crate::snapshot::Snapshot;

pub use self::terminal::Log;

/// Runs the command. Returns the exit code: that of the launched program if it has ended by itself, else 0.
///
/// # Errors
/// As those of `record`: there is nothing to look at, or no way to; and the terminal may be gone.
pub fn run(args: &TopArgs) -> Result<u8> {
    let batch = args.batch || args.count.is_some() || !can_show();
    let options = args.collect.options();
    let signals = || Signals::new().context("cannot set up signal handling");
    let early = if args.collect.pid.is_some() { Some(signals()?) } else { None };
    // Before the launch: loading takes longer than a program needs to get going.
    let collector = session::collector(&options)?;
    let mut launched = if args.collect.program.is_empty() { None } else { Some(launch(args)?) };
    let mut signals = early.map_or_else(signals, Ok)?;
    if !batch {
        // Before there is a second thread: one that does not hold them back would stop them all.
        terminal::hold_stops().context("cannot set up signal handling")?;
    }
    let root = match (&launched, args.collect.pid) {
        (Some((child, _)), _) => child.pid(),
        (None, Some(pid)) => pid,
        (None, None) => bail!("neither a process nor a command was given"),
    };
    let interval = args.interval.unwrap_or(if batch { 2.0 } else { 0.5 });
    let interval_ms = (interval * 1e3) as u64;
    // A table is of a whole interval; a screen is not to stay empty for long.
    let first_ms = if batch { interval_ms } else { interval_ms.min(200) };
    let feed = Arc::new(Feed::new(interval_ms, first_ms));
    let app = App::new(args.blame, interval_ms);
    let colors = args.color;
    let theme = Theme { color: bold(colors, stdout().is_terminal()), ascii: args.ascii || !has_unicode() };
    if theme.color {
        crossterm::style::force_color_output(true);
    }
    let (mouse, count) = (!args.no_mouse, args.count);
    let (screen_is_open, open_end) = pipe().context("cannot make a pipe")?;
    let open = move |feed: Arc<Feed>| {
        thread::spawn(move || {
            // Said when the screen is closed, however that comes.
            let _open = open_end;
            let _closed = Closed(feed.clone());
            match batch {
                true => batch::run(&feed, app, theme, count),
                false => screen::run(&feed, app, theme, mouse),
            }
        })
    };
    let mut live = Live::new(feed.clone(), open);
    let child = launched.as_mut().map(|(child, _)| child);
    let recorded = session::record(&options, collector, None, root, child, &mut signals, &mut live);
    let (profile, end) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            feed.end(None, Ending::Quit);
            let shown = live.screen.take().map(close).transpose();
            if let Some((mut child, log)) = launched {
                child.signal(Signal::SIGTERM);
                say(format_args!("the output of the program is in {}", log.display()));
            }
            return Err(error.into()).and_then(|()| shown.map(|_| 0));
        }
    };
    let code = match end {
        RecordingEnd::TargetExited => {
            let last = Snapshot::of(profile.session.end, &profile, &[]);
            let code = launched.as_mut().and_then(|(child, _)| child.try_wait()).map(exit_code);
            feed.end(Some(last), Ending::Over(farewell(&profile, code)));
            code.unwrap_or(0)
        }
        RecordingEnd::Duration | RecordingEnd::Signal | RecordingEnd::Observer | RecordingEnd::Unwritable => {
            feed.end(None, Ending::Quit);
            0
        }
    };
    let closed = live.screen.take().map_or(Ok(()), |screen| {
        wait(&screen, &screen_is_open, &mut signals, &feed);
        close(screen)
    });
    if !batch && closed.is_ok() {
        let report = Report::of(&profile, args.blame);
        stdout().lock().write_all(summary(&report, bold(colors, stdout().is_terminal())).as_bytes())?;
    }
    if let Some((mut child, log)) = launched {
        if child.try_wait().is_none() {
            child.signal(Signal::SIGTERM);
            let _ = writeln!(stderr(), "the program was still running: it was sent SIGTERM");
        }
        let _ = writeln!(stderr(), "the output of the program is in {}", log.display());
    }
    closed.map(|()| code)
}

/// Tells the other side that nobody looks any more.
struct Closed(Arc<Feed>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs the program, its output in a file.
fn launch(args: &TopArgs) -> Result<(Child, PathBuf)> {
    let path = match &args.log {
        Some(path) => path.clone(),
        None => {
            let name = args.collect.program[0].to_string_lossy();
            let name = name.rsplit('/').next().unwrap_or_default().to_owned();
            std::env::temp_dir().join(format!("gilscope-{name}-{}.log", std::process::id()))
        }
    };
    let cannot =
        || format!("cannot write the program's output to {}: choose another place with --log", path.display());
    let log = File::create(&path).with_context(cannot)?;
    let child = Child::launch_into(&args.collect.program, log).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
    Ok((child, path))
}

/// What to say when the program has ended, with this exit code if that is known.
fn farewell(profile: &Profile, code: Option<u8>) -> String {
    let pid = profile.processes.first().map_or(0, |info| info.pid);
    let how = code.map_or_else(String::new, |code| format!(" with exit code {code}"));
    format!("PROCESS {pid} EXITED{how}: this is its last state. q quits.")
}

/// Waits until the screen is closed; signals close it.
fn wait<T>(screen: &JoinHandle<T>, screen_is_open: &PipeReader, signals: &mut Signals, feed: &Feed) {
    loop {
        match signals.wait(screen_is_open) {
            Some(Received::Stop { .. }) => feed.end(None, Ending::Quit),
            None if screen.is_finished() => return,
            // The window may have another size now.
            Some(Received::Child) | None => {}
        }
    }
}

fn close(screen: JoinHandle<Result<()>>) -> Result<()> {
    match screen.join() {
        Ok(result) => result,
        // It has been said already what went wrong.
        Err(_) => bail!("the screen has failed"),
    }
}

/// There is a terminal that can do more than print lines.
fn can_show() -> bool {
    let term = std::env::var_os("TERM");
    stdout().is_terminal() && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// The terminal is likely to have more than ASCII.
fn has_unicode() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
