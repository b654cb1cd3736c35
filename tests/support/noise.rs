//! Measurements on a machine that does other things, too.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use super::harness::{current_test, is_not_measured, not_measured_in_part, take_panic};
use super::{say, twins};

/// Of one CPU. What others take beyond that can be the reason of a failure.
const MAX_CALM_STOLEN: f64 = 0.01;
const MAX_CALM_USED: f64 = 0.15;
/// How often it is measured in all.
const MAX_TRIES: usize = 6;
/// A CPU's time is counted in these, per second.
const TICKS: f64 = 100.0;

/// Measures up to three times: a result that is wrong only by chance is not so each time. A failure while others had the
/// CPUs does not count; if there are too many of those, the test is reported as not measured.
#[track_caller]
pub fn thrice(measure: impl Fn() -> Result<(), String>) {
    let test = current_test();
    assert!(twins::of(test).is_some(), "{test} measures: name its deterministic twin in tests/support/twins.rs");
    let (mut problems, mut calm) = (Vec::new(), 0);
    let mut least = Noise { stolen: f64::MAX, used: f64::MAX };
    while calm < 3 && problems.len() < MAX_TRIES {
        let start = OthersTime::now();
        let Err(problem) = measure() else { return };
        let noise = start.noise();
        problems.push(format!("{problem} ({noise})"));
        least = Noise { stolen: least.stolen.min(noise.stolen), used: least.used.min(noise.used) };
        match noise.is_calm() {
            true => calm += 1,
            false => std::thread::sleep(Duration::from_secs(2)),
        }
    }
    let problems = problems.join("\nand again: ");
    assert!(calm < 3, "{problems}");
    say(&format!("{test} measured this on a noisy machine, which says nothing: {problems}"));
    not_measured_in_part(&format!("the machine was too noisy: {least} at best"));
}

/// The same for a measurement that asserts what it finds.
#[track_caller]
pub fn measured(measure: impl Fn()) {
    thrice(|| match panic::catch_unwind(AssertUnwindSafe(&measure)) {
        Ok(()) => Ok(()),
        Err(payload) if is_not_measured(&*payload) => panic::resume_unwind(payload),
        Err(_) => Err(take_panic()),
    });
}

/// What others took of the CPUs meanwhile, in parts of one CPU.
struct Noise {
    /// By other virtual machines. Programs take that for time on or off the CPU, depending on which clock they ask, and so
    /// do profilers.
    stolen: f64,
    /// By processes that no test has started.
    used: f64,
}

impl Noise {
    fn is_calm(&self) -> bool {
        self.stolen <= MAX_CALM_STOLEN && self.used <= MAX_CALM_USED
    }
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [stolen, used] = [self.stolen, self.used].map(|part| part * 100.0);
        write!(f, "of a CPU, {stolen:.1} % were stolen and {used:.0} % used by other processes")
    }
}

/// What others have had of the CPUs so far.
struct OthersTime {
    at: Instant,
    stolen: f64,
    /// Seconds of each process that this one has not started, by its pid and when it was started.
    processes: BTreeMap<(i32, u64), f64>,
}

impl OthersTime {
    fn now() -> OthersTime {
        OthersTime { at: Instant::now(), stolen: stolen(), processes: others() }
    }

    fn noise(&self) -> Noise {
        let now = OthersTime::now();
        let seconds = (now.at - self.at).as_secs_f64();
        let used: f64 =
            now.processes.iter().map(|(id, used)| used - self.processes.get(id).copied().unwrap_or(0.0)).sum();
        Noise { stolen: (now.stolen - self.stolen) / seconds, used: used / seconds }
    }
}

/// For how long others had the CPUs of this virtual machine when it wanted them, in seconds, of all CPUs together.
fn stolen() -> f64 {
    let times = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all_cpus = times.lines().next().unwrap_or_default();
    // After user, nice, system, idle, iowait, irq and softirq.
    all_cpus.split_ascii_whitespace().nth(8).and_then(|steal| steal.parse().ok()).unwrap_or(0.0) / TICKS
}

/// The CPU time of all processes that are no descendants of this one. What the kernel does in threads of its own is none
/// of theirs: most of it is for the tests.
fn others() -> BTreeMap<(i32, u64), f64> {
    let files = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = files.filter_map(|file| {
        let pid: i32 = file.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(file.path().join("stat")).ok()?;
        // The name can have blanks and brackets in it; these are the fields from the third on.
        let fields: Vec<u64> =
            stat.rsplit_once(") ")?.1.split(' ').skip(1).map(|field| field.trim().parse().unwrap_or(0)).collect();
        let [parent, used, started] = [*fields.first()?, fields.get(10)? + fields.get(11)?, *fields.get(18)?];
        Some((pid, (i32::try_from(parent).ok()?, used, started)))
    });
    let all: BTreeMap<i32, (i32, u64, u64)> = stats.collect();
    let own = std::process::id() as i32;
    let is_other = |pid: i32| {
        // A pid that was given anew meanwhile could make a circle.
        let mut ancestors = std::iter::successors(Some(pid), |pid| all.get(pid).map(|process| process.0)).take(100);
        ancestors.all(|ancestor| ancestor != own && ancestor != 2)
    };
    let others = all.iter().filter(|(pid, _)| is_other(**pid));
    others.map(|(&pid, &(_, used, started))| ((pid, started), used as f64 / TICKS)).collect()
}
