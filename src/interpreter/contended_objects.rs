//! The objects of one process that threads access, and which of them several threads do: only those are told of. Owned by
//! [`super::memory_accesses::Accesses`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::memory_accesses::AccessSite;
use super::name_search::{MOST_SEARCHES, NameSearch};
use super::registry::Sink;
use super::view::InterpreterView;
use crate::cpython::object_header::Header;
use crate::cpython::variables::Wanted;
use crate::event::{Accessed, CountOp, Counting, Event, Nanos, ObjectId, ObjectInfo, ProcessId};
use crate::process::memory::Memory;

/// An address is looked at again after so long, in nanoseconds: the object may have been freed, and another be there.
const CHECK_AFTER: u64 = 100_000_000;
/// Programs access many objects: when so many addresses are known, those are forgotten that only one thread was at.
const MOST_KNOWN: usize = 1 << 16;
/// So many samples of a thread at an object that no other was at are kept, in case that one comes.
const MOST_PENDING: usize = 8;
/// A variable is looked for of objects that were met so often: those are the ones that a report names.
const WORTH_A_NAME: u32 = 3;

/// A sample at a reference count.
#[derive(Clone, Copy, Debug)]
pub struct CountSample {
    /// Whose, when and where.
    pub at: AccessSite,
    /// What for.
    pub op: CountOp,
    /// By an atomic operation.
    pub atomic: bool,
}

impl CountSample {
    fn event(&self, accessed: Accessed) -> Event {
        let AccessSite { at, thread, stack } = self.at;
        Event::Access { at, thread, stack, accessed }
    }
}

/// What is known of an address.
#[derive(Debug)]
struct KnownAddress {
    /// The object there, if there is one.
    object: Option<ContendedObject>,
    checked: Nanos,
}

#[derive(Debug)]
struct ContendedObject {
    type_addr: u64,
    info: Arc<ObjectInfo>,
    /// Given when a second thread is met.
    id: Option<ObjectId>,
    /// Samples of the only thread met so far, that nobody has been told of yet.
    pending: Vec<CountSample>,
    met: u32,
    /// How often a variable has been looked for.
    searches: u8,
}

impl ContendedObject {
    /// Takes in a sample at its count.
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
                if self.pending.len() == MOST_PENDING {
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

    /// Says what it is, if it has been told of.
    fn announce(&self, sink: &mut Sink<'_>) {
        sink.events.extend(self.id.map(|object| Event::Object { object, info: self.info.clone() }));
    }

    /// Nobody else has come.
    fn forget(&mut self, sink: &mut Sink<'_>) {
        sink.events.extend(self.pending.drain(..).map(|counted| counted.event(Accessed::Nothing)));
    }
}

/// Objects by address.
#[derive(Debug)]
pub struct KnownObjects {
    process: ProcessId,
    known: FxHashMap<u64, KnownAddress>,
    search: NameSearch,
}

impl KnownObjects {
    /// None yet.
    pub fn new(process: ProcessId) -> KnownObjects {
        KnownObjects { process, known: FxHashMap::default(), search: NameSearch::default() }
    }

    /// Takes in a sample at the count of what is at an address. False if that is no object.
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
            if self.known.len() >= MOST_KNOWN {
                self.make_room(sink);
            }
            let before = self.known.remove(&address).and_then(|known| known.object);
            let object = self.look(view, address, before, sink);
            self.known.insert(address, KnownAddress { object, checked: now });
        }
        self.known.get_mut(&address)?.object.as_mut()
    }

    /// Forgets what only one thread was at; if that does not help, all.
    fn make_room(&mut self, sink: &mut Sink<'_>) {
        let objects = self.known.values_mut().filter_map(|known| known.object.as_mut());
        objects.for_each(|object| object.forget(sink));
        self.known.retain(|_, known| known.object.as_ref().is_some_and(|object| object.id.is_some()));
        if self.known.len() >= MOST_KNOWN / 2 {
            self.known.clear();
        }
    }

    /// Finds out what is at an address, where the object `before` was when last looked at.
    fn look(
        &self,
        view: InterpreterView<'_, impl Memory>,
        address: u64,
        before: Option<ContendedObject>,
        sink: &mut Sink<'_>,
    ) -> Option<ContendedObject> {
        let objects = view.objects();
        let header = Header::read(view.memory, address)?;
        let owner = view.thread_by_ident(header.owner).map(|thread| thread.id);
        if let Some(mut before) = before {
            if before.type_addr == header.type_addr {
                // How much is in it changes all the time, and is no news.
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

    /// Looks for variables that hold objects without a name, if it is time to, for a moment.
    pub fn name(&mut self, view: InterpreterView<'_, impl Memory>, now: Nanos, sink: &mut Sink<'_>) {
        let known = &mut self.known;
        let Some(found) = self.search.go_on(view, now, || wanted(known)) else { return };
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

    /// No more samples come.
    pub fn finish(&mut self, sink: &mut Sink<'_>) {
        let objects = self.known.values_mut().filter_map(|known| known.object.as_mut());
        objects.for_each(|object| object.forget(sink));
    }
}

/// Those for which a variable has to be looked for.
fn wanted(known: &mut FxHashMap<u64, KnownAddress>) -> Wanted {
    let nameless = |object: &ContendedObject| {
        object.id.is_some()
            && object.met >= WORTH_A_NAME
            && object.info.name.is_none()
            && object.searches < MOST_SEARCHES
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

    /// What is told of samples of these threads: `o` the object, `c` its count, `-` nothing, each with the thread.
    fn told(counting: Counting, threads: &[u32]) -> String {
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
    fn an_object_is_told_of_when_a_second_thread_comes() {
        assert_eq!(told(Counting::Biased, &[1, 1, 2, 1, 2]), "o c1 c1 c2 c1 c2");
    }

    #[test]
    fn every_sample_is_told_of_once_whatever_becomes_of_it() {
        assert_eq!(told(Counting::Biased, &[1, 1, 1]), "-1 -1 -1");
        assert_eq!(told(Counting::Immortal, &[1, 2]), "-1 -2");
        let long = told(Counting::Merged, &[[1; 10].as_slice(), &[2]].concat());
        assert_eq!(long, "-1 -1 o c1 c1 c1 c1 c1 c1 c1 c1 c2");
    }
}
