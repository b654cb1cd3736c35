//! Which variable leads to an object: `app.inventory`, `logging.root.handlers[0].lock`. Called for locks and shared
//! objects that have no name yet, by `sampler/search.rs` now and then, and by `dump`.
//!
//! The search starts at the variables of all modules and of the functions that run, and goes on through the attributes
//! of instances and classes, through lists, tuples and dicts, and through the variables that functions have from around
//! them, in breadth: the shortest way is found first. It is bounded, and what changes under it is skipped.

use std::mem;

use rustc_hash::{FxHashMap, FxHashSet};

use super::layout::Layout;
use super::locks::lock_kind;
use super::memory::{Memory, Span};
use super::objects::{ObjectError, Objects};

/// So many values are looked at, at most.
const MOST_VALUES: usize = 200_000;
/// Longer ways say nothing to a person.
const MOST_STEPS: usize = 5;
/// So many items of one container are looked at.
const MOST_ITEMS: usize = 1000;

/// What to look for: addresses of objects, or of the semaphores that lock objects have (3.13.0 and older).
#[derive(Debug, Default)]
pub struct Wanted {
    /// Objects.
    pub objects: FxHashSet<u64>,
    /// Semaphores.
    pub semaphores: FxHashSet<u64>,
}

impl Wanted {
    /// Nothing is.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.semaphores.is_empty()
    }
}

/// A variable that leads to something wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The object.
    pub object: u64,
    /// Its type.
    pub type_name: String,
    /// The variable.
    pub name: String,
}

/// One step of a way.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A module, by its name, which is the object at this address.
    Module(u64),
    /// A variable or an attribute, likewise.
    Attribute(u64),
    /// A local variable, likewise, of the function with this name, or one that it has from around it.
    Local(u64, u64),
    /// The value under a string key, likewise.
    Key(u64),
    /// An item of a list or tuple.
    Item(usize),
    /// A module's or class's own dict.
    Dict,
    /// What is in a cell.
    Content,
}

/// An object on a way.
#[derive(Clone, Copy, Debug)]
struct Node {
    object: u64,
    /// The number of the object before.
    from: usize,
    step: Step,
    depth: usize,
}

/// What can be done with the objects of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Module,
    Dict,
    List,
    Tuple,
    /// Holds a variable that functions share.
    Cell,
    Type,
    Function,
    Instance,
    Lock,
    Other,
}

struct Search<'a, M> {
    objects: Objects<'a, M>,
    wanted: &'a Wanted,
    nodes: Vec<Node>,
    seen: FxHashSet<u64>,
    classes: FxHashMap<u64, Class>,
    found: FxHashMap<u64, Found>,
}

/// A frame: its address and that of its code object.
pub type FrameAddr = (u64, u64);

/// Looks for what is wanted in the interpreter at `interp`, and in the frames of its threads. By what was wanted: the
/// object's or semaphore's address.
///
/// # Errors
/// `sys.modules` cannot be read, for example because it is being changed.
pub fn find(
    memory: &impl Memory,
    layout: &Layout,
    interp: u64,
    frames: &[FrameAddr],
    wanted: &Wanted,
) -> Result<FxHashMap<u64, Found>, ObjectError> {
    let objects = Objects { memory, layout };
    let modules = objects.dict(memory.u64(interp.wrapping_add(layout.interp_modules))?)?;
    let mut search = Search {
        objects,
        wanted,
        nodes: Vec::new(),
        seen: FxHashSet::default(),
        classes: FxHashMap::default(),
        found: FxHashMap::default(),
    };
    // They are gone soon, other than what is in modules.
    let mut locals: Vec<_> = frames.iter().flat_map(|&frame| search.locals(frame).unwrap_or_default()).collect();
    search.add(0, 0, modules.iter().map(|entry| (entry.value, Step::Module(entry.key))).collect());
    let mut next = 0;
    while next < search.nodes.len() && search.found.len() < wanted.objects.len() + wanted.semaphores.len() {
        let Node { object, depth, .. } = search.nodes[next];
        if depth > 1 {
            // A module's variable is a better name than a local one, and that is better than anything longer.
            search.add(0, 1, mem::take(&mut locals));
        }
        let values = search.values(object).unwrap_or_default();
        search.add(next, depth, values);
        next += 1;
    }
    Ok(search.found)
}

impl<M: Memory> Search<'_, M> {
    /// Adds the values that an object leads to, and takes note of those that are wanted.
    fn add(&mut self, from: usize, depth: usize, mut values: Vec<(u64, Step)>) {
        values.retain(|(value, _)| *value & 7 == 0 && self.seen.len() < MOST_VALUES && self.seen.insert(*value));
        // The type, and of a lock its semaphore.
        let o = &self.objects.layout.object;
        let (first, len) = (o.ob_type, 16);
        let spans: Vec<Span> =
            values.iter().map(|(value, _)| Span { addr: value.wrapping_add(first), len }).collect();
        let mut buffer = vec![0; len * spans.len()];
        let mut arrived = Vec::new();
        if self.objects.memory.read_spans(&spans, &mut buffer, &mut arrived).is_err() {
            return;
        }
        for (((object, step), words), _) in
            values.into_iter().zip(buffer.chunks_exact(len)).zip(&arrived).filter(|(_, arrived)| **arrived)
        {
            let word = |index: usize| u64::from_le_bytes(words[8 * index..][..8].try_into().expect("eight bytes"));
            let class = self.class(word(0));
            let node = Node { object, from, step, depth: depth + 1 };
            let semaphore = (class == Class::Lock).then(|| word(1));
            let wanted = [
                Some(object).filter(|object| self.wanted.objects.contains(object)),
                semaphore.filter(|semaphore| self.wanted.semaphores.contains(semaphore)),
            ];
            for key in wanted.into_iter().flatten() {
                if let (Some(name), Some(type_name)) = (self.name(&node), self.objects.type_name_of(object)) {
                    self.found.entry(key).or_insert(Found { object, type_name, name });
                }
            }
            if !matches!(class, Class::Other | Class::Lock) && depth < MOST_STEPS {
                self.nodes.push(node);
            }
        }
    }

    /// What an object leads to.
    fn values(&self, object: u64) -> Result<Vec<(u64, Step)>, ObjectError> {
        let objects = &self.objects;
        let o = &objects.layout.object;
        let word = |offset: u64| objects.memory.u64(object.wrapping_add(offset));
        let class = self.classes.get(&objects.type_of(object)?).copied().unwrap_or(Class::Other);
        let all = |addr: u64, step: fn(u64) -> Step| -> Result<Vec<(u64, Step)>, ObjectError> {
            let entries = objects.dict(addr)?.into_iter().take(MOST_ITEMS);
            Ok(entries.map(|entry| (entry.value, step(entry.key))).collect())
        };
        match class {
            Class::Module | Class::Type => {
                let dict = word(if class == Class::Module { o.module_dict } else { o.tp_dict() })?;
                let mut values = all(dict, Step::Attribute)?;
                values.push((dict, Step::Dict));
                Ok(values)
            }
            Class::Dict => all(object, Step::Key),
            Class::List => items(objects, word(o.ob_size + 8)?, word(o.ob_size)?),
            Class::Cell => Ok(vec![(word(o.header())?, Step::Content)]),
            Class::Tuple => items(objects, object.wrapping_add(o.tuple_items), word(o.ob_size)?),
            Class::Instance => {
                let entries = objects.attributes(object)?.into_iter().take(MOST_ITEMS);
                let dict = objects.attribute_dict(object)?.map(|dict| (dict, Step::Dict));
                Ok(entries.map(|entry| (entry.value, Step::Attribute(entry.key))).chain(dict).collect())
            }
            Class::Function => {
                let mut values = self.around(object)?;
                let dict = word(o.func_dict)?;
                if dict != 0 {
                    values.extend(all(dict, Step::Attribute)?);
                }
                Ok(values)
            }
            Class::Lock | Class::Other => Ok(Vec::new()),
        }
    }

    /// The values of a frame's local variables. Mirrors `_PyInterpreterFrame` and `PyFrameObject`.
    fn locals(&self, (frame, code): FrameAddr) -> Result<Vec<(u64, Step)>, ObjectError> {
        let (function, names) = self.local_names(code)?;
        let locals = frame.wrapping_add(self.objects.layout.frame.locals);
        let values = items(&self.objects, locals, names.len() as u64)?;
        // From 3.14 on with tag bits.
        let values = names.iter().zip(values).map(|(&name, (value, _))| (value & !7, Step::Local(name, function)));
        Ok(values.filter(|(value, _)| *value != 0).collect())
    }

    /// The cells of the variables that a function has from around it. Mirrors `PyFunctionObject`.
    fn around(&self, function: u64) -> Result<Vec<(u64, Step)>, ObjectError> {
        let objects = &self.objects;
        let o = &objects.layout.object;
        let word = |object: u64, offset: u64| objects.memory.u64(object.wrapping_add(offset));
        let closure = word(function, o.func_closure)?;
        if closure == 0 {
            return Ok(Vec::new());
        }
        let (function, names) = self.local_names(word(function, o.func_code)?)?;
        let cells = items(objects, closure.wrapping_add(o.tuple_items), word(closure, o.ob_size)?)?;
        let names = names.iter().skip(names.len().saturating_sub(cells.len()));
        Ok(names.zip(cells).map(|(&name, (cell, _))| (cell, Step::Local(name, function))).collect())
    }

    /// The name of the function that a code object is of, and those of its variables: its own, and then those that it has
    /// from around it.
    fn local_names(&self, code: u64) -> Result<(u64, Vec<u64>), ObjectError> {
        let objects = &self.objects;
        let Layout { version, object, code: c, .. } = objects.layout;
        let function = objects.memory.u64(code.wrapping_add(c.name))?;
        let mut names = Vec::new();
        // co_localsplusnames; or co_varnames @72, co_cellvars @88, co_freevars @80, in the order of the values.
        let tuples = if version.minor >= 11 { &[0][..] } else { &[0, 16, 8] };
        for offset in tuples {
            let tuple = objects.memory.u64(code.wrapping_add(c.local_names + offset))?;
            let len = objects.memory.u64(tuple.wrapping_add(object.ob_size))?;
            names.extend(items(objects, tuple.wrapping_add(object.tuple_items), len)?.iter().map(|(name, _)| *name));
        }
        Ok((function, names))
    }

    fn class(&mut self, type_addr: u64) -> Class {
        if let Some(&class) = self.classes.get(&type_addr) {
            return class;
        }
        let class = self.new_class(type_addr).unwrap_or(Class::Other);
        self.classes.insert(type_addr, class);
        class
    }

    fn new_class(&self, type_addr: u64) -> Option<Class> {
        let name = self.objects.type_name(type_addr).ok()?;
        Some(match name.as_str() {
            "module" => Class::Module,
            "dict" | "collections.OrderedDict" | "collections.defaultdict" => Class::Dict,
            "list" => Class::List,
            "cell" => Class::Cell,
            "tuple" => Class::Tuple,
            "type" | "abc.ABCMeta" | "ABCMeta" => Class::Type,
            "function" => Class::Function,
            name if lock_kind(name).is_some() => Class::Lock,
            _ if self.objects.has_attributes(type_addr).ok()? => Class::Instance,
            _ => Class::Other,
        })
    }

    /// What people call a module: the script that was started, by its name.
    fn module_name(&self, name: String, module: u64) -> String {
        let script = || {
            let file = self.objects.module_variable(module, "__file__").ok()??;
            let file = self.objects.string(file).ok()?;
            let stem = file.rsplit('/').next()?.strip_suffix(".py")?;
            (!stem.is_empty() && stem != "__main__").then(|| stem.to_owned())
        };
        match name.as_str() {
            "__main__" => script().unwrap_or(name),
            _ => name,
        }
    }

    /// The name of a way.
    fn name(&self, node: &Node) -> Option<String> {
        let mut steps = vec![node.step];
        let mut at = node;
        while !matches!(at.step, Step::Module(_) | Step::Local(..)) {
            at = &self.nodes[at.from];
            steps.push(at.step);
        }
        let text = |addr| self.objects.string(addr).ok();
        let mut name = String::new();
        for step in steps.iter().rev() {
            match *step {
                Step::Module(module) => name = self.module_name(text(module)?, at.object),
                Step::Local(variable, _) => name = text(variable)?,
                Step::Attribute(attribute) => name = format!("{name}.{}", text(attribute)?),
                Step::Key(key) => name = text(key).map_or(format!("{name}[...]"), |key| format!("{name}[{key:?}]")),
                Step::Item(index) => name = format!("{name}[{index}]"),
                Step::Dict | Step::Content => {}
            }
        }
        // The dict of a module, class or instance is an object of its own.
        if matches!(node.step, Step::Dict) {
            name += ".__dict__";
        }
        Some(match steps.last() {
            Some(Step::Local(_, function)) => format!("{name} in {}", text(*function)?),
            _ => name,
        })
    }
}

/// The items of a list or tuple.
fn items<M: Memory>(objects: &Objects<'_, M>, addr: u64, len: u64) -> Result<Vec<(u64, Step)>, ObjectError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(MOST_ITEMS);
    let mut bytes = vec![0; 8 * len];
    if len > 0 {
        objects.memory.read(addr, &mut bytes)?;
    }
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    Ok(words.enumerate().map(|(index, item)| (item, Step::Item(index))).collect())
}
