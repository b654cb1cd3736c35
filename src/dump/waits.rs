//! Which locks the threads of a dump wait for, who holds them, and whether they wait for each other in a circle. Called
//! by [`super::dump`]; no thread is stopped for it, so what moves meanwhile can be missed, but not invented: a circle
//! is told of only if it is there when looked for again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::{LockKind, Syscall, ThreadState, Tid, object_label};
use crate::intern::{Interner, StackId};
use crate::lockstats::work::{Work, import_site, work};
use crate::sampler::Sampler;
use crate::sampler::locks::place_of;
use crate::sampler::thread::Thread;
use crate::target::layout::Layout;
use crate::target::locks::{How, Lock, Place, identify, in_critical_section, is_buffered, lock_kind, owner};
use crate::target::memory::Memory;
use crate::target::names::active;
use crate::target::variables::{FrameAddr, Wanted, find};

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    /// As in the report: `threading.RLock`; `join` for the end of a thread.
    kind: String,
    /// The type of the object.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    /// A variable that holds it, or the interpreter's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: u64,
    /// Who has to do something before the thread can go on, if that is known.
    pub held_by: Option<Tid>,
}

impl WaitsFor {
    /// It waits for a thread, not for a lock.
    pub fn is_join(&self) -> bool {
        self.kind == Work::Join.name()
    }

    /// `threading.RLock (app.lock)`, for people.
    pub fn label(&self) -> String {
        if self.is_join() {
            return "the end of a thread".to_owned();
        }
        let (kind, name) = (&self.kind, self.name.as_deref());
        match (&self.type_name, name) {
            (Some(type_name), name) if *kind == LockKind::CriticalSection.name() => {
                object_label(type_name, name, self.address)
            }
            (Some(type_name), name) if is_buffered(type_name) => {
                format!("lock of {}", object_label(type_name, name, self.address))
            }
            (_, Some(name)) => format!("{kind} ({name})"),
            (_, None) => format!("{kind} at {:#x}", self.address),
        }
    }
}

/// What every thread that waits for a lock or a thread waits for.
pub fn waits(
    memory: &impl Memory,
    layout: &Layout,
    runtime: u64,
    sampler: &Sampler,
    stacks: &Interner,
) -> BTreeMap<Tid, WaitsFor> {
    let interpreters: Vec<u64> = sampler.interpreters().iter().map(|interpreter| interpreter.addr).collect();
    let slots = || sampler.threads().iter().flat_map(|thread| thread.slots.iter().map(move |slot| (thread, slot)));
    let tstates: Vec<u64> = slots().map(|(_, slot)| slot.reader.tstate()).collect();
    let place = Place { pid: sampler.pid(), runtime, interpreters: &interpreters, tstates: &tstates };
    let by_ident = |ident: u64| slots().find(|(_, slot)| slot.ident() == ident).map(|(thread, _)| thread.os.tid());
    let holder = |mutex| {
        let holds = |tstate| in_critical_section(memory, layout, tstate, mutex);
        slots().find(|(_, slot)| holds(slot.reader.tstate())).map(|(thread, _)| thread.os.tid())
    };
    let mut found = BTreeMap::new();
    let mut wanted = Wanted::default();
    for thread in sampler.threads() {
        if thread.state() != ThreadState::Blocked(Syscall::FUTEX) {
            continue;
        }
        let joins = match work(stacks, thread.stack) {
            Some(Work::Join) => true,
            Some(_) => continue,
            None => false,
        };
        if joins {
            found.extend(
                joined(memory, layout, &interpreters, thread, by_ident).map(|waits| (thread.os.tid(), waits)),
            );
            continue;
        }
        let Some(futex) = thread.os.futex() else { continue };
        let (how, address) = How::of(memory, layout, &futex);
        if how == How::Other && thread.stack == StackId::EMPTY {
            // Code that is not Python has conditions of its own.
            continue;
        }
        let import = import_site(stacks, thread.stack).map(|frame| place_of(stacks, frame));
        let lock = identify(memory, layout, place, how, address).or_of_module(import);
        let held_by = owner(memory, layout, &lock).map_or_else(|| holder(address), by_ident);
        match lock.kind {
            LockKind::Semaphore | LockKind::Mutex => wanted.semaphores.insert(lock.address),
            _ => wanted.objects.insert(lock.address),
        };
        found.insert(thread.os.tid(), (lock, held_by).into());
    }
    name(memory, layout, &interpreters, &frames(sampler), &wanted, by_ident, &mut found);
    found
}

impl From<(Lock, Option<Tid>)> for WaitsFor {
    fn from((lock, held_by): (Lock, Option<Tid>)) -> WaitsFor {
        let Lock { address, kind, type_name, name } = lock;
        WaitsFor { kind: kind.name().to_owned(), type_name, name, address, held_by }
    }
}

/// Names what can be reached by a variable. A semaphore is known to be a lock only then.
fn name(
    memory: &impl Memory,
    layout: &Layout,
    interpreters: &[u64],
    frames: &[FrameAddr],
    wanted: &Wanted,
    by_ident: impl Fn(u64) -> Option<Tid>,
    waits: &mut BTreeMap<Tid, WaitsFor>,
) {
    if wanted.objects.is_empty() && wanted.semaphores.is_empty() {
        return;
    }
    for &interpreter in interpreters {
        let Ok(found) = find(memory, layout, interpreter, frames, wanted) else { continue };
        for waits in waits.values_mut().filter(|waits| waits.name.is_none()) {
            let Some(found) = found.get(&waits.address) else { continue };
            waits.name = Some(found.name.clone());
            waits.type_name = Some(found.type_name.clone());
            let kind = lock_kind(&found.type_name);
            if kind.is_some() || is_buffered(&found.type_name) {
                let kind = kind.unwrap_or(LockKind::Semaphore);
                waits.kind = kind.name().to_owned();
                waits.address = found.object;
                let lock = Lock { type_name: waits.type_name.clone(), ..Lock::new(found.object, kind) };
                waits.held_by = waits.held_by.or_else(|| owner(memory, layout, &lock).and_then(&by_ident));
            }
        }
    }
}

/// The thread whose end another waits for: `self` in the frame of `Thread.join`.
fn joined(
    memory: &impl Memory,
    layout: &Layout,
    interpreters: &[u64],
    thread: &Thread,
    by_ident: impl Fn(u64) -> Option<Tid>,
) -> Option<WaitsFor> {
    let known: Vec<_> =
        interpreters.iter().flat_map(|&interp| active(memory, layout, interp).unwrap_or_default()).collect();
    let frames = thread.slots.iter().flat_map(|slot| slot.reader.frames());
    // In 3.8 to 3.12 `join` has called a function that waits; both have `self` as their first variable.
    let ident = frames.take(2).find_map(|frame| {
        let first = memory.u64(frame.addr.wrapping_add(layout.frame.locals)).ok()? & !7;
        known.iter().find(|(_, object)| *object == first)
    });
    let &(ident, address) = ident?;
    let held_by = by_ident(ident).filter(|&tid| tid != thread.os.tid());
    Some(WaitsFor { kind: Work::Join.name().to_owned(), type_name: None, name: None, address, held_by })
}

fn frames(sampler: &Sampler) -> Vec<FrameAddr> {
    let slots = sampler.threads().iter().flat_map(|thread| &thread.slots);
    slots.flat_map(|slot| slot.reader.frames()).map(|frame| (frame.addr, frame.code)).collect()
}

/// The circles: threads each of which waits for the next, and the last for the first.
pub fn circles(waits: &BTreeMap<Tid, WaitsFor>) -> Vec<Vec<Tid>> {
    let next = |tid: Tid| waits.get(&tid).and_then(|waits| waits.held_by);
    let mut circles: Vec<Vec<Tid>> = Vec::new();
    for &start in waits.keys() {
        let mut path = vec![start];
        while let Some(tid) = path.last().and_then(|&tid| next(tid)) {
            if tid == start {
                // Each is found from each of its threads; the one with the smallest number comes first.
                if path.iter().all(|&other| other >= start) {
                    circles.push(path);
                }
                break;
            }
            if path.contains(&tid) {
                break;
            }
            path.push(tid);
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(edges: &[(Tid, Tid)]) -> BTreeMap<Tid, WaitsFor> {
        let waits = |held_by| WaitsFor {
            kind: "threading.RLock".to_owned(),
            type_name: None,
            name: None,
            address: 0x10,
            held_by: Some(held_by),
        };
        edges.iter().map(|&(from, to)| (from, waits(to))).collect()
    }

    #[test]
    fn circles_are_found_once_and_who_waits_for_one_is_not_in_it() {
        assert_eq!(circles(&edges(&[(1, 2), (2, 3)])), [] as [Vec<Tid>; 0]);
        assert_eq!(circles(&edges(&[(7, 5), (5, 6), (6, 7)])), [vec![5, 6, 7]]);
        assert_eq!(circles(&edges(&[(1, 5), (5, 6), (6, 5), (9, 9)])), [vec![5, 6], vec![9]]);
    }
}
