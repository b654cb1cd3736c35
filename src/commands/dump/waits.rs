//! Which locks the threads of a dump wait for, who holds them, and whether they wait for each other in a circle. Called
//! by [`super::dump`]; no thread is stopped for it, so what moves meanwhile can be missed, but not invented: a circle
//! is told of only if it is there when looked for again.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::cpython::layout::Layout;
use crate::cpython::locks::{How, LOCK, Lock, Place, identify, in_critical_section, is_buffered, lock_kind, owner};
use crate::cpython::names::active;
use crate::cpython::objects::Objects;
use crate::cpython::variables::{FrameAddr, Wanted, find};
use crate::event::{LockKind, MODULE, Syscall, ThreadState, Tid};
use crate::interpreter::locks::place_of;
use crate::interpreter::threads::Thread;
use crate::interpreter::with_locks::{self, Held};
use crate::process::memory::Memory;
use crate::sampler::Sampler;
use crate::stack::idle_wait::{Work, import_site, work};
use crate::stack::{Interner, StackId};

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    /// None if it is the end of a thread. In JSON as in the report's: `threading.RLock`; `join` for the end of a thread.
    #[serde(rename = "kind", serialize_with = "kind")]
    lock: Option<LockKind>,
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

fn kind<S: Serializer>(lock: &Option<LockKind>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(lock.map_or(Work::Join.name(), LockKind::name))
}

impl WaitsFor {
    fn new(lock: Lock, held_by: Option<Tid>) -> WaitsFor {
        let Lock { address, kind, type_name, name } = lock;
        WaitsFor { lock: Some(kind), type_name, name, address, held_by }
    }

    /// It waits for a thread, not for a lock.
    pub fn is_join(&self) -> bool {
        self.lock.is_none()
    }

    /// `threading.RLock (app.lock)`, for people.
    pub fn label(&self) -> String {
        match self.lock {
            Some(kind) => kind.label(self.type_name.as_deref(), self.name.as_deref(), self.address),
            None => "the end of a thread".to_owned(),
        }
    }
}

/// What every thread that waits for a lock or a thread waits for. `held` are locks that threads hold by `with`.
pub fn waits(
    memory: &impl Memory,
    layout: &Layout,
    runtime: u64,
    sampler: &Sampler,
    held: &[Held],
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
        let Some(futex) = thread.futex() else { continue };
        let (how, address) = How::of(memory, layout, &futex);
        if how == How::Other && thread.stack == StackId::EMPTY {
            // Code that is not Python has conditions of its own.
            continue;
        }
        let import = import_site(stacks, thread.stack);
        let module = import.and_then(|_| module(memory, layout, thread)).unwrap_or_default();
        let import = import.map(|frame| module.name.unwrap_or_else(|| place_of(stacks, frame)));
        let mut lock = identify(memory, layout, place, how, address).or_of_module(import);
        let owner = module.importer.or_else(|| owner(memory, layout, lock.kind, lock.address, None));
        let mut held_by = owner.map_or_else(|| holder(address), by_ident);
        if lock.kind.has_no_owner()
            && let Some(held) = with_locks::holder(held, [lock.address; 2])
        {
            lock = Lock { type_name: Some(LOCK.to_owned()), ..Lock::new(held.lock, LockKind::Lock) };
            held_by = Some(held.tid);
        }
        match lock.kind {
            LockKind::Semaphore | LockKind::Mutex => wanted.semaphores.insert(lock.address),
            _ => wanted.objects.insert(lock.address),
        };
        found.insert(thread.os.tid(), WaitsFor::new(lock, held_by));
    }
    name(memory, layout, &interpreters, &frames(sampler), &wanted, by_ident, &mut found);
    found
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
            // That of a buffered file stays what it is.
            let kind = lock_kind(&found.type_name).or(waits.lock.filter(|_| is_buffered(&found.type_name)));
            if let Some(kind) = kind {
                (waits.lock, waits.address) = (Some(kind), found.object);
                let owner = || owner(memory, layout, kind, found.object, Some(&found.type_name));
                waits.held_by = waits.held_by.or_else(|| owner().and_then(&by_ident));
            }
        }
    }
}

/// A module that is being imported.
#[derive(Debug, Default)]
struct Module {
    /// What it is called, in words.
    name: Option<String>,
    /// `threading.get_ident()` of the thread that imports it.
    importer: Option<u64>,
}

/// The module that a thread waits for until another has imported it: `self` in the frame of `_ModuleLock.acquire`.
fn module(memory: &impl Memory, layout: &Layout, thread: &Thread) -> Option<Module> {
    let objects = Objects { memory, layout };
    let frame = thread.slots.iter().flat_map(|slot| slot.reader.frames()).next()?;
    let lock = memory.u64(frame.addr.wrapping_add(layout.frame.locals)).ok()? & !7;
    let attribute = |name| objects.attribute(lock, name).ok().flatten();
    let name = attribute("name").and_then(|name| objects.string(name).ok());
    let importer = attribute("owner").and_then(|owner| objects.integer(owner)).filter(|&ident| ident > 0);
    Some(Module { name: name.map(|name| format!("{MODULE}{name}")), importer: importer.map(|ident| ident as u64) })
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
    Some(WaitsFor { lock: None, type_name: None, name: None, address, held_by })
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
        let waits =
            |held_by| WaitsFor { held_by: Some(held_by), ..WaitsFor::new(Lock::new(0x10, LockKind::RLock), None) };
        edges.iter().map(|&(from, to)| (from, waits(to))).collect()
    }

    #[test]
    fn circles_are_found_once_and_who_waits_for_one_is_not_in_it() {
        assert_eq!(circles(&edges(&[(1, 2), (2, 3)])), [] as [Vec<Tid>; 0]);
        assert_eq!(circles(&edges(&[(7, 5), (5, 6), (6, 7)])), [vec![5, 6, 7]]);
        assert_eq!(circles(&edges(&[(1, 5), (5, 6), (6, 5), (9, 9)])), [vec![5, 6], vec![9]]);
    }
}
