//! The choice of a collector: kernel mode if it is available and nothing else is wanted, else memory mode. The rest of the
//! session does not know which one it is.

use super::RecordingOptions;
use crate::interpreter::collector::Collector;
use crate::kernel::{self, Kernel, KernelError};
use crate::profile::Mode;
use crate::sampler::collector::MemoryMode;

/// A collector that is ready to observe.
#[derive(Debug)]
pub struct ReadyCollector {
    pub(super) collector: Box<dyn Collector>,
    pub(super) mode: Mode,
    /// Why it is not the best one.
    pub(super) degraded: Option<String>,
}

/// Prepares a collector. To be called before a program is launched: loading kernel mode takes a moment.
///
/// # Errors
/// [`KernelError`] if kernel mode was asked for and is not available.
pub fn collector(options: &RecordingOptions) -> Result<ReadyCollector, KernelError> {
    let memory_mode = |degraded| ReadyCollector {
        collector: Box::new(MemoryMode::new(options.rate, options.stopping)),
        mode: Mode::Memory,
        degraded,
    };
    if options.mode == Some(Mode::Memory) {
        return Ok(memory_mode(None));
    }
    let wanted = kernel::KernelOptions {
        rate: options.rate,
        min_wait_ns: options.min_wait.as_nanos().min(u64::MAX.into()) as u64,
    };
    match Kernel::load(&wanted) {
        Ok(kernel) => Ok(ReadyCollector { collector: Box::new(kernel), mode: Mode::Kernel, degraded: None }),
        Err(error) if options.mode == Some(Mode::Kernel) => Err(error),
        Err(error) => Ok(memory_mode(Some(format!(
            "memory mode: waits are estimated from samples, and short ones are missed. {error}"
        )))),
    }
}
