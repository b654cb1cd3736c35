//! Why waits took as long as they did, as the report's JSON has it: the parts of waits for a GIL, holders that do not release
//! it, and the machine. Part of [`super::model`].

use serde::{Deserialize, Serialize};

use super::model::Blamed;
use crate::event::Pid;

/// What waits for a GIL were made of, in seconds. The first three add up to `wait.total_s` without
/// `unknown_s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WaitParts {
    /// Until the holder was asked to release it (the switch interval), or released it by its own choice.
    pub until_asked_s: f64,
    /// From then until it released it.
    pub until_released_s: f64,
    /// Until the waiting thread ran, or another one had acquired it.
    pub until_running_s: f64,
    /// The part of `until_released_s` in which the holder had no CPU.
    pub holder_no_cpu_s: f64,
    /// The part of `until_released_s` in which the holder was blocked.
    pub holder_blocked_s: f64,
}

/// A place at which a holder kept the GIL although it had been asked to release it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotReleased {
    /// How often a holder kept it there.
    pub times: u64,
    /// How long after it was asked it released the GIL, on average, in seconds; without the time for which it was off the CPU.
    pub mean_s: f64,
    pub max_s: f64,
    /// In which native function, `symbol (library.so)`, if one was sampled there more often than anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Who, where; `seconds` is for how long others waited meanwhile.
    #[serde(flatten)]
    pub by: Blamed,
}

/// Who had the CPUs of the machine, besides the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// CPUs that the program may run on; 0 if that is not known.
    pub cpus: u32,
    /// How many CPUs' time its control group may use, if it has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_cpus: Option<f64>,
    /// For how long the group was kept from running because of that.
    pub throttled_s: f64,
    /// How many CPUs other processes used on average, as far as they still ran in the end.
    pub others_cpus: f64,
    /// The busiest of them, the busiest first.
    pub others: Vec<OtherProcess>,
}

/// A process that is not part of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OtherProcess {
    pub pid: Pid,
    pub name: String,
    /// How many CPUs it used on average.
    pub cpus: f64,
}
