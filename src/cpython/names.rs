//! Thread names: `threading._active` read from outside. Called by the sampler when threads come, and by `dump`.

use std::sync::Arc;

use super::layout::Layout;
use super::objects::{ObjectError, Objects};
use crate::process::memory::Memory;

/// Finds `threading._active` in one interpreter and remembers where it is.
#[derive(Debug, Default)]
pub struct ThreadNames {
    active: Option<u64>,
}

impl ThreadNames {
    /// Pairs of `threading.get_ident()` and name of those threads that are `wanted` and that `threading` of the
    /// interpreter at `interp` knows; empty as long as it has not been imported.
    pub fn read(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        interp: u64,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Vec<(u64, Arc<str>)>, ObjectError> {
        let objects = Objects { memory, layout };
        let active = match self.active {
            Some(active) => active,
            None => match find_active(&objects, interp)? {
                Some(active) => active,
                None => return Ok(Vec::new()),
            },
        };
        // `_active` is replaced in a forked child: look it up again when it does not read well any more.
        let entries = objects.dict(active).inspect_err(|_| self.active = None)?;
        self.active = (!entries.is_empty()).then_some(active);
        let name_of = |thread: u64| {
            let name = objects.attribute(thread, "_name").ok()??;
            objects.string(name).ok()
        };
        let wanted = entries.iter().filter(|entry| wanted(entry.hash));
        Ok(wanted.filter_map(|entry| Some((entry.hash, name_of(entry.value)?.into()))).collect())
    }
}

/// Pairs of `threading.get_ident()` and `threading.Thread` object of all threads that `threading` of the interpreter at
/// `interp` knows.
pub fn active(memory: &impl Memory, layout: &Layout, interp: u64) -> Result<Vec<(u64, u64)>, ObjectError> {
    let objects = Objects { memory, layout };
    let Some(active) = find_active(&objects, interp)? else { return Ok(Vec::new()) };
    Ok(objects.dict(active)?.into_iter().map(|entry| (entry.hash, entry.value)).collect())
}

/// Address of the dict `sys.modules["threading"]._active`.
fn find_active<M: Memory>(objects: &Objects<'_, M>, interp: u64) -> Result<Option<u64>, ObjectError> {
    let modules = objects.memory.u64(interp.wrapping_add(objects.layout.interp_modules))?;
    if modules == 0 {
        return Ok(None);
    }
    match objects.lookup(&objects.dict(modules)?, "threading")? {
        Some(threading) => objects.module_variable(threading, "_active"),
        None => Ok(None),
    }
}
