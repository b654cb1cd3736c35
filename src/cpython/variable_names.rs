//! What to call the way that leads to an object: `app.inventory`, `Ledger.lock`, `lock in withdraw`. Called by
//! [`super::variables`] for what it has found.

use super::objects::Objects;
use super::variables::NameRank;
use crate::event::MODULE;
use crate::process::memory::Memory;

/// One step of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathStep {
    /// A module, by its name, which is the object at this address.
    Module(u64),
    /// A variable or an attribute, likewise.
    Attribute(u64),
    /// An attribute in a slot, by a name of C.
    Slot(u64),
    /// A local variable, likewise, of the function with this name, or one that it has from around it.
    Local(u64, u64),
    /// The value under a string key, likewise.
    Key(u64),
    /// An item of a list or tuple.
    Item(usize),
    /// The dict of a module's, class's or instance's attributes.
    Dict,
    /// What is in a cell.
    Content,
    /// A field of an object written in C.
    Field(&'static str),
    /// Such a field whose name is not known.
    Inside,
}

/// Classes of `threading` that have locks of their own, which say nothing about the program.
const SYNCHRONIZERS: [&str; 5] = ["Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"];

/// An object on a way, and the step that leads to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathNode {
    pub object: u64,
    pub step: PathStep,
}

/// The name of a way, which begins with a module or a local variable.
pub(super) fn name_of_path<M: Memory>(objects: &Objects<'_, M>, path: &[PathNode]) -> Option<(NameRank, String)> {
    if let [before @ .., PathNode { step: PathStep::Inside, .. }] = path {
        let (rank, name) = name_of_path(objects, before)?;
        return Some((rank, format!("inside {name}")));
    }
    let (root, rest) = path.split_first()?;
    let text = |addr| objects.string(addr).ok();
    match root.step {
        PathStep::Module(module) => {
            let mut name = module_name(objects, text(module)?, root.object);
            match rest {
                // The dict of a module is an object of its own.
                [PathNode { step: PathStep::Dict, .. }] => name = format!("{MODULE}{name}"),
                _ => append(objects, &mut name, rest)?,
            }
            Some((NameRank::Module, name))
        }
        PathStep::Local(variable, function) => {
            if let Some(name) = by_class(objects, path) {
                let class = name.split('.').next().unwrap_or_default();
                let rank = if SYNCHRONIZERS.contains(&class) { NameRank::Local } else { NameRank::Attribute };
                return Some((rank, name));
            }
            let mut name = text(variable)?;
            append(objects, &mut name, rest)?;
            Some((NameRank::Local, format!("{name} in {}", text(function)?)))
        }
        _ => None,
    }
}

/// The attribute at the end of a way by the class of the object that has it, since the variable that leads to that is a
/// function's: `Ledger.lock` for `self.lock`, `Pool.queue.mutex` for `pools[1].queue.mutex`.
fn by_class<M: Memory>(objects: &Objects<'_, M>, path: &[PathNode]) -> Option<String> {
    let is_attribute =
        |node: &PathNode| matches!(node.step, PathStep::Attribute(_) | PathStep::Slot(_) | PathStep::Dict);
    let attributes = path.iter().rev().take_while(|node| is_attribute(node)).count();
    let (before, attributes) = path.split_at(path.len() - attributes);
    if attributes.is_empty() {
        return None;
    }
    let mut name = objects.class_of_program(before.last()?.object)?;
    append(objects, &mut name, attributes)?;
    Some(name)
}

/// Adds steps to a name.
fn append<M: Memory>(objects: &Objects<'_, M>, name: &mut String, path: &[PathNode]) -> Option<()> {
    let text = |addr| objects.string(addr).ok();
    for (index, node) in path.iter().enumerate() {
        let step = match node.step {
            PathStep::Module(_) | PathStep::Local(..) | PathStep::Inside => return None,
            PathStep::Attribute(attribute) => format!(".{}", text(attribute)?),
            PathStep::Slot(slot) => format!(".{}", objects.text(slot)?),
            PathStep::Key(key) => text(key).map_or("[...]".to_owned(), |key| format!("[{key:?}]")),
            PathStep::Item(item) => format!("[{item}]"),
            PathStep::Field(field) => format!(".{field}"),
            // The dict of a class or instance is an object of its own.
            PathStep::Dict if index + 1 == path.len() => ".__dict__".to_owned(),
            PathStep::Dict | PathStep::Content => continue,
        };
        name.push_str(&step);
    }
    Some(())
}

/// What people call a module: the script that was started, by its name.
fn module_name<M: Memory>(objects: &Objects<'_, M>, name: String, module: u64) -> String {
    let script = || {
        let file = objects.module_variable(module, "__file__").ok()??;
        let file = objects.string(file).ok()?;
        let stem = file.rsplit('/').next()?.strip_suffix(".py")?;
        (!stem.is_empty() && stem != "__main__").then(|| stem.to_owned())
    };
    match name.as_str() {
        "__main__" => script().unwrap_or(name),
        _ => name,
    }
}
