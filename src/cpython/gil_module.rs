//! Which extension module has switched the GIL of a free-threaded build on. Called when that has happened.

use super::layout::Layout;
use super::objects::{ObjectError, Objects};
use crate::process::memory::Memory;

/// `PyModuleObject` on free-threaded builds: where it points to its definition, and what says whether it needs the GIL.
#[derive(Clone, Copy)]
struct ModuleLayout {
    /// `md_def` (3.13, 3.14) or `md_token` (3.15): not 0 in extension modules.
    definition: u64,
    /// `md_gil` (3.13, 3.14) or `md_requires_gil` (3.15).
    gil: u64,
    /// What that byte is in a module that needs it: `Py_MOD_GIL_USED`, or true.
    needs_gil: u8,
}

/// The first module in `sys.modules` of the interpreter at `interp` that does not declare that it can do without the
/// GIL. Modules are there in the order of their import, and the first of them switches the GIL on.
///
/// # Errors
/// [`ObjectError`] if the dict cannot be read, for example because it is being changed.
pub fn needing_gil(memory: &impl Memory, layout: &Layout, interp: u64) -> Result<Option<String>, ObjectError> {
    let fields = match layout.version.minor {
        13 | 14 => ModuleLayout { definition: 40, gil: 72, needs_gil: 0 },
        15 => ModuleLayout { definition: 104, gil: 65, needs_gil: 1 },
        _ => return Ok(None),
    };
    let objects = Objects { memory, layout };
    let modules = memory.u64(interp.wrapping_add(layout.interp_modules))?;
    for entry in objects.dict(modules)? {
        // Anything may be put into `sys.modules`.
        let is_module = objects.type_of(entry.value).and_then(|class| objects.type_name(class));
        if is_module.as_deref() != Ok("module") {
            continue;
        }
        let mut gil = [0];
        memory.read(entry.value.wrapping_add(fields.gil), &mut gil)?;
        let definition = memory.u64(entry.value.wrapping_add(fields.definition))?;
        if definition != 0 && gil[0] == fields.needs_gil {
            return Ok(Some(objects.string(entry.key)?));
        }
    }
    Ok(None)
}
