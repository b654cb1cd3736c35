//! Which extension module has switched the GIL of a free-threaded build on. Called when that has happened.

use super::layout::Layout;
use super::objects::{ObjectError, Objects};
use crate::process::memory::Memory;

/// The first module in `sys.modules` of the interpreter at `interp` that does not declare that it can do without the
/// GIL. Modules are there in the order of their import, and the first of them switches the GIL on.
///
/// # Errors
/// [`ObjectError`] if the dict cannot be read, for example because it is being changed.
pub fn needing_gil(memory: &impl Memory, layout: &Layout, interp: u64) -> Result<Option<String>, ObjectError> {
    let o = &layout.object;
    let (Some(definition_at), Some(gil_at)) = (o.module_definition, o.module_gil) else { return Ok(None) };
    // `md_gil` is `Py_MOD_GIL_USED` in a module that needs it (3.13, 3.14), `md_requires_gil` is true (3.15).
    let needs_gil = u8::from(layout.version.minor >= 15);
    let objects = Objects { memory, layout };
    let modules = memory.u64(interp.wrapping_add(layout.interp_modules))?;
    for entry in objects.dict(modules)? {
        // Anything may be put into `sys.modules`.
        let is_module = objects.type_of(entry.value).and_then(|class| objects.type_name(class));
        if is_module.as_deref() != Ok("module") {
            continue;
        }
        let mut gil = [0];
        memory.read(entry.value.wrapping_add(gil_at), &mut gil)?;
        let definition = memory.u64(entry.value.wrapping_add(definition_at))?;
        // Modules written in Python have no definition.
        if definition != 0 && gil[0] == needs_gil {
            return Ok(Some(objects.string(entry.key)?));
        }
    }
    Ok(None)
}
