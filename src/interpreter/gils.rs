//! The GILs of a process, reported as they appear and change. Called by both collectors after each refresh of their
//! [`Registry`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::registry::{Registry, Sink};
use crate::cpython::gil_module::needing_gil;
use crate::cpython::layout::Layout;
use crate::event::{Event, GilId, GilInfo, Nanos, ProcessId};
use crate::process::memory::Memory;

#[derive(Debug, Default)]
pub struct Gils {
    known: FxHashMap<u64, (GilId, Arc<GilInfo>)>,
}

impl Gils {
    /// Reports GILs that are new, or have been switched on or off. Returns whether there are new ones.
    pub fn update(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        process: ProcessId,
        registry: &Registry,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> bool {
        let before = self.known.len();
        // The oldest interpreter that uses a GIL owns it; it is the last in the list.
        for interpreter in registry.interpreters.iter().rev().filter(|interpreter| interpreter.gil.addr != 0) {
            let (addr, enabled) = (interpreter.gil.addr, interpreter.gil.enabled);
            let known = self.known.get(&addr);
            if known.is_some_and(|(_, info)| info.enabled == enabled) {
                continue;
            }
            let interval = memory.u64(addr.wrapping_add(layout.gil.interval)).unwrap_or(0);
            let info = Arc::new(GilInfo {
                process,
                interpreter: known.map_or(interpreter.id, |(_, info)| info.interpreter),
                enabled,
                switch_interval_ns: interval.saturating_mul(1000),
            });
            let gil = match known {
                Some(&(gil, _)) => gil,
                None => sink.ids.gil(),
            };
            // Only a GIL that was off before was switched on by a module.
            let switched_on = enabled && known.is_some_and(|(_, info)| !info.enabled);
            let module = switched_on.then(|| needing_gil(memory, layout, interpreter.addr).ok().flatten()).flatten();
            self.known.insert(addr, (gil, info.clone()));
            sink.events.push(Event::Gil { at: now, gil, info, switched_on_by: module.map(Into::into) });
        }
        self.known.len() > before
    }

    pub fn get(&self, addr: u64) -> Option<GilId> {
        self.known.get(&addr).map(|&(gil, _)| gil)
    }

    pub fn addrs(&self) -> Vec<u64> {
        self.known.keys().copied().collect()
    }
}
