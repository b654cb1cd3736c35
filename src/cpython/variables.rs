//! Which variable leads to an object: `app.inventory`, `logging.root.handlers[0].lock`. Called for locks and shared
//! objects that have no name yet, by `sampler/search.rs` now and then, and by `dump`.
//!
//! The search starts at the variables of all modules and of the functions that run, and goes on through the attributes
//! of instances and classes, through lists, tuples and dicts, and through the variables that functions have from around
//! them, in breadth: the shortest way is found first. It is bounded, and what changes under it is skipped.

use std::mem;

use rustc_hash::{FxHashMap, FxHashSet};

use super::layout::Layout;
use super::locks::{is_buffered, lock_kind, lock_place};
use super::objects::{DICT_SUBCLASS, DictEntry, LIST_SUBCLASS, ObjectError, Objects, Slot, TUPLE_SUBCLASS};
use super::offsets::private::{ABC_FIELDS, TEXT_BUFFER};
use crate::event::MODULE;
use crate::process::memory::{Memory, MemorySpan};
use crate::process::pages::Pages;

/// The limit of values that one search reads.
const MAX_VALUES: usize = 200_000;
/// Longer ways say nothing to a person.
const MAX_STEPS: usize = 5;
/// The limit of items of one container that are read.
const MAX_ITEMS: usize = 1000;

/// What to look for: addresses of objects, or of the semaphores that lock objects have (3.13.0 and older).
#[derive(Debug, Default)]
pub struct Wanted {
    pub objects: FxHashSet<u64>,
    pub semaphores: FxHashSet<u64>,
}

impl Wanted {
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.semaphores.is_empty()
    }
}

/// A variable that leads to something wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVariable {
    pub object: u64,
    pub type_name: String,
    pub name: String,
}

/// One step of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathStep {
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
}

/// An object on a way.
#[derive(Clone, Copy, Debug)]
struct Node {
    object: u64,
    /// The number of the object before.
    from: usize,
    step: PathStep,
    depth: usize,
}

/// What the objects of a type lead to.
#[derive(Debug, Default)]
struct Class {
    contents: Contents,
    /// They have a dict of attributes.
    attributes: bool,
    slots: Vec<Slot>,
}

/// What the objects of a type are there to hold, apart from attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Contents {
    #[default]
    Nothing,
    Dict,
    List,
    Tuple,
    /// The one of a variable that functions share.
    Cell,
    /// Variables from around it.
    Function,
    /// It is a lock or has one, a buffered file for one: where in the object that is, or what leads to it.
    Lock(u64),
    /// A buffered file: `io.TextIOWrapper`.
    Text,
    /// What is known of the subclasses of an abstract base class.
    Abc,
}

impl Class {
    fn leads_on(&self) -> bool {
        !matches!(self.contents, Contents::Nothing | Contents::Lock(_)) || self.attributes || !self.slots.is_empty()
    }
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
) -> Result<FxHashMap<u64, FoundVariable>, ObjectError> {
    let mut search = Search::new(memory, layout, interp, frames, wanted)?;
    search.go_on(memory, layout, wanted, || true);
    Ok(search.found)
}

/// The local variables of a frame that have a value: the addresses of their names and of the objects.
///
/// # Errors
/// The frame or its code object cannot be read.
pub(crate) fn frame_locals<M: Memory>(
    objects: &Objects<'_, M>,
    frame: FrameAddr,
) -> Result<Vec<(u64, u64)>, ObjectError> {
    let (wanted, mut search) = (Wanted::default(), Search::default());
    let objects = Objects { memory: objects.memory, layout: objects.layout };
    let locals = Look { objects, wanted: &wanted, search: &mut search }.locals(frame)?;
    let named = |(value, step)| match step {
        PathStep::Local(name, _) => Some((name, value)),
        _ => None,
    };
    Ok(locals.into_iter().filter_map(named).collect())
}

/// A search that is made little by little.
#[derive(Debug, Default)]
pub struct Search {
    /// Objects that lead on; in the order in which they were met, which is that in which they are looked into.
    nodes: Vec<Node>,
    /// The first one not yet looked into.
    next: usize,
    /// The variables of functions that run, until it is their turn.
    locals: Vec<(u64, PathStep)>,
    seen: FxHashSet<u64>,
    classes: FxHashMap<u64, Class>,
    found: FxHashMap<u64, FoundVariable>,
}

impl Search {
    /// Looks into `sys.modules` of the interpreter at `interp`, and into frames of its threads.
    ///
    /// # Errors
    /// `sys.modules` cannot be read, for example because it is being changed.
    pub fn new(
        memory: &impl Memory,
        layout: &Layout,
        interp: u64,
        frames: &[FrameAddr],
        wanted: &Wanted,
    ) -> Result<Search, ObjectError> {
        let memory = &Pages::new(memory);
        let objects = Objects { memory, layout };
        let modules = objects.dict(memory.u64(interp.wrapping_add(layout.interp_modules))?)?;
        let mut search = Search::default();
        let mut look = Look { objects, wanted, search: &mut search };
        // They are gone soon, other than what is in modules.
        let locals = frames.iter().flat_map(|&frame| look.locals(frame).unwrap_or_default()).collect();
        look.add(0, 0, modules.iter().map(|entry| (entry.value, PathStep::Module(entry.key))).collect());
        search.locals = locals;
        Ok(search)
    }

    /// Goes on as long as `may_go_on`, which is asked before each object. Wanted is the same as when it began. Returns whether
    /// it is over.
    pub fn go_on(
        &mut self,
        memory: &impl Memory,
        layout: &Layout,
        wanted: &Wanted,
        may_go_on: impl Fn() -> bool,
    ) -> bool {
        let memory = &Pages::new(memory);
        let mut look = Look { objects: Objects { memory, layout }, wanted, search: self };
        while !look.is_over() {
            if !may_go_on() {
                return false;
            }
            look.next();
        }
        true
    }

    /// What is found, by what was wanted: the object's or semaphore's address.
    pub fn found(self) -> FxHashMap<u64, FoundVariable> {
        self.found
    }
}

/// A search while it goes on.
struct Look<'a, M> {
    objects: Objects<'a, M>,
    wanted: &'a Wanted,
    search: &'a mut Search,
}

impl<M: Memory> Look<'_, M> {
    fn is_over(&self) -> bool {
        let wanted = self.wanted.objects.len() + self.wanted.semaphores.len();
        self.search.next == self.search.nodes.len() || self.search.found.len() == wanted
    }

    /// Looks into one object.
    fn next(&mut self) {
        let number = self.search.next;
        let Node { object, depth, .. } = self.search.nodes[number];
        if depth > 1 {
            // A module's variable is a better name than a local one, and that is better than anything longer.
            let locals = mem::take(&mut self.search.locals);
            self.add(0, 1, locals);
        }
        let values = self.values(object).unwrap_or_default();
        self.add(number, depth, values);
        self.search.next += 1;
    }

    /// Adds the values that an object leads to, and takes note of those that are wanted.
    fn add(&mut self, from: usize, depth: usize, mut values: Vec<(u64, PathStep)>) {
        let seen = &mut self.search.seen;
        values.retain(|(value, _)| *value & 7 == 0 && seen.len() < MAX_VALUES && seen.insert(*value));
        // Their types.
        let (first, len) = (self.objects.layout.object.ob_type, 8);
        let spans: Vec<MemorySpan> =
            values.iter().map(|(value, _)| MemorySpan { addr: value.wrapping_add(first), len }).collect();
        let mut buffer = vec![0; len * spans.len()];
        let mut arrived = Vec::new();
        if self.objects.memory.read_spans(&spans, &mut buffer, &mut arrived).is_err() {
            return;
        }
        for (((object, step), bytes), _) in
            values.into_iter().zip(buffer.chunks_exact(len)).zip(&arrived).filter(|(_, arrived)| **arrived)
        {
            let class = self.class(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
            let (contents, leads_on) = (class.contents, class.leads_on());
            let node = Node { object, from, step, depth: depth + 1 };
            let semaphore = match contents {
                Contents::Lock(at) => self.objects.memory.u64(object.wrapping_add(at)).ok(),
                _ => None,
            };
            let wanted = [
                Some(object).filter(|object| self.wanted.objects.contains(object)),
                semaphore.filter(|semaphore| self.wanted.semaphores.contains(semaphore)),
            ];
            for key in wanted.into_iter().flatten() {
                let name = self.name(&node).filter(|_| self.is_way(node));
                if let (Some(name), Some(type_name)) = (name, self.objects.type_name_of(object)) {
                    self.search.found.entry(key).or_insert(FoundVariable { object, type_name, name });
                }
            }
            if leads_on && depth < MAX_STEPS {
                self.search.nodes.push(node);
            }
        }
    }

    /// What an object leads to.
    fn values(&self, object: u64) -> Result<Vec<(u64, PathStep)>, ObjectError> {
        let objects = &self.objects;
        let o = &objects.layout.object;
        let word = |offset: u64| objects.memory.u64(object.wrapping_add(offset));
        let Some(class) = self.search.classes.get(&objects.type_of(object)?) else { return Ok(Vec::new()) };
        // What cannot be read is left out.
        let mut values = match class.contents {
            Contents::Dict => objects.dict(object).map(|dict| entries(dict, PathStep::Key)),
            Contents::List => items(objects, word(o.list_items)?, word(o.ob_size)?),
            Contents::Tuple => items(objects, object.wrapping_add(o.tuple_items), word(o.ob_size)?),
            Contents::Cell => Ok(vec![(word(o.cell_value)?, PathStep::Content)]),
            Contents::Text => Ok(vec![(word(o.header + TEXT_BUFFER)?, PathStep::Field("buffer"))]),
            Contents::Abc => ABC_FIELDS
                .into_iter()
                .map(|(offset, name)| Ok((word(o.header + offset)?, PathStep::Field(name))))
                .collect(),
            Contents::Function => self.around(object),
            Contents::Nothing | Contents::Lock(_) => Ok(Vec::new()),
        }
        .unwrap_or_default();
        if class.attributes {
            let attributes = objects.attributes(object).unwrap_or_default();
            values.extend(entries(attributes, PathStep::Attribute));
            values.extend(objects.attribute_dict(object)?.map(|dict| (dict, PathStep::Dict)));
        }
        for slot in &class.slots {
            values.push((word(slot.offset)?, PathStep::Slot(slot.name)));
        }
        Ok(values)
    }

    /// The values of a frame's local variables. Mirrors `_PyInterpreterFrame` and `PyFrameObject`.
    fn locals(&self, (frame, code): FrameAddr) -> Result<Vec<(u64, PathStep)>, ObjectError> {
        let (function, names) = self.local_names(code)?;
        let locals = frame.wrapping_add(self.objects.layout.frame.locals);
        let values = items(&self.objects, locals, names.len() as u64)?;
        // From 3.14 on with tag bits.
        let values =
            names.iter().zip(values).map(|(&name, (value, _))| (value & !7, PathStep::Local(name, function)));
        Ok(values.filter(|(value, _)| *value != 0).collect())
    }

    /// The cells of the variables that a function has from around it. Mirrors `PyFunctionObject`.
    fn around(&self, function: u64) -> Result<Vec<(u64, PathStep)>, ObjectError> {
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
        Ok(names.zip(cells).map(|(&name, (cell, _))| (cell, PathStep::Local(name, function))).collect())
    }

    /// The name of the function that a code object is of, and those of its variables: its own, and then those that it has
    /// from around it.
    fn local_names(&self, code: u64) -> Result<(u64, Vec<u64>), ObjectError> {
        let objects = &self.objects;
        let Layout { object, code: c, .. } = objects.layout;
        let function = objects.memory.u64(code.wrapping_add(c.name))?;
        let mut names = Vec::new();
        for offset in std::iter::once(c.local_names).chain(c.more_names.into_iter().flatten()) {
            let tuple = objects.memory.u64(code.wrapping_add(offset))?;
            let len = objects.memory.u64(tuple.wrapping_add(object.ob_size))?;
            names.extend(items(objects, tuple.wrapping_add(object.tuple_items), len)?.iter().map(|(name, _)| *name));
        }
        Ok((function, names))
    }

    fn class(&mut self, type_addr: u64) -> &Class {
        if !self.search.classes.contains_key(&type_addr) {
            let class = self.new_class(type_addr).unwrap_or_default();
            self.search.classes.insert(type_addr, class);
        }
        &self.search.classes[&type_addr]
    }

    fn new_class(&self, type_addr: u64) -> Result<Class, ObjectError> {
        let objects = &self.objects;
        let flags = objects.type_flags(type_addr)?;
        let is = |flag: u64| flags & flag != 0;
        let contents = match objects.type_name(type_addr)?.as_str() {
            "cell" => Contents::Cell,
            "function" => Contents::Function,
            "_io.TextIOWrapper" => Contents::Text,
            "_abc._abc_data" => Contents::Abc,
            name if lock_kind(name).is_some() || is_buffered(name) => {
                Contents::Lock(lock_place(objects.layout, name))
            }
            _ if is(DICT_SUBCLASS) => Contents::Dict,
            _ if is(LIST_SUBCLASS) => Contents::List,
            _ if is(TUPLE_SUBCLASS) => Contents::Tuple,
            _ => Contents::Nothing,
        };
        Ok(Class { contents, attributes: objects.has_attributes(type_addr)?, slots: objects.slots(type_addr)? })
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

    /// Whether each object still leads to the next, down to this one: since the first was read, what was there may have been
    /// freed, and other objects be where they were.
    fn is_way(&self, mut node: Node) -> bool {
        while !matches!(node.step, PathStep::Module(_) | PathStep::Local(..)) {
            let before = self.search.nodes[node.from];
            if !self.values(before.object).unwrap_or_default().contains(&(node.object, node.step)) {
                return false;
            }
            node = before;
        }
        true
    }

    /// The name of a way.
    fn name(&self, node: &Node) -> Option<String> {
        let mut steps = vec![node.step];
        let mut at = node;
        while !matches!(at.step, PathStep::Module(_) | PathStep::Local(..)) {
            at = &self.search.nodes[at.from];
            steps.push(at.step);
        }
        let text = |addr| self.objects.string(addr).ok();
        let mut name = String::new();
        for step in steps.iter().rev() {
            match *step {
                PathStep::Module(module) => name = self.module_name(text(module)?, at.object),
                PathStep::Local(variable, _) => name = text(variable)?,
                PathStep::Attribute(attribute) => name = format!("{name}.{}", text(attribute)?),
                PathStep::Slot(slot) => name = format!("{name}.{}", self.objects.text(slot)?),
                PathStep::Key(key) => {
                    name = text(key).map_or(format!("{name}[...]"), |key| format!("{name}[{key:?}]"))
                }
                PathStep::Item(index) => name = format!("{name}[{index}]"),
                PathStep::Field(field) => name = format!("{name}.{field}"),
                PathStep::Dict | PathStep::Content => {}
            }
        }
        // The dict of a module, class or instance is an object of its own.
        match steps[..] {
            [PathStep::Dict, PathStep::Module(_)] => name = format!("{MODULE}{name}"),
            [PathStep::Dict, ..] => name += ".__dict__",
            _ => {}
        }
        Some(match steps.last() {
            Some(PathStep::Local(_, function)) => format!("{name} in {}", text(*function)?),
            _ => name,
        })
    }
}

/// The values of a dict.
fn entries(dict: Vec<DictEntry>, step: fn(u64) -> PathStep) -> Vec<(u64, PathStep)> {
    dict.into_iter().take(MAX_ITEMS).map(|entry| (entry.value, step(entry.key))).collect()
}

/// The items of a list or tuple.
fn items<M: Memory>(objects: &Objects<'_, M>, addr: u64, len: u64) -> Result<Vec<(u64, PathStep)>, ObjectError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_ITEMS);
    let mut bytes = vec![0; 8 * len];
    if len > 0 {
        objects.memory.read(addr, &mut bytes)?;
    }
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    Ok(words.enumerate().map(|(index, item)| (item, PathStep::Item(index))).collect())
}
