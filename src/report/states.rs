//! A thread's ledger as the report's JSON has it. Part of [`super::model`].

use serde::{Deserialize, Serialize};

use crate::event::{ACTIVITIES, Activity};

/// A thread's time by what it was doing. Exclusive; the sum is the thread's `wall_s`.
///
/// In kernel mode how long the thread was on the CPU and how long off it, and why, is exact. How the time on the CPU
/// divides into `running_s`, `gil_held_s` and `native_s` is an estimate, in proportion to the thread's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct States {
    /// Ran attached to an interpreter without a GIL.
    pub running_s: f64,
    /// Held the GIL and ran.
    pub gil_held_s: f64,
    /// Held the GIL while it was blocked in a system call.
    pub gil_held_off_cpu_s: f64,
    /// Held the GIL and was ready to run, but without a CPU.
    #[serde(default)]
    pub gil_held_no_cpu_s: f64,
    /// Waited for the GIL.
    pub gil_wait_s: f64,
    /// Waited for a lock.
    pub lock_wait_s: f64,
    /// Ran without the GIL.
    pub native_s: f64,
    /// Stopped by the interpreter.
    pub paused_s: f64,
    /// Blocked in a system call, without the GIL.
    pub blocked_s: f64,
    /// Ready to run, without the GIL, but without a CPU.
    pub runnable_s: f64,
    /// Stopped by a signal, a debugger or a frozen control group.
    #[serde(default)]
    pub stopped_s: f64,
    /// Could not be determined.
    pub unknown_s: f64,
}

impl States {
    /// The seconds of each activity, as `seconds_of` gives them.
    pub(crate) fn from_activities(seconds_of: impl Fn(Activity) -> f64) -> States {
        let mut states = States::default();
        for row in &ACTIVITIES {
            *states.field(row.activity) = seconds_of(row.activity);
        }
        states
    }

    /// The seconds of one activity.
    pub(crate) fn of(mut self, activity: Activity) -> f64 {
        *self.field(activity)
    }

    fn field(&mut self, activity: Activity) -> &mut f64 {
        match activity {
            Activity::Running => &mut self.running_s,
            Activity::GilHeld => &mut self.gil_held_s,
            Activity::GilHeldBlocked => &mut self.gil_held_off_cpu_s,
            Activity::GilHeldNoCpu => &mut self.gil_held_no_cpu_s,
            Activity::GilWait => &mut self.gil_wait_s,
            Activity::LockWait => &mut self.lock_wait_s,
            Activity::Native => &mut self.native_s,
            Activity::Paused => &mut self.paused_s,
            Activity::Blocked => &mut self.blocked_s,
            Activity::NoCpu => &mut self.runnable_s,
            Activity::Stopped => &mut self.stopped_s,
            Activity::Unknown => &mut self.unknown_s,
        }
    }
}
