//! Who calls whom: the tree of a view, for the flame graph, and its functions, for the table. In nanoseconds of thread
//! time; time on the CPU is as many periods of the sampling rate as it was sampled.

use rustc_hash::FxHashMap;

use super::class::Class;
use crate::event::{ThreadId, ThreadState};
use crate::export::{self, NO_PYTHON_FRAME, STACK_UNREADABLE, View, leaf};
use crate::profile::Profile;
use crate::stack::label::{Origin, describe};
use crate::stack::{FrameId, StackId};

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Which states.
    pub view: View,
    /// Lines of a function together.
    pub functions: bool,
    /// Only this thread.
    pub thread: Option<ThreadId>,
}

/// Whose code a frame is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// That of a file.
    Code(Origin),
    /// None: it says what the thread did when it ran no Python.
    State(Class),
}

/// A frame in the tree, below the frame that called it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its index in [`Calls::labels`].
    pub label: u32,
    /// Time in it and in what it called.
    pub total: u64,
    /// Time in itself.
    pub own: u64,
    /// What it called, the most costly first.
    pub children: Vec<u32>,
    /// What called it; the root is its own.
    pub parent: u32,
}

/// The tree. Node 0 is its root, which is no frame.
#[derive(Clone, Debug)]
pub struct Calls {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// What frames are called, and whose they are.
    pub labels: Vec<(String, Whose)>,
}

/// Words frames once, not once per stack they are in.
struct Labels<'a> {
    profile: &'a Profile,
    functions: bool,
    known: FxHashMap<FrameId, u32>,
    by_text: FxHashMap<String, u32>,
    labels: Vec<(String, Whose)>,
}

impl<'a> Labels<'a> {
    fn new(profile: &'a Profile, functions: bool) -> Labels<'a> {
        Labels {
            profile,
            functions,
            known: FxHashMap::default(),
            by_text: FxHashMap::default(),
            labels: vec![("all".to_owned(), Whose::State(Class::Absent))],
        }
    }

    fn text(&mut self, text: String, whose: Whose) -> u32 {
        if let Some(&known) = self.by_text.get(&text) {
            return known;
        }
        let index = self.labels.len() as u32;
        self.labels.push((text.clone(), whose));
        self.by_text.insert(text, index);
        index
    }

    fn frame(&mut self, frame: FrameId) -> u32 {
        if let Some(&known) = self.known.get(&frame) {
            return known;
        }
        let stacks = &self.profile.stacks;
        let described = describe(stacks, frame, self.functions);
        let label = self.text(described.label, Whose::Code(described.origin));
        self.known.insert(frame, label);
        label
    }

    /// The labels of a stack with what the thread did, outermost first.
    fn path(&mut self, stack: StackId, lost: bool, leaf: Option<(String, Class)>, into: &mut Vec<u32>) {
        into.clear();
        if stack == StackId::EMPTY {
            let text = if lost { STACK_UNREADABLE } else { NO_PYTHON_FRAME };
            into.push(self.text(text.to_owned(), Whose::State(Class::Unknown)));
        } else {
            let profile = self.profile;
            into.extend(profile.stacks.frames(stack).map(|frame| self.frame(frame)));
            into.reverse();
        }
        if let Some((leaf, class)) = leaf {
            into.push(self.text(leaf, Whose::State(class)));
        }
    }
}

impl Calls {
    /// The tree of what was chosen.
    pub fn of(profile: &Profile, choice: &Choice) -> Calls {
        let options = export::ExportOptions { view: choice.view, ..export::ExportOptions::default() };
        // Threads that do the same are added up before anything is put into words.
        let mut stacks: FxHashMap<(ThreadState, StackId, bool), u64> = FxHashMap::default();
        for (key, weight) in profile.tree.iter() {
            if options.shows(key.state) && choice.thread.is_none_or(|thread| thread == key.thread) {
                *stacks.entry((key.state, key.stack, key.lost)).or_default() +=
                    weight.ns(profile.session.period_ns());
            }
        }
        let mut labels = Labels::new(profile, choice.functions);
        let mut nodes = vec![Node { label: 0, total: 0, own: 0, children: Vec::new(), parent: 0 }];
        let mut by_place: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut path = Vec::new();
        let leaf = |state| leaf(profile, state).map(|leaf| (leaf.into_owned(), Class::of(state)));
        let states = stacks.into_iter().map(|((state, stack, lost), ns)| (stack, lost, leaf(state), ns));
        let wants_counts = choice.view == View::Refcount;
        let counts = if wants_counts { profile.refcounts.stacks() } else { Vec::new() };
        let counts = counts.into_iter().filter(|(thread, ..)| choice.thread.is_none_or(|wanted| wanted == *thread));
        let counts = counts.map(|(_, stack, object, samples)| {
            let leaf = format!("[reference count of {}]", object.label());
            (stack, false, Some((leaf, Class::LockWait)), (samples as f64 * profile.session.period_ns()) as u64)
        });
        for (stack, lost, leaf, ns) in states.chain(counts) {
            if ns == 0 {
                continue;
            }
            labels.path(stack, lost, leaf, &mut path);
            let mut at = 0;
            nodes[0].total += ns;
            for &label in &path {
                at = *by_place.entry((at, label)).or_insert_with(|| {
                    let new = nodes.len() as u32;
                    nodes.push(Node { label, total: 0, own: 0, children: Vec::new(), parent: at });
                    nodes[at as usize].children.push(new);
                    new
                });
                nodes[at as usize].total += ns;
            }
            nodes[at as usize].own += ns;
        }
        let labels = labels.labels;
        for index in 0..nodes.len() {
            let mut children = std::mem::take(&mut nodes[index].children);
            let order = |&child: &u32| {
                let node: &Node = &nodes[child as usize];
                (std::cmp::Reverse(node.total), &labels[node.label as usize].0)
            };
            children.sort_by(|a, b| order(a).cmp(&order(b)));
            nodes[index].children = children;
        }
        Calls { nodes, labels }
    }

    /// What a node is called.
    pub fn label(&self, node: u32) -> &str {
        &self.labels[self.nodes[node as usize].label as usize].0
    }

    /// The labels from the outermost frame to a node.
    pub fn path(&self, node: u32) -> Vec<&str> {
        let mut path = Vec::new();
        let mut at = node;
        while at != 0 {
            path.push(self.label(at));
            at = self.nodes[at as usize].parent;
        }
        path.reverse();
        path
    }

    /// The node that such a path leads to; as far as there is one.
    pub fn find(&self, path: &[String]) -> u32 {
        path.iter().try_fold(0, |at, label| self.child(at, label)).unwrap_or(0)
    }

    fn child(&self, node: u32, label: &str) -> Option<u32> {
        self.nodes[node as usize].children.iter().copied().find(|&child| self.label(child) == label)
    }
}

/// A function (or a line of one), with its time by what threads did there.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// What it is called.
    pub label: String,
    /// In it and in what it called, in the states of the view.
    pub total: u64,
    /// In itself, in the states of the view.
    pub own: u64,
    /// In itself, running.
    pub cpu: u64,
    /// In itself, waiting for the GIL.
    pub gil_wait: u64,
    /// In itself, waiting for locks.
    pub lock_wait: u64,
    /// In itself, holding the GIL without running.
    pub held_idle: u64,
    /// In itself, blocked.
    pub blocked: u64,
}

/// All functions, and the time of the view.
pub fn functions(profile: &Profile, choice: &Choice) -> (Vec<Function>, u64) {
    let options = export::ExportOptions { view: choice.view, ..export::ExportOptions::default() };
    let mut labels = Labels::new(profile, choice.functions);
    let mut functions: Vec<Function> = Vec::new();
    let mut stacks: FxHashMap<(ThreadState, StackId, bool), u64> = FxHashMap::default();
    for (key, weight) in profile.tree.iter() {
        if choice.thread.is_none_or(|thread| thread == key.thread) {
            *stacks.entry((key.state, key.stack, key.lost)).or_default() += weight.ns(profile.session.period_ns());
        }
    }
    let (mut path, mut all) = (Vec::new(), 0);
    for ((state, stack, _), ns) in stacks {
        path.clear();
        path.extend(profile.stacks.frames(stack).map(|frame| labels.frame(frame)));
        functions.resize(labels.labels.len(), Function::default());
        let in_view = options.shows(state);
        all += if in_view { ns } else { 0 };
        if let Some(&own) = path.first() {
            let function = &mut functions[own as usize];
            function.own += if in_view { ns } else { 0 };
            *match Class::of(state) {
                Class::Held | Class::Running | Class::Native => &mut function.cpu,
                Class::HeldIdle => &mut function.held_idle,
                Class::GilWait => &mut function.gil_wait,
                Class::LockWait | Class::Paused => &mut function.lock_wait,
                _ => &mut function.blocked,
            } += ns;
        }
        // A function that calls itself is in it once.
        path.sort_unstable();
        path.dedup();
        if in_view {
            path.iter().for_each(|&label| functions[label as usize].total += ns);
        }
    }
    for (function, (label, _)) in functions.iter_mut().zip(labels.labels) {
        function.label = label;
    }
    functions.retain(|function| function.total + function.cpu + function.gil_wait + function.lock_wait > 0);
    (functions, all)
}
