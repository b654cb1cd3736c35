//! What a gilscope could leave behind: in the kernel, in a program that it has observed, in files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::unistd::geteuid;

use crate::support::{gilscope, run, until};

/// What gilscope's BPF programs and maps are called.
const PROGRAMS: [&str; 5] = ["on_switch", "on_waking", "on_cpu_clock", "on_exit", "find_level"];
const MAPS: [&str; 4] = ["process_states", "tstates_of", "known_stacks", "known_codes"];

/// The ids in the files that any process has open, as `fdinfo` shows them with this label.
fn held(label: &str) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let files =
        processes.flat_map(|process| fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten());
    let infos = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let id = |info: String| info.lines().find_map(|line| line.strip_prefix(label)?.trim().parse().ok());
    infos.filter_map(id).collect()
}

/// Programs and maps in the kernel like gilscope's that no process has: others may run gilscope at the same time.
fn orphans() -> Vec<String> {
    let programs = aya::programs::loaded_programs().filter_map(Result::ok);
    let programs = programs.map(|program| (program.id(), program.name_as_str().unwrap_or_default().to_owned()));
    let mut programs: Vec<(u32, String)> = programs.filter(|(_, name)| PROGRAMS.contains(&&**name)).collect();
    let maps = aya::maps::loaded_maps().filter_map(Result::ok);
    let maps = maps.map(|map| (map.id(), map.name_as_str().unwrap_or_default().to_owned()));
    let mut maps: Vec<(u32, String)> = maps.filter(|(_, name)| MAPS.contains(&&**name)).collect();
    // Those that are loaded after this were not there before.
    let (held_programs, held_maps) = (held("prog_id:"), held("map_id:"));
    programs.retain(|(id, _)| !held_programs.contains(id));
    maps.retain(|(id, _)| !held_maps.contains(id));
    programs.into_iter().chain(maps).map(|(id, name)| format!("{name} ({id})")).collect()
}

#[track_caller]
pub(super) fn assert_nothing_in_the_kernel() {
    if geteuid().is_root() {
        // The kernel takes its time to free them.
        until("the end of all BPF programs and maps without a process", || orphans().is_empty().then_some(()));
    }
}

/// A field of `/proc/PID/task/TID/status` for each thread that there is.
pub(super) fn of_all_threads(pid: i32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let value = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    };
    texts.filter_map(value).collect()
}

/// Whoever has traced it has ended, and with that its threads were released.
#[track_caller]
pub(super) fn assert_not_traced(pid: i32) {
    let tracers = of_all_threads(pid, "TracerPid");
    assert!(tracers.iter().all(|tracer| tracer == "0"), "process {pid} is traced: {tracers:?}");
    let states = of_all_threads(pid, "State");
    assert!(!states.iter().any(|state| state.starts_with('t')), "process {pid}: {states:?}");
}

/// The processes of a group.
pub(super) fn group(leader: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_member = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').nth(2) == Some(&leader.to_string()));
        fields == Some(true)
    };
    pids.filter(is_member).collect()
}

/// A file is there under its name only if it is whole. Only of a gilscope that was killed with SIGKILL may other files be left.
#[track_caller]
pub(super) fn assert_files_are_whole(folder: &Path, is_killed: bool, what: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = || fs::read_to_string(&path).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        let is_whole = match &*name {
            "out.gscope" => {
                let done = run(gilscope(["report".as_ref(), path.as_os_str()]));
                // A recording appears with its first block: of one that was killed, what there is can be read.
                done.code == 0
            }
            "out.collapsed" => {
                text().lines().all(|line| line.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok()))
            }
            "out.svg" => text().trim_end().ends_with("</svg>"),
            "out.report.json" => serde_json::from_str::<serde_json::Value>(&text()).is_ok(),
            _ => is_killed,
        };
        assert!(is_whole, "{what}: {name} is left{}", if is_killed { ", killed" } else { "" });
    }
}
