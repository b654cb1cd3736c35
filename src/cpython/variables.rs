//! Which variable leads to an object: `app.inventory`, `logging.root.handlers[0].lock`. Called for locks and shared
//! objects that have no name yet, by `interpreter/name_search.rs` now and then, and by `dump`.
//!
//! The search starts at the variables of all modules and of the functions that run, and goes on through the attributes
//! of instances and classes, through lists, tuples and dicts, and through the variables that functions have from around
//! them, in breadth: the shortest way is found first. A way from a module replaces one from a local variable, which says
//! little to who does not know the function. It is bounded, and what changes under it is skipped.

use std::collections::hash_map::Entry;
use std::mem;

use rustc_hash::{FxHashMap, FxHashSet};

use super::layout::Layout;
use super::locks::{is_buffered, lock_kind, lock_place};
use super::logging_handlers::handler_locks;
use super::objects::{DICT_SUBCLASS, DictEntry, LIST_SUBCLASS, ObjectError, Objects, Slot, TUPLE_SUBCLASS};
use super::offsets::private::{ABC_FIELDS, TEXT_BUFFER};
use super::variable_names::{PathNode, PathStep, name_of_path};
use crate::process::memory::{Memory, MemorySpan};
use crate::process::pages::Pages;
use crate::stack::label::{Origin, origin_of};

/// The limit of values that one search reads.
const MAX_VALUES: usize = 200_000;
/// Longer ways say nothing to a person.
const MAX_STEPS: usize = 5;
/// The limit of items of one container that are read.
const MAX_ITEMS: usize = 1000;
/// The part of an object of an extension type in which locks are looked for, in bytes.
const MAX_EXTENSION: u64 = 1024;
/// Variables of `threading` that lead to whatever the threads work with, by ways that say nothing about it.
const THREAD_TABLES: [&str; 3] = ["_active", "_limbo", "_dangling"];

/// What to look for: addresses of objects, of the semaphores that lock objects have (3.13.0 and older) or those of extension
/// types, or of locks of the C library that may be inside the latter.
#[derive(Debug, Default)]
pub struct Wanted {
    pub objects: FxHashSet<u64>,
    pub semaphores: FxHashSet<u64>,
    pub embedded: FxHashSet<u64>,
}

impl Wanted {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.objects.len() + self.semaphores.union(&self.embedded).count()
    }
}

/// A variable that leads to something wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVariable {
    pub object: u64,
    pub type_name: String,
    pub name: String,
    pub rank: NameRank,
}

/// How much the name of a variable says, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameRank {
    /// It leads there from a module.
    Module,
    /// An attribute of an object that only local variables lead to: named by the class of that object.
    Attribute,
    /// A local variable, which says little to who does not know the function.
    Local,
}

/// Adds what was found to what is known: a name that says more replaces another.
pub fn merge_found(known: &mut FxHashMap<u64, FoundVariable>, found: FxHashMap<u64, FoundVariable>) {
    for (key, variable) in found {
        match known.entry(key) {
            Entry::Occupied(mut known) if variable.rank < known.get().rank => drop(known.insert(variable)),
            Entry::Occupied(_) => {}
            Entry::Vacant(unknown) => drop(unknown.insert(variable)),
        }
    }
}

/// An object on a way.
#[derive(Clone, Copy, Debug)]
struct Node {
    object: u64,
    /// The number of the object before.
    from: usize,
    step: PathStep,
    depth: usize,
    /// The way begins at a module, not at a local variable.
    from_module: bool,
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
    /// Fields of C, of which only the size is known: of an extension type.
    Extension(u64),
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
    /// The variables of functions that run, until it is their turn: the program's, and those of libraries.
    locals: Vec<(u64, PathStep)>,
    library_locals: Vec<(u64, PathStep)>,
    /// Objects met, and whether a way from a module led there.
    seen: FxHashMap<u64, bool>,
    /// The module `threading`.
    threading: Option<u64>,
    /// The types of `threading.Lock` and `threading.RLock`.
    lock_types: Vec<u64>,
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
        let (mut locals, mut library_locals) = (Vec::new(), Vec::new());
        for &frame in frames {
            let of_program = look.is_of_program(frame);
            let into = if of_program { &mut locals } else { &mut library_locals };
            into.extend(look.locals(frame).unwrap_or_default());
        }
        look.search.threading = look.objects.lookup(&modules, "threading").ok().flatten();
        look.search.lock_types = look.lock_types(&modules);
        look.add_handler_locks(&modules);
        look.add(0, 0, modules.iter().map(|entry| (entry.value, PathStep::Module(entry.key))).collect());
        (search.locals, search.library_locals) = (locals, library_locals);
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

    /// Whether an object is met for the first time, or for the first time by a way from a module.
    fn is_new(&mut self, object: u64, from_module: bool) -> bool {
        let is_full = self.seen.len() >= MAX_VALUES;
        match self.seen.entry(object) {
            Entry::Occupied(mut seen) => from_module && !mem::replace(seen.get_mut(), true),
            Entry::Vacant(unseen) if !is_full => {
                unseen.insert(from_module);
                true
            }
            Entry::Vacant(_) => false,
        }
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
        let named = self.search.found.values().filter(|found| found.rank == NameRank::Module).count();
        self.search.next == self.search.nodes.len() || named == self.wanted.len()
    }

    /// Looks into one object.
    fn next(&mut self) {
        let number = self.search.next;
        let Node { object, depth, .. } = self.search.nodes[number];
        if depth > 1 {
            let locals = mem::take(&mut self.search.locals);
            self.add(0, 1, locals);
        }
        if depth > 3 {
            // `self` in the methods of a library says less than the program's object that leads to it.
            let locals = mem::take(&mut self.search.library_locals);
            self.add(0, 3, locals);
        }
        let values = self.values(object).unwrap_or_default();
        self.add(number, depth, values);
        self.search.next += 1;
    }

    /// Adds the values that an object leads to, and takes note of those that are wanted.
    fn add(&mut self, from: usize, depth: usize, values: Vec<(u64, PathStep)>) {
        let from_module = depth == 0 || self.search.nodes.get(from).is_some_and(|node| node.from_module);
        let mut nodes = Vec::new();
        for (object, step) in values {
            let from_module = from_module && !matches!(step, PathStep::Local(..));
            let is_new = object & 7 == 0 && self.search.is_new(object, from_module);
            if is_new || self.wanted.objects.contains(&object) {
                nodes.push((Node { object, from, step, depth: depth + 1, from_module }, is_new));
            }
        }
        // Their types.
        let (first, len) = (self.objects.layout.object.ob_type, 8);
        let spans: Vec<MemorySpan> =
            nodes.iter().map(|(node, _)| MemorySpan { addr: node.object.wrapping_add(first), len }).collect();
        let mut buffer = vec![0; len * spans.len()];
        let mut arrived = Vec::new();
        if self.objects.memory.read_spans(&spans, &mut buffer, &mut arrived).is_err() {
            return;
        }
        for (((node, is_new), bytes), _) in
            nodes.into_iter().zip(buffer.chunks_exact(len)).zip(&arrived).filter(|(_, arrived)| **arrived)
        {
            let class = self.class(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
            let (contents, leads_on) = (class.contents, class.leads_on());
            if matches!(contents, Contents::Lock(_)) && !leads_on {
                // Another way there may have a better name.
                self.search.seen.remove(&node.object);
            }
            for key in self.wanted_by(node.object, contents) {
                self.note(key, node);
            }
            if leads_on && is_new && depth < MAX_STEPS {
                self.search.nodes.push(node);
            }
        }
    }

    /// What was wanted and is this object: its own address, that of the semaphore that it has, or that of a lock in it.
    fn wanted_by(&self, object: u64, contents: Contents) -> Vec<u64> {
        let Wanted { objects, semaphores, embedded } = self.wanted;
        let semaphore = |word: &u64| semaphores.contains(word);
        let mut keys: Vec<u64> = objects.get(&object).copied().into_iter().collect();
        match contents {
            Contents::Lock(at) if !semaphores.is_empty() => {
                keys.extend(self.objects.memory.u64(object.wrapping_add(at)).ok().filter(semaphore));
            }
            Contents::Extension(size) => {
                keys.extend(embedded.iter().filter(|lock| lock.wrapping_sub(object) < size));
                if !semaphores.is_empty() {
                    keys.extend(self.words(object, size).into_iter().filter(semaphore));
                }
            }
            _ => {}
        }
        keys
    }

    /// The fields of an object written in C.
    fn words(&self, object: u64, size: u64) -> Vec<u64> {
        let words = items(&self.objects, object, size / 8).unwrap_or_default();
        words.into_iter().map(|(word, _)| word).collect()
    }

    /// Lock objects that fields of an object written in C lead to.
    fn locks_inside(&self, object: u64, size: u64) -> Vec<(u64, PathStep)> {
        let ob_type = self.objects.layout.object.ob_type;
        let words: Vec<u64> =
            self.words(object, size).into_iter().filter(|word| *word & 7 == 0 && *word > MAX_EXTENSION).collect();
        let spans: Vec<MemorySpan> =
            words.iter().map(|word| MemorySpan { addr: word.wrapping_add(ob_type), len: 8 }).collect();
        let mut types = vec![0; 8 * spans.len()];
        let mut arrived = Vec::new();
        if self.objects.memory.read_spans(&spans, &mut types, &mut arrived).is_err() {
            return Vec::new();
        }
        let is_lock = |bytes: &[u8]| self.search.lock_types.iter().any(|known| known.to_le_bytes() == *bytes);
        let words = words.into_iter().zip(types.chunks_exact(8)).zip(arrived);
        words
            .filter(|((_, bytes), arrived)| *arrived && is_lock(bytes))
            .map(|((word, _), _)| (word, PathStep::Inside))
            .collect()
    }

    fn lock_types(&self, modules: &[DictEntry]) -> Vec<u64> {
        let Ok(Some(module)) = self.objects.lookup(modules, "_thread") else { return Vec::new() };
        ["LockType", "RLock"]
            .into_iter()
            .filter_map(|name| self.objects.module_variable(module, name).ok()?)
            .collect()
    }

    /// Takes note of a way to something wanted, unless a better one is known.
    fn note(&mut self, key: u64, node: Node) {
        let known = self.search.found.get(&key).map(|found| found.rank);
        if known.is_some_and(|known| known == NameRank::Module || known == NameRank::Attribute && !node.from_module) {
            return;
        }
        let Some((rank, name)) = self.name(node) else { return };
        if known.is_none_or(|known| rank < known)
            && self.is_way(node)
            && let Some(type_name) = self.objects.type_name_of(node.object)
        {
            self.search.found.insert(key, FoundVariable { object: node.object, type_name, name, rank });
        }
    }

    /// The locks of handlers of `logging`, which are called what people call them: no way there says it as well.
    fn add_handler_locks(&mut self, modules: &[DictEntry]) {
        let Ok(Some(logging)) = self.objects.lookup(modules, "logging") else { return };
        for (object, name) in handler_locks(&self.objects, logging) {
            let Some(type_name) = self.objects.type_name_of(object) else { continue };
            if lock_kind(&type_name).is_none() {
                continue;
            }
            let contents = Contents::Lock(lock_place(self.objects.layout, &type_name));
            for key in self.wanted_by(object, contents) {
                let (type_name, name) = (type_name.clone(), name.clone());
                self.search.found.insert(key, FoundVariable { object, type_name, name, rank: NameRank::Module });
            }
        }
    }

    /// Whether the program's own code runs in a frame.
    fn is_of_program(&self, (_, code): FrameAddr) -> bool {
        let file = self.objects.memory.u64(code.wrapping_add(self.objects.layout.code.filename));
        let file = file.ok().and_then(|file| self.objects.string(file).ok());
        file.is_some_and(|file| origin_of(&file) == Origin::Program)
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
            Contents::Extension(size) => Ok(self.locks_inside(object, size)),
            Contents::Nothing | Contents::Lock(_) => Ok(Vec::new()),
        }
        .unwrap_or_default();
        if class.attributes {
            let mut attributes = objects.attributes(object).unwrap_or_default();
            if self.search.threading == Some(object) {
                let is_table = |key| objects.string(key).is_ok_and(|key| THREAD_TABLES.contains(&key.as_str()));
                attributes.retain(|attribute| !is_table(attribute.key));
            }
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

    /// How large the objects of a type are without their items, in bytes.
    fn size_of(&self, type_addr: u64) -> Result<u64, ObjectError> {
        let size = self.objects.memory.u64(type_addr.wrapping_add(self.objects.layout.object.tp_basicsize))?;
        Ok(size.min(MAX_EXTENSION))
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
            // Types written in C have their module in their names, other than those of the language itself.
            name if name.contains('.') => Contents::Extension(self.size_of(type_addr)?),
            _ => Contents::Nothing,
        };
        Ok(Class { contents, attributes: objects.has_attributes(type_addr)?, slots: objects.slots(type_addr)? })
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

    /// The name of a way, and how much it says.
    fn name(&self, node: Node) -> Option<(NameRank, String)> {
        let mut path = vec![PathNode { object: node.object, step: node.step }];
        let mut at = node;
        while !matches!(at.step, PathStep::Module(_) | PathStep::Local(..)) {
            at = self.search.nodes[at.from];
            path.push(PathNode { object: at.object, step: at.step });
        }
        path.reverse();
        name_of_path(&self.objects, &path)
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
