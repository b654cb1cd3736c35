//! What happened at one GIL: who waited, for how long, who held it meanwhile. Pure; fed by
//! [`crate::profile::Profile`].

use std::sync::Arc;

use super::summary::{GilSummary, GilTimeline};
use crate::event::{GilInfo, Nanos, OffCpu, ThreadId, ThreadState};
use crate::intern::StackId;

/// Everything learned of one GIL.
#[derive(Debug)]
pub struct GilAnalysis {
    /// What is known of it now.
    pub info: Arc<GilInfo>,
}

impl GilAnalysis {
    /// An analysis of a GIL found at `at`.
    pub fn new(_at: Nanos, info: Arc<GilInfo>, _keep_timeline: bool) -> GilAnalysis {
        GilAnalysis { info }
    }

    /// What is known of it has changed.
    pub fn changed(&mut self, _at: Nanos, info: &Arc<GilInfo>, _switched_on_by: Option<&Arc<str>>) {
        self.info = info.clone();
    }

    /// A thread of one of its interpreters was off the CPU.
    pub fn off_cpu(&mut self, _off: &OffCpu) {}

    /// A thread of one of its interpreters at one tick.
    pub fn sample(&mut self, _at: Nanos, _periods: u32, _thread: ThreadId, _state: ThreadState, _stack: StackId) {}

    /// Recording has ended.
    pub fn finish(&mut self, _end: Nanos) {}

    /// What is known so far. `period_ns` is what a sample stands for.
    pub fn summary(&self, _period_ns: f64) -> GilSummary {
        todo!()
    }

    /// What happened when, if that was to be kept.
    pub fn timeline(&self) -> Option<&GilTimeline> {
        None
    }
}
