//! The objects of one process that threads access. Only those that several threads access are reported. Owned by
//! [`super::memory_accesses::Accesses`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::memory_accesses::AccessSite;
use super::name_search::{MAX_SEARCHES, NameSearch};
use super::registry::Sink;
use super::view::InterpreterView;
use crate::cpython::object_header::ObjectHeader;
use crate::cpython::variables::Wanted;
use crate::event::{Accessed, CountOp, Counting, Event, Nanos, ObjectId, ObjectInfo, ProcessId};
use crate::process::memory::Memory;

/// How long an address stays cached, in nanoseconds: the object may be freed, and another one take its place.
const CHECK_AFTER: u64 = 100_000_000;
/// How many addresses are cached. When there are more, those that only one thread has accessed are forgotten.
const MAX_KNOWN: usize = 1 << 16;
/// How many samples of one thread at an object are kept until a second thread accesses it.
const MAX_PENDING: usize = 8;
/// After how many samples at an object a variable is looked for: a report names only objects that were met often.
const WORTH_A_NAME: u32 = 3;

/// A sample at a reference count.
#[derive(Clone, Copy, Debug)]
pub struct CountSample {
    pub at: AccessSite,
    pub op: CountOp,
    pub atomic: bool,
}

impl CountSample {
    fn event(&self, accessed: Accessed) -> Event {
        let AccessSite { at, thread, stack } = self.at;
        Event::Access { at, thread, stack, accessed }
    }
}

/// The cached state of an address.
#[derive(Debug)]
struct KnownAddress {
    object: Option<ContendedObject>,
    checked: Nanos,
}

#[derive(Debug)]
struct ContendedObject {
    type_addr: u64,
    info: Arc<ObjectInfo>,
    /// Given when a second thread is met.
    id: Option<ObjectId>,
    /// Samples of the only thread met so far, not reported yet.
    pending: Vec<CountSample>,
    met: u32,
    /// How many searches for a variable there have been.
    searches: u8,
}

impl ContendedObject {
    /// Adds a sample at its count.
    fn count(&mut self, counted: CountSample, sink: &mut Sink<'_>) {
        // Nobody writes there.
        if self.info.counting == Counting::Immortal {
            sink.events.push(counted.event(Accessed::Nothing));
            return;
        }
        self.met += 1;
        if self.id.is_none() {
            let other = |before: &CountSample| before.at.thread != counted.at.thread;
            if !self.pending.iter().any(other) {
                if self.pending.len() == MAX_PENDING {
                    sink.events.push(self.pending.remove(0).event(Accessed::Nothing));
                }
                self.pending.push(counted);
                return;
            }
            self.id = Some(sink.ids.object());
            self.announce(sink);
        }
        let Some(object) = self.id else { return };
        let event =
            |counted: CountSample| counted.event(Accessed::Count { object, op: counted.op, atomic: counted.atomic });
        sink.events.extend(self.pending.drain(..).chain([counted]).map(event));
    }

    /// Reports what it is, if it is shared.
    fn announce(&self, sink: &mut Sink<'_>) {
        sink.events.extend(self.id.map(|object| Event::Object { object, info: self.info.clone() }));
    }

    /// Reports the pending samples as accesses without contention: no second thread came.
    fn forget(&mut self, sink: &mut Sink<'_>) {
        sink.events.extend(self.pending.drain(..).map(|counted| counted.event(Accessed::Nothing)));
    }
}

#[derive(Debug)]
pub struct KnownObjects {
    process: ProcessId,
    known: FxHashMap<u64, KnownAddress>,
    search: NameSearch,
}

impl KnownObjects {
    pub fn new(process: ProcessId) -> KnownObjects {
        KnownObjects { process, known: FxHashMap::default(), search: NameSearch::default() }
    }

    /// Adds a sample at the reference count of the object at an address. False if there is no object.
    pub fn count(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        address: u64,
        counted: CountSample,
        sink: &mut Sink<'_>,
    ) -> bool {
        let now = counted.at.at;
        let Some(object) = self.object(view, address, now, sink) else { return false };
        object.count(counted, sink);
        if object.met == WORTH_A_NAME && object.info.name.is_none() {
            self.search.want(now);
        }
        true
    }

    /// Whether there is an object at an address, and which it is if several threads count its references.
    pub fn at(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        address: u64,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Option<Option<ObjectId>> {
        self.object(view, address, now, sink).map(|object| object.id)
    }

    fn object(
        &mut self,
        view: InterpreterView<'_, impl Memory>,
        address: u64,
        now: Nanos,
        sink: &mut Sink<'_>,
    ) -> Option<&mut ContendedObject> {
        let known = self.known.get(&address);
        if known.is_none_or(|known| now.since(known.checked) >= CHECK_AFTER) {
            if self.known.len() >= MAX_KNOWN {
                self.make_room(sink);
            }
            let before = self.known.remove(&address).and_then(|known| known.object);
            let object = self.resolve(view, address, before, sink);
            self.known.insert(address, KnownAddress { object, checked: now });
        }
        self.known.get_mut(&address)?.object.as_mut()
    }

    /// Forgets what only one thread has accessed; if that is not enough, everything.
    fn make_room(&mut self, sink: &mut Sink<'_>) {
        let objects = self.known.values_mut().filter_map(|known| known.object.as_mut());
        objects.for_each(|object| object.forget(sink));
        self.known.retain(|_, known| known.object.as_ref().is_some_and(|object| object.id.is_some()));
        if self.known.len() >= MAX_KNOWN / 2 {
            self.known.clear();
        }
    }

    /// Reads what is at an address now, where the object `before` was the last time.
    fn resolve(
        &self,
        view: InterpreterView<'_, impl Memory>,
        address: u64,
        before: Option<ContendedObject>,
        sink: &mut Sink<'_>,
    ) -> Option<ContendedObject> {
        let objects = view.objects();
        let header = ObjectHeader::read(view.memory, address)?;
        let owner = view.thread_by_ident(header.owner).map(|thread| thread.id);
        if let Some(mut before) = before {
            if before.type_addr == header.type_addr {
                // Its length alone changes too often to be reported.
                if (header.counting, owner) != (before.info.counting, before.info.owner) {
                    let len = objects.len(address, &before.info.type_name);
                    let counting = header.counting;
                    before.info = Arc::new(ObjectInfo { counting, owner, len, ..(*before.info).clone() });
                    before.announce(sink);
                }
                return Some(before);
            }
            before.forget(sink);
        }
        let type_name = objects.type_name_of(address)?;
        let info = Arc::new(ObjectInfo {
            process: self.process,
            address,
            name: objects.own_name(address, &type_name).map(Into::into),
            len: objects.len(address, &type_name),
            type_name: type_name.into(),
            counting: header.counting,
            owner,
        });
        Some(ContendedObject {
            type_addr: header.type_addr,
            info,
            id: None,
            pending: Vec::new(),
            met: 0,
            searches: 0,
        })
    }

    /// Continues the search for variables that hold unnamed objects, if it is due.
    pub fn name(&mut self, view: InterpreterView<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        let known = &mut self.known;
        let Some(found) = self.search.advance(view, now, || wanted(known)) else { return };
        for object in self.known.values_mut().filter_map(|known| known.object.as_mut()) {
            let found = found.get(&object.info.address).filter(|_| object.info.name.is_none());
            if let Some(found) = found.filter(|found| *found.type_name == *object.info.type_name) {
                let name = Some(found.name.as_str().into());
                object.info = Arc::new(ObjectInfo { name, ..(*object.info).clone() });
                object.announce(sink);
            }
        }
        self.search.want(now);
    }

    /// Reports all pending samples: no more come.
    pub fn finish(&mut self, sink: &mut Sink<'_>) {
        let objects = self.known.values_mut().filter_map(|known| known.object.as_mut());
        objects.for_each(|object| object.forget(sink));
    }
}

/// The objects to look for variables of.
fn wanted(known: &mut FxHashMap<u64, KnownAddress>) -> Wanted {
    let nameless = |object: &ContendedObject| {
        object.id.is_some()
            && object.met >= WORTH_A_NAME
            && object.info.name.is_none()
            && object.searches < MAX_SEARCHES
    };
    let mut wanted = Wanted::default();
    for object in known.values_mut().filter_map(|known| known.object.as_mut()).filter(|o| nameless(o)) {
        wanted.objects.insert(object.info.address);
        object.searches += 1;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Ids, ThreadId};
    use crate::stack::{Interner, StackId};

    fn counted(thread: u32) -> CountSample {
        let at = AccessSite { at: Nanos(7), thread: ThreadId(thread), stack: StackId::EMPTY };
        CountSample { at, op: CountOp::Incref, atomic: true }
    }

    fn object(counting: Counting) -> ContendedObject {
        let info = ObjectInfo {
            process: ProcessId(0),
            address: 0x1000,
            type_name: "list".into(),
            name: None,
            len: None,
            counting,
            owner: None,
        };
        ContendedObject {
            type_addr: 0x2000,
            info: Arc::new(info),
            id: None,
            pending: Vec::new(),
            met: 0,
            searches: 0,
        }
    }

    /// The events of samples by these threads: `o` the object, `c` an access to its count, `-` nothing, each with the thread.
    fn reported(counting: Counting, threads: &[u32]) -> String {
        let (mut stacks, mut events, mut ids) = (Interner::default(), Vec::new(), Ids::default());
        let mut sink = Sink { stacks: &mut stacks, events: &mut events, ids: &mut ids };
        let mut object = object(counting);
        threads.iter().for_each(|&thread| object.count(counted(thread), &mut sink));
        object.forget(&mut sink);
        let word = |event: &Event| match event {
            Event::Object { .. } => "o".to_owned(),
            Event::Access { thread, accessed: Accessed::Count { .. }, .. } => format!("c{}", thread.0),
            Event::Access { thread, accessed: Accessed::Nothing, .. } => format!("-{}", thread.0),
            other => panic!("{other:?}"),
        };
        events.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_object_is_reported_when_a_second_thread_comes() {
        assert_eq!(reported(Counting::Biased, &[1, 1, 2, 1, 2]), "o c1 c1 c2 c1 c2");
    }

    #[test]
    fn every_sample_is_reported_once_whatever_becomes_of_it() {
        assert_eq!(reported(Counting::Biased, &[1, 1, 1]), "-1 -1 -1");
        assert_eq!(reported(Counting::Immortal, &[1, 2]), "-1 -2");
        let long = reported(Counting::Merged, &[[1; 10].as_slice(), &[2]].concat());
        assert_eq!(long, "-1 -1 o c1 c1 c1 c1 c1 c1 c1 c1 c2");
    }
}
