//! The locks of the handlers of `logging`, by the loggers that have them. Called by [`super::variables`] before a search.

use super::objects::{ObjectError, Objects};
use crate::event::HANDLER;
use crate::process::memory::Memory;

/// Most loggers that are looked at.
const MAX_LOGGERS: usize = 2000;
/// Most handlers of one logger.
const MAX_HANDLERS: u64 = 64;

/// Pairs of the lock of a handler and what to call it, of all loggers that the module `logging` knows. What cannot be read is
/// left out.
pub(super) fn handler_locks<M: Memory>(objects: &Objects<'_, M>, logging: u64) -> Vec<(u64, String)> {
    let mut locks = Vec::new();
    if let Ok(Some(root)) = objects.module_variable(logging, "root") {
        locks.extend(locks_of(objects, root, "the root logger").unwrap_or_default());
    }
    for (name, logger) in loggers(objects, logging).unwrap_or_default() {
        let Ok(name) = objects.string(name) else { continue };
        locks.extend(locks_of(objects, logger, &format!("logger {name:?}")).unwrap_or_default());
    }
    locks
}

/// Names and loggers, those of `logging.Logger.manager.loggerDict`.
fn loggers<M: Memory>(objects: &Objects<'_, M>, logging: u64) -> Result<Vec<(u64, u64)>, ObjectError> {
    let Some(class) = objects.module_variable(logging, "Logger")? else { return Ok(Vec::new()) };
    let Some(manager) = objects.attribute(class, "manager")? else { return Ok(Vec::new()) };
    let Some(loggers) = objects.attribute(manager, "loggerDict")? else { return Ok(Vec::new()) };
    let entries = objects.dict(loggers)?.into_iter().take(MAX_LOGGERS);
    Ok(entries.map(|entry| (entry.key, entry.value)).collect())
}

fn locks_of<M: Memory>(
    objects: &Objects<'_, M>,
    logger: u64,
    logger_name: &str,
) -> Result<Vec<(u64, String)>, ObjectError> {
    // Placeholders for loggers that nobody has asked for have none.
    let Some(handlers) = objects.attribute(logger, "handlers")? else { return Ok(Vec::new()) };
    let o = &objects.layout.object;
    let count = objects.memory.u64(handlers.wrapping_add(o.ob_size))?.min(MAX_HANDLERS);
    let items = objects.memory.u64(handlers.wrapping_add(o.list_items))?;
    let mut locks = Vec::new();
    for index in 0..count {
        let handler = objects.memory.u64(items.wrapping_add(8 * index))?;
        let Ok(Some(lock)) = objects.attribute(handler, "lock") else { continue };
        let class = if count > 1 { objects.class_of_program(handler) } else { None };
        let class = class.map(|class| format!(" ({class})")).unwrap_or_default();
        locks.push((lock, format!("{HANDLER}{logger_name}{class}")));
    }
    Ok(locks)
}
