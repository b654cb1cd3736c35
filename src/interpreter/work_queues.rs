//! From which queues the threads of a process take their work. Called by an inspection.

use super::view::InterpreterView;
use crate::cpython::work_queue::WorkQueue;
use crate::event::Tid;
use crate::process::memory::Memory;

/// The loop of a worker is among this number of outermost frames: `_bootstrap`, `_bootstrap_inner`, `run`, the loop, and one that is
/// called by it.
const OUTERMOST: usize = 5;

/// The queues of threads that have one.
pub fn work_queues(view: InterpreterView<'_, impl Memory>) -> Vec<(Tid, WorkQueue)> {
    let mut found = Vec::new();
    for thread in view.registry.threads.iter().filter(|thread| thread.loss.is_none()) {
        // Outermost first: what the loop calls may have queues of its own.
        let frames = thread.slots.iter().flat_map(|slot| slot.reader.frames().iter().rev().take(OUTERMOST));
        let queue = frames.filter_map(|frame| WorkQueue::of(&view.objects(), (frame.addr, frame.code))).next();
        found.extend(queue.map(|queue| (thread.os.tid(), queue)));
    }
    found
}
