//! The Python processes of this machine: listed by `gilscope ps`, and to choose from where a command was given none.

mod choose;
mod command_line;
mod select;
mod table;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::{Uid, User};
use rustc_hash::FxHashMap;
use serde::Serialize;

pub(crate) use self::choose::chosen;
pub(crate) use self::select::ProcessSelectors;
use crate::cpython::attach::attach_early;
use crate::cpython::by_files::{PythonByFiles, python_by_files};
use crate::event::Pid;
use crate::process::watchdog::ReadGuard;
use crate::process::{self, Process, Status, cpu_time};
use crate::text::json;

/// Between the two looks that tell how much CPU time processes use now.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// How long executables without a telling name are looked into, all together.
const MAX_SEARCH: Duration = Duration::from_millis(300);

/// A process that runs Python.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ListedProcess {
    pub pid: Pid,
    pub parent: Pid,
    pub user: String,
    /// `3.12`; none if it is not known.
    pub python: Option<String>,
    /// Built without a GIL; none if that is not known.
    pub free_threaded: Option<bool>,
    pub threads: usize,
    /// Of one CPU, just now.
    pub cpu_percent: f64,
    /// The short id or the name of its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    pub command: Vec<String>,
    /// Whether this user may read its memory.
    pub readable: bool,
}

impl ListedProcess {
    /// What a person calls it.
    pub fn program(&self) -> String {
        command_line::program(&self.command)
    }
}

/// Runs `gilscope ps`: what is to be printed.
///
/// # Errors
/// The list cannot be made into JSON.
pub fn run(json: bool) -> Result<String> {
    let listed = list();
    match json {
        true => Ok(json::to_lines(&listed)?),
        false if listed.is_empty() => Ok(format!("{}\n", table::NONE)),
        false => Ok(table::table(&listed, false)),
    }
}

/// All processes that run Python, as far as this user may know: those that use the most CPU time first.
pub(crate) fn list() -> Vec<ListedProcess> {
    let mut known = KnownExecutables::default();
    let own = std::process::id() as Pid;
    let mut found: Vec<(ListedProcess, u64)> =
        process::all().into_iter().filter(|&pid| pid != own).filter_map(|pid| listed(pid, &mut known)).collect();
    let begun = Instant::now();
    if !found.is_empty() {
        sleep(BETWEEN_LOOKS);
    }
    let seconds = begun.elapsed().as_secs_f64().max(1e-3);
    for (process, before) in &mut found {
        let now = cpu_time(process.pid).map_or(*before, |time| time.ns);
        process.cpu_percent = now.saturating_sub(*before) as f64 / 1e7 / seconds;
    }
    let mut listed: Vec<ListedProcess> = found.into_iter().map(|(process, _)| process).collect();
    listed.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent).then(a.pid.cmp(&b.pid)));
    listed
}

/// A process, if it runs Python, with the CPU time that it has used, in nanoseconds.
fn listed(pid: Pid, known: &mut KnownExecutables) -> Option<(ListedProcess, u64)> {
    let _reading = ReadGuard::new(pid);
    // Kernel threads and zombies are refused here.
    let process = Process::open(pid).ok()?;
    let (python, readable) = match process.maps() {
        Ok(maps) => {
            let exe = process.exe();
            let files =
                maps.iter().filter(|mapping| mapping.executable).filter_map(|mapping| mapping.path.as_deref());
            (known.python(pid, exe.as_deref(), files)?, true)
        }
        // The name is all that others may know.
        Err(_) => (python_by_files(Some(Path::new(&process.comm())), [])?, false),
    };
    let status = Status::read(pid)?;
    let process = ListedProcess {
        pid,
        parent: status.parent,
        user: known.user(*status.uids.first()?),
        python: python.minor.map(|minor| format!("3.{minor}")),
        free_threaded: python.minor.map(|_| python.free_threaded),
        threads: process.threads(),
        cpu_percent: 0.0,
        container: process::container(pid),
        command: process.command(),
        readable,
    };
    Some((process, cpu_time(pid)?.ns))
}

/// What need not be found out for each process again.
#[derive(Debug, Default)]
struct KnownExecutables {
    /// Those that no name of a file tells.
    searched: FxHashMap<PathBuf, Option<PythonByFiles>>,
    searched_for: Duration,
    users: FxHashMap<u32, String>,
}

impl KnownExecutables {
    fn python<'a>(
        &mut self,
        pid: Pid,
        exe: Option<&Path>,
        files: impl IntoIterator<Item = &'a Path> + Clone,
    ) -> Option<PythonByFiles> {
        let by_files = python_by_files(exe, files);
        if by_files.is_some_and(|python| python.minor.is_some()) {
            return by_files;
        }
        // It may still be one: linked into an executable of any name.
        let exe = exe?;
        if let Some(known) = self.searched.get(exe) {
            return known.or(by_files);
        }
        if self.searched_for > MAX_SEARCH {
            return by_files;
        }
        let begun = Instant::now();
        let found = attach_early(pid).ok().map(|target| PythonByFiles {
            minor: target.info.python.split('.').nth(1).and_then(|minor| minor.parse().ok()),
            free_threaded: target.info.free_threaded,
        });
        self.searched_for += begun.elapsed();
        self.searched.insert(exe.to_owned(), found);
        found.or(by_files)
    }

    fn user(&mut self, uid: u32) -> String {
        let name = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.users.entry(uid).or_insert_with(|| name().unwrap_or_else(|| uid.to_string())).clone()
    }
}
