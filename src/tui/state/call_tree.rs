//! The call tree of a view, for the flame graph, and its functions, for the table. In nanoseconds of thread time; time on
//! the CPU is as many periods of the sampling rate as it was sampled.

use rustc_hash::FxHashMap;

use crate::event::{Activity, ThreadId, ThreadState};
use crate::export::{self, NO_PYTHON_FRAME, STACK_UNREADABLE, View, leaf};
use crate::profile::Profile;
use crate::stack::label::{Origin, describe};
use crate::stack::{FrameId, StackId};

/// What the tree is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallTreeChoice {
    /// Time in which states counts.
    pub view: View,
    /// Lines of a function are counted together.
    pub functions: bool,
    /// Only this thread; all if `None`.
    pub thread: Option<ThreadId>,
}

/// Whose code a frame is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameOwner {
    Code(Origin),
    /// No code: the frame says what the thread did when it ran no Python.
    Activity(Activity),
}

/// A frame in the tree, below the frame that called it.
#[derive(Clone, Debug)]
pub(crate) struct CallNode {
    /// Its index in [`CallTree::labels`].
    pub label: u32,
    /// Nanoseconds in it and in what it called.
    pub total: u64,
    /// Nanoseconds in itself.
    pub own: u64,
    /// What it called, the most costly first.
    pub children: Vec<u32>,
    /// What called it; the root is its own.
    pub parent: u32,
}

/// Node 0 is the root, which is no frame.
#[derive(Clone, Debug)]
pub(crate) struct CallTree {
    pub nodes: Vec<CallNode>,
    pub labels: Vec<(String, FrameOwner)>,
}

/// Labels each frame once, not once per stack that it is in.
struct FrameLabels<'a> {
    profile: &'a Profile,
    functions: bool,
    known: FxHashMap<FrameId, u32>,
    by_text: FxHashMap<String, u32>,
    labels: Vec<(String, FrameOwner)>,
}

impl<'a> FrameLabels<'a> {
    fn new(profile: &'a Profile, functions: bool) -> FrameLabels<'a> {
        FrameLabels {
            profile,
            functions,
            known: FxHashMap::default(),
            by_text: FxHashMap::default(),
            labels: vec![("all".to_owned(), FrameOwner::Activity(Activity::Unknown))],
        }
    }

    fn text(&mut self, text: String, owner: FrameOwner) -> u32 {
        if let Some(&known) = self.by_text.get(&text) {
            return known;
        }
        let index = self.labels.len() as u32;
        self.labels.push((text.clone(), owner));
        self.by_text.insert(text, index);
        index
    }

    fn frame(&mut self, frame: FrameId) -> u32 {
        if let Some(&known) = self.known.get(&frame) {
            return known;
        }
        let stacks = &self.profile.stacks;
        let described = describe(stacks, frame, self.functions);
        let label = self.text(described.label, FrameOwner::Code(described.origin));
        self.known.insert(frame, label);
        label
    }

    /// The labels of a stack with what the thread did, outermost first.
    fn path(&mut self, stack: StackId, lost: bool, leaf: Option<(String, Activity)>, into: &mut Vec<u32>) {
        into.clear();
        if stack == StackId::EMPTY {
            let text = if lost { STACK_UNREADABLE } else { NO_PYTHON_FRAME };
            into.push(self.text(text.to_owned(), FrameOwner::Activity(Activity::Unknown)));
        } else {
            let profile = self.profile;
            into.extend(profile.stacks.frames(stack).map(|frame| self.frame(frame)));
            into.reverse();
        }
        if let Some((leaf, activity)) = leaf {
            into.push(self.text(leaf, FrameOwner::Activity(activity)));
        }
    }
}

impl CallTree {
    pub(crate) fn of(profile: &Profile, choice: &CallTreeChoice) -> CallTree {
        let options = export::ExportOptions { view: choice.view, ..export::ExportOptions::default() };
        // Equal stacks of all threads are added up before they are labelled.
        let mut stacks: FxHashMap<(ThreadState, StackId, bool), u64> = FxHashMap::default();
        for (key, weight) in profile.tree.iter() {
            if options.shows(key.state) && choice.thread.is_none_or(|thread| thread == key.thread) {
                *stacks.entry((key.state, key.stack, key.lost)).or_default() +=
                    weight.ns(profile.session.period_ns());
            }
        }
        let mut labels = FrameLabels::new(profile, choice.functions);
        let mut nodes = vec![CallNode { label: 0, total: 0, own: 0, children: Vec::new(), parent: 0 }];
        let mut by_place: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut path = Vec::new();
        let leaf = |state| leaf(profile, state).map(|leaf| (leaf.into_owned(), state.activity()));
        let states = stacks.into_iter().map(|((state, stack, lost), ns)| (stack, lost, leaf(state), ns));
        let wants_counts = choice.view == View::Refcount;
        let counts = if wants_counts { profile.refcounts.stacks() } else { Vec::new() };
        let counts = counts.into_iter().filter(|(thread, ..)| choice.thread.is_none_or(|wanted| wanted == *thread));
        let counts = counts.map(|(_, stack, object, samples)| {
            let leaf = format!("[reference count of {}]", object.label());
            (stack, false, Some((leaf, Activity::LockWait)), (samples as f64 * profile.session.period_ns()) as u64)
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
                    nodes.push(CallNode { label, total: 0, own: 0, children: Vec::new(), parent: at });
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
                let node: &CallNode = &nodes[child as usize];
                (std::cmp::Reverse(node.total), &labels[node.label as usize].0)
            };
            children.sort_by(|a, b| order(a).cmp(&order(b)));
            nodes[index].children = children;
        }
        CallTree { nodes, labels }
    }

    pub(crate) fn label(&self, node: u32) -> &str {
        &self.labels[self.nodes[node as usize].label as usize].0
    }

    /// The labels from the outermost frame to a node.
    pub(crate) fn path(&self, node: u32) -> Vec<&str> {
        let mut path = Vec::new();
        let mut at = node;
        while at != 0 {
            path.push(self.label(at));
            at = self.nodes[at as usize].parent;
        }
        path.reverse();
        path
    }

    /// The node at the end of a path; the root if there is none.
    pub(crate) fn find(&self, path: &[String]) -> u32 {
        path.iter().try_fold(0, |at, label| self.child(at, label)).unwrap_or(0)
    }

    fn child(&self, node: u32, label: &str) -> Option<u32> {
        self.nodes[node as usize].children.iter().copied().find(|&child| self.label(child) == label)
    }
}

/// The nanoseconds of a function (or of a line of one), by what threads did there.
#[derive(Clone, Debug, Default)]
pub(crate) struct FunctionTime {
    pub label: String,
    /// In it and in what it called, in the states of the view.
    pub total: u64,
    /// In itself, in the states of the view.
    pub own: u64,
    pub cpu: u64,
    /// In itself, waiting for the GIL.
    pub gil_wait: u64,
    /// In itself, waiting for locks.
    pub lock_wait: u64,
    /// In itself, holding the GIL while blocked.
    pub held_blocked: u64,
    pub blocked: u64,
    /// In itself, ready to run, with the GIL or without.
    pub no_cpu: u64,
}

/// All functions, and the time of the view.
pub(crate) fn function_times(profile: &Profile, choice: &CallTreeChoice) -> (Vec<FunctionTime>, u64) {
    let options = export::ExportOptions { view: choice.view, ..export::ExportOptions::default() };
    let mut labels = FrameLabels::new(profile, choice.functions);
    let mut functions: Vec<FunctionTime> = Vec::new();
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
        functions.resize(labels.labels.len(), FunctionTime::default());
        let in_view = options.shows(state);
        all += if in_view { ns } else { 0 };
        if let Some(&own) = path.first() {
            let function = &mut functions[own as usize];
            function.own += if in_view { ns } else { 0 };
            *match state.activity() {
                Activity::GilHeld | Activity::Running | Activity::Native => &mut function.cpu,
                Activity::GilHeldBlocked => &mut function.held_blocked,
                Activity::GilWait => &mut function.gil_wait,
                Activity::LockWait | Activity::Paused => &mut function.lock_wait,
                Activity::GilHeldNoCpu | Activity::NoCpu => &mut function.no_cpu,
                Activity::Blocked | Activity::Stopped | Activity::Unknown => &mut function.blocked,
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
