//! Which module a thread waits for that another is importing: read from the frame in which it waits, while it does. Used by
//! [`super::waits`] and by the sampler.

use super::threads::ObservedThread;
use super::view::InterpreterView;
use crate::cpython::frames::{RawFrame, TAG_BITS};
use crate::event::MODULE;
use crate::process::memory::Memory;

/// A module that is being imported.
#[derive(Debug, Default)]
pub(crate) struct ImportedModule {
    /// `module app`
    pub name: Option<String>,
    /// `threading.get_ident()` of the thread that imports it.
    pub importer: Option<u64>,
}

/// The module that a thread waits for until another has imported it: `self` in the frame of `_ModuleLock.acquire`.
pub(crate) fn imported_module(
    view: InterpreterView<'_, impl Memory>,
    thread: &ObservedThread,
) -> Option<ImportedModule> {
    let objects = view.objects();
    let lock = first_local(view, thread.slots.iter().flat_map(|slot| slot.reader.frames()).next()?)?;
    let attribute = |name| objects.attribute(lock, name).ok().flatten();
    let name = attribute("name").and_then(|name| objects.string(name).ok());
    let importer = attribute("owner").and_then(|owner| objects.integer(owner)).filter(|&ident| ident > 0);
    Some(ImportedModule {
        name: name.map(|name| format!("{MODULE}{name}")),
        importer: importer.map(|ident| ident as u64),
    })
}

/// The first variable of a frame: `self` of a method.
pub(crate) fn first_local(view: InterpreterView<'_, impl Memory>, frame: &RawFrame) -> Option<u64> {
    let InterpreterView { memory, layout, .. } = view;
    Some(memory.u64(frame.addr.wrapping_add(layout.frame.locals)).ok()? & !TAG_BITS)
}
