//! The queue from which a thread of a pool takes its work, and how much waits in it. Called by
//! [`crate::interpreter::work_queues`].

use super::layout::Layout;
use super::objects::Objects;
use super::offsets::private::{SIMPLE_QUEUE_ITEMS, SIMPLE_QUEUE_LIST, SIMPLE_QUEUE_LIST_START};
use super::variables::{FrameAddr, frame_locals};
use crate::process::memory::Memory;

/// No queue has more items than this.
const MAX_LENGTH: u64 = 1 << 40;

/// Attributes in which an object keeps the queue that its thread takes work from.
const QUEUE_ATTRIBUTES: [&str; 7] = ["queue", "_queue", "q", "work_queue", "_work_queue", "tasks", "task_queue"];

/// A `queue.SimpleQueue`, or the deque in which a `queue.Queue` keeps its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkQueue {
    /// The address of the queue object.
    pub address: u64,
    /// That of what has its items.
    items: u64,
    is_simple: bool,
}

impl WorkQueue {
    /// The queue that is the value of a local variable of a frame, or an attribute of its `self`. One whose name says that
    /// results go there is not it.
    pub fn of<M: Memory>(objects: &Objects<'_, M>, frame: FrameAddr) -> Option<WorkQueue> {
        let locals = frame_locals(objects, frame).ok()?;
        let is_input = |name: &str| !["out", "result", "done", "response"].iter().any(|word| name.contains(word));
        for (name, value) in locals {
            let name = objects.string(name).ok()?;
            if name == "self" {
                let attributes = objects.attributes(value).unwrap_or_default();
                let attribute = |name: &&str| objects.lookup(&attributes, name).ok().flatten();
                if let Some(queue) =
                    QUEUE_ATTRIBUTES.iter().filter_map(attribute).find_map(|it| Self::at(objects, it))
                {
                    return Some(queue);
                }
            }
            if is_input(&name)
                && let Some(queue) = Self::at(objects, value)
            {
                return Some(queue);
            }
        }
        None
    }

    /// The queue at an address, if one is there.
    pub fn at<M: Memory>(objects: &Objects<'_, M>, address: u64) -> Option<WorkQueue> {
        match objects.type_name_of(address)?.as_str() {
            "_queue.SimpleQueue" => Some(WorkQueue { address, items: address, is_simple: true }),
            "queue.Queue" | "queue.LifoQueue" | "queue.PriorityQueue" | "queue._PySimpleQueue" => {
                let items = objects.attribute(address, "queue").ok().flatten()?;
                Some(WorkQueue { address, items, is_simple: false })
            }
            _ => None,
        }
    }

    /// The number of its items. Mirrors `simplequeueobject`, `PyListObject` and `dequeobject`, which keep theirs where every
    /// container does.
    pub fn length(self, memory: &impl Memory, layout: &Layout) -> Option<u64> {
        let word = |offset: u64| memory.u64(self.items.wrapping_add(offset)).ok();
        let (header, ob_size) = (layout.object.header, layout.object.ob_size);
        let length = match (self.is_simple, layout.version.minor) {
            (false, _) => word(ob_size)?,
            (true, ..=12) => {
                let list = word(header + SIMPLE_QUEUE_LIST)?;
                let start = word(header + SIMPLE_QUEUE_LIST_START)?;
                memory.u64(list.wrapping_add(ob_size)).ok()?.checked_sub(start)?
            }
            (true, _) => word(header + SIMPLE_QUEUE_ITEMS)?,
        };
        (length <= MAX_LENGTH).then_some(length)
    }
}
