//! Reading stacks that move too fast, each with its thread stopped. Used by [`super::Sampler`], in the thread that traces.

use std::time::Instant;

use crate::cpython::code::CodeCache;
use crate::cpython::layout::Layout;
use crate::event::{Loss, Nanos};
use crate::interpreter::registry::Registry;
use crate::interpreter::stacks::Scratch;
use crate::interpreter::threads::{ObservedThread, ReadMode, ReadProgress};
use crate::process::memory::LiveMemory;
use crate::process::os_thread::RunState;
use crate::process::stop::{StopError, Stopped, Tracer};
use crate::stack::Interner;

/// How often a thread is stopped for one sample.
pub(super) const MAX_STOPS_PER_READ: u32 = 3;

/// What of a sampler is needed to read stacks while their threads are stopped.
pub(super) struct StoppedReader<'a> {
    pub memory: &'a LiveMemory,
    pub layout: &'a Layout,
    pub registry: &'a mut Registry,
    pub codes: &'a mut CodeCache,
    pub scratch: &'a mut Scratch,
    pub stacks: &'a mut Interner,
    pub now: Nanos,
    /// When to stop no more threads: the tick has taken long enough.
    pub until: Instant,
}

/// Whether a thread is to be stopped for its stack.
pub(super) fn is_wanted(thread: &ObservedThread) -> bool {
    thread.read_mode == ReadMode::Stopped && thread.slots.iter().any(|slot| slot.progress == ReadProgress::Wanted)
}

/// A thread that has entered a system call since it was last asked about stays where it is, and a stop would interrupt the call.
pub(super) fn may_be_stopped(thread: &ObservedThread) -> bool {
    thread.run == RunState::Running && matches!(thread.os.run_state(), Ok(RunState::Running) | Err(_))
}

impl StoppedReader<'_> {
    /// Reads all that are wanted. Returns whether there are threads that could not be stopped, which are to be read live.
    pub(super) fn read(&mut self, tracer: &mut Tracer<'_>) -> bool {
        let mut any_live = false;
        for index in 0..self.registry.threads.len() {
            if is_wanted(&self.registry.threads[index]) {
                any_live |= !self.read_thread(index, tracer);
            }
        }
        any_live
    }

    /// Reads the stack of one thread. False if it could not be stopped.
    fn read_thread(&mut self, index: usize, tracer: &mut Tracer<'_>) -> bool {
        // Between some pairs of instructions the chain of frames is broken: then it is read again a moment later.
        for attempt in 1..=MAX_STOPS_PER_READ {
            let thread = &mut self.registry.threads[index];
            let stopped = match may_be_stopped(thread) && Instant::now() < self.until {
                true => tracer.stop(thread.os.tid()),
                false => Err(StopError::NotRunning),
            };
            match stopped {
                Ok(stopped) => {
                    if self.take(index, stopped, tracer) {
                        return true;
                    }
                }
                Err(StopError::Gone) => {
                    let gone = ReadProgress::Failed(Loss::Unreadable);
                    thread.slots.iter_mut().for_each(|slot| slot.progress = gone);
                    thread.loss = Some(Loss::Unreadable);
                    return true;
                }
                Err(_) if attempt == 1 => {
                    thread.read_mode = ReadMode::LiveRetry;
                    return false;
                }
                // What an earlier attempt could not read stays lost.
                Err(_) => return true,
            }
        }
        true
    }

    /// Reads and names the stack of a thread that is stopped, and lets it go on. Returns whether there is a stack.
    fn take(&mut self, index: usize, stopped: Stopped, tracer: &mut Tracer<'_>) -> bool {
        let StoppedReader { memory, layout, registry, codes, scratch, stacks, now, .. } = self;
        let Registry { threads, interpreters, runtime, .. } = &mut **registry;
        let thread = &mut threads[index];
        for slot in &mut thread.slots {
            slot.read_stopped(*memory, layout, *runtime, &interpreters[slot.interpreter], scratch);
        }
        // While it is stopped, its frames keep their code objects.
        let slots = thread.slots.iter_mut();
        let read = slots.filter_map(|slot| slot.is_read().then(|| slot.reader.frames()));
        codes.check(*memory, layout, *now, read, stacks);
        thread.resolve(*memory, layout, codes, stacks);
        tracer.resume(stopped);
        thread.loss.is_none()
    }
}
