//! Ids are assigned in ascending order; the same thing may have another one in another recording. Used by the collectors
//! and by what reads recordings.

use std::sync::Arc;

use super::{Accessed, Event, GilId, LockId, Nanos, ObjectId, ProcessId, ThreadId, ThreadState};

/// The ids assigned so far, each kind in ascending order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    processes: u32,
    threads: u32,
    gils: u32,
    locks: u32,
    objects: u32,
}

impl Ids {
    pub fn process(&mut self) -> ProcessId {
        ProcessId(next(&mut self.processes))
    }

    pub fn thread(&mut self) -> ThreadId {
        ThreadId(next(&mut self.threads))
    }

    pub fn gil(&mut self) -> GilId {
        GilId(next(&mut self.gils))
    }

    pub fn lock(&mut self) -> LockId {
        LockId(next(&mut self.locks))
    }

    pub fn object(&mut self) -> ObjectId {
        ObjectId(next(&mut self.objects))
    }
}

fn next(count: &mut u32) -> u32 {
    *count += 1;
    *count - 1
}

/// What ids of one recording are in another.
pub trait Renumber {
    fn process(&mut self, id: ProcessId) -> ProcessId;
    fn thread(&mut self, id: ThreadId) -> ThreadId;
    fn gil(&mut self, id: GilId) -> GilId;
    fn lock(&mut self, id: LockId) -> LockId;
    fn object(&mut self, id: ObjectId) -> ObjectId;

    /// Of the lock of a state.
    fn state(&mut self, state: ThreadState) -> ThreadState {
        match state {
            ThreadState::LockWait(lock) => ThreadState::LockWait(self.lock(lock)),
            ThreadState::Paused(lock) => ThreadState::Paused(self.lock(lock)),
            ThreadState::Awaits(lock) => ThreadState::Awaits(self.lock(lock)),
            state => state,
        }
    }
}

impl Event {
    /// When it happened; none if it has no time of its own. That of a time off the CPU is its end.
    pub fn at(&self) -> Option<Nanos> {
        match self {
            Event::ThreadStarted { at, .. }
            | Event::ThreadExited { at, .. }
            | Event::Gil { at, .. }
            | Event::LockHeld { at, .. }
            | Event::RecordsLost { at, .. }
            | Event::Access { at, .. }
            | Event::Spin { at, .. }
            | Event::HeldInNative { at, .. }
            | Event::Deadlock { at, .. }
            | Event::QueueLength { at, .. }
            | Event::Collected { at, .. }
            | Event::Sample { at, .. }
            | Event::Lost { at, .. } => Some(*at),
            Event::OffCpu(off) => Some(off.end),
            Event::Account { account, .. } => Some(account.at),
            Event::Process { .. }
            | Event::ProcessTitled { .. }
            | Event::ThreadNamed { .. }
            | Event::Lock { .. }
            | Event::Object { .. } => None,
        }
    }

    /// Gives it other ids.
    pub fn renumber(&mut self, to: &mut impl Renumber) {
        match self {
            Event::Process { process, .. }
            | Event::ProcessTitled { process, .. }
            | Event::Collected { process, .. } => *process = to.process(*process),
            Event::ThreadStarted { thread, process, .. } => {
                *process = to.process(*process);
                *thread = to.thread(*thread);
            }
            Event::ThreadNamed { thread, .. }
            | Event::ThreadExited { thread, .. }
            | Event::HeldInNative { thread, .. }
            | Event::QueueLength { thread, .. }
            | Event::Account { thread, .. } => *thread = to.thread(*thread),
            Event::Gil { gil, info, .. } => {
                let process = to.process(info.process);
                if process != info.process {
                    Arc::make_mut(info).process = process;
                }
                *gil = to.gil(*gil);
            }
            Event::Lock { lock, info } => {
                let process = to.process(info.process);
                if process != info.process {
                    Arc::make_mut(info).process = process;
                }
                *lock = to.lock(*lock);
            }
            Event::LockHeld { lock, thread, .. } => {
                *lock = to.lock(*lock);
                *thread = to.thread(*thread);
            }
            Event::OffCpu(off) => {
                off.thread = to.thread(off.thread);
                off.state = to.state(off.state);
                if let Some(by) = off.wake.as_mut().and_then(|wake| wake.by.as_mut()) {
                    *by = to.thread(*by);
                }
                if let Some(glimpse) = &mut off.gil {
                    glimpse.gil = to.gil(glimpse.gil);
                    glimpse.holder = glimpse.holder.map(|holder| to.thread(holder));
                }
            }
            Event::Sample { thread, state, gil, .. } | Event::Lost { thread, state, gil, .. } => {
                *thread = to.thread(*thread);
                *state = to.state(*state);
                *gil = gil.map(|gil| to.gil(gil));
            }
            Event::Object { object, info } => {
                let (process, owner) = (to.process(info.process), info.owner.map(|owner| to.thread(owner)));
                if (process, owner) != (info.process, info.owner) {
                    let info = Arc::make_mut(info);
                    (info.process, info.owner) = (process, owner);
                }
                *object = to.object(*object);
            }
            Event::Access { thread, accessed, .. } => {
                *thread = to.thread(*thread);
                if let Accessed::Count { object, .. } | Accessed::Header { object, .. } = accessed {
                    *object = to.object(*object);
                }
            }
            Event::Spin { thread, lock, .. } => {
                *thread = to.thread(*thread);
                *lock = lock.map(|lock| to.lock(lock));
            }
            Event::Deadlock { threads, .. } => {
                threads.iter_mut().for_each(|(thread, _)| *thread = to.thread(*thread));
            }
            Event::RecordsLost { .. } => {}
        }
    }
}
