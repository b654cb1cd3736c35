//! A machine that is short of CPUs.

use serde_json::json;

use super::{finding, part};
use crate::report::model::{Finding, Machine, Report, Severity};
use crate::report::text::units::{duration, percent};

/// What the finding is called.
pub(in crate::report) const NO_CPU: &str = "no-cpu";

/// Threads that are ready without a CPU matter from this many on, on average ...
const MEAN_READY: f64 = 0.25;
/// ... and from this part of the time for which they had something to run.
const READY_PART: f64 = 0.2;
/// The program itself has the CPUs if it uses this part of them.
const OWN_PART: f64 = 0.7;
/// That is worth saying if this part of the time passes while GILs are held.
const HELD_PART: f64 = 0.1;
/// Other processes are named from this many CPUs on.
const NAMED_CPUS: f64 = 0.05;
/// And how many of them.
const MAX_NAMED: usize = 3;
/// Throttling matters from this part of the recording on.
const THROTTLED_PART: f64 = 0.05;

/// Threads were ready to run, but had no CPU. That is not the fault of the code: the program's own comes first.
pub(super) fn no_cpu(report: &Report) -> Option<Finding> {
    let sum = |of: fn(&crate::report::model::Thread) -> f64| report.threads.iter().map(of).sum::<f64>();
    let held = sum(|thread| thread.states.gil_held_no_cpu_s);
    let (ready, cpu) = (held + sum(|thread| thread.states.runnable_s), sum(|thread| thread.cpu_s));
    let time = report.session.duration_s;
    let (mean, share) = (part(ready, time), part(ready, ready + cpu));
    if mean < MEAN_READY || share < READY_PART {
        return None;
    }
    let holders = match held > 0.0 {
        true => format!(", {} of it while they held a GIL", duration(held)),
        false => String::new(),
    };
    let machine = report.session.machine.clone().unwrap_or_default();
    let (why, advice, is_own) = reason(report, &machine, part(cpu, time), part(cpu + ready, time));
    // A program that computes with more threads than CPUs uses the machine in full. Only who holds a GIL meanwhile keeps
    // others from what they could do.
    if is_own && held < HELD_PART * ready {
        return None;
    }
    let message = format!(
        "Not enough CPUs: threads that were ready to run had none for {}, {} of the time they could have \
         used{holders}. {why} {advice}",
        duration(ready),
        percent(share),
    );
    Some(finding(
        NO_CPU,
        if is_own || mean < 2.0 * MEAN_READY { Severity::Low } else { Severity::Medium },
        ready,
        message,
        [
            ("ready_s", json!(ready)),
            ("held_s", json!(held)),
            ("mean_ready", json!(mean)),
            ("mean_ready_threshold", json!(MEAN_READY)),
            ("ready_fraction", json!(share)),
            ("ready_fraction_threshold", json!(READY_PART)),
            ("cpus", json!(machine.cpus)),
            ("others_cpus", json!(machine.others_cpus)),
        ],
    ))
}

/// Who had the CPUs, what to do, and whether it was the program itself. It used `used` CPUs on average, and could have used
/// `wanted`.
fn reason(report: &Report, machine: &Machine, used: f64, wanted: f64) -> (String, &'static str, bool) {
    let limit = machine.limit_cpus.filter(|_| machine.throttled_s >= THROTTLED_PART * report.session.duration_s);
    if let Some(limit) = limit {
        let why = format!(
            "Its control group may use {limit:.1} CPUs, and was throttled for {}.",
            duration(machine.throttled_s)
        );
        return (why, "Raise the limit of the container (cpu.max), or run fewer threads.", false);
    }
    let cpus = f64::from(machine.cpus);
    if machine.cpus > 0 && used >= OWN_PART * cpus {
        let why =
            format!("The program's own threads use them: on average {wanted:.1} threads want {} CPUs.", machine.cpus);
        return (why, "Threads that compute should not be more than the CPUs.", true);
    }
    let named = machine.others.iter().filter(|other| other.cpus >= NAMED_CPUS).take(MAX_NAMED);
    let named: Vec<String> =
        named.map(|other| format!("{} (pid {}) {:.2}", other.name, other.pid, other.cpus)).collect();
    let mut why = match machine.cpus {
        0 => "Other processes have them".to_owned(),
        _ => format!("It used {used:.1} of {} CPUs; other processes have them", machine.cpus),
    };
    match named.is_empty() {
        true => why.push_str(" that have ended by now."),
        false => why.push_str(&format!(", in CPUs on average: {}.", named.join(", "))),
    }
    (why, "Stop or move those, or give the program CPUs of its own.", false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::model::OtherProcess;

    /// Two seconds of which threads were ready for three, and on a CPU for so long.
    fn short(cpu: f64, machine: Machine) -> Report {
        let mut report = fixture::report();
        report.threads.iter_mut().for_each(|thread| thread.cpu_s = cpu / 4.0);
        report.threads[0].states.runnable_s = 2.0;
        report.threads[1].states.gil_held_no_cpu_s = 1.0;
        report.session.machine = Some(machine);
        report
    }

    #[test]
    fn other_processes_are_named_and_are_the_fault_of_the_machine() {
        let other = |pid, name: &str, cpus| OtherProcess { pid, name: name.to_owned(), cpus };
        let others = vec![other(7, "cc1", 1.2), other(8, "make", 0.2), other(9, "sh", 0.001)];
        let machine = Machine { cpus: 2, others_cpus: 1.4, others, ..Machine::default() };
        let finding = no_cpu(&short(1.0, machine)).unwrap();
        assert_eq!(
            finding.message,
            "Not enough CPUs: threads that were ready to run had none for 3.03 s, 75 % of the time they could have used, \
             1.02 s of it while they held a GIL. It used 0.5 of 2 CPUs; other processes have them, in CPUs on average: \
             cc1 (pid 7) 1.20, make (pid 8) 0.20. Stop or move those, or give the program CPUs of its own."
        );
        assert_eq!(finding.severity, Severity::Medium);
    }

    #[test]
    fn more_threads_than_cpus_are_advice_and_no_alarm() {
        let finding = no_cpu(&short(3.6, Machine { cpus: 2, ..Machine::default() })).unwrap();
        assert!(finding.message.contains("on average 3.3 threads want 2 CPUs"), "{}", finding.message);
        assert_eq!(finding.severity, Severity::Low);
        let mut alone = short(3.6, Machine { cpus: 2, ..Machine::default() });
        alone.threads.iter_mut().for_each(|thread| thread.states.gil_held_no_cpu_s = 0.0);
        assert_eq!(no_cpu(&alone), None, "it uses the machine in full, and nobody holds a GIL meanwhile");
    }

    #[test]
    fn a_limit_of_the_container_is_named() {
        let machine = Machine { cpus: 8, limit_cpus: Some(1.5), throttled_s: 1.0, ..Machine::default() };
        let finding = no_cpu(&short(3.0, machine)).unwrap();
        assert!(finding.message.contains("may use 1.5 CPUs, and was throttled for 1.00 s"), "{}", finding.message);
    }

    #[test]
    fn who_hardly_waits_for_a_cpu_is_not_told() {
        assert_eq!(no_cpu(&fixture::report()), None);
        assert_eq!(no_cpu(&short(15.0, Machine::default())), None, "a sixth of what it wanted");
    }
}
