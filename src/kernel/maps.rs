//! The maps of the BPF programs as user space uses them. An update that the kernel refuses is counted, and
//! [`KernelMaps::degraded`] says what that means for the recording. Owned by [`super::Kernel`].

use aya::maps::{Array, HashMap, MapData, MapError};
use aya::{Ebpf, Pod};
use rustix::io::Errno;

use super::abi::wire::{KernelThread, KernelThreadStates, MapValue, ProcessState, TargetConfig};
use super::abi::{KernelCounter, MAX_PROCESSES};
use super::load::KernelError;
use crate::event::{Pid, Tid};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

type KernelHashMap<K, V> = HashMap<MapData, K, <V as MapValue>::Bytes>;

/// The maps that user space reads or writes.
pub(super) struct KernelMaps {
    targets: KernelHashMap<u32, TargetConfig>,
    process_states: Array<MapData, <ProcessState as MapValue>::Bytes>,
    threads: KernelHashMap<u32, KernelThread>,
    thread_states: KernelHashMap<u32, KernelThreadStates>,
    known_stacks: KernelHashMap<u64, u8>,
    counters: Array<MapData, u64>,
    failures: UpdateFailures,
}

impl KernelMaps {
    /// Takes the maps out of the object that has been loaded.
    pub(super) fn open(bpf: &mut Ebpf) -> Result<KernelMaps, KernelError> {
        Ok(KernelMaps {
            targets: hash_map(bpf, "targets")?,
            process_states: array(bpf, "process_states")?,
            threads: hash_map(bpf, "threads")?,
            thread_states: hash_map(bpf, "tstates_of")?,
            known_stacks: hash_map(bpf, "known_stacks")?,
            counters: array(bpf, "counters")?,
            failures: UpdateFailures::default(),
        })
    }

    /// Has the programs observe a process that they do not know yet.
    ///
    /// # Errors
    /// The kernel refuses: there are too many.
    pub(super) fn add_target(&mut self, pid: Pid, target: &TargetConfig) -> Result<(), KernelError> {
        let cleared = ProcessState::default().to_bytes();
        self.process_states.set(target.state_index, cleared, BPF_ANY).map_err(map_error("process_states"))?;
        self.replace_target(pid, target)
    }

    /// Gives the programs another configuration of a process that they observe.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn replace_target(&mut self, pid: Pid, target: &TargetConfig) -> Result<(), KernelError> {
        self.targets.insert(pid as u32, target.to_bytes(), BPF_ANY).map_err(map_error("targets"))
    }

    /// The same, where it can go on with the old configuration.
    pub(super) fn update_target(&mut self, pid: Pid, target: &TargetConfig) {
        let updated = self.targets.insert(pid as u32, target.to_bytes(), BPF_ANY);
        self.failures.note("targets", updated, None);
    }

    pub(super) fn remove_target(&mut self, pid: Pid) {
        let removed = self.targets.remove(&(pid as u32));
        self.failures.note("targets", removed, Some(Errno::NOENT));
    }

    /// Says which thread states a thread has, each with its interpreter, its `thread_id` and its GIL.
    pub(super) fn set_thread_states(&mut self, tid: Tid, states: &[[u64; 4]]) {
        let updated = match states {
            [] => self.thread_states.remove(&(tid as u32)),
            states => {
                let states = KernelThreadStates::new(states).to_bytes();
                self.thread_states.insert(tid as u32, states, BPF_ANY)
            }
        };
        self.failures.note("tstates_of", updated, Some(Errno::NOENT));
    }

    /// Gives the programs a thread that they have not seen yet. False if they have.
    pub(super) fn add_thread(&mut self, tid: Tid, thread: &KernelThread) -> bool {
        let added = self.threads.insert(tid as u32, thread.to_bytes(), BPF_NOEXIST);
        let is_new = added.is_ok();
        self.failures.note("threads", added, Some(Errno::EXIST));
        is_new
    }

    pub(super) fn thread(&self, tid: Tid) -> Option<KernelThread> {
        self.threads.get(&(tid as u32), 0).ok().map(KernelThread::from_bytes)
    }

    pub(super) fn remove_thread(&mut self, tid: Tid) {
        let removed = self.threads.remove(&(tid as u32));
        self.failures.note("threads", removed, Some(Errno::NOENT));
    }

    /// Has the programs send a stack again.
    pub(super) fn forget_stack(&mut self, id: u64) {
        let removed = self.known_stacks.remove(&id);
        // The oldest ones are dropped by the kernel.
        self.failures.note("known_stacks", removed, Some(Errno::NOENT));
    }

    /// How often something has happened; none if the kernel does not say.
    pub(super) fn counter(&self, counter: KernelCounter) -> Option<u64> {
        self.counters.get(&(counter as u32), 0).ok()
    }

    /// What the recording lacks because a map could not be updated, each a sentence.
    pub(super) fn degraded(&self) -> Vec<String> {
        let untracked = self.counter(KernelCounter::UntrackedThreads).unwrap_or(0);
        self.failures.sentence().into_iter().chain(untracked_sentence(untracked)).collect()
    }
}

/// Updates of maps that the kernel refused.
#[derive(Debug, Default)]
struct UpdateFailures {
    count: u64,
    /// The first one, in words.
    first: Option<String>,
}

impl UpdateFailures {
    /// Counts a failure, unless it is one that is part of how the map is used.
    fn note(&mut self, map: &'static str, result: Result<(), MapError>, expected: Option<Errno>) {
        let Err(error) = result else { return };
        let refused_with = match &error {
            MapError::SyscallError(error) => error.io_error.raw_os_error(),
            _ => None,
        };
        if refused_with.is_none() || refused_with != expected.map(Errno::raw_os_error) {
            self.count += 1;
            self.first.get_or_insert_with(|| format!("`{map}`: {}", reason(&error)));
        }
    }

    fn sentence(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let times = self.count;
        Some(format!(
            "the kernel refused {times} updates of the tables that gilscope shares with it (the first one of {first}): \
             waits of some threads may be missing, or attributed to the wrong kind of lock"
        ))
    }
}

/// What the kernel said.
fn reason(error: &MapError) -> String {
    match error {
        MapError::SyscallError(error) => error.io_error.to_string(),
        error => error.to_string(),
    }
}

fn untracked_sentence(times: u64) -> Option<String> {
    (times > 0).then(|| {
        format!(
            "there were more threads than gilscope's table in the kernel has room for: {times} times a thread was met \
             that could not be followed, and what it did is missing"
        )
    })
}

/// The smallest place in `process_states` that none of these has.
pub(super) fn free_state_index(taken: impl Iterator<Item = u32>) -> u32 {
    let mut is_taken = [false; MAX_PROCESSES];
    taken.for_each(|index| is_taken[index as usize % MAX_PROCESSES] = true);
    // Where all are taken, the kernel refuses the index, as it would refuse the process.
    is_taken.iter().position(|taken| !taken).unwrap_or(MAX_PROCESSES) as u32
}

pub(super) fn map_error(name: &'static str) -> impl Fn(MapError) -> KernelError {
    move |error| KernelError::Map { name, error }
}

fn hash_map<K: Pod, V: Pod>(bpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, K, V>, KernelError> {
    HashMap::try_from(bpf.take_map(name).expect("a map")).map_err(map_error(name))
}

pub(super) fn array<V: Pod>(bpf: &mut Ebpf, name: &'static str) -> Result<Array<MapData, V>, KernelError> {
    Array::try_from(bpf.take_map(name).expect("a map")).map_err(map_error(name))
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    fn refused(errno: Errno) -> Result<(), MapError> {
        let io_error = io::Error::from_raw_os_error(errno.raw_os_error());
        Err(MapError::SyscallError(SyscallError { call: "bpf_map_update_elem", io_error }))
    }

    #[test]
    fn refused_updates_are_counted_and_said() {
        let mut failures = UpdateFailures::default();
        failures.note("threads", Ok(()), Some(Errno::EXIST));
        failures.note("threads", refused(Errno::EXIST), Some(Errno::EXIST));
        assert_eq!(failures.sentence(), None, "a thread that the kernel knows already is no failure");
        failures.note("tstates_of", refused(Errno::TOOBIG), Some(Errno::NOENT));
        failures.note("targets", refused(Errno::NOENT), None);
        let sentence = failures.sentence().unwrap();
        assert!(sentence.starts_with("the kernel refused 2 updates"), "{sentence}");
        assert!(sentence.contains("`tstates_of`: Argument list too long"), "{sentence}");
        // What the library itself refuses is no errno at all.
        failures.note("targets", Err(MapError::KeyNotFound), None);
        assert_eq!(failures.count, 3);
    }

    #[test]
    fn threads_without_room_are_said() {
        assert_eq!(untracked_sentence(0), None);
        assert!(untracked_sentence(7).unwrap().contains("7 times a thread was met"));
    }

    #[test]
    fn every_process_has_a_state_of_its_own() {
        assert_eq!(free_state_index([].into_iter()), 0);
        assert_eq!(free_state_index([0, 1, 3].into_iter()), 2);
        assert_eq!(free_state_index(0..MAX_PROCESSES as u32), MAX_PROCESSES as u32);
    }
}
