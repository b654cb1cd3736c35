//! Who had the CPUs of the machine during a recording: the CPU time of all processes at its beginning and now, and the limits
//! on the program's own. Called by the session.

use std::fs;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use crate::event::{Nanos, Pid};
use crate::profile::{BusyProcess, MachineUse};
use crate::text::from_bytes;

/// In units of which `/proc/PID/stat` counts CPU time, in nanoseconds: `USER_HZ` is 100 on all machines that gilscope runs
/// on.
const TICK_NS: u64 = 10_000_000;
/// How many other processes are remembered.
const MAX_OTHERS: usize = 8;
/// At how many groups a limit is looked for, from the program's own on outwards.
const MAX_GROUPS: usize = 32;
/// The shortest time between two looks while recording goes on, in nanoseconds.
const LOOK_AFTER: u64 = 5_000_000_000;

/// What was so at the beginning.
#[derive(Debug)]
pub(super) struct MachineWatch {
    root: Pid,
    started: Nanos,
    looked: Nanos,
    cpu_ns: FxHashMap<Pid, u64>,
    throttled_ns: u64,
}

impl MachineWatch {
    /// The recording of this process, or of the program that it starts, begins.
    pub(super) fn new(root: Pid, at: Nanos) -> MachineWatch {
        let cpu_ns = processes().into_iter().map(|process| (process.pid, process.cpu_ns)).collect();
        let throttled_ns = limits(root).throttled_ns;
        MachineWatch { root, started: at, looked: at, cpu_ns, throttled_ns }
    }

    /// Whether it is time for another look.
    pub(super) fn is_due(&mut self, at: Nanos) -> bool {
        let is_due = at.since(self.looked) >= LOOK_AFTER;
        self.looked = if is_due { at } else { self.looked };
        is_due
    }

    /// What happened since the beginning. `own` are the processes of the program.
    pub(super) fn so_far(&self, at: Nanos, own: impl Fn(Pid) -> bool) -> MachineUse {
        let limits = limits(self.root);
        let mut others: Vec<BusyProcess> = processes().into_iter().filter(|process| !own(process.pid)).collect();
        for process in &mut others {
            let before = self.cpu_ns.get(&process.pid).copied().unwrap_or(0);
            // A later process can have the number of an earlier one.
            process.cpu_ns -= if before <= process.cpu_ns { before } else { 0 };
        }
        others.sort_by(|a, b| b.cpu_ns.cmp(&a.cpu_ns).then(a.pid.cmp(&b.pid)));
        others.retain(|process| process.cpu_ns > 0);
        let others_ns = others.iter().map(|process| process.cpu_ns).sum();
        others.truncate(MAX_OTHERS);
        MachineUse {
            span_ns: at.since(self.started),
            cpus: limits.cpus,
            limit_percent: limits.percent,
            throttled_ns: limits.throttled_ns.saturating_sub(self.throttled_ns),
            others_ns,
            others,
        }
    }
}

/// All processes that there are, with the CPU time that they have used so far.
fn processes() -> Vec<BusyProcess> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<Pid>().ok());
    pids.filter_map(|pid| parse_stat(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// The name and the CPU time in the text of `/proc/PID/stat`. The name is in parentheses, and can have some of its own.
fn parse_stat(pid: Pid, text: &[u8]) -> Option<BusyProcess> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let name = from_bytes(text.get(open + 1..close)?);
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    // The third field comes first; these are the fourteenth and the fifteenth.
    let mut times = rest.split_ascii_whitespace().skip(11).map(|number| number.parse::<u64>().unwrap_or(0));
    let ticks = times.next()?.checked_add(times.next()?)?;
    Some(BusyProcess { pid, name, cpu_ns: ticks.checked_mul(TICK_NS)? })
}

/// What the program may use.
#[derive(Clone, Copy, Debug, Default)]
struct CpuLimits {
    /// CPUs that it may run on; 0 if that is not known.
    cpus: u32,
    /// The least share of a CPU's time that a group which it is in may use, in percent.
    percent: Option<u32>,
    /// For how long such groups were kept from running, in nanoseconds.
    throttled_ns: u64,
}

fn limits(pid: Pid) -> CpuLimits {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut limits = CpuLimits { cpus: allowed_cpus(&status), ..CpuLimits::default() };
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return limits };
    let root = Path::new("/sys/fs/cgroup");
    let mut folder: PathBuf = root.join(group);
    for _ in 0..MAX_GROUPS {
        let percent = fs::read_to_string(folder.join("cpu.max")).ok().and_then(|text| percent_of(&text));
        if let Some(percent) = percent {
            limits.percent = Some(limits.percent.map_or(percent, |least| least.min(percent)));
            let stat = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
            limits.throttled_ns = limits.throttled_ns.max(throttled_ns(&stat));
        }
        if folder == root || !folder.pop() {
            break;
        }
    }
    limits
}

/// How many CPUs are in the mask of `/proc/PID/status`.
fn allowed_cpus(status: &str) -> u32 {
    let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap_or_default();
    mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum()
}

/// `cpu.max`: the time in a period, or `max`, and the period, both in microseconds.
fn percent_of(cpu_max: &str) -> Option<u32> {
    let mut words = cpu_max.split_ascii_whitespace();
    let (time, period) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
    u32::try_from(time.checked_mul(100)?.checked_div(period)?).ok()
}

fn throttled_ns(cpu_stat: &str) -> u64 {
    let micros = cpu_stat.lines().find_map(|line| line.strip_prefix("throttled_usec ")?.trim().parse::<u64>().ok());
    micros.unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_name() {
        let text = b"42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 100 0 0";
        let process = BusyProcess { pid: 42, name: "a) R (b".to_owned(), cpu_ns: 2_000_000_000 };
        assert_eq!(parse_stat(42, text), Some(process));
        assert_eq!(parse_stat(42, b"42 (a"), None);
        assert_eq!(parse_stat(42, b"42 (a) S 1"), None);
    }

    #[test]
    fn limits_are_read_from_what_the_kernel_writes() {
        assert_eq!(allowed_cpus("Name:\tx\nCpus_allowed:\tff,0000000f\nCpus_allowed_list:\t0-3\n"), 12);
        assert_eq!(allowed_cpus(""), 0);
        assert_eq!(percent_of("150000 100000\n"), Some(150));
        assert_eq!(percent_of("max 100000\n"), None);
        assert_eq!(percent_of("5 0"), None);
        assert_eq!(throttled_ns("usage_usec 5\nnr_throttled 2\nthrottled_usec 1500\n"), 1_500_000);
        assert_eq!(throttled_ns(""), 0);
    }

    #[test]
    fn what_this_very_process_does_is_seen() {
        let own = std::process::id() as Pid;
        let watch = MachineWatch::new(own, Nanos(0));
        assert!(watch.cpu_ns.contains_key(&own));
        let used = watch.so_far(Nanos(1_000_000_000), |pid| pid == own);
        assert!(used.cpus > 0 && used.others.iter().all(|process| process.pid != own), "{used:?}");
    }
}
