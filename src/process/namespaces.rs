//! Thread ids of a process in another pid namespace, as in a container.

use rustc_hash::FxHashMap;

use super::relatives::threads;
use super::status::Status;
use crate::event::{Pid, Tid};

/// For a process in another pid namespace: the thread ids that it knows itself by, and those of gilscope's namespace for
/// the same threads. `None` for a process in gilscope's own namespace, where they are equal.
pub fn tid_map(pid: Pid) -> Option<FxHashMap<Tid, Tid>> {
    if Status::read(pid)?.ids.len() < 2 {
        return None;
    }
    let threads = threads(pid).into_iter();
    Some(threads.filter_map(|tid| Some((*Status::read(tid)?.ids.last()?, tid))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_namespace_needs_no_map() {
        assert_eq!(tid_map(std::process::id() as Pid), None);
    }
}
