//! The checks of one process. Called by [`super::run`].

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::{Check, Verdict, attempts, wrap};
use crate::cpython::attach::layout_of;
use crate::cpython::layout::Layout;
use crate::cpython::locate::{FoundBy, Located, locate};
use crate::event::Pid;
use crate::process::error::AttachError;
use crate::process::watchdog::ReadGuard;
use crate::process::{Process, Status, tid_map};
use crate::text::Shown;

#[derive(Clone, Debug, Serialize)]
pub struct ExaminedProcess {
    pub pid: Pid,
    /// Empty if the process does not exist.
    pub command: Vec<String>,
    pub threads: usize,
    /// Why it cannot be observed, if so.
    pub error: Option<String>,
    pub python: Option<ExaminedPython>,
    pub checks: Vec<Check>,
    /// It does not exist, or gilscope cannot measure it even with remedies.
    #[serde(skip)]
    pub hopeless: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct ExaminedPython {
    /// Such as `3.13.0`.
    pub version: String,
    /// Built without a GIL.
    pub free_threaded: bool,
    /// The file that the interpreter was loaded from.
    pub binary: PathBuf,
    /// That file is a shared library, not the executable.
    pub shared: bool,
    /// How `_PyRuntime` was found: `dynamic symbol`, `section`, `symbol`, `cookie` or `search`.
    pub found_by: &'static str,
}

pub fn examine(pid: Pid) -> ExaminedProcess {
    let _reading = ReadGuard::new(pid);
    let process = Process::open(pid).ok();
    let located = locate(pid).and_then(|located| Ok((layout_of(&located)?, located)));
    ExaminedProcess {
        pid,
        command: process.map(|process| process.command()).unwrap_or_default(),
        threads: process.map_or(0, |process| process.threads()),
        hopeless: located.as_ref().is_err_and(is_hopeless),
        checks: located.as_ref().map_or_else(|_| Vec::new(), |(layout, located)| checks(layout, located)),
        error: located.as_ref().err().map(AttachError::to_string),
        python: located.ok().map(|(_, located)| ExaminedPython {
            version: located.version.to_string(),
            free_threaded: located.free_threaded,
            binary: located.binary,
            shared: located.shared,
            found_by: name(located.found_by),
        }),
    }
}

fn is_hopeless(error: &AttachError) -> bool {
    use AttachError::{Binary, NoInterpreter, NotStarted, Permission, Read};
    !matches!(error, Permission { .. } | NotStarted { .. } | NoInterpreter { .. } | Binary { .. } | Read { .. })
}

fn name(found_by: FoundBy) -> &'static str {
    match found_by {
        FoundBy::DynamicSymbol => "dynamic symbol",
        FoundBy::Section => "section",
        FoundBy::Symbol => "symbol",
        FoundBy::Cookie => "cookie",
        FoundBy::Search => "search",
    }
}

fn checks(layout: &Layout, located: &Located) -> Vec<Check> {
    let pid = located.pid;
    let flavour = if located.free_threaded { "free-threaded build" } else { "standard build" };
    let library = if located.shared { "library" } else { "executable" };
    let how = match located.found_by {
        FoundBy::DynamicSymbol => "by its exported symbol",
        FoundBy::Section => "by its section .PyRuntime",
        FoundBy::Symbol => "by its symbol",
        FoundBy::Cookie => "by the cookie at its start",
        FoundBy::Search => "by a search of the memory",
    };
    let supported = match layout.unknowns() {
        None => (Verdict::Yes, format!("CPython {}, {flavour}", located.version)),
        Some(unknowns) => (Verdict::Partly, unknowns),
    };
    let mut checks = vec![
        Check::new("supported", "supported Python", supported.0, supported.1),
        Check::new(
            "interpreter",
            "interpreter state",
            Verdict::Yes,
            format!("found {how}, in the {library} {}", located.binary.shown()),
        ),
        Check::new("permission", "permission", Verdict::Yes, "its memory can be read"),
    ];
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| "/".into());
    let reachable_by = located.process.reachable_by().to_string();
    let mounts = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt")).ok();
    if root.as_os_str() != "/" || mounts(&reachable_by) != mounts("self") {
        let reason =
            format!("it has another root directory than gilscope, which reads its files through /proc/{pid}/root");
        checks.push(Check::new("root", "files in another root or container", Verdict::Yes, reason));
    }
    if tid_map(pid).is_some() {
        let reason = "it has its own pid namespace; gilscope shows the thread ids of this one";
        checks.push(Check::new("pid_namespace", "threads in another pid namespace", Verdict::Yes, reason));
    }
    checks.extend(attempts::checks(pid, located.free_threaded));
    if let Some(Status { tracer, .. }) = Status::read(pid).filter(|status| status.tracer != 0) {
        let debugger = Process::open(tracer).map(|process| process.comm()).unwrap_or_default();
        let reason = format!(
            "{debugger} (process {tracer}) traces it. Its memory can be read nevertheless, and time for which {debugger} \
             stops it is reported as stopped"
        );
        checks.push(Check::new("debugger", "no debugger attached", Verdict::Partly, reason));
    }
    checks
}

impl fmt::Display for ExaminedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = match self.threads {
            0 => String::new(),
            1 => ", 1 thread".into(),
            threads => format!(", {threads} threads"),
        };
        writeln!(f, "\nProcess {}{threads}", self.pid)?;
        if !self.command.is_empty() {
            wrap(f, "  ", &self.command.join(" "))?;
        }
        self.checks.iter().try_for_each(|check| check.fmt(f))?;
        match &self.error {
            Some(error) => wrap(f, "  no      ", error),
            None => Ok(()),
        }
    }
}
